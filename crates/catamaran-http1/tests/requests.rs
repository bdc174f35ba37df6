//! What request heads mean.

use catamaran_http1::{
    BodyFraming, FieldError, FieldId, FramingError, HeadWriter, Limits, Method, Parsed,
    RequestError, RequestHead, Scheme, TargetForm, Version, is_valid_host,
};

const LIMITS: Limits = Limits {
    max_head_bytes: 1024,
    max_fields: 10,
};

fn parse(text: &str) -> Result<RequestHead, RequestError> {
    let mut head = RequestHead::new();
    match head.parse(text.as_bytes(), &LIMITS)? {
        Parsed::Complete => Ok(head),
        Parsed::Partial => panic!("partial: {text:?}"),
    }
}

fn get(fields: &str) -> Result<RequestHead, RequestError> {
    parse(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"))
}

fn sent_on(text: &str) -> String {
    let head = parse(text).expect("the request is valid");
    let buf = text.as_bytes();
    let mut out = Vec::new();
    let mut writer = HeadWriter::request(&mut out, &head, buf, None, None);
    writer.request_fields(&head, buf, |field| field.id != FieldId::XForwardedFor);
    if let Some(protocols) = head.upgrade {
        writer.upgrade(protocols.of(buf));
    }
    writer.request_framing(head.body);
    writer.end();
    String::from_utf8(out).expect("all of it is ASCII")
}

#[test]
fn a_plain_request_is_taken_apart() {
    let text = "GET /a/b?c=d?e HTTP/1.1\r\nHost: a.example:8080\r\nAccept: */*\r\n\r\n";
    let head = parse(text).unwrap();
    let buf = text.as_bytes();
    assert_eq!(head.method, Method::Get);
    assert_eq!(head.version, Version::Http11);
    assert_eq!(head.target.form, TargetForm::Origin);
    assert_eq!(head.target.path(buf), b"/a/b");
    assert_eq!(head.target.query.unwrap().of(buf), b"c=d?e");
    assert_eq!(head.host.unwrap().of(buf), b"a.example:8080");
    assert_eq!(head.body, BodyFraming::None);
    assert!(head.keep_alive && !head.expect_continue && head.pass_trailers);
    assert_eq!(head.head_len, text.len());
    assert_eq!(head.fields().len(), 2);
    assert_eq!(head.fields()[1].value.of(buf), b"*/*");
}

#[test]
fn a_head_is_sent_on_without_its_hop_by_hop_fields() {
    let text = "POST http://a.example:80?q=1 HTTP/1.1\r\nHost: A.example\r\nAccept: */*\r\n\
        X-B: \t y \r\nConnection: x-c, , close\r\nX-C: 1\r\nContent-Length: 007\r\n\
        Keep-Alive: 5\r\nTE: trailers\r\nX-Forwarded-For: spoofed\r\nX-D:d\r\n\r\n";
    assert_eq!(
        sent_on(text),
        "POST /?q=1 HTTP/1.1\r\nHost: a.example:80\r\nAccept: */*\r\nX-B: y\r\nX-D: d\r\n\
        Content-Length: 7\r\n\r\n"
    );
}

#[test]
fn an_upgrade_is_passed_on() {
    let text = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n\
        Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n";
    assert_eq!(
        sent_on(text),
        "GET /ws HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Version: 13\r\nConnection: upgrade\r\n\
        Upgrade: websocket\r\n\r\n"
    );
}

#[test]
fn upgrades_that_would_bypass_the_routes_are_ignored() {
    for protocol in [
        "h2c",
        "H2C",
        "websocket, h2c",
        "TLS/1.0",
        "HTTP/2.0",
        "",
        "a b",
    ] {
        let head = get(&format!("Connection: upgrade\r\nUpgrade: {protocol}\r\n")).unwrap();
        assert_eq!(head.upgrade, None, "{protocol}");
    }
    assert_eq!(get("Upgrade: websocket\r\n").unwrap().upgrade, None);
    let body = "Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n";
    assert_eq!(get(body).unwrap().upgrade, None);
    let old = parse("GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(old.unwrap().upgrade, None);
}

#[test]
fn one_empty_line_before_the_request_is_skipped() {
    let head = parse("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(head.method, Method::Get);
    assert_eq!(
        parse("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap_err(),
        RequestError::MethodInvalid
    );
}

#[test]
fn malformed_request_lines_are_refused() {
    for (line, error) in [
        ("get me / HTTP/1.1", RequestError::VersionInvalid),
        ("get me HTTP/1.1", RequestError::TargetInvalid),
        ("GET  / HTTP/1.1", RequestError::LineInvalid),
        ("GET /  HTTP/1.1", RequestError::VersionInvalid),
        ("GET / HTTP/1.1 ", RequestError::VersionInvalid),
        ("GET /a b HTTP/1.1", RequestError::VersionInvalid),
        ("GET\t/ HTTP/1.1", RequestError::MethodInvalid),
        (" GET / HTTP/1.1", RequestError::MethodInvalid),
        ("G(T / HTTP/1.1", RequestError::MethodInvalid),
        ("GET /", RequestError::LineInvalid),
        ("GET /\t HTTP/1.1", RequestError::TargetInvalid),
        ("GET /\0 HTTP/1.1", RequestError::TargetInvalid),
        ("GET /a#b HTTP/1.1", RequestError::TargetInvalid),
        ("GET /\u{e9} HTTP/1.1", RequestError::TargetInvalid),
        ("GET / http/1.1", RequestError::VersionInvalid),
        ("GET / HTTP/1.1\r", RequestError::Field(FieldError::BareCr)),
        ("GET / HTTP/01.1", RequestError::VersionInvalid),
        ("GET / HTTP/11", RequestError::VersionInvalid),
        ("GET / HTTP/1.2", RequestError::VersionUnsupported),
        ("GET / HTTP/2.0", RequestError::VersionUnsupported),
        ("PRI * HTTP/2.0", RequestError::VersionUnsupported),
        ("GET / HTTP/0.9", RequestError::VersionUnsupported),
    ] {
        let text = format!("{line}\r\nHost: a\r\n\r\n");
        assert_eq!(parse(&text).unwrap_err(), error, "{line:?}");
    }
    let bare = parse("GET / HTTP/1.1\nHost: a\n\n").unwrap_err();
    assert_eq!(bare, RequestError::Field(FieldError::BareLf));
}

#[test]
fn each_target_form_belongs_to_its_methods() {
    let form = |line: &str| {
        let text = format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n");
        parse(&text).map(|head| head.target.form)
    };
    assert_eq!(form("OPTIONS *"), Ok(TargetForm::Asterisk));
    assert_eq!(form("CONNECT a:443"), Ok(TargetForm::Authority));
    assert_eq!(form("GET http://a/"), Ok(TargetForm::Absolute));
    assert_eq!(form("GET HTTPS://A"), Ok(TargetForm::Absolute));
    for line in [
        "GET *",
        "OPTIONS *a",
        "GET a:443",
        "CONNECT a",
        "CONNECT /",
        "CONNECT http://a/",
        "CONNECT a:",
        "CONNECT a:99999",
        "GET a",
        "GET ftp://a/",
        "GET javascript:1",
        "GET http:///x",
        "GET http://",
        "GET http://u@a/",
        "GET http://a\\/",
        "GET ?q",
    ] {
        assert_eq!(form(line), Err(RequestError::TargetInvalid), "{line}");
    }
}

#[test]
fn an_absolute_target_is_sent_on_in_origin_form() {
    for (line, expected) in [
        ("GET http://a", "GET / HTTP/1.1"),
        ("GET http://a?x", "GET /?x HTTP/1.1"),
        ("GET http://a/y?x", "GET /y?x HTTP/1.1"),
        ("OPTIONS http://a", "OPTIONS * HTTP/1.1"),
        ("OPTIONS http://a/", "OPTIONS / HTTP/1.1"),
    ] {
        let text = sent_on(&format!("{line} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(text.lines().next(), Some(expected));
    }
    let head = parse("GET https://a/ HTTP/1.1\r\nHost: a:443\r\n\r\n").unwrap();
    assert_eq!(head.target.scheme, Some(Scheme::Https));
}

#[test]
fn exactly_one_valid_host_is_required() {
    let host = |fields: &str| parse(&format!("GET / HTTP/1.1\r\n{fields}\r\n")).map(|_| ());
    assert_eq!(host(""), Err(RequestError::HostMissing));
    assert_eq!(
        host("Host: a\r\nHost: a\r\n"),
        Err(RequestError::HostRepeated)
    );
    for valid in [
        "a", "a.b:80", "1.2.3.4", "[::1]", "[::1]:80", "a_b", "%41", "a:",
    ] {
        assert_eq!(host(&format!("Host: {valid}\r\n")), Ok(()), "{valid}");
    }
    for invalid in [
        "",
        "a b",
        "a/b",
        "a@b",
        "a?b",
        "a#b",
        ":80",
        "a:b",
        "a:70000",
        "a:80:80",
        "[::1",
        "::1",
        "[a]",
        "[::1]a",
        "%4",
        "%zz",
        "a\\b",
        "\"a\"",
        "\u{e9}",
        "a, b",
        "[::1%eth0]",
    ] {
        let host = host(&format!("Host: {invalid}\r\n"));
        assert_eq!(host, Err(RequestError::HostInvalid), "{invalid}");
    }
    let old = parse("GET / HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!((old.host, old.keep_alive), (None, false));
    let twice = parse("GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n").unwrap_err();
    assert_eq!(twice, RequestError::HostRepeated);
}

#[test]
fn host_must_equal_the_authority_of_the_target() {
    let both = |target: &str, host: &str| {
        parse(&format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n")).map(|_| ())
    };
    assert_eq!(both("http://a/", "A:80"), Ok(()));
    assert_eq!(both("https://a:443/", "a"), Ok(()));
    assert_eq!(both("http://a/", "b"), Err(RequestError::HostDiffers));
    assert_eq!(both("http://a/", "a:81"), Err(RequestError::HostDiffers));
    assert_eq!(both("https://a/", "a:80"), Err(RequestError::HostDiffers));
}

#[test]
fn malformed_field_lines_are_refused() {
    for (lines, error) in [
        ("X : y\r\n", FieldError::SpaceBeforeColon),
        ("X\t: y\r\n", FieldError::SpaceBeforeColon),
        (": y\r\n", FieldError::NameEmpty),
        ("X\r\n", FieldError::NameInvalid),
        ("X\u{e9}: y\r\n", FieldError::NameInvalid),
        ("X[]: y\r\n", FieldError::NameInvalid),
        ("X\0: y\r\n", FieldError::NameInvalid),
        ("X: y\r\n z\r\n", FieldError::Folded),
        ("X: y\r\n\tz\r\n", FieldError::Folded),
        ("X: y\r\n \r\n", FieldError::Folded),
        ("X: a\rb\r\n", FieldError::BareCr),
        ("X: a\r\r\n", FieldError::BareCr),
        ("X: a\nY: b\r\n", FieldError::BareLf),
        ("X: a\n\r\n", FieldError::BareLf),
        ("X\nY: b\r\n", FieldError::BareLf),
        ("\n", FieldError::BareLf),
        ("\rX: a\r\n", FieldError::BareCr),
        ("X: a\0b\r\n", FieldError::ValueInvalid),
        ("X: a\x0bb\r\n", FieldError::ValueInvalid),
        ("X: a\x7fb\r\n", FieldError::ValueInvalid),
        ("X: a\x1b\r\n", FieldError::ValueInvalid),
    ] {
        assert_eq!(
            get(lines).unwrap_err(),
            RequestError::Field(error),
            "{lines:?}"
        );
    }
    let first = parse("GET / HTTP/1.1\r\n Host: a\r\n\r\n").unwrap_err();
    assert_eq!(first, RequestError::Field(FieldError::Folded));
}

#[test]
fn values_may_hold_tabs_and_bytes_beyond_ascii() {
    let text = "GET / HTTP/1.1\r\nHost: a\r\nX: a\tb \u{e9}\u{7a7a}\r\nY:\r\nZ: \r\n\r\n";
    let head = parse(text).unwrap();
    let values = head.fields()[1..]
        .iter()
        .map(|field| field.value.of(text.as_bytes()));
    let expected: [&[u8]; 3] = ["a\tb \u{e9}\u{7a7a}".as_bytes(), b"", b""];
    assert!(values.eq(expected));
}

#[test]
fn the_limits_of_a_head_hold() {
    let many = "X: y\r\n".repeat(10);
    let error = get(&many).unwrap_err();
    assert_eq!(error, RequestError::Field(FieldError::TooManyFields));
    assert_eq!(error.status(), 431);
    assert!(get(&"X: y\r\n".repeat(9)).is_ok());

    let error = get(&format!("X: {}\r\n", "y".repeat(1024))).unwrap_err();
    assert_eq!(error, RequestError::Field(FieldError::TooLarge));
    assert_eq!(error.status(), 431);

    let error = parse(&format!("GET /{} HTTP/1.1\r\n", "y".repeat(1024))).unwrap_err();
    assert_eq!(error, RequestError::TargetTooLong);
    assert_eq!(error.status(), 414);

    let unending = parse(&"G".repeat(1024)).unwrap_err();
    assert_eq!(unending, RequestError::TargetTooLong);
}

#[test]
fn what_is_no_http_is_refused_at_its_first_byte() {
    let mut head = RequestHead::new();
    let hello = head.parse(b"\x16\x03\x01", &LIMITS);
    assert_eq!(hello, Err(RequestError::MethodInvalid));
}

#[test]
fn connection_options_decide_what_stays_behind() {
    let head = get("Connection: X-A\r\nconnection: x-b,x-a\r\nX-a: 1\r\nX-B: 2\r\nX-C: 3\r\n");
    let head = head.unwrap();
    let hops: Vec<bool> = head.fields().iter().map(|field| field.hop).collect();
    assert_eq!(hops, [false, true, true, true, true, false]);
    assert!(!head.pass_trailers);
    for essential in ["host", "Content-Length", "transfer-encoding", "expect"] {
        let error = get(&format!("Connection: close, {essential}\r\n")).unwrap_err();
        assert_eq!(
            error,
            FieldError::ConnectionNamesEssential.into(),
            "{essential}"
        );
    }
    let error = get("Connection: a b\r\n").unwrap_err();
    assert_eq!(error, FieldError::ConnectionInvalid.into());
    let error = get(&format!("Connection: {}\r\n", "x,".repeat(17))).unwrap_err();
    assert_eq!(error, FieldError::TooManyConnectionOptions.into());
    assert!(
        get("Connection: TE\r\nTE: trailers\r\n")
            .unwrap()
            .pass_trailers
    );
    assert!(get("TE: gzip, Trailers\r\n").unwrap().te_trailers);
    assert!(!get("TE: gzip\r\n").unwrap().te_trailers);
}

#[test]
fn the_connection_outlives_the_request_as_its_version_says() {
    let keep = |version: &str, connection: &str| {
        let text = format!("GET / HTTP/{version}\r\nHost: a\r\n{connection}\r\n");
        parse(&text).unwrap().keep_alive
    };
    assert!(keep("1.1", ""));
    assert!(!keep("1.1", "Connection: Close\r\n"));
    assert!(!keep("1.1", "Connection: keep-alive, close\r\n"));
    assert!(!keep("1.0", ""));
    assert!(keep("1.0", "Connection: Keep-Alive\r\n"));
    assert!(!keep("1.0", "Proxy-Connection: keep-alive\r\n"));
}

#[test]
fn only_the_continue_expectation_is_known() {
    assert!(get("Expect: 100-Continue\r\n").unwrap().expect_continue);
    for fields in [
        "Expect: x\r\n",
        "Expect: 100-continue, x\r\n",
        "Expect:\r\n",
    ] {
        let error = get(fields).unwrap_err();
        assert_eq!((error, error.status()), (RequestError::ExpectUnknown, 417));
    }
    let old = parse("POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n").unwrap();
    assert!(!old.expect_continue && old.fields()[0].hop);
}

#[test]
fn only_a_host_may_take_the_place_of_a_host() {
    assert!(is_valid_host(b"a.example:80") && is_valid_host(b"[::1]"));
    assert!(!is_valid_host(b"a\r\nX: y") && !is_valid_host(b""));
}

#[test]
fn framing_is_decided_from_one_field_only() {
    let body = |fields: &str| get(fields).map(|head| head.body);
    assert_eq!(body("Content-Length: 0\r\n"), Ok(BodyFraming::Length(0)));
    assert_eq!(
        body("Content-Length: 9223372036854775807\r\n"),
        Ok(BodyFraming::Length((1 << 63) - 1))
    );
    assert_eq!(
        body("Transfer-Encoding: chunked\r\n"),
        Ok(BodyFraming::Chunked)
    );
    assert_eq!(
        body("transfer-encoding:\t CHUNKED \r\n"),
        Ok(BodyFraming::Chunked)
    );
    let unsupported = body("Transfer-Encoding: gzip, chunked\r\n").unwrap_err();
    assert_eq!(unsupported, FramingError::CodingUnsupported.into());
    assert_eq!(unsupported.status(), 501);
}

#[test]
fn a_head_is_used_for_one_request_after_the_other() {
    let mut head = RequestHead::new();
    let first = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n";
    assert_eq!(head.parse(first, &LIMITS), Ok(Parsed::Complete));
    assert_eq!(head.parse(b"GE", &LIMITS), Ok(Parsed::Partial));
    let second = b"GET /2 HTTP/1.1\r\nHost: b\r\n\r\n";
    assert_eq!(head.parse(second, &LIMITS), Ok(Parsed::Complete));
    assert_eq!(
        (head.body, head.expect_continue),
        (BodyFraming::None, false)
    );
    assert_eq!(head.fields().len(), 1);
    assert_eq!(head.host.unwrap().of(second), b"b");
}
