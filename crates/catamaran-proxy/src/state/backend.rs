//! One backend, as workers and the control plane share it.

use super::{Metered, Server, Waiting};
use arc_swap::{ArcSwap, Guard};
use catamaran_core::Key;
use catamaran_core::Timestamp;
use catamaran_core::balance::{Cursor, Rotation};
use catamaran_core::model::{self, BackendId, ServerId};
use catamaran_core::retry::Budget;
use catamaran_core::stick::{ServerKey, Table};
use std::collections::HashMap;
use std::num::NonZeroUsize;
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
    /// Counters.
    pub metrics: BackendMetrics,
}

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

    /// How many requests wait for a server with room.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
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

    /// The server that an affinity entry names, if it is still there.
    pub(crate) fn by_stick_key(&self, key: ServerKey) -> Option<ServerId> {
        self.by_stick_key.get(&key).copied()
    }
}

/// Locks what is consistent between any two statements, so that a panic elsewhere spoils nothing.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
