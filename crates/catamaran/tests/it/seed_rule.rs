//! The seed rule: connections of one source within 2 s of the first go to the same server; after
//! that it is chosen anew.

use crate::balancer::Balancer;
use crate::{PATIENCE, echo_at};
use catamaran_testkit::{Client, Process, ReservedPort, shortest};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(2);

/// What came so soon after the first connection was within its window, even if the machine had a
/// worker stand still between reading the clock and accepting. What came later proves nothing.
const SURELY: Duration = Duration::from_millis(1500);

/// How often what a starved machine made worthless is done again.
const TRIES: usize = 10;

/// Sources enough that all of them choosing alike by chance is out of the question (2^-23).
const SOURCES: u8 = 24;

/// The seed's balancer before its two servers, with several workers.
struct Seed {
    balancer: Balancer,
    address: SocketAddr,
    servers: [Server; 2],
}

/// An echo server whose port stays its own when it dies.
struct Server {
    port: ReservedPort,
    message: &'static str,
    process: Process,
}

impl Server {
    fn start(message: &'static str) -> Self {
        let port = ReservedPort::any().unwrap();
        let process = echo_at(&port, message, &[]);
        Self {
            port,
            message,
            process,
        }
    }

    fn restart(&mut self) {
        self.process = echo_at(&self.port, self.message, &[]);
    }
}

impl Seed {
    fn start(protocol: &str) -> Self {
        let servers = ["Coucou", "Hello World"].map(Server::start);
        let balancer = Balancer::start(&format!(
            "[process]\nworkers = 4\n\
             [frontend.echo]\nprotocol = \"{protocol}\"\nlisten = \"127.0.0.1:0\"\nbackend = \"echo\"\n\
             [backend.echo]\nbalance = \"random\"\nservers = [\"{}\", \"{}\"]\n\
             stick = {{ on = \"source-ip\", for = \"2s\" }}\ntimeouts = {{ connect = \"1m\" }}\n",
            servers[0].port.addr(),
            servers[1].port.addr()
        ));
        Self {
            address: balancer.addr_of("echo"),
            balancer,
            servers,
        }
    }

    /// Makes a connection from `source` and says who answered.
    fn ask(&self, source: IpAddr) -> String {
        let mut client = Client::connect_from(source, self.address).unwrap();
        client.send(b"hi").unwrap();
        let answer = client.receive_to_end().unwrap();
        String::from_utf8(answer).unwrap().trim().to_owned()
    }

    /// The same by an HTTP request.
    fn get(&self, source: IpAddr) -> String {
        let mut client = Client::connect_from(source, self.address).unwrap();
        client.get("/").unwrap().text().trim().to_owned()
    }

    fn ask_all(&self) -> Vec<String> {
        sources().map(|source| self.ask(source)).collect()
    }
}

/// Addresses of this machine, other ones than where balancer and servers are.
fn sources() -> impl Iterator<Item = IpAddr> {
    (0..SOURCES).map(|last| IpAddr::V4(Ipv4Addr::new(127, 0, 7, 10 + last)))
}

/// All of `count` threads at the same moment; who answered them.
fn at_once(count: usize, ask: impl Fn() -> String + Sync) -> BTreeSet<String> {
    let barrier = Barrier::new(count);
    thread::scope(|scope| {
        let (barrier, ask) = (&barrier, &ask);
        let threads: Vec<_> = (0..count)
            .map(|_| {
                scope.spawn(move || {
                    barrier.wait();
                    ask()
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}

/// A hundred simultaneous first connections of each source: one server for each, both over all.
fn assert_simultaneous_ones_agree(ask: impl Fn(IpAddr) -> String + Sync) {
    let mut seen = BTreeSet::new();
    let mut judged = 0;
    for round in 0..TRIES {
        if round > 0 {
            // Every window has to close before first connections can be made again.
            thread::sleep(WINDOW);
        }
        for source in sources() {
            let began = Instant::now();
            let answers = at_once(100, || ask(source));
            if began.elapsed() < SURELY {
                assert_eq!(answers.len(), 1, "{source}: {answers:?}");
                judged += 1;
            }
            seen.extend(answers);
        }
        if judged > 0 {
            break;
        }
    }
    assert!(judged > 0, "the machine is too slow for this test");
    assert_eq!(seen.len(), 2, "{seen:?}");
}

#[test]
fn a_hundred_simultaneous_connections_reach_one_server() {
    let seed = Seed::start("tcp");
    assert_simultaneous_ones_agree(|source| seed.ask(source));
}

#[test]
fn a_hundred_simultaneous_requests_reach_one_server() {
    let seed = Seed::start("http");
    assert_simultaneous_ones_agree(|source| seed.get(source));
}

#[test]
fn within_two_seconds_the_server_stays_and_after_them_both_are_seen() {
    let seed = Seed::start("tcp");
    let mut last: Option<Vec<String>> = None;
    let (mut has_changed, mut rounds) = (false, 0);
    for _ in 0..TRIES {
        let began = Instant::now();
        let first: Vec<_> = sources()
            .map(|source| (Instant::now(), seed.ask(source)))
            .collect();
        let mut judged = 0;
        while began.elapsed() < SURELY {
            for (source, (asked, server)) in sources().zip(&first) {
                let again = seed.ask(source);
                if asked.elapsed() < SURELY {
                    assert_eq!(again, *server, "{source}");
                    judged += 1;
                }
            }
            thread::sleep(Duration::from_millis(50));
        }
        let servers: Vec<_> = first.into_iter().map(|(_, server)| server).collect();
        has_changed |= last.is_some_and(|last| last != servers);
        last = Some(servers);
        rounds += usize::from(judged >= usize::from(SOURCES));
        if rounds == 3 && has_changed {
            return;
        }
        // Every window closes, also those that opened in the last turn of the loop.
        thread::sleep(WINDOW + Duration::from_millis(50));
    }
    assert!(has_changed, "no source was ever given another server");
    panic!("the machine is too slow for this test: {rounds} rounds within the window");
}

#[test]
fn a_dead_sticky_server_is_replaced_at_once_and_for_the_rest_of_the_window() {
    let mut seed = Seed::start("tcp");
    let first = seed.ask_all();
    let dead = usize::from(first[0] == "Hello World");
    let alive = ["Hello World", "Coucou"][dead];
    seed.servers[dead].process.kill().unwrap();
    // At once: the refused connection costs no timeout, which would be a minute.
    let bound = Duration::from_secs(30);
    let took = shortest(bound, || {
        assert_eq!(seed.ask(sources().next().unwrap()), alive);
    });
    assert!(took < bound, "{took:?}");
    let answers: BTreeSet<_> = seed.ask_all().into_iter().collect();
    assert_eq!(answers, BTreeSet::from([alive.to_owned()]));
}

#[test]
fn simultaneous_connections_agree_on_another_server_when_theirs_is_dead() {
    for _ in 0..4 {
        let mut seed = Seed::start("tcp");
        let source = sources().next().unwrap();
        let began = Instant::now();
        let dead = usize::from(seed.ask(source) == "Hello World");
        seed.servers[dead].process.kill().unwrap();
        let answers = at_once(100, || seed.ask(source));
        assert_eq!(answers.len(), 1, "{answers:?}");
        // It is back within the window: its clients stay where they were sent.
        seed.servers[dead].restart();
        let message = seed.servers[dead].message;
        let again = seed.ask(source);
        if began.elapsed() < SURELY {
            assert_eq!(BTreeSet::from([again]), answers);
        }
        let until = Instant::now() + PATIENCE;
        while !sources().any(|source| seed.ask(source) == message) {
            let log = seed.balancer.process.stderr();
            assert!(
                Instant::now() < until,
                "{message} is not chosen again: {log}"
            );
            thread::sleep(Duration::from_millis(50));
        }
    }
}
