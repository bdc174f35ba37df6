//! When each thread last turned its loop, and what a neighbour needs to stand in for a worker.

use super::ListenerId;
use super::backend::lock;
use crate::io::Acceptor;
use catamaran_core::Timestamp;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// When a thread last turned its loop.
#[derive(Debug)]
pub struct Pulse(AtomicU64);

impl Pulse {
    /// A thread that begins now.
    pub(crate) const fn new(now: Timestamp) -> Self {
        Self(AtomicU64::new(now.as_nanos()))
    }

    /// Takes note that the thread turns.
    pub fn beat(&self, now: Timestamp) {
        self.0.store(now.as_nanos(), Ordering::Relaxed);
    }

    /// How long ago it turned.
    #[must_use]
    pub fn since(&self, now: Timestamp) -> Duration {
        now.saturating_since(Timestamp::from_nanos(self.0.load(Ordering::Relaxed)))
    }
}

/// The sockets that one worker accepts connections from, by what their listeners are known by.
#[derive(Debug, Default)]
pub(crate) struct Listening(Mutex<Vec<(ListenerId, Arc<Acceptor>)>>);

impl Listening {
    /// Lists a socket until [`Self::close`].
    pub(crate) fn open(&self, listener: ListenerId, socket: Acceptor) -> Arc<Acceptor> {
        let socket = Arc::new(socket);
        lock(&self.0).push((listener, Arc::clone(&socket)));
        socket
    }

    /// Has a socket known by another id: it is another frontend's now.
    pub(crate) fn rename(&self, old: ListenerId, new: ListenerId) {
        for (listener, _) in &mut *lock(&self.0) {
            if *listener == old {
                *listener = new;
            }
        }
    }

    /// Takes a socket back. Whoever else looked at it did so under the lock and took a copy.
    pub(crate) fn close(&self, socket: Arc<Acceptor>) -> Option<Acceptor> {
        lock(&self.0).retain(|(_, known)| !Arc::ptr_eq(known, &socket));
        Arc::into_inner(socket)
    }

    /// Copies of all, for a neighbour; those that cannot be copied are left out.
    pub(crate) fn copies(&self) -> Vec<(ListenerId, OwnedFd)> {
        let sockets = lock(&self.0);
        let copy = |(listener, socket): &(ListenerId, Arc<Acceptor>)| {
            let copy = socket.as_fd().try_clone_to_owned().ok()?;
            Some((*listener, copy))
        };
        sockets.iter().filter_map(copy).collect()
    }
}
