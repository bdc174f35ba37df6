//! The affinity table: which server a client is bound to, and until when.
//!
//! [`Table`] is one shard; the shell guards it with a lock and finds it by [`Key::shard`]. The
//! choice of a server is entered under that one lock at the moment it is made, so that simultaneous
//! first connections of one client agree. Whether a server is usable, and which one to choose, the
//! table asks the caller. A server that is only full is usable: its clients queue for it.
//!
//! ```text
//!             lookup_or_choose: New             confirm
//!   (none) --------------------------> Chosen ----------> Confirmed
//!     ^                                  |  ^                 |
//!     |          withdraw                |  |    Rechosen     |
//!     +----------------------------------+  +-----------------+
//!     |                                                       |
//!     +------------- window over, or table full --------------+
//! ```
//! `rewrite` makes a Confirmed entry of either. The window opens when the entry is made and nothing
//! but a lookup with `refresh` moves it: neither confirmation nor a re-choice does. It is the same
//! for all entries, so the order in which they were made (or last refreshed) is the order in which
//! they end, and expiry looks at the first of the line only.

use super::ServerKey;
use crate::Timestamp;
use crate::key::Key;
use crate::marks::Marks;
use crate::mirror::{Mirrored, Record};
use crate::model::Stick;
use crate::recency::Recency;
use std::ops::Range;
use std::time::Duration;

/// One shard of a backend's affinity table.
#[derive(Debug)]
pub struct Table {
    pub(super) entries: Recency<Entry>,
    pub(super) window: Duration,
    pub(super) refresh: bool,
    /// Slots of which peers are still to be told, if there are peers.
    pub(super) untold: Option<Box<Marks>>,
    /// Entries that gave way to others while they bound.
    evicted: u64,
}

/// Whom a client is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The server.
    pub server: ServerKey,
    /// When the window opened: at the first request, or with `refresh` at the last.
    pub opened_at: Timestamp,
    /// Whether a connection to the server has stood. What was only chosen is not worth telling
    /// peers.
    pub is_confirmed: bool,
}

/// The server that [`Table::lookup_or_choose`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The server.
    pub server: ServerKey,
    /// How it was found.
    pub why: Why,
}

/// How a server was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// Nothing bound the client.
    New,
    /// The server it was bound to is no longer usable; another took its place.
    Rechosen,
    /// It was bound to this server.
    Sticky,
}

impl Table {
    /// An empty shard of the table that `stick` describes, with room for `max_entries` (its share
    /// of `stick.max_entries`), at least one.
    #[must_use]
    pub fn new(stick: &Stick, max_entries: usize) -> Self {
        Self {
            entries: Recency::new(max_entries),
            window: stick.window,
            refresh: stick.refresh,
            evicted: 0,
            untold: None,
        }
    }

    /// Takes up a changed configuration; entries live on. A shorter window ends entries that are
    /// older than it, a smaller table drops its oldest.
    pub fn reconfigure(&mut self, stick: &Stick, max_entries: usize) {
        self.window = stick.window;
        self.refresh = stick.refresh;
        self.entries.set_max_entries(max_entries);
    }

    /// Returns the server `key` is bound to, or binds it to the one that `choose` returns.
    ///
    /// `None` if `choose` finds none; an entry whose server is not usable is then left as it was,
    /// since the server may return within the window. A try after a failure asks again, with an
    /// `is_usable` that denies the server that failed.
    pub fn lookup_or_choose(
        &mut self,
        now: Timestamp,
        key: Key,
        is_usable: impl Fn(ServerKey) -> bool,
        choose: impl FnOnce() -> Option<ServerKey>,
    ) -> Option<Choice> {
        if let Some(slot) = self.find_live(now, key) {
            let bound = self.entries.value_mut(slot).server;
            let (server, why) = if is_usable(bound) {
                (bound, Why::Sticky)
            } else {
                (choose()?, Why::Rechosen)
            };
            if why == Why::Rechosen {
                let entry = self.entries.value_mut(slot);
                entry.server = server;
                entry.is_confirmed = false;
                self.mark(slot);
            }
            self.slide(now, slot);
            return Some(Choice { server, why });
        }
        let server = choose()?;
        let entry = Entry {
            server,
            opened_at: now,
            is_confirmed: false,
        };
        self.insert(now, key, entry);
        let why = Why::New;
        Some(Choice { server, why })
    }

    /// Returns the server `key` is bound to, if it is usable, and binds nothing. For keys that
    /// servers give out, such as their cookies.
    pub fn lookup(
        &mut self,
        now: Timestamp,
        key: Key,
        is_usable: impl Fn(ServerKey) -> bool,
    ) -> Option<ServerKey> {
        let slot = self.find_live(now, key)?;
        let server = self.entries.value_mut(slot).server;
        if !is_usable(server) {
            return None;
        }
        self.slide(now, slot);
        Some(server)
    }

    /// Binds `key`, which `server` gave out, to it. A window that is open stays as it is.
    pub fn learn(&mut self, now: Timestamp, key: Key, server: ServerKey) {
        if self.find_live(now, key).is_some() {
            self.rewrite(now, key, server);
            return;
        }
        let entry = Entry {
            server,
            opened_at: now,
            is_confirmed: true,
        };
        self.insert(now, key, entry);
    }

    /// Notes that a connection to the server chosen for `key` stands. Does nothing if the entry is
    /// over or names another server by now: then another connection of this client spoke last.
    pub fn confirm(&mut self, now: Timestamp, key: Key, server: ServerKey) {
        let Some(slot) = self.find_live(now, key) else {
            return;
        };
        let entry = self.entries.value_mut(slot);
        if entry.server == server && !entry.is_confirmed {
            entry.is_confirmed = true;
            self.mark(slot);
        }
    }

    /// Notes that `server` served `key`, whichever was chosen. Does nothing if the entry is over:
    /// the window counts from the first request, not from the answer.
    pub fn rewrite(&mut self, now: Timestamp, key: Key, server: ServerKey) {
        let Some(slot) = self.find_live(now, key) else {
            return;
        };
        let entry = self.entries.value_mut(slot);
        if entry.server != server || !entry.is_confirmed {
            entry.server = server;
            entry.is_confirmed = true;
            self.mark(slot);
        }
    }

    /// Forgets the choice of `server` for `key` if no connection to it ever stood.
    pub fn withdraw(&mut self, key: Key, server: ServerKey) {
        let Some(slot) = self.entries.find(key) else {
            return;
        };
        let entry = *self.entries.value_mut(slot);
        if entry.server == server && !entry.is_confirmed {
            self.entries.remove(key);
        }
    }

    /// The entry of `key`, if it binds. A look is no use: it slides no window.
    #[must_use]
    pub fn entry(&mut self, now: Timestamp, key: Key) -> Option<Entry> {
        let slot = self.find_live(now, key)?;
        Some(*self.entries.value_mut(slot))
    }

    /// Forgets `key`. Returns whether there was an entry.
    pub fn forget(&mut self, key: Key) -> bool {
        self.entries.find(key).is_some() && {
            self.entries.remove(key);
            true
        }
    }

    /// Entries that had to give way to others while they bound.
    #[must_use]
    pub const fn evicted(&self) -> u64 {
        self.evicted
    }

    /// When an entry stops to bind.
    #[must_use]
    pub fn end_of(&self, entry: &Entry) -> Timestamp {
        entry.opened_at + self.window
    }

    /// When the next entry ends, if there is one.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let (_, entry) = self.entries.front()?;
        Some(self.end_of(entry))
    }

    /// Drops entries whose window is over, at most `max_dropped` of them, so that the lock is held
    /// for a short time only. Returns how many; if [`Self::poll_timeout`] still lies in the past,
    /// there are more. Entries that are over but not yet dropped bind nobody.
    pub fn handle_timeout(&mut self, now: Timestamp, max_dropped: usize) -> usize {
        let mut dropped = 0;
        while dropped < max_dropped && self.poll_timeout().is_some_and(|end| end <= now) {
            self.entries.pop_front();
            dropped += 1;
        }
        dropped
    }

    /// Forgets every key. Returns how many entries were held.
    pub fn clear(&mut self) -> usize {
        let held = self.len();
        while !self.is_empty() {
            self.entries.pop_front();
        }
        held
    }

    /// Entries held, those that are over but not dropped yet included.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no entry is held.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entries that still bind at `now`, the one that ends first at the start.
    pub fn iter(&self, now: Timestamp) -> impl Iterator<Item = (Key, Entry)> {
        self.entries
            .iter()
            .filter(move |(_, entry)| self.end_of(entry) > now)
            .map(|(key, entry)| (key, *entry))
    }

    pub(super) fn insert(&mut self, now: Timestamp, key: Key, entry: Entry) {
        // Two go for one that comes: the table shrinks to what still binds without a timer.
        self.handle_timeout(now, 2);
        let displaced = self.entries.insert(key, entry);
        if displaced.is_some_and(|displaced| self.end_of(&displaced) > now) {
            self.evicted += 1;
        }
        if self.untold.is_some()
            && let Some(slot) = self.entries.find(key)
        {
            self.note_untold(slot);
        }
    }

    fn find_live(&mut self, now: Timestamp, key: Key) -> Option<u32> {
        let slot = self.entries.find(key)?;
        let entry = *self.entries.value_mut(slot);
        (self.end_of(&entry) > now).then_some(slot)
    }

    /// Notes that the entry at `slot` changed, for the copy and for peers.
    pub(super) fn mark(&mut self, slot: u32) {
        self.entries.mark(slot);
        self.note_untold(slot);
    }

    fn slide(&mut self, now: Timestamp, slot: u32) {
        if self.refresh {
            self.entries.value_mut(slot).opened_at = now;
            self.entries.move_to_back(slot);
            self.mark(slot);
        }
    }
}

/// The confirmation is the lowest bit of the time: a nanosecond is nothing to a window.
impl Mirrored for Table {
    fn note_changes(&mut self) {
        self.entries.note_changes();
    }

    fn take_changes(&mut self, from: u32) -> Option<Range<u32>> {
        self.entries.take_changes(from)
    }

    fn record(&self, slot: u32) -> Option<Record> {
        let (key, entry) = self.entries.at(slot)?;
        let opened_at = entry.opened_at.as_nanos() & !1;
        Some(Record {
            key: *key,
            words: [
                opened_at | u64::from(entry.is_confirmed),
                entry.server.as_bits(),
            ],
        })
    }

    fn entries(&self) -> usize {
        self.len()
    }

    fn slots(&self) -> u32 {
        self.entries.slots()
    }

    fn restore(&mut self, now: Timestamp, slots: u32, records: &mut Vec<(u32, Record)>) {
        records.sort_unstable_by_key(|(_, record)| record.words[0] & !1);
        let entries = records.iter();
        let entries = entries.map(|(slot, record)| (*slot, record.key, Entry::of(record)));
        let live: Vec<_> = entries
            .filter(|(_, _, entry)| self.end_of(entry) > now)
            .collect();
        self.entries.restore(slots, &live);
    }

    fn merge(&mut self, now: Timestamp, record: &Record) {
        let entry = Entry::of(record);
        if self.end_of(&entry) <= now {
            return;
        }
        match self.entries.find(record.key) {
            Some(slot) if self.entries.value_mut(slot).opened_at > entry.opened_at => {}
            // In place of what was known: nothing has to give way.
            Some(_) => drop(self.entries.insert(record.key, entry)),
            None => self.insert(now, record.key, entry),
        }
    }
}

impl Entry {
    const fn of(record: &Record) -> Self {
        Self {
            server: ServerKey::from_bits(record.words[1]),
            opened_at: Timestamp::from_nanos(record.words[0] & !1),
            is_confirmed: record.words[0] & 1 == 1,
        }
    }
}
