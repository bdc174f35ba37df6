//! Bodies of every framing and size, both ways, whole and in order, without being held whole.

use crate::balancer::{Balancer, pattern};
use crate::{PATIENCE, eventually};
use catamaran_testkit::{Ending, Framing, Origin, Reply, Request, WireError, request_bytes};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// Larger than every buffer on the way, and not a multiple of any.
const LARGE: usize = 4 * 1024 * 1024 + 12_345;

/// An origin that says whether the body was [`pattern`] of the length that the target names.
fn judge() -> Origin {
    Origin::http(|request| {
        let length = request.target[1..].parse().unwrap();
        Reply::new(200, verdict(request, length))
    })
    .start()
    .unwrap()
}

fn verdict(request: &Request, length: usize) -> String {
    let body = &request.body.content;
    if *body == pattern(length) {
        return "same".to_owned();
    }
    let at = body.iter().zip(pattern(length)).position(|(a, b)| *a != b);
    format!("{} bytes, differing at {at:?}", body.len())
}

/// An origin whose body is [`pattern`], as long as the target says, in chunks if it ends in `c`.
fn source() -> Origin {
    Origin::http(|request| {
        let target = &request.target[1..];
        match target.strip_suffix('c') {
            None => Reply::new(200, pattern(target.parse().unwrap())),
            Some(length) => Reply::new(200, pattern(length.parse().unwrap())).chunked(10_007),
        }
    })
    .without_records()
    .start()
    .unwrap()
}

#[test]
fn responses_of_every_size_and_framing_arrive_whole() {
    let origin = source();
    let balancer = Balancer::http(&[origin.addr()], "", "");
    let mut client = balancer.connect();
    let around = |at: usize| [at - 1, at, at + 1];
    let sizes = [0, 1]
        .into_iter()
        .chain(around(4 * 1024))
        .chain(around(64 * 1024))
        .chain(around(128 * 1024))
        .chain([200_001, 1 << 20, LARGE]);
    for size in sizes {
        let response = client.get(&format!("/{size}")).unwrap();
        assert_eq!(response.framing, Framing::Length(size as u64));
        assert!(response.body == pattern(size), "length {size}");
        let response = client.get(&format!("/{size}c")).unwrap();
        assert_eq!(response.framing, Framing::Chunked);
        assert!(response.body == pattern(size), "chunked {size}");
    }
}

#[test]
fn requests_of_every_size_and_framing_arrive_whole() {
    let origin = judge();
    let balancer = Balancer::http(&[origin.addr()], "", "");
    let mut client = balancer.connect();
    for size in [1, 4096, 65_535, 65_536, 131_073, 200_001, 1 << 20, LARGE] {
        let target = format!("/{size}");
        let body = pattern(size);
        let response = client.request("PUT", &target, &[], &body).unwrap();
        assert_eq!(response.text(), "same", "length {size}");
        for chunk in [1009, 10_007, 300_007] {
            if size / chunk > 4096 {
                continue;
            }
            let head = ["Transfer-Encoding: chunked"];
            client
                .send(&request_bytes("PUT", &target, &head, b""))
                .unwrap();
            client.send(&chunked(&body, chunk)).unwrap();
            let response = client.receive_response("PUT").unwrap();
            assert_eq!(response.text(), "same", "chunked {size} by {chunk}");
        }
    }
}

#[test]
fn very_large_bodies_are_spliced_whole_both_ways_at_once() {
    let origin = Origin::http(|request| Reply::new(200, request.body.content.clone()))
        .without_records()
        .start()
        .unwrap();
    let balancer = Balancer::http(&[origin.addr()], "", "");
    let body = pattern(64 << 20);
    let response = balancer.connect().request("POST", "/", &[], &body).unwrap();
    assert!(response.body == body);
}

#[test]
fn a_body_may_come_in_drops() {
    let origin = judge();
    let balancer = Balancer::http(&[origin.addr()], "", "");
    let mut client = balancer.connect();
    let body = pattern(300);
    let pause = Duration::from_micros(200);
    client
        .send(&request_bytes("PUT", "/300", &["Content-Length: 300"], b""))
        .unwrap();
    client.send_slowly(&body, 7, pause).unwrap();
    assert_eq!(client.receive_response("PUT").unwrap().text(), "same");
    let head = ["Transfer-Encoding: chunked"];
    client
        .send(&request_bytes("PUT", "/300", &head, b""))
        .unwrap();
    client.send_slowly(&chunked(&body, 11), 3, pause).unwrap();
    assert_eq!(client.receive_response("PUT").unwrap().text(), "same");
}

#[test]
fn chunks_pass_as_they_come_and_are_not_gathered_until_the_end() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let origin = Origin::tcp(Arc::new(move |mut stream: TcpStream| {
        let mut buf = [0; 1024];
        assert!(stream.read(&mut buf).unwrap() > 0);
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n";
        stream.write_all(head).unwrap();
        wait.lock().unwrap().recv().unwrap();
        stream.write_all(b"4\r\nlast\r\n0\r\n\r\n").unwrap();
    }))
    .start()
    .unwrap();
    let balancer = Balancer::http(&[origin.addr()], "", "");
    let mut client = balancer.connect();
    client.send(&request_bytes("GET", "/", &[], b"")).unwrap();
    client.receive_until(b"first\r\n").unwrap();
    go.send(()).unwrap();
    let rest = client.receive_until(b"0\r\n\r\n").unwrap();
    assert!(rest.windows(4).any(|window| window == b"last"));
}

#[test]
fn trailers_pass_in_both_directions() {
    let origin = Origin::http(|_| {
        Reply::new(200, "body")
            .chunked(3)
            .trailer("X-Checksum", "abc")
            .trailer("X-Other", "2")
    })
    .start()
    .unwrap();
    let balancer = Balancer::http(&[origin.addr()], "", "");
    let mut client = balancer.connect();
    let fields = ["TE: trailers", "Transfer-Encoding: chunked"];
    client
        .send(&request_bytes("POST", "/", &fields, b""))
        .unwrap();
    client
        .send(b"4\r\nbody\r\n0\r\nX-Request-Sum: 7\r\n\r\n")
        .unwrap();
    let response = client.receive_response("POST").unwrap();
    let value = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
    assert_eq!(
        response.trailers,
        [value("X-Checksum", "abc"), value("X-Other", "2")]
    );
    let request = &origin.requests()[0];
    assert_eq!(request.body.content, b"body");
    assert_eq!(request.body.trailers, [value("X-Request-Sum", "7")]);
    assert_eq!(request.field("te").as_deref(), Some("trailers"));
}

#[test]
fn chunk_extensions_are_not_passed_on() {
    let origin = judge();
    let balancer = Balancer::http(&[origin.addr()], "", "");
    let mut client = balancer.connect();
    let head = ["Transfer-Encoding: chunked"];
    client
        .send(&request_bytes("PUT", "/1", &head, b""))
        .unwrap();
    client
        .send(&[b"1;name=value\r\n", &pattern(1)[..], b"\r\n0;last\r\n\r\n"].concat())
        .unwrap();
    assert_eq!(client.receive_response("PUT").unwrap().text(), "same");
    let bytes = &origin.recordings()[0].bytes;
    assert!(!bytes.contains(&b';'));
}

#[test]
fn a_client_that_does_not_read_stops_the_server_and_not_memory() {
    for is_chunked in [false, true] {
        let sent = Arc::new(AtomicU64::new(0));
        let origin = flood(&sent, is_chunked);
        let balancer = Balancer::http(&[origin.addr()], "", "");
        let mut client = balancer.connect();
        assert_eq!(client.request("HEAD", "/", &[], b"").unwrap().status, 200);
        let before = balancer.process.usage().unwrap().resident_bytes;
        client.send(&request_bytes("GET", "/", &[], b"")).unwrap();
        wait_until_still(&sent);
        assert!(
            sent.load(Ordering::SeqCst) < FLOOD,
            "nothing holds the server back"
        );
        let grown = balancer
            .process
            .usage()
            .unwrap()
            .resident_bytes
            .saturating_sub(before);
        assert!(grown < MAX_GROWTH, "grown by {grown} bytes");
        let response = client.receive_response("GET").unwrap();
        assert_eq!(response.body.len() as u64, FLOOD);
        assert!(response.body == pattern(response.body.len()));
    }
}

#[test]
fn a_server_that_does_not_read_stops_the_client_and_not_memory() {
    for is_chunked in [false, true] {
        let may_read = Arc::new(AtomicBool::new(false));
        let released = Arc::clone(&may_read);
        let origin = Origin::http(|request| Reply::new(200, verdict(request, flood_len())))
            .start()
            .unwrap();
        let judge = origin.addr();
        // A server before the judge that reads nothing until released.
        let gate = Origin::tcp(Arc::new(move |stream: TcpStream| {
            eventually("the release", || {
                released.load(Ordering::SeqCst).then_some(())
            });
            relay(&stream, &TcpStream::connect(judge).unwrap());
        }))
        .start()
        .unwrap();
        let balancer = Balancer::http(&[gate.addr()], "", "");
        let client = balancer.connect();
        let before = balancer.process.usage().unwrap().resident_bytes;
        let sent = Arc::new(AtomicU64::new(0));
        let mut stream = client.stream().try_clone().unwrap();
        let counted = Arc::clone(&sent);
        let sender = thread::spawn(move || {
            stream.set_write_timeout(Some(PATIENCE)).unwrap();
            let body = pattern(flood_len());
            let (framing, body) = if is_chunked {
                (
                    "Transfer-Encoding: chunked".to_owned(),
                    chunked(&body, 50_021),
                )
            } else {
                (format!("Content-Length: {FLOOD}"), body)
            };
            let head = request_bytes("PUT", "/", &[&framing], b"");
            for piece in [head, body].concat().chunks(16 * 1024) {
                stream.write_all(piece).unwrap();
                counted.fetch_add(piece.len() as u64, Ordering::SeqCst);
            }
        });
        wait_until_still(&sent);
        assert!(
            sent.load(Ordering::SeqCst) < FLOOD,
            "nothing holds the client back"
        );
        let grown = balancer
            .process
            .usage()
            .unwrap()
            .resident_bytes
            .saturating_sub(before);
        assert!(grown < MAX_GROWTH, "grown by {grown} bytes");
        may_read.store(true, Ordering::SeqCst);
        sender.join().unwrap();
        let mut client = client;
        assert_eq!(client.receive_response("PUT").unwrap().text(), "same");
    }
}

#[test]
fn an_early_answer_reaches_a_client_that_still_sends() {
    for ending in [Ending::Close, Ending::Reset] {
        let origin = Origin::http(move |_| Reply::new(413, "too large").before_body().then(ending))
            .answers_early()
            .start()
            .unwrap();
        let balancer = Balancer::http(&[origin.addr()], "", "");
        let mut client = balancer.connect();
        let head = request_bytes("POST", "/", &["Content-Length: 1000000000"], b"");
        client.send(&head).unwrap();
        // It sends on until it is told that nobody listens.
        let piece = vec![0; 64 * 1024];
        let mut sent = 0;
        while sent < 100_000_000 && client.send(&piece).is_ok() {
            sent += piece.len();
        }
        assert!(sent < 100_000_000);
        let response = client.receive_response("POST").unwrap();
        if ending == Ending::Close {
            assert_eq!(
                (response.status, response.text().as_str()),
                (413, "too large")
            );
        } else {
            // The reset may destroy the answer on its way to us; a request cut short is never a 2xx.
            assert!([413, 502].contains(&response.status), "{}", response.status);
        }
        assert!(!response.keeps_alive());
    }
}

#[test]
fn an_early_answer_does_not_stop_a_body_that_fits() {
    let origin = Origin::http(|_| Reply::new(200, "early").before_body())
        .answers_early()
        .start()
        .unwrap();
    let balancer = Balancer::http(&[origin.addr()], "", "");
    for _ in 0..20 {
        let mut client = balancer.connect();
        let response = client.request("POST", "/", &[], &pattern(30_000)).unwrap();
        assert_eq!(response.text(), "early");
    }
}

#[test]
fn a_client_that_leaves_in_the_middle_of_its_body_is_not_completed() {
    let origin = Origin::fixed(200, "ok").start().unwrap();
    let balancer = Balancer::http(&[origin.addr()], "", "");
    let mut client = balancer.connect();
    let head = request_bytes("POST", "/", &["Content-Length: 1000"], b"");
    client.send(&[&head[..], b"only this"].concat()).unwrap();
    client.half_close().unwrap();
    eventually("the end of the server's connection", || {
        let recordings = origin.recordings();
        recordings.first()?.ended.clone()
    });
    assert!(origin.requests().is_empty());
    assert!(matches!(
        origin.recordings()[0].ended,
        Some(WireError::Truncated | WireError::Reset)
    ));
}

/// Bytes of a body that is too large to be anywhere in between: the kernel's buffers of both
/// connections may hold 74 MiB (`tcp_rmem` and `tcp_wmem` at their largest).
const FLOOD: u64 = 128 << 20;
/// What the balancer's memory may grow by while a body is held up in it: its buffers, and what a
/// debug build touches for the first time.
const MAX_GROWTH: u64 = 6 << 20;

fn flood_len() -> usize {
    usize::try_from(FLOOD).unwrap()
}

/// A server whose GET response is the flood; counts what it could send.
fn flood(sent: &Arc<AtomicU64>, is_chunked: bool) -> Origin {
    let sent = Arc::clone(sent);
    Origin::tcp(Arc::new(move |mut stream: TcpStream| {
        let mut buf = [0; 4096];
        while let Ok(got @ 1..) = stream.read(&mut buf) {
            let framing = if is_chunked {
                "Transfer-Encoding: chunked".to_owned()
            } else {
                format!("Content-Length: {FLOOD}")
            };
            let head = format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n");
            stream.write_all(head.as_bytes()).unwrap();
            if buf[..got].starts_with(b"HEAD") {
                continue;
            }
            let body = pattern(flood_len());
            let body = if is_chunked {
                chunked(&body, 50_021)
            } else {
                body
            };
            for piece in body.chunks(16 * 1024) {
                stream.write_all(piece).unwrap();
                sent.fetch_add(piece.len() as u64, Ordering::SeqCst);
            }
        }
    }))
    .start()
    .unwrap()
}

/// Waits until `sent` has begun to grow and then has not grown for a while.
fn wait_until_still(sent: &AtomicU64) {
    let mut seen = (0, Instant::now());
    eventually("a standstill", || {
        let now = sent.load(Ordering::SeqCst);
        if now != seen.0 {
            seen = (now, Instant::now());
        }
        (now > 0 && seen.1.elapsed() > Duration::from_millis(300)).then_some(())
    });
}

/// Copies both ways until one side ends.
fn relay(one: &TcpStream, other: &TcpStream) {
    thread::scope(|scope| {
        scope.spawn(|| {
            // The end of either side ends the copy.
            let _ = std::io::copy(&mut &*one, &mut &*other);
        });
        let _ = std::io::copy(&mut &*other, &mut &*one);
        let _ = other.shutdown(std::net::Shutdown::Both);
        let _ = one.shutdown(std::net::Shutdown::Both);
    });
}

/// A body in chunks of this size.
fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(body.len() + body.len() / size * 16 + 16);
    for chunk in body.chunks(size) {
        bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        bytes.extend_from_slice(chunk);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}
