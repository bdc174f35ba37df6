//! Tests of the scripted origin against the scripted client.

use super::*;
use crate::client::{Client, http_get, tcp_exchange};
use crate::tagged::TagChecker;

const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_fixed_answer_is_given_on_a_kept_connection() {
    let origin = Origin::fixed(200, "Coucou").start().unwrap();
    let mut client = Client::connect(origin.addr()).unwrap();
    for _ in 0..3 {
        assert_eq!(client.get("/").unwrap().text(), "Coucou");
    }
    assert_eq!(origin.accepted(), 1);
    assert_eq!(origin.requests()[2].index, 2);
}

#[test]
fn a_request_hidden_behind_another_is_reported_as_a_second_one() {
    let origin = Origin::fixed(200, "").start().unwrap();
    let mut client = Client::connect(origin.addr()).unwrap();
    let bytes = b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhiGET /hidden HTTP/1.1\r\n\r\n";
    client.send(bytes).unwrap();
    client.receive_response("POST").unwrap();
    client.receive_response("GET").unwrap();
    let recording = &origin.recordings()[0];
    assert_eq!(recording.bytes, bytes);
    assert_eq!(recording.requests[0].body.content, b"hi");
    assert_eq!(recording.requests[1].target, "/hidden");
}

#[test]
fn what_it_cannot_read_unambiguously_ends_the_connection_as_malformed() {
    let origin = Origin::fixed(200, "").start().unwrap();
    let mut client = Client::connect(origin.addr()).unwrap();
    client
        .send(b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n")
        .unwrap();
    assert!(client.is_closed_within(PATIENCE).unwrap());
    assert!(origin.wait_until_idle(PATIENCE));
    let recording = &origin.recordings()[0];
    assert!(recording.requests.is_empty());
    assert!(matches!(recording.ended, Some(WireError::Malformed(_))));
}

#[test]
fn chunks_trailers_and_interim_responses_arrive_as_scripted() {
    let origin = Origin::http(|_| {
        Reply::new(200, "abcdef")
            .chunked(4)
            .trailer("X-End", "yes")
            .interim(103, &["Link: </a>"])
    })
    .start()
    .unwrap();
    let mut client = Client::connect(origin.addr()).unwrap();
    let response = client.get("/").unwrap();
    assert_eq!(response.interim[0].0, 103);
    assert_eq!(response.text(), "abcdef");
    assert_eq!(response.chunks, [4, 2]);
    assert_eq!(response.trailers[0].0, "X-End");
}

#[test]
fn a_body_cut_in_the_middle_ends_as_scripted() {
    let origin = Origin::http(|request| {
        let ending = match request.target.as_str() {
            "/reset" => Ending::Reset,
            _ => Ending::Close,
        };
        Reply::new(200, "whole body").cut_after(5, ending)
    })
    .start()
    .unwrap();
    assert_eq!(http_get(origin.addr(), "/close"), Err(WireError::Truncated));
    let mut client = Client::connect(origin.addr()).unwrap();
    assert_eq!(client.get("/reset"), Err(WireError::Reset));
}

#[test]
fn a_commit_is_counted_even_when_the_answer_is_a_reset() {
    let origin = Origin::http(|_| Reply::nothing(Ending::Reset))
        .start()
        .unwrap();
    let mut client = Client::connect(origin.addr()).unwrap();
    assert!(client.request("POST", "/", &[], b"id-1").is_err());
    assert_eq!(origin.commits()[b"id-1".as_slice()], 1);
}

#[test]
fn an_early_answer_comes_before_the_body() {
    let origin = Origin::http(|_| Reply::new(413, "no").before_body().then(Ending::Close))
        .answers_early()
        .start()
        .unwrap();
    let mut client = Client::connect(origin.addr()).unwrap();
    client
        .send(b"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\n")
        .unwrap();
    assert_eq!(client.receive_response("POST").unwrap().status, 413);
}

#[test]
fn a_client_that_expects_100_gets_it() {
    let origin = Origin::fixed(200, "").start().unwrap();
    let mut client = Client::connect(origin.addr()).unwrap();
    client
        .send(b"POST / HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        .unwrap();
    client.receive_until(b"100 Continue\r\n\r\n").unwrap();
    client.send(b"hi").unwrap();
    assert_eq!(client.receive_response("POST").unwrap().status, 200);
}

#[test]
fn a_reused_connection_is_dropped_with_its_request_unread() {
    let origin = Origin::fixed(200, "")
        .drops_reused_connections()
        .start()
        .unwrap();
    let mut client = Client::connect(origin.addr()).unwrap();
    assert_eq!(client.get("/1").unwrap().status, 200);
    assert!(client.get("/2").is_err());
    assert!(origin.wait_until_idle(PATIENCE));
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn an_idle_connection_is_closed_after_its_time() {
    let origin = Origin::fixed(200, "")
        .idle_timeout(Duration::from_millis(10))
        .start()
        .unwrap();
    let mut client = Client::connect(origin.addr()).unwrap();
    client.get("/").unwrap();
    assert!(client.is_closed_within(PATIENCE).unwrap());
}

#[test]
fn a_stopped_origin_refuses_and_a_restarted_one_answers_on_the_same_port() {
    let mut origin = Origin::fixed(200, "").start().unwrap();
    let addr = origin.addr();
    for _ in 0..3 {
        origin.crash();
        assert!(Client::connect(addr).is_err());
        origin.restart().unwrap();
        assert_eq!(origin.addr(), addr);
        assert_eq!(http_get(addr, "/").unwrap().status, 200);
    }
    assert_eq!(origin.requests().len(), 3);
}

#[test]
fn a_crash_resets_open_connections() {
    let mut origin = Origin::http(|_| Reply::nothing(Ending::Hang))
        .start()
        .unwrap();
    let mut client = Client::connect(origin.addr()).unwrap();
    client.send(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(origin.wait_for_requests(1, PATIENCE));
    origin.crash();
    assert_eq!(client.receive_response("GET"), Err(WireError::Reset));
}

#[test]
fn an_upgrade_becomes_a_tunnel() {
    let origin = Origin::http(|_| Reply::upgrade("chat", tunnel::echo()))
        .start()
        .unwrap();
    let mut client = Client::connect(origin.addr()).unwrap();
    let response = client
        .request("GET", "/", &["Connection: Upgrade", "Upgrade: chat"], b"")
        .unwrap();
    assert_eq!(response.status, 101);
    client.send(b"over to you").unwrap();
    assert_eq!(client.receive(11).unwrap(), b"over to you");
}

#[test]
fn raw_tcp_echoes_and_passes_the_half_close_on() {
    let origin = Origin::tcp(tunnel::echo()).start().unwrap();
    assert_eq!(tcp_exchange(origin.addr(), b"hi").unwrap(), b"hi");
}

#[test]
fn each_tagged_connection_has_its_own_owner() {
    let origin = Origin::tcp(tunnel::tagged(7, 100_000)).start().unwrap();
    for owner in 7..9_u32 {
        let bytes = tcp_exchange(origin.addr(), b"").unwrap();
        assert_eq!(bytes[..4], owner.to_be_bytes());
        TagChecker::new(owner).check(&bytes[4..]).unwrap();
        assert_eq!(bytes.len(), 100_004);
    }
}

#[test]
fn a_hundred_connections_can_be_opened_at_once() {
    let origin = Origin::tcp(tunnel::banner("x")).start().unwrap();
    let clients = Client::connect_many(origin.addr(), 100);
    for client in clients {
        assert_eq!(client.unwrap().receive_to_end().unwrap(), b"x");
    }
    assert_eq!(origin.accepted(), 100);
}
