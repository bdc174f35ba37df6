//! Runs without a script over HTTP.

use std::time::Duration;

use catamaran_load::exit_code;
use catamaran_load::output::Target;
use catamaran_load::plain::Model;
use catamaran_load::schedule::Stage;
use catamaran_testkit::{Origin, Reply, TempDir, free_addr};

use crate::{options, play};

#[test]
fn an_open_model_sends_each_request_that_is_due() {
    let origin = Origin::fixed(200, "hello").start().unwrap();
    let mut options = options(&format!("http://{}/a?b", origin.addr()));
    options.duration = Duration::from_secs(2);
    let ran = play(options);
    assert_eq!(ran.code, exit_code::OK, "{}", ran.err);
    assert_eq!(ran.due(), 200.0, "{}", ran.out);
    let seen = origin.requests().len();
    assert!(seen > 0);
    assert_eq!(ran.answers("200"), seen as u64);
    assert_eq!(ran.figure("http_reqs", "count"), seen as f64);
    assert_eq!(ran.figure("http_req_failed", "value"), 0.0);
    let (measured, corrected) = (
        ran.figure("http_req_duration", "avg"),
        ran.figure("http_req_corrected_duration", "avg"),
    );
    assert!(
        0.0 < measured && measured <= corrected,
        "{measured} {corrected}"
    );
    let request = &origin.requests()[0];
    assert_eq!(request.target, "/a?b");
    assert_eq!(request.field("host"), Some(origin.addr().to_string()));
    // Connections serve many requests.
    assert!(origin.accepted() <= 50, "{}", origin.accepted());
}

#[test]
fn a_closed_model_asks_again_when_it_was_answered() {
    let origin = Origin::http(|_| Reply::new(200, "").delay(Duration::from_millis(10)))
        .start()
        .unwrap();
    let mut options = options(&format!("http://{}/", origin.addr()));
    options.model = Model::Closed { vus: 3 };
    let ran = play(options);
    let count = ran.figure("http_reqs", "count");
    assert!((3.0..=301.0).contains(&count), "{count}");
    assert_eq!(origin.accepted(), 3);
    assert!(ran.figure("http_req_duration", "min") >= 10.0);
    assert_eq!(
        ran.json()["metrics"].get("http_req_corrected_duration"),
        None
    );
}

#[test]
fn stages_move_the_rate() {
    let origin = Origin::fixed(204, "").start().unwrap();
    let mut options = options(&format!("http://{}/", origin.addr()));
    options.model = Model::Open { rate: 0.0 };
    let stage = |millis, target| Stage {
        duration: Duration::from_millis(millis),
        target,
    };
    // Areas under the line: 50 and 50.
    options.stages = vec![stage(1000, 100.0), stage(500, 100.0)];
    let ran = play(options);
    assert!((99.0..=100.0).contains(&ran.due()), "{}", ran.out);
}

#[test]
fn weights_and_bodies_reach_the_targets() {
    let origin = Origin::http(|request| {
        let sent = request.method == "PUT" && request.body.content == b"data";
        Reply::new(if sent { 200 } else { 400 }, request.target.clone())
    })
    .start()
    .unwrap();
    let url = |path: &str| format!("http://{}{path}", origin.addr());
    let mut options = options(&url("/a"));
    options.targets = vec![url("/a"), url("/b"), url("/never")];
    options.weights = vec![3, 1, 0];
    options.exchange.method = "PUT".to_owned();
    options.exchange.body = Some(b"data".to_vec());
    options.exchange.fields = vec![("X-Mine".to_owned(), "1".to_owned())];
    options.model = Model::Open { rate: 400.0 };
    let ran = play(options);
    assert_eq!(ran.due(), 400.0, "{}", ran.out);
    let requests = origin.requests();
    assert_eq!(ran.answers("200"), requests.len() as u64, "{}", ran.out);
    let asked = |path: &str| {
        requests
            .iter()
            .filter(|request| request.target == path)
            .count()
    };
    assert_eq!(asked("/never"), 0);
    // A quarter is expected; the generator begins each run alike.
    let share = asked("/b") as f64 / requests.len() as f64;
    assert!(
        (0.05..0.6).contains(&share),
        "{share} of {}",
        requests.len()
    );
    assert_eq!(requests[0].field("x-mine").as_deref(), Some("1"));
}

#[test]
fn a_crossed_threshold_is_told_by_exit_code_and_text() {
    let origin = Origin::fixed(503, "").start().unwrap();
    let mut options = options(&format!("http://{}/", origin.addr()));
    options.thresholds = vec![
        "http_req_failed:rate<0.5".to_owned(),
        "p(99)<60s".to_owned(),
    ];
    options.is_json = false;
    let ran = play(options);
    assert_eq!(ran.code, exit_code::THRESHOLDS, "{}", ran.err);
    assert!(ran.out.contains("✗ 'rate<0.5' rate=100.00%"), "{}", ran.out);
    assert!(ran.out.contains("✓ 'p(99)<60s'"), "{}", ran.out);
    assert!(
        ran.err.contains("'http_req_failed' have been crossed"),
        "{}",
        ran.err
    );
    assert!(ran.out.contains("503"), "{}", ran.out);
}

#[test]
fn a_target_that_is_not_there_is_a_result() {
    let mut options = options(&format!("http://{}/", free_addr().unwrap()));
    options.duration = Duration::from_millis(300);
    let ran = play(options);
    assert_eq!(ran.code, exit_code::OK);
    assert_eq!(ran.answers("dial: connection refused"), 30, "{}", ran.out);
    assert_eq!(ran.figure("http_req_failed", "value"), 1.0);
}

#[test]
fn what_cannot_be_run_is_told_before_the_start() {
    for (target, told) in [
        ("127.0.0.1:80", "write http://127.0.0.1:80"),
        ("http://a..b/", "`a..b` has no address"),
    ] {
        let ran = play(options(target));
        assert_eq!(ran.code, exit_code::INVALID, "{target}");
        assert!(ran.err.contains(told), "{}", ran.err);
    }
}

#[test]
fn a_report_is_one_page() {
    let origin = Origin::fixed(200, "x").start().unwrap();
    let dir = TempDir::create().unwrap();
    let path = dir.path().join("report.html");
    let mut options = options(&format!("http://{}/", origin.addr()));
    options.keep.report = Some(path.clone());
    play(options);
    let page = std::fs::read_to_string(path).unwrap();
    assert!(page.contains("<polyline") && page.ends_with("</html>\n"));
}

#[test]
fn the_greatest_rate_is_found() {
    // One request at a time, 20 ms each, on one connection: 50 a second is the limit.
    let origin = Origin::http(|_| Reply::new(200, "").delay(Duration::from_millis(20)))
        .start()
        .unwrap();
    let mut options = options(&format!("http://{}/", origin.addr()));
    // A condition that each request that is answered meets: those that are not must count.
    options.find_max = Some("med<5s".to_owned());
    options.model = Model::Open { rate: 400.0 };
    options.max_connections = 1;
    options.workers = Some(1);
    let ran = play(options);
    let found: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let steps = found["steps"].as_array().unwrap();
    assert!(steps.len() >= 2, "{}", ran.out);
    assert_eq!(steps[0]["holds"], false, "{}", ran.out);
    // A busy machine finds less or nothing, none finds more.
    assert!(
        found["max_rate"].as_f64().is_none_or(|rate| rate <= 60.0),
        "{}",
        ran.out
    );
}

#[test]
fn samples_of_a_run_without_a_script_are_lines_too() {
    let origin = Origin::fixed(200, "x").start().unwrap();
    let dir = TempDir::create().unwrap();
    let path = dir.path().join("out.csv");
    let mut options = options(&format!("http://{}/", origin.addr()));
    options.model = Model::Closed { vus: 1 };
    options.duration = Duration::from_millis(200);
    options.outputs = vec![Target::read(&format!("csv={}", path.display())).unwrap()];
    let ran = play(options);
    let text = std::fs::read_to_string(path).unwrap();
    assert!(
        text.starts_with("metric_name,timestamp,metric_value,name,scenario,status,"),
        "{text}"
    );
    let lines = text.lines().filter(|line| line.starts_with("http_reqs,"));
    assert_eq!(lines.count() as f64, ran.figure("http_reqs", "count"));
}
