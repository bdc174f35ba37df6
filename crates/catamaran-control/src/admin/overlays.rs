//! The servers that an operator added and removed at run time, by backend.

use catamaran_core::model::{Config, Name, Server};
use catamaran_core::overlay::{Full, Overlay};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The changes of all backends; those of a backend that is gone wait for its return.
#[derive(Debug, Default)]
pub struct Overlays(Mutex<HashMap<Name, Overlay>>);

impl Overlays {
    /// The servers of `backend`, for which something else says `written`.
    pub(crate) fn over(&self, backend: &Name, written: Vec<Server>) -> Vec<Server> {
        match self.lock().get(backend) {
            Some(overlay) => overlay.over(&written),
            None => written,
        }
    }

    /// Lays the changes over a configuration.
    pub(crate) fn lay_over(&self, config: &mut Config) {
        let overlays = self.lock();
        for backend in &mut config.backends {
            if let Some(overlay) = overlays.get(&backend.name) {
                backend.servers = overlay.over(&backend.servers);
            }
        }
    }

    /// The changes of each backend: servers added, servers removed.
    pub(crate) fn all(&self) -> Vec<(Name, Vec<Server>, Vec<Server>)> {
        let overlays = self.lock();
        let each = overlays.iter();
        each.map(|(name, overlay)| {
            let (added, removed) = (overlay.added().to_vec(), overlay.removed().to_vec());
            (name.clone(), added, removed)
        })
        .collect()
    }

    /// Puts changes that were made in another process in place of those of `backend`.
    pub(crate) fn set(&self, backend: Name, added: Vec<Server>, removed: Vec<Server>) {
        if !added.is_empty() || !removed.is_empty() {
            self.lock()
                .insert(backend, Overlay::restored(added, removed));
        }
    }

    pub(crate) fn add(&self, backend: &Name, server: Server) -> Result<(), Full> {
        let mut overlays = self.lock();
        overlays.entry(backend.clone()).or_default().add(server)
    }

    pub(crate) fn remove(&self, backend: &Name, server: &Server) -> Result<(), Full> {
        let mut overlays = self.lock();
        overlays.entry(backend.clone()).or_default().remove(server)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Name, Overlay>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
