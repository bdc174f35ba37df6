//! One stream connection: accepting, connecting, its options and its state.

use crate::{check, check_len};
use socket2::{Domain, SockAddr, SockAddrStorage, SockRef, Socket, Type};
use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

/// How far a connection attempt has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectState {
    /// The connection stands.
    Established,
    /// The outcome is there when the socket becomes writable: ask [`take_error`].
    InProgress,
}

/// What [`peek`] sees.
#[derive(Debug)]
pub enum PeekResult {
    /// The other end has finished sending and everything was read.
    Eof,
    /// Bytes wait to be read.
    Data,
    /// Nothing has come yet; the connection stands.
    WouldBlock,
    /// The connection is broken.
    Error(io::Error),
}

/// Takes the next connection of a listening TCP socket; `None` when none waits.
///
/// A connection that was reset while it waited is passed over.
///
/// # Errors
/// What `accept4(2)` reports, above all too many open files (`EMFILE`, `ENFILE`).
pub fn accept(listener: BorrowedFd<'_>) -> io::Result<Option<(OwnedFd, SocketAddr)>> {
    loop {
        let mut source = SockAddrStorage::zeroed();
        let mut len = source.size_of();
        // SAFETY: `source` and `len` live through the call, and `len` is the size of `source`.
        let result = check(unsafe {
            libc::accept4(
                listener.as_raw_fd(),
                (&raw mut source).cast(),
                &raw mut len,
                libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
            )
        });
        let number = match result {
            Ok(number) => number,
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN) => return Ok(None),
                Some(libc::ECONNABORTED | libc::EINTR) => continue,
                _ => return Err(error),
            },
        };
        // SAFETY: accept4 succeeded, so this descriptor is open and nobody else's.
        let socket = unsafe { OwnedFd::from_raw_fd(number) };
        // SAFETY: accept4 wrote an address of `len` bytes to `source`.
        let source = unsafe { SockAddr::new(source, len) };
        let source = source
            .as_socket()
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        return Ok(Some((socket, source)));
    }
}

/// Starts connecting to `addr`.
///
/// # Errors
/// When the attempt failed at once: refused on loopback, no route, no free local port.
pub fn connect_tcp(addr: SocketAddr) -> io::Result<(OwnedFd, ConnectState)> {
    connect_tcp_from(addr, LocalEnd::default())
}

/// As [`connect_tcp`], from an address and an interface of this machine.
///
/// # Errors
/// As those, and `AddrNotAvailable` for an address that is none of this machine's.
pub fn connect_tcp_from(
    addr: SocketAddr,
    from: LocalEnd<'_>,
) -> io::Result<(OwnedFd, ConnectState)> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(addr), kind, None)?;
    from.bind(socket.as_fd())?;
    connect(socket, &addr.into())
}

/// Where a connection comes from; what is `None` the kernel chooses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LocalEnd<'a> {
    /// An address of this machine.
    pub address: Option<IpAddr>,
    /// An interface (SO_BINDTODEVICE; without privileges from Linux 5.7 on).
    pub interface: Option<&'a str>,
}

impl LocalEnd<'_> {
    /// Binds `socket` before it connects. Its port is chosen by the connect, so that connections to
    /// different servers may share one (IP_BIND_ADDRESS_NO_PORT).
    ///
    /// # Errors
    /// What the kernel says against the address or the interface.
    pub fn bind(self, socket: BorrowedFd<'_>) -> io::Result<()> {
        if let Some(interface) = self.interface {
            SockRef::from(&socket).bind_device(Some(interface.as_bytes()))?;
        }
        let Some(address) = self.address else {
            return Ok(());
        };
        let on: libc::c_int = 1;
        let len = libc::socklen_t::try_from(size_of_val(&on)).expect("an integer is small");
        // SAFETY: the option's value is the integer that is pointed to, with its size.
        check(unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_IP,
                libc::IP_BIND_ADDRESS_NO_PORT,
                (&raw const on).cast(),
                len,
            )
        })?;
        SockRef::from(&socket).bind(&SocketAddr::new(address, 0).into())
    }
}

/// Connects to the stream socket at `path`.
///
/// # Errors
/// `WouldBlock` when the accept queue is full (a unix socket never waits for room by itself), else
/// what `connect(2)` reports.
pub fn connect_unix(path: &Path) -> io::Result<(OwnedFd, ConnectState)> {
    let kind = Type::STREAM.nonblocking().cloexec();
    connect(
        Socket::new(Domain::UNIX, kind, None)?,
        &SockAddr::unix(path)?,
    )
}

fn connect(socket: Socket, addr: &SockAddr) -> io::Result<(OwnedFd, ConnectState)> {
    let state = match socket.connect(addr) {
        Ok(()) => ConnectState::Established,
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => ConnectState::InProgress,
        Err(error) => return Err(error),
    };
    Ok((socket.into(), state))
}

/// Sends small segments at once (TCP_NODELAY).
///
/// # Errors
/// When the socket is not TCP.
pub fn set_nodelay(socket: BorrowedFd<'_>) -> io::Result<()> {
    SockRef::from(&socket).set_tcp_nodelay(true)
}

/// Breaks the connection when sent bytes stay unacknowledged for `timeout` (TCP_USER_TIMEOUT,
/// milliseconds).
///
/// # Errors
/// When the socket is not TCP.
pub fn set_user_timeout(socket: BorrowedFd<'_>, timeout: Duration) -> io::Result<()> {
    SockRef::from(&socket).set_tcp_user_timeout(Some(timeout))
}

/// Makes the close of this socket reset the connection instead of ending it.
///
/// # Errors
/// When the descriptor is no socket.
pub fn set_linger_zero(socket: BorrowedFd<'_>) -> io::Result<()> {
    SockRef::from(&socket).set_linger(Some(Duration::ZERO))
}

/// Ends the stream in our direction; bytes still come in.
///
/// # Errors
/// `NotConnected` when the connection is gone.
pub fn shutdown_write(socket: BorrowedFd<'_>) -> io::Result<()> {
    SockRef::from(&socket).shutdown(Shutdown::Write)
}

/// Takes the error that waits on the socket (SO_ERROR): the outcome of a connection attempt.
///
/// # Errors
/// When the descriptor is no socket.
pub fn take_error(socket: BorrowedFd<'_>) -> io::Result<Option<io::Error>> {
    SockRef::from(&socket).take_error()
}

/// Looks whether bytes or the end wait on the socket, without taking them.
#[must_use]
pub fn peek(socket: BorrowedFd<'_>) -> PeekResult {
    let mut byte = 0_u8;
    let flags = libc::MSG_PEEK | libc::MSG_DONTWAIT;
    // SAFETY: `byte` is one byte of memory that lives through the call.
    let seen =
        check_len(unsafe { libc::recv(socket.as_raw_fd(), (&raw mut byte).cast(), 1, flags) });
    match seen {
        Ok(0) => PeekResult::Eof,
        Ok(_) => PeekResult::Data,
        Err(error) => match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => PeekResult::WouldBlock,
            _ => PeekResult::Error(error),
        },
    }
}

/// Bytes that the other end has not acknowledged yet (SIOCOUTQ, `tcp(7)`).
///
/// # Errors
/// When the descriptor is no stream socket.
pub fn unsent_bytes(socket: BorrowedFd<'_>) -> io::Result<usize> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: TIOCOUTQ (SIOCOUTQ by its other name) writes one int, for which `bytes` has room.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) })?;
    Ok(usize::try_from(bytes).unwrap_or(0))
}

/// Whether `error` says that the other end broke the connection off.
#[must_use]
pub fn is_reset(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::{listen_group, local_addr};
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::os::fd::AsFd;
    use std::time::Instant;

    /// A listening socket, a client connected to it, and our end.
    fn accepted() -> (OwnedFd, TcpStream, OwnedFd) {
        let listener = listen_group("127.0.0.1:0".parse().unwrap(), 1, 16)
            .unwrap()
            .remove(0);
        let client = TcpStream::connect(local_addr(listener.as_fd()).unwrap()).unwrap();
        let (ours, source) = accept(listener.as_fd()).unwrap().unwrap();
        assert_eq!(source, client.local_addr().unwrap());
        (listener, client, ours)
    }

    fn until(mut done: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while !done() {
            assert!(Instant::now() < deadline, "waited five seconds in vain");
            std::thread::yield_now();
        }
    }

    #[test]
    fn nothing_waits_on_a_fresh_listener() {
        let (listener, _client, _ours) = accepted();
        assert!(accept(listener.as_fd()).unwrap().is_none());
    }

    #[test]
    fn peek_tells_silence_from_bytes_and_from_the_end() {
        let (_listener, mut client, ours) = accepted();
        assert!(matches!(peek(ours.as_fd()), PeekResult::WouldBlock));
        client.write_all(b"x").unwrap();
        until(|| matches!(peek(ours.as_fd()), PeekResult::Data));
        let mut ours = TcpStream::from(ours);
        ours.read_exact(&mut [0]).unwrap();
        drop(client);
        until(|| matches!(peek(ours.as_fd()), PeekResult::Eof));
    }

    #[test]
    fn a_close_without_linger_resets_the_connection() {
        let (_listener, mut client, ours) = accepted();
        set_linger_zero(ours.as_fd()).unwrap();
        drop(ours);
        let error = client.read(&mut [0]).unwrap_err();
        assert!(is_reset(&error));
        let (_listener, client, ours) = accepted();
        set_linger_zero(client.as_fd()).unwrap();
        drop(client);
        until(|| matches!(peek(ours.as_fd()), PeekResult::Error(error) if is_reset(&error)));
    }

    #[test]
    fn a_half_close_ends_one_direction_only() {
        let (_listener, mut client, ours) = accepted();
        shutdown_write(ours.as_fd()).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        client.write_all(b"still").unwrap();
        until(|| matches!(peek(ours.as_fd()), PeekResult::Data));
    }

    #[test]
    fn options_of_a_connection_are_taken() {
        let (_listener, mut client, ours) = accepted();
        set_nodelay(ours.as_fd()).unwrap();
        set_user_timeout(ours.as_fd(), Duration::from_secs(10)).unwrap();
        client.write_all(b"x").unwrap();
        until(|| unsent_bytes(client.as_fd()).unwrap() == 0);
    }

    #[test]
    fn a_connection_attempt_reports_its_outcome() {
        let listener = listen_group("127.0.0.1:0".parse().unwrap(), 1, 16)
            .unwrap()
            .remove(0);
        let addr = local_addr(listener.as_fd()).unwrap();
        let (socket, _state) = connect_tcp(addr).unwrap();
        until(|| SockRef::from(&socket).peer_addr().is_ok());
        assert!(take_error(socket.as_fd()).unwrap().is_none());
        drop(listener);
        // A child that another test forks this moment holds a copy until it executes its program.
        until(|| outcome(addr).is_some_and(|e| e.kind() == io::ErrorKind::ConnectionRefused));
    }

    /// The error that a connection attempt ends with, if any.
    fn outcome(addr: SocketAddr) -> Option<io::Error> {
        let socket = match connect_tcp(addr) {
            Err(error) => return Some(error),
            Ok((socket, _)) => socket,
        };
        let mut error = None;
        until(|| {
            error = take_error(socket.as_fd()).unwrap();
            error.is_some() || SockRef::from(&socket).peer_addr().is_ok()
        });
        error
    }

    #[test]
    fn a_unix_socket_connects_at_once() {
        let path = std::env::temp_dir().join(format!("catamaran-sys-{}.sock", std::process::id()));
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let outcome = connect_unix(&path);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(outcome.unwrap().1, ConnectState::Established);
        drop(listener);
        assert_eq!(
            connect_unix(&path).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }
}
