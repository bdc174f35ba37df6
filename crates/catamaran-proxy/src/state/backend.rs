//! One backend, as workers and the control plane share it.

use super::{Metered, Server, Waiting};
use arc_swap::{ArcSwap, Guard};
use catamaran_core::Key;
use catamaran_core::Timestamp;
use catamaran_core::balance::{Cursor, Rotation};
use catamaran_core::model::{self, BackendId, ServerId};
use catamaran_core::retry::Budget;
use catamaran_core::stick::{Entry, ServerKey, Table};
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Parts of an affinity table, each under its own lock.
const STICK_SHARDS: NonZeroUsize = NonZeroUsize::new(64).expect("not zero");

/// One backend.
#[derive(Debug)]
pub struct Backend {
    /// Place in the configuration.
    pub id: BackendId,
    /// What the configuration says.
    pub model: model::Backend,
    /// The servers and who of them takes traffic; swapped whole when either changes.
    set: ArcSwap<ServerSet>,
    /// Held while the set is made anew, so that no change is lost between two makers.
    making: Mutex<Arc<Cursor>>,
    stick: Option<Box<[Mutex<Table>]>>,
    /// What retries may cost.
    pub budget: Budget,
    /// Requests that wait for a server with room.
    pub(crate) waiting: Waiting,
    /// [`Self::in_flight`] as it was last counted.
    in_flight: AtomicU32,
    /// When that was, in nanoseconds.
    counted_at: AtomicU64,
    /// Counters.
    pub metrics: BackendMetrics,
}

/// One entry of an affinity table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StickEntry {
    /// Whom it binds.
    pub key: Key,
    /// To what.
    pub server: ServerKey,
    /// Until when.
    pub ends_at: Timestamp,
    /// Whether a connection to the server has stood.
    pub is_confirmed: bool,
    shard: usize,
}

/// Cursors count shards by this, entries of a shard by one; a shard holds fewer.
const SHARD_STEP: u64 = 1 << 32;

/// The servers of a backend at one time.
#[derive(Debug)]
pub struct ServerSet {
    /// Indexed by [`ServerId`].
    pub servers: Vec<Arc<Server>>,
    /// Who takes traffic, and how it is shared out.
    pub rotation: Rotation,
    by_stick_key: HashMap<ServerKey, ServerId, foldhash::fast::RandomState>,
}

/// Counters of one backend, over all workers.
#[derive(Debug, Default)]
pub struct BackendMetrics {
    /// Requests that had to wait for a server with room.
    pub queued: Metered,
    /// Requests turned away because the queue was full, or waited in vain.
    pub queue_failures: Metered,
    /// Requests for which no server was usable.
    pub no_server: Metered,
    /// Tries after the first that were not made because the budget was spent.
    pub budget_spent: Metered,
}

impl Backend {
    /// The backend that `model` describes, with `servers` (those of its servers that have an
    /// address already).
    #[must_use]
    pub fn new(
        id: BackendId,
        model: model::Backend,
        servers: Vec<Arc<Server>>,
        now: Timestamp,
    ) -> Self {
        let cursor = Arc::new(Cursor::default());
        let set = ServerSet::new(&model, servers, &cursor, now);
        let stick = model.stick.as_ref().map(|stick| {
            let entries = stick.max_entries.div_ceil(STICK_SHARDS.get());
            (0..STICK_SHARDS.get())
                .map(|_| Mutex::new(Table::new(stick, entries)))
                .collect()
        });
        Self {
            id,
            set: ArcSwap::from_pointee(set),
            making: Mutex::new(cursor),
            stick,
            budget: Budget::new(&model.retry),
            waiting: Waiting::new(&model.queue),
            in_flight: AtomicU32::new(0),
            counted_at: AtomicU64::new(0),
            metrics: BackendMetrics::default(),
            model,
        }
    }

    /// The servers as they are now.
    pub fn set(&self) -> Guard<Arc<ServerSet>> {
        self.set.load()
    }

    /// Makes the rotation anew after health, weights or time changed it. Returns when time changes
    /// it next.
    pub fn rebuild(self: &Arc<Self>, now: Timestamp) -> Option<Timestamp> {
        let servers = self.set.load().servers.clone();
        self.set_servers(servers, now)
    }

    /// Puts `servers` in place of those there are; exchanges in flight keep theirs. Returns when
    /// time changes the rotation next.
    pub fn set_servers(
        self: &Arc<Self>,
        servers: Vec<Arc<Server>>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let next = {
            let cursor = lock(&self.making);
            let set = ServerSet::new(&self.model, servers, &cursor, now);
            let next = set.rotation.next_change();
            self.set.store(Arc::new(set));
            next
        };
        self.waiting.release_bound(&self.set.load());
        self.waiting.serve_all(self);
        next
    }

    /// The part of the affinity table that holds `key`.
    pub(crate) fn stick_shard(&self, key: Key) -> Option<MutexGuard<'_, Table>> {
        let shards = self.stick.as_ref()?;
        Some(lock(&shards[key.shard(STICK_SHARDS)]))
    }

    /// Drops affinity entries whose window is over; returns how many are left.
    pub fn expire_stick(&self, now: Timestamp) -> usize {
        /// Entries dropped under one lock.
        const BATCH: usize = 1024;
        let Some(shards) = &self.stick else { return 0 };
        shards
            .iter()
            .map(|shard| {
                let mut shard = lock(shard);
                shard.handle_timeout(now, BATCH);
                shard.len()
            })
            .sum()
    }

    /// Entries of the affinity table, those that are over but not dropped yet included; `None`
    /// without one.
    pub fn stick_len(&self) -> Option<usize> {
        let shards = self.stick.as_ref()?;
        Some(shards.iter().map(|shard| lock(shard).len()).sum())
    }

    /// Entries of the affinity table that bind at `now`, at most `max` from `cursor` on (0 is the
    /// first), with the cursor of what follows, if anything may. Entries that come and go between
    /// two calls may be missed or told twice.
    pub fn stick_page(
        &self,
        now: Timestamp,
        cursor: u64,
        max: usize,
    ) -> (Vec<StickEntry>, Option<u64>) {
        let shards = self.stick.as_deref().unwrap_or_default();
        let mut skipped = usize::try_from(cursor % SHARD_STEP).unwrap_or(usize::MAX);
        let first = usize::try_from(cursor / SHARD_STEP).unwrap_or(usize::MAX);
        let mut page = Vec::new();
        for (index, shard) in shards.iter().enumerate().skip(first) {
            let table = lock(shard);
            for (key, entry) in table.iter(now).skip(std::mem::take(&mut skipped)) {
                if page.len() == max {
                    let taken = page
                        .iter()
                        .filter(|e: &&StickEntry| e.shard == index)
                        .count();
                    let before = if index == first {
                        cursor % SHARD_STEP
                    } else {
                        0
                    };
                    let next = index as u64 * SHARD_STEP + before + taken as u64;
                    return (page, Some(next));
                }
                page.push(StickEntry::new(key, entry, &table, index));
            }
        }
        (page, None)
    }

    /// The entry of `key`, if it binds.
    pub fn stick_entry(&self, now: Timestamp, key: Key) -> Option<StickEntry> {
        let mut table = self.stick_shard(key)?;
        let entry = table.entry(now, key)?;
        Some(StickEntry::new(key, entry, &table, key.shard(STICK_SHARDS)))
    }

    /// Binds `key` to `server`; a window that is open stays as it is. Returns whether there is a
    /// table.
    pub fn stick_set(&self, now: Timestamp, key: Key, server: &Server) -> bool {
        let table = self.stick_shard(key);
        table.is_some_and(|mut table| {
            table.learn(now, key, server.stick_key);
            true
        })
    }

    /// Forgets `key`. Returns whether there was an entry.
    pub fn stick_forget(&self, key: Key) -> bool {
        let table = self.stick_shard(key);
        table.is_some_and(|mut table| table.forget(key))
    }

    /// Requests in flight at all its servers, for the log: where there are many servers, as it was
    /// some milliseconds ago, since each line would else look at all of them.
    pub(crate) fn in_flight(&self, now: Timestamp) -> u32 {
        /// Servers that are looked at for each line.
        const FEW: usize = 32;
        const EVERY_NANOS: u64 = 10_000_000;
        let set = self.set();
        let count = || {
            let each = set.servers.iter().map(|server| server.state.in_flight());
            each.fold(0, u32::saturating_add)
        };
        if set.servers.len() <= FEW {
            return count();
        }
        let now = now.as_nanos();
        if now.saturating_sub(self.counted_at.load(Ordering::Relaxed)) >= EVERY_NANOS {
            self.counted_at.store(now, Ordering::Relaxed);
            self.in_flight.store(count(), Ordering::Relaxed);
        }
        self.in_flight.load(Ordering::Relaxed)
    }

    /// How many requests wait for a server with room.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

impl StickEntry {
    fn new(key: Key, entry: Entry, table: &Table, shard: usize) -> Self {
        Self {
            key,
            server: entry.server,
            ends_at: table.end_of(&entry),
            is_confirmed: entry.is_confirmed,
            shard,
        }
    }
}

impl ServerSet {
    fn new(
        model: &model::Backend,
        servers: Vec<Arc<Server>>,
        cursor: &Arc<Cursor>,
        now: Timestamp,
    ) -> Self {
        let current: Vec<model::Server> =
            servers.iter().map(|server| server.model.clone()).collect();
        let states: Vec<_> = servers
            .iter()
            .map(|server| Arc::clone(&server.state))
            .collect();
        // The rotation reads the servers that are there now, which names may have resolved to.
        let rotation = Rotation::build(
            &model::Backend {
                servers: current,
                ..model.clone()
            },
            &states,
            cursor,
            now,
        );
        let ids = (0u32..).map(ServerId);
        let by_stick_key = servers
            .iter()
            .map(|server| server.stick_key)
            .zip(ids)
            .collect();
        Self {
            servers,
            rotation,
            by_stick_key,
        }
    }

    /// The server of this id.
    pub(crate) fn server(&self, id: ServerId) -> &Arc<Server> {
        &self.servers[id.index()]
    }

    /// The server of this name, if it is there.
    #[must_use]
    pub fn by_name(&self, name: &model::Name) -> Option<&Arc<Server>> {
        let id = self.by_stick_key(ServerKey::new(name))?;
        let server = self.server(id);
        (server.model.name == *name).then_some(server)
    }

    /// The name of the server that an affinity entry names, if it is still there.
    #[must_use]
    pub fn name_of(&self, key: ServerKey) -> Option<&model::Name> {
        Some(&self.server(self.by_stick_key(key)?).model.name)
    }

    /// The server that an affinity entry names, if it is still there.
    pub(crate) fn by_stick_key(&self, key: ServerKey) -> Option<ServerId> {
        self.by_stick_key.get(&key).copied()
    }
}

/// Locks what is consistent between any two statements, so that a panic elsewhere spoils nothing.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
