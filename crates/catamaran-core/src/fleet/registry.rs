//! Servers that registered, and those whose registration vanished.

use super::{News, Told};
use crate::Timestamp;
use crate::model::Weight;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// The name of a registration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// What backends ask for.
    pub service: Arc<str>,
    /// Unique within its service.
    pub name: Arc<str>,
}

/// A server as the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Its name.
    pub key: Key,
    /// What it says of itself.
    pub registration: Registration,
    /// The revision of the store that wrote it; 0 if it is not known.
    pub modified: u64,
}

/// What a server says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its share of the traffic; `None` leaves that to the backend.
    pub weight: Option<Weight>,
    /// Whether it is about to go.
    pub is_leaving: bool,
}

/// A server that is in use.
#[derive(Clone, Copy, Debug)]
pub struct Held<'a> {
    /// As it was last registered.
    pub server: &'a Registered,
    /// When its registration was found to have vanished.
    pub missing_since: Option<Timestamp>,
}

/// Every server in use.
#[derive(Debug, Default)]
pub(super) struct Registry {
    servers: BTreeMap<Key, Place>,
}

#[derive(Debug)]
struct Place {
    server: Registered,
    missing_since: Option<Timestamp>,
}

/// Servers that a fleet may have. Chosen: ten times what one balancer was measured with.
pub const MAX_SERVERS: usize = 10_000;

impl Registry {
    /// Those that were in use when they were saved.
    pub(super) fn restored(servers: Vec<Registered>, news: &mut News) -> Self {
        let mut registry = Self::default();
        for server in servers {
            registry.put(server, false, news);
        }
        registry
    }

    /// A server is registered. With `additions_only` one that is known stays as it is.
    pub(super) fn put(&mut self, server: Registered, additions_only: bool, news: &mut News) {
        let key = server.key.clone();
        let count = self.servers.len();
        let is_leaving = server.registration.is_leaving;
        match self.servers.entry(key.clone()) {
            Entry::Occupied(_) if additions_only => {}
            Entry::Occupied(entry) if is_leaving => {
                entry.remove();
                news.services.insert(Arc::clone(&key.service));
                news.told.push(Told::Left(key));
            }
            Entry::Occupied(mut entry) => {
                let place = entry.get_mut();
                let was_missing = place.missing_since.take().is_some();
                if place.server.registration != server.registration {
                    news.services.insert(Arc::clone(&key.service));
                }
                place.server = server;
                if was_missing {
                    news.told.push(Told::Joined(key));
                }
            }
            Entry::Vacant(_) if is_leaving => {}
            Entry::Vacant(_) if count >= MAX_SERVERS => news.told.push(Told::Refused(key)),
            Entry::Vacant(entry) => {
                // The revisions of a foreign cluster say nothing beside ours.
                let modified = if additions_only { 0 } else { server.modified };
                entry.insert(Place {
                    server: Registered { modified, ..server },
                    missing_since: None,
                });
                news.services.insert(Arc::clone(&key.service));
                news.told.push(Told::Joined(key));
            }
        }
    }

    /// The registration of a server vanished.
    pub(super) fn miss(&mut self, now: Timestamp, key: &Key, news: &mut News) {
        if let Some(place) = self.servers.get_mut(key)
            && place.missing_since.is_none()
        {
            place.missing_since = Some(now);
            news.told.push(Told::Missing(key.clone()));
        }
    }

    /// Removes those that were missing for `grace` and are down.
    pub(super) fn expire(
        &mut self,
        now: Timestamp,
        grace: Duration,
        is_down: impl Fn(&Key) -> bool,
        news: &mut News,
    ) {
        let lost = self.servers.extract_if(.., |key, place| {
            let is_over = |since: Timestamp| now.saturating_since(since) >= grace;
            place.missing_since.is_some_and(is_over) && is_down(key)
        });
        for (key, _) in lost {
            news.services.insert(Arc::clone(&key.service));
            news.told.push(Told::Lost(key));
        }
    }

    /// What was written when is of another cluster.
    pub(super) fn forget_revisions(&mut self) {
        for place in self.servers.values_mut() {
            place.server.modified = 0;
        }
    }

    /// The names of those whose registration stands.
    pub(super) fn registered(&self) -> Vec<Key> {
        let standing = self.servers.iter();
        standing
            .filter(|(_, place)| place.missing_since.is_none())
            .map(|(key, _)| key.clone())
            .collect()
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Registered> {
        self.servers.get(key).map(|place| &place.server)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = Held<'_>> {
        self.servers.values().map(Place::held)
    }

    pub(super) fn of<'a>(&'a self, service: &'a str) -> impl Iterator<Item = Held<'a>> {
        let first = Key {
            service: service.into(),
            name: "".into(),
        };
        let from = self.servers.range(first..);
        from.take_while(move |(key, _)| *key.service == *service)
            .map(|(_, place)| place.held())
    }
}

impl Place {
    const fn held(&self) -> Held<'_> {
        Held {
            server: &self.server,
            missing_since: self.missing_since,
        }
    }
}

/// What is wrong with a part of a key of the store, such as the name of a server, and the remedy.
#[must_use]
pub fn part_problem(part: &str) -> Option<&'static str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if part.is_empty() {
        Some("is empty; write letters, digits, `-`, `_` and `.`")
    } else if part.len() > MAX_PART {
        Some("is too long; 100 bytes are allowed")
    } else if !part.bytes().all(is_plain) {
        Some("has other characters than letters, digits, `-`, `_` and `.`")
    } else {
        None
    }
}

/// Bytes of a part of a key. Chosen: as long as a host's label and half.
const MAX_PART: usize = 100;

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service, self.name)
    }
}
