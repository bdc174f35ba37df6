//! Servers that end a relayed connection without having said anything.
//!
//! A relay knows no requests. Where the operator says that repeating is harmless, its first bytes are
//! kept until the server's first byte, and [`decide`](super::decide) is asked as for a request. What
//! counts as a failed try is said here.

use super::Failure;

/// How a server ended a connection on which it had said nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SilentEnd {
    /// By a FIN: it closed in order, or was killed when it had read all that it was sent.
    Closed,
    /// By a RST or an error: it refused, or was killed with bytes unread.
    Reset,
    /// It was marked down, or refuses connections.
    MarkedDown,
}

/// Whether a client has sent bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Client {
    /// It has.
    Spoke,
    /// It has not, though it had a moment for it when the server closed.
    Silent,
}

impl SilentEnd {
    /// What failed, if something did, towards a client that has sent bytes or none.
    ///
    /// The kernel closes the connections of a killed process as it does those of one that ends in
    /// order, so that a FIN in answer to bytes counts. To a client that said nothing it is an answer:
    /// its turn was over, or it looked only whether the port is open.
    #[must_use]
    pub const fn failure(self, client: Client) -> Option<Failure> {
        match self {
            Self::Closed if matches!(client, Client::Silent) => None,
            Self::Closed | Self::Reset => Some(Failure::Closed),
            Self::MarkedDown => Some(Failure::ServerDied),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_in_answer_to_bytes_is_a_failure() {
        assert_eq!(
            SilentEnd::Closed.failure(Client::Spoke),
            Some(Failure::Closed)
        );
    }

    #[test]
    fn a_close_towards_a_silent_client_is_an_answer() {
        assert_eq!(SilentEnd::Closed.failure(Client::Silent), None);
    }

    #[test]
    fn a_reset_and_a_server_marked_down_are_failures_whatever_was_sent() {
        for client in [Client::Spoke, Client::Silent] {
            assert_eq!(SilentEnd::Reset.failure(client), Some(Failure::Closed));
            let down = SilentEnd::MarkedDown.failure(client);
            assert_eq!(down, Some(Failure::ServerDied));
        }
    }
}
