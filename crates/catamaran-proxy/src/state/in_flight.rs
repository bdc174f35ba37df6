//! A place at a server: one request in flight.

use super::{Backend, Server, waiting};
use std::sync::Arc;

/// One request in flight at a server (a connection, for TCP). Ends when dropped; the place then
/// goes to who waits for it.
#[derive(Debug)]
pub(crate) struct InFlight {
    backend: Arc<Backend>,
    server: Arc<Server>,
}

impl InFlight {
    /// Takes a place at `server` if it has room.
    pub(crate) fn begin(backend: &Arc<Backend>, server: &Arc<Server>) -> Option<Self> {
        let has_room = server.state.try_begin(server.max_in_flight());
        has_room.then(|| Self::adopt(Arc::clone(backend), Arc::clone(server)))
    }

    /// Takes over a place that counts already.
    pub(super) const fn adopt(backend: Arc<Backend>, server: Arc<Server>) -> Self {
        Self { backend, server }
    }

    /// The server.
    pub(crate) const fn server(&self) -> &Arc<Server> {
        &self.server
    }
}

/// A request in flight at a server that another process of ours has. Ends when dropped.
#[derive(Debug)]
pub struct Elsewhere(#[expect(dead_code, reason = "it counts while it lives")] InFlight);

impl Elsewhere {
    /// Counts one, whatever room there is.
    #[must_use]
    pub fn begin(backend: &Arc<Backend>, server: &Arc<Server>) -> Self {
        server.state.begin();
        Self(InFlight::adopt(Arc::clone(backend), Arc::clone(server)))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        waiting::leave(&self.backend, &self.server);
    }
}
