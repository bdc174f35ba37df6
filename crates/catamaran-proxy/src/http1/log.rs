//! The end of an exchange in metrics and the access log.

use super::exchange::{Exchange, Facts};
use super::{Client, Context};
use crate::access_log::{Counts, Http, Reason, Record, ServerUsed, Timers};
use crate::outcome::Outcome;
use crate::state::Frontend;
use crate::worker::Worker;
use catamaran_core::Timestamp;
use catamaran_core::model::LogFormat;
use catamaran_core::stick::Why;
use catamaran_http1::Version;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Keeps what the log says of the request whose head was just read.
pub(super) fn note_request(client: &Client, context: &mut Context) {
    let buf = client.input.bytes();
    let head = &context.request;
    let line = &mut context.request_line;
    line.clear();
    line.extend_from_slice(head.method_span.of(buf));
    line.push(b' ');
    line.extend_from_slice(head.target.whole.of(buf));
}

/// Counts and logs an exchange that ended.
pub(super) fn ended(exchange: &mut Exchange<'_>, outcome: Outcome) {
    let Exchange {
        worker,
        frontend,
        client,
        context,
        facts,
    } = exchange;
    let now = worker.tick();
    count(worker, frontend, facts, outcome, now);
    if frontend.model.access_log.is_none() {
        return;
    }
    let line = &context.request_line;
    // A method is a token: the first space ends it.
    let space = line.iter().position(|&byte| byte == b' ');
    let (method, target) = space.map_or((&line[..0], &line[..0]), |at| {
        (&line[..at], &line[at + 1..])
    });
    let http = Http {
        method,
        target,
        version: if context.request.version == Version::Http11 {
            "HTTP/1.1"
        } else {
            "HTTP/1.0"
        },
        status: facts.status,
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

/// Counts and logs a relay that ended.
pub(crate) fn relayed(
    worker: &Worker,
    frontend: &Frontend,
    peer: SocketAddr,
    facts: &Facts<'_>,
    outcome: Outcome,
) {
    let now = Worker::now();
    count(worker, frontend, facts, outcome, now);
    if logs_at(frontend, When::Ended) {
        write(worker, frontend, peer, facts, outcome, now, None);
    }
}

/// Logs a relay whose connection to the server stands, where a person is watching.
pub(crate) fn connected(worker: &Worker, frontend: &Frontend, peer: SocketAddr, facts: &Facts<'_>) {
    if logs_at(frontend, When::Connected) {
        write(
            worker,
            frontend,
            peer,
            facts,
            Outcome::Done,
            Worker::now(),
            None,
        );
    }
}

/// Logs a request that was refused before it was one.
pub(super) fn refused(
    worker: &Worker,
    frontend: &Frontend,
    client: &Client,
    answer: (u16, usize),
    outcome: Outcome,
) {
    if frontend.model.access_log.is_none() {
        return;
    }
    let (status, bytes) = answer;
    let now = Worker::now();
    let mut facts = Facts::new(now, client.input.len() as u64);
    facts.status = Some(status);
    facts.bytes_out = bytes as u64;
    let http = Http {
        method: b"",
        target: b"",
        version: "HTTP/1.1",
        status: Some(status),
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    Connected,
    Ended,
}

/// Whether relays are logged at that time: for a person watching when they begin, else at the end.
fn logs_at(frontend: &Frontend, when: When) -> bool {
    let format = frontend.model.access_log.as_ref().map(|log| log.format);
    format.is_some_and(|format| (format == LogFormat::Human) == (when == When::Connected))
}

fn count(
    worker: &Worker,
    frontend: &Frontend,
    facts: &Facts<'_>,
    outcome: Outcome,
    now: Timestamp,
) {
    let metrics = &worker.metrics.frontends[frontend.id.index()];
    let took = now.saturating_since(facts.began);
    metrics.end(outcome, u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    metrics.bytes_out.add_alone(facts.bytes_out);
    if let Some(status) = facts.status {
        metrics.status(status);
    }
}

fn write(
    worker: &Worker,
    frontend: &Frontend,
    peer: SocketAddr,
    facts: &Facts<'_>,
    outcome: Outcome,
    now: Timestamp,
    http: Option<Http<'_>>,
) {
    let took = now.saturating_since(facts.began);
    let backend = facts.target.and_then(|target| target.backend);
    let code = outcome.consequence().log_code.as_bytes();
    let record = Record {
        time_unix_us: unix_micros(took),
        client: peer,
        frontend: frontend.model.name.as_str(),
        route: facts
            .target
            .and_then(|target| target.route)
            .map(|route| route.name.as_str()),
        backend: backend.map(|backend| backend.model.name.as_str()),
        server: facts.server.as_ref().map(|(server, why)| ServerUsed {
            name: server.model.name.as_str(),
            address: &server.model.address,
            reason: reason(*why),
        }),
        http,
        bytes_in: facts.bytes_in,
        bytes_out: facts.bytes_out,
        timers: Timers {
            request: Some(Duration::ZERO),
            queue: facts
                .server
                .as_ref()
                .map(|_| facts.queued.unwrap_or_default()),
            connect: facts
                .server
                .as_ref()
                .map(|_| facts.connected.unwrap_or_default()),
            response: facts.responded,
            total: Some(took),
        },
        termination: [code[0], code[1]],
        counts: counts(worker, frontend, facts, now),
    };
    worker.log(frontend, now, &record);
}

fn counts(worker: &Worker, frontend: &Frontend, facts: &Facts<'_>, now: Timestamp) -> Counts {
    let narrow = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let backend = facts.target.and_then(|target| target.backend);
    let server = facts
        .server
        .as_ref()
        .map(|(server, _)| server.state.in_flight());
    Counts {
        process: narrow(worker.shared.open_connections()),
        frontend: narrow(frontend.open_connections()),
        backend: backend.map_or(0, |backend| backend.in_flight(now)),
        server: server.unwrap_or(0),
        retries: facts.retries,
        redispatched: facts.is_redispatched,
        server_queue: 0,
        backend_queue: backend.map_or(0, |backend| narrow(backend.waiting())),
    }
}

const fn reason(why: Why) -> Reason {
    match why {
        Why::New => Reason::New,
        Why::Rechosen => Reason::Rechosen,
        Why::Sticky => Reason::Sticky,
    }
}

/// The time `ago`, in microseconds since 1970.
fn unix_micros(ago: Duration) -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.saturating_sub(ago).as_micros()).unwrap_or(u64::MAX)
}
