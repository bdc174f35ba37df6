//! How many clients are kept waiting at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// The clients that a frontend keeps waiting.
#[derive(Debug, Default)]
pub struct Tarpit {
    held: AtomicUsize,
    full: AtomicU64,
}

/// A client that waits, while it lives.
#[derive(Debug)]
pub(crate) struct Place(Arc<Tarpit>);

impl Tarpit {
    /// How many wait.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.load(Relaxed)
    }

    /// How many were refused at once because as many waited as may.
    #[must_use]
    pub fn full(&self) -> u64 {
        self.full.load(Relaxed)
    }

    /// Counts one more, unless `max` wait already.
    pub(crate) fn enter(self: &Arc<Self>, max: usize) -> Option<Place> {
        let entered = self
            .held
            .fetch_update(Relaxed, Relaxed, |held| (held < max).then_some(held + 1));
        if entered.is_err() {
            self.full.fetch_add(1, Relaxed);
            return None;
        }
        Some(Place(Arc::clone(self)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Relaxed);
    }
}
