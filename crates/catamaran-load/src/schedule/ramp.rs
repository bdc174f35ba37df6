//! Which virtual users of a moving number are at work, and when.

use std::time::Duration;

use super::{Stage, total};

/// A number of virtual users that moves through stages.
///
/// Going up, user n joins at the moment the line reaches n; going down, it leaves at the moment the
/// line reaches n − 1.
#[derive(Clone, Debug)]
pub struct Ramp {
    start: u64,
    stages: Vec<(Duration, u64)>,
    end: Duration,
}

impl Ramp {
    /// From `start` users through the stages, whose targets are whole.
    #[must_use]
    pub fn new(start: u64, stages: &[Stage]) -> Self {
        Self {
            start,
            end: total(stages),
            stages: stages
                .iter()
                .map(|stage| (stage.duration, whole(stage.target)))
                .collect(),
        }
    }

    /// The greatest number of users there ever is.
    #[must_use]
    pub fn max(&self) -> u64 {
        let targets = self.stages.iter().map(|&(_, target)| target);
        targets.fold(self.start, u64::max)
    }

    /// When the last stage ends.
    #[must_use]
    pub const fn end(&self) -> Duration {
        self.end
    }

    /// When user `number`, counted from 1, is at work: from and to, in order, none of them empty.
    #[must_use]
    pub fn intervals(&self, number: u64) -> Vec<(Duration, Duration)> {
        let mut found: Vec<(Duration, Duration)> = Vec::new();
        let mut since = (number <= self.start).then_some(Duration::ZERO);
        let mut begin = Duration::ZERO;
        let mut from = self.start;
        for &(duration, to) in &self.stages {
            let at = |steps: u64, of: u64| begin + fraction(duration, steps, of);
            if from < number && number <= to {
                since = Some(at(number - from, to - from));
            } else if to < number && number <= from {
                let until = at(from + 1 - number, from - to);
                found.extend(since.take().map(|since| (since, until)));
            }
            begin += duration;
            from = to;
        }
        found.extend(since.map(|since| (since, self.end)));
        found.retain(|(since, until)| since < until);
        found
    }
}

/// `duration · part / whole` without overflow; all of it for a stage without length.
fn fraction(duration: Duration, part: u64, whole: u64) -> Duration {
    let nanos = duration.as_nanos() * u128::from(part) / u128::from(whole.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "options are checked to hold whole numbers that are not negative"
)]
fn whole(target: f64) -> u64 {
    target as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(start: u64, stages: &[(u64, f64)]) -> Ramp {
        let stages: Vec<_> = stages
            .iter()
            .map(|&(seconds, target)| Stage {
                duration: Duration::from_secs(seconds),
                target,
            })
            .collect();
        Ramp::new(start, &stages)
    }

    fn seconds(ramp: &Ramp, number: u64) -> Vec<(u64, u64)> {
        let intervals = ramp.intervals(number).into_iter();
        intervals
            .map(|(from, to)| (from.as_secs(), to.as_secs()))
            .collect()
    }

    #[test]
    fn users_join_and_leave_as_the_line_crosses_their_number() {
        let ramp = ramp(0, &[(10, 10.0), (5, 10.0), (10, 0.0)]);
        assert_eq!(ramp.max(), 10);
        assert_eq!(seconds(&ramp, 1), [(1, 25)]);
        assert_eq!(seconds(&ramp, 10), [(10, 16)]);
        assert_eq!(seconds(&ramp, 11), []);
    }

    #[test]
    fn a_user_may_come_back() {
        let ramp = ramp(
            2,
            &[(2, 0.0), (2, 2.0), (0, 0.0), (1, 0.0), (0, 5.0), (3, 5.0)],
        );
        assert_eq!(seconds(&ramp, 1), [(0, 2), (3, 4), (5, 8)]);
        assert_eq!(seconds(&ramp, 2), [(0, 1), (5, 8)]);
        assert_eq!(seconds(&ramp, 5), [(5, 8)]);
        assert_eq!(ramp.end(), Duration::from_secs(8));
    }

    #[test]
    fn the_users_at_work_are_the_line_rounded() {
        let ramp = ramp(3, &[(7, 20.0), (3, 4.0), (0, 9.0), (4, 1.0)]);
        let at_work = |time: Duration| {
            let is_at_work = |number: &u64| {
                let intervals = ramp.intervals(*number);
                intervals
                    .iter()
                    .any(|&(from, to)| from <= time && time < to)
            };
            (1..=ramp.max()).filter(is_at_work).count()
        };
        assert_eq!(at_work(Duration::ZERO), 3);
        assert_eq!(at_work(Duration::from_millis(3500)), 11);
        assert_eq!(at_work(Duration::from_millis(6999)), 19);
        assert_eq!(at_work(Duration::from_millis(7000)), 20);
        assert_eq!(at_work(Duration::from_millis(8500)), 12);
        assert_eq!(at_work(Duration::from_millis(10_000)), 9);
        assert_eq!(at_work(Duration::from_millis(13_999)), 2);
    }
}
