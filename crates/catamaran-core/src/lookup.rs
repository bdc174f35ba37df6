//! Values by a text: what a map in a file says.
//!
//! A map is asked with a host, a path or an address and says a value. How its keys are matched is
//! one of [`MapMatch`]; of several keys that match the longest decides.

use crate::model::{IpNet, MapMatch};
use crate::networks::Networks;
use std::collections::BTreeMap;
use std::ops::Bound;

/// The entries of one map.
#[derive(Clone, Debug)]
pub struct Lookup<V> {
    how: MapMatch,
    /// In order, so that the longest beginning is found without asking for each length.
    texts: BTreeMap<Box<[u8]>, V>,
    networks: Networks<V>,
}

/// A text that is no key of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// It has no characters.
    #[error("a key must not be empty")]
    Empty,
    /// It has more than [`MAX_KEY`] bytes.
    #[error("a key has at most {MAX_KEY} bytes")]
    Long,
    /// A map by networks has networks as keys.
    #[error("`{0}` as a key of a map by networks")]
    NoNetwork(#[source] crate::model::IpNetError),
}

/// Bytes of a key at most. Chosen: longer than names of hosts (RFC 1035 §2.3.4) and common paths.
pub const MAX_KEY: usize = 1024;

impl<V> Lookup<V> {
    /// An empty map whose keys are matched in this way.
    #[must_use]
    pub fn new(how: MapMatch) -> Self {
        Self {
            how,
            texts: BTreeMap::new(),
            networks: Networks::default(),
        }
    }

    /// How its keys are matched.
    #[must_use]
    pub const fn how(&self) -> MapMatch {
        self.how
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.texts.len() + self.networks.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sets the value of a key; returns the one before.
    ///
    /// # Errors
    /// [`BadKey`].
    pub fn insert(&mut self, key: &str, value: V) -> Result<Option<V>, BadKey> {
        Ok(match self.key(key)? {
            Key::Text(text) => self.texts.insert(text, value),
            Key::Network(network) => self.networks.insert(network, value),
        })
    }

    /// Removes a key; returns its value.
    ///
    /// # Errors
    /// [`BadKey`].
    pub fn remove(&mut self, key: &str) -> Result<Option<V>, BadKey> {
        Ok(match self.key(key)? {
            Key::Text(text) => self.texts.remove(&text),
            Key::Network(network) => self.networks.remove(network),
        })
    }

    /// The value of exactly this key.
    ///
    /// # Errors
    /// [`BadKey`].
    pub fn get(&self, key: &str) -> Result<Option<&V>, BadKey> {
        Ok(match self.key(key)? {
            Key::Text(text) => self.texts.get(&text),
            Key::Network(network) => self.networks.get(network),
        })
    }

    /// The keys and their values, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (String, &V)> {
        let texts = self.texts.iter();
        let texts = texts.map(|(key, value)| (String::from_utf8_lossy(key).into_owned(), value));
        let networks = self.networks.entries();
        texts.chain(networks.map(|(network, value)| (network.to_string(), value)))
    }

    /// The value for what was asked with.
    #[must_use]
    pub fn find(&self, asked: &[u8]) -> Option<&V> {
        match self.how {
            MapMatch::Exact => self.texts.get(asked),
            MapMatch::Prefix => self.longest_beginning(asked),
            MapMatch::Domain => self.longest_domain(asked),
            MapMatch::Network => {
                let text = std::str::from_utf8(asked).ok()?;
                let (_, value) = self.networks.find(text.parse().ok()?)?;
                Some(value)
            }
        }
    }

    /// Of the keys that `asked` begins with, the longest.
    fn longest_beginning(&self, asked: &[u8]) -> Option<&V> {
        let mut rest = asked;
        loop {
            // What begins `rest` stands before it in order; a neighbour that does not begin it
            // shares with it all that a shorter one could be.
            let (key, value) = self.texts.range::<[u8], _>(up_to(rest)).next_back()?;
            if rest.starts_with(key) {
                return Some(value);
            }
            let common = rest.iter().zip(key).take_while(|(a, b)| a == b).count();
            rest = &rest[..common];
        }
    }

    /// Of the domains that hold the host `asked`, the longest.
    fn longest_domain(&self, asked: &[u8]) -> Option<&V> {
        let lower = asked.to_ascii_lowercase();
        let mut rest = lower.strip_suffix(b".").unwrap_or(&lower);
        loop {
            if let Some(value) = self.texts.get(rest) {
                return Some(value);
            }
            let dot = rest.iter().position(|&byte| byte == b'.')?;
            rest = &rest[dot + 1..];
        }
    }

    fn key(&self, text: &str) -> Result<Key, BadKey> {
        match self.how {
            _ if text.is_empty() => Err(BadKey::Empty),
            _ if text.len() > MAX_KEY => Err(BadKey::Long),
            MapMatch::Network => text.parse().map(Key::Network).map_err(BadKey::NoNetwork),
            MapMatch::Domain => Ok(Key::Text(text.to_ascii_lowercase().into_bytes().into())),
            MapMatch::Exact | MapMatch::Prefix => Ok(Key::Text(text.as_bytes().into())),
        }
    }
}

const fn up_to(last: &[u8]) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (Bound::Unbounded, Bound::Included(last))
}

enum Key {
    Text(Box<[u8]>),
    Network(IpNet),
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(how: MapMatch, entries: &[(&'static str, u32)]) -> Lookup<u32> {
        let mut map = Lookup::new(how);
        for &(key, value) in entries {
            map.insert(key, value).unwrap();
        }
        map
    }

    #[test]
    fn an_exact_map_takes_whole_keys_only() {
        let map = map(MapMatch::Exact, &[("/a", 1)]);
        assert_eq!(map.find(b"/a"), Some(&1));
        assert_eq!((map.find(b"/a/"), map.find(b"/")), (None, None));
    }

    #[test]
    fn the_longest_beginning_decides() {
        let map = map(
            MapMatch::Prefix,
            &[("/", 0), ("/api", 1), ("/api/v2", 2), ("/b", 3)],
        );
        for (asked, value) in [
            ("/", 0),
            ("/api", 1),
            ("/apix", 1),
            ("/api/v2/x", 2),
            ("/api/v1", 1),
            ("/az", 0),
            ("/c", 0),
        ] {
            assert_eq!(map.find(asked.as_bytes()), Some(&value), "{asked}");
        }
        assert_eq!(map.find(b"x"), None);
    }

    #[test]
    fn a_domain_holds_itself_and_what_lies_below_it() {
        let map = map(
            MapMatch::Domain,
            &[("Example.com", 1), ("a.example.com", 2)],
        );
        for (asked, value) in [
            ("example.com", Some(&1)),
            ("B.EXAMPLE.com.", Some(&1)),
            ("x.a.example.com", Some(&2)),
            ("badexample.com", None),
            ("com", None),
        ] {
            assert_eq!(map.find(asked.as_bytes()), value, "{asked}");
        }
    }

    #[test]
    fn a_map_by_networks_refuses_other_keys() {
        let mut map = map(MapMatch::Network, &[("10.0.0.0/8", 1), ("10.1.0.0/16", 2)]);
        assert_eq!(map.find(b"10.1.2.3"), Some(&2));
        assert_eq!(map.find(b"ten"), None);
        assert!(matches!(map.insert("ten", 3), Err(BadKey::NoNetwork(_))));
        assert_eq!(map.remove("10.1.0.0/16"), Ok(Some(2)));
        assert_eq!(map.find(b"10.1.2.3"), Some(&1));
    }

    proptest! {
        #[test]
        fn the_longest_beginning_is_found_as_by_looking_at_every_key(
            keys in prop::collection::btree_set("[ab]{1,5}", 0..30),
            asked in "[ab]{0,7}",
        ) {
            let mut map = Lookup::new(MapMatch::Prefix);
            for key in &keys {
                map.insert(key, key.clone()).unwrap();
            }
            let expected = keys.iter().filter(|key| asked.starts_with(key.as_str()));
            prop_assert_eq!(map.find(asked.as_bytes()), expected.max_by_key(|key| key.len()));
        }
    }
}
