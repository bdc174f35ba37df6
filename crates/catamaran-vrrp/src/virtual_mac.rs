//! The virtual MAC address of a router, which moves with its addresses: neighbours and switches have
//! nothing to learn but the port (RFC 9568 §7.3).
//!
//! A macvlan interface receives what is sent to it. It is up only while the router is active, has
//! the virtual addresses of IPv4 and link-local ones of IPv6, and answers no ARP:
//! [`crate::neighbours`] does.

use crate::interfaces::Interfaces;
use catamaran_core::model::VirtualIp;
use catamaran_core::vrrp::{Family, announce::Mac};
use catamaran_sys::netlink::Netlink;
use std::io;

/// The interface of a virtual MAC address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VirtualMac {
    pub(crate) mac: Mac,
    /// Index of the macvlan.
    pub(crate) interface: u32,
}

impl VirtualMac {
    /// Makes the interface, in the place of one that was left behind.
    pub(crate) fn make(
        netlink: &mut Netlink,
        interfaces: &Interfaces,
        parent: u32,
        (family, router_id): (Family, u8),
    ) -> io::Result<Self> {
        let name = name(family, router_id, parent);
        if let Some(old) = interfaces.link(&name).filter(|link| link.kind == KIND) {
            netlink.remove_link(old.index)?;
        }
        let mac = mac(family, router_id);
        let interface = netlink.add_macvlan(&name, parent, mac)?;
        Ok(Self { mac, interface })
    }
}

/// Removes the interfaces that a vrrp process that died has left for `virtual_ip`.
pub(crate) fn remove_leftovers(
    netlink: &mut Netlink,
    interfaces: &Interfaces,
    virtual_ip: &VirtualIp,
) -> io::Result<()> {
    for family in virtual_ip.families() {
        let mac = mac(family, virtual_ip.router_id);
        // The parent may have another index by now, or be gone.
        let prefix = name_prefix(family, virtual_ip.router_id);
        let is_ours = |link: &&catamaran_sys::netlink::Link| {
            link.kind == KIND && link.mac == Some(mac) && link.name.starts_with(&prefix)
        };
        for link in interfaces.links().iter().filter(is_ours) {
            netlink.remove_link(link.index)?;
            tracing::info!(
                virtual_ip = %virtual_ip.name,
                interface = link.name,
                "interface left by an earlier process is removed"
            );
        }
    }
    Ok(())
}

/// 00-00-5E-00-01-{VRID}, with IPv6 02.
//= https://www.rfc-editor.org/rfc/rfc9568#section-7.3
//# The Virtual Router MAC address associated with a Virtual Router is an
//# IEEE 802 MAC address
const fn mac(family: Family, router_id: u8) -> Mac {
    let kind = match family {
        Family::V4 => 1,
        Family::V6 => 2,
    };
    [0, 0, 0x5e, 0, kind, router_id]
}

/// At most 15 bytes with any index that a kernel gives in practice.
fn name(family: Family, router_id: u8, parent: u32) -> String {
    format!("{}{parent}", name_prefix(family, router_id))
}

fn name_prefix(family: Family, router_id: u8) -> String {
    let digit = match family {
        Family::V4 => 4,
        Family::V6 => 6,
    };
    format!("vmac{digit}-{router_id}-")
}

const KIND: &str = "macvlan";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_that_of_the_rfc_and_the_name_fits() {
        assert_eq!(mac(Family::V4, 51), [0, 0, 0x5e, 0, 1, 51]);
        assert_eq!(mac(Family::V6, 255), [0, 0, 0x5e, 0, 2, 255]);
        assert!(name(Family::V6, 255, 99_999).len() <= 15);
    }
}
