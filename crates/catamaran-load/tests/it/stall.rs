//! What is told of a target that stands still for a while.

use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use catamaran_load::plain::Model;
use catamaran_testkit::{Origin, Reply};

use crate::{options, play};

/// From the first request on: serves, stands still for two seconds, serves.
const FROZEN_FROM: Duration = Duration::from_secs(2);
const FROZEN_TO: Duration = Duration::from_secs(4);

#[test]
fn a_stall_is_seen_by_all_who_would_have_come_meanwhile() {
    let first = OnceLock::new();
    let origin = Origin::http(move |_| {
        let since = first.get_or_init(Instant::now).elapsed();
        if (FROZEN_FROM..FROZEN_TO).contains(&since) {
            thread::sleep(FROZEN_TO - since);
        }
        Reply::new(200, "x")
    })
    .without_records()
    .start()
    .unwrap();
    let mut options = options(&format!("http://{}/", origin.addr()));
    options.model = Model::Open { rate: 200.0 };
    options.duration = Duration::from_secs(6);
    // Fewer than 1 % of the 1,200 requests are under way while it stands still.
    options.max_connections = 4;
    let ran = play(options);
    assert_eq!(ran.due(), 1200.0, "{}", ran.out);
    // 400 requests would have come meanwhile; the one in a hundred that waited longest but for 12
    // waited 2 s − 12/200 s. A busy machine makes them wait longer, never shorter.
    let corrected = ran.figure("http_req_corrected_duration", "p(99)");
    assert!((1850.0..10_000.0).contains(&corrected), "{}", ran.out);
    // Once sent, hardly any took long: that is the figure which deceives.
    let measured = ran.figure("http_req_duration", "p(99)");
    assert!(
        measured < 1000.0 && measured < corrected / 2.0,
        "{}",
        ran.out
    );
    assert!(ran.err.contains("the target stalled"), "{}", ran.err);
}

#[test]
fn requests_that_were_never_sent_count_in_the_corrected_latency() {
    // One connection, half a second each, at 20 a second: 2 are sent in the time of 20.
    let origin = Origin::http(|_| Reply::new(200, "").delay(Duration::from_millis(500)))
        .start()
        .unwrap();
    let mut options = options(&format!("http://{}/", origin.addr()));
    options.model = Model::Open { rate: 20.0 };
    options.max_connections = 1;
    let ran = play(options);
    assert!(ran.figure("http_reqs", "count") <= 3.0, "{}", ran.out);
    assert_eq!(ran.due(), 20.0, "{}", ran.out);
    assert!(ran.figure("http_req_corrected_duration", "max") >= 500.0);
    assert!(
        ran.out.contains("the target did not keep up"),
        "{}",
        ran.out
    );
}
