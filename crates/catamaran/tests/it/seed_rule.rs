//! The seed rule: connections of one source within 2 s of the first go to the same server; after
//! that it is chosen anew.

use crate::balancer::Balancer;
use crate::echo;
use catamaran_testkit::{Client, Process};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

const WINDOW: Duration = Duration::from_secs(2);

/// Sources enough that all of them choosing alike by chance is out of the question (2^-23).
const SOURCES: u8 = 24;

/// The seed's balancer before its two servers, with several workers.
struct Seed {
    balancer: Balancer,
    address: SocketAddr,
    servers: [(Process, SocketAddr); 2],
}

impl Seed {
    fn start(protocol: &str) -> Self {
        let servers = [echo("Coucou", &[]), echo("Hello World", &[])];
        let balancer = Balancer::start(&format!(
            "[process]\nworkers = 4\n\
             [frontend.echo]\nprotocol = \"{protocol}\"\nlisten = \"127.0.0.1:0\"\nbackend = \"echo\"\n\
             [backend.echo]\nbalance = \"random\"\nservers = [\"{}\", \"{}\"]\n\
             stick = {{ on = \"source-ip\", for = \"2s\" }}\n",
            servers[0].1, servers[1].1
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
    for source in sources() {
        let began = Instant::now();
        let answers = at_once(100, || ask(source));
        // A machine so slow that the window closed meanwhile proves nothing.
        if began.elapsed() < WINDOW {
            assert_eq!(answers.len(), 1, "{source}: {answers:?}");
        }
        seen.extend(answers);
    }
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
    let mut before = Instant::now();
    let mut first = seed.ask_all();
    let mut has_changed = false;
    for _ in 0..3 {
        let after = Instant::now();
        let mut asked = 0;
        loop {
            let again = seed.ask_all();
            // Answered before the window of the very first can have closed.
            if before.elapsed() >= WINDOW {
                break;
            }
            assert_eq!(again, first);
            asked += 1;
            thread::sleep(Duration::from_millis(100));
        }
        assert!(asked > 0, "the machine is too slow for this test");
        thread::sleep((after + WINDOW).saturating_duration_since(Instant::now()));
        // Every window has closed, also those that opened again in the last turn of the loop: they
        // may have, so wait for them too.
        thread::sleep(WINDOW);
        before = Instant::now();
        let next = seed.ask_all();
        has_changed |= next != first;
        first = next;
    }
    assert!(has_changed, "no source was ever given another server");
}

#[test]
fn a_dead_sticky_server_is_replaced_at_once_and_for_the_rest_of_the_window() {
    let mut seed = Seed::start("tcp");
    let first = seed.ask_all();
    let dead = usize::from(first[0] == "Hello World");
    let alive = ["Hello World", "Coucou"][dead];
    seed.servers[dead].0.kill().unwrap();
    let began = Instant::now();
    assert_eq!(seed.ask(sources().next().unwrap()), alive);
    // At once: the refused connection costs no timeout. Much less in truth, but machines are busy.
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
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
        seed.servers[dead].0.kill().unwrap();
        let answers = at_once(100, || seed.ask(source));
        assert_eq!(answers.len(), 1, "{answers:?}");
        // It is back within the window: its clients stay where they were sent.
        let address = seed.servers[dead].1.to_string();
        let message = ["Coucou", "Hello World"][dead];
        let restarted = crate::catamaran(&["echo", "--listen", &address, "--message", message])
            .start()
            .unwrap();
        restarted.wait_for_stdout("\n", crate::PATIENCE).unwrap();
        let again = seed.ask(source);
        if began.elapsed() < WINDOW {
            assert_eq!(BTreeSet::from([again]), answers);
        }
        let until = Instant::now() + crate::PATIENCE;
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
