//! When each thread last turned its loop, and what a neighbour needs to stand in for a worker.

use super::ListenerId;
use super::backend::lock;
use crate::io::Acceptor;
use catamaran_core::Timestamp;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
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

/// The sockets that one worker takes clients from, by what their listeners are known by.
#[derive(Debug, Default)]
pub(crate) struct Listening {
    tcp: Mutex<Vec<(ListenerId, Arc<Acceptor>)>>,
    /// Copies: the sockets themselves are shared with the worker's flows.
    udp: Mutex<Vec<(ListenerId, OwnedFd)>>,
}

impl Listening {
    /// Lists a socket until [`Self::close`].
    pub(crate) fn open(&self, listener: ListenerId, socket: Acceptor) -> Arc<Acceptor> {
        let socket = Arc::new(socket);
        lock(&self.tcp).push((listener, Arc::clone(&socket)));
        socket
    }

    /// Lists a copy of a socket of datagrams until [`Self::close_datagrams`].
    pub(crate) fn open_datagrams(&self, listener: ListenerId, copy: OwnedFd) {
        lock(&self.udp).push((listener, copy));
    }

    /// Closes the copy of a listener's socket of datagrams.
    pub(crate) fn close_datagrams(&self, listener: ListenerId) {
        lock(&self.udp).retain(|(known, _)| *known != listener);
    }

    /// Whether datagrams to `address` come to a listener that is open.
    pub(crate) fn has_datagrams_at(&self, address: Option<SocketAddr>) -> bool {
        let here = |fd: &OwnedFd| catamaran_sys::socket::local_addr(fd.as_fd()).ok() == address;
        lock(&self.udp).iter().any(|(_, fd)| here(fd))
    }

    /// Has a socket known by another id: it is another frontend's now.
    pub(crate) fn rename(&self, old: ListenerId, new: ListenerId) {
        let (mut tcp, mut udp) = (lock(&self.tcp), lock(&self.udp));
        let tcp = tcp.iter_mut().map(|(listener, _)| listener);
        let udp = udp.iter_mut().map(|(listener, _)| listener);
        for listener in tcp.chain(udp).filter(|listener| **listener == old) {
            *listener = new;
        }
    }

    /// Takes a socket back. Whoever else looked at it did so under the lock and took a copy.
    pub(crate) fn close(&self, socket: Arc<Acceptor>) -> Option<Acceptor> {
        lock(&self.tcp).retain(|(_, known)| !Arc::ptr_eq(known, &socket));
        Arc::into_inner(socket)
    }

    /// Copies of all, also of those of datagrams.
    ///
    /// # Errors
    /// When descriptors are used up.
    pub(crate) fn copies_of_all(&self) -> io::Result<Vec<(ListenerId, OwnedFd)>> {
        let mut copies = Vec::new();
        for (listener, socket) in &*lock(&self.tcp) {
            copies.push((*listener, socket.as_fd().try_clone_to_owned()?));
        }
        for (listener, socket) in &*lock(&self.udp) {
            copies.push((*listener, socket.try_clone()?));
        }
        Ok(copies)
    }

    /// Copies of those that are accepted from, for a neighbour; those that cannot be copied are
    /// left out.
    pub(crate) fn copies(&self) -> Vec<(ListenerId, OwnedFd)> {
        let sockets = lock(&self.tcp);
        let copy = |(listener, socket): &(ListenerId, Arc<Acceptor>)| {
            let copy = socket.as_fd().try_clone_to_owned().ok()?;
            Some((*listener, copy))
        };
        sockets.iter().filter_map(copy).collect()
    }
}
