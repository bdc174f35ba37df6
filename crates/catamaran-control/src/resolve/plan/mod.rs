//! The servers behind one configured name: when to ask for them, and what an answer changes.
//!
//! [`Plan`] opens no socket and reads no clock: the shell fetches the question, asks it, and hands
//! in the answer.
//!
//! ```text
//!            poll_question            handle_answer
//!   waiting ---------------> asked ------------------> waiting: the TTL, or back-off
//! ```
//! What was found once is kept until something else is found: no failure of the DNS, and no empty
//! answer, takes a server away. That holds for each host and each address family by itself.

use super::{Answer, HostAnswer, LookupFailure, Question, Records, Service};
use catamaran_core::Timestamp;
use catamaran_core::model::{Name, Server, ServerAddr, Weight};

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// The state of one server that is configured by name.
#[derive(Debug)]
pub struct Plan {
    /// The server as configured; what it says goes for every address found.
    template: Server,
    found: Found,
    /// Made from `found`; sorted by address, names unique.
    servers: Vec<Server>,
    /// Why the last answer was no good; `None` while all is well.
    failing: Option<LookupFailure>,
    /// Answers in a row that were no good.
    failures: u32,
    state: State,
}

/// What an answer changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// Servers that came, went or got another weight or rank; `None` if none did.
    pub change: Option<Change>,
    /// What to log besides; each turn of events is told once.
    pub notice: Option<Notice>,
}

/// Names of servers, as in [`Plan::servers`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Those that were not there.
    pub added: Vec<Name>,
    /// Those that are gone.
    pub removed: Vec<Name>,
    /// Those whose weight or rank is another.
    pub altered: Vec<Name>,
}

/// A turn of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Lookups fail, or for another reason than before.
    Failing(LookupFailure),
    /// Lookups succeed again.
    Recovered,
}

/// The last good records.
#[derive(Clone, Debug, Default)]
struct Found {
    /// SRV records; empty for a plain host.
    services: Vec<Service>,
    /// Addresses of each host.
    hosts: BTreeMap<String, Vec<IpAddr>>,
}

#[derive(Debug)]
enum State {
    Waiting { until: Timestamp },
    Asked,
}

impl Plan {
    /// A plan for `template` that asks at once; `None` if its address is no name.
    #[must_use]
    pub fn new(template: Server) -> Option<Self> {
        match template.address {
            ServerAddr::Dns { .. } | ServerAddr::Srv { .. } => Some(Self {
                template,
                found: Found::default(),
                servers: Vec::new(),
                failing: None,
                failures: 0,
                state: State::Waiting {
                    until: Timestamp::ZERO,
                },
            }),
            ServerAddr::Ip(_) | ServerAddr::Unix(_) | ServerAddr::Etcd { .. } => None,
        }
    }

    /// Follows a changed configuration of the same name: what was found counts on. Returns whether
    /// it does, which it does not for another address.
    pub fn reconfigure(&mut self, template: &Server) -> bool {
        let is_same = self.template.address == template.address;
        if is_same && self.template != *template {
            self.template = template.clone();
            self.servers = self.found.servers(template);
        }
        is_same
    }

    /// Returns what to ask, if it is time; the answer must follow.
    pub fn poll_question(&mut self, now: Timestamp) -> Option<Question> {
        match self.state {
            State::Waiting { until } if until <= now => {
                self.state = State::Asked;
                Some(self.question())
            }
            State::Waiting { .. } | State::Asked => None,
        }
    }

    /// Asks at once, whatever time was to pass before: what was found may be out of date.
    pub const fn hurry(&mut self, now: Timestamp) {
        if let State::Waiting { until } = &mut self.state
            && until.as_nanos() > now.as_nanos()
        {
            *until = now;
        }
    }

    /// When to ask next; `None` while an answer is awaited.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        match self.state {
            State::Waiting { until } => Some(until),
            State::Asked => None,
        }
    }

    /// Takes an answer in.
    pub fn handle_answer(
        &mut self,
        now: Timestamp,
        answer: &Answer,
        rng: &mut fastrand::Rng,
    ) -> Update {
        let mut found = self.found.clone();
        let mut verdict = match (&self.template.address, answer) {
            (ServerAddr::Dns { host, .. }, Answer::Host(answer)) => found.take_host(host, answer),
            (_, Answer::Service { services, hosts }) => found.take_services(services, hosts),
            // An answer to another question says nothing.
            _ => Verdict::failed(LookupFailure::NoRecords),
        };
        let servers = found.servers(&self.template);
        let mut change = None;
        if !servers.is_empty() {
            change = Change::between(&self.servers, &servers);
            self.found = found;
            self.servers = servers;
        } else if verdict.failure.is_none() {
            verdict.failure = Some(LookupFailure::NoRecords);
        }

        let until = now + self.pause(&verdict, rng);
        self.state = State::Waiting { until };
        let notice = match (&self.failing, &verdict.failure) {
            (before, Some(failure)) if before.as_ref() != Some(failure) => {
                Some(Notice::Failing(failure.clone()))
            }
            (Some(_), None) => Some(Notice::Recovered),
            _ => None,
        };
        self.failing = verdict.failure;
        Update { change, notice }
    }

    /// The servers as known now, each with an address; empty until something was found.
    #[must_use]
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// The name under which the configuration knows them.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.template.name
    }

    /// Why the last answer was no good, or only partly.
    #[must_use]
    pub const fn failure(&self) -> Option<&LookupFailure> {
        self.failing.as_ref()
    }

    /// What it asks, whenever it asks.
    #[must_use]
    pub fn question(&self) -> Question {
        match &self.template.address {
            ServerAddr::Srv { service } => Question::Service(service.clone()),
            ServerAddr::Dns { host, .. } => Question::Host(host.clone()),
            ServerAddr::Ip(_) | ServerAddr::Unix(_) | ServerAddr::Etcd { .. } => {
                unreachable!("Plan::new takes nothing but names")
            }
        }
    }

    /// How long to wait before asking again.
    fn pause(&mut self, verdict: &Verdict, rng: &mut fastrand::Rng) -> Duration {
        let ttl = verdict.ttl.unwrap_or(MAX_TTL).clamp(MIN_TTL, MAX_TTL);
        let pause = if verdict.failure.is_some() {
            let doubled = MIN_TTL.saturating_mul(1 << self.failures.min(16));
            self.failures = self.failures.saturating_add(1);
            doubled.min(MAX_BACKOFF).min(ttl)
        } else {
            self.failures = 0;
            ttl
        };
        // Later, never earlier: earlier a cache on the way would answer the same once more.
        pause + pause.mul_f64(rng.f64() * JITTER)
    }
}

impl Change {
    /// What differs between two lists with unique names; `None` if nothing does.
    fn between(before: &[Server], after: &[Server]) -> Option<Self> {
        let find = |list: &[Server], name: &Name| list.iter().position(|s| s.name == *name);
        let mut change = Self::default();
        for server in after {
            match find(before, &server.name) {
                None => change.added.push(server.name.clone()),
                Some(at) if before[at] != *server => change.altered.push(server.name.clone()),
                Some(_) => {}
            }
        }
        for server in before {
            if find(after, &server.name).is_none() {
                change.removed.push(server.name.clone());
            }
        }
        (change != Self::default()).then_some(change)
    }
}

/// What is to be thought of an answer.
struct Verdict {
    /// Shortest TTL of what was found.
    ttl: Option<Duration>,
    /// What was not found although it should have been.
    failure: Option<LookupFailure>,
}

impl Verdict {
    const fn failed(failure: LookupFailure) -> Self {
        Self {
            ttl: None,
            failure: Some(failure),
        }
    }

    fn join(&mut self, other: Self) {
        self.ttl = match (self.ttl, other.ttl) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        self.failure = self.failure.take().or(other.failure);
    }
}

impl Found {
    fn take_host(&mut self, host: &str, answer: &HostAnswer) -> Verdict {
        let known = self.hosts.entry(host.to_owned()).or_default();
        let before = known.clone();
        let mut verdict = Verdict {
            ttl: None,
            failure: None,
        };
        for (family, is_v4) in [(&answer.v4, true), (&answer.v6, false)] {
            match family {
                Records::Found { records, ttl } => {
                    known.retain(|address| address.is_ipv4() != is_v4);
                    known.extend(records.iter().copied().filter(is_usable));
                    verdict.join(Verdict {
                        ttl: Some(*ttl),
                        failure: None,
                    });
                }
                Records::Nothing => known.retain(|address| address.is_ipv4() != is_v4),
                // Many name servers never answer for AAAA: only what was there can be missed.
                Records::Failed(failure) => {
                    if before.iter().any(|address| address.is_ipv4() == is_v4) {
                        verdict.join(Verdict::failed(failure.clone()));
                    }
                }
            }
        }
        if verdict.ttl.is_none() || known.is_empty() {
            *known = before;
            let failure = match (&answer.v4, &answer.v6) {
                (Records::Failed(failure), _) | (_, Records::Failed(failure)) => failure.clone(),
                _ => LookupFailure::NoRecords,
            };
            verdict.failure = Some(failure);
        }
        known.sort_unstable();
        known.dedup();
        known.truncate(MAX_ADDRESSES);
        verdict
    }

    fn take_services(
        &mut self,
        services: &Records<Service>,
        hosts: &BTreeMap<String, HostAnswer>,
    ) -> Verdict {
        let (records, ttl) = match services {
            Records::Found { records, ttl } => (records, *ttl),
            Records::Nothing => return Verdict::failed(LookupFailure::NoRecords),
            Records::Failed(failure) => return Verdict::failed(failure.clone()),
        };
        // RFC 2782: a target of "." means that the service is decidedly not available.
        self.services = records
            .iter()
            .filter(|service| !service.target.is_empty())
            .cloned()
            .collect();
        self.services.sort_unstable();
        self.services.truncate(MAX_ADDRESSES);
        let mut verdict = Verdict {
            ttl: Some(ttl),
            failure: None,
        };
        let named = |host: &String| records.iter().any(|service| service.target == *host);
        self.hosts.retain(|host, _| named(host));
        for (host, answer) in hosts.iter().filter(|(host, _)| named(host)) {
            verdict.join(self.take_host(host, answer));
        }
        verdict
    }

    /// The servers that the records stand for.
    fn servers(&self, template: &Server) -> Vec<Server> {
        let server = |name: &dyn std::fmt::Display, address| Server {
            name: Name::new(&format!("{}#{name}", template.name)),
            address: ServerAddr::Ip(address),
            ..template.clone()
        };
        if let ServerAddr::Dns { host, port } = &template.address {
            let addresses = self.hosts.get(host).into_iter().flatten();
            return addresses
                .map(|address| server(address, SocketAddr::new(*address, *port)))
                .collect();
        }
        let first = self.services.iter().map(|service| service.priority).min();
        let heaviest = self.services.iter().map(|service| service.weight).max();
        let mut servers = BTreeMap::new();
        // In the order of priority: of two records with one address the first counts.
        for service in &self.services {
            for address in self.hosts.get(&service.target).into_iter().flatten() {
                let address = SocketAddr::new(*address, service.port);
                servers.entry(address).or_insert_with(|| {
                    let server = server(&address, address);
                    Server {
                        weight: weight_of(service.weight, heaviest.unwrap_or(0), template.weight),
                        backup: template.backup || Some(service.priority) != first,
                        ..server
                    }
                });
            }
        }
        servers.into_values().take(MAX_ADDRESSES).collect()
    }
}

/// The weight for a record's `weight`, when the `heaviest` record of the service has that one.
///
/// Weights that fit are taken as they are, others scaled down. RFC 2782 gives weight 0 "a very
/// small chance", so it becomes 1. A template without weight keeps its servers without traffic.
fn weight_of(weight: u16, heaviest: u16, template: Weight) -> Weight {
    if template.as_u16() == 0 {
        return template;
    }
    let most = u32::from(Weight::MAX.as_u16());
    let scaled = u32::from(weight) * most / u32::from(heaviest).max(most);
    let scaled = u16::try_from(scaled.max(1)).unwrap_or(u16::MAX);
    Weight::new(scaled).unwrap_or(Weight::MAX)
}

/// Whether a connection to `address` can mean the server: filtering name servers answer 0.0.0.0,
/// to which a connection would end up on this machine.
fn is_usable(address: &IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast()
}

/// Shortest time between two lookups of a name, whatever its TTL says.
const MIN_TTL: Duration = Duration::from_secs(1);
/// Longest time between two lookups of a name, whatever its TTL says.
const MAX_TTL: Duration = Duration::from_secs(3600);
/// Longest time between two lookups of a name while they fail.
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// Share of a pause that is added at random, so that many names do not ask in step.
const JITTER: f64 = 0.1;
/// Addresses used of one name. Chosen: a UDP answer holds some hundred at most.
const MAX_ADDRESSES: usize = 256;

#[cfg(test)]
mod tests;
