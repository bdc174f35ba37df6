//! What happened second by second, in memory that does not grow with the run.

use serde_json::{Value, json};

use crate::engine::Second;
use crate::metric::{MetricId, Registry, builtin};
use crate::sink::Sink;

/// The figures of one second, or of as many as a point of a long run stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// Seconds from the start, of its beginning.
    pub second: u64,
    /// Requests that ended, in each second.
    pub requests: f64,
    /// Those that failed, in each second.
    pub failed: f64,
    /// Iterations that ended, in each second.
    pub iterations: f64,
    /// Iterations that were due and never begun, in each second.
    pub dropped: f64,
    /// Median in milliseconds, from when requests were sent.
    pub median: f64,
    /// 95th percentile in milliseconds, from when requests were sent.
    pub p95: f64,
    /// 99th percentile in milliseconds, from when requests were sent.
    pub p99: f64,
    /// 99th percentile in milliseconds, from when they should have been. 0 in a closed model.
    pub corrected_p99: f64,
    /// Virtual users at an iteration, at its end; without a script these are requests under way.
    pub active: f64,
    /// Bytes sent, in each second.
    pub sent: f64,
    /// Bytes received, in each second.
    pub received: f64,
}

impl Point {
    /// The figures of one second.
    #[must_use]
    pub fn of(registry: &Registry, second: &Second) -> Self {
        let sink = |metric: MetricId| second.board.metric(registry, metric);
        let count = |metric| match sink(metric) {
            Sink::Counter(sum) => *sum,
            Sink::Rate { passes, .. } => crate::sink::as_f64(*passes),
            Sink::Gauge(_) | Sink::Trend(_) => 0.0,
        };
        let quantiles = |http, raw| {
            let values = [sink(http), sink(raw)];
            let values = values.into_iter().filter_map(Sink::distribution);
            let mut found = [0.0; 3];
            for values in values.filter(|values| values.count() > 0) {
                for (own, value) in found.iter_mut().zip(values.quantiles(&[0.5, 0.95, 0.99])) {
                    *own = value.max(*own);
                }
            }
            found
        };
        let [median, p95, p99] = quantiles(builtin::HTTP_REQ_DURATION, builtin::EXCHANGE_DURATION);
        let [.., corrected_p99] = quantiles(
            builtin::HTTP_REQ_CORRECTED_DURATION,
            builtin::EXCHANGE_CORRECTED_DURATION,
        );
        Self {
            second: second.second,
            requests: count(builtin::HTTP_REQS) + count(builtin::EXCHANGES),
            failed: count(builtin::HTTP_REQ_FAILED) + count(builtin::EXCHANGE_FAILED),
            iterations: count(builtin::ITERATIONS),
            dropped: count(builtin::DROPPED_ITERATIONS),
            median,
            p95,
            p99,
            corrected_p99,
            active: crate::sink::as_f64(second.active),
            sent: count(builtin::DATA_SENT),
            received: count(builtin::DATA_RECEIVED),
        }
    }

    /// One point for two neighbours: rates are averaged, of percentiles the worse counts.
    fn with(self, next: Self) -> Self {
        let mean = |one: f64, other: f64| f64::midpoint(one, other);
        Self {
            second: self.second,
            requests: mean(self.requests, next.requests),
            failed: mean(self.failed, next.failed),
            iterations: mean(self.iterations, next.iterations),
            dropped: mean(self.dropped, next.dropped),
            median: self.median.max(next.median),
            p95: self.p95.max(next.p95),
            p99: self.p99.max(next.p99),
            corrected_p99: self.corrected_p99.max(next.corrected_p99),
            active: self.active.max(next.active),
            sent: mean(self.sent, next.sent),
            received: mean(self.received, next.received),
        }
    }

    pub(super) fn to_json(self) -> Value {
        json!({
            "second": self.second,
            "requests": self.requests,
            "failed": self.failed,
            "iterations": self.iterations,
            "dropped": self.dropped,
            "median_ms": self.median,
            "p95_ms": self.p95,
            "p99_ms": self.p99,
            "corrected_p99_ms": self.corrected_p99,
            "active": self.active,
            "sent": self.sent,
            "received": self.received,
        })
    }
}

/// The course of a run. Beyond `MAX_POINTS` seconds, a point stands for two, four, eight of them.
#[derive(Clone, Debug)]
pub struct Timeline {
    points: Vec<Point>,
    /// Seconds that a point stands for.
    width: u64,
    /// Seconds in the last point, and their mean so far.
    pending: Option<(u64, Point)>,
}

impl Default for Timeline {
    fn default() -> Self {
        Self {
            points: Vec::new(),
            width: 1,
            pending: None,
        }
    }
}

impl Timeline {
    /// Adds the next second.
    pub fn push(&mut self, point: Point) {
        let (seconds, gathered) = match self.pending.take() {
            None => (1, point),
            Some((seconds, gathered)) => (seconds + 1, gathered.with(point)),
        };
        if seconds < self.width {
            self.pending = Some((seconds, gathered));
            return;
        }
        self.points.push(gathered);
        if self.points.len() >= MAX_POINTS {
            let pairs = self.points.chunks(2);
            let joined = pairs.map(|pair| pair.iter().copied().reduce(Point::with));
            self.points = joined.flatten().collect();
            self.width *= 2;
        }
    }

    /// Seconds that each point stands for.
    #[must_use]
    pub fn width(&self) -> u64 {
        self.width
    }

    /// The points, the unfinished last one too.
    pub fn points(&self) -> impl Iterator<Item = Point> + Clone {
        let pending = self.pending.map(|(_, point)| point);
        self.points.iter().copied().chain(pending)
    }
}

/// Points that are kept: an hour by the second, and as much as a screen can show.
const MAX_POINTS: usize = 3_600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_is_told_in_wider_points() {
        let mut timeline = Timeline::default();
        for second in 0..10 * MAX_POINTS as u64 {
            timeline.push(Point {
                second,
                requests: 100.0,
                p99: if second == 5_000 { 900.0 } else { 1.0 },
                ..Point::default()
            });
        }
        let points: Vec<Point> = timeline.points().collect();
        assert!(points.len() <= MAX_POINTS, "{}", points.len());
        assert_eq!(timeline.width(), 16);
        assert!(points.iter().all(|point| point.requests == 100.0));
        let worst = points.iter().filter(|point| point.p99 == 900.0);
        assert_eq!(worst.count(), 1);
        assert!(
            points
                .windows(2)
                .all(|pair| pair[0].second < pair[1].second)
        );
    }
}
