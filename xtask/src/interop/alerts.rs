//! The case `alerts`: the example API's own proof, at a high rate and without containers.
//!
//! It runs the programs that are in the images, so that they are built once.

use anyhow::{Context, Result};

use crate::docker::images;
use crate::shell;

/// Runs the case.
pub(super) fn run() -> Result<()> {
    images::build_package("catamaran", &[])?;
    let programs = images::build_package("alerts", &["--bins", "--examples"])?;
    let prove = programs.join("examples/prove");
    shell::run(prove.to_str().context("the path is UTF-8")?, &["kills"])
}
