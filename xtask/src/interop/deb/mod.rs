//! The case `deb`: the Debian package on a system, from its installation to its purge.
//!
//! The system is this machine's own, seen through an overlay: what the package changes is kept
//! apart in memory, and gone with the case. Network, processes and mounts are the case's own too.
//! The steps are in `steps.sh`, as one would type them.

use std::fs;

use anyhow::{Context, Result};
use catamaran_testkit::TempDir;

use crate::{deb, shell};

/// Runs the case.
pub(super) fn run() -> Result<()> {
    let package = fs::canonicalize(deb::build()?)?;
    let kibibytes = fs::metadata(&package)?.len() / 1024;
    shell::say(&format!("{}: {kibibytes} KiB", package.display()));
    let area = TempDir::create()?;
    let steps = area.path().join("steps.sh");
    fs::write(&steps, STEPS)?;
    // The system is mounted over a directory of its own, so that ours stays visible.
    let system = area.path().join("system");
    fs::create_dir(&system)?;
    let mut arguments = vec!["--mount", "--net", "--pid", "--fork", "--kill-child", "sh"];
    for path in [&steps, &system, &package] {
        arguments.push(path.to_str().context("the path is UTF-8")?);
    }
    shell::run("unshare", &arguments)
}

const STEPS: &str = include_str!("steps.sh");
