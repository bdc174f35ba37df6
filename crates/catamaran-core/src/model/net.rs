//! Networks in CIDR notation.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An IP network: `10.0.0.0/8`, `2001:db8::/32`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IpNet {
    address: IpAddr,
    prefix: u8,
}

/// Why a text is no [`IpNet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IpNetError {
    /// The part before the slash is no address.
    #[error("not an IP address")]
    Address,
    /// The part after the slash is no number, or longer than the address.
    #[error("prefix length must be 0 to 32 for IPv4 and 0 to 128 for IPv6")]
    Prefix,
}

impl IpNet {
    /// The network of `prefix` bits around `address`; a prefix that is too long is the longest.
    pub(crate) fn new(address: IpAddr, prefix: u8) -> Self {
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.min(longest);
        Self { address, prefix }.canonical()
    }

    /// Length of the prefix: 0 to 32 for IPv4, 0 to 128 for IPv6.
    #[must_use]
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether it is a network of IPv4.
    #[must_use]
    pub const fn is_ipv4(&self) -> bool {
        self.address.is_ipv4()
    }

    /// The first address: the one written, without what lies behind the prefix.
    #[must_use]
    pub fn first(&self) -> IpAddr {
        let prefix = u32::from(self.prefix);
        match self.address {
            IpAddr::V4(ip) => {
                let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
                Ipv4Addr::from_bits(ip.to_bits() & mask).into()
            }
            IpAddr::V6(ip) => {
                let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
                Ipv6Addr::from_bits(ip.to_bits() & mask).into()
            }
        }
    }

    /// The same network written by its first address, so that networks that hold the same are
    /// equal.
    #[must_use]
    pub fn canonical(&self) -> Self {
        Self {
            address: self.first(),
            prefix: self.prefix,
        }
    }

    /// Whether `ip` lies in this network. An IPv4-mapped IPv6 address is taken as IPv4.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.address, ip.to_canonical()) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let differing = net.to_bits() ^ ip.to_bits();
                differing.leading_zeros() >= u32::from(self.prefix)
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let differing = net.to_bits() ^ ip.to_bits();
                differing.leading_zeros() >= u32::from(self.prefix)
            }
            _ => false,
        }
    }
}

impl fmt::Display for IpNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.first();
        let longest = if first.is_ipv4() { 32 } else { 128 };
        if self.prefix == longest {
            write!(f, "{first}")
        } else {
            write!(f, "{first}/{}", self.prefix)
        }
    }
}

impl FromStr for IpNet {
    type Err = IpNetError;

    fn from_str(text: &str) -> Result<Self, IpNetError> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| IpNetError::Address)?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            Some(prefix) => prefix.parse().map_err(|_| IpNetError::Prefix)?,
            None => longest,
        };
        if prefix > longest {
            return Err(IpNetError::Prefix);
        }
        Ok(Self { address, prefix })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_holds_its_own_addresses_and_no_others() {
        assert!(net("10.0.0.0/8").contains("10.255.0.1".parse().unwrap()));
        assert!(!net("10.0.0.0/8").contains("11.0.0.1".parse().unwrap()));
        assert!(net("0.0.0.0/0").contains("1.2.3.4".parse().unwrap()));
        assert!(!net("0.0.0.0/0").contains("::1".parse().unwrap()));
        assert!(net("2001:db8::/32").contains("2001:db8::5".parse().unwrap()));
        assert!(net("127.0.0.1").contains("::ffff:127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn a_network_is_written_by_its_first_address() {
        for (text, shown) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3"),
            ("1.2.3.4/0", "0.0.0.0/0"),
            ("2001:db8::5/32", "2001:db8::/32"),
            ("::1", "::1"),
            ("fe80::1/0", "::/0"),
        ] {
            assert_eq!(net(text).to_string(), shown);
            assert_eq!(net(text).canonical(), net(shown));
        }
    }

    #[test]
    fn what_is_no_network_is_refused_with_its_cause() {
        assert_eq!("ten/8".parse::<IpNet>(), Err(IpNetError::Address));
        assert_eq!("10.0.0.0/33".parse::<IpNet>(), Err(IpNetError::Prefix));
        assert_eq!("10.0.0.0/".parse::<IpNet>(), Err(IpNetError::Prefix));
    }
}
