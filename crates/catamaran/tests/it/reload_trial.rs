//! The trial of reloads: load, WebSockets and tunnels, while everything that a reload can change does.

use crate::balancer::{Balancer, quoted};
use crate::trial::{Drops, is_full, rounds};
use catamaran_testkit::{Client, Load, Origin, Reply, RunningLoad, Usage, free_addr, tunnel};
use std::fmt::Write as _;
use std::net::SocketAddr;

/// Everything that stays, and what comes and goes.
struct Scene {
    web: SocketAddr,
    raw: SocketAddr,
    /// A listener that is there in every other configuration.
    extra: SocketAddr,
    servers: [SocketAddr; 2],
    echo: SocketAddr,
}

impl Scene {
    fn config(&self, round: usize) -> String {
        let is_odd = round % 2 == 1;
        let workers = [2, 3, 1, 4][round % 4];
        let listen = if is_odd {
            quoted(&[self.web, self.extra])
        } else {
            quoted(&[self.web])
        };
        let servers = if is_odd {
            &self.servers[..]
        } else {
            &self.servers[..1]
        };
        let mut text = format!(
            "[process]\nworkers = {workers}\n[admin]\nsocket = false\n\
             [frontend.web]\nlisten = {listen}\nbackend = \"app\"\n\
             [frontend.raw]\nprotocol = \"tcp\"\nlisten = \"{}\"\nbackend = \"echo\"\n\
             [backend.app]\nservers = {}\nmax-idle = {}\n\
             [backend.echo]\nservers = [\"{}\"]\n",
            self.raw,
            quoted(servers),
            10 + round % 5,
            self.echo,
        );
        if is_odd {
            text += "[[frontend.web.route]]\npath = \"/more\"\nbackend = \"app\"\n";
        }
        text
    }
}

/// A connection that was upgraded.
fn web_socket(address: SocketAddr) -> Client {
    let mut client = Client::connect(address).unwrap();
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    client.send(upgrade.as_bytes()).unwrap();
    let head = client.receive_until(b"\r\n\r\n").unwrap();
    assert!(head.starts_with(b"HTTP/1.1 101"), "{head:?}");
    client
}

/// Sends a word there and back over each.
fn talk(tunnels: &mut [Client]) {
    for client in tunnels.iter_mut() {
        client.send(b"word").unwrap();
    }
    for client in tunnels {
        assert_eq!(client.receive(4).unwrap(), b"word");
    }
}

fn loads(address: SocketAddr) -> [RunningLoad; 2] {
    let (rate, threads) = if is_full() { (1000.0, 64) } else { (100.0, 16) };
    let load = || Load::new(address, rate).max_in_flight(threads);
    [load().start(), load().without_keep_alive().start()]
}

#[test]
fn reloads_of_all_kinds_under_load_lose_nothing() {
    let origin = Origin::http(|request| {
        let is_upgrade = request.head.field("upgrade").is_some();
        if is_upgrade {
            Reply::upgrade("websocket", tunnel::echo())
        } else {
            Reply::new(200, "up")
        }
    });
    let origin = origin.without_records().start().unwrap();
    let second = Origin::fixed(200, "up").without_records().start().unwrap();
    let echo = Origin::tcp(tunnel::echo()).start().unwrap();
    let scene = Scene {
        web: free_addr().unwrap(),
        raw: free_addr().unwrap(),
        extra: free_addr().unwrap(),
        servers: [origin.addr(), second.addr()],
        echo: echo.addr(),
    };
    let balancer = Balancer::start(&scene.config(0));
    let (sockets, relays) = if is_full() { (200, 50) } else { (20, 5) };
    let mut tunnels: Vec<Client> = (0..sockets).map(|_| web_socket(scene.web)).collect();
    tunnels.extend((0..relays).map(|_| Client::connect(scene.raw).unwrap()));
    talk(&mut tunnels);
    let before = Drops::so_far();
    let loads = loads(scene.web);
    for round in 1..=rounds(100) {
        balancer.reload(&scene.config(round), round);
        if round % 2 == 1 {
            let mut client = Client::connect(scene.extra).unwrap();
            assert_eq!(client.get("/more").unwrap().text(), "up");
        }
        if round % 10 == 0 {
            talk(&mut tunnels);
        }
    }
    talk(&mut tunnels);
    let reports = loads.map(RunningLoad::stop);
    for report in &reports {
        eprintln!(
            "{} requests, longest {:?}",
            report.ok,
            report.quantile(1.0).unwrap()
        );
        assert!(report.failures() == 0 && report.ok > 0, "{report:?}");
    }
    eprintln!("{}", before.assert_no_more(&reports));
}

#[test]
fn memory_does_not_grow_with_the_number_of_reloads() {
    let origin = Origin::fixed(200, "up").without_records().start().unwrap();
    let scene = Scene {
        web: free_addr().unwrap(),
        raw: free_addr().unwrap(),
        extra: free_addr().unwrap(),
        servers: [origin.addr(), origin.addr()],
        echo: origin.addr(),
    };
    // The same server twice is none of a configuration.
    let config = |round| {
        scene.config(round).replace(
            &quoted(&scene.servers),
            &format!("[\"{}\", \"127.0.0.1:9\"]", origin.addr()),
        )
    };
    let balancer = Balancer::start(&config(0));
    let data = balancer.process.pids()[1];
    let resident = || Usage::of(data).unwrap().resident_bytes;
    // The list of events and the allocator's free lists are full after some 500 reloads; what grows
    // after that would grow for ever.
    let warm = rounds(500).max(40);
    let all = warm + rounds(1000);
    for round in 1..=warm {
        balancer.reload(&config(round), round);
    }
    let before = resident();
    for round in warm + 1..=all {
        balancer.reload(&config(round), round);
    }
    let after = resident();
    eprintln!("{before} bytes after {warm} reloads, {after} after {all}");
    assert!(after <= before + before / 20, "{before} -> {after}");
}

#[test]
fn a_reload_of_thousands_of_servers_and_routes_is_put_in_place() {
    let count = if is_full() { 10_000 } else { 1000 };
    let origin = Origin::fixed(200, "up").without_records().start().unwrap();
    let web = free_addr().unwrap();
    let config = |weight: usize| {
        let mut text = format!(
            "[process]\nworkers = 2\n[admin]\nsocket = false\n\
             [frontend.web]\nlisten = \"{web}\"\nbackend = \"app\"\n\
             [backend.app]\nservers = [\"{}\"]\n[backend.many]\nservers = [\n",
            origin.addr()
        );
        for number in 0..count {
            let (high, low) = (number / 250, number % 250);
            writeln!(
                text,
                "{{ address = \"10.9.{high}.{low}:80\", weight = {weight} }},"
            )
            .unwrap();
        }
        text += "]\n";
        for number in 0..count {
            writeln!(
                text,
                "[[frontend.web.route]]\npath = \"/r{number}\"\nbackend = \"app\""
            )
            .unwrap();
        }
        text
    };
    let balancer = Balancer::start(&config(1));
    for round in 1..=3 {
        balancer.reload(&config(1 + round), round);
        let mut client = Client::connect(web).unwrap();
        assert_eq!(client.get("/r7/x").unwrap().text(), "up");
    }
    let log = balancer.process.stderr();
    let took = log
        .lines()
        .filter(|line| line.contains("reloaded changes="));
    for line in took {
        eprintln!("{count} servers and routes: {line}");
    }
}
