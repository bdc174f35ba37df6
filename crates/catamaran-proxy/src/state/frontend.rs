//! One frontend, as the workers share it.

use super::{Backend, Connections, lock};
use crate::access_log::Writer;
use catamaran_core::limit::{Limiter, RetryAfter, Sources, SourcesError};
use catamaran_core::model::{self, BackendId, FrontendId, RateKey, RateLimit};
use catamaran_core::route::RouteTable;
use catamaran_core::{Key, Timestamp};
use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

/// Parts of a rate limit's table, each under its own lock.
const SHARDS: NonZeroUsize = NonZeroUsize::new(16).expect("not zero");
/// Sources counted at once; more can only be open where the process allows more connections.
const MAX_SOURCES: usize = 1 << 20;

/// One frontend.
#[derive(Debug)]
pub struct Frontend {
    /// Place in the configuration.
    pub id: FrontendId,
    /// What the configuration says.
    pub model: model::Frontend,
    /// Which route takes a request.
    pub routes: RouteTable,
    /// Where access log lines go.
    pub log: Option<Arc<Writer>>,
    backends: Vec<Arc<Backend>>,
    limiter: Option<SharedLimiter>,
    /// Limits of the routes, by their index.
    route_limiters: Vec<Option<SharedLimiter>>,
    sources: Option<Mutex<Sources>>,
    /// Its connections.
    pub(crate) connections: Arc<Connections>,
}

/// A rate limit over all workers.
#[derive(Debug)]
struct SharedLimiter {
    by: RateKey,
    shards: Box<[Mutex<Limiter>]>,
}

/// A connection counted for its source, while it lives.
#[derive(Debug)]
pub(crate) struct OpenSource {
    frontend: Arc<Frontend>,
    ip: Option<IpAddr>,
}

impl Frontend {
    /// The frontend that `model` describes; `backends` are all of the configuration.
    #[must_use]
    pub fn new(
        id: FrontendId,
        model: model::Frontend,
        backends: Vec<Arc<Backend>>,
        log: Option<Arc<Writer>>,
    ) -> Self {
        let limiter = |limit: &Option<RateLimit>| limit.as_ref().map(SharedLimiter::new);
        Self {
            id,
            routes: RouteTable::new(&model.routes),
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
                .map(|max| Mutex::new(Sources::new(max, MAX_SOURCES))),
            connections: Connections::new(model.max_connections),
            model,
        }
    }

    /// A backend of the same configuration.
    #[must_use]
    pub fn backend(&self, id: BackendId) -> &Arc<Backend> {
        &self.backends[id.index()]
    }

    /// Counts a connection from `ip`, unless as many are open as may be.
    pub(crate) fn open_source(self: &Arc<Self>, ip: IpAddr) -> Result<OpenSource, SourcesError> {
        let ip = match &self.sources {
            Some(sources) => {
                lock(sources).try_open(ip)?;
                Some(ip)
            }
            None => None,
        };
        Ok(OpenSource {
            frontend: Arc::clone(self),
            ip,
        })
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
    fn new(limit: &RateLimit) -> Self {
        let keys = limit.max_keys.div_ceil(SHARDS.get());
        Self {
            by: limit.by.clone(),
            shards: (0..SHARDS.get())
                .map(|_| Mutex::new(Limiter::new(limit, keys)))
                .collect(),
        }
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

impl Drop for OpenSource {
    fn drop(&mut self) {
        if let (Some(ip), Some(sources)) = (self.ip, &self.frontend.sources) {
            lock(sources).close(ip);
        }
    }
}
