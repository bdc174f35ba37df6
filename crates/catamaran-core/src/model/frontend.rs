//! Frontends and their listeners.

use super::{Access, Auth, BackendId, Denial, IpNet, Name, Route, Tarpit};
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Policy for incoming traffic.
#[derive(Clone, Debug, PartialEq)]
pub struct Frontend {
    /// The key under `[frontend]`.
    pub name: Name,
    /// What is spoken with clients.
    pub protocol: Protocol,
    /// Addresses it listens on; at least one.
    pub listeners: Vec<Listener>,
    /// HTTP only. The most specific match wins, as in Gateway API.
    pub routes: Vec<Route>,
    /// Where traffic goes that no route takes. Always set for TCP and UDP.
    pub backend: Option<BackendId>,
    /// Limits of time.
    pub timeouts: FrontendTimeouts,
    /// Connections open at once over all listeners and workers; more wait in the accept queue.
    pub max_connections: Option<usize>,
    /// Connections open at once from one source address; more are closed (TCP) or get 429 (HTTP).
    pub max_connections_per_source: Option<u32>,
    /// Rate limit on requests (connections, for TCP).
    pub rate_limit: Option<RateLimit>,
    /// TCP and HTTP only. Limits on bytes in a time.
    pub bandwidth: Option<Bandwidth>,
    /// Who may come.
    pub access: Access,
    /// HTTP only. What clients must show, unless a route says otherwise.
    pub auth: Option<Auth>,
    /// How clients are kept waiting that are to be.
    pub tarpit: Tarpit,
    /// Proxies whose forwarded headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Which forwarded headers are set. Default `X-Forwarded-*`.
    pub forwarded: ForwardedHeaders,
    /// Limits of message heads.
    pub http: HttpLimits,
    /// Off unless written.
    pub access_log: Option<AccessLog>,
    /// Bodies to send instead of the built-in ones, by status.
    pub error_pages: Vec<ErrorPage>,
}

/// What a frontend speaks with clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Protocol {
    /// HTTP/1.1.
    #[default]
    Http,
    /// Bytes, relayed.
    Tcp,
    /// Datagrams, relayed per source.
    Udp,
}

/// One bound address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Address and port; port 0 lets the kernel choose (the choice is printed).
    pub address: SocketAddr,
}

/// What a listener's sockets are known by: the same in two configurations means the same sockets.
///
/// An address and a kind of socket, whichever frontend they belong to; where the kernel chooses the
/// port, also the frontend and the place among its listeners, since each gets a port of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerKey(Box<str>);

impl ListenerKey {
    /// The key of the listener at `place` among those of `frontend`.
    ///
    /// # Panics
    /// If there is none.
    #[must_use]
    pub fn of(frontend: &Frontend, place: usize) -> Self {
        let address = frontend.listeners[place].address;
        let kind = match frontend.protocol {
            Protocol::Http | Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        let text = if address.port() == 0 {
            format!("{kind} {address} {place} {}", frontend.name)
        } else {
            format!("{kind} {address}")
        };
        Self(text.into())
    }

    /// The key that another process wrote as text.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        Self(text.into())
    }

    /// Whether the two are of one kind and one port, so that one may hold the other's address.
    #[must_use]
    pub fn shares_port(&self, other: &Self) -> bool {
        fn port(key: &ListenerKey) -> Option<(&str, &str)> {
            let mut words = key.0.split(' ');
            let (kind, address) = (words.next()?, words.next()?);
            let (_, port) = address.rsplit_once(':')?;
            (port != "0").then_some((kind, port))
        }
        port(self).is_some() && port(self) == port(other)
    }

    /// Whether datagrams come to it.
    #[must_use]
    pub fn is_udp(&self) -> bool {
        self.0.starts_with("udp ")
    }

    /// The key as text, for another process.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Limits of time of a frontend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrontendTimeouts {
    /// From the first byte of a request head to its last. Default 10 s.
    pub request_head: Duration,
    /// Between requests of one connection. Default 60 s.
    pub keep_alive: Duration,
    /// Without a byte of body from or to the client. Default 60 s.
    pub body: Duration,
    /// Without a byte in either direction of a TCP connection, UDP flow or tunnel. Default 10 min,
    /// for UDP 60 s.
    pub tunnel: Duration,
}

/// Limits of message heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Size of a head in bytes, start line included. Default 32 KiB, at most 60 KiB.
    pub max_head_bytes: usize,
    /// Number of fields in a head. Default 128.
    pub max_fields: usize,
}

/// A limit on how often one key may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// Requests per period.
    pub requests: u32,
    /// The period. Default 1 s.
    pub period: Duration,
    /// Requests that may come at once. Default `requests`.
    pub burst: u32,
    /// What is counted apart.
    pub by: RateKey,
    /// Keys remembered; when full the least used gives way. Default 100,000.
    pub max_keys: usize,
    /// What becomes of what is above it. Default [`Denial::Forbid`].
    pub denial: Denial,
}

/// A limit on bytes in a time; at least one direction has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bandwidth {
    /// Bytes a second from clients.
    pub inbound: Option<NonZeroU64>,
    /// Bytes a second to clients.
    pub outbound: Option<NonZeroU64>,
    /// Who shares it. Default each connection alone.
    pub per: BandwidthOf,
}

/// Who shares a [`Bandwidth`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum BandwidthOf {
    /// Nobody: it is each connection's.
    #[default]
    Connection,
    /// All connections of one source address (IPv6: its /64).
    Source,
    /// All connections of the frontend.
    Frontend,
}

/// What a [`RateLimit`] counts apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RateKey {
    /// The client's address (IPv6: its /64).
    SourceIp,
    /// The value of a header, name in lower case; requests without it share one count.
    Header(String),
}

/// Which forwarded headers are set on requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ForwardedHeaders {
    /// `X-Forwarded-For`, `-Proto`, `-Host`.
    #[default]
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
    /// Both.
    Both,
    /// None; those of clients are removed all the same unless the client is trusted.
    Off,
}

/// Where and how exchanges are logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// The form of a line.
    pub format: LogFormat,
    /// Where lines go.
    pub target: LogTarget,
    /// Whether clients that connect and say nothing are logged. Default no.
    pub silent_clients: bool,
}

/// The form of an access log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Common log format.
    Clf,
    /// HAProxy's `option httplog` / `option tcplog`.
    Haproxy,
    /// For a person watching: source, server and why it was chosen, when the connection stands.
    Human,
}

/// Where access log lines go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LogTarget {
    /// The process's standard output.
    Stdout,
    /// Appended to a file.
    File(PathBuf),
    /// A syslog socket: `/dev/log`, or an address for RFC 5424 over UDP.
    SyslogUnix(PathBuf),
    /// RFC 5424 over UDP.
    SyslogUdp(SocketAddr),
}

/// A body to send with an error of our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorPage {
    /// The status it is for.
    pub status: u16,
    /// Value of `Content-Type`.
    pub content_type: String,
    /// The body, read when the configuration was loaded.
    pub body: Arc<[u8]>,
}

impl Default for FrontendTimeouts {
    fn default() -> Self {
        Self {
            request_head: Duration::from_secs(10),
            keep_alive: Duration::from_secs(60),
            body: Duration::from_secs(60),
            tunnel: Duration::from_secs(600),
        }
    }
}

impl FrontendTimeouts {
    /// Default of `tunnel` for UDP. Nothing says that a flow has ended, so that each is kept for
    /// that long; Envoy's `udp_proxy` has the same default.
    pub const UDP_IDLE: Duration = Duration::from_secs(60);

    /// The defaults of frontends that speak `protocol`.
    #[must_use]
    pub fn of_protocol(protocol: Protocol) -> Self {
        let mut timeouts = Self::default();
        if protocol == Protocol::Udp {
            timeouts.tunnel = Self::UDP_IDLE;
        }
        timeouts
    }
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self {
            max_head_bytes: 32 * 1024,
            max_fields: 128,
        }
    }
}

impl Frontend {
    /// A frontend on `listen` that sends everything to `backend`, with every default.
    #[must_use]
    pub fn new(
        name: Name,
        protocol: Protocol,
        listen: Vec<SocketAddr>,
        backend: BackendId,
    ) -> Self {
        Self {
            name,
            protocol,
            listeners: listen
                .into_iter()
                .map(|address| Listener { address })
                .collect(),
            routes: Vec::new(),
            backend: Some(backend),
            timeouts: FrontendTimeouts::of_protocol(protocol),
            max_connections: None,
            max_connections_per_source: None,
            rate_limit: None,
            bandwidth: None,
            access: Access::default(),
            auth: None,
            tarpit: Tarpit::default(),
            trusted_proxies: Vec::new(),
            forwarded: ForwardedHeaders::default(),
            http: HttpLimits::default(),
            access_log: None,
            error_pages: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(protocol: Protocol, listen: &str) -> ListenerKey {
        let listen = vec![listen.parse().unwrap()];
        ListenerKey::of(
            &Frontend::new("web".into(), protocol, listen, BackendId(0)),
            0,
        )
    }

    #[test]
    fn an_address_names_its_sockets_whatever_is_spoken_over_them() {
        let http = key(Protocol::Http, "127.0.0.1:80");
        assert_eq!(http, key(Protocol::Tcp, "127.0.0.1:80"));
        assert_ne!(http, key(Protocol::Udp, "127.0.0.1:80"));
        assert_eq!(http, ListenerKey::from_text(http.as_str()));
    }

    #[test]
    fn a_port_is_shared_by_addresses_of_one_kind() {
        let any = key(Protocol::Tcp, "0.0.0.0:80");
        assert!(any.shares_port(&key(Protocol::Http, "127.0.0.1:80")));
        assert!(!any.shares_port(&key(Protocol::Http, "127.0.0.1:81")));
        assert!(!any.shares_port(&key(Protocol::Udp, "127.0.0.1:80")));
        let chosen = key(Protocol::Tcp, "127.0.0.1:0");
        assert!(!chosen.shares_port(&chosen));
    }
}
