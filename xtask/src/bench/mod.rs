//! `cargo xtask bench`: catamaran side by side with HAProxy and nginx.
//!
//! The proxy is pinned to core 0 with one worker; load and origins, small epoll programs of our
//! own, to core 1. The figure is the CPU time of the proxy's processes by the scheduler's count,
//! per request or per megabyte, so that it holds whether or not the proxy is saturated. Runs of
//! the proxies are interleaved, each run has a fresh process, the median of the runs counts.

mod case;
mod cores;
mod generator;
mod load;
mod origin;
pub(crate) mod poller;
mod report;
mod restart;
mod scale;
mod splice;
mod subject;

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use catamaran_testkit::free_addr;
use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

use self::case::{CASES, Case, Layer};
use self::load::{Order, Outcome, Pattern};
use self::report::Row;
use self::subject::{Running, Subject, Wiring};
use crate::shell;

/// What `cargo xtask bench --help` prints.
pub(crate) const HELP: &str = "\
cargo xtask bench [--case NAME]… [--runs N] [--seconds N] [--only SUBJECT]… [--write]

  --case NAME     only this case; may be given several times; `list` lists them
  --runs N        interleaved runs of each proxy, 5 unless given
  --seconds N     length of the measured window of a run, 4 unless given
  --ours-only     only catamaran, no peers; the same as --only catamaran
  --only SUBJECT  only this proxy: catamaran, haproxy or nginx
  --splice-switch nothing but where splice(2) begins to pay: builds the program anew with and
                  without it and compares them at sizes of bodies; --runs and --seconds hold
  --restart       nothing but what a kill -9 of the data process costs clients, with a small and a
                  large configuration; --runs holds
  --scale         nothing but what 10,000 servers or routes cost per request and per reload; --runs
                  and --seconds hold
  --write         write the table to docs/benchmarks.md too (whole runs only)

cargo xtask bench load: the load test side by side with k6, wrk, wrk2 and oha; `bench load --help`";

const DOCUMENT: &str = "docs/benchmarks.md";
/// Where in the document begins what no run writes.
const REMARKS: &str = "\n## What is missed and why";

/// What the host may take of a run's time, 0 to 1; a run with more is repeated, whosever it is.
const MOST_STOLEN: f64 = 0.02;
/// Runs that are made for one that is quiet.
const MAX_TRIES: usize = 6;

struct Options {
    cases: Vec<&'static Case>,
    runs: usize,
    window: Duration,
    subjects: Vec<Subject>,
    writes: bool,
    kind: Kind,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Cases, beside the peers.
    Table,
    SpliceSwitch,
    Restart,
    Scale,
}

/// Runs the benchmark.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    if let Some(("load", rest)) = arguments.split_first().map(|(word, rest)| (&**word, rest)) {
        return generator::run(rest);
    }
    let Some(mut options) = parse(arguments)? else {
        return Ok(());
    };
    let nproc = thread::available_parallelism()?.get();
    if nproc < 2 {
        bail!("a benchmark needs two cores, one for the proxy and one for the load");
    }
    // This program again, optimised, is the load generator and the origin.
    shell::build_release("xtask")?;
    if options.kind != Kind::Table {
        return run_alone(&options, arguments);
    }
    if options.subjects.contains(&Subject::Catamaran) {
        shell::build_release("catamaran")?;
    }
    let mut versions = Vec::new();
    for subject in options.subjects.clone() {
        match subject.version() {
            Some(version) => versions.push((subject, version)),
            None if subject == Subject::Catamaran => bail!("catamaran tells no version"),
            None => bail!(
                "{} is not installed: apt-get install -y haproxy nginx-core libnginx-mod-stream",
                subject.name()
            ),
        }
    }
    options.subjects.sort_unstable();
    let mut rows = Vec::new();
    for case in &options.cases {
        let row = measure(case, &options)?;
        shell::say(&row.line());
        rows.push(row);
    }
    let table = report::table(&rows, &versions);
    shell::say(&table);
    if options.writes {
        let text = report::document(&rows, &versions, options.runs, options.window);
        let before = fs::read_to_string(DOCUMENT).unwrap_or_default();
        // What is said of the figures is written by hand.
        let remarks = before.find(REMARKS).map_or("", |at| &before[at..]);
        fs::write(DOCUMENT, format!("{text}{remarks}"))?;
    }
    Ok(())
}

/// Measures what is not compared with peers.
fn run_alone(options: &Options, arguments: &[String]) -> Result<()> {
    if options.kind == Kind::SpliceSwitch {
        return splice::run(options.runs, options.window);
    }
    shell::build_release("catamaran")?;
    if cfg!(debug_assertions) {
        // Origins and clients are in this process, and are not to be what is slow.
        let words = arguments.iter().map(String::as_str);
        let words: Vec<_> = ["bench"].into_iter().chain(words).collect();
        return shell::run("target/release/xtask", &words);
    }
    match options.kind {
        Kind::Restart => restart::run(options.runs),
        _ => scale::run(options.runs, options.window),
    }
}

fn parse(arguments: &[String]) -> Result<Option<Options>> {
    let mut options = Options {
        cases: Vec::new(),
        runs: 5,
        window: Duration::from_secs(4),
        subjects: Vec::new(),
        writes: false,
        kind: Kind::Table,
    };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let mut value = || {
            words
                .next()
                .with_context(|| format!("`{word}` needs a value"))
        };
        match word.as_str() {
            "--case" => {
                let name = value()?;
                if name == "list" {
                    for case in CASES {
                        shell::say(&format!("{:16} {}", case.name, case.title));
                    }
                    return Ok(None);
                }
                let case = CASES.iter().find(|case| case.name == name.as_str());
                options
                    .cases
                    .push(case.with_context(|| format!("no case `{name}`; try `--case list`"))?);
            }
            "--runs" => options.runs = value()?.parse()?,
            "--seconds" => options.window = Duration::from_secs_f64(value()?.parse()?),
            "--ours-only" => options.subjects.push(Subject::Catamaran),
            "--only" => {
                let name = value()?;
                let subject = Subject::ALL
                    .into_iter()
                    .find(|subject| subject.name().eq_ignore_ascii_case(name));
                options
                    .subjects
                    .push(subject.with_context(|| format!("no proxy `{name}`"))?);
            }
            "--write" => options.writes = true,
            "--splice-switch" => options.kind = Kind::SpliceSwitch,
            "--restart" => options.kind = Kind::Restart,
            "--scale" => options.kind = Kind::Scale,
            _ => bail!("unknown argument `{word}`\n\n{HELP}"),
        }
    }
    if options.cases.is_empty() {
        options.cases.extend(CASES);
    }
    if options.subjects.is_empty() {
        options.subjects.extend(Subject::ALL);
    }
    Ok(Some(options))
}

/// Measures one case with all proxies.
fn measure(case: &'static Case, options: &Options) -> Result<Row> {
    let origins = [free_addr()?, free_addr()?];
    let _origins = start_origins(case, origins)?;
    let rate = match case.pattern {
        Pattern::Open => half_of_saturation(options, origins)?,
        _ => 0.0,
    };
    let mut row = Row::new(case, rate);
    for run in 1..=options.runs {
        for &subject in &options.subjects {
            let outcome = quiet_run(case, subject, origins, rate, options.window)
                .with_context(|| format!("{}, {}, run {run}", case.name, subject.name()))?;
            if outcome.errors > 0 {
                bail!(
                    "{}, {}: {} errors",
                    case.name,
                    subject.name(),
                    outcome.errors
                );
            }
            if !case.metric.of(case, &outcome).is_finite() {
                bail!("{}, {}: nothing was answered", case.name, subject.name());
            }
            row.add(subject, outcome);
        }
    }
    Ok(row)
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
    let wiring = Wiring {
        listen: free_addr()?,
        origins,
    };
    load_on(&subject.start(case, &wiring)?, case, &wiring, rate, window)
}

/// Puts the load of a case on a proxy that runs.
fn load_on(
    proxy: &Running,
    case: &Case,
    wiring: &Wiring,
    rate: f64,
    window: Duration,
) -> Result<Outcome> {
    load_process(proxy.pid(), case, wiring.listen, rate, window)
}

/// Puts the load of a case on the proxy of this process, which serves there.
fn load_process(
    pid: u32,
    case: &Case,
    addr: SocketAddr,
    rate: f64,
    window: Duration,
) -> Result<Outcome> {
    let order = Order {
        addr,
        pattern: case.pattern,
        connections: case.connections,
        rate,
        warmup: match case.pattern {
            // All of them must have begun.
            Pattern::SlowReaders => Duration::from_secs(4),
            _ => Duration::from_secs(1),
        },
        window,
        pid,
    };
    let output = Command::new("target/release/xtask")
        .arg("bench-load")
        .arg(serde_json::to_string(&order)?)
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

struct Origins(Child);

impl Drop for Origins {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn start_origins(case: &Case, addrs: [SocketAddr; 2]) -> Result<Origins> {
    let mode = match (case.layer, case.pattern) {
        (Layer::Http, _) | (Layer::Tcp, Pattern::KeepAlive) => "http",
        (Layer::Tcp, Pattern::Bulk) => "bulk",
        (Layer::Tcp, _) => "echo",
    };
    listening(mode, case.body, &addrs, "1")
}

/// An origin on core 0 whose answers have 128 bytes, and that never sleeps.
fn start_origin(addr: SocketAddr) -> Result<Origins> {
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

/// The origin part of this program.
pub(crate) fn run_origin(arguments: &[String]) -> Result<()> {
    let Some((core, rest)) = arguments.split_first() else {
        bail!("bench-origin takes a core first");
    };
    prepare_helper(core.parse()?)?;
    origin::run(rest)
}

/// The load part of this program.
pub(crate) fn run_load(arguments: &[String]) -> Result<()> {
    prepare_helper(1)?;
    let [order] = arguments else {
        bail!("bench-load takes one order as JSON");
    };
    let outcome = load::run(serde_json::from_str(order)?)?;
    shell::say(&serde_json::to_string(&outcome)?);
    Ok(())
}

/// Moves this process to a core and lets it open as many files as allowed.
fn prepare_helper(core: usize) -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None, &cores)?;
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    setrlimit(Resource::Nofile, files)?;
    Ok(())
}
