//! Runs over TCP, UDP, unix sockets and with PROXY headers.

use std::io::{Read as _, Write as _};
use std::net::UdpSocket;
use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use catamaran_load::client::ProxyHeader;
use catamaran_load::plain::Protocol;
use catamaran_testkit::{Origin, TempDir, tunnel};

use crate::{options, play};

#[test]
fn bytes_over_tcp_are_answered() {
    let origin = Origin::tcp(tunnel::echo()).start().unwrap();
    let mut options = options(&origin.addr().to_string());
    options.protocol = Protocol::Tcp { answer_bytes: 5 };
    options.exchange.body = Some(b"hello".to_vec());
    let ran = play(options);
    assert_eq!(ran.due(), 100.0, "{}", ran.out);
    assert_eq!(ran.figure("exchange_failed", "value"), 0.0, "{}", ran.out);
    let count = ran.figure("exchanges", "count");
    assert!(count > 0.0);
    assert_eq!(ran.figure("data_received", "count"), 5.0 * count);
    assert_eq!(ran.answers("answered") as f64, count);
}

#[test]
fn datagrams_are_answered_or_time_out() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    let addr = socket.local_addr().unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let server = thread::spawn({
        let is_over = Arc::clone(&is_over);
        move || {
            let mut buf = [0; 100];
            let mut count = 0;
            while !is_over.load(Ordering::Relaxed) {
                let Ok((len, from)) = socket.recv_from(&mut buf) else {
                    continue;
                };
                count += 1;
                if count % 10 != 0 {
                    socket.send_to(&buf[..len], from).unwrap();
                }
            }
        }
    });
    let mut options = options(&addr.to_string());
    options.protocol = Protocol::Udp;
    options.exchange.body = Some(b"ping".to_vec());
    options.timeout = Duration::from_secs(2);
    let ran = play(options);
    is_over.store(true, Ordering::Relaxed);
    server.join().unwrap();
    assert_eq!(ran.figure("exchanges", "count"), 100.0, "{}", ran.out);
    assert!(ran.answers("request timeout") >= 10, "{}", ran.out);
    assert_eq!(
        ran.answers("answered") + ran.answers("request timeout"),
        100
    );
}

#[test]
fn a_unix_socket_takes_the_place_of_the_address() {
    let dir = TempDir::create().unwrap();
    let path = dir.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut seen = Vec::new();
        let mut buf = [0; 1000];
        while let Ok(len) = stream.read(&mut buf) {
            if len == 0 {
                break;
            }
            seen.extend_from_slice(&buf[..len]);
            if seen.ends_with(b"\r\n\r\n") {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    .unwrap();
            }
        }
        String::from_utf8(seen).unwrap()
    });
    let mut options = options("http://name.test/x");
    options.exchange.unix = Some(path);
    options.max_connections = 1;
    let ran = play(options);
    assert_eq!(ran.due(), 100.0, "{}", ran.out);
    assert!(ran.answers("200") > 0, "{}", ran.out);
    let seen = server.join().unwrap();
    assert!(
        seen.starts_with("GET /x HTTP/1.1\r\nHost: name.test\r\n"),
        "{seen}"
    );
}

#[test]
fn a_proxy_header_comes_first_on_each_connection() {
    let origin = Origin::tcp(tunnel::echo()).start().unwrap();
    let mut options = options(&origin.addr().to_string());
    options.protocol = Protocol::Tcp { answer_bytes: 40 };
    options.exchange.body = Some(b"x".to_vec());
    options.exchange.proxy = ProxyHeader::V1;
    options.exchange.keeps_connections = false;
    options.duration = Duration::from_millis(100);
    let ran = play(options);
    // The echo of the header is part of the answer: every connection had one.
    assert!(ran.answers("answered") > 0, "{}", ran.out);
    for recording in origin.recordings() {
        let text = String::from_utf8_lossy(&recording.bytes).into_owned();
        assert!(
            text.is_empty() || text.starts_with("PROXY TCP4 127.0.0.1 127.0.0.1 "),
            "{text}"
        );
    }
}
