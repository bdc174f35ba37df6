//! Thresholds and checks as test cases, in the XML that CI systems read.

use std::fmt::Write as _;

use super::{Escaped, Record};
use crate::engine::Ending;
use crate::summary::Judged;

/// A test case.
struct Case {
    class: String,
    name: String,
    /// What went wrong, if something did.
    problem: Option<String>,
    /// What else is to be known.
    note: Option<String>,
}

/// Writes the file.
pub(super) fn render(record: &Record<'_>) -> String {
    let seconds = record.summary.run_time.as_secs_f64();
    let suites = [
        ("run", vec![run(record)]),
        ("thresholds", thresholds(record)),
        ("checks", checks(record)),
    ];
    let all = || suites.iter().flat_map(|(_, cases)| cases);
    let failed = all().filter(|case| case.problem.is_some()).count();
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
        <testsuites name=\"{}\" tests=\"{}\" failures=\"{failed}\" errors=\"0\" time=\"{seconds:.3}\">\n",
        Escaped(&record.about.title),
        all().count(),
    );
    for (name, cases) in &suites {
        suite(&mut out, name, cases);
    }
    out.push_str("</testsuites>\n");
    out
}

fn suite(out: &mut String, name: &str, cases: &[Case]) {
    let failed = cases.iter().filter(|case| case.problem.is_some()).count();
    // Writing to a text cannot fail.
    let _ = writeln!(
        out,
        "  <testsuite name=\"{name}\" tests=\"{}\" failures=\"{failed}\" errors=\"0\" time=\"0\">",
        cases.len()
    );
    for case in cases {
        let _ = write!(
            out,
            "    <testcase classname=\"{}\" name=\"{}\" time=\"0\"",
            Escaped(&case.class),
            Escaped(&case.name)
        );
        let _ = match (&case.problem, &case.note) {
            (None, None) => writeln!(out, "/>"),
            (Some(problem), _) => writeln!(
                out,
                ">\n      <failure message=\"{}\"/>\n    </testcase>",
                Escaped(problem)
            ),
            (None, Some(note)) => writeln!(
                out,
                ">\n      <system-out>{}</system-out>\n    </testcase>",
                Escaped(note)
            ),
        };
    }
    out.push_str("  </testsuite>\n");
}

/// That the run came to its end.
fn run(record: &Record<'_>) -> Case {
    let problem = match record.ending {
        _ if record.is_incomplete() => {
            let missing = record.missing.iter().map(ToString::to_string);
            Some(missing.collect::<Vec<_>>().join("; "))
        }
        // A threshold has a case of its own.
        Ending::Finished | Ending::Threshold => None,
        Ending::Incomplete => Some("an agent was lost".to_owned()),
        Ending::Signal => Some("a signal ended it".to_owned()),
        Ending::Aborted(why) => Some(format!("the script aborted it: {why}")),
        Ending::Failed(why) => Some(why.clone()),
    };
    Case {
        class: record.about.title.clone(),
        name: "the run came to its end".to_owned(),
        problem,
        note: None,
    }
}

fn thresholds(record: &Record<'_>) -> Vec<Case> {
    let summary = record.summary;
    let mut cases = Vec::new();
    for guarded in summary.thresholds {
        let metric = summary.metric_of(guarded.sink);
        let case = |judged: Judged<'_>| {
            let statistic = judged.threshold.statistic;
            let value = summary.statistic_text(metric, statistic, judged.verdict.value);
            Case {
                class: guarded.selector.clone(),
                name: format!("{}: {}", guarded.selector, judged.threshold),
                problem: (!judged.verdict.holds).then(|| format!("{statistic}={value}")),
                note: None,
            }
        };
        cases.extend(summary.judge(guarded).map(case));
    }
    cases
}

/// The checks. Where a threshold of `checks` says how many may fail, it alone is the judge: a file of
/// failures would contradict an exit status of success.
fn checks(record: &Record<'_>) -> Vec<Case> {
    let mut selectors = record.summary.thresholds.iter();
    let is_judged = selectors.any(|guarded| guarded.selector.starts_with("checks"));
    let checks = record.summary.checks_in_order().into_iter();
    let case = |(group, name, tally): (&str, &str, &crate::board::Tally)| {
        let failed = (tally.fails > 0)
            .then(|| format!("{} of {} failed", tally.fails, tally.passes + tally.fails));
        let (note, problem) = if is_judged {
            (failed, None)
        } else {
            (None, failed)
        };
        Case {
            class: if group.is_empty() { "checks" } else { group }.to_owned(),
            name: name.to_owned(),
            problem,
            note,
        }
    };
    checks.map(case).collect()
}
