//! The case `load-k6`: the scripts of the load test's corpus, played by a real k6 and by us, and what
//! each tells of a target that stalls.
//!
//! There is no package of k6, and CI has none: without it the recordings of what k6 did, kept beside the
//! scripts, are what our runs are compared with, and that is said.

mod stall;

use anyhow::Result;

use crate::shell;

/// Runs the case.
pub(super) fn run() -> Result<()> {
    let has_k6 = shell::is_installed(K6);
    let mut variables = Vec::new();
    if has_k6 {
        shell::say(&format!("with {}", shell::line(K6, &["version"])));
        variables.push(("K6", K6));
    } else {
        shell::say("no program `k6` is installed: we are compared with recordings of k6 2.2 alone");
    }
    let test = "every_script_of_the_corpus_does_what_it_does_in_k6";
    let arguments = ["test", "-p", "catamaran-load", "--test", "it", test];
    shell::run_with("cargo", &arguments, &variables)?;
    stall::run(has_k6)
}

const K6: &str = "k6";
