//! How many traces are sampled in a time, whoever asks for them.

use crate::Timestamp;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A limit on sampled traces, shared by all workers without a lock: so many a second, and as many at
/// once after a second without any (a generic cell rate, as in the rate limiter).
#[derive(Debug)]
pub struct Cap {
    per_second: u32,
    /// When all are free again, in nanoseconds of [`Timestamp`].
    free_at: AtomicU64,
}

impl Cap {
    /// A cap of which nothing is used; at least one a second.
    #[must_use]
    pub const fn new(per_second: u32) -> Self {
        Self {
            per_second: if per_second == 0 { 1 } else { per_second },
            free_at: AtomicU64::new(0),
        }
    }

    /// Counts a trace, unless as many were sampled as may be.
    pub fn admits(&self, now: Timestamp) -> bool {
        let step = Duration::from_secs(1) / self.per_second;
        let last_free = now + step * (self.per_second - 1);
        let take = |free_at: u64| {
            let free_at = Timestamp::from_nanos(free_at).max(now);
            (free_at <= last_free).then(|| (free_at + step).as_nanos())
        };
        self.free_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(cap: &Cap, now: Timestamp, asked: usize) -> usize {
        (0..asked).filter(|_| cap.admits(now)).count()
    }

    #[test]
    fn so_many_a_second_pass_and_no_more() {
        let cap = Cap::new(10);
        let at = |millis| Timestamp::ZERO + Duration::from_millis(millis);
        assert_eq!(admitted(&cap, at(5_000), 100), 10);
        assert_eq!(admitted(&cap, at(5_000), 100), 0);
        assert_eq!(admitted(&cap, at(5_200), 100), 2);
        assert_eq!(admitted(&cap, at(60_000), 100), 10);
    }

    #[test]
    fn workers_that_ask_at_once_get_no_place_twice() {
        let cap = Cap::new(100);
        let now = Timestamp::ZERO + Duration::from_secs(9);
        let taken: usize = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| admitted(&cap, now, 1000)))
                .collect();
            workers.into_iter().map(|w| w.join().unwrap()).sum()
        });
        assert_eq!(taken, 100);
    }

    #[test]
    fn a_cap_of_none_is_one_of_one() {
        assert_eq!(admitted(&Cap::new(0), Timestamp::ZERO, 9), 1);
    }
}
