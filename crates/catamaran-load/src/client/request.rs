//! Writing a request's head.

use catamaran_http1::{RequestKind, is_valid_field, write_u64};

use super::{Failure, Url};

/// A head ready to be sent, as often as one likes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestText {
    /// Request line, fields and empty line.
    pub head: Vec<u8>,
    /// What must be known to read the answer.
    pub kind: RequestKind,
    /// Whether sending it twice does what sending it once does, so that it may be repeated when an
    /// idle connection turns out to be dead.
    pub is_idempotent: bool,
}

/// A method or header field that would break the request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The method is no token.
    #[error("`{0}` is no method")]
    Method(String),
    /// A field has characters that end it.
    #[error("header field `{0}` has a name or a value that HTTP does not allow")]
    Field(String),
}

impl RequestText {
    /// Writes the head of a request with a body of `body_len` bytes, or none.
    ///
    /// `Host`, `User-Agent` and `Content-Length` are added unless they are among the fields. A
    /// `Content-Length` or `Transfer-Encoding` of the caller's is left out: the body is sent as it is.
    pub fn new(
        method: &str,
        url: &Url,
        fields: &[(String, String)],
        body_len: Option<usize>,
        user_agent: &str,
    ) -> Result<Self, HeaderError> {
        if !is_valid_field(method.as_bytes(), b"") {
            return Err(HeaderError::Method(method.to_owned()));
        }
        let mut head = Vec::with_capacity(256);
        head.extend_from_slice(method.as_bytes());
        head.push(b' ');
        head.extend_from_slice(url.target.as_bytes());
        head.extend_from_slice(b" HTTP/1.1\r\n");
        let has = |name: &str| {
            fields
                .iter()
                .any(|(known, _)| known.eq_ignore_ascii_case(name))
        };
        let mut add = |name: &str, value: &str| {
            let value = value.trim();
            if !is_valid_field(name.as_bytes(), value.as_bytes()) {
                return Err(HeaderError::Field(name.to_owned()));
            }
            for part in [name, ": ", value, "\r\n"] {
                head.extend_from_slice(part.as_bytes());
            }
            Ok(())
        };
        if !has("host") {
            add("Host", &url.authority)?;
        }
        if !has("user-agent") && !user_agent.is_empty() {
            add("User-Agent", user_agent)?;
        }
        if let Some((name, password)) = url.user.as_ref().filter(|_| !has("authorization")) {
            add(
                "Authorization",
                &format!("Basic {}", base64(format!("{name}:{password}").as_bytes())),
            )?;
        }
        for (name, value) in fields {
            let is_framing = ["content-length", "transfer-encoding"]
                .iter()
                .any(|framing| name.eq_ignore_ascii_case(framing));
            if !is_framing {
                add(name, value)?;
            }
        }
        if let Some(len) = body_len {
            head.extend_from_slice(b"Content-Length: ");
            write_u64(&mut head, len as u64);
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        Ok(Self {
            head,
            kind: RequestKind {
                head: method == "HEAD",
                connect: method == "CONNECT",
                upgrade: false,
            },
            is_idempotent: catamaran_http1::Method::from_token(method.as_bytes()).is_idempotent(),
        })
    }
}

impl RequestText {
    /// The same head for HTTP/2 and HTTP/3, without what belongs to a connection of HTTP/1.1.
    pub(super) fn to_http(&self, is_tls: bool) -> Result<http::Request<()>, Failure> {
        let malformed = |what: &dyn std::fmt::Display| Failure::Malformed(what.to_string());
        let text = std::str::from_utf8(&self.head).map_err(|error| malformed(&error))?;
        let mut lines = text.split_terminator("\r\n");
        let mut first = lines.next().unwrap_or_default().split(' ');
        let (method, target) = (first.next().unwrap_or_default(), first.next());
        let fields = || lines.clone().filter_map(|line| line.split_once(": "));
        let host = fields().find(|(name, _)| name.eq_ignore_ascii_case("host"));
        let uri = http::Uri::builder()
            .scheme(if is_tls { "https" } else { "http" })
            .authority(host.map_or("", |(_, value)| value))
            .path_and_query(target.unwrap_or("/"))
            .build()
            .map_err(|error| malformed(&error))?;
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in fields() {
            if !OF_HTTP1.iter().any(|own| name.eq_ignore_ascii_case(own)) {
                request = request.header(name, value);
            }
        }
        request.body(()).map_err(|error| malformed(&error))
    }
}

/// Fields that HTTP/2 and HTTP/3 say otherwise or forbid (RFC 9113 §8.2.2).
const OF_HTTP1: &[&str] = &[
    "connection",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// Base64 with padding (RFC 4648 §4).
pub(super) fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let padded = [
            group[0],
            *group.get(1).unwrap_or(&0),
            *group.get(2).unwrap_or(&0),
        ];
        let bits = u32::from_be_bytes([0, padded[0], padded[1], padded[2]]);
        for index in 0..4 {
            let digit = usize::try_from(bits >> (18 - 6 * index) & 63).unwrap_or(0);
            let is_padding = index > group.len();
            text.push(if is_padding {
                '='
            } else {
                char::from(BASE64[digit])
            });
        }
    }
    text
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#[cfg(test)]
mod tests {
    use super::*;

    fn text(method: &str, url: &str, fields: &[(&str, &str)], body: Option<usize>) -> String {
        let fields: Vec<_> = fields
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let url = Url::parse(url).unwrap();
        let request = RequestText::new(method, &url, &fields, body, "agent").unwrap();
        String::from_utf8(request.head).unwrap()
    }

    #[test]
    fn a_request_carries_what_it_must() {
        assert_eq!(
            text("GET", "http://a:1/x?y", &[], None),
            "GET /x?y HTTP/1.1\r\nHost: a:1\r\nUser-Agent: agent\r\n\r\n"
        );
        assert_eq!(
            text(
                "POST",
                "http://a/",
                &[("host", "b"), ("User-Agent", "me"), ("Content-Length", "9")],
                Some(2)
            ),
            "POST / HTTP/1.1\r\nhost: b\r\nUser-Agent: me\r\nContent-Length: 2\r\n\r\n"
        );
        assert!(
            text("GET", "http://user:pw@a/", &[], None)
                .contains("Authorization: Basic dXNlcjpwdw==\r\n")
        );
    }

    #[test]
    fn what_would_break_the_request_is_refused() {
        let url = Url::parse("http://a/").unwrap();
        let field = [("X".to_owned(), "a\r\nY: b".to_owned())];
        assert!(RequestText::new("GET", &url, &field, None, "").is_err());
        assert!(RequestText::new("GET /", &url, &[], None, "").is_err());
        assert!(
            !RequestText::new("POST", &url, &[], None, "")
                .unwrap()
                .is_idempotent
        );
    }

    #[test]
    fn base64_pads_what_is_short() {
        // RFC 4648 §10
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
