//! Backends and their servers.

use super::{Agent, Health, Name, Outlier};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// A named group of servers with one policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Backend {
    /// The key under `[backend]`.
    pub name: Name,
    /// Indexed by [`super::ServerId`]; at least one. Names are unique.
    pub servers: Vec<Server>,
    /// How a server is chosen for a request that no affinity binds.
    pub balance: Balance,
    /// Affinity of a client to its server; off unless written.
    pub stick: Option<Stick>,
    /// Active checks; without, servers count as up until they refuse connections.
    pub health: Option<Health>,
    /// Agents beside the servers.
    pub agent: Option<Agent>,
    /// Where connections to servers come from that say nothing of it themselves.
    pub source: Option<Source>,
    /// Passive detection of failing servers.
    pub outlier: Outlier,
    /// What happens to the exchanges of a server that is marked down.
    pub on_down: OnDown,
    /// Retries and their budget.
    pub retry: Retry,
    /// Where requests wait when every server is full.
    pub queue: Queue,
    /// After coming up a server's weight grows linearly from a tenth to full in this time.
    pub slow_start: Option<Duration>,
    /// Share of usable servers, in percent, below which passive ejections are ignored. Default 50.
    pub panic_threshold: u8,
    /// Time for one connection attempt. Default 3.5 s.
    pub connect_timeout: Duration,
    /// Time from the request's end to the response's head. Default 60 s.
    pub response_timeout: Duration,
    /// Time without progress of a body in either direction. Default 60 s.
    pub body_timeout: Duration,
    /// How long an idle connection to a server is kept. Default 4 s.
    pub idle_timeout: Duration,
    /// Idle connections kept per server and worker. Default 256.
    pub max_idle: u32,
}

/// One address in a backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Written, or the address as text. Affinity and hashing are keyed to it.
    pub name: Name,
    /// Where it listens.
    pub address: ServerAddr,
    /// Share of the traffic.
    pub weight: Weight,
    /// Used only when no other server of the backend is usable.
    pub backup: bool,
    /// Requests in flight at once (connections, for TCP); more wait in the backend's queue.
    pub max_requests: Option<u32>,
    /// Connections open at once, idle ones included; more wait in the backend's queue.
    pub max_connections: Option<u32>,
    /// Where connections to it come from; the kernel chooses unless written.
    pub source: Option<Source>,
}

/// Where connections to a server come from.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Source {
    /// Addresses of this machine, used by turns; empty lets the kernel choose.
    pub addresses: Vec<IpAddr>,
    /// The interface that they leave by.
    pub interface: Option<String>,
}

impl Source {
    /// An address for a connection to `to`: of those of its family the one that `turn` falls on.
    #[must_use]
    pub fn address_for(&self, to: SocketAddr, turn: usize) -> Option<IpAddr> {
        let fitting = || {
            let all = self.addresses.iter();
            all.filter(|address| address.is_ipv4() == to.is_ipv4())
        };
        let count = fitting().count();
        fitting().nth(turn.checked_rem(count)?).copied()
    }
}

impl Server {
    /// Requests (connections, for TCP) that may be in flight at once: each needs a connection.
    #[must_use]
    pub fn max_in_flight(&self) -> Option<u32> {
        match (self.max_requests, self.max_connections) {
            (Some(requests), Some(connections)) => Some(requests.min(connections)),
            (one, other) => one.or(other),
        }
    }
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServerAddr {
    /// An address and port.
    Ip(SocketAddr),
    /// A stream socket in the file system (`unix:/run/app.sock`).
    Unix(PathBuf),
    /// A host name, resolved to A and AAAA records; each address becomes a server.
    Dns {
        /// The name, without a final dot.
        host: String,
        /// The port of every address.
        port: u16,
    },
    /// A service name (`srv:_api._tcp.example.com`), resolved to SRV records.
    Srv {
        /// The name, without a final dot.
        service: String,
    },
    /// Servers that registered in etcd (`etcd:api`).
    Etcd {
        /// What they registered for.
        service: String,
    },
}

/// Share of traffic of a server, 0 to 256. Zero takes no new clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weight(u16);

impl Weight {
    /// The weight of a server that says none.
    pub const ONE: Self = Self(1);
    /// The largest weight.
    pub const MAX: Self = Self(256);

    /// Makes a weight; `None` above 256.
    #[must_use]
    pub const fn new(weight: u16) -> Option<Self> {
        if weight <= Self::MAX.0 {
            Some(Self(weight))
        } else {
            None
        }
    }

    /// The weight as a number.
    #[must_use]
    pub const fn as_u16(self) -> u16 {
        self.0
    }
}

/// How a server is chosen.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Balance {
    /// Two different servers drawn by weight; the lower (in-flight + 1) / weight wins.
    #[default]
    LeastRequests,
    /// Smooth weighted turn, shared by all workers.
    RoundRobin,
    /// Drawn by weight.
    Random,
    /// The lowest (in-flight + 1) / weight of all.
    LeastConnections,
    /// Two drawn by weight; the lower peak-EWMA latency × (in-flight + 1) wins.
    Ewma,
    /// A hash of the client's address: the same on every node.
    Source,
    /// A hash of some key of the request: the same on every node.
    Hash {
        /// What is hashed.
        key: HashKey,
        /// How the hash finds its server.
        method: HashMethod,
    },
    /// The first server that has room, in the order written.
    First,
}

/// What [`Balance::Hash`] hashes. A request without the key is balanced by random draw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashKey {
    /// The client's address, without the port.
    SourceIp,
    /// The value of a header field; name in lower case.
    Header(String),
    /// The value of a cookie.
    Cookie(String),
    /// The path, without the query.
    Path,
    /// The path and query.
    Uri,
    /// The value of a query parameter.
    Query(String),
    /// The host of the request.
    Host,
}

/// How a hash finds its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashMethod {
    /// Maglev lookup table sized to the server count.
    Maglev,
    /// Ring on which no server holds more than `percent` of the mean load (at least 101).
    BoundedRing {
        /// Highest load of one server, in percent of the mean.
        percent: u16,
    },
}

/// Affinity of a client to the server that served it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stick {
    /// What identifies a client.
    pub on: StickKey,
    /// How long an entry binds.
    pub window: Duration,
    /// Whether each use starts the window anew. Default no: it opens at the first request.
    pub refresh: bool,
    /// Entries kept; when full the oldest gives way. Default 1,000,000.
    pub max_entries: usize,
}

/// What identifies a client to [`Stick`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StickKey {
    /// The client's address, without the port.
    SourceIp,
    /// The value of a request header; name in lower case.
    Header(String),
    /// A cookie that servers set: learned from responses, looked up in requests.
    Cookie(String),
    /// A cookie that the balancer sets itself, naming the server.
    InsertedCookie(String),
}

/// What happens to the exchanges of a server that is marked down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnDown {
    /// Those without a response byte are sent again elsewhere if they may, else end with 502.
    #[default]
    Redispatch,
    /// They go on.
    Keep,
}

/// Retries of a backend.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// Tries after the first. Default 3.
    pub max_tries: u32,
    /// Tokens that each first try adds, in thousandths. Default 200 (0.2).
    pub budget_per_mille: u32,
    /// Tokens that are always there. Default 100.
    pub min_budget: u32,
    /// First bytes of a TCP client that are kept, to be sent again to another server if the first
    /// ends without a byte; at most [`MAX_BUFFERED_BYTES`](crate::retry::MAX_BUFFERED_BYTES).
    /// Default 0: none.
    pub replay_bytes: usize,
}

/// Where requests wait when every server is full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Requests that may wait at once. Default 1,024.
    pub max_waiting: usize,
    /// How long one waits before 503. Default 3.5 s.
    pub timeout: Duration,
    /// Whether requests also wait, for the timeout, while every server is down. Default no.
    pub when_down: bool,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            max_tries: 3,
            budget_per_mille: 200,
            min_budget: 100,
            replay_bytes: 0,
        }
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            max_waiting: 1024,
            timeout: Duration::from_millis(3500),
            when_down: false,
        }
    }
}

impl Backend {
    /// A backend of `servers` with every default.
    #[must_use]
    pub fn new(name: Name, servers: Vec<Server>) -> Self {
        Self {
            name,
            servers,
            balance: Balance::default(),
            stick: None,
            health: None,
            agent: None,
            source: None,
            outlier: Outlier::default(),
            on_down: OnDown::default(),
            retry: Retry::default(),
            queue: Queue::default(),
            slow_start: None,
            panic_threshold: 50,
            connect_timeout: Duration::from_millis(3500),
            response_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(4),
            max_idle: 256,
        }
    }
}

impl Server {
    /// A server of weight one, named by its address.
    #[must_use]
    pub fn new(address: ServerAddr) -> Self {
        Self {
            name: Name::new(&address.to_string()),
            address,
            weight: Weight::ONE,
            backup: false,
            max_requests: None,
            max_connections: None,
            source: None,
        }
    }
}

impl std::fmt::Display for ServerAddr {
    /// The form that the configuration writes.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Dns { host, port } => write!(f, "{host}:{port}"),
            Self::Srv { service } => write!(f, "srv:{service}"),
            Self::Etcd { service } => write!(f, "etcd:{service}"),
        }
    }
}
