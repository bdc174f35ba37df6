//! A configuration from a command line instead of a file.

use crate::address;
use crate::error::{Errors, Finding};
use catamaran_core::model::{
    Backend, BackendId, Config, Frontend, Name, Protocol, Server, ServerAddr,
};
use std::net::SocketAddr;

/// One frontend on `listen` before `servers`, with every default: `catamaran run --listen ADDR
/// --server ADDR`. Servers are written as in a file.
///
/// # Errors
/// All addresses that are wrong, each with its remedy.
pub fn ad_hoc<T: AsRef<str>>(
    protocol: Protocol,
    listen: Vec<SocketAddr>,
    servers: &[T],
) -> Result<Config, Errors> {
    let mut findings = Vec::new();
    let mut complain = |flag: &str, message: String| {
        findings.push(Finding {
            file: flag.to_owned(),
            place: None,
            message,
        });
    };
    if listen.is_empty() {
        complain(
            "--listen",
            "no address to listen on; add `--listen 127.0.0.1:8080`".to_owned(),
        );
    }
    for (index, address) in listen.iter().enumerate() {
        if address.port() != 0 && listen[..index].contains(address) {
            complain(
                "--listen",
                format!("`{address}` is written twice; remove one"),
            );
        }
    }
    if servers.is_empty() {
        complain(
            "--server",
            "no servers; add `--server 127.0.0.1:8081`".to_owned(),
        );
    }
    let mut known: Vec<Server> = Vec::with_capacity(servers.len());
    for text in servers {
        let text = text.as_ref();
        match address::server(text) {
            Err(message) => complain("--server", message),
            Ok(address) if known.iter().any(|server| server.address == address) => {
                complain("--server", format!("`{text}` is written twice; remove one"));
            }
            Ok(ServerAddr::Unix(_)) if protocol == Protocol::Udp => complain(
                "--server",
                format!("`{text}` is a stream socket, which takes no UDP; write an address"),
            ),
            Ok(address) => known.push(Server::new(address)),
        }
    }
    if !findings.is_empty() {
        return Err(Errors::new(findings));
    }
    let name = Name::new("main");
    Ok(Config {
        frontends: vec![Frontend::new(name.clone(), protocol, listen, BackendId(0))],
        backends: vec![Backend::new(name, known)],
        ..Config::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_makes_one_frontend_and_one_backend() {
        let listen = vec!["127.0.0.1:80".parse().unwrap()];
        let config = ad_hoc(Protocol::Tcp, listen, &["127.0.0.1:81", "b.example:80"]).unwrap();
        assert_eq!(config.frontends[0].protocol, Protocol::Tcp);
        assert_eq!(config.frontends[0].backend, Some(BackendId(0)));
        assert_eq!(config.backends[0].servers.len(), 2);
    }

    #[test]
    fn every_mistake_of_a_command_line_is_told_with_its_flag() {
        let errors = ad_hoc(Protocol::Udp, Vec::new(), &["a", "b:80", "b:80", "unix:/s"]);
        assert_eq!(
            errors.unwrap_err().to_string(),
            "--listen: no address to listen on; add `--listen 127.0.0.1:8080`\n\
             --server: `a` has no port; write it as `a:80`\n\
             --server: `b:80` is written twice; remove one\n\
             --server: `unix:/s` is a stream socket, which takes no UDP; write an address"
        );
    }
}
