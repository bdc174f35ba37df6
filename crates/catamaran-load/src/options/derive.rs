//! What the options of all sources together amount to.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::scenarios::{GRACE, MAX_DURATION};
use super::{HttpDebug, Options, OptionsError};
use crate::metric::Registry;
use crate::scenario::{Executor, Overload, Scenario};
use crate::tags::usual_system_tags;
use crate::threshold::{Guarded, Threshold};
use crate::time_text::{TimeUnit, exact};

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
            // A number of virtual users alone: one iteration for each of them, as in k6.
            (None, None, None) if self.vus.is_some() => Executor::SharedIterations {
                vus,
                iterations: vus,
                max_duration: MAX_DURATION,
            },
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
        let own = |scenario: &Scenario| (scenario.name.clone(), scenario.to_json());
        let scenarios: Map<String, Value> = scenarios.iter().map(own).collect();
        let time = |time: &Option<Duration>| time.map(exact);
        let thresholds = self.thresholds.as_ref().map(|thresholds| {
            let lists = thresholds.iter().map(|(metric, list)| {
                let list: Vec<Value> = list.iter().map(Threshold::to_json).collect();
                (metric.clone(), Value::from(list))
            });
            lists.collect::<Map<String, Value>>()
        });
        let statistics = self.summary_trend_stats.as_ref();
        let statistics: Vec<String> = match statistics {
            Some(statistics) => statistics.iter().map(ToString::to_string).collect(),
            None => ["avg", "min", "med", "max", "p(90)", "p(95)"]
                .map(str::to_owned)
                .into(),
        };
        let networks = self.blacklist_ips.as_ref();
        let networks: Option<Vec<&String>> =
            networks.map(|networks| networks.iter().map(|(text, _)| text).collect());
        let words = self.dns.as_ref().map(|(_, words)| words);
        let word = |name: &str| words.and_then(|words| words.get(name));
        let dns = json!({"ttl": word("ttl"), "select": word("select"), "policy": word("policy")});
        let versions = self.tls_version.as_ref();
        let versions = versions.map(|(_, [min, max])| json!({"min": min, "max": max}));
        let suites = self.tls_cipher_suites.as_ref().map(|(_, names)| names);
        // With all names that k6 has, so that a script finds null where nothing was said.
        json!({
            "batch": self.batch,
            "batchPerHost": self.batch_per_host,
            "blacklistIPs": networks,
            "blockHostnames": self.block_hostnames,
            "consoleOutput": self.console_output,
            "discardResponseBodies": self.discard_response_bodies,
            "dns": dns,
            "executionSegment": null,
            "executionSegmentSequence": null,
            "ext": null,
            "features": null,
            "handleSummaryTimeout": time(&self.handle_summary_timeout),
            "hosts": self.hosts,
            "httpDebug": self.http_debug.map(HttpDebug::as_str),
            "insecureSkipTLSVerify": self.insecure_skip_tls_verify,
            "localIPs": self.local_ips.as_ref().map(|(_, text)| text),
            "maxRedirects": self.max_redirects,
            "metricSamplesBufferSize": null,
            "minIterationDuration": time(&self.min_iteration_duration),
            "noConnectionReuse": self.no_connection_reuse,
            "noCookiesReset": self.no_cookies_reset,
            "noSetup": self.no_setup,
            "noTeardown": self.no_teardown,
            "noVUConnectionReuse": self.no_vu_connection_reuse,
            "paused": self.paused,
            "rps": self.rps,
            "scenarios": scenarios,
            "setupTimeout": time(&self.setup_timeout),
            "summaryTimeUnit": self.summary_time_unit.map(TimeUnit::as_str),
            "summaryTrendStats": statistics,
            "systemTags": self.system_tags.clone().unwrap_or_else(usual_system_tags),
            "tags": self.tags,
            "teardownTimeout": time(&self.teardown_timeout),
            "thresholds": thresholds,
            "throw": self.throw,
            "tlsAuth": null,
            "tlsCipherSuites": suites,
            "tlsVersion": versions,
            "userAgent": self.user_agent,
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
