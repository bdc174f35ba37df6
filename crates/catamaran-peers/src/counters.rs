//! What is counted of connections, beside the counts that the machine keeps of each peer.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since the start, as they are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections that did not come to be: nobody answers, or too late.
    pub connect_failures: u64,
    /// Connections that came in and did not know the secret.
    pub wrong_secrets: u64,
    /// Connections that were refused afterwards: a stranger, another version, nonsense.
    pub refused: u64,
    /// Connections that came in while too many others had not said who they are.
    pub crowded_out: u64,
    /// Bytes written to peers, encrypted.
    pub sent_bytes: u64,
    /// Bytes read from peers, encrypted.
    pub received_bytes: u64,
}

/// The same, as they grow.
#[derive(Debug, Default)]
pub struct Counters {
    pub(crate) connect_failures: AtomicU64,
    pub(crate) wrong_secrets: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) crowded_out: AtomicU64,
    pub(crate) sent_bytes: AtomicU64,
    pub(crate) received_bytes: AtomicU64,
}

impl Counters {
    /// What was counted so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            connect_failures: read(&self.connect_failures),
            wrong_secrets: read(&self.wrong_secrets),
            refused: read(&self.refused),
            crowded_out: read(&self.crowded_out),
            sent_bytes: read(&self.sent_bytes),
            received_bytes: read(&self.received_bytes),
        }
    }
}

/// Adds one. Returns whether the log is to say so: the first, second, fourth and so on, so that
/// nobody fills it from outside.
pub(crate) fn count(counter: &AtomicU64) -> bool {
    (counter.fetch_add(1, Ordering::Relaxed) + 1).is_power_of_two()
}

/// Adds bytes.
pub(crate) fn add(counter: &AtomicU64, bytes: usize) {
    counter.fetch_add(bytes as u64, Ordering::Relaxed);
}
