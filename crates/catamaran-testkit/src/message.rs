//! Requests as an origin sees them and responses as a client sees them.

use std::io::Read;

use crate::wire::{Body, Fields, Framing, Head, WireError, WireReader};
use crate::wire::{malformed, not_closed, stated_framing};

/// A request as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: String,
    /// The request target, untouched.
    pub target: String,
    /// `HTTP/1.1` or `HTTP/1.0`.
    pub version: String,
    /// The head as received.
    pub head: Head,
    /// How the body's end was told.
    pub framing: Framing,
    /// The body; empty until it has been read.
    pub body: Body,
    /// Which request on its connection this is, from 0.
    pub index: usize,
}

impl Request {
    /// Reads the head of the next request and decides its framing.
    pub(crate) fn read_head<R: Read>(
        reader: &mut WireReader<R>,
        index: usize,
    ) -> Result<Self, WireError> {
        let head = reader.read_head()?;
        let mut parts = head.start_line.split(' ');
        let (Some(method), Some(target), Some(version), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed(&format!("request line `{}`", head.start_line)));
        };
        if !matches!(version, "HTTP/1.1" | "HTTP/1.0") || method.is_empty() || target.is_empty() {
            return Err(malformed(&format!("request line `{}`", head.start_line)));
        }
        Ok(Self {
            method: method.to_owned(),
            target: target.to_owned(),
            version: version.to_owned(),
            framing: stated_framing(&head)?.unwrap_or(Framing::None),
            head,
            body: Body::default(),
            index,
        })
    }

    /// The first value of a header field as text.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<String> {
        self.head.field(name)
    }

    /// Whether the client waits for `100 Continue` before it sends the body.
    #[must_use]
    pub fn expects_continue(&self) -> bool {
        self.head.has_token("expect", "100-continue")
    }

    /// Whether the connection may be used again after this request.
    #[must_use]
    pub fn keeps_alive(&self) -> bool {
        match self.version.as_str() {
            "HTTP/1.1" => !self.head.has_token("connection", "close"),
            _ => self.head.has_token("connection", "keep-alive"),
        }
    }
}

/// A response as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The head as received.
    pub head: Head,
    /// How the body's end was told.
    pub framing: Framing,
    /// The content.
    pub body: Vec<u8>,
    /// Sizes of the chunks, when chunked.
    pub chunks: Vec<u64>,
    /// Trailer fields, when chunked.
    pub trailers: Fields,
    /// The 1xx heads that came before, with their codes.
    pub interim: Vec<(u16, Head)>,
}

impl Response {
    /// Reads the response to a request of this method.
    ///
    /// A 101 ends the message at its head: what follows is the tunnel.
    pub fn read<R: Read>(reader: &mut WireReader<R>, method: &str) -> Result<Self, WireError> {
        let mut interim = Vec::new();
        loop {
            let result = reader.read_head();
            let head = if interim.is_empty() {
                result?
            } else {
                result.map_err(not_closed)?
            };
            let status = status_of(&head)?;
            if (100..200).contains(&status) && status != 101 {
                interim.push((status, head));
                continue;
            }
            let framing = framing_of(&head, status, method)?;
            let body = reader.read_body(framing)?;
            return Ok(Self {
                status,
                head,
                framing,
                body: body.content,
                chunks: body.chunks,
                trailers: body.trailers,
                interim,
            });
        }
    }

    /// The first value of a header field as text.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<String> {
        self.head.field(name)
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether another request may follow on the connection.
    #[must_use]
    pub fn keeps_alive(&self) -> bool {
        self.framing != Framing::UntilClose
            && !self.head.has_token("connection", "close")
            && (self.head.start_line.starts_with("HTTP/1.1")
                || self.head.has_token("connection", "keep-alive"))
    }
}

fn status_of(head: &Head) -> Result<u16, WireError> {
    let wrong = || malformed(&format!("status line `{}`", head.start_line));
    let mut parts = head.start_line.splitn(3, ' ');
    let (Some("HTTP/1.1" | "HTTP/1.0"), Some(code)) = (parts.next(), parts.next()) else {
        return Err(wrong());
    };
    match code.parse() {
        Ok(status @ 100..=999) if code.len() == 3 => Ok(status),
        _ => Err(wrong()),
    }
}

/// RFC 9112 §6.3, the response's part.
fn framing_of(head: &Head, status: u16, method: &str) -> Result<Framing, WireError> {
    let stated = stated_framing(head)?;
    if method == "HEAD" || matches!(status, 101 | 204 | 304) {
        return Ok(Framing::None);
    }
    Ok(stated.unwrap_or(Framing::UntilClose))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(bytes: &[u8], method: &str) -> Result<Response, WireError> {
        Response::read(&mut WireReader::new(bytes), method)
    }

    #[test]
    fn interim_responses_are_kept_apart() {
        let got = response(
            b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
            "GET",
        )
        .unwrap();
        assert_eq!(got.status, 200);
        assert_eq!(got.interim[0].0, 103);
        assert_eq!(got.text(), "hi");
        assert!(got.keeps_alive());
    }

    #[test]
    fn a_response_to_head_has_no_body_whatever_it_says() {
        let got = response(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", "HEAD").unwrap();
        assert_eq!(got.framing, Framing::None);
    }

    #[test]
    fn a_short_body_is_truncated_not_a_success() {
        let got = response(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", "GET");
        assert_eq!(got, Err(WireError::Truncated));
    }

    #[test]
    fn a_request_line_has_exactly_three_parts() {
        let mut reader = WireReader::new(&b"GET /a b HTTP/1.1\r\n\r\n"[..]);
        assert!(matches!(
            Request::read_head(&mut reader, 0),
            Err(WireError::Malformed(_))
        ));
    }
}
