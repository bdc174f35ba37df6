//! Flows of datagrams: which belong together, which flow gives way when there are too many, and
//! what is kept of a flow that has no server yet.
//!
//! Datagrams from one client to one address of ours are a flow. [`Flows`] finds the flow of a
//! datagram; when it is full the flow that has been silent longest gives way, so that a flood of
//! forged sources costs bounded memory and sockets. [`Backlog`] holds the datagrams that come while
//! a server is being chosen.

use crate::recency::Recency;
use std::collections::VecDeque;
use std::hash::Hash;

/// Flows by key, each with what the shell knows it by. Bounded.
#[derive(Debug)]
pub struct Flows<K, V> {
    entries: Recency<V, K>,
}

impl<K: Copy + Eq + Hash, V> Flows<K, V> {
    /// An empty table of at most `max` flows, which is taken as one at least.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self {
            entries: Recency::new(max),
        }
    }

    /// The flow that a datagram with this key belongs to; it is now the last to give way.
    pub fn handle_datagram(&mut self, key: K) -> Option<&V> {
        let slot = self.entries.find(key)?;
        self.entries.move_to_back(slot);
        Some(self.entries.value_mut(slot))
    }

    /// Adds a flow. Returns the one that gives way to it.
    pub fn insert(&mut self, key: K, flow: V) -> Option<V> {
        self.entries.insert(key, flow)
    }

    /// Forgets a flow that has ended.
    pub fn remove(&mut self, key: K) -> Option<V> {
        self.entries.remove(key)
    }

    /// Forgets the flows whose key is one of `which`, and returns them.
    pub fn extract(&mut self, which: impl Fn(K) -> bool) -> Vec<V> {
        let keys = self.entries.iter().map(|(key, _)| key);
        let keys: Vec<K> = keys.filter(|key| which(*key)).collect();
        keys.into_iter()
            .filter_map(|key| self.entries.remove(key))
            .collect()
    }

    /// All flows with their keys.
    pub fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        self.entries.iter()
    }

    /// How many flows there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Datagrams that wait for a server, the first come first. Bounded; what comes beyond is lost, as
/// datagrams may be.
#[derive(Debug, Default)]
pub struct Backlog {
    datagrams: VecDeque<Box<[u8]>>,
    bytes: usize,
}

impl Backlog {
    /// Datagrams kept at most. Chosen: what a client sends before it has had any answer.
    pub const MAX_DATAGRAMS: usize = 16;
    /// Bytes kept at most: one datagram of any size.
    pub const MAX_BYTES: usize = 64 * 1024;

    /// Keeps a copy of `datagram`. Returns whether there was room.
    pub fn push(&mut self, datagram: &[u8]) -> bool {
        let bytes = self.bytes + datagram.len();
        if self.datagrams.len() >= Self::MAX_DATAGRAMS || bytes > Self::MAX_BYTES {
            return false;
        }
        self.bytes = bytes;
        self.datagrams.push_back(datagram.into());
        true
    }

    /// Takes the one that has waited longest.
    pub fn pop(&mut self) -> Option<Box<[u8]>> {
        let datagram = self.datagrams.pop_front()?;
        self.bytes -= datagram.len();
        Some(datagram)
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.datagrams.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flow_that_was_silent_longest_gives_way() {
        let mut flows = Flows::new(2);
        assert_eq!(flows.insert(1, "first"), None);
        assert_eq!(flows.insert(2, "second"), None);
        assert_eq!(flows.handle_datagram(1), Some(&"first"));
        assert_eq!(flows.insert(3, "third"), Some("second"));
        assert_eq!(flows.handle_datagram(2), None);
        assert_eq!(flows.len(), 2);
    }

    #[test]
    fn a_flood_never_holds_more_than_the_table() {
        let mut flows = Flows::new(100);
        let evicted = (0..10_000).filter_map(|key| flows.insert(key, key));
        assert!(evicted.eq(0..9_900));
        assert_eq!(flows.len(), 100);
    }

    #[test]
    fn a_flow_that_ended_makes_room() {
        let mut flows = Flows::new(1);
        flows.insert('a', 1);
        assert_eq!(flows.remove('a'), Some(1));
        assert_eq!(flows.remove('a'), None);
        assert!(flows.is_empty());
        assert_eq!(flows.insert('b', 2), None);
    }

    #[test]
    fn a_backlog_keeps_the_order_and_its_bounds() {
        let mut backlog = Backlog::default();
        for number in 0..=255_u8 {
            let fits = usize::from(number) < Backlog::MAX_DATAGRAMS;
            assert_eq!(backlog.push(&[number]), fits);
        }
        assert_eq!(backlog.pop().as_deref(), Some([0].as_slice()));
        assert_eq!(backlog.len(), Backlog::MAX_DATAGRAMS - 1);
        let mut backlog = Backlog::default();
        assert!(backlog.push(&[0; Backlog::MAX_BYTES]));
        assert!(!backlog.push(b"x"));
        assert!(backlog.pop().is_some() && backlog.is_empty());
        assert!(backlog.push(b"x"));
    }

    #[test]
    fn an_empty_datagram_is_one_too() {
        let mut backlog = Backlog::default();
        assert!(backlog.push(b""));
        assert_eq!(backlog.pop().as_deref(), Some(b"".as_slice()));
        assert_eq!(backlog.pop(), None);
    }
}
