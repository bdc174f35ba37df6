//! Connections of clients and to servers: keep-alive, pipelining, reuse, HTTP/1.0 on either side.

use crate::PATIENCE;
use crate::balancer::Balancer;
use catamaran_testkit::{Client, Ending, Framing, Origin, Reply, WireError, request_bytes, timely};
use std::time::{Duration, Instant};

/// An origin that answers with the target it was asked for.
fn target_echo() -> Origin {
    Origin::http(|request| Reply::new(200, request.target.clone()))
        .start()
        .unwrap()
}

/// A balancer with one worker before this origin. Idle connections are not closed by time unless
/// `timeouts` says so.
fn one_worker(origin: &Origin, timeouts: &str) -> Balancer {
    let backend = format!("timeouts = {{ {timeouts} }}");
    Balancer::one_worker(&[origin.addr()], "", &backend)
}

const KEEPS: &str = "idle = \"1h\"";

#[test]
fn one_client_connection_serves_many_requests() {
    let origin = target_echo();
    let balancer = Balancer::http(&[origin.addr()], "", "");
    let mut client = balancer.connect();
    for number in 0..100 {
        let target = format!("/{number}");
        let response = client.get(&target).unwrap();
        assert_eq!((response.status, response.text()), (200, target));
        assert!(response.keeps_alive());
    }
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    // The first are the slowest: answers out of order would overtake.
    let origin = Origin::http(|request| {
        let number: u64 = request.target[1..].parse().unwrap();
        let delay = Duration::from_millis(20_u64.saturating_sub(number));
        Reply::new(200, request.target.clone()).delay(delay)
    })
    .start()
    .unwrap();
    let balancer = Balancer::http(&[origin.addr()], "", "");
    let targets: Vec<_> = (0..60).map(|number| format!("/{number}")).collect();
    let targets: Vec<_> = targets.iter().map(String::as_str).collect();
    let responses = balancer.connect().pipeline(&targets).unwrap();
    let bodies: Vec<_> = responses.iter().map(|response| response.text()).collect();
    assert_eq!(bodies, targets);
}

#[test]
fn pipelined_requests_with_bodies_keep_their_bodies() {
    let origin = Origin::http(|request| Reply::new(200, request.body.content.clone()))
        .start()
        .unwrap();
    let balancer = Balancer::http(&[origin.addr()], "", "");
    let mut client = balancer.connect();
    let mut bytes = request_bytes("POST", "/", &[], b"one");
    bytes.extend(request_bytes(
        "POST",
        "/",
        &["Transfer-Encoding: chunked"],
        b"",
    ));
    bytes.extend_from_slice(b"3\r\ntwo\r\n1;x=y\r\n!\r\n0\r\n\r\n");
    bytes.extend(request_bytes("GET", "/", &[], b""));
    let large = vec![b'4'; 100_000];
    bytes.extend(request_bytes("PUT", "/", &[], &large));
    bytes.extend(request_bytes("POST", "/", &[], b"five"));
    client.send(&bytes).unwrap();
    for expected in [&b"one"[..], b"two!", b"", &large, b"five"] {
        assert_eq!(client.receive_response("POST").unwrap().body, expected);
    }
}

#[test]
fn connections_to_a_server_are_used_again_whichever_client_asks() {
    let origin = target_echo();
    let balancer = one_worker(&origin, KEEPS);
    let mut late = 0;
    for _ in 0..20 {
        let mut client = balancer.connect();
        let began = Instant::now();
        assert_eq!(client.get("/a").unwrap().status, 200);
        let posted = client.request("POST", "/b", &[], b"x").unwrap();
        assert_eq!(posted.status, 200);
        // What must not be sent twice goes to no connection that was idle for a second.
        late += u64::from(began.elapsed() > Duration::from_millis(900));
    }
    assert!(late < 10, "the machine is too slow for this test");
    assert!(origin.accepted() <= 1 + late, "{}", origin.accepted());
}

#[test]
fn a_client_that_wants_to_close_is_closed_and_the_servers_connection_kept() {
    let origin = target_echo();
    let balancer = one_worker(&origin, KEEPS);
    for _ in 0..3 {
        let mut client = balancer.connect();
        let response = client
            .request("GET", "/", &["Connection: close"], b"")
            .unwrap();
        assert!(!response.keeps_alive());
        assert_eq!(client.receive_some(), Ok(None));
    }
    assert_eq!(origin.accepted(), 1);
}

#[test]
fn a_server_that_closes_after_its_response_does_not_close_the_client() {
    let origin = Origin::http(|_| Reply::new(200, "ok").then(Ending::Close))
        .start()
        .unwrap();
    let balancer = one_worker(&origin, KEEPS);
    let mut client = balancer.connect();
    for served in 1..=3 {
        let response = client.get("/").unwrap();
        assert!(response.keeps_alive());
        assert_eq!(origin.accepted(), served);
    }
}

#[test]
fn a_connection_with_bytes_beyond_the_response_is_not_used_again() {
    let origin = Origin::http(|request| {
        Reply::raw(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
            request.target.len(),
            request.target
        ))
    })
    .start()
    .unwrap();
    let balancer = one_worker(&origin, KEEPS);
    let mut client = balancer.connect();
    for target in ["/a", "/b", "/c"] {
        assert_eq!(client.get(target).unwrap().text(), target);
    }
    assert_eq!(origin.accepted(), 3);
}

#[test]
fn the_life_of_an_idle_server_connection_ends_before_the_servers_own_timeout() {
    // One second less than `timeout=1` leaves no time at all.
    let origin = Origin::http(|_| Reply::new(200, "ok").field("Keep-Alive", "timeout=1"))
        .start()
        .unwrap();
    let balancer = one_worker(&origin, KEEPS);
    let mut client = balancer.connect();
    for served in 1..=3 {
        assert_eq!(client.get("/").unwrap().status, 200);
        assert_eq!(origin.accepted(), served);
    }
}

#[test]
fn an_idle_server_connection_is_closed_after_its_time() {
    let origin = target_echo();
    let balancer = one_worker(&origin, "idle = \"100ms\"");
    assert_eq!(balancer.connect().get("/").unwrap().status, 200);
    assert!(origin.wait_until_idle(PATIENCE));
}

#[test]
fn an_idle_client_is_closed_after_the_keep_alive_time() {
    let origin = target_echo();
    let timeouts = "timeouts = { keep-alive = \"100ms\" }";
    let balancer = Balancer::http(&[origin.addr()], timeouts, "");
    let mut client = timely(Duration::from_millis(80), || {
        let mut client = balancer.connect();
        client.send(&request_bytes("GET", "/", &[], b"")).unwrap();
        client
    });
    assert_eq!(client.receive_response("GET").unwrap().status, 200);
    assert_eq!(client.receive_some(), Ok(None));
}

#[test]
fn a_head_may_come_byte_by_byte() {
    let origin = target_echo();
    let balancer = Balancer::http(&[origin.addr()], "", "");
    let mut client = balancer.connect();
    let bytes = request_bytes("POST", "/slow", &["X-Field: value"], b"body");
    client
        .send_slowly(&bytes, 1, Duration::from_millis(1))
        .unwrap();
    assert_eq!(client.receive_response("POST").unwrap().text(), "/slow");
    assert_eq!(origin.requests()[0].body.content, b"body");
}

#[test]
fn an_http_1_0_client_is_closed_after_its_response() {
    let origin = target_echo();
    let balancer = Balancer::http(&[origin.addr()], "", "");
    let mut client = balancer.connect();
    client.send(b"GET /old HTTP/1.0\r\n\r\n").unwrap();
    let response = client.receive_response("GET").unwrap();
    assert_eq!((response.status, response.text().as_str()), (200, "/old"));
    assert_eq!(client.receive_some(), Ok(None));
}

#[test]
fn an_http_1_0_client_that_asks_for_it_is_kept() {
    let origin = target_echo();
    let balancer = Balancer::http(&[origin.addr()], "", "");
    let mut client = balancer.connect();
    for target in ["/a", "/b"] {
        let request = format!("GET {target} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        client.send(request.as_bytes()).unwrap();
        let response = client.receive_response("GET").unwrap();
        assert_eq!(response.text(), target);
        assert!(response.head.has_token("connection", "keep-alive"));
    }
}

#[test]
fn an_http_1_0_client_gets_a_chunked_body_without_chunks_up_to_the_close() {
    let origin = Origin::http(|_| {
        Reply::new(200, vec![b'x'; 200_000])
            .chunked(7000)
            .trailer("X-Sum", "1")
    })
    .start()
    .unwrap();
    let balancer = Balancer::http(&[origin.addr()], "", "");
    let mut client = balancer.connect();
    client
        .send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        .unwrap();
    let response = client.receive_response("GET").unwrap();
    assert_eq!(response.framing, Framing::UntilClose);
    assert_eq!(response.field("transfer-encoding"), None);
    assert_eq!(response.body, vec![b'x'; 200_000]);
}

#[test]
fn a_body_that_ends_with_the_servers_connection_reaches_the_client_in_chunks() {
    for version in ["1.0", "1.1"] {
        let origin = Origin::http(move |_| {
            let mut bytes = format!("HTTP/{version} 200 OK\r\nX-Old: 1\r\n\r\n").into_bytes();
            bytes.extend_from_slice(&vec![b'y'; 300_000]);
            Reply::raw(bytes).then(Ending::Close)
        })
        .start()
        .unwrap();
        let balancer = Balancer::http(&[origin.addr()], "", "");
        let mut client = balancer.connect();
        for _ in 0..2 {
            let response = client.get("/").unwrap();
            assert_eq!(response.framing, Framing::Chunked);
            assert_eq!(response.body, vec![b'y'; 300_000]);
            assert_eq!(response.field("x-old").as_deref(), Some("1"));
        }
        assert_eq!(origin.accepted(), 2);
    }
}

#[test]
fn an_http_1_0_server_is_kept_only_if_it_says_so() {
    for (field, connections) in [("", 3), ("Connection: keep-alive\r\n", 1)] {
        let origin = Origin::http(move |_| {
            Reply::raw(format!(
                "HTTP/1.0 200 OK\r\n{field}Content-Length: 2\r\n\r\nok"
            ))
        })
        .start()
        .unwrap();
        let balancer = one_worker(&origin, KEEPS);
        let mut client = balancer.connect();
        for _ in 0..3 {
            assert_eq!(client.get("/").unwrap().text(), "ok");
        }
        assert_eq!(origin.accepted(), connections, "{field}");
    }
}

#[test]
fn a_response_that_was_cut_is_an_error_and_never_a_short_success() {
    let cases: [fn() -> Reply; 4] = [
        || Reply::new(200, vec![0; 1 << 20]).cut_after(500_000, Ending::Close),
        || Reply::new(200, vec![0; 1 << 20]).cut_after(500_000, Ending::Reset),
        || {
            Reply::new(200, vec![0; 1 << 20])
                .chunked(9000)
                .cut_after(500_000, Ending::Close)
        },
        || Reply::raw("HTTP/1.1 200 OK\r\n\r\nno end").then(Ending::Reset),
    ];
    for (number, case) in cases.into_iter().enumerate() {
        let origin = Origin::http(move |_| case()).start().unwrap();
        let balancer = Balancer::http(&[origin.addr()], "", "");
        let mut client: Client = balancer.connect();
        let result = client.get("/");
        // A reset that overtakes the head is told as a 502: an error all the same.
        let is_error = match &result {
            Ok(response) => response.status == 502,
            Err(error) => matches!(error, WireError::Truncated | WireError::Reset),
        };
        let status = result.map(|response| response.status);
        assert!(is_error, "case {number}: {status:?}");
    }
}

#[test]
fn idle_connections_of_one_worker_make_room_for_the_requests_of_another() {
    let origin = target_echo();
    let balancer = Balancer::start(&format!(
        "[process]\nworkers = 4\n[frontend.web]\nlisten = \"127.0.0.1:0\"\nbackend = \"app\"\n\
         [backend.app]\nservers = [{{ address = \"{}\", max-connections = 1 }}]\n\
         queue = {{ timeout = \"1m\" }}\n",
        origin.addr()
    ));
    let mut clients: Vec<_> = (0..16).map(|_| balancer.connect()).collect();
    for _ in 0..3 {
        for client in &mut clients {
            client.send(&request_bytes("GET", "/x", &[], b"")).unwrap();
        }
        for client in &mut clients {
            assert_eq!(client.receive_response("GET").unwrap().text(), "/x");
        }
    }
}
