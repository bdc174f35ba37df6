//! One call over HTTP/2: <https://grpc.io/docs/what-is-grpc/core-concepts/> (`PROTOCOL-HTTP2`).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::{Buf as _, Bytes, BytesMut};
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::HeaderMap;

use crate::client::{Failure, Http2, Http2Failure, send_some};

/// How a call ended that did not end well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Status {
    /// 0 is well; <https://grpc.github.io/grpc/core/md_doc_statuscodes.html>.
    pub(super) code: u32,
    pub(super) message: String,
}

impl Status {
    pub(super) fn new(code: u32, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { code, message }
    }
}

/// What is called, and where.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) is_tls: bool,
    pub(super) authority: String,
    /// `/package.Service/Method`
    pub(super) path: String,
    /// Names and values of the caller's.
    pub(super) metadata: Vec<(String, Vec<u8>)>,
    pub(super) user_agent: String,
    pub(super) timeout: Option<Duration>,
}

impl Target {
    fn request(&self) -> Result<http::Request<()>, Status> {
        let invalid = |error: &dyn std::fmt::Display| Status::new(INTERNAL, error.to_string());
        let uri = http::Uri::builder()
            .scheme(if self.is_tls { "https" } else { "http" })
            .authority(self.authority.as_str())
            .path_and_query(self.path.as_str())
            .build()
            .map_err(|error| invalid(&error))?;
        let mut request = http::Request::post(uri)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("user-agent", self.user_agent.as_str());
        if let Some(timeout) = self.timeout {
            request = request.header("grpc-timeout", format!("{}m", timeout.as_millis()));
        }
        for (name, value) in &self.metadata {
            let name = name.to_ascii_lowercase();
            request = if name.ends_with("-bin") {
                request.header(name, STANDARD_NO_PAD.encode(value))
            } else {
                request.header(name, value.as_slice())
            };
        }
        request.body(()).map_err(|error| invalid(&error))
    }
}

/// A call that has begun.
pub(super) struct Call {
    answer: Option<ResponseFuture>,
    pub(super) sending: Option<SendStream<Bytes>>,
    pub(super) receiving: Receiving,
}

/// The answering half of a call.
pub(super) struct Receiving {
    body: Option<RecvStream>,
    read: BytesMut,
    max_message: usize,
    pub(super) headers: HeaderMap,
    pub(super) trailers: HeaderMap,
    http_status: u16,
}

impl Call {
    /// Sends the head.
    pub(super) async fn begin(
        connection: &Http2,
        target: &Target,
        max_message: usize,
    ) -> Result<Self, Status> {
        let opened = connection.open(target.request()?, false).await;
        let (answer, sending) = opened.map_err(|failure| status_of(&connection.judge(failure)))?;
        Ok(Self {
            answer: Some(answer),
            sending: Some(sending),
            receiving: Receiving {
                body: None,
                read: BytesMut::new(),
                max_message,
                headers: HeaderMap::new(),
                trailers: HeaderMap::new(),
                http_status: 0,
            },
        })
    }

    /// Waits for the head of the answer.
    pub(super) async fn head(&mut self) -> Result<(), Status> {
        let Some(answer) = self.answer.take() else {
            return Ok(());
        };
        let answer = answer.await.map_err(|error| status_of(&error.into()))?;
        let (head, body) = answer.into_parts();
        let receiving = &mut self.receiving;
        receiving.http_status = head.status.as_u16();
        receiving.headers = head.headers;
        receiving.body = Some(body);
        Ok(())
    }
}

/// Sends one message.
pub(super) async fn send(stream: &mut SendStream<Bytes>, message: &[u8]) -> Result<(), Failure> {
    let len = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut framed = BytesMut::with_capacity(message.len() + PREFIX);
    framed.extend_from_slice(&[0]);
    framed.extend_from_slice(&len.to_be_bytes());
    framed.extend_from_slice(message);
    let mut framed = framed.freeze();
    while !framed.is_empty() {
        send_some(stream, &mut framed, false).await?;
    }
    Ok(())
}

/// Says that no more messages come.
pub(super) fn finish(stream: &mut SendStream<Bytes>) -> Result<(), Failure> {
    Ok(stream.send_data(Bytes::new(), true)?)
}

impl Receiving {
    /// Waits for the next message; `None` when there are no more.
    pub(super) async fn message(&mut self) -> Result<Option<Vec<u8>>, Status> {
        loop {
            if let Some(message) = self.take_message()? {
                return Ok(Some(message));
            }
            let Some(body) = &mut self.body else {
                return Ok(None);
            };
            match body.data().await {
                Some(data) => {
                    let data = data.map_err(|error| status_of(&error.into()))?;
                    let released = body.flow_control().release_capacity(data.len());
                    released.map_err(|error| status_of(&error.into()))?;
                    self.read.extend_from_slice(&data);
                }
                None => {
                    let trailers = body.trailers().await;
                    let trailers = trailers.map_err(|error| status_of(&error.into()))?;
                    self.trailers = trailers.unwrap_or_default();
                    self.body = None;
                    if !self.read.is_empty() {
                        return Err(Status::new(INTERNAL, "unexpected EOF"));
                    }
                }
            }
        }
    }

    fn take_message(&mut self) -> Result<Option<Vec<u8>>, Status> {
        let Some(&[is_compressed, a, b, c, d]) = self.read.first_chunk::<PREFIX>() else {
            return Ok(None);
        };
        let len = u32::from_be_bytes([a, b, c, d]) as usize;
        if is_compressed != 0 {
            let text = "the server compressed a message, which nobody asked for";
            return Err(Status::new(INTERNAL, text));
        }
        if len > self.max_message {
            let max = self.max_message;
            let text = format!("grpc: received message larger than max ({len} vs. {max})");
            return Err(Status::new(RESOURCE_EXHAUSTED, text));
        }
        if self.read.len() < PREFIX + len {
            return Ok(None);
        }
        self.read.advance(PREFIX);
        Ok(Some(self.read.split_to(len).to_vec()))
    }

    /// Whether the head is all that there is.
    pub(super) fn is_trailers_only(&self) -> bool {
        self.headers.contains_key("grpc-status")
    }

    /// The fields that ended the call.
    pub(super) fn last_fields(&self) -> &HeaderMap {
        if self.is_trailers_only() {
            &self.headers
        } else {
            &self.trailers
        }
    }

    /// How the call ended, once there are no more messages.
    pub(super) fn status(&self) -> Status {
        let of = |name: &str| {
            let value = self.trailers.get(name).or_else(|| self.headers.get(name))?;
            Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        if let Some(code) = of("grpc-status") {
            let message = of("grpc-message").unwrap_or_default();
            return Status::new(code.parse().unwrap_or(UNKNOWN), unescaped(&message));
        }
        let code = match self.http_status {
            200 => {
                return Status::new(
                    INTERNAL,
                    "server closed the stream without sending trailers",
                );
            }
            400 => INTERNAL,
            401 => 16,
            403 => 7,
            404 => 12,
            429 | 502 | 503 | 504 => UNAVAILABLE,
            _ => UNKNOWN,
        };
        let text = format!(
            "unexpected HTTP status code received from server: {}",
            self.http_status
        );
        Status::new(code, text)
    }
}

/// What a failure of the connection is called.
pub(super) fn status_of(failure: &Failure) -> Status {
    let code = match failure {
        Failure::Timeout => return Status::new(DEADLINE_EXCEEDED, "context deadline exceeded"),
        Failure::Http2(Http2Failure::Stream(reason)) => match *reason {
            Reason::REFUSED_STREAM => UNAVAILABLE,
            Reason::CANCEL => 1,
            Reason::ENHANCE_YOUR_CALM => RESOURCE_EXHAUSTED,
            Reason::INADEQUATE_SECURITY => 7,
            _ => INTERNAL,
        },
        Failure::Http2(Http2Failure::Other(_)) | Failure::Malformed(_) => INTERNAL,
        _ => UNAVAILABLE,
    };
    Status::new(code, failure.to_string())
}

/// Takes `%20` and the like out of a message.
fn unescaped(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let digits = text.get(at + 1..at + 3).filter(|_| byte == b'%');
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(decoded) => {
                plain.push(decoded);
                at += 3;
            }
            None => {
                plain.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// Whether a message is compressed, and its length.
const PREFIX: usize = 5;
const UNKNOWN: u32 = 2;
const DEADLINE_EXCEEDED: u32 = 4;
const RESOURCE_EXHAUSTED: u32 = 8;
pub(super) const INTERNAL: u32 = 13;
const UNAVAILABLE: u32 = 14;
