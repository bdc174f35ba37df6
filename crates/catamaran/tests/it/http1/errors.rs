//! Answers of the balancer's own: which failure gets which, what they say, and pages of one's own.

use crate::PATIENCE;
use crate::balancer::Balancer;
use catamaran_testkit::{
    Ending, Origin, Program, Reply, ReservedPort, Response, request_bytes, shortest, timely,
};
use std::time::Duration;

/// What a client gets for a GET from a server that gives this reply.
fn answer_to(reply: Reply, frontend: &str, backend: &str) -> Response {
    let origin = Origin::http(move |_| reply.clone()).start().unwrap();
    let balancer = Balancer::http(&[origin.addr()], frontend, backend);
    balancer.connect().get("/").unwrap()
}

fn assert_says(response: &Response, status: u16, text: &str) {
    assert_eq!(response.status, status);
    assert_eq!(response.text(), text);
    assert_eq!(
        response.field("content-type").as_deref(),
        Some("text/plain; charset=utf-8")
    );
    assert_eq!(response.field("cache-control").as_deref(), Some("no-store"));
}

#[test]
fn a_server_that_cannot_be_reached_is_a_503() {
    let dead = ReservedPort::any().unwrap();
    let balancer = Balancer::http(&[dead.addr()], "", "");
    let mut client = balancer.connect();
    let response = client.get("/").unwrap();
    let text = "503 Service Unavailable: no server is available (connect-failed)\n";
    assert_says(&response, 503, text);
    assert!(response.keeps_alive());
    assert_eq!(client.get("/").unwrap().status, 503);
}

#[test]
fn a_server_that_closes_without_an_answer_is_a_502() {
    for ending in [Ending::Close, Ending::Reset] {
        let response = answer_to(Reply::nothing(ending), "", "");
        let text = "502 Bad Gateway: the server failed to answer (server-closed)\n";
        assert_says(&response, 502, text);
    }
}

#[test]
fn a_malformed_response_is_a_502() {
    let reply = Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx");
    let response = answer_to(reply, "", "");
    let text = "502 Bad Gateway: the server failed to answer (bad-response)\n";
    assert_says(&response, 502, text);
}

#[test]
fn a_server_that_is_silent_for_too_long_is_a_504() {
    // A minute if it is not told otherwise.
    let bound = Duration::from_secs(30);
    let took = shortest(bound, || {
        let hangs = Reply::nothing(Ending::Hang);
        let response = answer_to(hangs, "", "timeouts = { response = \"100ms\" }");
        let text = "504 Gateway Timeout: the server did not answer in time (response-timeout)\n";
        assert_says(&response, 504, text);
    });
    assert!(took < bound, "{took:?}");
}

#[test]
fn a_response_body_that_stops_coming_breaks_the_connection() {
    let reply = Reply::new(200, vec![0; 100_000]).cut_after(50_000, Ending::Hang);
    let origin = Origin::http(move |_| reply.clone()).start().unwrap();
    let backend = "timeouts = { body = \"100ms\" }";
    let balancer = Balancer::http(&[origin.addr()], "", backend);
    assert!(balancer.connect().get("/").is_err());
}

#[test]
fn a_request_head_that_takes_too_long_is_a_408() {
    let origin = Origin::fixed(200, "ok").start().unwrap();
    let timeouts = "timeouts = { request-head = \"150ms\" }";
    let balancer = Balancer::http(&[origin.addr()], timeouts, "");
    let mut client = timely(Duration::from_millis(100), || {
        let mut client = balancer.connect();
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n").unwrap();
        client
    });
    let response = client.receive_response("GET").unwrap();
    let text = "408 Request Timeout: the request took too long to arrive (request-timeout)\n";
    assert_says(&response, 408, text);
    assert_eq!(client.receive_some(), Ok(None));
    // A client that never said a word is closed without one.
    assert_eq!(balancer.connect().receive_some(), Ok(None));
}

#[test]
fn a_request_body_that_stops_coming_is_a_408() {
    let origin = Origin::fixed(200, "ok").start().unwrap();
    let balancer = Balancer::http(&[origin.addr()], "timeouts = { body = \"150ms\" }", "");
    let mut client = balancer.connect();
    client
        .send(&request_bytes("POST", "/", &["Content-Length: 10"], b""))
        .unwrap();
    let response = client.receive_response("POST").unwrap();
    let text = "408 Request Timeout: the request took too long to arrive (request-body-timeout)\n";
    assert_says(&response, 408, text);
    assert!(origin.requests().is_empty());
}

#[test]
fn a_malformed_body_is_a_400_and_never_completed() {
    let origin = Origin::fixed(200, "ok").start().unwrap();
    let balancer = Balancer::http(&[origin.addr()], "", "");
    let mut client = balancer.connect();
    let head = request_bytes("POST", "/", &["Transfer-Encoding: chunked"], b"");
    client
        .send(&[&head[..], b"2\r\nokX\r\n0\r\n\r\n"].concat())
        .unwrap();
    let response = client.receive_response("POST").unwrap();
    let text = "400 Bad Request: the request could not be understood (bad-request-body)\n";
    assert_says(&response, 400, text);
    assert!(!response.keeps_alive());
    assert!(origin.requests().is_empty());
}

#[test]
fn a_malformed_head_is_a_400_and_a_large_one_a_431() {
    let origin = Origin::fixed(200, "ok").start().unwrap();
    let limits = "max-head = \"2KiB\"\nmax-fields = 20";
    let balancer = Balancer::http(&[origin.addr()], limits, "");
    let large = format!(
        "GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "x".repeat(4000)
    );
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: x\r\n".repeat(30));
    for (bytes, status) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        ("GET / HTTP/9.9\r\nHost: a\r\n\r\n", 505),
        (&large, 431),
        (&many, 431),
    ] {
        let mut client = balancer.connect();
        client.send(bytes.as_bytes()).unwrap();
        let response = client.receive_response("GET").unwrap();
        assert_eq!(response.status, status, "{bytes:.60}");
        assert!(!response.keeps_alive());
        assert_eq!(client.receive_some(), Ok(None));
    }
    assert!(origin.requests().is_empty());
}

#[test]
fn an_error_in_answer_to_head_has_no_body() {
    let dead = ReservedPort::any().unwrap();
    let balancer = Balancer::http(&[dead.addr()], "", "");
    let mut client = balancer.connect();
    let response = client.request("HEAD", "/", &[], b"").unwrap();
    assert_eq!(response.status, 503);
    assert_ne!(response.field("content-length").as_deref(), Some("0"));
    assert_eq!(client.get("/").unwrap().status, 503);
}

#[test]
fn an_error_leaves_the_connection_in_step_if_the_body_was_there() {
    let dead = ReservedPort::any().unwrap();
    let balancer = Balancer::http(&[dead.addr()], "", "");
    let mut client = balancer.connect();
    let mut bytes = request_bytes("POST", "/", &[], b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\n");
    bytes.extend(request_bytes("GET", "/", &[], b""));
    client.send(&bytes).unwrap();
    let first = client.receive_response("POST").unwrap();
    assert_eq!(first.status, 503);
    if first.keeps_alive() {
        assert_eq!(client.receive_response("GET").unwrap().status, 503);
        client.set_patience(Duration::from_millis(100)).unwrap();
        // Two requests, two answers.
        assert!(client.receive_some().is_err());
    }
}

#[test]
fn error_pages_replace_the_short_texts() {
    let program = Program::new(env!("CARGO_BIN_EXE_catamaran")).unwrap();
    let pages = catamaran_testkit::TempDir::create().unwrap();
    let page = pages.write("503.html", "<h1>Back soon</h1>").unwrap();
    let json = pages.write("404.json", "{\"error\":404}").unwrap();
    drop(program);
    let dead = ReservedPort::any().unwrap();
    let closed = dead.addr();
    let balancer = Balancer::start(&format!(
        "[backend.app]\nservers = [\"{closed}\"]\n[frontend.web]\nlisten = \"127.0.0.1:0\"\n\
         error-pages = {{ 503 = \"{}\", 404 = \"{}\" }}\n\
         [[frontend.web.route]]\npath = \"/app\"\nbackend = \"app\"\n",
        page.display(),
        json.display()
    ));
    let mut client = balancer.connect();
    let response = client.get("/app").unwrap();
    assert_eq!(
        (response.status, response.text().as_str()),
        (503, "<h1>Back soon</h1>")
    );
    assert_eq!(
        response.field("content-type").as_deref(),
        Some("text/html; charset=utf-8")
    );
    let response = client.get("/").unwrap();
    assert_eq!(
        (response.status, response.text().as_str()),
        (404, "{\"error\":404}")
    );
    assert_eq!(
        response.field("content-type").as_deref(),
        Some("application/json")
    );
    let head = client.request("HEAD", "/app", &[], b"").unwrap();
    assert_eq!(head.field("content-length").as_deref(), Some("18"));
}

#[test]
fn ad_hoc_balancing_of_http_needs_no_file() {
    let one = Origin::fixed(200, "one").start().unwrap();
    let two = Origin::fixed(200, "two").start().unwrap();
    let process = crate::catamaran(&["run", "--listen", "127.0.0.1:0"])
        .args(["--server", &one.addr().to_string()])
        .args(["--server", &two.addr().to_string()])
        .start()
        .unwrap();
    process.wait_for_stderr(" serving", PATIENCE).unwrap();
    let log = process.stderr();
    let (_, address) = log.split_once("address=").unwrap();
    let address = address.split_whitespace().next().unwrap().parse().unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..200 {
        seen.insert(catamaran_testkit::http_get(address, "/").unwrap().text());
    }
    assert_eq!(seen.len(), 2);
}
