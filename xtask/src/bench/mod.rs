//! `cargo xtask bench`: catamaran side by side with HAProxy and nginx.
//!
//! The proxy is pinned to core 0 with one worker; load and origins, small epoll programs of our
//! own, to core 1. The figure is the CPU time of the proxy's processes by the scheduler's count,
//! per request or per megabyte, so that it holds whether or not the proxy is saturated. The proxies
//! run side by side and take turns in short windows; the median of the ratios of neighbouring
//! windows counts.

mod case;
mod cores;
mod generator;
mod load;
mod origin;
pub(crate) mod poller;
mod report;
mod restart;
mod runs;
mod scale;
mod splice;
mod subject;

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

use self::case::{CASES, Case};
use self::subject::Subject;
use crate::shell;

/// What `cargo xtask bench --help` prints.
pub(crate) const HELP: &str = "\
cargo xtask bench [--case NAME]… [--runs N] [--seconds N] [--only SUBJECT]… [--write]

  --case NAME     only this case; may be given several times; `list` lists them
  --runs N        runs, each with fresh processes, 5 unless given
  --seconds N     how long each proxy is measured in a run, in windows of 0.25 s, 4 unless given
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
        let row = runs::measure(case, &options)?;
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
    let outcomes = load::run(&serde_json::from_str(order)?)?;
    shell::say(&serde_json::to_string(&outcomes)?);
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
