//! The supervisor killed: its processes serve on, and another one takes them over.

use crate::balancer::Balancer;
use crate::trial::rounds;
use crate::{PATIENCE, echo, eventually, is_alive};
use catamaran_testkit::{Client, Load, Origin, Process, Program, Signal, signal_pid, tunnel};

/// A supervisor for the configuration of another one.
fn another(first: &Process) -> Process {
    Program::new(env!("CARGO_BIN_EXE_catamaran"))
        .unwrap()
        .args(["run", "-c"])
        .arg(first.config_path())
        .start()
        .unwrap()
}

/// The process that `log` says was started or taken over.
fn data_pid(log: &str) -> u32 {
    let (_, rest) = log.split_once("data process ").unwrap();
    let (_, pid) = rest.split_once("pid=").unwrap();
    pid.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn a_second_instance_of_a_configuration_is_told_of_the_first() {
    let (_server, server) = echo("Coucou", &[]);
    let first = Balancer::tcp(&[server], "", "");
    let mut second = another(&first.process);
    assert_eq!(second.wait(PATIENCE).unwrap().code(), Some(1));
    let expected = format!(
        "another catamaran (pid {}) serves this configuration",
        first.process.pid()
    );
    second.wait_for_stderr(&expected, PATIENCE).unwrap();
    let told = second.stderr();
    assert!(!told.contains("port in use"), "{told}");
}

#[test]
fn a_supervisor_killed_under_load_costs_nothing_and_another_takes_over() {
    let origin = Origin::fixed(200, "up").start().unwrap();
    let mut balancer = Balancer::http(&[origin.addr()], "", "");
    let address = balancer.addr();
    let data = data_pid(&balancer.process.stderr());
    let kept = Load::new(address, 150.0).max_in_flight(16).start();
    let fresh = Load::new(address, 150.0)
        .without_keep_alive()
        .max_in_flight(16)
        .start();
    balancer.process.kill().unwrap();
    let mut supervisor = another(&balancer.process);
    for round in 1..=rounds(100) {
        supervisor
            .wait_for_stderr("data process taken over", PATIENCE)
            .unwrap();
        assert_eq!(data_pid(&supervisor.stderr()), data, "round {round}");
        supervisor.kill().unwrap();
        supervisor = another(&balancer.process);
    }
    supervisor
        .wait_for_stderr("data process taken over", PATIENCE)
        .unwrap();
    for load in [kept, fresh] {
        let report = load.stop();
        assert!(report.failures() == 0 && report.ok > 0, "{report:?}");
    }
}

#[test]
fn a_supervisor_that_took_over_has_all_the_duties_of_the_first() {
    let origin = Origin::fixed(200, "up").start().unwrap();
    let (_server, server) = echo("Coucou", &[]);
    let mut balancer = Balancer::http(&[origin.addr()], "", "");
    let address = balancer.addr();
    let data = data_pid(&balancer.process.stderr());
    balancer.process.kill().unwrap();
    // The file has changed meanwhile: it is read anew.
    let path = balancer.process.config_path();
    let text = std::fs::read_to_string(&path).unwrap();
    let more = "[frontend.more]\nprotocol = \"tcp\"\nlisten = \"127.0.0.1:0\"\nbackend = \"raw\"\n";
    let backend = format!("[backend.raw]\nservers = [\"{server}\"]\n");
    std::fs::write(&path, format!("{text}\n{more}{backend}")).unwrap();

    let mut second = another(&balancer.process);
    balancer
        .process
        .wait_for_stderr("reloaded changes=", PATIENCE)
        .unwrap();
    // It opened that port, and keeps it for the next data process.
    second
        .wait_for_stderr("listening frontend=\"more\"", PATIENCE)
        .unwrap();
    signal_pid(data, Signal::KILL).unwrap();
    second.wait_for_stderr("serving", PATIENCE).unwrap();
    assert!(!is_alive(data));
    assert_eq!(
        Client::connect(address).unwrap().get("/").unwrap().text(),
        "up"
    );

    second.terminate().unwrap();
    assert_eq!(second.wait(PATIENCE).unwrap().code(), Some(0));
    assert!(Client::connect(address).is_err());
}

#[test]
fn a_supervisor_that_took_over_ends_what_it_took_over() {
    let origin = Origin::tcp(tunnel::echo()).start().unwrap();
    let mut balancer = Balancer::tcp(&[origin.addr()], "", "");
    let mut client = balancer.connect();
    balancer.process.kill().unwrap();
    let mut second = another(&balancer.process);
    second
        .wait_for_stderr("data process taken over", PATIENCE)
        .unwrap();
    client.send(b"still there").unwrap();
    assert_eq!(client.receive(11).unwrap(), b"still there");
    drop(client);
    let data = data_pid(&second.stderr());
    second.terminate().unwrap();
    assert_eq!(second.wait(PATIENCE).unwrap().code(), Some(0));
    eventually("its end", || (!is_alive(data)).then_some(()));
    balancer
        .process
        .wait_for_stderr("drained", PATIENCE)
        .unwrap();
}

#[test]
fn a_signal_to_all_processes_at_once_is_no_death() {
    let (_server, server) = echo("Coucou", &[]);
    let mut balancer = Balancer::tcp(&[server], "", "");
    balancer.process.signal_group(Signal::TERM).unwrap();
    assert_eq!(balancer.process.wait(PATIENCE).unwrap().code(), Some(0));
    let log = balancer.process.stderr();
    assert!(!log.contains("ERROR"), "{log}");
}
