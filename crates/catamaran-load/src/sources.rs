//! Addresses of this machine that requests come from: the option `localIPs`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses, ranges of them and networks, in the order in which they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    blocks: Vec<Block>,
}

/// Addresses without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Block {
    first: u128,
    last: u128,
    is_v4: bool,
}

impl Sources {
    /// Reads `10.0.0.1`, `10.0.0.1-10.0.0.9` and `10.0.0.0/28`, with commas between them. As in k6, the first
    /// and the last address of a network of IPv4 are none of it, if it has more than two.
    ///
    /// # Errors
    /// What of it is no such thing.
    pub fn read(text: &str) -> Result<Self, String> {
        let blocks = text.split(',').map(|part| {
            let part = part.trim();
            Block::read(part).ok_or_else(|| {
                format!(
                    "`{part}` is no address (10.0.0.1), range (10.0.0.1-10.0.0.9) or network (10.0.0.0/28)"
                )
            })
        });
        Ok(Self {
            blocks: blocks.collect::<Result<_, _>>()?,
        })
    }

    /// The address of the virtual user of this number; beyond the last it begins again.
    #[must_use]
    pub fn nth(&self, index: u64) -> Option<IpAddr> {
        let more = |sum: u128, block: &Block| sum.saturating_add(block.count());
        let count = self.blocks.iter().fold(0, more);
        let mut left = u128::from(index) % count.max(1);
        for block in &self.blocks {
            if left < block.count() {
                return Some(block.nth(left));
            }
            left -= block.count();
        }
        None
    }
}

impl Block {
    fn read(text: &str) -> Option<Self> {
        if let Some((first, last)) = text.split_once('-') {
            return Self::between(first.trim().parse().ok()?, last.trim().parse().ok()?);
        }
        let Some((address, bits)) = text.split_once('/') else {
            let address = text.parse().ok()?;
            return Self::between(address, address);
        };
        let (address, bits): (IpAddr, u32) = (address.parse().ok()?, bits.parse().ok()?);
        let width: u32 = if address.is_ipv4() { 32 } else { 128 };
        let rest = width.checked_sub(bits)?;
        let mut block = Self::between(address, address)?;
        let mask = 1_u128.checked_shl(rest).map_or(u128::MAX, |one| one - 1);
        (block.first, block.last) = (block.first & !mask, block.last | mask);
        if block.is_v4 && rest > 1 {
            (block.first, block.last) = (block.first + 1, block.last - 1);
        }
        Some(block)
    }

    fn between(first: IpAddr, last: IpAddr) -> Option<Self> {
        let (first, last, is_v4) = match (first, last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                (first.to_bits().into(), last.to_bits().into(), true)
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => (first.to_bits(), last.to_bits(), false),
            _ => return None,
        };
        (first <= last).then_some(Self { first, last, is_v4 })
    }

    fn count(self) -> u128 {
        (self.last - self.first).saturating_add(1)
    }

    fn nth(self, index: u128) -> IpAddr {
        let bits = self.first + index;
        match u32::try_from(bits) {
            Ok(bits) if self.is_v4 => Ipv4Addr::from_bits(bits).into(),
            _ => Ipv6Addr::from_bits(bits).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(text: &str, count: u64) -> Vec<String> {
        let sources = Sources::read(text).unwrap();
        (0..count)
            .map(|n| sources.nth(n).unwrap().to_string())
            .collect()
    }

    #[test]
    fn virtual_users_get_addresses_by_turns() {
        assert_eq!(first("127.0.0.9", 2), ["127.0.0.9", "127.0.0.9"]);
        let range = first("127.0.0.1-127.0.0.2, 10.0.0.7", 4);
        assert_eq!(range, ["127.0.0.1", "127.0.0.2", "10.0.0.7", "127.0.0.1"]);
        assert_eq!(first("::1-::2", 3), ["::1", "::2", "::1"]);
    }

    #[test]
    fn a_network_is_without_its_own_address_and_that_of_all() {
        assert_eq!(
            first("10.0.0.5/30", 3),
            ["10.0.0.5", "10.0.0.6", "10.0.0.5"]
        );
        assert_eq!(
            first("10.0.0.4/31", 3),
            ["10.0.0.4", "10.0.0.5", "10.0.0.4"]
        );
        assert_eq!(first("fd00::/127", 3), ["fd00::", "fd00::1", "fd00::"]);
        assert_eq!(first("::/0", 2), ["::", "::1"]);
        assert_eq!(first("0.0.0.0/0", 1), ["0.0.0.1"]);
    }

    #[test]
    fn what_is_no_address_is_named() {
        for text in [
            "",
            "here",
            "10.0.0.0/33",
            "10.0.0.2-10.0.0.1",
            "10.0.0.1-::1",
            "10.0.0.1,",
            "::/129",
        ] {
            let why = Sources::read(text).unwrap_err();
            assert!(why.contains("10.0.0.0/28"), "{text}: {why}");
        }
    }
}
