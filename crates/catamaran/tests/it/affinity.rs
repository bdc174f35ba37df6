//! Affinity through the whole program: clients stay on the server they got first.

use crate::balancer::{Balancer, quoted};
use crate::{PATIENCE, eventually};
use catamaran_testkit::{
    Client, Ending, Origin, Reply, free_addr, http_get, request_bytes, tunnel,
};
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::thread;
use std::time::{Duration, Instant};

/// Servers that answer with their own number, and their addresses.
fn numbered(count: usize) -> (Vec<Origin>, Vec<SocketAddr>) {
    let origins: Vec<_> = (0..count)
        .map(|number| Origin::fixed(200, &number.to_string()).start().unwrap())
        .collect();
    let addrs = origins.iter().map(Origin::addr).collect();
    (origins, addrs)
}

/// The answers to so many requests, on one connection each.
fn answers(balancer: &Balancer, count: usize, fields: &[&str]) -> BTreeSet<String> {
    (0..count)
        .map(|_| {
            balancer
                .connect()
                .request("GET", "/", fields, b"")
                .unwrap()
                .text()
        })
        .collect()
}

fn answer_from(balancer: &Balancer, source: impl Into<IpAddr>) -> String {
    let mut client = Client::connect_from(source.into(), balancer.addr()).unwrap();
    client.get("/").unwrap().text()
}

#[test]
fn simultaneous_first_connections_of_one_source_agree() {
    let servers: Vec<_> = (0..4)
        .map(|number| {
            Origin::tcp(tunnel::banner(number.to_string()))
                .start()
                .unwrap()
        })
        .collect();
    let addrs: Vec<_> = servers.iter().map(Origin::addr).collect();
    let balancer = Balancer::start(&format!(
        "[process]\nworkers = 4\n[frontend.web]\nprotocol = \"tcp\"\nlisten = \"127.0.0.1:0\"\n\
         backend = \"app\"\n[backend.app]\nbalance = \"random\"\n\
         stick = {{ on = \"source-ip\", for = \"1h\" }}\nservers = {}\n",
        quoted(&addrs)
    ));
    let clients = Client::connect_many(balancer.addr(), 100);
    let seen: BTreeSet<_> = clients
        .into_iter()
        .map(|client| client.unwrap().receive_to_end().unwrap())
        .collect();
    assert_eq!(seen.len(), 1, "{seen:?}");
    let again = balancer.connect().receive_to_end().unwrap();
    assert!(seen.contains(&again));
}

#[test]
fn a_source_stays_for_the_window_and_is_chosen_for_anew_after_it() {
    let (_origins, addrs) = numbered(2);
    let stick = "balance = \"random\"\nstick = { on = \"source-ip\", for = \"1s\" }";
    let balancer = Balancer::http(&addrs, "", stick);
    // The window opens at the first request and is not moved by later ones: every change of
    // server lies a window or more after the one before.
    let began = Instant::now();
    let mut last: Option<(String, Instant)> = None;
    eventually("both servers", || {
        let asked = Instant::now();
        let now = answer_from(&balancer, [127, 0, 0, 5]);
        thread::sleep(Duration::from_millis(10));
        match &last {
            None => {
                last = Some((now, asked));
                None
            }
            Some((server, _)) if *server == now => None,
            Some((_, since)) => {
                assert!(since.elapsed() >= Duration::from_secs(1));
                Some(())
            }
        }
    });
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[test]
fn a_refreshed_window_stays_open_while_it_is_used() {
    let (_origins, addrs) = numbered(8);
    let stick =
        "balance = \"random\"\nstick = { on = \"source-ip\", for = \"4s\", refresh = true }";
    let balancer = Balancer::http(&addrs, "", stick);
    let mut asked = Instant::now();
    let mut server = answer_from(&balancer, [127, 0, 0, 1]);
    let mut unbroken_since = asked;
    eventually(
        "a window and a half in which the machine did not stand still",
        || {
            thread::sleep(Duration::from_millis(10));
            let (before, last) = (asked, server.clone());
            asked = Instant::now();
            server = answer_from(&balancer, [127, 0, 0, 1]);
            // The window was open if nothing took long; half of it is for a worker's late clock.
            if before.elapsed() < Duration::from_secs(2) {
                assert_eq!(server, last);
            } else {
                unbroken_since = asked;
            }
            (unbroken_since.elapsed() > Duration::from_secs(6)).then_some(())
        },
    );
}

#[test]
fn different_sources_are_chosen_for_apart() {
    let (_origins, addrs) = numbered(2);
    let stick = "balance = \"round-robin\"\nstick = { on = \"source-ip\", for = \"1h\" }";
    let balancer = Balancer::http(&addrs, "", stick);
    let sources: Vec<_> = (1..=6).map(|last| [127, 0, 0, last]).collect();
    let first: Vec<_> = sources
        .iter()
        .map(|&source| answer_from(&balancer, source))
        .collect();
    let again: Vec<_> = sources
        .iter()
        .map(|&source| answer_from(&balancer, source))
        .collect();
    assert_eq!(first, again);
    assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 2);
}

#[test]
fn a_dead_sticky_server_is_replaced_at_once_and_the_choice_kept() {
    let (mut origins, addrs) = numbered(3);
    let stick = "balance = \"random\"\nstick = { on = \"source-ip\", for = \"1h\" }";
    let balancer = Balancer::http(&addrs, "", stick);
    let first = answers(&balancer, 5, &[]);
    assert_eq!(first.len(), 1);
    let dead: usize = first.first().unwrap().parse().unwrap();
    origins[dead].crash();
    let second = answers(&balancer, 20, &[]);
    assert_eq!(second.len(), 1, "{second:?}");
    assert_ne!(first, second);
    origins[dead].restart().unwrap();
    assert_eq!(answers(&balancer, 20, &[]), second);
}

#[test]
fn a_dead_sticky_server_is_replaced_at_once_for_tcp() {
    let mut servers: Vec<_> = (0..2)
        .map(|number| {
            Origin::tcp(tunnel::banner(number.to_string()))
                .start()
                .unwrap()
        })
        .collect();
    let addrs: Vec<_> = servers.iter().map(Origin::addr).collect();
    let stick = "balance = \"random\"\nstick = { on = \"source-ip\", for = \"1h\" }";
    let balancer = Balancer::tcp(&addrs, "", stick);
    let ask = || balancer.connect().receive_to_end().unwrap();
    let first = ask();
    let dead: usize = String::from_utf8(first.clone()).unwrap().parse().unwrap();
    servers[dead].crash();
    for _ in 0..20 {
        let now = ask();
        assert!(!now.is_empty() && now != first);
    }
}

#[test]
fn a_full_sticky_server_is_waited_for() {
    let servers: Vec<_> = (0..2)
        .map(|number: u32| {
            Origin::http(move |_| {
                Reply::new(200, number.to_string()).delay(Duration::from_millis(20))
            })
            .start()
            .unwrap()
        })
        .collect();
    let list: Vec<_> = servers
        .iter()
        .map(|server| format!("{{ address = \"{}\", max-requests = 1 }}", server.addr()))
        .collect();
    let balancer = Balancer::start(&format!(
        "[frontend.web]\nlisten = \"127.0.0.1:0\"\nbackend = \"app\"\n[backend.app]\n\
         stick = {{ on = \"source-ip\", for = \"1h\" }}\nqueue = {{ timeout = \"1m\" }}\n\
         servers = [{}]\n",
        list.join(", ")
    ));
    let addr = balancer.addr();
    let seen: BTreeSet<_> = Client::connect_many(addr, 10)
        .into_iter()
        .map(|client| thread::spawn(move || client.unwrap().get("/").unwrap().text()))
        .collect::<Vec<_>>()
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();
    assert_eq!(seen.len(), 1, "{seen:?}");
}

#[test]
fn first_requests_of_one_source_that_wait_for_any_server_agree() {
    const WAITING: usize = 10;
    let gate = Arc::new(RwLock::new(()));
    let servers: Vec<_> = (0..2)
        .map(|number: u32| {
            let gate = Arc::clone(&gate);
            let origin = Origin::http(move |_| {
                drop(gate.read().unwrap());
                Reply::new(200, number.to_string())
            });
            origin.start().unwrap()
        })
        .collect();
    let list: Vec<_> = servers
        .iter()
        .map(|server| format!("{{ address = \"{}\", max-requests = 1 }}", server.addr()))
        .collect();
    let metrics = free_addr().unwrap();
    let balancer = Balancer::start(&format!(
        "[process]\nmetrics = \"{metrics}\"\n[frontend.web]\nlisten = \"127.0.0.1:0\"\n\
         backend = \"app\"\n[backend.app]\nstick = {{ on = \"source-ip\", for = \"1h\" }}\n\
         queue = {{ timeout = \"1m\" }}\nservers = [{}]\n",
        list.join(", ")
    ));
    let closed = gate.write().unwrap();
    let request = request_bytes("GET", "/", &[], b"");
    let mut others = Vec::new();
    for (host, server) in [2, 3].into_iter().zip(1..) {
        let mut other = Client::connect_from([127, 0, 0, host].into(), balancer.addr()).unwrap();
        other.send(&request).unwrap();
        eventually("a server that is full", || {
            let full: u64 = servers.iter().map(Origin::accepted).sum();
            (full == server).then_some(())
        });
        others.push(other);
    }
    let mut clients: Vec<_> = (0..WAITING).map(|_| balancer.connect()).collect();
    for client in &mut clients {
        client.send(&request).unwrap();
    }
    let waiting = format!("catamaran_backend_queue_length{{backend=\"app\"}} {WAITING}\n");
    eventually("a queue", || {
        let page = http_get(metrics, "/metrics").unwrap().text();
        page.contains(&waiting).then_some(())
    });
    drop(closed);
    let mut answer = |client: &mut Client| client.receive_response("GET").unwrap().text();
    let seen: BTreeSet<_> = clients.iter_mut().map(&mut answer).collect();
    assert_eq!(seen.len(), 1, "{seen:?}");
    let full: BTreeSet<_> = others.iter_mut().map(answer).collect();
    assert_eq!(full.len(), 2, "{full:?}");
}

#[test]
fn a_client_that_waits_for_a_server_that_goes_down_is_sent_to_another() {
    let is_well = Arc::new(AtomicBool::new(true));
    let told = Arc::clone(&is_well);
    let full = Origin::http(move |request| match request.target.as_str() {
        "/health" if told.load(Ordering::SeqCst) => Reply::new(200, ""),
        "/health" => Reply::new(503, ""),
        _ => Reply::nothing(Ending::Hang),
    });
    let full = full.start().unwrap();
    let other = Origin::fixed(200, "other").start().unwrap();
    let balancer = Balancer::start(&format!(
        "[frontend.web]\nlisten = \"127.0.0.1:0\"\nbackend = \"app\"\n[backend.app]\n\
         stick = {{ on = \"source-ip\", for = \"1h\" }}\nqueue = {{ timeout = \"1m\" }}\n\
         health = {{ http = \"/health\", interval = \"50ms\", timeout = \"1m\", fall = 1, rise = 1 }}\n\
         servers = [{{ address = \"{}\", max-requests = 1 }}, \
         {{ address = \"{}\", backup = true }}]\n",
        full.addr(),
        other.addr()
    ));
    let (mut held, mut waiting) = (balancer.connect(), balancer.connect());
    held.send(&request_bytes("GET", "/held", &[], b"")).unwrap();
    eventually("the request that fills the server", || {
        let requests = full.requests();
        requests.iter().any(|r| r.target == "/held").then_some(())
    });
    waiting.send(&request_bytes("GET", "/", &[], b"")).unwrap();
    // Nothing tells from outside that it waits.
    thread::sleep(Duration::from_millis(100));
    is_well.store(false, Ordering::SeqCst);
    for client in [&mut held, &mut waiting] {
        assert_eq!(client.receive_response("GET").unwrap().text(), "other");
    }
}

#[test]
fn a_header_may_tell_clients_apart() {
    let (_origins, addrs) = numbered(4);
    let stick = "balance = \"random\"\nstick = { on = \"header:X-User\", for = \"1h\" }";
    let balancer = Balancer::http(&addrs, "", stick);
    let mut all = BTreeSet::new();
    for user in 0..20 {
        let field = format!("X-User: {user}");
        let seen = answers(&balancer, 4, &[&field]);
        assert_eq!(seen.len(), 1, "{seen:?}");
        all.extend(seen);
    }
    // 20 draws out of 4: one server alone would be a chance of 1 in 10^11.
    assert!(all.len() > 1);
    // Without the field nothing binds.
    assert!(answers(&balancer, 60, &[]).len() > 1);
}

#[test]
fn a_cookie_that_a_server_sets_binds_to_that_server() {
    let origins: Vec<_> = (0..4)
        .map(|number: u32| {
            Origin::http(move |request| {
                let reply = Reply::new(200, number.to_string());
                if request.target == "/login" {
                    reply.field(
                        "Set-Cookie",
                        &format!("session=s{number}x; Path=/; HttpOnly"),
                    )
                } else {
                    reply
                }
            })
            .start()
            .unwrap()
        })
        .collect();
    let addrs: Vec<_> = origins.iter().map(Origin::addr).collect();
    let stick = "balance = \"random\"\nstick = { on = \"cookie:session\", for = \"1h\" }";
    let balancer = Balancer::http(&addrs, "", stick);
    for _ in 0..8 {
        let login = balancer.connect().get("/login").unwrap();
        let cookie = login.field("set-cookie").unwrap();
        let (pair, _) = cookie.split_once(';').unwrap();
        let field = format!("Cookie: theme=dark; {pair}");
        assert_eq!(
            answers(&balancer, 6, &[&field]),
            BTreeSet::from([login.text()])
        );
    }
    assert!(answers(&balancer, 60, &["Cookie: session=unknown"]).len() > 1);
}

#[test]
fn a_cookie_of_ours_binds_to_the_server_it_names() {
    let (mut origins, addrs) = numbered(4);
    let stick = "balance = \"random\"\nstick = { on = \"insert-cookie:lb\", for = \"1h\" }";
    let balancer = Balancer::http(&addrs, "", stick);
    let first = balancer.connect().get("/").unwrap();
    let cookie = first.field("set-cookie").unwrap();
    assert!(cookie.starts_with("lb="), "{cookie}");
    let pair = cookie.split(';').next().unwrap();
    let field = format!("Cookie: {pair}");
    for _ in 0..20 {
        let response = balancer
            .connect()
            .request("GET", "/", &[&field], b"")
            .unwrap();
        assert_eq!(response.text(), first.text());
        // It is known already: nothing is set again.
        assert_eq!(response.field("set-cookie"), None);
    }
    assert!(answers(&balancer, 60, &[]).len() > 1);
    assert!(answers(&balancer, 60, &["Cookie: lb=forged"]).len() > 1);
    let named: usize = first.text().parse().unwrap();
    origins[named].crash();
    let response = balancer
        .connect()
        .request("GET", "/", &[&field], b"")
        .unwrap();
    assert_ne!(response.text(), first.text());
    let fresh = response.field("set-cookie").unwrap();
    assert_ne!(fresh.split(';').next(), Some(pair));
}

#[test]
fn a_learned_cookie_goes_on_after_its_server_died() {
    let mut origins: Vec<_> = (0..2)
        .map(|number: u32| {
            Origin::http(move |_| {
                Reply::new(200, number.to_string())
                    .field("Set-Cookie", &format!("session=of-{number}"))
            })
            .start()
            .unwrap()
        })
        .collect();
    let addrs: Vec<_> = origins.iter().map(Origin::addr).collect();
    let stick = "stick = { on = \"cookie:session\", for = \"1h\" }";
    let balancer = Balancer::http(&addrs, "", stick);
    let first = balancer.connect().get("/").unwrap();
    let field = format!("Cookie: {}", first.field("set-cookie").unwrap());
    let dead: usize = first.text().parse().unwrap();
    origins[dead].crash();
    for _ in 0..5 {
        let response = balancer
            .connect()
            .request("GET", "/", &[&field], b"")
            .unwrap();
        assert_eq!(response.status, 200);
        assert_ne!(response.text(), first.text());
    }
    assert!(origins[1 - dead].wait_for_requests(5, PATIENCE));
}

#[test]
fn two_balancers_with_the_same_servers_in_any_order_choose_alike() {
    let (_origins, addrs) = numbered(5);
    let backwards: Vec<SocketAddr> = addrs.iter().rev().copied().collect();
    let start = |balance: &str, addrs: &[SocketAddr]| {
        Balancer::start(&format!(
            "[frontend.web]\nlisten = \"127.0.0.1:0\"\nbackend = \"app\"\n\
             [backend.app]\nbalance = {balance}\nservers = {}\n",
            quoted(addrs)
        ))
    };
    for balance in [
        "\"source\"",
        "{ hash = \"header:X-User\" }",
        // Far below the bound: a request may count for a moment after its client has the answer.
        "{ hash = \"header:X-User\", method = \"ring\", max-load = \"10000%\" }",
    ] {
        let nodes = [start(balance, &addrs), start(balance, &backwards)];
        let mut seen = BTreeSet::new();
        for number in 0..60_u8 {
            let user = format!("X-User: {number}");
            let [one, other] = nodes.each_ref().map(|node| {
                let source = IpAddr::from([127, 0, 1, number + 1]);
                let mut client = Client::connect_from(source, node.addr()).unwrap();
                client.request("GET", "/", &[&user], b"").unwrap().text()
            });
            assert_eq!(one, other, "{balance}, {user}");
            seen.insert(one);
        }
        assert!(seen.len() > 2, "{balance} uses only {seen:?}");
    }
}
