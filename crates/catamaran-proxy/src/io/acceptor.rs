//! A listening socket that connections are taken from.

use catamaran_sys::watched::Watched;
use rustix::net::{SocketFlags, acceptfrom_with};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::task::{Context, Poll, ready};

/// A listening socket, known to the reactor of the thread that made this. What it accepts is not
/// entered there: see [`Stream`](super::Stream).
#[derive(Debug)]
pub(crate) struct Acceptor(Watched);

impl Acceptor {
    /// Enters a socket that does not block.
    pub(crate) fn new(socket: OwnedFd) -> io::Result<Self> {
        let socket = Watched::new(socket);
        socket.enter()?;
        Ok(Self(socket))
    }

    /// The next connection and where it comes from, once there is one.
    pub(crate) fn poll_accept(
        &self,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<(OwnedFd, SocketAddr)>> {
        loop {
            let mut ready = ready!(self.0.enter()?.poll_read_ready(cx))?;
            if let Ok(accepted) = ready.try_io(|_| self.accept()) {
                return Poll::Ready(accepted);
            }
        }
    }

    /// The next connection as the socket itself has it, whatever the reactor has heard.
    ///
    /// # Errors
    /// `WouldBlock` when nobody waits, and those of accept(2).
    pub(crate) fn accept(&self) -> io::Result<(OwnedFd, SocketAddr)> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (stream, peer) = acceptfrom_with(&self.0, flags)?;
        // A client that has left already may have no address any more.
        let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
        let peer = peer.ok_or(io::ErrorKind::ConnectionAborted)?;
        Ok((stream, peer))
    }

    /// The socket itself.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
