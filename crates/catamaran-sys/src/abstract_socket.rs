//! Sockets of packets under a name that is in no directory (`unix(7)`, abstract): it is free again
//! the moment the last process that holds the socket has ended, however it ended.

use crate::check;
use socket2::{Domain, SockAddr, Socket, Type};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};

/// Who holds the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The process that connected, or that began to listen; 0 if it is in another namespace.
    pub pid: u32,
    /// Its effective user then.
    pub uid: u32,
}

/// Listens under `name`; non-blocking, closed on exec.
///
/// # Errors
/// `AddrInUse` when somebody holds the name, `InvalidInput` when it is longer than 107 bytes.
pub fn listen(name: &str) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::UNIX, kind(), None)?;
    socket.bind(&address(name)?)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Connects to who listens under `name`; non-blocking, closed on exec.
///
/// # Errors
/// `ConnectionRefused` when nobody does, `WouldBlock` when too many wait already.
pub fn connect(name: &str) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::UNIX, kind(), None)?;
    socket.connect(&address(name)?)?;
    Ok(socket.into())
}

/// Who holds the other end of `socket` (SO_PEERCRED).
///
/// # Errors
/// When it is no connected unix socket.
pub fn peer_of(socket: BorrowedFd<'_>) -> io::Result<Peer> {
    let mut credentials = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let mut len = libc::socklen_t::try_from(size_of::<libc::ucred>()).unwrap_or(0);
    // SAFETY: both outlive the call, which writes at most `len` bytes to the first.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut credentials).cast(),
            &raw mut len,
        )
    };
    check(result)?;
    Ok(Peer {
        pid: u32::try_from(credentials.pid).unwrap_or(0),
        uid: credentials.uid,
    })
}

fn kind() -> Type {
    Type::SEQPACKET.nonblocking().cloexec()
}

fn address(name: &str) -> io::Result<SockAddr> {
    SockAddr::unix(format!("\0{name}"))
}

/// Those who ask get an answer at once; a few may come at the same moment.
const BACKLOG: i32 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;

    #[test]
    fn a_name_is_held_once_and_free_when_its_holder_is_gone() {
        let name = format!("catamaran-test-{}", std::process::id());
        let listener = listen(&name).unwrap();
        assert_eq!(listen(&name).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let client = connect(&name).unwrap();
        let me = Peer {
            pid: std::process::id(),
            uid: crate::process::effective_user(),
        };
        assert_eq!(peer_of(client.as_fd()).unwrap(), me);
        drop(listener);
        let free = || connect(&name).is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused);
        // A child that another test forks this moment holds a copy until it executes its program.
        while !free() {
            std::thread::yield_now();
        }
    }
}
