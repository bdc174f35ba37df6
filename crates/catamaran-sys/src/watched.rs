//! A descriptor that a tokio reactor gets to know late, or never.
//!
//! Tokio's own sockets are entered with the reactor as they are made, which costs two `epoll_ctl` for
//! each, though many are read, answered and closed before anybody has to wait for them.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::sync::OnceLock;
use tokio::io::unix::AsyncFd;

/// A descriptor, and the reactor's view of it from [`Self::enter`] on.
#[derive(Debug)]
pub struct Watched {
    // Declared before the descriptor, so that it leaves the reactor before the descriptor is closed.
    view: OnceLock<AsyncFd<RawFd>>,
    fd: OwnedFd,
}

impl Watched {
    /// A descriptor that no reactor knows yet. It must not block.
    #[must_use]
    pub const fn new(fd: OwnedFd) -> Self {
        Self {
            view: OnceLock::new(),
            fd,
        }
    }

    /// Enters it with the reactor of the calling thread, if no reactor knows it; the view of it, to
    /// wait for it with. What the view holds is only its number.
    ///
    /// # Errors
    /// The kernel takes no more (epoll_ctl(2): ENOMEM, ENOSPC).
    ///
    /// # Panics
    /// Without a tokio runtime.
    #[inline]
    pub fn enter(&self) -> io::Result<&AsyncFd<RawFd>> {
        // In line, for every look at a socket passes here.
        match self.view.get() {
            Some(view) => Ok(view),
            None => self.enter_now(),
        }
    }

    #[cold]
    fn enter_now(&self) -> io::Result<&AsyncFd<RawFd>> {
        // SAFETY: `fd` is owned by `self`, private and never replaced; `view` is dropped before it
        // and never given away, so that the descriptor is open and the same as long as the view is.
        let view = unsafe { AsyncFd::register(self.fd.as_raw_fd()) }?;
        Ok(self.view.get_or_init(|| view))
    }

    /// The reactor's view, if a reactor knows it.
    #[must_use]
    #[inline]
    pub fn view(&self) -> Option<&AsyncFd<RawFd>> {
        self.view.get()
    }
}

impl AsFd for Watched {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_descriptor_is_known_from_its_entry_on_and_seen_to_become_readable() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (one, mut other) = UnixStream::pair().unwrap();
            one.set_nonblocking(true).unwrap();
            let watched = Watched::new(one.into());
            assert!(watched.view().is_none());
            watched.enter().unwrap();
            other.write_all(b"x").unwrap();
            let view = watched.view().expect("it was entered");
            let guard = view.readable().await.unwrap();
            assert!(guard.ready().is_readable());
        });
    }
}
