//! `cargo xtask callgrind`: instructions of the proxy per request, against a checked-in bound.
//!
//! Times differ from machine to machine and from minute to minute; instructions do not, so that
//! a change that makes the hot path longer shows in CI. The proxy runs under valgrind twice, with
//! few and with many requests one after another on one connection; the difference between the two
//! counts is what the additional requests cost, starting and stopping cancel out.
//!
//! The same is done with a program built to count nothing: what it takes less is what the metrics
//! cost, with all that is computed for them only. And of a node with a peer and one without; see
//! `replication`.

mod replication;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use catamaran_testkit::{Client, Origin, Program, TempDir, free_addr};
use serde::Deserialize;

use crate::shell;

/// What `cargo xtask callgrind --help` prints.
pub(crate) const HELP: &str = "\
cargo xtask callgrind [--write | --replication]

  --write        make what was measured the new bound in xtask/hot-path.toml
  --replication  only what a peer costs";

const BOUNDS: &str = "xtask/hot-path.toml";
const CASE: &str = "keep-alive-128";

/// How far a count may lie above the bound: another order of hash keys or of timers moves it.
const TOLERANCE: f64 = 0.03;

/// What the metrics may cost, of the instructions of a request in user space. Those are a fifth to a
/// quarter of its CPU time (docs/benchmarks.md), so that this is less than one percent of that.
const MOST_FOR_METRICS: f64 = 0.035;

/// Counts of which the median holds: each differs from the next by one percent.
const COUNTS: usize = 5;

const PROGRAM: &str = "target/release/catamaran";
const UNCOUNTED: &str = "target/release/catamaran-uncounted";

const FEW: u64 = 1000;
const MANY: u64 = 6000;

/// Valgrind makes everything some fifty times slower.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
struct Bound {
    /// Instructions per request.
    instructions: u64,
}

/// Measures and compares with the bound.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let (writes, only_replication) = match arguments {
        [] => (false, false),
        [word] if word == "--write" => (true, false),
        [word] if word == "--replication" => (false, true),
        _ => bail!("unknown argument\n\n{HELP}"),
    };
    if !shell::works("valgrind", &["--version"]) {
        bail!("valgrind is not installed: apt-get install -y valgrind");
    }
    if only_replication {
        shell::build_release("catamaran")?;
        return replication::run();
    }
    build_both()?;
    let measured = per_request(Path::new(PROGRAM))?;
    let without = per_request(Path::new(UNCOUNTED))?;
    if writes {
        write(measured)?;
    } else {
        compare_with_bound(measured)?;
    }
    share_of_metrics(measured, without)?;
    replication::run()
}

fn compare_with_bound(measured: u64) -> Result<()> {
    let text = fs::read_to_string(BOUNDS).with_context(|| format!("cannot read {BOUNDS}"))?;
    let bounds: BTreeMap<String, Bound> = toml::from_str(&text)?;
    let Some(bound) = bounds.get(CASE) else {
        bail!("{CASE}: {measured} instructions per request, but {BOUNDS} has no bound; `--write`");
    };
    compare(measured, bound.instructions)
}

/// Builds the program as it is, and as it would be if it counted nothing.
fn build_both() -> Result<()> {
    shell::build_release_with("catamaran", &["--features", "uncounted"])?;
    fs::copy(PROGRAM, UNCOUNTED).context("cannot keep the program that counts nothing")?;
    shell::build_release("catamaran")
}

fn per_request(program: &Path) -> Result<u64> {
    let mut counts = Vec::new();
    for _ in 0..COUNTS {
        let few = instructions(program, FEW)?;
        let many = instructions(program, MANY)?;
        counts.push(many.saturating_sub(few) / (MANY - FEW));
    }
    counts.sort_unstable();
    Ok(counts[COUNTS / 2])
}

/// Tells what the metrics cost, and fails when that is too much.
fn share_of_metrics(measured: u64, without: u64) -> Result<()> {
    if without >= measured {
        bail!("a request takes {measured} instructions, and {without} where nothing is counted");
    }
    let cost = measured - without;
    let share = cost as f64 / measured as f64;
    let percent = 100.0 * share;
    let text = format!("metrics: {cost} instructions of {measured}, {percent:.1} %");
    if share > MOST_FOR_METRICS {
        bail!("{text}, of 3.5 % that they may cost; count less for each request");
    }
    shell::say(&text);
    Ok(())
}

fn compare(measured: u64, bound: u64) -> Result<()> {
    let ratio = measured as f64 / bound as f64;
    let text = format!("{CASE}: {measured} instructions per request, {ratio:.3} of {bound}");
    if ratio > 1.0 + TOLERANCE {
        bail!("{text}; make it shorter, or say in the commit why not and raise the bound");
    }
    shell::say(&text);
    if ratio < 1.0 - TOLERANCE {
        shell::say("it got shorter: keep that with `cargo xtask callgrind --write`");
    }
    Ok(())
}

fn write(measured: u64) -> Result<()> {
    let text = format!(
        "# Instructions of the proxy per request, counted by `cargo xtask callgrind` on x86-64.\n\
         # CI fails when a change needs more than 3 % above. `--write` sets what was measured.\n\n\
         # One connection, GET, 128 B answers, one server, health checks too rare to count.\n\
         [{CASE}]\ninstructions = {measured}\n"
    );
    fs::write(BOUNDS, text)?;
    shell::say(&format!(
        "{CASE}: {measured} instructions per request, written"
    ));
    Ok(())
}

/// Counts the instructions of a whole life of the proxy with this many requests.
fn instructions(program: &Path, requests: u64) -> Result<u64> {
    let origin = Origin::fixed(200, &"x".repeat(128))
        .without_records()
        .start()?;
    let listen = free_addr()?;
    let server = origin.addr();
    let config = format!(
        "[process]\nworkers = 1\n\n\
         [frontend.bench]\nlisten = [\"{listen}\"]\nbackend = \"origins\"\n\n\
         [backend.origins]\nservers = [\"{server}\"]\n\
         health = {{ http = \"/health\", interval = \"1h\" }}\n"
    );
    let program: PathBuf = std::env::current_dir()?.join(program);
    let dir = TempDir::create()?;
    let file = dir.write("catamaran.toml", &config)?;
    let mut process = Program::new("valgrind")?
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["run", "--no-supervisor", "-c"])
        .arg(file)
        .start()?;
    process.wait_for_port(listen, PATIENCE)?;
    let mut client = Client::connect(listen)?;
    client.set_patience(PATIENCE)?;
    for number in 0..requests {
        let response = client
            .get("/")
            .with_context(|| format!("request {number}: {}", process.stderr()))?;
        if response.status != 200 {
            bail!("request {number} got {}", response.status);
        }
    }
    drop(client);
    process.terminate()?;
    process.wait(PATIENCE)?;
    collected(&process.stderr())
}

/// Reads the count out of `==PID== Collected : COUNT`.
fn collected(stderr: &str) -> Result<u64> {
    let count = stderr
        .lines()
        .find_map(|line| line.split_once("Collected : "))
        .with_context(|| format!("callgrind tells no count: {stderr}"))?
        .1;
    Ok(count.trim().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_read_from_what_callgrind_says() {
        let said = "==7== Events    : Ir\n==7== Collected : 123456\n==7==\n";
        assert_eq!(collected(said).unwrap(), 123_456);
        assert!(collected("==7== oops").is_err());
    }

    #[test]
    fn metrics_may_cost_a_share_of_a_request_and_not_more() {
        assert!(share_of_metrics(1000, 965).is_ok());
        assert!(share_of_metrics(1000, 964).is_err());
        // Counting costs something: a program that takes no less counts, too.
        assert!(share_of_metrics(1000, 1000).is_err());
    }

    #[test]
    fn three_percent_above_the_bound_pass_and_more_does_not() {
        assert!(compare(1029, 1000).is_ok());
        assert!(compare(1031, 1000).is_err());
        assert!(compare(500, 1000).is_ok());
    }
}
