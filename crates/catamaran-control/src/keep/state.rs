//! What of operators' changes and of the servers' health outlives the process, as a document.
//!
//! Only what is not as it would be at a start is written, so that it stays small with thousands of
//! servers. Unknown fields are left out and missing ones are as at a start: the process that reads it
//! need not be of the version that wrote it.

use crate::admin::Overlays;
use catamaran_core::Timestamp;
use catamaran_core::health::Status;
use catamaran_core::model::{self, Config, Name, ServerAddr, Source, Weight};
use catamaran_core::server::{Admin, ServerState};
use catamaran_proxy::{Backend, Server, Snapshot};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The document.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct State {
    /// Whether every server that is checked had been checked.
    pub(super) is_ready: bool,
    /// The level that an operator set.
    pub(super) log_level: Option<String>,
    /// By name.
    backends: BTreeMap<String, BackendState>,
    /// Changed entries of lists: list, network, whether it is in.
    lists: Vec<(String, String, bool)>,
    /// Changed entries of maps: map, key, backend as written, backend instead.
    maps: Vec<(String, String, Option<String>, Option<String>)>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
struct BackendState {
    /// Servers that an operator added.
    added: Vec<ServerText>,
    /// Servers that an operator removed, as they were.
    removed: Vec<ServerText>,
    /// All servers, where some are given by names that must be looked up.
    found: Vec<ServerText>,
    /// What is not as at a start, by name of server.
    servers: BTreeMap<String, ServerFacts>,
}

/// A server as the configuration would write it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
struct ServerText {
    name: String,
    address: String,
    weight: Option<u16>,
    backup: bool,
    max_requests: Option<u32>,
    max_connections: Option<u32>,
    source: Option<SourceText>,
}

/// Where connections to a server come from.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
struct SourceText {
    addresses: Vec<IpAddr>,
    interface: Option<String>,
}

/// What is known of a server, and wanted of it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
struct ServerFacts {
    /// Facts of another address are another server's.
    target: String,
    drain: bool,
    maintenance: bool,
    weight: Option<u16>,
    /// What an operator says of its health.
    is_up: Option<bool>,
    checked_down: bool,
    refusing: bool,
    ejected: bool,
    /// Nanoseconds on the monotonic clock: when its slow start began.
    came_up_at: Option<u64>,
}

impl State {
    /// How it is now.
    pub(super) fn of(snapshot: &Snapshot, overlays: &Overlays) -> Self {
        let mut state = Self::default();
        for (backend, added, removed) in overlays.all() {
            let of = state.backends.entry(backend.to_string()).or_default();
            of.added = added.iter().map(ServerText::of).collect();
            of.removed = removed.iter().map(ServerText::of).collect();
        }
        let text = |name: Option<Name>| name.map(|name| name.to_string());
        let listed = overlays.listed().into_iter();
        let listed = listed.map(|(list, net, is_in)| (list.to_string(), net.to_string(), is_in));
        state.lists = listed.collect();
        let mapped = overlays.mapped().into_iter();
        let mapped =
            mapped.map(|(map, key, was, is)| (map.to_string(), key.into(), text(was), text(is)));
        state.maps = mapped.collect();
        // The order of a hash table says nothing.
        state.lists.sort();
        state.maps.sort();
        for (backend, model) in snapshot.backends.iter().zip(&snapshot.config.backends) {
            let set = backend.set();
            let facts = set.servers.iter().filter_map(|server| {
                let facts = ServerFacts::of(server)?;
                Some((server.model.name.to_string(), facts))
            });
            let facts: BTreeMap<_, _> = facts.collect();
            let has_names = model.servers.iter().any(|server| {
                matches!(
                    server.address,
                    ServerAddr::Dns { .. } | ServerAddr::Srv { .. } | ServerAddr::Etcd { .. }
                )
            });
            if facts.is_empty() && !has_names {
                continue;
            }
            let name = backend.model.name.to_string();
            let of = state.backends.entry(name).or_default();
            of.servers = facts;
            if has_names {
                let servers = set.servers.iter();
                of.found = servers
                    .map(|server| ServerText::of(&server.model))
                    .collect();
            }
        }
        state
    }

    /// Gives `overlays` the changes of operators, and lays them over `config`.
    pub(super) fn restore_overlays(&self, overlays: &Overlays, config: &mut Config) {
        for (backend, state) in &self.backends {
            let models =
                |texts: &[ServerText]| texts.iter().filter_map(ServerText::model).collect();
            overlays.set(
                Name::new(backend),
                models(&state.added),
                models(&state.removed),
            );
        }
        for (list, network, is_in) in &self.lists {
            if let Ok(network) = network.parse() {
                // As many as there were in the process before.
                let _ = overlays.set_listed(&Name::new(list), network, !is_in, *is_in);
            }
        }
        for (map, key, was, is) in &self.maps {
            let name = |text: &Option<String>| text.as_deref().map(Name::new);
            let _ = overlays.set_mapped(&Name::new(map), key, name(was), name(is));
        }
        overlays.lay_over(config);
    }

    /// Tells the servers of `snapshot` what was known of them.
    pub(super) fn restore_servers(&self, snapshot: &Snapshot, now: Timestamp) {
        for (name, state) in &self.backends {
            let Some(backend) = snapshot.backend(&Name::new(name)) else {
                continue;
            };
            state.restore(backend, now);
        }
    }
}

impl BackendState {
    fn restore(&self, backend: &std::sync::Arc<Backend>, now: Timestamp) {
        let found: Vec<_> = self.found.iter().filter_map(ServerText::model).collect();
        if !found.is_empty() {
            backend.set_servers(backend.servers_of(&found, now), now);
            // They did not join a backend at work.
            for server in &backend.set().servers {
                server.state.start_slowly(Timestamp::ZERO);
            }
        }
        let set = backend.set();
        for (name, facts) in &self.servers {
            let server = set.by_name(&Name::new(name));
            let server = server.filter(|server| server.target.to_string() == facts.target);
            if let Some(server) = server {
                facts.restore(&server.state, now);
            }
        }
        drop(set);
        backend.rebuild(now);
    }
}

impl ServerText {
    fn of(server: &model::Server) -> Self {
        Self {
            name: server.name.to_string(),
            address: server.address.to_string(),
            weight: (server.weight != Weight::ONE).then(|| server.weight.as_u16()),
            backup: server.backup,
            max_requests: server.max_requests,
            max_connections: server.max_connections,
            source: server.source.as_ref().map(|source| SourceText {
                addresses: source.addresses.clone(),
                interface: source.interface.clone(),
            }),
        }
    }

    /// `None` of what this version cannot read.
    fn model(&self) -> Option<model::Server> {
        let server = catamaran_config::server(&self.address, None).ok()?;
        Some(model::Server {
            name: Name::new(&self.name),
            weight: self.weight.map_or(Some(Weight::ONE), Weight::new)?,
            backup: self.backup,
            max_requests: self.max_requests,
            max_connections: self.max_connections,
            source: self.source.as_ref().map(|source| Source {
                addresses: source.addresses.clone(),
                interface: source.interface.clone(),
            }),
            ..server
        })
    }
}

impl ServerFacts {
    /// `None` if all is as at a start.
    fn of(server: &Server) -> Option<Self> {
        let state = &server.state;
        let facts = Self {
            target: String::new(),
            drain: state.admin() == Admin::Drain,
            maintenance: state.admin() == Admin::Maintenance,
            weight: state.weight().map(Weight::as_u16),
            is_up: state.health_override().map(|health| health == Status::Up),
            checked_down: state.is_checked_down(),
            refusing: state.is_refusing(),
            ejected: state.is_ejected(),
            came_up_at: state.came_up_at().map(Timestamp::as_nanos),
        };
        (facts != Self::default()).then(|| Self {
            target: server.target.to_string(),
            ..facts
        })
    }

    fn restore(&self, state: &ServerState, now: Timestamp) {
        let admin = match (self.maintenance, self.drain) {
            (true, _) => Admin::Maintenance,
            (_, true) => Admin::Drain,
            _ => Admin::Ready,
        };
        state.set_admin(now, admin);
        if let Some(weight) = self.weight {
            state.set_weight(Weight::new(weight));
        }
        let health = self.is_up.map(|is_up| match is_up {
            true => Status::Up,
            false => Status::Down,
        });
        state.set_health_override(now, health);
        if self.checked_down {
            state.mark_checked_down();
        }
        if self.refusing {
            state.mark_refusing();
        }
        if self.ejected {
            state.eject();
        }
        // After what may have made it usable.
        let came_up_at = self
            .came_up_at
            .map_or(Timestamp::ZERO, Timestamp::from_nanos);
        state.start_slowly(came_up_at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_read_as_it_was_written() {
        let plain = catamaran_config::server("10.0.0.1:80", None).unwrap();
        let full = model::Server {
            name: Name::new("a b"),
            weight: Weight::new(7).unwrap(),
            backup: true,
            max_requests: Some(3),
            max_connections: Some(4),
            // One that was removed is known again only if all of it is as it was.
            source: Some(Source {
                addresses: vec!["10.0.0.9".parse().unwrap(), "fd00::9".parse().unwrap()],
                interface: Some("eth1".to_owned()),
            }),
            ..plain.clone()
        };
        for server in [plain, full] {
            let text = serde_json::to_vec(&ServerText::of(&server)).unwrap();
            let read: ServerText = serde_json::from_slice(&text).unwrap();
            assert_eq!(read.model(), Some(server));
        }
    }
}
