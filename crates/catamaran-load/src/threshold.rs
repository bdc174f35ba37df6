//! Thresholds: what must hold of a metric for the run to pass.
//!
//! ```text
//! METHOD OP NUMBER      p(95)<500   rate>=0.99   count === 10
//! ```
//! METHOD is `count` or `rate` of a counter, `value` of a gauge, `rate` of a rate, and `avg`, `min`,
//! `max`, `med` or `p(N)` of a trend. Times are in milliseconds; a unit may follow (`p(99)<50ms`).

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::metric::SinkId;
use crate::sink::{Kind, Sink, Statistic};
use crate::time_text;

/// A condition on one statistic.
#[derive(Clone, Debug, PartialEq)]
pub struct Threshold {
    /// The text, as it was written.
    pub source: String,
    /// What is looked at.
    pub statistic: Statistic,
    comparison: Comparison,
    limit: f64,
    /// Whether the run ends as soon as it does not hold.
    pub abort_on_fail: bool,
    /// How long the run goes on before it may end for this.
    pub delay_abort: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Above,
    AtLeast,
    Below,
    AtMost,
    Equal,
    Unequal,
}

/// A text that is no threshold, or one that its metric cannot answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ThresholdError {
    /// The text is not of the form.
    #[error("`{0}` is no threshold; write a method, an operator and a number, such as p(95)<500")]
    Form(String),
    /// The method is none.
    #[error(
        "`{method}` in `{source_text}` is no method; there are count, rate, value, avg, min, max, med and p(N) with N from 0 to 100"
    )]
    Method {
        /// The method.
        method: String,
        /// The whole text.
        source_text: String,
    },
    /// The metric has no such statistic.
    #[error("`{source_text}` does not fit a {kind}, which answers {answers}")]
    Kind {
        /// The whole text.
        source_text: String,
        /// The kind of the metric.
        kind: &'static str,
        /// What such a metric answers.
        answers: &'static str,
    },
}

impl Threshold {
    /// As scripts have it: its text, or an object if it may end the run.
    #[must_use]
    pub fn to_json(&self) -> Value {
        if !self.abort_on_fail {
            return Value::from(self.source.as_str());
        }
        let delay = (!self.delay_abort.is_zero()).then(|| time_text::exact(self.delay_abort));
        json!({"threshold": self.source, "abortOnFail": true, "delayAbortEval": delay})
    }

    /// Reads a threshold.
    pub fn read(text: &str) -> Result<Self, ThresholdError> {
        let form = || ThresholdError::Form(text.to_owned());
        let at = text.find(['<', '>', '=', '!']).ok_or_else(form)?;
        let (method, rest) = text.split_at(at);
        let (comparison, rest) = OPERATORS
            .iter()
            .find_map(|(sign, comparison)| Some((*comparison, rest.strip_prefix(sign)?)))
            .ok_or_else(form)?;
        let method = method.trim();
        let statistic = Statistic::read(method).ok_or_else(|| ThresholdError::Method {
            method: method.to_owned(),
            source_text: text.to_owned(),
        })?;
        Ok(Self {
            source: text.to_owned(),
            statistic,
            comparison,
            limit: read_limit(rest.trim()).ok_or_else(form)?,
            abort_on_fail: false,
            delay_abort: Duration::ZERO,
        })
    }

    /// Whether a metric of this kind can answer it.
    pub fn check_kind(&self, kind: Kind) -> Result<(), ThresholdError> {
        if self.statistic.fits(kind) {
            return Ok(());
        }
        Err(ThresholdError::Kind {
            source_text: self.source.clone(),
            kind: kind.name(),
            answers: match kind {
                Kind::Counter => "count and rate",
                Kind::Gauge => "value",
                Kind::Rate => "rate",
                Kind::Trend => "avg, min, max, med and p(N)",
            },
        })
    }

    /// Whether it holds, with the figure that tells. `None` while there are no samples.
    #[must_use]
    pub fn evaluate(&self, sink: &Sink, run_time: Duration) -> Option<Verdict> {
        if sink.is_empty() {
            return None;
        }
        let value = sink.statistic(self.statistic, run_time)?;
        Some(Verdict {
            value,
            holds: self.comparison.holds(value, self.limit),
        })
    }

    /// The verdict when the run is over. As in k6, what was never met is 0, and a rate of nothing holds.
    #[must_use]
    pub fn evaluate_at_end(&self, sink: &Sink, run_time: Duration) -> Verdict {
        self.evaluate(sink, run_time).unwrap_or_else(|| Verdict {
            value: 0.0,
            holds: matches!(sink, Sink::Rate { .. }) || self.comparison.holds(0.0, self.limit),
        })
    }
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// The statistic.
    pub value: f64,
    /// Whether it is as the threshold wants it.
    pub holds: bool,
}

impl Comparison {
    #[expect(clippy::float_cmp, reason = "`==` of a threshold means just that")]
    fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Self::Above => value > limit,
            Self::AtLeast => value >= limit,
            Self::Below => value < limit,
            Self::AtMost => value <= limit,
            Self::Equal => value == limit,
            Self::Unequal => value != limit,
        }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

/// The thresholds of one metric or sub-metric.
#[derive(Clone, Debug)]
pub struct Guarded {
    /// The metric as it was written, tags included.
    pub selector: String,
    /// Its sink.
    pub sink: SinkId,
    /// What must hold.
    pub thresholds: Vec<Threshold>,
}

/// A plain number, or a time with its unit in milliseconds.
fn read_limit(text: &str) -> Option<f64> {
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
    number.or_else(|| {
        let is_time = text.ends_with(|c: char| c.is_ascii_alphabetic())
            && text.starts_with(|c: char| c.is_ascii_digit());
        let duration = is_time.then(|| time_text::parse_duration(text).ok());
        duration.flatten().map(time_text::millis)
    })
}

/// Longer signs before those they begin with.
const OPERATORS: [(&str, Comparison); 8] = [
    ("===", Comparison::Equal),
    ("!==", Comparison::Unequal),
    ("==", Comparison::Equal),
    ("!=", Comparison::Unequal),
    (">=", Comparison::AtLeast),
    ("<=", Comparison::AtMost),
    (">", Comparison::Above),
    ("<", Comparison::Below),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(text: &str, value: f64) -> bool {
        let threshold = Threshold::read(text).unwrap();
        let mut sink = Sink::new(Kind::Trend);
        sink.record(value, 0);
        threshold.evaluate(&sink, Duration::ZERO).unwrap().holds
    }

    #[test]
    fn all_operators_compare() {
        for (text, below, at, above) in [
            ("max<5", true, false, false),
            ("max<=5", true, true, false),
            ("max>5", false, false, true),
            ("max >= 5", false, true, true),
            ("max==5", false, true, false),
            ("max === 5.0", false, true, false),
            ("max!=5", true, false, true),
            (" p(50) !== 5e0 ", true, false, true),
            ("avg<5ms", true, false, false),
            ("avg<0.005s", true, false, false),
        ] {
            assert_eq!(
                (holds(text, 4.0), holds(text, 5.0), holds(text, 6.0)),
                (below, at, above),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_threshold_is_refused() {
        for text in [
            "",
            "p(95)",
            "p(95)<",
            "<500",
            "p(95)<abc",
            "p(95)~5",
            "p(95)<500 ms x",
            "p(95)=5",
            "max<NaN",
        ] {
            assert!(Threshold::read(text).is_err(), "{text}");
        }
        let error = Threshold::read("p(101)<5").unwrap_err();
        assert!(error.to_string().contains("p(N) with N from 0 to 100"));
    }

    #[test]
    fn a_method_must_fit_the_kind() {
        let rate = Threshold::read("rate>0.9").unwrap();
        assert!(rate.check_kind(Kind::Rate).is_ok());
        assert!(rate.check_kind(Kind::Counter).is_ok());
        let error = rate.check_kind(Kind::Trend).unwrap_err();
        assert!(error.to_string().contains("does not fit a trend"));
    }

    #[test]
    fn without_samples_there_is_no_verdict() {
        let threshold = Threshold::read("max<5").unwrap();
        let sink = Sink::new(Kind::Trend);
        assert_eq!(threshold.evaluate(&sink, Duration::ZERO), None);
    }
}
