//! `cargo xtask sim`: the simulations of catamaran-core with as many seeds as one likes.
//!
//! The tests of the crate try some; here they are built with optimization, so that ten thousand
//! take a few minutes. A seed that fails is printed, with the command that repeats it alone.

use anyhow::{Context, Result, bail};

use crate::shell;

/// What `cargo xtask sim --help` prints.
pub(crate) const HELP: &str = "\
cargo xtask sim [--seeds N] [--first N]

  --seeds N  how many seeds each simulation tries, 1,000 unless given
  --first N  the first of them, 0 unless given";

/// Runs the simulations.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let (mut seeds, mut first) = (1000_u64, 0_u64);
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let value = words.next();
        let value = || value.with_context(|| format!("`{word}` needs a value"));
        match word.as_str() {
            "--seeds" => seeds = value()?.parse().context("`--seeds` takes a number")?,
            "--first" => first = value()?.parse().context("`--first` takes a number")?,
            _ => bail!("unknown option `{word}`\n\n{HELP}"),
        }
    }
    shell::run_with(
        "cargo",
        &[
            "test",
            "--release",
            "-p",
            "catamaran-core",
            "--lib",
            "--locked",
            "sim::",
        ],
        &[
            ("CATAMARAN_SEEDS", &seeds.to_string()),
            ("CATAMARAN_FIRST_SEED", &first.to_string()),
            ("RUST_BACKTRACE", "0"),
        ],
    )
}
