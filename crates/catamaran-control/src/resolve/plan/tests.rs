//! Answers in, servers and times out: no socket, no clock.

use super::*;

fn rng() -> fastrand::Rng {
    fastrand::Rng::with_seed(7)
}

fn host_plan() -> Plan {
    let address = ServerAddr::Dns {
        host: "api.test".to_owned(),
        port: 80,
    };
    Plan::new(Server::new(address)).unwrap()
}

fn service_plan(weight: Weight) -> Plan {
    let address = ServerAddr::Srv {
        service: "_api._tcp.test".to_owned(),
    };
    let server = Server {
        weight,
        ..Server::new(address)
    };
    Plan::new(server).unwrap()
}

fn found(addresses: &[&str], ttl_secs: u64) -> Records<IpAddr> {
    Records::Found {
        records: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        ttl: Duration::from_secs(ttl_secs),
    }
}

fn v4(addresses: &[&str], ttl_secs: u64) -> HostAnswer {
    HostAnswer {
        v4: found(addresses, ttl_secs),
        v6: Records::Nothing,
    }
}

fn failed(failure: LookupFailure) -> Answer {
    Answer::Host(HostAnswer {
        v4: Records::Failed(failure.clone()),
        v6: Records::Failed(failure),
    })
}

fn service(priority: u16, weight: u16, target: &str) -> Service {
    Service {
        priority,
        weight,
        port: 8080,
        target: target.to_owned(),
    }
}

fn services(records: &[Service], hosts: &[(&str, HostAnswer)]) -> Answer {
    Answer::Service {
        services: Records::Found {
            records: records.to_vec(),
            ttl: Duration::from_secs(60),
        },
        hosts: hosts
            .iter()
            .map(|(host, answer)| ((*host).to_owned(), answer.clone()))
            .collect(),
    }
}

fn names(plan: &Plan) -> Vec<&str> {
    plan.servers().iter().map(|s| s.name.as_str()).collect()
}

#[test]
fn each_address_becomes_a_server_with_a_stable_name() {
    let mut plan = host_plan();
    let answer = Answer::Host(HostAnswer {
        v4: found(&["10.0.0.2", "10.0.0.1"], 60),
        v6: found(&["2001:db8::1"], 60),
    });
    let update = plan.handle_answer(Timestamp::ZERO, &answer, &mut rng());
    assert_eq!(
        names(&plan),
        [
            "api.test:80#10.0.0.1",
            "api.test:80#10.0.0.2",
            "api.test:80#2001:db8::1"
        ]
    );
    assert_eq!(update.change.unwrap().added.len(), 3);
    assert_eq!(update.notice, None);
    let last = &plan.servers()[2].address;
    assert_eq!(last.to_string(), "[2001:db8::1]:80");
}

#[test]
fn another_order_of_the_same_addresses_changes_nothing() {
    let mut plan = host_plan();
    for order in [["10.0.0.2", "10.0.0.1"], ["10.0.0.1", "10.0.0.2"]] {
        let update = plan.handle_answer(Timestamp::ZERO, &Answer::Host(v4(&order, 60)), &mut rng());
        assert_eq!(update.change.is_some(), order[0] == "10.0.0.2");
    }
}

#[test]
fn addresses_come_and_go_by_name() {
    let mut plan = host_plan();
    let first = Answer::Host(v4(&["10.0.0.1", "10.0.0.2"], 60));
    plan.handle_answer(Timestamp::ZERO, &first, &mut rng());
    let second = Answer::Host(v4(&["10.0.0.2", "10.0.0.3"], 60));
    let change = plan
        .handle_answer(Timestamp::ZERO, &second, &mut rng())
        .change
        .unwrap();
    assert_eq!(change.added, [Name::new("api.test:80#10.0.0.3")]);
    assert_eq!(change.removed, [Name::new("api.test:80#10.0.0.1")]);
    assert_eq!(change.altered, []);
}

#[test]
fn no_failure_and_no_empty_answer_takes_a_server_away() {
    let mut plan = host_plan();
    let good = Answer::Host(v4(&["10.0.0.1"], 60));
    plan.handle_answer(Timestamp::ZERO, &good, &mut rng());
    let nothing = Answer::Host(HostAnswer {
        v4: Records::Nothing,
        v6: Records::Nothing,
    });
    let unusable = Answer::Host(v4(&["0.0.0.0"], 60));
    for bad in [
        failed(LookupFailure::NoSuchName),
        failed(LookupFailure::Timeout),
        nothing,
        unusable,
    ] {
        let update = plan.handle_answer(Timestamp::ZERO, &bad, &mut rng());
        assert_eq!(update.change, None);
        assert_eq!(names(&plan), ["api.test:80#10.0.0.1"]);
    }
}

#[test]
fn a_turn_of_events_is_told_once() {
    let mut plan = host_plan();
    let good = Answer::Host(v4(&["10.0.0.1"], 60));
    let timeout = failed(LookupFailure::Timeout);
    let missing = failed(LookupFailure::NoSuchName);
    let mut told = |answer: &Answer| {
        plan.handle_answer(Timestamp::ZERO, answer, &mut rng())
            .notice
    };
    assert_eq!(told(&good), None);
    assert_eq!(
        told(&timeout),
        Some(Notice::Failing(LookupFailure::Timeout))
    );
    assert_eq!(told(&timeout), None);
    let other = Notice::Failing(LookupFailure::NoSuchName);
    assert_eq!(told(&missing), Some(other));
    assert_eq!(told(&good), Some(Notice::Recovered));
    assert_eq!(told(&good), None);
}

#[test]
fn a_family_that_fails_keeps_its_addresses_while_the_other_moves() {
    let mut plan = host_plan();
    let both = Answer::Host(HostAnswer {
        v4: found(&["10.0.0.1"], 60),
        v6: found(&["2001:db8::1"], 60),
    });
    plan.handle_answer(Timestamp::ZERO, &both, &mut rng());
    let half = Answer::Host(HostAnswer {
        v4: found(&["10.0.0.2"], 60),
        v6: Records::Failed(LookupFailure::Timeout),
    });
    let update = plan.handle_answer(Timestamp::ZERO, &half, &mut rng());
    assert_eq!(
        names(&plan),
        ["api.test:80#10.0.0.2", "api.test:80#2001:db8::1"]
    );
    assert!(update.notice.is_some());
}

#[test]
fn a_family_that_was_never_there_may_fail_silently() {
    let mut plan = host_plan();
    let answer = Answer::Host(HostAnswer {
        v4: found(&["10.0.0.1"], 600),
        v6: Records::Failed(LookupFailure::Timeout),
    });
    let update = plan.handle_answer(Timestamp::ZERO, &answer, &mut rng());
    assert_eq!(update.notice, None);
    assert!(plan.poll_timeout().unwrap() >= Timestamp::ZERO + Duration::from_secs(600));
}

#[test]
fn it_asks_again_a_little_after_the_ttl_within_bounds() {
    for (ttl, expected) in [(0, 1), (60, 60), (86_400, 3600)] {
        let mut plan = host_plan();
        assert!(plan.poll_question(Timestamp::ZERO).is_some());
        assert_eq!(plan.poll_question(Timestamp::ZERO), None, "asked already");
        assert_eq!(plan.poll_timeout(), None);
        let answer = Answer::Host(v4(&["10.0.0.1"], ttl));
        plan.handle_answer(Timestamp::ZERO, &answer, &mut rng());
        let pause = plan
            .poll_timeout()
            .unwrap()
            .saturating_since(Timestamp::ZERO);
        let expected = Duration::from_secs(expected);
        assert!(
            pause >= expected && pause <= expected.mul_f64(1.1),
            "{pause:?}"
        );
        assert_eq!(plan.poll_question(Timestamp::ZERO + expected / 2), None);
        assert!(plan.poll_question(Timestamp::ZERO + pause).is_some());
    }
}

#[test]
fn failures_back_off_and_a_success_forgets_them() {
    let mut plan = host_plan();
    let mut pauses = Vec::new();
    for _ in 0..7 {
        let timeout = failed(LookupFailure::Timeout);
        plan.handle_answer(Timestamp::ZERO, &timeout, &mut rng());
        let pause = plan
            .poll_timeout()
            .unwrap()
            .saturating_since(Timestamp::ZERO);
        pauses.push(pause.as_secs());
    }
    assert!(pauses.is_sorted() && pauses[0] == 1, "{pauses:?}");
    assert!((30..=33).contains(&pauses[6]), "{pauses:?}");
    let good = Answer::Host(v4(&["10.0.0.1"], 60));
    plan.handle_answer(Timestamp::ZERO, &good, &mut rng());
    plan.handle_answer(Timestamp::ZERO, &failed(LookupFailure::Timeout), &mut rng());
    assert!(plan.poll_timeout().unwrap() < Timestamp::ZERO + Duration::from_secs(2));
}

#[test]
fn srv_priority_makes_backups_and_weight_makes_weight() {
    let mut plan = service_plan(Weight::ONE);
    let answer = services(
        &[
            service(10, 30, "a.test"),
            service(10, 0, "b.test"),
            service(20, 5, "c.test"),
        ],
        &[
            ("a.test", v4(&["10.0.0.1"], 5)),
            ("b.test", v4(&["10.0.0.2"], 60)),
            ("c.test", v4(&["10.0.0.3"], 60)),
        ],
    );
    plan.handle_answer(Timestamp::ZERO, &answer, &mut rng());
    let seen: Vec<_> = plan
        .servers()
        .iter()
        .map(|s| (s.name.as_str(), s.weight.as_u16(), s.backup))
        .collect();
    assert_eq!(
        seen,
        [
            ("srv:_api._tcp.test#10.0.0.1:8080", 30, false),
            ("srv:_api._tcp.test#10.0.0.2:8080", 1, false),
            ("srv:_api._tcp.test#10.0.0.3:8080", 5, true),
        ]
    );
    let soonest = Timestamp::ZERO + Duration::from_secs(6);
    assert!(
        plan.poll_timeout().unwrap() < soonest,
        "the shortest TTL counts"
    );
}

#[test]
fn large_srv_weights_are_scaled_and_zero_templates_stay_without_traffic() {
    assert_eq!(weight_of(65_535, 65_535, Weight::ONE), Weight::MAX);
    assert_eq!(weight_of(32_768, 65_535, Weight::ONE).as_u16(), 128);
    assert_eq!(weight_of(1, 65_535, Weight::ONE), Weight::ONE);
    let zero = Weight::new(0).unwrap();
    assert_eq!(weight_of(10, 10, zero), zero);
}

#[test]
fn a_target_that_fails_keeps_its_addresses_and_a_dropped_one_goes() {
    let mut plan = service_plan(Weight::ONE);
    let first = services(
        &[service(1, 1, "a.test"), service(1, 1, "b.test")],
        &[
            ("a.test", v4(&["10.0.0.1"], 60)),
            ("b.test", v4(&["10.0.0.2"], 60)),
        ],
    );
    plan.handle_answer(Timestamp::ZERO, &first, &mut rng());
    let Answer::Host(unreachable) = failed(LookupFailure::Timeout) else {
        unreachable!("failed() answers for a host")
    };
    let second = services(&[service(1, 1, "a.test")], &[("a.test", unreachable)]);
    let update = plan.handle_answer(Timestamp::ZERO, &second, &mut rng());
    assert_eq!(names(&plan), ["srv:_api._tcp.test#10.0.0.1:8080"]);
    assert_eq!(update.notice, Some(Notice::Failing(LookupFailure::Timeout)));
}

#[test]
fn new_targets_that_cannot_be_resolved_do_not_replace_the_old() {
    let mut plan = service_plan(Weight::ONE);
    let first = services(
        &[service(1, 1, "a.test")],
        &[("a.test", v4(&["10.0.0.1"], 60))],
    );
    plan.handle_answer(Timestamp::ZERO, &first, &mut rng());
    let second = services(&[service(1, 1, "b.test")], &[]);
    let update = plan.handle_answer(Timestamp::ZERO, &second, &mut rng());
    assert_eq!(update.change, None);
    assert_eq!(names(&plan), ["srv:_api._tcp.test#10.0.0.1:8080"]);
    let none = services(&[service(0, 0, "")], &[]);
    plan.handle_answer(Timestamp::ZERO, &none, &mut rng());
    assert_eq!(plan.servers().len(), 1);
}

#[test]
fn a_server_with_an_address_needs_no_plan() {
    let address = ServerAddr::Ip(([10, 0, 0, 1], 80).into());
    assert!(Plan::new(Server::new(address)).is_none());
}
