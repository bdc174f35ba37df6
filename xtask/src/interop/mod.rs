//! `cargo xtask interop`: tests that need root, or a real program on the other side.
//!
//! A case names what it needs. What is missing makes it a skip that says so, and a failure with
//! `--must`, as CI runs it: there a case that quietly does nothing would be worth nothing. All
//! cases run whatever becomes of the earlier ones.

mod admin_api;
mod alerts;
mod browser;
mod case;
mod checks;
mod compose;
mod dashboard;
mod deb;
mod etcd;
mod kubernetes;
mod load_k6;
mod metrics;
mod need;
mod reloads;
mod remote_write;
mod sbom;
mod systemd;
mod tracing;
mod virtual_ip;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use self::case::{CASES, Case};
pub(crate) use self::virtual_ip::{run_load, run_probe};
use crate::shell;

/// What `cargo xtask interop --help` prints.
pub(crate) const HELP: &str = "\
cargo xtask interop [NAME…] [--must] [--list]

  NAME    only this case; all of them unless given
  --must  a case that lacks something fails; without it, it is skipped.
          CATAMARAN_INTEROP=1 means the same
  --list  the cases, and what each needs";

struct Options {
    cases: Vec<&'static Case>,
    must: bool,
}

/// How a case ended.
enum Verdict {
    Passed,
    Skipped(String),
    Failed(String),
}

struct Outcome {
    name: &'static str,
    verdict: Verdict,
    time: Duration,
}

/// Runs the cases.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    if arguments.iter().any(|word| word == "--list") {
        shell::say(&list());
        return Ok(());
    }
    let options = parse(arguments)?;
    let outcomes: Vec<_> = options
        .cases
        .iter()
        .map(|case| run_case(case, options.must))
        .collect();
    shell::say(&table(&outcomes));
    let failed = outcomes
        .iter()
        .filter(|outcome| matches!(outcome.verdict, Verdict::Failed(_)));
    let names: Vec<_> = failed.map(|outcome| outcome.name).collect();
    if !names.is_empty() {
        bail!(
            "{} failed; to repeat: cargo xtask interop {}{}",
            names.join(", "),
            names.join(" "),
            if options.must { " --must" } else { "" }
        );
    }
    Ok(())
}

fn parse(arguments: &[String]) -> Result<Options> {
    let mut options = Options {
        cases: Vec::new(),
        must: std::env::var_os("CATAMARAN_INTEROP").is_some_and(|value| value == "1"),
    };
    for word in arguments {
        if word == "--must" {
            options.must = true;
        } else if word.starts_with('-') {
            bail!("unknown argument `{word}`\n\n{HELP}");
        } else {
            let case = CASES.iter().find(|case| case.name == word.as_str());
            let case = case.with_context(|| format!("no case `{word}`; `--list` lists them"))?;
            options.cases.push(case);
        }
    }
    if options.cases.is_empty() {
        options.cases.extend(CASES);
    }
    Ok(options)
}

fn run_case(case: &'static Case, must: bool) -> Outcome {
    shell::say(&format!("\n== {}: {}", case.name, case.title));
    let start = Instant::now();
    let missing: Vec<_> = case.needs.iter().filter_map(need::Need::missing).collect();
    let verdict = if missing.is_empty() {
        match (case.run)() {
            Ok(()) => Verdict::Passed,
            Err(error) => Verdict::Failed(format!("{error:#}")),
        }
    } else if must {
        Verdict::Failed(missing.join("; "))
    } else {
        Verdict::Skipped(missing.join("; "))
    };
    match &verdict {
        Verdict::Passed => {}
        Verdict::Skipped(reason) => shell::say(&format!("skipped: {reason}")),
        Verdict::Failed(reason) => shell::complain(&format!("failed: {reason}")),
    }
    Outcome {
        name: case.name,
        verdict,
        time: start.elapsed(),
    }
}

fn list() -> String {
    let lines = CASES.iter().map(|case| {
        let needs: Vec<_> = case.needs.iter().map(ToString::to_string).collect();
        let (name, title) = (case.name, case.title);
        format!("{name:12} {title}\n{:12} needs {}", "", needs.join(", "))
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn table(outcomes: &[Outcome]) -> String {
    let mut text = "\ncase          seconds".to_owned();
    for outcome in outcomes {
        let word = match &outcome.verdict {
            Verdict::Passed => "passed".to_owned(),
            Verdict::Skipped(reason) => format!("skipped: {reason}"),
            Verdict::Failed(reason) => {
                let first = reason.lines().next().unwrap_or_default();
                format!("FAILED: {first}")
            }
        };
        let seconds = outcome.time.as_secs_f64();
        text.push_str(&format!("\n{:12} {seconds:8.1}  {word}", outcome.name));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::need::Need;
    use super::*;

    const PASSES: Case = Case {
        name: "passes",
        title: "does nothing",
        needs: &[],
        run: || Ok(()),
    };

    const LACKS: Case = Case {
        name: "lacks",
        title: "needs what nobody has",
        needs: &[Need::Program {
            name: "no-such-program",
            package: "no-such-package",
        }],
        run: || panic!("a case that lacks something must not run"),
    };

    #[test]
    fn a_missing_need_is_a_skip_and_a_failure_when_it_must_run() {
        let outcome = run_case(&LACKS, false);
        let Verdict::Skipped(reason) = &outcome.verdict else {
            panic!("not skipped")
        };
        assert!(
            reason.contains("apt-get install -y no-such-package"),
            "{reason}"
        );
        assert!(table(&[outcome]).contains("skipped: no-such-program"));
        assert!(matches!(run_case(&LACKS, true).verdict, Verdict::Failed(_)));
    }

    #[test]
    fn a_case_with_all_it_needs_runs() {
        assert!(matches!(run_case(&PASSES, true).verdict, Verdict::Passed));
    }

    #[test]
    fn an_unknown_case_or_argument_is_refused() {
        let parse = |word: &str| parse(&[word.to_owned()]);
        assert!(parse("no-such-case").is_err());
        assert!(parse("--no-such").is_err());
        assert!(parse("--must").is_ok_and(|options| options.must));
    }
}
