//! `cargo xtask bench --scale`: whether 10,000 servers or routes cost more than a few.
//!
//! CPU time of the proxy per request, beside that of a small configuration, and how long a reload
//! takes that changes every server. Each request has a connection to its server of its own, since a
//! kept one to each of 10,000 would not be found again. All servers are one origin.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use catamaran_testkit::{Process, Program, Signal, free_addr};

use super::case::HTTP;
use super::report::median;
use super::runs::{load_process, start_origins};
use crate::shell;

const MANY: usize = 10_000;
const PATIENCE: Duration = Duration::from_secs(60);
/// Milliseconds that a reload may take.
const RELOAD_GOAL: f64 = 1000.0;
/// How much more a request may cost before it counts as visible: runs differ by as much.
const GOAL: f64 = 1.1;

/// What is compared: servers of the one backend, and routes of the one frontend.
#[derive(Clone, Copy)]
struct Size {
    servers: usize,
    routes: usize,
}

const FEW: Size = Size {
    servers: 2,
    routes: 0,
};
const MANY_ROUTES: Size = Size {
    routes: MANY,
    ..FEW
};
const MANY_SERVERS: Size = Size {
    servers: MANY,
    ..FEW
};
const BOTH: Size = Size {
    servers: MANY,
    routes: MANY,
};

/// Measures and prints the tables.
pub(super) fn run(runs: usize, window: Duration) -> Result<()> {
    let port = free_addr()?.port();
    // The second address of the pair is nobody's.
    let everywhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    let _origins = start_origins(&HTTP, [everywhere, free_addr()?])?;
    let mut missed = Vec::new();
    shell::say("| balance, routes | few | 10,000 | ratio |\n| --- | --- | --- | --- |");
    let sizes = BALANCES.iter().map(|balance| (*balance, MANY_SERVERS));
    for (balance, many) in sizes.chain([("least-requests", MANY_ROUTES)]) {
        let (mut few_us, mut many_us, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..runs {
            let few = cost(FEW, balance, port, window)?;
            let many = cost(many, balance, port, window)?;
            few_us.push(few);
            many_us.push(many);
            ratios.push(many / few);
        }
        let name = match many.routes {
            0 => format!("{balance}, servers"),
            _ => "routes".to_owned(),
        };
        let ratio = median(ratios);
        shell::say(&format!(
            "| {name} | {:.1} | {:.1} | {ratio:.2} |",
            median(few_us),
            median(many_us)
        ));
        if ratio > GOAL {
            missed.push(format!("{name}: {ratio:.2}"));
        }
    }
    let took: Vec<f64> = reloads(port, runs)?;
    let (middle, longest) = (median(took.clone()), took.into_iter().fold(0.0, f64::max));
    shell::say(&format!(
        "reload of {MANY} servers and {MANY} routes: {middle:.0} ms, longest {longest:.0} ms"
    ));
    if longest > RELOAD_GOAL {
        missed.push(format!("reload: {longest:.0} ms"));
    }
    ensure!(missed.is_empty(), "missed: {}", missed.join("; "));
    Ok(())
}

const BALANCES: [&str; 6] = [
    "least-requests",
    "round-robin",
    "random",
    "least-connections",
    "ewma",
    "source",
];

fn config(listen: SocketAddr, size: Size, balance: &str, port: u16, weight: usize) -> String {
    let mut text = format!(
        "[process]\nworkers = 1\n[admin]\nsocket = false\n\
         [frontend.bench]\nlisten = \"{listen}\"\nbackend = \"many\"\n\
         [backend.many]\nbalance = \"{balance}\"\nmax-idle = 0\nservers = [\n"
    );
    for number in 0..size.servers {
        let (high, low) = (number / 250, number % 250 + 1);
        let server = format!("{{ address = \"127.1.{high}.{low}:{port}\", weight = {weight} }},\n");
        text.push_str(&server);
    }
    text.push_str("]\n");
    for number in 0..size.routes {
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "[[frontend.bench.route]]\npath = \"/r{number}\"\nbackend = \"many\""
        );
    }
    text
}

fn start(listen: SocketAddr, text: &str, more: &[&str]) -> Result<Process> {
    let program = std::env::current_dir()?.join("target/release/catamaran");
    let program = Program::run_config(program, text)?.args(more.iter().copied());
    let mut process = program.under(&["taskset", "-c", "0"]).start()?;
    process.wait_for_port(listen, PATIENCE)?;
    Ok(process)
}

/// CPU microseconds for each request.
fn cost(size: Size, balance: &str, port: u16, window: Duration) -> Result<f64> {
    let listen = free_addr()?;
    let text = config(listen, size, balance, port, 1);
    let process = start(listen, &text, &["--no-supervisor"])?;
    let outcome = load_process(process.pid(), &HTTP, listen, 0.0, window)?;
    ensure!(outcome.errors == 0, "{balance}: {} errors", outcome.errors);
    Ok(outcome.cpu_seconds * 1e6 / outcome.requests as f64)
}

/// Milliseconds that reloads take which change the weight of every server.
fn reloads(port: u16, runs: usize) -> Result<Vec<f64>> {
    let listen = free_addr()?;
    let text = |weight| config(listen, BOTH, "least-requests", port, weight);
    let process = start(listen, &text(1), &[])?;
    let mut all = Vec::new();
    for run in 1..=runs {
        fs::write(process.config_path(), text(1 + run))?;
        process.signal(Signal::HUP)?;
        let told = "reloaded changes=";
        let until = std::time::Instant::now() + PATIENCE;
        while process.stderr().matches(told).count() < run {
            ensure!(std::time::Instant::now() < until, "{}", process.stderr());
            std::thread::sleep(Duration::from_millis(10));
        }
        let log = process.stderr();
        let (_, last) = log.rsplit_once(told).context("no reload")?;
        all.push(super::restart::milliseconds(last, " took=").context("no time")?);
    }
    Ok(all)
}
