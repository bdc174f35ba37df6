//! Charts as SVG.

use std::fmt::Write as _;
use std::time::Duration;

use crate::metric::Contains;
use crate::record::document::Bin;
use crate::sink::as_f64;
use crate::summary::{number_text, value_text};
use crate::time_text::{exact, humanized};

/// A line over the seconds of the run.
pub(super) struct Line {
    /// As in the legend.
    pub(super) name: &'static str,
    /// Its colour, a class of the style sheet.
    pub(super) class: &'static str,
    /// The key of its values in the document.
    pub(super) key: &'static str,
    pub(super) values: Vec<f64>,
}

/// What the values are.
#[derive(Clone, Copy)]
pub(super) enum Unit {
    Count,
    Time,
    Bytes,
}

impl Unit {
    const fn name(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Time => "time",
            Self::Bytes => "bytes",
        }
    }

    fn text(self, value: f64) -> String {
        match self {
            Self::Count => number_text(value),
            Self::Time => humanized(value),
            Self::Bytes => format!("{}/s", value_text(Contains::Data, value)),
        }
    }
}

/// Draws lines whose points are `width` seconds apart.
pub(super) fn lines(out: &mut String, title: &str, unit: Unit, width: u64, lines: &[Line]) {
    let points = lines
        .iter()
        .map(|line| line.values.len())
        .max()
        .unwrap_or(0);
    let values = lines.iter().flat_map(|line| &line.values);
    let greatest = values.fold(0.0_f64, |top, &value| top.max(value));
    let step = nice_step(greatest / 4.0);
    let top = (greatest / step).ceil().max(1.0) * step;
    let join = |of: fn(&Line) -> &str| lines.iter().map(of).collect::<Vec<_>>().join(",");
    let _ = writeln!(out, "<section><h2>{title}</h2>\n<p class=\"legend\">");
    for line in lines {
        let _ = writeln!(
            out,
            "<span><i class=\"{}\"></i>{}</span>",
            line.class, line.name
        );
    }
    let _ = writeln!(
        out,
        "</p>\n<div class=\"chart\" data-keys=\"{}\" data-names=\"{}\" data-unit=\"{}\" \
        data-points=\"{points}\" data-left=\"{LEFT}\">\n\
        <svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">",
        join(|line| line.key),
        join(|line| line.name),
        unit.name(),
    );
    let mut level = 0.0;
    while level <= top * 1.001 {
        let y = y_of(level / top);
        let _ = writeln!(
            out,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
            <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            y + 4.0,
            unit.text(level)
        );
        level += step;
    }
    time_axis(out, points, width);
    for (index, line) in lines.iter().enumerate() {
        polyline(out, line, top, index == 0);
    }
    let _ = writeln!(
        out,
        "<line class=\"cursor\" style=\"visibility:hidden\" y1=\"{}\" y2=\"{BOTTOM}\"/></svg></div></section>",
        BOTTOM - PLOT
    );
}

fn polyline(out: &mut String, line: &Line, top: f64, is_filled: bool) {
    let mut path = String::new();
    let points = line.values.len();
    for (index, value) in line.values.iter().enumerate() {
        let _ = write!(path, "{:.1},{:.1} ", x_of(index, points), y_of(value / top));
    }
    // One second alone is a point, which a line does not show.
    if let [value] = line.values[..] {
        let _ = write!(path, "{WIDTH},{:.1} ", y_of(value / top));
    }
    let class = line.class;
    if is_filled && points > 0 {
        let _ = writeln!(
            out,
            "<polygon class=\"area {class}\" points=\"{LEFT},{BOTTOM} {path}{WIDTH},{BOTTOM}\"/>"
        );
    }
    let _ = writeln!(out, "<polyline class=\"{class}\" points=\"{path}\"/>");
}

/// Writes times below a chart.
fn time_axis(out: &mut String, points: usize, width: u64) {
    let last = (points.saturating_sub(1) as u64) * width;
    let step = TIME_STEPS.iter().copied().find(|step| last / step <= 9);
    let step = step.unwrap_or_else(|| (last / 8).max(1));
    for second in (0..=last).step_by(usize::try_from(step).unwrap_or(1)) {
        let share = as_f64(second) / as_f64(last.max(1));
        // The last one ends with the chart.
        let anchor = if share > 0.98 { "end" } else { "middle" };
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"{anchor}\">{}</text>",
            LEFT + share * (WIDTH - LEFT),
            HEIGHT - 6.0,
            exact(Duration::from_secs(second))
        );
    }
}

/// Draws how values are spread, with marks at some of them.
pub(super) fn spread(out: &mut String, bins: &[Bin], marks: &[(String, f64)]) {
    let most = bins.iter().map(|bin| bin.count).max().unwrap_or(0).max(1);
    let (Some(first), Some(last)) = (bins.first(), bins.last()) else {
        return;
    };
    let range = (last.to / first.from).ln();
    let x_of = |value: f64| {
        let share = (value.max(first.from) / first.from).ln() / range;
        LEFT + share.clamp(0.0, 1.0) * (WIDTH - LEFT)
    };
    let _ = writeln!(
        out,
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"how durations are spread\">"
    );
    for bin in bins {
        let height = as_f64(bin.count) / as_f64(most) * SPREAD;
        // What is there must be seen.
        let height = if bin.count > 0 { height.max(1.5) } else { 0.0 };
        let (x, end) = (x_of(bin.from), x_of(bin.to));
        let _ = writeln!(
            out,
            "<rect class=\"bin\" x=\"{x:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{height:.1}\" rx=\"1\">\
            <title>{} to {}: {}</title></rect>",
            BOTTOM - height,
            (end - x - 1.5).max(0.5),
            humanized(bin.from),
            humanized(bin.to),
            bin.count
        );
    }
    let _ = writeln!(
        out,
        "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{WIDTH}\" y1=\"{BOTTOM}\" y2=\"{BOTTOM}\"/>"
    );
    for bin in bins.iter().step_by(7).take(7) {
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{}\">{}</text>",
            x_of(bin.from),
            HEIGHT - 6.0,
            humanized(bin.from)
        );
    }
    for (row, (name, value)) in (0_u8..).zip(marks) {
        let x = x_of(*value);
        let y = 12.0 + f64::from(row) * 15.0;
        // Names stand where there is room.
        let (anchor, beside) = if x > WIDTH * 0.7 {
            ("end", -5.0)
        } else {
            ("start", 5.0)
        };
        let _ = writeln!(
            out,
            "<g class=\"mark\"><line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{BOTTOM}\"/>\
            <text x=\"{:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{name} {}</text></g>",
            y - 9.0,
            x + beside,
            humanized(*value)
        );
    }
    out.push_str("</svg>\n");
}

/// The least of 1, 2, 2.5 and 5 times a power of ten that is not below `least`.
fn nice_step(least: f64) -> f64 {
    let least = least.max(1e-6);
    let power = 10_f64.powf(least.log10().floor());
    let factor = [1.0, 2.0, 2.5, 5.0]
        .into_iter()
        .find(|factor| factor * power >= least * 0.999);
    factor.unwrap_or(10.0) * power
}

fn x_of(index: usize, points: usize) -> f64 {
    let last = points.saturating_sub(1).max(1) as u64;
    LEFT + as_f64(index as u64) / as_f64(last) * (WIDTH - LEFT)
}

fn y_of(share: f64) -> f64 {
    BOTTOM - share.clamp(0.0, 1.0) * PLOT
}

const WIDTH: f64 = 1080.0;
const HEIGHT: f64 = 230.0;
/// Where a plot begins, right of its labels.
const LEFT: f64 = 84.0;
const BOTTOM: f64 = 204.0;
const PLOT: f64 = 192.0;
/// Bars leave room for the names of marks.
const SPREAD: f64 = 140.0;
/// Seconds between two labels.
const TIME_STEPS: &[u64] = &[
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400, 43_200, 86_400,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_round_numbers() {
        for (least, step) in [
            (1.0, 1.0),
            (1.2, 2.0),
            (230.0, 250.0),
            (0.03, 0.05),
            (6.0, 10.0),
        ] {
            assert!((nice_step(least) / step - 1.0).abs() < 1e-9, "{least}");
        }
        assert!(nice_step(0.0) > 0.0);
    }
}
