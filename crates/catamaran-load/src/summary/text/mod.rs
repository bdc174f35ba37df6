//! The summary at the end of a run, in the shape that k6's users know.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Summary, is_always_told, number_text, share_text};
use crate::board::Tally;
use crate::metric::{Contains, Metric, SinkId, builtin};
use crate::sink::{Kind, Sink, as_f64, per_second, share};

/// Prints the summary.
#[must_use]
pub fn render(summary: &Summary<'_>) -> String {
    let mut out = String::new();
    thresholds(&mut out, summary);
    out.push_str("\n\n  █ TOTAL RESULTS \n\n");
    checks(&mut out, summary);
    answers(&mut out, summary);
    let rows = rows(summary);
    let widths = Widths::of(&rows);
    for (title, _) in SECTIONS {
        let mut own = rows.iter().filter(|row| row.section == *title).peekable();
        if own.peek().is_none() {
            continue;
        }
        let _ = writeln!(out, "    {title}");
        own.for_each(|row| row.print(&mut out, &widths));
        out.push('\n');
    }
    out.push('\n');
    out
}

/// The block of thresholds, if there are any.
fn thresholds(out: &mut String, summary: &Summary<'_>) {
    if summary.thresholds.is_empty() {
        return;
    }
    out.push_str("\n\n  █ THRESHOLDS \n");
    let mut last = "";
    for guarded in summary.thresholds {
        let metric = summary.metric_of(guarded.sink);
        // Below the whole metric if that is guarded too, else by its whole name.
        let has_whole = |name: &str| {
            summary
                .thresholds
                .iter()
                .any(|whole| whole.selector == name)
        };
        let (name, suffix) = match guarded.selector.split_once('{') {
            Some((name, _)) if has_whole(name) => (name, Some(&guarded.selector[name.len()..])),
            _ => (guarded.selector.as_str(), None),
        };
        if name != last {
            let _ = writeln!(out, "\n    {name}");
        }
        last = name;
        let indent = if let Some(suffix) = suffix {
            let _ = writeln!(out, "\n      {suffix}");
            6
        } else {
            4
        };
        for judged in summary.judge(guarded) {
            let statistic = judged.threshold.statistic;
            let _ = writeln!(
                out,
                "{:indent$}{} '{}' {statistic}={}",
                "",
                mark(judged.verdict.holds),
                judged.threshold,
                summary.statistic_text(metric, statistic, judged.verdict.value)
            );
        }
    }
}

/// The checks: all together, then each.
fn checks(out: &mut String, summary: &Summary<'_>) {
    let (passes, total) = summary.checks();
    let checks = summary.registry.metric(builtin::CHECKS).sink;
    if total == 0 && !is_guarded(summary, checks) {
        return;
    }
    let rate = number_text(per_second(as_f64(total), summary.run_time));
    let lines = [
        ("checks_total", total.to_string(), format!("{rate}/s")),
        (
            "checks_succeeded",
            percent(passes, total),
            format!("{passes} out of {total}"),
        ),
        (
            "checks_failed",
            percent(total - passes, total),
            format!("{} out of {total}", total - passes),
        ),
    ];
    let width = lines
        .iter()
        .map(|(_, first, _)| first.len())
        .max()
        .unwrap_or(0);
    for (name, first, second) in &lines {
        let _ = writeln!(out, "    {name:.<19}: {first:<width$} {second}");
    }
    out.push('\n');
    // Checks of one name are one, whatever groups they are in.
    let mut by_name: BTreeMap<&str, Tally> = BTreeMap::new();
    for ((_, name), tally) in &summary.board.checks {
        let all = by_name.entry(name).or_insert_with(|| Tally {
            order: tally.order,
            ..Tally::default()
        });
        all.passes += tally.passes;
        all.fails += tally.fails;
        all.order = all.order.min(tally.order);
    }
    let mut tallies: Vec<_> = by_name.into_iter().collect();
    tallies.sort_by_key(|(_, tally)| tally.order);
    for (name, tally) in tallies {
        let _ = writeln!(out, "    {} {name}", mark(tally.fails == 0));
        if tally.fails > 0 {
            let all = tally.passes + tally.fails;
            let _ = writeln!(
                out,
                "      ↳ {:3}% — ✓ {} / ✗ {}",
                100 * tally.passes / all,
                tally.passes,
                tally.fails
            );
        }
    }
    out.push('\n');
}

/// How requests ended, where it was counted.
fn answers(out: &mut String, summary: &Summary<'_>) {
    let answers = &summary.board.answers;
    if answers.is_empty() {
        return;
    }
    out.push_str("    ANSWERS\n");
    // Scripts count failures only: their shares are those of all requests.
    let asked = summary.registry.metric(builtin::HTTP_REQS).sink;
    let asked = match summary.board.sink(asked) {
        Sink::Counter(count) => *count,
        _ => 0.0,
    };
    let all = as_f64(answers.values().sum()).max(asked);
    let names: Vec<String> = answers.keys().map(ToString::to_string).collect();
    let width = names
        .iter()
        .map(|name| name.chars().count())
        .max()
        .unwrap_or(0)
        + 3;
    for (name, &count) in names.iter().zip(answers.values()) {
        let _ = writeln!(
            out,
            "    {name:.<width$}: {:<7} {count}",
            share_text(as_f64(count) / all)
        );
    }
    out.push('\n');
}

/// A line of a metric.
struct Row {
    section: &'static str,
    name: String,
    columns: Vec<String>,
    is_trend: bool,
}

/// How wide columns are, over all sections.
struct Widths {
    name: usize,
    trend: Vec<usize>,
    plain: Vec<usize>,
}

impl Widths {
    fn of(rows: &[Row]) -> Self {
        let columns = |is_trend: bool| {
            let mut widths: Vec<usize> = Vec::new();
            for row in rows.iter().filter(|row| row.is_trend == is_trend) {
                widths.resize(widths.len().max(row.columns.len()), 0);
                for (width, column) in widths.iter_mut().zip(&row.columns) {
                    *width = column.chars().count().max(*width);
                }
            }
            widths
        };
        let names = rows.iter().map(|row| row.name.chars().count());
        Self {
            name: names.max().unwrap_or(0) + 3,
            trend: columns(true),
            plain: columns(false),
        }
    }
}

impl Row {
    fn print(&self, out: &mut String, widths: &Widths) {
        let _ = write!(out, "    {:.<1$}:", self.name, widths.name);
        let columns = if self.is_trend {
            &widths.trend
        } else {
            &widths.plain
        };
        let last = self.columns.len() - 1;
        for (index, (column, &width)) in self.columns.iter().zip(columns).enumerate() {
            // A trend's last column is filled up too, as k6 does; others end where they end.
            let width = if index == last && !self.is_trend {
                0
            } else {
                width
            };
            let _ = write!(out, " {column:<width$}");
        }
        out.push('\n');
    }
}

/// All lines in their order.
fn rows(summary: &Summary<'_>) -> Vec<Row> {
    let mut metrics: Vec<&Metric> = summary.registry.metrics().iter().collect();
    metrics.sort_by(|one, other| one.name.cmp(&other.name));
    let mut rows = Vec::new();
    for metric in metrics {
        let Some(section) = section_of(metric, summary.is_full) else {
            continue;
        };
        let sink = summary.board.sink(metric.sink);
        let is_told =
            |sink: SinkId| !summary.board.sink(sink).is_empty() || is_guarded(summary, sink);
        let has_told_part = || {
            metric
                .parts
                .iter()
                .any(|part| is_guarded(summary, part.sink))
        };
        if !is_told(metric.sink) && !is_always_told(&metric.name) && !has_told_part() {
            continue;
        }
        let mut add = |name: String, sink: &Sink| {
            rows.push(Row {
                section,
                name,
                columns: columns(summary, metric, sink),
                is_trend: metric.kind == Kind::Trend,
            });
        };
        add(metric.name.clone(), sink);
        let parts = metric.parts.iter().filter(|part| is_told(part.sink));
        let mut parts: Vec<_> = parts.collect();
        parts.sort_by(|one, other| one.suffix.cmp(&other.suffix));
        for part in parts {
            add(
                format!("  {{ {} }}", part.suffix),
                summary.board.sink(part.sink),
            );
        }
    }
    rows
}

/// The name and columns of every line, phases too: for other forms than text.
pub(crate) fn rows_of_all(summary: &Summary<'_>) -> Vec<(String, Vec<String>)> {
    let full = Summary {
        is_full: true,
        ..*summary
    };
    let rows = rows(&full).into_iter();
    rows.map(|row| (row.name, row.columns)).collect()
}

/// Whether there are thresholds of a metric or a part of one.
fn is_guarded(summary: &Summary<'_>, sink: SinkId) -> bool {
    summary
        .thresholds
        .iter()
        .any(|guarded| guarded.sink == sink)
}

/// Where a metric is shown, if it is.
fn section_of(metric: &Metric, is_full: bool) -> Option<&'static str> {
    let name = metric.name.as_str();
    let known = SECTIONS.iter().find(|(_, names)| names.contains(&name));
    match known {
        Some((title, _)) => Some(title),
        None if DETAILS.contains(&name) => is_full.then_some("HTTP"),
        None if HIDDEN.contains(&name) => None,
        None => Some("CUSTOM"),
    }
}

/// What stands after the colon.
fn columns(summary: &Summary<'_>, metric: &Metric, sink: &Sink) -> Vec<String> {
    let value = |value: f64| summary.value_text(metric.contains, value);
    match sink {
        Sink::Counter(sum) => vec![
            value(*sum),
            format!("{}/s", value(per_second(*sum, summary.run_time))),
        ],
        Sink::Gauge(gauge) => vec![
            value(gauge.value),
            format!("min={}", value(gauge.min)),
            format!("max={}", value(gauge.max)),
        ],
        Sink::Rate { passes, total } => {
            vec![percent(*passes, *total), format!("{passes} out of {total}")]
        }
        Sink::Trend(_) => {
            let statistics = summary.trend_statistics.iter();
            statistics
                .map(|&statistic| {
                    let found = sink.statistic(statistic, summary.run_time).unwrap_or(0.0);
                    let is_count = statistic == crate::sink::Statistic::Count;
                    let contains = if is_count {
                        Contains::Default
                    } else {
                        metric.contains
                    };
                    format!("{statistic}={}", summary.value_text(contains, found))
                })
                .collect()
        }
    }
}

fn percent(part: u64, whole: u64) -> String {
    share_text(share(part, whole))
}

fn mark(holds: bool) -> char {
    if holds { '✓' } else { '✗' }
}

/// The sections and what belongs to them; what is in none is the script's own.
const SECTIONS: &[(&str, &[&str])] = &[
    ("CUSTOM", &[]),
    (
        "HTTP",
        &[
            "http_req_corrected_duration",
            "http_req_duration",
            "http_req_failed",
            "http_reqs",
        ],
    ),
    (
        "EXCHANGES",
        &[
            "exchange_connecting",
            "exchange_corrected_duration",
            "exchange_duration",
            "exchange_failed",
            "exchanges",
        ],
    ),
    (
        "EXECUTION",
        &[
            "dropped_iterations",
            "iteration_duration",
            "iteration_lateness",
            "iterations",
            "schedule_lateness",
            "thrown_iterations",
            "vus",
            "vus_max",
        ],
    ),
    ("NETWORK", &["data_received", "data_sent"]),
    (
        "GRPC",
        &[
            "grpc_req_duration",
            "grpc_streams",
            "grpc_streams_msgs_received",
            "grpc_streams_msgs_sent",
        ],
    ),
    (
        "WEBSOCKET",
        &[
            "ws_connecting",
            "ws_msgs_received",
            "ws_msgs_sent",
            "ws_ping",
            "ws_session_duration",
            "ws_sessions",
        ],
    ),
];

/// Shown when everything is.
const DETAILS: &[&str] = &[
    "http_req_blocked",
    "http_req_connecting",
    "http_req_receiving",
    "http_req_sending",
    "http_req_tls_handshaking",
    "http_req_waiting",
];

/// Shown elsewhere, or nowhere.
const HIDDEN: &[&str] = &["checks", "group_duration"];

#[cfg(test)]
mod tests;
