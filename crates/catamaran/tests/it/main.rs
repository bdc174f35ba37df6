//! Tests of the whole program, as real processes.
#![expect(clippy::unwrap_used, reason = "what stops a test fails it")]

mod access;
mod access_log;
mod admin;
mod admin_socket;
mod affinity;
mod auth;
mod balancer;
mod bandwidth;
mod check;
mod checks;
mod cluster;
mod connections;
mod ctl;
mod dashboard;
mod demo;
mod demo_api;
mod draining;
mod dying_servers;
mod echo;
#[cfg(feature = "etcd")]
mod etcd;
mod fleet;
mod hostile;
mod hostile_clients;
mod hostile_servers;
mod http1;
mod identity;
mod kept;
mod load;
#[cfg(feature = "load-scripts")]
mod load_agents;
mod manual;
mod metrics;
mod nothing_lost;
mod openapi;
mod operator;
mod probe;
mod reload;
mod reload_trial;
mod replay;
mod routes;
mod seed_rule;
mod smuggling;
mod splice_isolation;
mod supervisor;
mod systemd;
mod takeover;
mod tcp;
mod tracing;
mod trial;
mod udp;
mod upgrade;
mod workers;

use catamaran_testkit::{Process, Program, ReservedPort};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Our program with these arguments.
fn catamaran(args: &[&str]) -> Program {
    Program::new(env!("CARGO_BIN_EXE_catamaran"))
        .unwrap()
        .args(args.iter().copied())
}

/// Starts an echo server and returns it with its address.
fn echo(message: &str, more: &[&str]) -> (Process, SocketAddr) {
    let process = catamaran(&["echo", "--listen", "127.0.0.1:0", "--message", message])
        .args(more.iter().copied())
        .start()
        .unwrap();
    process.wait_for_stdout("\n", PATIENCE).unwrap();
    let line = process.stdout();
    let address = line.trim().rsplit(' ').next().unwrap().parse().unwrap();
    (process, address)
}

/// Starts an echo server on a port that stays its own when it ends.
fn echo_at(port: &ReservedPort, message: &str, more: &[&str]) -> Process {
    let address = port.addr().to_string();
    // It takes the port for UDP too, and for that somebody else may have it for a moment.
    eventually("the port for UDP", || {
        let mut process = catamaran(&["echo", "--listen", &address, "--message", message])
            .args(more.iter().copied())
            .start()
            .unwrap();
        eventually("the echo server's first or last word", || {
            let has_ended = process.try_wait().unwrap().is_some();
            (has_ended || !process.stdout().is_empty()).then_some(!has_ended)
        })
        .then_some(process)
    })
}

/// Whether a process runs; one that only waits to be reaped does not.
fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state follows the name, which stands in brackets and may hold any.
    let state = stat.rsplit(") ").next().unwrap_or_default();
    !(state.is_empty() || state.starts_with('Z') || state.starts_with('X'))
}

/// Waits until `find` finds something.
fn eventually<T>(what: &str, find: impl FnMut() -> Option<T>) -> T {
    in_time(find).unwrap_or_else(|| panic!("{what}: waited in vain"))
}

/// As above; nothing, if it waits in vain.
fn in_time<T>(mut find: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = find() {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
