//! What the clock of an agent's machine says, as far as messages there and back can tell.
//!
//! ```text
//!   here    sent ───────────────────────────── heard
//!   there            ──── there ────
//! ```
//! An answer that carries the time there was made between sending and hearing. If both ways take as long,
//! it was made in the middle; at worst the guess is half of the way there and back beside. The shortest of
//! the last trips says most, for what made the others longer was on one way only, as a rule.

use std::collections::VecDeque;

/// The last trips to an agent; times in nanoseconds.
#[derive(Debug, Default)]
pub(super) struct Clocks {
    /// How long each took, and what time it was there at its middle, less what it was here.
    trips: VecDeque<(u64, i128)>,
}

impl Clocks {
    /// Takes in an answer that was asked for at `sent`, given at `there` by the clock there, and heard at
    /// `heard`.
    pub(super) fn note(&mut self, sent: u64, there: u64, heard: u64) {
        let trip = heard.saturating_sub(sent);
        let ahead = i128::from(there) - i128::from(sent) - i128::from(trip / 2);
        if self.trips.len() >= KEPT {
            self.trips.pop_front();
        }
        self.trips.push_back((trip, ahead));
    }

    /// How long the shortest of the last trips took.
    pub(super) fn round_trip(&self) -> Option<u64> {
        Some(self.best()?.0)
    }

    /// What the clock there says when this one says `at`; without a trip nothing is known.
    pub(super) fn there(&self, at: u64) -> Option<u64> {
        let there = i128::from(at) + self.best()?.1;
        u64::try_from(there).ok()
    }

    fn best(&self) -> Option<&(u64, i128)> {
        self.trips.iter().min_by_key(|(trip, _)| *trip)
    }
}

/// Trips that are looked at. With ten a second, those of some six seconds: clocks drift.
const KEPT: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Measures an agent whose clock is hours ahead, over ways of any length. Returns by how many nanoseconds it
    /// begins beside the moment, and the shortest trip.
    fn begin(rng: &mut fastrand::Rng) -> (u64, u64) {
        let start = 100_000 * MS;
        // True time is that of the coordinator.
        let ahead = rng.u64(..10_000_000 * MS);
        let (least, most) = (rng.u64(..3 * MS), rng.u64(3 * MS..80 * MS));
        let mut clocks = Clocks::default();
        let (mut now, mut shortest) = (50_000 * MS, u64::MAX);
        for _ in 0..rng.usize(1..=KEPT) {
            let (go, come) = (rng.u64(least..most), rng.u64(least..most));
            clocks.note(now, now + go + ahead, now + go + come);
            shortest = shortest.min(go + come);
            now += 100 * MS;
        }
        let begins = clocks.there(start).unwrap() - ahead;
        (begins.abs_diff(start), shortest)
    }

    #[test]
    fn agents_begin_together_within_half_of_the_shortest_trip_whatever_their_clocks_say() {
        for seed in 0..5000 {
            let (beside, shortest) = begin(&mut fastrand::Rng::with_seed(seed));
            assert!(
                beside <= shortest / 2 + 1,
                "seed {seed}: {beside} of {shortest}"
            );
        }
    }

    #[test]
    fn a_trip_with_a_slow_way_back_is_outdone_by_a_quick_one() {
        let mut clocks = Clocks::default();
        assert_eq!((clocks.there(5), clocks.round_trip()), (None, None));
        clocks.note(0, 1001, 100);
        assert_eq!(clocks.there(0), Some(951));
        clocks.note(200, 1201, 202);
        assert_eq!(clocks.there(0), Some(1000));
        assert_eq!(clocks.round_trip(), Some(2));
        // A clock that is behind.
        let mut clocks = Clocks::default();
        clocks.note(1000, 11, 1002);
        assert_eq!(clocks.there(5000), Some(4010));
        assert_eq!(clocks.there(5), None);
    }

    #[test]
    fn old_trips_are_forgotten_for_clocks_drift() {
        let mut clocks = Clocks::default();
        clocks.note(0, 500, 0);
        for trip in 0..KEPT as u64 {
            clocks.note(trip, trip + 705, trip + 10);
        }
        assert_eq!(clocks.there(0), Some(700));
    }
}
