//! A page that shows a run: one file that needs nothing else, to be kept and sent around.

use std::fmt::Write as _;

use super::series::Point;
use super::target::Target;
use crate::summary::{Summary, text};
use crate::time_text::{exact, humanized};

/// Writes the page.
pub(super) fn page(
    targets: &[Target],
    summary: &Summary<'_>,
    points: &[Point],
    warnings: &[String],
) -> String {
    let names: Vec<_> = targets.iter().map(|target| target.name.as_str()).collect();
    let title = escaped(&names.join(", "));
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
        <meta name=\"viewport\" content=\"width=device-width\">\n\
        <title>Load on {title}</title>\n<style>{STYLE}</style></head><body>\n\
        <h1>Load on {title}</h1>\n<p>{} in all.</p>\n",
        exact(std::time::Duration::from_secs(summary.run_time.as_secs()))
    );
    for warning in warnings {
        let _ = writeln!(out, "<p class=\"warning\">{}</p>", escaped(warning));
    }
    let requests = |points: &[Point], field: fn(&Point) -> f64| points.iter().map(field).collect();
    // The last second is cut short by the end, so that its rate says nothing.
    let whole = &points[..points.len().saturating_sub(1).max(points.len().min(1))];
    chart(
        &mut out,
        "Requests a second",
        &[
            Line {
                name: "ended",
                class: "a",
                values: requests(whole, |point| point.requests),
            },
            Line {
                name: "failed",
                class: "c",
                values: requests(whole, |point| point.failed),
            },
        ],
        |value| format!("{value:.0}"),
    );
    chart(
        &mut out,
        "Latency of each second",
        &[
            Line {
                name: "median",
                class: "a",
                values: requests(points, |point| point.median),
            },
            Line {
                name: "p(99)",
                class: "b",
                values: requests(points, |point| point.p99),
            },
            Line {
                name: "p(99) corrected",
                class: "c",
                values: requests(points, |point| point.corrected_p99),
            },
        ],
        humanized,
    );
    chart(
        &mut out,
        "Requests under way",
        &[Line {
            name: "under way",
            class: "a",
            values: requests(points, |point| point.active),
        }],
        |value| format!("{value:.0}"),
    );
    let _ = write!(
        out,
        "<h2>Summary</h2>\n<pre>{}</pre>\n</body></html>\n",
        escaped(text::render(summary).trim_end())
    );
    out
}

/// A line of a chart.
struct Line {
    name: &'static str,
    class: &'static str,
    values: Vec<f64>,
}

/// Draws lines over the seconds of the run.
fn chart(out: &mut String, title: &str, lines: &[Line], label: impl Fn(f64) -> String) {
    let values = lines.iter().flat_map(|line| &line.values);
    let top = values.fold(0.0_f64, |top, &value| top.max(value)).max(1e-9);
    let seconds = lines
        .iter()
        .map(|line| line.values.len())
        .max()
        .unwrap_or(0);
    let _ = writeln!(out, "<h2>{title}</h2>\n<p class=\"legend\">");
    for line in lines {
        let _ = writeln!(out, "<span class=\"{}\">{}</span>", line.class, line.name);
    }
    let _ = writeln!(
        out,
        "</p>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">"
    );
    for quarter in 0..=4_u8 {
        let share = f64::from(quarter) / 4.0;
        let y = PLOT_BOTTOM - share * PLOT_HEIGHT;
        let _ = writeln!(
            out,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
            <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            y + 4.0,
            label(share * top)
        );
    }
    let step = (WIDTH - LEFT) / count(seconds.saturating_sub(1).max(1));
    for line in lines {
        let mut path = String::new();
        for (index, value) in line.values.iter().enumerate() {
            let x = LEFT + count(index) * step;
            let y = PLOT_BOTTOM - value / top * PLOT_HEIGHT;
            let _ = write!(path, "{x:.1},{y:.1} ");
        }
        // One second alone is a point, which a line does not show.
        if let [value] = line.values[..] {
            let y = PLOT_BOTTOM - value / top * PLOT_HEIGHT;
            let _ = write!(path, "{WIDTH},{y:.1}");
        }
        let _ = writeln!(
            out,
            "<polyline class=\"{}\" points=\"{path}\"/>",
            line.class
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{LEFT}\" y=\"{}\">0s</text><text x=\"{WIDTH}\" y=\"{}\" text-anchor=\"end\">{seconds}s</text></svg>",
        HEIGHT - 4.0,
        HEIGHT - 4.0
    );
}

fn count(number: usize) -> f64 {
    crate::sink::as_f64(number as u64)
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            _ => escaped.push(c),
        }
    }
    escaped
}

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 240.0;
/// Where the plot begins, right of its labels.
const LEFT: f64 = 80.0;
const PLOT_BOTTOM: f64 = 210.0;
const PLOT_HEIGHT: f64 = 195.0;

const STYLE: &str = ":root{color-scheme:light dark;--a:#2266cc;--b:#cc7700;--c:#cc2244}\
    @media(prefers-color-scheme:dark){:root{--a:#77aaff;--b:#ffbb55;--c:#ff6688}}\
    body{font:15px/1.5 system-ui,sans-serif;max-width:980px;margin:2em auto;padding:0 1em}\
    h1{font-size:1.4em;overflow-wrap:anywhere}h2{font-size:1.1em;margin:1.6em 0 .2em}\
    svg{width:100%;height:auto}svg text{font-size:12px;fill:currentColor}\
    polyline{fill:none;stroke-width:2}polyline.a{stroke:var(--a)}polyline.b{stroke:var(--b)}\
    polyline.c{stroke:var(--c)}.grid{stroke:currentColor;opacity:.15}\
    .legend{margin:0}.legend span{margin-right:1.2em}.legend span::before{content:'\\25AC ';}\
    .legend .a::before{color:var(--a)}.legend .b::before{color:var(--b)}.legend .c::before{color:var(--c)}\
    .warning{border-left:4px solid var(--b);padding-left:.8em}pre{overflow-x:auto;line-height:1.35}";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::Board;
    use crate::metric::Registry;

    #[test]
    fn a_page_shows_every_second_and_escapes_what_it_is_given() {
        let registry = Registry::new();
        let board = Board::new(&registry);
        let summary = Summary {
            registry: &registry,
            board: &board,
            run_time: std::time::Duration::from_millis(3005),
            thresholds: &[],
            trend_statistics: &[],
            is_full: false,
        };
        let points: Vec<_> = (0..4)
            .map(|second| Point {
                second,
                requests: 100.0,
                ..Point::default()
            })
            .collect();
        let page = page(&[], &summary, &points, &["<b> & \"c\"".to_owned()]);
        assert!(page.contains("&lt;b&gt; &amp; &quot;c&quot;"));
        assert!(page.contains("3s in all"));
        assert_eq!(page.matches("<polyline").count(), 6);
        assert!(!page.contains("NaN") && !page.contains("http://") && !page.contains("src="));
        for count in [0, 1] {
            let page = super::page(&[], &summary, &points[..count], &[]);
            assert!(!page.contains("NaN"), "{count}");
        }
    }
}
