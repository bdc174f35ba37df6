//! What decides whether a server is usable.

use std::num::NonZeroU32;
use std::time::Duration;

/// Active checks of a backend's servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What is asked.
    pub check: Check,
    /// Time between checks. Default 2 s.
    pub interval: Duration,
    /// Time between checks while results contradict the status. Default 500 ms, at most `interval`.
    pub fast_interval: Duration,
    /// Time for one check. Default 1 s.
    pub timeout: Duration,
    /// Successes in a row that bring a server up. Default 2.
    pub rise: NonZeroU32,
    /// Failures in a row that take a server down. Default 3.
    pub fall: NonZeroU32,
    /// Port to check instead of the server's own.
    pub port: Option<u16>,
}

/// What an active check asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// Whether a connection is accepted. Cannot see a stopped process: the kernel accepts for it.
    Tcp,
    /// Whether an HTTP/1.1 request is answered as expected.
    Http(HttpCheck),
    /// Whether a server answers over TCP as these steps expect.
    Script(Vec<Step>),
    /// Whether an empty datagram is not refused (ICMP port unreachable). Cannot see a stopped
    /// process, nor one behind a filter: silence passes.
    Udp,
}

/// One step of a scripted check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// These bytes are sent.
    Send(Box<[u8]>),
    /// This must come.
    Expect(Expect),
}

/// What must come next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// What comes begins so.
    Prefix(Box<[u8]>),
    /// It holds this somewhere.
    Contains(Box<[u8]>),
    /// The next line is this, without its end.
    Line(Box<[u8]>),
    /// The next byte is one of these.
    OneOf(Box<[u8]>),
    /// The byte at this place, from zero, is this.
    ByteAt {
        /// The place.
        place: usize,
        /// The byte.
        byte: u8,
    },
}

/// An agent beside each server of a backend, which says how the server does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Its port, at the server's address.
    pub port: u16,
    /// Time between questions. Default 2 s.
    pub interval: Duration,
    /// Time for one. Default 1 s.
    pub timeout: Duration,
    /// What is sent first; empty for nothing.
    pub send: String,
}

/// An HTTP check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpCheck {
    /// Request method. Default `GET`.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// `Host` of the request; `None` is the server's address.
    pub host: Option<String>,
    /// Statuses that pass. Default 200 to 399.
    pub expect: Vec<StatusRange>,
}

/// An inclusive range of statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRange {
    /// First status that passes.
    pub first: u16,
    /// Last status that passes.
    pub last: u16,
}

/// Passive detection of failing servers, with Envoy's figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlier {
    /// Failures (connect failures, 5xx) in a row that eject. Default 5; `None` never ejects.
    pub consecutive: Option<NonZeroU32>,
    /// First ejection; the n-th lasts n times as long. Default 30 s.
    pub base_ejection: Duration,
    /// Longest ejection. Default 300 s.
    pub max_ejection: Duration,
    /// Share of the servers that may be ejected at once, in percent, but at least one. Default 10.
    pub max_ejected_percent: u8,
}

impl Default for Outlier {
    fn default() -> Self {
        Self {
            consecutive: NonZeroU32::new(5),
            base_ejection: Duration::from_secs(30),
            max_ejection: Duration::from_secs(300),
            max_ejected_percent: 10,
        }
    }
}

impl Health {
    /// `check` with every default.
    #[must_use]
    pub fn new(check: Check) -> Self {
        Self {
            check,
            interval: Duration::from_secs(2),
            fast_interval: Duration::from_millis(500),
            timeout: Duration::from_secs(1),
            rise: NonZeroU32::MIN.saturating_add(1),
            fall: NonZeroU32::MIN.saturating_add(2),
            port: None,
        }
    }
}

impl HttpCheck {
    /// `GET path`, passing on 200 to 399.
    #[must_use]
    pub fn new(path: &str) -> Self {
        Self {
            method: "GET".to_owned(),
            path: path.to_owned(),
            host: None,
            expect: vec![StatusRange {
                first: 200,
                last: 399,
            }],
        }
    }
}

impl StatusRange {
    /// Whether `status` lies in the range.
    #[must_use]
    pub const fn contains(self, status: u16) -> bool {
        self.first <= status && status <= self.last
    }
}
