//! Lists of networks and maps to backends, and who may come by them.
//!
//! Each configuration has its own; one that says the same as the one before shares it. An operator
//! changes entries in place, so that a change costs as much as the entry, not as the list.

use catamaran_core::lookup::Lookup;
use catamaran_core::model::{
    Access, AddressList, Addresses, BackendId, Config, Denial, IpNet, Map as MapModel, Name,
};
use catamaran_core::networks::Networks;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

/// A list of networks.
#[derive(Debug)]
pub struct List {
    /// As the configuration says it.
    pub model: AddressList,
    networks: RwLock<Networks<()>>,
}

/// A map to backends of the same configuration.
#[derive(Debug)]
pub struct Map {
    /// As the configuration says it.
    pub model: MapModel,
    entries: RwLock<Lookup<BackendId>>,
}

/// All lists and maps of a configuration.
#[derive(Clone, Debug)]
pub struct Tables {
    /// Indexed by [`ListId`](catamaran_core::model::ListId).
    pub lists: Arc<[Arc<List>]>,
    /// Indexed by [`MapId`](catamaran_core::model::MapId).
    pub maps: Arc<[Arc<Map>]>,
}

/// Who may come, ready to be asked.
#[derive(Debug)]
pub(crate) struct Gate {
    allow: Option<Group>,
    deny: Option<Group>,
    denial: Denial,
}

#[derive(Debug)]
struct Group {
    networks: Networks<()>,
    lists: Vec<Arc<List>>,
}

impl List {
    fn new(model: &AddressList) -> Self {
        let entries = model.entries.iter().map(|network| (*network, ()));
        Self {
            networks: RwLock::new(entries.collect()),
            model: model.clone(),
        }
    }

    /// Adds or removes a network; returns whether it was in the list.
    pub fn set(&self, network: IpNet, is_in: bool) -> bool {
        let mut networks = self
            .networks
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let before = if is_in {
            networks.insert(network, ())
        } else {
            networks.remove(network)
        };
        before.is_some()
    }

    /// Whether exactly this network is in the list.
    pub fn has(&self, network: IpNet) -> bool {
        self.read(|networks| networks.get(network).is_some())
    }

    /// Whether a network of the list holds `ip`.
    pub fn holds(&self, ip: IpAddr) -> bool {
        self.read(|networks| networks.contains(ip))
    }

    /// How many networks there are.
    pub fn len(&self) -> usize {
        self.read(Networks::len)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The networks, in no order.
    pub fn networks(&self) -> Vec<IpNet> {
        self.read(|networks| networks.entries().map(|(network, ())| network).collect())
    }

    fn read<R>(&self, read: impl FnOnce(&Networks<()>) -> R) -> R {
        read(&self.networks.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Map {
    fn new(model: &MapModel) -> Self {
        let mut entries = Lookup::new(model.how);
        for (key, backend) in &*model.entries {
            let inserted = entries.insert(key, *backend);
            debug_assert!(inserted.is_ok(), "a configuration that loads is valid");
        }
        Self {
            entries: RwLock::new(entries),
            model: model.clone(),
        }
    }

    /// The backend for what was asked with.
    pub(crate) fn find(&self, asked: &[u8]) -> Option<BackendId> {
        self.read(|entries| entries.find(asked).copied())
    }

    /// The backend of exactly this key, which must be one of the map's form.
    pub fn get(&self, key: &str) -> Option<BackendId> {
        self.read(|entries| entries.get(key).ok().flatten().copied())
    }

    /// Gives a key of the map's form another backend, or none.
    pub fn set(&self, key: &str, backend: Option<BackendId>) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        // A key of another form is in no map.
        let _ = match backend {
            Some(backend) => entries.insert(key, backend),
            None => entries.remove(key),
        };
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.read(Lookup::len)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entries, in no order.
    pub fn entries(&self) -> Vec<(String, BackendId)> {
        self.read(|entries| entries.iter().map(|(key, id)| (key, *id)).collect())
    }

    fn read<R>(&self, read: impl FnOnce(&Lookup<BackendId>) -> R) -> R {
        read(&self.entries.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Tables {
    /// Those of `config`; what says the same as in `before` is shared with it.
    pub(crate) fn new(config: &Config, before: Option<(&Self, &Config)>) -> Self {
        let before_list = |model: &AddressList| {
            let lists = before.iter().flat_map(|(tables, _)| &*tables.lists);
            lists.into_iter().find(|list| list.model == *model)
        };
        // What a map says are places among the backends, which may be others now.
        let same_backends = before.is_some_and(|(_, before)| names(before).eq(names(config)));
        let before_map = |model: &MapModel| {
            let maps = before.iter().flat_map(|(tables, _)| &*tables.maps);
            let mut maps = maps.into_iter().filter(|_| same_backends);
            maps.find(|map| map.model == *model)
        };
        let lists = config.lists.iter();
        let lists = lists
            .map(|list| before_list(list).map_or_else(|| Arc::new(List::new(list)), Arc::clone));
        let maps = config.maps.iter();
        let maps =
            maps.map(|map| before_map(map).map_or_else(|| Arc::new(Map::new(map)), Arc::clone));
        Self {
            lists: lists.collect(),
            maps: maps.collect(),
        }
    }

    /// The list of this name.
    #[must_use]
    pub fn list(&self, name: &str) -> Option<&Arc<List>> {
        let mut lists = self.lists.iter();
        lists.find(|list| list.model.name.as_str() == name)
    }

    /// The map of this name.
    #[must_use]
    pub fn map(&self, name: &str) -> Option<&Arc<Map>> {
        let mut maps = self.maps.iter();
        maps.find(|map| map.model.name.as_str() == name)
    }
}

fn names(config: &Config) -> impl Iterator<Item = &Name> {
    config.backends.iter().map(|backend| &backend.name)
}

impl Gate {
    /// The gate that `access` describes; `None` if everybody may come.
    pub(crate) fn new(access: &Access, tables: &Tables) -> Option<Self> {
        let group = |addresses: &Addresses| Group {
            networks: addresses.networks.iter().map(|net| (*net, ())).collect(),
            lists: addresses
                .lists
                .iter()
                .map(|id| Arc::clone(&tables.lists[id.index()]))
                .collect(),
        };
        (!access.is_open()).then(|| Self {
            allow: access.allow.as_ref().map(group),
            deny: access.deny.as_ref().map(group),
            denial: access.denial,
        })
    }

    /// What becomes of a client at `ip`, if it may not come.
    pub(crate) fn denies(&self, ip: IpAddr) -> Option<Denial> {
        let is_denied = self.deny.as_ref().is_some_and(|deny| deny.holds(ip))
            || self.allow.as_ref().is_some_and(|allow| !allow.holds(ip));
        is_denied.then_some(self.denial)
    }
}

impl Group {
    fn holds(&self, ip: IpAddr) -> bool {
        self.networks.contains(ip) || self.lists.iter().any(|list| list.holds(ip))
    }
}
