//! The end of an exchange or a tunnel in metrics and the access log.

use super::Facts;
use crate::access_log::{Counts, Http, Reason, Record, ServerUsed, Timers};
use crate::outcome::Outcome;
use crate::state::{Ended, Frontend, Metered, Times, Traffic, class_of};
use crate::worker::Worker;
use catamaran_core::Timestamp;
use catamaran_core::model::LogFormat;
use catamaran_core::stick::Why;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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

/// Counts an exchange that ended. In line always: each request passes here, once.
#[inline(always)]
pub(crate) fn count(
    worker: &Worker,
    frontend: &Frontend,
    facts: &Facts<'_>,
    outcome: Outcome,
    now: Timestamp,
) {
    if !Metered::COUNTS {
        return;
    }
    let took = now.as_nanos().saturating_sub(facts.began.as_nanos());
    let ended = Ended {
        outcome: outcome.index(),
        class: class_of(facts.status),
        bytes_in: facts.bytes_in,
        bytes_out: facts.bytes_out,
        times: Times::new(facts.connected, facts.responded, took / 1000),
    };
    frontend.counts(worker.index).traffic.end(&ended);
    if let Some(route) = facts.route {
        let workers = &route.workers;
        workers.of(worker.index, Traffic::new).end(&ended);
    }
    if let Some(backend) = facts.backend {
        let counts = backend.counts(worker.index);
        counts.traffic.end(&ended);
        if facts.retries > 0 {
            counts.retries.add_alone(facts.retries.into());
            counts.redispatches.add_alone(facts.is_redispatched.into());
        }
    }
    if let Some((server, _)) = &facts.server {
        server.counts(worker.index).traffic.end(&ended);
    }
}

/// Logs an exchange that ended.
pub(crate) fn write(
    worker: &Worker,
    frontend: &Frontend,
    peer: SocketAddr,
    facts: &Facts<'_>,
    outcome: Outcome,
    now: Timestamp,
    http: Option<Http<'_>>,
) {
    let took = now.saturating_since(facts.began);
    let backend = facts.backend;
    let consequence = outcome.consequence();
    let code = consequence.log_code.as_bytes();
    let record = Record {
        time_unix_us: unix_micros(took),
        client: peer,
        frontend: frontend.model.name.as_str(),
        route: facts.route.map(|route| route.name.as_str()),
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
        outcome: consequence.label,
        counts: counts(worker, frontend, facts, now),
    };
    worker.log(frontend, now, &record);
}

fn counts(worker: &Worker, frontend: &Frontend, facts: &Facts<'_>, now: Timestamp) -> Counts {
    let narrow = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    let backend = facts.backend;
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
