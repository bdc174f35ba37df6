//! Single steps of one machine.

use super::super::{Action, Advert, Dropped, Event, Machine, Reason, Settings, State, Version};
use super::{INTERVAL, settings};
use crate::Timestamp;
use std::net::IpAddr;
use std::time::Duration;

const START: Timestamp = Timestamp::from_nanos(1_000_000_000);

fn ip(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

/// A machine of these routers, all backup, on interfaces with the address 10.0.0.5.
fn backup(routers: Vec<Settings>) -> Machine {
    let priorities: Vec<u8> = routers.iter().map(|r| r.priority).collect();
    let mut machine = Machine::new(routers);
    for (router, priority) in priorities.into_iter().enumerate() {
        machine.handle_priority(START, router, priority);
        machine.handle_interface(START, router, Some(ip(5)));
    }
    actions(&mut machine);
    machine
}

/// The same, all active since [`active_since`].
fn active(routers: Vec<Settings>) -> Machine {
    let mut machine = backup(routers);
    machine.handle_timeout(active_since());
    actions(&mut machine);
    machine
}

fn active_since() -> Timestamp {
    START + Duration::from_millis(400)
}

fn actions(machine: &mut Machine) -> Vec<Action> {
    std::iter::from_fn(|| machine.poll_action()).collect()
}

fn advert(priority: u8) -> Advert {
    let settings = settings(100, false);
    Advert {
        version: settings.version,
        router_id: settings.router_id,
        priority,
        interval: settings.interval,
        addresses: settings.addresses,
    }
}

fn after(start: Timestamp, millis: u64) -> Timestamp {
    start + Duration::from_millis(millis)
}

fn sent(priority: u8) -> Action {
    Action::SendAdvert {
        router: 0,
        priority,
    }
}

#[test]
fn a_silent_link_makes_a_backup_active_in_this_order() {
    let mut machine = backup(vec![settings(100, false)]);
    assert_eq!(
        machine.poll_timeout(),
        START + Duration::from_nanos(360_937_500)
    );
    machine.handle_timeout(after(START, 360));
    assert_eq!(actions(&mut machine), []);
    machine.handle_timeout(after(START, 361));
    let change = Event::StateChanged {
        from: State::Backup,
        to: State::Active,
        reason: Reason::Silent,
    };
    assert_eq!(
        actions(&mut machine),
        [
            Action::Event(0, change),
            Action::AddAddresses(0),
            Action::Announce(0),
            sent(100)
        ]
    );
}

#[test]
fn a_stop_gives_up_and_keeps_the_address_until_another_is_active() {
    let mut machine = active(vec![settings(100, false)]);
    machine.handle_stop(active_since());
    assert_eq!(actions(&mut machine), [sent(0)]);
    let heard = after(active_since(), 40);
    machine.handle_timeout(heard);
    machine.handle_priority(heard, 0, 1);
    assert!(!machine.has_stopped());
    machine.handle_advert(heard, 0, ip(9), &advert(90)).unwrap();
    assert!(machine.has_stopped());
    let done = actions(&mut machine);
    assert!(done.contains(&Action::RemoveAddresses(0)));
    let is_word = |action: &Action| matches!(action, Action::SendAdvert { .. });
    assert!(!done.iter().any(is_word), "it has said its last word");
    machine.handle_interface(after(START, 500), 0, Some(ip(5)));
    assert_eq!(machine.state(0), State::Initialize);
}

#[test]
fn a_stop_that_nobody_answers_is_over_after_two_intervals() {
    let mut machine = active(vec![settings(100, false)]);
    machine.handle_stop(active_since());
    assert_eq!(machine.poll_timeout(), active_since() + INTERVAL * 2);
    machine.handle_timeout(active_since() + INTERVAL * 2);
    assert!(machine.has_stopped());
}

#[test]
fn a_higher_priority_or_at_the_same_the_higher_address_wins() {
    for (from, priority, state) in [
        (ip(9), 101, State::Backup),
        (ip(1), 101, State::Backup),
        (ip(9), 100, State::Backup),
        (ip(1), 100, State::Active),
        (ip(9), 99, State::Active),
    ] {
        let mut machine = active(vec![settings(100, false)]);
        let now = after(active_since(), 50);
        machine
            .handle_advert(now, 0, from, &advert(priority))
            .unwrap();
        assert_eq!(machine.state(0), state, "{from} {priority}");
        let first = actions(&mut machine)[0];
        assert_eq!(first == Action::RemoveAddresses(0), state == State::Backup);
    }
}

#[test]
fn a_backup_that_does_not_preempt_leaves_a_weaker_active_alone() {
    let mut machine = backup(vec![settings(200, false)]);
    for beat in 1..50 {
        let now = after(START, beat * 100);
        machine.handle_advert(now, 0, ip(1), &advert(100)).unwrap();
        machine.handle_timeout(now);
    }
    assert_eq!(machine.state(0), State::Backup);
}

#[test]
fn a_backup_that_preempts_relieves_a_weaker_active_after_the_delay() {
    let mut relieving = settings(200, true);
    relieving.preempt_delay = Duration::from_secs(1);
    let mut machine = backup(vec![relieving]);
    let mut relieved_at = 0;
    for beat in 1..30 {
        let now = after(START, beat * 100);
        machine.handle_timeout(now);
        if machine.state(0) == State::Active {
            relieved_at = beat * 100;
            break;
        }
        machine.handle_advert(now, 0, ip(1), &advert(100)).unwrap();
    }
    assert!((1100..=1500).contains(&relieved_at), "{relieved_at} ms");
}

#[test]
fn an_active_whose_priority_falls_is_relieved_even_without_preemption() {
    let mut machine = backup(vec![settings(100, false)]);
    machine
        .handle_advert(after(START, 100), 0, ip(1), &advert(150))
        .unwrap();
    machine
        .handle_advert(after(START, 200), 0, ip(1), &advert(50))
        .unwrap();
    machine.handle_timeout(after(START, 200) + INTERVAL);
    let done = actions(&mut machine);
    let change = Event::StateChanged {
        from: State::Backup,
        to: State::Active,
        reason: Reason::ActiveFell,
    };
    assert_eq!(done[0], Action::Event(0, change));
}

#[test]
fn an_active_that_falls_but_stays_stronger_is_left_alone() {
    let mut machine = backup(vec![settings(100, false)]);
    machine
        .handle_advert(after(START, 100), 0, ip(1), &advert(150))
        .unwrap();
    machine
        .handle_advert(after(START, 200), 0, ip(1), &advert(120))
        .unwrap();
    machine.handle_timeout(after(START, 200) + INTERVAL);
    assert_eq!(machine.state(0), State::Backup);
}

#[test]
fn only_the_active_can_give_up() {
    let mut machine = backup(vec![settings(100, false)]);
    machine
        .handle_advert(after(START, 100), 0, ip(1), &advert(150))
        .unwrap();
    let due = machine.poll_timeout();
    machine
        .handle_advert(after(START, 110), 0, ip(2), &advert(0))
        .unwrap();
    assert_eq!(machine.poll_timeout(), due);
    machine
        .handle_advert(after(START, 110), 0, ip(1), &advert(0))
        .unwrap();
    assert!(machine.poll_timeout() <= after(START, 110) + INTERVAL);
}

#[test]
fn adverts_that_are_not_meant_are_refused_by_name() {
    let mut unicast = settings(100, false);
    unicast.peers = vec![ip(1)];
    let mut machine = backup(vec![unicast]);
    let now = after(START, 10);
    let mut refused = |from, advert: &Advert| machine.handle_advert(now, 0, from, advert);
    assert_eq!(refused(ip(2), &advert(9)), Err(Dropped::UnknownPeer));
    assert_eq!(refused(ip(5), &advert(9)), Err(Dropped::OwnAddress));
    let old = Advert {
        version: Version::V2,
        ..advert(9)
    };
    assert_eq!(refused(ip(1), &old), Err(Dropped::Version));
    assert_eq!(refused(ip(1), &advert(9)), Ok(()));

    let mut seconds = settings(100, false);
    seconds.version = Version::V2;
    let mut machine = backup(vec![seconds]);
    let slower = Advert {
        interval: super::AdvertInterval::from_centisecs(200).unwrap(),
        ..old
    };
    let outcome = machine.handle_advert(now, 0, ip(1), &slower);
    assert_eq!(outcome, Err(Dropped::Interval));
}

#[test]
fn a_backup_keeps_to_the_interval_that_the_active_advertises() {
    let mut machine = backup(vec![settings(100, false)]);
    let slow = Advert {
        interval: super::AdvertInterval::from_centisecs(100).unwrap(),
        ..advert(150)
    };
    machine.handle_advert(START, 0, ip(1), &slow).unwrap();
    assert_eq!(
        machine.poll_timeout(),
        START + Duration::from_micros(3_609_375)
    );
}

#[test]
fn a_conflict_begins_once_ends_once_and_ends_with_an_announcement() {
    let mut machine = active(vec![settings(100, false)]);
    let mut done = Vec::new();
    for beat in 1..=3 {
        let now = after(active_since(), beat * 100);
        machine.handle_advert(now, 0, ip(1), &advert(50)).unwrap();
        machine.handle_timeout(now);
        done.extend(actions(&mut machine));
    }
    let began = Action::Event(0, Event::ConflictBegan { other: ip(1) });
    let ended = Action::Event(0, Event::ConflictEnded { other: ip(1) });
    assert_eq!(done.iter().filter(|&&action| action == began).count(), 1);
    assert!(machine.is_in_conflict(0));
    for beat in 4..=9 {
        machine.handle_timeout(after(active_since(), beat * 100));
        done.extend(actions(&mut machine));
    }
    let end = done.iter().position(|&action| action == ended).unwrap();
    assert_eq!(done[end + 1], Action::Announce(0));
    assert!(!machine.is_in_conflict(0));
}

#[test]
fn a_flood_of_weaker_adverts_is_not_answered_one_by_one() {
    let mut machine = active(vec![settings(100, false)]);
    for micros in 0..1000 {
        let now = active_since() + Duration::from_micros(micros);
        machine.handle_advert(now, 0, ip(1), &advert(50)).unwrap();
    }
    let answers = actions(&mut machine)
        .into_iter()
        .filter(|&a| a == sent(100));
    assert!(answers.count() <= 1);
}

#[test]
fn a_timer_that_is_far_too_late_costs_the_address_before_anything_else() {
    let mut machine = active(vec![settings(100, false)]);
    let now = after(active_since(), 301);
    machine.handle_advert(now, 0, ip(1), &advert(50)).unwrap();
    let done = actions(&mut machine);
    assert_eq!(done[0], Action::RemoveAddresses(0));
    assert!(
        !done
            .iter()
            .any(|action| matches!(action, Action::SendAdvert { .. }))
    );
    assert_eq!(machine.state(0), State::Backup);
}

#[test]
fn an_active_that_slept_for_long_gives_up_before_it_looks_at_what_arrived() {
    let mut machine = active(vec![settings(100, false)]);
    machine.handle_wake(active_since());
    assert_eq!(machine.state(0), State::Active);
    machine.handle_wake(after(active_since(), 60_000));
    assert_eq!(machine.state(0), State::Backup);
    assert_eq!(actions(&mut machine)[0], Action::RemoveAddresses(0));
}

#[test]
fn an_active_that_slept_for_a_while_goes_on_if_it_finds_no_other() {
    let mut machine = active(vec![settings(100, false)]);
    let woke = after(active_since(), 400);
    let slept = Duration::from_millis(400);
    // Nothing is said before all was read that arrived, and that just now.
    machine.handle_priority(woke, 0, 90);
    machine.handle_timeout(woke);
    machine.handle_wake(woke);
    machine.handle_timeout(after(active_since(), 460));
    let speaks = |action: &Action| matches!(action, Action::SendAdvert { .. });
    assert!(!actions(&mut machine).iter().any(speaks));
    let woke = after(active_since(), 500);
    machine.handle_wake(woke);
    machine.handle_timeout(woke);
    let slept = Duration::from_millis(100) + slept;
    let told = Action::Event(0, Event::WentOn { slept });
    assert_eq!(actions(&mut machine)[..2], [told, sent(90)]);
    assert_eq!(machine.state(0), State::Active);
}

#[test]
fn an_active_that_slept_for_a_while_gives_up_without_a_word_if_another_is_heard() {
    for priority in [50, 150] {
        let mut machine = active(vec![settings(100, false)]);
        let woke = after(active_since(), 400);
        machine.handle_wake(woke);
        machine
            .handle_advert(woke, 0, ip(1), &advert(priority))
            .unwrap();
        machine.handle_timeout(woke);
        let done = actions(&mut machine);
        assert_eq!(done[0], Action::RemoveAddresses(0));
        assert_eq!(machine.state(0), State::Backup);
        assert_eq!(machine.active(0), Some(ip(1)));
        let speaks = |action: &Action| matches!(action, Action::SendAdvert { .. });
        assert!(!done.iter().any(speaks));
    }
    // Another that answers on the link is active as well.
    let mut machine = active(vec![settings(100, false)]);
    machine.handle_wake(after(active_since(), 400));
    machine.handle_answer(after(active_since(), 400), 0);
    assert_eq!(machine.state(0), State::Backup);
}

#[test]
fn a_backup_that_slept_listens_once_more() {
    let mut machine = backup(vec![settings(100, false)]);
    let woke = after(START, 5000);
    machine.handle_timeout(woke);
    assert_eq!(machine.state(0), State::Backup);
    machine.handle_timeout(woke + INTERVAL);
    assert_eq!(machine.state(0), State::Active);
}

#[test]
fn routers_of_a_group_move_together() {
    let member = |id| Settings {
        router_id: id,
        group: Some(0),
        ..settings(100, false)
    };
    let mut machine = active(vec![member(1), member(2)]);
    let now = after(active_since(), 50);
    machine.handle_advert(now, 1, ip(9), &advert(200)).unwrap();
    assert_eq!([machine.state(0), machine.state(1)], [State::Backup; 2]);
    assert!(actions(&mut machine).contains(&sent(0)));

    // The first to fall silent takes the other along, though that one hears its active.
    for beat in 1..=3 {
        let now = after(active_since(), 50 + beat * 100);
        machine.handle_advert(now, 1, ip(9), &advert(200)).unwrap();
    }
    machine.handle_timeout(after(active_since(), 50 + 361));
    assert_eq!([machine.state(0), machine.state(1)], [State::Active; 2]);

    machine.handle_interface(after(active_since(), 560), 0, None);
    assert_eq!([machine.state(0), machine.state(1)], [State::Initialize; 2]);
}

#[test]
fn a_group_starts_when_the_interfaces_of_all_are_usable() {
    let member = |id| Settings {
        router_id: id,
        group: Some(0),
        ..settings(100, false)
    };
    let mut machine = Machine::new(vec![member(1), member(2)]);
    machine.handle_interface(START, 0, Some(ip(5)));
    assert_eq!(machine.state(0), State::Initialize);
    machine.handle_interface(START, 1, Some(ip(6)));
    assert_eq!([machine.state(0), machine.state(1)], [State::Backup; 2]);
}

#[test]
fn a_new_priority_is_advertised_at_once() {
    let mut machine = active(vec![settings(100, false)]);
    machine.handle_priority(after(active_since(), 10), 0, 1);
    assert!(actions(&mut machine).contains(&sent(1)));
    assert_eq!(machine.priority(0), 1);
}

#[test]
fn the_owner_of_an_address_is_active_from_the_start() {
    let mut machine = Machine::new(vec![settings(255, false)]);
    machine.handle_interface(START, 0, Some(ip(5)));
    assert_eq!(machine.state(0), State::Active);
    assert!(actions(&mut machine).contains(&sent(255)));
}

/// A backup that hears 10.0.0.9 with priority 150 until `START` + 100 ms, and knows from elsewhere
/// that it is active.
fn backup_with_a_witness() -> Machine {
    let mut machine = backup(vec![settings(100, false)]);
    machine.handle_witness(START, 0, Some(150));
    let heard = after(START, 100);
    machine
        .handle_advert(heard, 0, ip(9), &advert(150))
        .unwrap();
    actions(&mut machine);
    machine
}

/// Lets time pass until `end`, in ms from `START`, with `each` after every turn; all that was done.
fn pass(
    machine: &mut Machine,
    end: u64,
    mut each: impl FnMut(&mut Machine, Timestamp),
) -> Vec<Action> {
    let mut done = Vec::new();
    for _ in 0..10_000 {
        let now = machine.poll_timeout();
        if now > after(START, end) {
            return done;
        }
        machine.handle_timeout(now);
        each(machine, now);
        done.extend(actions(machine));
    }
    panic!("it never comes to rest");
}

#[test]
fn a_backup_asks_before_it_takes_over_from_a_peer_that_lives_and_stays_if_the_link_answers() {
    let mut machine = backup_with_a_witness();
    let mut asked = 0;
    let done = pass(&mut machine, 3000, |machine, now| {
        machine.handle_witness(now, 0, Some(150));
        asked += 1;
        machine.handle_answer(now, 0);
    });
    assert!(asked > 3);
    assert_eq!(machine.state(0), State::Backup);
    let died = Action::Event(0, Event::PathDied);
    assert_eq!(done.iter().filter(|&&action| action == died).count(), 1);
    assert!(machine.is_path_dead(0));
    assert!(!machine.is_in_conflict(0));
    // Adverts arrive again.
    let now = after(START, 3010);
    machine.handle_advert(now, 0, ip(9), &advert(150)).unwrap();
    assert_eq!(actions(&mut machine), [Action::Event(0, Event::PathHealed)]);
}

#[test]
fn answers_that_a_busy_machine_holds_up_are_waited_for_as_long_as_adverts_are() {
    let mut machine = backup_with_a_witness();
    let mut answered = START;
    // Two and a half intervals apart.
    let done = pass(&mut machine, 3000, |machine, now| {
        machine.handle_witness(now, 0, Some(150));
        if now >= answered + Duration::from_millis(250) {
            machine.handle_answer(now, 0);
            answered = now;
        }
        assert_eq!(machine.state(0), State::Backup);
    });
    assert!(machine.is_path_dead(0));
    assert!(!done.contains(&Action::Announce(0)));
    // With no answer for as long as with no advert, it takes over.
    pass(&mut machine, 3800, |machine, now| {
        machine.handle_witness(now, 0, Some(150));
    });
    assert_eq!(machine.state(0), State::Active);
}

#[test]
fn a_hiccup_of_the_heartbeat_changes_nothing_as_long_as_the_link_answers() {
    for (priority, believes_for) in [(100, 5000), (1, 60_000)] {
        let mut machine = backup_with_a_witness();
        machine.handle_priority(after(START, 101), 0, priority);
        // Adverts are lost, word of the active and its answers are not.
        pass(&mut machine, 3000, |machine, now| {
            machine.handle_witness(now, 0, Some(150));
            machine.handle_answer(now, 0);
        });
        assert!(machine.is_path_dead(0));
        // Then word of it is lost, too.
        pass(&mut machine, 3000 + believes_for - 200, |machine, now| {
            machine.handle_witness(now, 0, None);
            machine.handle_answer(now, 0);
        });
        assert_eq!(machine.state(0), State::Backup, "{priority}");
        // When the link falls silent as well, it is dead.
        let done = pass(&mut machine, 3000 + believes_for + 500, |machine, now| {
            machine.handle_witness(now, 0, None);
        });
        assert_eq!(machine.state(0), State::Active, "{priority}");
        assert!(done.contains(&Action::Announce(0)));
    }
}

#[test]
fn a_backup_takes_over_in_time_when_nobody_answers_on_the_link() {
    let mut machine = backup_with_a_witness();
    let mut taken_at = Timestamp::ZERO;
    let done = pass(&mut machine, 470, |machine, now| {
        if taken_at == Timestamp::ZERO && machine.state(0) == State::Active {
            taken_at = now;
        }
    });
    assert!(done.contains(&Action::Ask(0)));
    assert_eq!(
        taken_at,
        after(START, 100) + Duration::from_nanos(360_937_500)
    );
}

/// A backup that hears 10.0.0.9 with priority 150 until `START` + 100 ms; 10 ms later the connection to
/// it ends.
fn backup_whose_active_left() -> Machine {
    let mut machine = backup(vec![settings(100, false)]);
    let heard = after(START, 100);
    machine
        .handle_advert(heard, 0, ip(9), &advert(150))
        .unwrap();
    machine.handle_departure(after(START, 110), 0, true);
    actions(&mut machine);
    machine
}

/// When it took over, up to `START` + 1 s.
fn taken_over(machine: &mut Machine, mut each: impl FnMut(&mut Machine, Timestamp)) -> Timestamp {
    let mut taken_at = Timestamp::MAX;
    let done = pass(machine, 1000, |machine, now| {
        each(machine, now);
        if taken_at == Timestamp::MAX && machine.state(0) == State::Active {
            taken_at = now;
        }
    });
    assert!(done.contains(&Action::Ask(0)));
    taken_at
}

#[test]
fn a_backup_whose_active_has_left_takes_over_when_the_next_advert_does_not_come() {
    let mut machine = backup_whose_active_left();
    let mut asked = 0;
    let taken_at = taken_over(&mut machine, |machine, now| {
        asked += 1;
        // Told again and again, and believed no more for that.
        machine.handle_departure(now, 0, true);
        machine.handle_witness(now, 0, None);
    });
    // One and a half intervals, and 156 / 256 of one.
    let wait = Duration::from_nanos(150_000_000 + 60_937_500);
    assert_eq!(taken_at, after(START, 100) + wait);
    assert!(asked > 4, "{asked}");
}

#[test]
fn an_active_that_is_heard_after_its_connection_ended_has_not_left() {
    // It answers on the link, and falls silent for other reasons: the whole wait.
    let mut machine = backup_whose_active_left();
    machine.handle_answer(after(START, 120), 0);
    assert_eq!(machine.poll_timeout(), after(START, 100) + whole_wait());
    machine.handle_departure(after(START, 130), 0, true);
    assert_eq!(machine.poll_timeout(), after(START, 100) + whole_wait());
    // Or its next advert comes.
    let mut machine = backup_whose_active_left();
    let heard = after(START, 200);
    machine
        .handle_advert(heard, 0, ip(9), &advert(150))
        .unwrap();
    machine.handle_departure(after(START, 210), 0, true);
    assert_eq!(machine.poll_timeout(), heard + whole_wait());
    // When it is long ago, the next end of a connection counts again.
    machine.handle_departure(after(START, 220), 0, false);
    machine.handle_departure(after(START, 230), 0, true);
    assert_eq!(machine.poll_timeout(), after(START, 230));
}

#[test]
fn an_active_that_is_late_goes_on_if_nobody_is_there_to_take_over() {
    for (is_alone, state) in [(true, State::Active), (false, State::Backup)] {
        let mut machine = active(vec![settings(100, false)]);
        machine.handle_alone(is_alone);
        machine.handle_wake(after(active_since(), 4000));
        machine.handle_timeout(after(active_since(), 4000));
        assert_eq!(machine.state(0), state);
        let spoke = actions(&mut machine).contains(&sent(100));
        assert_eq!(spoke, is_alone);
    }
}

#[test]
fn a_backup_that_should_not_serve_is_in_no_hurry() {
    let mut machine = backup(vec![settings(100, false)]);
    machine.handle_priority(START, 0, 1);
    let heard = after(START, 100);
    machine
        .handle_advert(heard, 0, ip(9), &advert(150))
        .unwrap();
    let due = machine.poll_timeout();
    machine.handle_departure(after(START, 110), 0, true);
    assert_eq!(machine.poll_timeout(), due);
}

fn whole_wait() -> Duration {
    Duration::from_nanos(360_937_500)
}

#[test]
fn an_answer_without_a_living_peer_holds_nobody_back() {
    let mut machine = backup(vec![settings(100, false)]);
    let done = pass(&mut machine, 400, |machine, now| {
        machine.handle_answer(now, 0);
    });
    assert!(!done.contains(&Action::Ask(0)));
    assert_eq!(machine.state(0), State::Active);
}

#[test]
fn an_active_yields_to_a_stronger_one_that_only_the_link_answers_for() {
    for (theirs, state) in [
        (150, State::Backup),
        (50, State::Active),
        (100, State::Active),
    ] {
        let mut machine = active(vec![settings(100, false)]);
        machine.handle_witness(active_since(), 0, Some(theirs));
        let done = pass(&mut machine, 6000, |machine, now| {
            machine.handle_answer(now, 0);
        });
        assert_eq!(machine.state(0), state, "{theirs}");
        assert!(done.contains(&Action::Event(0, Event::PathDied)));
        assert_eq!(machine.is_in_conflict(0), state == State::Active);
    }
}

#[test]
fn an_active_stays_when_the_link_does_not_answer_for_the_stronger_one() {
    let mut machine = active(vec![settings(100, false)]);
    machine.handle_witness(active_since(), 0, Some(150));
    let done = pass(&mut machine, 6000, |_, _| {});
    assert_eq!(machine.state(0), State::Active);
    let asked = done.iter().filter(|&&action| action == Action::Ask(0));
    assert!((2..=5).contains(&asked.count()));
    machine.handle_witness(after(START, 6000), 0, None);
    // The other has announced itself, so that neighbours are told again, and again later.
    let healed = Action::Event(0, Event::PathHealed);
    assert_eq!(actions(&mut machine), [healed, Action::Announce(0)]);
    assert!(!machine.is_in_conflict(0));
    machine.handle_witness(after(START, 6050), 0, None);
    assert_eq!(actions(&mut machine), []);
    let done = pass(&mut machine, 13_000, |_, _| {});
    let told = done.iter().filter(|&&action| action == Action::Announce(0));
    assert_eq!(told.count(), 3);
}

#[test]
fn word_that_is_still_under_way_after_a_hand_over_is_no_conflict() {
    let mut machine = active(vec![settings(100, false)]);
    machine.handle_witness(active_since(), 0, Some(150));
    let done = pass(&mut machine, 2000, |machine, now| {
        machine.handle_answer(now, 0);
    });
    assert_eq!(machine.state(0), State::Active);
    assert!(!done.contains(&Action::Event(0, Event::PathDied)));
}
