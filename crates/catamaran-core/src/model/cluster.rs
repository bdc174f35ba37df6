//! The mesh that this node is part of.

use super::Name;
use std::fmt;
use std::net::SocketAddr;

/// The `[cluster]` section: this node, and with whom it shares its tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// The name of this node; none of `peers` has it.
    pub node: Name,
    /// Where peers connect to.
    pub listen: SocketAddr,
    /// All other nodes, at least one, in the order of the file.
    pub peers: Vec<ClusterPeer>,
    /// What all nodes know: the first is used to connect, any of them by who connects here. At
    /// least one.
    pub secrets: Vec<ClusterSecret>,
}

/// Another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterPeer {
    /// Its name.
    pub name: Name,
    /// Where it listens: a host, by name or number, and a port.
    pub address: String,
}

/// 32 secret bytes. They are never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterSecret([u8; 32]);

impl ClusterSecret {
    /// Takes the secret.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The secret as it is written: 64 hexadecimal digits; `None` of anything else.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.chars().map(|digit| digit.to_digit(16));
        let digits: Vec<u8> = digits
            .map(|digit| u8::try_from(digit?).ok())
            .collect::<Option<_>>()?;
        let (pairs, rest) = digits.as_chunks::<2>();
        let bytes: Vec<u8> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
        rest.is_empty().then_some(Self(bytes.try_into().ok()?))
    }

    /// The secret itself, for what has to work with it; never to be shown.
    #[must_use]
    pub const fn reveal(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for ClusterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterSecret(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_64_hexadecimal_digits_and_nobody_sees_it() {
        let secret = ClusterSecret::from_hex(&"aB".repeat(32)).unwrap();
        assert_eq!(secret.reveal(), &[0xab; 32]);
        assert!(!format!("{secret:?}").contains("171"));
        for wrong in [
            "",
            "hunter2",
            &"a".repeat(63),
            &"ü".repeat(32),
            &"a".repeat(66),
        ] {
            assert_eq!(ClusterSecret::from_hex(wrong), None);
        }
    }
}
