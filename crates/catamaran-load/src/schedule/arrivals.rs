//! When the n-th iteration of an open model is due.

use std::time::Duration;

use super::{Stage, total};

/// The times at which iterations are due, at a constant or a moving rate.
#[derive(Clone, Debug)]
pub struct Arrivals {
    pattern: Pattern,
    /// Nothing is due at or after this.
    end: Duration,
}

#[derive(Clone, Debug)]
enum Pattern {
    /// `rate` in every `unit`, evenly, the first at once.
    Constant { rate: f64, unit: Duration },
    /// One whenever the area under the line of the rate reaches a whole number, the first at 1.
    Ramping(Vec<Piece>),
}

/// A piece of time in which the rate moves evenly.
#[derive(Clone, Copy, Debug)]
struct Piece {
    /// Seconds from the start.
    begin: f64,
    /// Seconds.
    len: f64,
    /// Per second, at its beginning.
    from: f64,
    /// Per second, at its end.
    to: f64,
    /// Iterations due before it, with fractions.
    before: f64,
}

impl Arrivals {
    /// `rate` iterations in every `unit`, for `duration`.
    #[must_use]
    pub fn constant(rate: f64, unit: Duration, duration: Duration) -> Self {
        Self {
            pattern: Pattern::Constant { rate, unit },
            end: duration,
        }
    }

    /// From `start_rate` in every `unit` through the stages.
    #[must_use]
    pub fn ramping(start_rate: f64, unit: Duration, stages: &[Stage]) -> Self {
        let per_second = |rate: f64| rate / unit.as_secs_f64();
        let mut pieces = Vec::with_capacity(stages.len());
        let mut from = per_second(start_rate);
        let (mut begin, mut before) = (0.0, 0.0);
        for stage in stages {
            let piece = Piece {
                begin,
                len: stage.duration.as_secs_f64(),
                from,
                to: per_second(stage.target),
                before,
            };
            before += piece.area();
            begin += piece.len;
            from = piece.to;
            pieces.push(piece);
        }
        Self {
            pattern: Pattern::Ramping(pieces),
            end: total(stages),
        }
    }

    /// When iteration `n`, counted from 0, is due after the start. `None` when there are not so many.
    #[must_use]
    pub fn time_of(&self, n: u64) -> Option<Duration> {
        let time = match &self.pattern {
            Pattern::Constant { rate, unit } => {
                if *rate <= 0.0 {
                    return None;
                }
                Duration::try_from_secs_f64(as_f64(n) * unit.as_secs_f64() / rate).ok()?
            }
            Pattern::Ramping(pieces) => {
                let area = as_f64(n) + 1.0;
                let reaches = |piece: &&Piece| piece.before + piece.area() >= area - ROUNDING;
                let piece = pieces.iter().find(reaches)?;
                let after = piece.time_of(area - piece.before);
                Duration::try_from_secs_f64(piece.begin + after).ok()?
            }
        };
        // Of a line that ends with a whole area the last iteration falls on the end itself.
        let last = match self.pattern {
            Pattern::Constant { .. } => time < self.end,
            Pattern::Ramping(_) => time <= self.end,
        };
        last.then_some(time)
    }

    /// How many are due before `time`.
    #[must_use]
    pub fn due_before(&self, time: Duration) -> u64 {
        let is_due = |n| self.time_of(n).is_some_and(|due| due < time);
        let mut above = 1;
        while is_due(above - 1) {
            above *= 2;
        }
        let (mut low, mut high) = (above / 2, above);
        while low < high {
            let middle = low.midpoint(high);
            if is_due(middle) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// Nothing is due at or after this time from the start.
    #[must_use]
    pub const fn end(&self) -> Duration {
        self.end
    }
}

impl Piece {
    fn area(&self) -> f64 {
        f64::midpoint(self.from, self.to) * self.len
    }

    /// Seconds into the piece at which the area under its line is `area`.
    fn time_of(&self, area: f64) -> f64 {
        let slope = (self.to - self.from) / self.len;
        // slope/2·t² + from·t = area; this form of the solution is exact for a slope near 0.
        let root = self
            .from
            .mul_add(self.from, 2.0 * slope * area)
            .max(0.0)
            .sqrt();
        let time = if self.from + root > 0.0 {
            2.0 * area / (self.from + root)
        } else {
            self.len
        };
        time.clamp(0.0, self.len)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "numbers of iterations stay far below 2^53"
)]
fn as_f64(n: u64) -> f64 {
    n as f64
}

/// Sums of areas that should be whole may miss it by this much.
const ROUNDING: f64 = 1e-6;

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(seconds: u64, target: f64) -> Stage {
        Stage {
            duration: Duration::from_secs(seconds),
            target,
        }
    }

    #[test]
    fn a_constant_rate_begins_at_once_and_does_not_drift() {
        let arrivals = Arrivals::constant(3000.0, Duration::from_secs(1), Duration::from_secs(30));
        assert_eq!(arrivals.time_of(0), Some(Duration::ZERO));
        assert_eq!(arrivals.time_of(30_000), Some(Duration::from_secs(10)));
        assert_eq!(arrivals.time_of(90_000), None);
        assert_eq!(arrivals.due_before(Duration::from_secs(60)), 90_000);
        assert_eq!(arrivals.due_before(Duration::from_secs(1)), 3000);
        let minutes = Arrivals::constant(30.0, Duration::from_secs(60), Duration::from_secs(60));
        assert_eq!(minutes.time_of(1), Some(Duration::from_secs(2)));
    }

    #[test]
    fn a_moving_rate_follows_the_area_under_its_line() {
        // 0 to 10 a second in 10 s: 50 in all, the n-th at √(2n).
        let arrivals = Arrivals::ramping(0.0, Duration::from_secs(1), &[stage(10, 10.0)]);
        for n in [1_u32, 2, 8, 32, 50] {
            let time = arrivals.time_of(u64::from(n) - 1).unwrap().as_secs_f64();
            assert!((time - f64::from(2 * n).sqrt()).abs() < 1e-6, "{n}: {time}");
        }
        assert_eq!(arrivals.time_of(50), None);
    }

    #[test]
    fn stages_follow_each_other_and_may_jump() {
        let stages = [
            stage(10, 10.0),
            stage(0, 100.0),
            stage(1, 100.0),
            stage(5, 0.0),
        ];
        let arrivals = Arrivals::ramping(10.0, Duration::from_secs(1), &stages);
        let at = |n| {
            arrivals
                .time_of(n)
                .map(|time| (time.as_secs_f64() * 1e6).round() / 1e6)
        };
        assert_eq!(at(0), Some(0.1));
        assert_eq!(at(99), Some(10.0));
        assert_eq!(at(100), Some(10.01));
        assert_eq!(at(199), Some(11.0));
        assert_eq!(at(449), Some(16.0));
        assert_eq!(at(450), None);
        let total = arrivals.due_before(Duration::from_secs(60));
        assert_eq!(total, 450);
    }

    #[test]
    fn a_line_that_stays_at_zero_makes_nothing_due() {
        let arrivals = Arrivals::ramping(0.0, Duration::from_secs(1), &[stage(10, 0.0)]);
        assert_eq!(arrivals.time_of(0), None);
        let none = Arrivals::constant(0.0, Duration::from_secs(1), Duration::from_secs(1));
        assert_eq!(none.time_of(0), None);
        assert_eq!(none.due_before(Duration::from_secs(9)), 0);
    }

    #[test]
    fn times_never_go_back() {
        let stages = [
            stage(3, 50.0),
            stage(2, 5.0),
            stage(0, 70.0),
            stage(4, 0.0),
            stage(1, 9.0),
        ];
        let arrivals = Arrivals::ramping(7.0, Duration::from_secs(1), &stages);
        let times: Vec<_> = (0..).map_while(|n| arrivals.time_of(n)).collect();
        assert!(times.is_sorted());
        assert!(times.len() > 280 && times.last() <= Some(&arrivals.end()));
    }
}
