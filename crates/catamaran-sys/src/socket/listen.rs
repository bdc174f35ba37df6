//! Opening the listening sockets of one address, one for each worker.

use socket2::{Domain, SockRef, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Opens `n` TCP sockets that listen on `addr` and share its connections (SO_REUSEPORT).
///
/// The address is bound once without SO_REUSEPORT first, so that a port that another process (or
/// another instance of us) listens on is refused instead of shared. Port 0 lets the kernel choose;
/// all sockets of the group get the same port, see [`local_addr`]. An IPv6 address never takes
/// IPv4 (IPV6_V6ONLY), and the address need not exist yet (IP_FREEBIND): the backup of a pair
/// binds the virtual address before it holds it.
///
/// # Errors
/// `AddrInUse`, `PermissionDenied`, and whatever else `bind(2)` and `listen(2)` report.
pub fn listen_group(addr: SocketAddr, n: usize, backlog: u32) -> io::Result<Vec<OwnedFd>> {
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    group(addr, n, Type::STREAM, Some(backlog))
}

/// Opens `n` UDP sockets bound to `addr` that share its datagrams, and have each datagram's
/// destination reported (see [`super::recv_with_dst`]). As [`listen_group`] otherwise.
///
/// # Errors
/// As [`listen_group`].
pub fn udp_group(addr: SocketAddr, n: usize) -> io::Result<Vec<OwnedFd>> {
    group(addr, n, Type::DGRAM, None)
}

/// As [`listen_group`], for an address that a group of this process or its supervisor holds in
/// part: nobody finds out whether somebody else of the same user holds it too.
///
/// # Errors
/// As [`listen_group`].
pub fn listen_group_beside(addr: SocketAddr, n: usize, backlog: u32) -> io::Result<Vec<OwnedFd>> {
    let backlog = i32::try_from(backlog).unwrap_or(i32::MAX);
    let open = |_| open(addr, Type::STREAM, Sharing::Group, Some(backlog));
    (0..n).map(open).collect()
}

/// As [`udp_group`], for an address that a group of ours holds in part.
///
/// # Errors
/// As [`listen_group`].
pub fn udp_group_beside(addr: SocketAddr, n: usize) -> io::Result<Vec<OwnedFd>> {
    let open = |_| open(addr, Type::DGRAM, Sharing::Group, None);
    (0..n).map(open).collect()
}

/// What goes over a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Connections that it listens for.
    Stream,
    /// Datagrams.
    Datagram,
}

/// What goes over a socket that somebody else opened.
///
/// # Errors
/// `InvalidInput` when it is neither TCP that listens nor UDP.
pub fn kind(socket: BorrowedFd<'_>) -> io::Result<Kind> {
    let socket = SockRef::from(&socket);
    match socket.r#type()? {
        Type::DGRAM => Ok(Kind::Datagram),
        Type::STREAM if socket.is_listener()? => Ok(Kind::Stream),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

/// Sets what [`listen_group`] and [`udp_group`] set, on a socket that somebody else bound to `addr`.
///
/// # Errors
/// What `setsockopt(2)` reports.
pub fn adopt(socket: BorrowedFd<'_>, kind: Kind, addr: SocketAddr) -> io::Result<()> {
    let set = SockRef::from(&socket);
    set.set_nonblocking(true)?;
    match kind {
        Kind::Stream => set.set_tcp_nodelay(true),
        Kind::Datagram => super::datagram::report_destination(socket, addr),
    }
}

/// The address that a socket is bound to.
///
/// # Errors
/// When the socket is none of IPv4 or IPv6.
pub fn local_addr(socket: BorrowedFd<'_>) -> io::Result<SocketAddr> {
    SockRef::from(&socket)
        .local_addr()?
        .as_socket()
        .ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

fn group(addr: SocketAddr, n: usize, kind: Type, backlog: Option<i32>) -> io::Result<Vec<OwnedFd>> {
    let mut tries = PORT_TRIES;
    loop {
        let chosen = chosen_address(addr, kind)?;
        let sockets = (0..n).map(|_| open(chosen, kind, Sharing::Group, backlog));
        match sockets.collect::<io::Result<Vec<_>>>() {
            // Somebody took the port that the kernel had chosen for us in between.
            Err(error)
                if error.kind() == io::ErrorKind::AddrInUse && addr.port() == 0 && tries > 0 =>
            {
                tries -= 1;
            }
            outcome => return outcome,
        }
    }
}

/// Finds out whether `addr` is free, and which port it gets if it names none.
fn chosen_address(addr: SocketAddr, kind: Type) -> io::Result<SocketAddr> {
    // Without listening: nobody may connect to a socket that is about to be closed again.
    let alone = open(addr, kind, Sharing::Alone, None)?;
    local_addr(alone.as_fd())
}

/// Whether a socket is alone on its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sharing {
    Alone,
    Group,
}

fn open(
    addr: SocketAddr,
    kind: Type,
    sharing: Sharing,
    backlog: Option<i32>,
) -> io::Result<OwnedFd> {
    let kind_flags = kind.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(addr), kind_flags, None)?;
    if kind == Type::STREAM {
        // For TCP this only means that connections in TIME_WAIT do not block the port. For UDP it
        // would let two sockets share it unnoticed.
        socket.set_reuse_address(true)?;
        // Accepted sockets inherit it, which saves each of them a call.
        socket.set_tcp_nodelay(true)?;
    }
    socket.set_reuse_port(sharing == Sharing::Group)?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
        socket.set_freebind_v6(true)?;
    } else {
        socket.set_freebind_v4(true)?;
    }
    if kind == Type::DGRAM {
        super::datagram::report_destination(socket.as_fd(), addr)?;
    }
    socket.bind(&addr.into())?;
    if let Some(backlog) = backlog {
        socket.listen(backlog)?;
    }
    Ok(socket.into())
}

/// How often a port that the kernel chose is tried before another one is asked for in vain.
const PORT_TRIES: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::io::ErrorKind;
    use std::net::{TcpStream, UdpSocket};

    fn loopback() -> SocketAddr {
        "127.0.0.1:0".parse().unwrap()
    }

    #[test]
    fn a_group_shares_one_port_that_the_kernel_chose() {
        let group = listen_group(loopback(), 3, 16).unwrap();
        let ports: HashSet<_> = group
            .iter()
            .map(|fd| local_addr(fd.as_fd()).unwrap())
            .collect();
        assert_eq!((group.len(), ports.len()), (3, 1));
        TcpStream::connect(ports.iter().next().unwrap()).unwrap();
    }

    #[test]
    fn a_second_group_on_the_same_port_is_refused() {
        let group = listen_group(loopback(), 2, 16).unwrap();
        let addr = local_addr(group[0].as_fd()).unwrap();
        let error = listen_group(addr, 2, 16).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
    }

    #[test]
    fn a_second_udp_group_on_the_same_port_is_refused() {
        let group = udp_group(loopback(), 2).unwrap();
        let addr = local_addr(group[0].as_fd()).unwrap();
        let error = udp_group(addr, 2).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert_eq!(
            UdpSocket::bind(addr).unwrap_err().kind(),
            ErrorKind::AddrInUse
        );
    }

    #[test]
    fn an_address_that_this_machine_lacks_can_be_bound() {
        // TEST-NET-1 of RFC 5737.
        listen_group("192.0.2.1:0".parse().unwrap(), 1, 1).unwrap();
    }

    #[test]
    fn an_ipv6_wildcard_leaves_ipv4_free() {
        let Ok(six) = listen_group("[::]:0".parse().unwrap(), 1, 1) else {
            eprintln!("skipped: no IPv6 here");
            return;
        };
        let port = local_addr(six[0].as_fd()).unwrap().port();
        listen_group(SocketAddr::from(([0, 0, 0, 0], port)), 1, 1).unwrap();
    }
}
