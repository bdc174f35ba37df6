//! The one notion of time of the policy code.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A point on CLOCK_MONOTONIC, in nanoseconds.
///
/// Eight bytes instead of the sixteen of `Instant` (an affinity table holds millions), and tests
/// can write one down. Being the system's own clock, it keeps its meaning across processes of one
/// node; it never travels to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The start of the clock.
    pub const ZERO: Self = Self(0);
    /// Later than any time that will be seen.
    pub const MAX: Self = Self(u64::MAX);

    /// The time `nanos` nanoseconds after the start of the clock.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the start of the clock.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long ago `earlier` was; zero if it lies in the future.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    /// Saturates at [`Timestamp::MAX`], so that `now + Duration::MAX` means never.
    fn add(self, after: Duration) -> Self {
        Self(self.0.saturating_add(nanos(after)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    /// Saturates at [`Timestamp::ZERO`].
    fn sub(self, before: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(before)))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_time_is_never_passed() {
        assert_eq!(Timestamp::ZERO + Duration::MAX, Timestamp::MAX);
        assert_eq!(Timestamp::ZERO - Duration::from_secs(1), Timestamp::ZERO);
    }

    #[test]
    fn a_future_time_is_no_time_ago() {
        let later = Timestamp::from_nanos(5);
        assert_eq!(Timestamp::ZERO.saturating_since(later), Duration::ZERO);
        assert_eq!(
            later.saturating_since(Timestamp::ZERO),
            Duration::from_nanos(5)
        );
    }
}
