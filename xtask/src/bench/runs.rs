//! Runs of a case: the proxies of a run, their turns, and what of it counts.

use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use catamaran_testkit::free_addr;

use super::Options;
use super::case::{CASES, Case, Layer, Metric};
use super::load::{Order, Outcome, Pattern, Target};
use super::report::Row;
use super::subject::{Running, Subject, Wiring};

/// One turn of a proxy, where proxies take turns. The machine changes its pace within seconds, so
/// that only neighbours of about this length can be compared.
const TURN: Duration = Duration::from_millis(250);

/// What the host may take of the cores' time in a window, 0 to 1; a window with more does not count.
pub(super) const MOST_STOLEN: f64 = 0.02;
/// Runs that are made for one that is quiet, where proxies run one after another.
pub(super) const MAX_TRIES: usize = 6;

/// Measures one case with all proxies.
pub(super) fn measure(case: &'static Case, options: &Options) -> Result<Row> {
    let origins = [free_addr()?, free_addr()?];
    let _origins = start_origins(case, origins)?;
    let rate = match case.pattern {
        Pattern::Open => half_of_saturation(options, origins)?,
        _ => 0.0,
    };
    let mut row = Row::new(case, rate);
    for run in 1..=options.runs {
        let rounds = if takes_turns(case) {
            turns(case, options, origins)
        } else {
            one_by_one(case, options, origins, rate)
        };
        for round in rounds.with_context(|| format!("{}, run {run}", case.name))? {
            for (&subject, outcome) in options.subjects.iter().zip(round) {
                let (name, errors) = (subject.name(), outcome.errors);
                ensure!(errors == 0, "{}, {name}: {errors} errors", case.name);
                let is_answered = case.metric.of(case, &outcome).is_finite();
                ensure!(is_answered, "{}, {name}: nothing was answered", case.name);
                row.add(subject, outcome);
            }
        }
    }
    Ok(row)
}

/// Whether load can stop and go on: not where it grows (idle connections), where bodies take
/// seconds (slow readers), or where the distribution of a whole run is asked for (latency).
const fn takes_turns(case: &Case) -> bool {
    matches!(
        case.pattern,
        Pattern::KeepAlive | Pattern::Close | Pattern::PingPong | Pattern::Bulk
    ) && matches!(case.metric, Metric::CpuPerRequest | Metric::CpuPerMegabyte)
}

/// A run with all proxies up: the windows of each round, those of stolen time left out.
fn turns(case: &Case, options: &Options, origins: [SocketAddr; 2]) -> Result<Vec<Vec<Outcome>>> {
    let mut proxies = Vec::new();
    let mut targets = Vec::new();
    for &subject in &options.subjects {
        let wiring = wiring(origins)?;
        let proxy = subject.start(case, &wiring)?;
        targets.push(Target {
            addr: wiring.listen,
            pid: proxy.pid(),
        });
        proxies.push(proxy);
    }
    let rounds = options.window.as_millis().div_ceil(TURN.as_millis());
    let rounds = u32::try_from(rounds.max(1))?;
    let order = Order {
        targets,
        pattern: case.pattern,
        connections: case.connections,
        rate: 0.0,
        warmup: Duration::from_secs(1),
        window: options.window / rounds,
        rounds: usize::try_from(rounds)?,
    };
    let rounds = give(&order)?;
    let is_quiet = |round: &Vec<Outcome>| round.iter().all(|one| one.stolen <= MOST_STOLEN);
    let quiet: Vec<_> = rounds
        .iter()
        .filter(|round| is_quiet(round))
        .cloned()
        .collect();
    // A machine that is never quiet is measured as it is.
    Ok(if quiet.is_empty() { rounds } else { quiet })
}

/// A run of each proxy after another, as one round.
fn one_by_one(
    case: &Case,
    options: &Options,
    origins: [SocketAddr; 2],
    rate: f64,
) -> Result<Vec<Vec<Outcome>>> {
    let outcomes = options
        .subjects
        .iter()
        .map(|&subject| quiet_run(case, subject, origins, rate, options.window));
    Ok(vec![outcomes.collect::<Result<_>>()?])
}

/// Runs until one was quiet, or the quietest of some.
fn quiet_run(
    case: &Case,
    subject: Subject,
    origins: [SocketAddr; 2],
    rate: f64,
    window: Duration,
) -> Result<Outcome> {
    let mut quietest = one_run(case, subject, origins, rate, window)?;
    for _ in 1..MAX_TRIES {
        if quietest.stolen <= MOST_STOLEN || quietest.errors > 0 {
            break;
        }
        let outcome = one_run(case, subject, origins, rate, window)?;
        if outcome.stolen < quietest.stolen || outcome.errors > 0 {
            quietest = outcome;
        }
    }
    Ok(quietest)
}

fn one_run(
    case: &Case,
    subject: Subject,
    origins: [SocketAddr; 2],
    rate: f64,
    window: Duration,
) -> Result<Outcome> {
    let wiring = wiring(origins)?;
    load_on(&subject.start(case, &wiring)?, case, &wiring, rate, window)
}

fn wiring(origins: [SocketAddr; 2]) -> Result<Wiring> {
    Ok(Wiring {
        listen: free_addr()?,
        origins,
    })
}

/// Puts the load of a case on a proxy that runs.
pub(super) fn load_on(
    proxy: &Running,
    case: &Case,
    wiring: &Wiring,
    rate: f64,
    window: Duration,
) -> Result<Outcome> {
    load_process(proxy.pid(), case, wiring.listen, rate, window)
}

/// Puts the load of a case on the proxy of this process, which serves there.
pub(super) fn load_process(
    pid: u32,
    case: &Case,
    addr: SocketAddr,
    rate: f64,
    window: Duration,
) -> Result<Outcome> {
    let order = Order {
        targets: vec![Target { addr, pid }],
        pattern: case.pattern,
        connections: case.connections,
        rate,
        warmup: match case.pattern {
            // All of them must have begun.
            Pattern::SlowReaders => Duration::from_secs(4),
            _ => Duration::from_secs(1),
        },
        window,
        rounds: 1,
    };
    give(&order)?
        .pop()
        .and_then(|mut round| round.pop())
        .context("the load told nothing")
}

/// Gives an order to the program that makes load.
fn give(order: &Order) -> Result<Vec<Vec<Outcome>>> {
    let output = Command::new("target/release/xtask")
        .arg("bench-load")
        .arg(serde_json::to_string(order)?)
        .output()?;
    if !output.status.success() {
        bail!("load: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Half of the request rate that HAProxy (or ours, without HAProxy) reaches with closed loops.
fn half_of_saturation(options: &Options, origins: [SocketAddr; 2]) -> Result<f64> {
    let subject = if options.subjects.contains(&Subject::Haproxy) {
        Subject::Haproxy
    } else {
        options.subjects[0]
    };
    let case = &CASES[0];
    let outcome = one_run(case, subject, origins, 0.0, options.window)?;
    Ok((outcome.requests as f64 / outcome.seconds / 2.0).round())
}

/// The origins of a case, which run until this is dropped.
#[derive(Debug)]
pub(super) struct Origins(Child);

impl Drop for Origins {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

pub(super) fn start_origins(case: &Case, addrs: [SocketAddr; 2]) -> Result<Origins> {
    let mode = match (case.layer, case.pattern) {
        (Layer::Http, _) | (Layer::Tcp, Pattern::KeepAlive) => "http",
        (Layer::Tcp, Pattern::Bulk) => "bulk",
        (Layer::Tcp, _) => "echo",
    };
    listening(mode, case.body, &addrs, "1")
}

/// An origin on core 0 whose answers have 128 bytes, and that never sleeps.
pub(super) fn start_origin(addr: SocketAddr) -> Result<Origins> {
    listening("spin", 128, &[addr], "0")
}

/// Starts origins on a core and waits until they listen.
fn listening(mode: &str, body: usize, addrs: &[SocketAddr], core: &str) -> Result<Origins> {
    let child = Command::new("target/release/xtask")
        .args(["bench-origin", core, mode, &body.to_string()])
        .args(addrs.iter().map(ToString::to_string))
        .spawn()?;
    let origins = Origins(child);
    let deadline = Instant::now() + Duration::from_secs(5);
    for &addr in addrs {
        while TcpStream::connect(addr).is_err() {
            if Instant::now() > deadline {
                bail!("the origins do not listen");
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
    Ok(origins)
}
