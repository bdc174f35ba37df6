//! The `[etcd]` section.

use crate::address;
use crate::read::{Fields, Node, set};
use crate::reference;
use catamaran_core::fleet::part_problem;
use catamaran_core::model::{Etcd, EtcdEndpoint, EtcdIdentity, EtcdTls, EtcdUser, Secret};
use std::net::Ipv6Addr;
use std::path::Path;
use std::sync::Arc;

/// Reads the section.
pub(crate) fn read(node: Node<'_>) -> Option<Etcd> {
    let fields = node.fields(&reference::ETCD)?;
    let written = fields.required("endpoints", "[\"10.0.0.1:2379\"]");
    let endpoints = written.map(endpoints);
    let is_tls = endpoints.as_ref().is_some_and(|(_, is_tls)| *is_tls);
    let tls = tls(fields, is_tls);
    let user = user(fields);
    let mut etcd = Etcd::new(endpoints?.0);
    etcd.tls = tls;
    etcd.user = user;
    set(&mut etcd.prefix, fields.node("prefix").and_then(prefix));
    etcd.node = fields.node("node").and_then(node_name);
    set(&mut etcd.timeout, fields.duration("timeout"));
    set(&mut etcd.interval, fields.duration("interval"));
    set(&mut etcd.grace, fields.duration("grace"));
    let state = fields.node("state");
    let state = state.and_then(|node| node.text("a file (a string)"));
    set(&mut etcd.state, state.map(Into::into));
    Some(etcd)
}

/// Reads where a node of etcd is, as `[etcd]` writes it; also says whether it speaks TLS.
///
/// # Errors
/// What is wrong, with the remedy.
pub fn etcd_endpoint(text: &str) -> Result<(EtcdEndpoint, bool), String> {
    let wrong = || {
        format!("`{text}` is no node of etcd; write it as `10.0.0.1:2379` or `https://etcd1:2379`")
    };
    let (rest, is_tls) = match text.split_once("://") {
        Some(("https", rest)) => (rest, true),
        Some(("http", rest)) => (rest, false),
        Some(_) => return Err(wrong()),
        None => (text, false),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match rest.strip_prefix('[') {
        Some(inner) => {
            let (host, rest) = inner.split_once(']').ok_or_else(wrong)?;
            host.parse::<Ipv6Addr>().map_err(|_| wrong())?;
            (host, rest.strip_prefix(':'))
        }
        None => {
            let split = rest.rsplit_once(':');
            let (host, port) = split.map_or((rest, None), |(host, port)| (host, Some(port)));
            if !address::is_host(host) {
                return Err(wrong());
            }
            (host, port)
        }
    };
    let Ok(port @ 1..) = port.map_or(Ok(DEFAULT_PORT), str::parse::<u16>) else {
        return Err(format!("`{text}` has no valid port; write 1 to 65535"));
    };
    let host = host.to_owned();
    Ok((EtcdEndpoint { host, port }, is_tls))
}

/// The nodes, and whether they speak TLS.
fn endpoints(node: Node<'_>) -> (Vec<EtcdEndpoint>, bool) {
    let mut all = Vec::new();
    let mut spoken = None;
    for node in node.one_or_many() {
        let Some(text) = node.text("a node of etcd (a string)") else {
            continue;
        };
        match etcd_endpoint(&text) {
            Ok((endpoint, is_tls)) => {
                if *spoken.get_or_insert(is_tls) != is_tls {
                    node.error(
                        "either all nodes of etcd speak TLS, or none; write `https://` for all",
                    );
                }
                if all.contains(&endpoint) {
                    node.error(format!("`{endpoint}` is written twice; remove one"));
                }
                all.push(endpoint);
            }
            Err(message) => node.error(message),
        }
    }
    if node.is_empty_list() {
        node.error("`endpoints` names no node; write `[\"10.0.0.1:2379\"]`");
    }
    (all, spoken.unwrap_or(false))
}

fn prefix(node: Node<'_>) -> Option<String> {
    let text = node.text("a path such as `\"/catamaran\"`")?;
    let parts = text.strip_prefix('/');
    let is_right = parts.is_some_and(|parts| {
        text.len() <= MAX_PREFIX && parts.split('/').all(|part| part_problem(part).is_none())
    });
    if !is_right {
        node.error(format!(
            "`{text}` is no prefix; write it as `/catamaran` or `/site/catamaran`, with letters, \
             digits, `-`, `_` and `.`"
        ));
    }
    is_right.then_some(text)
}

fn node_name(node: Node<'_>) -> Option<String> {
    let name = node.text("a name (a string)")?;
    if let Some(problem) = part_problem(&name) {
        node.error(format!("the name of node `{name}` {problem}"));
    }
    Some(name)
}

fn tls(fields: Fields<'_>, is_tls: bool) -> Option<EtcdTls> {
    let files = ["ca", "certificate", "key"];
    if !is_tls {
        for key in files {
            if let Some(node) = fields.node(key) {
                node.error(format!(
                    "`{key}` has no use without TLS; write the endpoints as `https://…`"
                ));
            }
        }
        return None;
    }
    let ca = fields.required("ca", "\"/etc/catamaran/etcd-ca.pem\"");
    let ca = ca.and_then(|node| pem(node, "CERTIFICATE"));
    let certificate = fields.node("certificate");
    let key = fields.node("key");
    if let (Some(only), None) | (None, Some(only)) = (certificate, key) {
        only.error("`certificate` and `key` go together: write both, or neither");
    }
    let identity = certificate.zip(key).and_then(|(certificate, key)| {
        let certificate = pem(certificate, "CERTIFICATE");
        let key = pem(key, "PRIVATE KEY").map(|key| Secret::new(&key));
        Some(EtcdIdentity {
            certificate: certificate?,
            key: key?,
        })
    });
    Some(EtcdTls { ca: ca?, identity })
}

/// The file that is named, which must hold something of that kind in PEM.
fn pem(node: Node<'_>, kind: &str) -> Option<Arc<str>> {
    let (file, text) = file(node)?;
    let marks = text.lines().filter(|line| line.starts_with("-----BEGIN "));
    if !marks
        .into_iter()
        .any(|line| line.trim_end().ends_with(&format!("{kind}-----")))
    {
        node.error(format!(
            "`{file}` holds no {} in PEM; it begins with `-----BEGIN {kind}-----`",
            kind.to_lowercase()
        ));
        return None;
    }
    Some(text.into())
}

fn user(fields: Fields<'_>) -> Option<EtcdUser> {
    let name = fields.node("user");
    let password = fields.node("password-file");
    if let (Some(only), None) | (None, Some(only)) = (name, password) {
        only.error("`user` and `password-file` go together: write both, or neither");
    }
    let (name, password) = name.zip(password)?;
    let name = name.text("the name of a user (a string)")?;
    let (file, text) = file(password)?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() || text.contains('\n') {
        password.error(format!("`{file}` must hold the password, in one line"));
        return None;
    }
    let password = Secret::new(text);
    Some(EtcdUser { name, password })
}

/// The name and the text of the file that is named.
fn file(node: Node<'_>) -> Option<(String, String)> {
    let file = node.text("a file (a string)")?;
    let read = node.reader().read_file(Path::new(&file));
    match read.map(String::from_utf8) {
        Ok(Ok(text)) => Some((file, text)),
        Ok(Err(_)) => {
            node.error(format!("`{file}` is no text"));
            None
        }
        Err(source) => {
            let path = Path::new(&file);
            let told = "write the file, or name another";
            node.error(node.reader().unreadable(path, &source, told));
            None
        }
    }
}

/// Where etcd listens for clients unless told otherwise.
const DEFAULT_PORT: u16 = 2379;
const MAX_PREFIX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Loaded;
    use std::io;

    fn parsed(etcd: &str) -> Result<Loaded, String> {
        let read = |file: &Path| match file.to_str() {
            Some("ca.pem") => Ok(b"-----BEGIN CERTIFICATE-----\n".to_vec()),
            Some("password") => Ok(b"secret\n".to_vec()),
            _ => Err(io::ErrorKind::NotFound.into()),
        };
        let text = format!("[etcd]\n{etcd}\n");
        crate::parse(&text, "c.toml", &|_| None, &read).map_err(|errors| errors.to_string())
    }

    #[test]
    fn a_node_of_a_fleet_needs_nothing_but_etcd() {
        let etcd = parsed("endpoints = [\"10.0.0.1\", \"etcd2:2380\", \"http://[::1]:1\"]");
        let etcd = etcd.unwrap().config.etcd.unwrap();
        let shown = etcd.endpoints.iter().map(ToString::to_string);
        let shown: Vec<_> = shown.collect();
        assert_eq!(shown, ["10.0.0.1:2379", "etcd2:2380", "[::1]:1"]);
        assert_eq!(etcd.prefix, "/catamaran");
    }

    #[test]
    fn what_belongs_together_is_read_together() {
        let etcd = parsed(
            "endpoints = \"https://etcd1\"\nca = \"ca.pem\"\nuser = \"lb\"\n\
             password-file = \"password\"\nprefix = \"/a/b\"\nnode = \"n1\"\ngrace = \"1m\"",
        );
        let etcd = etcd.unwrap().config.etcd.unwrap();
        assert!(etcd.tls.is_some_and(|tls| tls.identity.is_none()));
        let user = etcd.user.unwrap();
        assert_eq!(user.password.reveal(), "secret");
        assert_eq!(
            (etcd.prefix.as_str(), etcd.node.as_deref()),
            ("/a/b", Some("n1"))
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_place_and_remedy() {
        for (written, told) in [
            (
                "prefix = \"/a\"",
                "`etcd` has no `endpoints`; add `endpoints = [\"10.0.0.1:2379\"]`",
            ),
            ("endpoints = []", "c.toml:2:13: `endpoints` names no node"),
            (
                "endpoints = \"ftp://a\"",
                "`ftp://a` is no node of etcd; write it as",
            ),
            ("endpoints = \"a:0\"", "`a:0` has no valid port"),
            (
                "endpoints = [\"https://a\", \"b\"]\nca = \"ca.pem\"",
                "c.toml:2:27: either all nodes",
            ),
            ("endpoints = \"https://a\"", "`etcd` has no `ca`"),
            (
                "endpoints = \"a\"\nca = \"ca.pem\"",
                "c.toml:3:6: `ca` has no use without TLS",
            ),
            (
                "endpoints = \"https://a\"\nca = \"password\"",
                "`password` holds no certificate in PEM",
            ),
            (
                "endpoints = \"a\"\nuser = \"lb\"",
                "`user` and `password-file` go together",
            ),
            (
                "endpoints = \"a\"\nprefix = \"x/\"",
                "c.toml:3:10: `x/` is no prefix",
            ),
            (
                "endpoints = \"a\"\nnode = \"a/b\"",
                "the name of node `a/b` has other characters",
            ),
            ("endpoint = \"a\"", "did you mean `endpoints`?"),
        ] {
            let errors = parsed(written).unwrap_err();
            assert!(errors.contains(told), "{written}: {errors}");
        }
    }

    #[test]
    fn a_server_from_etcd_needs_the_section() {
        let text = "[frontend.a]\nlisten = \"127.0.0.1:1\"\nbackend = \"b\"\n[backend.b]\n\
                    servers = [\"etcd:api\"]\n";
        let no_file = |_: &Path| Err(io::ErrorKind::NotFound.into());
        let errors = crate::parse(text, "c.toml", &|_| None, &no_file).unwrap_err();
        assert_eq!(
            errors.to_string(),
            "c.toml:5:12: `etcd:api` takes servers from etcd; add `[etcd]` with its `endpoints`"
        );
        let with = format!("{text}[etcd]\nendpoints = \"a\"\n");
        assert!(crate::parse(&with, "c.toml", &|_| None, &no_file).is_ok());
    }
}
