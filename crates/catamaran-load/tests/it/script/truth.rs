//! What the figures say of work before a request, of iterations that never began and of those cut off.

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use catamaran_load::exit_code;
use catamaran_load::scenario::Overload;
use catamaran_load::script::Isolation;
use catamaran_testkit::{Origin, Reply, TempDir};

use super::{play, play_in, url_of};

/// Longer than any run here lasts.
const NEVER: Duration = Duration::from_secs(600);

/// Answers the first `count` requests, and no other.
fn falls_silent_after(count: u64) -> Origin {
    let asked = AtomicU64::new(0);
    let reply = move |_: &_| {
        let is_silent = asked.fetch_add(1, Ordering::Relaxed) >= count;
        let delay = if is_silent { NEVER } else { Duration::ZERO };
        Reply::new(200, "").delay(delay)
    };
    Origin::http(reply).start().unwrap()
}

#[test]
fn what_a_script_does_before_its_request_is_no_latency_of_the_target() {
    let script = r"
        import http from 'k6/http';
        import { sleep } from 'k6';
        export const options = {
          summaryTrendStats: ['med'],
          scenarios: { a: { executor: 'constant-arrival-rate', rate: 20, duration: '2s', preAllocatedVUs: 100 } },
        };
        export default function () { sleep(2); http.get(__ENV.URL); }
    ";
    let origin = Origin::fixed(200, "").start().unwrap();
    let ran = play(script, &url_of(&origin));
    let corrected = ran.figure("http_req_corrected_duration", "med");
    assert!(corrected > 0.0 && corrected < 1500.0, "{}", ran.out);
    assert!(!ran.err.contains("stalled"), "{}", ran.err);
}

#[test]
fn what_waited_for_a_virtual_user_until_the_end_is_in_the_corrected_latency() {
    let script = r"
        import http from 'k6/http';
        export const options = {
          summaryTrendStats: ['med', 'max', 'count'],
          scenarios: { a: { executor: 'constant-arrival-rate', rate: 100, duration: '3s', preAllocatedVUs: 2,
                            gracefulStop: '1s' } },
        };
        export default function () { http.get(__ENV.URL); }
    ";
    let origin = falls_silent_after(20);
    let dir = TempDir::create().unwrap();
    let ran = play_in(&dir, script, &url_of(&origin), |options| {
        options.overload = Some(Overload::Queue);
    });
    let figure = |figure| ran.figure("http_req_corrected_duration", figure);
    // 20 were answered, two cut off a second after the end, and the others waited.
    assert_eq!(figure("count"), 300.0, "{}", ran.out);
    assert!(figure("med") > 1000.0, "{}", ran.out);
    assert!(figure("max") > 3000.0, "{}", ran.out);
    assert_eq!(ran.figure("dropped_iterations", "count"), 278.0);
    let told = [
        "2 requests were cut off before they were answered: the corrected latencies count",
        "278 iterations were due and had not begun at the end",
    ];
    for told in told {
        assert!(ran.err.contains(told), "{}", ran.err);
    }
    assert!(!ran.err.contains("--on-overload queue"), "{}", ran.err);
}

#[test]
fn every_request_of_an_iteration_has_a_corrected_latency_and_none_below_its_own() {
    let script = r"
        import http from 'k6/http';
        export const options = {
          summaryTrendStats: ['count', 'max'],
          scenarios: { a: { executor: 'constant-arrival-rate', rate: 5, duration: '1s', preAllocatedVUs: 10 } },
        };
        export default function () { http.batch([`${__ENV.URL}/slow`, `${__ENV.URL}/`]); }
    ";
    let origin = Origin::http(|request| {
        let is_slow = request.target.starts_with("/slow");
        Reply::new(200, "").delay(Duration::from_millis(if is_slow { 300 } else { 0 }))
    });
    let origin = origin.start().unwrap();
    let ran = play(script, &url_of(&origin));
    for figure in ["count", "max"] {
        let [measured, corrected] = ["http_req_duration", "http_req_corrected_duration"]
            .map(|metric| ran.figure(metric, figure));
        assert!(corrected >= measured, "{figure}: {}", ran.out);
    }
    assert_eq!(ran.figure("http_req_corrected_duration", "count"), 10.0);
}

#[test]
fn a_connection_that_the_server_closed_meanwhile_fails_no_request_whatever_its_method() {
    let script = r"
        import http from 'k6/http';
        import { sleep } from 'k6';
        export const options = { iterations: 3, vus: 1 };
        export default function () {
          http.post(`${__ENV.URL}/`, 'x');
          // The server closes it in the time of this request.
          sleep(0.3);
        }
    ";
    // Says that it keeps the connection, and closes it.
    let origin = Origin::tcp(Arc::new(|mut stream: std::net::TcpStream| {
        let mut buf = [0; 4096];
        let _ = stream.read(&mut buf);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    }));
    let origin = origin.start().unwrap();
    let ran = play(script, &format!("http://{}", origin.addr()));
    ran.is_well();
    assert_eq!(ran.figure("http_reqs", "count"), 3.0, "{}", ran.out);
    assert_eq!(ran.figure("http_req_failed", "value"), 0.0, "{}", ran.out);
}

#[test]
fn rates_are_of_the_whole_time_with_setup_and_teardown() {
    let script = r"
        import { sleep } from 'k6';
        export const options = { iterations: 1, vus: 1 };
        export function setup() { sleep(1); }
        export default function () {}
        export function teardown() { sleep(1); }
    ";
    let ran = play(script, "");
    assert!(ran.figure("iterations", "rate") <= 0.5, "{}", ran.out);
}

#[test]
fn a_file_that_cannot_be_written_is_no_success() {
    let dir = TempDir::create().unwrap();
    let nowhere = dir.path().join("missing").join("report.html");
    let script = "export default function () {}";
    let ran = play_in(&dir, script, "", |options| {
        options.keep.report = Some(nowhere.clone());
    });
    assert_eq!(ran.code, exit_code::FAILED, "{}", ran.err);
    assert!(ran.err.contains("report.html: No such file"), "{}", ran.err);
}

#[test]
fn a_virtual_user_that_is_made_in_the_middle_of_the_run_stops_no_other() {
    // The top level of the second one never ends; in one go it would stop the worker.
    let script = r"
        import http from 'k6/http';
        import { sleep } from 'k6';
        export const options = {
          summaryTrendStats: ['count'],
          scenarios: {
            late: { executor: 'constant-arrival-rate', rate: 20, duration: '1s', preAllocatedVUs: 1, maxVUs: 4,
                    exec: 'wait', gracefulStop: '0s' },
            other: { executor: 'per-vu-iterations', vus: 1, iterations: 3, startTime: '500ms', exec: 'rest' },
          },
        };
        if (__VU == 2) for (;;) {}
        export function wait() { http.get(__ENV.URL); }
        export function rest() { sleep(0.01); }
    ";
    for isolation in [Isolation::Strict, Isolation::Shared] {
        let origin = falls_silent_after(0);
        let dir = TempDir::create().unwrap();
        let ran = play_in(&dir, script, &url_of(&origin), |options| {
            options.isolation = isolation;
            options.workers = Some(1);
        });
        assert_eq!(ran.code, exit_code::OK, "{}", ran.err);
        let whole = ran.figure("iterations", "count");
        assert_eq!(whole, 3.0, "{isolation:?} {}", ran.out);
    }
}

#[test]
fn a_virtual_user_that_nobody_needs_any_more_is_given_up() {
    // Its top level never ends. The run ends with its iterations, long before the graceful stop and before the
    // minute that a top level may take, which would end the run as failed.
    let script = r"
        import { sleep } from 'k6';
        export const options = {
          scenarios: { a: { executor: 'constant-arrival-rate', rate: 20, duration: '1s', preAllocatedVUs: 1, maxVUs: 4,
                            gracefulStop: '600s' } },
        };
        if (__VU == 2) for (;;) {}
        export default function () { sleep(0.1); }
    ";
    for isolation in [Isolation::Strict, Isolation::Shared] {
        let dir = TempDir::create().unwrap();
        let ran = play_in(&dir, script, "", |options| {
            options.isolation = isolation;
            options.workers = Some(1);
        });
        assert_eq!(ran.code, exit_code::OK, "{isolation:?} {}", ran.err);
        // What was due waited for it, and began.
        assert_eq!(ran.figure("iterations", "count"), 20.0, "{}", ran.out);
        assert_eq!(
            ran.figure("dropped_iterations", "count"),
            0.0,
            "{}",
            ran.out
        );
    }
}

#[test]
fn what_the_top_level_of_a_late_virtual_user_throws_ends_the_run() {
    let script = r"
        import { sleep } from 'k6';
        export const options = {
          scenarios: { a: { executor: 'constant-arrival-rate', rate: 20, duration: '5s', preAllocatedVUs: 1, maxVUs: 4 } },
        };
        if (__VU == 2) throw new Error('not me');
        export default function () { sleep(0.2); }
    ";
    let ran = play(script, "");
    assert_eq!(ran.code, exit_code::FAILED, "{}", ran.err);
    assert!(ran.err.contains("not me"), "{}", ran.err);
}
