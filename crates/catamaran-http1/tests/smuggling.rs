//! The request-smuggling corpus: each head could be framed in two ways, and is refused.

use catamaran_http1::{Limits, RequestHead};

/// Fields after `POST / HTTP/1.1` and `Host: a`, and the status they get.
const REFUSED: [(&str, u16); 62] = [
    // CL.TE and TE.CL, in either order.
    ("Content-Length: 6\r\nTransfer-Encoding: chunked", 400),
    ("Transfer-Encoding: chunked\r\nContent-Length: 6", 400),
    ("Content-Length: 0\r\nTransfer-Encoding: chunked", 400),
    ("Content-Length: 6\r\nTransfer-Encoding: identity", 400),
    ("Content-Length: 6\r\nTransfer-Encoding:", 400),
    // TE.TE: one of two readers does not see `chunked`.
    (
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        400,
    ),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: x", 400),
    ("Transfer-Encoding: x\r\nTransfer-Encoding: chunked", 400),
    (
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
        400,
    ),
    ("Transfer-Encoding: xchunked", 400),
    ("Transfer-Encoding: chunkedx", 400),
    ("Transfer-Encoding: x chunked", 400),
    ("Transfer-Encoding: chunked x", 400),
    ("Transfer-Encoding: chunked, chunked", 400),
    ("Transfer-Encoding: chunked, identity", 400),
    ("Transfer-Encoding: identity, chunked", 400),
    ("Transfer-Encoding: identity", 400),
    ("Transfer-Encoding: chunked, gzip", 400),
    ("Transfer-Encoding: chunked,", 400),
    ("Transfer-Encoding: ,chunked", 400),
    ("Transfer-Encoding: chunked;q=1", 400),
    ("Transfer-Encoding: \"chunked\"", 400),
    ("Transfer-Encoding: 'chunked'", 400),
    ("Transfer-Encoding:", 400),
    ("Transfer-Encoding: \x0bchunked", 400),
    ("Transfer-Encoding: \x0cchunked", 400),
    ("Transfer-Encoding: chunked\x0b", 400),
    ("Transfer-Encoding: chunked\0", 400),
    ("Transfer-Encoding: \u{85}chunked", 400),
    ("Transfer-Encoding: \u{a0}chunked", 400),
    ("Transfer-Encoding: chun\u{212a}ed", 400),
    ("Transfer-Encoding : chunked", 400),
    ("Transfer-Encoding\t: chunked", 400),
    (" Transfer-Encoding: chunked", 400),
    ("X: y\r\n Transfer-Encoding: chunked", 400),
    ("Transfer-Encoding:\r\n chunked", 400),
    ("Transfer-Encoding:\n chunked", 400),
    ("X: y\nTransfer-Encoding: chunked", 400),
    ("X: y\rTransfer-Encoding: chunked", 400),
    ("\0Transfer-Encoding: chunked", 400),
    ("Transfer\u{2d}Encoding\0: chunked", 400),
    // Codings we know of and do not speak.
    ("Transfer-Encoding: gzip", 501),
    ("Transfer-Encoding: gzip, chunked", 501),
    ("Transfer-Encoding: deflate, gzip", 501),
    // Lengths.
    ("Content-Length: 6\r\nContent-Length: 7", 400),
    ("Content-Length: 6\r\nContent-Length: 6", 400),
    ("Content-Length: 6, 6", 400),
    ("Content-Length: 6, 7", 400),
    ("Content-Length:", 400),
    ("Content-Length: +6", 400),
    ("Content-Length: -6", 400),
    ("Content-Length: -0", 400),
    ("Content-Length: 0x6", 400),
    ("Content-Length: 6.0", 400),
    ("Content-Length: 6 6", 400),
    ("Content-Length: 6e1", 400),
    ("Content-Length: 1_0", 400),
    ("Content-Length: \u{0666}", 400),
    ("Content-Length: 9223372036854775808", 400),
    ("Content-Length: 18446744073709551622", 400),
    ("Content-Length : 6", 400),
    ("Connection: content-length\r\nContent-Length: 6", 400),
];

#[test]
fn every_ambiguous_framing_is_refused() {
    for (fields, status) in REFUSED {
        let text = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n0\r\n\r\n");
        let refused = RequestHead::new().parse(text.as_bytes(), &Limits::default());
        assert_eq!(
            refused.map_err(|error| error.status()),
            Err(status),
            "{fields:?}"
        );
    }
}

#[test]
fn a_coding_in_http_1_0_is_refused() {
    let text = b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let refused = RequestHead::new().parse(text, &Limits::default());
    assert_eq!(refused.unwrap_err().status(), 400);
}

#[test]
fn errors_say_what_is_wrong_in_lower_case() {
    let text = b"GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n";
    let refused = RequestHead::new().parse(text, &Limits::default());
    let text = refused.unwrap_err().to_string();
    assert_eq!(text, "whitespace before the colon of a field");
}
