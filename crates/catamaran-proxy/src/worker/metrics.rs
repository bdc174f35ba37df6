//! Counters that one worker writes and the control plane reads.

use crate::state::Metered;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::runtime::RuntimeMetrics;

/// Counters of one worker.
#[derive(Debug, Default)]
pub struct WorkerMetrics {
    /// Connections to servers that failed because this process lacked something.
    pub connects_exhausted: Metered,
    /// Connections that could not be accepted because this process lacked something.
    pub accepts_exhausted: Metered,
    /// Connections handed to a worker with fewer.
    pub handed_over: Metered,
    /// Stalls of neighbours that were noticed.
    pub stalls: Metered,
    /// Connections accepted in place of a neighbour that stalled.
    pub adopted: Metered,
    /// Copies of requests that were not sent: too many under way, or the body not at hand.
    pub mirrors_skipped: Metered,
    /// Copies of requests that got no response.
    pub mirrors_failed: Metered,
    /// UDP flows that had to give way to new ones.
    pub flows_evicted: Metered,
    /// Datagrams that were not passed on: their flow was refused, or a socket took no more.
    pub datagrams_dropped: Metered,
    /// Tasks that panicked.
    pub panics: Metered,
    /// How late its loop runs.
    pub lag: Lag,
    /// What its runtime counts by itself, once it runs.
    pub(super) runtime: OnceLock<RuntimeMetrics>,
}

/// How late a worker's loop runs: the time between when a timer was due and when it was heeded.
#[derive(Debug, Default)]
pub struct Lag {
    /// Worst since it was last taken, in nanoseconds.
    worst: AtomicU64,
}

impl WorkerMetrics {
    /// For how long its loop was not waiting; `None` before it runs.
    #[must_use]
    pub fn busy(&self) -> Option<Duration> {
        // A runtime of one thread has one worker of its own.
        Some(self.runtime.get()?.worker_total_busy_duration(0))
    }
}

impl Lag {
    /// Notes that a timer was heeded this late.
    pub(crate) fn note(&self, late: Duration) {
        let nanos = u64::try_from(late.as_nanos()).unwrap_or(u64::MAX);
        self.worst.fetch_max(nanos, Ordering::Relaxed);
    }

    /// Takes the worst since it was last taken, in nanoseconds. A worker that stands still has not
    /// noted it yet.
    pub fn take_worst(&self) -> u64 {
        self.worst.swap(0, Ordering::Relaxed)
    }
}
