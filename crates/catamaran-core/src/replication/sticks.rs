//! Replication of affinity tables: who changed each entry last, beside the tables themselves.
//!
//! The tables know nothing of stamps; those stand here, twelve bytes for each slot, and only where
//! there are peers. A change that was made here gets its stamp when it is collected, a few
//! milliseconds later, and so costs a request no more than a mark. Until then it counts as later
//! than anything a peer says, which is what its stamp will say. What a table held before it was
//! replicated (the process before has left it) is as old as its window: what peers heard since
//! then counts.

use super::clock::{HybridClock, NodeId, Now, Stamp};
use super::message::{Batch, StickEntry};
use super::tables::{Source, TableKey};
use super::wire::DecodeError;
use crate::Timestamp;
use crate::marks::Run;
use crate::mirror::Mirrored as _;
use crate::stick::Table;
use crate::tables::{KeptTable, Part, Shards, TableKind};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// The stamps of all affinity tables.
#[derive(Debug, Default)]
pub(super) struct Sticks {
    tables: HashMap<TableKey, Replica>,
}

#[derive(Debug)]
struct Replica {
    table: Arc<dyn Shards>,
    stamps: Vec<Stamps>,
    /// Whether what it held before it was replicated is still to be stamped.
    is_fresh: bool,
}

/// Who changed the entry of each slot, and when; and from whom this is known.
#[derive(Debug, Default)]
struct Stamps {
    times: Vec<u64>,
    nodes: Vec<NodeId>,
    tellers: Vec<NodeId>,
}

/// What became of the entries of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Applied {
    /// Entries that were newer than what was known.
    pub(super) taken: u64,
    /// Entries of a clock that is too far ahead.
    pub(super) ahead: u64,
    /// Whether the table is not known here.
    pub(super) is_unknown: bool,
}

impl Sticks {
    /// Takes up another list of tables. Returns whether one of them is new.
    pub(super) fn follow(&mut self, tables: &[KeptTable]) -> bool {
        let mut older = std::mem::take(&mut self.tables);
        let mut has_new = false;
        for KeptTable { name, shards } in tables {
            if name.kind != TableKind::Stick {
                continue;
            }
            let key = TableKey::new(name);
            let replica = match older.remove(&key) {
                Some(replica) if Arc::ptr_eq(&replica.table, shards) => replica,
                _ => {
                    has_new = true;
                    Replica::new(Arc::clone(shards))
                }
            };
            self.tables.insert(key, replica);
        }
        older.values().for_each(Replica::forget_peers);
        has_new
    }

    /// All shards there are.
    pub(super) fn sources(&self) -> Vec<Source> {
        let shards = self.tables.iter().flat_map(|(key, replica)| {
            (0..replica.stamps.len()).map(|shard| Source::Stick(*key, shard))
        });
        let mut sources: Vec<Source> = shards.collect();
        sources.sort_unstable();
        sources
    }

    /// Stamps what changed here. Says of which slots peers are to be told.
    pub(super) fn collect(
        &mut self,
        now: Now,
        (clock, me): (&mut HybridClock, NodeId),
        mut tell: impl FnMut(Source, Run),
    ) {
        for (key, replica) in &mut self.tables {
            let is_fresh = std::mem::take(&mut replica.is_fresh);
            let Replica { table, stamps, .. } = replica;
            for (shard, stamps) in stamps.iter_mut().enumerate() {
                let mut from = 0;
                let mut runs = Vec::new();
                let mut is_done = false;
                while !is_done {
                    is_done = true;
                    with(&**table, shard, |table| {
                        for _ in 0..RUNS_PER_LOCK {
                            let Some(run) = table.take_untold(from) else {
                                return;
                            };
                            from = run.first;
                            runs.push(stamps.stamp_changed(run, table, |opened_at| {
                                let age = now.mono.saturating_since(opened_at);
                                let time = match is_fresh {
                                    true => HybridClock::past(now, age),
                                    false => clock.tick(now),
                                };
                                Stamp { time, node: me }
                            }));
                        }
                        is_done = false;
                    });
                }
                for run in runs {
                    tell(Source::Stick(*key, shard), run);
                }
            }
        }
    }

    /// Writes what binds of these slots.
    pub(super) fn write(
        &self,
        now: Now,
        (table, shard): (TableKey, usize),
        runs: &[Run],
        out: &mut Vec<u8>,
    ) {
        let replica = self.tables.get(&table);
        let Some((replica, stamps)) = replica.and_then(|r| Some((r, r.stamps.get(shard)?))) else {
            return;
        };
        with(&*replica.table, shard, |table| {
            for slot in runs.iter().flat_map(|run| run.slots()) {
                if let Some(entry) = stamps.entry(now, slot, table) {
                    entry.write(out);
                }
            }
        });
    }

    /// The slots below `end` that one may look at, from `first` on.
    pub(super) fn slots(&self, source: (TableKey, usize)) -> u32 {
        let mut slots = 0;
        if let Some(replica) = self.tables.get(&source.0) {
            with(&*replica.table, source.1, |table| slots = table.slots());
        }
        slots
    }

    /// The slots whose entry is known from `node`.
    pub(super) fn slots_of(&self, node: NodeId, mut tell: impl FnMut(Source, u32)) {
        for (key, replica) in &self.tables {
            for (shard, stamps) in replica.stamps.iter().enumerate() {
                for (slot, _) in (0..).zip(&stamps.tellers).filter(|(_, of)| **of == node) {
                    tell(Source::Stick(*key, shard), slot);
                }
            }
        }
    }

    /// Takes what a peer tells.
    pub(super) fn apply(
        &mut self,
        now: Now,
        (clock, teller): (&mut HybridClock, NodeId),
        batch: &Batch<'_>,
    ) -> Result<Applied, DecodeError> {
        let mut applied = Applied::default();
        let Some(replica) = self.tables.get_mut(&TableKey(batch.table)) else {
            applied.is_unknown = true;
            return Ok(applied);
        };
        let entries = batch.entries().map(StickEntry::read);
        let entries = entries.collect::<Result<Vec<_>, _>>()?;
        let shards = replica.table.count();
        let is_together =
            |a: &StickEntry, b: &StickEntry| a.key.shard(shards) == b.key.shard(shards);
        let groups = entries.chunk_by(is_together);
        for group in groups.flat_map(|group| group.chunks(ENTRIES_PER_LOCK)) {
            let shard = group.first().map_or(0, |entry| entry.key.shard(shards));
            let stamps = &mut replica.stamps[shard];
            with(&*replica.table, shard, |table| {
                for entry in group {
                    applied.ahead += u64::from(clock.observe(now, entry.stamp.time));
                    applied.taken += u64::from(stamps.apply(now, (teller, entry), table));
                }
            });
        }
        Ok(applied)
    }
}

impl Replica {
    /// Of a table that counts as changed, all of it.
    fn new(table: Arc<dyn Shards>) -> Self {
        let shards = 0..table.count().get();
        shards
            .clone()
            .for_each(|shard| with(&*table, shard, Table::note_for_peers));
        Self {
            stamps: shards.map(|_| Stamps::default()).collect(),
            table,
            is_fresh: true,
        }
    }

    fn forget_peers(&self) {
        for shard in 0..self.stamps.len() {
            with(&*self.table, shard, Table::forget_peers);
        }
    }
}

/// Without a node nobody is to be told.
impl Drop for Sticks {
    fn drop(&mut self) {
        self.tables.values().for_each(Replica::forget_peers);
    }
}

/// Does something with a part of an affinity table.
fn with(table: &dyn Shards, shard: usize, mut act: impl FnMut(&mut Table)) {
    table.with(shard, &mut |part: Part<'_>| {
        if let Some(table) = part.stick() {
            act(table);
        }
    });
}

impl Stamps {
    /// Stamps those slots of `run` that are worth telling, and returns them.
    fn stamp_changed(
        &mut self,
        run: Run,
        table: &Table,
        mut stamp: impl FnMut(Timestamp) -> Stamp,
    ) -> Run {
        let mut told = Run {
            first: run.first,
            bits: 0,
        };
        for slot in run.slots() {
            // What was only chosen may be withdrawn at once.
            let entry = table.at(slot).map(|(_, entry)| entry);
            if let Some(entry) = entry.filter(|entry| entry.is_confirmed) {
                let Stamp { time, node } = stamp(entry.opened_at);
                let time = time.max(self.at(slot).time + 1);
                self.set(slot, Stamp { time, node }, node);
                told.bits |= 1 << (slot - run.first);
            }
        }
        told
    }

    /// What peers are told of a slot; `None` if it binds nobody, or is about to be told anew.
    fn entry(&self, now: Now, slot: u32, table: &Table) -> Option<StickEntry> {
        let (key, entry) = table.at(slot)?;
        let end = table.end_of(&entry);
        let stamp = self.at(slot);
        let is_told = entry.is_confirmed && end > now.mono && !table.is_untold(slot);
        (is_told && stamp != Stamp::default()).then(|| StickEntry {
            key,
            server: entry.server,
            stamp,
            age_ms: millis(now.mono.saturating_since(entry.opened_at)),
            life_ms: millis(end.saturating_since(now.mono)),
        })
    }

    /// Returns whether the entry is newer than what is known.
    fn apply(
        &mut self,
        now: Now,
        (teller, told): (NodeId, &StickEntry),
        table: &mut Table,
    ) -> bool {
        if let Some(slot) = table.slot_of(told.key) {
            let here = self.at(slot);
            let is_confirmed = table.at(slot).is_some_and(|(_, entry)| entry.is_confirmed);
            if table.is_untold(slot) && is_confirmed {
                self.set(slot, here.max(told.stamp), teller);
                return false;
            }
            if told.stamp <= here && is_confirmed {
                return false;
            }
        }
        let opened_at = now.mono - Duration::from_millis(told.age_ms.into());
        // A shorter window of the peer ends here when it ends there.
        let latest_end = now.mono + Duration::from_millis(u64::from(told.life_ms) + 1);
        let opened_at = opened_at.min(table.opened_for(latest_end));
        match table.put_told(now.mono, told.key, told.server, opened_at) {
            Some(slot) => {
                self.set(slot, told.stamp, teller);
                true
            }
            None => false,
        }
    }

    fn at(&self, slot: u32) -> Stamp {
        let slot = slot as usize;
        match (self.times.get(slot), self.nodes.get(slot)) {
            (Some(&time), Some(&node)) => Stamp { time, node },
            _ => Stamp::default(),
        }
    }

    fn set(&mut self, slot: u32, stamp: Stamp, teller: NodeId) {
        let slot = slot as usize;
        if slot >= self.times.len() {
            self.times.resize(slot + 1, 0);
            self.nodes.resize(slot + 1, NodeId::default());
            self.tellers.resize(slot + 1, NodeId::default());
        }
        self.times[slot] = stamp.time;
        self.nodes[slot] = stamp.node;
        self.tellers[slot] = teller;
    }
}

/// Rounded up: what is told is never younger than it is.
fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX)
}

/// Groups of 64 slots that are looked at while workers wait.
const RUNS_PER_LOCK: usize = 16;
/// Entries that are entered while workers wait.
const ENTRIES_PER_LOCK: usize = 64;
