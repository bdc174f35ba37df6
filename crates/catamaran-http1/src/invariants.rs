//! What holds for any input, stated once for the fuzz targets and the property tests.
//!
//! Every function takes arbitrary bytes and panics when one of the crate's promises is broken.

use crate::{
    Decoder, Field, FieldId, HeadWriter, Limits, Method, Parsed, RequestError, RequestHead,
    RequestKind, ResponseError, ResponseFraming, ResponseHead, encode_chunk_head, write_last_chunk,
};

/// A request head that arrives in pieces means what it means whole, and what is sent on means the
/// same again.
///
/// # Panics
/// When it does not.
pub fn request_head(input: &[u8]) {
    let mut whole = RequestHead::new();
    let result = whole.parse(input, &LIMITS);
    let expected = summary_of_request(&whole, result, input);
    let ended = with_line_end(input);
    let pieces: &[&[u8]] = match expected {
        Ok(None) => &[input],
        _ => &[input, &ended],
    };
    for split in splits(input.len()) {
        let mut head = RequestHead::new();
        let mut result = head.parse(&input[..split], &LIMITS);
        for more in pieces {
            if result == Ok(Parsed::Partial) {
                result = head.parse(more, &LIMITS);
            }
        }
        let found = summary_of_request(&head, result, input);
        assert_eq!(found, expected, "split at {split}");
    }
    let mut head = RequestHead::new();
    let mut result = Ok(Parsed::Partial);
    for len in 0..=input.len() + usize::from(expected != Ok(None)) {
        result = head.parse(&ended[..len], &LIMITS);
        if result != Ok(Parsed::Partial) {
            break;
        }
    }
    let found = summary_of_request(&head, result, input);
    assert_eq!(found, expected, "byte by byte");
    if result == Ok(Parsed::Complete) {
        request_sent_on(&whole, input);
    }
}

/// A response head that arrives in pieces means what it means whole, and what is sent on means the
/// same again.
///
/// # Panics
/// When it does not.
pub fn response_head(input: &[u8]) {
    for request in KINDS {
        let mut whole = ResponseHead::new();
        let result = whole.parse(input, &LIMITS, request);
        let expected = summary_of_response(&whole, result, input);
        let ended = with_line_end(input);
        let pieces: &[&[u8]] = match expected {
            Ok(None) => &[input],
            _ => &[input, &ended],
        };
        for split in splits(input.len()) {
            let mut head = ResponseHead::new();
            let mut result = head.parse(&input[..split], &LIMITS, request);
            for more in pieces {
                if result == Ok(Parsed::Partial) {
                    result = head.parse(more, &LIMITS, request);
                }
            }
            let found = summary_of_response(&head, result, input);
            assert_eq!(found, expected, "split at {split}");
        }
        if result == Ok(Parsed::Complete) {
            response_sent_on(&whole, input, request);
        }
    }
}

/// A chunked body decodes the same in pieces of any size, to no more than its own bytes, and its
/// data encoded again decodes to itself.
///
/// # Panics
/// When it does not.
pub fn chunked(input: &[u8]) {
    let whole = decode(input, input.len().max(1));
    for piece in [1, 2, 3, 7, 64] {
        let mut found = decode(input, piece);
        if whole.is_err() && found.is_ok() {
            found = decode(&with_line_end(input), piece);
        }
        assert_eq!(found, whole, "pieces of {piece}");
    }
    let Ok((data, consumed, finished)) = whole else {
        return;
    };
    assert!(data.len() <= consumed && consumed <= input.len());
    if !finished {
        return;
    }
    let mut encoded = Vec::new();
    for piece in data.chunks(100) {
        encoded.extend_from_slice(encode_chunk_head(piece.len() as u64, &mut [0; 18]));
        encoded.extend_from_slice(piece);
        encoded.extend_from_slice(b"\r\n");
    }
    write_last_chunk(&mut encoded, None);
    let len = encoded.len();
    assert_eq!(decode(&encoded, len), Ok((data, len, true)));
}

fn request_sent_on(head: &RequestHead, input: &[u8]) {
    let mut out = Vec::new();
    let mut writer = HeadWriter::request(&mut out, head, input, None, None);
    writer.request_fields(head, input, |_| true);
    writer.request_framing(head.body);
    writer.end();
    // A host that an HTTP/1.0 client did not name must be named by the caller, and CONNECT has no
    // origin form.
    if head.host.is_none() || head.method == Method::Connect {
        return;
    }
    let mut again = RequestHead::new();
    let limits = Limits {
        max_head_bytes: LIMITS.max_head_bytes + 1024,
        max_fields: LIMITS.max_fields + 2,
    };
    assert_eq!(again.parse(&out, &limits), Ok(Parsed::Complete));
    assert_eq!(again.head_len, out.len());
    assert_eq!(again.method_span.of(&out), head.method_span.of(input));
    assert_eq!(again.body, head.body);
    assert_eq!(
        again.host.map(|host| host.of(&out)),
        head.host.map(|host| host.of(input))
    );
    assert!(again.keep_alive && again.upgrade.is_none());
    if again.target.form == head.target.form {
        assert_eq!(again.target.path(&out), head.target.path(input));
    }
    let query = |head: &RequestHead, buf| head.target.query.map(|query| query.of(buf).to_vec());
    assert_eq!(query(&again, &out), query(head, input));
    assert_eq!(
        end_to_end(again.fields(), &out),
        end_to_end(head.fields(), input)
    );
}

fn response_sent_on(head: &ResponseHead, input: &[u8], request: RequestKind) {
    let mut out = Vec::new();
    let mut writer = HeadWriter::response(&mut out, head, input);
    writer.response_fields(head, input, |_| true);
    writer.response_framing(head.body, head.announced_length);
    if let Some(protocols) = head.upgrade {
        writer.upgrade(protocols.of(input));
    }
    writer.end();
    let mut again = ResponseHead::new();
    let limits = Limits {
        max_head_bytes: LIMITS.max_head_bytes + 1024,
        max_fields: LIMITS.max_fields + 2,
    };
    assert_eq!(again.parse(&out, &limits, request), Ok(Parsed::Complete));
    assert_eq!(again.head_len, out.len());
    assert_eq!((again.status, again.body), (head.status, head.body));
    assert_eq!(
        (again.tunnel, again.announced_length),
        (head.tunnel, head.announced_length)
    );
    assert_eq!(again.reason.of(&out), head.reason.of(input));
    assert_eq!(
        end_to_end(again.fields(), &out),
        end_to_end(head.fields(), input)
    );
}

/// Name and value of the fields that must arrive.
fn end_to_end(fields: &[Field], buf: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    fields
        .iter()
        .filter(|field| !field.hop && !matches!(field.id, FieldId::ContentLength | FieldId::Host))
        .map(|field| (field.name.of(buf).to_vec(), field.value.of(buf).to_vec()))
        .collect()
}

/// All that a caller can see of a request head, in one comparable value.
fn summary_of_request(
    head: &RequestHead,
    result: Result<Parsed, RequestError>,
    buf: &[u8],
) -> Result<Option<String>, RequestError> {
    if result? == Parsed::Partial {
        return Ok(None);
    }
    assert!(head.head_len <= buf.len());
    Ok(Some(format!(
        "{:?}",
        (
            (head.method, head.method_span, head.version, head.target),
            (head.host, head.body, head.keep_alive, head.expect_continue),
            (
                head.upgrade,
                head.te_trailers,
                head.pass_trailers,
                head.head_len
            ),
            head.fields(),
        )
    )))
}

/// All that a caller can see of a response head, in one comparable value.
fn summary_of_response(
    head: &ResponseHead,
    result: Result<Parsed, ResponseError>,
    buf: &[u8],
) -> Result<Option<String>, ResponseError> {
    if result? == Parsed::Partial {
        return Ok(None);
    }
    assert!(head.head_len <= buf.len());
    assert!(head.body != ResponseFraming::UntilClose || !head.keep_alive);
    Ok(Some(format!(
        "{:?}",
        (
            (head.version, head.status, head.reason, head.body),
            (
                head.announced_length,
                head.keep_alive,
                head.keep_alive_timeout
            ),
            (head.upgrade, head.tunnel, head.pass_trailers, head.head_len),
            head.fields(),
        )
    )))
}

/// Data, bytes consumed and whether the body was whole.
type Decoded = (Vec<u8>, usize, bool);

fn decode(input: &[u8], piece_len: usize) -> Result<Decoded, crate::ChunkError> {
    let mut decoder = Decoder::default();
    let mut data = Vec::new();
    let mut at = 0;
    for piece in input.chunks(piece_len) {
        let mut rest = piece;
        while !rest.is_empty() {
            let step = decoder.decode(rest)?;
            assert!(step.data.end <= step.consumed && step.consumed <= rest.len());
            assert!(step.consumed > 0 || step.finished, "no progress");
            data.extend_from_slice(&rest[step.data]);
            at += step.consumed;
            rest = &rest[step.consumed..];
            if step.finished {
                return Ok((data, at, true));
            }
        }
    }
    Ok((data, at, false))
}

/// The input and an LF: what is wrong in a line that is not whole may be noticed only at its end.
fn with_line_end(input: &[u8]) -> Vec<u8> {
    [input, b"\n"].concat()
}

/// Where to cut an input: everywhere, unless it is long.
fn splits(len: usize) -> impl Iterator<Item = usize> {
    (0..=len).step_by(1 + len / 512)
}

/// Small, so that limits are met too.
const LIMITS: Limits = Limits {
    max_head_bytes: 600,
    max_fields: 12,
};

const KINDS: [RequestKind; 4] = [
    RequestKind {
        head: false,
        connect: false,
        upgrade: false,
    },
    RequestKind {
        head: true,
        connect: false,
        upgrade: false,
    },
    RequestKind {
        head: false,
        connect: true,
        upgrade: false,
    },
    RequestKind {
        head: false,
        connect: false,
        upgrade: true,
    },
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Messages put together from parts that mean something, among them broken ones.
    fn message(first: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
        let line = prop::sample::select(LINES).prop_map(|line| line.as_bytes().to_vec());
        let noise = prop::collection::vec(any::<u8>(), 0..6);
        let line = prop_oneof![20 => line, 1 => noise];
        let first = prop::sample::select(first);
        (first, prop::collection::vec(line, 0..8), any::<bool>()).prop_map(
            |(first, lines, ended)| {
                let mut text = first.as_bytes().to_vec();
                lines.iter().for_each(|line| text.extend_from_slice(line));
                text.extend_from_slice(if ended { b"\r\n".as_slice() } else { b"" });
                text
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn requests_mean_the_same_in_pieces_and_sent_on(text in message(REQUEST_LINES)) {
            request_head(&text);
        }

        #[test]
        fn responses_mean_the_same_in_pieces_and_sent_on(text in message(STATUS_LINES)) {
            response_head(&text);
        }

        #[test]
        fn chunked_bodies_mean_the_same_in_pieces(
            parts in prop::collection::vec(prop::sample::select(CHUNK_PARTS), 0..12),
        ) {
            chunked(parts.concat().as_bytes());
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            request_head(&bytes);
            response_head(&bytes);
            chunked(&bytes);
        }
    }

    #[test]
    fn limits_are_met_alike_in_pieces() {
        for len in [500, 560, 580, 599, 600, 601, 700] {
            request_head(
                format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(len)).as_bytes(),
            );
            request_head(
                format!(
                    "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
                    "a".repeat(len)
                )
                .as_bytes(),
            );
            request_head(
                format!(
                    "GET / HTTP/1.1\r\nHost: a\r\nX: {}\0\r\n\r\n",
                    "a".repeat(len)
                )
                .as_bytes(),
            );
            response_head(format!("HTTP/1.1 200 {}\r\n\r\n", "a".repeat(len)).as_bytes());
        }
        request_head("GET / HTTP/1.1\r\nHost: a\r\n".repeat(20).as_bytes());
    }

    const REQUEST_LINES: &[&str] = &[
        "GET / HTTP/1.1\r\nHost: a\r\n",
        "\r\nPOST /a?b HTTP/1.1\r\nHost: a:80\r\n",
        "HEAD http://a?x HTTP/1.1\r\nHost: A:80\r\n",
        "OPTIONS http://a HTTP/1.1\r\nHost: a\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n",
        "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n",
        "GET / HTTP/1.0\r\n",
        "GET / HTTP/2.0\r\n",
        "GET  / HTTP/1.1\r\n",
    ];

    const STATUS_LINES: &[&str] = &[
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 204\r\n",
        "HTTP/1.0 304 \r\n",
        "HTTP/1.1 101 Switching\r\n",
        "HTTP/1.1 103 Early\r\n",
        "HTTP/1.1 2000 OK\r\n",
    ];

    const LINES: &[&str] = &[
        "Accept: */*\r\n",
        "X-A:b\r\n",
        "X-B: \t c \t\r\n",
        "X-C:\r\n",
        "Connection: close\r\n",
        "Connection: upgrade, x-a\r\n",
        "Connection: host\r\n",
        "Upgrade: websocket\r\n",
        "Content-Length: 5\r\n",
        "Content-Length: 005\r\n",
        "Transfer-Encoding: chunked\r\n",
        "TE: trailers\r\n",
        "Expect: 100-continue\r\n",
        "Keep-Alive: timeout=5\r\n",
        "Host: a\r\n",
        " folded\r\n",
        "X : y\r\n",
        "X: y\n",
        "\r",
        "\r\n",
    ];

    const CHUNK_PARTS: &[&str] = &[
        "1\r\na\r\n",
        "0003;x=\"y\"\r\nabc\r\n",
        "A ; x\r\n0123456789\r\n",
        "0\r\n\r\n",
        "0\r\nX-T: y\r\n\r\n",
        "0\r\nX : y\r\n\r\n",
        "5\r\nabc",
        "\r\n",
        "5\n",
        "ffffffffffffffffff",
        "0\r\n\r\u{b}",
    ];
}
