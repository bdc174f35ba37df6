//! The end of a request in metrics and the access log.

use super::exchange::Exchange;
use super::{Client, Context};
use crate::access_log::Http;
use crate::facts::{Facts, count, write};
use crate::outcome::Outcome;
use crate::state::Frontend;
use crate::trace::Trace;
use crate::worker::Worker;
use catamaran_http1::Version;

/// Keeps what the log says of the request whose head was just read.
pub(super) fn note_request(client: &Client, context: &mut Context) {
    let buf = client.input.bytes();
    let head = &context.request;
    let line = &mut context.request_line;
    line.clear();
    line.extend_from_slice(head.method_span.of(buf));
    line.push(b' ');
    line.extend_from_slice(head.target.whole.of(buf));
    if let Some(host) = head.host {
        line.push(b' ');
        line.extend_from_slice(host.of(buf));
    }
}

/// Counts and logs an exchange that ended.
pub(super) fn ended(exchange: &mut Exchange<'_>, outcome: Outcome) {
    let now = exchange.worker.tick();
    let outcome = exchange.client.deadline.outcome_of(outcome);
    exchange.trace_end(now, outcome);
    let Exchange {
        worker,
        frontend,
        client,
        context,
        facts,
    } = exchange;
    count(worker, frontend, facts, outcome, now);
    if frontend.model.access_log.is_none() {
        return;
    }
    // None of the three has a space in it.
    let mut parts = context.request_line.split(|&byte| byte == b' ');
    let mut part = || parts.next().unwrap_or_default();
    let http = Http {
        method: part(),
        target: part(),
        host: part(),
        version: if context.request.version == Version::Http11 {
            "HTTP/1.1"
        } else {
            "HTTP/1.0"
        },
        status: facts.status,
        trace: context.trace.as_ref().map(Trace::own),
    };
    write(
        worker,
        frontend,
        client.peer,
        facts,
        outcome,
        now,
        Some(http),
    );
}

/// Logs a request that was refused before it was one.
pub(super) fn refused(
    worker: &Worker,
    frontend: &Frontend,
    client: &Client,
    answer: (Option<u16>, usize),
    outcome: Outcome,
) {
    if frontend.model.access_log.is_none() {
        return;
    }
    let (status, bytes) = answer;
    let now = Worker::now();
    let mut facts = Facts::new(now, client.input.len() as u64);
    facts.status = status;
    facts.bytes_out = bytes as u64;
    let http = Http {
        method: b"",
        target: b"",
        host: b"",
        version: "HTTP/1.1",
        status,
        trace: None,
    };
    write(
        worker,
        frontend,
        client.peer,
        &facts,
        outcome,
        now,
        Some(http),
    );
}
