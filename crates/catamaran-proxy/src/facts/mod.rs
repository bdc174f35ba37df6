//! What is known of an exchange or a tunnel, whatever its protocol, and what is told of it at its
//! end.

mod log;

pub(crate) use log::{connected, count, relayed, write};

use crate::auth::Guard;
use crate::outcome::Outcome;
use crate::state::{Backend, Frontend, Metered, RouteCounts, Server, Traffic};
use crate::tunnel::RelayEnd;
use crate::worker::Worker;
use catamaran_core::Timestamp;
use catamaran_core::model;
use catamaran_core::stick::Why;
use std::sync::Arc;
use std::time::Duration;

/// The route that a request takes, and where it leads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target<'a> {
    /// Where it is sent; `None` if the route answers by itself.
    pub(crate) backend: Option<&'a Arc<Backend>>,
    /// The route; `None` for the frontend's own backend.
    pub(crate) route: Option<&'a model::Route>,
    /// The prefix that the route matched, for rewriting.
    pub(crate) prefix: &'a str,
    /// What lets requests in.
    pub(crate) guard: Option<&'a Arc<Guard>>,
}

/// What is known of an exchange, for logs and metrics.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) began: Timestamp,
    pub(crate) backend: Option<&'a Arc<Backend>>,
    /// The route, by its counters.
    pub(crate) route: Option<&'a Arc<RouteCounts>>,
    pub(crate) server: Option<(Arc<Server>, Why)>,
    pub(crate) status: Option<u16>,
    pub(crate) queued: Option<Duration>,
    pub(crate) connected: Option<Duration>,
    pub(crate) responded: Option<Duration>,
    /// Whether an interim response came: a server works on the request.
    pub(crate) has_interim: bool,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) retries: u32,
    pub(crate) redispatches: u32,
    pub(crate) is_redispatched: bool,
}

impl<'a> Facts<'a> {
    /// Notes where the request goes.
    pub(crate) fn set_target(&mut self, frontend: &'a Frontend, target: Target<'a>) {
        self.backend = target.backend;
        self.route = target.route.and_then(|route| frontend.counts_of(route));
    }

    /// Counts the exchange as begun at what is known of it.
    #[inline]
    pub(crate) fn count_begun(&self, worker: &Worker) {
        if !Metered::COUNTS {
            return;
        }
        if let Some(route) = self.route {
            let workers = &route.workers;
            workers.of(worker.index, Traffic::new).begun.add_alone(1);
        }
        if let Some(backend) = self.backend {
            backend.counts(worker.index).traffic.begun.add_alone(1);
        }
    }

    /// Counts a try at `server`, which is not noted yet.
    pub(crate) fn note_server(&mut self, worker: &Worker, server: &Server) {
        let is_elsewhere = self.is_elsewhere(server);
        self.is_redispatched |= is_elsewhere;
        if !Metered::COUNTS {
            return;
        }
        let counts = server.counts(worker.index);
        counts.traffic.begun.add_alone(1);
        if is_elsewhere {
            counts.redispatches.add_alone(1);
        }
    }

    /// The same without backend and route, which are the configuration's.
    pub(crate) fn detached<'b>(&mut self) -> Facts<'b> {
        Facts {
            began: self.began,
            backend: None,
            route: None,
            server: self.server.take(),
            status: self.status,
            queued: self.queued,
            connected: self.connected,
            responded: self.responded,
            has_interim: self.has_interim,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            retries: self.retries,
            redispatches: self.redispatches,
            is_redispatched: self.is_redispatched,
        }
    }

    /// Whether `server` is another than the one tried before.
    fn is_elsewhere(&self, server: &Server) -> bool {
        let before = self.server.as_ref();
        before.is_some_and(|(before, _)| before.id() != server.id())
    }

    pub(crate) const fn new(began: Timestamp, bytes_in: u64) -> Self {
        Self {
            began,
            backend: None,
            route: None,
            server: None,
            status: None,
            queued: None,
            connected: None,
            responded: None,
            has_interim: false,
            bytes_in,
            bytes_out: 0,
            retries: 0,
            redispatches: 0,
            is_redispatched: false,
        }
    }
}

/// The outcome of a relay.
pub(crate) const fn relay_outcome(end: RelayEnd) -> Outcome {
    match end {
        RelayEnd::Closed => Outcome::Done,
        RelayEnd::ClientReset => Outcome::ClientGone,
        RelayEnd::ServerReset => Outcome::Truncated,
        RelayEnd::Idle => Outcome::IdleTimeout,
        RelayEnd::ServerDown => Outcome::ServerDown,
    }
}
