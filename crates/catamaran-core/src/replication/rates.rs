//! Replication of rate limits: what each node let pass, counted apart and added up.
//!
//! There is one count for each key, node, run of that node and period. A node only ever raises its
//! own, so that the greater of two is the later, and hearing something twice counts once. What a
//! count grew by is charged to the limiter here as if it had passed here.

use super::clock::{Incarnation, NodeId, Now};
use super::message::{Batch, Bucket, RateEntry};
use super::serving::Serving;
use super::tables::TableKey;
use super::wire::DecodeError;
use crate::Timestamp;
use crate::key::Key;
use crate::limit::Limiter;
use crate::marks::Run;
use crate::recency::Recency;
#[cfg(test)]
use crate::tables::TableName;
use crate::tables::{KeptTable, Part, Shards, TableKind};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// All counts of all nodes that are known here.
#[derive(Debug)]
pub(super) struct Rates {
    counts: Recency<[Bucket; 2], Slot>,
    limits: HashMap<TableKey, Limit>,
    serving: HashMap<TableKey, Serving>,
}

/// Whose count it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Slot {
    table: TableKey,
    key: Key,
    node: NodeId,
    incarnation: Incarnation,
}

#[derive(Clone, Debug)]
struct Limit {
    period_ms: u64,
    /// In which one request is let go by.
    step: Duration,
    shards: Arc<dyn Shards>,
}

impl Rates {
    /// Remembers `max_counts` counts.
    pub(super) fn new(max_counts: usize) -> Self {
        Self {
            counts: Recency::new(max_counts),
            limits: HashMap::new(),
            serving: HashMap::new(),
        }
    }

    /// Takes up another list of tables.
    pub(super) fn follow(&mut self, tables: &[KeptTable]) {
        let older = std::mem::take(&mut self.limits);
        for KeptTable { name, shards } in tables {
            if name.kind != TableKind::Rate {
                continue;
            }
            let (mut period_ms, mut step) = (1, Duration::ZERO);
            for shard in 0..shards.count().get() {
                with(&**shards, shard, |limiter| {
                    limiter.count_for_peers();
                    period_ms = u64::try_from(limiter.period().as_millis()).unwrap_or(u64::MAX);
                    step = limiter.step();
                });
            }
            let limit = Limit {
                period_ms: period_ms.max(1),
                step,
                shards: Arc::clone(shards),
            };
            self.limits.insert(TableKey::new(name), limit);
        }
        for (name, limit) in &older {
            let successor = self.limits.get(name);
            if successor.is_none_or(|new| !Arc::ptr_eq(&new.shards, &limit.shards)) {
                limit.forget_peers();
            }
        }
        self.serving
            .retain(|name, _| self.limits.contains_key(name));
    }

    /// Begins a turn, in which each of the `connected` that serve may let something pass. What passed
    /// before the turn that ends here must be known to them.
    pub(super) fn begin_turn(&mut self, now: Timestamp, connected: &[NodeId]) {
        for (name, limit) in &self.limits {
            let serving = self.serving.entry(*name).or_default();
            let others = serving.others(now, connected);
            for shard in 0..limit.shards.count().get() {
                with(&*limit.shards, shard, |limiter| limiter.begin_turn(others));
            }
        }
    }

    /// Adds what passed here. Says of which slots peers are to be told.
    pub(super) fn collect(
        &mut self,
        now: Now,
        (node, incarnation): (NodeId, Incarnation),
        mut tell: impl FnMut(u32),
    ) {
        let mut passed = Vec::new();
        for (name, limit) in &self.limits {
            for shard in 0..limit.shards.count().get() {
                let mut has_more = true;
                while has_more {
                    has_more = false;
                    with(&*limit.shards, shard, |limiter| {
                        has_more = limiter.take_passes(KEYS_PER_LOCK, |key, count| {
                            passed.push((*name, limit.period_ms, key, count));
                        });
                    });
                }
            }
        }
        for (table, period_ms, key, count) in passed {
            let slot = Slot {
                table,
                key,
                node,
                incarnation,
            };
            self.serving.entry(table).or_default().note_own(now.mono);
            let mut buckets = self.known(slot).unwrap_or_default();
            add(&mut buckets, now.wall_ms / period_ms, count);
            tell(self.set(slot, buckets));
        }
    }

    /// Writes the counts of these slots that still mean something and belong to one table, and
    /// returns that table. Slots of other tables are given back by `rest`.
    pub(super) fn write(
        &self,
        now: Now,
        runs: &[Run],
        out: &mut Vec<u8>,
        mut rest: impl FnMut(u32),
    ) -> Option<TableKey> {
        let mut first = None;
        for slot in runs.iter().flat_map(|run| run.slots()) {
            let Some((of, buckets)) = self.counts.at(slot) else {
                continue;
            };
            let Some(limit) = self.limits.get(&of.table) else {
                continue;
            };
            if buckets[0].number + 1 < now.wall_ms / limit.period_ms {
                continue;
            }
            if *first.get_or_insert(of.table) != of.table {
                rest(slot);
                continue;
            }
            let entry = RateEntry {
                key: of.key,
                node: of.node,
                incarnation: of.incarnation,
                buckets: *buckets,
            };
            entry.write(out);
        }
        first
    }

    /// Takes what a peer tells. What is heard of for the first time is charged only if `charges`.
    /// Returns whether the table is known here.
    pub(super) fn apply(
        &mut self,
        now: Now,
        (me, charges): ((NodeId, Incarnation), bool),
        batch: &Batch<'_>,
    ) -> Result<bool, DecodeError> {
        let name = TableKey(batch.table);
        let Some(limit) = self.limits.get(&name).cloned() else {
            return Ok(false);
        };
        for entry in batch.entries() {
            let told = RateEntry::read(entry)?;
            if (told.node, told.incarnation) == me {
                continue;
            }
            let slot = Slot {
                table: name,
                key: told.key,
                node: told.node,
                incarnation: told.incarnation,
            };
            let known = self.known(slot);
            let (merged, growth) = merge(known, told.buckets);
            if growth > 0 || known != Some(merged) {
                self.set(slot, merged);
            }
            let growth = match known {
                Some(_) => growth,
                None if charges => left_of(limit.period_ms, limit.step, now.wall_ms, told.buckets),
                None => 0,
            };
            if growth > 0 {
                let serving = self.serving.entry(name).or_default();
                serving.note_peer(now.mono, told.node);
                let shard = told.key.shard(limit.shards.count());
                with(&*limit.shards, shard, |limiter| {
                    limiter.charge(now.mono, told.key, growth);
                });
            }
        }
        Ok(true)
    }

    pub(super) fn slots(&self) -> u32 {
        self.counts.slots()
    }

    /// What all nodes together let pass of `key` in the newest period that each has told.
    #[cfg(test)]
    pub(super) fn sum(&self, table: &TableName, key: Key) -> u64 {
        let (table, counts) = (TableKey::new(table), self.counts.iter());
        let counts = counts.filter(|(slot, _)| slot.table == table && slot.key == key);
        counts.map(|(_, buckets)| u64::from(buckets[0].count)).sum()
    }

    fn known(&self, slot: Slot) -> Option<[Bucket; 2]> {
        let at = self.counts.find(slot)?;
        self.counts.at(at).map(|(_, buckets)| *buckets)
    }

    fn set(&mut self, slot: Slot, buckets: [Bucket; 2]) -> u32 {
        self.counts.insert(slot, buckets);
        self.counts.find(slot).expect("it was inserted")
    }
}

impl Limit {
    fn forget_peers(&self) {
        for shard in 0..self.shards.count().get() {
            with(&*self.shards, shard, Limiter::forget_peers);
        }
    }
}

/// Without a node nobody is to be told.
impl Drop for Rates {
    fn drop(&mut self) {
        self.limits.values().for_each(Limit::forget_peers);
    }
}

/// Does something with a part of a limit.
fn with(limit: &dyn Shards, shard: usize, mut act: impl FnMut(&mut Limiter)) {
    limit.with(shard, &mut |part: Part<'_>| {
        if let Some(limiter) = part.rate() {
            act(limiter);
        }
    });
}

/// Counts in the bucket of this number, or in the newest if the clock went back.
fn add(buckets: &mut [Bucket; 2], number: u64, count: u32) {
    if number > buckets[0].number {
        buckets[1] = buckets[0];
        buckets[0] = Bucket { number, count: 0 };
    }
    buckets[0].count = buckets[0].count.saturating_add(count);
}

/// The greater of both counts of each period, for the two newest periods; and by how much that is
/// more than was known.
fn merge(known: Option<[Bucket; 2]>, told: [Bucket; 2]) -> ([Bucket; 2], u32) {
    let Some(known) = known else {
        return (told, told[0].count.saturating_add(told[1].count));
    };
    let newest = known[0].number.max(told[0].number);
    let second = [known[0], known[1], told[0], told[1]];
    let second = second.iter().map(|bucket| bucket.number);
    let second = second.filter(|number| *number < newest).max();
    let count = |of: &[Bucket; 2], number| {
        let bucket = of.iter().find(|bucket| bucket.number == number);
        bucket.map_or(0, |bucket| bucket.count)
    };
    let mut merged = [Bucket::default(); 2];
    let mut growth = 0_u32;
    for (bucket, number) in merged.iter_mut().zip([Some(newest), second]) {
        let number = number.unwrap_or(0);
        let (before, said) = (count(&known, number), count(&told, number));
        growth = growth.saturating_add(said.saturating_sub(before));
        *bucket = Bucket {
            number,
            count: before.max(said),
        };
    }
    (merged, growth)
}

/// What of the counts of both periods has not been let go by yet. When in its period a request passed is
/// not told: all are taken to have passed at its end, or now. Whoever keeps to the limit then goes on at
/// its pace, without a burst.
fn left_of(period_ms: u64, step: Duration, wall_ms: u64, [newest, older]: [Bucket; 2]) -> u32 {
    let end_of = |bucket: Bucket| {
        let end = (bucket.number + 1).saturating_mul(period_ms);
        end.min(wall_ms)
    };
    let gone = |from_ms: u64, to_ms: u64| {
        let time = Duration::from_millis(to_ms.saturating_sub(from_ms));
        let count = time.as_nanos() / step.as_nanos().max(1);
        u32::try_from(count).unwrap_or(u32::MAX)
    };
    let left = gone(end_of(older), end_of(newest));
    let left = older.count.saturating_sub(left);
    left.saturating_add(newest.count)
        .saturating_sub(gone(end_of(newest), wall_ms))
}

/// Keys that are looked at while workers wait.
const KEYS_PER_LOCK: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bucket(number: u64, count: u32) -> Bucket {
        Bucket { number, count }
    }

    #[test]
    fn a_count_grows_by_what_was_not_known() {
        let known = [bucket(8, 5), bucket(7, 9)];
        let told = [bucket(8, 7), bucket(7, 9)];
        assert_eq!(merge(Some(known), told), (told, 2));
        assert_eq!(merge(Some(told), known), (told, 0));
        assert_eq!(merge(Some(told), told), (told, 0));
        let next = [bucket(9, 1), bucket(8, 8)];
        assert_eq!(merge(Some(told), next), (next, 2));
        assert_eq!(merge(None, next), (next, 9));
    }

    #[test]
    fn of_what_is_heard_for_the_first_time_counts_what_has_not_been_let_go_by() {
        const HOUR: u64 = 3_600_000;
        const MINUTE: u64 = 60_000;
        let left_of = |wall_ms, buckets| left_of(HOUR, Duration::from_secs(6), wall_ms, buckets);
        let at = |hour, minute| hour * HOUR + minute * MINUTE;
        // All of 600 used up just before the hour, and one more just after it.
        let buckets = [bucket(11, 1), bucket(10, 600)];
        assert_eq!(left_of(at(11, 1), buckets), 591);
        // Used up in the hour before, and nothing since.
        let buckets = [bucket(10, 600), bucket(0, 0)];
        assert_eq!(left_of(at(11, 50), buckets), 100);
        assert_eq!(left_of(at(12, 1), buckets), 0);
        // The clock of the peer is ahead.
        assert_eq!(left_of(at(9, 0), buckets), 600);
    }

    proptest! {
        /// A node counts and tells of it now and then, some words twice, some late, some never.
        #[test]
        fn no_order_of_hearing_counts_more_than_was_counted(
            steps in prop::collection::vec((0..3u64, 0..5u32), 1..40),
            heard in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
        ) {
            let mut own = [Bucket::default(); 2];
            let (mut number, mut total) = (1, 0);
            let mut said = Vec::new();
            for (later, count) in steps {
                number += later;
                add(&mut own, number, count);
                total += count;
                said.push(own);
            }
            let mut known = None;
            let mut charged = 0;
            for index in heard {
                let (merged, growth) = merge(known, said[index.index(said.len())]);
                known = Some(merged);
                charged += growth;
            }
            prop_assert!(charged <= total, "{charged} of {total}");
        }
    }
}
