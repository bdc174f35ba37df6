//! Raw IP sockets of one protocol on one interface (`raw(7)`).
//!
//! What arrives is given with what the IP header says: source, destination and TTL (IPv4) or hop
//! limit (IPv6).

use crate::check;
use crate::control::{Control, space};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockAddr, SockAddrStorage, Socket, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// A non-blocking raw socket, bound to an interface.
#[derive(Debug)]
pub struct RawIp {
    socket: Socket,
    interface: u32,
}

/// What one [`RawIp::recv`] delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Where the payload starts in the buffer, and where it ends.
    pub payload: (usize, usize),
    /// Source of the packet.
    pub source: IpAddr,
    /// Destination of the packet.
    pub destination: IpAddr,
    /// TTL or hop limit as it arrived.
    pub ttl: u8,
}

impl RawIp {
    /// Opens a socket for IPv4 packets of `protocol` on the interface `name` with index `index`.
    /// What it sends has TTL 255, and its own multicasts do not come back.
    ///
    /// # Errors
    /// Without CAP_NET_RAW, or when there is no such interface.
    pub fn v4(protocol: u8, name: &str, index: u32) -> io::Result<Self> {
        let socket = Self::open(Domain::IPV4, protocol, name)?;
        socket.set_ttl_v4(255)?;
        socket.set_multicast_ttl_v4(255)?;
        socket.set_multicast_loop_v4(false)?;
        set(&socket, libc::IPPROTO_IP, libc::IP_MULTICAST_ALL, 0)?;
        Ok(Self {
            socket,
            interface: index,
        })
    }

    /// As [`RawIp::v4`] for IPv6.
    ///
    /// # Errors
    /// As there.
    pub fn v6(protocol: u8, name: &str, index: u32) -> io::Result<Self> {
        let socket = Self::open(Domain::IPV6, protocol, name)?;
        socket.set_unicast_hops_v6(255)?;
        socket.set_multicast_hops_v6(255)?;
        socket.set_multicast_loop_v6(false)?;
        socket.set_multicast_if_v6(index)?;
        set(&socket, libc::IPPROTO_IPV6, libc::IPV6_MULTICAST_ALL, 0)?;
        set(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
        set(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVHOPLIMIT, 1)?;
        Ok(Self {
            socket,
            interface: index,
        })
    }

    /// As [`RawIp::v6`] for ICMPv6, of which only neighbour solicitations and advertisements arrive
    /// (RFC 4861 §4.3, §4.4).
    ///
    /// # Errors
    /// As there.
    pub fn neighbours(name: &str, index: u32) -> io::Result<Self> {
        let raw = Self::v6(ICMPV6, name, index)?;
        // A bit for each type that is not to arrive.
        let mut blocked = [u32::MAX; 8];
        for wanted in [SOLICITATION, ADVERTISEMENT] {
            blocked[usize::from(wanted / 32)] &= !(1 << (wanted % 32));
        }
        let blocked = blocked.map(u32::to_ne_bytes);
        set_bytes(
            &raw.socket,
            libc::IPPROTO_ICMPV6,
            ICMP6_FILTER,
            blocked.as_flattened(),
        )?;
        Ok(raw)
    }

    /// Takes packets sent to `group` too.
    ///
    /// # Errors
    /// What `setsockopt(2)` reports.
    pub fn join(&self, group: IpAddr) -> io::Result<()> {
        match group {
            IpAddr::V4(group) => {
                let interface = InterfaceIndexOrAddress::Index(self.interface);
                self.socket.join_multicast_v4_n(&group, &interface)
            }
            IpAddr::V6(group) => self.socket.join_multicast_v6(&group, self.interface),
        }
    }

    /// Sends `payload` from `source` to `destination`, whatever addresses the interface has else.
    ///
    /// # Errors
    /// When `source` is no address of this node, else what `sendmsg(2)` reports.
    pub fn send(&self, payload: &[u8], source: IpAddr, destination: IpAddr) -> io::Result<()> {
        let mut control = Control::<{ space(size_of::<libc::in6_pktinfo>()) }>::new();
        let mut info = Vec::with_capacity(size_of::<libc::in6_pktinfo>());
        let address: SockAddr = match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                // in_pktinfo: interface, source, and a field that only receiving uses.
                info.extend(self.interface.to_ne_bytes());
                info.extend(source.octets());
                info.extend([0; 4]);
                control.push(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
                SocketAddrV4::new(destination, 0).into()
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                // in6_pktinfo: source, interface.
                info.extend(source.octets());
                info.extend(self.interface.to_ne_bytes());
                control.push(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &info);
                SocketAddrV6::new(destination, 0, 0, self.interface).into()
            }
            _ => return Err(io::ErrorKind::InvalidInput.into()),
        };
        control.send(self.as_fd(), payload, Some(&address), libc::MSG_NOSIGNAL)?;
        Ok(())
    }

    /// Receives the next packet into `buf`; what is longer than that is cut.
    ///
    /// # Errors
    /// `WouldBlock` when there is none; `InvalidData` when the kernel does not say what is needed of
    /// its header; else what `recvmsg(2)` reports.
    pub fn recv(&self, buf: &mut [u8]) -> io::Result<Packet> {
        let mut control = Control::<128>::new();
        let mut source = SockAddrStorage::zeroed();
        let (delivery, source_len) = control.recv(self.as_fd(), buf, Some(&mut source), 0)?;
        // SAFETY: the kernel wrote an address of that length into the storage.
        let source = unsafe { SockAddr::new(source, source_len) };
        let source = source.as_socket().ok_or(io::ErrorKind::InvalidData)?.ip();
        match source {
            IpAddr::V4(source) => v4_packet(&buf[..delivery.len], source),
            IpAddr::V6(source) => {
                let packet = v6_packet(&control, delivery.len, source);
                packet.ok_or_else(|| io::ErrorKind::InvalidData.into())
            }
        }
    }

    fn open(domain: Domain, protocol: u8, name: &str) -> io::Result<Socket> {
        let kind = Type::RAW.nonblocking().cloexec();
        let socket = Socket::new(domain, kind, Some(Protocol::from(i32::from(protocol))))?;
        socket.bind_device(Some(name.as_bytes()))?;
        Ok(socket)
    }
}

impl AsFd for RawIp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// A raw IPv4 socket gives the header too (RFC 791 §3.1).
fn v4_packet(bytes: &[u8], source: Ipv4Addr) -> io::Result<Packet> {
    let header = bytes
        .first_chunk::<20>()
        .ok_or(io::ErrorKind::InvalidData)?;
    let header_len = usize::from(header[0] & 0xf) * 4;
    if header_len < 20 || header_len > bytes.len() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(Packet {
        payload: (header_len, bytes.len()),
        source: source.into(),
        destination: Ipv4Addr::new(header[16], header[17], header[18], header[19]).into(),
        ttl: header[8],
    })
}

fn v6_packet<const N: usize>(control: &Control<N>, len: usize, source: Ipv6Addr) -> Option<Packet> {
    let (mut destination, mut hop_limit) = (None, None);
    for (level, kind, data) in control.messages() {
        match (level, kind) {
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                destination = data
                    .first_chunk::<16>()
                    .map(|octets| Ipv6Addr::from(*octets));
            }
            (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT) => {
                hop_limit = data
                    .first_chunk::<4>()
                    .map(|bytes| i32::from_ne_bytes(*bytes));
            }
            _ => {}
        }
    }
    Some(Packet {
        payload: (0, len),
        source: source.into(),
        destination: destination?.into(),
        ttl: u8::try_from(hop_limit?).ok()?,
    })
}

fn set(socket: &Socket, level: i32, option: i32, value: i32) -> io::Result<()> {
    set_bytes(socket, level, option, &value.to_ne_bytes())
}

fn set_bytes(socket: &Socket, level: i32, option: i32, value: &[u8]) -> io::Result<()> {
    let len = u32::try_from(value.len()).unwrap_or_default();
    // SAFETY: the option's value lives through the call, which reads `len` bytes of it.
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            value.as_ptr().cast(),
            len,
        )
    };
    check(outcome)?;
    Ok(())
}

const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// linux/icmpv6.h.
const ICMP6_FILTER: i32 = 1;
