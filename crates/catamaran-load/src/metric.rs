//! The metrics of a run and their sub-metrics, by number.
//!
//! The registry is made before the run begins and does not change any more, so that every worker has
//! a sink for each number and nothing is looked up by name while requests are made.

use std::collections::HashMap;

use crate::sink::Kind;

/// A metric, by its number in the [`Registry`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MetricId(u32);

impl MetricId {
    /// The number, counted from 0.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }
}

/// The sink of a metric or of a sub-metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SinkId(u32);

impl SinkId {
    /// The number, counted from 0.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// What the values of a metric are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contains {
    /// Plain numbers.
    Default,
    /// Milliseconds.
    Time,
    /// Bytes.
    Data,
}

impl Contains {
    /// The name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Time => "time",
            Self::Data => "data",
        }
    }
}

/// One metric.
#[derive(Clone, Debug)]
pub struct Metric {
    /// The name, unique in a run.
    pub name: String,
    /// What its samples are added up to.
    pub kind: Kind,
    /// What its values are.
    pub contains: Contains,
    /// Where all of its samples go.
    pub sink: SinkId,
    /// Those that take only samples with certain tags.
    pub parts: Vec<Part>,
}

/// A sub-metric: the samples of a metric that bear certain tags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The whole name, `http_req_duration{scenario:a}`.
    pub name: String,
    /// What stands between the braces.
    pub suffix: String,
    /// The tags and values that a sample must have, all of them.
    pub tags: Vec<(String, String)>,
    /// Where the samples go.
    pub sink: SinkId,
}

/// Why a metric cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetricError {
    /// There is one of that name and of another kind.
    #[error("metric `{name}` is a {there}, not a {wanted}; give one of them another name")]
    Differs {
        /// The name.
        name: String,
        /// The kind that the name has.
        there: &'static str,
        /// The kind that was asked for.
        wanted: &'static str,
    },
    /// No metric is called so.
    #[error("no metric is called `{0}`{1}")]
    Unknown(String, String),
    /// A name with other characters, or too long.
    #[error(
        "`{0}` is no name for a metric: letters, digits and `_`, a letter or `_` first, 128 at most"
    )]
    Name(String),
    /// The braces of a sub-metric hold no tags.
    #[error("`{0}` is no sub-metric; write it as name{{tag:value,tag:value}}")]
    Tags(String),
}

/// All metrics of a run.
#[derive(Clone, Debug)]
pub struct Registry {
    metrics: Vec<Metric>,
    by_name: HashMap<String, MetricId>,
    sinks: Vec<Kind>,
}

/// Declares the metrics that every run has: constant, name, kind, contents.
macro_rules! builtin {
    ($($number:literal $constant:ident $name:literal $kind:ident $contains:ident;)*) => {
        /// The metrics that every run has.
        pub mod builtin {
            use super::MetricId;
            $(#[doc = concat!("`", $name, "`")] pub const $constant: MetricId = MetricId($number);)*
        }
        const BUILTIN: &[(&str, Kind, Contains)] = &[$(($name, Kind::$kind, Contains::$contains)),*];
    };
}

builtin! {
    0 HTTP_REQS "http_reqs" Counter Default;
    1 HTTP_REQ_FAILED "http_req_failed" Rate Default;
    2 HTTP_REQ_DURATION "http_req_duration" Trend Time;
    3 HTTP_REQ_BLOCKED "http_req_blocked" Trend Time;
    4 HTTP_REQ_CONNECTING "http_req_connecting" Trend Time;
    5 HTTP_REQ_TLS_HANDSHAKING "http_req_tls_handshaking" Trend Time;
    6 HTTP_REQ_SENDING "http_req_sending" Trend Time;
    7 HTTP_REQ_WAITING "http_req_waiting" Trend Time;
    8 HTTP_REQ_RECEIVING "http_req_receiving" Trend Time;
    9 HTTP_REQ_CORRECTED_DURATION "http_req_corrected_duration" Trend Time;
    10 ITERATION_DURATION "iteration_duration" Trend Time;
    11 ITERATION_LATENESS "iteration_lateness" Trend Time;
    12 GROUP_DURATION "group_duration" Trend Time;
    13 ITERATIONS "iterations" Counter Default;
    14 DROPPED_ITERATIONS "dropped_iterations" Counter Default;
    15 CHECKS "checks" Rate Default;
    16 DATA_SENT "data_sent" Counter Data;
    17 DATA_RECEIVED "data_received" Counter Data;
    18 VUS "vus" Gauge Default;
    19 VUS_MAX "vus_max" Gauge Default;
    20 EXCHANGES "exchanges" Counter Default;
    21 EXCHANGE_FAILED "exchange_failed" Rate Default;
    22 EXCHANGE_DURATION "exchange_duration" Trend Time;
    23 EXCHANGE_CORRECTED_DURATION "exchange_corrected_duration" Trend Time;
    24 EXCHANGE_CONNECTING "exchange_connecting" Trend Time;
    25 SCHEDULE_LATENESS "schedule_lateness" Trend Time;
    26 WS_SESSIONS "ws_sessions" Counter Default;
    27 WS_MSGS_SENT "ws_msgs_sent" Counter Default;
    28 WS_MSGS_RECEIVED "ws_msgs_received" Counter Default;
    29 WS_CONNECTING "ws_connecting" Trend Time;
    30 WS_SESSION_DURATION "ws_session_duration" Trend Time;
    31 WS_PING "ws_ping" Trend Time;
    32 GRPC_REQ_DURATION "grpc_req_duration" Trend Time;
    33 GRPC_STREAMS "grpc_streams" Counter Default;
    34 GRPC_STREAMS_MSGS_SENT "grpc_streams_msgs_sent" Counter Default;
    35 GRPC_STREAMS_MSGS_RECEIVED "grpc_streams_msgs_received" Counter Default;
    36 THROWN_ITERATIONS "thrown_iterations" Counter Default;
}

impl Default for Registry {
    fn default() -> Self {
        let mut registry = Self {
            metrics: Vec::new(),
            by_name: HashMap::new(),
            sinks: Vec::new(),
        };
        for &(name, kind, contains) in BUILTIN {
            registry.insert(name, kind, contains);
        }
        registry
    }
}

impl Registry {
    /// Returns one with the built-in metrics.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the metric of this name, a new one unless it exists alike.
    pub fn declare(
        &mut self,
        name: &str,
        kind: Kind,
        contains: Contains,
    ) -> Result<MetricId, MetricError> {
        if let Some(&id) = self.by_name.get(name) {
            let there = &self.metrics[id.0 as usize];
            if there.kind == kind && there.contains == contains {
                return Ok(id);
            }
            return Err(MetricError::Differs {
                name: name.to_owned(),
                there: there.kind.name(),
                wanted: kind.name(),
            });
        }
        if !is_name(name) {
            return Err(MetricError::Name(name.to_owned()));
        }
        Ok(self.insert(name, kind, contains))
    }

    /// Returns the sink of `selector`, a metric's name or `name{tag:value,…}`; a sub-metric that is
    /// not there yet is made.
    pub fn select(&mut self, selector: &str) -> Result<SinkId, MetricError> {
        let (name, suffix) = match selector.split_once('{') {
            None => (selector, None),
            Some((name, rest)) => {
                let tags = rest.trim_end().strip_suffix('}');
                let tags = tags.ok_or_else(|| MetricError::Tags(selector.to_owned()))?;
                (name, Some(tags))
            }
        };
        let name = name.trim();
        let id = self.named(name)?;
        let Some(suffix) = suffix.filter(|suffix| !suffix.trim().is_empty()) else {
            return Ok(self.metrics[id.0 as usize].sink);
        };
        let tags = read_tags(suffix).ok_or_else(|| MetricError::Tags(selector.to_owned()))?;
        let metric = &self.metrics[id.0 as usize];
        if let Some(part) = metric.parts.iter().find(|part| part.suffix == suffix) {
            return Ok(part.sink);
        }
        let sink = self.new_sink(metric.kind);
        self.metrics[id.0 as usize].parts.push(Part {
            name: format!("{name}{{{suffix}}}"),
            suffix: suffix.to_owned(),
            tags,
            sink,
        });
        Ok(sink)
    }

    /// The metric of this name.
    pub fn named(&self, name: &str) -> Result<MetricId, MetricError> {
        self.by_name.get(name).copied().ok_or_else(|| {
            let nearest = self
                .metrics
                .iter()
                .find(|metric| resembles(&metric.name, name));
            let hint = nearest.map_or_else(String::new, |metric| {
                format!("; did you mean `{}`?", metric.name)
            });
            MetricError::Unknown(name.to_owned(), hint)
        })
    }

    /// The metric of this number, if there is one.
    #[must_use]
    pub fn at(&self, number: u32) -> Option<MetricId> {
        (self.metrics.len() > number as usize).then_some(MetricId(number))
    }

    /// One metric.
    #[must_use]
    pub fn metric(&self, id: MetricId) -> &Metric {
        &self.metrics[id.0 as usize]
    }

    /// All metrics, in the order they were declared.
    #[must_use]
    pub fn metrics(&self) -> &[Metric] {
        &self.metrics
    }

    /// The kinds of all sinks, by number.
    #[must_use]
    pub fn sinks(&self) -> &[Kind] {
        &self.sinks
    }

    /// The sinks of sub-metrics that take a sample with these tags, with their metrics.
    #[must_use]
    pub fn parts_for(&self, tags: &[(String, String)]) -> Vec<(MetricId, SinkId)> {
        let mut found = Vec::new();
        for (number, metric) in self.metrics.iter().enumerate() {
            let id = MetricId(u32::try_from(number).unwrap_or(u32::MAX));
            let parts = metric.parts.iter();
            let fitting = parts.filter(|part| part.tags.iter().all(|pair| tags.contains(pair)));
            found.extend(fitting.map(|part| (id, part.sink)));
        }
        found
    }

    fn insert(&mut self, name: &str, kind: Kind, contains: Contains) -> MetricId {
        let id = MetricId(u32::try_from(self.metrics.len()).unwrap_or(u32::MAX));
        let sink = self.new_sink(kind);
        self.metrics.push(Metric {
            name: name.to_owned(),
            kind,
            contains,
            sink,
            parts: Vec::new(),
        });
        self.by_name.insert(name.to_owned(), id);
        id
    }

    fn new_sink(&mut self, kind: Kind) -> SinkId {
        let id = SinkId(u32::try_from(self.sinks.len()).unwrap_or(u32::MAX));
        self.sinks.push(kind);
        id
    }
}

/// Reads `tag:value,tag2:v2`; quotes around names and values fall away.
fn read_tags(text: &str) -> Option<Vec<(String, String)>> {
    let bare = |text: &str| text.trim().trim_matches(['"', '\'']).to_owned();
    text.split(',')
        .map(|pair| {
            let (name, value) = pair.split_once(':')?;
            Some((bare(name), bare(value)))
        })
        .collect()
}

fn is_name(name: &str) -> bool {
    let mut chars = name.chars();
    let first = chars.next();
    name.len() <= 128
        && first.is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Whether two names differ by so little that one may be meant for the other.
fn resembles(known: &str, written: &str) -> bool {
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', '_', ' '], "");
    let (known, written) = (plain(known), plain(written));
    let common = known
        .bytes()
        .zip(written.bytes())
        .take_while(|(a, b)| a == b);
    let common = common.count();
    known == written
        || (common >= 5 && known.len().abs_diff(common) <= 2 && written.len().abs_diff(common) <= 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_name_the_metrics_they_stand_for() {
        let registry = Registry::new();
        for (id, name) in [
            (builtin::HTTP_REQS, "http_reqs"),
            (
                builtin::HTTP_REQ_CORRECTED_DURATION,
                "http_req_corrected_duration",
            ),
            (builtin::VUS_MAX, "vus_max"),
            (builtin::SCHEDULE_LATENESS, "schedule_lateness"),
            (
                builtin::GRPC_STREAMS_MSGS_RECEIVED,
                "grpc_streams_msgs_received",
            ),
        ] {
            assert_eq!(registry.named(name), Ok(id));
        }
    }

    #[test]
    fn a_metric_declared_twice_is_one() {
        let mut registry = Registry::new();
        let one = registry
            .declare("mine", Kind::Trend, Contains::Time)
            .unwrap();
        assert_eq!(
            registry.declare("mine", Kind::Trend, Contains::Time),
            Ok(one)
        );
        assert!(
            registry
                .declare("mine", Kind::Rate, Contains::Default)
                .is_err()
        );
        for name in ["", "1a", "a-b", "a b", &"a".repeat(129)] {
            let declared = registry.declare(name, Kind::Rate, Contains::Default);
            assert_eq!(declared, Err(MetricError::Name(name.to_owned())));
        }
    }

    #[test]
    fn a_sub_metric_takes_the_samples_with_all_of_its_tags() {
        let mut registry = Registry::new();
        let whole = registry.select("http_req_duration").unwrap();
        let part = registry
            .select("http_req_duration{status:200, 'name':\"home\"}")
            .unwrap();
        assert_ne!(whole, part);
        let tag = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let both = [tag("name", "home"), tag("status", "200")];
        assert_eq!(
            registry.parts_for(&both),
            [(builtin::HTTP_REQ_DURATION, part)]
        );
        assert!(registry.parts_for(&both[..1]).is_empty());
        assert_eq!(registry.select("http_req_duration{}"), Ok(whole));
        assert!(registry.select("http_req_duration{status}").is_err());
        assert!(registry.select("http_req_duration{status:200").is_err());
    }

    #[test]
    fn a_name_that_is_nearly_right_is_suggested() {
        let error = Registry::new().named("http_req_durations").unwrap_err();
        assert!(
            error
                .to_string()
                .contains("did you mean `http_req_duration`?")
        );
        let error = Registry::new().named("nonsense").unwrap_err();
        assert_eq!(error.to_string(), "no metric is called `nonsense`");
    }
}
