//! What may be sent again: one rule and one budget.
//!
//! [`decide`] is asked whenever a try fails. Nothing else in the balancer sends a request twice.
//!
//! ```text
//!   a try failed
//!     | a response byte came, or a timeout ended it ----------------> give up
//!     | every try used -------------------------------------------> give up
//!     | the kernel accepted none of its bytes --------------------> again, free
//!     | not whole in the buffer ----------------------------------> give up
//!     | neither idempotent nor refused unprocessed ---------------> give up
//!     | first redispatch, the connection or its server was dead --> again, free
//!     | the budget has a token -----------------------------------> again, takes it
//!     +-----------------------------------------------------------> give up
//! ```

mod budget;
mod silent;
#[cfg(test)]
mod tests;

pub use budget::Budget;
pub use silent::{Client, SilentEnd};

use crate::Timestamp;

/// The most of a request that is kept for sending it again, in bytes.
pub const MAX_BUFFERED_BYTES: usize = 64 * 1024;

/// A try that failed.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// How it failed.
    pub failure: Failure,
    /// The connection it was sent on.
    pub connection: Connection,
    /// Whether the request may be processed twice.
    pub repeat: Repeat,
    /// Bytes of the request that the kernel accepted on this connection. They may have reached the
    /// server, whatever happened then.
    pub sent_bytes: u64,
    /// Whether all of the request, its body's end included, is still held (at most
    /// [`MAX_BUFFERED_BYTES`]). Where nothing was sent, what was read from the client must be held.
    pub is_buffered_whole: bool,
    /// Whether a byte of the response came, 1xx included: then the server works on it.
    pub has_response_bytes: bool,
    /// Tries before this one.
    pub retries: u32,
    /// Tries before this one that were sent again for a connection or server dead under them.
    pub redispatches: u32,
    /// Tries allowed after the first: the route's, or the backend's.
    pub max_retries: u32,
}

/// How a try failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The connection ended by FIN, RST or an error while the server counted as up.
    Closed,
    /// No connection came to stand within the connect timeout, or it was refused, or we had no
    /// port or descriptor for it.
    Connect,
    /// The server says that it did not process the request: REFUSED_STREAM, or a stream above a
    /// GOAWAY's last (RFC 9113 §8.7).
    RefusedUnprocessed,
    /// The server was marked down, or refuses connections, while the exchange was on it.
    ServerDied,
    /// The response head, or the route's time for all tries, took too long. Not tried again: the
    /// request may be at work, and the client has waited long enough.
    Timeout,
}

/// What carried a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Connection {
    /// Opened for it.
    Fresh,
    /// Used before and idle until then: the server may have closed it in the same moment.
    Reused,
}

/// Whether a request may be processed twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Repeat {
    /// By its method (RFC 9110 §9.2.2), or because it carries the route's idempotency header.
    Idempotent,
    /// By nothing that we know.
    Unsafe,
}

/// What to do about a failed try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Answer the client with an error.
    GiveUp(Reason),
    /// Choose again, another server if there is one.
    RetryElsewhere,
    /// Send it to the same server on a fresh connection: only the idle connection was dead, and
    /// affinity stays as it is.
    RetrySame,
}

/// Why a request is not sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The budget of the backend is spent.
    BudgetSpent,
    /// Too much of it went by to be held.
    NotBuffered,
    /// It may have been processed, and must not be twice.
    NotIdempotent,
    /// The response has begun.
    ResponseBegun,
    /// Its time was over (504).
    Timeout,
    /// Every try was used.
    TriesUsed,
}

impl Repeat {
    /// Whether a request may be processed twice: by its `method`, if that is idempotent by RFC 9110
    /// §9.2.2 (methods are case-sensitive, and those that we do not know are not), or because it
    /// carries the header that the route names, whose value is `idempotency_key`.
    #[must_use]
    pub const fn of_request(method: &[u8], idempotency_key: Option<&[u8]>) -> Self {
        match (method, idempotency_key) {
            (b"GET" | b"HEAD" | b"PUT" | b"DELETE" | b"OPTIONS" | b"TRACE", _) | (_, Some(_)) => {
                Self::Idempotent
            }
            _ => Self::Unsafe,
        }
    }
}

/// Decides whether a failed try is followed by another; takes its token from `budget`, if it costs
/// one.
#[must_use]
pub fn decide(now: Timestamp, attempt: &Attempt, budget: &Budget) -> Verdict {
    if attempt.has_response_bytes {
        return Verdict::GiveUp(Reason::ResponseBegun);
    }
    if attempt.failure == Failure::Timeout {
        return Verdict::GiveUp(Reason::Timeout);
    }
    if attempt.retries >= attempt.max_retries {
        return Verdict::GiveUp(Reason::TriesUsed);
    }
    if attempt.sent_bytes == 0 {
        return place(attempt);
    }
    if !attempt.is_buffered_whole {
        return Verdict::GiveUp(Reason::NotBuffered);
    }
    let is_unprocessed = attempt.failure == Failure::RefusedUnprocessed;
    if attempt.repeat == Repeat::Unsafe && !is_unprocessed {
        return Verdict::GiveUp(Reason::NotIdempotent);
    }
    let is_free = attempt.is_redispatch() && attempt.redispatches == 0;
    if is_free || budget.try_take(now) {
        return place(attempt);
    }
    Verdict::GiveUp(Reason::BudgetSpent)
}

impl Attempt {
    /// Whether another try would be a redispatch: the server, or the idle connection to it, was
    /// dead under this one. The shell counts these in [`Self::redispatches`].
    #[must_use]
    pub fn is_redispatch(&self) -> bool {
        self.failure == Failure::ServerDied || self.is_stale()
    }

    /// Whether this is the close race: an idle connection that the server had given up.
    fn is_stale(&self) -> bool {
        self.failure == Failure::Closed && self.connection == Connection::Reused
    }
}

fn place(attempt: &Attempt) -> Verdict {
    // Only the first time: a server that closes again and again is not only unlucky.
    if attempt.is_stale() && attempt.redispatches == 0 {
        Verdict::RetrySame
    } else {
        Verdict::RetryElsewhere
    }
}
