//! Request smuggling: no bytes from a client mean one thing to us and another to a server.
//!
//! Every case is followed by a second request in the same bytes. The recording origin parses
//! strictly and by its own rules; at the end it must have seen exactly the requests that were
//! passed on, each whole, and nothing besides.

mod corpus;
mod fields;
mod heads;

use crate::hostile::{Balancer, settled};
use catamaran_testkit::{Client, Framing, Origin, Reply, WireError};
use corpus::{CHUNKS, CODINGS, Case, GOOD_CHUNKS, LENGTHS, TWO_FRAMINGS, Verdict};
use heads::{FIELDS, HOPS, LINES};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Pause between two pieces, so that each is read by itself.
const PAUSE: Duration = Duration::from_micros(500);
/// Clients at once.
const CLIENTS: usize = 4;

/// How the bytes of a case are cut.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Nowhere,
    At(usize),
    Everywhere,
}

fn cuts(len: usize) -> impl Iterator<Item = Cut> {
    let places = (1..len).map(Cut::At);
    [Cut::Nowhere, Cut::Everywhere].into_iter().chain(places)
}

/// One run of a case: what it sends and how.
struct Run {
    text: String,
    cut: Cut,
    expected: Expected,
}

/// A verdict with the run's number in its place.
enum Expected {
    Refused(&'static [u16]),
    /// The requests that reach the origin, the one that follows included.
    Passed(Vec<String>),
}

/// Sends every case in every cut, and checks what came back and what the origin saw.
fn check(cases: &[Case]) {
    let origin = Origin::http(|_| Reply::new(200, "ok")).start().unwrap();
    let balancer = Balancer::before(&origin);
    let mut runs = Vec::new();
    let mut passed = Vec::new();
    for case in cases {
        for cut in cuts(case.bytes.len()) {
            let number = runs.len() + 1000;
            let fill = |text: &str| text.replace('$', &number.to_string());
            let after = fill("GET /after$ ");
            let text = format!("{}{after}HTTP/1.1\r\nHost: t\r\n\r\n", fill(case.bytes));
            let expected = match case.verdict {
                Verdict::Refused(statuses) => Expected::Refused(statuses),
                Verdict::Passed(requests) => {
                    let all: Vec<_> = requests
                        .iter()
                        .map(|one| fill(one))
                        .chain([after])
                        .collect();
                    passed.extend(all.iter().cloned());
                    Expected::Passed(all)
                }
            };
            runs.push(Run {
                text,
                cut,
                expected,
            });
        }
    }
    play(&runs, &balancer);
    assert_origin_saw(&origin, &balancer, passed);
}

fn play(runs: &[Run], balancer: &Balancer) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while let Some(run) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    run.play(balancer);
                }
            });
        }
    });
}

impl Run {
    fn play(&self, balancer: &Balancer) {
        let mut client = balancer.client();
        send(&mut client, self.text.as_bytes(), self.cut);
        let what = format!("{:?} cut {:?}", self.text, self.cut);
        match &self.expected {
            Expected::Refused(statuses) => assert_refused(&mut client, statuses, &what),
            Expected::Passed(requests) => assert_passed(&mut client, requests, &what),
        }
    }
}

fn send(client: &mut Client, bytes: &[u8], cut: Cut) {
    // Whoever refuses may close before all has come.
    let sent = match cut {
        Cut::Nowhere => client.send(bytes),
        Cut::Everywhere => client.send_slowly(bytes, 1, Duration::ZERO),
        Cut::At(place) => client.send(&bytes[..place]).and_then(|()| {
            thread::sleep(PAUSE);
            client.send(&bytes[place..])
        }),
    };
    assert!(matches!(sent, Ok(()) | Err(WireError::Reset)), "{sent:?}");
}

fn assert_passed(client: &mut Client, requests: &[String], what: &str) {
    for request in requests {
        let method = request.split(' ').next().unwrap();
        match client.receive_response(method) {
            Ok(response) => assert_eq!(response.status, 200, "{what}"),
            Err(error) => panic!("{what}: {error}"),
        }
    }
}

fn assert_refused(client: &mut Client, statuses: &[u16], what: &str) {
    match client.receive_response("GET") {
        Ok(response) => {
            assert!(
                statuses.contains(&response.status),
                "{what}: {}",
                response.status
            );
            assert!(!response.keeps_alive(), "{what}: kept alive");
        }
        Err(error) => panic!("{what}: {error}"),
    }
    let rest = client.receive_to_end();
    assert!(
        rest.as_ref().is_ok_and(Vec::is_empty),
        "{what}: then {rest:?}"
    );
}

/// Checks that the origin saw these requests and no others, in whatever order.
fn assert_origin_saw(origin: &Origin, balancer: &Balancer, mut expected: Vec<String>) {
    settled(origin, balancer);
    let mut seen: Vec<String> = Vec::new();
    for recording in origin.recordings() {
        if let Some(WireError::Malformed(why)) = &recording.ended {
            let bytes = String::from_utf8_lossy(&recording.bytes);
            panic!("the origin got what it cannot read: {why}\n{bytes}");
        }
        seen.extend(recording.requests.iter().map(|request| {
            let body = String::from_utf8_lossy(&request.body.content);
            format!("{} {} {body}", request.method, request.target)
        }));
    }
    seen.retain(|request| request != "GET /settled ");
    seen.sort();
    expected.sort();
    let mut difference: BTreeMap<&str, i32> = BTreeMap::new();
    for request in &seen {
        *difference.entry(request).or_default() += 1;
    }
    for request in &expected {
        *difference.entry(request).or_default() -= 1;
    }
    difference.retain(|_, count| *count != 0);
    assert!(
        difference.is_empty(),
        "seen (+) and missing (-): {difference:?}"
    );
}

#[test]
fn a_request_with_two_framings_is_refused_or_has_one() {
    check(TWO_FRAMINGS);
}

#[test]
fn a_transfer_coding_in_a_strange_spelling_is_refused() {
    check(CODINGS);
}

#[test]
fn a_length_that_is_no_plain_number_is_refused() {
    check(LENGTHS);
}

#[test]
fn a_field_line_that_two_readers_could_split_differently_is_refused() {
    check(FIELDS);
}

#[test]
fn a_request_line_that_is_not_exactly_three_words_is_refused() {
    check(LINES);
}

#[test]
fn one_host_is_named_and_connection_removes_nothing_that_matters() {
    check(HOPS);
}

#[test]
fn a_malformed_chunk_ends_the_request_before_the_origin_has_it_whole() {
    let origin = Origin::http(|_| Reply::new(200, "ok")).start().unwrap();
    let balancer = Balancer::before(&origin);
    let mut runs = Vec::new();
    for chunks in CHUNKS {
        let text = format!(
            "POST /$ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}\
            GET /after$ HTTP/1.1\r\nHost: t\r\n\r\n"
        );
        for cut in cuts(text.len()) {
            runs.push(Run {
                text: text.replace('$', &runs.len().to_string()),
                cut,
                expected: Expected::Refused(&[400]),
            });
        }
    }
    play(&runs, &balancer);
    assert_origin_saw(&origin, &balancer, Vec::new());
}

#[test]
fn a_chunked_body_reaches_the_origin_in_plain_chunks() {
    let origin = Origin::http(|_| Reply::new(200, "ok")).start().unwrap();
    let balancer = Balancer::before(&origin);
    let mut runs = Vec::new();
    let mut passed = Vec::new();
    for (chunks, body) in GOOD_CHUNKS {
        let text = format!(
            "POST /$ HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}\
            GET /after$ HTTP/1.1\r\nHost: t\r\n\r\n"
        );
        for cut in cuts(text.len()) {
            let number = runs.len();
            let requests = vec![
                format!("POST /{number} {body}"),
                format!("GET /after{number} "),
            ];
            passed.extend(requests.iter().cloned());
            runs.push(Run {
                text: text.replace('$', &number.to_string()),
                cut,
                expected: Expected::Passed(requests),
            });
        }
    }
    play(&runs, &balancer);
    for request in origin.requests() {
        assert!(request.method == "GET" || request.framing == Framing::Chunked);
        let bad = |(name, _): &(String, Vec<u8>)| name != "X";
        assert!(
            !request.body.trailers.iter().any(bad),
            "{:?}",
            request.body.trailers
        );
    }
    assert_origin_saw(&origin, &balancer, passed);
}

#[test]
fn a_request_cut_short_never_counts_as_one() {
    let origin = Origin::http(|_| Reply::new(200, "ok")).start().unwrap();
    let balancer = Balancer::before(&origin);
    let whole = [
        "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ];
    for text in whole {
        for len in 1..text.len() {
            let mut client = balancer.client();
            client.send(&text.as_bytes()[..len]).unwrap();
            client.half_close().unwrap();
            let answer = client.receive_to_end();
            let is_success = answer.is_ok_and(|bytes| bytes.starts_with(b"HTTP/1.1 2"));
            assert!(!is_success, "{len} bytes of {text:?}");
        }
    }
    assert_origin_saw(&origin, &balancer, Vec::new());
}
