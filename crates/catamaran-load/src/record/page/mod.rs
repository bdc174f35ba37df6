//! An HTML page that shows a run: one file that needs nothing else, to be kept and sent around.

mod chart;
mod tables;

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;

use super::{Earlier, Escaped, Point, Record, document};
use crate::metric::builtin;
use crate::sink::{Sink, per_second, share};
use crate::summary::{number_text, text};
use crate::time_text::{exact, humanized, rfc3339};
use chart::{Line, Unit};

/// Writes the page.
pub(super) fn render(record: &Record<'_>, document: &Value, earlier: Option<&Earlier>) -> String {
    let title = Escaped(&record.about.title);
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
        <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
        <title>Load test: {title}</title>\n<style>\n{STYLE}</style></head><body><main>\n"
    );
    head(&mut out, record);
    for warning in record.warnings {
        let _ = writeln!(out, "<p class=\"warning\">{}</p>", Escaped(warning));
    }
    tiles(&mut out, record);
    tables::thresholds(&mut out, record);
    if let Some(earlier) = earlier {
        tables::comparison(&mut out, earlier, document);
    }
    charts(&mut out, record);
    spread(&mut out, record);
    tables::checks(&mut out, record);
    tables::answers(&mut out, record);
    tables::metrics(&mut out, record);
    let _ = write!(
        out,
        "<section><details><summary>Summary as it was printed</summary>\n<pre>{}</pre></details></section>\n\
        </main>\n<script type=\"application/json\" id=\"run\">{}</script>\n<script>\n{SCRIPT}</script></body></html>\n",
        Escaped(text::render(record.summary).trim()),
        // Nothing in it may end the element.
        document.to_string().replace('<', "\\u003c")
    );
    out
}

/// What was run, when, and how it ended.
fn head(out: &mut String, record: &Record<'_>) {
    let about = record.about;
    let (class, verdict) = if record.is_passed() {
        ("good", "✓ passed")
    } else if record.is_incomplete() {
        ("bad", "✗ incomplete")
    } else {
        ("bad", "✗ failed")
    };
    let _ = writeln!(
        out,
        "<header><h1>{}</h1><span class=\"badge {class}\">{verdict}</span></header>\n<dl class=\"facts\">",
        Escaped(&about.title)
    );
    let scenarios: Vec<String> = about
        .scenarios
        .iter()
        .map(crate::scenario::Scenario::describe)
        .collect();
    let began = rfc3339(about.began);
    let took = exact(Duration::from_millis(
        u64::try_from(record.summary.run_time.as_millis()).unwrap_or(0),
    ));
    let workers = match about.agents.len() {
        0 => about.workers.to_string(),
        agents => format!(
            "{} of {agents} agents: {}",
            about.workers,
            about.agents.join(", ")
        ),
    };
    let facts = [
        ("model", about.model()),
        ("scenarios", scenarios.join("\n")),
        ("began", began.replace('T', " ").replace('Z', " UTC")),
        ("took", took),
        ("ended", record.ended().to_owned()),
        ("workers", workers),
        (
            "made by",
            format!("catamaran {}", env!("CARGO_PKG_VERSION")),
        ),
    ];
    for (name, value) in facts {
        let value = Escaped(&value).to_string().replace('\n', "<br>");
        let _ = writeln!(out, "<dt>{name}</dt><dd>{value}</dd>");
    }
    out.push_str("</dl>\n");
}

/// The figures that are asked for first.
fn tiles(out: &mut String, record: &Record<'_>) {
    let summary = record.summary;
    let sink = |id| summary.board.metric(summary.registry, id);
    out.push_str("<div class=\"tiles\">\n");
    let mut tile = |name: &str, value: &str, note: &str, class: &str| {
        let _ = writeln!(
            out,
            "<div class=\"tile\"><span>{name}</span><b class=\"{class}\">{value}</b><small>{note}</small></div>"
        );
    };
    for (name, id) in [
        ("requests", builtin::HTTP_REQS),
        ("exchanges", builtin::EXCHANGES),
        ("iterations", builtin::ITERATIONS),
    ] {
        if let Sink::Counter(sum) = sink(id)
            && *sum > 0.0
        {
            let rate = number_text((per_second(*sum, summary.run_time) * 10.0).round() / 10.0);
            tile(name, &format!("{rate}/s"), &format!("{sum} in all"), "");
        }
    }
    for (name, id) in [
        ("failed", builtin::HTTP_REQ_FAILED),
        ("failed", builtin::EXCHANGE_FAILED),
    ] {
        if let Sink::Rate { passes, total } = sink(id)
            && *total > 0
        {
            let class = if *passes > 0 { "bad" } else { "good" };
            let value = format!("{:.2}%", 100.0 * share(*passes, *total));
            tile(name, &value, &format!("{passes} of {total}"), class);
        }
    }
    if let Some((metric, values)) = document::durations(summary) {
        let shares = [("median", 0.5), ("p(95)", 0.95), ("p(99)", 0.99)];
        let found = values.quantiles(&shares.map(|(_, share)| share));
        let note = if metric.contains("corrected") {
            "corrected"
        } else {
            metric
        };
        for ((name, _), value) in shares.iter().zip(found) {
            tile(name, &humanized(value), note, "");
        }
    }
    let (passes, total) = summary.checks();
    if total > 0 {
        let class = if passes < total { "bad" } else { "good" };
        let value = format!("{:.2}%", 100.0 * share(passes, total));
        tile("checks", &value, &format!("{passes} of {total}"), class);
    }
    out.push_str("</div>\n");
}

/// The course of the run.
fn charts(out: &mut String, record: &Record<'_>) {
    let timeline = record.timeline;
    let points: Vec<Point> = timeline.points().collect();
    // The last second is cut short by the end, so that its figures say little.
    let whole = &points[..points.len().saturating_sub(1).max(points.len().min(1))];
    let line = |name, class, key, field: fn(&Point) -> f64| Line {
        name,
        class,
        key,
        values: whole.iter().map(field).collect(),
    };
    let has = |field: fn(&Point) -> f64| whole.iter().any(|point| field(point) > 0.0);
    let width = timeline.width();
    let mut rates = vec![
        line("requests", "a", "requests", |point| point.requests),
        line("failed", "e", "failed", |point| point.failed),
    ];
    if has(|point| point.iterations) {
        rates.push(line("iterations", "d", "iterations", |point| {
            point.iterations
        }));
    }
    if has(|point| point.dropped) {
        rates.push(line("dropped iterations", "b", "dropped", |point| {
            point.dropped
        }));
    }
    chart::lines(out, "Rate, each second", Unit::Count, width, &rates);
    let mut latencies = vec![
        line("median", "a", "median_ms", |point| point.median),
        line("p(95)", "d", "p95_ms", |point| point.p95),
        line("p(99)", "b", "p99_ms", |point| point.p99),
    ];
    if has(|point| point.corrected_p99) {
        latencies.push(line("p(99) corrected", "e", "corrected_p99_ms", |point| {
            point.corrected_p99
        }));
    }
    chart::lines(out, "Latency, each second", Unit::Time, width, &latencies);
    let (title, name) = if record.about.script.is_some() {
        ("Virtual users", "at an iteration")
    } else {
        ("Requests under way", "under way")
    };
    let active = [line(name, "c", "active", |point| point.active)];
    chart::lines(out, title, Unit::Count, width, &active);
    let bytes = [
        line("received", "a", "received", |point| point.received),
        line("sent", "b", "sent", |point| point.sent),
    ];
    chart::lines(out, "Bytes, each second", Unit::Bytes, width, &bytes);
}

/// How durations are spread.
fn spread(out: &mut String, record: &Record<'_>) {
    let Some((metric, values)) = document::durations(record.summary) else {
        return;
    };
    let shares = [
        ("median", 0.5),
        ("p(90)", 0.9),
        ("p(99)", 0.99),
        ("p(99.9)", 0.999),
    ];
    let found = values.quantiles(&shares.map(|(_, share)| share));
    let marks: Vec<(String, f64)> = shares
        .iter()
        .zip(found)
        .map(|((name, _), value)| ((*name).to_owned(), value))
        .collect();
    let _ = writeln!(
        out,
        "<section><h2>How {metric} is spread</h2>\n<p class=\"note\">{} values; each bar is as many times wider \
        than the one before.</p>",
        values.count()
    );
    chart::spread(out, &document::bins(values), &marks);
    out.push_str("</section>\n");
}

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("cursor.js");
