//! The interfaces of this node and their addresses, as netlink tells them.

use catamaran_core::vrrp::Family;
use catamaran_sys::netlink::{Address, Link, Netlink};
use std::io;
use std::net::IpAddr;

/// A picture of all interfaces.
#[derive(Debug, Default)]
pub(crate) struct Interfaces {
    links: Vec<Link>,
    addresses: Vec<Address>,
}

/// An interface over which a router can work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usable {
    /// Its index.
    pub(crate) index: u32,
    /// Where adverts come from.
    pub(crate) local: IpAddr,
    /// What neighbours are told; `None` on links without such addresses.
    pub(crate) mac: Option<[u8; 6]>,
}

impl Interfaces {
    /// Takes a new picture.
    pub(crate) fn read(netlink: &mut Netlink) -> io::Result<Self> {
        Ok(Self {
            links: netlink.links()?,
            addresses: netlink.addresses()?,
        })
    }

    pub(crate) fn links(&self) -> &[Link] {
        &self.links
    }

    /// Index of the loopback interface; `None` while it is missing or down.
    pub(crate) fn loopback(&self) -> Option<u32> {
        let link = self.link("lo").filter(|link| link.is_running)?;
        Some(link.index)
    }

    pub(crate) fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|link| link.name == name)
    }

    /// Whether the interface is there, up, and has a carrier.
    pub(crate) fn is_running(&self, name: &str) -> bool {
        self.link(name).is_some_and(|link| link.is_running)
    }

    /// The interface, if it is up and has an address of `family` that stays with this node: none of
    /// `virtual_ones`, and none of `others`, those of other routers, that has a lifetime. Of IPv6 a
    /// link-local one (RFC 9568 §5.1.2.1).
    pub(crate) fn usable(
        &self,
        name: &str,
        family: Family,
        virtual_ones: &[IpAddr],
        others: &[IpAddr],
    ) -> Option<Usable> {
        let link = self.link(name).filter(|link| link.is_running)?;
        let fits = |address: IpAddr| match address {
            IpAddr::V4(_) => family == Family::V4,
            IpAddr::V6(v6) => family == Family::V6 && v6.is_unicast_link_local(),
        };
        let own = self.addresses.iter().find(|known| {
            known.interface == link.index
                && known.is_usable
                && fits(known.address)
                && !virtual_ones.contains(&known.address)
                && (known.is_permanent || !others.contains(&known.address))
        })?;
        Some(Usable {
            index: link.index,
            local: own.address,
            mac: link.mac,
        })
    }

    /// `address` on any interface, as often as it is there.
    pub(crate) fn find(&self, address: IpAddr) -> impl Iterator<Item = &Address> {
        let is_it = move |known: &&Address| known.address == address;
        self.addresses.iter().filter(is_it)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str, is_permanent: bool) -> Address {
        Address {
            interface: 2,
            address: text.parse().unwrap(),
            prefix: 64,
            is_permanent,
            is_usable: true,
        }
    }

    /// The kernel lists the newest link-local address first.
    #[test]
    fn adverts_never_come_from_a_virtual_address_of_another_router() {
        let link = Link {
            index: 2,
            name: "eth0".to_owned(),
            is_running: true,
            mac: None,
            kind: String::new(),
            arp: None,
        };
        let mut interfaces = Interfaces {
            links: vec![link],
            addresses: vec![
                address("fe80::10", false),
                address("fe80::11", false),
                address("fe80::1:2", true),
            ],
        };
        let [first, second] = ["fe80::10", "fe80::11"].map(|text| text.parse().unwrap());
        let usable = |interfaces: &Interfaces| {
            let usable = interfaces.usable("eth0", Family::V6, &[first], &[first, second]);
            usable.map(|usable| usable.local)
        };
        assert_eq!(usable(&interfaces), Some("fe80::1:2".parse().unwrap()));
        // One that another router owns is an address of this node.
        interfaces.addresses.pop();
        assert_eq!(usable(&interfaces), None);
        interfaces.addresses[1].is_permanent = true;
        assert_eq!(usable(&interfaces), Some(second));
    }
}
