//! What is kept of a metric's samples, and the statistics that it answers.

use std::fmt;
use std::time::Duration;

use crate::distribution::Distribution;

/// What a metric's samples are added up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A sum.
    Counter,
    /// The last value, with the least and the greatest.
    Gauge,
    /// The share of samples that are not zero.
    Rate,
    /// How the values are spread.
    Trend,
}

impl Kind {
    /// The name, as in summaries and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Rate => "rate",
            Self::Trend => "trend",
        }
    }
}

/// The samples of one metric or sub-metric, as far as they are kept.
#[derive(Clone, Debug)]
pub enum Sink {
    /// A sum.
    Counter(f64),
    /// See [`Gauge`].
    Gauge(Gauge),
    /// Samples that were not zero, and all samples.
    Rate {
        /// Samples that were not zero.
        passes: u64,
        /// All samples.
        total: u64,
    },
    /// All values.
    Trend(Distribution),
}

/// A value that comes and goes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Gauge {
    /// The latest value.
    pub value: f64,
    /// The least value.
    pub min: f64,
    /// The greatest value.
    pub max: f64,
    /// When `value` came, in nanoseconds of the run's clock, so that of two workers the later one
    /// is believed. `None` before the first.
    pub at: Option<u64>,
}

impl Sink {
    /// Returns one without samples.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        match kind {
            Kind::Counter => Self::Counter(0.0),
            Kind::Gauge => Self::Gauge(Gauge::default()),
            Kind::Rate => Self::Rate {
                passes: 0,
                total: 0,
            },
            Kind::Trend => Self::Trend(Distribution::new()),
        }
    }

    /// Adds a sample of the time `now_nanos`.
    pub fn record(&mut self, value: f64, now_nanos: u64) {
        self.record_times(value, 1, now_nanos);
    }

    /// Adds `times` equal samples.
    pub fn record_times(&mut self, value: f64, times: u64, now_nanos: u64) {
        match self {
            Self::Counter(sum) => *sum += value * as_f64(times),
            Self::Gauge(gauge) => gauge.merge(&Gauge {
                value,
                min: value,
                max: value,
                at: Some(now_nanos),
            }),
            Self::Rate { passes, total } => {
                *passes += if value == 0.0 { 0 } else { times };
                *total += times;
            }
            Self::Trend(distribution) => distribution.record_times(value, times),
        }
    }

    /// Adds what `other` has, a sink of the same kind.
    pub fn merge(&mut self, other: &Self) {
        match (self, other) {
            (Self::Counter(sum), Self::Counter(other)) => *sum += other,
            (Self::Gauge(gauge), Self::Gauge(other)) => gauge.merge(other),
            (
                Self::Rate { passes, total },
                Self::Rate {
                    passes: other_passes,
                    total: other_total,
                },
            ) => {
                *passes += other_passes;
                *total += other_total;
            }
            (Self::Trend(distribution), Self::Trend(other)) => distribution.merge(other),
            _ => debug_assert!(false, "sinks of two kinds do not merge"),
        }
    }

    /// Whether there was no sample.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match self {
            // A counter to which only zeros were added looks empty; k6 leaves it out as well.
            Self::Counter(sum) => *sum == 0.0,
            Self::Gauge(gauge) => gauge.at.is_none(),
            Self::Rate { total, .. } => *total == 0,
            Self::Trend(distribution) => distribution.count() == 0,
        }
    }

    /// The spread of the values of a trend.
    #[must_use]
    pub fn distribution(&self) -> Option<&Distribution> {
        match self {
            Self::Trend(distribution) => Some(distribution),
            _ => None,
        }
    }

    /// One statistic, or `None` where this kind has no such.
    #[must_use]
    pub fn statistic(&self, statistic: Statistic, run_time: Duration) -> Option<f64> {
        match (self, statistic) {
            (Self::Counter(sum), Statistic::Count) => Some(*sum),
            (Self::Counter(sum), Statistic::Rate) => Some(per_second(*sum, run_time)),
            (Self::Gauge(gauge), Statistic::Value) => Some(gauge.value),
            (Self::Rate { passes, total }, Statistic::Rate) => Some(share(*passes, *total)),
            (Self::Trend(values), Statistic::Average) => Some(values.mean()),
            (Self::Trend(values), Statistic::Min) => Some(values.min()),
            (Self::Trend(values), Statistic::Max) => Some(values.max()),
            (Self::Trend(values), Statistic::Median) => Some(values.quantile(0.5)),
            (Self::Trend(values), Statistic::Percentile(percent)) => {
                Some(values.quantile(percent / 100.0))
            }
            (Self::Trend(values), Statistic::Count) => Some(as_f64(values.count())),
            _ => None,
        }
    }
}

impl Gauge {
    fn merge(&mut self, other: &Self) {
        if other.at.is_none() {
            return;
        }
        if self.at.is_none() {
            *self = *other;
            return;
        }
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        if other.at >= self.at {
            (self.value, self.at) = (other.value, other.at);
        }
    }
}

/// A figure that a sink answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Statistic {
    /// The sum of a counter; the number of values of a trend.
    Count,
    /// A counter's sum per second of the run; a rate's share.
    Rate,
    /// A gauge's latest value.
    Value,
    /// The mean of a trend.
    Average,
    /// The least value of a trend.
    Min,
    /// The greatest value of a trend.
    Max,
    /// The middle value of a trend.
    Median,
    /// A percentile of a trend, 0 to 100.
    Percentile(f64),
}

impl Statistic {
    /// Reads a name as in thresholds: `count`, `rate`, `value`, `avg`, `min`, `max`, `med`, `p(99.9)`.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        Some(match text {
            "count" => Self::Count,
            "rate" => Self::Rate,
            "value" => Self::Value,
            "avg" => Self::Average,
            "min" => Self::Min,
            "max" => Self::Max,
            "med" => Self::Median,
            _ => {
                let percent = text.strip_prefix("p(")?.strip_suffix(')')?;
                let percent: f64 = percent.trim().parse().ok()?;
                (0.0..=100.0).contains(&percent).then_some(())?;
                Self::Percentile(percent)
            }
        })
    }

    /// Whether a metric of this kind answers it in thresholds.
    #[must_use]
    pub const fn fits(self, kind: Kind) -> bool {
        match kind {
            Kind::Counter => matches!(self, Self::Count | Self::Rate),
            Kind::Gauge => matches!(self, Self::Value),
            Kind::Rate => matches!(self, Self::Rate),
            Kind::Trend => !matches!(self, Self::Count | Self::Rate | Self::Value),
        }
    }
}

impl fmt::Display for Statistic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Count => "count",
            Self::Rate => "rate",
            Self::Value => "value",
            Self::Average => "avg",
            Self::Min => "min",
            Self::Max => "max",
            Self::Median => "med",
            Self::Percentile(percent) => return write!(f, "p({percent})"),
        })
    }
}

/// `part / whole`, 0 of nothing.
#[must_use]
pub fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        return 0.0;
    }
    as_f64(part) / as_f64(whole)
}

/// `sum` spread over the run, 0 for one that took no time.
#[must_use]
pub fn per_second(sum: f64, run_time: Duration) -> f64 {
    if run_time.is_zero() {
        return 0.0;
    }
    sum / run_time.as_secs_f64()
}

/// A count as the number that sinks take.
#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
#[must_use]
pub fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_answers_its_statistics() {
        let second = Duration::from_secs(2);
        let mut counter = Sink::new(Kind::Counter);
        counter.record(3.0, 0);
        counter.record(7.0, 0);
        assert_eq!(counter.statistic(Statistic::Count, second), Some(10.0));
        assert_eq!(counter.statistic(Statistic::Rate, second), Some(5.0));
        assert_eq!(counter.statistic(Statistic::Max, second), None);
        let mut rate = Sink::new(Kind::Rate);
        assert!(rate.is_empty());
        rate.record(1.0, 0);
        rate.record(0.0, 0);
        assert_eq!(rate.statistic(Statistic::Rate, second), Some(0.5));
        let mut trend = Sink::new(Kind::Trend);
        (1..=101).for_each(|value| trend.record(f64::from(value), 0));
        assert_eq!(
            trend.statistic(Statistic::Percentile(90.0), second),
            Some(91.0)
        );
        assert_eq!(trend.statistic(Statistic::Median, second), Some(51.0));
        assert_eq!(trend.statistic(Statistic::Average, second), Some(51.0));
    }

    #[test]
    fn of_two_workers_the_later_gauge_is_believed() {
        let mut one = Sink::new(Kind::Gauge);
        let mut other = Sink::new(Kind::Gauge);
        one.record(5.0, 20);
        other.record(9.0, 10);
        one.merge(&other);
        one.merge(&Sink::new(Kind::Gauge));
        let Sink::Gauge(gauge) = one else { panic!() };
        assert_eq!((gauge.value, gauge.min, gauge.max), (5.0, 5.0, 9.0));
    }

    #[test]
    fn statistics_are_read_and_written_alike() {
        for text in [
            "count", "rate", "value", "avg", "min", "max", "med", "p(99.9)", "p(0)",
        ] {
            assert_eq!(Statistic::read(text).unwrap().to_string(), text);
        }
        for text in ["p(101)", "p()", "p99", "mean", "", "p(-1)", "p(NaN)"] {
            assert_eq!(Statistic::read(text), None, "{text}");
        }
    }
}
