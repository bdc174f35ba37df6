//! Smooth weighted round robin from a sequence made beforehand.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Whose turn it is in a backend, shared by its workers and kept when a rotation is rebuilt.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Cursor(AtomicUsize);

impl Cursor {
    /// Takes the next turn.
    pub(super) fn advance(&self) -> usize {
        self.0.fetch_add(1, Relaxed)
    }
}

/// The order in which servers take turns, as indices; repeats without end.
///
/// A pick is one look-up however many servers there are. The table has as many entries as the
/// weights add up to, after division by their greatest common divisor; beyond [`MAX_TURNS`] the
/// weights are rounded to fit.
#[derive(Debug)]
pub(super) struct Turns(Box<[u32]>);

impl Turns {
    /// `weights` are positive.
    pub(super) fn new(weights: &[u32]) -> Self {
        let divisor = weights.iter().copied().fold(0, gcd).max(1);
        let mut weights: Vec<u64> = weights.iter().map(|w| u64::from(w / divisor)).collect();
        let total: u64 = weights.iter().sum();
        if total == weights.len() as u64 {
            return Self((0..).zip(&weights).map(|(index, _)| index).collect());
        }
        if total.saturating_mul(weights.len() as u64) <= MAX_SMOOTH_STEPS {
            return Self(smooth(&weights, total));
        }
        if total > MAX_TURNS {
            for weight in &mut weights {
                *weight = ((*weight * MAX_TURNS + total / 2) / total).max(1);
            }
        }
        Self(by_deadline(&weights))
    }

    /// Who has turn number `turn`; `None` only if there is nobody.
    pub(super) fn at(&self, turn: usize) -> Option<usize> {
        let turn = turn.checked_rem(self.0.len())?;
        Some(self.0[turn] as usize)
    }
}

/// The order of nginx: in every turn each gains its weight, and the one with the most pays `total`.
fn smooth(weights: &[u64], total: u64) -> Box<[u32]> {
    let total = total.cast_signed();
    let mut gains: Vec<(u32, i64, i64)> = (0..)
        .zip(weights)
        .map(|(index, weight)| (index, weight.cast_signed(), 0))
        .collect();
    (0..total)
        .filter_map(|_| {
            for (_, weight, gain) in &mut gains {
                *gain += *weight;
            }
            // `max_by_key` would take the last of equals; nginx takes the first.
            let (index, _, gain) = gains.iter_mut().rev().max_by_key(|(_, _, gain)| *gain)?;
            *gain -= total;
            Some(*index)
        })
        .collect()
}

/// Nearly the order of [`smooth`] for backends too large for it: each server's turns are due at even
/// distances, the earliest due comes first. O(log n) per turn instead of O(n).
fn by_deadline(weights: &[u64]) -> Box<[u32]> {
    let total: u64 = weights.iter().sum();
    let mut due: BinaryHeap<Reverse<(u64, u32, u64)>> = (0..)
        .zip(weights)
        .map(|(index, weight)| {
            let distance = (1 << 40) / weight;
            Reverse((distance / 2, index, distance))
        })
        .collect();
    (0..total)
        .filter_map(|_| {
            let Reverse((at, index, distance)) = due.pop()?;
            due.push(Reverse((at + distance, index, distance)));
            Some(index)
        })
        .collect()
}

fn gcd(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Bounds the table to about 1 MiB; a server too light for one turn in it still gets one.
const MAX_TURNS: u64 = 1 << 18;
/// Bounds the time to build the exact order to a few milliseconds.
const MAX_SMOOTH_STEPS: u64 = 4_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(turns: &Turns, servers: usize) -> Vec<usize> {
        let mut counts = vec![0; servers];
        for index in &turns.0 {
            counts[*index as usize] += 1;
        }
        counts
    }

    #[test]
    fn turns_are_smooth_as_those_of_nginx() {
        assert_eq!(*Turns::new(&[5, 1, 1]).0, [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(*Turns::new(&[3, 1]).0, [0, 0, 1, 0]);
        assert_eq!(*Turns::new(&[30, 10]).0, [0, 0, 1, 0]);
    }

    #[test]
    fn ten_thousand_equal_servers_take_one_turn_each() {
        let turns = Turns::new(&vec![10; 10_000]);
        assert_eq!(turns.0.len(), 10_000);
        assert_eq!(turns.at(9_999), Some(9_999));
        assert_eq!(turns.at(10_000), Some(0));
    }

    #[test]
    fn many_servers_of_unequal_weight_share_by_weight_in_a_bounded_table() {
        let weights: Vec<u32> = (0..10_000).map(|i| 20 + i % 240).collect();
        let turns = Turns::new(&weights);
        assert!(turns.0.len() as u64 <= MAX_TURNS + 10_000);
        let counts = counts(&turns, weights.len());
        assert_eq!(counts[0], counts[240]);
        assert!(counts[220] >= 10 * counts[0] && counts[220] <= 13 * counts[0]);
        assert!(counts.iter().all(|count| *count > 0));
    }

    #[test]
    fn turns_by_deadline_give_each_its_weight() {
        let turns = Turns(by_deadline(&[5, 1, 1, 3]));
        assert_eq!(counts(&turns, 4), [5, 1, 1, 3]);
    }

    #[test]
    fn nobody_has_no_turn() {
        assert_eq!(Turns::new(&[]).at(3), None);
    }
}
