//! TCP connections whose server ends in silence: their first bytes go to another one.

use crate::balancer::{Balancer, pattern};
use crate::demo::{demo, local};
use crate::trial::rounds;
use crate::{PATIENCE, catamaran, eventually, is_alive};
use catamaran_testkit::{
    Client, Origin, Process, Signal, WireError, signal_pid, tcp_exchange, tunnel,
};
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

/// The first server gets everything as long as it can.
const KEEPS: &str = "balance = \"first\"\nretry = { replay = \"4KiB\" }";

/// How a server ends that has said nothing.
#[derive(Clone, Copy)]
enum End {
    Close,
    Reset,
}

/// A server that ends in silence once it has read `bytes`.
fn mute(bytes: usize, end: End) -> Origin {
    Origin::tcp(Arc::new(move |mut stream: TcpStream| {
        stream.read_exact(&mut vec![0; bytes]).unwrap();
        if matches!(end, End::Reset) {
            Client::from_stream(stream).unwrap().reset().unwrap();
        }
    }))
    .start()
    .unwrap()
}

fn echo_server() -> Origin {
    Origin::tcp(tunnel::echo()).start().unwrap()
}

#[test]
fn what_a_mute_server_got_is_sent_to_the_next_with_the_clients_end() {
    for end in [End::Close, End::Reset] {
        let (first, second) = (mute(8, end), echo_server());
        let balancer = Balancer::tcp(&[first.addr(), second.addr()], "", KEEPS);
        for _ in 0..10 {
            // The echo answers to the end: it came, and once.
            let answer = tcp_exchange(balancer.addr(), b"hi there").unwrap();
            assert_eq!(answer, b"hi there");
        }
        assert!(first.accepted() > 0);
    }
}

#[test]
fn bytes_that_come_after_another_server_was_found_go_there() {
    let (first, second) = (mute(3, End::Reset), echo_server());
    let balancer = Balancer::tcp(&[first.addr(), second.addr()], "", KEEPS);
    let mut client = balancer.connect();
    client.send(b"one").unwrap();
    assert_eq!(client.receive(3).unwrap(), b"one");
    let bytes = pattern(300_000);
    let mut writer = client.stream().try_clone().unwrap();
    let sent = bytes.clone();
    let sender = thread::spawn(move || std::io::Write::write_all(&mut writer, &sent).unwrap());
    assert!(client.receive(bytes.len()).unwrap() == bytes);
    sender.join().unwrap();
}

#[test]
fn nothing_is_sent_twice_unless_asked_for() {
    let (first, second) = (mute(8, End::Reset), echo_server());
    let servers = [first.addr(), second.addr()];
    let balancer = Balancer::tcp(&servers, "", "balance = \"first\"");
    let answer = tcp_exchange(balancer.addr(), b"hi there");
    assert_eq!(answer, Err(WireError::Reset));
    assert_eq!(second.accepted(), 0);
}

#[test]
fn more_than_is_kept_is_not_sent_twice() {
    let (first, second) = (mute(5000, End::Reset), echo_server());
    let balancer = Balancer::tcp(&[first.addr(), second.addr()], "", KEEPS);
    let answer = tcp_exchange(balancer.addr(), &pattern(5000));
    assert_eq!(answer, Err(WireError::Reset));
    assert_eq!(second.accepted(), 0);
}

#[test]
fn a_server_that_has_said_something_is_not_replaced() {
    let first = Origin::tcp(Arc::new(|mut stream: TcpStream| {
        std::io::Write::write_all(&mut stream, b"well").unwrap();
        stream.read_exact(&mut [0; 2]).unwrap();
        Client::from_stream(stream).unwrap().reset().unwrap();
    }))
    .start()
    .unwrap();
    let second = echo_server();
    let balancer = Balancer::tcp(&[first.addr(), second.addr()], "", KEEPS);
    let mut client = balancer.connect();
    assert_eq!(client.receive(4).unwrap(), b"well");
    client.send(b"hi").unwrap();
    assert_eq!(client.receive_some(), Err(WireError::Reset));
    assert_eq!(second.accepted(), 0);
}

#[test]
fn a_close_towards_a_client_that_said_nothing_is_passed_on() {
    let (first, second) = (mute(0, End::Close), echo_server());
    let balancer = Balancer::tcp(&[first.addr(), second.addr()], "", KEEPS);
    assert_eq!(balancer.connect().receive_to_end().unwrap(), b"");
    assert_eq!(second.accepted(), 0);
}

#[test]
fn bytes_that_come_just_after_a_close_go_to_another_server() {
    let (tell, closed) = mpsc::channel();
    let tell = Mutex::new(tell);
    let first = Origin::tcp(Arc::new(move |stream: TcpStream| {
        drop(stream);
        tell.lock().unwrap().send(()).unwrap();
    }))
    .start()
    .unwrap();
    let second = echo_server();
    let balancer = Balancer::tcp(&[first.addr(), second.addr()], "", KEEPS);
    // Several times: on a busy machine the bytes may come too late.
    eventually("a client that spoke in time", || {
        let mut client = balancer.connect();
        closed.recv_timeout(PATIENCE).unwrap();
        client.send(b"hi").ok()?;
        client.half_close().ok()?;
        (client.receive_to_end().ok()? == b"hi").then_some(())
    });
}

#[test]
fn with_every_try_used_the_last_servers_end_is_passed_on() {
    for end in [End::Close, End::Reset] {
        let server = mute(2, end);
        let lines = "retry = { replay = \"4KiB\", max-tries = 2 }";
        let balancer = Balancer::tcp(&[server.addr()], "", lines);
        let answer = tcp_exchange(balancer.addr(), b"hi");
        match end {
            End::Close => assert_eq!(answer, Ok(Vec::new())),
            End::Reset => assert_eq!(answer, Err(WireError::Reset)),
        }
        assert_eq!(server.accepted(), 3);
    }
}

/// An echo server of the demonstration, and the one started in its place.
struct Victim {
    address: SocketAddr,
    message: &'static str,
    pid: u32,
    again: Option<Process>,
}

impl Victim {
    /// Those that the demonstration printed, in their order.
    fn all(text: &str) -> Vec<Self> {
        let lines = text.lines().filter(|line| line.contains(" pid "));
        let known = lines.zip(["Coucou", "Hello World"]);
        known
            .map(|(line, message)| {
                let words: Vec<&str> = line.split_whitespace().collect();
                Self {
                    address: words[0].parse().unwrap(),
                    message,
                    pid: words[2].parse().unwrap(),
                    again: None,
                }
            })
            .collect()
    }

    fn kill(&mut self) {
        signal_pid(self.pid, Signal::KILL).unwrap();
        if let Some(again) = &mut self.again {
            again.wait(PATIENCE).unwrap();
        }
        eventually("the end of the server", || {
            (!is_alive(self.pid)).then_some(())
        });
    }

    fn restart(&mut self) {
        let address = self.address.to_string();
        let arguments = ["echo", "--listen", &address, "--message", self.message];
        let process = catamaran(&arguments).start().unwrap();
        process.wait_for_stdout("\n", PATIENCE).unwrap();
        self.pid = process.pid();
        self.again = Some(process);
    }

    /// Whether the balancer sends it a client that it has not seen before. Half of the time it does
    /// not, though it could.
    fn is_chosen(&self, port: u16) -> bool {
        static SOURCE: AtomicUsize = AtomicUsize::new(0);
        let [.., high, low] = SOURCE.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        let source = Ipv4Addr::new(127, 1, high, low);
        let mut client = Client::connect_from(source.into(), local(port)).unwrap();
        client.send(b"hi").unwrap();
        client.half_close().unwrap();
        client.receive_to_end().unwrap() == format!("{}\n", self.message).as_bytes()
    }
}

/// Ends the clients' loops, also when the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn killing_the_demonstrations_servers_in_turn_costs_a_looping_client_nothing() {
    const CLIENTS: usize = 8;
    let (demo, port) = demo(&["--quiet"]);
    let mut victims = Victim::all(&demo.stdout());
    let is_over = AtomicBool::new(false);
    let answered = AtomicUsize::new(0);
    let lost = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    match tcp_exchange(local(port), b"hi").as_deref() {
                        Ok(b"Coucou\n" | b"Hello World\n") => {
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                        other => lost.lock().unwrap().push(format!("{other:?}")),
                    }
                }
            });
        }
        let _over = Over(&is_over);
        for round in 0..rounds(50) {
            let victim = &mut victims[round % 2];
            let before = answered.load(Ordering::Relaxed);
            victim.kill();
            eventually("clients served without it", || {
                (answered.load(Ordering::Relaxed) >= before + 100).then_some(())
            });
            victim.restart();
            eventually("the server's return", || {
                victim.is_chosen(port).then_some(())
            });
        }
    });
    let mut lost = lost.into_inner().unwrap();
    let losses = lost.len();
    lost.truncate(5);
    let answered = answered.into_inner();
    let least = 100 * rounds(50);
    assert!(answered >= least, "{answered} connections");
    assert_eq!(losses, 0, "of {answered}: {lost:?}\n{}", demo.stderr());
    announce(&format!("{answered} connections, none lost"));
}

/// Tells what was measured to whoever asks for it with `--nocapture`.
#[expect(clippy::print_stdout, reason = "a test's measurements")]
fn announce(told: &str) {
    println!("{told}");
}
