//! Whose fault a failed connection attempt or a timeout was.

use crate::Timestamp;
use std::io;
use std::time::Duration;

/// Whom a failure counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blame {
    /// This machine ran out of something; the server was not even asked.
    Ours,
    /// The server, or the network to it.
    Server,
}

impl Blame {
    /// Whom the failure of connect(2), or of making the socket for it, counts against.
    ///
    /// Only lack of our own resources is ours: ports, descriptors, buffers, memory.
    #[must_use]
    pub fn of_connect_error(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(EADDRNOTAVAIL | EAGAIN | EMFILE | ENFILE | ENOBUFS | ENOMEM) => Self::Ours,
            _ => Self::Server,
        }
    }

    /// Whom a timeout counts against whose timer was set for `due_at` and ran at `now`. If we come
    /// late ourselves, the answer may have been waiting for us all the while.
    #[must_use]
    pub fn of_timeout(due_at: Timestamp, now: Timestamp) -> Self {
        if now.saturating_since(due_at) > MAX_TIMER_DELAY {
            Self::Ours
        } else {
            Self::Server
        }
    }
}

/// How late a timer may run before it is starved. Chosen: far above a busy worker's turn, below
/// every timeout that decides about a server.
const MAX_TIMER_DELAY: Duration = Duration::from_millis(100);

// Linux's numbers, the same on every architecture we build for; the core links no C library.
const EAGAIN: i32 = 11;
const ENOMEM: i32 = 12;
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;
const EADDRNOTAVAIL: i32 = 99;
const ENOBUFS: i32 = 105;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_failures_never_count_against_a_server() {
        for errno in [EADDRNOTAVAIL, EMFILE, ENFILE, ENOBUFS, ENOMEM, EAGAIN] {
            let error = io::Error::from_raw_os_error(errno);
            assert_eq!(Blame::of_connect_error(&error), Blame::Ours, "{error}");
        }
        let no_ports = io::Error::from_raw_os_error(EADDRNOTAVAIL);
        assert_eq!(no_ports.kind(), io::ErrorKind::AddrNotAvailable);
    }

    #[test]
    fn a_starved_timer_never_counts_against_a_server() {
        let due_at = Timestamp::ZERO + Duration::from_secs(1);
        let on_time = due_at + Duration::from_millis(100);
        assert_eq!(Blame::of_timeout(due_at, on_time), Blame::Server);
        let late = due_at + Duration::from_millis(101);
        assert_eq!(Blame::of_timeout(due_at, late), Blame::Ours);
    }

    #[test]
    fn refusals_and_silence_count_against_the_server() {
        for kind in [
            io::ErrorKind::ConnectionRefused,
            io::ErrorKind::TimedOut,
            io::ErrorKind::HostUnreachable,
        ] {
            assert_eq!(Blame::of_connect_error(&kind.into()), Blame::Server);
        }
    }
}
