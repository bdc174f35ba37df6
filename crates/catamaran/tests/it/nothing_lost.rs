//! What a client loses when servers close, die, hang and come back: nothing that could be saved.

use crate::balancer::Balancer;
use crate::{PATIENCE, catamaran, echo};
use catamaran_testkit::{
    Client, Ending, Origin, Reply, ReservedPort, WireError, http_get, shortest, tunnel,
};
use std::iter::Sum;
use std::thread;
use std::time::{Duration, Instant};

/// Runs `work` on `count` threads at once and adds up what they return.
fn on_threads<N: Sum + Send>(count: usize, work: impl Fn(usize) -> N + Sync) -> N {
    thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = (0..count)
            .map(|index| scope.spawn(move || work(index)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    })
}

/// Sends ten thousand idempotent requests over four connections and expects each to be answered
/// with its own target. Returns how many there were.
fn send_idempotent_requests(balancer: &Balancer) -> u64 {
    const METHODS: [(&str, &[u8]); 4] = [
        ("GET", b""),
        ("PUT", b"body"),
        ("DELETE", b""),
        ("OPTIONS", b""),
    ];
    const EACH: u64 = 2_500;
    on_threads(METHODS.len(), |thread| {
        let mut client = balancer.connect();
        let (method, body) = METHODS[thread];
        for round in 0..EACH {
            let target = format!("/{thread}/{round}");
            let response = client.request(method, &target, &[], body).unwrap();
            assert_eq!((response.status, response.text()), (200, target));
        }
        EACH
    })
}

#[test]
fn a_connection_closed_right_as_an_idempotent_request_comes_costs_nothing() {
    // Each request on a reused connection is met by a reset, unread.
    let origin = Origin::http(|request| Reply::new(200, request.target.clone()))
        .drops_reused_connections()
        .without_records()
        .start()
        .unwrap();
    let balancer = Balancer::http(&[origin.addr()], "", "");
    let tries = send_idempotent_requests(&balancer);
    // Nearly all but the first few did meet one: each that did was served on a new connection.
    assert!(
        origin.accepted() > tries / 2,
        "{} connections",
        origin.accepted()
    );
}

#[test]
fn a_connection_closed_unannounced_after_each_response_costs_nothing() {
    // The end of the connection is on its way while the next request is sent.
    let origin = Origin::http(|request| {
        let body = &request.target;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        Reply::raw(head + body).then(Ending::Close)
    })
    .without_records()
    .start()
    .unwrap();
    let balancer = Balancer::http(&[origin.addr()], "", "");
    let tries = send_idempotent_requests(&balancer);
    assert!(origin.accepted() >= tries);
}

#[test]
fn a_post_that_was_read_whole_is_never_sent_again() {
    const CLIENTS: usize = 4;
    const EACH: usize = 2_000 / CLIENTS;
    // Some answers in between keep connections alive, so that fresh and reused ones both break.
    let origin = Origin::http(|request| {
        if request.body.content.ends_with(b"0") {
            Reply::nothing(Ending::Reset)
        } else {
            Reply::new(200, "done")
        }
    })
    .start()
    .unwrap();
    let balancer = Balancer::http(&[origin.addr()], "", "outlier = false");
    let broken = on_threads(CLIENTS, |thread| {
        let mut client = Client::connect(balancer.addr()).unwrap();
        let mut broken = 0;
        for round in 0..EACH {
            let breaks = round % 3 == 0;
            let body = format!("{thread}-{round}-{}", u8::from(!breaks));
            let response = client.request("POST", "/", &[], body.as_bytes()).unwrap();
            assert_eq!(response.status, if breaks { 502 } else { 200 }, "{body}");
            broken += usize::from(breaks);
            if !response.keeps_alive() {
                client = Client::connect(balancer.addr()).unwrap();
            }
        }
        broken
    });
    assert!(broken >= CLIENTS * EACH / 3);
    let commits = origin.commits();
    assert_eq!(commits.len(), CLIENTS * EACH);
    let twice: Vec<_> = commits.iter().filter(|(_, times)| **times != 1).collect();
    assert!(twice.is_empty(), "committed more than once: {twice:?}");
}

#[test]
fn a_post_never_goes_to_a_connection_that_was_closed_before() {
    const CLIENTS: usize = 50;
    const BATCHES: usize = 10_000 / CLIENTS;
    let origin = Origin::http(|_| Reply::new(200, "done")).start().unwrap();
    let balancer = Balancer::http(&[origin.addr()], "", "");
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|_| Client::connect(balancer.addr()).unwrap())
        .collect();
    for batch in 0..BATCHES {
        thread::scope(|scope| {
            for (index, client) in clients.iter_mut().enumerate() {
                scope.spawn(move || {
                    let body = format!("{batch}-{index}");
                    let response = client.request("POST", "/", &[], body.as_bytes()).unwrap();
                    assert_eq!(response.status, 200, "{body}");
                });
            }
        });
        if batch % 2 == 0 {
            origin.close_connections();
        } else {
            origin.reset_connections();
        }
        thread::sleep(Duration::from_millis(5));
    }
    let commits = origin.commits();
    assert_eq!(commits.len(), BATCHES * CLIENTS);
    assert!(commits.values().all(|times| *times == 1));
}

#[test]
fn a_response_cut_in_the_middle_is_an_error_to_the_client() {
    const BYTES: usize = 1 << 20;
    for (index, is_chunked) in [false, true].into_iter().enumerate() {
        for ending in [Ending::Close, Ending::Reset] {
            // Cut within what one read takes, and where the body is spliced.
            for cut in [10, 20_000, BYTES / 2, BYTES - 1] {
                let origin = Origin::http(move |_| {
                    let reply = Reply::new(200, vec![b'x'; BYTES]);
                    let reply = if is_chunked {
                        reply.chunked(10_000)
                    } else {
                        reply
                    };
                    reply.cut_after(cut, ending)
                })
                .start()
                .unwrap();
                let balancer = Balancer::http(&[origin.addr()], "", "");
                let got = http_get(balancer.addr(), "/");
                let is_error = match &got {
                    // Nothing had gone out yet: the balancer could still say so.
                    Ok(response) => response.status == 502,
                    Err(error) => matches!(error, WireError::Truncated | WireError::Reset),
                };
                let seen = got.map(|response| (response.status, response.body.len()));
                assert!(is_error, "case {index}, {ending:?}, {cut}: {seen:?}");
            }
        }
    }
}

#[test]
fn a_server_killed_while_it_sends_is_an_error_to_the_client() {
    for _ in 0..5 {
        let (mut server, address) = echo("x", &["--body-size", "32MiB"]);
        let balancer = Balancer::http(&[address], "", "");
        // With little room, so that most of the body is not on its way yet, however late the kill.
        let mut client = Client::connect_narrow(balancer.addr()).unwrap();
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        client.receive_until(b"\r\n\r\n").unwrap();
        client.receive(200_000).unwrap();
        server.kill().unwrap();
        let rest = client.receive_to_end();
        let came = rest.as_ref().map_or(0, Vec::len);
        assert!(came < 31 << 20, "the whole body came, nothing was cut");
    }
}

#[test]
fn with_every_server_down_the_answer_is_503_at_once_and_it_comes_back_by_itself() {
    let mut origins = [(); 2].map(|()| Origin::fixed(200, "up").start().unwrap());
    let addresses = [origins[0].addr(), origins[1].addr()];
    let timeouts = "timeouts = { connect = \"1m\" }\nqueue = { timeout = \"1m\" }\n\
                    balance = \"round-robin\"";
    let balancer = Balancer::http(&addresses, "", timeouts);
    for round in 1..=3 {
        // A server that is still given up is not asked, and then not seen to refuse.
        crate::eventually("requests on both servers", || {
            let before = origins.each_ref().map(|origin| origin.requests().len());
            for _ in 0..4 {
                http_get(balancer.addr(), "/").ok()?;
            }
            let is_served = |(origin, before): (&Origin, _)| origin.requests().len() > before;
            origins.iter().zip(before).all(is_served).then_some(())
        });
        let answer = http_get(balancer.addr(), "/").unwrap();
        assert_eq!(answer.text(), "up", "{}", balancer.process.stderr());
        for origin in &mut origins {
            origin.crash();
        }
        // At once: long before the connect and queue timeouts of a minute.
        let bound = Duration::from_secs(30);
        let took = shortest(bound, || {
            for method in ["GET", "POST"] {
                let mut client = Client::connect(balancer.addr()).unwrap();
                let response = client.request(method, "/", &[], b"x").unwrap();
                assert_eq!(response.status, 503);
                assert!(
                    response.text().contains("no server is available"),
                    "{}",
                    response.text()
                );
            }
        });
        assert!(took < bound, "{took:?}");
        // A server that is back before its refusal was noticed would be given up after that.
        crate::eventually("both refusals to be noticed", || {
            let refusals = balancer.process.stderr().matches("refuses").count();
            (refusals == 2 * round).then_some(())
        });
        for origin in &mut origins {
            origin.restart().unwrap();
        }
        crate::eventually("a server to be found again", || {
            (http_get(balancer.addr(), "/").unwrap().status == 200).then_some(())
        });
    }
}

#[test]
fn with_every_server_down_requests_wait_if_told_to() {
    let mut origin = Origin::fixed(200, "up").start().unwrap();
    let queue = "queue = { when-down = true, timeout = \"1s\" }";
    let balancer = Balancer::http(&[origin.addr()], "", queue);
    origin.crash();
    let began = Instant::now();
    assert_eq!(http_get(balancer.addr(), "/").unwrap().status, 503);
    assert!(
        began.elapsed() >= Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );

    let balancer = Balancer::http(&[origin.addr()], "", &queue.replace("1s", "30s"));
    let waiting = thread::spawn(move || http_get(balancer.addr(), "/").unwrap());
    thread::sleep(Duration::from_millis(300));
    assert!(!waiting.is_finished());
    origin.restart().unwrap();
    assert_eq!(waiting.join().unwrap().text(), "up");
}

#[test]
fn a_second_instance_is_told_that_its_port_is_in_use_whatever_address_it_names() {
    let server = ReservedPort::any().unwrap();
    let server = server.addr();
    let balancer = Balancer::http(&[server], "", "");
    let port = balancer.addr().port();
    for listen in [balancer.addr().to_string(), format!("0.0.0.0:{port}")] {
        let mut second = catamaran(&["run", "--listen", &listen])
            .args(["--server", &server.to_string()])
            .start()
            .unwrap();
        assert_eq!(second.wait(PATIENCE).unwrap().code(), Some(1));
        second
            .wait_for_stderr(&format!("{listen}: port in use"), PATIENCE)
            .unwrap();
    }
}

#[test]
fn connections_wait_too_while_every_server_is_down() {
    let mut origin = Origin::tcp(tunnel::banner(b"up")).start().unwrap();
    let queue = "queue = { when-down = true, timeout = \"30s\" }";
    let balancer = Balancer::tcp(&[origin.addr()], "", queue);
    origin.crash();
    let mut waiting = balancer.connect();
    waiting.set_patience(Duration::from_millis(300)).unwrap();
    assert_eq!(waiting.receive(2), Err(WireError::Timeout));
    origin.restart().unwrap();
    waiting.set_patience(PATIENCE).unwrap();
    assert_eq!(waiting.receive(2).unwrap(), b"up");
}
