//! The `[cluster]` section.

use crate::address;
use crate::backend::{check_name, first, name_problem};
use crate::read::{Entry, Fields, Node};
use crate::reference;
use catamaran_core::model::{Cluster, ClusterPeer, ClusterSecret, Name, ServerAddr};
use catamaran_core::replication::NodeId;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

/// Reads the section.
pub(crate) fn read(node: Node<'_>) -> Option<Cluster> {
    let fields = node.fields(&reference::CLUSTER)?;
    let name = fields.required("node", "\"a\"").and_then(node_name);
    let listen = fields.node("listen").map(listen);
    let peers = peers(fields, name.as_ref());
    let secrets = secrets(fields);
    Some(Cluster {
        node: name?,
        listen: match listen {
            Some(written) => written?,
            None => SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)),
        },
        peers,
        secrets,
    })
}

fn node_name(node: Node<'_>) -> Option<Name> {
    let name = node.text("the name of this node (a string)")?;
    if let Some(problem) = name_problem(&name) {
        node.error(format!("the name of node `{name}` {problem}"));
        return None;
    }
    Some(Name::new(&name))
}

fn listen(node: Node<'_>) -> Option<SocketAddr> {
    let text = node.text("an address (a string)")?;
    address::listen_address(&text)
        .map_err(|message| node.error(message))
        .ok()
}

fn peers(fields: Fields<'_>, own: Option<&Name>) -> Vec<ClusterPeer> {
    let Some(node) = fields.required("peers", "{ b = \"10.0.0.12:7946\" }") else {
        return Vec::new();
    };
    let Some(entries) = node.entries() else {
        return Vec::new();
    };
    if entries.is_empty() {
        node.error("`peers` is empty; write the other nodes, such as `{ b = \"10.0.0.12:7946\" }`");
    }
    if entries.len() > MAX_PEERS {
        node.error(format!(
            "`peers` has {} nodes; {MAX_PEERS} are allowed",
            entries.len()
        ));
    }
    let (mut addresses, mut numbers) = (HashMap::new(), HashMap::new());
    if let Some(own) = own {
        numbers.insert(NodeId::new(own.as_str()), own.to_string());
    }
    let read = |entry: Entry<'_>| peer(entry, own, &mut addresses, &mut numbers);
    entries.into_iter().filter_map(read).collect()
}

fn peer(
    entry: Entry<'_>,
    own: Option<&Name>,
    addresses: &mut HashMap<String, usize>,
    numbers: &mut HashMap<NodeId, String>,
) -> Option<ClusterPeer> {
    check_name("peer", entry);
    let reader = entry.node.reader();
    if own.is_some_and(|own| own.as_str() == entry.name) {
        let message = format!(
            "`{}` is this node itself; list the other nodes only, or change `node`",
            entry.name
        );
        reader.error(entry.at, message);
        return None;
    }
    if let Some(other) = numbers.insert(NodeId::new(entry.name), entry.name.to_owned()) {
        let message = format!(
            "nodes `{other}` and `{}` have the same number in messages; give one another name",
            entry.name
        );
        reader.error(entry.at, message);
    }
    let text = entry.node.text("an address such as `\"10.0.0.12:7946\"`")?;
    let address = match address::server(&text) {
        Ok(address @ (ServerAddr::Ip(_) | ServerAddr::Dns { .. })) => address.to_string(),
        Ok(_) => {
            entry.node.error(format!(
                "`{text}` is no address of a node; write a host and a port: `10.0.0.12:7946`"
            ));
            return None;
        }
        Err(message) => {
            entry.node.error(message);
            return None;
        }
    };
    if let Some(other) = first(addresses, address.clone(), entry.at) {
        let line = reader.line(other);
        entry.node.error(format!(
            "`{text}` is the address of another peer too, at line {line}; each has its own"
        ));
    }
    Some(ClusterPeer {
        name: Name::new(entry.name),
        address,
    })
}

fn secrets(fields: Fields<'_>) -> Vec<ClusterSecret> {
    match (fields.node("secret-file"), fields.node("secret-files")) {
        (Some(one), None) => secret(one).into_iter().collect(),
        (None, Some(list)) => {
            let files = list.list().unwrap_or_default();
            if files.is_empty() && list.is_empty_list() {
                list.error("`secret-files` is empty; write the file of the secret");
            }
            if files.len() > MAX_SECRETS {
                list.error(format!(
                    "`secret-files` has {} files; {MAX_SECRETS} are allowed",
                    files.len()
                ));
            }
            files.into_iter().filter_map(secret).collect()
        }
        (Some(_), Some(list)) => {
            list.error("`secret-file` is written too; write one of both");
            Vec::new()
        }
        (None, None) => {
            if !fields.is_misspelt("secret-file") && !fields.is_misspelt("secret-files") {
                fields.error(
                    "`cluster` has no `secret-file`; make one with `openssl rand -hex 32`, give \
                     every node the same, and add `secret-file = \"/etc/catamaran/cluster.key\"`",
                );
            }
            Vec::new()
        }
    }
}

fn secret(node: Node<'_>) -> Option<ClusterSecret> {
    let file = node.text("a file (a string)")?;
    let path = Path::new(&file);
    let bytes = match node.reader().read_file(path) {
        Ok(bytes) => bytes,
        Err(source) => {
            let make = format!(
                "make one with `(umask 077; openssl rand -hex 32 > {file})` and give every node \
                 the same"
            );
            node.error(node.reader().unreadable(path, &source, &make));
            return None;
        }
    };
    if let Some(mode) = node.reader().mode(path)
        && mode & 0o077 != 0
    {
        node.error(format!(
            "others may read `{file}` (mode {mode:04o}), and who knows the secret is trusted by \
             every node; `chmod 600 {file}` mends that"
        ));
        return None;
    }
    let text = std::str::from_utf8(&bytes).unwrap_or_default().trim();
    let secret = ClusterSecret::from_hex(text);
    if secret.is_none() {
        node.error(format!(
            "`{file}` does not hold 64 hexadecimal digits and nothing else; make one with \
             `(umask 077; openssl rand -hex 32 > {file})`"
        ));
    }
    secret
}

/// As other meshes of this kind have it by default.
const PORT: u16 = 7946;
/// Chosen: each node has a connection to each other.
const MAX_PEERS: usize = 15;
/// Chosen: two are needed while one is exchanged.
const MAX_SECRETS: usize = 4;
