//! The case `alerts`: the example API's own proof, at a high rate and without containers.
//!
//! It runs the programs that are in the images of the case `compose`, so that they are built once.

use anyhow::{Context, Result};

use crate::docker::images;
use crate::shell;

/// Runs the case.
pub(super) fn run() -> Result<()> {
    let prove = images::build_for_trials()?.join("examples/prove");
    let prove = prove.to_str().context("the path is UTF-8")?;
    let Err(error) = shell::run(prove, &["kills"]) else {
        return Ok(());
    };
    // Two cores that do something else besides have no room for the full rate, and what is late
    // then is not what was lost. At the lower rate nothing may be.
    shell::complain(&format!("at 1,000 requests per second: {error:#}"));
    shell::say("once more, at 250 requests per second");
    shell::run(prove, &["kills", "--rate", "250"])
}
