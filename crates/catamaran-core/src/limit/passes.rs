//! How many requests of each key have passed since peers were told, by the slots of the limiter.

use crate::marks::Marks;

/// Counts by slot.
#[derive(Clone, Debug, Default)]
pub(super) struct Passes {
    counts: Vec<u32>,
    /// Slots whose count is not zero.
    marks: Marks,
}

impl Passes {
    pub(super) fn add(&mut self, slot: u32) {
        let at = slot as usize;
        if at >= self.counts.len() {
            self.counts.resize((at + 1).next_power_of_two(), 0);
        }
        self.counts[at] = self.counts[at].saturating_add(1);
        self.marks.mark(slot);
    }

    pub(super) fn has(&self, slot: u32) -> bool {
        self.counts
            .get(slot as usize)
            .is_some_and(|count| *count > 0)
    }

    pub(super) fn forget(&mut self, slot: u32) {
        if let Some(count) = self.counts.get_mut(slot as usize) {
            *count = 0;
        }
    }

    /// Tells the counts of at most `max` slots, and up to 63 more. Returns whether there are others.
    pub(super) fn take(&mut self, max: usize, mut tell: impl FnMut(u32, u32)) -> bool {
        let mut told = 0;
        while told < max {
            let Some(run) = self.marks.take(0) else {
                return false;
            };
            told += run.len() as usize;
            for slot in run.slots() {
                let count = std::mem::take(&mut self.counts[slot as usize]);
                if count > 0 {
                    tell(slot, count);
                }
            }
        }
        !self.marks.is_empty()
    }
}
