//! Reads `scenarios`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use super::OptionsError;
use super::read::{count, duration, is_given, object, stages, text, texts};
use crate::scenario::{Executor, Overload, Scenario};

/// Reads scenarios by name.
pub fn read_scenarios(map: &Map<String, Value>) -> Result<Vec<Scenario>, OptionsError> {
    let read = |(name, value): (&String, &Value)| {
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
        if name.is_empty() || !name.chars().all(is_name) {
            let text = format!("`{name}` is no name for a scenario: letters, digits, `_` and `-`");
            return Err(OptionsError::Other(text));
        }
        let keys = object(&format!("scenarios.{name}"), value)?;
        Reader { name, keys }.read()
    };
    map.iter().map(read).collect()
}

/// One scenario.
struct Reader<'a> {
    name: &'a str,
    keys: &'a Map<String, Value>,
}

impl Reader<'_> {
    fn read(&self) -> Result<Scenario, OptionsError> {
        let executor = text(&self.path("executor"), self.must("executor")?)?;
        self.check_keys(&executor)?;
        let executor = self.executor(&executor)?;
        let of_texts = |key: &str| match self.keys.get(key) {
            Some(value) => texts(&self.path(key), value),
            None => Ok(BTreeMap::new()),
        };
        Ok(Scenario {
            name: self.name.to_owned(),
            executor,
            start_time: self.duration("startTime", Duration::ZERO)?,
            graceful_stop: self.duration("gracefulStop", GRACE)?,
            exec: match self.keys.get("exec") {
                Some(exec) => text(&self.path("exec"), exec)?,
                None => "default".to_owned(),
            },
            env: of_texts("env")?,
            tags: of_texts("tags")?,
            overload: Overload::Drop,
        })
    }

    fn executor(&self, name: &str) -> Result<Executor, OptionsError> {
        let executor = match name {
            "shared-iterations" => Executor::SharedIterations {
                vus: self.above_zero("vus", 1)?,
                iterations: self.above_zero("iterations", 1)?,
                max_duration: self.duration("maxDuration", MAX_DURATION)?,
            },
            "per-vu-iterations" => Executor::PerVuIterations {
                vus: self.above_zero("vus", 1)?,
                iterations: self.above_zero("iterations", 1)?,
                max_duration: self.duration("maxDuration", MAX_DURATION)?,
            },
            "constant-vus" => Executor::ConstantVus {
                vus: self.above_zero("vus", 1)?,
                duration: self.must_last("duration")?,
            },
            "ramping-vus" => Executor::RampingVus {
                start_vus: self.count("startVUs", 1)?,
                stages: stages(&self.path("stages"), self.must("stages")?)?,
                graceful_ramp_down: self.duration("gracefulRampDown", GRACE)?,
            },
            "constant-arrival-rate" => {
                let (pre_allocated_vus, max_vus) = self.pool()?;
                self.must("rate")?;
                Executor::ConstantArrivalRate {
                    rate: crate::sink::as_f64(self.above_zero("rate", 1)?),
                    time_unit: self.time_unit()?,
                    duration: self.must_last("duration")?,
                    pre_allocated_vus,
                    max_vus,
                }
            }
            "ramping-arrival-rate" => {
                let (pre_allocated_vus, max_vus) = self.pool()?;
                Executor::RampingArrivalRate {
                    start_rate: crate::sink::as_f64(self.count("startRate", 0)?),
                    time_unit: self.time_unit()?,
                    stages: stages(&self.path("stages"), self.must("stages")?)?,
                    pre_allocated_vus,
                    max_vus,
                }
            }
            _ => return Err(self.no_executor(name)),
        };
        if let Executor::SharedIterations {
            vus, iterations, ..
        } = executor
            && vus > iterations
        {
            let name = self.name;
            let text =
                format!("scenario `{name}`: {iterations} iterations do not suffice for {vus} VUs");
            return Err(OptionsError::Other(text));
        }
        Ok(executor)
    }

    /// `preAllocatedVUs` and `maxVUs`.
    fn pool(&self) -> Result<(u64, u64), OptionsError> {
        self.must("preAllocatedVUs")?;
        let pre_allocated = self.count("preAllocatedVUs", 1)?;
        let max = self.count("maxVUs", pre_allocated)?;
        if max < pre_allocated.max(1) {
            let name = self.name;
            let text = format!(
                "scenario `{name}`: `maxVUs` must be 1 at least and not below `preAllocatedVUs`"
            );
            return Err(OptionsError::Other(text));
        }
        Ok((pre_allocated, max))
    }

    fn time_unit(&self) -> Result<Duration, OptionsError> {
        let unit = self.duration("timeUnit", Duration::from_secs(1))?;
        if unit.is_zero() {
            let text = format!("scenario `{}`: `timeUnit` must be above 0", self.name);
            return Err(OptionsError::Other(text));
        }
        Ok(unit)
    }

    fn check_keys(&self, executor: &str) -> Result<(), OptionsError> {
        let own = EXECUTORS.iter().find(|(name, _)| *name == executor);
        let Some((_, own)) = own else {
            return Err(self.no_executor(executor));
        };
        let known: Vec<&str> = ALL_HAVE.iter().chain(*own).copied().collect();
        match self.keys.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some(key) => Err(OptionsError::UnknownKey {
                scenario: self.name.to_owned(),
                executor: executor.to_owned(),
                key: key.clone(),
                known: known.join(", "),
            }),
        }
    }

    fn no_executor(&self, executor: &str) -> OptionsError {
        let known: Vec<_> = EXECUTORS.iter().map(|(name, _)| *name).collect();
        OptionsError::Executor {
            scenario: self.name.to_owned(),
            executor: executor.to_owned(),
            known: known.join(", "),
        }
    }

    fn must(&self, key: &'static str) -> Result<&Value, OptionsError> {
        let found = self.keys.get(key).filter(|value| is_given(value));
        found.ok_or_else(|| OptionsError::Missing {
            scenario: self.name.to_owned(),
            key,
        })
    }

    /// A time that must be there, a second at least as in k6.
    fn must_last(&self, key: &'static str) -> Result<Duration, OptionsError> {
        let path = self.path(key);
        let found = duration(&path, self.must(key)?)?;
        if found < Duration::from_secs(1) {
            return Err(OptionsError::Other(format!(
                "option `{path}` must be 1s at least"
            )));
        }
        Ok(found)
    }

    fn duration(&self, key: &str, default: Duration) -> Result<Duration, OptionsError> {
        match self.keys.get(key).filter(|value| !value.is_null()) {
            Some(value) => duration(&self.path(key), value),
            None => Ok(default),
        }
    }

    fn count(&self, key: &str, default: u64) -> Result<u64, OptionsError> {
        match self.keys.get(key).filter(|value| is_given(value)) {
            Some(value) => count(&self.path(key), value),
            None => Ok(default),
        }
    }

    fn above_zero(&self, key: &str, default: u64) -> Result<u64, OptionsError> {
        let found = self.count(key, default)?;
        if found == 0 {
            let text = format!("option `{}` must be above 0", self.path(key));
            return Err(OptionsError::Other(text));
        }
        Ok(found)
    }

    fn path(&self, key: &str) -> String {
        format!("scenarios.{}.{key}", self.name)
    }
}

/// What iterations get to end, unless it is written.
pub(super) const GRACE: Duration = Duration::from_secs(30);
/// When iterations of a given number end, unless it is written.
pub(super) const MAX_DURATION: Duration = Duration::from_secs(600);

/// The keys of every scenario.
const ALL_HAVE: &[&str] = &[
    "executor",
    "startTime",
    "gracefulStop",
    "exec",
    "env",
    "tags",
];

/// The executors with the keys that each has besides.
const EXECUTORS: &[(&str, &[&str])] = &[
    ("shared-iterations", &["vus", "iterations", "maxDuration"]),
    ("per-vu-iterations", &["vus", "iterations", "maxDuration"]),
    ("constant-vus", &["vus", "duration"]),
    ("ramping-vus", &["startVUs", "stages", "gracefulRampDown"]),
    (
        "constant-arrival-rate",
        &["rate", "timeUnit", "duration", "preAllocatedVUs", "maxVUs"],
    ),
    (
        "ramping-arrival-rate",
        &[
            "startRate",
            "timeUnit",
            "stages",
            "preAllocatedVUs",
            "maxVUs",
        ],
    ),
];
