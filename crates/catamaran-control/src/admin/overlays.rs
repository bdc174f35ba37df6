//! What an operator changed at run time: servers of backends, entries of lists and maps.

use catamaran_core::model::{BackendId, Config, IpNet, Name, Server};
use catamaran_core::overlay::{Entries, EntriesFull, Full, Overlay};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// All changes; those of something that is gone wait for its return.
#[derive(Debug, Default)]
pub struct Overlays(Mutex<Changes>);

/// A changed entry of a map: the map, the key, where it led as written, where it leads.
pub(crate) type Mapped = (Name, Box<str>, Option<Name>, Option<Name>);

#[derive(Debug, Default)]
struct Changes {
    backends: HashMap<Name, Overlay>,
    lists: HashMap<Name, Entries<IpNet, ()>>,
    /// To backends by their names, which may be at other places in another configuration.
    maps: HashMap<Name, Entries<Box<str>, Name>>,
}

impl Overlays {
    /// The servers of `backend`, for which something else says `written`.
    pub(crate) fn over(&self, backend: &Name, written: Vec<Server>) -> Vec<Server> {
        match self.lock().backends.get(backend) {
            Some(overlay) => overlay.over(&written),
            None => written,
        }
    }

    /// Lays the changes over a configuration.
    pub(crate) fn lay_over(&self, config: &mut Config) {
        let changes = self.lock();
        for backend in &mut config.backends {
            if let Some(overlay) = changes.backends.get(&backend.name) {
                backend.servers = overlay.over(&backend.servers);
            }
        }
        for list in &mut config.lists {
            if let Some(entries) = changes.lists.get(&list.name) {
                list.entries = list_over(entries, &list.entries);
            }
        }
        let names: Vec<&Name> = config.backends.iter().map(|b| &b.name).collect();
        for map in &mut config.maps {
            if let Some(entries) = changes.maps.get(&map.name) {
                map.entries = map_over(entries, &map.entries, &names);
            }
        }
    }

    /// The changes of each backend: servers added, servers removed.
    pub(crate) fn all(&self) -> Vec<(Name, Vec<Server>, Vec<Server>)> {
        let changes = self.lock();
        let each = changes.backends.iter();
        each.map(|(name, overlay)| {
            let (added, removed) = (overlay.added().to_vec(), overlay.removed().to_vec());
            (name.clone(), added, removed)
        })
        .collect()
    }

    /// Puts changes that were made in another process in place of those of `backend`.
    pub(crate) fn set(&self, backend: Name, added: Vec<Server>, removed: Vec<Server>) {
        if !added.is_empty() || !removed.is_empty() {
            let overlay = Overlay::restored(added, removed);
            self.lock().backends.insert(backend, overlay);
        }
    }

    /// The changes of each list: its name, the network, whether it is in instead of out.
    pub(crate) fn listed(&self) -> Vec<(Name, IpNet, bool)> {
        let changes = self.lock();
        let each = changes.lists.iter().flat_map(|(name, entries)| {
            let each = entries.iter();
            each.map(|(network, _, is)| (name.clone(), *network, is.is_some()))
        });
        each.collect()
    }

    /// The changes of each map.
    pub(crate) fn mapped(&self) -> Vec<Mapped> {
        let changes = self.lock();
        let each = changes.maps.iter().flat_map(|(name, entries)| {
            let each = entries.iter();
            each.map(|(key, was, is)| (name.clone(), key.clone(), was.cloned(), is.cloned()))
        });
        each.collect()
    }

    pub(crate) fn add(&self, backend: &Name, server: Server) -> Result<(), Full> {
        let mut changes = self.lock();
        let overlay = changes.backends.entry(backend.clone()).or_default();
        overlay.add(server)
    }

    pub(crate) fn remove(&self, backend: &Name, server: &Server) -> Result<(), Full> {
        let mut changes = self.lock();
        let overlay = changes.backends.entry(backend.clone()).or_default();
        overlay.remove(server)
    }

    /// Notes that `network`, which is or is not in `list` at the moment, comes or goes.
    pub(crate) fn set_listed(
        &self,
        list: &Name,
        network: IpNet,
        now: bool,
        is_in: bool,
    ) -> Result<(), EntriesFull> {
        let mut changes = self.lock();
        let entries = changes.lists.entry(list.clone()).or_default();
        entries.set(network, now.then_some(()), is_in.then_some(()))
    }

    /// Notes that `key`, which leads to `now` at the moment, leads to `backend`.
    pub(crate) fn set_mapped(
        &self,
        map: &Name,
        key: &str,
        now: Option<Name>,
        backend: Option<Name>,
    ) -> Result<(), EntriesFull> {
        let mut changes = self.lock();
        let entries = changes.maps.entry(map.clone()).or_default();
        entries.set(key.into(), now, backend)
    }

    /// Forgets a change of `list` that is written now.
    pub(crate) fn forget_listed(&self, list: &Name, network: IpNet) {
        if let Some(entries) = self.lock().lists.get_mut(list) {
            entries.forget(&network);
        }
    }

    /// Forgets a change of `map` that is written now.
    pub(crate) fn forget_mapped(&self, map: &Name, key: &str) {
        if let Some(entries) = self.lock().maps.get_mut(map) {
            entries.forget(&key.into());
        }
    }

    /// How many entries of `list` are other than written.
    pub(crate) fn changed_of_list(&self, list: &Name) -> usize {
        self.lock().lists.get(list).map_or(0, Entries::len)
    }

    /// How many entries of `map` are other than written.
    pub(crate) fn changed_of_map(&self, map: &Name) -> usize {
        self.lock().maps.get(map).map_or(0, Entries::len)
    }

    fn lock(&self) -> MutexGuard<'_, Changes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn list_over(entries: &Entries<IpNet, ()>, written: &[IpNet]) -> Arc<[IpNet]> {
    let known: HashMap<&IpNet, &()> = written.iter().map(|network| (network, &())).collect();
    let changed: HashMap<&IpNet, Option<&()>> = entries.over(&known).collect();
    let kept = written
        .iter()
        .filter(|network| !changed.contains_key(network));
    let added = changed.iter().filter(|(_, value)| value.is_some());
    kept.chain(added.map(|(network, _)| *network))
        .copied()
        .collect()
}

fn map_over(
    entries: &Entries<Box<str>, Name>,
    written: &[(Box<str>, BackendId)],
    names: &[&Name],
) -> Arc<[(Box<str>, BackendId)]> {
    let pairs = written.iter();
    let known: HashMap<&Box<str>, &Name> =
        pairs.map(|(key, id)| (key, names[id.index()])).collect();
    let changed: HashMap<&Box<str>, Option<&Name>> = entries.over(&known).collect();
    let kept = written.iter().filter(|(key, _)| !changed.contains_key(key));
    let place = |name: &Name| {
        let index = names.iter().position(|known| *known == name)?;
        u32::try_from(index).ok().map(BackendId)
    };
    // What leads to a backend that is gone leads nowhere.
    let set = changed
        .iter()
        .filter_map(|(key, name)| Some(((*key).clone(), place((*name)?)?)));
    kept.cloned().chain(set).collect()
}
