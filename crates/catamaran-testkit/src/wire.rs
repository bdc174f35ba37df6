//! A strict, minimal HTTP/1.1 reader of our own, so that no test trusts the code under test.
//!
//! It knows exactly one way to frame a message (RFC 9112 §6.3) and calls everything else
//! malformed. It reads from any `Read`, byte-exact, and leaves what follows a message unread in
//! its buffer, so that a second request hidden behind the first shows up as one.

use std::fmt;
use std::io::{self, Read};

/// Header or trailer fields in the order received; names as received.
pub type Fields = Vec<(String, Vec<u8>)>;

/// Why a message could not be read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WireError {
    /// The other side closed before the first byte of a message: the ordinary end.
    Closed,
    /// The other side closed in the middle of a message.
    Truncated,
    /// The other side reset the connection.
    Reset,
    /// Nothing came within the time allowed.
    Timeout,
    /// The bytes are not HTTP/1.1 as this reader understands it.
    Malformed(String),
    /// Any other error of the socket.
    Io(String),
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("closed between messages"),
            Self::Truncated => f.write_str("closed in the middle of a message"),
            Self::Reset => f.write_str("reset"),
            Self::Timeout => f.write_str("timed out"),
            Self::Malformed(why) => write!(f, "malformed: {why}"),
            Self::Io(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for WireError {}

impl From<io::Error> for WireError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionAborted => Self::Reset,
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Timeout,
            io::ErrorKind::UnexpectedEof => Self::Truncated,
            _ => Self::Io(error.to_string()),
        }
    }
}

/// The start line and fields of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The first line without its CRLF.
    pub start_line: String,
    /// The header fields.
    pub fields: Fields,
}

impl Head {
    /// The values of all fields of this name, compared without case.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        find(&self.fields, name)
    }

    /// The value of the first field of this name as text.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<String> {
        let value = self.all(name).next()?;
        Some(String::from_utf8_lossy(value).into_owned())
    }

    /// Whether a list field holds this token, compared without case.
    #[must_use]
    pub fn has_token(&self, name: &str, token: &str) -> bool {
        self.all(name).any(|value| {
            String::from_utf8_lossy(value)
                .split(',')
                .any(|item| item.trim().eq_ignore_ascii_case(token))
        })
    }
}

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// Content-Length gave this many bytes.
    Length(u64),
    /// Transfer-Encoding: chunked.
    Chunked,
    /// The body ends with the connection (responses only).
    UntilClose,
}

/// A body as read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// The content, chunk framing removed.
    pub content: Vec<u8>,
    /// Sizes of the chunks, when chunked.
    pub chunks: Vec<u64>,
    /// Trailer fields, when chunked.
    pub trailers: Fields,
}

/// A reader with the bytes it has read ahead.
#[derive(Debug)]
pub struct WireReader<R> {
    inner: R,
    buf: Vec<u8>,
    consumed: usize,
    /// Every byte ever read, when recording.
    recording: Option<Vec<u8>>,
}

impl<R: Read> WireReader<R> {
    /// Reads from `inner`.
    pub const fn new(inner: R) -> Self {
        Self {
            inner,
            buf: Vec::new(),
            consumed: 0,
            recording: None,
        }
    }

    /// Reads from `inner` and keeps a copy of every byte.
    pub const fn recording(inner: R) -> Self {
        Self {
            inner,
            buf: Vec::new(),
            consumed: 0,
            recording: Some(Vec::new()),
        }
    }

    /// What it reads from.
    pub const fn inner(&self) -> &R {
        &self.inner
    }

    /// Takes the bytes recorded since the last call.
    pub fn take_recorded(&mut self) -> Vec<u8> {
        self.recording
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// The bytes read ahead and not yet consumed.
    #[must_use]
    pub fn buffered(&self) -> &[u8] {
        &self.buf[self.consumed..]
    }

    /// Consumes `len` bytes that are buffered.
    fn consume(&mut self, len: usize) -> Vec<u8> {
        let bytes = self.buf[self.consumed..self.consumed + len].to_vec();
        self.consumed += len;
        if self.consumed == self.buf.len() {
            self.buf.clear();
            self.consumed = 0;
        }
        bytes
    }

    /// Reads more into the buffer; returns how much, 0 at the end of the stream.
    pub fn fill(&mut self) -> io::Result<usize> {
        let mut piece = [0; 16 * 1024];
        let len = loop {
            match self.inner.read(&mut piece) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result?,
            }
        };
        self.buf.extend_from_slice(&piece[..len]);
        if let Some(recording) = &mut self.recording {
            recording.extend_from_slice(&piece[..len]);
        }
        Ok(len)
    }

    /// Returns everything up to and including `delimiter`.
    pub fn read_until(&mut self, delimiter: &[u8]) -> Result<Vec<u8>, WireError> {
        let mut searched = 0;
        loop {
            let ahead = self.buffered();
            let start = searched.min(ahead.len());
            if let Some(at) = ahead[start..]
                .windows(delimiter.len())
                .position(|window| window == delimiter)
            {
                return Ok(self.consume(start + at + delimiter.len()));
            }
            searched = ahead.len().saturating_sub(delimiter.len() - 1);
            let empty = ahead.is_empty();
            if self.fill()? == 0 {
                return Err(if empty {
                    WireError::Closed
                } else {
                    WireError::Truncated
                });
            }
        }
    }

    /// Returns exactly `len` bytes.
    pub fn read_exact(&mut self, len: usize) -> Result<Vec<u8>, WireError> {
        while self.buffered().len() < len {
            if self.fill()? == 0 {
                return Err(WireError::Truncated);
            }
        }
        Ok(self.consume(len))
    }

    /// Returns the next bytes, at least one; `None` at the end of the stream.
    pub fn read_some(&mut self) -> Result<Option<Vec<u8>>, WireError> {
        if self.buffered().is_empty() && self.fill()? == 0 {
            return Ok(None);
        }
        let len = self.buffered().len();
        Ok(Some(self.consume(len)))
    }

    /// Returns everything up to the end of the stream.
    pub fn read_to_end(&mut self) -> Result<Vec<u8>, WireError> {
        let mut all = Vec::new();
        while let Some(piece) = self.read_some()? {
            all.extend_from_slice(&piece);
        }
        Ok(all)
    }

    /// Reads a head: a start line, fields, an empty line, each ended by CRLF.
    pub fn read_head(&mut self) -> Result<Head, WireError> {
        let start_line = text(self.read_line()?)?;
        let fields = self.read_fields().map_err(not_closed)?;
        Ok(Head { start_line, fields })
    }

    /// Reads a body of the given framing.
    pub fn read_body(&mut self, framing: Framing) -> Result<Body, WireError> {
        let content = match framing {
            Framing::None => Vec::new(),
            Framing::Length(len) => {
                let len = usize::try_from(len).map_err(|_| malformed("length beyond memory"))?;
                self.read_exact(len)?
            }
            Framing::Chunked => return self.read_chunked().map_err(not_closed),
            Framing::UntilClose => self.read_to_end()?,
        };
        Ok(Body {
            content,
            ..Body::default()
        })
    }

    fn read_chunked(&mut self) -> Result<Body, WireError> {
        let mut body = Body::default();
        loop {
            let line = text(self.read_line()?)?;
            let size = line.split(';').next().unwrap_or_default();
            if size.is_empty() || size.len() > 15 || !size.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(malformed(&format!("chunk size `{line}`")));
            }
            let size = u64::from_str_radix(size, 16).expect("fifteen hex digits fit");
            if size == 0 {
                body.trailers = self.read_fields()?;
                return Ok(body);
            }
            let len = usize::try_from(size).map_err(|_| malformed("chunk beyond memory"))?;
            body.content.append(&mut self.read_exact(len)?);
            body.chunks.push(size);
            if self.read_exact(2)? != b"\r\n" {
                return Err(malformed("no CRLF after a chunk"));
            }
        }
    }

    fn read_line(&mut self) -> Result<Vec<u8>, WireError> {
        let mut line = self.read_until(b"\r\n")?;
        line.truncate(line.len() - 2);
        if line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            return Err(malformed("bare CR, bare LF or NUL in a line"));
        }
        Ok(line)
    }

    fn read_fields(&mut self) -> Result<Fields, WireError> {
        let mut fields = Vec::new();
        loop {
            let line = self.read_line()?;
            if line.is_empty() {
                return Ok(fields);
            }
            let colon = line
                .iter()
                .position(|byte| *byte == b':')
                .ok_or_else(|| malformed("field line without a colon"))?;
            let name = &line[..colon];
            if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
                return Err(malformed(&format!(
                    "field name `{}`",
                    String::from_utf8_lossy(name)
                )));
            }
            let name = String::from_utf8_lossy(name).into_owned();
            fields.push((name, line[colon + 1..].trim_ascii().to_vec()));
        }
    }
}

/// Decides the framing that Content-Length and Transfer-Encoding give, `None` without either.
pub(crate) fn stated_framing(head: &Head) -> Result<Option<Framing>, WireError> {
    let lengths: Vec<_> = head.all("content-length").collect();
    let codings: Vec<_> = head.all("transfer-encoding").collect();
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Ok(None),
        ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Some(Framing::Chunked)),
        ([length], []) => {
            let digits = String::from_utf8_lossy(length).into_owned();
            if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(malformed(&format!("content-length `{digits}`")));
            }
            let len = digits
                .parse()
                .map_err(|_| malformed(&format!("content-length `{digits}`")))?;
            Ok(Some(Framing::Length(len)))
        }
        _ => Err(malformed(&format!(
            "{} content-length and {} transfer-encoding fields",
            lengths.len(),
            codings.len()
        ))),
    }
}

pub(crate) fn malformed(why: &str) -> WireError {
    WireError::Malformed(why.to_owned())
}

pub(crate) fn find<'a>(fields: &'a Fields, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    fields
        .iter()
        .filter(move |(field, _)| field.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_slice())
}

/// Turns "closed" into "truncated": the message had begun.
pub(crate) fn not_closed(error: WireError) -> WireError {
    match error {
        WireError::Closed => WireError::Truncated,
        other => other,
    }
}

fn text(line: Vec<u8>) -> Result<String, WireError> {
    String::from_utf8(line).map_err(|_| malformed("line is not UTF-8"))
}

/// RFC 9110 §5.6.2.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(bytes: &[u8]) -> Result<Head, WireError> {
        WireReader::new(bytes).read_head()
    }

    #[test]
    fn a_head_is_read_field_by_field() {
        let head = head(b"GET / HTTP/1.1\r\nHost: a\r\nX-Two:  b \r\n\r\n").unwrap();
        assert_eq!(head.start_line, "GET / HTTP/1.1");
        assert_eq!(head.field("host").as_deref(), Some("a"));
        assert_eq!(head.field("x-two").as_deref(), Some("b"));
    }

    #[test]
    fn space_before_the_colon_and_bare_line_feeds_are_malformed() {
        assert!(matches!(
            head(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
            Err(WireError::Malformed(_))
        ));
        assert!(matches!(
            head(b"GET / HTTP/1.1\nHost: a\r\n\r\n"),
            Err(WireError::Malformed(_))
        ));
    }

    #[test]
    fn two_lengths_or_length_with_chunked_are_no_framing() {
        for fields in [
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            "Content-Length: +1\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
        ] {
            let head = head(format!("GET / HTTP/1.1\r\n{fields}\r\n").as_bytes()).unwrap();
            assert!(stated_framing(&head).is_err(), "{fields}");
        }
    }

    #[test]
    fn a_chunked_body_ends_where_it_ends() {
        let mut reader = WireReader::new(&b"3;x=y\r\nabc\r\n0\r\nT: v\r\n\r\nGET"[..]);
        let body = reader.read_body(Framing::Chunked).unwrap();
        assert_eq!(body.content, b"abc");
        assert_eq!(body.chunks, [3]);
        assert_eq!(body.trailers, [("T".to_owned(), b"v".to_vec())]);
        assert_eq!(reader.buffered(), b"GET");
    }

    #[test]
    fn a_cut_body_is_truncated_and_an_empty_stream_is_closed() {
        let mut reader = WireReader::new(&b"ab"[..]);
        assert_eq!(
            reader.read_body(Framing::Length(3)),
            Err(WireError::Truncated)
        );
        assert_eq!(head(b""), Err(WireError::Closed));
        assert_eq!(head(b"GET / HT"), Err(WireError::Truncated));
    }
}
