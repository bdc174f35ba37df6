//! `cargo xtask fuzz`: runs the fuzz targets for a short time each.
//!
//! libFuzzer needs its targets instrumented for coverage. cargo-fuzz asks a nightly compiler for
//! that because it also turns a sanitizer on; the instrumentation alone is stable, and most of what
//! is fuzzed has no `unsafe` that a sanitizer would watch. So this runs on the toolchain that builds
//! everything else, and nothing has to be skipped. The suspend point of the load test is the
//! exception: with `--asan` the same toolchain is told to allow what nightly allows, and the engine
//! of scripts, which is C, is instrumented as well.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell;

/// What `cargo xtask fuzz --help` prints.
pub(crate) const HELP: &str = "\
cargo xtask fuzz [TARGET]… [--seconds N] [--asan]

  TARGET       only this target; all of fuzz/fuzz_targets unless given
  --seconds N  time for each target, 5 unless given
  --asan       under AddressSanitizer";

/// Coverage as libFuzzer reads it, and checks that a release build leaves out.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Ccodegen-units=1 -Cdebug-assertions=on -Coverflow-checks=on";

/// How the targets are built.
#[derive(Clone, Copy)]
struct Build {
    directory: &'static str,
    flags: &'static str,
    /// Of the package of the targets.
    features: &'static str,
    /// How much memory a target may take: the sanitizer keeps what was freed.
    memory: &'static str,
    /// What `RUSTC_BOOTSTRAP` is.
    bootstrap: &'static str,
}

const PLAIN: Build = Build {
    directory: "fuzz/target",
    flags: "",
    features: "",
    memory: "-rss_limit_mb=2048",
    bootstrap: "0",
};
const SANITIZED: Build = Build {
    directory: "fuzz/target/asan",
    flags: " -Zsanitizer=address",
    features: "asan",
    memory: "-rss_limit_mb=8192",
    bootstrap: "1",
};

/// Builds the targets and runs each.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let mut seconds = 5_u32;
    let mut build = PLAIN;
    let mut targets = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seconds" => seconds = words.next().context("`--seconds` needs a value")?.parse()?,
            "--asan" => build = SANITIZED,
            name => targets.push(name.to_owned()),
        }
    }
    if targets.is_empty() {
        targets = all_targets()?;
    }
    let host = shell::host()?;
    // A target of its own keeps the flags away from build scripts and procedural macros.
    shell::run_with(
        "cargo",
        &[
            "build",
            "--release",
            "--target-dir",
            build.directory,
            "--manifest-path",
            "fuzz/Cargo.toml",
            "--target",
            &host,
            "--features",
            build.features,
        ],
        &[
            ("RUSTFLAGS", &format!("{FLAGS}{}", build.flags)),
            ("RUSTC_BOOTSTRAP", build.bootstrap),
        ],
    )?;
    for target in &targets {
        run_target(build, &host, target, seconds)
            .with_context(|| format!("target `{target}`; what broke it is in fuzz/artifacts"))?;
    }
    Ok(())
}

fn all_targets() -> Result<Vec<String>> {
    let mut targets = Vec::new();
    for entry in fs::read_dir("fuzz/fuzz_targets").context("cannot read fuzz/fuzz_targets")? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "rs") {
            let name = path.file_stem().context("a file has a name")?;
            targets.push(name.to_string_lossy().into_owned());
        }
    }
    targets.sort_unstable();
    if targets.is_empty() {
        bail!("fuzz/fuzz_targets is empty");
    }
    Ok(targets)
}

fn run_target(build: Build, host: &str, target: &str, seconds: u32) -> Result<()> {
    // libFuzzer writes what it finds interesting into the first directory: not the tracked one.
    let found = format!("{}/found/{target}", build.directory);
    let artifacts = format!("fuzz/artifacts/{target}/");
    fs::create_dir_all(&found)?;
    fs::create_dir_all(&artifacts)?;
    let program = format!("{}/{host}/release/{target}", build.directory);
    let limit = format!("-max_total_time={seconds}");
    let prefix = format!("-artifact_prefix={artifacts}");
    let mut arguments = vec![
        limit.as_str(),
        prefix.as_str(),
        "-timeout=10",
        build.memory,
        "-verbosity=0",
        "-print_final_stats=1",
        found.as_str(),
    ];
    let kept = format!("fuzz/corpus/{target}");
    if Path::new(&kept).is_dir() {
        arguments.push(&kept);
    }
    let output = Command::new(&program)
        .args(&arguments)
        // What the end of a thread leaves is no leak of ours.
        .env("ASAN_OPTIONS", "detect_leaks=0")
        .output()
        .with_context(|| format!("cannot run `{program}`"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        shell::complain(&said);
        bail!("failed with {}", output.status);
    }
    let inputs = executed(&said).context("libFuzzer tells no count of inputs")?;
    shell::say(&format!("{target}: {inputs} inputs in {seconds} s"));
    Ok(())
}

/// How many inputs libFuzzer says it has tried.
fn executed(said: &str) -> Option<u64> {
    let line = said
        .lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_inputs_is_read_from_the_statistics() {
        let said = "INFO: x\nstat::number_of_executed_units: 781\nstat::new_units_added: 8\n";
        assert_eq!(executed(said), Some(781));
        assert_eq!(executed("INFO: x"), None);
    }
}
