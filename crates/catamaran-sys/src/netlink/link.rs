//! Interfaces, and those that carry a virtual MAC address.

use super::message::{attributes, put, put_nested, u32_at};
use super::{IFINFOMSG, Netlink};
use std::io;

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
    /// What kind of virtual interface it is, such as `macvlan`; empty for others.
    pub kind: String,
    /// How it answers for IPv4 addresses, if it knows IPv4.
    pub arp: Option<ArpConfig>,
}

/// How an interface answers for IPv4 addresses (`arp_ignore` and `arp_announce` of
/// `net.ipv4.conf`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArpConfig {
    /// For which addresses the kernel answers; 0 for all of this host, 3 for all but those with the
    /// scope of this host.
    pub ignore: u32,
    /// Which address its own requests come from; 0 for that of the packet, 2 for one of the
    /// interface.
    pub announce: u32,
}

impl Netlink {
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

    /// Makes an interface that receives what is sent to `mac` over the interface with index
    /// `parent`. It is down, and gets no address by itself.
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN, or when there is an interface of that name.
    pub fn add_macvlan(&mut self, name: &str, parent: u32, mac: [u8; 6]) -> io::Result<u32> {
        let mut body = vec![0; IFINFOMSG];
        put(&mut body, libc::IFLA_LINK, &parent.to_ne_bytes());
        put_name(&mut body, name);
        put(&mut body, libc::IFLA_ADDRESS, &mac);
        put_nested(&mut body, libc::IFLA_LINKINFO, |info| {
            put(info, libc::IFLA_INFO_KIND, b"macvlan");
            put_nested(info, libc::IFLA_INFO_DATA, |data| {
                put(data, IFLA_MACVLAN_MODE, &MODE_BRIDGE.to_ne_bytes());
            });
        });
        let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
        self.request(libc::RTM_NEWLINK, flags, &body)?;
        let links = self.links()?;
        let made = links.iter().find(|link| link.name == name);
        let index = made.ok_or(io::ErrorKind::NotFound)?.index;
        // What is received is judged by the address alone, whatever the way back would be.
        self.set_v4(index, &[(RP_FILTER, 2)])?;
        let mut body = link_header(index, 0, 0);
        put_nested(&mut body, libc::IFLA_AF_SPEC, |families| {
            put_nested(families, AF_INET6, |v6| {
                put(v6, IFLA_INET6_ADDR_GEN_MODE, &[ADDR_GEN_MODE_NONE]);
            });
        });
        // Without IPv6 there is nothing to be turned off.
        let _ = self.request(libc::RTM_SETLINK, 0, &body);
        Ok(index)
    }

    /// Sets the interface up, so that it answers no ARP, or down.
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN, or when there is no such interface.
    pub fn set_up(&mut self, interface: u32, is_up: bool) -> io::Result<()> {
        let [up, no_arp] = [libc::IFF_UP, libc::IFF_NOARP].map(|f| u32::try_from(f).unwrap_or(0));
        let flags = if is_up { up | no_arp } else { no_arp };
        let body = link_header(interface, flags, up | no_arp);
        self.request(libc::RTM_SETLINK, 0, &body)
    }

    /// Removes the interface.
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN, or when there is no such interface.
    pub fn remove_link(&mut self, interface: u32) -> io::Result<()> {
        self.request(libc::RTM_DELLINK, 0, &link_header(interface, 0, 0))
    }

    /// Says how the interface is to answer for IPv4 addresses.
    ///
    /// # Errors
    /// Without CAP_NET_ADMIN, or when there is no such interface.
    pub fn set_arp(&mut self, interface: u32, arp: ArpConfig) -> io::Result<()> {
        self.set_v4(
            interface,
            &[(ARP_IGNORE, arp.ignore), (ARP_ANNOUNCE, arp.announce)],
        )
    }

    /// Sets values of `net.ipv4.conf` by their ids.
    fn set_v4(&mut self, interface: u32, values: &[(u16, u32)]) -> io::Result<()> {
        let mut body = link_header(interface, 0, 0);
        put_nested(&mut body, libc::IFLA_AF_SPEC, |families| {
            put_nested(families, AF_INET, |v4| {
                put_nested(v4, IFLA_INET_CONF, |conf| {
                    for (id, value) in values {
                        put(conf, *id, &value.to_ne_bytes());
                    }
                });
            });
        });
        self.request(libc::RTM_SETLINK, 0, &body)
    }
}

/// ifinfomsg: family u8, padding, type u16, index i32, flags u32, change u32.
pub(super) fn read_link(body: &[u8]) -> Option<Link> {
    let (header, rest) = body.split_at_checked(IFINFOMSG)?;
    let flags = u32_at(header, 8)?;
    let wanted = u32::try_from(libc::IFF_UP | libc::IFF_RUNNING).unwrap_or_default();
    let mut link = Link {
        index: u32_at(header, 4)?,
        name: String::new(),
        is_running: flags & wanted == wanted,
        mac: None,
        kind: String::new(),
        arp: None,
    };
    for (kind, data) in attributes(rest) {
        match kind {
            libc::IFLA_IFNAME => link.name = text(data),
            libc::IFLA_ADDRESS => link.mac = <[u8; 6]>::try_from(data).ok(),
            libc::IFLA_LINKINFO => {
                let kind = attributes(data).find(|(kind, _)| *kind == libc::IFLA_INFO_KIND);
                link.kind = kind.map_or_else(String::new, |(_, data)| text(data));
            }
            libc::IFLA_AF_SPEC => link.arp = read_arp(data),
            _ => {}
        }
    }
    Some(link)
}

/// The attribute of IPv4 holds an array, in which the value of an id stands one place before it.
fn read_arp(families: &[u8]) -> Option<ArpConfig> {
    let is_v4 = |(family, _): &(u16, &[u8])| i32::from(*family) == libc::AF_INET;
    let (_, v4) = attributes(families).find(is_v4)?;
    let (_, values) = attributes(v4).find(|(kind, _)| *kind == IFLA_INET_CONF)?;
    let value = |id: u16| u32_at(values, (usize::from(id) - 1) * 4);
    Some(ArpConfig {
        ignore: value(ARP_IGNORE)?,
        announce: value(ARP_ANNOUNCE)?,
    })
}

fn text(data: &[u8]) -> String {
    let text = data.split(|&byte| byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// An ifinfomsg that sets the flags in `change` to those in `flags`.
fn link_header(interface: u32, flags: u32, change: u32) -> Vec<u8> {
    let mut body = vec![0; 4];
    for word in [interface, flags, change] {
        body.extend(word.to_ne_bytes());
    }
    body
}

fn put_name(body: &mut Vec<u8>, name: &str) {
    let mut bytes = name.as_bytes().to_vec();
    bytes.push(0);
    put(body, libc::IFLA_IFNAME, &bytes);
}

/// linux/if_link.h.
const IFLA_MACVLAN_MODE: u16 = 1;
/// Frames of another node with the same virtual MAC address reach the parent: in the other modes
/// two active nodes would not hear each other.
const MODE_BRIDGE: u32 = 4;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const ADDR_GEN_MODE_NONE: u8 = 1;
const IFLA_INET_CONF: u16 = 1;
/// Families as types of attributes.
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// linux/ip.h: IPV4_DEVCONF_….
const RP_FILTER: u16 = 8;
const ARP_ANNOUNCE: u16 = 18;
const ARP_IGNORE: u16 = 19;
