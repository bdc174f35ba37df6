//! `cargo xtask bench load`: `catamaran load` side by side with k6, wrk, wrk2 and oha.
//!
//! The generator has core 1, an origin of our own core 0. What counts is the CPU time of the generator
//! from its start to its end, for each request that was answered. Runs are interleaved, and ratios are
//! those of neighbouring runs, so that a slow minute of the machine says nothing.

mod plan;
mod table;
mod tool;
mod trial;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use catamaran_testkit::{TempDir, free_addr};

use self::plan::{Contender, GROUPS, GROWTH, Group, RATE, Work};
use self::table::{Outcome, Runs};
use self::tool::Tool;
use self::trial::{Cost, Order};
use super::DOCUMENT;
use super::runs::{MAX_TRIES, MOST_STOLEN, Origins, start_origin};
use crate::shell;

/// What `cargo xtask bench load --help` prints.
pub(super) const HELP: &str = "\
cargo xtask bench load [--group NAME]… [--runs N] [--seconds N] [--growth SECONDS] [--built] [--write]

  --group NAME      only these runs: fifty, thousand, memory, library, start, rate
  --runs N          interleaved runs of each, 5 unless given
  --seconds N       length of a run, 5 unless given
  --growth SECONDS  nothing but one long run, 600 as a rule, in which memory must not grow
  --built           take target/release as it is
  --write           write the table to docs/benchmarks.md too (all groups only)

Peers are taken from PATH or from the variables K6, WRK, WRK2 and OHA; the library from LODASH, a path to
lodash.js. What is not there is named and left out.";

struct Options {
    groups: Vec<&'static Group>,
    runs: usize,
    seconds: u64,
    growth: Option<u64>,
    is_built: bool,
    writes: bool,
}

/// Where the generators are.
type Found = BTreeMap<Tool, PathBuf>;

/// Runs the benchmark.
pub(super) fn run(arguments: &[String]) -> Result<()> {
    if arguments.iter().any(|word| word == "--help") {
        shell::say(HELP);
        return Ok(());
    }
    let options = parse(arguments)?;
    if !options.is_built {
        shell::build_release("xtask")?;
        shell::build_release("catamaran")?;
    }
    let mut found = Found::new();
    for tool in Tool::ALL {
        match tool.find() {
            Some(program) => drop(found.insert(tool, program)),
            None if tool == Tool::Catamaran => bail!("target/release/catamaran is not built"),
            None => shell::complain(&format!("{} is not there and left out", tool.name())),
        }
    }
    if let Some(seconds) = options.growth {
        return grow(&options, &found, seconds);
    }
    let mut text = table::HEAD.to_owned();
    for group in &options.groups {
        let runs = measure(group, &options, &found, options.runs, options.seconds)?;
        let lines = table::lines(group, &runs);
        shell::say(lines.trim_end());
        text.push_str(&lines);
    }
    shell::say(&text);
    if options.writes {
        write(&section(&text, &options, &found))?;
    }
    Ok(())
}

fn parse(arguments: &[String]) -> Result<Options> {
    let mut options = Options {
        groups: Vec::new(),
        runs: 5,
        seconds: 5,
        growth: None,
        is_built: false,
        writes: false,
    };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let mut value = || {
            let value = words.next();
            value.with_context(|| format!("`{word}` needs a value"))
        };
        match word.as_str() {
            "--group" => {
                let name = value()?;
                let group = GROUPS.iter().find(|group| group.name == name.as_str());
                let group = group.with_context(|| format!("no group `{name}`\n\n{HELP}"))?;
                options.groups.push(group);
            }
            "--runs" => options.runs = value()?.parse()?,
            "--seconds" => options.seconds = value()?.parse()?,
            "--growth" => options.growth = Some(value()?.parse()?),
            "--built" => options.is_built = true,
            "--write" => options.writes = true,
            _ => bail!("unknown argument `{word}`\n\n{HELP}"),
        }
    }
    if options.writes && !options.groups.is_empty() {
        bail!("--write is for whole runs");
    }
    if options.groups.is_empty() {
        options.groups.extend(GROUPS);
    }
    Ok(options)
}

/// One long run, in which memory must not grow.
fn grow(options: &Options, found: &Found, seconds: u64) -> Result<()> {
    let runs = measure(&GROWTH, options, found, 1, seconds)?;
    shell::say(table::HEAD.trim_end());
    shell::say(table::lines(&GROWTH, &runs).trim_end());
    let verdict = GROWTH.rows.first();
    let verdict = verdict.and_then(|row| table::Verdict::of(row, &runs));
    if verdict.and_then(|verdict| verdict.is_met()) != Some(true) {
        bail!("memory grew");
    }
    Ok(())
}

fn measure(
    group: &Group,
    options: &Options,
    found: &Found,
    runs: usize,
    seconds: u64,
) -> Result<Runs> {
    let origin_addr = free_addr()?;
    let _origin: Origins = start_origin(origin_addr)?;
    let library = std::env::var_os("LODASH").map(PathBuf::from);
    let mut outcomes = Runs::new();
    for round in 0..runs {
        for contender in group.contenders {
            if contender.work == Work::Library && library.is_none() {
                if round == 0 {
                    let name = contender.name;
                    shell::complain(&format!("{name}: LODASH is not set, left out"));
                }
                continue;
            }
            let Some(program) = found.get(&contender.tool) else {
                continue;
            };
            let place = Place {
                program,
                origin: origin_addr,
                library: library.as_deref(),
                seconds,
            };
            let outcome = quiet_run(contender, &place)
                .with_context(|| format!("{}, {}", group.name, contender.name))?;
            if !options.writes {
                shell::say(&progress(round, contender, &outcome));
            }
            outcomes.entry(contender.name).or_default().push(outcome);
        }
    }
    Ok(outcomes)
}

fn progress(round: usize, contender: &Contender, outcome: &Outcome) -> String {
    let Cost {
        user,
        system,
        elapsed,
        peak_bytes,
        stolen,
        ..
    } = &outcome.cost;
    let each = 1e6 / outcome.requests.max(1.0);
    format!(
        "{} {:14} {:9.0} requests in {elapsed:5.1} s, {:6.2} + {:6.2} µs each, {:5.1} MB, stolen {:.1} %",
        round + 1,
        contender.name,
        outcome.requests,
        user * each,
        system * each,
        peak_bytes / 1e6,
        stolen * 100.0
    )
}

/// What a run is made with.
struct Place<'a> {
    program: &'a Path,
    origin: SocketAddr,
    library: Option<&'a Path>,
    seconds: u64,
}

/// Runs until one was quiet, or the quietest of some.
fn quiet_run(contender: &Contender, place: &Place<'_>) -> Result<Outcome> {
    let mut quietest = one_run(contender, place)?;
    for _ in 1..MAX_TRIES {
        if quietest.cost.stolen <= MOST_STOLEN {
            break;
        }
        let outcome = one_run(contender, place)?;
        if outcome.cost.stolen < quietest.cost.stolen {
            quietest = outcome;
        }
    }
    Ok(quietest)
}

fn one_run(contender: &Contender, place: &Place<'_>) -> Result<Outcome> {
    let dir = TempDir::create()?;
    let script = plan::script(contender.work);
    if let Some((name, text)) = script {
        dir.write(name, text)?;
    }
    if let (Work::Library, Some(library)) = (contender.work, place.library) {
        fs::copy(library, dir.path().join("lodash.js"))
            .with_context(|| format!("LODASH says {}", library.display()))?;
    }
    let url = format!("http://{}/", place.origin);
    let expected = match contender.work {
        Work::Empty => 1,
        _ => place.seconds,
    };
    let order = Order {
        program: place.program,
        words: words(contender, script.map(|(name, _)| name), &url, place.seconds),
        directory: dir.path(),
        expected: Duration::from_secs(expected),
        settled: Duration::from_secs(place.seconds) / 10,
    };
    let cost = trial::run(&order)?;
    let summary = fs::read_to_string(dir.path().join(SUMMARY)).unwrap_or_default();
    let requests = match contender.work {
        Work::Empty => 0.0,
        _ => contender.tool.requests(&cost.stdout, &summary)?,
    };
    let due = match contender.work {
        Work::Rate => f64::from(RATE) * place.seconds as f64,
        _ => 0.0,
    };
    Ok(Outcome {
        cost,
        requests,
        due,
        vus: contender.vus,
    })
}

const SUMMARY: &str = "summary.json";

/// The command line of a run, behind the program.
fn words(contender: &Contender, script: Option<&str>, url: &str, seconds: u64) -> Vec<String> {
    let vus = contender.vus.to_string();
    let line = match (contender.tool, script) {
        (Tool::Wrk, _) => format!("-t1 -c{vus} -d{seconds}s {url}"),
        // More than it can do: it then runs as fast as it goes.
        (Tool::Wrk2, _) => format!("-t1 -c{vus} -d{seconds}s -R1000000 {url}"),
        (Tool::Oha, _) => format!("--no-tui --output-format json -c {vus} -z {seconds}s {url}"),
        (Tool::Catamaran, None) => {
            let what = match contender.work {
                Work::Rate => format!("--rate {RATE}"),
                _ => format!("--vus {vus}"),
            };
            format!("load {url} {what} --duration {seconds}s --workers 1 --quiet --json")
        }
        (tool, script) => {
            let begin = match tool {
                Tool::K6 => "run --no-usage-report",
                _ => "load --workers 1",
            };
            let long = match contender.work {
                Work::Empty => format!("--iterations {vus}"),
                _ => format!("--duration {seconds}s"),
            };
            let script = script.unwrap_or_default();
            format!(
                "{begin} --quiet --summary-export {SUMMARY} -e URL={url} --vus {vus} {long} {script}"
            )
        }
    };
    let more = contender.more.iter().copied();
    line.split(' ').chain(more).map(str::to_owned).collect()
}

const HEADING: &str = "## Load test";

/// The section of the document.
fn section(table: &str, options: &Options, found: &Found) -> String {
    let versions = found.iter().map(|(tool, program)| {
        let version = tool.version(program);
        format!("{} {version}", tool.name())
    });
    let versions: Vec<_> = versions.collect();
    format!(
        "{HEADING}\n{METHOD}\n{}; medians of {} interleaved runs of {} s, ratios by neighbouring runs.\n\n{table}",
        versions.join(", "),
        options.runs,
        options.seconds
    )
}

/// Puts the section in the place of the one before; what is said of the figures, below it, is kept.
fn write(section: &str) -> Result<()> {
    let before = fs::read_to_string(DOCUMENT)?;
    let (head, tail) = match before.split_once(&format!("{HEADING}\n")) {
        None => (before.trim_end(), ""),
        Some((head, old)) => {
            let ends = [old.find("\n### "), old.find("\n## ")];
            let end = ends.into_iter().flatten().min();
            (head.trim_end(), end.map_or("", |at| &old[at..]))
        }
    };
    fs::write(DOCUMENT, format!("{head}\n\n{section}{tail}"))?;
    Ok(())
}

const METHOD: &str = "\
`cargo xtask bench load --write` writes the table: `catamaran load` on core 1, beside the others in turn, and
an origin of our own on core 0 that answers with 128 bytes and never sleeps, since waking a core of a virtual
machine would cost the generator some microseconds, the slower one the more often. CPU time is that of the whole process from its
start to its end, summary included, divided by the requests that were answered; it reads total = user +
kernel. Memory is the most that was resident. A run in which the host took more than 2 % of the cores is
repeated. Peers: wrk as Debian packages it (`apt-get install wrk`); oha by `cargo install oha --locked`; wrk2
by `make` in its repository (github.com/giltene/wrk2), called by `WRK2=…/wrk`; k6 by its releases or `go
build` (`K6=…/k6`); lodash 4.17.21 by `npm pack` (`LODASH=…/lodash.js`).
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k6_and_we_get_the_same_words_but_for_the_first() {
        let contender = |name: &str| {
            let mut all = GROUPS.iter().flat_map(|group| group.contenders);
            all.find(|one| one.name == name).unwrap()
        };
        let line = |name: &str| words(contender(name), Some("get.js"), "http://a/", 3).join(" ");
        let shared =
            "--quiet --summary-export summary.json -e URL=http://a/ --vus 50 --duration 3s get.js";
        assert_eq!(line("get"), format!("load --workers 1 {shared}"));
        assert_eq!(line("k6 get"), format!("run --no-usage-report {shared}"));
    }
}
