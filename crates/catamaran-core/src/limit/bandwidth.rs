//! Limits on bytes in a time: a token bucket that stores one time, as the limiter of requests does.
//!
//! Whoever wants to move bytes reserves a turn of [`Pace::turn_bytes`] and is told when it begins.
//! Turns are given in the order they are asked for, so that all who share a bucket get the same; a
//! turn lasts about ten milliseconds of the rate, so that there are at most a hundred waits a second
//! for a bucket, however many share it.

use crate::Timestamp;
use std::num::NonZeroU64;
use std::time::Duration;

/// A rate of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    bytes_per_second: NonZeroU64,
}

/// What a bucket is after a reservation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reserved {
    /// When the bucket is full again.
    pub full_at: Timestamp,
    /// When the turn begins.
    pub begins: Timestamp,
}

impl Pace {
    /// So many bytes in each second.
    #[must_use]
    pub const fn new(bytes_per_second: NonZeroU64) -> Self {
        Self { bytes_per_second }
    }

    /// Bytes of one turn: a hundredth of a second's, 4 KiB to 256 KiB.
    #[must_use]
    pub fn turn_bytes(self) -> u64 {
        (self.bytes_per_second.get() / 100).clamp(MIN_TURN, MAX_TURN)
    }

    /// Reserves `bytes` of a bucket that is full at `full_at`.
    #[must_use]
    pub fn reserve(self, full_at: Timestamp, now: Timestamp, bytes: u64) -> Reserved {
        let from = full_at.max(now);
        let burst = self.time_of(self.turn_bytes() * BURST_TURNS);
        let ahead = from.saturating_since(now);
        Reserved {
            full_at: from + self.time_of(bytes),
            begins: now + ahead.saturating_sub(burst),
        }
    }

    fn time_of(self, bytes: u64) -> Duration {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second.get());
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

const MIN_TURN: u64 = 4 * 1024;
const MAX_TURN: u64 = 256 * 1024;
/// Turns that a bucket gives at once after a pause.
const BURST_TURNS: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(bytes_per_second: u64) -> Pace {
        Pace::new(NonZeroU64::new(bytes_per_second).unwrap())
    }

    /// Bytes that turns let through in `seconds`, by each of `users` who are always ready.
    fn moved(pace: Pace, users: usize, seconds: u64) -> Vec<u64> {
        let end = Timestamp::from_nanos(seconds * 1_000_000_000);
        let mut full_at = Timestamp::ZERO;
        let mut ready_at = vec![Timestamp::ZERO; users];
        let mut moved = vec![0; users];
        loop {
            let next = (0..users).min_by_key(|user| ready_at[*user]).unwrap();
            let now = ready_at[next];
            if now >= end {
                return moved;
            }
            // It has its turn, moves it, and asks for the next.
            let reserved = pace.reserve(full_at, now, pace.turn_bytes());
            full_at = reserved.full_at;
            if reserved.begins <= now {
                moved[next] += pace.turn_bytes();
            } else {
                ready_at[next] = reserved.begins;
                moved[next] += pace.turn_bytes();
            }
        }
    }

    #[test]
    fn no_more_than_the_rate_passes_and_hardly_less() {
        for rate in [100_000, 1 << 20, 1 << 30, 20 << 30] {
            let total: u64 = moved(pace(rate), 1, 10).iter().sum();
            let share = total as f64 / (rate * 10) as f64;
            assert!((0.99..1.05).contains(&share), "{rate}: {share}");
        }
    }

    #[test]
    fn those_who_share_a_bucket_get_the_same() {
        let all = moved(pace(10 << 20), 7, 10);
        let (least, most) = (all.iter().min().unwrap(), all.iter().max().unwrap());
        assert!(most - least <= 8 * pace(10 << 20).turn_bytes(), "{all:?}");
        let share = all.iter().sum::<u64>() as f64 / f64::from(100 << 20);
        assert!((0.99..1.05).contains(&share), "{share}");
    }

    #[test]
    fn a_pause_is_made_up_for_by_a_few_turns_only() {
        let pace = pace(1_000_000);
        let now = Timestamp::from_nanos(60_000_000_000);
        let mut full_at = Timestamp::ZERO;
        let mut at_once = 0;
        loop {
            let reserved = pace.reserve(full_at, now, pace.turn_bytes());
            if reserved.begins > now {
                break;
            }
            full_at = reserved.full_at;
            at_once += 1;
        }
        assert_eq!(at_once, BURST_TURNS + 1);
    }
}
