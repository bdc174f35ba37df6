//! The case `remote-write`: the series of a load test in a real Prometheus.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use catamaran_testkit::{Origin, Program, TempDir, free_addr};
use serde_json::Value;

use crate::shell;

/// Runs the case.
pub(super) fn run() -> Result<()> {
    shell::build_release("catamaran")?;
    let origin = Origin::fixed(200, "x").start()?;
    let dir = TempDir::create()?;
    let listen = free_addr()?;
    let config = dir.write("prometheus.yml", "global: {}\n")?;
    let mut prometheus = Program::new("/usr/bin/prometheus")?
        .arg(format!("--config.file={}", config.display()))
        .arg(format!(
            "--storage.tsdb.path={}",
            dir.path().join("data").display()
        ))
        .arg(format!("--web.listen-address={listen}"))
        .arg("--web.enable-remote-write-receiver")
        .start()?;
    prometheus.wait_for_port(listen, PATIENCE)?;
    let ready = format!("http://{listen}/-/ready");
    let retries = ["--retry", "30", "--retry-delay", "1", "--retry-all-errors"];
    shell::output(
        "curl",
        &[&["-sS", "--fail"], &retries[..], &[&ready]].concat(),
    )?;
    let script = dir.write("script.js", SCRIPT)?;
    let out = Command::new("target/release/catamaran")
        .args(["load", "--quiet", "--out", "experimental-prometheus-rw"])
        .arg("-e")
        .arg(format!("URL=http://{}/", origin.addr()))
        .arg(script)
        .env(
            "K6_PROMETHEUS_RW_SERVER_URL",
            format!("http://{listen}/api/v1/write"),
        )
        .env("K6_PROMETHEUS_RW_TREND_STATS", "p(99),avg,count")
        .output()
        .context("catamaran cannot be run")?;
    let said = String::from_utf8_lossy(&out.stderr);
    ensure!(
        out.status.success() && said.is_empty(),
        "catamaran load: {said}"
    );
    for (series, expected) in SERIES {
        let value = ask(&listen.to_string(), series)?;
        ensure!(
            (value - expected).abs() < 1e-9,
            "{series} is {value}, not {expected}"
        );
    }
    let slowest = ask(&listen.to_string(), "k6_http_req_duration_p99")?;
    ensure!(
        (1e-6..30.0).contains(&slowest),
        "{slowest} are no seconds of a request"
    );
    shell::say(&format!(
        "Prometheus has {} series as they should be",
        SERIES.len() + 1
    ));
    Ok(())
}

/// The value of the only series that a query finds.
fn ask(listen: &str, query: &str) -> Result<f64> {
    let url = format!("http://{listen}/api/v1/query");
    let query = format!("query={query}");
    let answer = shell::output(
        "curl",
        &["-sS", "--fail", "-G", "--data-urlencode", &query, &url],
    )?;
    let answer: Value = serde_json::from_str(&answer)?;
    let found = answer["data"]["result"].as_array().context("no result")?;
    ensure!(found.len() == 1, "{query} finds {} series", found.len());
    let value = found[0]["value"][1].as_str().context("no value")?;
    Ok(value.parse()?)
}

const SCRIPT: &str = "
import http from 'k6/http';
import { check, group } from 'k6';
import { Counter, Gauge, Rate, Trend } from 'k6/metrics';
const [counter, gauge, rate] = [new Counter('mine'), new Gauge('level'), new Rate('share')];
const [plain, time] = [new Trend('plain'), new Trend('time', true)];
export const options = { vus: 2, iterations: 40, tags: { team: 'a' } };
export default function () {
  group('g', () => check(http.get(__ENV.URL), { ok: (r) => r.status === 200 }));
  counter.add(2); gauge.add(7); rate.add(true); plain.add(5); time.add(2000);
}
";

/// Series and their values, with the names that k6 v2.2 gives them.
const SERIES: &[(&str, f64)] = &[
    (
        "k6_http_reqs_total{status=\"200\",group=\"::g\",team=\"a\",scenario=\"default\"}",
        40.0,
    ),
    ("k6_iterations_total", 40.0),
    ("k6_checks_rate{check=\"ok\"}", 1.0),
    ("k6_http_req_failed_rate", 0.0),
    ("k6_mine_total", 80.0),
    ("k6_level", 7.0),
    ("k6_share_rate", 1.0),
    ("k6_plain_p99", 5.0),
    ("k6_time_avg", 2.0),
    ("k6_time_count", 40.0),
];
const PATIENCE: Duration = Duration::from_secs(60);
