//! Counters that one worker writes and the control plane reads.

use crate::outcome::Outcome;
use crate::state::Metered;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

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
}

/// How late a worker's loop runs: the time between when a timer was due and when it was heeded.
#[derive(Debug, Default)]
pub struct Lag {
    /// Worst since it was last taken, in nanoseconds.
    worst: AtomicU64,
}

/// Counters of one frontend on one worker. Those of other workers lie on other cache lines.
#[derive(Debug)]
#[repr(align(128))]
pub struct FrontendMetrics {
    /// Connections accepted.
    pub connections: Metered,
    /// Bytes received from clients.
    pub bytes_in: Metered,
    /// Bytes sent to clients.
    pub bytes_out: Metered,
    /// Exchanges and relays by how they ended, by [`Outcome::index`].
    pub outcomes: [Metered; Outcome::ALL.len()],
    /// Responses by class of status, 1xx at index 0.
    pub statuses: [Metered; 5],
    /// Time from the request's head to the response's end, by [`LATENCY_BOUNDS`].
    pub latency: [Metered; LATENCY_BOUNDS.len() + 1],
    /// Sum of those times in microseconds.
    pub latency_sum_micros: Metered,
}

/// Upper bounds of the latency buckets in microseconds; what is above counts in one more.
pub const LATENCY_BOUNDS: [u64; 14] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    5_000_000, 30_000_000,
];

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

/// By hand: the standard library has none for arrays of more than 32.
impl Default for FrontendMetrics {
    fn default() -> Self {
        Self {
            connections: Metered::default(),
            bytes_in: Metered::default(),
            bytes_out: Metered::default(),
            outcomes: std::array::from_fn(|_| Metered::default()),
            statuses: Default::default(),
            latency: Default::default(),
            latency_sum_micros: Metered::default(),
        }
    }
}

impl FrontendMetrics {
    /// Counts an exchange or relay that ended after `micros`.
    pub(crate) fn end(&self, outcome: Outcome, micros: u64) {
        self.outcomes[outcome.index()].add_alone(1);
        let bucket = LATENCY_BOUNDS
            .iter()
            .position(|&bound| micros <= bound)
            .unwrap_or(LATENCY_BOUNDS.len());
        self.latency[bucket].add_alone(1);
        self.latency_sum_micros.add_alone(micros);
    }

    /// Counts a response.
    pub(crate) fn status(&self, status: u16) {
        if let Some(class) = (status / 100)
            .checked_sub(1)
            .and_then(|class| self.statuses.get(class as usize))
        {
            class.add_alone(1);
        }
    }
}
