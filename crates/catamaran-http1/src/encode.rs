//! Writing a message anew from its parsed head.

use crate::byte_class::{is_all_token, is_value};
use crate::{BodyFraming, Field, FieldId, RequestHead, ResponseFraming, ResponseHead};

/// Writes one head into a buffer: first line, fields, [`HeadWriter::end`].
///
/// Hop-by-hop fields, `Host` and the framing fields are never copied; they are written from what
/// was decided.
#[derive(Debug)]
#[must_use = "a head without its end is no head"]
pub struct HeadWriter<'a> {
    out: Output<'a>,
}

/// The caller's buffer, whose content is not shown.
struct Output<'a>(&'a mut Vec<u8>);

impl std::fmt::Debug for Output<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl<'a> HeadWriter<'a> {
    /// Begins a request to a server: `METHOD target HTTP/1.1` and `Host`.
    ///
    /// `target` and `host` take the place of what the client sent; a target must be in origin form.
    pub fn request(
        out: &'a mut Vec<u8>,
        head: &RequestHead,
        buf: &[u8],
        target: Option<&[u8]>,
        host: Option<&[u8]>,
    ) -> Self {
        out.reserve(head.head_len + ROOM_FOR_OURS);
        out.extend_from_slice(head.method_span.of(buf));
        out.push(b' ');
        match target {
            Some(target) => out.extend_from_slice(target),
            None => head.target.write_origin_form(head.method, buf, out),
        }
        out.extend_from_slice(b" HTTP/1.1\r\nHost: ");
        //= https://www.rfc-editor.org/rfc/rfc9112#section-3.2.2
        //# When a proxy receives a request with an absolute-form of
        //# request-target, the proxy MUST ignore the received Host header
        //# field (if any) and instead replace it with the host information of
        //# the request-target.
        let received = head.host.map(|host| host.of(buf));
        out.extend_from_slice(host.or(received).unwrap_or_default());
        out.extend_from_slice(b"\r\n");
        Self { out: Output(out) }
    }

    /// Begins a response to a client: `HTTP/1.1 status reason`, the reason as the server sent it.
    pub fn response(out: &'a mut Vec<u8>, head: &ResponseHead, buf: &[u8]) -> Self {
        out.reserve(head.head_len + ROOM_FOR_OURS);
        Self::status(out, head.status, head.reason.of(buf))
    }

    /// Begins a response of our own.
    pub fn status(out: &'a mut Vec<u8>, status: u16, reason: &[u8]) -> Self {
        out.extend_from_slice(b"HTTP/1.1 ");
        write_u64(out, u64::from(status));
        out.push(b' ');
        out.extend_from_slice(reason);
        out.extend_from_slice(b"\r\n");
        Self { out: Output(out) }
    }

    /// Copies the client's fields that `keep` holds for, but never those written by other means.
    pub fn request_fields(
        &mut self,
        head: &RequestHead,
        buf: &[u8],
        mut keep: impl FnMut(&Field) -> bool,
    ) {
        let copied = |field: &Field| {
            !field.hop && !matches!(field.id, FieldId::ContentLength | FieldId::Host) && keep(field)
        };
        self.copy(head.fields(), buf, copied);
    }

    /// Copies the server's fields that `keep` holds for, but never those written by other means.
    pub fn response_fields(
        &mut self,
        head: &ResponseHead,
        buf: &[u8],
        mut keep: impl FnMut(&Field) -> bool,
    ) {
        let copied = |field: &Field| ResponseHead::is_copied(field) && keep(field);
        self.copy(head.fields(), buf, copied);
    }

    /// Writes one field. `name` must be a token and `value` free of control characters
    /// ([`is_valid_field`]).
    pub fn field(&mut self, name: &[u8], value: &[u8]) {
        write_field(self.out.0, name, value);
    }

    /// Writes the fields that frame the body of a request.
    pub fn request_framing(&mut self, body: BodyFraming) {
        match body {
            BodyFraming::None => {}
            BodyFraming::Length(length) => self.content_length(length),
            BodyFraming::Chunked => self.chunked(),
        }
    }

    /// Writes the fields that frame the body of a response, or announce the one left out.
    ///
    /// `UntilClose` writes nothing: to an HTTP/1.1 client such a body is better sent in chunks
    /// ([`ResponseFraming::Chunked`] here), so that its end can be told from a cut.
    pub fn response_framing(&mut self, body: ResponseFraming, announced_length: Option<u64>) {
        match body {
            ResponseFraming::None => {
                if let Some(length) = announced_length {
                    self.content_length(length);
                }
            }
            ResponseFraming::Length(length) => self.content_length(length),
            ResponseFraming::Chunked => self.chunked(),
            ResponseFraming::UntilClose => {}
        }
    }

    /// Writes `Connection: close`.
    pub fn connection_close(&mut self) {
        self.out.0.extend_from_slice(b"Connection: close\r\n");
    }

    /// Writes `Connection: keep-alive`, which only HTTP/1.0 clients need.
    pub fn connection_keep_alive(&mut self) {
        self.out.0.extend_from_slice(b"Connection: keep-alive\r\n");
    }

    /// Writes `Connection: upgrade` and the protocols.
    pub fn upgrade(&mut self, protocols: &[u8]) {
        self.out.0.extend_from_slice(b"Connection: upgrade\r\n");
        self.field(b"Upgrade", protocols);
    }

    /// Writes that trailers are taken (`TE: trailers`), which gRPC servers ask of their clients.
    pub fn te_trailers(&mut self) {
        self.out
            .0
            .extend_from_slice(b"Connection: TE\r\nTE: trailers\r\n");
    }

    /// Writes the empty line.
    pub fn end(self) {
        self.out.0.extend_from_slice(b"\r\n");
    }

    fn content_length(&mut self, length: u64) {
        self.out.0.extend_from_slice(b"Content-Length: ");
        write_u64(self.out.0, length);
        self.out.0.extend_from_slice(b"\r\n");
    }

    fn chunked(&mut self) {
        self.out
            .0
            .extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }

    /// Copies fields, neighbours that already read as they would be written in one piece.
    fn copy(&mut self, fields: &[Field], buf: &[u8], mut copied: impl FnMut(&Field) -> bool) {
        let mut run = 0..0;
        for field in fields {
            if !copied(field) {
                continue;
            }
            if !field.plain {
                self.out.0.extend_from_slice(&buf[run]);
                run = 0..0;
                self.field(field.name.of(buf), field.value.of(buf));
                continue;
            }
            if run.end != field.name.start() {
                self.out.0.extend_from_slice(&buf[run]);
                run = field.name.start()..field.name.start();
            }
            run.end = field.value.end() + 2;
        }
        self.out.0.extend_from_slice(&buf[run]);
    }
}

/// Appends one field line.
pub(crate) fn write_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    debug_assert!(is_valid_field(name, value));
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Whether a field may be written: the name a token, the value without control characters and
/// without whitespace around it.
#[must_use]
pub fn is_valid_field(name: &[u8], value: &[u8]) -> bool {
    is_all_token(name) && value.iter().copied().all(is_value) && value.trim_ascii() == value
}

/// Appends `number` in decimal.
pub fn write_u64(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10).to_le_bytes()[0];
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// Bytes kept free for fields that are added: forwarding fields with two IPv6 addresses, framing.
const ROOM_FOR_OURS: usize = 256;

#[cfg(test)]
mod tests {
    use crate::{Limits, Parsed};

    use super::*;

    #[test]
    fn a_rewritten_request_line_takes_the_place_of_the_received_one() {
        let buf = b"GET http://a/b?c HTTP/1.0\r\nHost: a\r\nAccept:x\r\nVia: y\r\n\r\n";
        let mut head = RequestHead::new();
        assert_eq!(head.parse(buf, &Limits::default()), Ok(Parsed::Complete));
        let mut out = Vec::new();
        let mut writer = HeadWriter::request(&mut out, &head, buf, Some(b"/new"), Some(b"s:80"));
        writer.request_fields(&head, buf, |field| field.id != FieldId::Via);
        writer.field(b"X-Forwarded-For", b"192.0.2.1");
        writer.end();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "GET /new HTTP/1.1\r\nHost: s:80\r\nAccept: x\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n"
        );
    }

    #[test]
    fn a_response_of_our_own_is_framed_like_any_other() {
        let mut out = Vec::new();
        let mut writer = HeadWriter::status(&mut out, 503, b"Service Unavailable");
        writer.response_framing(ResponseFraming::Length(0), None);
        writer.connection_keep_alive();
        writer.end();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\
            Connection: keep-alive\r\n\r\n"
        );
    }

    #[test]
    fn what_would_break_a_line_is_no_valid_field() {
        assert!(is_valid_field(b"X-A", b"a b\tc"));
        assert!(is_valid_field(b"X-A", b""));
        for (name, value) in [
            (b"X A".as_slice(), b"a".as_slice()),
            (b"", b"a"),
            (b"X:", b"a"),
            (b"X", b"a\r\nY: b"),
            (b"X", b"a\n"),
            (b"X", b"a\0"),
            (b"X", b" a"),
            (b"X", b"a "),
        ] {
            assert!(!is_valid_field(name, value), "{name:?} {value:?}");
        }
    }

    #[test]
    fn numbers_are_written_in_decimal() {
        for number in [0, 9, 10, 12_345, u64::MAX] {
            let mut out = Vec::new();
            write_u64(&mut out, number);
            assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
        }
    }

    #[test]
    fn the_content_of_the_buffer_is_not_shown() {
        let mut out = b"secret".to_vec();
        let writer = HeadWriter::status(&mut out, 200, b"");
        let shown = format!("{writer:?}");
        assert!(
            !shown.contains("secret") && shown.contains("bytes"),
            "{shown}"
        );
    }
}
