//! What a scripted origin does with a request: a list of sends, pauses and endings.

use std::fmt;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

/// Takes a connection over and relays, echoes or floods as it likes; the connection ends with it.
pub type Tunnel = Arc<dyn Fn(TcpStream) + Send + Sync>;

/// How a connection ends after a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It stays for the next request.
    Keep,
    /// It is closed in order.
    Close,
    /// It is reset.
    Reset,
    /// Our direction ends, what comes is still read.
    HalfClose,
    /// Nothing more happens until the other side gives up.
    Hang,
}

/// One step of a reply.
#[derive(Clone)]
pub(super) enum Step {
    Send(Vec<u8>),
    Pause(Duration),
    ReadBody,
    Tunnel(Tunnel),
}

/// The answer to one request, sent exactly as written: nothing is added or checked.
#[derive(Clone)]
pub struct Reply {
    status: u16,
    fields: Vec<(String, String)>,
    interim: Vec<u8>,
    body: Vec<u8>,
    chunks: Option<usize>,
    trailers: Vec<(String, String)>,
    raw: Option<Vec<u8>>,
    delay: Duration,
    pieces: Option<(usize, Duration)>,
    cut_after: Option<usize>,
    reads_body_last: bool,
    tunnel: Option<Tunnel>,
    pub(super) ending: Ending,
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("status", &self.status)
            .field("body_len", &self.body.len())
            .field("ending", &self.ending)
            .finish_non_exhaustive()
    }
}

impl Reply {
    /// A response framed by Content-Length.
    #[must_use]
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            fields: Vec::new(),
            interim: Vec::new(),
            body: body.into(),
            chunks: None,
            trailers: Vec::new(),
            raw: None,
            delay: Duration::ZERO,
            pieces: None,
            cut_after: None,
            reads_body_last: false,
            tunnel: None,
            ending: Ending::Keep,
        }
    }

    /// These bytes and no others.
    #[must_use]
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        let mut reply = Self::new(0, Vec::new());
        reply.raw = Some(bytes.into());
        reply
    }

    /// No bytes, only an ending.
    #[must_use]
    pub fn nothing(ending: Ending) -> Self {
        Self::raw(Vec::new()).then(ending)
    }

    /// `101 Switching Protocols`, then the tunnel.
    #[must_use]
    pub fn upgrade(protocol: &str, tunnel: Tunnel) -> Self {
        let mut reply = Self::new(101, Vec::new())
            .field("Connection", "Upgrade")
            .field("Upgrade", protocol);
        reply.tunnel = Some(tunnel);
        reply
    }

    /// Adds a header field.
    #[must_use]
    pub fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends the body in chunks of this size.
    #[must_use]
    pub const fn chunked(mut self, chunk_len: usize) -> Self {
        self.chunks = Some(chunk_len);
        self
    }

    /// Adds a trailer field to a chunked body.
    #[must_use]
    pub fn trailer(mut self, name: &str, value: &str) -> Self {
        self.trailers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends an interim response first, such as 103; `fields` are whole lines without CRLF.
    #[must_use]
    pub fn interim(mut self, status: u16, fields: &[&str]) -> Self {
        let mut head = format!("HTTP/1.1 {status} Interim\r\n");
        for line in fields {
            head.push_str(line);
            head.push_str("\r\n");
        }
        head.push_str("\r\n");
        self.interim.extend_from_slice(head.as_bytes());
        self
    }

    /// Waits before the first byte.
    #[must_use]
    pub const fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Sends everything in pieces of this many bytes with a pause after each.
    #[must_use]
    pub const fn in_pieces(mut self, len: usize, pause: Duration) -> Self {
        self.pieces = Some((len, pause));
        self
    }

    /// Sends only this many bytes of the body as framed on the wire, then ends as told.
    #[must_use]
    pub const fn cut_after(mut self, len: usize, ending: Ending) -> Self {
        self.cut_after = Some(len);
        self.ending = ending;
        self
    }

    /// Ends the connection in this way after the reply.
    #[must_use]
    pub const fn then(mut self, ending: Ending) -> Self {
        self.ending = ending;
        self
    }

    /// With an origin that answers early: sends the reply first and reads the body after it.
    #[must_use]
    pub const fn before_body(mut self) -> Self {
        self.reads_body_last = true;
        self
    }

    /// The steps for a request of this method.
    pub(super) fn steps(&self, method: &str) -> Vec<Step> {
        let mut steps = Vec::new();
        if !self.reads_body_last {
            steps.push(Step::ReadBody);
        }
        if !self.delay.is_zero() {
            steps.push(Step::Pause(self.delay));
        }
        let bytes = self.bytes(method);
        match self.pieces {
            None if bytes.is_empty() => {}
            None => steps.push(Step::Send(bytes)),
            Some((len, pause)) => {
                for piece in bytes.chunks(len) {
                    steps.push(Step::Send(piece.to_vec()));
                    steps.push(Step::Pause(pause));
                }
            }
        }
        if let Some(tunnel) = &self.tunnel {
            steps.push(Step::Tunnel(Arc::clone(tunnel)));
        } else if self.reads_body_last && self.ending == Ending::Keep {
            steps.push(Step::ReadBody);
        }
        steps
    }

    fn bytes(&self, method: &str) -> Vec<u8> {
        if let Some(raw) = &self.raw {
            return raw.clone();
        }
        let mut bytes = self.interim.clone();
        bytes.extend_from_slice(self.head().as_bytes());
        if method == "HEAD" {
            return bytes;
        }
        let body = self.wire_body();
        let len = self.cut_after.unwrap_or(body.len()).min(body.len());
        bytes.extend_from_slice(&body[..len]);
        bytes
    }

    fn head(&self) -> String {
        let mut head = format!("HTTP/1.1 {} Scripted\r\n", self.status);
        for (name, value) in &self.fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let framed = self.fields.iter().any(|(name, _)| {
            name.eq_ignore_ascii_case("content-length")
                || name.eq_ignore_ascii_case("transfer-encoding")
        });
        if self.chunks.is_some() {
            head.push_str("Transfer-Encoding: chunked\r\n");
        } else if !framed && !matches!(self.status, 100..200 | 204 | 304) {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        if self.ending == Ending::Close && self.cut_after.is_none() {
            head.push_str("Connection: close\r\n");
        }
        head.push_str("\r\n");
        head
    }

    fn wire_body(&self) -> Vec<u8> {
        let Some(chunk_len) = self.chunks else {
            return self.body.clone();
        };
        let mut bytes = Vec::with_capacity(self.body.len() + 64);
        for chunk in self.body.chunks(chunk_len) {
            bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n");
        for (name, value) in &self.trailers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes
    }
}
