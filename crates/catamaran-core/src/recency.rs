//! A bounded hash table whose entries also stand in a line, the least recently placed first.
//!
//! The affinity table, the rate limiter and the table of flows need the entry of a key and the entry
//! that has waited longest. Entries live in a [`Chain`]; a hash table of 32-bit slots finds them. That costs
//! eight bytes of links and six to eleven of index per entry, and no allocation per entry.

use crate::chain::{self, Chain};
use crate::key::Key;
use crate::marks::Marks;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use std::hash::{BuildHasher, Hash};

/// Values by key, in the order in which they were last placed at the end.
#[derive(Debug)]
pub(crate) struct Recency<V, K = Key> {
    chain: Chain<(K, V)>,
    index: HashTable<u32>,
    /// Seeded per table, so that no client can aim at one bucket.
    hasher: RandomState,
    max_entries: usize,
    /// Slots whose entry another place has otherwise, if there is such a place.
    changes: Option<Box<Marks>>,
}

impl<V, K: Copy + Eq + Hash> Recency<V, K> {
    /// An empty table of at most `max_entries`, which is taken as one at least.
    pub(crate) fn new(max_entries: usize) -> Self {
        Self {
            chain: Chain::new(),
            index: HashTable::new(),
            hasher: RandomState::default(),
            max_entries: max_entries.clamp(1, chain::MAX_LEN),
            changes: None,
        }
    }

    /// Puts entries in place of those there are, which have their slots already and come in the
    /// order of the line. Of two with the same key the later one stays; the slots of those left out
    /// count as changed, if changes are noted.
    pub(crate) fn restore(&mut self, slots: u32, entries: &[(u32, K, V)])
    where
        V: Copy,
    {
        let places = entries
            .iter()
            .map(|(slot, key, value)| (*slot, (*key, *value)));
        self.chain = Chain::restored(slots, places);
        self.index.clear();
        let (chain, hasher) = (&self.chain, &self.hasher);
        self.index
            .reserve(chain.len(), |slot| hasher.hash_one(key_at(chain, *slot)));
        let mut dropped = Vec::new();
        for (slot, key, _) in entries {
            if chain.get(*slot).is_none_or(|(placed, _)| placed != key) {
                dropped.push(*slot);
                continue;
            }
            let entry = self.index.entry(
                hasher.hash_one(key),
                |seen| key_at(chain, *seen) == *key,
                |seen| hasher.hash_one(key_at(chain, *seen)),
            );
            match entry {
                Entry::Occupied(mut older) if older.get() != slot => {
                    dropped.push(*older.get());
                    *older.get_mut() = *slot;
                }
                Entry::Occupied(_) => {}
                Entry::Vacant(entry) => {
                    entry.insert(*slot);
                }
            }
        }
        for slot in dropped {
            let is_indexed = self
                .at(slot)
                .is_some_and(|(key, _)| self.find(*key) == Some(slot));
            if !is_indexed {
                self.chain.remove(slot);
                self.mark(slot);
            }
        }
        self.set_max_entries(self.max_entries);
    }

    /// Notes from now on which slots change; those in use count as changed.
    pub(crate) fn note_changes(&mut self) {
        let mut changes = Marks::default();
        (0..self.chain.slots()).for_each(|slot| changes.mark(slot));
        self.changes = Some(Box::new(changes));
    }

    /// Notes that the entry at `slot` changed.
    pub(crate) fn mark(&mut self, slot: u32) {
        if let Some(changes) = &mut self.changes {
            changes.mark(slot);
        }
    }

    /// The next slots that changed, at `from` or after it, which count as unchanged from now on.
    pub(crate) fn take_changes(&mut self, from: u32) -> Option<std::ops::Range<u32>> {
        let run = self.changes.as_mut()?.take(from)?;
        Some(run.range())
    }

    /// The entry at a slot; `None` if that is vacant.
    pub(crate) fn at(&self, slot: u32) -> Option<&(K, V)> {
        self.chain.get(slot)
    }

    /// Slots that are or were taken: their numbers are below it.
    pub(crate) fn slots(&self) -> u32 {
        self.chain.slots()
    }

    /// The slot of `key`'s entry. Valid until an entry is removed.
    pub(crate) fn find(&self, key: K) -> Option<u32> {
        let chain = &self.chain;
        self.index
            .find(self.hasher.hash_one(key), |slot| {
                key_at(chain, *slot) == key
            })
            .copied()
    }

    /// The value at a slot that [`Self::find`] gave.
    pub(crate) fn value_mut(&mut self, slot: u32) -> &mut V {
        &mut self.chain.get_mut(slot).expect(OCCUPIED).1
    }

    /// Moves the entry at a slot that [`Self::find`] gave to the end of the line.
    pub(crate) fn move_to_back(&mut self, slot: u32) {
        self.chain.move_to_back(slot);
    }

    /// Places `value` at the end of the line, instead of an older one of the same key. When full
    /// the first of the line gives way. Returns what had to leave.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        if let Some(slot) = self.find(key) {
            let older = std::mem::replace(self.value_mut(slot), value);
            self.chain.move_to_back(slot);
            self.mark(slot);
            return Some(older);
        }
        let is_full = self.chain.len() >= self.max_entries;
        let first = if is_full { self.pop_front() } else { None };
        let slot = self.chain.push_back((key, value));
        self.mark(slot);
        let (chain, hasher) = (&self.chain, &self.hasher);
        self.index
            .insert_unique(hasher.hash_one(key), slot, |slot| {
                hasher.hash_one(key_at(chain, *slot))
            });
        first.map(|(_, value)| value)
    }

    pub(crate) fn remove(&mut self, key: K) -> Option<V> {
        let (chain, hasher) = (&self.chain, &self.hasher);
        let entry = self.index.entry(
            hasher.hash_one(key),
            |slot| key_at(chain, *slot) == key,
            |slot| hasher.hash_one(key_at(chain, *slot)),
        );
        let Entry::Occupied(entry) = entry else {
            return None;
        };
        let (slot, _) = entry.remove();
        self.mark(slot);
        self.chain.remove(slot).map(|(_, value)| value)
    }

    pub(crate) fn front(&self) -> Option<(K, &V)> {
        self.chain.front().map(|(_, (key, value))| (*key, value))
    }

    /// The slot of the first of the line.
    pub(crate) fn front_slot(&self) -> Option<u32> {
        self.chain.front().map(|(slot, _)| slot)
    }

    pub(crate) fn pop_front(&mut self) -> Option<(K, V)> {
        let (key, _) = self.front()?;
        self.remove(key).map(|value| (key, value))
    }

    /// Changes the limit. The first of the line give way at once if there are too many.
    pub(crate) fn set_max_entries(&mut self, max_entries: usize) {
        self.max_entries = max_entries.clamp(1, chain::MAX_LEN);
        while self.chain.len() > self.max_entries {
            self.pop_front();
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        self.chain.iter().map(|(key, value)| (*key, value))
    }

    pub(crate) const fn max_len(&self) -> usize {
        self.max_entries
    }

    pub(crate) const fn len(&self) -> usize {
        self.chain.len()
    }
}

fn key_at<V, K: Copy>(chain: &Chain<(K, V)>, slot: u32) -> K {
    chain.get(slot).expect(OCCUPIED).0
}

const OCCUPIED: &str = "the index holds occupied slots only";

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> Key {
        Key::of_bytes(&[number])
    }

    #[test]
    fn the_least_recently_placed_gives_way() {
        let mut table = Recency::new(3);
        for number in 0..3 {
            table.insert(key(number), number);
        }
        let first = table.find(key(0)).unwrap();
        table.move_to_back(first);
        table.insert(key(3), 3);
        let left: Vec<u8> = table.iter().map(|(_, value)| *value).collect();
        assert_eq!(left, [2, 0, 3]);
        assert_eq!(table.find(key(1)), None);
        assert_eq!(table.remove(key(1)), None);
        assert_eq!(table.remove(key(0)), Some(0));
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn a_lower_limit_holds_at_once() {
        let mut table = Recency::new(100);
        for number in 0..100 {
            table.insert(key(number), number);
        }
        table.set_max_entries(1);
        assert_eq!(table.len(), 1);
        assert_eq!(table.pop_front(), Some((key(99), 99)));
    }
}
