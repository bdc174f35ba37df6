//! Clients that are slow, many, deaf, or gone: bounded in time and memory, while a well-behaved one
//! is served beside them.

use crate::hostile::Balancer;
use crate::operator::{ask, config};
use crate::{PATIENCE, eventually, is_alive};
use catamaran_testkit::{Client, Origin, Program, Reply, Request, timely};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

/// Short limits, so that tests see them pass.
const SHORT: &str =
    "timeouts = { request-head = \"300ms\", keep-alive = \"300ms\", body = \"300ms\" }";
/// Idle connections to servers go soon, so that those that are left are in use.
const BRIEF: &str = "timeouts = { idle = \"200ms\" }";
/// Within this a well-behaved client has its answer, on a machine that does much besides.
const QUICK: Duration = Duration::from_secs(20);
/// What has less than the 300 ms of [`SHORT`] behind it is in time.
const IN_TIME: Duration = Duration::from_millis(250);
/// A bound on what runs out of time in 300 ms. It would be 10 s at least without being told to.
const SOON: Duration = Duration::from_secs(9);
const MIB: u64 = 1024 * 1024;
/// Connections of a flood.
const FLOOD: usize = 500;

fn origin() -> Origin {
    let script = |request: &Request| match request.target.as_str() {
        "/large" => Reply::new(200, vec![b'x'; 16 * 1024 * 1024]),
        _ => Reply::new(200, "ok"),
    };
    Origin::http(script).without_records().start().unwrap()
}

/// Opens a flood of connections that have each sent `bytes`.
fn flood(balancer: &Balancer, bytes: &[u8]) -> Vec<Client> {
    (0..FLOOD)
        .map(|_| {
            let mut client = balancer.client();
            client.send(bytes).unwrap();
            client
        })
        .collect()
}

/// Waits until every connection of a flood has ended, at most a short time.
fn assert_all_end(flood: Vec<Client>) {
    let began = Instant::now();
    for mut client in flood {
        client.set_patience(SOON).unwrap();
        // Whether there is an answer before the end depends on how far the request had come.
        assert_ne!(
            client.receive_to_end(),
            Err(catamaran_testkit::WireError::Timeout)
        );
    }
    assert!(began.elapsed() < 4 * SOON, "{:?}", began.elapsed());
}

fn assert_served(balancer: &Balancer) {
    let time = balancer.time_of_a_get();
    assert!(time < QUICK, "{time:?}");
}

#[test]
fn connections_that_say_nothing_or_half_a_head_are_closed_in_time() {
    let origin = origin();
    let balancer = Balancer::with(&[origin.addr()], SHORT, "");
    assert_served(&balancer);
    let before = balancer.memory();
    for bytes in [
        &b""[..],
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: t\r\nX: y\r\n",
    ] {
        let flood = flood(&balancer, bytes);
        assert_served(&balancer);
        assert_all_end(flood);
    }
    let grown = balancer.memory().saturating_sub(before);
    assert!(grown < 48 * MIB, "grown by {grown} bytes");
}

#[test]
fn a_head_that_comes_byte_by_byte_has_one_deadline() {
    let origin = origin();
    let balancer = Balancer::with(&[origin.addr()], SHORT, "");
    let mut client = balancer.client();
    let began = Instant::now();
    let head = format!("GET / HTTP/1.1\r\nHost: t\r\nX: {}", "y".repeat(1000));
    let mut sent = 0;
    // It ends by itself well before the head does, whatever is sent meanwhile.
    for byte in head.as_bytes() {
        thread::sleep(Duration::from_millis(10));
        let is_over = client.is_closed_within(Duration::from_millis(1)).unwrap();
        if is_over || client.send(&[*byte]).is_err() {
            break;
        }
        sent += 1;
    }
    // All of it would take eleven seconds at least.
    assert!(sent < head.len(), "{:?}", began.elapsed());
    assert_served(&balancer);
}

#[test]
fn a_slow_head_is_answered_with_408() {
    let origin = origin();
    let balancer = Balancer::with(&[origin.addr()], SHORT, "");
    let mut client = timely(IN_TIME, || {
        let mut client = balancer.client();
        client.send(b"GET / HTTP/1.1\r\nHost: t\r\n").unwrap();
        client
    });
    let response = client.receive_response("GET").unwrap();
    assert_eq!((response.status, response.keeps_alive()), (408, false));
}

#[test]
fn a_body_that_stops_is_answered_with_408() {
    let origin = origin();
    let balancer = Balancer::with(&[origin.addr()], SHORT, "");
    for head in [
        "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\n12345",
        "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n123",
        "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        let mut client = timely(IN_TIME, || {
            let mut client = balancer.client();
            client.send(head.as_bytes()).unwrap();
            client
        });
        let response = client.receive_response("POST").unwrap();
        assert_eq!(
            (response.status, response.keeps_alive()),
            (408, false),
            "{head}"
        );
    }
    let flood = flood(
        &balancer,
        b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\n12345",
    );
    assert_served(&balancer);
    assert_all_end(flood);
}

#[test]
fn a_client_that_never_reads_is_cut_off_and_holds_no_response() {
    let origin = origin();
    let balancer = Balancer::with(&[origin.addr()], SHORT, BRIEF);
    assert_served(&balancer);
    let before = balancer.memory();
    // 192 MiB if they were held; each is more than the kernel's buffers take.
    let deaf: Vec<_> = (0..12)
        .map(|_| {
            let mut client = balancer.client();
            client
                .send(b"GET /large HTTP/1.1\r\nHost: t\r\n\r\n")
                .unwrap();
            client
        })
        .collect();
    let mut most = 0;
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(200) {
        most = most.max(balancer.memory().saturating_sub(before));
        assert_served(&balancer);
    }
    assert!(most < 48 * MIB, "grown by {most} bytes");
    eventually("the end of exchanges with the origin", || {
        (origin.open() == 0).then_some(())
    });
    for mut client in deaf {
        let whole = client.receive_response("GET");
        let whole = whole.map(|response| (response.status, response.body.len()));
        assert!(whole.is_err(), "{whole:?}");
    }
}

#[test]
fn a_client_that_asks_without_reading_is_held_back() {
    let origin = origin();
    let balancer = Balancer::with(&[origin.addr()], "", "");
    assert_served(&balancer);
    let before = balancer.memory();
    let client = balancer.client();
    client.limit_receive_buffer(64 * 1024).unwrap();
    client.stream().set_nonblocking(true).unwrap();
    let request = b"GET /large HTTP/1.1\r\nHost: t\r\n\r\n".repeat(1000);
    // More than all buffers on the way take, until nothing more goes out.
    let mut refusals = 0;
    let mut taken = 0;
    while refusals < 20 && taken < 64 * MIB {
        match std::io::Write::write(&mut client.stream(), &request) {
            Ok(len) => taken += len as u64,
            Err(_) => {
                refusals += 1;
                thread::sleep(Duration::from_millis(5));
            }
        }
    }
    assert!(taken < 32 * MIB, "took {taken} bytes of requests");
    let grown = balancer.memory().saturating_sub(before);
    assert!(grown < 16 * MIB, "grown by {grown} bytes");
    assert_served(&balancer);
}

#[test]
fn clients_that_reset_at_any_moment_leave_nothing_behind() {
    let origin = origin();
    let balancer = Balancer::with(&[origin.addr()], SHORT, BRIEF);
    let small = "GET / HTTP/1.1\r\nHost: t\r\n\r\n";
    let large = "GET /large HTTP/1.1\r\nHost: t\r\n\r\n";
    let post = "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 100000\r\n\r\nhello";
    for (n, text) in [small, large, post].iter().cycle().take(300).enumerate() {
        let mut client = balancer.client();
        client.send(&text.as_bytes()[..text.len() - n % 7]).unwrap();
        if n % 3 == 0 {
            thread::sleep(Duration::from_micros((n as u64 * 37) % 2000));
        }
        client.reset().unwrap();
    }
    assert_served(&balancer);
    let mut client = balancer.patient_client();
    for _ in 0..50 {
        assert_eq!(client.get("/").unwrap().text(), "ok");
    }
    eventually("the end of exchanges with the origin", || {
        (origin.open() == 0).then_some(())
    });
    let stderr = balancer.process.stderr();
    assert!(!stderr.contains("panicked"), "{stderr}");
}

#[test]
fn a_client_that_breaks_off_is_noticed_even_with_more_of_it_unread() {
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let origin = Origin::http(move |_| {
        // Until the test is over.
        let _ = gate.lock().unwrap().recv();
        Reply::new(200, "late")
    });
    let origin = origin.start().unwrap();
    let long = "timeouts = { response = \"10m\" }\nqueue = { timeout = \"10m\" }";
    let address = origin.addr();
    let text = config(&[address], "", long).replace(
        &format!("\"{address}\""),
        &format!("{{ address = \"{address}\", max-requests = 1 }}"),
    );
    let balancer = crate::balancer::Balancer::start(&text);
    let busy = |in_flight: u64, waiting: u64| {
        eventually("so many requests at the server", || {
            let (_, backend) = ask(&balancer, "GET", "/v1/backends/app", "");
            let told = (&backend["servers"][0]["in_flight"], &backend["waiting"]);
            (*told.0 == in_flight && *told.1 == waiting).then_some(())
        });
    };
    let request = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for round in 1..=3 {
        let mut client = balancer.connect();
        client.send(&request.repeat(round)).unwrap();
        busy(1, 0);
        // Another one waits for its turn, and breaks off as well.
        let mut waiting = balancer.connect();
        waiting.send(&request.repeat(round)).unwrap();
        busy(1, 1);
        waiting.send(request).unwrap();
        waiting.reset().unwrap();
        busy(1, 0);
        // By now its other requests have been seen, and left where they are.
        thread::sleep(Duration::from_millis(50));
        client.send(request).unwrap();
        client.reset().unwrap();
        busy(0, 0);
    }
    drop(open);
}

#[test]
fn clients_that_close_their_half_at_once_are_answered() {
    let origin = origin();
    let balancer = Balancer::with(&[origin.addr()], "", "");
    let clients: Vec<_> = flood(&balancer, b"GET / HTTP/1.1\r\nHost: t\r\n\r\n");
    for client in &clients {
        client.half_close().unwrap();
    }
    for mut client in clients {
        assert_eq!(client.receive_response("GET").unwrap().status, 200);
        assert_eq!(client.receive_some(), Ok(None));
    }
}

#[test]
fn a_flood_of_half_open_connections_ends_with_its_time() {
    let origin = origin();
    let balancer = Balancer::with(&[origin.addr()], SHORT, "");
    let flood = flood(&balancer, b"");
    for client in &flood {
        client.half_close().unwrap();
    }
    assert_served(&balancer);
    assert_all_end(flood);
}

#[test]
fn one_source_cannot_take_more_connections_than_its_limit() {
    let origin = origin();
    let balancer = Balancer::with(&[origin.addr()], "max-connections-per-source = 10", "");
    let mut held: Vec<_> = (0..10).map(|_| balancer.client()).collect();
    for client in &mut held {
        assert_eq!(client.get("/").unwrap().status, 200);
    }
    let refused = balancer.client().receive_response("GET").unwrap();
    assert_eq!(refused.status, 429);
    let other = "127.0.0.2".parse().unwrap();
    let mut other = Client::connect_from(other, balancer.addr).unwrap();
    assert_eq!(other.get("/").unwrap().status, 200);
}

/// `program` under a limit on open files.
fn limited(program: Program, descriptors: u32) -> Program {
    program.under(&["prlimit", &format!("--nofile={descriptors}:{descriptors}")])
}

#[test]
fn running_out_of_descriptors_is_told_and_passes() {
    let origin = origin();
    let balancer = Balancer::start(&[origin.addr()], SHORT, "", |program| limited(program, 128));
    balancer
        .process
        .wait_for_stderr("the limit on open files allows few connections", PATIENCE)
        .unwrap();
    // More than there are descriptors: what is beyond waits in the kernel.
    let flood: Vec<_> = (0..300)
        .map(|_| TcpStream::connect(balancer.addr).unwrap())
        .collect();
    let before = balancer.process.usage().unwrap();
    let began = Instant::now();
    // Each time out of 300 ms lets the next in, up to the well-behaved one.
    let mut client = timely(IN_TIME, || {
        let mut client = balancer.client();
        let request = b"GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
        client.send(request).unwrap();
        client
    });
    assert_eq!(client.receive_response("GET").unwrap().status, 200);
    let time = began.elapsed();
    assert!(time < 4 * SOON, "{time:?}");
    let used = (balancer.process.usage().unwrap() - before).cpu();
    assert!(
        used < began.elapsed() / 2 + Duration::from_millis(100),
        "busy for {used:?}"
    );
    drop(flood);
    for _ in 0..20 {
        assert_served(&balancer);
    }
    let stderr = balancer.process.stderr();
    assert!(!stderr.contains("panicked"), "{stderr}");
    assert!(stderr.lines().count() < 60, "a flood of messages: {stderr}");
    assert!(balancer.process.pids().into_iter().all(is_alive));
}

#[test]
fn more_connections_than_allowed_wait_and_are_served() {
    let origin = origin();
    let balancer = Balancer::with(&[origin.addr()], "max-connections = 4", "");
    let clients = flood(
        &balancer,
        b"GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n",
    );
    for mut client in clients {
        assert_eq!(client.receive_response("GET").unwrap().status, 200);
    }
}

#[test]
fn a_client_that_comes_after_a_quiet_time_has_its_whole_time() {
    let origin = origin();
    let balancer = Balancer::with(&[origin.addr()], SHORT, "");
    for _ in 0..4 {
        let mut client = timely(Duration::from_millis(400) + IN_TIME, || {
            // Longer than the time for a head: a clock that is not read anew shows it as over.
            thread::sleep(Duration::from_millis(400));
            let mut client = balancer.client();
            thread::sleep(Duration::from_millis(50));
            client.send(b"GET / HTTP/1.1\r\nHost: t\r\n\r\n").unwrap();
            client
        });
        assert_eq!(client.receive_response("GET").unwrap().status, 200);
    }
}
