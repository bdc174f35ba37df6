//! The echo server.

use crate::{PATIENCE, catamaran, echo};
use catamaran_testkit::{Client, Signal, http_get, tcp_exchange};
use std::net::UdpSocket;
use std::time::{Duration, Instant};

#[test]
fn raw_bytes_get_the_message_and_the_end() {
    let (_server, address) = echo("Coucou", &[]);
    assert_eq!(tcp_exchange(address, b"hi").unwrap(), b"Coucou\n");
    assert_eq!(tcp_exchange(address, b"HELLO\r\n").unwrap(), b"Coucou\n");
    let mut open = Client::connect(address).unwrap();
    open.send(b"hi").unwrap();
    assert_eq!(open.receive_to_end().unwrap(), b"Coucou\n");
}

#[test]
fn a_client_that_says_nothing_gets_the_message_too() {
    let (_server, address) = echo("Coucou", &[]);
    assert_eq!(tcp_exchange(address, b"").unwrap(), b"Coucou\n");
    let began = Instant::now();
    let mut silent = Client::connect(address).unwrap();
    assert_eq!(silent.receive_to_end().unwrap(), b"Coucou\n");
    assert!(began.elapsed() >= Duration::from_millis(1900));
}

#[test]
fn whoever_had_connected_is_answered_when_it_is_asked_to_end() {
    let (mut server, address) = echo("Coucou", &["--delay", "300ms"]);
    let mut clients: Vec<_> = (0..5).map(|_| Client::connect(address).unwrap()).collect();
    for client in &mut clients {
        client.send(b"hi").unwrap();
    }
    server.signal(Signal::TERM).unwrap();
    for client in &mut clients {
        assert_eq!(client.receive_to_end().unwrap(), b"Coucou\n");
    }
    assert!(server.wait(PATIENCE).unwrap().success());
}

#[test]
fn half_a_request_line_counts_as_raw_bytes() {
    let (_server, address) = echo("Coucou", &[]);
    let mut client = Client::connect(address).unwrap();
    client.send(b"GET").unwrap();
    assert_eq!(client.receive_to_end().unwrap(), b"Coucou\n");
}

#[test]
fn http_requests_of_any_method_share_a_connection() {
    let (_server, address) = echo("Hello World", &[]);
    let mut client = Client::connect(address).unwrap();
    for method in ["GET", "POST", "PURGE"] {
        let response = client.request(method, "/", &[], b"body").unwrap();
        assert_eq!(
            (response.status, response.body.as_slice()),
            (200, b"Hello World\n".as_slice())
        );
    }
    let head = client.request("HEAD", "/", &[], b"").unwrap();
    assert_eq!((head.status, head.body.len()), (200, 0));
    client
        .send(b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        .unwrap();
    client
        .send(b"3;x=y\r\nabc\r\n0\r\nTrailer: 1\r\n\r\n")
        .unwrap();
    assert_eq!(client.receive_response("PUT").unwrap().status, 200);
    assert_eq!(client.pipeline(&["/a", "/b"]).unwrap().len(), 2);
}

#[test]
fn a_client_that_expects_100_continue_gets_it() {
    let (_server, address) = echo("x", &[]);
    let mut client = Client::connect(address).unwrap();
    client
        .send(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        .unwrap();
    let interim = client.receive_until(b"\r\n\r\n").unwrap();
    assert!(interim.starts_with(b"HTTP/1.1 100 "));
    client.send(b"ab").unwrap();
    assert_eq!(client.receive_response("POST").unwrap().status, 200);
}

#[test]
fn health_is_answered_at_once() {
    let (_server, address) = echo("slow", &["--delay", "1h"]);
    let response = http_get(address, "/health").unwrap();
    assert_eq!(
        (response.status, response.body.as_slice()),
        (200, b"ok\n".as_slice())
    );
}

#[test]
fn bodies_have_the_size_that_was_asked_for() {
    let (_server, address) = echo("abc", &["--body-size", "1MiB"]);
    assert_eq!(http_get(address, "/").unwrap().body.len(), 1 << 20);
}

#[test]
fn a_broken_request_is_refused() {
    let (_server, address) = echo("x", &[]);
    let answer = tcp_exchange(address, b"GET / x HTTP/1.1\r\n\r\n").unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 400 "));
}

#[test]
fn datagrams_are_answered_on_the_same_port() {
    let (_server, address) = echo("Coucou", &[]);
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.send_to(b"hi", address).unwrap();
    let mut buf = [0; 64];
    let (len, from) = client.recv_from(&mut buf).unwrap();
    assert_eq!((&buf[..len], from), (b"Coucou\n".as_slice(), address));
}

#[test]
fn a_taken_port_is_named() {
    let (_server, address) = echo("first", &[]);
    let mut second = catamaran(&["echo", "--message", "x", "--listen", &address.to_string()])
        .start()
        .unwrap();
    assert_eq!(second.wait(PATIENCE).unwrap().code(), Some(1));
    let expected = format!("{address}: port in use");
    second.wait_for_stderr(&expected, PATIENCE).unwrap();
}
