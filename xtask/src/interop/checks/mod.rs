//! The case `checks`: the ready-made checks against the programs that they are made for.

use anyhow::Result;

use crate::shell;

/// What is done, as a script: it is nothing but other programs.
const STEPS: &str = include_str!("steps.sh");

/// Runs the case.
pub(super) fn run() -> Result<()> {
    shell::run("cargo", &["build", "--locked", "-p", "catamaran"])?;
    shell::run("bash", &["-c", STEPS, "checks", "target/debug/catamaran"])
}
