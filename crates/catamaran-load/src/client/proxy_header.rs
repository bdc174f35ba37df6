//! PROXY protocol headers, versions 1 and 2, of connections that speak for themselves.
//!
//! <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>, §2.1 and §2.2. The addresses are
//! those of the connection itself, which is what a target behind a relay would see of this client.

use std::net::{IpAddr, SocketAddr};

/// Which header a connection begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyHeader {
    /// None.
    #[default]
    None,
    /// The line of version 1.
    V1,
    /// The bytes of version 2.
    V2,
}

impl ProxyHeader {
    /// The header of a connection between these addresses; of a unix socket there are none.
    #[must_use]
    pub fn bytes(self, source: Option<SocketAddr>, destination: Option<SocketAddr>) -> Vec<u8> {
        let ends = source.zip(destination);
        match (self, ends) {
            (Self::None, _) => Vec::new(),
            (Self::V1, None) => b"PROXY UNKNOWN\r\n".to_vec(),
            (Self::V1, Some((source, destination))) => {
                let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
                format!(
                    "PROXY {family} {} {} {} {}\r\n",
                    source.ip(),
                    destination.ip(),
                    source.port(),
                    destination.port()
                )
                .into_bytes()
            }
            (Self::V2, None) => [SIGNATURE, &[LOCAL, 0, 0, 0]].concat(),
            (Self::V2, Some((source, destination))) => version_2(source, destination),
        }
    }
}

fn version_2(source: SocketAddr, destination: SocketAddr) -> Vec<u8> {
    let mut addresses = Vec::with_capacity(36);
    for addr in [source, destination] {
        match addr.ip() {
            IpAddr::V4(ip) => addresses.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => addresses.extend_from_slice(&ip.octets()),
        }
    }
    for addr in [source, destination] {
        addresses.extend_from_slice(&addr.port().to_be_bytes());
    }
    let family = if source.is_ipv4() { TCP4 } else { TCP6 };
    let len = u8::try_from(addresses.len()).unwrap_or(u8::MAX);
    [SIGNATURE, &[PROXY, family, 0, len], &addresses].concat()
}

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_have_the_bytes_of_the_specification() {
        let v4 = (
            Some("192.0.2.1:1000".parse().unwrap()),
            Some("192.0.2.2:80".parse().unwrap()),
        );
        let v6 = (
            Some("[2001:db8::1]:1".parse().unwrap()),
            Some("[2001:db8::2]:2".parse().unwrap()),
        );
        assert_eq!(
            ProxyHeader::V1.bytes(v4.0, v4.1),
            b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n"
        );
        assert_eq!(
            ProxyHeader::V1.bytes(v6.0, v6.1),
            b"PROXY TCP6 2001:db8::1 2001:db8::2 1 2\r\n"
        );
        let bytes = ProxyHeader::V2.bytes(v4.0, v4.1);
        assert_eq!(bytes[..12], *SIGNATURE);
        assert_eq!(
            bytes[12..],
            [0x21, 0x11, 0, 12, 192, 0, 2, 1, 192, 0, 2, 2, 3, 232, 0, 80]
        );
        assert_eq!(ProxyHeader::V2.bytes(v6.0, v6.1).len(), 16 + 36);
        assert!(ProxyHeader::None.bytes(v4.0, v4.1).is_empty());
        assert_eq!(ProxyHeader::V1.bytes(None, None), b"PROXY UNKNOWN\r\n");
    }
}
