//! The case `reloads`: the trials of reloads and upgrades in full, in a network of their own.
//!
//! What the kernel drops at listening sockets it counts for a whole network namespace, and who else
//! works there makes connects slow. So the trials assert both only where they are alone, which they
//! are here: nothing is in the namespace but a loopback.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::shell;

/// The trials.
const TRIALS: [&str; 2] = [
    "reload_trial::reloads_of_all_kinds_under_load_lose_nothing",
    "upgrade::upgrades_under_load_lose_nothing",
];

/// Runs the case.
pub(super) fn run() -> Result<()> {
    let tests = build()?;
    let mut arguments = vec!["--net"];
    if !rustix::process::geteuid().is_root() {
        arguments.extend(["--user", "--map-root-user"]);
    }
    arguments.extend(["sh", "-c", "ip link set lo up && exec \"$@\"", "sh", &tests]);
    arguments.extend(["--exact", "--nocapture", "--test-threads=1"]);
    for trial in TRIALS {
        let arguments = [&arguments[..], &[trial]].concat();
        let variables = [("CATAMARAN_ALONE", "1"), ("CATAMARAN_ROUNDS", "full")];
        // A trial that was renamed would pass by not being there.
        let said = output("unshare", &arguments, &variables)?;
        if !said.contains("test result: ok. 1 passed") {
            bail!("there is no trial {trial}");
        }
    }
    Ok(())
}

/// Builds the integration tests; returns where their program is.
fn build() -> Result<String> {
    let test = ["test", "--locked", "--package", "catamaran", "--test", "it"];
    let how = ["--no-run", "--message-format", "json-render-diagnostics"];
    let messages = shell::output("cargo", &[&test[..], &how].concat())?;
    let messages = messages
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok());
    let mut programs = messages.filter_map(|message: Value| {
        let is_it = message["target"]["name"] == "it";
        message["executable"]
            .as_str()
            .filter(|_| is_it)
            .map(str::to_owned)
    });
    programs
        .next()
        .context("cargo names no program of the tests")
}

/// Runs a program, shows what it says on stderr, and shows and returns what it says on stdout.
fn output(program: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .envs(variables.iter().copied())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run `{program}`"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    shell::say(said.trim());
    if !output.status.success() {
        bail!(
            "`{}` failed: {}",
            shell::line(program, arguments),
            output.status
        );
    }
    Ok(said)
}
