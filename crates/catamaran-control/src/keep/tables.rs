//! The copies of the tables: where each stands, bringing them up to date, restoring from them.

use super::file::{Document, MAX_PLACES, MAX_SHARDS, Place, StateFile};
use catamaran_core::Timestamp;
use catamaran_core::mirror::{Record, read_records, write_run};
use catamaran_core::tables::{KeptTable, Shards, TableKind, TableName};
use catamaran_proxy::Snapshot;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io;
use std::sync::Arc;

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
        let (mut entries, mut unknown) = (0, Vec::new());
        for KeptTable { name, shards } in snapshot.kept_tables() {
            let count = shards.count().get();
            let entry = directory.get(&name).filter(|entry| entry.shards == count);
            let Some(entry) = entry else {
                unknown.push(KeptTable { name, shards });
                continue;
            };
            let place = entry.place;
            let slots = file.read_slots(place)?[..count].to_vec();
            for (shard, slots) in slots.iter().enumerate() {
                let mut records = match slots {
                    0 => Vec::new(),
                    _ => read_records(&file.read_records((place, shard), *slots)?),
                };
                shards.with(shard, &mut |part| {
                    let table = part.mirrored();
                    table.note_changes();
                    if !records.is_empty() {
                        table.restore(now, *slots, &mut records);
                    }
                    entries += table.entries();
                });
            }
            let copied = Copied {
                place,
                shards,
                slots,
            };
            tables.copied.insert(name, copied);
        }
        for entry in directory.values() {
            if tables
                .copied
                .values()
                .all(|copied| copied.place != entry.place)
            {
                file.clear(entry.place)?;
            }
        }
        for table in unknown {
            tables.begin(file, table)?;
        }
        tables.write_directory(file)?;
        Ok((tables, entries))
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
        let kept: std::collections::HashSet<_> = kept.iter().map(|table| &table.name).collect();
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

    fn begin(&mut self, file: &StateFile, table: KeptTable) -> io::Result<()> {
        let KeptTable { name, shards } = table;
        let count = shards.count().get();
        let is_taken = |place: &Place| self.copied.values().any(|copied| copied.place == *place);
        let place = (0..MAX_PLACES).find(|place| !is_taken(place));
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
            kind: match name.kind {
                TableKind::Stick => Kind::Stick,
                TableKind::Rate => Kind::Rate,
            },
            of: name.of.clone(),
            on: name.on.clone(),
            shards: copied.slots.len(),
        });
        let entries: Vec<_> = entries.collect();
        file.write(Document::Tables, &serde_json::to_vec(&entries)?)
    }
}

impl Copied {
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

/// A directory that cannot be read is one of nothing: the tables begin empty.
fn read_directory(file: &StateFile) -> HashMap<TableName, Entry> {
    let text = file.read(Document::Tables).unwrap_or_default();
    let entries: Vec<Entry> = serde_json::from_slice(&text).unwrap_or_default();
    let entries = entries.into_iter().filter(|entry| entry.place < MAX_PLACES);
    entries
        .map(|entry| {
            let name = TableName {
                kind: match entry.kind {
                    Kind::Stick => TableKind::Stick,
                    Kind::Rate => TableKind::Rate,
                },
                of: entry.of.clone(),
                on: entry.on.clone(),
            };
            (name, entry)
        })
        .collect()
}

/// Runs of up to 64 entries that are copied under one lock: some ten microseconds.
const RUNS: usize = 16;
