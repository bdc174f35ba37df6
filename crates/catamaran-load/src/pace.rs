//! The option `rps`: at most so many requests a second, of all virtual users together.

use std::sync::atomic::{AtomicU64, Ordering};

/// Deals out the moments at which requests may begin.
#[derive(Debug)]
pub struct Pace {
    /// Nanoseconds between two.
    period: u64,
    /// The next moment that is free, in nanoseconds of the monotonic clock.
    next: AtomicU64,
    /// Of how many workers these requests are; 0 for all there are.
    own: AtomicU64,
    /// How many workers there are, other agents' among them.
    of: AtomicU64,
}

impl Pace {
    /// At most so many a second; `None` of 0, which means no limit, as in k6.
    #[must_use]
    pub fn new(per_second: u32) -> Option<Self> {
        let period = NANOS_PER_SECOND.checked_div(u64::from(per_second))?;
        Some(Self {
            period,
            next: AtomicU64::new(0),
            own: AtomicU64::new(0),
            of: AtomicU64::new(1),
        })
    }

    /// Leaves the rest to other agents: `own` more of all workers are here.
    pub fn share(&self, own: u64, of: u64) {
        self.of.store(of, Ordering::Relaxed);
        self.own.fetch_add(own, Ordering::Relaxed);
    }

    /// Nanoseconds between two requests of this process.
    fn period(&self) -> u64 {
        let of = self.of.load(Ordering::Relaxed);
        match self.own.load(Ordering::Relaxed) {
            0 => self.period,
            own => self.period.saturating_mul(of) / own,
        }
    }

    /// When a request that is ready at `now` may begin. Moments that passed unused are lost.
    pub fn claim(&self, now: u64) -> u64 {
        let period = self.period();
        let later = |next: u64| next.max(now) + period;
        let claimed = self
            .next
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |next| {
                Some(later(next))
            });
        claimed.unwrap_or(now).max(now)
    }
}

const NANOS_PER_SECOND: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_dealt_out_evenly_and_lost_time_is_not_made_up_for() {
        let pace = Pace::new(100).unwrap();
        let claims: Vec<u64> = (0..3).map(|_| pace.claim(1000)).collect();
        assert_eq!(claims, [1000, 10_001_000, 20_001_000]);
        assert_eq!(pace.claim(90_000_000), 90_000_000);
        assert_eq!(pace.claim(90_000_000), 100_000_000);
        assert!(Pace::new(0).is_none());
    }

    #[test]
    fn agents_share_the_rate_by_their_workers() {
        let pace = Pace::new(100).unwrap();
        pace.share(2, 8);
        assert_eq!((pace.claim(0), pace.claim(0)), (0, 40_000_000));
        // Those of one that was lost come along.
        pace.share(2, 8);
        pace.claim(0);
        assert_eq!(pace.claim(0), 100_000_000);
    }
}
