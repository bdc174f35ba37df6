//! Limits on connections to servers.

use crate::{PATIENCE, echo};
use catamaran_testkit::{Client, Program};
use std::net::SocketAddr;
use std::thread;

/// A balancer of two workers before one server that takes one connection.
fn balancer(server: SocketAddr) -> (catamaran_testkit::Process, SocketAddr) {
    let config = format!(
        "[process]\nworkers = 2\n[frontend.web]\nlisten = \"127.0.0.1:0\"\nbackend = \"api\"\n\
         [backend.api]\nservers = [{{ address = \"{server}\", max-connections = 1 }}]\n\
         queue = {{ timeout = \"1m\" }}\n"
    );
    let program = Program::run_config(env!("CARGO_BIN_EXE_catamaran"), &config).unwrap();
    let process = program.start().unwrap();
    process.wait_for_stderr("listening", PATIENCE).unwrap();
    let stderr = process.stderr();
    let (_, address) = stderr.split_once("address=").unwrap();
    let address = address.split_whitespace().next().unwrap().parse().unwrap();
    (process, address)
}

/// Enough that the kernel gives some to each worker.
const CLIENTS: usize = 12;

#[test]
fn a_connection_idle_in_one_worker_does_not_keep_the_other_from_the_server() {
    let (_server, server) = echo("A", &[]);
    let (_balancer, address) = balancer(server);
    let mut clients: Vec<_> = (0..CLIENTS)
        .map(|_| Client::connect(address).unwrap())
        .collect();
    for _ in 0..3 {
        for client in &mut clients {
            let response = client.request("GET", "/", &[], b"").unwrap();
            assert_eq!(response.status, 200);
        }
    }
}

#[test]
fn workers_at_once_share_the_one_connection() {
    let (_server, server) = echo("A", &["--delay", "1ms"]);
    let (_balancer, address) = balancer(server);
    let serve = |_| {
        thread::spawn(move || {
            let mut client = Client::connect(address).unwrap();
            for _ in 0..20 {
                let response = client.request("POST", "/", &[], b"x").unwrap();
                assert_eq!(response.status, 200);
            }
        })
    };
    let clients: Vec<_> = (0..CLIENTS).map(serve).collect();
    for client in clients {
        client.join().unwrap();
    }
}
