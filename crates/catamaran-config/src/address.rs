//! Addresses as the configuration writes them.

use catamaran_core::fleet::part_problem;
use catamaran_core::model::ServerAddr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

/// Reads where a server listens.
///
/// # Errors
/// What is wrong, with the remedy.
pub(crate) fn server(text: &str) -> Result<ServerAddr, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix_path(path).map(ServerAddr::Unix);
    }
    if let Some(service) = text.strip_prefix("srv:") {
        let service = service.strip_suffix('.').unwrap_or(service);
        if !is_host(service) {
            return Err(format!(
                "`{text}` is no service name; write it as `srv:_api._tcp.example`"
            ));
        }
        let service = service.to_ascii_lowercase();
        return Ok(ServerAddr::Srv { service });
    }
    if let Some(service) = text.strip_prefix("etcd:") {
        return match part_problem(service) {
            None => Ok(ServerAddr::Etcd {
                service: service.to_owned(),
            }),
            Some(problem) => Err(format!("the service of `{text}` {problem}")),
        };
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return match address.port() {
            0 => Err(format!("`{text}` has port 0; write 1 to 65535")),
            _ => Ok(ServerAddr::Ip(address)),
        };
    }
    named(text)
}

/// Reads an address to listen on. `:80` is every address of both families: `0.0.0.0:80` and
/// `[::]:80`, which are two listeners since an IPv6 one takes no IPv4.
///
/// # Errors
/// What is wrong, with the remedy.
pub fn listen_addresses(text: &str) -> Result<Vec<SocketAddr>, String> {
    let port = text.strip_prefix(':').or_else(|| text.strip_prefix("*:"));
    match port.map(str::parse) {
        Some(Ok(0)) => Err(format!(
            "`{text}` would be another port for IPv4 than for IPv6; write `0.0.0.0:0` or `[::]:0`"
        )),
        Some(Ok(port)) => Ok(vec![
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
            SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)),
        ]),
        Some(Err(_)) | None => listen_address(text).map(|address| vec![address]),
    }
}

/// Reads one address to listen on.
///
/// # Errors
/// What is wrong, with the remedy.
pub(crate) fn listen_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if let Some(port) = text.strip_prefix(':')
        && port.parse::<u16>().is_ok()
    {
        return Err(format!(
            "`{text}` has no address; write `127.0.0.1:{port}` or `0.0.0.0:{port}`"
        ));
    }
    if text.parse::<u16>().is_ok() {
        return Err(format!("`{text}` has no address; write `:{text}`"));
    }
    Err(match named(text) {
        Ok(address) => {
            let port = text.rsplit(':').next().unwrap_or("80");
            format!(
                "`{address}` names a host; listen on an address of this machine, such as \
                 `127.0.0.1:{port}` or `:{port}`"
            )
        }
        Err(message) => message,
    })
}

/// Reads an address whose port may be left out.
///
/// # Errors
/// What is wrong, with the remedy.
pub(crate) fn with_default_port(text: &str, port: u16) -> Result<SocketAddr, String> {
    let address = text.parse::<SocketAddr>().or_else(|_| {
        text.parse::<IpAddr>()
            .map(|ip| SocketAddr::from((ip, port)))
    });
    address.map_err(|_| format!("`{text}` is no address; write it as `10.0.0.53:{port}`"))
}

/// Whether `text` can be a host name: labels of letters, digits, `-` and `_`.
pub(crate) fn is_host(text: &str) -> bool {
    text.len() <= 253
        && text.split('.').all(|label| {
            let bytes = label.as_bytes();
            matches!(bytes.len(), 1..=63)
                && !label.starts_with('-')
                && !label.ends_with('-')
                && bytes
                    .iter()
                    .all(|&b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
}

fn unix_path(path: &str) -> Result<PathBuf, String> {
    // sockaddr_un holds 108 bytes with the final NUL (unix(7)).
    match path {
        _ if !path.starts_with('/') => Err(format!(
            "`unix:{path}` is no absolute path; write it as `unix:/run/app.sock`"
        )),
        _ if path.len() > 107 || path.contains('\0') => Err(format!(
            "the path of `unix:{path}` is too long for a socket; 107 bytes are allowed"
        )),
        _ => Ok(PathBuf::from(path)),
    }
}

/// Reads `host:port`, or says what is missing.
fn named(text: &str) -> Result<ServerAddr, String> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Err(format!(
            "`{text}` has no port; write it as `{}`",
            SocketAddr::from((ip, 80))
        ));
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(match is_host(text) {
            true => format!("`{text}` has no port; write it as `{text}:80`"),
            false => format!("`{text}` is no address; write it as `10.0.0.1:80`"),
        });
    };
    if host.parse::<Ipv6Addr>().is_ok() {
        return Err(format!(
            "`{text}` needs brackets around the IPv6 address; write it as `[{host}]:{port}`"
        ));
    }
    if host.starts_with("http") && host.contains("//") || text.contains("://") {
        return Err(format!(
            "`{text}` is a URL; write only host and port, such as `10.0.0.1:80`"
        ));
    }
    let looks_like_v4 = host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let host = host.strip_suffix('.').unwrap_or(host);
    if looks_like_v4 && host.parse::<IpAddr>().is_err() || !is_host(host) {
        return Err(format!(
            "`{text}` is no address; write it as `10.0.0.1:80`, `[::1]:80` or `host.example:80`"
        ));
    }
    match port.parse() {
        Ok(port @ 1..) => Ok(ServerAddr::Dns {
            host: host.to_ascii_lowercase(),
            port,
        }),
        Ok(0) | Err(_) => Err(format!("`{text}` has no valid port; write 1 to 65535")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_server_is_read() {
        for text in [
            "10.0.0.1:8080",
            "[::1]:80",
            "unix:/run/app.sock",
            "host.example:8080",
            "srv:_api._tcp.example",
            "etcd:api",
        ] {
            assert_eq!(server(text).unwrap().to_string(), text);
        }
        assert_eq!(server("A.Example.:80").unwrap().to_string(), "a.example:80");
    }

    #[test]
    fn a_wrong_server_is_refused_with_its_remedy() {
        for (text, message) in [
            (
                "10.0.0.1",
                "`10.0.0.1` has no port; write it as `10.0.0.1:80`",
            ),
            ("::1", "`::1` has no port; write it as `[::1]:80`"),
            (
                "::1:80:x",
                "`::1:80:x` needs brackets around the IPv6 address; write it as `[::1:80]:x`",
            ),
            ("api", "`api` has no port; write it as `api:80`"),
            ("api:0", "`api:0` has no valid port; write 1 to 65535"),
            (
                "api:70000",
                "`api:70000` has no valid port; write 1 to 65535",
            ),
            ("10.0.0.1:0", "`10.0.0.1:0` has port 0; write 1 to 65535"),
            (
                "http://api:80",
                "`http://api:80` is a URL; write only host and port, such as `10.0.0.1:80`",
            ),
            (
                "10.0.0.256:80",
                "`10.0.0.256:80` is no address; write it as `10.0.0.1:80`, `[::1]:80` or \
                 `host.example:80`",
            ),
            (
                "unix:app.sock",
                "`unix:app.sock` is no absolute path; write it as `unix:/run/app.sock`",
            ),
            (
                "srv:",
                "`srv:` is no service name; write it as `srv:_api._tcp.example`",
            ),
            (
                "etcd:a/b",
                "the service of `etcd:a/b` has other characters than letters, digits, `-`, `_` and `.`",
            ),
        ] {
            assert_eq!(server(text), Err(message.to_owned()));
        }
    }

    #[test]
    fn a_listener_without_address_takes_both_families() {
        let both = ["0.0.0.0:80", "[::]:80"].map(|text| text.parse().unwrap());
        assert_eq!(listen_addresses(":80"), Ok(both.to_vec()));
        assert_eq!(listen_addresses("*:80"), Ok(both.to_vec()));
        let one = vec!["127.0.0.1:0".parse().unwrap()];
        assert_eq!(listen_addresses("127.0.0.1:0"), Ok(one));
        assert_eq!(
            listen_addresses(":0"),
            Err(
                "`:0` would be another port for IPv4 than for IPv6; write `0.0.0.0:0` or `[::]:0`"
                    .to_owned()
            )
        );
        assert_eq!(
            listen_address(":80"),
            Err("`:80` has no address; write `127.0.0.1:80` or `0.0.0.0:80`".to_owned())
        );
        assert_eq!(
            listen_addresses("80"),
            Err("`80` has no address; write `:80`".to_owned())
        );
        assert_eq!(
            listen_addresses("localhost:80"),
            Err(
                "`localhost:80` names a host; listen on an address of this machine, such as \
                 `127.0.0.1:80` or `:80`"
                    .to_owned()
            )
        );
    }
}
