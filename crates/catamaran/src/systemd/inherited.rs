//! Listening sockets that systemd opened, or kept for us since an earlier start.

use catamaran_core::model::Protocol;
use catamaran_sys::{process, socket};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};

/// The sockets that are left to take.
#[derive(Debug, Default)]
pub(crate) struct Inherited(Vec<Socket>);

#[derive(Debug)]
struct Socket {
    fd: OwnedFd,
    address: SocketAddr,
    kind: socket::Kind,
    /// For messages: what systemd calls it.
    name: String,
}

impl Inherited {
    /// Takes what the environment says was passed to this process. Once: to be called before
    /// anything else is opened.
    ///
    /// # Errors
    /// When the environment says what is not so.
    pub(crate) fn take() -> io::Result<Self> {
        let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
        let (Some(pid), Some(count)) = (number("LISTEN_PID"), number("LISTEN_FDS")) else {
            return Ok(Self::default());
        };
        if pid != std::process::id() {
            return Ok(Self::default());
        }
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':').map(str::to_owned);
        let mut sockets = Vec::new();
        for fd in process::take_listen_descriptors(count)? {
            let name = names.next().unwrap_or_default();
            match (socket::local_addr(fd.as_fd()), socket::kind(fd.as_fd())) {
                (Ok(address), Ok(kind)) => sockets.push(Socket {
                    fd,
                    address,
                    kind,
                    name,
                }),
                (Err(error), _) | (_, Err(error)) => {
                    tracing::warn!(name, %error, "systemd passed a socket that is of no use here");
                }
            }
        }
        Ok(Self(sockets))
    }

    /// The sockets that are bound to `address`, made fit for a listener of `protocol`; none if
    /// systemd has none there.
    ///
    /// # Errors
    /// What the kernel says of them.
    pub(crate) fn take_at(
        &mut self,
        address: SocketAddr,
        protocol: Protocol,
    ) -> io::Result<Vec<OwnedFd>> {
        let kind = match protocol {
            Protocol::Http | Protocol::Tcp => socket::Kind::Stream,
            Protocol::Udp => socket::Kind::Datagram,
        };
        let is_it = |one: &mut Socket| one.address == address && one.kind == kind;
        let taken: Vec<_> = self.0.extract_if(.., is_it).collect();
        for one in &taken {
            socket::adopt(one.fd.as_fd(), kind, one.address)?;
        }
        Ok(taken.into_iter().map(|one| one.fd).collect())
    }

    /// Closes those that no listener wants.
    pub(crate) fn close_rest(self) {
        for one in self.0 {
            tracing::warn!(
                address = %one.address,
                name = one.name,
                "systemd passed a socket of which the configuration says nothing; it is closed"
            );
        }
    }
}
