//! Messages cut into pieces by the network, large heads, many exchanges at once, broken-off ones.

use crate::balancer::{Balancer, pattern};
use crate::{PATIENCE, eventually};
use catamaran_testkit::{Client, Ending, Framing, Origin, Reply, WireError, request_bytes};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// An origin that sends back the body it got, in the framing that the target names.
fn mirror() -> Origin {
    Origin::http(|request| {
        let reply = Reply::new(200, request.body.content.clone());
        match request.target.as_str() {
            "/chunked" => reply.chunked(5003),
            "/close" => reply.then(Ending::Close),
            _ => reply,
        }
    })
    .without_records()
    .start()
    .unwrap()
}

#[test]
fn a_response_may_come_byte_by_byte() {
    for is_chunked in [false, true] {
        let reply = Reply::new(200, pattern(50))
            .field("X-Field", "value")
            .in_pieces(1, Duration::from_micros(300));
        let reply = if is_chunked { reply.chunked(7) } else { reply };
        let origin = Origin::http(move |_| reply.clone()).start().unwrap();
        let balancer = Balancer::http(&[origin.addr()], "", "");
        let mut client = balancer.connect();
        for _ in 0..2 {
            let response = client.get("/").unwrap();
            assert_eq!(response.body, pattern(50));
            assert_eq!(response.field("x-field").as_deref(), Some("value"));
        }
    }
}

#[test]
fn heads_of_nearly_the_largest_size_pass_both_ways() {
    let long = "v".repeat(30_000);
    let field = long.clone();
    let origin = Origin::http(move |request| {
        let echoed = request.field("x-long").unwrap_or_default();
        Reply::new(200, echoed)
            .field("X-One", &field)
            .field("X-Two", &field[..28_000])
    })
    .start()
    .unwrap();
    let balancer = Balancer::http(&[origin.addr()], "", "");
    let mut client = balancer.connect();
    for _ in 0..3 {
        let fields = [format!("X-Long: {long}")];
        let response = client
            .request("POST", "/", &[&fields[0]], &pattern(100_000))
            .unwrap();
        assert_eq!(response.text(), long);
        assert_eq!(response.field("x-two").unwrap().len(), 28_000);
    }
}

#[test]
fn a_response_head_without_end_is_a_502() {
    let origin = Origin::http(|_| {
        let reply = Reply::new(200, "");
        (0..40).fold(reply, |reply, number| {
            reply.field(&format!("X-{number}"), &"v".repeat(4000))
        })
    })
    .start()
    .unwrap();
    let balancer = Balancer::http(&[origin.addr()], "", "");
    let mut client = balancer.connect();
    assert_eq!(client.get("/").unwrap().status, 502);
}

#[test]
fn a_large_body_between_http_1_0_on_both_sides_ends_with_the_connections() {
    let origin = Origin::http(|_| {
        let mut bytes = b"HTTP/1.0 200 OK\r\n\r\n".to_vec();
        bytes.extend(pattern(8 << 20));
        Reply::raw(bytes).then(Ending::Close)
    })
    .start()
    .unwrap();
    let balancer = Balancer::http(&[origin.addr()], "", "");
    let mut client = balancer.connect();
    client.send(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let response = client.receive_response("GET").unwrap();
    assert_eq!(response.framing, Framing::UntilClose);
    assert!(response.body == pattern(8 << 20));
}

#[test]
fn a_response_until_close_that_is_reset_is_no_whole_one_for_an_http_1_0_client() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let origin = Origin::tcp(Arc::new(move |mut stream: TcpStream| {
        assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n").unwrap();
        stream.write_all(&pattern(300_000)).unwrap();
        wait.lock().unwrap().recv().unwrap();
    }))
    .start()
    .unwrap();
    let balancer = Balancer::http(&[origin.addr()], "", "");
    let mut client = balancer.connect();
    client.send(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    client.receive_until(b"\r\n\r\n").unwrap();
    assert!(client.receive(300_000).unwrap() == pattern(300_000));
    origin.reset_connections();
    go.send(()).unwrap();
    // Only a reset tells such a client that something is missing.
    assert_eq!(client.receive_to_end(), Err(WireError::Reset));
}

#[test]
fn many_exchanges_at_once_keep_their_bodies_apart() {
    let origin = mirror();
    let balancer = Balancer::http(&[origin.addr()], "", "");
    let addr = balancer.addr();
    thread::scope(|scope| {
        for number in 0..12_usize {
            scope.spawn(move || {
                let mut client = Client::connect(addr).unwrap();
                for round in 0..20_usize {
                    let size = (number * 7919 + round * 104_729) % 300_000;
                    // Each begins with whose it is.
                    let mut body = format!("{number}-{round}:").into_bytes();
                    body.extend(&pattern(size + number)[number..]);
                    let target = ["/", "/chunked", "/close"][(number + round) % 3];
                    let response = client.request("POST", target, &[], &body).unwrap();
                    assert!(response.body == body, "{number}-{round} {target}");
                }
            });
        }
    });
}

#[test]
fn a_client_that_breaks_off_takes_its_servers_connection_with_it() {
    let origin = Origin::http(|request| match request.target.as_str() {
        "/large" => Reply::new(200, vec![b'L'; 40 << 20]),
        _ => Reply::new(200, "small"),
    })
    .start()
    .unwrap();
    let balancer = Balancer::one_worker(&[origin.addr()], "", "");
    for _ in 0..10 {
        let mut leaver = balancer.connect();
        leaver
            .send(&request_bytes("GET", "/large", &[], b""))
            .unwrap();
        leaver.receive(100_000).unwrap();
        leaver.reset().unwrap();
        // Nothing of the large body reaches whoever comes next.
        assert_eq!(balancer.connect().get("/").unwrap().text(), "small");
    }
    let is_over = |ended: Option<WireError>| ended.is_some();
    eventually("the end of the broken-off connections", || {
        let recordings = origin.recordings();
        let over = recordings.iter().filter(|one| is_over(one.ended.clone()));
        (over.count() >= 10).then_some(())
    });
    assert!(origin.open() <= 1);
    assert_eq!(balancer.connect().get("/").unwrap().text(), "small");
}

#[test]
fn a_client_that_breaks_off_while_it_waits_ends_the_exchange() {
    let origin = Origin::http(|_| Reply::nothing(Ending::Hang))
        .start()
        .unwrap();
    let balancer = Balancer::http(&[origin.addr()], "", "");
    let mut client = balancer.connect();
    client.send(&request_bytes("GET", "/", &[], b"")).unwrap();
    assert!(origin.wait_for_requests(1, PATIENCE));
    client.reset().unwrap();
    assert!(origin.wait_until_idle(PATIENCE));
}

#[test]
fn a_client_that_stops_reading_is_given_up_after_its_time() {
    let origin = Origin::http(|_| Reply::new(200, vec![0; 128 << 20]))
        .without_records()
        .start()
        .unwrap();
    let balancer = Balancer::http(&[origin.addr()], "timeouts = { body = \"300ms\" }", "");
    let mut client = balancer.connect();
    client.send(&request_bytes("GET", "/", &[], b"")).unwrap();
    eventually("the connection to the server", || {
        (origin.accepted() == 1).then_some(())
    });
    eventually("its end", || (origin.open() == 0).then_some(()));
    assert!(matches!(
        client.receive_response("GET"),
        Err(WireError::Reset | WireError::Truncated)
    ));
}

#[test]
fn a_large_body_that_comes_in_drops_is_not_held_back() {
    const DROPS: usize = 60;
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let origin = Origin::tcp(Arc::new(move |mut stream: TcpStream| {
        assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 4194304\r\n\r\n";
        stream.write_all(head).unwrap();
        // Each drop only when the one before has arrived.
        while wait.lock().unwrap().recv().is_ok() {
            stream.write_all(&[b'x'; 1000]).unwrap();
        }
    }))
    .start()
    .unwrap();
    let balancer = Balancer::http(&[origin.addr()], "", "");
    let mut client = balancer.connect();
    client.send(&request_bytes("GET", "/", &[], b"")).unwrap();
    client.receive_until(b"\r\n\r\n").unwrap();
    // A kernel that waits for more holds each of them for 200 ms; a busy machine only some.
    let soon = Duration::from_millis(150);
    let arrives_soon = |_: &usize| {
        let began = Instant::now();
        go.send(()).unwrap();
        client.receive(1000).unwrap();
        began.elapsed() < soon
    };
    let prompt = (0..DROPS).filter(arrives_soon).count();
    assert!(prompt > DROPS / 4, "{prompt} of {DROPS} arrived soon");
}
