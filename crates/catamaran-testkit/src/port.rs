//! Ports that belong to one test.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

/// A TCP port of 127.0.0.1 that nobody gets by chance: the kernel gives it to no other socket that
/// asks for any port. Connections to it are refused.
///
/// Whoever is told of it may listen on it with `SO_REUSEADDR`, as [`std::net::TcpListener`] does,
/// and end and listen again: what comes in between is refused and reaches no other test.
#[derive(Debug)]
pub struct ReservedPort {
    /// Bound and never listening.
    socket: Socket,
}

impl ReservedPort {
    /// Reserves a port that the kernel chooses.
    pub fn any() -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
        Ok(Self { socket })
    }

    /// The port with its address.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        let addr = self.socket.local_addr().ok();
        addr.and_then(|addr| addr.as_socket())
            .expect("a bound socket of IPv4 has such an address")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Client, Origin};

    #[test]
    fn a_reserved_port_refuses_before_and_after_somebody_listens_on_it() {
        let port = ReservedPort::any().unwrap();
        for _ in 0..2 {
            assert!(Client::connect(port.addr()).is_err());
            let _origin = Origin::fixed(200, "ok").at(port.addr()).start().unwrap();
            let mut client = Client::connect(port.addr()).unwrap();
            assert_eq!(client.get("/").unwrap().status, 200);
        }
        assert!(Client::connect(port.addr()).is_err());
    }
}
