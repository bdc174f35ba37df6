//! Whom the data process runs as.

use crate::balancer::Balancer;
use crate::{PATIENCE, echo};
use catamaran_testkit::{Program, tcp_exchange};
use std::net::SocketAddr;

fn config(process: &str, server: SocketAddr) -> String {
    format!(
        "[process]\nworkers = 1\n{process}\n[backend.app]\nservers = [\"{server}\"]\n\
         [frontend.web]\nprotocol = \"tcp\"\nlisten = \"127.0.0.1:0\"\nbackend = \"app\"\n"
    )
}

/// A field of the status of a process.
fn status_of(pid: u32, field: &str) -> Vec<String> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().skip(1).map(str::to_owned).collect()
}

/// Whether this test runs as root, which alone can become another user.
fn is_root() -> bool {
    status_of(std::process::id(), "Uid:")[1] == "0"
}

#[test]
fn a_user_that_there_is_not_is_told_before_anything_is_opened() {
    let (_server, server) = echo("Coucou", &[]);
    let text = config("user = \"no-such-user\"", server);
    let mut process = Program::run_config(env!("CARGO_BIN_EXE_catamaran"), &text)
        .unwrap()
        .start()
        .unwrap();
    assert_eq!(process.wait(PATIENCE).unwrap().code(), Some(1));
    let told = "there is no user `no-such-user`";
    process.wait_for_stderr(told, PATIENCE).unwrap();
    assert!(!process.stderr().contains("listening"));
}

#[test]
fn the_data_process_runs_as_the_user_of_the_configuration() {
    if !is_root() {
        eprintln!("skipped: only root can become another user");
        return;
    }
    let (_server, server) = echo("Coucou", &[]);
    for more in [&[][..], &["--no-supervisor"]] {
        let text = config("user = \"nobody\"\n[admin]\nsocket = false", server);
        let balancer = Balancer::start_with(&text, more);
        let data = *balancer.process.pids().last().unwrap();
        assert_eq!(status_of(data, "Uid:"), ["65534"; 4]);
        assert!(status_of(data, "Groups:").is_empty());
        assert_eq!(status_of(data, "CapEff:"), ["0000000000000000"]);
        assert_eq!(tcp_exchange(balancer.addr(), b"hi").unwrap(), b"Coucou\n");
        if more.is_empty() {
            assert_eq!(status_of(balancer.process.pid(), "Uid:")[1], "0");
        }
    }
}
