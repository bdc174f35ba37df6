//! What is said about mistakes in `[cluster]`, word for word.

use crate::errors::VALID;
use catamaran_config::{Errors, Loaded, ReadFile};
use catamaran_core::model::Name;
use std::io;
use std::path::Path;

/// Files by name: a secret, one that others may read, one that is none.
struct Files;

impl ReadFile for Files {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match path.to_str() {
            Some("good.key" | "open.key") => Ok(format!("{}\n", "a1".repeat(32)).into()),
            Some("new.key") => Ok("b2".repeat(32).into()),
            Some("bad.key") => Ok("hunter2".into()),
            Some("denied.key") => Err(io::ErrorKind::PermissionDenied.into()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn mode(&self, path: &Path) -> Option<u32> {
        let is_open = path == Path::new("open.key");
        Some(if is_open { 0o644 } else { 0o600 })
    }
}

fn parse(lines: &str) -> Result<Loaded, Errors> {
    let text = format!("{VALID}[cluster]\n{lines}\n");
    catamaran_config::parse(&text, "c.toml", &|_| None, &Files)
}

#[test]
fn a_secret_that_this_user_may_not_read_is_given_to_it_not_made_anew() {
    let user = catamaran_sys::identity::own_name();
    let lines = "node = \"a\"\npeers = { b = \"10.0.0.12:1\" }\nsecret-file = \"denied.key\"";
    assert_eq!(
        parse(lines).unwrap_err().to_string().trim_end(),
        format!(
            "c.toml:9:15: `denied.key` cannot be read: permission denied; `chown {user} \
             denied.key` lets this user read it"
        )
    );
}

#[test]
fn a_cluster_is_read_as_it_is_written() {
    let lines = "node = \"a\"\nlisten = \"10.0.0.11:7000\"\n\
                 peers = { c = \"node-c.example:7946\", b = \"10.0.0.12:7946\" }\n\
                 secret-files = [\"new.key\", \"good.key\"]";
    let cluster = parse(lines).unwrap().config.cluster.unwrap();
    assert_eq!(cluster.node, Name::new("a"));
    assert_eq!(cluster.listen, "10.0.0.11:7000".parse().unwrap());
    let peers = cluster.peers.iter();
    let peers: Vec<_> = peers
        .map(|p| (p.name.as_str(), p.address.as_str()))
        .collect();
    assert_eq!(
        peers,
        [("c", "node-c.example:7946"), ("b", "10.0.0.12:7946")]
    );
    assert_eq!(cluster.secrets[0].reveal(), &[0xb2; 32]);
    assert_eq!(cluster.secrets[1].reveal(), &[0xa1; 32]);
    let usual = "node = \"a\"\npeers = { b = \"b:1\" }\nsecret-file = \"good.key\"";
    let cluster = parse(usual).unwrap().config.cluster.unwrap();
    assert_eq!(cluster.listen, "0.0.0.0:7946".parse().unwrap());
    assert_eq!(cluster.secrets.len(), 1);
}

#[test]
fn a_wrong_cluster_is_refused_with_a_remedy() {
    for (lines, message) in WRONG {
        let told = parse(lines).unwrap_err().to_string();
        assert_eq!(told, format!("c.toml:{message}"), "{lines}");
        assert!(!told.contains("hunter2"));
    }
}

/// The lines stand from line 7 on.
const WRONG: &[(&str, &str)] = &[
    (
        "node = \"a\"\npeers = { a = \"10.0.0.11:7946\", b = \"10.0.0.12:7946\" }\nsecret-file = \"good.key\"",
        "8:11: `a` is this node itself; list the other nodes only, or change `node`",
    ),
    (
        "nodes = \"a\"\npeers = { b = \"10.0.0.12:7946\" }\nsecret-file = \"good.key\"",
        "7:1: unknown key `nodes` in `cluster`; did you mean `node`?",
    ),
    (
        "node = \"a\"\npeers = {}\nsecret-file = \"good.key\"",
        "8:9: `peers` is empty; write the other nodes, such as `{ b = \"10.0.0.12:7946\" }`",
    ),
    (
        "node = \"a\"\npeers = { b = \"10.0.0.12\" }\nsecret-file = \"good.key\"",
        "8:15: `10.0.0.12` has no port; write it as `10.0.0.12:80`",
    ),
    (
        "node = \"a\"\npeers = { b = \"unix:/run/b\" }\nsecret-file = \"good.key\"",
        "8:15: `unix:/run/b` is no address of a node; write a host and a port: `10.0.0.12:7946`",
    ),
    (
        "node = \"a\"\npeers = { b = \"10.0.0.12:1\", c = \"10.0.0.12:1\" }\nsecret-file = \"good.key\"",
        "8:34: `10.0.0.12:1` is the address of another peer too, at line 8; each has its own",
    ),
    (
        "node = \"a\"\npeers = { b = \"10.0.0.12:1\" }",
        "6:1: `cluster` has no `secret-file`; make one with `openssl rand -hex 32`, give every \
         node the same, and add `secret-file = \"/etc/catamaran/cluster.key\"`",
    ),
    (
        "node = \"a\"\npeers = { b = \"10.0.0.12:1\" }\nsecret-file = \"no.key\"",
        "9:15: `no.key` cannot be read: entity not found; make one with `(umask 077; openssl rand \
         -hex 32 > no.key)` and give every node the same",
    ),
    (
        "node = \"a\"\npeers = { b = \"10.0.0.12:1\" }\nsecret-file = \"open.key\"",
        "9:15: others may read `open.key` (mode 0644), and who knows the secret is trusted by \
         every node; `chmod 600 open.key` mends that",
    ),
    (
        "node = \"a\"\npeers = { b = \"10.0.0.12:1\" }\nsecret-file = \"bad.key\"",
        "9:15: `bad.key` does not hold 64 hexadecimal digits and nothing else; make one with \
         `(umask 077; openssl rand -hex 32 > bad.key)`",
    ),
    (
        "node = \"a\"\npeers = { b = \"10.0.0.12:1\" }\nsecret-file = \"good.key\"\nsecret-files = [\"good.key\"]",
        "10:16: `secret-file` is written too; write one of both",
    ),
    (
        "node = \"a\"\npeers = { b = \"10.0.0.12:1\" }\nsecret-files = []",
        "9:16: `secret-files` is empty; write the file of the secret",
    ),
    (
        "node = \"a b\"\npeers = { b = \"10.0.0.12:1\" }\nsecret-file = \"good.key\"",
        "7:8: the name of node `a b` has spaces, quotes or control characters; write letters, \
         digits, `-`, `_`, `.`",
    ),
    (
        "node = \"a\"\nlisten = \"7946\"\npeers = { b = \"10.0.0.12:1\" }\nsecret-file = \"good.key\"",
        "8:10: `7946` has no address; write `:7946`",
    ),
];
