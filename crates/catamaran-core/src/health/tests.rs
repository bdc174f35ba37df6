//! Every transition of the health machines, and the times that the design promises.

use super::*;
use crate::Timestamp;
use crate::model::{Check, Health, Outlier, ServerId};
use ProbeResult::{Fail, Inconclusive, Pass};
use std::num::NonZeroU32;
use std::time::Duration;

fn at_ms(millis: u64) -> Timestamp {
    Timestamp::from_nanos(millis * 1_000_000)
}

fn at(seconds: u64) -> Timestamp {
    at_ms(seconds * 1000)
}

mod active {
    use super::*;

    /// A checker whose first probe was asked for at the returned time.
    fn probed() -> (Checker, Timestamp) {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut checker = Checker::new(&Health::new(Check::Tcp), Timestamp::ZERO, &mut rng);
        let start = checker.poll_timeout().unwrap();
        assert!(checker.poll_probe(start));
        (checker, start)
    }

    /// Runs a probe when it is due and answers at once.
    fn probe(checker: &mut Checker, result: ProbeResult) -> (Timestamp, Option<Status>) {
        let now = checker.poll_timeout().unwrap();
        assert!(checker.poll_probe(now));
        (now, checker.handle_result(now, result))
    }

    fn fallen() -> Checker {
        let (mut checker, start) = probed();
        checker.handle_result(start, Fail);
        probe(&mut checker, Fail);
        assert_eq!(probe(&mut checker, Fail).1, Some(Status::Down));
        checker
    }

    #[test]
    fn every_status_and_result_at_rise_2_and_fall_3() {
        let (up, down) = (Some(Status::Up), Some(Status::Down));
        let table: [(&[ProbeResult], Option<Status>); 9] = [
            (&[Pass], None),
            (&[Fail], None),
            (&[Fail, Fail], None),
            (&[Fail, Fail, Fail], down),
            (&[Fail, Fail, Pass, Fail, Fail], None),
            (&[Fail, Inconclusive, Fail, Inconclusive, Fail], down),
            (&[Fail, Fail, Fail, Pass], None),
            (&[Fail, Fail, Fail, Pass, Pass], up),
            (&[Fail, Fail, Fail, Pass, Fail, Pass], None),
        ];
        for (results, last) in table {
            let (mut checker, start) = probed();
            let mut change = checker.handle_result(start, results[0]);
            for result in &results[1..] {
                change = probe(&mut checker, *result).1;
            }
            assert_eq!(change, last, "{results:?}");
        }
    }

    #[test]
    fn a_server_is_up_but_unchecked_until_its_first_result() {
        let (mut checker, start) = probed();
        assert_eq!(checker.status(), Status::Up);
        assert!(!checker.is_checked());
        checker.handle_result(start, Inconclusive);
        assert!(!checker.is_checked());
        checker.handle_result(start, Pass);
        assert!(checker.is_checked());
    }

    #[test]
    fn start_offsets_are_spread_over_the_fast_interval_and_then_the_interval() {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut seconds = [0; 2];
        for _ in 0..1000 {
            let config = Health::new(Check::Tcp);
            let mut checker = Checker::new(&config, Timestamp::ZERO, &mut rng);
            let (first, _) = probe(&mut checker, Pass);
            assert!(first <= at_ms(500));
            let (second, _) = probe(&mut checker, Pass);
            assert!(first + config.fast_interval <= second);
            assert!(second <= first + config.interval + config.fast_interval);
            let (third, _) = probe(&mut checker, Pass);
            assert_eq!(third, second + config.interval);
            let phase = third.as_nanos() % at(2).as_nanos();
            seconds[usize::from(phase >= at(1).as_nanos())] += 1;
        }
        assert!(seconds.iter().all(|count| *count > 400), "{seconds:?}");
    }

    #[test]
    fn probes_are_an_interval_apart_while_all_is_well_and_a_fast_one_after_a_failure() {
        let (mut checker, start) = probed();
        checker.handle_result(start, Pass);
        let (second, _) = probe(&mut checker, Pass);
        let (third, _) = probe(&mut checker, Fail);
        assert_eq!(third, second + Duration::from_secs(2));
        let (fourth, _) = probe(&mut checker, Pass);
        assert_eq!(fourth, third + Duration::from_millis(500));
        let (fifth, _) = probe(&mut checker, Pass);
        assert_eq!(fifth, fourth + Duration::from_secs(2));
    }

    #[test]
    fn a_server_that_is_down_is_probed_fast_once_it_passes() {
        let mut checker = fallen();
        let (first, _) = probe(&mut checker, Fail);
        let (second, _) = probe(&mut checker, Pass);
        assert_eq!(second, first + Duration::from_secs(2));
        let (third, status) = probe(&mut checker, Pass);
        assert_eq!(third, second + Duration::from_millis(500));
        assert_eq!(status, Some(Status::Up));
    }

    #[test]
    fn a_server_that_hangs_is_down_two_fast_intervals_and_a_timeout_after_the_first_probe() {
        let (mut checker, start) = probed();
        let fast = Duration::from_millis(500);
        let timeout = Duration::from_secs(1);
        assert!(checker.poll_probe(start + fast));
        assert_eq!(checker.handle_result(start + timeout, Fail), None);
        assert!(checker.poll_probe(start + fast * 2));
        assert_eq!(checker.handle_result(start + fast + timeout, Fail), None);
        let down = checker.handle_result(start + fast * 2 + timeout, Fail);
        assert_eq!(down, Some(Status::Down));
    }

    /// Checks a server that answers in a millisecond until it stops at `stops_at`. Returns when it
    /// is down.
    fn time_of_fall(config: &Health, stops_at: Timestamp, rng: &mut fastrand::Rng) -> Timestamp {
        let mut checker = Checker::new(config, Timestamp::ZERO, rng);
        let mut under_way: Vec<(Timestamp, ProbeResult)> = Vec::new();
        loop {
            under_way.sort_unstable_by_key(|(end, _)| *end);
            let end = under_way.first().map(|(end, _)| *end);
            let due = checker.poll_timeout();
            if let Some(now) = end.filter(|end| due.is_none_or(|due| *end <= due)) {
                let (_, result) = under_way.remove(0);
                if checker.handle_result(now, result) == Some(Status::Down) {
                    return now;
                }
                continue;
            }
            let now = due.expect("a probe is due or under way");
            assert!(checker.poll_probe(now));
            let answer_at = now + Duration::from_millis(1);
            under_way.push(if answer_at < stops_at {
                (answer_at, Pass)
            } else {
                (now + config.timeout, Fail)
            });
        }
    }

    #[test]
    fn a_server_that_stops_at_any_moment_is_found_in_time() {
        let mut rng = fastrand::Rng::with_seed(11);
        let usual = Health::new(Check::Tcp);
        let always_fast = Health {
            interval: usual.fast_interval,
            ..usual.clone()
        };
        for config in [usual, always_fast] {
            let bound = config.interval + config.fast_interval * 2 + config.timeout;
            for _ in 0..1000 {
                let stops_at = at(5) + Duration::from_nanos(rng.u64(..4_000_000_000));
                let down_at = time_of_fall(&config, stops_at, &mut rng);
                // A probe that was out when the server stopped counts from its own start.
                assert!(down_at.saturating_since(stops_at) <= bound);
            }
        }
    }

    #[test]
    fn no_more_probes_hang_at_once_than_it_takes_to_fall() {
        let (mut checker, start) = probed();
        let mut under_way = 1;
        for millis in 0..60_000 {
            under_way += u32::from(checker.poll_probe(start + Duration::from_millis(millis)));
        }
        assert_eq!(under_way, 3);
        assert_eq!(checker.poll_timeout(), None);
    }

    #[test]
    fn a_server_that_is_down_has_one_probe_at_a_time() {
        let mut checker = fallen();
        let now = checker.poll_timeout().unwrap();
        assert!(checker.poll_probe(now));
        assert_eq!(checker.poll_timeout(), None);
        assert!(!checker.poll_probe(now + Duration::from_secs(60)));
    }

    #[test]
    fn connect_failures_pull_the_next_probe_forward_but_not_below_the_fast_interval() {
        let (mut checker, start) = probed();
        checker.handle_result(start, Pass);
        let (second, _) = probe(&mut checker, Pass);
        let soon = second + Duration::from_millis(500);
        for millis in 0..100 {
            checker.handle_failure_hint(second + Duration::from_millis(millis));
            assert_eq!(checker.poll_timeout(), Some(soon));
        }
        probe(&mut checker, Pass);
        let late = soon + Duration::from_secs(1);
        checker.handle_failure_hint(late);
        assert_eq!(checker.poll_timeout(), Some(late));
    }

    #[test]
    fn connect_failures_do_not_hurry_the_probes_of_a_server_known_to_be_down() {
        let mut checker = fallen();
        let next = checker.poll_timeout();
        checker.handle_failure_hint(Timestamp::ZERO);
        assert_eq!(checker.poll_timeout(), next);
    }

    #[test]
    fn what_is_known_of_a_server_survives_a_reload() {
        let mut checker = fallen();
        let now = checker.poll_timeout().unwrap();
        let slow = Health {
            interval: Duration::from_secs(60),
            ..Health::new(Check::Tcp)
        };
        checker.reconfigure(now, &slow);
        assert_eq!(checker.status(), Status::Down);
        assert!(checker.is_checked());
    }
}

mod refusal {
    use super::*;

    #[test]
    fn a_server_that_refuses_is_out_at_once_and_says_so_once() {
        let mut refusal = Refusal::new();
        assert!(!refusal.is_refusing());
        assert_eq!(refusal.poll_timeout(), None);
        assert!(refusal.handle_refused(at(0)));
        assert!(refusal.is_refusing());
        assert!(!refusal.handle_refused(at_ms(999)));
        assert_eq!(refusal.poll_timeout(), Some(at(1)));
    }

    #[test]
    fn it_is_probed_once_a_second_until_a_connection_stands() {
        let mut refusal = Refusal::new();
        refusal.handle_refused(at(0));
        assert!(!refusal.poll_probe(at_ms(999)));
        assert!(refusal.poll_probe(at(1)));
        assert!(!refusal.poll_probe(at(5)), "one at a time");
        assert!(!refusal.handle_probe(at_ms(1001), Fail));
        assert_eq!(refusal.poll_timeout(), Some(at(2)));
        assert!(refusal.poll_probe(at(2)));
        assert!(refusal.handle_probe(at_ms(2001), Pass));
        assert!(!refusal.is_refusing());
        assert!(!refusal.handle_probe(at_ms(2002), Pass), "back only once");
    }

    #[test]
    fn a_probe_that_says_nothing_is_repeated() {
        let mut refusal = Refusal::new();
        refusal.handle_refused(at(0));
        assert!(refusal.poll_probe(at(1)));
        assert!(!refusal.handle_probe(at(4), Inconclusive));
        assert!(refusal.poll_probe(at(4)));
    }

    #[test]
    fn active_checks_take_over_when_they_change_the_status() {
        let mut refusal = Refusal::new();
        assert!(!refusal.handle_status_change());
        refusal.handle_refused(at(0));
        assert!(refusal.handle_status_change());
        assert!(!refusal.is_refusing());
        assert_eq!(refusal.poll_timeout(), None);
    }
}

mod outlier {
    use super::*;

    const A: ServerId = ServerId(0);
    const B: ServerId = ServerId(1);
    const C: ServerId = ServerId(2);

    fn detector(comeback: Comeback, servers: usize) -> Detector {
        Detector::new(Outlier::default(), comeback, servers)
    }

    const fn ejected(seconds: u64, count: u32) -> Option<Ejected> {
        let until = Timestamp::from_nanos(seconds * 1_000_000_000);
        Some(Ejected { until, count })
    }

    #[test]
    fn five_failures_in_a_row_are_told_once() {
        let streak = FailureStreak::new();
        let five = NonZeroU32::new(5).unwrap();
        let told: Vec<bool> = (0..10).map(|_| streak.failure(five)).collect();
        let expected = [false, false, false, false, true];
        assert_eq!(told, [expected, expected].concat());
    }

    #[test]
    fn a_success_ends_the_streak() {
        let streak = FailureStreak::new();
        let five = NonZeroU32::new(5).unwrap();
        for _ in 0..100 {
            for _ in 0..4 {
                assert!(!streak.failure(five));
            }
            streak.success();
        }
    }

    #[test]
    fn of_workers_that_fail_at_once_one_is_told_per_threshold() {
        let streak = FailureStreak::new();
        let five = NonZeroU32::new(5).unwrap();
        let told: usize = std::thread::scope(|scope| {
            let count = || (0..1000).filter(|_| streak.failure(five)).count();
            let workers: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
            workers
                .into_iter()
                .map(|worker| worker.join().unwrap())
                .sum()
        });
        assert_eq!(told, 800);
    }

    #[test]
    fn the_nth_ejection_lasts_n_times_as_long_up_to_the_longest() {
        let mut detector = detector(Comeback::AtOnce, 1);
        let mut now = at(0);
        for count in 1..=12 {
            let ejection = detector.handle_streak(now, A).unwrap();
            let seconds = (30 * u64::from(count)).min(300);
            assert_eq!(ejection.until, now + Duration::from_secs(seconds));
            assert_eq!(ejection.count, count);
            now = ejection.until;
            assert_eq!(detector.handle_timeout(now), Some(A));
        }
    }

    #[test]
    fn an_ejection_is_forgotten_for_every_ten_seconds_in_the_traffic() {
        let mut detector = detector(Comeback::AtOnce, 1);
        detector.handle_streak(at(0), A);
        assert_eq!(detector.handle_timeout(at(30)), Some(A));
        assert_eq!(detector.handle_streak(at(39), A), ejected(99, 2));
        assert_eq!(detector.handle_timeout(at(99)), Some(A));
        assert_eq!(detector.handle_streak(at(109), A), ejected(169, 2));
        assert_eq!(detector.handle_timeout(at(169)), Some(A));
        assert_eq!(detector.handle_streak(at(1000), A), ejected(1030, 1));
    }

    #[test]
    fn at_most_a_tenth_is_ejected_but_at_least_one() {
        for (servers, most) in [(1, 1), (2, 1), (19, 1), (20, 2), (100, 10)] {
            let mut detector = detector(Comeback::AtOnce, servers);
            let ejected = (0..u32::try_from(servers).unwrap())
                .filter(|id| detector.handle_streak(at(0), ServerId(*id)).is_some())
                .count();
            assert_eq!(ejected, most, "of {servers}");
        }
    }

    #[test]
    fn room_to_eject_comes_back_with_the_server() {
        let mut detector = detector(Comeback::AtOnce, 3);
        assert_eq!(detector.handle_streak(at(0), A), ejected(30, 1));
        assert_eq!(detector.handle_streak(at(1), A), None);
        assert_eq!(detector.handle_streak(at(1), B), None);
        assert!(detector.handle_pass(at(2), A));
        assert!(!detector.handle_pass(at(2), A));
        assert_eq!(detector.handle_streak(at(3), B), ejected(33, 1));
        assert!(!detector.is_ejected(A));
        assert!(detector.is_ejected(B));
        assert!(!detector.is_ejected(C));
    }

    #[test]
    fn without_a_threshold_nothing_is_ejected() {
        let config = Outlier {
            consecutive: None,
            ..Outlier::default()
        };
        let mut detector = Detector::new(config, Comeback::AtOnce, 1);
        assert_eq!(detector.threshold(), None);
        assert_eq!(detector.handle_streak(at(0), A), None);
    }

    #[test]
    fn a_server_with_active_checks_returns_when_its_time_is_over() {
        let mut detector = detector(Comeback::AtOnce, 2);
        detector.handle_streak(at(0), A);
        assert_eq!(detector.poll_timeout(), Some(at(30)));
        assert_eq!(detector.handle_timeout(at_ms(29_999)), None);
        assert_eq!(detector.handle_timeout(at(30)), Some(A));
        assert_eq!(detector.handle_timeout(at(30)), None);
        assert_eq!(detector.poll_timeout(), None);
    }

    #[test]
    fn a_server_without_active_checks_returns_by_one_probe_connection_per_second() {
        let mut detector = detector(Comeback::ByProbe, 2);
        detector.handle_streak(at(0), A);
        assert_eq!(detector.poll_probe(at(29)), None);
        assert_eq!(detector.handle_timeout(at(30)), None);
        assert!(detector.is_ejected(A));
        assert_eq!(detector.poll_probe(at(30)), Some(A));
        assert_eq!(detector.poll_probe(at(30)), None);
        assert!(!detector.handle_probe(at(30), A, Fail));
        assert_eq!(detector.poll_timeout(), Some(at(31)));
        assert_eq!(detector.poll_probe(at(31)), Some(A));
        assert!(detector.handle_probe(at(31), A, Pass));
        assert!(!detector.is_ejected(A));
        assert_eq!(detector.poll_timeout(), None);
    }

    #[test]
    fn a_passing_active_check_ends_an_ejection_at_once() {
        let mut detector = detector(Comeback::AtOnce, 1);
        detector.handle_streak(at(0), A);
        assert!(detector.handle_pass(at(1), A));
        assert!(!detector.is_ejected(A));
        assert_eq!(detector.handle_streak(at(2), A), ejected(62, 2));
    }

    #[test]
    fn ejections_survive_a_reload_that_reorders_the_servers() {
        let mut old = detector(Comeback::ByProbe, 2);
        old.handle_streak(at(0), B);
        let swapped = |id: ServerId| Some(ServerId(1 - id.0));
        let mut new = detector(Comeback::ByProbe, 2).with_ejections_of(&old, swapped);
        assert!(new.is_ejected(A));
        assert!(!new.is_ejected(B));
        assert_eq!(new.handle_streak(at(1), B), None, "one at most");
        new.handle_timeout(at(30));
        assert_eq!(new.poll_probe(at(30)), Some(A));
        let mut newer = detector(Comeback::ByProbe, 2).with_ejections_of(&new, Some);
        assert_eq!(newer.poll_probe(at(31)), Some(A));
        assert!(newer.handle_probe(at(31), A, Pass));
        assert_eq!(newer.handle_streak(at(32), B), ejected(62, 1));
    }

    #[test]
    fn probes_nobody_asked_for_change_nothing() {
        let mut detector = detector(Comeback::ByProbe, 1);
        assert!(!detector.handle_probe(at(0), A, Pass));
        detector.handle_streak(at(0), A);
        assert!(!detector.handle_probe(at(1), A, Pass));
        assert!(detector.is_ejected(A));
        assert!(!detector.handle_probe(at(1), ServerId(9), Pass));
        assert_eq!(detector.handle_streak(at(1), ServerId(9)), None);
    }
}
