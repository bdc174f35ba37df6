//! Scenarios: what is run, by whom, when, and how it ends.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::schedule::{Arrivals, Ramp, Stage, total};
use crate::time_text::exact;

/// One scenario of a run.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Letters, digits, `_` and `-`.
    pub name: String,
    /// How iterations begin.
    pub executor: Executor,
    /// When it begins, after the run does.
    pub start_time: Duration,
    /// How long iterations that run may go on after the end.
    pub graceful_stop: Duration,
    /// The function of the script that an iteration calls.
    pub exec: String,
    /// Variables added to `__ENV`.
    pub env: BTreeMap<String, String>,
    /// Tags of all its samples.
    pub tags: BTreeMap<String, String>,
    /// What becomes of an iteration that is due while every virtual user is at work.
    pub overload: Overload,
}

impl Scenario {
    /// As scripts write it, with what they left out.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut all = self.executor.to_json();
        all["executor"] = self.executor.name().into();
        all["exec"] = self.exec.as_str().into();
        all["startTime"] = exact(self.start_time).into();
        all["gracefulStop"] = exact(self.graceful_stop).into();
        all["env"] = json!(self.env);
        all["tags"] = json!(self.tags);
        all
    }
}

/// What becomes of an iteration of an open model that finds no free virtual user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overload {
    /// It is counted and forgotten, as k6 does.
    Drop,
    /// It waits, and its lateness counts as the target's: what a user would have seen.
    Queue,
}

/// How iterations begin.
#[derive(Clone, Debug)]
pub enum Executor {
    /// A number of iterations that virtual users share.
    SharedIterations {
        /// Virtual users.
        vus: u64,
        /// Iterations of all together.
        iterations: u64,
        /// When no new one begins, though some are left.
        max_duration: Duration,
    },
    /// A number of iterations for each virtual user.
    PerVuIterations {
        /// Virtual users.
        vus: u64,
        /// Iterations of each.
        iterations: u64,
        /// When no new one begins, though some are left.
        max_duration: Duration,
    },
    /// Virtual users that iterate as fast as they can.
    ConstantVus {
        /// Virtual users.
        vus: u64,
        /// How long.
        duration: Duration,
    },
    /// As above, in a number that moves.
    RampingVus {
        /// Virtual users at the start.
        start_vus: u64,
        /// How the number moves.
        stages: Vec<Stage>,
        /// How long an iteration may go on after its virtual user was told to leave.
        graceful_ramp_down: Duration,
    },
    /// Iterations at a rate, whatever becomes of the earlier ones.
    ConstantArrivalRate {
        /// Iterations in every time unit.
        rate: f64,
        /// The time unit.
        time_unit: Duration,
        /// How long.
        duration: Duration,
        /// Virtual users made before the start.
        pre_allocated_vus: u64,
        /// Virtual users at most.
        max_vus: u64,
    },
    /// As above, at a rate that moves.
    RampingArrivalRate {
        /// Iterations in every time unit at the start.
        start_rate: f64,
        /// The time unit.
        time_unit: Duration,
        /// How the rate moves.
        stages: Vec<Stage>,
        /// Virtual users made before the start.
        pre_allocated_vus: u64,
        /// Virtual users at most.
        max_vus: u64,
    },
}

impl Executor {
    /// What executors of its kind have.
    fn to_json(&self) -> Value {
        let stage =
            |stage: &Stage| json!({"duration": exact(stage.duration), "target": stage.target});
        let list = |stages: &[Stage]| Value::from(stages.iter().map(stage).collect::<Vec<_>>());
        match self {
            Self::SharedIterations {
                vus,
                iterations,
                max_duration,
            }
            | Self::PerVuIterations {
                vus,
                iterations,
                max_duration,
            } => {
                json!({"vus": vus, "iterations": iterations, "maxDuration": exact(*max_duration)})
            }
            Self::ConstantVus { vus, duration } => {
                json!({"vus": vus, "duration": exact(*duration)})
            }
            Self::RampingVus {
                start_vus,
                stages,
                graceful_ramp_down,
            } => json!({
                "startVUs": start_vus, "stages": list(stages), "gracefulRampDown": exact(*graceful_ramp_down),
            }),
            Self::ConstantArrivalRate {
                rate,
                time_unit,
                duration,
                pre_allocated_vus,
                max_vus,
            } => json!({
                "rate": rate, "timeUnit": exact(*time_unit), "duration": exact(*duration),
                "preAllocatedVUs": pre_allocated_vus, "maxVUs": max_vus,
            }),
            Self::RampingArrivalRate {
                start_rate,
                time_unit,
                stages,
                pre_allocated_vus,
                max_vus,
            } => json!({
                "startRate": start_rate, "timeUnit": exact(*time_unit), "stages": list(stages),
                "preAllocatedVUs": pre_allocated_vus, "maxVUs": max_vus,
            }),
        }
    }

    /// The name in scripts.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::SharedIterations { .. } => "shared-iterations",
            Self::PerVuIterations { .. } => "per-vu-iterations",
            Self::ConstantVus { .. } => "constant-vus",
            Self::RampingVus { .. } => "ramping-vus",
            Self::ConstantArrivalRate { .. } => "constant-arrival-rate",
            Self::RampingArrivalRate { .. } => "ramping-arrival-rate",
        }
    }

    /// How rate or virtual users move, if they do.
    #[must_use]
    pub fn stages(&self) -> &[Stage] {
        match self {
            Self::RampingVus { stages, .. } | Self::RampingArrivalRate { stages, .. } => stages,
            _ => &[],
        }
    }

    /// When no new iteration begins, from the scenario's start.
    #[must_use]
    pub fn regular_duration(&self) -> Duration {
        match self {
            Self::SharedIterations { max_duration, .. }
            | Self::PerVuIterations { max_duration, .. } => *max_duration,
            Self::ConstantVus { duration, .. } | Self::ConstantArrivalRate { duration, .. } => {
                *duration
            }
            Self::RampingVus { stages, .. } | Self::RampingArrivalRate { stages, .. } => {
                total(stages)
            }
        }
    }

    /// Virtual users made before the start.
    #[must_use]
    pub fn initial_vus(&self) -> u64 {
        match self {
            Self::SharedIterations {
                vus, iterations, ..
            } => *vus.min(iterations),
            Self::PerVuIterations { vus, .. } | Self::ConstantVus { vus, .. } => *vus,
            Self::RampingVus {
                start_vus, stages, ..
            } => Ramp::new(*start_vus, stages).max(),
            Self::ConstantArrivalRate {
                pre_allocated_vus, ..
            }
            | Self::RampingArrivalRate {
                pre_allocated_vus, ..
            } => *pre_allocated_vus,
        }
    }

    /// Virtual users at most.
    #[must_use]
    pub fn max_vus(&self) -> u64 {
        match self {
            Self::ConstantArrivalRate { max_vus, .. }
            | Self::RampingArrivalRate { max_vus, .. } => *max_vus,
            _ => self.initial_vus(),
        }
    }

    /// When iterations of an open model are due; `None` of a closed one.
    #[must_use]
    pub fn arrivals(&self) -> Option<Arrivals> {
        match self {
            Self::ConstantArrivalRate {
                rate,
                time_unit,
                duration,
                ..
            } => Some(Arrivals::constant(*rate, *time_unit, *duration)),
            Self::RampingArrivalRate {
                start_rate,
                time_unit,
                stages,
                ..
            } => Some(Arrivals::ramping(*start_rate, *time_unit, stages)),
            _ => None,
        }
    }

    /// What it does, in a few words.
    fn summary(&self) -> String {
        match self {
            Self::SharedIterations {
                vus, iterations, ..
            } => format!("{iterations} iterations shared among {vus} VUs"),
            Self::PerVuIterations {
                vus, iterations, ..
            } => format!("{iterations} iterations for each of {vus} VUs"),
            Self::ConstantVus { vus, duration } => {
                format!("{vus} looping VUs for {}", exact(*duration))
            }
            Self::RampingVus { stages, .. } => format!(
                "Up to {} looping VUs for {} over {} stages",
                self.max_vus(),
                exact(total(stages)),
                stages.len()
            ),
            Self::ConstantArrivalRate {
                rate,
                time_unit,
                duration,
                ..
            } => format!(
                "{:.2} iterations/s for {}",
                rate / time_unit.as_secs_f64(),
                exact(*duration)
            ),
            Self::RampingArrivalRate {
                start_rate,
                time_unit,
                stages,
                ..
            } => {
                let targets = stages.iter().map(|stage| stage.target);
                let most = targets.fold(*start_rate, f64::max);
                format!(
                    "Up to {:.2} iterations/s for {} over {} stages",
                    most / time_unit.as_secs_f64(),
                    exact(total(stages)),
                    stages.len()
                )
            }
        }
    }
}

impl Scenario {
    /// The longest it can take, from the run's start.
    #[must_use]
    pub fn longest(&self) -> Duration {
        let down = match &self.executor {
            Executor::RampingVus {
                graceful_ramp_down, ..
            } => *graceful_ramp_down,
            _ => Duration::ZERO,
        };
        self.start_time + self.executor.regular_duration() + self.graceful_stop.max(down)
    }

    /// One line that says what it does, as k6 prints before a run.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut notes = Vec::new();
        match &self.executor {
            Executor::SharedIterations { max_duration, .. }
            | Executor::PerVuIterations { max_duration, .. } => {
                notes.push(format!("maxDuration: {}", exact(*max_duration)));
            }
            Executor::RampingVus {
                graceful_ramp_down, ..
            } => notes.push(format!("gracefulRampDown: {}", exact(*graceful_ramp_down))),
            Executor::ConstantArrivalRate {
                pre_allocated_vus,
                max_vus,
                ..
            }
            | Executor::RampingArrivalRate {
                pre_allocated_vus,
                max_vus,
                ..
            } if pre_allocated_vus == max_vus => notes.push(format!("maxVUs: {max_vus}")),
            Executor::ConstantArrivalRate {
                pre_allocated_vus,
                max_vus,
                ..
            }
            | Executor::RampingArrivalRate {
                pre_allocated_vus,
                max_vus,
                ..
            } => notes.push(format!("maxVUs: {pre_allocated_vus}-{max_vus}")),
            Executor::ConstantVus { .. } => {}
        }
        if self.exec != "default" {
            notes.push(format!("exec: {}", self.exec));
        }
        if !self.start_time.is_zero() {
            notes.push(format!("startTime: {}", exact(self.start_time)));
        }
        if !self.graceful_stop.is_zero() {
            notes.push(format!("gracefulStop: {}", exact(self.graceful_stop)));
        }
        format!(
            "{}: {} ({})",
            self.name,
            self.executor.summary(),
            notes.join(", ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(name: &str, executor: Executor) -> Scenario {
        Scenario {
            name: name.to_owned(),
            executor,
            start_time: Duration::ZERO,
            graceful_stop: Duration::from_secs(30),
            exec: "default".to_owned(),
            env: BTreeMap::new(),
            tags: BTreeMap::new(),
            overload: Overload::Drop,
        }
    }

    #[test]
    fn scenarios_are_described_as_k6_does() {
        let seconds = Duration::from_secs;
        let a = Executor::ConstantVus {
            vus: 2,
            duration: seconds(2),
        };
        let a = scenario("a", a);
        assert_eq!(a.describe(), "a: 2 looping VUs for 2s (gracefulStop: 30s)");
        let b = Executor::PerVuIterations {
            vus: 1,
            iterations: 3,
            max_duration: seconds(600),
        };
        let mut b = scenario("b", b);
        b.exec = "other".to_owned();
        b.start_time = seconds(1);
        assert_eq!(
            b.describe(),
            "b: 3 iterations for each of 1 VUs (maxDuration: 10m0s, exec: other, startTime: 1s, gracefulStop: 30s)"
        );
        assert_eq!(b.longest(), seconds(631));
    }

    #[test]
    fn users_beyond_the_iterations_are_not_made() {
        let executor = Executor::SharedIterations {
            vus: 10,
            iterations: 3,
            max_duration: Duration::from_secs(600),
        };
        assert_eq!(executor.max_vus(), 3);
    }
}
