//! The demonstration.

use crate::{PATIENCE, catamaran, eventually, is_alive};
use catamaran_testkit::{Process, Signal, free_port, http_get, signal_pid, tcp_exchange};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

/// Starts a demonstration on ports that are free, and returns it with the balancer's port.
fn demo(more: &[&str]) -> (Process, u16) {
    // Two ports in a row each: another process may take the second, hence the tries.
    for _ in 0..20 {
        let (port, servers) = (free_port().unwrap(), free_port().unwrap());
        if port > 65_000 || servers > 65_000 || port.abs_diff(servers) < 4 {
            continue;
        }
        let process = catamaran(&["demo", "--port", &port.to_string()])
            .args(["--server-port", &servers.to_string()])
            .args(more.iter().copied())
            .start()
            .unwrap();
        if process.wait_for_stdout("Ctrl-C", PATIENCE).is_ok() {
            return (process, port);
        }
        assert!(
            process.stderr().contains("port in use"),
            "{}",
            process.stderr()
        );
    }
    panic!("no free ports");
}

fn local(port: u16) -> SocketAddr {
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
    for _ in 0..20 {
        assert_eq!(tcp_exchange(local(port), b"hi").unwrap(), b"Hello World\n");
    }
    demo.wait_for_stdout("have it back with: ", PATIENCE)
        .unwrap();
}

#[test]
fn a_busy_port_is_named_with_the_flag_that_moves_it() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = held.local_addr().unwrap().port();
    let other = free_port().unwrap().to_string();
    let busy = port.to_string();
    let cases = [
        (["--port", &busy, "--server-port", &other], "`--port PORT`"),
        (
            ["--port", &other, "--server-port", &busy],
            "`--server-port PORT`",
        ),
    ];
    for (args, flag) in cases {
        let mut demo = catamaran(&["demo"]).args(args).start().unwrap();
        assert_eq!(demo.wait(PATIENCE).unwrap().code(), Some(1));
        demo.wait_for_stderr("port in use", PATIENCE).unwrap();
        demo.wait_for_stderr(flag, PATIENCE).unwrap();
    }
}
