//! A list in few allocations: push to the end, remove anywhere, both in constant time.
//!
//! The order that the affinity table, the rate limiter and the wait queue need is kept by links
//! between numbered slots. Slots are reused; who holds a slot number must know by other means that
//! it is still theirs. Slots lie in blocks that never move: one vector would now and then copy
//! millions of entries while its lock is held, and stand half empty after that.

use std::fmt;

/// A doubly linked list in numbered slots. Slot numbers stay put until the value is removed.
pub(crate) struct Chain<T> {
    /// All but the last are full; the first grows to its size as vectors do, and so does one that
    /// was restored.
    blocks: Vec<Vec<Node<T>>>,
    /// Head of the singly linked list of vacant slots, by `next`.
    vacant: u32,
    front: u32,
    back: u32,
    len: usize,
}

struct Node<T> {
    prev: u32,
    next: u32,
    value: Option<T>,
}

impl<T> Chain<T> {
    pub(crate) const fn new() -> Self {
        Self {
            blocks: Vec::new(),
            vacant: NONE,
            front: NONE,
            back: NONE,
            len: 0,
        }
    }

    /// Appends `value`. Returns its slot.
    pub(crate) fn push_back(&mut self, value: T) -> u32 {
        let slot = self.take_vacant_slot();
        self.node_mut(slot).expect(TAKEN).value = Some(value);
        self.link_back(slot);
        self.len += 1;
        slot
    }

    /// Removes the value at `slot`; `None` if the slot is vacant or was never used.
    pub(crate) fn remove(&mut self, slot: u32) -> Option<T> {
        let node = self.node_mut(slot)?;
        let value = node.value.take()?;
        let (prev, next) = (node.prev, node.next);
        self.unlink(prev, next);
        let vacant = self.vacant;
        self.node_mut(slot).expect(TAKEN).next = vacant;
        self.vacant = slot;
        self.len -= 1;
        Some(value)
    }

    /// A list of `slots` slots, whose values have places already, in the order of the list. Slots
    /// out of range and those that are taken already are left out.
    pub(crate) fn restored(slots: u32, values: impl Iterator<Item = (u32, T)>) -> Self {
        let mut chain = Self::new();
        for first in (0..slots as usize).step_by(BLOCK) {
            // The last takes no more than it holds: most of many thousand small tables is one block.
            let held = BLOCK.min(slots as usize - first);
            chain.blocks.push((0..held).map(|_| Node::VACANT).collect());
        }
        for (slot, value) in values {
            let Some(node) = chain.node_mut(slot).filter(|node| node.value.is_none()) else {
                continue;
            };
            node.value = Some(value);
            chain.link_back(slot);
            chain.len += 1;
        }
        // The lowest first, so that the slots in use stay together.
        for slot in (0..slots).rev() {
            let vacant = chain.vacant;
            let node = chain.node_mut(slot).expect(TAKEN);
            if node.value.is_none() {
                node.next = vacant;
                chain.vacant = slot;
            }
        }
        chain
    }

    /// Slots that are or were taken: their numbers are below it.
    pub(crate) fn slots(&self) -> u32 {
        let full = self.blocks.len().saturating_sub(1) * BLOCK;
        let slots = full + self.blocks.last().map_or(0, Vec::len);
        u32::try_from(slots).expect("constructors limit chains to MAX_LEN")
    }

    /// Moves the value at `slot`, which must be occupied, to the end.
    pub(crate) fn move_to_back(&mut self, slot: u32) {
        debug_assert!(self.get(slot).is_some(), "the slot is occupied");
        if self.back != slot {
            let node = self.node(slot).expect(TAKEN);
            self.unlink(node.prev, node.next);
            self.link_back(slot);
        }
    }

    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.node_mut(slot)?.value.as_mut()
    }

    pub(crate) fn get(&self, slot: u32) -> Option<&T> {
        self.node(slot)?.value.as_ref()
    }

    /// The first value and its slot.
    pub(crate) fn front(&self) -> Option<(u32, &T)> {
        self.get(self.front).map(|value| (self.front, value))
    }

    /// The values from the first to the last.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        let mut slot = self.front;
        std::iter::from_fn(move || {
            let node = self.node(slot)?;
            slot = node.next;
            node.value.as_ref()
        })
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    fn take_vacant_slot(&mut self) -> u32 {
        if self.vacant != NONE {
            let slot = self.vacant;
            self.vacant = self.node(slot).expect(TAKEN).next;
            return slot;
        }
        let is_full = self.blocks.last().is_none_or(|last| last.len() == BLOCK);
        if is_full {
            let capacity = if self.blocks.is_empty() { 4 } else { BLOCK };
            self.blocks.push(Vec::with_capacity(capacity));
        }
        let full_blocks = self.blocks.len() - 1;
        let last = self.blocks.last_mut().expect("one was pushed if none was");
        last.push(Node::VACANT);
        let slot = full_blocks * BLOCK + last.len() - 1;
        u32::try_from(slot).expect("constructors limit chains to MAX_LEN")
    }

    fn link_back(&mut self, slot: u32) {
        let last = self.back;
        let node = self.node_mut(slot).expect(TAKEN);
        node.prev = last;
        node.next = NONE;
        self.back = slot;
        match self.node_mut(last) {
            Some(node) => node.next = slot,
            None => self.front = slot,
        }
    }

    /// Joins the neighbours of a node that leaves its place.
    fn unlink(&mut self, prev: u32, next: u32) {
        match self.node_mut(prev) {
            Some(node) => node.next = next,
            None => self.front = next,
        }
        match self.node_mut(next) {
            Some(node) => node.prev = prev,
            None => self.back = prev,
        }
    }

    fn node(&self, slot: u32) -> Option<&Node<T>> {
        let slot = slot as usize;
        self.blocks.get(slot / BLOCK)?.get(slot % BLOCK)
    }

    fn node_mut(&mut self, slot: u32) -> Option<&mut Node<T>> {
        let slot = slot as usize;
        self.blocks.get_mut(slot / BLOCK)?.get_mut(slot % BLOCK)
    }
}

impl<T> Node<T> {
    const VACANT: Self = Self {
        prev: NONE,
        next: NONE,
        value: None,
    };
}

impl<T> fmt::Debug for Chain<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain").field("len", &self.len).finish()
    }
}

/// The most values a chain may hold: slots are 32 bits and the last is [`NONE`].
pub(crate) const MAX_LEN: usize = NONE as usize - 1;

/// A link to nowhere. No chain is that long, so there is no node of this number.
const NONE: u32 = u32::MAX;

/// Slots per block; a power of two, so that finding one takes a shift and a mask.
const BLOCK: usize = 1024;

const TAKEN: &str = "the slot was taken from this chain";

/// Memory of one value and its links.
#[cfg(test)]
pub(crate) const fn node_bytes<T>() -> usize {
    size_of::<Node<T>>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a vector of values in order.
        #[test]
        fn a_chain_keeps_the_order_of_a_vector(
            steps in prop::collection::vec((0..3u8, any::<prop::sample::Index>()), 0..200)
        ) {
            let mut chain = Chain::new();
            let mut model: Vec<(u32, usize)> = Vec::new();
            for (number, (step, index)) in steps.into_iter().enumerate() {
                if step == 0 || model.is_empty() {
                    model.push((chain.push_back(number), number));
                    continue;
                }
                let at = index.index(model.len());
                let (slot, value) = model.remove(at);
                if step == 1 {
                    prop_assert_eq!(chain.remove(slot), Some(value));
                    prop_assert_eq!(chain.remove(slot), None);
                } else {
                    chain.move_to_back(slot);
                    model.push((slot, value));
                }
                prop_assert_eq!(chain.len(), model.len());
                prop_assert_eq!(chain.front().map(|(_, value)| *value), model.first().map(|e| e.1));
            }
            let order: Vec<usize> = chain.iter().copied().collect();
            let expected: Vec<usize> = model.iter().map(|entry| entry.1).collect();
            prop_assert_eq!(order, expected);
        }
    }

    #[test]
    fn a_restored_chain_is_the_one_before() {
        let mut chain = Chain::new();
        for number in 0..3000 {
            chain.push_back(number);
        }
        for slot in (0..3000).step_by(3) {
            chain.remove(slot);
        }
        chain.move_to_back(1);
        let order: Vec<u32> = chain.iter().copied().collect();
        let places = order.iter().map(|number| (*number, *number));
        let mut restored = Chain::restored(chain.slots(), places.chain([(1, 7), (5000, 8)]));
        assert_eq!(restored.iter().copied().collect::<Vec<_>>(), order);
        assert_eq!(restored.len(), chain.len());
        // What is vacant is used before anything new.
        assert_eq!(restored.push_back(9), 0);
        assert_eq!(restored.push_back(9), 3);
        assert_eq!(restored.slots(), 3000);
    }

    #[test]
    fn order_holds_across_blocks() {
        let mut chain = Chain::new();
        let slots: Vec<u32> = (0..3 * BLOCK)
            .map(|number| chain.push_back(number))
            .collect();
        for slot in slots.iter().skip(1).step_by(2) {
            chain.remove(*slot);
        }
        let left: Vec<usize> = chain.iter().copied().collect();
        let even: Vec<usize> = (0..3 * BLOCK).step_by(2).collect();
        assert_eq!(left, even);
        assert_eq!(chain.blocks.len(), 3);
    }

    #[test]
    fn a_chain_that_never_grows_beyond_a_length_reuses_its_slots() {
        let mut chain = Chain::new();
        for number in 0..1000 {
            let slot = chain.push_back(number);
            assert_eq!(chain.remove(slot), Some(number));
        }
        assert_eq!(chain.blocks[0].len(), 1);
    }
}
