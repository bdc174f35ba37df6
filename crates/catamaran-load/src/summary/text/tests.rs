//! The text of a run whose samples are those of a run of k6 v2.2, beside the text that k6 printed.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::board::{Check, Recorder};
use crate::metric::{Registry, builtin};
use crate::sink::Statistic;
use crate::tags::TagsId;
use crate::threshold::{Guarded, Threshold};

/// What k6 printed, but for the values of trends, which are chosen here.
const EXPECTED: &str = "

  █ THRESHOLDS 

    checks
    ✗ 'rate>0.9' rate=80.00%

    http_req_duration
    ✓ 'p(95)<500' p(95)=2ms
    ✗ 'avg<0.0001' avg=1.5ms

      {scenario:a}
      ✓ 'max<1000' max=2ms

    my_counter
    ✓ 'count>1' count=20


  █ TOTAL RESULTS 

    checks_total.......: 40     20/s
    checks_succeeded...: 80.00% 32 out of 40
    checks_failed......: 20.00% 8 out of 40

    ✓ status 200
    ✗ fails sometimes
      ↳  60% — ✓ 12 / ✗ 8

    CUSTOM
    my_counter.....................: 20      10/s
    my_gauge.......................: 3       min=2        max=3
    my_rate........................: 100.00% 20 out of 20

    HTTP
    http_req_duration..............: avg=1.5ms    max=2ms      p(95)=2ms     
      { expected_response:true }...: avg=1.5ms    max=2ms      p(95)=2ms     
      { scenario:a }...............: avg=2ms      max=2ms      p(95)=2ms     
    http_req_failed................: 0.00%   0 out of 22
    http_reqs......................: 22      11/s

    EXECUTION
    iteration_duration.............: avg=201.37ms max=201.37ms p(95)=201.37ms
    vus............................: 2       min=2        max=2

    NETWORK
    data_received..................: 5.6 kB  2.8 kB/s
    data_sent......................: 1.6 kB  816 B/s


";

fn guarded(registry: &mut Registry, selector: &str, texts: &[&str]) -> Guarded {
    Guarded {
        selector: selector.to_owned(),
        sink: registry.select(selector).unwrap(),
        thresholds: texts
            .iter()
            .map(|text| Threshold::read(text).unwrap())
            .collect(),
    }
}

/// Samples like those of the run.
fn record(registry: &Arc<Registry>) -> Recorder {
    let named = |name: &str| registry.named(name).unwrap();
    let (counter, gauge, rate) = (named("my_counter"), named("my_gauge"), named("my_rate"));
    let mut recorder = Recorder::new(Arc::clone(registry));
    let a = recorder.intern(&[("scenario", "a"), ("expected_response", "true")]);
    let b = recorder.intern(&[("scenario", "b"), ("expected_response", "true")]);
    for number in 0..20 {
        let fails = number % 5 > 2;
        for (name, holds) in [("status 200", true), ("fails sometimes", !fails)] {
            let check = Check {
                group: "::front",
                name,
                scenario: None,
                tags: TagsId::default(),
            };
            recorder.check(check, holds);
            recorder.record(builtin::CHECKS, a, f64::from(u8::from(holds)), 0);
        }
        recorder.record(counter, a, 1.0, 0);
        recorder.record(rate, a, 1.0, 0);
    }
    for number in 0..22 {
        let (tags, value) = if number < 11 { (a, 2.0) } else { (b, 1.0) };
        recorder.record(builtin::HTTP_REQ_DURATION, tags, value, 0);
        recorder.record(builtin::HTTP_REQS, tags, 1.0, 0);
        recorder.record(builtin::HTTP_REQ_FAILED, tags, 0.0, 0);
        recorder.record(builtin::HTTP_REQ_WAITING, tags, 1.0, 0);
    }
    recorder.record(builtin::ITERATION_DURATION, a, 201.377_408, 0);
    recorder.record(gauge, a, 2.0, 1);
    recorder.record(gauge, a, 3.0, 2);
    recorder.record(builtin::VUS, a, 2.0, 0);
    recorder.record(builtin::DATA_RECEIVED, a, 5589.0, 0);
    recorder.record(builtin::DATA_SENT, a, 1631.0, 0);
    recorder
}

#[test]
fn the_text_has_the_shape_of_k6s() {
    let mut registry = Registry::new();
    registry
        .declare("my_counter", Kind::Counter, Contains::Default)
        .unwrap();
    registry
        .declare("my_gauge", Kind::Gauge, Contains::Default)
        .unwrap();
    registry
        .declare("my_rate", Kind::Rate, Contains::Default)
        .unwrap();
    registry
        .select("http_req_duration{expected_response:true}")
        .unwrap();
    let thresholds = [
        guarded(&mut registry, "checks", &["rate>0.9"]),
        guarded(
            &mut registry,
            "http_req_duration",
            &["p(95)<500", "avg<0.0001"],
        ),
        guarded(
            &mut registry,
            "http_req_duration{scenario:a}",
            &["max<1000"],
        ),
        guarded(&mut registry, "my_counter", &["count>1"]),
    ];
    let registry = Arc::new(registry);
    let board = record(&registry).take();
    let summary = Summary {
        registry: &registry,
        board: &board,
        run_time: Duration::from_secs(2),
        thresholds: &thresholds,
        trend_statistics: &[
            Statistic::Average,
            Statistic::Max,
            Statistic::Percentile(95.0),
        ],
        is_full: false,
        time_unit: None,
    };
    assert_eq!(render(&summary), EXPECTED);
    assert_eq!(summary.crossed(), ["checks", "http_req_duration"]);
    let full = render(&Summary {
        is_full: true,
        ..summary
    });
    assert!(full.contains("http_req_waiting"), "{full}");
}
