//! What a run without a script is told.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::agents::Agents;
use crate::client::{HeaderError, ProxyHeader, UrlError};
use crate::metric::{MetricError, Registry};
use crate::output::Target;
use crate::record::{CompareError, Keep};
use crate::scenario::{Executor, Overload, Scenario};
use crate::schedule::Stage;
use crate::threshold::{Guarded, Threshold, ThresholdError};

/// A run without a script.
#[derive(Clone, Debug)]
pub struct PlainOptions {
    /// Where requests go: URLs, or `HOST:PORT` of a raw protocol.
    pub targets: Vec<String>,
    /// How often each target is asked, relative to the others; as many as targets, or none.
    pub weights: Vec<u32>,
    /// What is spoken.
    pub protocol: Protocol,
    /// The version of HTTP.
    pub version: Version,
    /// What is sent.
    pub exchange: Exchange,
    /// How requests begin.
    pub model: Model,
    /// How long.
    pub duration: Duration,
    /// How rate or virtual users move, in place of `duration`.
    pub stages: Vec<Stage>,
    /// How long a request may take, connecting included.
    pub timeout: Duration,
    /// Connections at most, of an open model.
    pub max_connections: u64,
    /// Worker threads; as many as processors without.
    pub workers: Option<u64>,
    /// What must hold, each as `EXPRESSION` or `METRIC:EXPRESSION`.
    pub thresholds: Vec<String>,
    /// The condition of which the greatest rate is searched.
    pub find_max: Option<String>,
    /// Whether the result is printed as JSON.
    pub is_json: bool,
    /// Whether phases and everything else are printed.
    pub is_full: bool,
    /// Whether nothing is printed while it runs.
    pub is_quiet: bool,
    /// Where every sample goes.
    pub outputs: Vec<Target>,
    /// What of it is written to files.
    pub keep: Keep,
    /// Who does the work, if it is not this process.
    pub agents: Option<Agents>,
}

/// What is spoken to the targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP.
    Http,
    /// Bytes over TCP: what is sent is answered by at least so many bytes.
    Tcp {
        /// Bytes that an answer has.
        answer_bytes: usize,
    },
    /// Datagrams, each answered by one.
    Udp,
    /// Messages over WebSockets, each answered by one.
    WebSocket,
}

/// A version of HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2: by ALPN of `https`, and known beforehand of `http` (h2c).
    Http2,
    /// HTTP/3, of `https` only.
    Http3,
}

/// What is sent, and over what.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The method, of HTTP.
    pub method: String,
    /// Header fields, of HTTP.
    pub fields: Vec<(String, String)>,
    /// The body, or the bytes of a raw protocol.
    pub body: Option<Vec<u8>>,
    /// A unix socket in place of the address.
    pub unix: Option<PathBuf>,
    /// Whether connections begin with a PROXY header.
    pub proxy: ProxyHeader,
    /// Whether connections serve more than one request.
    pub keeps_connections: bool,
    /// Whether certificates of `https` are verified.
    pub verifies: bool,
}

/// How requests begin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Model {
    /// So many a second, whatever becomes of them.
    Open {
        /// Requests a second.
        rate: f64,
    },
    /// When the one before has ended.
    Closed {
        /// Virtual users.
        vus: u64,
    },
}

/// Why a run cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum UsageError {
    /// A URL cannot be asked.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// A header field or the method is none.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A threshold cannot be read.
    #[error(transparent)]
    Threshold(#[from] ThresholdError),
    /// A threshold names no metric.
    #[error(transparent)]
    Metric(#[from] MetricError),
    /// What is compared with is no run.
    #[error(transparent)]
    Compare(#[from] CompareError),
    /// Something else does not fit.
    #[error("{0}")]
    Other(String),
    /// The name of a target has no address.
    #[error("`{name}` has no address")]
    Lookup {
        /// The name.
        name: String,
        /// What the system says.
        source: std::io::Error,
    },
}

impl PlainOptions {
    /// The scenario that does what is asked, at `rate` a second if one is given.
    #[must_use]
    pub fn scenario(&self, rate: Option<f64>, duration: Duration) -> Scenario {
        let model = rate.map_or(self.model, |rate| Model::Open { rate });
        let stages = if rate.is_some() { &[] } else { &*self.stages };
        let second = Duration::from_secs(1);
        let initial = self.max_connections.min(INITIAL_CONNECTIONS);
        let executor = match (model, stages.is_empty()) {
            (Model::Open { rate }, true) => Executor::ConstantArrivalRate {
                rate,
                time_unit: second,
                duration,
                pre_allocated_vus: initial,
                max_vus: self.max_connections,
            },
            (Model::Open { rate }, false) => Executor::RampingArrivalRate {
                start_rate: rate,
                time_unit: second,
                stages: stages.to_vec(),
                pre_allocated_vus: initial,
                max_vus: self.max_connections,
            },
            (Model::Closed { vus }, true) => Executor::ConstantVus { vus, duration },
            (Model::Closed { vus }, false) => Executor::RampingVus {
                start_vus: vus,
                stages: stages.to_vec(),
                graceful_ramp_down: self.timeout,
            },
        };
        Scenario {
            name: "default".to_owned(),
            executor,
            start_time: Duration::ZERO,
            graceful_stop: self.timeout + second,
            exec: "default".to_owned(),
            env: BTreeMap::new(),
            tags: BTreeMap::new(),
            overload: Overload::Queue,
        }
    }

    /// The metric that thresholds without a name are of: what a user would have seen.
    #[must_use]
    pub fn main_metric(&self) -> &'static str {
        match (self.protocol, self.model) {
            (Protocol::Http, Model::Open { .. }) => "http_req_corrected_duration",
            (Protocol::Http, Model::Closed { .. }) => "http_req_duration",
            (_, Model::Open { .. }) => "exchange_corrected_duration",
            (_, Model::Closed { .. }) => "exchange_duration",
        }
    }

    /// Reads the thresholds.
    pub fn guarded(&self, registry: &mut Registry) -> Result<Vec<Guarded>, UsageError> {
        let mut all: Vec<Guarded> = Vec::new();
        for text in &self.thresholds {
            // Tags have colons too, but only between braces.
            let colon = text.rfind('}').map_or_else(
                || text.find(':'),
                |brace| text[brace..].find(':').map(|at| brace + at),
            );
            let (selector, expression) = match colon {
                Some(at) => (text[..at].trim(), text[at + 1..].trim()),
                None => (self.main_metric(), text.trim()),
            };
            let sink = registry.select(selector)?;
            let threshold = Threshold::read(expression)?;
            threshold.check_kind(registry.sinks()[sink.index()])?;
            match all.iter_mut().find(|guarded| guarded.sink == sink) {
                Some(guarded) => guarded.thresholds.push(threshold),
                None => all.push(Guarded {
                    selector: selector.to_owned(),
                    sink,
                    thresholds: vec![threshold],
                }),
            }
        }
        Ok(all)
    }

    /// Finds what contradicts itself.
    pub fn check(&self) -> Result<(), UsageError> {
        let problem = match () {
            () if self.targets.is_empty() => {
                "no target; write a URL such as http://127.0.0.1:8080/"
            }
            () if !self.weights.is_empty() && self.weights.len() != self.targets.len() => {
                "--weights must have as many numbers as there are targets, such as --weights 3,1"
            }
            () if self.weights.iter().all(|&weight| weight == 0) && !self.weights.is_empty() => {
                "one of --weights at least must be above 0"
            }
            () if self.find_max.is_some() && self.agents.is_some() => {
                "--find-max does not go with --agents; search the rate with one of them alone, and multiply"
            }
            () if self.duration.is_zero() && self.stages.is_empty() => "--duration must be above 0",
            () if self.timeout.is_zero() => "--timeout must be above 0",
            () if self.max_connections == 0 => "--max-connections must be 1 at least",
            () if self.find_max.is_some() && !self.stages.is_empty() => {
                "--find-max chooses the rate itself; leave --stage out"
            }
            () if self.exchange.unix.is_some() && self.protocol == Protocol::Udp => {
                "--unix and --udp do not go together"
            }
            () if self.protocol != Protocol::Http && self.version != Version::Http1 => {
                "--http2 and --http3 do not go together with another protocol"
            }
            () if self.version == Version::Http3 && !cfg!(feature = "http3") => {
                "this program was built without HTTP/3 (the feature load-http3)"
            }
            () if self.version == Version::Http3
                && (self.exchange.unix.is_some() || self.exchange.proxy != ProxyHeader::None) =>
            {
                "--http3 goes over UDP; leave out --unix and --proxy-protocol"
            }
            () if self.version == Version::Http3
                && self
                    .targets
                    .iter()
                    .any(|target| target.starts_with("http://")) =>
            {
                "--http3 is spoken with https only; write https://"
            }
            () if self.protocol != Protocol::Http && self.exchange.body.is_none() => {
                "--tcp, --udp and --ws need something to send; give it with --data or --data-file"
            }
            () if matches!(self.model, Model::Open { rate } if !(rate.is_finite() && (0.0..=1e9).contains(&rate))) => {
                "--rate must be a number from 0 to 1000000000"
            }
            () if matches!(self.model, Model::Closed { vus: 0 }) && self.stages.is_empty() => {
                "--vus must be 1 at least"
            }
            () => return Ok(()),
        };
        Err(UsageError::Other(problem.to_owned()))
    }
}

/// Connections for which everything is made ready before the start; others are made when needed.
const INITIAL_CONNECTIONS: u64 = 16;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Options of an ordinary run.
    pub(crate) fn ordinary() -> PlainOptions {
        PlainOptions {
            targets: vec!["http://127.0.0.1:1/".to_owned()],
            weights: Vec::new(),
            protocol: Protocol::Http,
            version: Version::Http1,
            exchange: Exchange {
                method: "GET".to_owned(),
                fields: Vec::new(),
                body: None,
                unix: None,
                proxy: ProxyHeader::None,
                keeps_connections: true,
                verifies: true,
            },
            model: Model::Open { rate: 100.0 },
            duration: Duration::from_secs(1),
            stages: Vec::new(),
            timeout: Duration::from_secs(10),
            max_connections: 100,
            workers: None,
            thresholds: Vec::new(),
            find_max: None,
            is_json: false,
            is_full: false,
            is_quiet: true,
            outputs: Vec::new(),
            keep: Keep::default(),
            agents: None,
        }
    }

    #[test]
    fn thresholds_name_their_metric_or_take_the_one_that_matters() {
        let mut options = ordinary();
        options.thresholds = [
            "p(99)<50ms",
            "http_req_failed: rate<0.01",
            "http_req_duration{status:200}:max<9",
        ]
        .map(str::to_owned)
        .to_vec();
        let guarded = options.guarded(&mut Registry::new()).unwrap();
        let selectors: Vec<_> = guarded
            .iter()
            .map(|guarded| guarded.selector.as_str())
            .collect();
        assert_eq!(
            selectors,
            [
                "http_req_corrected_duration",
                "http_req_failed",
                "http_req_duration{status:200}"
            ]
        );
        for wrong in ["nonsense", "nonsense:p(99)<5", "http_reqs:p(99)<5"] {
            options.thresholds = vec![wrong.to_owned()];
            assert!(options.guarded(&mut Registry::new()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_contradicts_itself_is_told() {
        assert!(ordinary().check().is_ok());
        let told = |change: fn(&mut PlainOptions)| {
            let mut options = ordinary();
            change(&mut options);
            options.check().unwrap_err().to_string()
        };
        assert!(told(|options| options.targets.clear()).contains("write a URL"));
        assert!(told(|options| options.weights = vec![1, 2]).contains("as many numbers"));
        assert!(told(|options| options.weights = vec![0]).contains("above 0"));
        assert!(told(|options| options.protocol = Protocol::Udp).contains("--data"));
        assert!(told(|options| options.model = Model::Open { rate: -1.0 }).contains("--rate"));
        assert!(told(|options| options.model = Model::Closed { vus: 0 }).contains("--vus"));
        assert!(told(|options| options.duration = Duration::ZERO).contains("--duration"));
    }
}
