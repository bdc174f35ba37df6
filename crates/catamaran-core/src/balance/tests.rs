//! How rotations pick, seen from outside.

use super::*;
use crate::model::{Backend, Balance, HashKey, HashMethod, Name, Server, ServerAddr, Weight};
use crate::server::{Admin, ServerState};
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;

/// A backend with its states and cursor.
struct Scene {
    backend: Backend,
    states: Vec<Arc<ServerState>>,
    cursor: Arc<Cursor>,
    rng: fastrand::Rng,
}

impl Scene {
    fn new(balance: Balance, weights: &[u16]) -> Self {
        let servers: Vec<Server> = (0..)
            .zip(weights)
            .map(|(port, weight)| Server {
                name: Name::new(&format!("s{port}")),
                weight: Weight::new(*weight).unwrap(),
                ..Server::new(ServerAddr::Ip(([10, 0, 0, 1], port).into()))
            })
            .collect();
        let states = servers
            .iter()
            .map(|server| Arc::new(ServerState::new(server.name.clone())))
            .collect();
        let mut backend = Backend::new(Name::new("api"), servers);
        backend.balance = balance;
        Self {
            backend,
            states,
            cursor: Arc::default(),
            rng: fastrand::Rng::with_seed(7),
        }
    }

    fn rotation(&self) -> Rotation {
        self.rotation_at(Timestamp::ZERO)
    }

    fn rotation_at(&self, now: Timestamp) -> Rotation {
        Rotation::build(&self.backend, &self.states, &self.cursor, now)
    }

    fn pick(&mut self) -> Pick {
        self.rotation().pick(&ANY, &mut self.rng)
    }

    fn counts(&mut self, rotation: &Rotation, picks: u32) -> Vec<u32> {
        let mut counts = vec![0; self.states.len()];
        for _ in 0..picks {
            if let Pick::Server(id) = rotation.pick(&ANY, &mut self.rng) {
                counts[id.index()] += 1;
            }
        }
        counts
    }
}

const ANY: Request<'_> = Request {
    now: Timestamp::ZERO,
    hash: None,
    tried: &[],
};

fn server(id: u32) -> Pick {
    Pick::Server(ServerId(id))
}

fn hash_by(method: HashMethod) -> Balance {
    Balance::Hash {
        key: HashKey::Path,
        method,
    }
}

fn every_balance() -> [Balance; 9] {
    [
        Balance::LeastRequests,
        Balance::RoundRobin,
        Balance::Random,
        Balance::LeastConnections,
        Balance::Ewma,
        Balance::Source,
        hash_by(HashMethod::Maglev),
        hash_by(HashMethod::BoundedRing { percent: 125 }),
        Balance::First,
    ]
}

#[test]
fn random_picks_follow_the_weights() {
    let mut scene = Scene::new(Balance::Random, &[1, 2, 5, 0]);
    let rotation = scene.rotation();
    let counts = scene.counts(&rotation, 80_000);
    for (count, expected) in counts.iter().zip([10_000_u32, 20_000, 50_000, 0]) {
        assert!(count.abs_diff(expected) < 600, "{counts:?}");
    }
}

#[test]
fn least_requests_fills_servers_by_weight() {
    let mut scene = Scene::new(Balance::LeastRequests, &[1, 2, 5]);
    let rotation = scene.rotation();
    for _ in 0..8_000 {
        if let Pick::Server(id) = rotation.pick(&ANY, &mut scene.rng) {
            scene.states[id.index()].begin();
        }
    }
    let loads: Vec<_> = scene.states.iter().map(|s| s.in_flight()).collect();
    for (load, expected) in loads.iter().zip([1_000_u32, 2_000, 5_000]) {
        assert!(load.abs_diff(expected) < 50, "{loads:?}");
    }
}

#[test]
fn the_less_loaded_of_two_wins() {
    for balance in [Balance::LeastRequests, Balance::LeastConnections] {
        let mut scene = Scene::new(balance, &[1, 1]);
        scene.states[0].begin();
        for _ in 0..100 {
            assert_eq!(scene.pick(), server(1));
        }
    }
}

#[test]
fn least_connections_gives_each_of_a_thousand_servers_one_before_any_gets_two() {
    // Weights of which one is the heaviest and some take nobody.
    let weights: Vec<u16> = (0..1000)
        .map(|n| if n % 100 == 7 { 0 } else { 3 })
        .collect();
    let mut scene = Scene::new(Balance::LeastConnections, &weights);
    let rotation = scene.rotation();
    for round in 1..=2 {
        for _ in 0..990 {
            let Pick::Server(id) = rotation.pick(&ANY, &mut scene.rng) else {
                panic!("a server is free");
            };
            scene.states[id.index()].begin();
        }
        let is_even = |(weight, state): (&u16, &Arc<ServerState>)| {
            state.in_flight() == if *weight == 0 { 0 } else { round }
        };
        assert!(weights.iter().zip(&scene.states).all(is_even));
    }
}

#[test]
fn ties_are_broken_at_random() {
    for balance in [
        Balance::LeastRequests,
        Balance::LeastConnections,
        Balance::Ewma,
    ] {
        let mut scene = Scene::new(balance, &[1, 1]);
        let rotation = scene.rotation();
        let counts = scene.counts(&rotation, 10_000);
        assert!(counts[0].abs_diff(counts[1]) < 500, "{counts:?}");
    }
}

proptest! {
    #[test]
    fn least_requests_shares_idle_servers_out_by_weight(
        weights in proptest::collection::vec(1_u16..=256, 2..6),
        seed: u64,
    ) {
        const PICKS: u32 = 20_000;
        let mut scene = Scene::new(Balance::LeastRequests, &weights);
        scene.rng = fastrand::Rng::with_seed(seed);
        let rotation = scene.rotation();
        // Each request is over before the next one comes.
        let counts = scene.counts(&rotation, PICKS);
        let total: u32 = weights.iter().copied().map(u32::from).sum();
        for (count, weight) in counts.iter().zip(&weights) {
            let expected = PICKS * u32::from(*weight) / total;
            // More than eight standard deviations.
            prop_assert!(count.abs_diff(expected) < 600, "{weights:?}: {counts:?}");
        }
    }
}

#[test]
fn a_busy_server_yields_by_the_rule_of_the_weights() {
    let mut scene = Scene::new(Balance::LeastRequests, &[1, 4]);
    // 1/1 against 2/4, 3/4, then 4/4: a tie, and 5/4.
    for in_flight in 1..=5 {
        scene.states[1].begin();
        let rotation = scene.rotation();
        let light = scene.counts(&rotation, 100)[0];
        match in_flight {
            1..=2 => assert_eq!(light, 0),
            3 => assert!((1..100).contains(&light), "{light}"),
            _ => assert_eq!(light, 100),
        }
    }
}

#[test]
fn the_quicker_server_wins_until_it_is_loaded() {
    let mut scene = Scene::new(Balance::Ewma, &[1, 1]);
    scene.states[0].observe_latency(Timestamp::ZERO, Duration::from_millis(10));
    scene.states[1].observe_latency(Timestamp::ZERO, Duration::from_millis(35));
    assert_eq!(scene.pick(), server(0));
    for _ in 0..3 {
        scene.states[0].begin();
    }
    assert_eq!(scene.pick(), server(1));
}

#[test]
fn round_robin_is_smooth_and_goes_on_after_a_rebuild() {
    let mut scene = Scene::new(Balance::RoundRobin, &[5, 1, 1]);
    let picks: Vec<_> = (0..14).map(|_| scene.pick()).collect();
    let expected = [0, 0, 1, 0, 2, 0, 0, 0, 0, 1, 0, 2, 0, 0].map(server);
    assert_eq!(picks, expected);
}

#[test]
fn round_robin_passes_over_a_server_that_has_just_gone_down() {
    let mut scene = Scene::new(Balance::RoundRobin, &[1, 1, 1]);
    let rotation = scene.rotation();
    scene.states[1].mark_refusing();
    assert_eq!(scene.counts(&rotation, 30)[1], 0);
}

#[test]
fn backups_serve_only_when_no_primary_is_usable() {
    let mut scene = Scene::new(Balance::Random, &[1, 1, 1]);
    scene.backend.servers[2].backup = true;
    scene.states[0].mark_checked_down();
    let stale = scene.rotation();
    assert!(!stale.uses_backups());
    assert_eq!(scene.counts(&stale, 50), [0, 50, 0]);
    scene.states[1].set_admin(Timestamp::ZERO, Admin::Drain);
    assert_eq!(scene.counts(&stale, 50), [0, 0, 50]);
    assert!(scene.rotation().uses_backups());
    assert_eq!(scene.pick(), server(2));
}

#[test]
fn a_full_primary_does_not_spill_into_backups() {
    let mut scene = Scene::new(Balance::LeastRequests, &[1, 1]);
    scene.backend.servers[1].backup = true;
    scene.backend.servers[0].max_requests = Some(1);
    scene.states[0].begin();
    assert_eq!(scene.pick(), Pick::AllFull);
}

#[test]
fn panic_ignores_ejections_only() {
    let mut scene = Scene::new(Balance::Random, &[1, 1, 1, 1]);
    scene.states[0].eject();
    scene.states[1].eject();
    assert!(!scene.rotation().is_panicking());
    scene.states[2].mark_checked_down();
    let rotation = scene.rotation();
    assert!(rotation.is_panicking() && rotation.takes_sticky(&scene.states[0]));
    assert!(!rotation.takes_sticky(&scene.states[2]));
    let counts = scene.counts(&rotation, 300);
    assert!(counts[0] > 0 && counts[1] > 0 && counts[2] == 0 && counts[3] > 0);
    scene.backend.panic_threshold = 0;
    assert_eq!(scene.pick(), server(3));
}

#[test]
fn panic_uses_the_ejected_when_nothing_else_is_left() {
    let mut scene = Scene::new(Balance::Random, &[1]);
    scene.states[0].eject();
    assert_eq!(scene.pick(), server(0));
    scene.backend.panic_threshold = 0;
    assert_eq!(scene.pick(), Pick::NoneUsable);
}

#[test]
fn a_backup_is_preferred_to_an_ejected_primary() {
    let mut scene = Scene::new(Balance::Random, &[1, 1]);
    scene.backend.servers[1].backup = true;
    scene.states[0].eject();
    assert_eq!(scene.pick(), server(1));
}

#[test]
fn a_server_that_came_up_starts_with_a_tenth() {
    let mut scene = Scene::new(Balance::Random, &[1, 1]);
    scene.backend.slow_start = Some(Duration::from_secs(9));
    let up = Timestamp::from_nanos(1_000_000_000);
    scene.states[0].mark_checked_down();
    scene.states[0].mark_checked_up(up);
    let rotation = scene.rotation_at(up);
    assert_eq!(rotation.next_change(), Some(up + Duration::from_secs(1)));
    let counts = scene.counts(&rotation, 11_000);
    assert!(counts[0].abs_diff(1_000) < 150, "{counts:?}");
    let rotation = scene.rotation_at(up + Duration::from_secs(9));
    assert_eq!(rotation.next_change(), None);
    let counts = scene.counts(&rotation, 10_000);
    assert!(counts[0].abs_diff(5_000) < 300, "{counts:?}");
}

#[test]
fn a_weight_set_by_the_operator_stands_in_for_the_configured() {
    let mut scene = Scene::new(Balance::Random, &[1, 1]);
    scene.states[0].set_weight(Weight::new(0));
    assert_eq!(scene.rotation().len(), 1);
    assert_eq!(scene.pick(), server(1));
    scene.states[1].set_weight(Weight::new(0));
    assert!(scene.rotation().is_empty());
    assert_eq!(scene.pick(), Pick::NoneUsable);
}

#[test]
fn a_retry_goes_elsewhere_and_back_only_for_want_of_another() {
    for balance in every_balance() {
        let mut scene = Scene::new(balance, &[256, 1, 1]);
        let rotation = scene.rotation();
        for hash in (0_u32..50).map(|key| hash_key(&key.to_le_bytes())) {
            let mut request = Request {
                hash: Some(hash),
                ..ANY
            };
            request.tried = &[ServerId(0)];
            assert_ne!(rotation.pick(&request, &mut scene.rng), server(0));
            request.tried = &[ServerId(0), ServerId(2)];
            assert_eq!(rotation.pick(&request, &mut scene.rng), server(1));
        }
        scene.states[1].mark_refusing();
        scene.states[2].mark_refusing();
        let request = Request {
            hash: Some(1),
            tried: &[ServerId(0)],
            ..ANY
        };
        assert_eq!(rotation.pick(&request, &mut scene.rng), server(0));
    }
}

#[test]
fn full_and_unusable_backends_are_told_apart() {
    for balance in every_balance() {
        let mut scene = Scene::new(balance, &[1, 3]);
        for server in &mut scene.backend.servers {
            server.max_requests = Some(1);
        }
        let rotation = scene.rotation();
        scene.states[0].begin();
        assert_eq!(rotation.pick(&ANY, &mut scene.rng), server(1));
        scene.states[1].begin();
        assert_eq!(rotation.pick(&ANY, &mut scene.rng), Pick::AllFull);
        for state in &scene.states {
            state.mark_checked_down();
        }
        assert_eq!(rotation.pick(&ANY, &mut scene.rng), Pick::NoneUsable);
        assert_eq!(scene.pick(), Pick::NoneUsable);
        scene.states[0].mark_checked_up(Timestamp::ZERO);
        assert_eq!(scene.pick(), Pick::AllFull);
    }
}

#[test]
fn a_hash_finds_the_same_server_on_every_node() {
    for method in [HashMethod::Maglev, HashMethod::BoundedRing { percent: 150 }] {
        let mut one = Scene::new(hash_by(method), &[1, 2, 3, 1]);
        let mut other = Scene::new(hash_by(method), &[1, 2, 3, 1]);
        other.backend.servers.reverse();
        other.states.reverse();
        let (a, b) = (one.rotation(), other.rotation());
        one.states[2].mark_refusing();
        other.states[1].mark_refusing();
        for key in 0_u32..500 {
            let request = Request {
                hash: Some(hash_key(&key.to_le_bytes())),
                ..ANY
            };
            let names = [(&a, &mut one), (&b, &mut other)].map(|(rotation, scene)| match rotation
                .pick(&request, &mut scene.rng)
            {
                Pick::Server(id) => scene.backend.servers[id.index()].name.clone(),
                other => panic!("{other:?}"),
            });
            assert_eq!(names[0], names[1]);
        }
    }
}

#[test]
fn no_server_of_a_ring_exceeds_its_bound() {
    for servers in [5, 200] {
        let balance = hash_by(HashMethod::BoundedRing { percent: 125 });
        let mut scene = Scene::new(balance, &vec![1; servers]);
        let rotation = scene.rotation();
        let request = Request {
            hash: Some(hash_key(b"/one")),
            ..ANY
        };
        for _ in 0..servers * 20 {
            match rotation.pick(&request, &mut scene.rng) {
                Pick::Server(id) => scene.states[id.index()].begin(),
                other => panic!("{other:?}"),
            }
        }
        let loads = scene.states.iter().map(|s| s.in_flight());
        assert!(loads.max().unwrap() <= 26, "{:?}", scene.states);
    }
}

#[test]
fn an_idle_ring_keeps_each_key_on_its_server() {
    let balance = hash_by(HashMethod::BoundedRing { percent: 125 });
    let mut scene = Scene::new(balance, &[1; 10]);
    let rotation = scene.rotation();
    let mut counts = [0_u32; 10];
    for key in 0_u32..2_000 {
        let request = Request {
            hash: Some(hash_key(&key.to_le_bytes())),
            ..ANY
        };
        let first = rotation.pick(&request, &mut scene.rng);
        assert_eq!(rotation.pick(&request, &mut scene.rng), first);
        if let Pick::Server(id) = first {
            counts[id.index()] += 1;
        }
    }
    assert!(
        counts.iter().all(|count| (130..270).contains(count)),
        "{counts:?}"
    );
}

#[test]
fn first_fills_servers_in_the_order_written() {
    let mut scene = Scene::new(Balance::First, &[1, 256, 1]);
    scene.backend.servers[0].max_requests = Some(1);
    assert_eq!(scene.pick(), server(0));
    scene.states[0].begin();
    assert_eq!(scene.pick(), server(1));
}

/// Configured weight, limit, load, backup, admin state and status bits of a server.
type Sketch = (u16, Option<u32>, u32, bool, u8, u8);

fn sketch() -> impl Strategy<Value = Sketch> {
    let weight = prop_oneof![Just(0_u16), Just(1), Just(256), 1_u16..=256];
    let limit = prop_oneof![Just(None), (0_u32..3).prop_map(Some)];
    (weight, limit, 0_u32..4, any::<bool>(), 0_u8..6, 0_u8..16)
}

fn apply(state: &ServerState, admin: u8, bits: u8) {
    state.set_admin(
        Timestamp::ZERO,
        match admin {
            0 => Admin::Drain,
            1 => Admin::Maintenance,
            _ => Admin::Ready,
        },
    );
    // Half of the values leave the server healthy.
    if bits & 0b1001 == 0b1001 {
        state.mark_checked_down();
    }
    if bits & 0b1010 == 0b1010 {
        state.mark_refusing();
    }
    if bits & 0b1100 == 0b1100 {
        state.eject();
    }
}

proptest! {
    #[test]
    fn a_pick_is_always_usable_weighted_and_not_full(
        balance in prop::sample::select(every_balance().to_vec()),
        before in prop::collection::vec(sketch(), 1..12),
        after in prop::collection::vec((0_u8..6, 0_u8..16), 12),
        hash in any::<Option<u64>>(),
        tried in prop::collection::vec((0_u32..12).prop_map(ServerId), 0..3),
        seed in any::<u64>(),
    ) {
        let weights: Vec<u16> = before.iter().map(|sketch| sketch.0).collect();
        let mut scene = Scene::new(balance, &weights);
        scene.rng = fastrand::Rng::with_seed(seed);
        for (index, (_, limit, load, backup, admin, bits)) in before.iter().enumerate() {
            scene.backend.servers[index].max_requests = *limit;
            scene.backend.servers[index].backup = *backup;
            (0..*load).for_each(|_| scene.states[index].begin());
            apply(&scene.states[index], *admin, *bits);
        }
        let rotation = scene.rotation();
        for (state, (admin, bits)) in scene.states.iter().zip(&after) {
            apply(state, *admin, *bits);
        }
        let panics = rotation.is_panicking();
        let usable = |index: usize| {
            let state = &scene.states[index];
            let usable = state.is_usable() || panics && state.is_usable_in_panic();
            usable && weights[index] > 0
        };
        let room = |index: usize| {
            let limit = scene.backend.servers[index].max_requests;
            scene.states[index].in_flight() < limit.unwrap_or(u32::MAX)
        };
        let request = Request { now: Timestamp::ZERO, hash, tried: &tried };
        match rotation.pick(&request, &mut scene.rng) {
            Pick::Server(id) => {
                let chosen = id.index();
                prop_assert!(usable(chosen) && room(chosen));
                let same_tier = |i: &usize| scene.backend.servers[*i].backup
                    == scene.backend.servers[chosen].backup;
                if tried.contains(&id) && rotation.len() == weights.len() {
                    let others = (0..weights.len()).filter(same_tier);
                    for other in others.filter(|i| usable(*i) && room(*i)) {
                        prop_assert!(tried.contains(&ServerId(u32::try_from(other).unwrap())));
                    }
                }
            }
            Pick::AllFull => prop_assert!((0..weights.len()).any(|i| usable(i) && !room(i))),
            Pick::NoneUsable => prop_assert!(!(0..weights.len()).any(usable)),
        }
    }
}
