//! Which servers each backend is to have: what is configured or found in the DNS, and what an
//! operator changed of it.

use catamaran_core::model::{Name, Server};
use catamaran_core::overlay::{Full, Overlay};
use catamaran_proxy::Backend;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The lists of all backends.
#[derive(Debug, Default)]
pub(crate) struct Lists(Mutex<HashMap<Name, List>>);

#[derive(Debug)]
struct List {
    /// What the configuration says, with names looked up.
    written: Vec<Server>,
    overlay: Overlay,
}

impl Lists {
    /// The servers that `backend` is to have.
    pub(crate) fn current(&self, backend: &Backend) -> Vec<Server> {
        self.with(backend, |list| list.overlay.over(&list.written))
    }

    /// Takes up what the configuration or the DNS says now.
    pub(crate) fn set_written(&self, backend: &Backend, written: Vec<Server>) {
        self.with(backend, |list| list.written = written);
    }

    /// Adds a server.
    pub(crate) fn add(&self, backend: &Backend, server: Server) -> Result<(), Full> {
        self.with(backend, |list| list.overlay.add(server))
    }

    /// Removes a server.
    pub(crate) fn remove(&self, backend: &Backend, server: &Server) -> Result<(), Full> {
        self.with(backend, |list| list.overlay.remove(server))
    }

    fn with<R>(&self, backend: &Backend, act: impl FnOnce(&mut List) -> R) -> R {
        let mut lists = self.lock();
        let list = lists.entry(backend.model.name.clone());
        act(list.or_insert_with(|| List {
            // Nothing was changed yet: those there are were written or found.
            written: backend
                .set()
                .servers
                .iter()
                .map(|server| server.model.clone())
                .collect(),
            overlay: Overlay::default(),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Name, List>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
