//! Which fields reach the origin, whatever the client says; and how large a head may be.

use super::assert_refused;
use crate::PATIENCE;
use crate::hostile::Balancer;
use catamaran_testkit::{Origin, Reply, Request};

/// Sends a GET with these field lines to `balancer`, and returns what its origin got.
fn forwarded(origin: &Origin, balancer: &Balancer, lines: &[&str]) -> Request {
    origin.forget();
    let response = balancer.client().request("GET", "/", lines, b"").unwrap();
    assert_eq!(response.status, 200, "{lines:?}");
    origin.requests().pop().unwrap()
}

fn pair(more: &str) -> (Origin, Balancer) {
    let origin = Origin::http(|_| Reply::new(200, "ok")).start().unwrap();
    let balancer = Balancer::with(&[origin.addr()], more, "");
    (origin, balancer)
}

#[test]
fn forwarding_fields_of_a_client_that_is_not_trusted_are_ours() {
    let (origin, balancer) = pair("forwarded = \"both\"");
    let request = forwarded(
        &origin,
        &balancer,
        &[
            "X-Forwarded-For: 6.6.6.6",
            "x-forwarded-for: 6.6.6.7",
            "X-Forwarded-Host: evil",
            "X-Forwarded-Proto: https",
            "Forwarded: for=6.6.6.8",
            "Connection: x-forwarded-for, x-forwarded-host, forwarded",
        ],
    );
    for (name, expected) in [
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-host", "test"),
        ("x-forwarded-proto", "http"),
        ("forwarded", "for=127.0.0.1;host=test;proto=http"),
    ] {
        let values: Vec<_> = request.head.all(name).collect();
        assert_eq!(values, [expected.as_bytes()], "{name}");
    }
}

#[test]
fn a_field_that_reads_as_one_of_ours_once_its_underscores_are_hyphens_is_dropped() {
    for more in ["", "trusted-proxies = [\"127.0.0.0/8\"]"] {
        let (origin, balancer) = pair(more);
        let request = forwarded(
            &origin,
            &balancer,
            &[
                "X_Forwarded_For: 6.6.6.6",
                "x_forwarded-for: 6.6.6.6",
                "X-Forwarded_Host: evil",
                "X_FORWARDED_PROTO: https",
                "Content_Length: 5",
                "Transfer_Encoding: chunked",
                "Another_Field: kept",
            ],
        );
        let odd: Vec<_> = request
            .head
            .fields
            .iter()
            .filter(|(name, _)| name.contains('_'))
            .collect();
        assert_eq!(odd, [&("Another_Field".to_owned(), b"kept".to_vec())]);
        assert_eq!(request.field("x-forwarded-for").unwrap(), "127.0.0.1");
    }
}

#[test]
fn a_mirrored_copy_says_no_more_of_the_client_than_the_request() {
    let copies = Origin::http(|_| Reply::new(200, "ok")).start().unwrap();
    let origin = Origin::http(|_| Reply::new(200, "ok")).start().unwrap();
    let mirror = "\n[[frontend.web.route]]\nbackend = \"api\"\nmirror = { backend = \"copies\" }\n";
    let more = format!("\n[backend.copies]\nservers = [\"{}\"]\n", copies.addr());
    let balancer = Balancer::with(&[origin.addr()], mirror, &more);
    let lines = ["X-Forwarded-For: 6.6.6.6", "Forwarded: for=6.6.6.6"];
    forwarded(&origin, &balancer, &lines);
    assert!(copies.wait_for_requests(1, PATIENCE));
    let copy = copies.requests().pop().unwrap();
    assert_eq!(copy.field("x-forwarded-for").unwrap(), "127.0.0.1");
    assert_eq!(copy.field("forwarded"), None);
}

#[test]
fn fields_of_one_hop_end_here() {
    let (origin, balancer) = pair("");
    let request = forwarded(
        &origin,
        &balancer,
        &[
            "Connection: keep-alive, X-Secret",
            "Connection: x-other",
            "X-Secret: 1",
            "x-OTHER: 2",
            "Keep-Alive: timeout=1000",
            "Proxy-Connection: keep-alive",
            "TE: gzip",
            "Upgrade: h2c",
            "X-Kept: 3",
        ],
    );
    for name in [
        "connection",
        "x-secret",
        "x-other",
        "keep-alive",
        "proxy-connection",
        "te",
        "upgrade",
    ] {
        assert_eq!(request.field(name), None, "{name}");
    }
    assert_eq!(request.field("x-kept").unwrap(), "3");
}

#[test]
fn a_trailer_that_connection_names_ends_here_too() {
    let (origin, balancer) = pair("");
    let mut client = balancer.client();
    client
        .send(
            b"POST / HTTP/1.1\r\nHost: t\r\nConnection: x-secret\r\nTransfer-Encoding: chunked\r\n\r\n\
            1\r\na\r\n0\r\nX-Secret: 1\r\n\r\n",
        )
        .unwrap();
    assert_eq!(client.receive_response("POST").unwrap().status, 200);
    let request = origin.requests().pop().unwrap();
    assert_eq!(request.body.trailers, []);
}

#[test]
fn a_head_beyond_the_limits_is_refused() {
    let (origin, balancer) = pair("");
    let large = format!(
        "GET / HTTP/1.1\r\nHost: t\r\nX: {}\r\n\r\n",
        "y".repeat(40_000)
    );
    let long = format!("GET /{} HTTP/1.1\r\nHost: t\r\n\r\n", "y".repeat(40_000));
    let many = format!(
        "GET / HTTP/1.1\r\nHost: t\r\n{}\r\n",
        "X: y\r\n".repeat(10_000)
    );
    let endless = format!(
        "GET / HTTP/1.1\r\nHost: t\r\n{}",
        "X: y\r\n".repeat(200_000)
    );
    for (text, status) in [(large, 431), (long, 414), (many, 431), (endless, 431)] {
        let mut client = balancer.client();
        // The refusal may come before all of it has gone out.
        client.send(text.as_bytes()).ok();
        assert_refused(&mut client, &[status], &text[..40]);
    }
    assert_eq!(origin.requests(), []);
}

#[test]
fn extensions_cannot_outweigh_the_body() {
    let (origin, balancer) = pair("");
    let extension = format!("1;{}\r\na\r\n", "x".repeat(100_000));
    let text = format!(
        "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n{extension}0\r\n\r\n"
    );
    let mut client = balancer.client();
    client.send(text.as_bytes()).ok();
    assert_refused(&mut client, &[400], "a long extension");
    assert_eq!(origin.requests(), []);
}

#[test]
fn no_spelling_of_a_path_gets_around_a_route() {
    let origin = Origin::http(|_| Reply::new(200, "ok")).start().unwrap();
    let route = "\n[[frontend.web.route]]\npath = \"/admin\"\nrespond = { status = 403 }\n";
    let balancer = Balancer::with(&[origin.addr()], route, "");
    let mut passed = Vec::new();
    for path in [
        "/admin",
        "/admin/",
        "/admin/x",
        "/./admin",
        "/x/../admin",
        "/x/%2e%2e/admin",
        "/x/%2E./admin",
        "/%61dmin",
        "/admi%6e/x",
        "//admin",
        "/x//../admin",
        "/../admin",
        "/x/..%2fadmin",
        "/%2fadmin",
        "/admin%00",
        "/admin;x",
        "/x;/../admin",
        "/x\\..\\admin",
        "http://test/admin",
        "http://test/x/../admin",
    ] {
        let response = balancer.client().get(path);
        let status = response.map(|response| response.status);
        let seen: Vec<_> = origin
            .requests()
            .into_iter()
            .map(|one| one.target)
            .collect();
        origin.forget();
        match status {
            Ok(400 | 403) => assert!(seen.is_empty(), "{path}: {seen:?}"),
            other => passed.push(format!("{path}: {other:?} {seen:?}")),
        }
    }
    // An encoded slash is part of a segment (RFC 3986 §2.2), and `;` has no meaning of its own:
    // a server that thinks otherwise needs a route that does.
    let expected = ["/x/..%2fadmin", "/%2fadmin", "/admin;x"];
    let expected = expected.map(|path| format!("{path}: Ok(200) [{path:?}]"));
    assert_eq!(passed, expected);
}
