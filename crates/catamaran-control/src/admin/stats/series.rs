//! The points of one frontend, backend or server, made of counters that only grow.
//!
//! A point is the difference between two looks at the counters. Points stand for the last quarter of
//! an hour; the histograms of the last minute are kept as well, so that percentiles over longer than
//! one point are exact and not averages of percentiles. 13 KiB for each object.

use catamaran_core::latency::{BUCKETS, quantile};
use catamaran_proxy::{Class, HistogramTotals, Outcome, TrafficTotals};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::VecDeque;

/// Points that are kept.
pub(crate) const KEPT: usize = 180;
/// Histograms that are kept: one minute.
const WINDOWS: usize = 12;

/// What one object did, point by point.
#[derive(Debug)]
pub(super) struct Series {
    points: VecDeque<Point>,
    /// Times by bucket, of the last points.
    windows: VecDeque<Box<[u32; BUCKETS]>>,
    /// Sums of times in microseconds and their counts, of the last points: connecting, first byte,
    /// total.
    sums: VecDeque<[(u64, u64); 3]>,
    /// The counters at the last look.
    last: TrafficTotals,
}

/// What an object does besides what its counters say.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Levels {
    /// Exchanges and relays under way.
    pub(super) in_flight: u64,
    /// Requests that wait.
    pub(super) queue: u64,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    rate: f32,
    in_flight: f32,
    queue: f32,
    bytes_in: f32,
    bytes_out: f32,
    /// In milliseconds; NaN without a time.
    percentiles: [f32; 3],
    /// By [`Class::index`].
    classes: [f32; Class::ALL.len()],
    status_5xx: f32,
}

/// Columns of points: the first value belongs to the first time that the answer names.
#[derive(Debug, Default, JsonSchema, Serialize)]
pub(crate) struct Columns {
    /// Exchanges and relays that ended, per second; of a server, those that ended there.
    rate: Vec<Option<f32>>,
    /// Exchanges and relays under way.
    in_flight: Vec<Option<f32>>,
    /// Requests that wait for a server with room; of backends.
    queue: Vec<Option<f32>>,
    /// Bytes from clients per second.
    bytes_in: Vec<Option<f32>>,
    /// Bytes to clients per second.
    bytes_out: Vec<Option<f32>>,
    /// Half of the exchanges took no longer, in milliseconds.
    p50_ms: Vec<Option<f32>>,
    /// Nine of ten took no longer.
    p90_ms: Vec<Option<f32>>,
    /// 99 of 100 took no longer.
    p99_ms: Vec<Option<f32>>,
    /// Exchanges per second that did not go well.
    errors: Errors,
}

/// Exchanges per second that did not go well, by whose doing it was.
#[derive(Debug, Default, JsonSchema, Serialize)]
struct Errors {
    /// The client's: it left, stalled, or asked for what is not served.
    client: Vec<Option<f32>>,
    /// Limits of rate, connections and queue.
    limit: Vec<Option<f32>>,
    /// Servers: none usable, none that answered, an answer cut short.
    server: Vec<Option<f32>>,
    /// This process: it lacked something.
    own: Vec<Option<f32>>,
    /// Responses of class 5xx, those of servers that were passed on and our own.
    status_5xx: Vec<Option<f32>>,
}

/// What an object did over the last seconds.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct Window {
    /// Exchanges and relays that ended, per second.
    rate: f64,
    /// Times in milliseconds; none without one.
    p50_ms: Option<f64>,
    p90_ms: Option<f64>,
    p99_ms: Option<f64>,
}

/// Averages and maxima of an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Summary {
    /// Exchanges per second at the last point.
    pub(crate) rate: f64,
    /// The highest of the last quarter of an hour.
    pub(crate) max_rate: f64,
    pub(crate) max_in_flight: f64,
    pub(crate) max_queue: f64,
    pub(crate) averages: Averages,
}

/// Average times of the last minute in milliseconds; `None` without one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Averages {
    pub(crate) connect: Option<f64>,
    pub(crate) first_byte: Option<f64>,
    pub(crate) total: Option<f64>,
}

impl Series {
    /// A series whose first point comes with the next look.
    pub(super) fn new(now: TrafficTotals) -> Self {
        Self {
            points: VecDeque::new(),
            windows: VecDeque::new(),
            sums: VecDeque::new(),
            last: now,
        }
    }

    /// Makes the point of the last `seconds` from the counters as they are now.
    pub(super) fn push(&mut self, now: TrafficTotals, levels: Levels, seconds: f64) {
        let mut times = Box::new([0; BUCKETS]);
        let both = now.total.counts.iter().zip(&self.last.total.counts);
        for (time, (new, old)) in times.iter_mut().zip(both) {
            *time = u32::try_from(new.saturating_sub(*old)).unwrap_or(u32::MAX);
        }
        let sums = [
            since(&self.last.connect, &now.connect),
            since(&self.last.first_byte, &now.first_byte),
            since(&self.last.total, &now.total),
        ];
        let point = Point::between(&self.last, &now, levels, seconds, &times[..]);
        self.last = now;
        push(&mut self.points, point, KEPT);
        push(&mut self.windows, times, WINDOWS);
        push(&mut self.sums, sums, WINDOWS);
    }

    /// What was done over as many of the last points; a minute's at most.
    pub(super) fn window(&self, points: usize) -> Option<Window> {
        let count = points.min(self.points.len());
        if count == 0 {
            return None;
        }
        let last = self.points.iter().rev().take(count);
        let rates: f64 = last.map(|point| f64::from(point.rate)).sum();
        let mut counts = [0; BUCKETS];
        for window in self.windows.iter().rev().take(count) {
            for (sum, count) in counts.iter_mut().zip(window.iter()) {
                *sum += u64::from(*count);
            }
        }
        let millis = |share| quantile(&counts, share).map(|micros| round(micros / 1000.0));
        debug_assert!(points <= WINDOWS, "no more are kept");
        Some(Window {
            rate: round(rates / f64::from(u32::try_from(count).unwrap_or(u32::MAX))),
            p50_ms: millis(0.5),
            p90_ms: millis(0.9),
            p99_ms: millis(0.99),
        })
    }

    /// Averages and maxima; `None` before the first point.
    pub(super) fn summary(&self) -> Option<Summary> {
        let last = self.points.back()?;
        let max = |of: fn(&Point) -> f32| {
            let each = self.points.iter().map(|point| f64::from(of(point)));
            each.fold(0.0, f64::max)
        };
        let average = |place: usize| {
            let each = self.sums.iter().map(|sums| sums[place]);
            let (sum, count) = each.fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
            (count > 0).then(|| float(sum) / float(count) / 1000.0)
        };
        Some(Summary {
            rate: f64::from(last.rate),
            max_rate: max(|point| point.rate),
            max_in_flight: max(|point| point.in_flight),
            max_queue: max(|point| point.queue),
            averages: Averages {
                connect: average(0),
                first_byte: average(1),
                total: average(2),
            },
        })
    }

    /// The last `wanted` points; nulls stand for those before the first.
    pub(super) fn columns(&self, wanted: usize) -> Columns {
        let missing = wanted.saturating_sub(self.points.len());
        let skipped = self.points.len().saturating_sub(wanted);
        let column = |of: &dyn Fn(&Point) -> f32| {
            let points = self.points.iter().skip(skipped);
            let values = points.map(|point| Some(of(point)).filter(|value| value.is_finite()));
            std::iter::repeat_n(None, missing).chain(values).collect()
        };
        let class = |class: Class| column(&move |point| point.classes[class.index()]);
        Columns {
            rate: column(&|point| point.rate),
            in_flight: column(&|point| point.in_flight),
            queue: column(&|point| point.queue),
            bytes_in: column(&|point| point.bytes_in),
            bytes_out: column(&|point| point.bytes_out),
            p50_ms: column(&|point| point.percentiles[0]),
            p90_ms: column(&|point| point.percentiles[1]),
            p99_ms: column(&|point| point.percentiles[2]),
            errors: Errors {
                client: class(Class::Client),
                limit: class(Class::Limit),
                server: class(Class::Server),
                own: class(Class::Own),
                status_5xx: column(&|point| point.status_5xx),
            },
        }
    }
}

impl Point {
    fn between(
        old: &TrafficTotals,
        new: &TrafficTotals,
        levels: Levels,
        seconds: f64,
        times: &[u32],
    ) -> Self {
        let rate = |old: u64, new: u64| narrow(float(new.saturating_sub(old)) / seconds);
        let counts: Vec<u64> = times.iter().map(|count| u64::from(*count)).collect();
        let millis =
            |share| quantile(&counts, share).map_or(f32::NAN, |micros| narrow(micros / 1000.0));
        let mut classes = [0.0; Class::ALL.len()];
        for outcome in Outcome::ALL {
            let place = outcome.index();
            classes[outcome.class().index()] += rate(old.outcomes[place], new.outcomes[place]);
        }
        Self {
            rate: rate(old.ended, new.ended),
            in_flight: narrow(float(levels.in_flight)),
            queue: narrow(float(levels.queue)),
            bytes_in: rate(old.bytes_in, new.bytes_in),
            bytes_out: rate(old.bytes_out, new.bytes_out),
            percentiles: [millis(0.5), millis(0.9), millis(0.99)],
            classes,
            status_5xx: rate(old.statuses[4], new.statuses[4]),
        }
    }
}

/// Sum and count of the times that came since `old`.
fn since(old: &HistogramTotals, new: &HistogramTotals) -> (u64, u64) {
    let sum = new.sum_micros.saturating_sub(old.sum_micros);
    (sum, new.count().saturating_sub(old.count()))
}

fn push<T>(line: &mut VecDeque<T>, value: T, max: usize) {
    if line.len() == max {
        line.pop_front();
    }
    line.push_back(value);
}

/// Three digits behind the point are what a reader can use.
pub(super) fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a chart needs no more digits"
)]
fn narrow(value: f64) -> f32 {
    round(value) as f32
}

#[expect(clippy::cast_precision_loss, reason = "a rate needs no more digits")]
const fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use catamaran_core::latency::bucket;

    fn totals(ended: u64, slow: u64) -> TrafficTotals {
        let mut totals = TrafficTotals {
            ended,
            bytes_out: ended * 100,
            ..TrafficTotals::default()
        };
        totals.outcomes[Outcome::Done.index()] = ended - slow;
        totals.outcomes[Outcome::ResponseTimeout.index()] = slow;
        totals.total.counts[bucket(1000)] = ended - slow;
        totals.total.counts[bucket(1_000_000)] = slow;
        totals
    }

    #[test]
    fn a_point_is_what_happened_since_the_last_one() {
        let mut series = Series::new(totals(1000, 0));
        let levels = Levels {
            in_flight: 3,
            queue: 1,
        };
        series.push(totals(1100, 10), levels, 5.0);
        let columns = series.columns(2);
        assert_eq!(columns.rate, [None, Some(20.0)]);
        assert_eq!(columns.bytes_out, [None, Some(2000.0)]);
        assert_eq!(columns.in_flight, [None, Some(3.0)]);
        assert_eq!(columns.queue, [None, Some(1.0)]);
        assert_eq!(columns.errors.server, [None, Some(2.0)]);
        assert_eq!(columns.errors.client, [None, Some(0.0)]);
        let p50 = columns.p50_ms[1].unwrap();
        assert!((0.8..=1.0).contains(&p50), "{p50}");
        let p99 = columns.p99_ms[1].unwrap();
        assert!((800.0..=1000.0).contains(&p99), "{p99}");
    }

    #[test]
    fn a_window_puts_the_times_of_several_points_together() {
        let mut series = Series::new(totals(0, 0));
        assert!(series.window(2).is_none());
        series.push(totals(100, 0), Levels::default(), 5.0);
        series.push(totals(200, 100), Levels::default(), 5.0);
        let window = series.window(2).unwrap();
        assert_eq!(window.rate, 20.0);
        assert!(window.p50_ms.unwrap() <= 1.0 && window.p90_ms.unwrap() >= 800.0);
        let quiet = Series::new(totals(0, 0));
        assert!(quiet.columns(3).p50_ms.iter().all(Option::is_none));
    }

    #[test]
    fn averages_are_those_of_the_last_minute_and_maxima_of_all_points() {
        let mut series = Series::new(totals(0, 0));
        assert!(series.summary().is_none());
        for (round, ended) in [(1, 500), (2, 500), (3, 550)] {
            let mut now = totals(ended, 0);
            now.total.sum_micros = ended * 1000;
            let levels = Levels {
                in_flight: 10 - round,
                queue: round,
            };
            series.push(now, levels, 5.0);
        }
        let summary = series.summary().unwrap();
        assert_eq!((summary.rate, summary.max_rate), (10.0, 100.0));
        assert_eq!((summary.max_in_flight, summary.max_queue), (9.0, 3.0));
        assert_eq!(summary.averages.total, Some(1.0));
        assert_eq!(summary.averages.connect, None);
    }

    #[test]
    fn points_older_than_a_quarter_of_an_hour_give_way() {
        let mut series = Series::new(totals(0, 0));
        for ended in 1..=KEPT as u64 + 5 {
            series.push(totals(ended * 5, 0), Levels::default(), 5.0);
        }
        let columns = series.columns(KEPT + 1);
        assert_eq!(columns.rate.len(), KEPT + 1);
        assert_eq!(columns.rate[..2], [None, Some(1.0)]);
    }
}
