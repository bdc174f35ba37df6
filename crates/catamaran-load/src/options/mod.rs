//! Options of a script's run, and which of several sources is believed.
//!
//! From low to high: defaults, the script's `options`, `K6_*` of the environment, the command line. A
//! source that says how long or how often (duration, iterations, stages or scenarios) wipes what lower
//! ones said of that; otherwise each option is taken from the highest that has it.

mod derive;
mod error;
mod network;
mod read;
mod scenarios;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use derive::Derived;
pub use error::OptionsError;
pub use scenarios::read_scenarios;

use crate::client::{TlsIdentity, TlsSuites, TlsVersions};
use crate::names::{Dns, Network};
use crate::scenario::Scenario;
use crate::schedule::Stage;
use crate::sink::Statistic;
use crate::sources::Sources;
use crate::threshold::Threshold;
use crate::time_text::TimeUnit;

/// The options of one source, as far as it has them.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Virtual users.
    pub vus: Option<u64>,
    /// How long.
    pub duration: Option<Duration>,
    /// How often, of all virtual users together.
    pub iterations: Option<u64>,
    /// How the number of virtual users moves.
    pub stages: Option<Vec<Stage>>,
    /// Scenarios by name.
    pub scenarios: Option<Vec<Scenario>>,
    /// Thresholds by metric or sub-metric.
    pub thresholds: Option<Vec<(String, Vec<Threshold>)>>,
    /// How long `setup` may take.
    pub setup_timeout: Option<Duration>,
    /// How long `teardown` may take.
    pub teardown_timeout: Option<Duration>,
    /// Whether `setup` is left out.
    pub no_setup: Option<bool>,
    /// Whether `teardown` is left out.
    pub no_teardown: Option<bool>,
    /// Whether thresholds are left out.
    pub no_thresholds: Option<bool>,
    /// How long an iteration takes at least; what is missing is waited.
    pub min_iteration_duration: Option<Duration>,
    /// The columns of trends in the summary.
    pub summary_trend_stats: Option<Vec<Statistic>>,
    /// Tags of all samples.
    pub tags: Option<BTreeMap<String, String>>,
    /// The `User-Agent` of requests.
    pub user_agent: Option<String>,
    /// Redirects that a request follows.
    pub max_redirects: Option<u32>,
    /// Whether bodies are dropped unless a request wants its own.
    pub discard_response_bodies: Option<bool>,
    /// Whether each request gets a connection of its own.
    pub no_connection_reuse: Option<bool>,
    /// Whether each iteration begins without connections.
    pub no_vu_connection_reuse: Option<bool>,
    /// Whether a failed request throws.
    pub throw: Option<bool>,
    /// Requests of one `http.batch` that are under way at once.
    pub batch: Option<u32>,
    /// Of those, to one host.
    pub batch_per_host: Option<u32>,
    /// Whether cookies outlive an iteration.
    pub no_cookies_reset: Option<bool>,
    /// Whether requests to `https` go over HTTP/3; an option of ours.
    pub http3: Option<bool>,
    /// Addresses of names, in place of what the system says.
    pub hosts: Option<BTreeMap<String, String>>,
    /// Names that are not to be asked.
    pub block_hostnames: Option<Vec<String>>,
    /// Networks that are not to be asked, as they were written.
    pub blacklist_ips: Option<Vec<(String, Network)>>,
    /// How addresses of names are chosen, with the words of that.
    pub dns: Option<(Dns, BTreeMap<String, String>)>,
    /// Requests a second of all virtual users together; 0 is no limit.
    pub rps: Option<u32>,
    /// The unit of times in the summary.
    pub summary_time_unit: Option<TimeUnit>,
    /// Certificates to show to servers that ask for one.
    pub tls_auth: Option<Vec<TlsIdentity>>,
    /// Versions of TLS to speak, with the first and the last as they were said.
    pub tls_version: Option<(TlsVersions, [String; 2])>,
    /// Cipher suites of TLS, with their names as they were said.
    pub tls_cipher_suites: Option<(TlsSuites, Vec<String>)>,
    /// Addresses that requests come from, as they were said.
    pub local_ips: Option<(Sources, String)>,
    /// Whether requests and answers are logged, and how much of them.
    pub http_debug: Option<HttpDebug>,
    /// Where what scripts print goes, in place of the standard error.
    pub console_output: Option<String>,
    /// Whether the run waits to be told to begin: never here.
    pub paused: Option<bool>,
    /// How long `handleSummary` may take.
    pub handle_summary_timeout: Option<Duration>,
    /// The tags that the load test adds by itself.
    pub system_tags: Option<BTreeSet<String>>,
    /// Whether certificates are not verified.
    pub insecure_skip_tls_verify: Option<bool>,
    /// What is no option, neither here nor in k6: of this source only.
    pub unknown: Vec<String>,
}

/// What is logged of requests and answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpDebug {
    /// Their heads.
    Heads,
    /// Their bodies, too.
    Full,
}

impl HttpDebug {
    /// In the words of k6.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Heads => "headers",
            Self::Full => "full",
        }
    }
}

impl Options {
    /// The options of `self` with those of a higher source on top.
    #[must_use]
    pub fn with(mut self, higher: Self) -> Self {
        if higher.says_how_long() {
            (self.duration, self.iterations) = (None, None);
            (self.stages, self.scenarios) = (None, None);
        }
        /// Takes the fields that the higher source has.
        macro_rules! take {
            ($($field:ident)*) => { $(if higher.$field.is_some() { self.$field = higher.$field; })* };
        }
        // A number of virtual users alone, above scenarios, replaces them.
        if higher.vus.is_some() && !higher.says_how_long() && self.scenarios.is_some() {
            self.scenarios = None;
        }
        take! {
            vus duration iterations stages scenarios thresholds setup_timeout teardown_timeout no_setup
            no_teardown no_thresholds min_iteration_duration summary_trend_stats tags user_agent
            max_redirects discard_response_bodies no_connection_reuse no_vu_connection_reuse throw batch
            batch_per_host no_cookies_reset http3 hosts block_hostnames blacklist_ips dns rps
            summary_time_unit tls_auth tls_version tls_cipher_suites local_ips http_debug
            handle_summary_timeout console_output paused system_tags insecure_skip_tls_verify
        }
        self
    }

    fn says_how_long(&self) -> bool {
        self.duration.is_some()
            || self.iterations.is_some()
            || self.stages.is_some()
            || self.scenarios.is_some()
    }
}

#[cfg(test)]
mod tests;
