//! One server, as workers and the control plane share it.

use catamaran_core::Timestamp;
use catamaran_core::health::{FailureStreak, ProbeResult, Status};
use catamaran_core::model;
use catamaran_core::server::ServerState;
use catamaran_core::stick::ServerKey;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use super::traffic::Slot;
use super::{Layout, Metered, PerWorker, Traffic};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// One server of a backend. Outlives the set it is in: exchanges that use it hold it.
///
/// What the configuration says of it never changes; another configuration makes another of these,
/// with the same id and the same counts, as long as name and address are the same.
#[derive(Debug)]
pub struct Server {
    /// Never given to another server of this process; not zero.
    id: u64,
    /// What the configuration says, with the address resolved.
    pub model: model::Server,
    /// Where to connect.
    pub target: Target,
    /// What affinity entries name it by.
    pub stick_key: ServerKey,
    /// Load and health.
    pub state: Arc<ServerState>,
    /// Failures in a row, for passive detection.
    pub streak: Arc<FailureStreak>,
    notes: Arc<Notes>,
    /// Counters.
    pub metrics: Arc<ServerMetrics>,
}

/// What is noted of a server for others to look at.
#[derive(Debug, Default)]
struct Notes {
    /// What workers have noticed and the control plane has not yet looked at.
    signals: AtomicU8,
    /// Requests that wait for a connection to end, there being as many as may be.
    wanted: AtomicU32,
    /// Told when a connection ends that somebody waits for.
    connection_ended: Notify,
}

/// A request that waits for a connection to end, while it does.
#[derive(Debug)]
pub(crate) struct Wanted<'a>(&'a Server);

/// Where to connect to a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// TCP.
    Ip(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// Counters of one server.
#[derive(Debug)]
pub struct ServerMetrics {
    /// What workers count.
    pub workers: PerWorker<ServerCounts>,
    /// Whether they count latencies.
    histograms: Option<Slot>,
    /// Active checks by result: pass, fail, inconclusive. The control plane counts them.
    pub checks: [Metered; 3],
    /// Times that checks brought it up, took it down. The control plane counts them.
    pub changes: [Metered; 2],
}

/// What one worker counts of one server.
#[derive(Debug)]
pub struct ServerCounts {
    /// Its traffic. An exchange that was tried at several servers began at each of them and ended
    /// at the last.
    pub traffic: Traffic,
    /// Connections made to it.
    pub connects: Metered,
    /// Connections that could not be made.
    pub connect_failures: Metered,
    /// Requests sent over a connection used before.
    pub reuses: Metered,
    /// Tries that ended here and were sent elsewhere, or here again.
    pub retries: Metered,
    /// Exchanges and relays that came here after another server had failed them.
    pub redispatches: Metered,
    /// Responses of class 5xx, and exchanges without one.
    pub failures: Metered,
}

/// What a worker noticed of a server, for the control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// It refused a connection.
    Refused = 1,
    /// A connection could not be made for another reason.
    ConnectFailed = 2,
    /// Its failures in a row reached the limit.
    Outlier = 4,
}

impl Server {
    /// A server at `target`, with the load and health in `state`.
    #[must_use]
    pub(crate) fn new(
        model: model::Server,
        target: Target,
        state: Arc<ServerState>,
        layout: &Layout,
    ) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            stick_key: ServerKey::new(&model.name),
            model,
            target,
            state,
            streak: Arc::default(),
            notes: Arc::default(),
            metrics: Arc::new(ServerMetrics::new(layout)),
        }
    }

    /// The same server as another configuration describes it: same name, same address.
    #[must_use]
    pub fn with_model(&self, model: model::Server) -> Self {
        Self {
            id: self.id,
            model,
            target: self.target.clone(),
            stick_key: self.stick_key,
            state: Arc::clone(&self.state),
            streak: Arc::clone(&self.streak),
            notes: Arc::clone(&self.notes),
            metrics: Arc::clone(&self.metrics),
        }
    }

    /// What workers know it by; never zero, never used for another server.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// Requests (connections, for TCP) that may be in flight at once.
    pub(crate) fn max_in_flight(&self) -> Option<u32> {
        self.model.max_in_flight()
    }

    /// Has no idle connections kept for as long as the result lives.
    pub(crate) fn want_connection(&self) -> Wanted<'_> {
        self.notes.wanted.fetch_add(1, Ordering::Relaxed);
        Wanted(self)
    }

    /// Whether somebody waits for a connection to end.
    pub(crate) fn is_connection_wanted(&self) -> bool {
        self.notes.wanted.load(Ordering::Relaxed) > 0
    }

    /// Waits until a connection has ended.
    pub(crate) fn connection_ended(&self) -> Notified<'_> {
        self.notes.connection_ended.notified()
    }

    /// Counts a connection as ended.
    pub(crate) fn end_connection(&self) {
        self.state.end_connection();
        // Whoever waits may know of a limit that this connection's configuration did not have.
        if self.model.max_connections.is_some() || self.is_connection_wanted() {
            self.notes.connection_ended.notify_one();
        }
    }

    /// Notes `signal`; returns whether nothing was noted before, so that the control plane must be
    /// told.
    pub(crate) fn raise(&self, signal: Signal) -> bool {
        self.notes.signals.fetch_or(signal as u8, Ordering::AcqRel) == 0
    }

    /// Takes what was noted.
    pub fn take_signals(&self) -> impl Iterator<Item = Signal> {
        let taken = self.notes.signals.swap(0, Ordering::AcqRel);
        [Signal::Refused, Signal::ConnectFailed, Signal::Outlier]
            .into_iter()
            .filter(move |signal| taken & *signal as u8 != 0)
    }

    /// What the worker of this index counts.
    pub(crate) fn counts(&self, worker: usize) -> &ServerCounts {
        self.metrics.of(worker)
    }

    /// Counts a request sent over a connection used before.
    pub(crate) fn count_reuse(&self, worker: usize) {
        if Metered::COUNTS {
            self.counts(worker).reuses.add_alone(1);
        }
    }

    /// Counts a latency sample.
    pub(crate) fn observe(&self, now: Timestamp, began: Timestamp) {
        self.state.observe_latency(now, now.saturating_since(began));
    }
}

impl ServerMetrics {
    fn new(layout: &Layout) -> Self {
        Self {
            workers: PerWorker::new(layout.workers),
            histograms: layout.take_slot(),
            checks: Default::default(),
            changes: Default::default(),
        }
    }

    /// Counts an active check.
    pub fn count_check(&self, result: ProbeResult) {
        let place = match result {
            ProbeResult::Pass => 0,
            ProbeResult::Fail => 1,
            ProbeResult::Inconclusive => 2,
        };
        self.checks[place].add_alone(1);
    }

    /// Counts that checks brought it up or took it down.
    pub fn count_change(&self, status: Status) {
        let place = match status {
            Status::Up => 0,
            Status::Down => 1,
        };
        self.changes[place].add_alone(1);
    }

    /// Whether latencies are counted.
    #[must_use]
    pub const fn has_latencies(&self) -> bool {
        self.histograms.is_some()
    }

    fn of(&self, worker: usize) -> &ServerCounts {
        self.workers.of(worker, || ServerCounts {
            traffic: if self.has_latencies() {
                Traffic::new()
            } else {
                Traffic::without_latencies()
            },
            connects: Metered::default(),
            connect_failures: Metered::default(),
            reuses: Metered::default(),
            retries: Metered::default(),
            redispatches: Metered::default(),
            failures: Metered::default(),
        })
    }
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.0.notes.wanted.fetch_sub(1, Ordering::Relaxed);
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
