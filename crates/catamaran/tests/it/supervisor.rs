//! The supervisor and its data process.

use crate::balancer::Balancer;
use crate::{PATIENCE, catamaran, echo, eventually, is_alive};
use catamaran_testkit::{
    Client, Process, Program, ReservedPort, Signal, TempDir, signal_pid, tcp_exchange,
};
use std::net::SocketAddr;
use std::time::Duration;

/// A TCP balancer before one server, and its port, which nobody takes when it ends.
fn balancer(server: SocketAddr, more: &[&str]) -> (Process, ReservedPort) {
    let port = ReservedPort::any().unwrap();
    let address = port.addr();
    let mut process = catamaran(&["run", "--tcp", "--listen", &address.to_string()])
        .args(["--server", &server.to_string()])
        .args(more.iter().copied())
        .start()
        .unwrap();
    process.wait_for_port(address, PATIENCE).unwrap();
    (process, port)
}

/// The pids of the data processes that were started so far.
fn data_pids(supervisor: &Process) -> Vec<u32> {
    supervisor
        .stderr()
        .lines()
        .filter_map(|line| line.split_once("data process started pid="))
        .map(|(_, pid)| pid.trim().parse().unwrap())
        .collect()
}

#[test]
fn a_killed_data_process_comes_back_and_waiting_connections_are_served() {
    let (_server, server) = echo("Coucou", &[]);
    let (mut supervisor, port) = balancer(server, &[]);
    let address = port.addr();
    for round in 1..=2 {
        supervisor.wait_for_stderr("serving", PATIENCE).unwrap();
        let pids = data_pids(&supervisor);
        assert_eq!(pids.len(), round);
        signal_pid(pids[round - 1], Signal::KILL).unwrap();
        eventually("the death", || {
            let deaths = supervisor.stderr().matches("data process died").count();
            (deaths == round).then_some(())
        });
        // Nobody accepts now: the supervisor's copy of the socket takes the connection in.
        assert_eq!(tcp_exchange(address, b"hi").unwrap(), b"Coucou\n");
        eventually("a new data process", || {
            (data_pids(&supervisor).len() > round).then_some(())
        });
    }
    assert!(supervisor.try_wait().unwrap().is_none());
}

#[test]
fn a_data_process_that_hangs_is_replaced_and_waiting_connections_are_served() {
    let (_server, server) = echo("Coucou", &[]);
    let config = format!(
        "[process]\nwatchdog = \"5s\"\n[backend.app]\nservers = [\"{server}\"]\n\
         [frontend.web]\nprotocol = \"tcp\"\nlisten = \"127.0.0.1:0\"\nbackend = \"app\"\n"
    );
    let balancer = Balancer::start(&config);
    let address = balancer.addr();
    let pid = data_pids(&balancer.process)[0];
    signal_pid(pid, Signal::STOP).unwrap();
    eventually("every thread stopped", || {
        threads(pid)
            .into_iter()
            .all(|thread| status_of(thread, "State:") == "(stopped)")
            .then_some(())
    });
    // Nobody accepts it until the next data process does.
    assert_eq!(tcp_exchange(address, b"hi").unwrap(), b"Coucou\n");
    let told = "data process says nothing; it is killed";
    balancer.process.wait_for_stderr(told, PATIENCE).unwrap();
    assert_eq!(data_pids(&balancer.process).len(), 2);
    assert!(!is_alive(pid));
}

#[test]
fn a_data_process_at_rest_is_not_taken_for_one_that_hangs() {
    let (_server, server) = echo("Coucou", &[]);
    let config = format!(
        "[process]\nwatchdog = \"5s\"\n[backend.app]\nservers = [\"{server}\"]\n\
         [frontend.web]\nprotocol = \"tcp\"\nlisten = \"127.0.0.1:0\"\nbackend = \"app\"\n"
    );
    let balancer = Balancer::start(&config);
    let began = std::time::Instant::now();
    eventually("twice the time of the watchdog", || {
        (began.elapsed() > Duration::from_secs(10)).then_some(())
    });
    assert_eq!(data_pids(&balancer.process).len(), 1);
}

/// A field of the status of a process, as `proc_pid_status(5)` names it.
fn status_of(pid: u32, field: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().next_back().unwrap().to_owned()
}

/// The threads of a process.
fn threads(pid: u32) -> Vec<u32> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads
        .map(|thread| {
            thread
                .unwrap()
                .file_name()
                .to_str()
                .unwrap()
                .parse()
                .unwrap()
        })
        .collect()
}

#[test]
fn the_data_process_holds_no_privileges() {
    let (_server, server) = echo("Coucou", &[]);
    let balancer = Balancer::tcp(&[server], "", "");
    let pid = data_pids(&balancer.process)[0];
    let threads = threads(pid);
    assert!(
        threads.len() >= 4,
        "two workers, the control thread, the first"
    );
    for thread in threads {
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
            assert_eq!(status_of(thread, set), "0000000000000000", "{set}");
        }
        assert_eq!(status_of(thread, "NoNewPrivs:"), "1");
    }
    assert_eq!(tcp_exchange(balancer.addr(), b"hi").unwrap(), b"Coucou\n");
}

#[test]
fn an_access_log_that_moves_out_of_its_directory_is_not_followed() {
    let (_server, server) = echo("Coucou", &[]);
    let logs = TempDir::create().unwrap();
    let elsewhere = TempDir::create().unwrap();
    let log = logs.path().join("access.log");
    let lines = format!("access-log = {{ to = \"{}\" }}", log.display());
    let balancer = Balancer::http(&[server], &lines, "");
    let pid = data_pids(&balancer.process)[0];
    let reopen = || balancer.process.signal(Signal::USR1).unwrap();
    // A rotation within the directory works.
    std::fs::rename(&log, logs.path().join("access.log.1")).unwrap();
    reopen();
    eventually("the new log", || log.exists().then_some(()));
    // A file elsewhere does not come to be, whatever the path says.
    std::fs::remove_file(&log).unwrap();
    let target = elsewhere.path().join("stolen");
    std::os::unix::fs::symlink(&target, &log).unwrap();
    reopen();
    balancer
        .process
        .wait_for_stderr("ermission denied", PATIENCE)
        .unwrap();
    assert!(!target.exists());
    assert!(is_alive(pid));
}

#[test]
fn a_second_instance_is_told_that_the_port_is_in_use() {
    let (_server, server) = echo("Coucou", &[]);
    let (_first, port) = balancer(server, &[]);
    let address = port.addr();
    let mut second = catamaran(&["run", "--tcp", "--listen", &address.to_string()])
        .args(["--server", &server.to_string(), "--server", "127.0.0.1:1"])
        .start()
        .unwrap();
    assert_eq!(second.wait(PATIENCE).unwrap().code(), Some(1));
    let expected = format!("{address}: port in use");
    second.wait_for_stderr(&expected, PATIENCE).unwrap();
}

#[test]
fn a_request_to_end_ends_both_processes() {
    let (_server, server) = echo("Coucou", &[]);
    for signal in [Signal::TERM, Signal::INT] {
        let (mut supervisor, port) = balancer(server, &[]);
        supervisor.wait_for_stderr("serving", PATIENCE).unwrap();
        let data = data_pids(&supervisor)[0];
        supervisor.signal(signal).unwrap();
        assert_eq!(supervisor.wait(PATIENCE).unwrap().code(), Some(0));
        assert!(!is_alive(data));
        assert!(Client::connect(port.addr()).is_err());
    }
}

#[test]
fn an_interrupt_from_the_terminal_counts_once() {
    let (_server, server) = echo("Coucou", &[]);
    let (mut supervisor, _) = balancer(server, &[]);
    supervisor.wait_for_stderr("serving", PATIENCE).unwrap();
    let data = data_pids(&supervisor)[0];
    assert!(is_alive(data));
    // A terminal signals every process of the group, at the same moment.
    supervisor.signal_group(Signal::INT).unwrap();
    assert_eq!(supervisor.wait(PATIENCE).unwrap().code(), Some(0));
    supervisor.wait_for_stderr("drained", PATIENCE).unwrap();
}

#[test]
fn the_data_process_goes_on_when_the_supervisor_is_killed() {
    let (_server, server) = echo("Coucou", &[]);
    let (mut supervisor, port) = balancer(server, &[]);
    let address = port.addr();
    supervisor.wait_for_stderr("serving", PATIENCE).unwrap();
    let data = data_pids(&supervisor)[0];
    supervisor.kill().unwrap();
    supervisor
        .wait_for_stderr("the supervisor is gone", PATIENCE)
        .unwrap();
    assert_eq!(tcp_exchange(address, b"hi").unwrap(), b"Coucou\n");
    signal_pid(data, Signal::TERM).unwrap();
    eventually("the end of the data process", || {
        Client::connect(address).is_err().then_some(())
    });
}

#[test]
fn without_a_supervisor_there_is_one_process() {
    let (_server, server) = echo("Coucou", &[]);
    let (mut process, port) = balancer(server, &["--no-supervisor"]);
    let address = port.addr();
    assert_eq!(process.pids(), [process.pid()]);
    assert_eq!(tcp_exchange(address, b"hi").unwrap(), b"Coucou\n");
    process.terminate().unwrap();
    assert_eq!(process.wait(PATIENCE).unwrap().code(), Some(0));
}

/// A balancer that may open so many files as `limits`, arguments of `ulimit`, allow.
fn limited(limits: &str, listen: SocketAddr, server: SocketAddr) -> Process {
    Program::new("/bin/sh")
        .unwrap()
        .arg("-c")
        .arg(format!("{limits} && exec \"$@\""))
        .args(["sh", env!("CARGO_BIN_EXE_catamaran"), "run", "--tcp"])
        .args(["--listen", &listen.to_string()])
        .args(["--server", &server.to_string()])
        .start()
        .unwrap()
}

#[test]
fn a_low_limit_on_open_files_is_raised_and_told() {
    let (_server, server) = echo("Coucou", &[]);
    let port = ReservedPort::any().unwrap();
    let limits = "ulimit -Sn 100 && ulimit -Hn 400";
    let mut process = limited(limits, port.addr(), server);
    process.wait_for_port(port.addr(), PATIENCE).unwrap();
    process
        .wait_for_stderr("limit=400 possible=150", PATIENCE)
        .unwrap();
}

#[test]
fn too_low_a_limit_on_open_files_names_one_that_is_enough() {
    let (_server, server) = echo("Coucou", &[]);
    let port = ReservedPort::any().unwrap();
    let mut process = limited("ulimit -n 12", port.addr(), server);
    assert_eq!(process.wait(PATIENCE).unwrap().code(), Some(1));
    let told = process.stderr();
    assert!(told.contains("12 open files are allowed"), "{told}");
    assert!(told.contains("raise the limit (`ulimit -Hn`"), "{told}");
    let (before, _) = told.split_once(" at least").unwrap();
    let (_, least) = before.rsplit_once(' ').unwrap();

    let process = limited(&format!("ulimit -n {least}"), port.addr(), server);
    process.wait_for_stderr("serving", PATIENCE).unwrap();
    assert_eq!(tcp_exchange(port.addr(), b"hi").unwrap(), b"Coucou\n");
}

#[test]
fn a_hangup_is_ignored_under_nohup() {
    let (_server, server) = echo("Coucou", &[]);
    let port = ReservedPort::any().unwrap();
    let address = port.addr();
    let mut process = Program::new("/bin/sh")
        .unwrap()
        .args(["-c", "trap '' HUP; exec \"$@\"", "sh"])
        .args([env!("CARGO_BIN_EXE_catamaran"), "run", "--tcp"])
        .args(["--listen", &address.to_string()])
        .args(["--server", &server.to_string()])
        .start()
        .unwrap();
    // The port is open before the data process serves it.
    process.wait_for_stderr("serving", PATIENCE).unwrap();
    process.signal(Signal::HUP).unwrap();
    assert_eq!(tcp_exchange(address, b"hi").unwrap(), b"Coucou\n");
    process.terminate().unwrap();
    assert_eq!(process.wait(PATIENCE).unwrap().code(), Some(0));
    process.wait_for_stderr("drained", PATIENCE).unwrap();
}

#[test]
fn the_data_command_is_not_for_hands() {
    let mut process = catamaran(&["data", "--channel", "77"]).start().unwrap();
    assert_eq!(process.wait(PATIENCE).unwrap().code(), Some(1));
    process.wait_for_stderr("not by hand", PATIENCE).unwrap();
}
