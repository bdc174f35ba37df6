//! What a run amounts to: the figures of its metrics, checks and thresholds.
//!
//! [`Summary`] gathers, [`text`] prints it in the shape that k6's users know, [`export`] writes it as
//! JSON with the keys of k6's `--summary-export`.

pub mod export;
mod groups;
pub(crate) mod md5;
pub mod text;

use std::time::Duration;

use crate::board::{Board, Tally};
use crate::metric::{Contains, Metric, Registry, SinkId, builtin};
use crate::sink::{Kind, Sink, Statistic};
use crate::threshold::{Guarded, Threshold, Verdict};
use crate::time_text::{TimeUnit, humanized};

/// A run that is over.
#[derive(Debug)]
pub struct Summary<'a> {
    /// Its metrics.
    pub registry: &'a Registry,
    /// Its samples.
    pub board: &'a Board,
    /// How long it took.
    pub run_time: Duration,
    /// What had to hold.
    pub thresholds: &'a [Guarded],
    /// The columns of trends.
    pub trend_statistics: &'a [Statistic],
    /// Whether all metrics are shown, or those that matter most.
    pub is_full: bool,
    /// The unit of times; the one that fits each, if there is none.
    pub time_unit: Option<TimeUnit>,
}

/// A threshold and what became of it.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'a> {
    /// The threshold.
    pub threshold: &'a Threshold,
    /// What became of it.
    pub verdict: Verdict,
}

impl Summary<'_> {
    /// The verdicts of one group of thresholds.
    pub fn judge<'a>(&self, guarded: &'a Guarded) -> impl Iterator<Item = Judged<'a>> {
        let sink = self.board.sink(guarded.sink);
        let run_time = self.run_time;
        guarded.thresholds.iter().map(move |threshold| Judged {
            threshold,
            verdict: threshold.evaluate_at_end(sink, run_time),
        })
    }

    /// The metrics whose thresholds do not hold, as they were written.
    #[must_use]
    pub fn crossed(&self) -> Vec<&str> {
        let is_crossed =
            |guarded: &&Guarded| self.judge(guarded).any(|judged| !judged.verdict.holds);
        let crossed = self.thresholds.iter().filter(is_crossed);
        crossed.map(|guarded| guarded.selector.as_str()).collect()
    }

    /// Checks that held, and all checks.
    #[must_use]
    pub fn checks(&self) -> (u64, u64) {
        match self.board.metric(self.registry, builtin::CHECKS) {
            Sink::Rate { passes, total } => (*passes, *total),
            _ => (0, 0),
        }
    }

    /// Each check with the path of its group, in the order of the script.
    #[must_use]
    pub fn checks_in_order(&self) -> Vec<(&str, &str, &Tally)> {
        let checks = self.board.checks.iter();
        let mut checks: Vec<_> = checks
            .map(|((group, name), tally)| (group.as_str(), name.as_str(), tally))
            .collect();
        checks.sort_by_key(|(.., tally)| tally.order);
        checks
    }

    /// A statistic as people read it: times with units, shares in percent.
    pub(crate) fn statistic_text(
        &self,
        metric: &Metric,
        statistic: Statistic,
        value: f64,
    ) -> String {
        match (metric.kind, statistic) {
            (Kind::Rate, _) => share_text(value),
            (Kind::Counter, Statistic::Rate) => {
                format!("{}/s", self.value_text(metric.contains, value))
            }
            _ => self.value_text(metric.contains, value),
        }
    }

    /// A value as people read it, times in the unit that was asked for.
    fn value_text(&self, contains: Contains, value: f64) -> String {
        match (contains, self.time_unit) {
            (Contains::Time, Some(unit)) => unit.print(value),
            _ => value_text(contains, value),
        }
    }

    /// The metric that a sink belongs to.
    pub(crate) fn metric_of(&self, sink: SinkId) -> &Metric {
        let has = |metric: &&Metric| {
            metric.sink == sink || metric.parts.iter().any(|part| part.sink == sink)
        };
        let found = self.registry.metrics().iter().find(has);
        found.unwrap_or_else(|| self.registry.metric(builtin::HTTP_REQS))
    }
}

/// Whether a metric is told of though it has no samples.
fn is_always_told(name: &str) -> bool {
    matches!(name, "data_received" | "data_sent")
}

/// A value as people read it.
#[must_use]
pub fn value_text(contains: Contains, value: f64) -> String {
    match contains {
        Contains::Time => humanized(value),
        Contains::Data => data_text(value),
        Contains::Default => number_text(value),
    }
}

/// Six decimals at most, and no zeros at the end.
#[must_use]
pub fn number_text(value: f64) -> String {
    let text = format!("{value:.6}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" {
        "0".to_owned()
    } else {
        text.to_owned()
    }
}

/// Bytes in decimal units, one decimal above a thousand.
fn data_text(bytes: f64) -> String {
    if bytes < 1000.0 {
        return format!("{bytes:.0} B");
    }
    let mut value = bytes;
    let mut unit = "";
    for next in ["kB", "MB", "GB", "TB", "PB"] {
        if value < 999.95 {
            break;
        }
        value /= 1000.0;
        unit = next;
    }
    if value < 9.95 {
        return format!("{value:.1} {unit}");
    }
    format!("{value:.0} {unit}")
}

/// A share, 0 to 1, in percent. It is cut to two places and not rounded, as in k6: of a million requests of which
/// one failed 100 % did not succeed.
pub(crate) fn share_text(share: f64) -> String {
    // A product such as 0.57 × 10,000 may lie a hair below the whole number that it is.
    format!("{:.2}%", (share * 10_000.0 + 1e-6).floor() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_bytes_read_as_k6_prints_them() {
        assert_eq!(number_text(19.848_480), "19.84848");
        assert_eq!(number_text(11.412_875_778), "11.412876");
        assert_eq!(number_text(3.0), "3");
        assert_eq!(number_text(-0.0), "0");
        assert_eq!(data_text(809.32), "809 B");
        assert_eq!(data_text(5589.0), "5.6 kB");
        assert_eq!(data_text(2773.3), "2.8 kB");
        assert_eq!(data_text(12_345_678.0), "12 MB");
    }

    #[test]
    fn shares_are_cut_to_two_places() {
        for (share, text) in [
            (1.0, "100.00%"),
            (0.999_999, "99.99%"),
            (0.57, "57.00%"),
            (0.0, "0.00%"),
        ] {
            assert_eq!(share_text(share), text);
        }
    }
}
