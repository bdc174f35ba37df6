//! Frames that tell the neighbours of a link where an address is.
//!
//! ```text
//! unasked  IPv4  Ethernet to all | ARP request, sender and target the address (RFC 5227 §3)
//!          IPv6  Ethernet to 33:33:00:00:00:01 | IPv6 to ff02::1, hop limit 255
//!                | ICMPv6 neighbour advertisement, override, with the link address (RFC 4861 §7.2.6)
//! asked    IPv4  ARP request for the address -> ARP reply to whoever asked (RFC 826)
//!          IPv6  neighbour solicitation -> neighbour advertisement (RFC 4861 §7.2.4)
//! ```
//! The answers come from here and not from the kernel, so that a node whose process was killed says
//! nothing more, though its kernel has the address for some seconds yet.

use super::checksum::Sum;
use super::packet::VRRP_PROTOCOL;
use super::settings::Family;
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

/// The frame by which the holder of `mac` and `local` asks who has `address`, which is of the same
/// family.
#[must_use]
pub fn question(mac: Mac, local: IpAddr, address: IpAddr) -> Option<Vec<u8>> {
    match (local, address) {
        (IpAddr::V4(local), IpAddr::V4(address)) => {
            let mut out = ethernet([0xff; 6], mac, ARP);
            out.extend(ARP_REQUEST);
            out.extend(mac);
            out.extend(local.octets());
            out.extend([0; 6]);
            out.extend(address.octets());
            Some(out)
        }
        (IpAddr::V6(local), IpAddr::V6(address)) => {
            let group = solicited_node(address);
            let [.., a, b, c, d] = group.octets();
            let mut message = vec![NEIGHBOUR_SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
            message.extend(address.octets());
            message.extend([SOURCE_LINK_ADDRESS, 1]);
            message.extend(mac);
            Some(icmpv6(
                (mac, local),
                ([0x33, 0x33, a, b, c, d], group),
                message,
            ))
        }
        _ => None,
    }
}

/// The address for which `frame`, a frame of ARP, is an answer.
#[must_use]
pub fn answered_by_arp(frame: &[u8]) -> Option<IpAddr> {
    let arp = frame.get(ETHERNET..)?.first_chunk::<28>()?;
    let is_reply = frame[12..14] == ARP && arp[..8] == ARP_REPLY;
    is_reply.then(|| IpAddr::from([arp[14], arp[15], arp[16], arp[17]]))
}

/// The address for which `message` of ICMPv6 is an answer that was asked for.
#[must_use]
pub fn answered_by_advertisement(message: &[u8]) -> Option<IpAddr> {
    let header = message.first_chunk::<24>()?;
    let is_answer = header[..2] == [NEIGHBOUR_ADVERTISEMENT, 0] && header[4] & SOLICITED != 0;
    is_answer.then_some(IpAddr::from(*header[8..].first_chunk::<16>()?))
}

/// The frame that answers `request`, a frame of ARP, if that asks for an address of those that
/// `mac` holds.
#[must_use]
pub fn answer_arp(request: &[u8], mac: Mac, holds: impl Fn(IpAddr) -> bool) -> Option<Vec<u8>> {
    let arp = request.get(ETHERNET..)?.first_chunk::<28>()?;
    if request[12..14] != ARP || arp[..8] != ARP_REQUEST {
        return None;
    }
    let asks: Mac = *arp[8..].first_chunk()?;
    let [sender, target] = [
        [arp[14], arp[15], arp[16], arp[17]],
        [arp[24], arp[25], arp[26], arp[27]],
    ];
    // With both the same it is no question but an announcement.
    let is_asked = sender != target && holds(target.into()) && asks[0] & 1 == 0;
    is_asked.then(|| {
        let mut out = ethernet(asks, mac, ARP);
        out.extend(ARP_REPLY);
        out.extend(mac);
        out.extend(target);
        out.extend(asks);
        out.extend(sender);
        out
    })
}

/// The frame that answers `message`, a neighbour solicitation from `source`, if that asks for an
/// address of those that `mac` holds. The message has a right checksum, and came with a hop limit of
/// 255.
#[must_use]
pub fn answer_solicitation(
    message: &[u8],
    source: Ipv6Addr,
    mac: Mac,
    holds: impl Fn(IpAddr) -> bool,
) -> Option<Vec<u8>> {
    let (header, options) = message.split_first_chunk::<24>()?;
    if header[..2] != [NEIGHBOUR_SOLICITATION, 0] {
        return None;
    }
    let target = Ipv6Addr::from(*header[8..].first_chunk::<16>()?);
    if !holds(target.into()) {
        return None;
    }
    if source.is_unspecified() {
        // It asks whether anybody has the address, and has none itself that could be answered.
        return Some(neighbour_advertisement(mac, target));
    }
    let asks = source_link_address(options)?;
    let from = target;
    Some(advertisement(
        (mac, from),
        (asks, source),
        target,
        OVERRIDE | SOLICITED,
    ))
}

/// An IP packet of VRRP to the group of its family, in a frame from `mac`: what goes out with the
/// virtual MAC address (RFC 9568 §7.2).
#[must_use]
pub fn multicast(mac: Mac, source: IpAddr, payload: &[u8]) -> Vec<u8> {
    let group = Family::of(source).multicast();
    let len = u16::try_from(payload.len()).unwrap_or(u16::MAX);
    let mut out = match (source, group) {
        (IpAddr::V4(source), IpAddr::V4(group)) => {
            let mut out = ethernet([0x01, 0x00, 0x5e, 0, 0, 18], mac, [0x08, 0x00]);
            // Version and header length, the class of routing protocols, length, no fragment.
            let mut header = vec![0x45, 0xc0];
            header.extend((len.saturating_add(20)).to_be_bytes());
            header.extend([0, 0, 0x40, 0, 255, VRRP_PROTOCOL, 0, 0]);
            header.extend(source.octets());
            header.extend(group.octets());
            let mut sum = Sum::default();
            sum.add(&header);
            header[10..12].copy_from_slice(&sum.finish().to_be_bytes());
            out.extend(header);
            out
        }
        (IpAddr::V6(source), IpAddr::V6(group)) => {
            let mut out = ethernet([0x33, 0x33, 0, 0, 0, 0x12], mac, IPV6);
            out.extend([0x6c, 0, 0, 0]);
            out.extend(len.to_be_bytes());
            out.extend([VRRP_PROTOCOL, 255]);
            out.extend(source.octets());
            out.extend(group.octets());
            out
        }
        // The group is of the family of the source.
        _ => Vec::new(),
    };
    out.extend(payload);
    out
}

/// The group in which an address of IPv6 is asked for (RFC 4291 §2.7.1).
#[must_use]
pub const fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let last = address.octets();
    let low = u16::from_be_bytes([last[14], last[15]]);
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | last[13] as u16, low)
}

fn gratuitous_arp(mac: Mac, address: Ipv4Addr) -> Vec<u8> {
    let mut out = ethernet([0xff; 6], mac, ARP);
    out.extend(ARP_REQUEST);
    out.extend(mac);
    out.extend(address.octets());
    out.extend([0; 6]);
    out.extend(address.octets());
    out
}

fn neighbour_advertisement(mac: Mac, address: Ipv6Addr) -> Vec<u8> {
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let to = ([0x33, 0x33, 0, 0, 0, 1], all_nodes);
    advertisement((mac, address), to, address, OVERRIDE)
}

fn advertisement(
    from: (Mac, Ipv6Addr),
    to: (Mac, Ipv6Addr),
    address: Ipv6Addr,
    flags: u8,
) -> Vec<u8> {
    let mut message = vec![NEIGHBOUR_ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0];
    message.extend(address.octets());
    message.extend([TARGET_LINK_ADDRESS, 1]);
    message.extend(from.0);
    icmpv6(from, to, message)
}

/// A message of ICMPv6 whose checksum is zero yet, in its frame.
fn icmpv6(from: (Mac, Ipv6Addr), to: (Mac, Ipv6Addr), mut message: Vec<u8>) -> Vec<u8> {
    let mut sum = Sum::with_pseudo_header(from.1.into(), to.1.into(), ICMPV6, message.len());
    sum.add(&message);
    message[2..4].copy_from_slice(&sum.finish().to_be_bytes());

    let mut out = ethernet(to.0, from.0, IPV6);
    out.extend([0x60, 0, 0, 0]);
    out.extend(u16::try_from(message.len()).unwrap_or(0).to_be_bytes());
    out.extend([ICMPV6, 255]);
    out.extend(from.1.octets());
    out.extend(to.1.octets());
    out.extend(message);
    out
}

/// The link address that a solicitation says it comes from.
fn source_link_address(mut options: &[u8]) -> Option<Mac> {
    loop {
        let (&[kind, units], _) = options.split_first_chunk::<2>()?;
        let (option, rest) = options.split_at_checked(usize::from(units) * 8)?;
        match (kind, units) {
            // Without a length there is no end of it.
            (_, 0) => return None,
            (SOURCE_LINK_ADDRESS, 1) => {
                let mac: Mac = *option[2..].first_chunk()?;
                return (mac[0] & 1 == 0).then_some(mac);
            }
            _ => options = rest,
        }
    }
}

fn ethernet(to: Mac, from: Mac, kind: [u8; 2]) -> Vec<u8> {
    let mut out = to.to_vec();
    out.extend(from);
    out.extend(kind);
    out
}

/// Length of an Ethernet header.
const ETHERNET: usize = 14;
const ARP: [u8; 2] = [0x08, 0x06];
const IPV6: [u8; 2] = [0x86, 0xdd];
/// Ethernet, IPv4, lengths of both kinds of address, request.
const ARP_REQUEST: [u8; 8] = [0, 1, 0x08, 0x00, 6, 4, 0, 1];
const ARP_REPLY: [u8; 8] = [0, 1, 0x08, 0x00, 6, 4, 0, 2];
const ICMPV6: u8 = 58;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// Flag: an address that is known already is replaced.
const OVERRIDE: u8 = 0x20;
/// Flag: it answers a question.
const SOLICITED: u8 = 0x40;
const SOURCE_LINK_ADDRESS: u8 = 1;
const TARGET_LINK_ADDRESS: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_frame_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            let source = Ipv6Addr::LOCALHOST;
            let _ = answer_arp(&bytes, MAC, |_| true);
            let _ = answered_by_arp(&bytes);
            let _ = answered_by_advertisement(&bytes);
            let mut message = vec![135, 0];
            message.extend(bytes);
            let _ = answer_solicitation(&message, source, MAC, |_| true);
        }
    }

    const MAC: Mac = [2, 0, 0, 0, 0, 7];

    #[test]
    fn an_arp_announcement_names_the_address_as_sender_and_target() {
        let out = frame(MAC, "192.0.2.10".parse().unwrap());
        assert_eq!(out.len(), 42);
        assert_eq!(out[28..32], [192, 0, 2, 10]);
        assert_eq!(out[38..42], [192, 0, 2, 10]);
        assert_eq!(out[22..28], MAC);
    }

    /// The ARP request of 10.0.0.7 for `target`.
    fn request(target: [u8; 4]) -> Vec<u8> {
        let mut out = vec![0xff; 6];
        out.extend(ASKS);
        out.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
        out.extend(ASKS);
        out.extend([10, 0, 0, 7]);
        out.extend([0; 6]);
        out.extend(target);
        out
    }

    /// The solicitation for `target` with the link address of who asks.
    fn solicitation(target: Ipv6Addr) -> Vec<u8> {
        let mut out = vec![135, 0, 0, 0, 0, 0, 0, 0];
        out.extend(target.octets());
        out.extend([14, 1, 1, 2, 3, 4, 5, 6, 1, 1]);
        out.extend(ASKS);
        out
    }

    const ASKS: Mac = [6, 0, 0, 0, 0, 9];

    #[test]
    fn who_asks_for_an_address_that_is_here_gets_the_link_address() {
        let held = IpAddr::from([10, 0, 0, 100]);
        let answer = answer_arp(&request([10, 0, 0, 100]), MAC, |a| a == held).unwrap();
        assert_eq!(answer[..6], ASKS);
        assert_eq!(answer[6..12], MAC);
        assert_eq!(answer[20..22], [0, 2]);
        assert_eq!(answer[22..28], MAC);
        assert_eq!(answer[28..32], [10, 0, 0, 100]);
        assert_eq!(answer[32..38], ASKS);
        assert_eq!(answer[38..], [10, 0, 0, 7]);
    }

    #[test]
    fn who_asks_for_another_address_or_announces_or_answers_gets_nothing() {
        let held = |address| address == IpAddr::from([10, 0, 0, 100]);
        assert_eq!(answer_arp(&request([10, 0, 0, 1]), MAC, held), None);
        let announcement = frame(ASKS, [10, 0, 0, 100].into());
        assert_eq!(answer_arp(&announcement, MAC, held), None);
        let mut reply = request([10, 0, 0, 100]);
        reply[21] = 2;
        assert_eq!(answer_arp(&reply, MAC, held), None);
        let whole = request([10, 0, 0, 100]);
        for cut in 0..whole.len() {
            assert_eq!(answer_arp(&whole[..cut], MAC, held), None);
        }
        let mut to_all = whole;
        to_all[22] = 0xff;
        assert_eq!(answer_arp(&to_all, MAC, held), None);
    }

    #[test]
    fn a_solicitation_is_answered_to_who_asked_or_to_all_if_that_has_no_address() {
        let target: Ipv6Addr = "2001:db8::10".parse().unwrap();
        let source: Ipv6Addr = "fe80::7".parse().unwrap();
        let held = |address| address == IpAddr::from(target);
        let asked = solicitation(target);
        let answer = answer_solicitation(&asked, source, MAC, held).unwrap();
        assert_eq!(answer[..6], ASKS);
        assert_eq!(answer[54..56], [136, 0]);
        assert_eq!(answer[58], OVERRIDE | SOLICITED);
        let mut sum = Sum::with_pseudo_header(target.into(), source.into(), ICMPV6, 32);
        sum.add(&answer[54..]);
        assert_eq!(sum.finish(), 0);

        let to_all = answer_solicitation(&asked, Ipv6Addr::UNSPECIFIED, MAC, held);
        assert_eq!(to_all, Some(frame(MAC, target.into())));
        let other = solicitation("2001:db8::11".parse().unwrap());
        assert_eq!(answer_solicitation(&other, source, MAC, held), None);
        for cut in 0..asked.len() {
            assert_eq!(answer_solicitation(&asked[..cut], source, MAC, held), None);
        }
        let mut endless = asked;
        endless[25] = 0;
        assert_eq!(answer_solicitation(&endless, source, MAC, held), None);
    }

    #[test]
    fn a_question_is_answered_by_who_holds_the_address_and_the_answer_is_known_as_one() {
        let pairs = [("10.0.0.7", "10.0.0.100"), ("fe80::7", "2001:db8::10")];
        for (local, address) in pairs.map(|(l, a)| (l.parse().unwrap(), a.parse().unwrap())) {
            let asked = question(ASKS, local, address).unwrap();
            let answered = match local {
                IpAddr::V4(_) => {
                    let answer = answer_arp(&asked, MAC, |a| a == address).unwrap();
                    assert_eq!(answered_by_arp(&asked), None);
                    answered_by_arp(&answer)
                }
                IpAddr::V6(source) => {
                    let answer = answer_solicitation(&asked[54..], source, MAC, |a| a == address);
                    assert_eq!(answered_by_advertisement(&asked[54..]), None);
                    answered_by_advertisement(&answer.unwrap()[54..])
                }
            };
            assert_eq!(answered, Some(address));
            let announcement = frame(MAC, address);
            assert_eq!(answered_by_arp(&announcement), None);
            assert_eq!(answered_by_advertisement(&announcement[14..]), None);
        }
    }

    #[test]
    fn an_advert_in_a_frame_has_a_header_that_sums_up() {
        let v4 = multicast(MAC, [10, 0, 0, 2].into(), &[7; 12]);
        assert_eq!(v4[..6], [0x01, 0x00, 0x5e, 0, 0, 18]);
        let mut sum = Sum::default();
        sum.add(&v4[14..34]);
        assert_eq!(sum.finish(), 0);
        assert_eq!(v4[16..18], [0, 32]);
        assert_eq!(v4[22..24], [255, 112]);
        let source: Ipv6Addr = "fe80::2".parse().unwrap();
        let v6 = multicast(MAC, source.into(), &[7; 12]);
        assert_eq!(v6[12..14], IPV6);
        assert_eq!(v6[18..22], [0, 12, 112, 255]);
        assert_eq!(v6.len(), 14 + 40 + 12);
    }

    #[test]
    fn the_group_of_an_address_ends_with_its_last_three_bytes() {
        let address = "2001:db8::a:b1c2:d3e4".parse().unwrap();
        let group: Ipv6Addr = "ff02::1:ffc2:d3e4".parse().unwrap();
        assert_eq!(solicited_node(address), group);
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
