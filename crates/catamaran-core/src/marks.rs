//! Which of numbered slots are marked: one bit each, found without looking at all of them.
//!
//! A table marks the slots of entries that changed; whoever is to tell others of them takes the
//! marks later, many at once. An entry that changes twice before it is taken is taken once. A second
//! level has one bit for each 64 slots, so that ten million slots of which few are marked are
//! searched in a few microseconds.

use std::ops::Range;

/// Marked slots.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks {
    words: Vec<u64>,
    /// One bit for each word that is not zero.
    summary: Vec<u64>,
}

/// Slots that stand together: `first`, a multiple of 64, and a bit for each of the 64 from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) first: u32,
    pub(crate) bits: u64,
}

impl Run {
    /// All slots below `end` of the 64 that begin with `first`.
    pub(crate) const fn below(first: u32, end: u32) -> Self {
        let count = end.saturating_sub(first);
        let bits = if count >= 64 {
            u64::MAX
        } else {
            (1 << count) - 1
        };
        Self { first, bits }
    }

    pub(crate) const fn len(self) -> u32 {
        self.bits.count_ones()
    }

    /// From the first of them to the last.
    pub(crate) const fn range(self) -> Range<u32> {
        self.first + self.bits.trailing_zeros()..self.first + 64 - self.bits.leading_zeros()
    }

    pub(crate) fn slots(self) -> impl Iterator<Item = u32> {
        let mut bits = self.bits;
        std::iter::from_fn(move || {
            let bit = (bits != 0).then(|| bits.trailing_zeros())?;
            bits &= bits - 1;
            Some(self.first + bit)
        })
    }
}

impl Marks {
    pub(crate) fn mark(&mut self, slot: u32) {
        let (word, bit) = place(slot);
        self.add(word, bit);
    }

    pub(crate) fn mark_run(&mut self, run: Run) {
        if run.bits != 0 {
            self.add(place(run.first).0, run.bits);
        }
    }

    pub(crate) fn is_marked(&self, slot: u32) -> bool {
        let (word, bit) = place(slot);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.summary.iter().all(|word| *word == 0)
    }

    /// How many slots are marked.
    pub(crate) fn len(&self) -> usize {
        let words = self.words.iter();
        words.map(|word| word.count_ones() as usize).sum()
    }

    /// The next marked slots, at those of `from` or after them; they are unmarked.
    pub(crate) fn take(&mut self, from: u32) -> Option<Run> {
        let from = from as usize / 64;
        let beyond = u64::MAX << (from % 64);
        let (at, masked) = (from / 64..self.summary.len()).find_map(|at| {
            let mask = if at == from / 64 { beyond } else { u64::MAX };
            let masked = self.summary[at] & mask;
            (masked != 0).then_some((at, masked))
        })?;
        let bit = masked.trailing_zeros();
        self.summary[at] &= !(1 << bit);
        let word = at * 64 + bit as usize;
        Some(Run {
            first: u32::try_from(word * 64).expect("marks are made of 32-bit slots"),
            bits: std::mem::take(&mut self.words[word]),
        })
    }

    fn add(&mut self, word: usize, bits: u64) {
        if word >= self.words.len() {
            // As vectors grow, not word by word.
            let words = (word + 1).next_power_of_two();
            self.words.resize(words, 0);
            self.summary.resize(words.div_ceil(64), 0);
        }
        self.words[word] |= bits;
        self.summary[word / 64] |= 1 << (word % 64);
    }
}

const fn place(slot: u32) -> (usize, u64) {
    (slot as usize / 64, 1 << (slot % 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn what_was_marked_is_taken_once_in_order(
            slots in prop::collection::vec(0..20_000u32, 0..200),
            from in 0..20_000u32,
        ) {
            let mut marks = Marks::default();
            slots.iter().for_each(|slot| marks.mark(*slot));
            let all: BTreeSet<u32> = slots.into_iter().collect();
            prop_assert_eq!(marks.len(), all.len());
            let mut taken = Vec::new();
            for start in [from, 0] {
                let mut next = start;
                while let Some(run) = marks.take(next) {
                    prop_assert!(run.first / 64 >= next / 64);
                    prop_assert_eq!(run.len() as usize, run.slots().count());
                    taken.extend(run.slots());
                    next = run.first;
                }
            }
            prop_assert!(marks.is_empty());
            taken.sort_unstable();
            prop_assert_eq!(taken, all.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_run_ends_where_slots_end() {
        assert_eq!(Run::below(64, 64).len(), 0);
        assert_eq!(Run::below(64, 67).slots().collect::<Vec<_>>(), [64, 65, 66]);
        assert_eq!(Run::below(64, 500).len(), 64);
        let mut marks = Marks::default();
        marks.mark_run(Run::below(64, 66));
        assert!(marks.is_marked(65) && !marks.is_marked(66) && !marks.is_marked(9999));
    }
}
