//! When iterations begin, as pure functions of the time since a scenario began.
//!
//! [`Arrivals`] says when the n-th iteration of an open model is due, whatever became of the earlier
//! ones; [`Ramp`] says which virtual users of a closed model are at work. Both are the same for
//! every worker, which takes the share that [`Stripe`] gives it: nothing is agreed on at run time.

mod arrivals;
mod ramp;
mod shares;

use std::time::Duration;

pub use arrivals::Arrivals;
pub use ramp::Ramp;
pub use shares::Shares;

/// A piece of a scenario over which a number moves evenly to a target. A stage without length jumps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stage {
    /// How long it takes.
    pub duration: Duration,
    /// The number at its end: virtual users, or iterations per time unit.
    pub target: f64,
}

/// The share of one worker: every `of`-th of what is numbered from 0, from `index` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stripe {
    /// Which share, from 0.
    pub index: u64,
    /// How many shares there are, 1 at least.
    pub of: u64,
}

impl Stripe {
    /// The number of this share's `n`-th element.
    #[must_use]
    pub const fn nth(self, n: u64) -> u64 {
        n * self.of + self.index
    }

    /// How many of `total` elements fall to this share.
    #[must_use]
    pub const fn share_of(self, total: u64) -> u64 {
        total / self.of + if self.index < total % self.of { 1 } else { 0 }
    }
}

/// The length of all stages together.
#[must_use]
pub fn total(stages: &[Stage]) -> Duration {
    stages.iter().fold(Duration::ZERO, |sum, stage| {
        sum.saturating_add(stage.duration)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_to_the_whole_and_do_not_overlap() {
        for (total, of) in [(0, 1), (7, 3), (3, 7), (100, 4)] {
            let mut seen = Vec::new();
            for index in 0..of {
                let stripe = Stripe { index, of };
                seen.extend((0..stripe.share_of(total)).map(|n| stripe.nth(n)));
            }
            seen.sort_unstable();
            assert_eq!(seen, (0..total).collect::<Vec<_>>());
        }
    }
}
