//! The copies of the tables: where each stands, bringing them up to date, restoring from them.

use super::file::{Document, MAX_PLACES, MAX_SHARDS, Place, StateFile};
use catamaran_core::mirror::{Record, read_records, write_run};
use catamaran_core::tables::{KeptTable, Shards, TableKind, TableName};
use catamaran_core::{Key, Timestamp};
use catamaran_proxy::Snapshot;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

/// The tables that are copied, by name.
#[derive(Debug, Default)]
pub(super) struct Tables {
    copied: HashMap<TableName, Copied>,
}

#[derive(Debug)]
struct Copied {
    place: Place,
    shards: Arc<dyn Shards>,
    /// Slots of each shard as they are noted in the file.
    slots: Vec<u32>,
}

/// Entries of one table that another process is told of.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Changed {
    kind: Kind,
    of: String,
    on: String,
    /// The halves of the key, the higher one first, and the words.
    entries: Vec<[u64; 4]>,
}

/// How a table stands in the directory.
#[derive(Debug, Deserialize, Serialize)]
struct Entry {
    place: Place,
    kind: Kind,
    of: String,
    on: String,
    shards: usize,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Stick,
    Rate,
}

impl Tables {
    /// Begins to copy the tables of `snapshot`, before anybody is served, having restored those
    /// that the file knows. Returns how many entries came back.
    pub(super) fn restore(
        file: &StateFile,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> io::Result<(Self, usize)> {
        let directory = read_directory(file);
        let mut tables = Self::default();
        let mut unknown = Vec::new();
        for KeptTable { name, shards } in snapshot.kept_tables() {
            let count = shards.count().get();
            let entry = directory.get(&name).filter(|entry| entry.shards == count);
            let Some(entry) = entry else {
                unknown.push(KeptTable { name, shards });
                continue;
            };
            let place = entry.place;
            let slots = file.read_slots(place)?[..count].to_vec();
            let copied = Copied {
                place,
                shards,
                slots,
            };
            tables.copied.insert(name, copied);
        }
        let entries = tables.restore_shards(file, now)?;
        let taken = tables.places();
        for entry in directory.values() {
            if !taken.contains(&entry.place) {
                file.clear(entry.place)?;
            }
        }
        for table in unknown {
            tables.begin(file, table)?;
        }
        tables.write_directory(file)?;
        Ok((tables, entries))
    }

    /// Restores all shards, on as many threads as there are processors: clients wait. Returns how
    /// many entries came back.
    fn restore_shards(&self, file: &StateFile, now: Timestamp) -> io::Result<usize> {
        let shards = self.copied.values().flat_map(|copied| {
            let each = 0..copied.slots.len();
            each.map(move |shard| (copied, shard))
        });
        let shards: Vec<_> = shards.collect();
        let next = AtomicUsize::new(0);
        let work = || -> io::Result<usize> {
            let mut entries = 0;
            loop {
                let first = next.fetch_add(TAKEN, Relaxed);
                let Some(taken) = shards.get(first..) else {
                    return Ok(entries);
                };
                for (copied, shard) in taken.iter().take(TAKEN) {
                    entries += copied.restore(file, *shard, now)?;
                }
            }
        };
        let slots = self.copied.values().flat_map(|copied| &copied.slots);
        let threads = match slots.map(|slots| u64::from(*slots)).sum::<u64>() {
            0..FEW => 1,
            _ => thread::available_parallelism().map_or(1, NonZeroUsize::get),
        };
        thread::scope(|scope| {
            let others = (1..threads.min(MAX_THREADS)).map(|_| scope.spawn(work));
            let others: Vec<_> = others.collect();
            let mut entries = work();
            for other in others {
                let more = other
                    .join()
                    .unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
                entries = entries.and_then(|entries| Ok(entries + more?));
            }
            entries
        })
    }

    /// Follows another configuration.
    pub(super) fn follow(&mut self, file: &StateFile, snapshot: &Snapshot) -> io::Result<()> {
        let wanted = snapshot.kept_tables();
        let is_same = |table: &KeptTable| {
            let copied = self.copied.get(&table.name);
            copied.is_some_and(|copied| Arc::ptr_eq(&copied.shards, &table.shards))
        };
        if wanted.len() == self.copied.len() && wanted.iter().all(is_same) {
            return Ok(());
        }
        let kept: Vec<_> = wanted.iter().filter(|table| is_same(table)).collect();
        let kept: HashSet<_> = kept.iter().map(|table| &table.name).collect();
        let mut gone = Vec::new();
        self.copied.retain(|name, copied| {
            let stays = kept.contains(name);
            if !stays {
                gone.push(copied.place);
            }
            stays
        });
        for place in gone {
            file.clear(place)?;
        }
        for table in wanted {
            if !self.copied.contains_key(&table.name) {
                self.begin(file, table)?;
            }
        }
        self.write_directory(file)
    }

    /// Copies what has changed. Workers wait for a lock while a few entries are copied at most.
    pub(super) fn copy(&mut self, file: &StateFile) -> io::Result<()> {
        let mut bytes = Vec::new();
        for copied in self.copied.values_mut() {
            for shard in 0..copied.shards.count().get() {
                copied.copy_shard(file, shard, &mut bytes)?;
            }
        }
        Ok(())
    }

    /// What changed since it was copied or told last, some more than `max` entries of it at most.
    pub(super) fn take_changes(&self, max: usize) -> Vec<Changed> {
        let mut all = Vec::new();
        let mut taken = 0;
        for (name, copied) in &self.copied {
            let mut entries = Vec::new();
            for shard in 0..copied.shards.count().get() {
                while taken + entries.len() < max && copied.take_changes(shard, &mut entries) {}
            }
            taken += entries.len();
            if !entries.is_empty() {
                all.push(Changed {
                    kind: name.kind.into(),
                    of: name.of.clone(),
                    on: name.on.clone(),
                    entries,
                });
            }
        }
        all
    }

    /// Has everything copied anew: somebody else has written the file.
    pub(super) fn copy_all_anew(&self) {
        for copied in self.copied.values() {
            for shard in 0..copied.shards.count().get() {
                copied
                    .shards
                    .with(shard, &mut |part| part.mirrored().note_changes());
            }
        }
    }

    /// The places that are taken.
    fn places(&self) -> HashSet<Place> {
        self.copied.values().map(|copied| copied.place).collect()
    }

    fn begin(&mut self, file: &StateFile, table: KeptTable) -> io::Result<()> {
        let KeptTable { name, shards } = table;
        let count = shards.count().get();
        let taken = self.places();
        let place = (0..MAX_PLACES).find(|place| !taken.contains(place));
        let place = place.filter(|_| count <= MAX_SHARDS);
        let place = place.ok_or(io::ErrorKind::StorageFull)?;
        file.clear(place)?;
        for shard in 0..count {
            shards.with(shard, &mut |part| part.mirrored().note_changes());
        }
        let slots = vec![0; count];
        let copied = Copied {
            place,
            shards,
            slots,
        };
        self.copied.insert(name, copied);
        Ok(())
    }

    fn write_directory(&self, file: &StateFile) -> io::Result<()> {
        let entries = self.copied.iter().map(|(name, copied)| Entry {
            place: copied.place,
            kind: name.kind.into(),
            of: name.of.clone(),
            on: name.on.clone(),
            shards: copied.slots.len(),
        });
        let entries: Vec<_> = entries.collect();
        file.write(Document::Tables, &serde_json::to_vec(&entries)?)
    }
}

impl Copied {
    /// Restores a shard from its copy. Returns how many entries came back.
    fn restore(&self, file: &StateFile, shard: usize, now: Timestamp) -> io::Result<usize> {
        let slots = self.slots[shard];
        let mut records = match slots {
            0 => Vec::new(),
            _ => read_records(&file.read_records((self.place, shard), slots)?),
        };
        let mut entries = 0;
        self.shards.with(shard, &mut |part| {
            let table = part.mirrored();
            table.note_changes();
            if !records.is_empty() {
                table.restore(now, slots, &mut records);
            }
            entries = table.entries();
        });
        Ok(entries)
    }

    /// Takes some of the entries that changed in a shard. Returns whether there may be more.
    fn take_changes(&self, shard: usize, entries: &mut Vec<[u64; 4]>) -> bool {
        let mut is_more = false;
        self.shards.with(shard, &mut |part| {
            let table = part.mirrored();
            let mut from = 0;
            for _ in 0..RUNS {
                let Some(run) = table.take_changes(from) else {
                    return;
                };
                from = run.end.next_multiple_of(64);
                entries.extend(run.filter_map(|slot| table.record(slot)).map(told));
            }
            is_more = true;
        });
        is_more
    }

    fn copy_shard(
        &mut self,
        file: &StateFile,
        shard: usize,
        bytes: &mut Vec<u8>,
    ) -> io::Result<()> {
        let mut from = 0;
        loop {
            let mut runs = Vec::new();
            let mut slots = 0;
            bytes.clear();
            self.shards.with(shard, &mut |part| {
                let table = part.mirrored();
                slots = table.slots();
                while runs.len() < RUNS
                    && let Some(run) = table.take_changes(from)
                {
                    from = run.end.next_multiple_of(64);
                    write_run(table, run.clone(), bytes);
                    runs.push(run);
                }
            });
            let mut rest = bytes.as_slice();
            for run in &runs {
                let (records, after) = rest.split_at(run.len() * Record::BYTES);
                file.write_records((self.place, shard), run.start, records)?;
                rest = after;
            }
            if runs.len() < RUNS {
                if self.slots[shard] != slots {
                    file.write_slots((self.place, shard), slots)?;
                    self.slots[shard] = slots;
                }
                return Ok(());
            }
        }
    }
}

impl Changed {
    /// Takes in what another process knows, as far as `snapshot` has such a table.
    pub(super) fn merge(&self, snapshot: &[KeptTable], now: Timestamp) {
        let name = TableName {
            kind: self.kind.into(),
            of: self.of.clone(),
            on: self.on.clone(),
        };
        let Some(KeptTable { shards, .. }) = snapshot.iter().find(|table| table.name == name)
        else {
            return;
        };
        for record in self.entries.iter().filter_map(heard) {
            let shard = record.key.shard(shards.count());
            shards.with(shard, &mut |part| part.mirrored().merge(now, &record));
        }
    }
}

impl From<TableKind> for Kind {
    fn from(kind: TableKind) -> Self {
        match kind {
            TableKind::Stick => Self::Stick,
            TableKind::Rate => Self::Rate,
        }
    }
}

impl From<Kind> for TableKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Stick => Self::Stick,
            Kind::Rate => Self::Rate,
        }
    }
}

fn told(record: Record) -> [u64; 4] {
    let key = record.key.as_bits();
    let [first, second] = record.words;
    #[expect(clippy::cast_possible_truncation, reason = "each half by itself")]
    let halves = [(key >> 64) as u64, key as u64];
    [halves[0], halves[1], first, second]
}

/// The record that was told; `None` of what is none.
fn heard(&[high, low, first, second]: &[u64; 4]) -> Option<Record> {
    let key = Key::from_bits(u128::from(high) << 64 | u128::from(low));
    let words = [first, second];
    (first != 0).then_some(Record { key, words })
}

/// A directory that cannot be read is one of nothing: the tables begin empty.
fn read_directory(file: &StateFile) -> HashMap<TableName, Entry> {
    let text = file.read(Document::Tables).unwrap_or_default();
    let entries: Vec<Entry> = serde_json::from_slice(&text).unwrap_or_default();
    let entries = entries.into_iter().filter(|entry| entry.place < MAX_PLACES);
    entries
        .map(|entry| {
            let name = TableName {
                kind: entry.kind.into(),
                of: entry.of.clone(),
                on: entry.on.clone(),
            };
            (name, entry)
        })
        .collect()
}

/// Shards that a thread takes at once while all are restored.
const TAKEN: usize = 16;
/// Entries for which it does not pay to start threads.
const FEW: u64 = 20_000;
const MAX_THREADS: usize = 8;
/// Runs of up to 64 entries that are copied under one lock: some ten microseconds.
const RUNS: usize = 16;
