//! The copies of the tables: where each stands, bringing them up to date, restoring from them.

use super::file::{Document, MAX_PLACES, MAX_SHARDS, Place, StateFile};
use catamaran_core::mirror::{Mirrored, Record, read_records, write_run};
use catamaran_core::tables::{Fill, KeptTable, Shards, TableKind, TableName};
use catamaran_core::{Key, Timestamp};
use catamaran_proxy::Snapshot;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
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

/// What the process before has left of a table.
#[derive(Debug)]
struct Left {
    file: Arc<StateFile>,
    place: Place,
    /// Of each shard.
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
    /// Begins to copy the tables of `snapshot`, before anybody is served. Those that the file knows
    /// are filled from it when somebody needs them, part by part, at the latest by [`Self::fill`].
    pub(super) fn restore(file: &Arc<StateFile>, snapshot: &Snapshot) -> io::Result<Self> {
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
        // Last: had anything failed, the tables would begin empty, and their places be another's.
        for copied in tables.copied.values() {
            copied.shards.fill_from(Box::new(Left {
                file: Arc::clone(file),
                place: copied.place,
                slots: copied.slots.clone(),
            }));
        }
        Ok(tables)
    }

    /// Whether the process before has left any entries.
    pub(super) fn has_slots(&self) -> bool {
        let mut slots = self.copied.values().flat_map(|copied| &copied.slots);
        slots.any(|slots| *slots > 0)
    }

    /// Sees that every part is filled. Returns how many entries there are.
    ///
    /// Until then the file holds what some parts are to be filled from: no place may be given to
    /// another table before.
    pub(super) fn fill(&self) -> usize {
        let mut entries = 0;
        for copied in self.copied.values() {
            for shard in 0..copied.slots.len() {
                copied
                    .shards
                    .with(shard, &mut |part| entries += part.mirrored().entries());
            }
        }
        entries
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

impl Fill for Left {
    fn fill(&self, index: usize, part: &mut dyn Mirrored) {
        part.note_changes();
        let slots = self.slots[index];
        if slots == 0 {
            return;
        }
        match self.file.read_records((self.place, index), slots) {
            Ok(records) => part.restore(super::now(), slots, &mut read_records(&records)),
            Err(error) => tracing::error!(%error, "a part of a table is lost; it begins empty"),
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

/// Runs of up to 64 entries that are copied under one lock: some ten microseconds.
const RUNS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use catamaran_core::model::{Name, Stick, StickKey};
    use catamaran_core::stick::{ServerKey, Table};
    use catamaran_core::tables::Part;
    use std::num::NonZeroUsize;
    use std::sync::Mutex;
    use std::time::Duration;

    const SHARDS: NonZeroUsize = NonZeroUsize::new(2).unwrap();

    #[derive(Debug)]
    struct Sticks([Mutex<Table>; SHARDS.get()]);

    impl Shards for Sticks {
        fn count(&self) -> NonZeroUsize {
            SHARDS
        }

        fn with(&self, shard: usize, act: &mut dyn FnMut(Part<'_>)) {
            act(Part::Stick(&mut self.0[shard].lock().unwrap()));
        }
    }

    /// A process that copies a table.
    struct Process(Arc<Sticks>, Copied);

    impl Process {
        /// It knows what is in the file, and has filled nothing yet.
        fn start(file: &Arc<StateFile>) -> (Self, Left) {
            let stick = Stick {
                on: StickKey::SourceIp,
                window: Duration::from_secs(3600),
                refresh: false,
                max_entries: 100,
            };
            let sticks = Arc::new(Sticks([0, 1].map(|_| Mutex::new(Table::new(&stick, 50)))));
            let slots = file.read_slots(0).unwrap()[..SHARDS.get()].to_vec();
            let left = Left {
                file: Arc::clone(file),
                place: 0,
                slots: slots.clone(),
            };
            let copied = Copied {
                place: 0,
                shards: Arc::clone(&sticks) as _,
                slots,
            };
            (Self(sticks, copied), left)
        }

        fn fill(&self, left: &Left, shard: usize) {
            left.fill(shard, &mut *self.0.0[shard].lock().unwrap());
        }

        /// Binds a client, and copies the shard.
        fn bind(&mut self, file: &StateFile, shard: usize, client: u8) {
            let (key, server) = (Key::of_bytes(&[client]), ServerKey::new(&Name::new("a")));
            let now = super::super::now();
            self.0.0[shard].lock().unwrap().learn(now, key, server);
            self.1.copy_shard(file, shard, &mut Vec::new()).unwrap();
        }

        fn len(&self, shard: usize) -> usize {
            self.0.0[shard].lock().unwrap().len()
        }
    }

    #[test]
    fn a_process_that_dies_before_it_filled_its_tables_leaves_what_it_found() {
        let file = catamaran_sys::memory::anonymous_file("test").unwrap();
        let file = Arc::new(StateFile::open(file).unwrap().0);
        let (mut first, left) = Process::start(&file);
        for shard in [0, 1] {
            first.fill(&left, shard);
            (0..3).for_each(|client| first.bind(&file, shard, client));
        }
        // Only one shard was needed; a client came to it.
        let (mut second, left) = Process::start(&file);
        second.fill(&left, 0);
        second.bind(&file, 0, 7);
        assert_eq!([second.len(0), second.len(1)], [4, 0]);

        let (third, left) = Process::start(&file);
        for shard in [0, 1] {
            third.fill(&left, shard);
        }
        assert_eq!([third.len(0), third.len(1)], [4, 3]);
    }
}
