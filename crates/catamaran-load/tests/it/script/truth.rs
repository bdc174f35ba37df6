//! What the figures say of work before a request, of iterations that never began and of those cut off.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use catamaran_load::scenario::Overload;
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
        "2 requests were under way when the run was cut off: the corrected latencies count",
        "278 iterations were due and had not begun at the end",
    ];
    for told in told {
        assert!(ran.err.contains(told), "{}", ran.err);
    }
    assert!(!ran.err.contains("--on-overload queue"), "{}", ran.err);
}
