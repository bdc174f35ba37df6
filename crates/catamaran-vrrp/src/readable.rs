//! Waiting for a socket of any kind to become readable.

use std::io;
use std::os::fd::BorrowedFd;
use std::task::{Context, Poll};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// The event loop's view of a socket that is read without it.
#[derive(Debug)]
pub(crate) struct Readable {
    /// A copy of the descriptor; no socket of UDP, of which only the readiness of this type is used.
    socket: UdpSocket,
}

impl Readable {
    /// Watches a non-blocking socket.
    pub(crate) fn new(socket: BorrowedFd<'_>) -> io::Result<Self> {
        let copy = std::net::UdpSocket::from(socket.try_clone_to_owned()?);
        Ok(Self {
            socket: UdpSocket::from_std(copy)?,
        })
    }

    /// Ready when something may have arrived since it was last ready. All is to be read then.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        let ready = self.socket.poll_recv_ready(cx);
        if ready.is_ready() {
            // Forgotten at once: what arrives after that makes it ready again.
            let nothing = || Err::<(), _>(io::ErrorKind::WouldBlock.into());
            let _ = self.socket.try_io(Interest::READABLE, nothing);
        }
        ready.map(drop)
    }
}
