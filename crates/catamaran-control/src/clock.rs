//! The bridge between policy's time and the runtime's.

use catamaran_core::Timestamp;
use std::time::Duration;
use tokio::time::Instant;

/// Reads the runtime's clock as [`Timestamp`]s.
///
/// Both count CLOCK_MONOTONIC, so that one pair of simultaneous readings ties them for good.
/// Going through the runtime's clock lets tests pause it.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    at_origin: Timestamp,
}

impl Clock {
    /// A clock that says `now` at this moment.
    #[must_use]
    pub fn starting_at(now: Timestamp) -> Self {
        Self {
            origin: Instant::now(),
            at_origin: now,
        }
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.at_origin + self.origin.elapsed()
    }

    /// The runtime's form of `time`; a time before the clock's start becomes its start, one that
    /// never comes lies a year ahead.
    #[must_use]
    pub fn instant(&self, time: Timestamp) -> Instant {
        self.origin + time.saturating_since(self.at_origin).min(FAR)
    }
}

/// Longest time that is waited at once; the runtime's clock cannot count to the end of time.
const FAR: Duration = Duration::from_secs(365 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn both_clocks_advance_together() {
        let start = Timestamp::from_nanos(5);
        let clock = Clock::starting_at(start);
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(clock.now(), start + Duration::from_secs(3));
        assert_eq!(clock.instant(clock.now()), Instant::now());
        assert!(clock.instant(Timestamp::MAX) > Instant::now());
        assert!(clock.instant(Timestamp::ZERO) < Instant::now());
    }
}
