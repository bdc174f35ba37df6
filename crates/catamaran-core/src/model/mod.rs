//! The validated configuration: what every other crate reads and none checks again.
//!
//! A value of these types is valid by the time it exists: `catamaran-config` has resolved names to
//! ids, checked ranges and filled in defaults. Ids index the vectors of [`Config`].

mod access;
mod admin;
mod auth;
mod backend;
mod cluster;
mod edit;
mod etcd;
mod frontend;
mod health;
mod net;
mod route;
mod tracing;
mod virtual_ip;

pub use access::{Access, AddressList, Addresses, Denial, Map, MapMatch, Tarpit};
pub use admin::{Admin, AdminSocket, Secret};
pub use auth::{Auth, BasicAuth, JwtAuth, RouteAuth};
pub use backend::{
    Backend, Balance, HashKey, HashMethod, OnDown, Queue, Retry, Server, ServerAddr, Source, Stick,
    StickKey, Weight,
};
pub use cluster::{Cluster, ClusterPeer, ClusterSecret};
pub use edit::Edit;
pub use etcd::{Etcd, EtcdEndpoint, EtcdIdentity, EtcdTls, EtcdUser, STATE_FILE};
pub use frontend::{
    AccessLog, Bandwidth, BandwidthOf, ErrorPage, ForwardedHeaders, Frontend, FrontendTimeouts,
    HttpLimits, Listener, ListenerKey, LogFormat, LogTarget, Protocol, RateKey, RateLimit,
};
pub use health::{Agent, Check, Expect, Health, HttpCheck, Outlier, StatusRange, Step};
pub use net::{IpNet, IpNetError};
pub use route::{
    Action, FixedResponse, HeaderModifier, HostPattern, Mapped, Mirror, PathMatch, PathModifier,
    Redirect, Route, RouteMatch, RouteRetry, UrlRewrite, ValueMatch, WeightedBackend,
};
pub use tracing::{Collector, Tracing};
pub use virtual_ip::{
    Authentication, Hook, Track, Tracked, VirtualAddress, VirtualIp, VirtualRoute,
};

use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

/// A whole configuration.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Config {
    /// Settings of the process itself.
    pub process: Process,
    /// Where it is watched and steered from.
    pub admin: Admin,
    /// Indexed by [`FrontendId`].
    pub frontends: Vec<Frontend>,
    /// Indexed by [`BackendId`].
    pub backends: Vec<Backend>,
    /// Indexed by [`ListId`].
    pub lists: Vec<AddressList>,
    /// Indexed by [`MapId`].
    pub maps: Vec<Map>,
    /// Virtual addresses, in the order of the file.
    pub virtual_ips: Vec<VirtualIp>,
    /// The mesh that this node is part of, if any.
    pub cluster: Option<Cluster>,
    /// The store that a fleet shares, if this node is of one.
    pub etcd: Option<Etcd>,
    /// Traces of requests; off unless written.
    pub tracing: Option<Tracing>,
}

/// Settings of the process as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Process {
    /// Worker threads; `None` is one per core.
    pub workers: Option<NonZeroUsize>,
    /// Connections from clients over all frontends; `None` is what the descriptor limit allows.
    pub max_connections: Option<usize>,
    /// How long a stop waits for exchanges in flight. Default 30 s.
    pub drain: Duration,
    /// How long a stop says that it is not ready before it closes the listeners, so that whoever
    /// watches readiness sends clients elsewhere first. Default none.
    pub drain_delay: Duration,
    /// How long tunnels may go on whose listener a reload removed. Default 1 h.
    pub drain_tunnels: Duration,
    /// What the data process of another binary may take until it could serve. Default 20 s.
    pub upgrade_timeout: Duration,
    /// How long clients may wait while it takes the other's place; then the old one goes on.
    /// Default 5 s.
    pub upgrade_pause: Duration,
    /// Data processes that were replaced and still have clients, at once. Default 16.
    pub max_draining: usize,
    /// Whether a change of the configuration file is applied by itself. Default no.
    pub watch: bool,
    /// How long the data process may give no sign of life before its supervisor replaces it.
    /// Default 10 s; zero is for ever.
    pub watchdog: Duration,
    /// Where the metrics are served in Prometheus' text format; off unless written.
    pub metrics: Option<SocketAddr>,
    /// Servers that get latency histograms of their own; the first that come. Default 1,000.
    pub server_histograms: usize,
    /// Name servers to ask instead of those of `/etc/resolv.conf`.
    pub resolvers: Vec<SocketAddr>,
    /// Whom the data process runs as when it was started by root; unchanged unless written.
    pub user: Option<String>,
    /// Its group; that of the user unless written.
    pub group: Option<String>,
}

impl Default for Process {
    fn default() -> Self {
        Self {
            workers: None,
            max_connections: None,
            drain: Duration::from_secs(30),
            drain_delay: Duration::ZERO,
            drain_tunnels: Duration::from_secs(3600),
            upgrade_timeout: Duration::from_secs(20),
            upgrade_pause: Duration::from_secs(5),
            max_draining: 16,
            watch: false,
            watchdog: Duration::from_secs(10),
            metrics: None,
            server_histograms: 1000,
            resolvers: Vec::new(),
            user: None,
            group: None,
        }
    }
}

/// A name from the configuration: of a frontend, backend, server or route.
///
/// Cheap to clone; label of metrics and log lines.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// Makes a name of `text`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Arc::from(text))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

/// Index of a frontend in [`Config::frontends`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrontendId(pub u32);

/// Index of a backend in [`Config::backends`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendId(pub u32);

/// Index of a list of addresses in [`Config::lists`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListId(pub u32);

/// Index of a map in [`Config::maps`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MapId(pub u32);

/// Index of a server in [`Backend::servers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub u32);

impl FrontendId {
    /// The id as an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl BackendId {
    /// The id as an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl ListId {
    /// The id as an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl MapId {
    /// The id as an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl ServerId {
    /// The id as an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}
