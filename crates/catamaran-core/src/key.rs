//! Keys of tables that count or bind clients: sixteen bytes, whatever they were made of.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroUsize;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// What a table knows a client by: an address as it is, or the XXH3-128 of anything else.
///
/// 128 bits of hash stand for the value itself: with ten million keys in a table the chance that
/// any two agree is below 10⁻²⁴. The hash has no secret, so a client that searches for it might
/// share the fate of another key it knows; it gains no more than by sending that key. The same
/// value has the same key on every node and after every restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key([u8; 16]);

impl Key {
    /// The key of one address. An IPv4-mapped IPv6 address is the IPv4 address.
    #[must_use]
    pub const fn of_address(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self(ip.to_ipv6_mapped().octets()),
            IpAddr::V6(ip) => Self(ip.octets()),
        }
    }

    /// The key of a client that may choose its address freely within its network: an IPv4 address,
    /// or the /64 of an IPv6 address, the least that a site is given (RFC 6177 §2).
    #[must_use]
    pub const fn of_network(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self(ip.to_ipv6_mapped().octets()),
            IpAddr::V6(ip) => Self((ip.to_bits() >> 64 << 64).to_be_bytes()),
        }
    }

    /// The key of a header's or cookie's value.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Self {
        Self(xxh3_128(bytes).to_be_bytes())
    }

    /// The address that this key was made of; of any other key, nothing that means something.
    #[must_use]
    pub const fn as_address(self) -> IpAddr {
        IpAddr::V6(Ipv6Addr::from_bits(u128::from_be_bytes(self.0))).to_canonical()
    }

    /// The key as it is.
    #[must_use]
    pub const fn as_bits(self) -> u128 {
        u128::from_be_bytes(self.0)
    }

    /// What [`Self::as_bits`] told.
    #[must_use]
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits.to_be_bytes())
    }

    /// Which of `shards` holds this key.
    #[must_use]
    pub fn shard(self, shards: NonZeroUsize) -> usize {
        // The upper half of a product spreads over any number of shards without a division.
        let wide = u128::from(xxh3_64(&self.0)) * shards.get() as u128;
        usize::try_from(wide >> 64).expect("the product's upper half is below `shards`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_ipv4_address_has_one_key_whichever_socket_it_came_by() {
        let plain = Key::of_address(ip("192.0.2.1"));
        assert_eq!(plain, Key::of_address(ip("::ffff:192.0.2.1")));
        assert_eq!(plain, Key::of_network(ip("::ffff:192.0.2.1")));
        assert_ne!(plain, Key::of_address(ip("192.0.2.2")));
    }

    #[test]
    fn ipv6_addresses_of_one_64_are_one_network_but_two_addresses() {
        let (a, b) = (ip("2001:db8::1"), ip("2001:db8::2"));
        assert_eq!(Key::of_network(a), Key::of_network(b));
        assert_ne!(Key::of_address(a), Key::of_address(b));
        assert_ne!(Key::of_network(a), Key::of_network(ip("2001:db8:0:1::1")));
    }

    #[test]
    fn every_shard_gets_its_part_of_neighbouring_addresses() {
        let shards = NonZeroUsize::new(7).unwrap();
        let mut seen = [0; 7];
        for host in 0..=255u8 {
            seen[Key::of_address(IpAddr::from([10, 0, 0, host])).shard(shards)] += 1;
        }
        assert!(
            seen.iter().all(|count| (15..60).contains(count)),
            "{seen:?}"
        );
    }
}
