//! Interfaces, addresses and routes by rtnetlink (`rtnetlink(7)`).
//!
//! A few messages are all that is needed, so they are written here by hand: a general library would
//! bring more code into a process with privileges than these files have.
//!
//! ```text
//! | length u32 | type u16 | flags u16 | sequence u32 | port u32 |   nlmsghdr, then
//! | ifaddrmsg, ifinfomsg or rtmsg | attributes: length u16, type u16, data, padded to 4 |
//! ```

mod address;
mod link;
mod message;
mod route;

pub use address::Address;
pub use link::{ArpConfig, Link};
pub use route::{Existing, Route};

use crate::check;
use message::{HEADER, next_message};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

/// A socket to the kernel's routing subsystem.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    sequence: u32,
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
    use super::address::read_address;
    use super::link::read_link;
    use super::message::attributes;
    use super::*;
    use std::net::IpAddr;

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
        assert!(loopback.arp.is_some());
        assert_eq!(loopback.kind, "");
    }

    #[test]
    fn every_request_that_changes_something_needs_privileges_or_an_interface() {
        let mut netlink = Netlink::open().unwrap();
        let route = Route {
            to: [198, 51, 100, 0].into(),
            prefix: 24,
            via: None,
            interface: 999_999,
            source: [192, 0, 2, 1].into(),
            table: 254,
            metric: 0,
        };
        let arp = ArpConfig {
            ignore: 3,
            announce: 2,
        };
        let lifetime = Duration::from_secs(3);
        let outcomes = [
            netlink.add_macvlan("vmac-test", 999_999, [2; 6]).map(drop),
            netlink.set_up(999_999, true),
            netlink.set_arp(999_999, arp),
            netlink.remove_link(999_999),
            netlink.add_route(&route, lifetime, Existing::Refuse),
        ];
        for outcome in outcomes {
            let error = outcome.unwrap_err();
            let expected = [libc::ENODEV, libc::EPERM, libc::EINVAL].map(Some);
            assert!(expected.contains(&error.raw_os_error()), "{error}");
        }
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
