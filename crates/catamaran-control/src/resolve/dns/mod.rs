//! The DNS, by hickory-resolver: turns questions into queries and its types into ours.
//!
//! Names are looked up in `/etc/hosts` first and, relative to the search domains, as
//! `/etc/resolv.conf` says; with `resolvers` configured those are asked instead and no search
//! domain is tried. Both files are read once, when the resolver is made. Its cache is off:
//! a [`super::Plan`] asks when the TTL has passed and wants what is true then.

use super::{Answer, DnsSetupError, HostAnswer, Lookup, LookupFailure, Question, Records, Service};
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, RecordType};
use hickory_resolver::{Resolver, TokioResolver};

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// A resolver.
#[derive(Clone)]
pub struct Dns {
    resolver: TokioResolver,
}

impl Dns {
    /// Makes a resolver that asks `resolvers`, or those of `/etc/resolv.conf` if there are none.
    ///
    /// # Errors
    /// [`DnsSetupError::Setup`] if `/etc/resolv.conf` is missing or makes no sense.
    pub fn new(resolvers: &[SocketAddr]) -> Result<Self, DnsSetupError> {
        let setup = |error: NetError| DnsSetupError::Setup(error.to_string());
        let mut builder = if resolvers.is_empty() {
            TokioResolver::builder_tokio().map_err(setup)?
        } else {
            let name_servers = resolvers.iter().copied().map(name_server).collect();
            Resolver::builder_with_config(
                ResolverConfig::from_name_servers(name_servers),
                TokioRuntimeProvider::default(),
            )
        };
        let options = builder.options_mut();
        options.cache_size = 0;
        options.timeout = QUERY_TIMEOUT;
        options.attempts = RETRIES;
        let resolver = builder.build().map_err(setup)?;
        Ok(Self { resolver })
    }

    async fn host(&self, host: &str) -> HostAnswer {
        let (v4, v6) = tokio::join!(
            self.records(host, RecordType::A, |data| match data {
                RData::A(address) => Some(IpAddr::V4(address.0)),
                _ => None,
            }),
            self.records(host, RecordType::AAAA, |data| match data {
                RData::AAAA(address) => Some(IpAddr::V6(address.0)),
                _ => None,
            }),
        );
        HostAnswer { v4, v6 }
    }

    async fn service(&self, service: &str) -> Answer {
        let services = self
            .records(service, RecordType::SRV, |data| match data {
                RData::SRV(record) => Some(Service {
                    priority: record.priority,
                    weight: record.weight,
                    port: record.port,
                    target: record.target.to_ascii().trim_end_matches('.').to_owned(),
                }),
                _ => None,
            })
            .await;
        let mut targets = BTreeSet::new();
        if let Records::Found { records, .. } = &services {
            targets.extend(records.iter().map(|record| record.target.clone()));
            targets.remove("");
        }
        let mut hosts = BTreeMap::new();
        let mut waiting = targets.into_iter().take(MAX_TARGETS);
        let mut lookups = JoinSet::new();
        loop {
            while lookups.len() < MAX_TARGETS_AT_ONCE
                && let Some(target) = waiting.next()
            {
                let dns = self.clone();
                lookups.spawn(async move {
                    // Targets are absolute names (RFC 2782): no search domain is tried.
                    let answer = dns.host(&format!("{target}.")).await;
                    (target, answer)
                });
            }
            match lookups.join_next().await {
                Some(Ok((target, answer))) => hosts.insert(target, answer),
                // A lookup that panicked leaves its host without an answer: its addresses stay.
                Some(Err(_)) => continue,
                None => break,
            };
        }
        Answer::Service { services, hosts }
    }

    async fn records<T>(
        &self,
        name: &str,
        record_type: RecordType,
        take: impl Fn(&RData) -> Option<T>,
    ) -> Records<T> {
        let query = self.resolver.lookup(name, record_type);
        let lookup = match timeout(LOOKUP_TIMEOUT, query).await {
            Ok(Ok(lookup)) => lookup,
            Ok(Err(error)) => return failed(&error),
            Err(_) => return Records::Failed(LookupFailure::Timeout),
        };
        // Aliases on the way count: the answer is as short-lived as the shortest-lived of them.
        let answers = lookup.answers();
        let ttl = answers.iter().map(|record| record.ttl).min().unwrap_or(0);
        let records: Vec<T> = answers
            .iter()
            .filter_map(|record| take(&record.data))
            .collect();
        if records.is_empty() {
            Records::Nothing
        } else {
            let ttl = Duration::from_secs(ttl.into());
            Records::Found { records, ttl }
        }
    }
}

impl Lookup for Dns {
    async fn lookup(&self, question: Question) -> Answer {
        match question {
            Question::Host(host) => Answer::Host(self.host(&host).await),
            Question::Service(service) => self.service(&service).await,
        }
    }
}

impl std::fmt::Debug for Dns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dns").finish_non_exhaustive()
    }
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let mut config = NameServerConfig::udp_and_tcp(address.ip());
    let set_port = |connection: &mut ConnectionConfig| connection.port = address.port();
    config.connections.iter_mut().for_each(set_port);
    config
}

fn failed<T>(error: &NetError) -> Records<T> {
    let failure = match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NoError => return Records::Nothing,
            ResponseCode::NXDomain => LookupFailure::NoSuchName,
            code => LookupFailure::Other(format!("name server says: {code}")),
        },
        NetError::Dns(DnsError::ResponseCode(code)) => {
            LookupFailure::Other(format!("name server says: {code}"))
        }
        NetError::Timeout => LookupFailure::Timeout,
        other => LookupFailure::Other(other.to_string()),
    };
    Records::Failed(failure)
}

/// Time for one query to one name server. Chosen: resolv.conf's default of 5 s would leave no time
/// for a second name server within [`LOOKUP_TIMEOUT`].
const QUERY_TIMEOUT: Duration = Duration::from_secs(2);
/// Queries after the first.
const RETRIES: usize = 2;
/// Time for all queries about one name and type.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);
/// Hosts of one service that are looked up.
const MAX_TARGETS: usize = 256;
/// Hosts of one service that are looked up at once.
const MAX_TARGETS_AT_ONCE: usize = 8;

#[cfg(test)]
mod tests;
