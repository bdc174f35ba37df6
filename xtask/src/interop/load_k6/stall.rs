//! What is told of a target that stalls: 1,000 requests a second for 10 s, and the target stopped for 2 s
//! in the middle. Of 10,000 who come 2,000 wait, the longest 2 s: the truth is p(99) = 1.9 s.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use catamaran_testkit::{Signal, free_addr, signal_pid};
use serde_json::Value;

use super::K6;
use crate::shell;

/// Measures and prints.
pub(super) fn run(with_k6: bool) -> Result<()> {
    shell::build_release("catamaran")?;
    fs::create_dir_all(DIRECTORY)?;
    let script = Path::new(DIRECTORY).join("stall.js");
    fs::write(&script, SCRIPT)?;
    let script = script.to_string_lossy();
    let ours = "target/release/catamaran";
    let mut lines = Vec::new();
    if with_k6 {
        let arguments = ["run", "--quiet", "--no-usage-report", &script];
        let told = measured(K6, &arguments, Figures::Export)?;
        lines.push(line("k6", &told));
    }
    let as_k6 = measured(ours, &["load", "--quiet", &script], Figures::Export)?;
    lines.push(line("script", &as_k6));
    let queues = ["load", "--quiet", "--on-overload", "queue", &script];
    let queues = measured(ours, &queues, Figures::Export)?;
    lines.push(line("script, --on-overload queue", &queues));
    let plain = [
        "load",
        "--quiet",
        "--json",
        "--rate",
        "1000",
        "--max-connections",
        "50",
    ];
    let plain = measured(ours, &plain, Figures::Output)?;
    lines.push(line("no script, 50 connections", &plain));
    shell::say(&format!("{HEAD}\n{}", lines.join("\n")));
    for (what, told) in [("queue", &queues), ("no script", &plain)] {
        let p99 = told.corrected.unwrap_or(0.0);
        ensure!(
            (1700.0..2100.0).contains(&p99),
            "{what}: p(99) {p99} ms is not the truth"
        );
    }
    Ok(())
}

/// Where the figures stand.
#[derive(Clone, Copy)]
enum Figures {
    /// In the file of `--summary-export`.
    Export,
    /// On standard output; the target is a URL then.
    Output,
}

/// What a run told, in milliseconds.
struct Told {
    p99: f64,
    corrected: Option<f64>,
    dropped: f64,
}

fn line(name: &str, told: &Told) -> String {
    let corrected = told
        .corrected
        .map_or_else(|| "–".to_owned(), |p99| format!("{p99:.1} ms"));
    format!(
        "| {name} | {:.1} ms | {corrected} | {} |",
        told.p99, told.dropped
    )
}

/// Runs a load test, and stops its target from the fourth to the sixth second.
fn measured(program: &str, arguments: &[&str], from: Figures) -> Result<Told> {
    let addr = free_addr()?;
    let own = std::env::current_exe()?;
    let mut origin = Command::new(own);
    let origin = origin.args(["bench-origin", "0", "http", "128", &addr.to_string()]);
    let origin = Killed(origin.spawn().context("cannot start the target")?);
    let deadline = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(addr).is_err() {
        ensure!(Instant::now() < deadline, "the target does not listen");
        thread::sleep(Duration::from_millis(10));
    }
    let url = format!("http://{addr}/");
    let export = PathBuf::from(DIRECTORY).join("summary.json");
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    match from {
        Figures::Export => {
            command.args(["-e", &format!("URL={url}"), "--summary-export"]);
            command.arg(&export);
        }
        Figures::Output => {
            command.args(["--duration", "10s", &url]);
        }
    }
    let running = command
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    thread::sleep(Duration::from_secs(4));
    signal_pid(origin.0.id(), Signal::STOP)?;
    thread::sleep(Duration::from_secs(2));
    signal_pid(origin.0.id(), Signal::CONT)?;
    let output = running.wait_with_output()?;
    ensure!(
        output.status.success(),
        "{program} failed: {}",
        output.status
    );
    let text = match from {
        Figures::Export => fs::read(&export)?,
        Figures::Output => output.stdout,
    };
    let document: Value = serde_json::from_slice(&text).context("no summary")?;
    let metrics = &document["metrics"];
    Ok(Told {
        p99: metrics["http_req_duration"]["p(99)"]
            .as_f64()
            .context("no p(99)")?,
        corrected: metrics["http_req_corrected_duration"]["p(99)"].as_f64(),
        dropped: metrics["dropped_iterations"]["count"]
            .as_f64()
            .unwrap_or(0.0),
    })
}

/// A process that ends with us.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // One that has gone needs no killing.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const DIRECTORY: &str = "target/load-k6";

const HEAD: &str = "\
| 1,000 requests a second for 10 s, target stopped for 2 s; truth: 1.9 s | `http_req_duration` p(99) | `http_req_corrected_duration` p(99) | dropped |
| --- | --- | --- | --- |";

/// The script of all.
const SCRIPT: &str = "\
import http from 'k6/http';
export const options = {
  summaryTrendStats: ['p(99)'],
  scenarios: { a: { executor: 'constant-arrival-rate', rate: 1000, duration: '10s', preAllocatedVUs: 50 } },
};
export default function () { http.get(__ENV.URL); }
";
