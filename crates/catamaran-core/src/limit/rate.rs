//! Rate limiting per key: the generic cell rate algorithm (ITU-T I.371), which is a token bucket
//! that stores one time instead of a count and a time.
//!
//! [`Limiter`] is one shard; the shell guards it with a lock and finds it by [`Key::shard`]. Each
//! key has the time at which its bucket would be full again. A request moves it on by
//! `period / requests` and passes while it lies less than `burst` such steps ahead. A key whose
//! time has come is as good as unknown, so forgetting it forgives nothing.

use super::passes::Passes;
use super::unheard::Unheard;
use crate::Timestamp;
use crate::key::Key;
use crate::mirror::{Mirrored, Record};
use crate::model::RateLimit;
use crate::recency::Recency;
use std::ops::Range;
use std::time::Duration;

/// One shard of a rate limit.
#[derive(Debug)]
pub struct Limiter {
    /// When each key's bucket is full; the least recently asked about first.
    full_at: Recency<Timestamp>,
    /// Keys that gave way to others while their buckets were not full.
    evicted: u64,
    /// In which so many requests as the limit says may pass.
    period: Duration,
    /// Time that one request uses up.
    step: Duration,
    /// How far ahead a bucket's time may lie for a request to pass: `burst - 1` steps.
    tolerance: Duration,
    /// What passed here and at peers, if there are peers.
    shared: Option<Box<Shared>>,
}

/// What nodes do not know of each other yet.
#[derive(Clone, Debug, Default)]
struct Shared {
    /// What passed here since peers were told.
    passes: Passes,
    /// What may have passed there.
    unheard: Unheard,
}

/// A request came too early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rate limit exceeded, next request in {0:?}")]
pub struct RetryAfter(pub Duration);

impl RetryAfter {
    /// The value of a `Retry-After` field: whole seconds (RFC 9110 §10.2.3), rounded up, at least 1.
    #[must_use]
    pub const fn as_whole_seconds(self) -> u64 {
        let seconds = self.0.as_secs();
        if self.0.subsec_nanos() > 0 || seconds == 0 {
            seconds.saturating_add(1)
        } else {
            seconds
        }
    }
}

impl Limiter {
    /// One shard of `limit` that remembers `max_keys` (its share of `limit.max_keys`), at least
    /// one. A limit of zero requests or no burst is taken as one.
    #[must_use]
    pub fn new(limit: &RateLimit, max_keys: usize) -> Self {
        let step = limit.period / limit.requests.max(1);
        Self {
            full_at: Recency::new(max_keys),
            evicted: 0,
            period: limit.period,
            step,
            tolerance: step.saturating_mul(limit.burst.max(1) - 1),
            shared: None,
        }
    }

    /// Takes up a changed limit. What keys have used up stays used up.
    pub fn reconfigure(&mut self, limit: &RateLimit, max_keys: usize) {
        self.period = limit.period;
        self.step = limit.period / limit.requests.max(1);
        self.tolerance = self.step.saturating_mul(limit.burst.max(1) - 1);
        self.full_at.set_max_entries(max_keys);
    }

    /// Counts a request of `key`.
    ///
    /// # Errors
    /// [`RetryAfter`] if it comes too early; it is then not counted.
    pub fn check(&mut self, now: Timestamp, key: Key) -> Result<(), RetryAfter> {
        self.forget_full(now);
        let Some(slot) = self.full_at.find(key) else {
            let displaced = self.full_at.insert(key, now + self.step);
            self.evicted += u64::from(displaced.is_some());
            self.note_first_pass(now, key);
            return Ok(());
        };
        // A key that is refused stays as remembered as one that passes: forgetting it under
        // pressure would open the limit to whoever makes the pressure.
        self.full_at.move_to_back(slot);
        let full_at = self.full_at.value_mut(slot);
        let may_be_full_at = match &mut self.shared {
            Some(shared) => shared.unheard.full_at(slot, now, *full_at, self.step),
            None => *full_at,
        };
        let wait = may_be_full_at.saturating_since(now);
        let wait = wait.saturating_sub(self.tolerance);
        if !wait.is_zero() {
            return Err(RetryAfter(wait));
        }
        *full_at = now.max(*full_at) + self.step;
        self.full_at.mark(slot);
        if let Some(shared) = &mut self.shared {
            shared.passes.add(slot);
            shared.unheard.add(slot, now, may_be_full_at, self.step);
        }
        Ok(())
    }

    /// Counts for peers from now on what passes.
    pub fn count_for_peers(&mut self) {
        self.shared.get_or_insert_default();
    }

    /// Counts for peers no more: there are none.
    pub fn forget_peers(&mut self) {
        self.shared = None;
    }

    /// Begins a turn, in which so many peers may let as much pass as this node does, before it hears
    /// of it. What passed before the turn that ends here must be known at all peers.
    pub fn begin_turn(&mut self, others: u32) {
        if let Some(shared) = &mut self.shared {
            shared.unheard.begin_turn(others);
        }
    }

    /// The time in which one request is let go by: the period divided by the requests in it.
    #[must_use]
    pub const fn step(&self) -> Duration {
        self.step
    }

    /// The period of the limit.
    #[must_use]
    pub const fn period(&self) -> Duration {
        self.period
    }

    /// Tells how many requests of each key have passed since this was last called, of at most
    /// `max_keys` and a few more. Returns whether there are others.
    pub fn take_passes(&mut self, max_keys: usize, mut tell: impl FnMut(Key, u32)) -> bool {
        let Some(shared) = &mut self.shared else {
            return false;
        };
        let full_at = &self.full_at;
        shared.passes.take(max_keys, |slot, count| {
            if let Some((key, _)) = full_at.at(slot) {
                tell(*key, count);
            }
        })
    }

    /// Counts `requests` of `key` that peers let pass. A debt beyond one more burst is forgiven:
    /// when two halves of a mesh meet again, nobody is locked out for long.
    pub fn charge(&mut self, now: Timestamp, key: Key, requests: u32) {
        let most = now + (self.tolerance + self.step) * 2;
        let used = self.step.saturating_mul(requests);
        if let Some(slot) = self.full_at.find(key) {
            let full_at = self.full_at.value_mut(slot);
            *full_at = (now.max(*full_at) + used).min(most).max(*full_at);
            self.full_at.move_to_back(slot);
            self.full_at.mark(slot);
            return;
        }
        let displaced = self.full_at.insert(key, (now + used).min(most));
        self.evicted += u64::from(displaced.is_some());
        self.forget_passes(key);
    }

    /// Keys remembered.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.full_at.len()
    }

    /// Keys remembered at most.
    #[must_use]
    pub const fn max_len(&self) -> usize {
        self.full_at.max_len()
    }

    /// Keys that had to give way to others while they still counted.
    #[must_use]
    pub const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Whether no key is remembered.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn note_first_pass(&mut self, now: Timestamp, key: Key) {
        self.forget_passes(key);
        if let (Some(shared), Some(slot)) = (&mut self.shared, self.full_at.find(key)) {
            shared.passes.add(slot);
            shared.unheard.add(slot, now, now, self.step);
        }
    }

    /// The slot of a new key may have been another's.
    fn forget_passes(&mut self, key: Key) {
        if let Some(shared) = &mut self.shared
            && let Some(slot) = self.full_at.find(key)
        {
            shared.passes.forget(slot);
            shared.unheard.forget(slot);
        }
    }

    /// Whether nodes do not know of each other yet what the key that was asked about first let pass.
    fn is_first_open(&self, now: Timestamp) -> bool {
        let shared = self.shared.as_ref().zip(self.full_at.front_slot());
        shared.is_some_and(|(shared, slot)| {
            shared.passes.has(slot) || shared.unheard.is_open(slot, now)
        })
    }

    /// Drops up to two of the keys longest unasked whose buckets are full: more than a request can
    /// add, so the table shrinks by itself.
    fn forget_full(&mut self, now: Timestamp) {
        for _ in 0..2 {
            match self.full_at.front() {
                Some((_, full_at)) if *full_at <= now => {}
                _ => return,
            }
            // That is a matter of milliseconds.
            if self.is_first_open(now) {
                return;
            }
            self.full_at.pop_front();
        }
    }
}

impl Mirrored for Limiter {
    fn note_changes(&mut self) {
        self.full_at.note_changes();
    }

    fn take_changes(&mut self, from: u32) -> Option<Range<u32>> {
        self.full_at.take_changes(from)
    }

    fn record(&self, slot: u32) -> Option<Record> {
        let (key, full_at) = self.full_at.at(slot)?;
        Some(Record {
            key: *key,
            words: [full_at.as_nanos(), 0],
        })
    }

    fn entries(&self) -> usize {
        self.len()
    }

    fn slots(&self) -> u32 {
        self.full_at.slots()
    }

    /// Who was asked about last is not told: whose bucket is full first gives way first.
    fn restore(&mut self, now: Timestamp, slots: u32, records: &mut Vec<(u32, Record)>) {
        records.retain(|(_, record)| Timestamp::from_nanos(record.words[0]) > now);
        records.sort_unstable_by_key(|(_, record)| record.words[0]);
        let entries = records.iter();
        let entries = entries
            .map(|(slot, record)| (*slot, record.key, Timestamp::from_nanos(record.words[0])));
        self.full_at.restore(slots, &entries.collect::<Vec<_>>());
    }

    /// Both count: what one process let pass is used up for the other.
    fn merge(&mut self, now: Timestamp, record: &Record) {
        let full_at = Timestamp::from_nanos(record.words[0]);
        if full_at <= now {
            return;
        }
        let known = self.full_at.find(record.key);
        let is_earlier = known.is_some_and(|slot| *self.full_at.value_mut(slot) >= full_at);
        if !is_earlier {
            self.full_at.insert(record.key, full_at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::RateKey;
    use proptest::prelude::*;

    fn limit(requests: u32, burst: u32) -> RateLimit {
        RateLimit {
            requests,
            period: Duration::from_secs(1),
            burst,
            by: RateKey::SourceIp,
            max_keys: 100,
            denial: crate::model::Denial::default(),
        }
    }

    fn at_ms(millis: u64) -> Timestamp {
        Timestamp::from_nanos(millis * 1_000_000)
    }

    fn key(number: u64) -> Key {
        Key::of_bytes(&number.to_be_bytes())
    }

    #[test]
    fn a_burst_passes_and_the_next_is_told_when_to_come() {
        let mut limiter = Limiter::new(&limit(10, 3), 100);
        for _ in 0..3 {
            assert_eq!(limiter.check(at_ms(0), key(1)), Ok(()));
        }
        let wait = RetryAfter(Duration::from_millis(100));
        assert_eq!(limiter.check(at_ms(0), key(1)), Err(wait));
        assert_eq!(limiter.check(at_ms(100), key(1)), Ok(()));
        assert!(limiter.check(at_ms(100), key(1)).is_err());
    }

    #[test]
    fn keys_are_counted_apart() {
        let mut limiter = Limiter::new(&limit(1, 1), 100);
        assert_eq!(limiter.check(at_ms(0), key(1)), Ok(()));
        assert_eq!(limiter.check(at_ms(0), key(2)), Ok(()));
        assert!(limiter.check(at_ms(0), key(1)).is_err());
    }

    #[test]
    fn refused_requests_do_not_push_the_next_one_away() {
        let mut limiter = Limiter::new(&limit(1, 1), 100);
        limiter.check(at_ms(0), key(1)).unwrap();
        for millis in 1..1000 {
            assert!(limiter.check(at_ms(millis), key(1)).is_err());
        }
        assert_eq!(limiter.check(at_ms(1000), key(1)), Ok(()));
    }

    #[test]
    fn when_full_the_least_used_key_gives_way() {
        let mut limiter = Limiter::new(&limit(1, 1), 2);
        for number in [1, 2, 1, 3] {
            let _ = limiter.check(at_ms(0), key(number));
        }
        assert_eq!(limiter.len(), 2);
        assert!(limiter.check(at_ms(0), key(1)).is_err());
        assert_eq!(limiter.check(at_ms(0), key(2)), Ok(()));
    }

    #[test]
    fn a_reload_forgives_nothing_and_the_new_rate_holds_at_once() {
        let mut limiter = Limiter::new(&limit(1, 1), 100);
        limiter.check(at_ms(0), key(1)).unwrap();
        limiter.reconfigure(&limit(10, 1), 100);
        assert!(limiter.check(at_ms(999), key(1)).is_err());
        assert_eq!(limiter.check(at_ms(1000), key(1)), Ok(()));
        assert_eq!(limiter.check(at_ms(1100), key(1)), Ok(()));
    }

    #[test]
    fn keys_that_stay_away_are_forgotten() {
        let mut limiter = Limiter::new(&limit(10, 1), 100);
        for number in 0..100 {
            limiter.check(at_ms(0), key(number)).unwrap();
        }
        for millis in 0..100 {
            limiter
                .check(at_ms(1000 + millis * 200), key(1000))
                .unwrap();
        }
        assert_eq!(limiter.len(), 1);
    }

    #[test]
    fn retry_after_is_rounded_up_to_whole_seconds() {
        assert_eq!(RetryAfter(Duration::from_millis(1)).as_whole_seconds(), 1);
        assert_eq!(RetryAfter(Duration::from_secs(2)).as_whole_seconds(), 2);
        assert_eq!(
            RetryAfter(Duration::from_millis(2001)).as_whole_seconds(),
            3
        );
    }

    #[test]
    fn a_burst_to_all_nodes_at_once_is_shared_before_any_has_heard_of_another() {
        for nodes in 1..=5 {
            let passed = (0..nodes).map(|_| {
                let mut limiter = Limiter::new(&limit(100, 100), 100);
                limiter.count_for_peers();
                limiter.begin_turn(nodes - 1);
                let all = (0..200).filter(|_| limiter.check(at_ms(0), key(1)).is_ok());
                all.count()
            });
            let passed: usize = passed.sum();
            assert!((95..=105).contains(&passed), "{passed} at {nodes} nodes");
        }
    }

    #[test]
    fn a_node_whose_peers_let_nothing_pass_gives_out_the_rest_in_the_turns_that_follow() {
        let mut limiter = Limiter::new(&limit(100, 100), 100);
        limiter.count_for_peers();
        let mut passed = 0;
        for turn in 0..20 {
            limiter.begin_turn(1);
            let all = (0..200).filter(|_| limiter.check(at_ms(turn), key(1)).is_ok());
            passed += all.count();
        }
        assert!((99..=102).contains(&passed), "{passed}");
    }

    proptest! {
        #[test]
        fn no_second_holds_more_than_the_rate_and_the_burst(
            gaps in prop::collection::vec(0..50u64, 1..300)
        ) {
            let mut limiter = Limiter::new(&limit(20, 5), 100);
            let mut now = 0;
            let mut passed: Vec<u64> = Vec::new();
            for gap in gaps {
                now += gap;
                if limiter.check(at_ms(now), key(1)).is_ok() {
                    passed.push(now);
                }
            }
            for start in &passed {
                let within = passed.iter().filter(|at| (*start..*start + 1000).contains(at));
                prop_assert!(within.count() <= 20 + 5);
            }
        }
    }
}
