//! One backend, as workers and the control plane share it.

use super::parts::Parts;
use super::{Histogram, Layout, Metered, PerWorker, Server, Target, Traffic, Waiting};
use arc_swap::{ArcSwap, Guard};
use catamaran_core::Key;
use catamaran_core::Timestamp;
use catamaran_core::balance::{Cursor, Rotation};
use catamaran_core::model::{self, BackendId, Name, ServerAddr, ServerId};
use catamaran_core::retry::Budget;
use catamaran_core::server::ServerState;
use catamaran_core::stick::{Entry, ServerKey, Table};
use catamaran_core::tables::{Fill, Part, Shards};
use std::collections::{HashMap, HashSet};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Parts of an affinity table, each under its own lock.
const STICK_SHARDS: NonZeroUsize = NonZeroUsize::new(64).expect("not zero");

/// One backend, as one configuration describes it.
///
/// Immutable but for the parts that it shares with its successors: another configuration makes
/// another of these, which takes over the servers, tables, queue and counts of the backend of the
/// same name. An exchange keeps the one that it began with; it is small.
#[derive(Debug)]
pub struct Backend {
    /// Place in the configuration.
    pub id: BackendId,
    /// What the configuration says, but for the servers: see [`Self::set`].
    pub model: model::Backend,
    /// How many configurations described it before.
    version: u64,
    servers: Arc<Servers>,
    stick: Option<Arc<Stick>>,
    /// What retries may cost.
    pub budget: Arc<Budget>,
    /// Requests that wait for a server with room.
    pub(crate) waiting: Arc<Waiting>,
    /// Counters, by worker.
    pub metrics: Arc<PerWorker<BackendCounts>>,
    /// What the counters of its servers are made by.
    layout: Layout,
}

/// The servers of a backend, through all configurations.
#[derive(Debug)]
struct Servers {
    /// The servers and who of them takes traffic; swapped whole when either changes.
    set: ArcSwap<ServerSet>,
    /// Held while the set is made anew, so that no change is lost between two makers.
    making: Mutex<Making>,
    /// [`Backend::in_flight`] as it was last counted.
    in_flight: AtomicU32,
    /// When that was, in nanoseconds.
    counted_at: AtomicU64,
}

/// What a set is made by: the policy of the newest configuration.
#[derive(Debug)]
struct Making {
    /// [`Backend::version`] of that configuration: older ones change the set no more.
    version: u64,
    model: model::Backend,
    cursor: Arc<Cursor>,
}

/// An affinity table.
#[derive(Debug)]
struct Stick {
    shards: Parts<Table>,
    /// Entries when they were last counted.
    entries: AtomicUsize,
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

/// What one worker counts of one backend.
#[derive(Debug)]
pub struct BackendCounts {
    /// Its traffic.
    pub traffic: Traffic,
    /// How long requests waited that had to, whatever came of it.
    pub queue_wait: Histogram,
    /// Tries after the first.
    pub retries: Metered,
    /// Exchanges and relays that went to another server than was tried first.
    pub redispatches: Metered,
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
    /// The backend that `model` describes.
    #[must_use]
    pub(crate) fn new(
        id: BackendId,
        model: &model::Backend,
        now: Timestamp,
        layout: &Layout,
    ) -> Self {
        let cursor = Arc::new(Cursor::default());
        let policy = policy(model);
        let fixed = model.servers.iter();
        let servers = fixed.filter_map(|server| fixed_server(server, layout));
        let servers = servers.collect();
        let set = ServerSet::new(&policy, servers, &cursor, now);
        Self {
            id,
            version: 0,
            servers: Arc::new(Servers {
                set: ArcSwap::from_pointee(set),
                making: Mutex::new(Making {
                    version: 0,
                    model: policy.clone(),
                    cursor,
                }),
                in_flight: AtomicU32::new(0),
                counted_at: AtomicU64::new(0),
            }),
            stick: policy.stick.as_ref().map(Stick::new),
            budget: Arc::new(Budget::new(&policy.retry)),
            waiting: Arc::new(Waiting::new(&policy.queue)),
            metrics: Arc::new(PerWorker::new(layout.workers)),
            layout: layout.clone(),
            model: policy,
        }
    }

    /// The same backend as `model` describes it. Nothing changes before [`Self::take_over`].
    #[must_use]
    pub(crate) fn successor(&self, id: BackendId, model: &model::Backend) -> Self {
        let policy = policy(model);
        // Entries of another key would bind nobody.
        let keeps_stick = policy.stick.as_ref().map(|stick| &stick.on)
            == self.model.stick.as_ref().map(|stick| &stick.on);
        Self {
            id,
            version: self.version + 1,
            servers: Arc::clone(&self.servers),
            stick: if keeps_stick {
                self.stick.clone()
            } else {
                policy.stick.as_ref().map(Stick::new)
            },
            budget: if policy.retry == self.model.retry {
                Arc::clone(&self.budget)
            } else {
                Arc::new(Budget::new(&policy.retry))
            },
            waiting: Arc::clone(&self.waiting),
            metrics: Arc::clone(&self.metrics),
            layout: self.layout.clone(),
            model: policy,
        }
    }

    /// Has what is shared with the predecessor follow this configuration, whose servers are
    /// `configured`. Returns the ids of servers that are gone.
    pub(crate) fn take_over(
        self: &Arc<Self>,
        configured: &[model::Server],
        now: Timestamp,
    ) -> Vec<u64> {
        {
            let mut making = lock(&self.servers.making);
            making.version = self.version;
            making.model = self.model.clone();
        }
        if let (Some(table), Some(stick)) = (&self.stick, &self.model.stick) {
            table.reconfigure(stick);
        }
        self.waiting.reconfigure(&self.model.queue);
        let before = self.servers.set.load_full();
        let servers = self.servers_of(configured, now);
        // Names that are new have no addresses yet: those before serve until they are found.
        if !servers.is_empty() || configured.is_empty() {
            self.set_servers(servers, now);
        } else {
            self.rebuild(now);
        }
        let set = self.set();
        let ids: HashSet<u64> = set.servers.iter().map(|server| server.id()).collect();
        let gone = before.servers.iter().map(|server| server.id());
        gone.filter(|id| !ids.contains(id)).collect()
    }

    /// The servers that `models` describe. Those that are there already, by name and address, keep
    /// their health, load and counts. A name that stands for addresses stands for those that were
    /// found before.
    #[must_use]
    pub fn servers_of(&self, models: &[model::Server], now: Timestamp) -> Vec<Arc<Server>> {
        let set = self.set();
        let known: HashMap<&Name, &Arc<Server>> =
            set.servers.iter().map(|s| (&s.model.name, s)).collect();
        let mut servers = Vec::with_capacity(models.len());
        for model in models {
            let Some(target) = target(&model.address) else {
                servers.extend(found_before(&set, &model.name));
                continue;
            };
            let same = known.get(&model.name).filter(|s| s.target == target);
            servers.push(match same {
                Some(known) if known.model == *model => Arc::clone(known),
                Some(known) => {
                    if known.model.weight != model.weight {
                        // What an operator set gives way to what the file came to say.
                        known.state.set_weight(None);
                    }
                    Arc::new(known.with_model(model.clone()))
                }
                None => {
                    let state = ServerState::new(model.name.clone());
                    if !set.servers.is_empty() {
                        state.start_slowly(now);
                    }
                    let state = Arc::new(state);
                    Arc::new(Server::new(model.clone(), target, state, &self.layout))
                }
            });
        }
        servers
    }

    /// The servers as they are now.
    pub fn set(&self) -> Guard<Arc<ServerSet>> {
        self.servers.set.load()
    }

    /// Makes the rotation anew after health, weights or time changed it. Returns when time changes
    /// it next.
    pub fn rebuild(self: &Arc<Self>, now: Timestamp) -> Option<Timestamp> {
        self.make_set(None, now)
    }

    /// Puts `servers` in place of those there are, unless a newer configuration has; exchanges in
    /// flight keep theirs. Returns when time changes the rotation next.
    pub fn set_servers(
        self: &Arc<Self>,
        servers: Vec<Arc<Server>>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        self.make_set(Some(servers), now)
    }

    fn make_set(
        self: &Arc<Self>,
        servers: Option<Vec<Arc<Server>>>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let next = {
            let making = lock(&self.servers.making);
            let servers = servers
                .filter(|_| self.version == making.version)
                .unwrap_or_else(|| self.set().servers.clone());
            let set = ServerSet::new(&making.model, servers, &making.cursor, now);
            let next = set.rotation.next_change();
            self.servers.set.store(Arc::new(set));
            next
        };
        self.waiting.release_bound(&self.set());
        self.waiting.serve_all(self);
        next
    }

    /// The part of the affinity table that holds `key`.
    pub(crate) fn stick_shard(&self, key: Key) -> Option<MutexGuard<'_, Table>> {
        let stick = self.stick.as_ref()?;
        Some(stick.shards.lock(key.shard(STICK_SHARDS)))
    }

    /// Drops affinity entries whose window is over, and counts those that are left.
    pub fn expire_stick(&self, now: Timestamp) {
        if let Some(stick) = &self.stick {
            stick.expire(now);
        }
    }

    /// Affinity entries as last counted; `None` without affinity.
    #[must_use]
    pub fn stick_entries(&self) -> Option<usize> {
        let stick = self.stick.as_ref()?;
        Some(stick.entries.load(Ordering::Relaxed))
    }

    /// Affinity entries that had to give way to others while they bound.
    pub fn stick_evicted(&self) -> u64 {
        let shards = self.stick.iter().flat_map(|stick| stick.shards.each());
        shards.map(|shard| shard.evicted()).sum()
    }

    /// The affinity table, to be copied as it changes.
    pub(super) fn stick_shards(&self) -> Option<Arc<dyn Shards>> {
        Some(Arc::clone(self.stick.as_ref()?) as _)
    }

    /// Entries of the affinity table, those that are over but not dropped yet included; `None`
    /// without one.
    pub fn stick_len(&self) -> Option<usize> {
        let shards = &self.stick.as_ref()?.shards;
        Some(shards.each().map(|shard| shard.len()).sum())
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
        let Some(stick) = &self.stick else {
            return (Vec::new(), None);
        };
        let mut skipped = usize::try_from(cursor % SHARD_STEP).unwrap_or(usize::MAX);
        let first = usize::try_from(cursor / SHARD_STEP).unwrap_or(usize::MAX);
        let mut page = Vec::new();
        for index in first..STICK_SHARDS.get() {
            let table = stick.shards.lock(index);
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

    /// Forgets every key. Returns how many there were.
    pub fn stick_clear(&self) -> usize {
        let shards = self.stick.iter().flat_map(|stick| stick.shards.each());
        shards.map(|mut shard| shard.clear()).sum()
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
        if now.saturating_sub(self.servers.counted_at.load(Ordering::Relaxed)) >= EVERY_NANOS {
            self.servers.counted_at.store(now, Ordering::Relaxed);
            self.servers.in_flight.store(count(), Ordering::Relaxed);
        }
        self.servers.in_flight.load(Ordering::Relaxed)
    }

    /// What the worker of this index counts.
    pub(crate) fn counts(&self, worker: usize) -> &BackendCounts {
        self.metrics.of(worker, BackendCounts::new)
    }

    /// How many requests wait for a server with room.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

impl BackendCounts {
    fn new() -> Self {
        Self {
            traffic: Traffic::new(),
            queue_wait: Histogram::default(),
            retries: Metered::default(),
            redispatches: Metered::default(),
            queued: Metered::default(),
            queue_failures: Metered::default(),
            no_server: Metered::default(),
            budget_spent: Metered::default(),
        }
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

impl Stick {
    fn new(config: &model::Stick) -> Arc<Self> {
        let entries = Self::entries_of_shard(config);
        Arc::new(Self {
            shards: Parts::new(STICK_SHARDS.get(), || Table::new(config, entries)),
            entries: AtomicUsize::new(0),
        })
    }

    const fn entries_of_shard(config: &model::Stick) -> usize {
        config.max_entries.div_ceil(STICK_SHARDS.get())
    }

    fn reconfigure(&self, config: &model::Stick) {
        for mut shard in self.shards.each() {
            shard.reconfigure(config, Self::entries_of_shard(config));
        }
    }

    fn expire(&self, now: Timestamp) {
        /// Entries dropped under one lock.
        const BATCH: usize = 1024;
        let left = self.shards.each().map(|mut shard| {
            shard.handle_timeout(now, BATCH);
            shard.len()
        });
        self.entries.store(left.sum(), Ordering::Relaxed);
    }
}

impl Shards for Stick {
    fn count(&self) -> NonZeroUsize {
        STICK_SHARDS
    }

    fn with(&self, shard: usize, act: &mut dyn FnMut(Part<'_>)) {
        act(Part::Stick(&mut self.shards.lock(shard)));
    }

    fn fill_from(&self, fill: Box<dyn Fill>) {
        self.shards.fill_from(fill);
    }
}

/// The model without its servers: names among them are resolved, and old backends live on.
fn policy(model: &model::Backend) -> model::Backend {
    model::Backend {
        name: model.name.clone(),
        servers: Vec::new(),
        balance: model.balance.clone(),
        agent: model.agent.clone(),
        source: model.source.clone(),
        stick: model.stick.clone(),
        health: model.health.clone(),
        outlier: model.outlier.clone(),
        retry: model.retry.clone(),
        queue: model.queue.clone(),
        ..*model
    }
}

/// A server whose address is written.
fn fixed_server(model: &model::Server, layout: &Layout) -> Option<Arc<Server>> {
    let target = target(&model.address)?;
    let state = Arc::new(ServerState::new(model.name.clone()));
    Some(Arc::new(Server::new(model.clone(), target, state, layout)))
}

/// Where to connect; `None` for a name, which the control plane resolves.
fn target(address: &ServerAddr) -> Option<Target> {
    match address {
        ServerAddr::Ip(address) => Some(Target::Ip(*address)),
        ServerAddr::Unix(path) => Some(Target::Unix(path.clone())),
        ServerAddr::Dns { .. } | ServerAddr::Srv { .. } | ServerAddr::Etcd { .. } => None,
    }
}

/// The servers that were found for `name`: theirs begin with it and a `#`.
fn found_before<'a>(set: &'a ServerSet, name: &'a Name) -> impl Iterator<Item = Arc<Server>> + 'a {
    let is_of = |found: &Name| {
        let rest = found.as_str().strip_prefix(name.as_str());
        rest.is_some_and(|rest| rest.starts_with('#'))
    };
    let found = set.servers.iter().filter(move |s| is_of(&s.model.name));
    found.cloned()
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

    /// The server of this name.
    #[must_use]
    pub fn by_name(&self, name: &Name) -> Option<&Arc<Server>> {
        let id = self.by_stick_key(ServerKey::new(name))?;
        Some(self.server(id)).filter(|server| server.model.name == *name)
    }

    /// The server of this id.
    pub(crate) fn server(&self, id: ServerId) -> &Arc<Server> {
        &self.servers[id.index()]
    }

    /// The name of the server that an affinity entry names, if it is still there.
    #[must_use]
    pub fn name_of(&self, key: ServerKey) -> Option<&Name> {
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
