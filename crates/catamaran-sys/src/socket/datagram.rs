//! Datagrams whose answers leave from the address that they came to.
//!
//! A socket bound to a wildcard would otherwise answer from whatever address routing prefers, which
//! is not the virtual address the client asked.

use crate::check;
use crate::control::{Control, space};
use socket2::{Domain, SockAddr, SockAddrStorage, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// An address of this machine, with the interface that a link-local one belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LocalAddr {
    /// The address.
    pub ip: IpAddr,
    /// Index of the interface; 0 lets routing choose.
    pub interface: u32,
}

/// One received datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// Bytes written to the buffer.
    pub len: usize,
    /// Whether the datagram was longer than the buffer; the rest is lost.
    pub truncated: bool,
    /// Who sent it.
    pub source: SocketAddr,
    /// Where it was sent to: what an answer leaves from.
    pub destination: LocalAddr,
}

/// Has the kernel report each datagram's destination (IP_PKTINFO, IPV6_RECVPKTINFO).
pub(super) fn report_destination(socket: BorrowedFd<'_>, addr: SocketAddr) -> io::Result<()> {
    let (level, name) = if addr.is_ipv4() {
        (libc::IPPROTO_IP, libc::IP_PKTINFO)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)
    };
    let on: libc::c_int = 1;
    let len = libc::socklen_t::try_from(size_of_val(&on)).expect("an int has four bytes");
    // SAFETY: `on` is an int of `len` bytes that lives through the call.
    check(unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const on).cast(), len)
    })?;
    Ok(())
}

/// Opens a UDP socket that talks with `addr` only. Nothing is sent by that; that nobody listens
/// there is reported, as `ConnectionRefused`, by a later send or receive (ICMP, RFC 1122 §4.1.3.3).
///
/// # Errors
/// When there is no route to `addr`, or no free local port.
pub fn connect_udp(addr: SocketAddr) -> io::Result<OwnedFd> {
    connect_udp_from(addr, super::LocalEnd::default())
}

/// As [`connect_udp`], from an address and an interface of this machine.
///
/// # Errors
/// As those, and what the kernel says against the address or the interface.
pub fn connect_udp_from(addr: SocketAddr, from: super::LocalEnd<'_>) -> io::Result<OwnedFd> {
    let kind = Type::DGRAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(addr), kind, None)?;
    from.bind(socket.as_fd())?;
    socket.connect(&addr.into())?;
    Ok(socket.into())
}

/// Receives a datagram on a socket of [`super::udp_group`].
///
/// # Errors
/// `WouldBlock` when none waits, else what `recvmsg(2)` reports.
pub fn recv_with_dst(socket: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<Datagram> {
    let mut control = Control::<CONTROL_LEN>::new();
    let mut source = SockAddrStorage::zeroed();
    let (delivery, source_len) = control.recv(socket, buf, Some(&mut source), 0)?;
    // SAFETY: recvmsg wrote an address of `source_len` bytes to `source`.
    let source = unsafe { SockAddr::new(source, source_len) };
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    Ok(Datagram {
        len: delivery.len,
        truncated: delivery.truncated,
        source: source.as_socket().ok_or_else(invalid)?,
        destination: control
            .messages()
            .find_map(destination)
            .ok_or_else(invalid)?,
    })
}

/// Sends `bytes` to `to` as one datagram that leaves from `from`.
///
/// # Errors
/// `InvalidInput` when the two are of different families, `WouldBlock` when the socket takes no
/// more, else what `sendmsg(2)` reports.
pub fn send_to_from(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    to: SocketAddr,
    from: LocalAddr,
) -> io::Result<usize> {
    if to.is_ipv4() != from.ip.is_ipv4() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut control = Control::<CONTROL_LEN>::new();
    match from.ip {
        IpAddr::V4(ip) => {
            // struct in_pktinfo: interface, address to send from, destination (ignored).
            let mut info = [0; PKTINFO_V4];
            info[..4].copy_from_slice(&from.interface.to_ne_bytes());
            info[4..8].copy_from_slice(&ip.octets());
            control.push(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
        }
        IpAddr::V6(ip) => {
            // struct in6_pktinfo: address, interface.
            let mut info = [0; PKTINFO_V6];
            info[..16].copy_from_slice(&ip.octets());
            info[16..].copy_from_slice(&from.interface.to_ne_bytes());
            control.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
        }
    }
    control.send(socket, bytes, Some(&to.into()), libc::MSG_NOSIGNAL)
}

/// Reads the destination out of a control message. The interface is kept for link-local addresses
/// only: for others the way back may lead over another one.
fn destination((level, kind, data): (i32, i32, &[u8])) -> Option<LocalAddr> {
    match (level, kind) {
        (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
            // The second field is the local address even for a broadcast.
            let ip: [u8; 4] = data.get(4..8)?.try_into().ok()?;
            Some(LocalAddr {
                ip: IpAddr::V4(Ipv4Addr::from(ip)),
                interface: 0,
            })
        }
        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
            let ip: [u8; 16] = data.get(..16)?.try_into().ok()?;
            let interface: [u8; 4] = data.get(16..PKTINFO_V6)?.try_into().ok()?;
            let ip = Ipv6Addr::from(ip);
            Some(LocalAddr {
                ip: IpAddr::V6(ip),
                interface: if ip.is_unicast_link_local() {
                    u32::from_ne_bytes(interface)
                } else {
                    0
                },
            })
        }
        _ => None,
    }
}

/// Size of `struct in_pktinfo`.
const PKTINFO_V4: usize = 12;
/// Size of `struct in6_pktinfo`.
const PKTINFO_V6: usize = 20;
const CONTROL_LEN: usize = space(PKTINFO_V6) + space(PKTINFO_V4);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::{local_addr, udp_group};
    use std::net::UdpSocket;
    use std::os::fd::AsFd;
    use std::time::Duration;

    /// Receives as a worker would, once its reactor says that something came.
    fn receive(group: &[OwnedFd]) -> (usize, Datagram, Vec<u8>) {
        let mut buf = [0; 64];
        for _ in 0..5000 {
            for (index, fd) in group.iter().enumerate() {
                match recv_with_dst(fd.as_fd(), &mut buf) {
                    Ok(datagram) => return (index, datagram, buf[..datagram.len].to_vec()),
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("no datagram came");
    }

    #[test]
    fn an_answer_leaves_from_the_address_that_was_asked() {
        let group = udp_group("0.0.0.0:0".parse().unwrap(), 2).unwrap();
        let port = local_addr(group[0].as_fd()).unwrap().port();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        let asked = SocketAddr::from(([127, 0, 0, 9], port));
        client.send_to(b"hi", asked).unwrap();
        let (index, datagram, bytes) = receive(&group);
        assert_eq!(bytes, b"hi");
        assert_eq!(datagram.source, client.local_addr().unwrap());
        assert_eq!(datagram.destination.ip, asked.ip());
        let socket = group[index].as_fd();
        send_to_from(socket, b"yo", datagram.source, datagram.destination).unwrap();
        let mut buf = [0; 8];
        assert_eq!(client.recv_from(&mut buf).unwrap(), (2, asked));
    }

    #[test]
    fn ipv6_answers_leave_from_the_address_that_was_asked() {
        let Ok(group) = udp_group("[::]:0".parse().unwrap(), 1) else {
            eprintln!("skipped: no IPv6 here");
            return;
        };
        let port = local_addr(group[0].as_fd()).unwrap().port();
        let Ok(client) = UdpSocket::bind("[::1]:0") else {
            eprintln!("skipped: no IPv6 loopback here");
            return;
        };
        let asked: SocketAddr = format!("[::1]:{port}").parse().unwrap();
        client.send_to(b"hi", asked).unwrap();
        let (_, datagram, _) = receive(&group);
        assert_eq!(datagram.destination.ip, asked.ip());
        send_to_from(
            group[0].as_fd(),
            b"yo",
            datagram.source,
            datagram.destination,
        )
        .unwrap();
        assert_eq!(client.recv_from(&mut [0; 8]).unwrap(), (2, asked));
    }

    #[test]
    fn a_connected_socket_learns_that_nobody_listens() {
        let nobody = UdpSocket::bind("127.0.0.1:0").unwrap();
        let addr = nobody.local_addr().unwrap();
        drop(nobody);
        let socket = UdpSocket::from(connect_udp(addr).unwrap());
        socket.send(b"x").unwrap();
        let error = (0..5000).find_map(|_| {
            std::thread::sleep(Duration::from_millis(1));
            let error = socket.recv(&mut [0; 8]).unwrap_err();
            (error.kind() != io::ErrorKind::WouldBlock).then_some(error)
        });
        assert_eq!(error.unwrap().kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn families_do_not_mix() {
        let group = udp_group("127.0.0.1:0".parse().unwrap(), 1).unwrap();
        let from = LocalAddr {
            ip: Ipv6Addr::LOCALHOST.into(),
            interface: 0,
        };
        let to = local_addr(group[0].as_fd()).unwrap();
        let error = send_to_from(group[0].as_fd(), b"x", to, from).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
