//! Simulation of two to five nodes on a network that loses, delays, doubles and reorders payloads.
//!
//! A seed decides everything; a failure prints it. Clocks of nodes differ in their start, their pace
//! and their time of day, by up to five seconds. Nodes are killed, started again and cut off. A
//! hundred seeds are tried, a thousand with CATAMARAN_ROUNDS=full, or as `cargo xtask sim` says.

mod net;

use super::{Event, Incarnation, Node, Now, Settings, WAIT_FOR_PEERS};
use crate::Timestamp;
use crate::model::{Denial, RateKey, RateLimit};
use crate::stick::Why;
use fastrand::Rng;
use net::{Fault, Net, TICK};
use std::time::Duration;

const CLIENTS: u64 = 40;

fn number(variable: &str, otherwise: u64) -> u64 {
    let value = std::env::var(variable).ok();
    value.map_or(otherwise, |value| value.parse().expect("a number"))
}

fn for_each_seed(trial: impl Fn(&mut Rng) + std::panic::RefUnwindSafe) {
    let first = number("CATAMARAN_FIRST_SEED", 0);
    let is_full = std::env::var("CATAMARAN_ROUNDS").is_ok_and(|rounds| rounds == "full");
    let count = number("CATAMARAN_SEEDS", if is_full { 1000 } else { 100 });
    for seed in first..first + count {
        let outcome = std::panic::catch_unwind(|| trial(&mut Rng::with_seed(seed)));
        assert!(
            outcome.is_ok(),
            "seed {seed} failed; to repeat it: cargo xtask sim --seeds 1 --first {seed}"
        );
    }
}

fn random_fault(rng: &mut Rng) -> Fault {
    Fault {
        loss_percent: rng.u8(0..30),
        duplicate_percent: rng.u8(0..20),
        max_delay: Duration::from_millis(rng.u64(1..300)),
    }
}

/// Something happens to the nodes or to the network. Returns whether a node may have forgotten.
fn disturb(net: &mut Net, rng: &mut Rng) -> bool {
    let count = net.nodes.len();
    let node = rng.usize(0..count);
    let what = rng.u8(0..6);
    match what {
        0 => net.kill(node),
        1 => net.start(node),
        2 => net.cut(node, rng.usize(0..count)),
        3 => net.cut_off(node),
        4 => net.mend(),
        _ => net.fault = random_fault(rng),
    }
    what < 2
}

/// The node that a client comes to.
fn any_node(net: &Net, rng: &mut Rng) -> usize {
    rng.usize(0..net.nodes.len())
}

#[test]
fn whatever_happened_tables_are_the_same_when_all_is_well_again() {
    for_each_seed(|rng| {
        let mut net = Net::new(rng.usize(2..=5), LONG, rng.bool(), rng.fork());
        net.fault = random_fault(rng);
        for _ in 0..rng.usize(1..10) {
            for _ in 0..rng.usize(0..20) {
                let node = any_node(&net, rng);
                net.visit(node, rng.u64(0..CLIENTS), rng.u8(0..10) > 0);
                net.run(Duration::from_millis(rng.u64(0..40)));
            }
            disturb(&mut net, rng);
        }
        net.heal();
        net.settle(Duration::from_secs(20));
        // Those who died may have been the last to speak to somebody.
        net.run(Duration::from_secs(6));
        net.settle(Duration::from_secs(5));
        for client in 0..CLIENTS {
            let servers: Vec<_> = (0..net.nodes.len())
                .filter_map(|node| Some(net.bound(node, client)?.0))
                .collect();
            let is_same = servers.windows(2).all(|pair| pair[0] == pair[1]);
            assert!(is_same, "client {client}: {servers:?}");
            let is_everywhere = servers.is_empty() || servers.len() == net.nodes.len();
            assert!(is_everywhere, "client {client} is known to some only");
        }
    });
}

#[test]
fn a_node_that_was_cut_off_is_behind_until_it_knows_what_the_others_saw() {
    for_each_seed(|rng| {
        let mut net = Net::new(2, LONG, false, rng.fork());
        net.settle(Duration::from_secs(20));
        net.cut_off(0);
        net.run(Duration::from_secs(3));
        assert!(!net.is_behind(0), "nobody is there to tell");
        for client in 0..CLIENTS {
            net.visit(1, client, true);
        }
        net.run(TICK * 2);
        net.mend();
        let knows = |net: &Net| (0..CLIENTS).all(|client| net.bound(0, client).is_some());
        let mut was_behind = false;
        // From the first heartbeat on it knows that there is more.
        while !knows(&net) {
            was_behind |= net.is_behind(0);
            assert!(
                !was_behind || net.is_behind(0),
                "it is told that it knows all"
            );
            net.tick();
        }
        assert!(was_behind || net.is_behind(0), "it never knew");
        net.settle(Duration::from_secs(20));
        assert!(net.is_connected(0) && !net.is_behind(0));
        assert!(!net.is_behind(1), "it missed nothing");
    });
}

#[test]
fn no_window_starts_again_because_somebody_told_of_it() {
    for_each_seed(|rng| {
        let window = Duration::from_millis(rng.u64(500..3000));
        let refresh = rng.bool();
        let mut net = Net::new(rng.usize(2..=5), window, refresh, rng.fork());
        net.fault = random_fault(rng);
        let mut opened = vec![Timestamp::ZERO; 4];
        // In the beginning all teach all.
        let mut hops = u32::try_from(net.nodes.len()).unwrap();
        for _ in 0..rng.usize(10..60) {
            let client = rng.u64(0..4);
            let node = any_node(&net, rng);
            let why = net.visit(node, client, true);
            // Who changes what it was told tells of it itself.
            hops += u32::from(why == Some(Why::Rechosen));
            let opens = why == Some(Why::New) || refresh && why.is_some();
            if opens {
                opened[usize::try_from(client).unwrap()] = net.now();
            }
            if rng.u8(0..8) == 0 {
                disturb(&mut net, rng);
                hops += 1;
            }
            net.run(Duration::from_millis(rng.u64(0..200)));
            // Each telling adds what it was under way; a told entry is told again to one who comes.
            let slack = (Duration::from_millis(300) + TICK) * hops;
            for (client, opened) in (0..).zip(&opened) {
                for node in 0..net.nodes.len() {
                    let end = net.bound(node, client).map(|(_, end)| end);
                    let latest = *opened + window + slack;
                    assert!(end.is_none_or(|end| end <= latest), "{end:?}, {latest:?}");
                }
            }
        }
    });
}

#[test]
fn no_request_is_counted_twice_and_in_the_end_all_are_counted() {
    for_each_seed(|rng| {
        let mut net = Net::new(rng.usize(2..=5), LONG, false, rng.fork());
        net.fault = random_fault(rng);
        let mut passed = [0_u64; 4];
        let mut has_forgotten = false;
        for _ in 0..rng.usize(10..60) {
            let client = rng.usize(0..4);
            let node = any_node(&net, rng);
            for _ in 0..rng.u8(0..5) {
                passed[client] += u64::from(net.request(node, client as u64));
            }
            if rng.u8(0..12) == 0 {
                has_forgotten |= disturb(&mut net, rng);
            }
            net.run(Duration::from_millis(rng.u64(0..100)));
            for node in 0..net.nodes.len() {
                if net.nodes[node].node.is_some() {
                    for (client, passed) in (0..).zip(&passed) {
                        assert!(net.rate_sum(node, client) <= *passed);
                    }
                }
            }
        }
        net.heal();
        net.settle(Duration::from_secs(20));
        for (client, passed) in (0..).zip(passed) {
            for node in 0..net.nodes.len() {
                let sum = net.rate_sum(node, client);
                assert!(sum <= passed, "{sum} of {passed}");
                assert!(sum == passed || has_forgotten, "{sum} of {passed}");
            }
        }
    });
}

/// A limit holds for the pair: what one lets pass, the other counts.
#[test]
fn a_limit_of_100_is_100_for_the_pair_even_for_a_burst_to_both() {
    let mut net = Net::new(2, LONG, false, Rng::with_seed(1));
    net.set_limit(&RateLimit {
        requests: 100,
        period: Duration::from_secs(1),
        burst: 100,
        by: RateKey::SourceIp,
        max_keys: 100,
        denial: Denial::default(),
    });
    net.settle(Duration::from_secs(5));
    let start = net.now();
    let mut passed = 0_u32;
    while net.now().saturating_since(start) < Duration::from_secs(10) {
        for node in [0, 1] {
            for _ in 0..10 {
                passed += u32::from(net.request(node, 7));
            }
        }
        net.run(TICK);
    }
    // The burst, then 100 in each of ten seconds; and what passed while the word was under way.
    let allowed = 100.0 + 1000.0;
    let lag = (TICK * 2 + net::WELL.max_delay).as_secs_f64();
    let most = allowed * 1.05 + 100.0 * lag;
    assert!(f64::from(passed) <= most, "{passed} of {most}");
    assert!(f64::from(passed) >= allowed * 0.9, "{passed} of {allowed}");
}

/// Nobody waits for news before giving out what is left, and yet it is given out once.
#[test]
fn bursts_to_all_nodes_at_once_get_no_more_than_one_node_would_give() {
    for_each_seed(|rng| {
        let (requests, burst) = (rng.u32(20..500), rng.u32(1..300));
        let nodes = rng.usize(2..=5);
        let mut net = Net::new(nodes, LONG, false, rng.fork());
        net.set_limit(&RateLimit {
            requests,
            period: Duration::from_secs(1),
            burst,
            by: RateKey::SourceIp,
            max_keys: 100,
            denial: Denial::default(),
        });
        net.settle(Duration::from_secs(5));
        let start = net.now();
        let lag = (TICK * 2 + net::WELL.max_delay).as_secs_f64();
        let mut passed = 0_u32;
        for _ in 0..rng.usize(1..40) {
            for node in 0..nodes {
                for _ in 0..rng.u32(0..300) {
                    passed += u32::from(net.request(node, 7));
                }
            }
            let time = net.now().saturating_since(start).as_secs_f64();
            let allowed = f64::from(burst) + f64::from(requests) * time;
            // A node that has anything left at all gives out one.
            let most = allowed * 1.05 + f64::from(requests) * lag + nodes as f64;
            assert!(f64::from(passed) <= most, "{passed} of {allowed}");
            net.run(Duration::from_millis(rng.u64(0..300)));
        }
    });
}

/// Of a pair with one virtual address one node has all clients, and they have the whole limit.
#[test]
fn a_node_whose_peers_have_no_clients_gives_a_whole_burst_at_once() {
    let mut net = Net::new(2, LONG, false, Rng::with_seed(1));
    net.set_limit(&RateLimit {
        requests: 100,
        period: Duration::from_secs(1),
        burst: 100,
        by: RateKey::SourceIp,
        max_keys: 100,
        denial: Denial::default(),
    });
    net.settle(Duration::from_secs(5));
    for _ in 0..20 {
        assert!(net.request(0, 1));
        net.run(Duration::from_millis(100));
    }
    let passed = (0..200).filter(|_| net.request(0, 7)).count();
    assert_eq!(passed, 100);
}

#[test]
fn a_node_that_comes_to_others_is_current_when_it_was_told_all() {
    let mut net = Net::new(3, LONG, false, Rng::with_seed(1));
    for client in 0..CLIENTS {
        net.visit(0, client, true);
    }
    net.settle(Duration::from_secs(5));
    net.start(2);
    assert!(net.bound(2, 1).is_none());
    net.settle(Duration::from_secs(5));
    for client in 0..CLIENTS {
        let server = |node| net.bound(node, client).unwrap().0;
        assert_eq!(server(2), server(0));
    }
    assert!(net.nodes[2].events.contains(&Event::Current));
}

#[test]
fn a_node_that_was_current_is_so_from_the_start_of_another_run_in_its_process() {
    let now = Now {
        mono: Timestamp::from_nanos(1 << 50),
        wall_ms: 1 << 40,
    };
    for was_current in [false, true] {
        let settings = Settings {
            node: "a".to_owned(),
            peers: vec!["b".to_owned()],
            incarnation: Incarnation(1),
            max_counts: 10,
            program: String::new(),
            is_restored: true,
            is_current: was_current,
        };
        let mut node = Node::new(now, settings).unwrap();
        node.handle_timeout(now);
        assert_eq!(node.is_current(), was_current);
        let later = Now {
            mono: now.mono + WAIT_FOR_PEERS,
            ..now
        };
        node.handle_timeout(later);
        assert!(node.is_current());
        assert_eq!(node.poll_event() == Some(Event::Current), !was_current);
    }
}

const LONG: Duration = Duration::from_secs(600);
