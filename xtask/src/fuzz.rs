//! `cargo xtask fuzz`: runs the fuzz targets for a short time each.
//!
//! libFuzzer needs its targets instrumented for coverage, and AddressSanitizer for what it watches: the
//! suspend point of scripts has `unsafe` code, and their engine is C. cargo-fuzz asks a nightly compiler
//! for both. The instrumentation for coverage alone is stable; for the sanitizer the toolchain that builds
//! everything else is told to allow what nightly allows, so that nothing has to be skipped.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::shell;

/// What `cargo xtask fuzz --help` prints.
pub(crate) const HELP: &str = "\
cargo xtask fuzz [TARGET]… [--seconds N]

  TARGET       only this target; all of fuzz/fuzz_targets unless given
  --seconds N  time for each target, 5 unless given, 20 for `suspend`";

/// Coverage as libFuzzer reads it, the sanitizer, and checks that a release build leaves out.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Zsanitizer=address -Ccodegen-units=1 -Cdebug-assertions=on -Coverflow-checks=on";

/// Where the targets are built.
const DIRECTORY: &str = "fuzz/target";
/// What the end of a thread leaves is no leak of ours. And frames must lie on the stack that they belong to:
/// scripts that share an engine rely on the place of one.
const OPTIONS: &str = "detect_leaks=0:detect_stack_use_after_return=0";
/// How much memory a target may take: the sanitizer keeps what was freed.
const MEMORY: &str = "-rss_limit_mb=8192";
/// Each of its inputs is a whole run of a script.
const SLOW: &str = "suspend";

/// Builds the targets and runs each.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let mut seconds = None;
    let mut targets = Vec::new();
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seconds" => {
                let value = words.next().context("`--seconds` needs a value")?;
                seconds = Some(value.parse()?);
            }
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
            DIRECTORY,
            "--manifest-path",
            "fuzz/Cargo.toml",
            "--target",
            &host,
        ],
        &[("RUSTFLAGS", FLAGS), ("RUSTC_BOOTSTRAP", "1")],
    )?;
    for target in &targets {
        let usual = if target == SLOW { 20 } else { 5 };
        run_target(&host, target, seconds.unwrap_or(usual))
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

fn run_target(host: &str, target: &str, seconds: u32) -> Result<()> {
    // libFuzzer writes what it finds interesting into the first directory: not the tracked one.
    let found = format!("{DIRECTORY}/found/{target}");
    let artifacts = format!("fuzz/artifacts/{target}/");
    fs::create_dir_all(&found)?;
    fs::create_dir_all(&artifacts)?;
    let program = format!("{DIRECTORY}/{host}/release/{target}");
    let limit = format!("-max_total_time={seconds}");
    let prefix = format!("-artifact_prefix={artifacts}");
    let mut arguments = vec![
        limit.as_str(),
        prefix.as_str(),
        "-timeout=10",
        MEMORY,
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
        .env("ASAN_OPTIONS", OPTIONS)
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
