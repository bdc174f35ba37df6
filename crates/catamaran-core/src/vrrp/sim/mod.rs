//! Simulation of several nodes on a network that loses, delays, doubles and reorders adverts.
//!
//! A seed decides everything; a failure prints it. Clocks of nodes differ in their start and their
//! pace. Nodes are killed, started again, put to sleep and cut off.

mod net;
mod transitions;

use super::settings::{AdvertInterval, Family, Settings, Version};
use super::{Reason, State};
use fastrand::Rng;
use net::{Fault, Net, local_address};
use std::time::Duration;

/// The interval of all nodes.
const INTERVAL: Duration = Duration::from_millis(100);
/// The longest that an advert takes on a network that is well.
const DELAY: Duration = Duration::from_millis(20);

fn settings(priority: u8, preempt: bool) -> Settings {
    Settings {
        router_id: 51,
        version: Version::V3,
        family: Family::V4,
        priority,
        interval: AdvertInterval::try_new(INTERVAL, Version::V3).unwrap(),
        preempt,
        preempt_delay: Duration::ZERO,
        addresses: vec!["192.0.2.10".parse().unwrap()],
        peers: Vec::new(),
        group: None,
    }
}

/// Longest that a network of these nodes may take until exactly one is active: twice the longest
/// wait of a backup (the first may end with two that meet), and what is under way.
fn bound(priorities: &[u8]) -> Duration {
    let lowest = *priorities.iter().min().unwrap();
    let interval = AdvertInterval::try_new(INTERVAL, Version::V3).unwrap();
    Version::V3.down_interval(lowest, interval) * 2 + DELAY * 4
}

fn seeds() -> std::ops::Range<u64> {
    let number = |variable| Some(std::env::var(variable).ok()?.parse::<u64>().unwrap());
    let first = number("CATAMARAN_FIRST_SEED").unwrap_or(0);
    let is_full = std::env::var("CATAMARAN_ROUNDS").is_ok_and(|rounds| rounds == "full");
    let count = number("CATAMARAN_SEEDS").unwrap_or(if is_full { 10_000 } else { 300 });
    first..first + count
}

fn for_each_seed(trial: impl Fn(&mut Rng) + std::panic::RefUnwindSafe) {
    for seed in seeds() {
        let outcome = std::panic::catch_unwind(|| trial(&mut Rng::with_seed(seed)));
        assert!(outcome.is_ok(), "seed {seed} failed");
    }
}

fn random_nodes(rng: &mut Rng) -> (Vec<u8>, bool) {
    let count = rng.usize(2..=5);
    let priorities = (0..count).map(|_| rng.u8(1..=254)).collect();
    (priorities, rng.bool())
}

fn started(priorities: &[u8], preempt: bool, rng: &mut Rng) -> Net {
    let settings = priorities.iter().map(|&p| settings(p, preempt)).collect();
    let mut net = Net::new(settings, rng.fork());
    net.run(bound(priorities));
    net
}

#[test]
fn of_nodes_that_start_together_exactly_one_is_active() {
    for_each_seed(|rng| {
        let (priorities, preempt) = random_nodes(rng);
        let mut net = started(&priorities, preempt, rng);
        let first = net.the_active();
        net.run_steadily(Duration::from_secs(2), first);
        if preempt {
            let best = priorities.iter().max();
            assert_eq!(Some(&priorities[first]), best);
        }
    });
}

#[test]
fn after_the_active_was_killed_another_takes_over_within_the_bound_of_the_rfc() {
    for_each_seed(|rng| {
        let (priorities, preempt) = random_nodes(rng);
        let mut net = started(&priorities, preempt, rng);
        let killed = net.the_active();
        net.run(Duration::from_micros(rng.u64(0..100_000)));
        net.kill(killed);
        let before = net.now();
        let best_left = (0..priorities.len())
            .filter(|&node| node != killed)
            .map(|node| priorities[node])
            .max()
            .unwrap();
        let interval = AdvertInterval::try_new(INTERVAL, Version::V3).unwrap();
        // An advert may have been under way, and clocks differ by a thousandth.
        let latest = Version::V3.down_interval(best_left, interval) * 1001 / 1000 + DELAY;
        net.run_until(|net| net.active_nodes().next().is_some());
        let took = net.now().saturating_since(before);
        assert!(took <= latest, "took {took:?}, allowed are {latest:?}");
        net.run(bound(&priorities));
        let heir = net.the_active();
        net.run_steadily(Duration::from_secs(1), heir);
    });
}

#[test]
fn a_killed_active_whose_connections_end_is_replaced_when_its_next_advert_is_missed() {
    for_each_seed(|rng| {
        let (priorities, preempt) = random_nodes(rng);
        let mut net = started(&priorities, preempt, rng);
        let killed = net.the_active();
        net.run(Duration::from_micros(rng.u64(0..100_000)));
        net.kill(killed);
        let left = (0..priorities.len()).filter(|&node| node != killed);
        let best_left = left.map(|node| priorities[node]).max().unwrap();
        // One that should not serve waits as long as ever.
        if best_left == 1 {
            return;
        }
        // An advert may have been under way.
        net.run(DELAY);
        let before = net.now();
        net.part(killed, true);
        let interval = AdvertInterval::try_new(INTERVAL, Version::V3).unwrap();
        let skew = Version::V3.skew(best_left, interval);
        let latest = (INTERVAL * 3 / 2 + skew) * 1001 / 1000;
        net.run_until(|net| net.active_nodes().next().is_some());
        let took = net.now().saturating_since(before);
        assert!(took <= latest, "took {took:?}, allowed are {latest:?}");
        net.run(bound(&priorities));
        let heir = net.the_active();
        net.run_steadily(Duration::from_secs(1), heir);
    });
}

#[test]
fn a_clean_stop_hands_over_within_one_interval_and_leaves_no_gap() {
    for_each_seed(|rng| {
        let (priorities, preempt) = random_nodes(rng);
        let mut net = started(&priorities, preempt, rng);
        let stopped = net.the_active();
        // An older advert that comes after the last word would take it back.
        net.run_until(Net::is_quiet);
        net.stop(stopped);
        let before = net.now();
        let heir = |net: &Net| net.active_nodes().find(|&node| node != stopped);
        net.run_until(|net| {
            let is_held = net.active_nodes().next().is_some();
            assert!(is_held, "nobody holds the address");
            heir(net).is_some()
        });
        let took = net.now().saturating_since(before);
        assert!(took <= INTERVAL * 1001 / 1000 + DELAY, "took {took:?}");
        net.run(INTERVAL * 3);
        assert_eq!(net.state(stopped), State::Initialize);
    });
}

#[test]
fn whatever_happened_a_healed_network_has_one_active_again() {
    for_each_seed(|rng| {
        let (priorities, preempt) = random_nodes(rng);
        let mut net = started(&priorities, preempt, rng);
        net.fault = Fault {
            loss_percent: rng.u8(0..40),
            duplicate_percent: rng.u8(0..20),
            max_delay: Duration::from_millis(rng.u64(1..150)),
        };
        for _ in 0..rng.usize(1..12) {
            let node = rng.usize(0..priorities.len());
            match rng.u8(0..8) {
                0 => net.kill(node),
                1 => net.restart(node),
                2 => net.sleep(node, Duration::from_millis(rng.u64(1..1500))),
                3 => net.cut(node),
                4 => net.stop(node),
                5 => net.part(node, true),
                6 => net.part(node, false),
                _ => net.set_priority(node, rng.u8(1..=254)),
            }
            net.run(Duration::from_millis(rng.u64(0..400)));
        }
        net.heal();
        // What slow adverts were under way, then the settling itself.
        net.run(Duration::from_millis(1700) + bound(&[1]) * 2);
        let heir = net.the_active();
        net.run_steadily(Duration::from_secs(2), heir);
    });
}

#[test]
fn each_side_of_a_partition_has_one_active_and_the_stronger_one_wins_when_it_heals() {
    for_each_seed(|rng| {
        let (priorities, preempt) = random_nodes(rng);
        let mut net = started(&priorities, preempt, rng);
        let first = net.the_active();
        net.cut(first);
        net.run(bound(&priorities));
        let actives: Vec<usize> = net.active_nodes().collect();
        assert_eq!(actives.len(), 2, "one on either side");
        let rank = |&node: &usize| (priorities[node], local_address(node));
        let stronger = actives.iter().copied().max_by_key(rank).unwrap();
        net.heal();
        let announced = net.announcements(stronger);
        net.run(bound(&priorities));
        assert_eq!(net.the_active(), stronger);
        assert!(
            net.announcements(stronger) > announced,
            "the winner announces its addresses again"
        );
        let weaker = actives.into_iter().find(|&node| node != stronger).unwrap();
        assert!(net.last_announcement(stronger) > net.last_announcement(weaker));
    });
}

/// All adverts are lost, and nothing else is.
const FILTERED: Fault = Fault {
    loss_percent: 100,
    duplicate_percent: 0,
    max_delay: DELAY,
};

#[test]
fn where_only_adverts_are_lost_heartbeats_and_the_link_keep_one_active() {
    for_each_seed(|rng| {
        let (priorities, preempt) = random_nodes(rng);
        let mut net = started(&priorities, preempt, rng);
        net.has_heartbeats = true;
        let first = net.the_active();
        // What is known from elsewhere is known by the time that it is needed.
        net.run(INTERVAL * 2);
        net.fault = FILTERED;
        net.run_steadily(Duration::from_secs(5), first);
        net.kill(first);
        net.run_until(|net| net.active_nodes().next().is_some());
    });
}

#[test]
fn a_second_active_that_only_heartbeats_tell_of_ends_with_the_strongest_left() {
    for_each_seed(|rng| {
        let (mut priorities, preempt) = random_nodes(rng);
        // Of equals nobody can know by heartbeats who is to yield.
        priorities.sort_unstable();
        priorities.dedup();
        if priorities.len() < 2 {
            return;
        }
        let mut net = started(&priorities, preempt, rng);
        net.fault = FILTERED;
        net.run(bound(&priorities));
        let count = net.active_nodes().count();
        assert!(count > 1, "without heartbeats each node takes over");
        net.has_heartbeats = true;
        net.run(Duration::from_secs(10));
        let left = net.the_active();
        assert_eq!(Some(&priorities[left]), priorities.iter().max());
        // Neighbours believe whoever spoke last.
        for other in (0..priorities.len()).filter(|other| *other != left) {
            assert!(net.last_announcement(left) > net.last_announcement(other));
        }
    });
}

#[test]
fn an_active_that_slept_gives_up_before_it_says_a_word() {
    for_each_seed(|rng| {
        let (priorities, preempt) = random_nodes(rng);
        let mut net = started(&priorities, preempt, rng);
        let slept = net.the_active();
        net.sleep(slept, Duration::from_millis(rng.u64(600..3000)));
        net.run_until(|net| !net.is_asleep(slept));
        net.run(Duration::from_millis(1));
        let first = net.first_change_since_it_woke(slept);
        assert!(matches!(first, Some((Reason::Late(_), false))), "{first:?}");
    });
}

#[test]
fn without_faults_no_state_ever_changes() {
    for_each_seed(|rng| {
        let (priorities, preempt) = random_nodes(rng);
        let mut net = started(&priorities, preempt, rng);
        let first = net.the_active();
        let changes = net.changes();
        // That connections of the active end is no fault: its process may have been started again.
        for _ in 0..10 {
            net.run_steadily(Duration::from_micros(rng.u64(0..500_000)), first);
            net.part(first, true);
            net.run_steadily(Duration::from_millis(1500), first);
            net.part(first, false);
        }
        assert_eq!(net.changes(), changes);
    });
}
