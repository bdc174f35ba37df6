//! Ending a TCP connection without telling the other end.

use crate::check;
use socket2::SockRef;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// How silent the coming close is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// No packet is sent at all.
    Whole,
    /// A reset is sent that the first router on the way drops: only a peer on the same link hears
    /// it.
    BeyondTheLink,
}

/// Makes the close of this TCP socket tell the other end nothing, as far as may be.
///
/// With CAP_NET_ADMIN the socket is put under repair (`TCP_REPAIR`, tcp(7)), whose close frees it
/// alone. Without, the reset that a close with a linger time of zero sends gets a time to live of
/// one hop: HAProxy's `silent-drop` does the same two things in the same order.
///
/// # Errors
/// When the socket is none of TCP.
pub fn set_silent(socket: BorrowedFd<'_>) -> io::Result<Silence> {
    let on: libc::c_int = 1;
    let len = libc::socklen_t::try_from(size_of_val(&on)).expect("an integer is small");
    // SAFETY: the option's value is the integer that is pointed to, with its size.
    let repaired = check(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_REPAIR,
            (&raw const on).cast(),
            len,
        )
    });
    if repaired.is_ok() {
        return Ok(Silence::Whole);
    }
    // A socket of IPv6 may carry IPv4: the hop limit of the other family is not taken then.
    let socket = SockRef::from(&socket);
    let v4 = socket.set_ttl_v4(1);
    let v6 = socket.set_unicast_hops_v6(1);
    v4.or(v6)?;
    socket.set_linger(Some(Duration::ZERO))?;
    Ok(Silence::BeyondTheLink)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd as _;

    #[test]
    fn a_silent_close_frees_the_socket_and_never_ends_it_in_order() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (ours, _) = listener.accept().unwrap();
        let silence = set_silent(ours.as_fd()).unwrap();
        drop(ours);
        client
            .set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        let error = client.read(&mut [0]).unwrap_err();
        let expected = match silence {
            // Loopback is one link.
            Silence::BeyondTheLink => io::ErrorKind::ConnectionReset,
            Silence::Whole => io::ErrorKind::WouldBlock,
        };
        assert_eq!(error.kind(), expected);
    }
}
