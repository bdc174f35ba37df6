//! The corpus: what is sent, and what must come of it.
//!
//! `$` stands for the number of the case in every text, so that each request that reaches the
//! origin tells where it came from.

/// What must come of a case.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verdict {
    /// One of these statuses, then the end; nothing reaches the origin.
    Refused(&'static [u16]),
    /// The origin gets exactly these, as `METHOD target body`, and the request that follows.
    Passed(&'static [&'static str]),
}

/// One thing to send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub(super) bytes: &'static str,
    pub(super) verdict: Verdict,
}

const BAD: Verdict = Verdict::Refused(&[400]);
const UNSPOKEN: Verdict = Verdict::Refused(&[400, 501]);

const fn bad(bytes: &'static str) -> Case {
    Case {
        bytes,
        verdict: BAD,
    }
}

const fn refused(statuses: &'static [u16], bytes: &'static str) -> Case {
    Case {
        bytes,
        verdict: Verdict::Refused(statuses),
    }
}

const fn passed(requests: &'static [&'static str], bytes: &'static str) -> Case {
    Case {
        bytes,
        verdict: Verdict::Passed(requests),
    }
}

/// Two framings at once: Content-Length for one reader, Transfer-Encoding for the other.
pub(super) const TWO_FRAMINGS: &[Case] = &[
    // CL.TE: the front counts six bytes, the back ends at the last chunk.
    bad(
        "POST /$ HTTP/1.1\r\nHost: t\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
    ),
    // TE.CL: the other way round.
    bad(
        "POST /$ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n\
        20\r\nGET /evil$ HTTP/1.1\r\nHost: t\r\n\r\n\r\n0\r\n\r\n",
    ),
    bad(
        "GET /$ HTTP/1.1\r\nHost: t\r\ncontent-length: 0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    bad(
        "POST /$ HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nTransfer-Encoding: identity\r\n\r\nhello",
    ),
    bad("POST /$ HTTP/1.0\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    bad("POST /$ HTTP/1.0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    // CL.0 and 0.CL: the length counts, whatever the method.
    passed(
        &["GET /$ GET /evil$ HTTP/1.1\r\nX: "],
        "GET /$ HTTP/1.1\r\nHost: t\r\nContent-Length: 27\r\n\r\nGET /evil$ HTTP/1.1\r\nX: ",
    ),
    passed(
        &["HEAD /$ hello"],
        "HEAD /$ HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello",
    ),
    // `_` reads as `-` to servers of the CGI family, so such fields are not sent on.
    passed(
        &["POST /$ hello"],
        "POST /$ HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nTransfer_Encoding: chunked\r\n\r\nhello",
    ),
    passed(
        &["POST /$ hello"],
        "POST /$ HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nContent_Length: 0\r\n\r\nhello",
    ),
];

/// TE.TE: spellings of `chunked` that one reader takes and the other does not.
pub(super) const CODINGS: &[Case] = &[
    bad(
        "POST /$ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    ),
    bad(
        "POST /$ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nTransfer-encoding: cow\r\n\r\n0\r\n\r\n",
    ),
    bad(
        "POST /$ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: cow\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    bad(
        "POST /$ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: identity\r\n\r\n"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunkedx\r\n\r\n0\r\n\r\n"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunk\r\n\r\n0\r\n\r\n"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: 'chunked'\r\n\r\n0\r\n\r\n"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked,\r\n\r\n0\r\n\r\n"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\x0b\r\n\r\n0\r\n\r\n"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: \x0cchunked\r\n\r\n0\r\n\r\n"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\0\r\n\r\n0\r\n\r\n"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: \0chunked\r\n\r\n0\r\n\r\n"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: \u{a0}chunked\r\n\r\n0\r\n\r\n"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: \u{131}chunked\r\n\r\n0\r\n\r\n"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding\x0b: chunked\r\n\r\n0\r\n\r\n"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding\r\n: chunked\r\n\r\n0\r\n\r\n"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding chunked\r\n\r\n0\r\n\r\n"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nX: x\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nX: x\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\nX: x\r\n\r\n0\r\n\r\n"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\rX: x\r\n\r\n0\r\n\r\n"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\r\n\r\n0\r\n\r\n"),
    refused(
        &[501],
        "POST /$ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    ),
    Case {
        bytes: "POST /$ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        verdict: UNSPOKEN,
    },
    Case {
        bytes: "POST /$ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: gzip\r\n\r\n",
        verdict: UNSPOKEN,
    },
    passed(
        &["POST /$ abc"],
        "POST /$ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding:chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ),
    passed(
        &["POST /$ abc"],
        "POST /$ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding:\tchunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ),
    passed(
        &["POST /$ abc"],
        "POST /$ HTTP/1.1\r\nHost: t\r\ntRANSFER-eNCODING: cHuNkEd \t \r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ),
];

/// Content-Length in every shape.
pub(super) const LENGTHS: &[Case] = &[
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nContent-Length: 0\r\n\r\nhello"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\ncontent-length: 5\r\n\r\nhello"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nContent-Length: 5, 5\r\n\r\nhello"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nContent-Length: 5, 0\r\n\r\nhello"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nContent-Length: 5,\r\n\r\nhello"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nContent-Length: +5\r\n\r\nhello"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nContent-Length: -5\r\n\r\nhello"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nContent-Length: -0\r\n\r\n"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nContent-Length: 0x5\r\n\r\nhello"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nContent-Length: 5h\r\n\r\nhello"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nContent-Length: 5 5\r\n\r\nhello"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nContent-Length: 5;\r\n\r\nhello"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nContent-Length: 5.0\r\n\r\nhello"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nContent-Length: 5e0\r\n\r\nhello"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nContent-Length: 1_0\r\n\r\nhellohello"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nContent-Length: \"5\"\r\n\r\nhello"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nContent-Length:\r\n\r\n"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nContent-Length: \u{665}\r\n\r\nhello"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nContent-Length: \x0b5\r\n\r\nhello"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nContent-Length: 5\0\r\n\r\nhello"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nContent-Length:\r\n 5\r\n\r\nhello"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nContent-Length : 5\r\n\r\nhello"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nContent-Length: 9223372036854775808\r\n\r\nhello"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nContent-Length: 18446744073709551621\r\n\r\nhello"),
    bad("POST /$ HTTP/1.1\r\nHost: t\r\nContent-Length: 4294967296000000000005\r\n\r\nhello"),
    passed(
        &["POST /$ hello"],
        "POST /$ HTTP/1.1\r\nHost: t\r\nContent-Length: 005\r\n\r\nhello",
    ),
    passed(
        &["POST /$ hello"],
        "POST /$ HTTP/1.1\r\nHost: t\r\nContent-Length: \t 5 \t\r\n\r\nhello",
    ),
    passed(
        &["POST /$ "],
        "POST /$ HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n",
    ),
    passed(&["POST /$ "], "POST /$ HTTP/1.1\r\nHost: t\r\n\r\n"),
];

/// Chunked bodies: the head is good, so it may reach the origin, but never as a whole request.
pub(super) const CHUNKS: &[&str] = &[
    "x\r\nabc\r\n0\r\n\r\n",
    "-1\r\nabc\r\n0\r\n\r\n",
    "+3\r\nabc\r\n0\r\n\r\n",
    "0x3\r\nabc\r\n0\r\n\r\n",
    " 3\r\nabc\r\n0\r\n\r\n",
    "3 \r\nabc\r\n0\r\n\r\n",
    "3\t\r\nabc\r\n0\r\n\r\n",
    "3 a\r\nabc\r\n0\r\n\r\n",
    "3_0\r\nabc\r\n0\r\n\r\n",
    "\r\n3\r\nabc\r\n0\r\n\r\n",
    "3\nabc\r\n0\r\n\r\n",
    "3\rabc\r\n0\r\n\r\n",
    "3\r\r\nabc\r\n0\r\n\r\n",
    "3\r\nabc0\r\n\r\n",
    "3\r\nabc\n0\r\n\r\n",
    "3\r\nabc\r0\r\n\r\n",
    "3\r\nabcde\r\n0\r\n\r\n",
    "3\r\nabcGET /evil$ HTTP/1.1\r\nHost: t\r\n\r\n",
    "3;\r\nabc\r\n0\r\n\r\n",
    "3;a\nb\r\nabc\r\n0\r\n\r\n",
    "3;a\rb\r\nabc\r\n0\r\n\r\n",
    "3;\nxx\r\nabc\r\n0\r\n\r\n",
    "3;a=\"x\r\nabc\r\n0\r\n\r\n",
    "3;a=\"x\ny\"\r\nabc\r\n0\r\n\r\n",
    "3;a=b c\r\nabc\r\n0\r\n\r\n",
    "3;\0\r\nabc\r\n0\r\n\r\n",
    "3;a=\0\r\nabc\r\n0\r\n\r\n",
    "3\0\r\nabc\r\n0\r\n\r\n",
    // 2^64 + 3, 2^63, 16 digits that are too many, 17 that would wrap.
    "10000000000000003\r\nabc\r\n0\r\n\r\n",
    "8000000000000000\r\nabc\r\n0\r\n\r\n",
    "FFFFFFFFFFFFFFFF\r\nabc\r\n0\r\n\r\n",
    "00000000000000003\r\nabc\r\n0\r\n\r\n",
    "3\r\nabc\r\n0\n\r\n",
    "3\r\nabc\r\n0\r\n\n",
    "3\r\nabc\r\n0\r\nX\r\n\r\n",
    "3\r\nabc\r\n0\r\nX : y\r\n\r\n",
    "3\r\nabc\r\n0\r\nX: y\n\r\n",
    "3\r\nabc\r\n0\r\nX: y\r\n z\r\n\r\n",
    "3\r\nabc\r\n0\r\n: y\r\n\r\n",
    "3\r\nabc\r\n0\r\nX: \0\r\n\r\n",
    "3\r\nabc\r\n0\r\nGET /evil$ HTTP/1.1\r\nHost: t\r\n\r\n",
];

/// Chunked bodies that have one reading, and what the origin must get of them.
pub(super) const GOOD_CHUNKS: &[(&str, &str)] = &[
    ("0\r\n\r\n", ""),
    ("000\r\n\r\n", ""),
    ("3\r\nabc\r\n0\r\n\r\n", "abc"),
    ("0000000000000003\r\nabc\r\n0\r\n\r\n", "abc"),
    ("A\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
    ("a\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
    ("1\r\na\r\n2\r\n\r\n\r\n0\r\n\r\n", "a\r\n"),
    ("3;a\r\nabc\r\n0;b\r\n\r\n", "abc"),
    ("3;a=b;c=\"d\\\"\"\r\nabc\r\n0\r\n\r\n", "abc"),
    ("3 ;a = b\r\nabc\r\n0\r\n\r\n", "abc"),
    ("5\r\n0\r\n\r\n\r\n0\r\n\r\n", "0\r\n\r\n"),
    ("3\r\nabc\r\n0\r\nX: y\r\n\r\n", "abc"),
    ("3\r\nabc\r\n0\r\nContent-Length: 5\r\n\r\n", "abc"),
    (
        "3\r\nabc\r\n0\r\nTransfer-Encoding: chunked\r\nHost: evil\r\n\r\n",
        "abc",
    ),
];
