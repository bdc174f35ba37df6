//! The writer of a page in Prometheus' text format 0.0.4, or as OpenMetrics 1.0.
//!
//! Layout of one metric, all of whose samples must stand together:
//! ```text
//! # HELP catamaran_server_up 1 while checks pass and connections are accepted.
//! # TYPE catamaran_server_up gauge
//! catamaran_server_up{backend="api",server="a"} 1
//! ```
//! OpenMetrics names a counter without its `_total` in these lines, tells units and ends with `# EOF`.
//! Sources add samples in whatever order suits them; the page sorts them by metric.
//! Sources: <https://prometheus.io/docs/instrumenting/exposition_formats/>,
//! <https://github.com/prometheus/OpenMetrics/blob/v1.0.0/specification/OpenMetrics.md>.

use super::{Base, Kind, Metric};
use catamaran_core::model::Name;
use std::fmt::Write as _;
use std::sync::Arc;

/// A page being written.
#[derive(Debug)]
pub struct Exposition {
    /// The sample lines of each metric, indexed by its place in [`Metric::ALL`].
    samples: Vec<String>,
    /// What was counted before this process, and is added.
    base: Option<Arc<Base>>,
}

/// How a page is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format 0.0.4.
    #[default]
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

/// The value of a label: from the configuration or from our own code, never from a client, so that
/// no client can make the number of series grow.
#[derive(Clone, Copy, Debug)]
pub enum LabelValue<'a> {
    /// A configured name.
    Name(&'a Name),
    /// A word of our own.
    Word(&'static str),
    /// A place in a list.
    Number(usize),
}

/// A label: its name and value.
pub type Label<'a> = (&'static str, LabelValue<'a>);

/// One histogram, as it is read out.
#[derive(Clone, Copy, Debug)]
pub struct Histogram<'a> {
    /// Upper bound of each bucket, ascending, with the count of observations in this bucket alone.
    pub buckets: &'a [(f64, u64)],
    /// Observations above the last bound.
    pub above: u64,
    /// Sum of all observations, in the metric's unit.
    pub sum: f64,
}

impl Exposition {
    /// An empty page.
    #[must_use]
    pub fn new() -> Self {
        Self {
            samples: vec![String::new(); Metric::ALL.len()],
            base: None,
        }
    }

    /// Adds what was counted before this process to the counters of the page.
    pub(crate) fn add_base(&mut self, base: Arc<Base>) {
        self.base = Some(base);
    }

    /// Adds a sample of a counter.
    pub fn counter(&mut self, metric: Metric, labels: &[Label<'_>], value: u64) {
        debug_assert_eq!(metric.kind(), Kind::Counter, "{}", metric.name());
        self.line(metric, "", labels, None, format_args!("{value}"));
    }

    /// Adds a sample of a counter of seconds.
    pub fn float_counter(&mut self, metric: Metric, labels: &[Label<'_>], value: f64) {
        debug_assert_eq!(metric.kind(), Kind::Counter, "{}", metric.name());
        self.line(metric, "", labels, None, format_args!("{}", Number(value)));
    }

    /// Adds a sample of a gauge.
    pub fn gauge(&mut self, metric: Metric, labels: &[Label<'_>], value: f64) {
        debug_assert_eq!(metric.kind(), Kind::Gauge, "{}", metric.name());
        self.line(metric, "", labels, None, format_args!("{}", Number(value)));
    }

    /// Adds a histogram: cumulative buckets, sum and count.
    pub fn histogram(&mut self, metric: Metric, labels: &[Label<'_>], histogram: Histogram<'_>) {
        debug_assert_eq!(metric.kind(), Kind::Histogram, "{}", metric.name());
        let mut count: u64 = 0;
        for &(bound, observations) in histogram.buckets {
            count = count.saturating_add(observations);
            let value = format_args!("{count}");
            self.line(metric, "_bucket", labels, Some(bound), value);
        }
        count = count.saturating_add(histogram.above);
        let value = format_args!("{count}");
        self.line(metric, "_bucket", labels, Some(f64::INFINITY), value);
        let sum = format_args!("{}", Number(histogram.sum));
        self.line(metric, "_sum", labels, None, sum);
        self.line(metric, "_count", labels, None, value);
    }

    /// The page; metrics without samples are left out.
    #[must_use]
    pub fn finish(&self, format: Format) -> String {
        let mut page = String::with_capacity(self.samples.iter().map(|s| s.len() + 128).sum());
        for (metric, samples) in Metric::ALL.iter().zip(&self.samples) {
            if samples.is_empty() {
                continue;
            }
            let (name, quotes) = match format {
                Format::Prometheus => (metric.name(), Quotes::Plain),
                Format::OpenMetrics => (metric.family(), Quotes::Escaped),
            };
            let kind = metric.kind().as_str();
            write!(page, "# HELP {name} ").expect(TAKES_ALL);
            push_escaped(&mut page, metric.help(), quotes);
            write!(page, "\n# TYPE {name} {kind}\n").expect(TAKES_ALL);
            if let (Format::OpenMetrics, Some(unit)) = (format, metric.unit()) {
                writeln!(page, "# UNIT {name} {unit}").expect(TAKES_ALL);
            }
            match &self.base {
                Some(base) if metric.kind() != Kind::Gauge => base.add_to(samples, &mut page),
                _ => page.push_str(samples),
            }
        }
        if format == Format::OpenMetrics {
            page.push_str("# EOF\n");
        }
        page
    }

    fn line(
        &mut self,
        metric: Metric,
        suffix: &str,
        labels: &[Label<'_>],
        bound: Option<f64>,
        value: std::fmt::Arguments<'_>,
    ) {
        let line = &mut self.samples[metric as usize];
        line.push_str(metric.name());
        line.push_str(suffix);
        let mut separator = '{';
        for (name, text) in labels {
            line.push(separator);
            line.push_str(name);
            line.push_str("=\"");
            match text {
                LabelValue::Name(name) => push_escaped(line, name.as_str(), Quotes::Escaped),
                LabelValue::Word(word) => push_escaped(line, word, Quotes::Escaped),
                LabelValue::Number(number) => {
                    write!(line, "{number}").expect(TAKES_ALL);
                }
            }
            line.push('"');
            separator = ',';
        }
        if let Some(bound) = bound {
            // With a point, as both formats have it, so that a series stays the same in either.
            if bound.is_finite() {
                write!(line, "{separator}le=\"{bound:?}\"").expect(TAKES_ALL);
            } else {
                write!(line, "{separator}le=\"{}\"", Number(bound)).expect(TAKES_ALL);
            }
            separator = ',';
        }
        if separator == ',' {
            line.push('}');
        }
        writeln!(line, " {value}").expect(TAKES_ALL);
    }
}

impl Default for Exposition {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> From<&'a Name> for LabelValue<'a> {
    fn from(name: &'a Name) -> Self {
        Self::Name(name)
    }
}

impl From<&'static str> for LabelValue<'_> {
    fn from(word: &'static str) -> Self {
        Self::Word(word)
    }
}

/// A number as the format writes it: Rust's own form but for the infinities.
struct Number(f64);

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0 == f64::INFINITY {
            f.write_str("+Inf")
        } else if self.0 == f64::NEG_INFINITY {
            f.write_str("-Inf")
        } else {
            write!(f, "{}", self.0)
        }
    }
}

const TAKES_ALL: &str = "a String takes every write";

/// Whether a double quote is special where the text stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quotes {
    Plain,
    Escaped,
}

fn push_escaped(line: &mut String, text: &str, quotes: Quotes) {
    for c in text.chars() {
        match c {
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            '"' if quotes == Quotes::Escaped => line.push_str("\\\""),
            other => line.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_a_metric_stand_together_under_one_head() {
        let (a, b) = (Name::new("a"), Name::new("b"));
        let mut page = Exposition::new();
        for name in [&a, &b] {
            page.counter(Metric::ServerRequestsTotal, &[("server", name.into())], 7);
            page.gauge(Metric::ServerUp, &[("server", name.into())], 1.0);
        }
        assert_eq!(
            page.finish(Format::Prometheus),
            "# HELP catamaran_server_up 1 while checks pass and connections are accepted.\n\
             # TYPE catamaran_server_up gauge\n\
             catamaran_server_up{server=\"a\"} 1\n\
             catamaran_server_up{server=\"b\"} 1\n\
             # HELP catamaran_server_requests_total Exchanges and relays given to the \
             server.\n\
             # TYPE catamaran_server_requests_total counter\n\
             catamaran_server_requests_total{server=\"a\"} 7\n\
             catamaran_server_requests_total{server=\"b\"} 7\n"
        );
    }

    #[test]
    fn a_name_cannot_break_out_of_its_quotes() {
        let name = Name::new("a\"} 1\nfake 2 \\");
        let mut page = Exposition::new();
        page.gauge(Metric::ServerUp, &[("server", (&name).into())], 0.5);
        let last = page
            .finish(Format::Prometheus)
            .lines()
            .last()
            .unwrap()
            .to_owned();
        assert_eq!(
            last,
            r#"catamaran_server_up{server="a\"} 1\nfake 2 \\"} 0.5"#
        );
    }

    #[test]
    fn buckets_are_cumulative_and_end_at_infinity() {
        let mut page = Exposition::new();
        page.histogram(
            Metric::FrontendDurationSeconds,
            &[("frontend", "x".into())],
            Histogram {
                buckets: &[(0.005, 2), (0.1, 3)],
                above: 1,
                sum: 0.75,
            },
        );
        let page = page.finish(Format::Prometheus);
        let lines: Vec<_> = page.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                r#"catamaran_frontend_duration_seconds_bucket{frontend="x",le="0.005"} 2"#,
                r#"catamaran_frontend_duration_seconds_bucket{frontend="x",le="0.1"} 5"#,
                r#"catamaran_frontend_duration_seconds_bucket{frontend="x",le="+Inf"} 6"#,
                r#"catamaran_frontend_duration_seconds_sum{frontend="x"} 0.75"#,
                r#"catamaran_frontend_duration_seconds_count{frontend="x"} 6"#,
            ]
        );
    }

    #[test]
    fn a_sample_without_labels_has_no_braces() {
        let mut page = Exposition::new();
        page.counter(Metric::PanicsTotal, &[], 0);
        assert!(
            page.finish(Format::Prometheus)
                .ends_with("\ncatamaran_panics_total 0\n")
        );
        assert_eq!(Exposition::new().finish(Format::Prometheus), "");
    }
}
