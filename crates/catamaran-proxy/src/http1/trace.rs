//! The trace of a request: what its fields say of it, and what the server is told.

use super::Client;
use super::exchange::Exchange;
use super::plan::{is_trusted, source};
use crate::outcome::Outcome;
use crate::state::Frontend;
use crate::trace::{End, Request, Trace, Tracing};
use crate::upstream::Chosen;
use crate::worker::Worker;
use catamaran_core::Timestamp;
use catamaran_core::retry::Failure;
use catamaran_core::trace::{Beginning, Parents, TraceParent, combine_state};
use catamaran_http1::{FieldId, HeadWriter, RequestHead, TargetForm, Version};
use std::time::Duration;

/// Names the trace.
const TRACEPARENT: &[u8] = b"traceparent";
/// What others on the way keep of it.
const TRACESTATE: &[u8] = b"tracestate";

/// Begins the trace of the request whose head was just read. Apart from the way of requests that are
/// not traced.
#[cold]
#[inline(never)]
pub(super) fn begin(
    worker: &Worker,
    tracing: &Tracing,
    frontend: &Frontend,
    client: &Client,
    head: &RequestHead,
) -> Trace {
    let buf = client.input.bytes();
    let is_heeded = match tracing.model.parents {
        Parents::All => true,
        Parents::Trusted => is_trusted(&frontend.model.trusted_proxies, client.peer.ip()),
        Parents::None => false,
    };
    let said = TraceParent::of_fields(fields(head, buf, TRACEPARENT));
    let request = || Request {
        method: Request::cut(head.method_span.of(buf)),
        path: Request::cut(path(head, buf)),
        authority: Request::cut(head.host.map(|host| host.of(buf)).unwrap_or_default()),
        user_agent: head
            .fields()
            .iter()
            .find(|field| field.id == FieldId::UserAgent)
            .map(|field| Request::cut(field.value.of(buf))),
        version: match head.version {
            Version::Http11 => "1.1",
            Version::Http10 => "1.0",
        },
        client: source(frontend, client, head),
        peer: client.peer,
        state: if is_heeded && said.is_some() {
            let mut state = Vec::new();
            combine_state(fields(head, buf, TRACESTATE), &mut state);
            Request::cut(&state)
        } else {
            Box::default()
        },
    };
    worker.with_rng(|rng| {
        let beginning = Beginning::of(said, is_heeded, tracing.model.sample, rng);
        tracing.begin(beginning, worker.time(), rng, request)
    })
}

fn path<'b>(head: &RequestHead, buf: &'b [u8]) -> &'b [u8] {
    match head.target.form {
        TargetForm::Asterisk => b"*",
        _ => head.target.path(buf),
    }
}

/// The values of the fields of this name that are not for us alone.
fn fields<'b>(
    head: &'b RequestHead,
    buf: &'b [u8],
    name: &'static [u8],
) -> impl Iterator<Item = &'b [u8]> {
    let fields = head.fields().iter();
    fields
        .filter(move |field| !field.hop && field.name.of(buf).eq_ignore_ascii_case(name))
        .map(|field| field.value.of(buf))
}

/// Whether a field of this name is written anew where requests are traced.
pub(super) fn is_ours(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(TRACEPARENT) || name.eq_ignore_ascii_case(TRACESTATE)
}

/// Tells the server which trace the request belongs to; `wanted` says which fields may be written.
pub(super) fn write(
    trace: &Trace,
    writer: &mut HeadWriter<'_>,
    (head, buf): (&RequestHead, &[u8]),
    scratch: &mut Vec<u8>,
    wanted: impl Fn(&[u8]) -> bool,
) {
    if wanted(TRACEPARENT) {
        writer.field(TRACEPARENT, &trace.for_server().to_bytes());
    }
    if trace.keeps_state && wanted(TRACESTATE) {
        scratch.clear();
        combine_state(fields(head, buf, TRACESTATE), scratch);
        if !scratch.is_empty() {
            writer.field(TRACESTATE, scratch);
        }
    }
}

impl Exchange<'_> {
    /// Notes a try in the trace, if there is one.
    #[inline]
    pub(super) fn trace_try(&mut self, chosen: &Chosen) {
        if let Some(trace) = &mut self.context.trace {
            let (now, server) = (self.worker.time(), chosen.room.server());
            self.worker
                .with_rng(|rng| trace.begin_try(now, (server, chosen.why), rng));
        }
    }

    /// The same for how it got its connection.
    #[inline]
    pub(super) fn trace_connection(&mut self, connected: Option<Duration>) {
        if let Some(trace) = &mut self.context.trace {
            trace.note_connection(connected);
        }
    }

    /// The same for its failure.
    #[inline]
    pub(super) fn trace_failure(&mut self, now: Timestamp, outcome: Outcome) {
        if let Some(trace) = &mut self.context.trace {
            trace.fail_try(now, outcome);
        }
    }

    /// Hands the trace over, if there is one that is sampled.
    #[inline]
    pub(super) fn trace_end(&mut self, now: Timestamp, outcome: Outcome) {
        if let (Some(trace), Some(tracing)) = (&mut self.context.trace, &self.frontend.tracing) {
            let end = End {
                now,
                frontend: &self.frontend.model.name,
                facts: &self.facts,
                outcome,
                status: self.context.response.status,
            };
            trace.finish(tracing, &end);
        }
    }
}

/// What a failure of a server would be called if nothing followed it.
pub(super) const fn outcome_of(failure: Failure) -> Outcome {
    match failure {
        Failure::Connect => Outcome::ConnectFailed,
        Failure::ServerDied => Outcome::ServerDown,
        Failure::Timeout => Outcome::ResponseTimeout,
        Failure::Closed | Failure::RefusedUnprocessed => Outcome::ServerClosed,
    }
}
