//! How an exchange or relay ended: the one table from an end to its status, log code and label.
//!
//! Nothing else chooses a status for an error. The two letters of the log code are HAProxy's
//! (configuration manual §8.5): who ended it (`C` client, `S` server, `P` proxy, lower case for a
//! timeout, `-` nobody), and when (`R` request head, `Q` queue, `C` connecting, `H` response head,
//! `D` data, `L` last data, `-` after the end).

/// How an exchange or relay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The response was passed on whole, or both sides of a relay closed in order.
    Done,
    /// A route answered by itself: a redirect or fixed response.
    Answered,
    /// The request was malformed or ambiguous; carries the status that says how.
    BadRequest(u16),
    /// The request's path climbs above the root or cannot be read in one way.
    BadPath,
    /// The body of the request was malformed.
    BadRequestBody,
    /// The client connected and sent nothing.
    NoRequest,
    /// The client left in the middle of the request's head.
    RequestCut,
    /// The head of the request did not come in time.
    RequestTimeout,
    /// The body of the request stopped coming.
    RequestBodyTimeout,
    /// The client left before the response was complete.
    ClientGone,
    /// The client stopped reading the response.
    ClientStalled,
    /// The client's key asked more often than its limit.
    RateLimited,
    /// The client may not come, or the route refuses everybody.
    Forbidden,
    /// The client did not show what was asked for.
    Unauthorized,
    /// It was refused without being told.
    Dropped,
    /// It was kept waiting before it was refused with this status.
    Tarpitted(u16),
    /// The client's address holds as many connections as it may.
    TooManyConnections,
    /// No route takes the request.
    NoRoute,
    /// No server of the backend is usable.
    NoServer,
    /// Every server was full and so was the queue.
    QueueFull,
    /// Every server was full for the queue's timeout.
    QueueTimeout,
    /// No connection to a server could be made.
    ConnectFailed,
    /// Connecting to the server took too long.
    ConnectTimeout,
    /// The server broke or closed the connection before its response.
    ServerClosed,
    /// The server was marked down before its response.
    ServerDown,
    /// The response was malformed.
    BadResponse,
    /// The response's head did not come in time.
    ResponseTimeout,
    /// The response was cut in the middle.
    Truncated,
    /// The body of the response stopped coming.
    ResponseBodyTimeout,
    /// No byte went either way for the idle time.
    IdleTimeout,
    /// This process lacked something: descriptors, ports, memory.
    Exhausted,
    /// The flow had to give way to a new one.
    Evicted,
    /// Its listener was removed, and the time to drain it is over.
    ListenerClosed,
}

/// What follows from an [`Outcome`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consequence {
    /// Status to answer with when no response was begun.
    pub status: u16,
    /// HAProxy's two letters.
    pub log_code: &'static str,
    /// Label of metrics and last words of the plain error body.
    pub label: &'static str,
}

/// Whose doing the end of an exchange was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// It went well.
    Ok,
    /// The client's: it left, stalled, or asked for what is not served.
    Client,
    /// A limit that was set: of rate, of connections, of the queue, of who may come.
    Limit,
    /// The servers': none usable, none that answered, or an answer cut short.
    Server,
    /// This process's: it lacked something.
    Own,
}

impl Class {
    /// Every class, in the order of [`Self::index`].
    pub const ALL: [Self; 5] = [Self::Ok, Self::Client, Self::Limit, Self::Server, Self::Own];

    /// Place in [`Self::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl Outcome {
    /// Every outcome, in the order of [`Self::index`].
    pub const ALL: [Self; 33] = [
        Self::Done,
        Self::Answered,
        Self::BadRequest(400),
        Self::BadPath,
        Self::BadRequestBody,
        Self::NoRequest,
        Self::RequestCut,
        Self::RequestTimeout,
        Self::RequestBodyTimeout,
        Self::ClientGone,
        Self::ClientStalled,
        Self::RateLimited,
        Self::Unauthorized,
        Self::Forbidden,
        Self::Dropped,
        Self::Tarpitted(403),
        Self::TooManyConnections,
        Self::NoRoute,
        Self::NoServer,
        Self::QueueFull,
        Self::QueueTimeout,
        Self::ConnectFailed,
        Self::ConnectTimeout,
        Self::ServerClosed,
        Self::ServerDown,
        Self::BadResponse,
        Self::ResponseTimeout,
        Self::Truncated,
        Self::ResponseBodyTimeout,
        Self::IdleTimeout,
        Self::Exhausted,
        Self::Evicted,
        Self::ListenerClosed,
    ];

    /// Place in [`Self::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Done => 0,
            Self::Answered => 1,
            Self::BadRequest(_) => 2,
            Self::BadPath => 3,
            Self::BadRequestBody => 4,
            Self::NoRequest => 5,
            Self::RequestCut => 6,
            Self::RequestTimeout => 7,
            Self::RequestBodyTimeout => 8,
            Self::ClientGone => 9,
            Self::ClientStalled => 10,
            Self::RateLimited => 11,
            Self::Unauthorized => 12,
            Self::Forbidden => 13,
            Self::Dropped => 14,
            Self::Tarpitted(_) => 15,
            Self::TooManyConnections => 16,
            Self::NoRoute => 17,
            Self::NoServer => 18,
            Self::QueueFull => 19,
            Self::QueueTimeout => 20,
            Self::ConnectFailed => 21,
            Self::ConnectTimeout => 22,
            Self::ServerClosed => 23,
            Self::ServerDown => 24,
            Self::BadResponse => 25,
            Self::ResponseTimeout => 26,
            Self::Truncated => 27,
            Self::ResponseBodyTimeout => 28,
            Self::IdleTimeout => 29,
            Self::Exhausted => 30,
            Self::Evicted => 31,
            Self::ListenerClosed => 32,
        }
    }

    /// Whose doing it was.
    #[must_use]
    pub const fn class(self) -> Class {
        match self {
            Self::Done | Self::Answered => Class::Ok,
            Self::BadRequest(_)
            | Self::BadPath
            | Self::BadRequestBody
            | Self::NoRequest
            | Self::RequestCut
            | Self::RequestTimeout
            | Self::RequestBodyTimeout
            | Self::ClientGone
            | Self::ClientStalled
            | Self::NoRoute
            | Self::Forbidden
            | Self::Unauthorized
            | Self::IdleTimeout => Class::Client,
            Self::RateLimited
            | Self::Dropped
            | Self::Tarpitted(_)
            | Self::TooManyConnections
            | Self::QueueFull
            | Self::QueueTimeout => Class::Limit,
            Self::NoServer
            | Self::ConnectFailed
            | Self::ConnectTimeout
            | Self::ServerClosed
            | Self::ServerDown
            | Self::BadResponse
            | Self::ResponseTimeout
            | Self::Truncated
            | Self::ResponseBodyTimeout => Class::Server,
            Self::Exhausted | Self::Evicted | Self::ListenerClosed => Class::Own,
        }
    }

    /// What it is called where the end of a listener brought it about: that ends what is left as if
    /// it were late.
    #[must_use]
    pub const fn at_closed_listener(self) -> Self {
        match self {
            Self::RequestTimeout
            | Self::RequestBodyTimeout
            | Self::ClientStalled
            | Self::QueueTimeout
            | Self::ConnectTimeout
            | Self::ResponseTimeout
            | Self::Truncated
            | Self::ResponseBodyTimeout
            | Self::IdleTimeout
            | Self::Evicted => Self::ListenerClosed,
            other => other,
        }
    }

    /// What follows from it.
    #[must_use]
    pub const fn consequence(self) -> Consequence {
        let (status, log_code, label) = match self {
            Self::Done => (200, "--", "done"),
            Self::Answered => (200, "LR", "answered"),
            Self::BadRequest(status) => (status, "PR", "bad-request"),
            Self::BadPath => (400, "PR", "bad-path"),
            Self::BadRequestBody => (400, "CD", "bad-request-body"),
            Self::NoRequest => (400, "CR", "no-request"),
            Self::RequestCut => (400, "CR", "request-cut"),
            Self::RequestTimeout => (408, "cR", "request-timeout"),
            Self::RequestBodyTimeout => (408, "cD", "request-body-timeout"),
            Self::ClientGone => (499, "CD", "client-gone"),
            Self::ClientStalled => (499, "cD", "client-stalled"),
            Self::RateLimited => (429, "PR", "rate-limited"),
            Self::Unauthorized => (401, "PR", "unauthorized"),
            Self::Forbidden => (403, "PR", "forbidden"),
            Self::Dropped => (403, "PR", "dropped"),
            Self::Tarpitted(status) => (status, "PT", "tarpitted"),
            Self::TooManyConnections => (429, "PR", "too-many-connections"),
            Self::NoRoute => (404, "PR", "no-route"),
            Self::NoServer => (503, "SC", "no-server"),
            Self::QueueFull => (503, "PQ", "queue-full"),
            Self::QueueTimeout => (503, "sQ", "queue-timeout"),
            Self::ConnectFailed => (503, "SC", "connect-failed"),
            Self::ConnectTimeout => (504, "sC", "connect-timeout"),
            Self::ServerClosed => (502, "SH", "server-closed"),
            Self::ServerDown => (502, "DH", "server-down"),
            Self::BadResponse => (502, "PH", "bad-response"),
            Self::ResponseTimeout => (504, "sH", "response-timeout"),
            Self::Truncated => (502, "SD", "truncated"),
            Self::ResponseBodyTimeout => (504, "sD", "response-body-timeout"),
            Self::IdleTimeout => (504, "cD", "idle-timeout"),
            Self::Exhausted => (503, "RC", "exhausted"),
            Self::Evicted => (503, "RD", "evicted"),
            Self::ListenerClosed => (503, "KD", "listener-closed"),
        };
        Consequence {
            status,
            log_code,
            label,
        }
    }

    /// One sentence for the client, without anything of the inside.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::BadRequest(404) | Self::NoRoute => "nothing is served here",
            Self::BadRequest(405 | 501) => "this method is not served here",
            Self::BadRequest(_) | Self::BadPath | Self::BadRequestBody => {
                "the request could not be understood"
            }
            Self::RequestTimeout | Self::RequestBodyTimeout => {
                "the request took too long to arrive"
            }
            Self::Unauthorized => "show who you are",
            Self::Forbidden | Self::Tarpitted(403) => "you may not come here",
            Self::RateLimited | Self::Tarpitted(_) => "too many requests; try again later",
            Self::TooManyConnections => "too many connections from this address",
            Self::NoServer | Self::ConnectFailed => "no server is available",
            Self::QueueFull | Self::QueueTimeout => "every server is busy",
            Self::ConnectTimeout | Self::ResponseTimeout | Self::ResponseBodyTimeout => {
                "the server did not answer in time"
            }
            Self::ServerClosed | Self::ServerDown | Self::BadResponse | Self::Truncated => {
                "the server failed to answer"
            }
            Self::Exhausted => "the balancer is out of resources",
            Self::Done
            | Self::Answered
            | Self::NoRequest
            | Self::RequestCut
            | Self::Dropped
            | Self::ClientGone
            | Self::ClientStalled
            | Self::IdleTimeout
            | Self::Evicted
            | Self::ListenerClosed => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_finds_its_place() {
        for (place, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome.index(), place);
        }
        for (place, class) in Class::ALL.into_iter().enumerate() {
            assert_eq!(class.index(), place);
        }
    }

    #[test]
    fn the_documentation_explains_every_outcome() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operations.md");
        let text = std::fs::read_to_string(path).unwrap();
        for outcome in Outcome::ALL {
            let Consequence {
                status,
                log_code,
                label,
            } = outcome.consequence();
            // Of these two the status is the server's, or the route's.
            let status = match outcome {
                Outcome::Done | Outcome::Answered => "–".to_owned(),
                _ => status.to_string(),
            };
            let row = format!("\n| `{label}` | {status} | `{log_code}` | ");
            assert!(text.contains(&row), "docs/operations.md lacks {row}");
        }
    }

    #[test]
    fn labels_are_distinct_words() {
        let mut labels: Vec<_> = Outcome::ALL
            .iter()
            .map(|outcome| outcome.consequence().label)
            .collect();
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), Outcome::ALL.len());
        assert!(
            labels
                .iter()
                .all(|label| label.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'))
        );
    }
}
