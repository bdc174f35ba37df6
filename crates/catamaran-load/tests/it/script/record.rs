//! What is kept of a run beside its summary: JSON, a page, test cases, a comparison.

use catamaran_testkit::TempDir;
use serde_json::Value;

use super::{origin, play_in, url_of};

const SCRIPT: &str = r"
    import http from 'k6/http';
    import { check, group } from 'k6';
    export const options = { iterations: 5, thresholds: { http_req_failed: ['rate<0.5'], checks: ['rate>0.9'] } };
    export default function () {
      const res = http.get(`${__ENV.URL}/`);
      group('answers', () => check(res, { ok: (r) => r.status === 200, teapot: (r) => r.status === 418 }));
    }
    export function handleSummary() { return { stdout: 'a summary of its own' }; }
";

#[test]
fn json_stands_alone_on_standard_output() {
    let origin = origin();
    let dir = TempDir::create().unwrap();
    let ran = play_in(&dir, SCRIPT, &url_of(&origin), |options| {
        options.is_json = true;
    });
    let document: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(ran.code, 99);
    assert_eq!(document["metrics"]["iterations"]["count"], 5);
    assert_eq!(document["checks"][1]["name"], "teapot");
    assert_eq!(document["checks"][1]["fails"], 5);
    assert_eq!(document["run"]["passed"], false);
    assert!(
        document["run"]["title"]
            .as_str()
            .unwrap()
            .ends_with("script.js")
    );
    let crossed = &document["thresholds"][0];
    assert_eq!(
        (crossed["metric"].as_str(), crossed["holds"].as_bool()),
        (Some("checks"), Some(false))
    );
    assert!(!document["seconds"].as_array().unwrap().is_empty());
}

#[test]
fn page_test_cases_and_comparison_tell_of_the_same_run() {
    let origin = origin();
    let dir = TempDir::create().unwrap();
    let file = |name: &str| dir.path().join(name);
    let read = |name: &str| std::fs::read_to_string(file(name)).unwrap();
    play_in(&dir, SCRIPT, &url_of(&origin), |options| {
        options.keep.json = Some(file("before.json"));
    });
    let ran = play_in(&dir, SCRIPT, &url_of(&origin), |options| {
        options.keep.compare = Some(file("before.json"));
        options.keep.report = Some(file("run.html"));
        options.keep.junit = Some(file("run.xml"));
    });
    assert!(ran.out.contains("a summary of its own"), "{}", ran.out);
    assert!(ran.out.contains("COMPARED WITH"), "{}", ran.out);
    assert!(ran.out.contains("http_req_duration med"), "{}", ran.out);
    let page = read("run.html");
    for part in [
        "Virtual users",
        "teapot",
        "Compared with",
        "5 iterations shared among 1 VUs",
    ] {
        assert!(page.contains(part), "{part}");
    }
    let xml = read("run.xml");
    assert!(xml.contains("tests=\"5\" failures=\"1\""), "{xml}");
    assert!(
        xml.contains("<system-out>5 of 5 failed</system-out>"),
        "{xml}"
    );
    assert!(
        xml.contains("classname=\"::answers\" name=\"teapot\""),
        "{xml}"
    );
}

#[test]
fn what_cannot_be_compared_with_is_told_before_the_start() {
    let origin = origin();
    let dir = TempDir::create().unwrap();
    let other = dir.write("other.json", "{}").unwrap();
    let ran = play_in(&dir, SCRIPT, &url_of(&origin), |options| {
        options.keep.compare = Some(other);
    });
    assert_eq!(ran.code, 104);
    assert!(ran.err.contains("--json=FILE"), "{}", ran.err);
    assert!(origin.requests().is_empty());
}
