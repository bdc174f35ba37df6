//! A bounded hash table whose entries also stand in a line, the least recently placed first.
//!
//! The affinity table, the rate limiter and the table of flows need the entry of a key and the entry
//! that has waited longest. Entries live in a [`Chain`]; a hash table of 32-bit slots finds them. That costs
//! eight bytes of links and six to eleven of index per entry, and no allocation per entry.

use crate::chain::{self, Chain};
use crate::key::Key;
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
}

impl<V, K: Copy + Eq + Hash> Recency<V, K> {
    /// An empty table of at most `max_entries`, which is taken as one at least.
    pub(crate) fn new(max_entries: usize) -> Self {
        Self {
            chain: Chain::new(),
            index: HashTable::new(),
            hasher: RandomState::default(),
            max_entries: max_entries.clamp(1, chain::MAX_LEN),
        }
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
            return Some(older);
        }
        let is_full = self.chain.len() >= self.max_entries;
        let first = if is_full { self.pop_front() } else { None };
        let slot = self.chain.push_back((key, value));
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
        self.chain.remove(slot).map(|(_, value)| value)
    }

    pub(crate) fn front(&self) -> Option<(K, &V)> {
        self.chain.front().map(|(_, (key, value))| (*key, value))
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
