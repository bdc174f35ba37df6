//! Tests of what is kept of a run.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};

use super::*;
use crate::board::{Board, Check, Recorder};
use crate::metric::{Registry, builtin};
use crate::scenario::Executor;
use crate::tags::TagsId;
use crate::threshold::{Guarded, Threshold};

/// A run of three seconds with `failures` failed requests of 100.
struct Run {
    registry: Registry,
    board: Board,
    guarded: Vec<Guarded>,
    about: About,
    timeline: Timeline,
    ending: Ending,
}

impl Run {
    fn new(failures: usize, millis: f64) -> Self {
        let mut registry = Registry::new();
        let guarded = vec![Guarded {
            selector: "http_req_failed".to_owned(),
            sink: registry.select("http_req_failed").unwrap(),
            thresholds: vec![Threshold::read("rate<0.01").unwrap()],
        }];
        let mut recorder = Recorder::new(registry.clone().into());
        let tags = recorder.intern(&[]);
        for index in 0..100 {
            let is_failed = f64::from(u8::from(index < failures));
            recorder.record(builtin::HTTP_REQS, tags, 1.0, 0);
            recorder.record(builtin::HTTP_REQ_FAILED, tags, is_failed, 0);
            recorder.record(builtin::HTTP_REQ_DURATION, tags, millis, 0);
        }
        let check = Check {
            group: "::a group",
            name: "is <b>bold</b> & \"quoted\"",
            scenario: None,
            tags: TagsId::default(),
        };
        recorder.check(check, failures == 0);
        recorder.record(builtin::CHECKS, tags, f64::from(u8::from(failures == 0)), 0);
        let mut timeline = Timeline::default();
        for second in 0..3 {
            timeline.push(Point {
                second,
                requests: 33.0,
                median: millis,
                ..Point::default()
            });
        }
        Self {
            registry,
            board: recorder.take(),
            guarded,
            about: About {
                title: "shop <test>.js".to_owned(),
                script: Some("shop <test>.js".to_owned()),
                targets: Vec::new(),
                scenarios: vec![scenario()],
                agents: Vec::new(),
                workers: 2,
                began: UNIX_EPOCH + Duration::from_secs(1_795_295_993),
            },
            timeline,
            ending: Ending::Finished,
        }
    }

    fn with<T>(&self, use_it: impl FnOnce(&Record<'_>) -> T) -> T {
        let summary = Summary {
            registry: &self.registry,
            board: &self.board,
            run_time: Duration::from_millis(3005),
            thresholds: &self.guarded,
            trend_statistics: STATISTICS,
            is_full: false,
            time_unit: None,
        };
        use_it(&Record {
            missing: &[],
            about: &self.about,
            summary: &summary,
            timeline: &self.timeline,
            ending: &self.ending,
            warnings: &["<b> & \"c\"".to_owned()],
        })
    }

    fn document(&self) -> Value {
        self.with(document::document)
    }
}

fn scenario() -> Scenario {
    Scenario {
        name: "default".to_owned(),
        executor: Executor::ConstantVus {
            vus: 3,
            duration: Duration::from_secs(3),
        },
        start_time: Duration::ZERO,
        graceful_stop: Duration::ZERO,
        exec: "default".to_owned(),
        env: BTreeMap::new(),
        tags: BTreeMap::new(),
        overload: Overload::Drop,
    }
}

/// An earlier run, from a file.
fn earlier(document: &Value) -> Result<Earlier, String> {
    let name = format!(
        "catamaran-load-{}-{}.json",
        std::process::id(),
        fastrand::u64(..)
    );
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, document.to_string()).unwrap();
    let read = Earlier::read(&path);
    std::fs::remove_file(&path).unwrap();
    read
}

#[test]
fn the_document_says_what_was_run_and_what_came_of_it() {
    let document = Run::new(2, 5.0).document();
    assert_eq!(document["run"]["model"], "closed");
    assert_eq!(document["run"]["began"], "2026-11-21T21:19:53Z");
    assert_eq!(document["run"]["passed"], false);
    assert_eq!(document["run"]["scenarios"][0]["executor"], "constant-vus");
    assert_eq!(document["metrics"]["http_req_duration"]["p(99.9)"], 5);
    assert_eq!(
        document["thresholds"],
        json!([{"metric": "http_req_failed", "threshold": "rate<0.01", "value": 0.02, "holds": false}])
    );
    assert_eq!(document["checks"][0]["group"], "::a group");
    assert_eq!(document["checks"][0]["fails"], 1);
    assert_eq!(document["seconds"].as_array().unwrap().len(), 3);
    let bins = document["distribution"]["bins"].as_array().unwrap();
    let counted: u64 = bins.iter().map(|bin| bin["count"].as_u64().unwrap()).sum();
    assert_eq!(counted, 100);
}

#[test]
fn a_page_needs_nothing_else_and_escapes_what_it_is_given() {
    let run = Run::new(1, 5.0);
    let page = run.with(|record| page::render(record, &document::document(record), None));
    assert!(page.contains("&lt;b&gt; &amp; &quot;c&quot;"));
    assert!(page.contains("is &lt;b&gt;bold&lt;/b&gt; &amp; &quot;quoted&quot;"));
    assert!(
        !page.contains("<b>bold") && !page.contains("<test>"),
        "{page}"
    );
    for part in [
        "Thresholds",
        "Checks",
        "Rate, each second",
        "closed",
        "2026-11-21 21:19:53 UTC",
        "✗ failed",
    ] {
        assert!(page.contains(part), "{part}");
    }
    for outside in [
        "NaN", "inf", "http://", "https://", " src=", " href=", "@import", "url(",
    ] {
        assert!(!page.contains(outside), "{outside}");
    }
    // The document in it is JSON to the end.
    let data = page.split_once("id=\"run\">").unwrap().1;
    let data: Value = serde_json::from_str(data.split_once("</script>").unwrap().0).unwrap();
    assert_eq!(data["run"]["title"], "shop <test>.js");
}

#[test]
fn a_page_of_a_run_without_anything_is_whole() {
    let mut run = Run::new(0, 0.0);
    run.board = Board::new(&run.registry);
    for points in [0, 1] {
        run.timeline = Timeline::default();
        for second in 0..points {
            run.timeline.push(Point {
                second,
                ..Point::default()
            });
        }
        let page = run.with(|record| page::render(record, &document::document(record), None));
        assert!(
            !page.contains("NaN") && page.ends_with("</html>\n"),
            "{points}"
        );
    }
}

#[test]
fn a_run_is_compared_with_an_earlier_one() {
    let before = earlier(&Run::new(0, 5.0).document()).unwrap();
    let now = Run::new(2, 10.0).document();
    let changes = before.changes(&now);
    let change = |name: &str| changes.iter().find(|change| change.name == name).unwrap();
    assert_eq!(change("http_req_duration med").before, "5ms");
    assert_eq!(change("http_req_duration med").now, "10ms");
    assert_eq!(change("http_req_duration med").growth, Some(1.0));
    assert_eq!(change("http_req_duration med").verdict, Verdict::Worse);
    assert_eq!(change("http_req_failed").verdict, Verdict::Worse);
    assert_eq!(change("http_req_failed").growth, None);
    assert_eq!(change("http_reqs rate").verdict, Verdict::Alike);
    let text = compare::text(&before, &now);
    assert!(
        text.contains("5ms → 10ms") && text.contains("+100.0%  worse"),
        "{text}"
    );
    assert!(!text.contains("not of the same thing"), "{text}");
    let mut other = now;
    other["run"]["title"] = json!("another.js");
    assert!(compare::text(&before, &other).contains("the title was `shop <test>.js`"));
}

#[test]
fn a_percentile_of_few_samples_is_not_judged() {
    let before = earlier(&Run::new(0, 5.0).document()).unwrap();
    // A hundred samples: one lies beyond p(99), five beyond p(95), fifty beyond the median.
    let changes = before.changes(&Run::new(0, 10.0).document());
    let verdict = |name: &str| {
        let change = changes.iter().find(|change| change.name == name);
        change.unwrap().verdict
    };
    assert_eq!(verdict("http_req_duration med"), Verdict::Worse);
    assert_eq!(verdict("http_req_duration p(95)"), Verdict::Few);
    assert_eq!(verdict("http_req_duration p(99)"), Verdict::Few);
}

#[test]
fn what_is_no_run_is_not_compared_with() {
    assert!(
        earlier(&json!({"metrics": {}}))
            .unwrap_err()
            .contains("--json=FILE")
    );
    assert!(earlier(&json!([1])).unwrap_err().contains("no run"));
    assert!(Earlier::read(Path::new("/no/such/file")).is_err());
}

#[test]
fn thresholds_and_checks_are_test_cases() {
    let xml = Run::new(2, 5.0).with(junit::render);
    assert!(xml.contains("tests=\"3\" failures=\"2\""), "{xml}");
    assert!(
        xml.contains("name=\"http_req_failed: rate&lt;0.01\""),
        "{xml}"
    );
    assert!(xml.contains("<failure message=\"rate=2.00%\"/>"), "{xml}");
    assert!(xml.contains("classname=\"::a group\""), "{xml}");
    let mut run = Run::new(0, 5.0);
    assert!(run.with(junit::render).contains("failures=\"0\""));
    run.ending = Ending::Aborted("enough\u{1}".to_owned());
    let xml = run.with(junit::render);
    assert!(
        xml.contains("the script aborted it: enough\u{fffd}"),
        "{xml}"
    );
}
