//! The summary as JSON, with the keys of k6's `--summary-export`.

use std::io::IsTerminal as _;

use serde_json::{Map, Value, json};

use super::groups::{self, Form};
use super::{Summary, is_always_told};
use crate::metric::Metric;
use crate::sink::{Sink, per_second, share};
use crate::threshold::Guarded;

/// A metric, or a part of one, that is told of.
struct Shown<'a> {
    metric: &'a Metric,
    name: &'a String,
    found: &'a Sink,
    guarded: Option<&'a Guarded>,
}

/// What has samples or is guarded by thresholds.
fn shown<'a>(summary: &Summary<'a>) -> impl Iterator<Item = Shown<'a>> {
    let (board, thresholds) = (summary.board, summary.thresholds);
    let metrics = summary.registry.metrics().iter();
    let all = metrics.flat_map(|metric| {
        let parts = metric.parts.iter().map(|part| (&part.name, part.sink));
        let whole = std::iter::once((&metric.name, metric.sink));
        whole.chain(parts).map(move |named| (metric, named))
    });
    all.filter_map(move |(metric, (name, sink))| {
        let found = board.sink(sink);
        let guarded = thresholds.iter().find(|guarded| guarded.sink == sink);
        let is_shown = !found.is_empty() || guarded.is_some() || is_always_told(name);
        is_shown.then_some(Shown {
            metric,
            name,
            found,
            guarded,
        })
    })
}

/// All metrics with samples: `{name: {avg, …, thresholds: {expression: crossed}}}`.
///
/// As in k6, `true` beside a threshold says that it does **not** hold.
#[must_use]
pub fn metrics(summary: &Summary<'_>) -> Value {
    let mut all = Map::new();
    for Shown {
        name,
        found,
        guarded,
        ..
    } in shown(summary)
    {
        let mut figures = figures(summary, found);
        if let Some(guarded) = guarded {
            let judged = summary.judge(guarded);
            let crossed = judged.map(|judged| {
                (
                    judged.threshold.source.clone(),
                    json!(!judged.verdict.holds),
                )
            });
            figures.insert("thresholds".to_owned(), Value::Object(crossed.collect()));
        }
        all.insert(name.clone(), Value::Object(figures));
    }
    Value::Object(all)
}

/// The figures of one sink.
fn figures(summary: &Summary<'_>, sink: &Sink) -> Map<String, Value> {
    let pairs: Vec<(String, Value)> = match sink {
        Sink::Counter(sum) => vec![
            ("count".to_owned(), number(*sum)),
            (
                "rate".to_owned(),
                number(per_second(*sum, summary.run_time)),
            ),
        ],
        Sink::Gauge(gauge) => vec![
            ("value".to_owned(), number(gauge.value)),
            ("min".to_owned(), number(gauge.min)),
            ("max".to_owned(), number(gauge.max)),
        ],
        Sink::Rate { passes, total } => vec![
            ("passes".to_owned(), json!(passes)),
            ("fails".to_owned(), json!(total - passes)),
            ("value".to_owned(), number(share(*passes, *total))),
        ],
        Sink::Trend(_) => {
            let statistics = summary.trend_statistics.iter();
            statistics
                .map(|&statistic| {
                    let value = sink.statistic(statistic, summary.run_time);
                    (statistic.to_string(), number(value.unwrap_or(0.0)))
                })
                .collect()
        }
    };
    pairs.into_iter().collect()
}

/// What `--summary-export` writes.
#[must_use]
pub fn summary_export(summary: &Summary<'_>, setup_data: Option<&Value>) -> Value {
    let mut document = json!({
        "metrics": metrics(summary),
        "root_group": groups::tree(summary, Form::ByName),
    });
    if let Some(data) = setup_data {
        document["setup_data"] = data.clone();
    }
    document
}

/// What `handleSummary` is given.
#[must_use]
pub fn handle_summary(summary: &Summary<'_>, setup_data: Option<&Value>) -> Value {
    let mut all = Map::new();
    for Shown {
        metric,
        name,
        found,
        guarded,
    } in shown(summary)
    {
        let mut values = figures(summary, found);
        // Here the share of a rate is called so.
        if matches!(found, Sink::Rate { .. })
            && let Some(share) = values.remove("value")
        {
            values.insert("rate".to_owned(), share);
        }
        let mut entry = json!({
            "type": metric.kind.name(), "contains": metric.contains.name(), "values": values,
        });
        if let Some(guarded) = guarded {
            let judged = summary.judge(guarded).map(|judged| {
                let holds = json!({"ok": judged.verdict.holds});
                (judged.threshold.source.clone(), holds)
            });
            entry["thresholds"] = Value::Object(judged.collect());
        }
        all.insert(name.clone(), entry);
    }
    let statistics = summary.trend_statistics.iter();
    let statistics: Vec<String> = statistics.map(ToString::to_string).collect();
    let mut document = json!({
        "root_group": groups::tree(summary, Form::Lists),
        "options": {"summaryTrendStats": statistics, "summaryTimeUnit": "", "noColor": false},
        "state": {
            "isStdOutTTY": std::io::stdout().is_terminal(),
            "isStdErrTTY": std::io::stderr().is_terminal(),
            "testRunDurationMs": summary.run_time.as_secs_f64() * 1e3,
        },
        "metrics": all,
    });
    if let Some(data) = setup_data {
        document["setup_data"] = data.clone();
    }
    document
}

/// A number as JavaScript writes it: whole ones without a point.
fn number(value: f64) -> Value {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is whole and within 2^53"
    )]
    if value.fract() == 0.0 && value.abs() < 9e15 {
        return json!(value as i64);
    }
    json!(value)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::board::Board;
    use crate::metric::{Registry, builtin};
    use crate::sink::Statistic;
    use crate::threshold::{Guarded, Threshold};

    use super::*;

    #[test]
    fn thresholds_that_do_not_hold_are_true() {
        let mut registry = Registry::new();
        let guarded = Guarded {
            selector: "http_reqs".to_owned(),
            sink: registry.select("http_reqs").unwrap(),
            thresholds: vec![
                Threshold::read("count>5").unwrap(),
                Threshold::read("rate<5").unwrap(),
            ],
        };
        let mut board = Board::new(&registry);
        board.record(registry.metric(builtin::HTTP_REQS).sink, 4.0, 0);
        board.record(registry.metric(builtin::HTTP_REQ_DURATION).sink, 1.5, 0);
        let summary = Summary {
            registry: &registry,
            board: &board,
            run_time: Duration::from_secs(2),
            thresholds: &[guarded],
            trend_statistics: &[Statistic::Average, Statistic::Percentile(90.0)],
            is_full: false,
            time_unit: None,
        };
        assert_eq!(
            metrics(&summary),
            json!({
                "data_received": {"count": 0, "rate": 0},
                "data_sent": {"count": 0, "rate": 0},
                "http_reqs": {"count": 4, "rate": 2, "thresholds": {"count>5": true, "rate<5": false}},
                "http_req_duration": {"avg": 1.5, "p(90)": 1.5},
            })
        );
    }
}
