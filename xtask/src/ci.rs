//! `cargo xtask ci`: everything a change must pass, in the order of how soon it tells.
//!
//! It stops at the first step that fails and says how to repeat that step alone. Nothing is
//! skipped but what the command line says, and the check of dependencies where cargo-deny is not
//! installed; the table shows both.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::shell;

/// One step: what the table calls it and what is run.
struct Step {
    name: &'static str,
    arguments: &'static [&'static str],
    variables: &'static [(&'static str, &'static str)],
}

/// All steps are runs of cargo.
const STEPS: &[Step] = &[
    Step {
        name: "format",
        arguments: &["fmt", "--all", "--check"],
        variables: &[],
    },
    Step {
        name: "tidy",
        arguments: &["xtask", "tidy"],
        variables: &[],
    },
    Step {
        name: "clippy",
        arguments: &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ],
        variables: &[],
    },
    Step {
        name: "no etcd, no scripts",
        // As somebody builds it who wants neither etcd nor scripts of load tests, nor what they bring.
        arguments: &[
            "clippy",
            "-p",
            "catamaran",
            "--no-default-features",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ],
        variables: &[],
    },
    Step {
        name: "no dns, no etcd",
        arguments: &[
            "clippy",
            "-p",
            "catamaran-control",
            "--no-default-features",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ],
        variables: &[],
    },
    Step {
        name: DENY,
        // All but advisories, whose database is on GitHub; see SECURITY.md.
        arguments: &["deny", "--locked", "check", "bans", "licenses", "sources"],
        variables: &[],
    },
    Step {
        name: TEST,
        arguments: &["test", "--workspace", "--locked"],
        // Trials that prove something by their number run in full.
        variables: &[("CATAMARAN_ROUNDS", "full")],
    },
    Step {
        name: "documentation",
        arguments: &[
            "doc",
            "--workspace",
            "--no-deps",
            "--document-private-items",
            "--locked",
        ],
        variables: &[("RUSTDOCFLAGS", "-D warnings")],
    },
    Step {
        name: "fuzz smoke",
        arguments: &["xtask", "fuzz"],
        variables: &[],
    },
    Step {
        name: "hot path",
        arguments: &["xtask", "callgrind"],
        variables: &[],
    },
];

const TEST: &str = "test";
/// The one step that needs a program which `cargo` does not bring: cargo-deny.
const DENY: &str = "dependencies";

/// Runs the steps.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let skips_tests = match arguments {
        [] => false,
        [word] if word == "--skip-tests" => true,
        _ => bail!("`ci` takes `--skip-tests` only"),
    };
    let mut times = Vec::new();
    for step in STEPS {
        if skips_tests && step.name == TEST {
            times.push((step.name, Spent::SkippedAsAsked));
            continue;
        }
        if step.name == DENY && !shell::works("cargo-deny", &["--version"]) {
            shell::say(
                "\n== dependencies: skipped; it needs cargo-deny, which .ci/tools.txt has: \
                 `pip install --require-hashes -r .ci/tools.txt` or `cargo install cargo-deny`",
            );
            times.push((step.name, Spent::NotInstalled));
            continue;
        }
        shell::say(&format!("\n== {}: {}", step.name, command(step)));
        let start = Instant::now();
        let result = shell::run_with("cargo", step.arguments, step.variables);
        times.push((step.name, Spent::Time(start.elapsed())));
        if result.is_err() {
            shell::say(&table(&times));
            bail!("{} failed; to repeat it: {}", step.name, command(step));
        }
    }
    shell::say(&table(&times));
    Ok(())
}

/// The step as one would type it.
fn command(step: &Step) -> String {
    let mut command = String::new();
    for (name, value) in step.variables {
        command.push_str(&format!("{name}='{value}' "));
    }
    command + &shell::line("cargo", step.arguments)
}

/// What became of a step.
enum Spent {
    Time(Duration),
    SkippedAsAsked,
    NotInstalled,
}

fn table(times: &[(&str, Spent)]) -> String {
    let mut text = "\nstep             seconds".to_owned();
    for (name, time) in times {
        match time {
            Spent::Time(time) => {
                text.push_str(&format!("\n{name:15} {:8.1}", time.as_secs_f64()));
            }
            Spent::SkippedAsAsked => text.push_str(&format!("\n{name:15}  skipped as asked")),
            Spent::NotInstalled => {
                text.push_str(&format!(
                    "\n{name:15}  skipped: cargo-deny is not installed"
                ));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_can_be_repeated_by_what_is_told() {
        let doc = STEPS.iter().find(|step| step.name == "documentation");
        let command = command(doc.unwrap());
        assert!(command.starts_with("RUSTDOCFLAGS='-D warnings' cargo doc --workspace"));
    }

    #[test]
    fn a_skipped_step_shows_in_the_table() {
        let text = table(&[
            ("format", Spent::Time(Duration::from_millis(1500))),
            (TEST, Spent::SkippedAsAsked),
            (DENY, Spent::NotInstalled),
        ]);
        assert!(text.contains("format               1.5"), "{text}");
        assert!(text.contains("test             skipped as asked"), "{text}");
        let deny = "dependencies     skipped: cargo-deny is not installed";
        assert!(text.contains(deny), "{text}");
    }
}
