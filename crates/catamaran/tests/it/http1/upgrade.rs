//! Upgraded connections: after 101 they are tunnels.

use crate::PATIENCE;
use crate::balancer::{Balancer, pattern};
use catamaran_testkit::{Client, Origin, Reply, request_bytes, tunnel};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

const UPGRADE: [&str; 3] = [
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];

fn websocket() -> Origin {
    Origin::http(|_| {
        Reply::upgrade("websocket", tunnel::echo()).field("Sec-WebSocket-Accept", "accepted")
    })
    .start()
    .unwrap()
}

/// A connection after its upgrade.
fn upgraded(balancer: &Balancer) -> Client {
    let mut client = balancer.connect();
    client
        .send(&request_bytes("GET", "/chat", &UPGRADE, b""))
        .unwrap();
    let response = client.receive_response("GET").unwrap();
    assert_eq!(response.status, 101);
    assert!(response.head.has_token("connection", "upgrade"));
    assert_eq!(response.field("upgrade").as_deref(), Some("websocket"));
    assert_eq!(
        response.field("sec-websocket-accept").as_deref(),
        Some("accepted")
    );
    client
}

#[test]
fn an_upgraded_connection_relays_both_ways_until_it_ends() {
    let origin = websocket();
    let balancer = Balancer::http(&[origin.addr()], "", "");
    let mut client = upgraded(&balancer);
    for message in [&b"ping"[..], b"GET / HTTP/1.1\r\n\r\n", &[0, 255, 13, 10]] {
        client.send(message).unwrap();
        assert_eq!(client.receive(message.len()).unwrap(), message);
    }
    let request = &origin.requests()[0];
    assert!(request.head.has_token("connection", "upgrade"));
    assert_eq!(request.field("upgrade").as_deref(), Some("websocket"));
    assert_eq!(
        request.field("sec-websocket-key").as_deref(),
        Some("dGhlIHNhbXBsZSBub25jZQ==")
    );
    client.half_close().unwrap();
    assert_eq!(client.receive_to_end().unwrap(), b"");
    assert!(origin.wait_until_idle(PATIENCE));
}

#[test]
fn much_passes_a_tunnel_both_ways_at_once() {
    let origin = websocket();
    let balancer = Balancer::http(&[origin.addr()], "", "");
    let mut client = upgraded(&balancer);
    let bytes = pattern(8 << 20);
    let mut writer = client.stream().try_clone().unwrap();
    let sent = bytes.clone();
    let sender = std::thread::spawn(move || writer.write_all(&sent).unwrap());
    assert!(client.receive(bytes.len()).unwrap() == bytes);
    sender.join().unwrap();
}

#[test]
fn bytes_sent_ahead_of_the_switch_are_not_lost_on_either_side() {
    let origin = Origin::tcp(Arc::new(|mut stream: TcpStream| {
        let mut got = Vec::new();
        let mut buf = [0; 4096];
        // The client's first bytes come behind its head.
        while !got.ends_with(b"early-client") {
            match stream.read(&mut buf) {
                Ok(count @ 1..) => got.extend_from_slice(&buf[..count]),
                _ => return,
            }
            if got.ends_with(b"\r\n\r\n") {
                let head = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\
                    Upgrade: websocket\r\n\r\nearly-server";
                stream.write_all(head).unwrap();
            }
        }
        stream.write_all(b"both").unwrap();
    }))
    .start()
    .unwrap();
    let balancer = Balancer::http(&[origin.addr()], "", "");
    let mut client = balancer.connect();
    let mut bytes = request_bytes("GET", "/", &UPGRADE, b"");
    bytes.extend_from_slice(b"early-client");
    client.send(&bytes).unwrap();
    assert_eq!(client.receive_response("GET").unwrap().status, 101);
    assert_eq!(client.receive(16).unwrap(), b"early-serverboth");
}

#[test]
fn a_server_that_refuses_to_switch_keeps_the_connection_as_it_was() {
    let origin = Origin::http(|request| Reply::new(200, request.target.clone()))
        .start()
        .unwrap();
    let balancer = Balancer::http(&[origin.addr()], "", "");
    let mut client = balancer.connect();
    let response = client.request("GET", "/a", &UPGRADE, b"").unwrap();
    assert_eq!((response.status, response.text().as_str()), (200, "/a"));
    assert_eq!(client.get("/b").unwrap().text(), "/b");
}

#[test]
fn a_switch_that_nobody_asked_for_is_a_bad_response() {
    let origin = websocket();
    let balancer = Balancer::http(&[origin.addr()], "", "");
    assert_eq!(balancer.connect().get("/").unwrap().status, 502);
}

#[test]
fn the_end_of_the_servers_side_reaches_the_client_while_it_still_sends() {
    let origin = Origin::http(|_| {
        Reply::upgrade("websocket", tunnel::banner("bye")).field("Sec-WebSocket-Accept", "accepted")
    })
    .start()
    .unwrap();
    let balancer = Balancer::http(&[origin.addr()], "", "");
    let mut client = upgraded(&balancer);
    assert_eq!(client.receive_to_end().unwrap(), b"bye");
    client.send(b"still here").unwrap();
    client.half_close().unwrap();
    assert!(origin.wait_until_idle(PATIENCE));
}

#[test]
fn an_idle_tunnel_is_closed_after_its_time() {
    let origin = websocket();
    let timeouts = "timeouts = { tunnel = \"3s\" }";
    let balancer = Balancer::http(&[origin.addr()], timeouts, "");
    let mut client = upgraded(&balancer);
    client.send(b"x").unwrap();
    assert_eq!(client.receive(1).unwrap(), b"x");
    assert!(client.is_closed_within(PATIENCE).unwrap());
    assert!(origin.wait_until_idle(PATIENCE));
}

#[test]
fn other_upgrades_of_plain_requests_are_not_lost_on_an_http_1_0_client() {
    // RFC 9110 §7.8: Upgrade in an HTTP/1.0 request is ignored.
    let origin = Origin::http(|request| {
        Reply::new(
            200,
            request
                .field("upgrade")
                .unwrap_or_else(|| "none".to_owned()),
        )
    })
    .start()
    .unwrap();
    let balancer = Balancer::http(&[origin.addr()], "", "");
    let mut client = balancer.connect();
    client
        .send(b"GET / HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .unwrap();
    assert_eq!(client.receive_response("GET").unwrap().text(), "none");
}
