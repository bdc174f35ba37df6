//! Putting virtual addresses on this host and taking them away again.

use crate::interfaces::Interfaces;
use crate::{neighbours, routes, virtual_mac};
use catamaran_core::model::{VirtualAddress, VirtualIp};
use catamaran_sys::netlink::Netlink;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

/// How long the kernel keeps an address that nobody renews. It counts whole seconds and looks once
/// in a second or so: gone 2.0 to 3.2 s after the last renewal.
pub const LIFETIME: Duration = Duration::from_secs(3);
/// How often addresses are renewed.
pub(crate) const RENEWAL: Duration = Duration::from_secs(1);

/// Where the addresses of a router are put.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Link-local ones, which belong to a link: on this interface.
    pub(crate) link: u32,
    /// Others of IPv6: on the loopback interface, where the kernel answers nobody who asks for them.
    pub(crate) loopback: u32,
    /// Those of IPv4: on the loopback interface as well, or on that of the virtual MAC address, which
    /// answers no ARP and must have an address for packets that come over it to be taken.
    pub(crate) v4: u32,
}

impl Place {
    /// Interface and prefix of `one` there.
    const fn of(self, one: &VirtualAddress) -> (u32, u8) {
        match one.address {
            address if neighbours::is_link_local(address) => (self.link, one.prefix),
            // With a shorter one the whole network would be taken for local.
            IpAddr::V4(_) => (self.v4, 32),
            IpAddr::V6(_) => (self.loopback, 128),
        }
    }
}

/// Puts `addresses` in their place, or renews them. Returns how many could not be.
pub(crate) fn add(netlink: &mut Netlink, place: Place, addresses: &[VirtualAddress]) -> u64 {
    let mut failures = 0;
    for one in addresses {
        let (interface, prefix) = place.of(one);
        let added = netlink.add_address(interface, one.address, prefix, LIFETIME);
        if let Err(error) = added {
            tracing::error!(address = %one.address, %error, "address could not be added");
            failures += 1;
        }
    }
    failures
}

/// Takes `addresses` away. Returns how many could not be.
pub(crate) fn remove(netlink: &mut Netlink, place: Place, addresses: &[VirtualAddress]) -> u64 {
    let mut failures = 0;
    for one in addresses {
        let (interface, prefix) = place.of(one);
        let removed = netlink.remove_address(interface, one.address, prefix);
        if let Err(error) = removed {
            tracing::error!(address = %one.address, %error, "address could not be removed");
            failures += 1;
        }
    }
    failures
}

/// Takes away what a vrrp process that died has left: virtual addresses with a lifetime, routes, and
/// interfaces of virtual MAC addresses. Addresses that somebody put there for good stay, with a
/// warning.
///
/// # Errors
/// When interfaces and addresses cannot be read, or without CAP_NET_ADMIN.
pub fn remove_leftovers(virtual_ips: &[VirtualIp]) -> io::Result<()> {
    let mut netlink = Netlink::open()?;
    let interfaces = Interfaces::read(&mut netlink)?;
    for virtual_ip in virtual_ips {
        if let Some(link) = interfaces.link(&virtual_ip.interface) {
            for family in virtual_ip.families() {
                let addresses: Vec<VirtualAddress> = virtual_ip.addresses_of(family).collect();
                for route in routes::of_router(link.index, &addresses, &virtual_ip.routes) {
                    netlink.remove_route(&route)?;
                }
            }
        }
        for one in &virtual_ip.addresses {
            for known in interfaces.find(one.address) {
                if known.is_permanent {
                    tracing::warn!(
                        virtual_ip = %virtual_ip.name,
                        address = %one.address,
                        "address is configured for good and is virtual too; remove it from the \
                         system's network configuration"
                    );
                    continue;
                }
                netlink.remove_address(known.interface, known.address, known.prefix)?;
                tracing::info!(
                    virtual_ip = %virtual_ip.name,
                    address = %one.address,
                    "address left by an earlier process is removed"
                );
            }
        }
        virtual_mac::remove_leftovers(&mut netlink, &interfaces, virtual_ip)?;
    }
    Ok(())
}
