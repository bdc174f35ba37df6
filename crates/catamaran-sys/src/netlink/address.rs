//! Addresses of interfaces.

use super::message::{attributes, put, put_address, read_ip, u32_at};
use super::{IFADDRMSG, Netlink};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

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
    /// Puts `address` on the interface for `lifetime` (whole seconds), or renews it. It is never
    /// chosen as a source, makes no route to its network, and is used at once. One of IPv4 has the
    /// scope of this host: see [`ArpConfig`](super::ArpConfig).
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
        if address.is_ipv4() {
            body[SCOPE_AT] = libc::RT_SCOPE_HOST;
        }
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
}

/// ifaddrmsg: family u8, prefix u8, flags u8, scope u8, index u32.
pub(super) fn read_address(body: &[u8]) -> Option<Address> {
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

fn address_header(interface: u32, address: IpAddr, prefix: u8) -> Vec<u8> {
    let family = match address {
        IpAddr::V4(_) => libc::AF_INET,
        IpAddr::V6(_) => libc::AF_INET6,
    };
    let mut body = vec![u8::try_from(family).unwrap_or_default(), prefix, 0, 0];
    body.extend(interface.to_ne_bytes());
    body
}

/// Where the scope stands in an ifaddrmsg.
const SCOPE_AT: usize = 3;
