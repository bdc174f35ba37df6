//! One frontend, as the workers share it.

use super::parts::Parts;
use super::shared::Process;
use super::{Backend, Bandwidth, Connections, Gate, Map, Metered, PerWorker, RouteCounts};
use super::{Tables, Tarpit, Traffic, lock};
use crate::access_log::Writer;
use crate::auth::Guard;
use crate::trace::Tracing;
use catamaran_core::limit::{Limiter, RetryAfter, Sources, SourcesError};
use catamaran_core::model::{self, BackendId, Denial, FrontendId, MapId, Name, RateKey, RateLimit};
use catamaran_core::route::RouteTable;
use catamaran_core::tables::{Fill, Part, Shards};
use catamaran_core::{Key, Timestamp};
use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

/// Parts of a rate limit's table, each under its own lock.
const SHARDS: NonZeroUsize = NonZeroUsize::new(16).expect("not zero");
/// Sources counted at once; more can only be open where the process allows more connections.
const MAX_SOURCES: usize = 1 << 20;

/// One frontend, as one configuration describes it.
///
/// Immutable but for the parts that it shares with its successors, as [`Backend`] is. It leads to
/// all backends of its configuration: what may go on for long (a tunnel, a flow) must not keep it.
#[derive(Debug)]
pub struct Frontend {
    /// Place in the configuration.
    pub id: FrontendId,
    /// What the configuration says.
    pub model: model::Frontend,
    /// Which route takes a request.
    pub routes: Arc<RouteTable>,
    /// Where access log lines go.
    pub log: Option<Arc<Writer>>,
    backends: Arc<[Arc<Backend>]>,
    maps: Arc<[Arc<Map>]>,
    /// Limits on bytes in a time.
    pub bandwidth: Option<Arc<Bandwidth>>,
    gate: Option<Gate>,
    /// Gates of the routes, by their index.
    route_gates: Vec<Option<Gate>>,
    guard: Option<Arc<Guard>>,
    /// Guards of the routes, by their index; the frontend's where they say nothing of it.
    route_guards: Vec<Option<Arc<Guard>>>,
    /// The clients that it keeps waiting.
    pub tarpit: Arc<Tarpit>,
    limiter: Option<Arc<SharedLimiter>>,
    /// Limits of the routes, by their index.
    route_limiters: Vec<Option<Arc<SharedLimiter>>>,
    sources: Option<Arc<Mutex<Sources>>>,
    /// By what its requests are traced, if they are.
    pub(crate) tracing: Option<Arc<Tracing>>,
    /// Its connections.
    pub(crate) connections: Arc<Connections>,
    /// Its counters, by worker.
    metrics: Arc<[FrontendCounts]>,
    /// Those of its routes, by their index.
    route_counts: Vec<Arc<RouteCounts>>,
}

/// What one worker counts of one frontend.
#[derive(Debug)]
pub struct FrontendCounts {
    /// Its traffic.
    pub traffic: Traffic,
    /// Connections accepted.
    pub connections: Metered,
}

fn new_route_counts(route: &model::Route, workers: usize) -> Arc<RouteCounts> {
    Arc::new(RouteCounts {
        name: route.name.clone(),
        workers: PerWorker::new(workers),
    })
}

impl FrontendCounts {
    fn new() -> Self {
        Self {
            traffic: Traffic::new(),
            connections: Metered::default(),
        }
    }
}

/// The keys of a rate limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateKeys {
    /// Remembered now.
    pub now: usize,
    /// Remembered at most.
    pub max: usize,
    /// Forgotten while they still counted, for want of room.
    pub evicted: u64,
}

/// A rate limit over all workers.
#[derive(Debug)]
struct SharedLimiter {
    by: RateKey,
    shards: Parts<Limiter>,
}

/// A connection counted for its source, while it lives.
#[derive(Debug)]
pub(crate) struct OpenSource(Option<(Arc<Mutex<Sources>>, IpAddr)>);

impl Frontend {
    /// The frontend that `model` describes; `backends` and `tables` are all of the configuration,
    /// `process` is what they are a part of.
    #[must_use]
    pub(crate) fn new(
        id: FrontendId,
        model: model::Frontend,
        backends: Arc<[Arc<Backend>]>,
        tables: &Tables,
        log: Option<Arc<Writer>>,
        process: &Process,
    ) -> Self {
        let limiter = |limit: &Option<RateLimit>| limit.as_ref().map(SharedLimiter::new);
        let (guard, route_guards) = guards(&model, None);
        let max = model.max_connections;
        let workers = process.layout.workers;
        let new_route = |route| new_route_counts(route, workers);
        Self {
            id,
            routes: Arc::new(RouteTable::new(&model.routes)),
            log,
            backends,
            maps: Arc::clone(&tables.maps),
            bandwidth: model.bandwidth.map(Bandwidth::new),
            gate: Gate::new(&model.access, tables),
            route_gates: route_gates(&model, tables),
            guard,
            route_guards,
            tarpit: Arc::default(),
            limiter: limiter(&model.rate_limit),
            route_limiters: model
                .routes
                .iter()
                .map(|route| limiter(&route.rate_limit))
                .collect(),
            sources: model
                .max_connections_per_source
                .map(|max| Arc::new(Mutex::new(Sources::new(max, MAX_SOURCES)))),
            tracing: None,
            connections: Connections::new(max, Some(Arc::clone(&process.open))),
            metrics: (0..workers).map(|_| FrontendCounts::new()).collect(),
            route_counts: model.routes.iter().map(new_route).collect(),
            model,
        }
    }

    /// The same frontend as `model` describes it. Nothing changes before [`Self::take_over`].
    #[must_use]
    pub(crate) fn successor(
        &self,
        id: FrontendId,
        model: model::Frontend,
        backends: Arc<[Arc<Backend>]>,
        tables: &Tables,
        log: Option<Arc<Writer>>,
        workers: usize,
    ) -> Self {
        let (guard, route_guards) = guards(&model, Some(self));
        // Conditions alone decide which route is found, but comparing them apart costs as much.
        let routes = if model.routes == self.model.routes {
            Arc::clone(&self.routes)
        } else {
            Arc::new(RouteTable::new(&model.routes))
        };
        Self {
            id,
            routes,
            log,
            backends,
            maps: Arc::clone(&tables.maps),
            bandwidth: model.bandwidth.map(|model| match &self.bandwidth {
                Some(known) if known.model == model => Arc::clone(known),
                _ => Bandwidth::new(model),
            }),
            gate: Gate::new(&model.access, tables),
            route_gates: route_gates(&model, tables),
            guard,
            route_guards,
            tarpit: Arc::clone(&self.tarpit),
            limiter: SharedLimiter::successor(self.limiter.as_ref(), model.rate_limit.as_ref()),
            route_limiters: self.successors_of_route_limiters(&model.routes),
            sources: model.max_connections_per_source.map(|max| {
                let new = || Arc::new(Mutex::new(Sources::new(max, MAX_SOURCES)));
                self.sources.clone().unwrap_or_else(new)
            }),
            tracing: None,
            connections: Arc::clone(&self.connections),
            metrics: Arc::clone(&self.metrics),
            route_counts: self.successors_of_route_counts(&model.routes, workers),
            model,
        }
    }

    /// The same frontend, its requests traced by this. Only HTTP has requests.
    #[must_use]
    pub(crate) fn traced_by(mut self, tracing: Option<&Arc<Tracing>>) -> Self {
        let is_http = self.model.protocol == model::Protocol::Http;
        self.tracing = tracing.filter(|_| is_http).cloned();
        self
    }

    /// Has what is shared with the predecessor follow this configuration.
    pub(crate) fn take_over(&self) {
        self.connections.set_max(self.model.max_connections);
        if let (Some(sources), Some(max)) = (&self.sources, self.model.max_connections_per_source) {
            lock(sources).set_max_per_source(max);
        }
        let routes = self.route_limiters.iter().zip(&self.model.routes);
        let routes = routes.map(|(limiter, route)| (limiter, &route.rate_limit));
        for pair in routes.chain([(&self.limiter, &self.model.rate_limit)]) {
            if let (Some(limiter), Some(limit)) = pair {
                limiter.reconfigure(limit);
            }
        }
    }

    /// What is left of a frontend whose listener is gone, for tunnels to be counted and logged by:
    /// it leads to no backend and holds no routes.
    #[must_use]
    pub(crate) fn remnant(&self) -> Self {
        Self {
            id: self.id,
            model: model::Frontend {
                routes: Vec::new(),
                error_pages: Vec::new(),
                ..self.model.clone()
            },
            routes: Arc::new(RouteTable::new(&[])),
            log: self.log.clone(),
            backends: Arc::new([]),
            maps: Arc::new([]),
            bandwidth: self.bandwidth.clone(),
            gate: None,
            route_gates: Vec::new(),
            guard: None,
            route_guards: Vec::new(),
            tarpit: Arc::clone(&self.tarpit),
            limiter: None,
            route_limiters: Vec::new(),
            sources: None,
            tracing: None,
            connections: Arc::clone(&self.connections),
            metrics: Arc::clone(&self.metrics),
            route_counts: Vec::new(),
        }
    }

    /// The counters of the worker of this index.
    pub(crate) fn counts(&self, worker: usize) -> &FrontendCounts {
        &self.metrics[worker]
    }

    /// Counts an exchange as begun.
    pub(crate) fn count_begun(&self, worker: usize) {
        if Metered::COUNTS {
            self.counts(worker).traffic.begun.add_alone(1);
        }
    }

    /// Its counters, by worker.
    #[must_use]
    pub fn metrics(&self) -> &[FrontendCounts] {
        &self.metrics
    }

    /// The counters of its routes, by their index.
    #[must_use]
    pub fn route_counts(&self) -> &[Arc<RouteCounts>] {
        &self.route_counts
    }

    /// The counters of `route`, which is one of [`Self::model`].
    pub(crate) fn counts_of(&self, route: &model::Route) -> Option<&Arc<RouteCounts>> {
        self.route_counts
            .get(self.model.routes.element_offset(route)?)
    }

    /// Counters go on by the route's name, as long as it takes the same requests.
    fn successors_of_route_counts(
        &self,
        routes: &[model::Route],
        workers: usize,
    ) -> Vec<Arc<RouteCounts>> {
        let counted = self.model.routes.iter().zip(&self.route_counts);
        let known: HashMap<&Name, (&model::Route, &Arc<RouteCounts>)> = counted
            .map(|(route, counts)| (&route.name, (route, counts)))
            .collect();
        let successor = |route: &model::Route| {
            // A name of ours is only a number, which may be another route's now.
            let same = known.get(&route.name).filter(|(before, _)| {
                before.hosts == route.hosts && before.matches == route.matches
            });
            same.map_or_else(
                || new_route_counts(route, workers),
                |(_, counts)| Arc::clone(counts),
            )
        };
        routes.iter().map(successor).collect()
    }

    fn successors_of_route_limiters(
        &self,
        routes: &[model::Route],
    ) -> Vec<Option<Arc<SharedLimiter>>> {
        let limited = self.model.routes.iter().zip(&self.route_limiters);
        let known: HashMap<&Name, (&model::Route, &Arc<SharedLimiter>)> = limited
            .filter_map(|(route, limiter)| Some((&route.name, (route, limiter.as_ref()?))))
            .collect();
        let successor = |route: &model::Route| {
            // A name of ours is only a number, which may be another route's now.
            let known = known.get(&route.name).filter(|(before, _)| {
                before.hosts == route.hosts && before.matches == route.matches
            });
            let limiter = known.map(|(_, limiter)| *limiter);
            SharedLimiter::successor(limiter, route.rate_limit.as_ref())
        };
        routes.iter().map(successor).collect()
    }

    /// A backend of the same configuration.
    #[must_use]
    pub fn backend(&self, id: BackendId) -> &Arc<Backend> {
        &self.backends[id.index()]
    }

    /// Its rate limits, to be copied as they change, with the route that each is for.
    pub(super) fn limiters(
        &self,
    ) -> impl Iterator<Item = (Option<&model::Route>, &RateKey, Arc<dyn Shards>)> {
        let of_routes = self.model.routes.iter().zip(&self.route_limiters);
        let of_routes = of_routes.map(|(route, limiter)| (Some(route), limiter));
        std::iter::once((None, &self.limiter))
            .chain(of_routes)
            .filter_map(|(route, limiter)| {
                let limiter = limiter.as_ref()?;
                Some((route, &limiter.by, Arc::clone(limiter) as _))
            })
    }

    /// What lets requests of the route of this index in, or those that no route takes.
    pub(crate) fn guard(&self, route: Option<usize>) -> Option<&Arc<Guard>> {
        match route {
            Some(route) => self.route_guards[route].as_ref(),
            None => self.guard.as_ref(),
        }
    }

    /// A map of the same configuration.
    pub(crate) fn map(&self, id: MapId) -> &Map {
        &self.maps[id.index()]
    }

    /// What becomes of a client at `ip`, if it may not come.
    pub(crate) fn denies(&self, ip: IpAddr) -> Option<Denial> {
        self.gate.as_ref()?.denies(ip)
    }

    /// The same of who is at the other end of a connection, which may be a proxy that is trusted
    /// to speak for others.
    pub(crate) fn denies_connection(&self, ip: IpAddr) -> Option<Denial> {
        let gate = self.gate.as_ref()?;
        let trusted = &self.model.trusted_proxies;
        if trusted.iter().any(|net| net.contains(ip)) {
            return None;
        }
        gate.denies(ip)
    }

    /// The same for requests that the route of this index takes.
    pub(crate) fn route_denies(&self, route: usize, ip: IpAddr) -> Option<Denial> {
        self.route_gates[route].as_ref()?.denies(ip)
    }

    /// Counts a connection from `ip`, unless as many are open as may be.
    pub(crate) fn open_source(&self, ip: IpAddr) -> Result<OpenSource, SourcesError> {
        let Some(sources) = &self.sources else {
            return Ok(OpenSource(None));
        };
        lock(sources).try_open(ip)?;
        Ok(OpenSource(Some((Arc::clone(sources), ip))))
    }

    /// Connections open.
    pub fn open_connections(&self) -> usize {
        self.connections.open()
    }

    /// Connections that had to wait because as many were open as may be.
    pub fn connections_limited(&self) -> u64 {
        self.connections.limited()
    }

    /// Sources that have connections open, and how many may; `None` without a limit per source.
    #[must_use]
    pub fn sources(&self) -> Option<(usize, usize)> {
        let sources = self.sources.as_ref()?;
        Some((lock(sources).len(), MAX_SOURCES))
    }

    /// Keys of the frontend's rate limit; `None` without one.
    #[must_use]
    pub fn rate_keys(&self) -> Option<RateKeys> {
        self.limiter.as_ref().map(|limiter| limiter.keys())
    }

    /// Keys of the rate limit of the route of this index; `None` without one.
    #[must_use]
    pub fn route_rate_keys(&self, route: usize) -> Option<RateKeys> {
        let limiter = self.route_limiters.get(route)?.as_ref();
        limiter.map(|limiter| limiter.keys())
    }

    /// Counts a request (a connection, for TCP) against the frontend's rate limit. Above it, says
    /// what becomes of it and when the next may come.
    pub(crate) fn check_rate<'v>(
        &self,
        now: Timestamp,
        client: IpAddr,
        header: impl FnOnce(&str) -> Option<&'v [u8]>,
    ) -> Result<(), (Denial, RetryAfter)> {
        let (Some(limiter), Some(limit)) = (&self.limiter, &self.model.rate_limit) else {
            return Ok(());
        };
        let checked = limiter.check(now, client, header);
        checked.map_err(|wait| (limit.denial, wait))
    }

    /// Counts a request against the rate limit of the route of this index.
    pub(crate) fn check_route_rate<'v>(
        &self,
        route: usize,
        now: Timestamp,
        client: IpAddr,
        header: impl FnOnce(&str) -> Option<&'v [u8]>,
    ) -> Result<(), (Denial, RetryAfter)> {
        let limit = &self.model.routes[route].rate_limit;
        let (Some(limiter), Some(limit)) = (&self.route_limiters[route], limit) else {
            return Ok(());
        };
        let checked = limiter.check(now, client, header);
        checked.map_err(|wait| (limit.denial, wait))
    }
}

/// The guards of a frontend and of its routes. One that asks for the same as before goes on, with
/// what it remembers.
fn guards(
    model: &model::Frontend,
    before: Option<&Frontend>,
) -> (Option<Arc<Guard>>, Vec<Option<Arc<Guard>>>) {
    let routes = before
        .iter()
        .flat_map(|b| b.model.routes.iter().zip(&b.route_guards));
    let known: HashMap<&Name, &Arc<Guard>> = routes
        .filter_map(|(route, guard)| Some((&route.name, guard.as_ref()?)))
        .collect();
    let made = |auth: &model::Auth, known: Option<&Arc<Guard>>| match known {
        Some(guard) if guard.model == *auth => Arc::clone(guard),
        _ => Guard::new(auth),
    };
    let own_before = before.and_then(|before| before.guard.as_ref());
    let own = model.auth.as_ref().map(|auth| made(auth, own_before));
    let routes = model.routes.iter().map(|route| match &route.auth {
        model::RouteAuth::Inherited => own.clone(),
        model::RouteAuth::Off => None,
        model::RouteAuth::Own(auth) => Some(made(auth, known.get(&route.name).copied())),
    });
    let routes = routes.collect();
    (own, routes)
}

fn route_gates(model: &model::Frontend, tables: &Tables) -> Vec<Option<Gate>> {
    let routes = model.routes.iter();
    routes
        .map(|route| Gate::new(&route.access, tables))
        .collect()
}

impl SharedLimiter {
    fn new(limit: &RateLimit) -> Arc<Self> {
        let keys = Self::keys_of_shard(limit);
        Arc::new(Self {
            by: limit.by.clone(),
            shards: Parts::new(SHARDS.get(), || Limiter::new(limit, keys)),
        })
    }

    /// The limiter for `limit`: the one before if it counts the same keys.
    fn successor(before: Option<&Arc<Self>>, limit: Option<&RateLimit>) -> Option<Arc<Self>> {
        let limit = limit?;
        let same = before.filter(|before| before.by == limit.by);
        Some(same.map_or_else(|| Self::new(limit), Arc::clone))
    }

    fn reconfigure(&self, limit: &RateLimit) {
        for mut shard in self.shards.each() {
            shard.reconfigure(limit, Self::keys_of_shard(limit));
        }
    }

    fn keys(&self) -> RateKeys {
        let mut keys = RateKeys::default();
        for shard in self.shards.each() {
            keys.now += shard.len();
            keys.max += shard.max_len();
            keys.evicted += shard.evicted();
        }
        keys
    }

    const fn keys_of_shard(limit: &RateLimit) -> usize {
        limit.max_keys.div_ceil(SHARDS.get())
    }

    fn check<'v>(
        &self,
        now: Timestamp,
        client: IpAddr,
        header: impl FnOnce(&str) -> Option<&'v [u8]>,
    ) -> Result<(), RetryAfter> {
        let key = match &self.by {
            RateKey::SourceIp => Key::of_network(client),
            RateKey::Header(name) => Key::of_bytes(header(name).unwrap_or_default()),
        };
        self.shards.lock(key.shard(SHARDS)).check(now, key)
    }
}

impl Shards for SharedLimiter {
    fn count(&self) -> NonZeroUsize {
        SHARDS
    }

    fn with(&self, shard: usize, act: &mut dyn FnMut(Part<'_>)) {
        act(Part::Rate(&mut self.shards.lock(shard)));
    }

    fn fill_from(&self, fill: Box<dyn Fill>) {
        self.shards.fill_from(fill);
    }
}

impl Drop for OpenSource {
    fn drop(&mut self) {
        if let Some((sources, ip)) = &self.0 {
            lock(sources).close(*ip);
        }
    }
}
