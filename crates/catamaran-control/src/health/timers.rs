//! When to look at what again, for ten thousand servers without looking at each.

use catamaran_core::Timestamp;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::Hash;

/// One timer for each `K`.
///
/// An armed timer is never put off: the machines behind it take a timeout that comes too early, and
/// arm it anew. So each key has one live entry in the heap, and dead ones only after it was armed
/// for an earlier time than before.
#[derive(Debug)]
pub(super) struct Timers<K> {
    heap: BinaryHeap<Reverse<(Timestamp, K)>>,
    armed: HashMap<K, Timestamp>,
}

impl<K: Copy + Eq + Hash + Ord> Timers<K> {
    pub(super) fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            armed: HashMap::new(),
        }
    }

    /// Arms the timer of `key` for `at`, unless it goes off before.
    pub(super) fn arm(&mut self, key: K, at: Option<Timestamp>) {
        let Some(at) = at else { return };
        if self.armed.get(&key).is_none_or(|armed| at < *armed) {
            self.armed.insert(key, at);
            self.heap.push(Reverse((at, key)));
        }
    }

    /// A timer that has gone off by `now`.
    pub(super) fn poll(&mut self, now: Timestamp) -> Option<K> {
        while let Some(Reverse((at, key))) = self.heap.peek().copied() {
            let is_live = self.armed.get(&key) == Some(&at);
            if is_live && at > now {
                return None;
            }
            self.heap.pop();
            if is_live {
                self.armed.remove(&key);
                return Some(key);
            }
        }
        None
    }

    /// When to call [`Self::poll`]; perhaps too early.
    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Option<Timestamp> {
        Some(Timestamp::from_nanos(nanos))
    }

    #[test]
    fn timers_go_off_in_order_and_once() {
        let mut timers = Timers::new();
        timers.arm('b', at(20));
        timers.arm('a', at(10));
        timers.arm('c', None);
        assert_eq!(timers.poll_timeout(), at(10));
        assert_eq!(timers.poll(Timestamp::from_nanos(9)), None);
        assert_eq!(timers.poll(Timestamp::from_nanos(20)), Some('a'));
        assert_eq!(timers.poll(Timestamp::from_nanos(20)), Some('b'));
        assert_eq!(timers.poll(Timestamp::MAX), None);
    }

    #[test]
    fn the_earliest_of_several_times_counts() {
        let mut timers = Timers::new();
        timers.arm('a', at(20));
        timers.arm('a', at(10));
        timers.arm('a', at(30));
        assert_eq!(timers.poll(Timestamp::MAX), Some('a'));
        assert_eq!(timers.poll(Timestamp::MAX), None, "one timer, one time");
    }

    #[test]
    fn arming_again_and_again_does_not_fill_the_heap() {
        let mut timers = Timers::new();
        for nanos in 0..1000 {
            timers.arm('a', at(nanos));
            timers.arm('a', at(nanos + 5));
            timers.poll(Timestamp::from_nanos(nanos));
        }
        assert!(timers.heap.len() <= 1);
    }
}
