//! Frontends that an operator drains: their listeners are closed until they are resumed.
//!
//! A drained frontend is served as one without listeners: what it has in flight is finished, as after
//! the listener was removed from the file.

use super::lock;
use catamaran_core::model::{Config, Listener, ListenerKey, Name};
use std::collections::{BTreeMap, HashSet};
use std::sync::Mutex;

/// The frontends that are drained, with the listeners that they have otherwise.
#[derive(Debug, Default)]
pub struct Drained(Mutex<BTreeMap<Name, Vec<Listener>>>);

/// The listeners of drained frontends in a configuration that may come to serve.
#[derive(Debug)]
pub(super) struct Taken(BTreeMap<Name, Vec<Listener>>);

impl Drained {
    /// Whether a frontend is drained.
    pub fn contains(&self, frontend: &Name) -> bool {
        lock(&self.0).contains_key(frontend)
    }

    /// Takes from `config` the frontends of which no listener is `open`: they were drained when the
    /// process before this one ended.
    pub fn begin(&self, config: &mut Config, open: &HashSet<ListenerKey>) {
        let mut drained = lock(&self.0);
        for frontend in &mut config.frontends {
            let mut keys = (0..frontend.listeners.len()).map(|n| ListenerKey::of(frontend, n));
            if !keys.any(|key| open.contains(&key)) {
                let listeners = std::mem::take(&mut frontend.listeners);
                drained.insert(frontend.name.clone(), listeners);
            }
        }
    }

    /// Takes the listeners of drained frontends from another configuration. [`Self::follow`] takes
    /// note of them, once that one serves.
    pub(super) fn lay_over(&self, config: &mut Config) -> Taken {
        let drained = lock(&self.0);
        let frontends = config.frontends.iter_mut();
        let frontends = frontends.filter(|frontend| drained.contains_key(&frontend.name));
        let taken = frontends.map(|frontend| {
            let listeners = std::mem::take(&mut frontend.listeners);
            (frontend.name.clone(), listeners)
        });
        Taken(taken.collect())
    }

    /// Remembers the listeners that were taken from the configuration that serves now; frontends that
    /// it does not have are forgotten.
    pub(super) fn follow(&self, taken: Taken) {
        *lock(&self.0) = taken.0;
    }

    /// Makes `config` one in which the frontend is drained, or is not. Returns whether that changes
    /// anything; `None` if there is no such frontend. [`Self::settle`] ends the change.
    pub(super) fn set(&self, config: &mut Config, name: &Name, is_drained: bool) -> Option<bool> {
        let mut drained = lock(&self.0);
        let mut frontends = config.frontends.iter_mut();
        let frontend = frontends.find(|frontend| frontend.name == *name)?;
        if drained.contains_key(name) == is_drained {
            return Some(false);
        }
        if is_drained {
            let listeners = std::mem::take(&mut frontend.listeners);
            drained.insert(name.clone(), listeners);
        } else {
            frontend.listeners = drained.get(name).cloned().unwrap_or_default();
        }
        Some(true)
    }

    /// Leaves a frontend as drained, or not, once its listeners are closed or opened.
    pub(super) fn settle(&self, name: &Name, is_drained: bool) {
        if !is_drained {
            lock(&self.0).remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use catamaran_core::model::{BackendId, Frontend, Protocol};

    fn config(ports: &[(&str, u16)]) -> Config {
        let frontend = |(name, port): &(&str, u16)| {
            let listen = vec![([127, 0, 0, 1], *port).into()];
            Frontend::new((*name).into(), Protocol::Tcp, listen, BackendId(0))
        };
        Config {
            frontends: ports.iter().map(frontend).collect(),
            ..Config::default()
        }
    }

    fn listeners(config: &Config) -> Vec<usize> {
        let frontends = config.frontends.iter();
        frontends.map(|f| f.listeners.len()).collect()
    }

    #[test]
    fn a_drained_frontend_stays_so_over_reloads_and_gets_the_listeners_of_the_last() {
        let (drained, web) = (Drained::default(), Name::new("web"));
        let mut served = config(&[("web", 1), ("api", 2)]);
        assert_eq!(drained.set(&mut served, &web, true), Some(true));
        drained.settle(&web, true);
        assert_eq!(listeners(&served), [0, 1]);
        // One that comes to nothing changes nothing.
        for mut other in [config(&[("web", 9), ("api", 2)]), config(&[("api", 2)])] {
            drop(drained.lay_over(&mut other));
        }
        assert!(drained.contains(&web));
        let mut next = config(&[("web", 3), ("api", 2)]);
        let taken = drained.lay_over(&mut next);
        drained.follow(taken);
        assert_eq!(listeners(&next), [0, 1]);
        assert_eq!(drained.set(&mut next, &web, true), Some(false));
        assert_eq!(drained.set(&mut next, &web, false), Some(true));
        drained.settle(&web, false);
        assert_eq!(next.frontends[0].listeners[0].address.port(), 3);
        assert!(!drained.contains(&web));
        assert_eq!(drained.set(&mut next, &"no".into(), true), None);
        drained.set(&mut next, &web, true);
        let taken = drained.lay_over(&mut config(&[("api", 2)]));
        drained.follow(taken);
        assert!(!drained.contains(&web));
    }

    #[test]
    fn a_process_whose_predecessor_had_drained_a_frontend_begins_so() {
        let drained = Drained::default();
        let mut begun = config(&[("web", 1), ("api", 2)]);
        let open = HashSet::from([ListenerKey::of(&begun.frontends[1], 0)]);
        drained.begin(&mut begun, &open);
        assert_eq!(listeners(&begun), [0, 1]);
        assert!(drained.contains(&"web".into()));
    }
}
