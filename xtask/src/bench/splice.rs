//! `cargo xtask bench --splice-switch`: from which size of body on splice(2) pays.
//!
//! The program is built twice more, to splice whatever it can and to splice nothing, and both carry
//! the same bodies: by HTTP, where the length is known beforehand, and in a tunnel, where only the
//! flow itself tells. Where the first becomes cheaper the constants of the data plane belong:
//! `SPLICE_FROM` (`http1/transfer.rs`) and `BULKY_AFTER` (`tunnel/half.rs`).

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use catamaran_testkit::free_addr;

use super::case::{Case, HTTP, Layer, Metric};
use super::report::median;
use super::runs::{load_on, start_origins};
use super::subject::{Subject, Wiring};
use crate::shell;

/// Sizes of bodies in KiB.
const SIZES: [usize; 11] = [16, 64, 128, 192, 256, 384, 512, 768, 1024, 2048, 4096];
/// How the program is built: what the table calls it, and from how many bytes on it splices.
const BUILDS: [(&str, u64); 2] = [("never", u64::MAX), ("always", 0)];

/// Measures and prints the table.
pub(super) fn run(runs: usize, window: Duration) -> Result<()> {
    let mut programs = Vec::new();
    for (name, bytes) in BUILDS {
        programs.push(build(name, bytes)?);
    }
    shell::say("| body | HTTP, never | always | ratio | tunnel, never | always | ratio |");
    shell::say("| --- | --- | --- | --- | --- | --- | --- |");
    for size in SIZES {
        let mut line = format!("| {size} KiB |");
        for layer in [Layer::Http, Layer::Tcp] {
            let case = Case {
                name: "splice-switch",
                layer,
                connections: 16,
                body: size * 1024,
                metric: Metric::CpuPerMegabyte,
                ..HTTP
            };
            let [never, always] = measure(&case, &programs, runs, window)?;
            // Neighbours in time saw the same machine.
            let pairs = never.iter().zip(&always);
            let ratio = median(pairs.map(|(never, always)| always / never).collect());
            let (never, always) = (median(never), median(always));
            line.push_str(&format!(" {never:.0} | {always:.0} | {ratio:.2} |"));
        }
        shell::say(&line);
    }
    Ok(())
}

/// Builds the program so that it splices from `bytes` on, and keeps it beside the usual one.
fn build(name: &str, bytes: u64) -> Result<PathBuf> {
    let status = shell::command("cargo")
        .args(["build", "--release", "--quiet", "-p", "catamaran"])
        .env("CATAMARAN_BENCH_SPLICE_FROM", bytes.to_string())
        .status()?;
    if !status.success() {
        bail!("cannot build the program that splices {name}");
    }
    let kept = PathBuf::from(format!("target/release/catamaran-splices-{name}"));
    fs::copy("target/release/catamaran", &kept).context("cannot keep the program")?;
    Ok(kept)
}

/// The figures of a case for each program, of interleaved runs.
fn measure(
    case: &Case,
    programs: &[PathBuf],
    runs: usize,
    window: Duration,
) -> Result<[Vec<f64>; BUILDS.len()]> {
    let origins = [free_addr()?, free_addr()?];
    let _origins = start_origins(case, origins)?;
    let mut figures = [const { Vec::new() }; BUILDS.len()];
    for _ in 0..runs {
        for (program, figures) in programs.iter().zip(&mut figures) {
            let wiring = Wiring {
                listen: free_addr()?,
                origins,
            };
            let proxy = Subject::Catamaran.start_built(program, case, &wiring)?;
            let outcome = load_on(&proxy, case, &wiring, 0.0, window)?;
            if outcome.errors > 0 {
                bail!(
                    "{} errors with bodies of {} bytes",
                    outcome.errors,
                    case.body
                );
            }
            figures.push(case.metric.of(case, &outcome));
        }
    }
    Ok(figures)
}
