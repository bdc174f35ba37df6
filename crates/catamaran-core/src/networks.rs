//! Values by network: the longest network that holds an address decides.
//!
//! One hash table of all networks, asked once for each length of prefix that occurs, the longest
//! first. Lists of addresses in the wild have few lengths (of 100,000 blocked networks most are /32
//! and /24), so that a look-up is a few hashes whatever the number of networks, and adding or
//! removing one moves no other.

use crate::model::IpNet;
use foldhash::fast::FixedState;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

/// Values by network.
#[derive(Clone, Debug)]
pub struct Networks<V> {
    entries: HashMap<(u128, u8), V, FixedState>,
    v4: Lengths,
    v6: Lengths,
}

/// The lengths of prefix that occur, the longest first, each with the number of its networks.
#[derive(Clone, Debug, Default)]
struct Lengths(Vec<(u8, u32)>);

impl<V> Networks<V> {
    /// How many networks there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds a network; returns the value that it had before.
    pub fn insert(&mut self, network: IpNet, value: V) -> Option<V> {
        let before = self.entries.insert(key(network), value);
        if before.is_none() {
            self.lengths(network).add(mapped(network));
        }
        before
    }

    /// Removes a network, not those within it; returns its value.
    pub fn remove(&mut self, network: IpNet) -> Option<V> {
        let before = self.entries.remove(&key(network));
        if before.is_some() {
            self.lengths(network).remove(mapped(network));
        }
        before
    }

    /// The value of exactly this network.
    #[must_use]
    pub fn get(&self, network: IpNet) -> Option<&V> {
        self.entries.get(&key(network))
    }

    /// The value of the longest network that holds `ip`, with the length of its prefix. An
    /// IPv4-mapped IPv6 address is taken as IPv4.
    #[must_use]
    pub fn find(&self, ip: IpAddr) -> Option<(u8, &V)> {
        let (bits, lengths, base) = match ip.to_canonical() {
            IpAddr::V4(ip) => (ip.to_ipv6_mapped().to_bits(), &self.v4, V4_BASE),
            IpAddr::V6(ip) => (ip.to_bits(), &self.v6, 0),
        };
        lengths.0.iter().find_map(|&(length, _)| {
            let value = self.entries.get(&(masked(bits, length), length))?;
            Some((length - base, value))
        })
    }

    /// Whether a network holds `ip`.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.find(ip).is_some()
    }

    /// The networks and their values, in no order.
    pub fn entries(&self) -> impl Iterator<Item = (IpNet, &V)> {
        let entries = self.entries.iter();
        entries.map(|(&(bits, length), value)| (network(bits, length), value))
    }

    const fn lengths(&mut self, network: IpNet) -> &mut Lengths {
        if network.is_ipv4() {
            &mut self.v4
        } else {
            &mut self.v6
        }
    }
}

impl<V> Default for Networks<V> {
    fn default() -> Self {
        Self {
            entries: HashMap::default(),
            v4: Lengths::default(),
            v6: Lengths::default(),
        }
    }
}

impl<V> FromIterator<(IpNet, V)> for Networks<V> {
    fn from_iter<I: IntoIterator<Item = (IpNet, V)>>(networks: I) -> Self {
        let mut all = Self::default();
        for (network, value) in networks {
            all.insert(network, value);
        }
        all
    }
}

impl Lengths {
    fn add(&mut self, length: u8) {
        match self.place(length) {
            Ok(at) => self.0[at].1 += 1,
            Err(at) => self.0.insert(at, (length, 1)),
        }
    }

    fn remove(&mut self, length: u8) {
        if let Ok(at) = self.place(length) {
            self.0[at].1 -= 1;
            if self.0[at].1 == 0 {
                self.0.remove(at);
            }
        }
    }

    fn place(&self, length: u8) -> Result<usize, usize> {
        self.0.binary_search_by(|&(known, _)| length.cmp(&known))
    }
}

/// The network that [`key`] was made of.
fn network(bits: u128, length: u8) -> IpNet {
    let ip = IpAddr::from(Ipv6Addr::from_bits(bits));
    match length.checked_sub(V4_BASE) {
        Some(prefix) if ip.to_canonical().is_ipv4() => IpNet::new(ip.to_canonical(), prefix),
        _ => IpNet::new(ip, length),
    }
}

/// Bits before the 32 of an IPv4 address in its mapped form (RFC 4291 §2.5.5.2).
const V4_BASE: u8 = 96;

/// The length of the prefix, IPv4 in its mapped form.
const fn mapped(network: IpNet) -> u8 {
    if network.is_ipv4() {
        network.prefix() + V4_BASE
    } else {
        network.prefix()
    }
}

fn key(network: IpNet) -> (u128, u8) {
    let bits = match network.first() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
    };
    (bits, mapped(network))
}

const fn masked(bits: u128, length: u8) -> u128 {
    match u128::MAX.checked_shl(128 - length as u32) {
        Some(mask) => bits & mask,
        None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_longest_network_decides() {
        let mut all = Networks::default();
        all.insert(net("0.0.0.0/0"), "any");
        all.insert(net("10.0.0.0/8"), "ten");
        all.insert(net("10.1.0.0/16"), "ten-one");
        all.insert(net("2001:db8::/32"), "six");
        assert_eq!(all.find(ip("10.1.2.3")), Some((16, &"ten-one")));
        assert_eq!(all.find(ip("::ffff:10.2.2.3")), Some((8, &"ten")));
        assert_eq!(all.find(ip("11.0.0.1")), Some((0, &"any")));
        assert_eq!(all.find(ip("2001:db8::1")), Some((32, &"six")));
        assert_eq!(all.find(ip("2001:db9::1")), None);
        all.remove(net("10.1.9.9/16"));
        assert_eq!(all.find(ip("10.1.2.3")), Some((8, &"ten")));
        assert_eq!(all.len(), 3);
    }

    #[test]
    fn no_network_of_one_family_holds_addresses_of_the_other() {
        let mut all = Networks::default();
        all.insert(net("::/0"), ());
        assert!(!all.contains(ip("10.0.0.1")));
        all.remove(net("::/0"));
        all.insert(net("0.0.0.0/0"), ());
        assert!(!all.contains(ip("::1")) && all.contains(ip("10.0.0.1")));
    }

    proptest! {
        #[test]
        fn the_same_is_found_as_by_looking_at_every_network(
            networks in prop::collection::vec((any::<u32>(), 0_u8..=32), 0..40),
            removed in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
            asked in any::<u32>(),
        ) {
            let net = |(bits, prefix): &(u32, u8)| -> IpNet {
                // Few distinct networks, so that some hold others.
                let ip = std::net::Ipv4Addr::from_bits(bits & 0xc000_8001);
                format!("{ip}/{prefix}").parse().unwrap()
            };
            let asked = IpAddr::from(std::net::Ipv4Addr::from_bits(asked & 0xc000_8001));
            let mut all = Networks::default();
            let mut model: Vec<IpNet> = Vec::new();
            for network in &networks {
                all.insert(net(network), ());
                model.push(net(network).canonical());
            }
            for index in removed.iter().filter(|_| !networks.is_empty()) {
                let gone = net(&networks[index.index(networks.len())]);
                all.remove(gone);
                model.retain(|known| *known != gone.canonical());
            }
            let expected = model.iter().filter(|known| known.contains(asked)).map(IpNet::prefix);
            prop_assert_eq!(all.find(asked).map(|(length, ())| length), expected.max());
        }
    }
}
