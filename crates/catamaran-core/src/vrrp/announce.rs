//! Frames that tell the neighbours of a link where an address is now.
//!
//! ```text
//! IPv4  Ethernet to all | ARP request, sender and target the address (RFC 5227 §3)
//! IPv6  Ethernet to 33:33:00:00:00:01 | IPv6 to ff02::1, hop limit 255
//!       | ICMPv6 neighbour advertisement, unsolicited, override, with the link address (RFC 4861 §7.2.6)
//! ```

use super::checksum::Sum;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A link address.
pub type Mac = [u8; 6];

/// The frame by which the holder of `mac` claims `address`.
#[must_use]
pub fn frame(mac: Mac, address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => gratuitous_arp(mac, address),
        IpAddr::V6(address) => neighbour_advertisement(mac, address),
    }
}

fn gratuitous_arp(mac: Mac, address: Ipv4Addr) -> Vec<u8> {
    let mut out = ethernet([0xff; 6], mac, 0x0806);
    // Ethernet, IPv4, lengths of both kinds of address, request.
    out.extend([0, 1, 0x08, 0x00, 6, 4, 0, 1]);
    out.extend(mac);
    out.extend(address.octets());
    out.extend([0; 6]);
    out.extend(address.octets());
    out
}

fn neighbour_advertisement(mac: Mac, address: Ipv6Addr) -> Vec<u8> {
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let mut message = vec![NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, OVERRIDE, 0, 0, 0];
    message.extend(address.octets());
    message.extend([TARGET_LINK_ADDRESS, 1]);
    message.extend(mac);
    let mut sum = Sum::with_pseudo_header(address.into(), all_nodes.into(), ICMPV6, message.len());
    sum.add(&message);
    message[2..4].copy_from_slice(&sum.finish().to_be_bytes());

    let mut out = ethernet([0x33, 0x33, 0, 0, 0, 1], mac, 0x86dd);
    out.extend([0x60, 0, 0, 0]);
    out.extend(u16::try_from(message.len()).unwrap_or(0).to_be_bytes());
    out.extend([ICMPV6, 255]);
    out.extend(address.octets());
    out.extend(all_nodes.octets());
    out.extend(message);
    out
}

fn ethernet(to: Mac, from: Mac, kind: u16) -> Vec<u8> {
    let mut out = to.to_vec();
    out.extend(from);
    out.extend(kind.to_be_bytes());
    out
}

const ICMPV6: u8 = 58;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// Flag: an address that is known already is replaced.
const OVERRIDE: u8 = 0x20;
const TARGET_LINK_ADDRESS: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = [2, 0, 0, 0, 0, 7];

    #[test]
    fn an_arp_announcement_names_the_address_as_sender_and_target() {
        let out = frame(MAC, "192.0.2.10".parse().unwrap());
        assert_eq!(out.len(), 42);
        assert_eq!(out[28..32], [192, 0, 2, 10]);
        assert_eq!(out[38..42], [192, 0, 2, 10]);
        assert_eq!(out[22..28], MAC);
    }

    #[test]
    fn a_neighbour_advertisement_sums_up_and_carries_the_link_address() {
        let address: Ipv6Addr = "2001:db8::10".parse().unwrap();
        let out = frame(MAC, address.into());
        assert_eq!(out.len(), 86);
        assert_eq!(out[80..], MAC);
        let message = &out[54..];
        let all_nodes = IpAddr::from("ff02::1".parse::<Ipv6Addr>().unwrap());
        let mut sum = Sum::with_pseudo_header(address.into(), all_nodes, ICMPV6, message.len());
        sum.add(message);
        assert_eq!(sum.finish(), 0);
    }
}
