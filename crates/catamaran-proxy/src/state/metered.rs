//! A counter that only grows.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter that only grows, for the metrics.
#[derive(Debug, Default)]
pub struct Metered(AtomicU64);

impl Metered {
    /// Whether anything is counted at all: it is, but in the program that is built to show what
    /// counting costs (`cargo xtask callgrind`).
    pub(crate) const COUNTS: bool = !cfg!(feature = "uncounted");

    /// Nothing counted yet.
    pub(crate) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Adds `count`.
    pub(crate) fn add(&self, count: u64) {
        if !Self::COUNTS {
            return;
        }
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Adds `count` to a counter that no other thread writes: a store, not a locked addition.
    #[inline]
    pub(crate) fn add_alone(&self, count: u64) {
        if !Self::COUNTS {
            return;
        }
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_add(count),
            Ordering::Relaxed,
        );
    }

    /// The count so far.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
