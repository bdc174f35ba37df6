//! Heads of the corpus without a body: request lines, fields, hosts, connection options.

use super::corpus::{Case, Verdict};

const fn bad(bytes: &'static str) -> Case {
    refused(&[400], bytes)
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

/// Line ends, folds, names and values.
pub(super) const FIELDS: &[Case] = &[
    bad("GET /$ HTTP/1.1\nHost: t\n\n"),
    bad("GET /$ HTTP/1.1\nHost: t\r\n\r\n"),
    bad("GET /$ HTTP/1.1\r\nHost: t\n\r\n"),
    bad("GET /$ HTTP/1.1\r\nHost: t\r\n\n"),
    bad("GET /$ HTTP/1.1\r\nHost: t\r\nX: y\n\n"),
    bad("GET /$ HTTP/1.1\r\nHost: t\r\nX: a\nY: b\r\n\r\n"),
    bad("GET /$ HTTP/1.1\r\nHost: t\r\nX: a\rY: b\r\n\r\n"),
    bad("GET /$ HTTP/1.1\r\nHost: t\r\nX: a\r\r\n\r\n"),
    bad("GET /$ HTTP/1.1\r\nHost: t\r\nX: y\r\n\r\r\n"),
    bad("GET /$ HTTP/1.1\r\n Host: t\r\n\r\n"),
    bad("GET /$ HTTP/1.1\r\nHost: t\r\nX: y\r\n z\r\n\r\n"),
    bad("GET /$ HTTP/1.1\r\nHost: t\r\nX: y\r\n\tz: a\r\n\r\n"),
    bad("GET /$ HTTP/1.1\r\nHost: t\r\nX: y\r\n \r\n\r\n"),
    bad("GET /$ HTTP/1.1\r\nHost: t\r\n \r\n\r\n"),
    bad("GET /$ HTTP/1.1\r\nHost: t\r\nX : y\r\n\r\n"),
    bad("GET /$ HTTP/1.1\r\nHost: t\r\nX\t: y\r\n\r\n"),
    bad("GET /$ HTTP/1.1\r\nHost: t\r\nX Y: z\r\n\r\n"),
    bad("GET /$ HTTP/1.1\r\nHost: t\r\nX\r\n\r\n"),
    bad("GET /$ HTTP/1.1\r\nHost: t\r\n: y\r\n\r\n"),
    bad("GET /$ HTTP/1.1\r\nHost: t\r\nX\0: y\r\n\r\n"),
    bad("GET /$ HTTP/1.1\r\nHost: t\r\nX\u{e9}: y\r\n\r\n"),
    bad("GET /$ HTTP/1.1\r\nHost: t\r\n\"X\": y\r\n\r\n"),
    bad("GET /$ HTTP/1.1\r\nHost: t\r\nX(a): y\r\n\r\n"),
    bad("GET /$ HTTP/1.1\r\nHost: t\r\n\x0bX: y\r\n\r\n"),
    bad("GET /$ HTTP/1.1\r\nHost: t\r\nX: a\0b\r\n\r\n"),
    bad("GET /$ HTTP/1.1\r\nHost: t\r\nX: a\x07b\r\n\r\n"),
    bad("GET /$ HTTP/1.1\r\nHost: t\r\nX: a\x7fb\r\n\r\n"),
    bad("GET /$ HTTP/1.1\r\n\r\nHost: t\r\n\r\n"),
    passed(
        &["GET /$ "],
        "GET /$ HTTP/1.1\r\nHost: t\r\nX: \u{e9}\u{7a7a}\tb\r\nY:\r\n\r\n",
    ),
    passed(
        &["GET /$ "],
        "GET /$ HTTP/1.1\r\nHost:t\r\nX:   y  \t \r\nX: :\r\n\r\n",
    ),
];

/// The first line.
pub(super) const LINES: &[Case] = &[
    bad("GET /$\r\n\r\n"),
    bad("GET /$\r\nHost: t\r\n\r\n"),
    bad("GET  /$ HTTP/1.1\r\nHost: t\r\n\r\n"),
    bad("GET /$  HTTP/1.1\r\nHost: t\r\n\r\n"),
    bad("GET /$ HTTP/1.1 \r\nHost: t\r\n\r\n"),
    bad(" GET /$ HTTP/1.1\r\nHost: t\r\n\r\n"),
    bad("GET\t/$ HTTP/1.1\r\nHost: t\r\n\r\n"),
    bad("GET /$\tHTTP/1.1\r\nHost: t\r\n\r\n"),
    bad("GET\x0b/$ HTTP/1.1\r\nHost: t\r\n\r\n"),
    bad("GET /$ x HTTP/1.1\r\nHost: t\r\n\r\n"),
    bad("GET /$ HTTP/1.1 HTTP/1.1\r\nHost: t\r\n\r\n"),
    bad("GET /$ HTTP/1.1\rHost: t\r\n\r\n"),
    bad("GET /$ http/1.1\r\nHost: t\r\n\r\n"),
    bad("GET /$ HTTP/1.1x\r\nHost: t\r\n\r\n"),
    bad("GET /$ HTTP/1.10\r\nHost: t\r\n\r\n"),
    bad("GET /$ HTTP/11\r\nHost: t\r\n\r\n"),
    bad("GET /$ HTTP/1,1\r\nHost: t\r\n\r\n"),
    bad("GET /$ HTTP /1.1\r\nHost: t\r\n\r\n"),
    bad("GET /$ HTTPS/1.1\r\nHost: t\r\n\r\n"),
    bad("GET /$ ICAP/1.0\r\nHost: t\r\n\r\n"),
    refused(&[505], "GET /$ HTTP/2.0\r\nHost: t\r\n\r\n"),
    refused(&[505], "GET /$ HTTP/1.2\r\nHost: t\r\n\r\n"),
    refused(&[505], "GET /$ HTTP/0.9\r\nHost: t\r\n\r\n"),
    refused(&[505], "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    bad("\r\n\r\nGET /$ HTTP/1.1\r\nHost: t\r\n\r\n"),
    bad("\nGET /$ HTTP/1.1\r\nHost: t\r\n\r\n"),
    bad("\0GET /$ HTTP/1.1\r\nHost: t\r\n\r\n"),
    bad("\r\rGET /$ HTTP/1.1\r\nHost: t\r\n\r\n"),
    bad("x\r\nGET /$ HTTP/1.1\r\nHost: t\r\n\r\n"),
    bad("G\u{c9}T /$ HTTP/1.1\r\nHost: t\r\n\r\n"),
    bad("GET: /$ HTTP/1.1\r\nHost: t\r\n\r\n"),
    bad("GET,POST /$ HTTP/1.1\r\nHost: t\r\n\r\n"),
    bad("GET /$\0 HTTP/1.1\r\nHost: t\r\n\r\n"),
    bad("GET /$#a HTTP/1.1\r\nHost: t\r\n\r\n"),
    bad("GET /$\u{e9} HTTP/1.1\r\nHost: t\r\n\r\n"),
    bad("GET $ HTTP/1.1\r\nHost: t\r\n\r\n"),
    bad("GET \\$ HTTP/1.1\r\nHost: t\r\n\r\n"),
    bad("GET ?$ HTTP/1.1\r\nHost: t\r\n\r\n"),
    bad("GET * HTTP/1.1\r\nHost: t\r\n\r\n"),
    bad("GET t:80 HTTP/1.1\r\nHost: t\r\n\r\n"),
    bad("GET http:/$ HTTP/1.1\r\nHost: t\r\n\r\n"),
    bad("GET http:///$ HTTP/1.1\r\nHost: t\r\n\r\n"),
    bad("GET ftp://t/$ HTTP/1.1\r\nHost: t\r\n\r\n"),
    bad("GET http://u:p@t/$ HTTP/1.1\r\nHost: t\r\n\r\n"),
    bad("GET http://t@evil/$ HTTP/1.1\r\nHost: t\r\n\r\n"),
    bad("GET http://evil/$ HTTP/1.1\r\nHost: t\r\n\r\n"),
    bad("GET http://t:81/$ HTTP/1.1\r\nHost: t\r\n\r\n"),
    bad("GET http://t\\evil/$ HTTP/1.1\r\nHost: t\r\n\r\n"),
    // What follows may be meant for a tunnel that is not there.
    refused(&[405], "CONNECT t:80 HTTP/1.1\r\nHost: t:80\r\n\r\n"),
    bad("CONNECT /$ HTTP/1.1\r\nHost: t\r\n\r\n"),
    passed(&["GET /$ "], "\r\nGET /$ HTTP/1.1\r\nHost: t\r\n\r\n"),
    passed(&["GET /$ "], "GET http://t/$ HTTP/1.1\r\nHost: t\r\n\r\n"),
    passed(
        &["GET /$ "],
        "GET HTTP://T:80/$ HTTP/1.1\r\nHost: t\r\n\r\n",
    ),
    passed(&["GET /?$ "], "GET http://t?$ HTTP/1.1\r\nHost: t\r\n\r\n"),
    passed(
        &["GET //evil/$ "],
        "GET //evil/$ HTTP/1.1\r\nHost: t\r\n\r\n",
    ),
    passed(
        &["GET /../$/%2e%2e "],
        "GET /../$/%2e%2e HTTP/1.1\r\nHost: t\r\n\r\n",
    ),
    passed(&["get /$ "], "get /$ HTTP/1.1\r\nHost: t\r\n\r\n"),
    passed(&["OPTIONS * "], "OPTIONS * HTTP/1.1\r\nHost: t\r\n\r\n"),
    passed(
        &["GET /$?a=/../b%00 "],
        "GET /$?a=/../b%00 HTTP/1.1\r\nHost: t\r\n\r\n",
    ),
];

/// Who is asked, and what ends at this hop.
pub(super) const HOPS: &[Case] = &[
    bad("GET /$ HTTP/1.1\r\n\r\n"),
    bad("GET /$ HTTP/1.1\r\nHost:\r\n\r\n"),
    bad("GET /$ HTTP/1.1\r\nHost: t\r\nHost: t\r\n\r\n"),
    bad("GET /$ HTTP/1.1\r\nHost: t\r\nhost: evil\r\n\r\n"),
    bad("GET /$ HTTP/1.0\r\nHost: t\r\nHost: evil\r\n\r\n"),
    bad("GET /$ HTTP/1.1\r\nHost: t, evil\r\n\r\n"),
    bad("GET /$ HTTP/1.1\r\nHost: t evil\r\n\r\n"),
    bad("GET /$ HTTP/1.1\r\nHost: t@evil\r\n\r\n"),
    bad("GET /$ HTTP/1.1\r\nHost: t/evil\r\n\r\n"),
    bad("GET /$ HTTP/1.1\r\nHost: t:80:90\r\n\r\n"),
    bad("GET /$ HTTP/1.1\r\nHost: t:x\r\n\r\n"),
    bad("GET /$ HTTP/1.1\r\nHost: \"t\"\r\n\r\n"),
    bad("GET /$ HTTP/1.1\r\nHost: \u{ff54}\r\n\r\n"),
    bad("GET /$ HTTP/1.1\r\nHost : t\r\n\r\n"),
    bad("GET /$ HTTP/1.1\r\nX: y\r\n Host: t\r\n\r\n"),
    bad("GET /$ HTTP/1.1\r\nHost: t\r\nConnection: Host\r\n\r\n"),
    bad("GET /$ HTTP/1.1\r\nHost: t\r\nConnection: close, host\r\n\r\n"),
    bad(
        "POST /$ HTTP/1.1\r\nHost: t\r\nConnection: Content-Length\r\nContent-Length: 5\r\n\r\nhello",
    ),
    bad(
        "POST /$ HTTP/1.1\r\nHost: t\r\nConnection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    bad("GET /$ HTTP/1.1\r\nHost: t\r\nConnection: a b\r\n\r\n"),
    bad("GET /$ HTTP/1.1\r\nHost: t\r\nConnection: \x0bclose\r\n\r\n"),
    bad("GET /$ HTTP/1.1\r\nHost: t\r\nConnection: a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q\r\n\r\n"),
    refused(
        &[417],
        "POST /$ HTTP/1.1\r\nHost: t\r\nExpect: 200-ok\r\nContent-Length: 5\r\n\r\nhello",
    ),
    refused(
        &[417],
        "POST /$ HTTP/1.1\r\nHost: t\r\nExpect: 100-continue, x\r\nContent-Length: 5\r\n\r\nhello",
    ),
    passed(
        &["POST /$ hello"],
        "POST /$ HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
    ),
    passed(
        &["GET /$ "],
        "GET /$ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    ),
    passed(
        &["GET /$ "],
        "GET /$ HTTP/1.1\r\nHost: t\r\nConnection: X-Forwarded-For, Forwarded\r\n\r\n",
    ),
    passed(
        &["GET /$ "],
        "GET /$ HTTP/1.1\r\nHost: t\r\nConnection: , ,keep-alive,,\r\n\r\n",
    ),
    passed(
        &["GET /$ "],
        "GET /$ HTTP/1.1\r\nHost: t\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
    ),
];
