//! Everything about a run as JSON, in one shape with a script and without.

use serde_json::{Map, Value, json};

use super::{Record, STATISTICS};
use crate::distribution::Distribution;
use crate::engine::Missing;
use crate::metric::builtin;
use crate::sink::as_f64;
use crate::summary::{Summary, export};
use crate::time_text::rfc3339;

/// The version of this shape. It grows when something is taken away or means something else.
const FORMAT: u64 = 1;

/// Makes the document.
pub(super) fn document(record: &Record<'_>) -> Value {
    let Record { about, summary, .. } = record;
    let answers = summary.board.answers.iter();
    let answers: Map<String, Value> = answers
        .map(|(how, count)| (how.to_string(), json!(count)))
        .collect();
    let scenario = |scenario: &crate::scenario::Scenario| {
        json!({
            "name": scenario.name,
            "executor": scenario.executor.name(),
            "does": scenario.describe(),
        })
    };
    json!({
        "format": FORMAT,
        "run": {
            "title": about.title,
            "script": about.script,
            "targets": about.targets,
            "model": about.model(),
            "scenarios": about.scenarios.iter().map(scenario).collect::<Vec<_>>(),
            "workers": about.workers,
            "agents": about.agents,
            "incomplete": record.is_incomplete(),
            "lost_agents": record.missing.iter().map(missing).collect::<Vec<_>>(),
            "began": rfc3339(about.began),
            "ended": record.ended(),
            "passed": record.is_passed(),
            "version": env!("CARGO_PKG_VERSION"),
        },
        "run_seconds": summary.run_time.as_secs_f64(),
        "metrics": export::metrics(&kept(summary)),
        "answers": answers,
        "checks": checks(summary),
        "thresholds": thresholds(summary),
        "distribution": distribution(summary),
        "seconds_per_point": record.timeline.width(),
        "seconds": record.timeline.points().map(super::Point::to_json).collect::<Vec<_>>(),
        "warnings": record.warnings,
    })
}

/// The summary with the statistics that are kept of every run.
pub(super) fn kept<'a>(summary: &Summary<'a>) -> Summary<'a> {
    Summary {
        trend_statistics: STATISTICS,
        ..*summary
    }
}

fn missing(missing: &Missing) -> Value {
    json!({
        "agent": missing.agent,
        "why": missing.why,
        "at_seconds": missing.at.as_secs_f64(),
        "share": missing.share,
        "taken_over": missing.is_taken_over,
        "seconds_not_reported": missing.unmerged.as_secs_f64(),
    })
}

fn checks(summary: &Summary<'_>) -> Vec<Value> {
    let checks = summary.checks_in_order();
    let checks = checks.into_iter().map(|(group, name, tally)| {
        json!({"group": group, "name": name, "passes": tally.passes, "fails": tally.fails})
    });
    checks.collect()
}

fn thresholds(summary: &Summary<'_>) -> Vec<Value> {
    let of = |guarded| {
        summary.judge(guarded).map(|judged| {
            json!({
                "metric": guarded.selector,
                "threshold": judged.threshold.source,
                "value": judged.verdict.value,
                "holds": judged.verdict.holds,
            })
        })
    };
    summary.thresholds.iter().flat_map(of).collect()
}

/// The spread of the durations that matter: corrected ones, if there are any.
pub(super) fn durations<'a>(summary: &Summary<'a>) -> Option<(&'a str, &'a Distribution)> {
    let metrics = [
        builtin::HTTP_REQ_CORRECTED_DURATION,
        builtin::EXCHANGE_CORRECTED_DURATION,
        builtin::HTTP_REQ_DURATION,
        builtin::EXCHANGE_DURATION,
        builtin::ITERATION_DURATION,
    ];
    metrics.into_iter().find_map(|id| {
        let metric = summary.registry.metric(id);
        let values = summary.board.sink(metric.sink).distribution()?;
        (values.count() > 0).then_some((metric.name.as_str(), values))
    })
}

/// A bin of the spread, and how many values are in it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bin {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) count: u64,
}

/// Bins that grow by a constant factor, from the least value to the greatest.
pub(super) fn bins(values: &Distribution) -> Vec<Bin> {
    let least = values.min().max(LEAST_MILLIS);
    let greatest = values.max().max(least * 1.01);
    let edge =
        |index: usize| least * (greatest / least).powf(as_f64(index as u64) / as_f64(BINS as u64));
    let edges: Vec<f64> = (0..=BINS).map(edge).collect();
    // The last one is open, so that rounding leaves nothing out.
    let mut below: Vec<u64> = values.counts_up_to(&edges[1..BINS]);
    below.push(values.count());
    let mut before = 0;
    let bin = |(index, &upto): (usize, &u64)| {
        let count = upto - before;
        before = upto;
        Bin {
            from: edges[index],
            to: edges[index + 1],
            count,
        }
    };
    below.iter().enumerate().map(bin).collect()
}

fn distribution(summary: &Summary<'_>) -> Value {
    let Some((metric, values)) = durations(summary) else {
        return Value::Null;
    };
    let bins = bins(values).into_iter();
    let bins: Vec<Value> = bins
        .map(|bin| json!({"from_ms": bin.from, "to_ms": bin.to, "count": bin.count}))
        .collect();
    json!({"metric": metric, "bins": bins})
}

/// Bins of the spread.
const BINS: usize = 50;
/// What is quicker is in the first bin: a nanosecond is as far as clocks go.
const LEAST_MILLIS: f64 = 1e-6;
