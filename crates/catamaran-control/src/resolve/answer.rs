//! What is asked of the DNS and what it answers, free of any library's types.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// What to ask for one configured server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// The A and AAAA records of this host.
    Host(String),
    /// The SRV records of this service, and the addresses of the hosts that they name.
    Service(String),
}

/// The answer to a [`Question`] of the same kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Addresses of a host.
    Host(HostAnswer),
    /// Records of a service.
    Service {
        /// The service's records.
        services: Records<Service>,
        /// The addresses of each host that `services` name.
        hosts: BTreeMap<String, HostAnswer>,
    },
}

impl Answer {
    /// The answer to `question` of one who could not find out.
    #[must_use]
    pub fn failed(question: &Question, failure: &LookupFailure) -> Self {
        match question {
            Question::Host(_) => Self::Host(HostAnswer {
                v4: Records::Failed(failure.clone()),
                v6: Records::Failed(failure.clone()),
            }),
            Question::Service(_) => Self::Service {
                services: Records::Failed(failure.clone()),
                hosts: BTreeMap::new(),
            },
        }
    }
}

/// The addresses of one host; the families are asked and can fail apart from each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostAnswer {
    /// A records.
    pub v4: Records<IpAddr>,
    /// AAAA records.
    pub v6: Records<IpAddr>,
}

/// The records of one name and type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Records<T> {
    /// At least one, and how long they may be used.
    Found {
        /// In any order.
        records: Vec<T>,
        /// The shortest TTL on the way to them.
        ttl: Duration,
    },
    /// The name exists without records of this type.
    Nothing,
    /// Nothing was learned, or the name does not exist.
    Failed(LookupFailure),
}

/// An SRV record (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Service {
    /// Lower is used first.
    pub priority: u16,
    /// Share among those of the same priority.
    pub weight: u16,
    /// The port of the service on `target`.
    pub port: u16,
    /// The host, without a final dot.
    pub target: String,
}

/// Why a name has no usable answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookupFailure {
    /// NXDOMAIN.
    #[error("no such name")]
    NoSuchName,
    /// The name has no records of the types asked for.
    #[error("no records")]
    NoRecords,
    /// No name server answered in time.
    #[error("timeout")]
    Timeout,
    /// A name server answered with an error, or could not be reached.
    #[error("{0}")]
    Other(String),
}
