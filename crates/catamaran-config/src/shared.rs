//! What of a configuration all nodes of a cluster are to have alike, and what is each node's own.

use crate::difference::{items, sections};
use catamaran_core::Key;
use std::fmt::Write as _;
use toml_edit::DocumentMut;

/// A digest of what all nodes are to have alike. Order, comments and layout make no difference, nor
/// does what is each node's own: the sections `process`, `admin`, `cluster` and `etcd`, and of virtual
/// addresses all but the addresses themselves and how nodes speak of them.
///
/// The text must be TOML; any other has the digest of an empty one.
#[must_use]
pub fn shared_digest(text: &str) -> u64 {
    let mut written = String::new();
    for (name, section) in sections(text) {
        let is_own = OWN.iter().any(|own| {
            let rest = name.strip_prefix(own);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        });
        let is_virtual_ip = name.starts_with("virtual-ip.");
        if is_own && !is_virtual_ip {
            continue;
        }
        let _ = writeln!(written, "[{name}]");
        for (item, value) in items(&name, &section) {
            let key = item.split('.').next().unwrap_or_default();
            let key = key.split(' ').next().unwrap_or_default();
            if !is_virtual_ip || OF_VIRTUAL_IPS.contains(&key) {
                let _ = writeln!(written, "{item} = {value}");
            }
        }
    }
    // Either half of it does.
    (Key::of_bytes(written.as_bytes()).as_bits() >> 64) as u64
}

/// The configuration of another node, with the sections that are each node's own taken from `own`:
/// `process`, `admin`, `cluster`, `etcd` and the virtual addresses.
///
/// # Errors
/// Which of both is no TOML.
pub fn with_own_sections(theirs: &str, own: &str) -> Result<String, String> {
    let parse = |text: &str, whose: &str| -> Result<DocumentMut, String> {
        text.parse()
            .map_err(|_| format!("{whose} configuration is no valid TOML"))
    };
    let mut merged = parse(theirs, "the other node's")?;
    let own = parse(own, "this node's")?;
    for section in OWN {
        match own.get(section) {
            Some(item) => {
                merged.insert(section, item.clone());
            }
            None => {
                merged.remove(section);
            }
        }
    }
    Ok(merged.to_string())
}

/// Sections that are each node's own. A peer that could write virtual addresses could have commands
/// run with the privileges of the vrrp process.
const OWN: [&str; 5] = ["process", "admin", "cluster", "etcd", "virtual-ip"];
/// What nodes that share a virtual address must have alike.
const OF_VIRTUAL_IPS: [&str; 6] = [
    "addresses",
    "router-id",
    "version",
    "advert-interval",
    "checksum",
    "sync-group",
];

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "# of a\n[process]\nworkers = 2\n[etcd]\nendpoints = \"e:1\"\n[cluster]\nnode = \"a\"\npeers = { b = \"b:1\" }\n\
                     [frontend.web]\nlisten = \":80\"\nbackend = \"api\"\n\
                     [backend.api]\nservers = [\"x:1\", \"y:1\"]\n\
                     [virtual-ip.main]\naddresses = [\"10.0.0.9/24\"]\ninterface = \"eth0\"\n\
                     router-id = 51\npriority = 150\n";

    fn replaced(from: &str, to: &str) -> String {
        assert!(A.contains(from));
        A.replace(from, to)
    }

    #[test]
    fn what_is_each_node_s_own_makes_no_drift_and_all_else_does() {
        let digest = shared_digest(A);
        for (from, to) in [
            ("node = \"a\"", "node = \"b\""),
            ("workers = 2", "workers = 4"),
            ("e:1", "e:2"),
            ("priority = 150", "priority = 100"),
            ("\"eth0\"", "\"eth1\""),
            ("# of a\n", ""),
            ("[\"x:1\", \"y:1\"]", "[ 'y:1', 'x:1' ]"),
        ] {
            assert_eq!(shared_digest(&replaced(from, to)), digest, "{from}");
        }
        for (from, to) in [
            ("x:1", "z:1"),
            ("\":80\"", "\":81\""),
            ("10.0.0.9", "10.0.0.8"),
            ("router-id = 51", "router-id = 52"),
        ] {
            assert_ne!(shared_digest(&replaced(from, to)), digest, "{from}");
        }
    }

    #[test]
    fn a_node_that_is_sent_a_configuration_keeps_its_own_sections() {
        let own = replaced("node = \"a\"", "node = \"b\"");
        let own = own.replace("priority = 150", "priority = 100");
        let own = own.replace("workers = 2\n", "").replace("e:1", "e:2");
        let theirs = replaced("y:1", "z:1");
        let merged = with_own_sections(&theirs, &own).unwrap();
        assert_eq!(shared_digest(&merged), shared_digest(&theirs));
        for kept in ["node = \"b\"", "priority = 100", "z:1", "e:2"] {
            assert!(merged.contains(kept), "{merged}");
        }
        assert!(!merged.contains("workers") && !merged.contains("node = \"a\""));
        let without = with_own_sections(&theirs, "[backend.api]\nservers = []\n").unwrap();
        assert!(!without.contains("cluster") && !without.contains("virtual-ip"));
    }
}
