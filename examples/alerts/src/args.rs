//! The command line and the environment: every flag has a variable of the same meaning.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// The example API: reminders by mail.
#[derive(Debug, Parser)]
#[command(name = "alerts", version, args_conflicts_with_subcommands = true)]
pub struct Args {
    /// What is logged: error, warn, info, debug, or a filter such as `info,alerts=debug`
    #[arg(
        long,
        global = true,
        env = "ALERTS_LOG",
        default_value = "info",
        value_name = "LEVEL"
    )]
    pub log: String,
    /// End at once when standard input ends, as it does when the process that started this one dies
    #[arg(long, global = true)]
    pub exit_with_parent: bool,
    /// What to do; serve the API when left out.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Flags of `serve`, which need not be named.
    #[command(flatten)]
    pub serve: ServeArgs,
}

/// What the binary can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the API (what happens without a command)
    Serve(ServeArgs),
    /// Serve the embedded store to several replicas
    Store(StoreArgs),
    /// Take mails and keep them in memory, for demonstrations and tests
    Sink(SinkArgs),
    /// Ask a URL; the exit status tells whether the answer was 200 to 299
    Probe(ProbeArgs),
}

/// Flags of `alerts serve`.
#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// Address and port; port 0 lets the system choose
    #[arg(long, env = "ALERTS_LISTEN", default_value = "127.0.0.1:8090")]
    pub listen: SocketAddr,
    /// Where alerts are kept: file:PATH, http://HOST:PORT of an `alerts store`, or
    /// etcd://HOST:PORT,HOST:PORT,…[/PREFIX] with every node
    #[arg(long, env = "ALERTS_STORE", default_value = "file:alerts.redb")]
    pub store: StoreAddress,
    /// SMTP relay as HOST:PORT, spoken to without TLS; nothing is mailed without one
    #[arg(long, env = "ALERTS_SMTP", value_name = "HOST:PORT")]
    pub smtp: Option<String>,
    /// Sender of the mails
    #[arg(
        long,
        env = "ALERTS_FROM",
        default_value = "alerts@example.org",
        value_name = "MAIL"
    )]
    pub from: String,
    /// Name of this replica, in every answer's `x-replica`; by default the host's name and the process id
    #[arg(long, env = "ALERTS_NAME")]
    pub name: Option<String>,
    /// Origin that browsers may call from; `*` for any
    #[arg(
        long,
        env = "ALERTS_CORS_ORIGIN",
        default_value = "*",
        value_name = "ORIGIN"
    )]
    pub cors_origin: String,
    /// How long `/ready` says 503 before connections are refused at a stop; as long as the
    /// balancer needs to notice
    #[arg(long, env = "ALERTS_STOP_DELAY", default_value = "4s", value_name = "TIME", value_parser = parse_duration)]
    pub stop_delay: Duration,
    /// Longest time of a request, from its head to its answer
    #[arg(long, env = "ALERTS_REQUEST_TIMEOUT", default_value = "15s", value_name = "TIME", value_parser = parse_duration)]
    pub request_timeout: Duration,
    /// Requests at once; more are answered 503
    #[arg(long, env = "ALERTS_MAX_REQUESTS", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub max_requests: u32,
    /// How long an operation on the store is tried before the answer is 503
    #[arg(long, env = "ALERTS_STORE_TIMEOUT", default_value = "8s", value_name = "TIME", value_parser = parse_duration)]
    pub store_timeout: Duration,
    /// How long an Idempotency-Key is remembered at least
    #[arg(long, env = "ALERTS_KEYS_FOR", default_value = "1h", value_name = "TIME", value_parser = parse_duration)]
    pub keys_for: Duration,
}

/// Flags of `alerts store`.
#[derive(Debug, clap::Args)]
pub struct StoreArgs {
    /// Address and port; port 0 lets the system choose. There is no authentication: keep it to a
    /// network of your own
    #[arg(long, env = "ALERTS_LISTEN", default_value = "127.0.0.1:8091")]
    pub listen: SocketAddr,
    /// File of the store, made when it is not there
    #[arg(long, env = "ALERTS_DATA", default_value = "alerts.redb")]
    pub data: PathBuf,
    /// How long an Idempotency-Key is remembered at least
    #[arg(long, env = "ALERTS_KEYS_FOR", default_value = "1h", value_name = "TIME", value_parser = parse_duration)]
    pub keys_for: Duration,
}

/// Flags of `alerts sink`.
#[derive(Debug, clap::Args)]
pub struct SinkArgs {
    /// Address and port for SMTP; port 0 lets the system choose
    #[arg(long, env = "ALERTS_SINK_LISTEN", default_value = "127.0.0.1:2525")]
    pub listen: SocketAddr,
    /// Address and port for HTTP, where `/mails` shows what came
    #[arg(long, env = "ALERTS_SINK_HTTP", default_value = "127.0.0.1:8025")]
    pub http: SocketAddr,
}

/// Flags of `alerts probe`.
#[derive(Debug, clap::Args)]
pub struct ProbeArgs {
    /// What to GET, such as <http://127.0.0.1:8090/ready>
    pub url: String,
    /// How long everything may take together
    #[arg(long, default_value = "1s", value_name = "TIME", value_parser = parse_duration)]
    pub timeout: Duration,
}

/// Where alerts are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreAddress {
    /// A file of this process alone.
    File(PathBuf),
    /// An `alerts store`.
    Http(String),
    /// Every node of an etcd cluster.
    Etcd {
        /// The nodes, as `host:port`.
        nodes: Vec<String>,
        /// What every key begins with; ends with a slash.
        prefix: String,
    },
}

impl FromStr for StoreAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            Some(("http", _)) => Ok(Self::Http(text.trim_end_matches('/').to_owned())),
            Some(("etcd", rest)) => {
                let rest = rest.trim_start_matches("//");
                let (nodes, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                let prefix = prefix.trim_matches('/');
                let prefix = if prefix.is_empty() { "alerts" } else { prefix };
                let nodes: Vec<_> = nodes.split(',').map(str::trim).map(str::to_owned).collect();
                if nodes.iter().any(|node| !has_port(node)) {
                    return Err(
                        "every node needs host:port, such as etcd://10.0.0.1:2379,10.0.0.2:2379"
                            .to_owned(),
                    );
                }
                Ok(Self::Etcd {
                    nodes,
                    prefix: format!("{prefix}/"),
                })
            }
            _ => {
                Err("write file:PATH, http://HOST:PORT, or etcd://HOST:PORT,HOST:PORT,…".to_owned())
            }
        }
    }
}

fn has_port(node: &str) -> bool {
    node.rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

/// Reads a whole number with its unit: `250ms`, `4s`, `5m`, `1h`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time; write such as 250ms, 4s, 5m or 1h");
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let number: u32 = text[..unit_at].parse().map_err(|_| wrong())?;
    let number = u64::from(number);
    match &text[unit_at..] {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number * 60)),
        "h" => Ok(Duration::from_secs(number * 3600)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Args::command().debug_assert();
    }

    #[test]
    fn a_store_is_a_file_a_server_or_a_cluster() {
        let parse = |text: &str| text.parse::<StoreAddress>();
        assert_eq!(
            parse("file:a.redb"),
            Ok(StoreAddress::File("a.redb".into()))
        );
        let server = StoreAddress::Http("http://10.0.0.1:8091".to_owned());
        assert_eq!(parse("http://10.0.0.1:8091/"), Ok(server));
        let cluster = StoreAddress::Etcd {
            nodes: vec!["a:2379".to_owned(), "b:2379".to_owned()],
            prefix: "films/".to_owned(),
        };
        assert_eq!(parse("etcd://a:2379,b:2379/films"), Ok(cluster));
        assert!(parse("etcd://a,b:2379").is_err());
        assert!(parse("redis://a:1").is_err());
    }

    #[test]
    fn a_time_needs_its_unit() {
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("5m"), Ok(Duration::from_secs(300)));
        assert!(parse_duration("5").is_err());
        assert!(parse_duration("s").is_err());
    }
}
