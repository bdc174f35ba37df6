//! Connections of clients that may be open at once, of a frontend or of the whole process.

use super::Metered;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

/// How many connections are open, and how many may be.
#[derive(Debug)]
pub(crate) struct Connections {
    /// `usize::MAX` without a limit.
    max: AtomicUsize,
    open: AtomicUsize,
    /// What these are a part of.
    all: Option<Arc<AtomicUsize>>,
    room: Notify,
    /// Connections that had to wait.
    limited: Metered,
}

/// A connection that counts, while it lives.
#[derive(Debug)]
pub(crate) struct Admitted(Arc<Connections>);

impl Connections {
    /// None open, `max` at most. `all` counts them too.
    pub(crate) fn new(max: Option<usize>, all: Option<Arc<AtomicUsize>>) -> Arc<Self> {
        Arc::new(Self {
            max: AtomicUsize::new(max.unwrap_or(usize::MAX)),
            open: AtomicUsize::new(0),
            all,
            room: Notify::new(),
            limited: Metered::default(),
        })
    }

    /// Changes the limit. Those above a lower one stay open; no more come.
    pub(crate) fn set_max(&self, max: Option<usize>) {
        self.max.store(max.unwrap_or(usize::MAX), Ordering::Relaxed);
        self.room.notify_waiters();
    }

    /// How many are open.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// How many had to wait, or were turned away.
    pub(crate) fn limited(&self) -> u64 {
        self.limited.total()
    }

    /// Counts one more; waits while as many are open as may be.
    pub(crate) async fn admit(self: &Arc<Self>) -> Admitted {
        if self.try_admit() {
            return Admitted(Arc::clone(self));
        }
        self.limited.add(1);
        while !self.try_admit() {
            let mut room = std::pin::pin!(self.room.notified());
            // Registered before another look, so that a close in between is not missed.
            room.as_mut().enable();
            if self.try_admit() {
                break;
            }
            room.await;
        }
        Admitted(Arc::clone(self))
    }

    /// Counts one more, unless as many are open as may be.
    pub(crate) fn admit_now(self: &Arc<Self>) -> Option<Admitted> {
        let is_admitted = self.try_admit();
        if !is_admitted {
            self.limited.add(1);
        }
        is_admitted.then(|| Admitted(Arc::clone(self)))
    }

    fn try_admit(&self) -> bool {
        let max = self.max.load(Ordering::Relaxed);
        let has_room = self
            .open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
                (open < max).then_some(open + 1)
            })
            .is_ok();
        if let (true, Some(all)) = (has_room, &self.all) {
            all.fetch_add(1, Ordering::Relaxed);
        }
        has_room
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        if let Some(all) = &self.0.all {
            all.fetch_sub(1, Ordering::Relaxed);
        }
        if self.0.max.load(Ordering::Relaxed) != usize::MAX {
            self.0.room.notify_one();
        }
    }
}
