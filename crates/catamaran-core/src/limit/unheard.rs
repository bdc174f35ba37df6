//! What peers may have let pass of a limit of which nobody has heard here yet.
//!
//! Word of a request is under way for some milliseconds. If every node gave out all that it thinks
//! is left, a burst to all of them at once would pass as often as there are nodes. So whatever passes
//! here is taken to pass at each of the others at the same moment, until word of it must have come.
//! What they really let pass is then known, and what is left is given out again by the same rule.
//!
//! Time goes in turns, which the mesh begins (see [`Unheard::begin_turn`]): what passed before the
//! last whole turn is known to all.

use crate::Timestamp;
use std::time::Duration;

/// The keys of one limiter, by their slots.
#[derive(Clone, Debug, Default)]
pub(super) struct Unheard {
    /// So many peers may let something pass.
    others: u32,
    turn: u32,
    keys: Vec<Assumed>,
}

/// One key. Those who may be new in their slot are all zeros, or of a turn long over.
#[derive(Clone, Copy, Debug, Default)]
struct Assumed {
    /// When the bucket is full if all others did as this node does.
    full_at: Timestamp,
    turn: u32,
    /// Requests that passed in that turn.
    passed: u32,
}

impl Unheard {
    /// Begins a turn, in which `others` may let something pass. What passed before the turn that
    /// ends here must be known to all.
    pub(super) fn begin_turn(&mut self, others: u32) {
        self.turn = self.turn.wrapping_add(1);
        self.others = others;
        if others == 0 {
            self.keys = Vec::new();
        }
    }

    /// When the bucket of `slot` may be full, which is at `heard` by all that is known.
    pub(super) fn full_at(
        &mut self,
        slot: u32,
        now: Timestamp,
        heard: Timestamp,
        step: Duration,
    ) -> Timestamp {
        let (turn, others) = (self.turn, self.others);
        let Some(key) = self.keys.get_mut(slot as usize) else {
            return heard;
        };
        if key.turn != turn {
            let is_known = key.turn.wrapping_add(1) != turn;
            let passed = if is_known { 0 } else { key.passed };
            let at_most = heard.max(now) + step.saturating_mul(passed.saturating_mul(others));
            *key = Assumed {
                full_at: key.full_at.min(at_most),
                turn,
                passed: 0,
            };
        }
        key.full_at.max(heard)
    }

    /// Notes that a request passed while the bucket was full at `full_at`, as told by
    /// [`Self::full_at`].
    pub(super) fn add(&mut self, slot: u32, now: Timestamp, full_at: Timestamp, step: Duration) {
        if self.others == 0 {
            return;
        }
        let at = slot as usize;
        if at >= self.keys.len() {
            self.keys
                .resize((at + 1).next_power_of_two(), Assumed::default());
        }
        let key = &mut self.keys[at];
        let passed = if key.turn == self.turn { key.passed } else { 0 };
        let all = self.others.saturating_add(1);
        *key = Assumed {
            full_at: now.max(full_at) + step.saturating_mul(all),
            turn: self.turn,
            passed: passed.saturating_add(1),
        };
    }

    /// Whether more may have passed of what `slot` has than is known.
    pub(super) fn is_open(&self, slot: u32, now: Timestamp) -> bool {
        let key = self.keys.get(slot as usize);
        key.is_some_and(|key| {
            let is_known = key.turn != self.turn && key.turn.wrapping_add(1) != self.turn;
            !is_known && key.full_at > now
        })
    }

    /// Forgets whoever had `slot`.
    pub(super) fn forget(&mut self, slot: u32) {
        if let Some(key) = self.keys.get_mut(slot as usize) {
            *key = Assumed::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_millis(10);

    fn at_ms(millis: u64) -> Timestamp {
        Timestamp::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn what_passes_here_is_taken_to_pass_elsewhere_until_it_is_known() {
        let mut unheard = Unheard::default();
        unheard.begin_turn(1);
        unheard.add(3, at_ms(0), at_ms(0), STEP);
        // One step is known, two may be used up.
        assert_eq!(unheard.full_at(3, at_ms(0), at_ms(10), STEP), at_ms(20));
        unheard.begin_turn(1);
        assert_eq!(unheard.full_at(3, at_ms(0), at_ms(10), STEP), at_ms(20));
        unheard.begin_turn(1);
        assert_eq!(unheard.full_at(3, at_ms(0), at_ms(10), STEP), at_ms(10));
    }

    #[test]
    fn what_peers_tell_of_is_not_assumed_a_second_time() {
        let mut unheard = Unheard::default();
        unheard.begin_turn(1);
        unheard.add(0, at_ms(0), at_ms(0), STEP);
        assert_eq!(unheard.full_at(0, at_ms(1), at_ms(20), STEP), at_ms(20));
        // More than was assumed counts as told.
        assert_eq!(unheard.full_at(0, at_ms(1), at_ms(90), STEP), at_ms(90));
    }

    #[test]
    fn a_turn_that_never_ends_takes_the_share_of_the_others_and_no_more() {
        let mut unheard = Unheard::default();
        unheard.begin_turn(1);
        let (mut heard, mut passed) = (at_ms(0), 0);
        for millis in 0..1000 {
            let now = at_ms(millis);
            let full_at = unheard.full_at(0, now, heard, STEP);
            if full_at <= now {
                unheard.add(0, now, full_at, STEP);
                heard = heard.max(now) + STEP;
                passed += 1;
            }
        }
        assert_eq!(passed, 50);
    }

    #[test]
    fn who_is_alone_assumes_nothing() {
        let mut unheard = Unheard::default();
        unheard.begin_turn(2);
        unheard.add(0, at_ms(0), at_ms(0), STEP);
        unheard.begin_turn(0);
        unheard.add(0, at_ms(0), at_ms(10), STEP);
        assert_eq!(unheard.full_at(0, at_ms(0), at_ms(20), STEP), at_ms(20));
    }
}
