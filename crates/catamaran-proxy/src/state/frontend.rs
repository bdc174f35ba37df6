//! One frontend, as the workers share it.

use super::shared::Process;
use super::{Backend, Connections, Shards, lock};
use crate::access_log::Writer;
use crate::worker::FrontendMetrics;
use catamaran_core::limit::{Limiter, RetryAfter, Sources, SourcesError};
use catamaran_core::mirror::Mirrored;
use catamaran_core::model::{self, BackendId, FrontendId, Name, RateKey, RateLimit};
use catamaran_core::route::RouteTable;
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
    limiter: Option<Arc<SharedLimiter>>,
    /// Limits of the routes, by their index.
    route_limiters: Vec<Option<Arc<SharedLimiter>>>,
    sources: Option<Arc<Mutex<Sources>>>,
    /// Its connections.
    pub(crate) connections: Arc<Connections>,
    /// Its counters, by worker.
    metrics: Arc<[FrontendMetrics]>,
}

/// A rate limit over all workers.
#[derive(Debug)]
struct SharedLimiter {
    by: RateKey,
    shards: Box<[Mutex<Limiter>]>,
}

/// A connection counted for its source, while it lives.
#[derive(Debug)]
pub(crate) struct OpenSource(Option<(Arc<Mutex<Sources>>, IpAddr)>);

impl Frontend {
    /// The frontend that `model` describes; `backends` are all of the configuration, `process` is
    /// what they are a part of.
    #[must_use]
    pub(crate) fn new(
        id: FrontendId,
        model: model::Frontend,
        backends: Arc<[Arc<Backend>]>,
        log: Option<Arc<Writer>>,
        process: &Process,
    ) -> Self {
        let limiter = |limit: &Option<RateLimit>| limit.as_ref().map(SharedLimiter::new);
        let max = model.max_connections;
        Self {
            id,
            routes: Arc::new(RouteTable::new(&model.routes)),
            log,
            backends,
            limiter: limiter(&model.rate_limit),
            route_limiters: model
                .routes
                .iter()
                .map(|route| limiter(&route.rate_limit))
                .collect(),
            sources: model
                .max_connections_per_source
                .map(|max| Arc::new(Mutex::new(Sources::new(max, MAX_SOURCES)))),
            connections: Connections::new(max, Some(Arc::clone(&process.open))),
            metrics: (0..process.workers)
                .map(|_| FrontendMetrics::default())
                .collect(),
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
        log: Option<Arc<Writer>>,
    ) -> Self {
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
            limiter: SharedLimiter::successor(self.limiter.as_ref(), model.rate_limit.as_ref()),
            route_limiters: self.successors_of_route_limiters(&model.routes),
            sources: model.max_connections_per_source.map(|max| {
                let new = || Arc::new(Mutex::new(Sources::new(max, MAX_SOURCES)));
                self.sources.clone().unwrap_or_else(new)
            }),
            connections: Arc::clone(&self.connections),
            metrics: Arc::clone(&self.metrics),
            model,
        }
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
            limiter: None,
            route_limiters: Vec::new(),
            sources: None,
            connections: Arc::clone(&self.connections),
            metrics: Arc::clone(&self.metrics),
        }
    }

    /// The counters of the worker of this index.
    pub(crate) fn counters(&self, worker: usize) -> &FrontendMetrics {
        &self.metrics[worker]
    }

    /// Its counters, by worker.
    #[must_use]
    pub fn metrics(&self) -> &[FrontendMetrics] {
        &self.metrics
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

    /// Counts a request (a connection, for TCP) against the frontend's rate limit.
    pub(crate) fn check_rate<'v>(
        &self,
        now: Timestamp,
        client: IpAddr,
        header: impl FnOnce(&str) -> Option<&'v [u8]>,
    ) -> Result<(), RetryAfter> {
        self.limiter
            .as_ref()
            .map_or(Ok(()), |limiter| limiter.check(now, client, header))
    }

    /// Counts a request against the rate limit of the route of this index.
    pub(crate) fn check_route_rate<'v>(
        &self,
        route: usize,
        now: Timestamp,
        client: IpAddr,
        header: impl FnOnce(&str) -> Option<&'v [u8]>,
    ) -> Result<(), RetryAfter> {
        self.route_limiters[route]
            .as_ref()
            .map_or(Ok(()), |limiter| limiter.check(now, client, header))
    }
}

impl SharedLimiter {
    fn new(limit: &RateLimit) -> Arc<Self> {
        let keys = Self::keys_of_shard(limit);
        Arc::new(Self {
            by: limit.by.clone(),
            shards: (0..SHARDS.get())
                .map(|_| Mutex::new(Limiter::new(limit, keys)))
                .collect(),
        })
    }

    /// The limiter for `limit`: the one before if it counts the same keys.
    fn successor(before: Option<&Arc<Self>>, limit: Option<&RateLimit>) -> Option<Arc<Self>> {
        let limit = limit?;
        let same = before.filter(|before| before.by == limit.by);
        Some(same.map_or_else(|| Self::new(limit), Arc::clone))
    }

    fn reconfigure(&self, limit: &RateLimit) {
        for shard in &self.shards {
            lock(shard).reconfigure(limit, Self::keys_of_shard(limit));
        }
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
        lock(&self.shards[key.shard(SHARDS)]).check(now, key)
    }
}

impl Shards for SharedLimiter {
    fn count(&self) -> NonZeroUsize {
        SHARDS
    }

    fn with(&self, shard: usize, act: &mut dyn FnMut(&mut dyn Mirrored)) {
        act(&mut *lock(&self.shards[shard]));
    }
}

impl Drop for OpenSource {
    fn drop(&mut self) {
        if let Some((sources, ip)) = &self.0 {
            lock(sources).close(*ip);
        }
    }
}
