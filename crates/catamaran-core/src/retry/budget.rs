//! How many tries a backend may cost its servers beyond the first.
//!
//! Without a bound, retries multiply the load of a backend in the moment in which it fails. As in
//! Finagle's `RetryBudget`, each first try earns a share of a token, and a reserve lets a quiet
//! backend retry too: `min_budget` tokens per [`RESERVE_TIME`]. Both are one atomic each, shared by
//! all workers without a lock.

use crate::Timestamp;
use crate::model::Retry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The retry budget of one backend.
#[derive(Debug)]
pub struct Budget {
    /// Thousandths of a token, at most [`MAX_EARNED`].
    earned: AtomicU64,
    /// Thousandths of a token that a first try adds.
    share: u64,
    /// When the reserve is full again, in nanoseconds of [`Timestamp`] (a generic cell rate, as in
    /// the rate limiter).
    reserve_full_at: AtomicU64,
    min_budget: u32,
}

impl Budget {
    /// A budget with its reserve full.
    #[must_use]
    pub const fn new(config: &Retry) -> Self {
        Self {
            earned: AtomicU64::new(0),
            share: config.budget_per_mille as u64,
            reserve_full_at: AtomicU64::new(0),
            min_budget: config.min_budget,
        }
    }

    /// Adds the share of a first try.
    pub fn handle_first_try(&self) {
        // A backend that seldom fails has earned all it can: then this reads a line that nobody
        // writes. The limit may be passed by the shares of a few workers; nothing depends on it.
        if self.earned.load(Ordering::Relaxed) < MAX_EARNED {
            self.earned.fetch_add(self.share, Ordering::Relaxed);
        }
    }

    /// Takes a token, if there is one.
    pub fn try_take(&self, now: Timestamp) -> bool {
        let spend = |earned: u64| earned.checked_sub(TOKEN);
        self.earned
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend)
            .is_ok()
            || self.try_take_from_reserve(now)
    }

    fn try_take_from_reserve(&self, now: Timestamp) -> bool {
        if self.min_budget == 0 {
            return false;
        }
        let step = RESERVE_TIME / self.min_budget;
        let last_free = now + step * (self.min_budget - 1);
        let spend = |full_at: u64| {
            let full_at = Timestamp::from_nanos(full_at).max(now);
            (full_at <= last_free).then(|| (full_at + step).as_nanos())
        };
        self.reserve_full_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend)
            .is_ok()
    }
}

/// The time in which an empty reserve fills: Finagle's default `ttl`.
const RESERVE_TIME: Duration = Duration::from_secs(10);

/// One token, in thousandths.
const TOKEN: u64 = 1000;

/// The most that first tries earn: 1,000 tokens (chosen; what 5,000 first tries earn at 0.2), so
/// that a long calm does not pay for a storm.
const MAX_EARNED: u64 = 1000 * TOKEN;

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(min_budget: u32) -> Budget {
        Budget::new(&Retry {
            min_budget,
            ..Retry::default()
        })
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs(seconds)
    }

    fn tokens(budget: &Budget, now: Timestamp) -> usize {
        std::iter::from_fn(|| budget.try_take(now).then_some(())).count()
    }

    #[test]
    fn each_first_try_adds_a_fifth_of_a_token() {
        let budget = budget(0);
        for _ in 0..4 {
            budget.handle_first_try();
        }
        assert!(!budget.try_take(at(0)));
        budget.handle_first_try();
        assert!(budget.try_take(at(0)));
        assert!(!budget.try_take(at(0)));
    }

    #[test]
    fn at_least_a_hundred_tokens_are_there_without_any_traffic() {
        let budget = budget(100);
        assert_eq!(tokens(&budget, at(5)), 100);
        assert_eq!(tokens(&budget, at(6)), 10);
        assert_eq!(tokens(&budget, at(100)), 100);
    }

    #[test]
    fn a_long_calm_does_not_pay_for_a_storm() {
        let budget = budget(0);
        for _ in 0..100_000 {
            budget.handle_first_try();
        }
        assert_eq!(tokens(&budget, at(0)), 1000);
    }

    #[test]
    fn no_budget_written_means_no_token() {
        assert_eq!(tokens(&budget(0), at(1000)), 0);
    }

    #[test]
    fn workers_that_take_at_once_get_no_token_twice() {
        let budget = budget(100);
        for _ in 0..500 {
            budget.handle_first_try();
        }
        let taken: usize = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| tokens(&budget, at(1))))
                .collect();
            workers
                .into_iter()
                .map(|worker| worker.join().unwrap())
                .sum()
        });
        assert_eq!(taken, 200);
    }
}
