//! Just enough of HTTP/1 to answer: heads and the length of bodies.
//!
//! Lenient where it harms nobody: an echo server acts on nothing it is sent.

/// What the first bytes of a connection say about the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speech {
    /// A request line of HTTP/1.
    Http,
    /// Anything else.
    Raw,
    /// Could still become a request line.
    Undecided,
}

/// The head of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Bytes of the head, the empty line included.
    pub(crate) len: usize,
    /// Whether only the head of the answer is wanted.
    pub(crate) is_head: bool,
    /// Whether a health check asks.
    pub(crate) is_health: bool,
    /// Whether another request may follow.
    pub(crate) keep_alive: bool,
    /// Whether the client waits for `100 Continue`.
    pub(crate) expects_continue: bool,
    /// What follows the head.
    pub(crate) body: Body,
}

/// The body of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// This many bytes, perhaps none.
    Length(u64),
    /// Chunks (RFC 9112 §7.1).
    Chunked,
}

/// Whether `bytes` open a request.
pub(crate) fn classify(bytes: &[u8]) -> Speech {
    let line_end = bytes.iter().position(|&byte| byte == b'\n');
    let line = &bytes[..line_end.unwrap_or(bytes.len())];
    let method = line.iter().take_while(|b| b.is_ascii_uppercase()).count();
    let is_method = method > 0 && line.get(method).is_none_or(|&byte| byte == b' ');
    if !is_method || line.len() > MAX_HEAD_BYTES {
        return Speech::Raw;
    }
    if line_end.is_none() {
        return Speech::Undecided;
    }
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let version = line.rsplit(|&byte| byte == b' ').next();
    if version.is_some_and(|version| version.starts_with(b"HTTP/1.")) {
        Speech::Http
    } else {
        Speech::Raw
    }
}

/// Reads the head that opens `bytes`; `None` until it is complete.
///
/// # Errors
/// When it is no head, or longer than [`MAX_HEAD_BYTES`].
pub(crate) fn parse_head(bytes: &[u8]) -> Result<Option<Head>, BadRequest> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return if bytes.len() > MAX_HEAD_BYTES {
            Err(BadRequest)
        } else {
            Ok(None)
        };
    };
    let text = std::str::from_utf8(&bytes[..end]).map_err(|_| BadRequest)?;
    let mut lines = text.split("\r\n");
    let mut request_line = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some(version), None) = (
        request_line.next(),
        request_line.next(),
        request_line.next(),
        request_line.next(),
    ) else {
        return Err(BadRequest);
    };
    let path = target.split('?').next().unwrap_or(target);
    let mut head = Head {
        len: end + 4,
        is_head: method == "HEAD",
        is_health: path == "/health",
        keep_alive: version == "HTTP/1.1",
        expects_continue: false,
        body: Body::Length(0),
    };
    for line in lines {
        let (name, value) = line.split_once(':').ok_or(BadRequest)?;
        read_field(&mut head, &name.to_ascii_lowercase(), value.trim())?;
    }
    Ok(Some(head))
}

fn read_field(head: &mut Head, name: &str, value: &str) -> Result<(), BadRequest> {
    let value = value.to_ascii_lowercase();
    match name {
        "connection" if value.contains("close") => head.keep_alive = false,
        "connection" if value.contains("keep-alive") => head.keep_alive = true,
        "content-length" if head.body != Body::Chunked => {
            head.body = Body::Length(value.parse().map_err(|_| BadRequest)?);
        }
        "expect" => head.expects_continue = value == "100-continue",
        "transfer-encoding" if value == "chunked" => head.body = Body::Chunked,
        "transfer-encoding" => return Err(BadRequest),
        _ => {}
    }
    Ok(())
}

/// A request that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadRequest;

/// Longest head, in bytes.
pub(crate) const MAX_HEAD_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_http_from_anything_else() {
        assert_eq!(classify(b"hi"), Speech::Raw);
        assert_eq!(classify(b"HELLO\n"), Speech::Raw);
        assert_eq!(classify(b"GET / \n"), Speech::Raw);
        assert_eq!(classify(b"\x16\x03\x01"), Speech::Raw);
        assert_eq!(classify(b"GET / HTTP/1.1\r\n"), Speech::Http);
        assert_eq!(classify(b"BREW / HTTP/1.0\n"), Speech::Http);
    }

    #[test]
    fn every_start_of_a_request_line_stays_undecided() {
        let line = b"GET /path HTTP/1.1\r";
        for len in 1..=line.len() {
            assert_eq!(classify(&line[..len]), Speech::Undecided, "{len}");
        }
    }

    #[test]
    fn a_head_says_how_its_body_is_framed() {
        let head =
            parse_head(b"POST /health?x HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello").unwrap();
        let head = head.unwrap();
        assert_eq!(head.body, Body::Length(5));
        assert!(head.keep_alive && head.is_health && !head.is_head);
        let chunked = parse_head(b"PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
        let chunked = chunked.unwrap().unwrap();
        assert_eq!(chunked.body, Body::Chunked);
        assert!(!chunked.keep_alive);
    }

    #[test]
    fn an_incomplete_head_waits_and_a_broken_one_is_refused() {
        assert_eq!(parse_head(b"GET / HTTP/1.1\r\nHost: x\r\n"), Ok(None));
        assert_eq!(parse_head(b"GET /\r\n\r\n"), Err(BadRequest));
        assert_eq!(
            parse_head(b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n"),
            Err(BadRequest)
        );
        assert_eq!(parse_head(&[b'x'; MAX_HEAD_BYTES + 1]), Err(BadRequest));
    }
}
