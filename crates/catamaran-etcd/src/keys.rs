//! The keys of a fleet.
//!
//! ```text
//!   PREFIX/config                  TOML: the configuration of every node
//!   PREFIX/nodes/NODE/config       TOML: what NODE has instead, key by key
//!   PREFIX/servers/SERVICE/NAME    a server, under a lease
//!   PREFIX-history/MICROSECONDS    JSON: texts that were put, for a rollback
//! ```
//! The history stands apart: every node lists and watches all that is behind `PREFIX/`, and needs no
//! texts of the past.

use catamaran_core::fleet::{Key, Layer, part_problem};

/// The keys behind one prefix, as one node sees them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    prefix: String,
    node: String,
}

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A configuration text for this node.
    Text(Layer),
    /// A server.
    Server(Key),
    /// Nothing that this node needs.
    Other,
    /// Nothing that anybody understands.
    Unknown,
}

impl Keys {
    /// The keys behind `prefix` (`/catamaran`), for the node of that name.
    #[must_use]
    pub fn new(prefix: &str, node: &str) -> Self {
        Self {
            prefix: prefix.to_owned(),
            node: node.to_owned(),
        }
    }

    /// What every key but those of the history begins with.
    #[must_use]
    pub fn root(&self) -> String {
        format!("{}/", self.prefix)
    }

    /// The name of this node.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Where a text stands.
    #[must_use]
    pub fn text(&self, layer: Layer) -> String {
        match layer {
            Layer::Fleet => format!("{}/config", self.prefix),
            Layer::Node => self.text_of(&self.node),
        }
    }

    /// Where the text of some node stands.
    #[must_use]
    pub fn text_of(&self, node: &str) -> String {
        format!("{}/nodes/{node}/config", self.prefix)
    }

    /// Where a server stands.
    #[must_use]
    pub fn server(&self, key: &Key) -> String {
        format!("{}/servers/{}/{}", self.prefix, key.service, key.name)
    }

    /// What every entry of the history begins with.
    #[must_use]
    pub fn history(&self) -> String {
        format!("{}-history/", self.prefix)
    }

    /// An entry of the history; sorts by time, in microseconds of Unix time.
    #[must_use]
    pub fn history_entry(&self, at_us: u128) -> String {
        format!("{}{at_us:020}", self.history())
    }

    /// What stands at `key`.
    #[must_use]
    pub fn place(&self, key: &[u8]) -> Place {
        let key = std::str::from_utf8(key).ok();
        let Some(rest) = key.and_then(|key| key.strip_prefix(&self.root())) else {
            return Place::Unknown;
        };
        let parts: Vec<&str> = rest.split('/').collect();
        match parts[..] {
            ["config"] => Place::Text(Layer::Fleet),
            ["nodes", node, "config"] if node == self.node => Place::Text(Layer::Node),
            ["nodes", _, "config"] => Place::Other,
            ["servers", service, name]
                if part_problem(service).is_none() && part_problem(name).is_none() =>
            {
                Place::Server(Key {
                    service: service.into(),
                    name: name.into(),
                })
            }
            _ => Place::Unknown,
        }
    }
}

/// The end of the range of all keys that begin with `prefix`, as etcd's API wants it.
pub(crate) fn range_end(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    // All keys there are.
    vec![0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_found_again_by_its_place() {
        let keys = Keys::new("/catamaran", "a");
        let server = Key {
            service: "api".into(),
            name: "api-1".into(),
        };
        for (key, place) in [
            (keys.text(Layer::Fleet), Place::Text(Layer::Fleet)),
            (keys.text(Layer::Node), Place::Text(Layer::Node)),
            (keys.text_of("b"), Place::Other),
            (keys.server(&server), Place::Server(server.clone())),
            ("/catamaran/servers/api/a b".to_owned(), Place::Unknown),
            ("/catamaran/servers/api".to_owned(), Place::Unknown),
            ("/other/config".to_owned(), Place::Unknown),
        ] {
            assert_eq!(keys.place(key.as_bytes()), place, "{key}");
        }
    }

    #[test]
    fn what_a_node_lists_has_no_history() {
        let keys = Keys::new("/catamaran", "a");
        let (from, to) = (keys.root(), range_end(&keys.root()));
        let is_listed = |key: &str| key.as_bytes() >= from.as_bytes() && key.as_bytes() < &to[..];
        assert!(is_listed(&keys.text(Layer::Node)));
        assert!(!is_listed(&keys.history_entry(5)));
        assert!(keys.history_entry(5).starts_with(&keys.history()));
    }

    #[test]
    fn a_range_ends_behind_the_last_key_of_its_prefix() {
        assert_eq!(range_end("/a/"), b"/a0");
        assert_eq!(range_end(""), [0]);
    }
}
