//! Tests of the protocol: what is sent is what arrives, and what makes no sense is refused.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc::unbounded_channel;

use super::codec::{Malformed, Writer};
use super::link::Link;
use super::message::{Begin, Hello, Order, Word};
use super::{Agent, Agents, Fleet, Job, Load, OnLoss, Secret};
use crate::board::{Answered, Board, Check, Recorder};
use crate::distribution::EXACT_VALUES;
use crate::engine::{Course, Message, Report, Resumed};
use crate::metric::{Contains, Registry, builtin};
use crate::sink::Kind;
use crate::tags::TagsId;

fn registry() -> Arc<Registry> {
    let mut registry = Registry::new();
    registry
        .declare("own_trend", Kind::Trend, Contains::Time)
        .unwrap();
    registry
        .declare("own_gauge", Kind::Gauge, Contains::Default)
        .unwrap();
    registry.select("http_reqs{status:200}").unwrap();
    Arc::new(registry)
}

fn report(worker: u64, second: u64, board: Board) -> Report {
    Report {
        worker,
        second,
        at: second * 1_000_000_000,
        has_lost_tags: second == 3,
        board,
        active: 4,
        made: 5,
        whole: 6,
        cut: 7,
        begun: vec![8, 9],
        asked: vec![1, 0],
        busy: Duration::from_millis(10),
    }
}

/// A report sent and received.
fn sent(report: Report, registry: &Registry, is_coarse: bool) -> Report {
    let bytes = Word::Told(Message::Interval(report)).to_bytes(|_, _| is_coarse);
    match Word::read(&bytes, registry) {
        Ok(Word::Told(Message::Interval(report))) => report,
        other => panic!("{other:?}"),
    }
}

/// Samples of all kinds, as worker `number` of so many would take them.
fn record(recorder: &mut Recorder, numbers: impl Iterator<Item = u32>) {
    let ok = recorder.intern(&[("status", "200")]);
    let own = recorder.registry().named("own_trend").unwrap();
    let gauge = recorder.registry().named("own_gauge").unwrap();
    for number in numbers {
        let value = f64::from(number.wrapping_mul(2_654_435_761) >> 8) / 1e4;
        let at = u64::from(number);
        recorder.record(builtin::HTTP_REQ_DURATION, ok, value, at);
        recorder.record(own, ok, value - 800.0, at);
        recorder.record(builtin::HTTP_REQS, ok, 1.0, at);
        recorder.record(builtin::HTTP_REQ_FAILED, ok, f64::from(number % 2), at);
        recorder.record(gauge, ok, value, at);
        let check = Check {
            group: "::a group",
            name: "is well",
            scenario: None,
            tags: TagsId::default(),
        };
        recorder.check(check, number % 3 > 0);
        recorder.answered(Answered::Status(200));
    }
    recorder.group("::a group");
    recorder.answered(Answered::Failure("reset".to_owned()));
    recorder.answered(Answered::Bytes);
}

#[test]
fn boards_of_three_agents_merge_to_the_board_of_one_process() {
    let registry = registry();
    // Few samples are told exactly; many go into buckets, wherever they were taken.
    for count in [90, 9_999, 60_000] {
        let mut one = Recorder::new(Arc::clone(&registry));
        record(&mut one, 0..count);
        let whole = one.take();
        let mut merged = Board::new(&registry);
        for agent in 0..3 {
            let mut own = Recorder::new(Arc::clone(&registry));
            let mut values = vec![0; registry.sinks().len()];
            // Each second a report, as an agent sends it.
            for second in 0..10 {
                let numbers = (0..count).filter(|n| n % 3 == agent);
                record(
                    &mut own,
                    numbers.filter(|n| u64::from(n / 3 % 10) == second),
                );
                let told = Word::Told(Message::Interval(report(0, second, own.take())));
                let bytes = told.to_bytes(|sink, more| {
                    values[sink] += more;
                    values[sink] > EXACT_VALUES as u64
                });
                let Ok(Word::Told(Message::Interval(report))) = Word::read(&bytes, &registry)
                else {
                    panic!("no report");
                };
                merged.merge(&report.board);
            }
        }
        let shares: Vec<f64> = (0..=100)
            .map(|percent| f64::from(percent) / 100.0)
            .collect();
        for (one, other) in whole.sinks().iter().zip(merged.sinks()) {
            match (one.distribution(), other.distribution()) {
                (Some(one), Some(other)) => {
                    assert_eq!(one.count(), other.count());
                    assert_eq!(one.quantiles(&shares), other.quantiles(&shares), "{count}");
                }
                _ => assert_eq!(format!("{one:?}"), format!("{other:?}")),
            }
        }
        let tallies = |board: &Board| -> Vec<_> {
            let checks = board.checks.iter();
            checks
                .map(|(key, tally)| (key.clone(), tally.passes, tally.fails))
                .collect()
        };
        assert_eq!(tallies(&whole), tallies(&merged));
        assert_eq!(whole.groups, merged.groups);
        let ok = Answered::Status(200);
        assert_eq!(whole.answers[&ok], merged.answers[&ok]);
    }
}

#[test]
fn a_report_keeps_its_numbers_and_changes_clocks() {
    let registry = registry();
    let mut recorder = Recorder::new(Arc::clone(&registry));
    record(&mut recorder, 1000..1001);
    let mut there = report(2, 3, recorder.take());
    there.move_clock(1000, 0);
    let mut here = sent(there, &registry, false);
    here.move_clock(0, 5_000_000);
    assert_eq!((here.worker, here.second, here.active), (2, 3, 4));
    assert_eq!((here.made, here.whole, here.cut), (5, 6, 7));
    assert_eq!(here.at, 3_000_000_000 - 1000 + 5_000_000);
    assert_eq!((here.begun, here.asked), (vec![8, 9], vec![1, 0]));
    assert_eq!(here.busy, Duration::from_millis(10));
    assert!(here.has_lost_tags);
    let gauge = registry.named("own_gauge").unwrap();
    let gauge = format!("{:?}", here.board.metric(&registry, gauge));
    assert!(gauge.contains("at: Some(5000000)"), "{gauge}");
}

#[test]
fn orders_arrive_as_they_were_given() {
    let job = Job {
        arguments: vec!["catamaran".to_owned(), "load".to_owned()],
        environment: vec![("A".to_owned(), "b=c".to_owned())],
        script: "/x/test.js".to_owned(),
        files: Arc::new(BTreeMap::from([("/x/data".to_owned(), vec![0, 255, 7])])),
    };
    let begin = |data: Option<&str>| Begin {
        workers: vec![0, 7],
        of: 9,
        data: data.map(str::to_owned),
    };
    for order in [
        Order::Hello(Hello::own()),
        Order::Job(job),
        Order::Ping(u64::MAX),
        Order::Begin(begin(None)),
        Order::Begin(begin(Some("{\"a\":1}"))),
        Order::Start(123),
        Order::Drain,
        Order::Cut,
        Order::TakeOver(
            vec![3],
            Resumed {
                begun: vec![5, 0],
                asked: vec![4, 9],
            },
        ),
    ] {
        assert_eq!(Order::read(&order.to_bytes()), Ok(order));
    }
}

#[test]
fn another_version_is_told_by_name_whatever_it_says_besides() {
    let mut bytes = Order::Hello(other()).to_bytes();
    bytes.extend_from_slice(b"and more than this version knows");
    let Ok(Order::Hello(heard)) = Order::read(&bytes) else {
        panic!("no hello");
    };
    let told = heard.check("it").unwrap_err();
    assert!(
        told.contains("7.0.0") && told.contains("the same version"),
        "{told}"
    );
    assert_eq!(Hello::own().check("it"), Ok(()));
    let word = Word::Hello(other(), 3).to_plain_bytes();
    assert!(
        matches!(Word::read(&word, &registry()), Ok(Word::Hello(hello, 3)) if hello.protocol == 99)
    );
}

#[test]
fn whatever_is_cut_off_or_changed_is_refused_or_harmless() {
    let registry = registry();
    let mut recorder = Recorder::new(Arc::clone(&registry));
    record(&mut recorder, 0..50);
    let told = Word::Told(Message::Done(report(0, 1, recorder.take())));
    let mut rng = fastrand::Rng::with_seed(11);
    for is_coarse in [false, true] {
        let bytes = told.to_bytes(|_, _| is_coarse);
        for len in 0..bytes.len() {
            assert!(Word::read(&bytes[..len], &registry).is_err(), "{len}");
        }
        let mut total = Board::new(&registry);
        for _ in 0..20_000 {
            let mut bytes = bytes.clone();
            let at = rng.usize(..bytes.len());
            bytes[at] = rng.u8(..);
            if let Ok(Word::Told(Message::Done(mut report))) = Word::read(&bytes, &registry) {
                report.move_clock(0, rng.u64(..));
                total.merge(&report.board);
            }
        }
        let durations = total.metric(&registry, builtin::HTTP_REQ_DURATION);
        assert!(durations.distribution().unwrap().quantile(0.5).is_finite());
    }
}

#[test]
fn a_board_of_other_metrics_is_refused() {
    let registry = registry();
    let mut writer = Writer::default();
    writer.byte(5);
    writer.byte(5);
    for _ in 0..9 {
        writer.number(0);
    }
    // Nothing begun, nothing asked.
    writer.number(0);
    writer.number(0);
    // One sink, of a number that there is none of.
    writer.number(1);
    writer.number(registry.sinks().len() as u64);
    writer.float(1.0);
    let refused = Word::read(&writer.into_bytes(), &registry);
    assert!(matches!(refused, Err(Malformed)), "{refused:?}");
}

fn secret() -> Secret {
    Secret::new([9; 32])
}

fn other() -> Hello {
    Hello {
        protocol: 99,
        version: "7.0.0".to_owned(),
    }
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

#[tokio::test]
async fn a_coordinator_of_another_version_is_turned_away_and_told_why() {
    let (listener, address) = listen().await;
    let (logged, mut log) = unbounded_channel();
    let tell = move |text: &str| logged.send(text.to_owned()).unwrap();
    let parse = |_: &Job| -> Result<Load, String> { panic!("nothing is read") };
    tokio::spawn(Agent::new(secret(), parse, Arc::new(tell)).serve(listener));
    let mut link = Link::connect(&address, &secret(), 1000).await.unwrap();
    link.send(Order::Hello(other()).to_bytes());
    let answer = link.receive().await.unwrap();
    let answer = Word::read(&answer, &registry());
    assert!(matches!(answer, Ok(Word::Hello(hello, _)) if hello == Hello::own()));
    assert!(link.receive().await.is_err());
    assert!(log.recv().await.unwrap().contains("7.0.0"));
}

#[tokio::test]
async fn an_agent_of_another_version_is_named_with_both_versions() {
    let (listener, address) = listen().await;
    let agent = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut link = Link::accept(stream, &secret(), 1000).await.unwrap();
        link.receive().await.unwrap();
        link.send(Word::Hello(other(), 2).to_plain_bytes());
        // It hangs up.
        link.receive().await.unwrap_err()
    });
    let agents = Agents {
        addresses: vec![address.clone()],
        secret: secret(),
        on_loss: OnLoss::default(),
        arguments: Vec::new(),
        files: BTreeMap::new(),
    };
    let course = Course {
        registry: registry(),
        scenarios: Arc::default(),
        thresholds: Vec::new(),
        workers: 1,
        taps: Vec::new(),
    };
    let mustered = Fleet::muster(&agents, Job::default(), &course, (None, 1)).await;
    let told = mustered.unwrap_err();
    for part in [&address, "7.0.0", env!("CARGO_PKG_VERSION")] {
        assert!(told.contains(part), "{told}");
    }
    agent.await.unwrap();
}

#[tokio::test]
async fn frames_of_any_length_up_to_the_limit_arrive_and_longer_ones_do_not() {
    let (listener, address) = listen().await;
    let there = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        Link::accept(stream, &secret(), 200_000).await.unwrap()
    });
    let here = Link::connect(&address, &secret(), 10).await.unwrap();
    let mut there = there.await.unwrap();
    for len in [1, 65_514, 65_515, 65_516, 65_519, 131_034, 200_000] {
        let frame: Vec<u8> = (0..len).map(|n| u8::try_from(n % 251).unwrap()).collect();
        here.send(frame.clone());
        assert_eq!(there.receive().await.as_deref(), Ok(&frame[..]), "{len}");
    }
    here.send(vec![0; 200_001]);
    let told = there.receive().await.unwrap_err().to_string();
    assert!(told.contains("200000 are allowed"), "{told}");
}
