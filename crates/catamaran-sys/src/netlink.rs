//! Interfaces and addresses by rtnetlink (`rtnetlink(7)`).
//!
//! Five messages are all that is needed, so they are written here by hand: a general library would
//! bring more code into a process with privileges than this file has.
//!
//! ```text
//! | length u32 | type u16 | flags u16 | sequence u32 | port u32 |   nlmsghdr, then
//! | ifaddrmsg or ifinfomsg | attributes: length u16, type u16, data, padded to 4 |
//! ```

use crate::check;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

/// A socket to the kernel's routing subsystem.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

/// An interface as the kernel knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Whether it is up and has a carrier.
    pub is_running: bool,
    /// Its link address, if that has six bytes.
    pub mac: Option<[u8; 6]>,
}

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    /// Index of the interface.
    pub interface: u32,
    /// The address.
    pub address: IpAddr,
    /// Length of the prefix in bits.
    pub prefix: u8,
    /// Whether it stays until it is removed; otherwise it has a lifetime.
    pub is_permanent: bool,
    /// Whether it may be used: no duplicate was found, and none is looked for.
    pub is_usable: bool,
}

impl Netlink {
    /// Opens a socket for requests.
    ///
    /// # Errors
    /// What `socket(2)` reports.
    pub fn open() -> io::Result<Self> {
        let kind = Type::RAW.cloexec();
        let socket = Socket::new(
            Domain::from(libc::AF_NETLINK),
            kind,
            Some(Protocol::from(libc::NETLINK_ROUTE)),
        )?;
        // An answer of the kernel is there when the request returns; never wait for one for ever.
        socket.set_read_timeout(Some(ANSWER))?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// Opens a non-blocking socket on which changes of links and addresses are told.
    ///
    /// # Errors
    /// What `socket(2)` or `setsockopt(2)` reports.
    pub fn open_watch() -> io::Result<Self> {
        let kind = Type::RAW.cloexec().nonblocking();
        let socket = Socket::new(
            Domain::from(libc::AF_NETLINK),
            kind,
            Some(Protocol::from(libc::NETLINK_ROUTE)),
        )?;
        let watch = Self {
            socket,
            sequence: 0,
        };
        for group in [RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR] {
            watch.join(group)?;
        }
        Ok(watch)
    }

    /// Throws away what was told on a socket of [`Netlink::open_watch`]; whether there was anything.
    /// What exactly does not matter: who is told reads the whole state anew.
    ///
    /// # Errors
    /// What `recv(2)` reports, but for messages lost, which are a change as well.
    pub fn drain(&self) -> io::Result<bool> {
        let mut buf = [0; 8192];
        let mut told = false;
        loop {
            match io::Read::read(&mut &self.socket, &mut buf) {
                Ok(_) => told = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(told),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => told = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Puts `address` on the interface for `lifetime` (whole seconds), or renews it. It is never
    /// chosen as a source, makes no route to its network, and is used at once.
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN, or when there is no such interface.
    pub fn add_address(
        &mut self,
        interface: u32,
        address: IpAddr,
        prefix: u8,
        lifetime: Duration,
    ) -> io::Result<()> {
        let flags = libc::IFA_F_NOPREFIXROUTE | libc::IFA_F_NODAD;
        let mut body = address_header(interface, address, prefix);
        put_address(&mut body, libc::IFA_LOCAL, address);
        put_address(&mut body, libc::IFA_ADDRESS, address);
        put(&mut body, libc::IFA_FLAGS, &flags.to_ne_bytes());
        let valid = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
        // ifa_cacheinfo: preferred, valid, and two times that only reading has.
        let times = [0_u32, valid, 0, 0].map(u32::to_ne_bytes);
        put(&mut body, libc::IFA_CACHEINFO, times.as_flattened());
        let flags = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;
        self.request(libc::RTM_NEWADDR, flags, &body)
    }

    /// Takes `address` off the interface; no error if it is not there.
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN.
    pub fn remove_address(
        &mut self,
        interface: u32,
        address: IpAddr,
        prefix: u8,
    ) -> io::Result<()> {
        let mut body = address_header(interface, address, prefix);
        put_address(&mut body, libc::IFA_LOCAL, address);
        put_address(&mut body, libc::IFA_ADDRESS, address);
        match self.request(libc::RTM_DELADDR, 0, &body) {
            Err(error)
                if [Some(libc::EADDRNOTAVAIL), Some(libc::ENODEV)]
                    .contains(&error.raw_os_error()) =>
            {
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// All interfaces.
    ///
    /// # Errors
    /// What the kernel reports, or when it does not answer.
    pub fn links(&mut self) -> io::Result<Vec<Link>> {
        let mut links = Vec::new();
        self.dump(libc::RTM_GETLINK, &[0; IFINFOMSG], |body| {
            links.extend(read_link(body));
        })?;
        Ok(links)
    }

    /// All addresses of all interfaces.
    ///
    /// # Errors
    /// What the kernel reports, or when it does not answer.
    pub fn addresses(&mut self) -> io::Result<Vec<Address>> {
        let mut addresses = Vec::new();
        self.dump(libc::RTM_GETADDR, &[0; IFADDRMSG], |body| {
            addresses.extend(read_address(body));
        })?;
        Ok(addresses)
    }

    fn join(&self, group: u32) -> io::Result<()> {
        let value = group.to_ne_bytes();
        let len = u32::try_from(value.len()).unwrap_or_default();
        // SAFETY: the option's value lives through the call, which reads `len` bytes of it.
        let outcome = unsafe {
            libc::setsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_NETLINK,
                libc::NETLINK_ADD_MEMBERSHIP,
                value.as_ptr().cast(),
                len,
            )
        };
        check(outcome)?;
        Ok(())
    }

    /// Sends a request and waits for its acknowledgement.
    fn request(&mut self, kind: u16, flags: i32, body: &[u8]) -> io::Result<()> {
        self.send(kind, flags | libc::NLM_F_ACK, body)?;
        self.answers(|_| {})
    }

    fn dump(&mut self, kind: u16, body: &[u8], each: impl FnMut(&[u8])) -> io::Result<()> {
        self.send(kind, libc::NLM_F_DUMP, body)?;
        self.answers(each)
    }

    fn send(&mut self, kind: u16, flags: i32, body: &[u8]) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let flags = u16::try_from(flags | libc::NLM_F_REQUEST).unwrap_or_default();
        let len = u32::try_from(HEADER + body.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut message = len.to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend(flags.to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend([0; 4]);
        message.extend(body);
        // Without an address it goes to the kernel.
        self.socket.send(&message)?;
        Ok(())
    }

    /// Reads what answers the last request until its end.
    fn answers(&self, mut each: impl FnMut(&[u8])) -> io::Result<()> {
        let mut buf = vec![0; 64 * 1024];
        loop {
            let len = io::Read::read(&mut &self.socket, &mut buf)?;
            let mut rest = &buf[..len];
            while let Some((message, after)) = next_message(rest) {
                rest = after;
                // An answer to a request that was given up on.
                if message.sequence != self.sequence {
                    continue;
                }
                match i32::from(message.kind) {
                    libc::NLMSG_DONE => return Ok(()),
                    libc::NLMSG_ERROR => {
                        let code = message.body.first_chunk::<4>();
                        return match code.map_or(0, |code| i32::from_ne_bytes(*code)) {
                            0 => Ok(()),
                            code => Err(io::Error::from_raw_os_error(-code)),
                        };
                    }
                    _ => each(message.body),
                }
            }
        }
    }
}

impl AsFd for Netlink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

struct Message<'a> {
    kind: u16,
    sequence: u32,
    body: &'a [u8],
}

fn next_message(bytes: &[u8]) -> Option<(Message<'_>, &[u8])> {
    let header = bytes.first_chunk::<HEADER>()?;
    let len = usize::try_from(u32_at(header, 0)?).ok()?;
    let message = Message {
        kind: u16::from_ne_bytes([header[4], header[5]]),
        sequence: u32_at(header, 8)?,
        body: bytes.get(HEADER..len)?,
    };
    Some((
        message,
        bytes.get(len.next_multiple_of(4)..).unwrap_or_default(),
    ))
}

/// The attributes of a message, as type and data.
fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let header = bytes.first_chunk::<4>()?;
        let len = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        // The two highest bits are flags of the attribute.
        let kind = u16::from_ne_bytes([header[2], header[3]]) & 0x3fff;
        let data = bytes.get(4..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, data))
    })
}

/// ifinfomsg: family u8, padding, type u16, index i32, flags u32, change u32.
fn read_link(body: &[u8]) -> Option<Link> {
    let (header, rest) = body.split_at_checked(IFINFOMSG)?;
    let flags = u32_at(header, 8)?;
    let wanted = u32::try_from(libc::IFF_UP | libc::IFF_RUNNING).unwrap_or_default();
    let mut link = Link {
        index: u32_at(header, 4)?,
        name: String::new(),
        is_running: flags & wanted == wanted,
        mac: None,
    };
    for (kind, data) in attributes(rest) {
        match kind {
            libc::IFLA_IFNAME => {
                let name = data.split(|&byte| byte == 0).next().unwrap_or_default();
                link.name = String::from_utf8_lossy(name).into_owned();
            }
            libc::IFLA_ADDRESS => link.mac = <[u8; 6]>::try_from(data).ok(),
            _ => {}
        }
    }
    Some(link)
}

/// ifaddrmsg: family u8, prefix u8, flags u8, scope u8, index u32.
fn read_address(body: &[u8]) -> Option<Address> {
    let (header, rest) = body.split_at_checked(IFADDRMSG)?;
    let (mut flags, mut own, mut network) = (u32::from(header[2]), None, None);
    for (kind, data) in attributes(rest) {
        match kind {
            libc::IFA_FLAGS => flags = u32_at(data, 0)?,
            // On links between two points the other attribute is the far end.
            libc::IFA_LOCAL => own = read_ip(data),
            libc::IFA_ADDRESS => network = read_ip(data),
            _ => {}
        }
    }
    let unusable = libc::IFA_F_TENTATIVE | libc::IFA_F_DADFAILED;
    Some(Address {
        interface: u32_at(header, 4)?,
        address: own.or(network)?,
        prefix: header[1],
        is_permanent: flags & libc::IFA_F_PERMANENT != 0,
        is_usable: flags & unusable == 0 || flags & libc::IFA_F_OPTIMISTIC != 0,
    })
}

fn read_ip(data: &[u8]) -> Option<IpAddr> {
    match data.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(data).ok()?)),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(data).ok()?)),
        _ => None,
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk::<4>()?))
}

fn address_header(interface: u32, address: IpAddr, prefix: u8) -> Vec<u8> {
    let family = match address {
        IpAddr::V4(_) => libc::AF_INET,
        IpAddr::V6(_) => libc::AF_INET6,
    };
    let mut body = vec![u8::try_from(family).unwrap_or_default(), prefix, 0, 0];
    body.extend(interface.to_ne_bytes());
    body
}

fn put_address(body: &mut Vec<u8>, kind: u16, address: IpAddr) {
    match address {
        IpAddr::V4(address) => put(body, kind, &address.octets()),
        IpAddr::V6(address) => put(body, kind, &address.octets()),
    }
}

/// Appends an attribute.
fn put(body: &mut Vec<u8>, kind: u16, data: &[u8]) {
    let len = u16::try_from(4 + data.len()).unwrap_or_default();
    body.extend(len.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(data);
    body.resize(body.len().next_multiple_of(4), 0);
}

const HEADER: usize = 16;
const IFADDRMSG: usize = 8;
const IFINFOMSG: usize = 16;
/// Multicast groups of linux/rtnetlink.h.
const RTNLGRP_LINK: u32 = 1;
const RTNLGRP_IPV4_IFADDR: u32 = 5;
const RTNLGRP_IPV6_IFADDR: u32 = 9;
/// How long an answer of the kernel may take.
const ANSWER: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_and_its_address_are_found() {
        let mut netlink = Netlink::open().unwrap();
        let links = netlink.links().unwrap();
        let loopback = links.iter().find(|link| link.name == "lo").unwrap();
        assert!(loopback.is_running);
        let addresses = netlink.addresses().unwrap();
        let local = addresses
            .iter()
            .find(|address| address.address == IpAddr::from([127, 0, 0, 1]))
            .unwrap();
        assert_eq!(local.interface, loopback.index);
        assert_eq!(local.prefix, 8);
        assert!(local.is_permanent);
        assert!(local.is_usable);
    }

    #[test]
    fn a_refused_request_is_the_error_of_the_kernel() {
        let mut netlink = Netlink::open().unwrap();
        let nobody = IpAddr::from([192, 0, 2, 1]);
        let lifetime = Duration::from_secs(3);
        let error = netlink
            .add_address(999_999, nobody, 32, lifetime)
            .unwrap_err();
        let expected = [Some(libc::ENODEV), Some(libc::EPERM)];
        assert!(expected.contains(&error.raw_os_error()), "{error}");
    }

    #[test]
    fn messages_that_are_cut_off_are_no_messages() {
        assert!(next_message(&[0; 15]).is_none());
        let mut header = [0; 16];
        header[..4].copy_from_slice(&100_u32.to_ne_bytes());
        assert!(next_message(&header).is_none());
        header[..4].copy_from_slice(&3_u32.to_ne_bytes());
        assert!(next_message(&header).is_none());
        assert_eq!(attributes(&[9, 0, 1, 0, 5]).count(), 0);
        assert_eq!(read_link(&[0; 15]), None);
        assert_eq!(read_address(&[0; 7]), None);
    }
}
