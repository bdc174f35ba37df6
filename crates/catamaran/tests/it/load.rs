//! The load test, as an operator runs it; what it measures is tested in its own crate.

use crate::{PATIENCE, catamaran};
use catamaran_testkit::{Origin, Reply, Signal, TempDir};
use std::time::Duration;

#[test]
fn a_load_prints_its_summary_and_keeps_its_thresholds() {
    let origin = Origin::fixed(200, "x").start().unwrap();
    let url = format!("http://{}/", origin.addr());
    let mut load = catamaran(&["load", &url, "--rate", "50", "--duration", "1s"])
        .args(["--threshold", "http_req_failed:rate<0.01"])
        .start()
        .unwrap();
    let status = load.wait(PATIENCE).unwrap();
    let out = load.stdout();
    assert_eq!(status.code(), Some(0), "{out} {}", load.stderr());
    assert!(out.contains("█ TOTAL RESULTS"), "{out}");
    assert!(out.contains("http_req_corrected_duration"), "{out}");
    assert!(out.contains("✓ 'rate<0.01' rate=0.00%"), "{out}");
    assert!(!origin.requests().is_empty());
}

#[test]
fn a_signal_ends_a_load_with_its_summary() {
    let origin = Origin::fixed(200, "x").start().unwrap();
    let url = format!("http://{}/", origin.addr());
    let mut load = catamaran(&["load", &url, "--vus", "1", "--duration", "1h"])
        .start()
        .unwrap();
    assert!(origin.wait_for_requests(1, PATIENCE));
    load.signal(Signal::INT).unwrap();
    let status = load.wait(PATIENCE).unwrap();
    assert_eq!(status.code(), Some(105), "{}", load.stderr());
    assert!(load.stdout().contains("http_reqs"), "{}", load.stdout());
}

#[test]
fn requests_under_way_when_a_load_is_cut_off_are_told_and_in_the_corrected_latency() {
    let origin = Origin::http(|_| Reply::new(200, "").delay(Duration::from_secs(600)));
    let origin = origin.start().unwrap();
    let url = format!("http://{}/", origin.addr());
    let mut load = catamaran(&["load", &url, "--rate", "50", "--duration", "1h"])
        .start()
        .unwrap();
    assert!(origin.wait_for_requests(3, PATIENCE));
    load.signal(Signal::INT).unwrap();
    let status = load.wait(PATIENCE).unwrap();
    let (out, err) = (load.stdout(), load.stderr());
    assert_eq!(status.code(), Some(105), "{err}");
    let told = "requests were cut off before they were answered: the corrected latencies count";
    assert!(out.contains(told) || err.contains(told), "{out} {err}");
    assert!(out.contains("http_req_corrected_duration"), "{out}");
}

#[test]
fn requests_and_answers_of_a_script_are_logged_if_that_is_asked_for() {
    let origin = Origin::fixed(200, "the answer").start().unwrap();
    let dir = TempDir::create().unwrap();
    let text = "import http from 'k6/http';\n\
        export default function () { http.post(__ENV.URL, 'the body', { responseType: 'none' }); }";
    let script = dir.write("test.js", text).unwrap();
    for (option, has_bodies) in [("--http-debug", false), ("--http-debug=full", true)] {
        let mut load = catamaran(&["load", &script.display().to_string(), option])
            .args(["-e", &format!("URL=http://{}/", origin.addr())])
            .start()
            .unwrap();
        let status = load.wait(PATIENCE).unwrap();
        let err = load.stderr();
        assert_eq!(status.code(), Some(0), "{err}");
        assert!(err.contains("msg=\"Request:\\nPOST / HTTP/1.1\\n"), "{err}");
        assert!(err.contains("msg=\"Response:\\nHTTP/1.1 200"), "{err}");
        for body in ["the body", "the answer"] {
            assert_eq!(err.contains(body), has_bodies, "{option}: {err}");
        }
    }
}

#[test]
fn what_cannot_be_loaded_ends_with_104() {
    for (target, told) in [
        ("no-such-script.js", "No such file"),
        ("127.0.0.1:80", "write http://127.0.0.1:80"),
    ] {
        let mut load = catamaran(&["load", target]).start().unwrap();
        let status = load.wait(PATIENCE).unwrap();
        assert_eq!(status.code(), Some(104), "{}", load.stderr());
        assert!(load.stderr().contains(told), "{}", load.stderr());
    }
}
