//! Traces of requests, and where they are sent.

use super::{Secret, ServerAddr};
use crate::trace::{Parents, Ratio};
use std::time::Duration;

/// Which requests are traced, and who gets the traces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracing {
    /// Who gets the traces.
    pub collector: Collector,
    /// Which part of new traces is sampled. Default 1 %.
    pub sample: Ratio,
    /// Whose traces go on. Default those of trusted proxies.
    pub parents: Parents,
    /// Traces sampled a second at most, whoever asks for them. Default 1,000.
    pub max_per_second: u32,
    /// What the collector knows this process as. Default `catamaran`.
    pub service: String,
    /// What else is said of this process, such as `deployment.environment.name`.
    pub resource: Vec<(String, String)>,
    /// Time for one request to the collector. Default 10 s.
    pub timeout: Duration,
    /// Exchanges whose spans may wait for the collector. Default 2,048.
    pub queue: usize,
}

/// A server that takes spans in OTLP over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    /// Where it listens: an address or a host name.
    pub address: ServerAddr,
    /// The same as the field `Host` has it.
    pub authority: String,
    /// Where it takes them, such as `/v1/traces`.
    pub path: String,
    /// Fields of each request to it, such as one that shows who we are.
    pub headers: Vec<(String, Secret)>,
}

impl Tracing {
    /// Traces for `collector`, the rest by default.
    #[must_use]
    pub fn new(collector: Collector) -> Self {
        Self {
            collector,
            sample: Ratio::of_million(10_000),
            parents: Parents::default(),
            max_per_second: 1000,
            service: "catamaran".to_owned(),
            resource: Vec::new(),
            timeout: Duration::from_secs(10),
            queue: 2048,
        }
    }
}
