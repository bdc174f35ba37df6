//! Waiting for one's turn to move bytes, where they are limited.

use crate::state::Meter;
use crate::worker::Worker;
use catamaran_core::Timestamp;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::time::{Instant, Sleep};

/// One direction of one connection.
#[derive(Debug)]
pub(crate) struct Throttle {
    meter: Arc<Meter>,
    /// Bytes that may be moved in this turn; below zero if more were.
    left: i64,
    /// The wait for the next turn, while there is one.
    wait: Option<Pin<Box<Sleep>>>,
}

impl Throttle {
    /// Of the direction that `meter` limits.
    pub(crate) fn new(meter: &Arc<Meter>) -> Box<Self> {
        Box::new(Self {
            meter: Arc::clone(meter),
            left: 0,
            wait: None,
        })
    }

    /// Ready when bytes may be moved. A turn that is not used up is kept.
    pub(crate) fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(wait) = &mut self.wait {
            ready!(wait.as_mut().poll(cx));
            self.wait = None;
            self.left += self.turn();
        }
        while self.left <= 0 {
            let now = Worker::now();
            let begins = self.meter.reserve(now, self.turn().unsigned_abs());
            if begins <= now {
                self.left += self.turn();
                continue;
            }
            self.meter.note_wait();
            let mut wait = Box::pin(tokio::time::sleep_until(instant(begins, now)));
            if wait.as_mut().poll(cx).is_pending() {
                self.wait = Some(wait);
                return Poll::Pending;
            }
            self.left += self.turn();
        }
        Poll::Ready(())
    }

    /// Takes note that bytes were moved.
    pub(crate) fn moved(&mut self, bytes: usize) {
        self.left -= i64::try_from(bytes).unwrap_or(i64::MAX / 2);
    }

    /// Bytes to take in at once, so that turns are not much longer than they should be.
    pub(crate) fn piece(&self) -> usize {
        usize::try_from(self.meter.pace.turn_bytes()).unwrap_or(usize::MAX)
    }

    fn turn(&self) -> i64 {
        i64::try_from(self.meter.pace.turn_bytes()).unwrap_or(i64::MAX / 2)
    }
}

fn instant(at: Timestamp, now: Timestamp) -> Instant {
    Instant::now() + at.saturating_since(now)
}
