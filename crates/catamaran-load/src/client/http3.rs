//! HTTP/3 (RFC 9114): many requests at once over one QUIC connection, on the crates `quinn` and `h3`.
//!
//! Each connection has a UDP socket of its own, as one of TCP has.

use std::cell::Cell;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use catamaran_sys::clock::now_nanos;
use h3::client::{RequestStream, SendRequest};
use h3::error::StreamError;
use h3_quinn::{BidiStream, OpenStreams};
use quinn::crypto::rustls::QuicClientConfig;
use tokio::task::AbortHandle;

use super::exchange::MAX_BODY;
use super::http2::head_text;
use super::{Answer, Failure, Kept, Phases, RequestText, TlsClient};

/// A connection that many requests share. Clones are the same connection, which is closed with the last.
#[derive(Clone)]
pub struct Http3 {
    sender: SendRequest<OpenStreams, Bytes>,
    line: Rc<Line>,
}

impl fmt::Debug for Http3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http3")
            .field("line", &self.line)
            .finish_non_exhaustive()
    }
}

/// What all clones share.
#[derive(Debug)]
struct Line {
    connection: quinn::Connection,
    /// What speaks HTTP/3 beside the requests.
    driver: AbortHandle,
    /// Bytes sent and received that were taken into account.
    counted: Cell<(u64, u64)>,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.driver.abort();
        self.connection.close(NO_ERROR, b"");
    }
}

impl Http3 {
    /// Connects to the host of this name at this address, from the address `source` of this machine or from
    /// the one that the system chooses.
    ///
    /// Must be called where tasks of this thread run (a `LocalSet`).
    pub async fn connect(
        addr: SocketAddr,
        source: Option<IpAddr>,
        host: &str,
        client: &TlsClient,
    ) -> Result<Self, Failure> {
        let source = source.unwrap_or_else(|| match addr {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        });
        let source = SocketAddr::new(source, 0);
        let tls = QuicClientConfig::try_from(client.http3())
            .map_err(|error| Failure::Tls(error.to_string()))?;
        let endpoint =
            quinn::Endpoint::client(source).map_err(|error| Failure::connecting(&error))?;
        let config = quinn::ClientConfig::new(Arc::new(tls));
        let connecting = endpoint
            .connect_with(config, addr, host)
            .map_err(|error| Failure::Connect(error.to_string()))?;
        let connection = connecting.await.map_err(|error| failed(&error))?;
        let quic = h3_quinn::Connection::new(connection.clone());
        let opened = h3::client::new(quic).await;
        let (mut driver, sender) = opened.map_err(|error| Failure::Http3(error.to_string()))?;
        let driver = tokio::task::spawn_local(async move {
            // How it ended is told to each request.
            driver.wait_idle().await;
        });
        Ok(Self {
            sender,
            line: Rc::new(Line {
                connection,
                driver: driver.abort_handle(),
                counted: Cell::default(),
            }),
        })
    }

    /// Whether no further request can go out.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.line.driver.is_finished() || self.line.connection.close_reason().is_some()
    }

    /// Sends a request and reads its answer; what is kept of it goes to `kept`, the head as
    /// HTTP/1.1 would have it.
    pub async fn exchange(
        &self,
        request: &RequestText,
        body: &[u8],
        kept: Option<&mut Kept>,
    ) -> Result<Answer, Failure> {
        let result = self.try_exchange(request, body, kept).await;
        // Of a connection that ended, why it did is known better there.
        result.map_err(|failure| match self.line.connection.close_reason() {
            Some(quinn::ConnectionError::TimedOut) => Failure::Closed,
            Some(quinn::ConnectionError::Reset) => Failure::Reset,
            Some(reason) if failure != Failure::Closed => Failure::Http3(reason.to_string()),
            _ => failure,
        })
    }

    async fn try_exchange(
        &self,
        request: &RequestText,
        body: &[u8],
        kept: Option<&mut Kept>,
    ) -> Result<Answer, Failure> {
        let begin = now_nanos();
        let head = request.to_http(true)?;
        let mut sender = self.sender.clone();
        let mut stream = sender.send_request(head).await.map_err(of_stream)?;
        if !body.is_empty() {
            let body = Bytes::copy_from_slice(body);
            stream.send_data(body).await.map_err(of_stream)?;
        }
        stream.finish().await.map_err(of_stream)?;
        let sent = now_nanos();
        let answer = stream.recv_response().await.map_err(of_stream)?;
        let first = now_nanos();
        let (head, ()) = answer.into_parts();
        read_body(&head, &mut stream, kept).await?;
        let end = now_nanos();
        let moved = self.take_moved();
        Ok(Answer {
            status: head.status.as_u16(),
            keeps_connection: !self.is_over(),
            sent: moved.0,
            received: moved.1,
            phases: Phases {
                sending: sent - begin,
                waiting: first.saturating_sub(sent),
                receiving: end.saturating_sub(first),
                ..Phases::default()
            },
        })
    }

    /// Bytes of datagrams sent and received since this was last asked, of all requests together.
    fn take_moved(&self) -> (u64, u64) {
        let stats = self.line.connection.stats();
        let all = (stats.udp_tx.bytes, stats.udp_rx.bytes);
        let before = self.line.counted.replace(all);
        (all.0 - before.0, all.1 - before.1)
    }
}

async fn read_body(
    head: &http::response::Parts,
    stream: &mut RequestStream<BidiStream<Bytes>, Bytes>,
    mut kept: Option<&mut Kept>,
) -> Result<(), Failure> {
    if let Some(kept) = kept.as_deref_mut() {
        kept.head = head_text("HTTP/3.0", head);
        kept.body.clear();
    }
    while let Some(mut data) = stream.recv_data().await.map_err(of_stream)? {
        let len = data.remaining();
        let Some(kept) = kept.as_deref_mut().filter(|kept| !kept.skips_body) else {
            continue;
        };
        if kept.body.len() + len > MAX_BODY {
            return Err(Failure::TooLarge(MAX_BODY));
        }
        kept.body.extend_from_slice(&data.copy_to_bytes(len));
    }
    stream.recv_trailers().await.map_err(of_stream)?;
    Ok(())
}

/// Why a connection could not be had.
fn failed(error: &quinn::ConnectionError) -> Failure {
    match error {
        quinn::ConnectionError::TimedOut => Failure::ConnectTimeout,
        quinn::ConnectionError::TransportError(error) => {
            // The alerts of TLS; what rustls says stands in the text.
            match error.reason.as_str() {
                reason if reason.contains("UnknownIssuer") => Failure::UnknownAuthority,
                reason if reason.contains("CaUsedAsEndEntity") => Failure::UnknownAuthority,
                reason if reason.contains("NotValidForName") => Failure::OtherName,
                reason if reason.contains("certificate") => Failure::Tls(reason.to_owned()),
                _ => Failure::Http3(error.to_string()),
            }
        }
        quinn::ConnectionError::Reset => Failure::Reset,
        error => Failure::Http3(error.to_string()),
    }
}

/// Why a request failed, as far as it says itself.
#[expect(clippy::needless_pass_by_value, reason = "what errors are mapped by")]
fn of_stream(error: StreamError) -> Failure {
    if error.is_h3_no_error() {
        return Failure::Closed;
    }
    Failure::Http3(error.to_string())
}

/// `H3_NO_ERROR` (RFC 9114 §8.1).
const NO_ERROR: quinn::VarInt = quinn::VarInt::from_u32(0x100);
