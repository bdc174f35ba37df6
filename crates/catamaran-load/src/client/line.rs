//! A connection of whatever version of HTTP its ends speak.

#[cfg(feature = "http3")]
use super::Http3;
use super::{Answer, Connection, Failure, Http2, Kept, RequestText, exchange};

/// A connection on which requests are sent.
#[derive(Debug)]
pub enum Line {
    /// One request after the other.
    Http1(Connection),
    /// Many at once.
    Http2(Http2),
    /// Many at once, over QUIC.
    #[cfg(feature = "http3")]
    Http3(Http3),
}

impl Line {
    /// Begins what was agreed on over TLS.
    pub async fn agreed_on(connection: Connection) -> Result<Self, Failure> {
        if connection.speaks_http2() {
            return Http2::begin(connection).await.map(Self::Http2);
        }
        Ok(Self::Http1(connection))
    }

    /// Sends a request and reads its answer; what is kept of it goes to `kept`.
    pub async fn exchange(
        &mut self,
        request: &RequestText,
        body: &[u8],
        kept: Option<&mut Kept>,
    ) -> Result<Answer, Failure> {
        match self {
            Self::Http1(connection) => {
                exchange(connection, &request.head, body, request.kind, kept).await
            }
            // On the heap: else what most exchanges do not need would be moved about with each.
            Self::Http2(connection) => Box::pin(connection.exchange(request, body, kept)).await,
            #[cfg(feature = "http3")]
            Self::Http3(connection) => Box::pin(connection.exchange(request, body, kept)).await,
        }
    }

    /// The version of TLS and its cipher suite; empty of a plain connection.
    #[must_use]
    pub fn agreed(&self) -> (&'static str, String) {
        match self {
            Self::Http1(connection) => connection.agreed(),
            Self::Http2(connection) => connection.agreed(),
            // QUIC has no other version, and does not say which suite.
            #[cfg(feature = "http3")]
            Self::Http3(_) => ("tls1.3", String::new()),
        }
    }

    /// Another handle of the same connection, of one that can be shared.
    #[must_use]
    pub fn share(&self) -> Option<Self> {
        match self {
            Self::Http1(_) => None,
            Self::Http2(connection) => Some(Self::Http2(connection.clone())),
            #[cfg(feature = "http3")]
            Self::Http3(connection) => Some(Self::Http3(connection.clone())),
        }
    }

    /// Whether no further request can go out, as far as it is known.
    #[must_use]
    pub fn is_over(&self) -> bool {
        match self {
            Self::Http1(connection) => connection.is_closed(),
            Self::Http2(connection) => connection.is_over(),
            #[cfg(feature = "http3")]
            Self::Http3(connection) => connection.is_over(),
        }
    }
}
