//! The demonstration.

use crate::{PATIENCE, catamaran, eventually, is_alive};
use catamaran_testkit::{Client, Process, Signal, http_get, signal_pid, tcp_exchange};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

/// Starts a demonstration on ports that are free, and returns it with the balancer's port.
pub(crate) fn demo(more: &[&str]) -> (Process, u16) {
    // The usual port of the dashboard is one for all.
    demo_with(&[&["--dashboard-port", "0"], more].concat())
}

fn demo_with(more: &[&str]) -> (Process, u16) {
    let (port, servers) = (free_row(), free_row());
    let process = catamaran(&["demo", "--port", &port.to_string()])
        .args(["--server-port", &servers.to_string()])
        .args(more.iter().copied())
        .start()
        .unwrap();
    process.wait_for_stdout("Ctrl-C", PATIENCE).unwrap();
    (process, port)
}

/// The first of two ports in a row that are free.
///
/// The kernel gives single ports only, and from the range in which the clients of other tests get
/// theirs; these come from below it, and each is given once.
fn free_row() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let apart = std::process::id() % 200 * 100;
    eventually("two free ports", || {
        let given = NEXT.fetch_add(2, Ordering::Relaxed);
        let port = 10_000 + (u16::try_from(apart).unwrap() + given) % 20_000;
        // Binding it to see would let a process that is just forked elsewhere hold it for a moment;
        // for UDP nobody else listens here.
        let is_free =
            |port| TcpStream::connect(local(port)).is_err() && UdpSocket::bind(local(port)).is_ok();
        (is_free(port) && is_free(port + 1)).then_some(port)
    })
}

pub(crate) fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

fn assert_is_greeting(bytes: &[u8]) {
    assert!(
        bytes == b"Coucou\n" || bytes == b"Hello World\n",
        "{}",
        String::from_utf8_lossy(bytes)
    );
}

#[test]
fn both_frontends_answer() {
    let (_demo, port) = demo(&["--quiet"]);
    assert_is_greeting(&tcp_exchange(local(port), b"hi").unwrap());
    assert_is_greeting(&http_get(local(port), "/").unwrap().body);
    assert_is_greeting(&http_get(local(port + 1), "/").unwrap().body);
}

#[test]
fn everything_ends_with_it_however_it_ends() {
    for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
        let (mut demo, _) = demo(&["--quiet"]);
        let pids = demo.pids();
        assert!(pids.len() >= 4, "two echo servers and a data process");
        demo.signal(signal).unwrap();
        demo.wait(PATIENCE).unwrap();
        for pid in pids {
            eventually("the end of every process", || {
                (!is_alive(pid)).then_some(())
            });
        }
    }
}

#[test]
fn it_ends_by_itself_after_the_time_it_was_given() {
    let (mut demo, _) = demo(&["--quiet", "--for", "100ms"]);
    assert_eq!(demo.wait(PATIENCE).unwrap().code(), Some(0));
}

#[test]
fn a_killed_echo_server_is_reported_and_the_other_one_answers() {
    let (demo, port) = demo(&["--quiet"]);
    let text = demo.stdout();
    let pid = text.split_once(" pid ").unwrap().1;
    let pid = pid.split(' ').next().unwrap().parse().unwrap();
    signal_pid(pid, Signal::KILL).unwrap();
    eventually("the end of the server", || (!is_alive(pid)).then_some(()));
    for _ in 0..20 {
        assert_eq!(tcp_exchange(local(port), b"hi").unwrap(), b"Hello World\n");
    }
    demo.wait_for_stdout("have it back with: ", PATIENCE)
        .unwrap();
}

#[test]
fn it_starts_with_its_dashboard_and_says_where() {
    let port = free_row();
    let (demo, _) = demo_with(&["--quiet", "--dashboard-port", &port.to_string()]);
    let told = format!("http://127.0.0.1:{port}/");
    demo.wait_for_stdout(&told, PATIENCE).unwrap();
    let host = format!("Host: 127.0.0.1:{port}");
    let get = |path| {
        let mut client = Client::connect(local(port)).unwrap();
        client.request("GET", path, &[&host], b"").unwrap()
    };
    let page = get("/");
    assert_eq!(page.status, 200);
    let text = String::from_utf8_lossy(&page.body);
    assert!(text.contains("/dashboard/app.js"), "{text}");
    assert_eq!(get("/dashboard/app.js").status, 200);
}

#[test]
fn a_busy_port_is_named_with_the_flag_that_moves_it() {
    let (busy, other) = (free_row(), free_row());
    let _held = TcpListener::bind(local(busy)).unwrap();
    let (busy, other) = (busy.to_string(), other.to_string());
    let cases = [
        (["--port", &busy, "--server-port", &other], "`--port PORT`"),
        (
            ["--port", &other, "--server-port", &busy],
            "`--server-port PORT`",
        ),
    ];
    for (args, flag) in cases {
        let demo = catamaran(&["demo", "--dashboard-port", "0"]);
        let mut demo = demo.args(args).start().unwrap();
        assert_eq!(demo.wait(PATIENCE).unwrap().code(), Some(1));
        demo.wait_for_stderr("port in use", PATIENCE).unwrap();
        demo.wait_for_stderr(flag, PATIENCE).unwrap();
    }
}
