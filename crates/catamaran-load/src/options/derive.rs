//! What the options of all sources together amount to.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::scenarios::{GRACE, MAX_DURATION};
use super::{Options, OptionsError};
use crate::metric::Registry;
use crate::scenario::{Executor, Overload, Scenario};
use crate::schedule::Stage;
use crate::threshold::Guarded;
use crate::time_text::{exact, millis};

/// Scenarios and thresholds, ready to be run.
#[derive(Clone, Debug)]
pub struct Derived {
    /// The scenarios, one at least.
    pub scenarios: Vec<Scenario>,
    /// What must hold.
    pub thresholds: Vec<Guarded>,
}

impl Options {
    /// The scenarios that the options ask for: those that are written, or one called `default`.
    pub fn derive_scenarios(&self) -> Result<Vec<Scenario>, OptionsError> {
        let said = [
            ("iterations", self.iterations.is_some()),
            ("stages", self.stages.is_some()),
            ("scenarios", self.scenarios.is_some()),
            (
                "duration",
                self.duration.is_some() && self.iterations.is_none(),
            ),
        ];
        let mut said = said
            .iter()
            .filter(|(_, is_said)| *is_said)
            .map(|(name, _)| *name);
        if let (Some(one), Some(other)) = (said.next(), said.next()) {
            return Err(OptionsError::Conflict(one, other));
        }
        if let Some(scenarios) = &self.scenarios {
            if scenarios.is_empty() {
                return Err(OptionsError::Other(
                    "`scenarios` is empty; write one".to_owned(),
                ));
            }
            return Ok(scenarios.clone());
        }
        let vus = self.vus.unwrap_or(1);
        let executor = match (self.iterations, &self.stages, self.duration) {
            (Some(iterations), ..) if iterations < vus => {
                let text = format!("{iterations} iterations do not suffice for {vus} VUs");
                return Err(OptionsError::Other(text));
            }
            (Some(iterations), _, duration) => Executor::SharedIterations {
                vus,
                iterations,
                max_duration: duration.unwrap_or(MAX_DURATION),
            },
            (None, Some(stages), _) => Executor::RampingVus {
                start_vus: vus,
                stages: stages.clone(),
                graceful_ramp_down: GRACE,
            },
            (None, None, Some(duration)) if duration.is_zero() => {
                return Err(OptionsError::Other("`duration` must be above 0".to_owned()));
            }
            (None, None, Some(duration)) => Executor::ConstantVus { vus, duration },
            (None, None, None) => Executor::PerVuIterations {
                vus: 1,
                iterations: 1,
                max_duration: MAX_DURATION,
            },
        };
        if executor.max_vus() == 0 {
            return Err(OptionsError::Other("`vus` must be above 0".to_owned()));
        }
        Ok(vec![Scenario {
            name: "default".to_owned(),
            executor,
            start_time: Duration::ZERO,
            graceful_stop: GRACE,
            exec: "default".to_owned(),
            env: BTreeMap::new(),
            tags: BTreeMap::new(),
            overload: Overload::Drop,
        }])
    }

    /// Finds the metrics of the thresholds, all declared by now, and checks that they fit.
    pub fn derive_thresholds(&self, registry: &mut Registry) -> Result<Vec<Guarded>, OptionsError> {
        let mut all = Vec::new();
        if self.no_thresholds == Some(true) {
            return Ok(all);
        }
        for (selector, thresholds) in self.thresholds.iter().flatten() {
            let sink = registry
                .select(selector)
                .map_err(|error| OptionsError::Other(format!("thresholds: {error}")))?;
            let kind = registry.sinks()[sink.index()];
            for threshold in thresholds {
                threshold
                    .check_kind(kind)
                    .map_err(|source| OptionsError::Threshold {
                        metric: selector.clone(),
                        source,
                    })?;
            }
            all.push(Guarded {
                selector: selector.clone(),
                sink,
                thresholds: thresholds.clone(),
            });
        }
        Ok(all)
    }

    /// What a script sees of all this: the scenarios as they are run, and what else was said.
    #[must_use]
    pub fn to_json(&self, scenarios: &[Scenario]) -> Value {
        let stage = |stage: &Stage| {
            let (duration, millis) = (exact(stage.duration), millis(stage.duration));
            json!({"duration": duration, "millis": millis, "target": stage.target})
        };
        let scenario = |scenario: &Scenario| {
            let stages = scenario.executor.stages().iter();
            let stages: Vec<Value> = stages.map(stage).collect();
            let value = json!({
                "stages": stages,
                "executor": scenario.executor.name(),
                "exec": scenario.exec,
                "startTime": exact(scenario.start_time),
                "gracefulStop": exact(scenario.graceful_stop),
                "env": scenario.env,
                "tags": scenario.tags,
            });
            (scenario.name.clone(), value)
        };
        let scenarios: Map<String, Value> = scenarios.iter().map(scenario).collect();
        let time = |time: &Option<Duration>| time.map(exact);
        json!({
            "scenarios": scenarios,
            "vus": self.vus,
            "iterations": self.iterations,
            "duration": time(&self.duration),
            "setupTimeout": time(&self.setup_timeout),
            "teardownTimeout": time(&self.teardown_timeout),
            "minIterationDuration": time(&self.min_iteration_duration),
            "userAgent": self.user_agent,
            "maxRedirects": self.max_redirects,
            "batch": self.batch,
            "batchPerHost": self.batch_per_host,
            "throw": self.throw,
            "discardResponseBodies": self.discard_response_bodies,
            "noConnectionReuse": self.no_connection_reuse,
            "noVUConnectionReuse": self.no_vu_connection_reuse,
            "noCookiesReset": self.no_cookies_reset,
            "insecureSkipTLSVerify": self.insecure_skip_tls_verify,
            "hosts": self.hosts,
            "tags": self.tags,
        })
    }

    /// Both together.
    pub fn derive(&self, registry: &mut Registry) -> Result<Derived, OptionsError> {
        Ok(Derived {
            scenarios: self.derive_scenarios()?,
            thresholds: self.derive_thresholds(registry)?,
        })
    }
}
