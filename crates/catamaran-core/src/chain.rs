//! A list in one allocation: push to the end, remove anywhere, both in constant time.
//!
//! The order that the affinity table, the rate limiter and the wait queue need is kept by links
//! between slots of one vector. Slots are reused; who holds a slot number must know by other means
//! that it is still theirs.

use std::fmt;

/// A doubly linked list in slots of a vector. Slot numbers stay put until the value is removed.
pub(crate) struct Chain<T> {
    nodes: Vec<Node<T>>,
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
            nodes: Vec::new(),
            vacant: NONE,
            front: NONE,
            back: NONE,
            len: 0,
        }
    }

    /// Appends `value`. Returns its slot.
    pub(crate) fn push_back(&mut self, value: T) -> u32 {
        let slot = self.take_vacant_slot();
        self.nodes[slot as usize].value = Some(value);
        self.link_back(slot);
        self.len += 1;
        slot
    }

    /// Removes the value at `slot`; `None` if the slot is vacant or was never used.
    pub(crate) fn remove(&mut self, slot: u32) -> Option<T> {
        let value = self.nodes.get_mut(slot as usize)?.value.take()?;
        self.unlink(slot);
        self.nodes[slot as usize].next = self.vacant;
        self.vacant = slot;
        self.len -= 1;
        Some(value)
    }

    /// Moves the value at `slot`, which must be occupied, to the end.
    pub(crate) fn move_to_back(&mut self, slot: u32) {
        debug_assert!(self.get(slot).is_some(), "the slot is occupied");
        if self.back != slot {
            self.unlink(slot);
            self.link_back(slot);
        }
    }

    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        self.nodes.get_mut(slot as usize)?.value.as_mut()
    }

    pub(crate) fn get(&self, slot: u32) -> Option<&T> {
        self.nodes.get(slot as usize)?.value.as_ref()
    }

    /// The first value and its slot.
    pub(crate) fn front(&self) -> Option<(u32, &T)> {
        self.get(self.front).map(|value| (self.front, value))
    }

    /// The values from the first to the last.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        let mut slot = self.front;
        std::iter::from_fn(move || {
            let node = self.nodes.get(slot as usize)?;
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
            self.vacant = self.nodes[slot as usize].next;
            return slot;
        }
        if self.nodes.len() == self.nodes.capacity() {
            // Doubling would leave a table of millions half empty; a sixteenth is still amortised
            // constant time.
            self.nodes.reserve_exact((self.nodes.len() / 16).max(4));
        }
        let slot = u32::try_from(self.nodes.len()).expect("constructors limit chains to MAX_LEN");
        self.nodes.push(Node {
            prev: NONE,
            next: NONE,
            value: None,
        });
        slot
    }

    fn link_back(&mut self, slot: u32) {
        let last = self.back;
        let node = &mut self.nodes[slot as usize];
        node.prev = last;
        node.next = NONE;
        self.back = slot;
        match self.nodes.get_mut(last as usize) {
            Some(node) => node.next = slot,
            None => self.front = slot,
        }
    }

    fn unlink(&mut self, slot: u32) {
        let Node { prev, next, .. } = self.nodes[slot as usize];
        match self.nodes.get_mut(prev as usize) {
            Some(node) => node.next = next,
            None => self.front = next,
        }
        match self.nodes.get_mut(next as usize) {
            Some(node) => node.prev = prev,
            None => self.back = prev,
        }
    }
}

impl<T> fmt::Debug for Chain<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chain").field("len", &self.len).finish()
    }
}

/// The most values a chain may hold: slots are 32 bits and the last is [`NONE`].
pub(crate) const MAX_LEN: usize = NONE as usize - 1;

/// A link to nowhere. No vector of nodes is that long, so `get` on it is `None`.
const NONE: u32 = u32::MAX;

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
    fn a_chain_that_never_grows_beyond_a_length_reuses_its_slots() {
        let mut chain = Chain::new();
        for number in 0..1000 {
            let slot = chain.push_back(number);
            assert_eq!(chain.remove(slot), Some(number));
        }
        assert_eq!(chain.nodes.len(), 1);
    }
}
