//! An earlier run beside this one.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::number;
use crate::metric::Contains;
use crate::summary::{number_text, value_text};

/// An earlier run, as its document tells of it.
#[derive(Clone, Debug)]
pub struct Earlier {
    /// Where it was read.
    pub path: PathBuf,
    document: Value,
}

/// What became of one figure.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Which figure.
    pub name: String,
    /// As it was.
    pub before: String,
    /// As it is.
    pub now: String,
    /// By how much it grew: 0.1 is a tenth. `None` when it was 0.
    pub growth: Option<f64>,
    /// Whether that is good.
    pub verdict: Verdict,
}

/// Whether a change is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// By more than two runs of one thing differ.
    Better,
    /// By less.
    Alike,
    /// By more, for the worse.
    Worse,
    /// Nobody can tell: too few samples lie beyond a percentile.
    Few,
}

impl Verdict {
    /// One word.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Alike => "alike",
            Self::Worse => "worse",
            Self::Few => "too few samples",
        }
    }
}

impl Earlier {
    /// Reads what `--json` of an earlier run wrote.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
        let document: Value =
            serde_json::from_slice(&bytes).map_err(|error| format!("this is no JSON: {error}"))?;
        if !document["metrics"].is_object() || !document["run_seconds"].is_number() {
            return Err("this is no run; write one with `--json=FILE`".to_owned());
        }
        Ok(Self {
            path: path.to_owned(),
            document,
        })
    }

    /// When it was and what made it, as far as it says.
    #[must_use]
    pub fn about(&self) -> String {
        let run = &self.document["run"];
        let began = run["began"].as_str().unwrap_or("an unknown time");
        let version = run["version"].as_str().unwrap_or("?");
        format!("{began}, catamaran {version}")
    }

    /// Why the runs are not of the same thing, if they are not.
    pub(super) fn unlike(&self, now: &Value) -> Vec<String> {
        let (before, now) = (&self.document["run"], &now["run"]);
        let mut found = Vec::new();
        for what in ["title", "model"] {
            let (one, other) = (before[what].as_str(), now[what].as_str());
            if let (Some(one), Some(other)) = (one, other)
                && one != other
            {
                found.push(format!("the {what} was `{one}`"));
            }
        }
        let does = |run: &Value| -> Vec<String> {
            let scenarios = run["scenarios"].as_array().into_iter().flatten();
            let does = scenarios.filter_map(|scenario| scenario["does"].as_str());
            does.map(str::to_owned).collect()
        };
        let (one, other) = (does(before), does(now));
        if one != other && !one.is_empty() {
            found.push(format!("it did: {}", one.join("; ")));
        }
        found
    }

    /// What became of the figures that both runs have.
    #[must_use]
    pub fn changes(&self, now: &Value) -> Vec<Change> {
        let runs = [&self.document, now];
        let change = |figure: &Figure| {
            let of = |document: &Value| {
                let found = &document["metrics"][figure.metric][figure.statistic];
                found.is_number().then(|| number(found))
            };
            let (before, now) = (of(runs[0])?, of(runs[1])?);
            let is_told = !runs.into_iter().any(|run| figure.has_few(run));
            Some(Change {
                name: figure.name(),
                before: figure.text(before),
                now: figure.text(now),
                growth: (before != 0.0).then(|| now / before - 1.0),
                verdict: match is_told {
                    true => figure.verdict(before, now),
                    false => Verdict::Few,
                },
            })
        };
        FIGURES.iter().filter_map(change).collect()
    }
}

/// A figure that is compared.
struct Figure {
    metric: &'static str,
    statistic: &'static str,
    form: Form,
    /// Whether more of it is better; `None` where neither is.
    is_more_better: Option<bool>,
}

/// How a figure is written.
#[derive(Clone, Copy)]
enum Form {
    Time,
    PerSecond,
    Bytes,
    Share,
    Count,
}

impl Figure {
    fn name(&self) -> String {
        match self.form {
            Form::Share => self.metric.to_owned(),
            _ => format!("{} {}", self.metric, self.statistic),
        }
    }

    fn text(&self, value: f64) -> String {
        match self.form {
            Form::Time => value_text(Contains::Time, value),
            Form::PerSecond => format!("{}/s", number_text((value * 100.0).round() / 100.0)),
            Form::Bytes => format!("{}/s", value_text(Contains::Data, value)),
            Form::Share => format!("{:.2}%", value * 100.0),
            Form::Count => number_text(value),
        }
    }

    /// Whether a run has too few samples for what is compared of them.
    fn has_few(&self, document: &Value) -> bool {
        let beyond = match (self.form, self.statistic) {
            (Form::Time, "med") => 0.5,
            (Form::Time, "p(95)") => 0.05,
            (Form::Time, "p(99)") => 0.01,
            _ => return false,
        };
        let count = document["metrics"][self.metric]["count"].as_f64();
        count.is_some_and(|count| count * beyond < FEW)
    }

    fn verdict(&self, before: f64, now: f64) -> Verdict {
        let is_alike = match self.form {
            Form::Share => (now - before).abs() < ALIKE_SHARE,
            Form::Time => (now - before).abs() < (before * ALIKE).max(ALIKE_MILLIS),
            _ => (now - before).abs() <= before * ALIKE,
        };
        match self.is_more_better {
            Some(is_more_better) if !is_alike => {
                if (now > before) == is_more_better {
                    Verdict::Better
                } else {
                    Verdict::Worse
                }
            }
            _ => Verdict::Alike,
        }
    }
}

/// Prints the comparison.
pub(super) fn text(earlier: &Earlier, now: &Value) -> String {
    let mut out = format!(
        "  █ COMPARED WITH {} ({})\n\n",
        earlier.path.display(),
        earlier.about()
    );
    for why in earlier.unlike(now) {
        let _ = writeln!(out, "    not of the same thing: {why}");
    }
    let changes = earlier.changes(now);
    let width = |column: fn(&Change) -> &str| {
        let lengths = changes.iter().map(|change| column(change).chars().count());
        lengths.max().unwrap_or(0)
    };
    let (names, before, new) = (
        width(|change| &change.name) + 3,
        width(|change| &change.before),
        width(|change| &change.now),
    );
    for change in &changes {
        let growth = growth_text(change.growth);
        let verdict = match change.verdict {
            Verdict::Alike => String::new(),
            verdict => format!("  {}", verdict.name()),
        };
        let _ = writeln!(
            out,
            "    {:.<names$}: {:>before$} → {:<new$} {growth:>8}{verdict}",
            change.name, change.before, change.now
        );
    }
    out.push('\n');
    out
}

/// By how much something grew.
pub(super) fn growth_text(growth: Option<f64>) -> String {
    match growth {
        None => String::new(),
        Some(growth) if growth.abs() < 0.0005 => "0.0%".to_owned(),
        Some(growth) => format!("{:+.1}%", growth * 100.0),
    }
}

const fn figure(
    metric: &'static str,
    statistic: &'static str,
    form: Form,
    is_more_better: Option<bool>,
) -> Figure {
    Figure {
        metric,
        statistic,
        form,
        is_more_better,
    }
}

/// What is compared, in this order.
const FIGURES: &[Figure] = &[
    figure("http_reqs", "rate", Form::PerSecond, Some(true)),
    figure("http_req_failed", "value", Form::Share, Some(false)),
    figure(
        "http_req_corrected_duration",
        "med",
        Form::Time,
        Some(false),
    ),
    figure(
        "http_req_corrected_duration",
        "p(95)",
        Form::Time,
        Some(false),
    ),
    figure(
        "http_req_corrected_duration",
        "p(99)",
        Form::Time,
        Some(false),
    ),
    figure("http_req_duration", "med", Form::Time, Some(false)),
    figure("http_req_duration", "p(95)", Form::Time, Some(false)),
    figure("http_req_duration", "p(99)", Form::Time, Some(false)),
    figure("http_req_duration", "max", Form::Time, None),
    figure("exchanges", "rate", Form::PerSecond, Some(true)),
    figure("exchange_failed", "value", Form::Share, Some(false)),
    figure(
        "exchange_corrected_duration",
        "p(99)",
        Form::Time,
        Some(false),
    ),
    figure("exchange_duration", "med", Form::Time, Some(false)),
    figure("exchange_duration", "p(99)", Form::Time, Some(false)),
    figure("checks", "value", Form::Share, Some(true)),
    figure("iterations", "rate", Form::PerSecond, Some(true)),
    figure("iteration_duration", "med", Form::Time, Some(false)),
    figure("iteration_duration", "p(95)", Form::Time, Some(false)),
    figure("dropped_iterations", "count", Form::Count, Some(false)),
    figure("vus_max", "value", Form::Count, None),
    figure("data_received", "rate", Form::Bytes, None),
    figure("data_sent", "rate", Form::Bytes, None),
];

/// Samples beyond a percentile by which it can be told: the next one lies a fifth away with fewer.
const FEW: f64 = 20.0;
/// Two runs of one thing differ by as much: a twentieth of a figure,
const ALIKE: f64 = 0.05;
/// a thousandth of all requests,
const ALIKE_SHARE: f64 = 0.001;
/// and so many milliseconds.
const ALIKE_MILLIS: f64 = 0.05;
