//! HTTP/2 (RFC 9113): many requests at once over one connection, on the crate `h2`.
//!
//! `h2` has framing, header compression, flow control and limits of streams; here are what goes in and
//! out of it, what each phase took, and what its failures are in the words of k6.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::{fmt, io};

use bytes::Bytes;
use catamaran_sys::clock::now_nanos;
use h2::client::{ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::AbortHandle;

use super::connection::Stream;
use super::exchange::MAX_BODY;
use super::{Answer, Connection, Failure, Kept, Phases, RequestText};

/// A connection that many requests share. Clones are the same connection, which is closed with the last.
#[derive(Clone)]
pub struct Http2 {
    sender: SendRequest<Bytes>,
    line: Rc<Line>,
}

impl fmt::Debug for Http2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Http2")
            .field("line", &self.line)
            .finish_non_exhaustive()
    }
}

/// What all clones share.
#[derive(Debug)]
struct Line {
    counted: Rc<Counted>,
    /// Why it ended.
    ended: Rc<RefCell<Option<Failure>>>,
    /// What reads and writes.
    driver: AbortHandle,
    remote: Option<SocketAddr>,
    agreed: (&'static str, String),
}

impl Drop for Line {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Bytes that nobody has taken into account yet.
#[derive(Debug, Default)]
struct Counted {
    sent: Cell<u64>,
    received: Cell<u64>,
}

impl Http2 {
    /// Begins HTTP/2 on a connection: agreed on by TLS, or known beforehand.
    ///
    /// Must be called where tasks of this thread run (a `LocalSet`).
    pub async fn begin(connection: Connection) -> Result<Self, Failure> {
        let (remote, agreed) = (connection.remote_addr(), connection.agreed());
        let counted = Rc::new(Counted::default());
        let stream = CountedStream {
            stream: connection.stream,
            counted: Rc::clone(&counted),
        };
        let mut builder = h2::client::Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(MAX_HEAD);
        let (sender, driver) = builder.handshake::<_, Bytes>(stream).await?;
        let ended = Rc::new(RefCell::new(None));
        let why = Rc::clone(&ended);
        let driver = tokio::task::spawn_local(async move {
            why.replace(driver.await.err().map(Failure::from));
        });
        let line = Line {
            counted,
            ended,
            driver: driver.abort_handle(),
            remote,
            agreed,
        };
        Ok(Self {
            sender,
            line: Rc::new(line),
        })
    }

    /// Whether no further request can go out.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.line.driver.is_finished()
    }

    /// The version of TLS and its cipher suite; empty of a plain connection.
    #[must_use]
    pub fn agreed(&self) -> (&'static str, String) {
        self.line.agreed.clone()
    }

    /// The address of the target, of a TCP connection.
    #[must_use]
    pub fn remote_addr(&self) -> Option<SocketAddr> {
        self.line.remote
    }

    /// Bytes sent and received since this was last asked, of all requests together.
    pub fn take_moved(&self) -> (u64, u64) {
        let counted = &self.line.counted;
        (counted.sent.take(), counted.received.take())
    }

    /// What became of a request: of a connection that ended, why it did.
    pub(crate) fn judge(&self, failure: Failure) -> Failure {
        match failure {
            Failure::Reset | Failure::Closed => self.line.ended.borrow().clone().unwrap_or(failure),
            failure => failure,
        }
    }

    /// Sends the head of a request, as soon as the server lets another one go.
    pub(crate) async fn open(
        &self,
        request: http::Request<()>,
        has_no_body: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), Failure> {
        let mut sender = self.sender.clone().ready().await?;
        Ok(sender.send_request(request, has_no_body)?)
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
        result.map_err(|failure| self.judge(failure))
    }

    async fn try_exchange(
        &self,
        request: &RequestText,
        body: &[u8],
        kept: Option<&mut Kept>,
    ) -> Result<Answer, Failure> {
        let begin = now_nanos();
        let head = request.to_http(!self.line.agreed.0.is_empty())?;
        let (answer, stream) = self.open(head, body.is_empty()).await?;
        let mut answer = pin!(answer);
        let mut sent = None;
        let early = {
            let body = send_body(stream, Bytes::copy_from_slice(body));
            let mut body = pin!(body);
            tokio::select! {
                biased;
                // A server may answer before it has read everything.
                answer = &mut answer => Some(answer),
                done = &mut body => {
                    // Why it was not taken, the answer says.
                    let _ = done;
                    sent = Some(now_nanos());
                    None
                }
            }
        };
        let answer = match early {
            Some(answer) => answer?,
            None => answer.await?,
        };
        let first = now_nanos();
        let sent = sent.unwrap_or(first);
        let (head, body) = answer.into_parts();
        read_body(&head, body, kept).await?;
        let end = now_nanos();
        let (moved_out, moved_in) = self.take_moved();
        Ok(Answer {
            status: head.status.as_u16(),
            keeps_connection: !self.is_over(),
            sent: moved_out,
            received: moved_in,
            phases: Phases {
                sending: sent - begin,
                waiting: first.saturating_sub(sent),
                receiving: end.saturating_sub(first),
                ..Phases::default()
            },
        })
    }
}

/// Sends bytes as the server makes room for them, and ends the request.
async fn send_body(mut stream: SendStream<Bytes>, mut body: Bytes) -> Result<(), Failure> {
    while !body.is_empty() {
        send_some(&mut stream, &mut body, true).await?;
    }
    Ok(())
}

/// Sends as much as there is room for; with the last byte the stream ends, if `ends` says so.
pub(crate) async fn send_some(
    stream: &mut SendStream<Bytes>,
    body: &mut Bytes,
    ends: bool,
) -> Result<(), Failure> {
    stream.reserve_capacity(body.len());
    match poll_fn(|context| stream.poll_capacity(context)).await {
        Some(room) => {
            let part = body.split_to(room?.min(body.len()));
            let is_last = ends && body.is_empty();
            Ok(stream.send_data(part, is_last)?)
        }
        None => Err(Failure::Closed),
    }
}

async fn read_body(
    head: &http::response::Parts,
    mut body: RecvStream,
    mut kept: Option<&mut Kept>,
) -> Result<(), Failure> {
    if let Some(kept) = kept.as_deref_mut() {
        kept.head = head_text("HTTP/2.0", head);
        kept.body.clear();
    }
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        if let Some(kept) = kept.as_deref_mut().filter(|kept| !kept.skips_body) {
            if kept.body.len() + data.len() > MAX_BODY {
                return Err(Failure::TooLarge(MAX_BODY));
            }
            kept.body.extend_from_slice(&data);
        }
    }
    // Trailing fields are read so that the stream ends well.
    body.trailers().await?;
    Ok(())
}

/// A head as HTTP/1.1 writes it, for those who read it later.
pub(super) fn head_text(version: &str, head: &http::response::Parts) -> Vec<u8> {
    let reason = head.status.canonical_reason().unwrap_or_default();
    let mut text = format!("{version} {} {reason}\r\n", head.status.as_u16()).into_bytes();
    for (name, value) in &head.headers {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            text.extend_from_slice(part);
        }
    }
    text.extend_from_slice(b"\r\n");
    text
}

/// A stream that counts what goes through it.
struct CountedStream {
    stream: Stream,
    counted: Rc<Counted>,
}

impl AsyncRead for CountedStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let result = Pin::new(&mut this.stream).poll_read(context, buf);
        let received = &this.counted.received;
        received.set(received.get() + (buf.filled().len() - before) as u64);
        result
    }
}

impl AsyncWrite for CountedStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(len)) = &result {
            let sent = &this.counted.sent;
            sent.set(sent.get() + *len as u64);
        }
        result
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

/// What went wrong in HTTP/2, and who said so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Http2Failure {
    /// The server takes no more requests on this connection.
    #[error("http2: received GoAway with http2 ErrCode {0:?}")]
    GoAway(Reason),
    /// The request was reset.
    #[error("http2: stream error with http2 ErrCode {0:?}")]
    Stream(Reason),
    /// The server broke a rule that ends the connection.
    #[error("http2: connection error with http2 ErrCode {0:?}")]
    Connection(Reason),
    /// Something else.
    #[error("http2: {0}")]
    Other(String),
}

impl Http2Failure {
    /// The code in `error_code`: 1611, 1631 and 1651 with the code of HTTP/2 added, as in k6.
    #[must_use]
    pub const fn code(&self) -> u16 {
        let (base, reason) = match self {
            Self::GoAway(reason) => (1610, reason),
            Self::Stream(reason) => (1630, reason),
            Self::Connection(reason) => (1650, reason),
            Self::Other(_) => return 1600,
        };
        let reason: Reason = *reason;
        base + match reason {
            Reason::NO_ERROR => 1,
            Reason::PROTOCOL_ERROR => 2,
            Reason::INTERNAL_ERROR => 3,
            Reason::FLOW_CONTROL_ERROR => 4,
            Reason::SETTINGS_TIMEOUT => 5,
            Reason::STREAM_CLOSED => 6,
            Reason::FRAME_SIZE_ERROR => 7,
            Reason::REFUSED_STREAM => 8,
            Reason::CANCEL => 9,
            Reason::COMPRESSION_ERROR => 10,
            Reason::CONNECT_ERROR => 11,
            Reason::ENHANCE_YOUR_CALM => 12,
            Reason::INADEQUATE_SECURITY => 13,
            Reason::HTTP_1_1_REQUIRED => 14,
            _ => 0,
        }
    }

    /// Whether the server says that it did nothing with the request (RFC 9113 §8.7).
    #[must_use]
    pub const fn is_unprocessed(&self) -> bool {
        matches!(
            self,
            Self::GoAway(Reason::NO_ERROR) | Self::Stream(Reason::REFUSED_STREAM)
        )
    }
}

impl From<h2::Error> for Failure {
    fn from(error: h2::Error) -> Self {
        let reason = error.reason().unwrap_or(Reason::INTERNAL_ERROR);
        let failure = match () {
            () if error.is_reset() => Http2Failure::Stream(reason),
            () if error.is_go_away() && error.is_remote() => Http2Failure::GoAway(reason),
            () if error.is_go_away() => Http2Failure::Connection(reason),
            () if error.is_io() => {
                // `h2` says so of a connection that ended without a word, too.
                let io = error.into_io();
                return io.map_or(Self::Closed, Self::from);
            }
            () => Http2Failure::Other(error.to_string()),
        };
        Self::Http2(failure)
    }
}

/// Bytes that a server may send of one answer before they are read.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
/// The same of all answers on a connection together.
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// Bytes of a head at most.
const MAX_HEAD: u32 = 1024 * 1024;
