//! Reads the options of a script and of the environment.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Map, Value};

use super::{HttpDebug, Options, OptionsError, network, read_scenarios};
use crate::schedule::Stage;
use crate::sink::Statistic;
use crate::threshold::Threshold;
use crate::time_text::{TimeUnit, parse_duration};

impl Options {
    /// Reads `options` of a script. What is no option is noted in [`Self::unknown`].
    pub fn from_script(value: &Value) -> Result<Self, OptionsError> {
        let Value::Object(map) = value else {
            return Err(kind("options", value, "an object"));
        };
        let mut options = Self::default();
        for (name, value) in map.iter().filter(|(_, value)| !value.is_null()) {
            let is_it = |known: &&&str| known.eq_ignore_ascii_case(name);
            let name = NAMES
                .iter()
                .find(is_it)
                .map_or(name.as_str(), |known| known);
            options.set(name, value)?;
        }
        Ok(options)
    }

    /// Reads `K6_*` variables; others are passed over.
    pub fn from_environment(
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, OptionsError> {
        let mut options = Self::default();
        for (variable, text) in variables.filter(|(_, text)| !text.is_empty()) {
            let Some((_, name)) = ENVIRONMENT.iter().find(|(known, _)| *known == variable) else {
                continue;
            };
            let value = match *name {
                "stages" => stages_from_text(&text)?,
                "summaryTrendStats" | "systemTags" | "blockHostnames" | "blacklistIPs"
                | "tlsCipherSuites" => text.split(',').map(str::trim).collect(),
                "consoleOutput" | "httpDebug" | "localIPs" | "userAgent" => Value::String(text),
                "dns" | "tags" => pairs_from_text(name, &text)?,
                _ => serde_json::from_str(&text).unwrap_or(Value::String(text)),
            };
            options.set(name, &value)?;
        }
        Ok(options)
    }

    /// Whether a variable of the environment stands for an option.
    #[cfg(feature = "scripts")]
    pub(crate) fn has_variable(variable: &str) -> bool {
        ENVIRONMENT.iter().any(|(known, _)| *known == variable)
    }

    fn set(&mut self, name: &str, value: &Value) -> Result<(), OptionsError> {
        // Scripts that hand on what the environment says hand on that it says nothing.
        if NUMBERS.contains(&name) && !is_given(value) {
            return Ok(());
        }
        match name {
            "vus" => self.vus = Some(count(name, value)?),
            "duration" => self.duration = Some(duration(name, value)?),
            "iterations" => self.iterations = Some(count(name, value)?),
            "stages" => self.stages = Some(stages(name, value)?),
            "scenarios" => self.scenarios = Some(read_scenarios(object(name, value)?)?),
            "thresholds" => self.thresholds = Some(thresholds(object(name, value)?)?),
            "setupTimeout" => self.setup_timeout = Some(duration(name, value)?),
            "teardownTimeout" => self.teardown_timeout = Some(duration(name, value)?),
            "noSetup" => self.no_setup = Some(truth(name, value)?),
            "noTeardown" => self.no_teardown = Some(truth(name, value)?),
            "noThresholds" => self.no_thresholds = Some(truth(name, value)?),
            "minIterationDuration" => self.min_iteration_duration = Some(duration(name, value)?),
            "summaryTrendStats" => self.summary_trend_stats = Some(statistics(name, value)?),
            "tags" => self.tags = Some(texts(name, value)?),
            "userAgent" => self.user_agent = Some(text(name, value)?),
            "maxRedirects" => self.max_redirects = Some(small(name, value)?),
            "discardResponseBodies" => self.discard_response_bodies = Some(truth(name, value)?),
            "noConnectionReuse" => self.no_connection_reuse = Some(truth(name, value)?),
            "noVUConnectionReuse" => self.no_vu_connection_reuse = Some(truth(name, value)?),
            "throw" => self.throw = Some(truth(name, value)?),
            "batch" => self.batch = Some(small(name, value)?),
            "batchPerHost" => self.batch_per_host = Some(small(name, value)?),
            "http3" if !cfg!(feature = "http3") => return Err(unsupported(name)),
            "http3" => self.http3 = Some(truth(name, value)?),
            "noCookiesReset" => self.no_cookies_reset = Some(truth(name, value)?),
            "hosts" => self.hosts = Some(texts(name, value)?),
            "blockHostnames" => self.block_hostnames = Some(network::patterns(name, value)?),
            "blacklistIPs" => self.blacklist_ips = Some(network::networks(name, value)?),
            "dns" => self.dns = Some(network::dns(name, value)?),
            "rps" => self.rps = Some(small(name, value)?),
            "summaryTimeUnit" => self.summary_time_unit = TimeUnit::read(&text(name, value)?),
            "tlsAuth" => self.tls_auth = Some(network::identities(name, value)?),
            "tlsVersion" => self.tls_version = Some(network::versions(name, value)?),
            "tlsCipherSuites" => self.tls_cipher_suites = Some(network::suites(name, value)?),
            "localIPs" => self.local_ips = network::sources(name, value)?,
            "httpDebug" => self.http_debug = http_debug(name, value)?,
            "consoleOutput" => self.console_output = Some(text(name, value)?),
            "handleSummaryTimeout" => self.handle_summary_timeout = Some(duration(name, value)?),
            "systemTags" => self.system_tags = Some(names(name, value)?),
            "insecureSkipTLSVerify" => self.insecure_skip_tls_verify = Some(truth(name, value)?),
            // For k6's own cloud and for what has no bearing here; scripts carry them around.
            "cloud" | "ext" | "metricSamplesBufferSize" | "noColor" | "noUsageReport" => {}
            "paused" if !truth(name, value)? => self.paused = Some(false),
            _ if UNSUPPORTED.iter().any(|(known, _)| *known == name) => {
                return Err(unsupported(name));
            }
            // As k6 does: scripts keep things of their own there.
            _ => self.unknown.push(name.to_owned()),
        }
        Ok(())
    }
}

/// `full`, or anything else for heads alone, as k6 takes it; an empty text is for neither.
fn http_debug(name: &str, value: &Value) -> Result<Option<HttpDebug>, OptionsError> {
    Ok(match text(name, value)?.as_str() {
        "" => None,
        "full" => Some(HttpDebug::Full),
        _ => Some(HttpDebug::Heads),
    })
}

fn unsupported(name: &str) -> OptionsError {
    let known = UNSUPPORTED.iter().find(|(known, _)| *known == name);
    OptionsError::Unsupported {
        name: name.to_owned(),
        remedy: known.map_or("remove it", |(_, remedy)| remedy),
    }
}

pub(super) fn kind(name: &str, value: &Value, expected: &'static str) -> OptionsError {
    OptionsError::Kind {
        name: name.to_owned(),
        found: value.to_string(),
        expected,
    }
}

/// Whether there is a value: an empty text is none, where numbers are written as text.
pub(super) fn is_given(value: &Value) -> bool {
    !value.is_null() && value.as_str() != Some("")
}

/// A whole number, also as text: `vus: __ENV.VUS`.
pub(super) fn count(name: &str, value: &Value) -> Result<u64, OptionsError> {
    let text = value.as_str().and_then(|text| text.parse().ok());
    let whole = text.or_else(|| value.as_u64()).or_else(|| {
        // JavaScript has no integers: 1e3 arrives as 1000.0.
        let number = value.as_f64()?;
        let fits = number.fract() == 0.0 && (0.0..=1e15).contains(&number);
        fits.then(|| format!("{number:.0}").parse().ok()).flatten()
    });
    whole.ok_or_else(|| kind(name, value, "a whole number, 0 or more"))
}

fn small(name: &str, value: &Value) -> Result<u32, OptionsError> {
    let number = count(name, value)?;
    u32::try_from(number).map_err(|_| kind(name, value, "a number of that size"))
}

pub(super) fn duration(name: &str, value: &Value) -> Result<Duration, OptionsError> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(millis) => millis.to_string(),
        _ => return Err(kind(name, value, "a time such as \"30s\"")),
    };
    parse_duration(&text).map_err(|source| OptionsError::Duration {
        name: name.to_owned(),
        source,
    })
}

fn truth(name: &str, value: &Value) -> Result<bool, OptionsError> {
    value
        .as_bool()
        .ok_or_else(|| kind(name, value, "true or false"))
}

pub(super) fn text(name: &str, value: &Value) -> Result<String, OptionsError> {
    let text = value.as_str().map(str::to_owned);
    text.ok_or_else(|| kind(name, value, "a text"))
}

pub(super) fn object<'a>(
    name: &str,
    value: &'a Value,
) -> Result<&'a Map<String, Value>, OptionsError> {
    value
        .as_object()
        .ok_or_else(|| kind(name, value, "an object"))
}

/// An object whose values are texts, or numbers and truths taken as such.
pub(super) fn texts(name: &str, value: &Value) -> Result<BTreeMap<String, String>, OptionsError> {
    let as_text = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(_) | Value::Bool(_) => Ok(value.to_string()),
        _ => Err(kind(name, value, "a text")),
    };
    let pairs = object(name, value)?.iter();
    pairs
        .map(|(key, value)| Ok((key.clone(), as_text(value)?)))
        .collect()
}

pub(super) fn stages(name: &str, value: &Value) -> Result<Vec<Stage>, OptionsError> {
    let list = value
        .as_array()
        .ok_or_else(|| kind(name, value, "a list of {duration, target}"))?;
    let stage = |value: &Value| {
        let map = object(name, value)?;
        let part = |key: &str| map.get(key).unwrap_or(&Value::Null);
        #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
        let target = count(&format!("{name}.target"), part("target"))? as f64;
        Ok(Stage {
            duration: duration(&format!("{name}.duration"), part("duration"))?,
            target,
        })
    };
    list.iter().map(stage).collect()
}

fn statistics(name: &str, value: &Value) -> Result<Vec<Statistic>, OptionsError> {
    let expected = "a list of avg, min, med, max, count and p(N)";
    let list = value
        .as_array()
        .ok_or_else(|| kind(name, value, expected))?;
    let read = |value: &Value| {
        let read = value.as_str().and_then(Statistic::read);
        read.filter(|statistic| !matches!(statistic, Statistic::Rate | Statistic::Value))
            .ok_or_else(|| kind(name, value, expected))
    };
    list.iter().map(read).collect()
}

pub(super) fn names(name: &str, value: &Value) -> Result<BTreeSet<String>, OptionsError> {
    let list = value
        .as_array()
        .ok_or_else(|| kind(name, value, "a list of texts"))?;
    list.iter().map(|value| text(name, value)).collect()
}

fn thresholds(map: &Map<String, Value>) -> Result<Vec<(String, Vec<Threshold>)>, OptionsError> {
    let of_metric = |(metric, value): (&String, &Value)| {
        let alone = [value.clone()];
        let list = value.as_array().map_or(&alone[..], Vec::as_slice);
        let read = |value: &Value| threshold(metric, value);
        let thresholds = list.iter().map(read).collect::<Result<_, _>>()?;
        Ok((metric.clone(), thresholds))
    };
    map.iter().map(of_metric).collect()
}

/// A text, or `{threshold, abortOnFail, delayAbortEval}`.
fn threshold(metric: &str, value: &Value) -> Result<Threshold, OptionsError> {
    let name = format!("thresholds.{metric}");
    let read = |text: &str| {
        Threshold::read(text).map_err(|source| OptionsError::Threshold {
            metric: metric.to_owned(),
            source,
        })
    };
    if let Some(text) = value.as_str() {
        return read(text);
    }
    let map = object(&name, value)?;
    let mut threshold = read(&text(&name, map.get("threshold").unwrap_or(&Value::Null))?)?;
    if let Some(abort) = map.get("abortOnFail") {
        threshold.abort_on_fail = truth(&format!("{name}.abortOnFail"), abort)?;
    }
    if let Some(delay) = map.get("delayAbortEval").filter(|delay| !delay.is_null()) {
        threshold.delay_abort = duration(&format!("{name}.delayAbortEval"), delay)?;
    }
    Ok(threshold)
}

/// `5s:10,1m:20`
fn stages_from_text(text: &str) -> Result<Value, OptionsError> {
    let stage = |stage: &str| {
        let form = || kind("stages", &Value::from(text), "stages such as 5s:10,1m:20");
        let (duration, target) = stage.split_once(':').ok_or_else(form)?;
        let target: u64 = target.trim().parse().map_err(|_| form())?;
        Ok(serde_json::json!({"duration": duration.trim(), "target": target}))
    };
    text.split(',').map(stage).collect()
}

/// `name:value,name2:value2` as k6 has it, or with `=` as on its command line.
fn pairs_from_text(name: &str, text: &str) -> Result<Value, OptionsError> {
    let pairs = text.split(',').map(|pair| {
        let (key, value) = pair
            .split_once([':', '='])
            .ok_or_else(|| kind(name, &Value::from(text), "pairs such as a:1,b:2"))?;
        Ok((key.trim().to_owned(), Value::from(value.trim())))
    });
    Ok(Value::Object(pairs.collect::<Result<_, OptionsError>>()?))
}

/// All options, as they are written; k6 takes them in any case.
const NAMES: &[&str] = &[
    "batch",
    "batchPerHost",
    "blacklistIPs",
    "blockHostnames",
    "cloud",
    "consoleOutput",
    "discardResponseBodies",
    "dns",
    "duration",
    "ext",
    "handleSummaryTimeout",
    "hosts",
    "http3",
    "httpDebug",
    "insecureSkipTLSVerify",
    "iterations",
    "localIPs",
    "maxRedirects",
    "metricSamplesBufferSize",
    "minIterationDuration",
    "noColor",
    "noConnectionReuse",
    "noCookiesReset",
    "noSetup",
    "noTeardown",
    "noThresholds",
    "noUsageReport",
    "noVUConnectionReuse",
    "paused",
    "rps",
    "scenarios",
    "setupTimeout",
    "stages",
    "summaryTimeUnit",
    "summaryTrendStats",
    "systemTags",
    "tags",
    "teardownTimeout",
    "thresholds",
    "throw",
    "tlsAuth",
    "tlsCipherSuites",
    "tlsVersion",
    "userAgent",
    "vus",
];

/// Options that are numbers.
const NUMBERS: &[&str] = &[
    "vus",
    "iterations",
    "maxRedirects",
    "batch",
    "batchPerHost",
    "rps",
];

/// Variables and the options they stand for.
const ENVIRONMENT: &[(&str, &str)] = &[
    ("K6_VUS", "vus"),
    ("K6_DURATION", "duration"),
    ("K6_ITERATIONS", "iterations"),
    ("K6_STAGES", "stages"),
    ("K6_SETUP_TIMEOUT", "setupTimeout"),
    ("K6_TEARDOWN_TIMEOUT", "teardownTimeout"),
    ("K6_NO_SETUP", "noSetup"),
    ("K6_NO_TEARDOWN", "noTeardown"),
    ("K6_NO_THRESHOLDS", "noThresholds"),
    ("K6_MIN_ITERATION_DURATION", "minIterationDuration"),
    ("K6_SUMMARY_TREND_STATS", "summaryTrendStats"),
    ("K6_TAGS", "tags"),
    ("K6_USER_AGENT", "userAgent"),
    ("K6_MAX_REDIRECTS", "maxRedirects"),
    ("K6_DISCARD_RESPONSE_BODIES", "discardResponseBodies"),
    ("K6_NO_CONNECTION_REUSE", "noConnectionReuse"),
    ("K6_NO_VU_CONNECTION_REUSE", "noVUConnectionReuse"),
    ("K6_THROW", "throw"),
    ("K6_BATCH", "batch"),
    ("K6_BATCH_PER_HOST", "batchPerHost"),
    ("K6_NO_COOKIES_RESET", "noCookiesReset"),
    ("K6_BLOCK_HOSTNAMES", "blockHostnames"),
    ("K6_BLACKLIST_IPS", "blacklistIPs"),
    ("K6_DNS", "dns"),
    ("K6_RPS", "rps"),
    ("K6_LOCAL_IPS", "localIPs"),
    ("K6_HTTP_DEBUG", "httpDebug"),
    ("K6_TLS_CIPHER_SUITES", "tlsCipherSuites"),
    ("K6_CONSOLE_OUTPUT", "consoleOutput"),
    ("K6_HANDLE_SUMMARY_TIMEOUT", "handleSummaryTimeout"),
    ("K6_PAUSED", "paused"),
    ("K6_EXECUTION_SEGMENT", "executionSegment"),
    ("K6_EXECUTION_SEGMENT_SEQUENCE", "executionSegmentSequence"),
    ("K6_SUMMARY_TIME_UNIT", "summaryTimeUnit"),
    ("K6_SYSTEM_TAGS", "systemTags"),
    ("K6_INSECURE_SKIP_TLS_VERIFY", "insecureSkipTLSVerify"),
];

/// Options of k6 that are not there yet, and what to do without them.
const UNSUPPORTED: &[(&str, &str)] = &[
    (
        "http3",
        "this program was built without it (the feature load-http3)",
    ),
    (
        "executionSegment",
        "have the machines share the run with --agents",
    ),
    (
        "executionSegmentSequence",
        "have the machines share the run with --agents",
    ),
    ("paused", "start the run when it is to begin"),
    ("execution", "it is called `scenarios`"),
];
