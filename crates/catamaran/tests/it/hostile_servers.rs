//! Servers that answer wrongly, too much, too early or not to the end.
//!
//! Whatever one does, its client gets a 502 or a broken connection, never a wrong success, and no
//! byte of it reaches another exchange: every good answer is tagged with the request it answers.

use crate::eventually;
use crate::hostile::Balancer;
use catamaran_testkit::origin::tunnel;
use catamaran_testkit::{Client, Ending, Origin, Reply, Request, WireError, WireReader};
use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Answers `/badN` with the N-th of these, and everything else with its own target.
fn misbehaving(texts: &[&str], ending: Ending) -> Origin {
    let texts: Vec<_> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    let script = move |request: &Request| match request.target.strip_prefix("/bad") {
        Some(number) => {
            let number: usize = number.parse().unwrap();
            Reply::raw(texts[number].clone()).then(ending)
        }
        None => Reply::new(200, request.target.clone()),
    };
    Origin::http(script).start().unwrap()
}

/// Asks tagged questions over one connection and over new ones, and checks every answer.
fn assert_untouched(balancer: &Balancer, kept: &mut Client, what: &str) {
    for n in 0..3 {
        let target = format!("/tag{n}");
        for client in [&mut *kept, &mut balancer.client()] {
            let response = client.get(&target);
            let response = response.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(
                (response.status, response.text()),
                (200, target.clone()),
                "{what}"
            );
        }
    }
}

/// Heads for which no exchange can go on.
const MALFORMED: &[&str] = &[
    "\r\n",
    "x",
    "hello\r\n\r\n",
    "HTTP/1.1\r\n\r\n",
    "HTTP/1.1 \r\n\r\n",
    "HTTP/1.1 20\r\n\r\n",
    "HTTP/1.1 2000 OK\r\n\r\n",
    "HTTP/1.1 2x0 OK\r\n\r\n",
    "HTTP/1.1 -20 OK\r\n\r\n",
    "HTTP/1.1 000 OK\r\n\r\n",
    "HTTP/1.1  200 OK\r\n\r\n",
    "HTTP/1.1\t200 OK\r\n\r\n",
    "HTTP/1.1 200\tOK\r\n\r\n",
    "HTTP/1.1 200 O\0K\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 O\rK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n",
    "ICY 200 OK\r\nContent-Length: 0\r\n\r\n",
    " HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nContent-Length: 5x\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551621\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: cow\r\n\r\n0\r\n\r\n",
    "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\n Content-Length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nX: y\r\n z\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\n: y\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX: a\nY: b\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: content-length\r\n\r\n",
    // A switch that nobody asked for, and interim responses that are none.
    "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nraw",
    "HTTP/1.1 101 Switching\r\n\r\n",
    "HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 103 Hints\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nhello",
];

#[test]
fn a_malformed_response_is_a_502_and_touches_nobody_else() {
    for ending in [Ending::Close, Ending::Keep] {
        let origin = misbehaving(MALFORMED, ending);
        let balancer = Balancer::before(&origin);
        for (n, text) in MALFORMED.iter().enumerate() {
            // The beginning of a status line is not wrong before it is known what follows.
            if ending == Ending::Keep && !text.contains('\n') && text.starts_with("HTTP") {
                continue;
            }
            let what = format!("{text:?} then {ending:?}");
            let mut client = balancer.client();
            let response = client.get(&format!("/bad{n}"));
            let response = response.unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(response.status, 502, "{what}");
            assert_untouched(&balancer, &mut client, &what);
        }
    }
}

#[test]
fn a_response_head_without_end_is_a_502() {
    let large = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(100_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(10_000));
    let interim = "HTTP/1.1 103 Hints\r\nLink: </x>\r\n\r\n".repeat(10_000);
    let texts = [large.as_str(), &many, &interim];
    let origin = misbehaving(&texts, Ending::Keep);
    let balancer = Balancer::before(&origin);
    for (n, text) in texts.iter().enumerate() {
        let mut client = balancer.client();
        let response = client.get(&format!("/bad{n}")).unwrap();
        assert_eq!(response.status, 502);
        assert!(response.interim.len() <= 16, "{}", response.interim.len());
        assert_untouched(&balancer, &mut client, &text[..40]);
    }
}

/// Responses whose head is good and whose body is not what it says.
const CUT: &[&str] = &[
    "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
    "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\nhello\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloo\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX\r\n\r\n",
];

#[test]
fn a_response_that_is_cut_or_breaks_off_is_never_a_success() {
    for ending in [Ending::Close, Ending::Reset] {
        let origin = misbehaving(CUT, ending);
        let balancer = Balancer::before(&origin);
        for (n, text) in CUT.iter().enumerate() {
            let what = format!("{text:?} then {ending:?}");
            match balancer.client().get(&format!("/bad{n}")) {
                Ok(response) => assert_eq!(response.status, 502, "{what}"),
                Err(WireError::Truncated | WireError::Reset | WireError::Closed) => {}
                Err(error) => panic!("{what}: {error}"),
            }
            // An HTTP/1.0 client knows an end only by the connection: it must see a reset.
            let mut old = balancer.client();
            old.send(format!("GET /bad{n} HTTP/1.0\r\n\r\n").as_bytes())
                .unwrap();
            let end = old.receive_to_end();
            let is_error = end.as_ref().map_or_else(
                |error| *error == WireError::Reset,
                |bytes| bytes.starts_with(b"HTTP/1.1 502") || text.contains("Length: 10"),
            );
            assert!(is_error, "{what}: {end:?}");
            assert_untouched(&balancer, &mut balancer.client(), &what);
        }
    }
}

/// Responses with bytes behind their end.
const TOO_MUCH: &[&str] = &[
    "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n/badHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstale",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n/bad\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstale",
    "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n/bad\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n/badx",
    "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstale",
    "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nstale",
    "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nstale",
    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstale",
];

#[test]
fn bytes_behind_a_response_reach_nobody() {
    let origin = misbehaving(TOO_MUCH, Ending::Keep);
    let balancer = Balancer::before(&origin);
    for (n, text) in TOO_MUCH.iter().enumerate() {
        let mut client = balancer.client();
        for _ in 0..20 {
            let response = client.get(&format!("/bad{n}")).unwrap();
            assert!(matches!(response.status, 200 | 204 | 304), "{text:?}");
            assert!(matches!(response.text().as_str(), "" | "/bad"), "{text:?}");
            assert_untouched(&balancer, &mut client, text);
        }
    }
}

#[test]
fn a_body_behind_the_response_to_head_reaches_nobody() {
    let text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstale";
    let origin = misbehaving(&[text], Ending::Keep);
    let balancer = Balancer::before(&origin);
    let mut client = balancer.client();
    for _ in 0..20 {
        let response = client.request("HEAD", "/bad0", &[], b"").unwrap();
        assert_eq!((response.status, response.body.len()), (200, 0));
        assert_untouched(&balancer, &mut client, "HEAD with a body");
    }
}

/// Answers each request with its target, and then `/bad` once more; counts those that it sent.
fn answering_twice(sent: &Arc<AtomicUsize>) -> Origin {
    let sent = Arc::clone(sent);
    let serve = move |stream: TcpStream| {
        let mut reader = WireReader::new(stream);
        while let Ok(head) = reader.read_head() {
            let target = head.start_line.split(' ').nth(1).unwrap().to_owned();
            let answer = |text: &str| {
                let len = text.len();
                let bytes = format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n{text}");
                // A connection that was closed meanwhile is what is hoped for.
                reader.inner().write_all(bytes.as_bytes()).ok();
            };
            answer(&target);
            if target == "/bad" {
                thread::sleep(Duration::from_millis(20));
                answer("stale");
                sent.fetch_add(1, Ordering::SeqCst);
            }
        }
    };
    Origin::tcp(Arc::new(serve)).start().unwrap()
}

#[test]
fn a_second_response_that_comes_later_reaches_nobody() {
    let sent = Arc::new(AtomicUsize::new(0));
    let origin = answering_twice(&sent);
    let balancer = Balancer::before(&origin);
    let mut client = balancer.client();
    for round in 1..=20 {
        assert_eq!(client.get("/bad").unwrap().text(), "/bad");
        eventually("the second response", || {
            (sent.load(Ordering::SeqCst) == round).then_some(())
        });
        assert_untouched(&balancer, &mut client, "a second response");
    }
}

#[test]
fn a_server_that_speaks_first_has_its_words_thrown_away_once_idle() {
    // It answers before it has read anything; on a fresh connection nobody can tell that from a
    // quick answer, so all that must hold is that each response goes to one request only.
    let text = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly";
    let origin = Origin::tcp(tunnel::banner(text.repeat(2))).start().unwrap();
    let balancer = Balancer::before(&origin);
    for _ in 0..20 {
        let accepted = origin.accepted();
        let response = balancer.client().get("/").unwrap();
        assert_eq!((response.status, response.text().as_str()), (200, "early"));
        assert_eq!(
            origin.accepted(),
            accepted + 1,
            "a connection was used twice"
        );
    }
}

#[test]
fn trailers_of_one_response_never_follow_another() {
    let script = |request: &Request| match request.target.as_str() {
        "/trailers" => Reply::new(200, "a").chunked(1).trailer("X-Secret", "1"),
        _ => Reply::raw("HTTP/1.1 200 OK\r\n\r\nuntil close").then(Ending::Close),
    };
    let origin = Origin::http(script).start().unwrap();
    let balancer = Balancer::before(&origin);
    for _ in 0..10 {
        let response = balancer.client().get("/trailers").unwrap();
        assert_eq!(response.trailers.len(), 1);
        let response = balancer.client().get("/").unwrap();
        assert_eq!(
            (response.text().as_str(), response.trailers.len()),
            ("until close", 0)
        );
    }
}

#[test]
fn a_failure_after_a_large_upload_is_told_and_the_balancer_lives() {
    // The head of such a request is no longer in the buffer when the answer comes.
    for reply in ["garbage\r\n\r\n", ""] {
        let reply = Reply::raw(reply).then(Ending::Close);
        let origin = Origin::http(move |_| reply.clone()).start().unwrap();
        let balancer = Balancer::with(&[origin.addr()], "access-log = \"json\"", "");
        let mut client = balancer.client();
        let response = client
            .request("POST", "/", &[], &vec![b'x'; 1_000_000])
            .unwrap();
        assert_eq!(response.status, 502);
        assert!(!response.keeps_alive());
        let stderr = balancer.process.stderr();
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
}

#[test]
fn a_request_that_got_an_interim_response_is_not_sent_again() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
    let reply = Reply::raw(hints).then(Ending::Close);
    let origin = Origin::http(move |_| reply.clone()).start().unwrap();
    let balancer = Balancer::before(&origin);
    let response = balancer.client().get("/").unwrap();
    assert_eq!((response.status, response.interim.len()), (502, 1));
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn a_server_that_never_answers_is_a_504_in_time() {
    let origin = Origin::http(|_| Reply::nothing(Ending::Hang))
        .start()
        .unwrap();
    let balancer = Balancer::with(&[origin.addr()], "", "timeouts = { response = \"200ms\" }");
    let response = balancer.client().get("/").unwrap();
    assert_eq!(response.status, 504);
}

#[test]
fn a_server_that_trickles_its_head_is_bounded_in_time() {
    let text = format!("HTTP/1.1 200 OK\r\nX: {}\r\n", "y".repeat(100_000));
    let reply = Reply::raw(text).in_pieces(1, Duration::from_millis(20));
    let origin = Origin::http(move |_| reply.clone()).start().unwrap();
    let balancer = Balancer::with(&[origin.addr()], "", "timeouts = { response = \"300ms\" }");
    let response = balancer.client().get("/").unwrap();
    assert_eq!(response.status, 504);
}

#[test]
fn a_server_that_stops_in_its_body_is_bounded_in_time() {
    let reply = Reply::new(200, "hello").cut_after(2, Ending::Hang);
    let origin = Origin::http(move |_| reply.clone()).start().unwrap();
    let balancer = Balancer::with(&[origin.addr()], "", "timeouts = { body = \"200ms\" }");
    let error = balancer.client().get("/").unwrap_err();
    assert!(
        matches!(error, WireError::Truncated | WireError::Reset),
        "{error}"
    );
}
