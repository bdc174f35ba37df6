//! Options of k6's command line, which scripts may have as well: each is the variable of k6 of that name.

use std::path::PathBuf;

use catamaran_load::options::{Options, OptionsError};

/// What `k6 run` takes beside what all load tests do.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Options of k6, for scripts")]
pub(super) struct K6Args {
    /// A file of options in JSON, which those of the script outdo
    #[arg(short, long, value_name = "FILE", hide_short_help = true)]
    pub(super) config: Option<PathBuf>,
    /// Leave out `setup`
    #[arg(long, hide_short_help = true)]
    no_setup: bool,
    /// Leave out `teardown`
    #[arg(long, hide_short_help = true)]
    no_teardown: bool,
    /// Leave out the thresholds
    #[arg(long, hide_short_help = true)]
    no_thresholds: bool,
    /// Redirects that a request follows
    #[arg(long, value_name = "N", hide_short_help = true)]
    max_redirects: Option<String>,
    /// Requests of one `http.batch` at once
    #[arg(long, value_name = "N", hide_short_help = true)]
    batch: Option<String>,
    /// Of those, to one host
    #[arg(long, value_name = "N", hide_short_help = true)]
    batch_per_host: Option<String>,
    /// Requests a second of all virtual users together, at most
    #[arg(long, value_name = "N", hide_short_help = true)]
    rps: Option<String>,
    /// The field `User-Agent` of requests
    #[arg(long, value_name = "TEXT", hide_short_help = true)]
    user_agent: Option<String>,
    /// Log requests and answers: their heads, or with `full` their bodies, too
    #[arg(
        long,
        value_name = "full",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "headers",
        hide_short_help = true
    )]
    http_debug: Option<String>,
    /// New connections for each iteration
    #[arg(long, hide_short_help = true)]
    no_vu_connection_reuse: bool,
    /// How long an iteration takes at least
    #[arg(long, value_name = "TIME", hide_short_help = true)]
    min_iteration_duration: Option<String>,
    /// Throw when a request fails
    #[arg(short = 'w', long, hide_short_help = true)]
    throw: bool,
    /// A network that is not to be asked (repeatable)
    #[arg(
        long,
        value_name = "NETWORK",
        value_delimiter = ',',
        hide_short_help = true
    )]
    blacklist_ip: Vec<String>,
    /// A name that is not to be asked, or `*.a.test` (repeatable)
    #[arg(
        long,
        value_name = "NAME",
        value_delimiter = ',',
        hide_short_help = true
    )]
    block_hostnames: Vec<String>,
    /// The columns of trends in the summary, as `avg,p(99)`
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        hide_short_help = true
    )]
    summary_trend_stats: Vec<String>,
    /// The unit of times in the summary: s, ms or us
    #[arg(long, value_name = "UNIT", hide_short_help = true)]
    summary_time_unit: Option<String>,
    /// The tags that samples get by themselves
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        hide_short_help = true
    )]
    system_tags: Vec<String>,
    /// A tag of all samples, as NAME=VALUE (repeatable)
    #[arg(long, value_name = "NAME=VALUE", value_parser = super::read_variable, hide_short_help = true)]
    tag: Vec<(String, String)>,
    /// Write what the script prints to a file
    #[arg(long, value_name = "FILE", hide_short_help = true)]
    console_output: Option<String>,
    /// Forget bodies, unless a request wants its own
    #[arg(long, hide_short_help = true)]
    discard_response_bodies: bool,
    /// Addresses that virtual users send from, as 10.0.0.1,10.0.0.5-10.0.0.9 or 10.0.0.0/28
    #[arg(long, value_name = "LIST", hide_short_help = true)]
    local_ips: Option<String>,
    /// How addresses of names are chosen, as ttl=5m,select=random,policy=preferIPv4
    #[arg(long, value_name = "LIST", hide_short_help = true)]
    dns: Option<String>,
}

impl K6Args {
    /// Whether none of them is given.
    pub(super) fn is_empty(&self) -> bool {
        self.config.is_none() && self.tag.is_empty() && self.variables().is_empty()
    }

    /// What they amount to.
    pub(super) fn options(&self) -> Result<Options, OptionsError> {
        let mut options = Options::from_environment(self.variables().into_iter())?;
        if !self.tag.is_empty() {
            options.tags = Some(self.tag.iter().cloned().collect());
        }
        Ok(options)
    }

    fn variables(&self) -> Vec<(String, String)> {
        let truths = [
            ("K6_NO_SETUP", self.no_setup),
            ("K6_NO_TEARDOWN", self.no_teardown),
            ("K6_NO_THRESHOLDS", self.no_thresholds),
            ("K6_NO_VU_CONNECTION_REUSE", self.no_vu_connection_reuse),
            ("K6_THROW", self.throw),
            ("K6_DISCARD_RESPONSE_BODIES", self.discard_response_bodies),
        ];
        let texts = [
            ("K6_MAX_REDIRECTS", &self.max_redirects),
            ("K6_BATCH", &self.batch),
            ("K6_BATCH_PER_HOST", &self.batch_per_host),
            ("K6_RPS", &self.rps),
            ("K6_USER_AGENT", &self.user_agent),
            ("K6_HTTP_DEBUG", &self.http_debug),
            ("K6_MIN_ITERATION_DURATION", &self.min_iteration_duration),
            ("K6_SUMMARY_TIME_UNIT", &self.summary_time_unit),
            ("K6_CONSOLE_OUTPUT", &self.console_output),
            ("K6_LOCAL_IPS", &self.local_ips),
            ("K6_DNS", &self.dns),
        ];
        let lists = [
            ("K6_BLACKLIST_IPS", &self.blacklist_ip),
            ("K6_BLOCK_HOSTNAMES", &self.block_hostnames),
            ("K6_SUMMARY_TREND_STATS", &self.summary_trend_stats),
            ("K6_SYSTEM_TAGS", &self.system_tags),
        ];
        let own = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let truths = truths.iter().filter(|(_, is_so)| *is_so);
        let texts = texts.iter();
        let texts = texts.filter_map(|(name, text)| Some(own(name, text.as_deref()?)));
        let lists = lists.iter().filter(|(_, list)| !list.is_empty());
        truths
            .map(|(name, _)| own(name, "true"))
            .chain(texts)
            .chain(lists.map(|(name, list)| own(name, &list.join(","))))
            .collect()
    }
}
