//! Draining: of a server with a deadline, of a frontend, of a listener of datagrams that a reload
//! removes.

use crate::balancer::Balancer;
use crate::operator::{ask, config, socket_of, steered};
use crate::{PATIENCE, eventually};
use catamaran_testkit::{Client, Origin, Reply, Signal, free_addr, http_get, signal_pid, tunnel};
use serde_json::json;
use std::net::UdpSocket;
use std::sync::{Mutex, mpsc};
use std::time::Duration;

#[test]
fn what_is_left_at_the_deadline_of_a_drain_is_ended() {
    let origin = Origin::tcp(tunnel::echo()).start().unwrap();
    let text = config(&[origin.addr()], "", "")
        .replace("[frontend.web]\n", "[frontend.web]\nprotocol = \"tcp\"\n");
    let balancer = Balancer::start(&text);
    let mut client = balancer.connect();
    client.send(b"hi").unwrap();
    assert_eq!(client.receive(2).unwrap(), b"hi");
    let path = format!("/v1/backends/app/servers/{}", origin.addr());
    let change = |body: serde_json::Value| ask(&balancer, "PATCH", &path, &body.to_string());

    // Another word of the operator counts, and the first deadline does not.
    let (status, told) = change(json!({ "admin": "drain", "deadline_ms": 4000 }));
    assert_eq!(
        (status, told["server"]["in_flight"].as_u64()),
        (200, Some(1))
    );
    assert_eq!(change(json!({ "admin": "ready" })).0, 200);
    assert_eq!(change(json!({ "admin": "drain" })).0, 200);
    client.set_patience(Duration::from_secs(5)).unwrap();
    assert!(client.receive(1).is_err());
    client.set_patience(PATIENCE).unwrap();
    client.send(b"yo").unwrap();
    assert_eq!(client.receive(2).unwrap(), b"yo");

    assert_eq!(
        change(json!({ "admin": "drain", "deadline_ms": 100 })).0,
        200
    );
    assert!(client.receive(1).is_err());
    eventually("nothing left", || {
        let (_, server) = ask(&balancer, "GET", &path, "");
        (server["in_flight"] == 0).then_some(())
    });
    let wanted = "drained; 1 in flight were ended";
    balancer.process.wait_for_stderr(wanted, PATIENCE).unwrap();
    // A deadline is one of a drain.
    assert_eq!(change(json!({ "weight": 1, "deadline_ms": 1 })).0, 400);
}

#[test]
fn a_drained_frontend_takes_nobody_and_finishes_what_it_has() {
    let (answer, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    let origin = Origin::http(move |request| {
        if request.target == "/held" {
            // Until the test says so, or is over.
            let _ = held.lock().unwrap().recv();
        }
        Reply::new(200, "up")
    });
    let origin = origin.start().unwrap();
    let port = free_addr().unwrap();
    let text = config(&[origin.addr()], "", "").replace("127.0.0.1:0", &port.to_string());
    let balancer = Balancer::start(&text);
    let post = |path: &str| ask(&balancer, "POST", path, "{}");
    let mut kept = Client::connect(port).unwrap();
    assert_eq!(kept.get("/").unwrap().status, 200);
    kept.send(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    eventually("the second request", || {
        (origin.requests().len() == 2).then_some(())
    });

    assert_eq!(post("/v1/frontends/web/drain").0, 200);
    assert!(Client::connect(port).is_err());
    answer.send(()).unwrap();
    let last = kept.receive_response("GET").unwrap();
    assert_eq!((last.status, last.keeps_alive()), (200, false));
    let (_, frontends) = ask(&balancer, "GET", "/v1/frontends", "");
    assert_eq!(frontends[0]["drained"], true, "{frontends}");
    // Twice is once.
    assert_eq!(post("/v1/frontends/web/drain").0, 200);

    // It stays so over a reload, and over the death of the data process.
    assert_eq!(post("/v1/reload").0, 200);
    assert!(Client::connect(port).is_err());
    let data = balancer.process.pids()[1];
    signal_pid(data, Signal::KILL).unwrap();
    eventually("the next data process", || {
        (balancer.process.stderr().matches(" serving").count() == 2).then_some(())
    });
    eventually("its admin socket", || {
        std::os::unix::net::UnixStream::connect(socket_of(&balancer.process)).ok()
    });
    assert!(Client::connect(port).is_err());

    assert_eq!(post("/v1/frontends/web/resume").0, 200);
    assert_eq!(http_get(port, "/").unwrap().text(), "up");
    let (status, told) = post("/v1/frontends/wob/drain");
    assert_eq!(status, 404);
    assert!(told.to_string().contains("did you mean `web`"), "{told}");
}

#[test]
fn a_port_that_somebody_took_meanwhile_leaves_the_frontend_drained() {
    let origin = Origin::fixed(200, "up").start().unwrap();
    let port = free_addr().unwrap();
    let text = config(&[origin.addr()], "", "").replace("127.0.0.1:0", &port.to_string());
    let balancer = Balancer::start(&text);
    let post = |path: &str| ask(&balancer, "POST", path, "{}");
    assert_eq!(post("/v1/frontends/web/drain").0, 200);
    let taken = std::net::TcpListener::bind(port).unwrap();
    let (status, told) = post("/v1/frontends/web/resume");
    assert_eq!(status, 409, "{told}");
    assert!(told.to_string().contains("port in use"), "{told}");
    let (_, frontends) = ask(&balancer, "GET", "/v1/frontends", "");
    assert_eq!(frontends[0]["drained"], true, "{frontends}");
    drop(taken);
    assert_eq!(post("/v1/frontends/web/resume").0, 200);
    assert_eq!(http_get(port, "/").unwrap().text(), "up");
}

#[test]
fn flows_of_a_removed_listener_go_on_until_they_are_silent() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let patience = Some(Duration::from_millis(500));
    server.set_read_timeout(patience).unwrap();
    let port = free_addr().unwrap();
    let web = free_addr().unwrap();
    let frontend =
        format!("[frontend.dns]\nprotocol = \"udp\"\nlisten = \"{port}\"\nbackend = \"dns\"\n");
    let backend = format!(
        "[backend.dns]\nservers = [\"{}\"]\n",
        server.local_addr().unwrap()
    );
    let text = |frontend: &str| {
        let base = config(&[web], "", "").replace("127.0.0.1:0", &web.to_string());
        format!("{base}{frontend}{backend}")
    };
    let balancer = Balancer::start(&text(&frontend));
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(patience).unwrap();
    client.connect(port).unwrap();
    let mut buf = [0; 64];
    // Datagrams may be lost while one listener takes the place of another.
    let exchange = |buf: &mut [u8]| {
        eventually("an answer", || {
            client.send(b"ask").unwrap();
            let (_, from) = server.recv_from(buf).ok()?;
            server.send_to(b"answer", from).unwrap();
            (client.recv(buf).ok()? == 6).then_some(from)
        })
    };
    let flow = exchange(&mut buf);
    let reload = |text: &str| {
        std::fs::write(balancer.process.config_path(), text).unwrap();
        let (status, told) = ask(&balancer, "POST", "/v1/reload", "{}");
        assert_eq!(status, 200, "{told}");
    };
    reload(&text(""));
    // The same flow, from the same port of ours.
    for _ in 0..5 {
        assert_eq!(exchange(&mut buf), flow);
    }
    // Nothing new begins.
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.connect(port).unwrap();
    stranger.send(b"new").unwrap();
    assert_eq!(exchange(&mut buf), flow, "{}", balancer.process.stderr());
    // The port can be had again while the flow lasts, and is closed once it is silent.
    reload(&text(&frontend));
    exchange(&mut buf);
    reload(&text(""));
    eventually("the port to be free", || UdpSocket::bind(port).ok());
}

#[test]
fn a_stop_takes_nobody_closes_what_is_idle_and_finishes_what_is_under_way() {
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let origin = Origin::http(move |request| {
        if request.target == "/slow" {
            let _ = gate.lock().unwrap().recv();
        }
        Reply::new(200, "up")
    });
    let origin = origin.start().unwrap();
    let port = free_addr().unwrap();
    let text = config(&[origin.addr()], "", "")
        .replace("127.0.0.1:0", &port.to_string())
        .replace("workers = 1", "workers = 2\ndrain = \"10m\"");
    let mut balancer = Balancer::start(&text);
    let mut idle = Client::connect(port).unwrap();
    assert_eq!(idle.get("/").unwrap().status, 200);
    let mut busy = Client::connect(port).unwrap();
    let slow = b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n";
    busy.send(slow).unwrap();
    eventually("the slow request", || {
        (origin.requests().len() == 2).then_some(())
    });

    balancer.process.terminate().unwrap();
    // Neither process holds a socket that would take clients in and leave them waiting.
    eventually("the end of the listeners", || {
        Client::connect(port).is_err().then_some(())
    });
    assert!(idle.is_closed_within(PATIENCE).unwrap());
    let (_, process) = ask(&balancer, "GET", "/v1/process", "");
    assert_eq!(process["readiness"], "draining", "{process}");
    open.send(()).unwrap();
    let last = busy.receive_response("GET").unwrap();
    assert_eq!((last.status, last.keeps_alive()), (200, false));
    assert!(busy.is_closed_within(PATIENCE).unwrap());
    assert_eq!(balancer.process.wait(PATIENCE).unwrap().code(), Some(0));
    let log = balancer.process.stderr();
    assert!(!log.contains("connections were open"), "{log}");
}

#[test]
fn a_stop_ends_what_is_left_when_the_time_to_drain_is_over() {
    let origin = Origin::tcp(tunnel::echo()).start().unwrap();
    let text = config(&[origin.addr()], "", "")
        .replace("workers = 1", "workers = 2\ndrain = \"5s\"")
        .replace("[frontend.web]\n", "[frontend.web]\nprotocol = \"tcp\"\n");
    let mut balancer = Balancer::start(&text);
    let mut client = balancer.connect();
    client.send(b"hi").unwrap();
    assert_eq!(client.receive(2).unwrap(), b"hi");
    let began = std::time::Instant::now();
    balancer.process.terminate().unwrap();
    balancer
        .process
        .wait_for_stderr("draining", PATIENCE)
        .unwrap();
    // It goes on until then.
    client.send(b"yo").unwrap();
    assert_eq!(client.receive(2).unwrap(), b"yo");
    assert!(client.receive(1).is_err());
    assert!(began.elapsed() >= Duration::from_secs(5));
    assert_eq!(balancer.process.wait(PATIENCE).unwrap().code(), Some(0));
    let said = "connections were open when the time to drain was over";
    assert!(balancer.process.stderr().contains(said));
}

#[test]
fn a_url_that_is_none_is_a_wrong_command_line() {
    let origin = Origin::fixed(200, "up").start().unwrap();
    let _balancer = steered(&[origin.addr()], "", "");
    let mut ctl = crate::catamaran(&["ctl", "--url", "ftp://x", "status"])
        .start()
        .unwrap();
    assert_eq!(ctl.wait(PATIENCE).unwrap().code(), Some(2));
}
