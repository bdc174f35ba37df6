//! Heads and framing of messages: interim responses, bodiless ones, forms of the target.

use crate::balancer::Balancer;
use catamaran_testkit::{Client, Ending, Framing, Origin, Reply, WireError, request_bytes};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

fn balancer(origin: &Origin) -> Balancer {
    Balancer::http(&[origin.addr()], "", "")
}

#[test]
fn continue_comes_from_the_server_and_the_body_only_after_it() {
    let origin = Origin::http(|request| Reply::new(200, request.body.content.clone()))
        .start()
        .unwrap();
    let balancer = balancer(&origin);
    let mut client = balancer.connect();
    for _ in 0..3 {
        let fields = ["Expect: 100-continue", "Content-Length: 5"];
        client
            .send(&request_bytes("POST", "/", &fields, b""))
            .unwrap();
        let interim = client.receive_until(b"\r\n\r\n").unwrap();
        assert!(interim.starts_with(b"HTTP/1.1 100 "));
        client.send(b"hello").unwrap();
        assert_eq!(client.receive_response("POST").unwrap().text(), "hello");
    }
    for request in origin.requests() {
        assert_eq!(request.field("expect").as_deref(), Some("100-continue"));
    }
}

#[test]
fn a_server_that_is_not_asked_to_continue_gets_the_body_at_once() {
    // It never sends 100: only the client's patience, or the body being there, goes on.
    let origin = Origin::http(|request| Reply::new(200, request.body.content.clone()))
        .start()
        .unwrap();
    let balancer = balancer(&origin);
    let mut client = balancer.connect();
    let response = client.request("POST", "/", &[], b"hello").unwrap();
    assert_eq!(response.text(), "hello");
    assert!(response.interim.is_empty());
}

#[test]
fn a_refused_expectation_reaches_the_client_instead_of_continue() {
    let origin = Origin::http(|_| Reply::new(417, "no").before_body().then(Ending::Close))
        .answers_early()
        .start()
        .unwrap();
    let balancer = balancer(&origin);
    let mut client = balancer.connect();
    let fields = ["Expect: 100-continue", "Content-Length: 5"];
    client
        .send(&request_bytes("POST", "/", &fields, b""))
        .unwrap();
    let response = client.receive_response("POST").unwrap();
    assert_eq!((response.status, response.interim.len()), (417, 0));
    // The body that was announced may follow or not: the connection cannot go on.
    assert!(!response.keeps_alive());
}

#[test]
fn early_hints_pass_before_the_response() {
    let origin = Origin::http(|_| {
        Reply::new(200, "page")
            .interim(103, &["Link: </style.css>; rel=preload"])
            .interim(103, &["Link: </more.css>; rel=preload"])
    })
    .start()
    .unwrap();
    let balancer = balancer(&origin);
    let mut client = balancer.connect();
    let response = client.get("/").unwrap();
    let links: Vec<_> = response
        .interim
        .iter()
        .map(|(status, head)| (*status, head.field("link").unwrap()))
        .collect();
    assert_eq!(links[0], (103, "</style.css>; rel=preload".to_owned()));
    assert_eq!(links[1], (103, "</more.css>; rel=preload".to_owned()));
    assert_eq!(response.text(), "page");
}

#[test]
fn early_hints_pass_while_the_response_is_still_awaited() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let origin = Origin::tcp(Arc::new(move |mut stream: TcpStream| {
        assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
        let hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
        stream.write_all(hints).unwrap();
        wait.lock().unwrap().recv().unwrap();
        let page = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npage";
        stream.write_all(page).unwrap();
    }))
    .start()
    .unwrap();
    let balancer = balancer(&origin);
    let mut client = balancer.connect();
    client.send(&request_bytes("GET", "/", &[], b"")).unwrap();
    let interim = client.receive_until(b"\r\n\r\n").unwrap();
    assert!(interim.starts_with(b"HTTP/1.1 103 "));
    go.send(()).unwrap();
    assert_eq!(client.receive_response("GET").unwrap().text(), "page");
}

#[test]
fn interim_responses_are_kept_from_http_1_0_clients() {
    let origin = Origin::http(|_| Reply::new(200, "page").interim(103, &["Link: </a>"]))
        .start()
        .unwrap();
    let balancer = balancer(&origin);
    let mut client = balancer.connect();
    client.send(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let response = client.receive_response("GET").unwrap();
    assert_eq!(
        (response.text().as_str(), response.interim.len()),
        ("page", 0)
    );
}

#[test]
fn a_response_to_head_keeps_its_length_and_has_no_body() {
    let origin = Origin::http(|request| match request.target.as_str() {
        "/chunked" => Reply::new(200, "12345").chunked(2),
        _ => Reply::new(200, "12345"),
    })
    .start()
    .unwrap();
    let balancer = balancer(&origin);
    let mut client = balancer.connect();
    let response = client.request("HEAD", "/", &[], b"").unwrap();
    assert_eq!(response.field("content-length").as_deref(), Some("5"));
    // What followed would be read as the next response.
    assert_eq!(client.get("/").unwrap().text(), "12345");
    assert_eq!(
        client.request("HEAD", "/chunked", &[], b"").unwrap().status,
        200
    );
    assert_eq!(client.get("/chunked").unwrap().text(), "12345");
    assert!(client.get("/").unwrap().keeps_alive());
}

#[test]
fn no_content_and_not_modified_have_no_body() {
    let origin = Origin::http(|request| match request.target.as_str() {
        "/204" => Reply::new(204, ""),
        // RFC 9110 §8.6: the length that a 200 would have had.
        "/304" => {
            Reply::raw("HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\nETag: \"x\"\r\n\r\n")
        }
        _ => Reply::new(200, "body"),
    })
    .start()
    .unwrap();
    let balancer = balancer(&origin);
    let mut client = balancer.connect();
    let response = client.get("/204").unwrap();
    assert_eq!((response.status, response.framing), (204, Framing::None));
    assert_eq!(response.field("content-length"), None);
    assert_eq!(response.field("transfer-encoding"), None);
    assert_eq!(client.get("/").unwrap().text(), "body");
    let response = client.get("/304").unwrap();
    assert_eq!(response.field("etag").as_deref(), Some("\"x\""));
    assert_eq!(response.field("content-length").as_deref(), Some("99"));
    assert_eq!(client.get("/").unwrap().text(), "body");
}

#[test]
fn a_body_of_length_zero_is_a_body_of_length_zero() {
    let origin = Origin::fixed(200, "").start().unwrap();
    let balancer = balancer(&origin);
    let mut client = balancer.connect();
    let response = client
        .request("POST", "/", &["Content-Length: 0"], b"")
        .unwrap();
    assert_eq!(response.framing, Framing::Length(0));
    let request = &origin.requests()[0];
    assert_eq!(request.field("content-length").as_deref(), Some("0"));
}

#[test]
fn an_absolute_target_reaches_the_server_as_a_path_with_its_host() {
    let origin = Origin::fixed(200, "ok").start().unwrap();
    let balancer = balancer(&origin);
    let mut client = balancer.connect();
    for (target, expected) in [
        ("http://site.example/a/b?c=d", "/a/b?c=d"),
        ("http://site.example", "/"),
        ("http://site.example?q", "/?q"),
    ] {
        let response = client
            .request("GET", target, &["Host: site.example"], b"")
            .unwrap();
        assert_eq!(response.status, 200, "{target}");
        let request = origin.requests().pop().unwrap();
        assert_eq!(request.target, expected);
        assert_eq!(request.field("host").as_deref(), Some("site.example"));
    }
    let mut client = balancer.connect();
    let response = client
        .request("GET", "http://site.example/", &["Host: other.example"], b"")
        .unwrap();
    assert_eq!(response.status, 400);
}

#[test]
fn an_asterisk_is_passed_on_for_options_only() {
    let origin = Origin::fixed(200, "ok").start().unwrap();
    let balancer = balancer(&origin);
    let mut client = balancer.connect();
    assert_eq!(
        client.request("OPTIONS", "*", &[], b"").unwrap().status,
        200
    );
    let request = &origin.requests()[0];
    assert_eq!(
        (request.method.as_str(), request.target.as_str()),
        ("OPTIONS", "*")
    );
    assert_eq!(client.request("GET", "*", &[], b"").unwrap().status, 400);
}

#[test]
fn connect_is_refused() {
    let origin = Origin::fixed(200, "ok").start().unwrap();
    let balancer = balancer(&origin);
    let mut client = balancer.connect();
    let response = client
        .request(
            "CONNECT",
            "site.example:443",
            &["Host: site.example:443"],
            b"",
        )
        .unwrap();
    assert_eq!(response.status, 405);
    assert!(response.field("allow").unwrap().contains("GET"));
    assert!(origin.requests().is_empty());
}

#[test]
fn unknown_methods_pass() {
    let origin = Origin::http(|request| Reply::new(200, request.method.clone()))
        .start()
        .unwrap();
    let balancer = balancer(&origin);
    let mut client = balancer.connect();
    for method in ["PURGE", "PROPFIND", "DELETE", "PATCH", "X-Y"] {
        assert_eq!(
            client.request(method, "/", &[], b"").unwrap().text(),
            method
        );
    }
}

#[test]
fn fields_of_one_hop_end_there_and_all_others_pass_as_they_are() {
    let origin = Origin::http(|_| {
        Reply::new(200, "ok")
            .field("Connection", "X-Server-Hop")
            .field("X-Server-Hop", "1")
            .field("Keep-Alive", "timeout=60")
            .field("Set-Cookie", "a=1")
            .field("Set-Cookie", "b=2")
            .field("Server", "origin/1")
    })
    .start()
    .unwrap();
    let balancer = balancer(&origin);
    let mut client = balancer.connect();
    let fields = [
        "Connection: keep-alive, X-Hop",
        "X-Hop: 1",
        "Keep-Alive: timeout=9",
        "Proxy-Connection: keep-alive",
        "X-Twice: one",
        "X-Twice: two, three",
        "Accept-Encoding: br;q=1.0, *;q=0",
    ];
    let response = client.request("GET", "/", &fields, b"").unwrap();
    let request = &origin.requests()[0];
    for gone in ["x-hop", "keep-alive", "proxy-connection"] {
        assert_eq!(request.field(gone), None, "{gone}");
    }
    let twice: Vec<_> = request.head.all("x-twice").collect();
    assert_eq!(twice, [&b"one"[..], b"two, three"]);
    assert_eq!(
        request.field("accept-encoding").as_deref(),
        Some("br;q=1.0, *;q=0")
    );
    assert_eq!(response.field("x-server-hop"), None);
    assert_eq!(response.field("keep-alive"), None);
    let cookies: Vec<_> = response.head.all("set-cookie").collect();
    assert_eq!(cookies, [&b"a=1"[..], b"b=2"]);
    assert_eq!(response.field("server").as_deref(), Some("origin/1"));
}

#[test]
fn status_and_reason_pass_as_the_server_gave_them() {
    let origin =
        Origin::http(|_| Reply::raw("HTTP/1.1 299 Quite Odd\r\nContent-Length: 0\r\n\r\n"))
            .start()
            .unwrap();
    let balancer = balancer(&origin);
    let response = balancer.connect().get("/").unwrap();
    assert_eq!(response.head.start_line, "HTTP/1.1 299 Quite Odd");
}

#[test]
fn a_client_that_ends_its_side_after_the_request_still_gets_the_response() {
    let origin = Origin::http(|_| Reply::new(200, "late").delay(Duration::from_millis(50)))
        .start()
        .unwrap();
    let balancer = balancer(&origin);
    let mut client: Client = balancer.connect();
    client.send(&request_bytes("GET", "/", &[], b"")).unwrap();
    client.half_close().unwrap();
    assert_eq!(client.receive_response("GET").unwrap().text(), "late");
    assert!(matches!(
        client.receive_response("GET"),
        Err(WireError::Closed)
    ));
}
