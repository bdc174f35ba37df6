//! UDP through the balancer.

use crate::{PATIENCE, catamaran, echo, eventually};
use catamaran_testkit::{Process, Program, free_addr};
use socket2::{Domain, Socket, Type};
use std::collections::HashSet;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

/// How long an answer that must not come is waited for.
const SILENCE: Duration = Duration::from_millis(300);

fn client() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// A server that sends every datagram back.
fn mirror() -> SocketAddr {
    mirror_at("127.0.0.1:0".parse().unwrap())
}

fn mirror_at(address: SocketAddr) -> SocketAddr {
    let socket = UdpSocket::from(shared_socket(address));
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buf = vec![0; 65_536];
        while let Ok((len, from)) = socket.recv_from(&mut buf) {
            socket.send_to(&buf[..len], from).unwrap();
        }
    });
    address
}

/// An address where nobody listens: the socket keeps it from others, and takes only what comes
/// from where nothing does. [`mirror_at`] may share it.
fn nobody() -> (Socket, SocketAddr) {
    let socket = shared_socket("127.0.0.1:0".parse().unwrap());
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    socket
        .connect(&SocketAddr::from(([127, 0, 0, 1], 1)).into())
        .unwrap();
    (socket, address)
}

fn shared_socket(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket
}

/// Sends a datagram and returns the answer, and where it came from.
fn try_ask(client: &UdpSocket, to: SocketAddr) -> io::Result<(String, SocketAddr)> {
    client.send_to(b"hi", to)?;
    let mut buf = [0; 64];
    let (len, from) = client.recv_from(&mut buf)?;
    Ok((String::from_utf8_lossy(&buf[..len]).into_owned(), from))
}

fn ask(client: &UdpSocket, to: SocketAddr) -> String {
    try_ask(client, to).unwrap().0
}

/// Whether the client gets no answer.
fn is_ignored(client: &UdpSocket, to: SocketAddr) -> bool {
    client.set_read_timeout(Some(SILENCE)).unwrap();
    let answer = try_ask(client, to);
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    answer.is_err()
}

/// Asks until there is an answer, as clients of UDP do.
fn insist(client: &UdpSocket, to: SocketAddr) -> String {
    client.set_read_timeout(Some(SILENCE)).unwrap();
    eventually("an answer", || try_ask(client, to).ok()).0
}

/// Starts a program and returns it with the address that it listens on.
fn listening(program: Program) -> (Process, SocketAddr) {
    let process = program.start().unwrap();
    process.wait_for_stderr("listening", PATIENCE).unwrap();
    let stderr = process.stderr();
    let line = stderr.lines().find(|line| line.contains("listening"));
    let (_, address) = line.unwrap().rsplit_once("address=").unwrap();
    let address = address.split_whitespace().next().unwrap().parse().unwrap();
    (process, address)
}

/// A balancer without a configuration file.
fn ad_hoc(listen: &str, servers: &[SocketAddr]) -> (Process, SocketAddr) {
    let mut program = catamaran(&["run", "--udp", "--listen", listen]);
    for server in servers {
        program = program.args(["--server", &server.to_string()]);
    }
    listening(program)
}

/// A balancer with one frontend, with `more` in it.
fn configured(process: &str, frontend: &str, server: SocketAddr) -> (Process, SocketAddr) {
    let config = format!(
        "[process]\n{process}\n[frontend.dns]\nprotocol = \"udp\"\nlisten = \"127.0.0.1:0\"\n\
         backend = \"dns\"\n{frontend}\n[backend.dns]\nservers = [\"{server}\"]\n"
    );
    listening(Program::run_config(env!("CARGO_BIN_EXE_catamaran"), &config).unwrap())
}

#[test]
fn clients_are_shared_out_and_each_keeps_its_server() {
    let (_a, first) = echo("A", &[]);
    let (_b, second) = echo("B", &[]);
    let (_balancer, address) = ad_hoc("127.0.0.1:0", &[first, second]);
    let mut seen = HashSet::new();
    for _ in 0..40 {
        let client = client();
        let answer = ask(&client, address);
        for _ in 0..5 {
            assert_eq!(ask(&client, address), answer);
        }
        seen.insert(answer);
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
}

#[test]
fn sticky_clients_share_the_server_of_their_address() {
    let (_a, first) = echo("A", &[]);
    let (_b, second) = echo("B", &[]);
    let config = format!(
        "[frontend.dns]\nprotocol = \"udp\"\nlisten = \"127.0.0.1:0\"\nbackend = \"dns\"\n\
         [backend.dns]\nservers = [\"{first}\", \"{second}\"]\n\
         stick = {{ on = \"source-ip\", for = \"1h\" }}\n"
    );
    let program = Program::run_config(env!("CARGO_BIN_EXE_catamaran"), &config).unwrap();
    let (_balancer, address) = listening(program);
    let seen: HashSet<_> = (0..20).map(|_| ask(&client(), address)).collect();
    assert_eq!(seen.len(), 1, "{seen:?}");
}

#[test]
fn answers_leave_from_the_address_that_was_asked() {
    let (_a, server) = echo("A", &[]);
    let (_balancer, address) = ad_hoc("0.0.0.0:0", &[server]);
    let client = client();
    for host in [1, 2, 1] {
        let asked = SocketAddr::from(([127, 0, 0, host], address.port()));
        let (answer, from) = try_ask(&client, asked).unwrap();
        assert_eq!((answer.as_str(), from), ("A\n", asked));
    }
}

#[test]
fn ipv6_clients_reach_ipv4_servers() {
    let Ok(client) = UdpSocket::bind("[::1]:0") else {
        eprintln!("skipped: no IPv6 loopback here");
        return;
    };
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let (_a, server) = echo("A", &[]);
    let (_balancer, address) = ad_hoc("[::]:0", &[server]);
    let asked: SocketAddr = format!("[::1]:{}", address.port()).parse().unwrap();
    assert_eq!(try_ask(&client, asked).unwrap(), ("A\n".to_owned(), asked));
}

#[test]
fn datagrams_of_any_size_pass_whole_and_in_order() {
    let (_balancer, address) = ad_hoc("127.0.0.1:0", &[mirror()]);
    let client = client();
    let mut buf = vec![0; 65_536];
    for size in [0, 1, 1472, 1473, 9000, 65_507] {
        let sent: Vec<u8> = (0..size)
            .map(|at| u8::try_from(at % 251).unwrap())
            .collect();
        client.send_to(&sent, address).unwrap();
        let (len, from) = client.recv_from(&mut buf).unwrap();
        assert_eq!(from, address);
        assert!(buf[..len] == sent, "{size} bytes came as {len}");
    }
    // A burst, the first of which a new flow has to keep until there is a server.
    let fresh = self::client();
    for number in 0..10_u8 {
        fresh.send_to(&[number], address).unwrap();
    }
    for number in 0..10_u8 {
        assert_eq!(fresh.recv_from(&mut buf).unwrap().0, 1);
        assert_eq!(buf[0], number);
    }
}

#[test]
fn a_server_where_nobody_listens_is_given_up() {
    let (_a, server) = echo("A", &[]);
    let (_kept, dead) = nobody();
    let (_balancer, address) = ad_hoc("127.0.0.1:0", &[dead, server]);
    for _ in 0..20 {
        let client = client();
        assert_eq!(insist(&client, address), "A\n");
    }
}

#[test]
fn a_flow_whose_server_dies_goes_to_another() {
    let (mut a, first) = echo("A", &[]);
    let (mut b, second) = echo("B", &[]);
    let (_balancer, address) = ad_hoc("127.0.0.1:0", &[first, second]);
    let client = client();
    let answer = ask(&client, address);
    let other = if answer == "A\n" {
        a.kill().unwrap();
        "B\n"
    } else {
        b.kill().unwrap();
        "A\n"
    };
    assert_eq!(insist(&client, address), other);
}

#[test]
fn a_server_that_refused_comes_back() {
    let (_kept, server) = nobody();
    let (balancer, address) = ad_hoc("127.0.0.1:0", &[server]);
    let client = client();
    assert!(is_ignored(&client, address));
    balancer.wait_for_stderr("refuses", PATIENCE).unwrap();
    mirror_at(server);
    assert_eq!(insist(&client, address), "hi");
}

#[test]
fn a_flood_of_sources_holds_no_more_sockets_than_it_may() {
    let descriptors = |process: &Process| -> usize {
        let of = |pid| std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        process.pids().into_iter().map(of).sum()
    };
    let server = mirror();
    let (balancer, address) = configured("workers = 1\nmax-connections = 8", "", server);
    // Until then more is opened than sockets of flows.
    balancer.wait_for_stderr("serving", PATIENCE).unwrap();
    let first = client();
    ask(&first, address);
    let before = descriptors(&balancer);
    for _ in 0..100 {
        ask(&client(), address);
    }
    // The socket of a flow that gave way is closed in a turn of its own.
    eventually("no more sockets than flows", || {
        (descriptors(&balancer) <= before + 7).then_some(())
    });
    // Its flow has given way, and another begins.
    assert_eq!(ask(&first, address), "hi");
}

#[test]
fn a_source_has_as_many_flows_as_it_may() {
    let (_balancer, address) = configured("", "max-connections-per-source = 1", mirror());
    let (first, second) = (client(), client());
    assert_eq!(ask(&first, address), "hi");
    assert!(is_ignored(&second, address));
    assert_eq!(ask(&first, address), "hi");
}

#[test]
fn new_flows_are_limited_in_rate_and_old_ones_are_not() {
    let limit = "rate-limit = { requests = 2, per = \"1h\" }";
    let (_balancer, address) = configured("", limit, mirror());
    let (first, second, third) = (client(), client(), client());
    for client in [&first, &second, &first, &second] {
        assert_eq!(ask(client, address), "hi");
    }
    assert!(is_ignored(&third, address));
    assert_eq!(ask(&first, address), "hi");
}

#[test]
fn a_flow_that_falls_silent_ends_with_a_line_in_the_log() {
    let frontend = "access-log = \"json\"\ntimeouts = { tunnel = \"3s\" }";
    let (balancer, address) = configured("", frontend, mirror());
    let client = client();
    for _ in 0..3 {
        ask(&client, address);
    }
    balancer.wait_for_stdout("\n", PATIENCE).unwrap();
    let line = balancer.stdout();
    let source = client.local_addr().unwrap().to_string();
    assert!(line.contains(&source), "{line}");
    assert!(line.contains("\"--\""), "{line}");
}

#[test]
fn a_drain_lets_flows_go_on_begins_none_and_ends_without_the_silent() {
    let (server, tcp) = (
        TcpListener::bind("127.0.0.1:0").unwrap(),
        free_addr().unwrap(),
    );
    let frontend = format!(
        "timeouts = {{ tunnel = \"1h\" }}\n[backend.tcp]\nservers = [\"{}\"]\n\
         [frontend.tcp]\nprotocol = \"tcp\"\nlisten = \"{tcp}\"\nbackend = \"tcp\"",
        server.local_addr().unwrap()
    );
    let (mut balancer, address) = configured("drain = \"1h\"", &frontend, mirror());
    balancer.wait_for_stderr("serving", PATIENCE).unwrap();
    let old = client();
    assert_eq!(ask(&old, address), "hi");
    // What the drain does wait for.
    let tunnel = TcpStream::connect(tcp).unwrap();
    let served = server.accept().unwrap();
    balancer.terminate().unwrap();
    balancer.wait_for_stderr("draining", PATIENCE).unwrap();
    // Workers hear of it one after the other.
    eventually("no more flows", || {
        is_ignored(&client(), address).then_some(())
    });
    // In all longer than a flow may be silent to be waited for.
    for _ in 0..5 {
        assert!(is_ignored(&client(), address));
    }
    assert_eq!(ask(&old, address), "hi");
    drop((tunnel, served));
    assert!(balancer.wait(PATIENCE).unwrap().success());
}
