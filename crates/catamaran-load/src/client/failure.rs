//! Why an exchange failed, with the codes that k6's scripts know.

use std::io;

use catamaran_http1::{ChunkError, ResponseError};

use super::http2::Http2Failure;
use super::websocket::FrameError;

/// Why there is no whole answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The name of the target has no address.
    #[error("lookup {name}: {why}")]
    Lookup {
        /// The name.
        name: String,
        /// What the system says.
        why: String,
    },
    /// The option `blockHostnames` has the name.
    #[error("hostname is blocked")]
    Blocked,
    /// The option `blacklistIPs` has the address.
    #[error("ip is blacklisted")]
    Forbidden,
    /// Nobody listens there.
    #[error("dial: connection refused")]
    Refused,
    /// The connection was not there in time.
    #[error("dial: i/o timeout")]
    ConnectTimeout,
    /// Connecting failed otherwise.
    #[error("dial: {0}")]
    Connect(String),
    /// The answer was not there in time.
    #[error("request timeout")]
    Timeout,
    /// The target reset the connection.
    #[error("connection reset by peer")]
    Reset,
    /// The target closed the connection before the answer was whole.
    #[error("EOF")]
    Closed,
    /// Reading or writing failed otherwise.
    #[error("{0}")]
    Io(String),
    /// The answer is not HTTP, or cannot be told apart from what follows it.
    #[error("malformed answer: {0}")]
    Malformed(String),
    /// TLS failed.
    #[error("tls: {0}")]
    Tls(String),
    /// Nobody whom this machine trusts vouches for the target's certificate.
    #[error("x509: certificate signed by unknown authority")]
    UnknownAuthority,
    /// The certificate is for another name.
    #[error("x509: certificate is not valid for this name")]
    OtherName,
    /// There is no WebSocket.
    #[error("websocket: {0}")]
    WebSocket(String),
    /// What came over a WebSocket is no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// HTTP/2 failed.
    #[error(transparent)]
    Http2(#[from] Http2Failure),
    /// HTTP/3 or QUIC failed.
    #[error("http3: {0}")]
    Http3(String),
    /// The answer is larger than is kept.
    #[error("answer larger than {0} bytes")]
    TooLarge(usize),
}

impl Failure {
    /// The code of this failure in `error_code`.
    #[must_use]
    pub const fn code(&self) -> u16 {
        match self {
            Self::Io(_)
            | Self::Closed
            | Self::Malformed(_)
            | Self::TooLarge(_)
            | Self::WebSocket(_)
            | Self::Frame(_)
            | Self::Http3(_) => 1000,
            Self::Timeout => 1050,
            Self::Lookup { .. } => 1101,
            Self::Forbidden => 1110,
            Self::Blocked => 1111,
            Self::Connect(_) => 1210,
            Self::ConnectTimeout => 1211,
            Self::Refused => 1212,
            Self::Reset => 1220,
            Self::Tls(_) => 1300,
            Self::UnknownAuthority => 1310,
            Self::OtherName => 1311,
            Self::Http2(failure) => failure.code(),
        }
    }

    /// What a failed connect was.
    #[must_use]
    pub fn connecting(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::TimedOut => Self::ConnectTimeout,
            _ => Self::Connect(error.to_string()),
        }
    }

    /// Whether the target said that it did nothing with the request.
    #[must_use]
    pub const fn is_unprocessed(&self) -> bool {
        matches!(self, Self::Http2(failure) if failure.is_unprocessed())
    }

    /// Whether an idle connection may have died before the target saw the request.
    #[must_use]
    pub const fn is_stale_connection(&self) -> bool {
        match self {
            Self::Reset | Self::Closed => true,
            Self::Http2(failure) => failure.is_unprocessed(),
            _ => false,
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Self::Reset,
            io::ErrorKind::TimedOut => Self::Timeout,
            io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Io(error.to_string()),
        }
    }
}

impl From<ResponseError> for Failure {
    fn from(error: ResponseError) -> Self {
        Self::Malformed(error.to_string())
    }
}

impl From<ChunkError> for Failure {
    fn from(error: ChunkError) -> Self {
        Self::Malformed(error.to_string())
    }
}
