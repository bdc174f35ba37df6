//! What the page shows in tables.

use std::fmt::Write as _;

use serde_json::Value;

use crate::record::compare::{self, Verdict};
use crate::record::document;
use crate::record::{Earlier, Escaped, Record};
use crate::sink::share;
use crate::summary::text;

/// What had to hold.
pub(super) fn thresholds(out: &mut String, record: &Record<'_>) {
    let summary = record.summary;
    if summary.thresholds.is_empty() {
        return;
    }
    out.push_str(
        "<section><h2>Thresholds</h2>\n<table><tr><th></th><th>metric</th><th>must hold</th><th class=\"n\">is</th></tr>\n",
    );
    for guarded in summary.thresholds {
        let metric = summary.metric_of(guarded.sink);
        for judged in summary.judge(guarded) {
            let statistic = judged.threshold.statistic;
            let (class, sign) = mark(judged.verdict.holds);
            let _ = writeln!(
                out,
                "<tr><td class=\"{class}\">{sign}</td><td class=\"name\">{}</td><td>{}</td><td class=\"n\">{}</td></tr>",
                Escaped(&guarded.selector),
                Escaped(&judged.threshold.source),
                summary.statistic_text(metric, statistic, judged.verdict.value)
            );
        }
    }
    out.push_str("</table></section>\n");
}

/// What changed since an earlier run.
pub(super) fn comparison(out: &mut String, earlier: &Earlier, now: &Value) {
    let _ = writeln!(
        out,
        "<section><h2>Compared with {}</h2>\n<p class=\"note\">{}</p>",
        Escaped(&earlier.path.display().to_string()),
        Escaped(&earlier.about())
    );
    for why in earlier.unlike(now) {
        let _ = writeln!(
            out,
            "<p class=\"warning\">Not of the same thing: {}</p>",
            Escaped(&why)
        );
    }
    out.push_str(
        "<table><tr><th>figure</th><th class=\"n\">before</th><th class=\"n\">now</th><th class=\"n\">change</th><th></th></tr>\n",
    );
    for change in earlier.changes(now) {
        let (class, word) = match change.verdict {
            Verdict::Better => ("good", "▲ better"),
            Verdict::Alike => ("", ""),
            Verdict::Worse => ("bad", "▼ worse"),
            Verdict::Few => ("", "too few samples"),
        };
        let _ = writeln!(
            out,
            "<tr><td class=\"name\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n {class}\">{}</td>\
            <td class=\"{class}\">{word}</td></tr>",
            Escaped(&change.name),
            change.before,
            change.now,
            compare::growth_text(change.growth)
        );
    }
    out.push_str("</table></section>\n");
}

/// The checks of a script.
pub(super) fn checks(out: &mut String, record: &Record<'_>) {
    let checks = record.summary.checks_in_order();
    if checks.is_empty() {
        return;
    }
    out.push_str(
        "<section><h2>Checks</h2>\n<table><tr><th></th><th>check</th><th>group</th><th></th><th class=\"n\">passed</th>\
        <th class=\"n\">failed</th></tr>\n",
    );
    for (group, name, tally) in checks {
        let (class, sign) = mark(tally.fails == 0);
        let passed = 100.0 * share(tally.passes, tally.passes + tally.fails);
        let _ = writeln!(
            out,
            "<tr><td class=\"{class}\">{sign}</td><td class=\"name\">{}</td><td class=\"name\">{}</td>\
            <td><span class=\"bar\"><i style=\"width:{passed:.1}%\"></i></span> {passed:.2}%</td>\
            <td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            Escaped(name),
            Escaped(group.trim_start_matches(':')),
            tally.passes,
            tally.fails
        );
    }
    out.push_str("</table></section>\n");
}

/// How requests were answered.
pub(super) fn answers(out: &mut String, record: &Record<'_>) {
    let answers = &record.summary.board.answers;
    if answers.is_empty() {
        return;
    }
    let all: u64 = answers.values().sum();
    out.push_str(
        "<section><h2>Answers</h2>\n<table><tr><th>answer</th><th class=\"n\">times</th><th class=\"n\">share</th></tr>\n",
    );
    for (how, &count) in answers {
        let _ = writeln!(
            out,
            "<tr><td class=\"name\">{}</td><td class=\"n\">{count}</td><td class=\"n\">{:.2}%</td></tr>",
            Escaped(&how.to_string()),
            100.0 * share(count, all)
        );
    }
    out.push_str("</table></section>\n");
}

/// All metrics with all that is known of them.
pub(super) fn metrics(out: &mut String, record: &Record<'_>) {
    let summary = document::kept(record.summary);
    let rows = text::rows_of_all(&summary);
    out.push_str("<section><h2>Metrics</h2>\n<table class=\"metrics\">\n");
    for (name, columns) in rows {
        let class = if name.starts_with(' ') {
            " class=\"part\""
        } else {
            ""
        };
        let _ = write!(
            out,
            "<tr{class}><td class=\"name\">{}</td>",
            Escaped(name.trim())
        );
        let last = columns.len() - 1;
        for (index, column) in columns.iter().enumerate() {
            let span = if index == last { 8 - last.min(7) } else { 1 };
            let _ = write!(out, "<td colspan=\"{span}\">{}</td>", Escaped(column));
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</table></section>\n");
}

fn mark(holds: bool) -> (&'static str, char) {
    if holds {
        ("good", '✓')
    } else {
        ("bad", '✗')
    }
}
