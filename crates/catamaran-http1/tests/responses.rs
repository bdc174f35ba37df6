//! What response heads mean.

use std::time::Duration;

use catamaran_http1::{
    FieldError, FramingError, HeadWriter, Limits, Parsed, RequestKind, ResponseError,
    ResponseFraming, ResponseHead, Version,
};

const GET: RequestKind = RequestKind {
    head: false,
    connect: false,
    upgrade: false,
};

fn parse(text: &str, request: RequestKind) -> Result<ResponseHead, ResponseError> {
    let mut head = ResponseHead::new();
    match head.parse(text.as_bytes(), &Limits::default(), request)? {
        Parsed::Complete => Ok(head),
        Parsed::Partial => panic!("partial: {text:?}"),
    }
}

fn response(
    status: u16,
    fields: &str,
    request: RequestKind,
) -> Result<ResponseHead, ResponseError> {
    parse(&format!("HTTP/1.1 {status} X\r\n{fields}\r\n"), request)
}

#[test]
fn a_plain_response_is_taken_apart_and_sent_on() {
    let text = "HTTP/1.1 200 All is well\r\nServer: s\r\nConnection: keep-alive, x-a\r\nX-A: 1\r\n\
        Keep-Alive: max=9, timeout=5\r\nContent-Length: 3\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n";
    let head = parse(text, GET).unwrap();
    assert_eq!((head.status, head.version), (200, Version::Http11));
    assert_eq!(head.reason.of(text.as_bytes()), b"All is well");
    assert_eq!(head.body, ResponseFraming::Length(3));
    assert_eq!(head.keep_alive_timeout, Some(Duration::from_secs(5)));
    assert!(head.keep_alive && !head.is_interim() && !head.tunnel);
    assert_eq!(head.head_len, text.len());

    let mut out = Vec::new();
    let mut writer = HeadWriter::response(&mut out, &head, text.as_bytes());
    writer.response_fields(&head, text.as_bytes(), |_| true);
    writer.response_framing(head.body, head.announced_length);
    writer.connection_close();
    writer.end();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "HTTP/1.1 200 All is well\r\nServer: s\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\
        Content-Length: 3\r\nConnection: close\r\n\r\n"
    );
}

#[test]
fn a_reason_may_be_empty_or_left_out() {
    for text in ["HTTP/1.1 200 \r\n\r\n", "HTTP/1.1 200\r\n\r\n"] {
        let head = parse(text, GET).unwrap();
        assert_eq!((head.status, head.reason.is_empty()), (200, true));
    }
}

#[test]
fn malformed_status_lines_are_refused() {
    for (line, error) in [
        ("HTTP/1.1 20 X", ResponseError::StatusInvalid),
        ("HTTP/1.1 2000 X", ResponseError::StatusInvalid),
        ("HTTP/1.1 099 X", ResponseError::StatusInvalid),
        ("HTTP/1.1 +20 X", ResponseError::StatusInvalid),
        ("HTTP/1.1  200 X", ResponseError::StatusInvalid),
        ("HTTP/1.1 200\tX", ResponseError::StatusInvalid),
        ("HTTP/1.1", ResponseError::LineInvalid),
        ("HTTP/1.1\t200 X", ResponseError::LineInvalid),
        ("HTTP/1.1 200 X\0", ResponseError::LineInvalid),
        ("HTTP/2.0 200 X", ResponseError::VersionUnsupported),
        ("HTTP/2 200 X", ResponseError::VersionInvalid),
        ("ICY 200 OK", ResponseError::VersionInvalid),
        (" HTTP/1.1 200 X", ResponseError::VersionInvalid),
        ("\r\nHTTP/1.1 200 X", ResponseError::VersionInvalid),
        ("hello", ResponseError::VersionInvalid),
        (
            "HTTP/1.1 200 X\ry",
            ResponseError::Field(FieldError::BareCr),
        ),
        (
            "HTTP/1.1 200 X\nA: b",
            ResponseError::Field(FieldError::BareLf),
        ),
    ] {
        let error_found = parse(&format!("{line}\r\n\r\n"), GET).unwrap_err();
        assert_eq!(
            (error_found, error_found.status()),
            (error, 502),
            "{line:?}"
        );
    }
}

#[test]
fn malformed_fields_are_refused() {
    for (fields, error) in [
        ("X : y\r\n", FieldError::SpaceBeforeColon),
        ("X: y\r\n z\r\n", FieldError::Folded),
        ("X: y\0\r\n", FieldError::ValueInvalid),
        ("X: y\n\r\n", FieldError::BareLf),
    ] {
        assert_eq!(
            response(200, fields, GET).unwrap_err(),
            error.into(),
            "{fields:?}"
        );
    }
    for (fields, error) in [
        (
            "Content-Length: 1\r\nContent-Length: 1\r\n",
            FramingError::LengthRepeated,
        ),
        ("Content-Length: 1, 1\r\n", FramingError::LengthInvalid),
        ("Content-Length: -1\r\n", FramingError::LengthInvalid),
        (
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
            FramingError::LengthAndCoding,
        ),
        (
            "Transfer-Encoding: gzip\r\n",
            FramingError::CodingUnsupported,
        ),
        (
            "Transfer-Encoding: chunked, chunked\r\n",
            FramingError::CodingInvalid,
        ),
    ] {
        assert_eq!(
            response(200, fields, GET).unwrap_err(),
            error.into(),
            "{fields:?}"
        );
    }
    let old = parse("HTTP/1.0 200 X\r\nTransfer-Encoding: chunked\r\n\r\n", GET);
    assert_eq!(old.unwrap_err(), FramingError::CodingInHttp10.into());
}

#[test]
fn a_body_without_length_ends_with_the_connection() {
    let head = response(200, "", GET).unwrap();
    assert_eq!(
        (head.body, head.keep_alive),
        (ResponseFraming::UntilClose, false)
    );
    let head = parse("HTTP/1.0 200 X\r\nContent-Length: 2\r\n\r\n", GET).unwrap();
    assert_eq!(
        (head.body, head.keep_alive),
        (ResponseFraming::Length(2), false)
    );
    let head = parse(
        "HTTP/1.0 200 X\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n",
        GET,
    );
    assert!(head.unwrap().keep_alive);
}

#[test]
fn answers_to_head_and_304_have_no_body_but_may_announce_its_length() {
    let head_request = RequestKind { head: true, ..GET };
    for (status, request) in [(200, head_request), (404, head_request), (304, GET)] {
        let head = response(status, "Content-Length: 9\r\n", request).unwrap();
        assert_eq!(head.body, ResponseFraming::None);
        assert_eq!(head.announced_length, Some(9));
        assert!(head.keep_alive);
        let head = response(status, "Transfer-Encoding: chunked\r\n", request).unwrap();
        assert_eq!(
            (head.body, head.announced_length),
            (ResponseFraming::None, None)
        );
        assert!(response(status, "", request).unwrap().keep_alive);
    }
}

#[test]
fn a_204_that_announces_content_spoils_the_connection() {
    let quiet = response(204, "", GET).unwrap();
    assert_eq!(
        (quiet.body, quiet.keep_alive),
        (ResponseFraming::None, true)
    );
    assert!(
        response(204, "Content-Length: 0\r\n", GET)
            .unwrap()
            .keep_alive
    );
    for fields in ["Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n"] {
        let head = response(204, fields, GET).unwrap();
        assert_eq!((head.body, head.keep_alive), (ResponseFraming::None, false));
        assert_eq!(head.announced_length, None);
    }
}

#[test]
fn interim_responses_have_no_body() {
    for status in [100, 102, 103] {
        let head = response(status, "Link: x\r\n", GET).unwrap();
        assert!(head.is_interim() && head.keep_alive);
        assert_eq!(head.body, ResponseFraming::None);
    }
    let error = response(100, "Content-Length: 5\r\n", GET).unwrap_err();
    assert_eq!(error, ResponseError::InterimBody);
    assert!(response(100, "Content-Length: 0\r\n", GET).is_ok());
}

#[test]
fn a_switch_answers_only_a_request_for_one() {
    let fields = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    let asked = RequestKind {
        upgrade: true,
        ..GET
    };
    let head = response(101, fields, asked).unwrap();
    assert!(head.tunnel && !head.is_interim() && !head.keep_alive && head.upgrade.is_some());
    assert_eq!(head.body, ResponseFraming::None);
    let unasked = response(101, fields, GET).unwrap_err();
    assert_eq!(unasked, ResponseError::SwitchUnexpected);
    let unnamed = response(101, "", asked).unwrap_err();
    assert_eq!(unnamed, ResponseError::SwitchUnexpected);
}

#[test]
fn a_2xx_to_connect_begins_a_tunnel_whatever_it_announces() {
    let connect = RequestKind {
        connect: true,
        ..GET
    };
    let head = response(200, "Content-Length: 5\r\n", connect).unwrap();
    assert!(head.tunnel && !head.keep_alive);
    assert_eq!(head.body, ResponseFraming::None);
    let refused = response(403, "Content-Length: 5\r\n", connect).unwrap();
    assert_eq!(
        (refused.tunnel, refused.body),
        (false, ResponseFraming::Length(5))
    );
}

#[test]
fn an_odd_keep_alive_is_not_heeded() {
    for value in [
        "timeout",
        "timeout=",
        "timeout=x",
        "timeout=9999999999",
        "max=5",
        "",
    ] {
        let head = response(200, &format!("Keep-Alive: {value}\r\n"), GET).unwrap();
        assert_eq!(head.keep_alive_timeout, None, "{value}");
    }
}
