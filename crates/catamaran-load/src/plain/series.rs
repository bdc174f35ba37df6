//! What happened second by second.

use serde_json::{Value, json};

use crate::engine::Second;
use crate::metric::{MetricId, Registry, builtin};
use crate::sink::Sink;

/// The figures of one second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Point {
    /// Seconds from the start, of its beginning.
    pub(super) second: u64,
    /// Requests that ended.
    pub(super) requests: f64,
    /// Those that failed.
    pub(super) failed: f64,
    /// Median in milliseconds, from when requests were sent.
    pub(super) median: f64,
    /// 99th percentile in milliseconds, from when requests were sent.
    pub(super) p99: f64,
    /// 99th percentile in milliseconds, from when they should have been. 0 in a closed model.
    pub(super) corrected_p99: f64,
    /// Requests under way at its end.
    pub(super) active: f64,
}

impl Point {
    pub(super) fn of(registry: &Registry, second: &Second) -> Self {
        let sink = |metric: MetricId| second.board.metric(registry, metric);
        let count = |metric| match sink(metric) {
            Sink::Counter(sum) => *sum,
            Sink::Rate { passes, .. } => crate::sink::as_f64(*passes),
            Sink::Gauge(_) | Sink::Trend(_) => 0.0,
        };
        let quantile = |http, raw, share| {
            let values = [sink(http), sink(raw)]
                .into_iter()
                .filter_map(Sink::distribution);
            let found = values
                .filter(|values| values.count() > 0)
                .map(|values| values.quantile(share));
            found.fold(0.0, f64::max)
        };
        let durations = (builtin::HTTP_REQ_DURATION, builtin::EXCHANGE_DURATION);
        Self {
            second: second.second,
            requests: count(builtin::HTTP_REQS) + count(builtin::EXCHANGES),
            failed: count(builtin::HTTP_REQ_FAILED) + count(builtin::EXCHANGE_FAILED),
            median: quantile(durations.0, durations.1, 0.5),
            p99: quantile(durations.0, durations.1, 0.99),
            corrected_p99: quantile(
                builtin::HTTP_REQ_CORRECTED_DURATION,
                builtin::EXCHANGE_CORRECTED_DURATION,
                0.99,
            ),
            active: crate::sink::as_f64(second.active),
        }
    }

    pub(super) fn to_json(self) -> Value {
        json!({
            "second": self.second,
            "requests": self.requests,
            "failed": self.failed,
            "median_ms": self.median,
            "p99_ms": self.p99,
            "corrected_p99_ms": self.corrected_p99,
            "active": self.active,
        })
    }
}
