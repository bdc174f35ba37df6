//! The command line.

use crate::ctl::CtlArgs;
use crate::load::LoadArgs;
use crate::probe::{Url, parse_url};
use crate::source::{AdHoc, Source};
use catamaran_core::model::Protocol;
use clap::{Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A load balancer with full redundancy built in.
#[derive(Debug, Parser)]
#[command(
    name = "catamaran",
    version,
    after_help = "Example:\n  catamaran demo\n  catamaran run --listen 127.0.0.1:8000 --server 127.0.0.1:8080 --server 127.0.0.1:8081"
)]
pub(crate) struct Args {
    /// What is logged to standard error: error, warn, info, debug, trace, or a filter such as
    /// `info,catamaran_proxy=debug`. Default info, or what the variable CATAMARAN_LOG says
    #[arg(long, global = true, value_name = "LEVEL")]
    pub(crate) log: Option<String>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what it does: two echo servers and a balancer before them, on nothing but this binary;
    /// or a whole replicated API with --api
    Demo(DemoArgs),
    /// Run the balancer
    Run(RunArgs),
    /// Check a configuration and print every error
    Check(CheckArgs),
    /// Watch and steer a balancer that runs
    Ctl(CtlArgs),
    /// Watch a balancer that runs, live in the terminal
    Top(TopArgs),
    /// Run an echo server: answers a message to raw TCP, to HTTP and to UDP
    Echo(EchoArgs),
    /// Load a target with requests, at a rate or by virtual users, and measure what came of it
    Load(Box<LoadArgs>),
    /// Run a server and keep it registered in etcd while it lives and is well
    #[cfg(feature = "etcd")]
    Register(RegisterArgs),
    /// Ask a URL; the exit status tells whether the answer was 200 to 299
    Probe(ProbeArgs),
    /// Print a script that completes this command line in a shell
    Completions(CompletionsArgs),
    /// Write the manual pages
    Man(ManArgs),
    /// The data process, started by the supervisor
    #[command(hide = true)]
    Data(DataArgs),
    /// Say which hand-over this binary speaks, for an upgrade
    #[command(hide = true)]
    Speaks,
    /// The vrrp process, started by the supervisor
    #[command(hide = true)]
    Vrrp(VrrpArgs),
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  catamaran demo --servers 3 --for 30s\n  catamaran demo --api\n\n\
    Then, in another terminal:\n  printf hi | nc 127.0.0.1 7878\n  curl 127.0.0.1:7879"
)]
pub(crate) struct DemoArgs {
    /// Echo servers to start, 1 to 16
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=16))]
    pub(crate) servers: u16,
    /// Port of the TCP frontend; the HTTP frontend takes the next one
    #[arg(long, default_value_t = 7878, value_parser = clap::value_parser!(u16).range(1..=65_534))]
    pub(crate) port: u16,
    /// Port of the first echo server; the others take the next ones
    #[arg(long, default_value_t = 8080, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..=65_519))]
    pub(crate) server_port: u16,
    /// Port of the dashboard and the admin API, 0 for none
    #[arg(long, default_value_t = 7900, value_name = "PORT")]
    pub(crate) dashboard_port: u16,
    /// Instead of echo servers start the example API: three replicas, their store, a sink for
    /// their mails, and the balancer before them on the port of the HTTP frontend
    #[arg(long, conflicts_with_all = ["servers", "server_port"])]
    pub(crate) api: bool,
    /// With --api: the nodes of an etcd cluster, as HOST:PORT,HOST:PORT,… to keep the alerts in
    /// instead of a store server of ours
    #[arg(long, requires = "api", value_name = "NODES")]
    pub(crate) etcd: Option<String>,
    /// End by itself after this time, such as 30s or 5m
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    pub(crate) duration: Option<Duration>,
    /// Print no line for each connection
    #[arg(long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  catamaran run -c /etc/catamaran/catamaran.toml\n  \
    catamaran run --listen 0.0.0.0:80 --server 10.0.0.1:8080 --server 10.0.0.2:8080\n  \
    catamaran run --tcp --listen 127.0.0.1:7878 --server 127.0.0.1:8080"
)]
pub(crate) struct RunArgs {
    /// Configuration file. Default ./catamaran.toml, else /etc/catamaran/catamaran.toml
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["listen", "servers"])]
    pub(crate) config: Option<PathBuf>,
    /// Balance without a file: listen on this address and port (repeatable)
    #[arg(long, value_name = "ADDR", requires = "servers", value_parser = parse_address)]
    pub(crate) listen: Vec<SocketAddr>,
    /// Balance without a file: a server, as address:port, name:port or unix:/path (repeatable)
    #[arg(long = "server", value_name = "ADDR", requires = "listen")]
    pub(crate) servers: Vec<String>,
    /// With --listen: relay TCP connections instead of balancing HTTP requests
    #[arg(long, requires = "listen", conflicts_with = "udp")]
    pub(crate) tcp: bool,
    /// With --listen: relay UDP datagrams instead of balancing HTTP requests
    #[arg(long, requires = "listen")]
    pub(crate) udp: bool,
    /// Serve in this process alone, for containers and service managers that restart it
    #[arg(long)]
    pub(crate) no_supervisor: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  catamaran check -c catamaran.toml")]
pub(crate) struct CheckArgs {
    /// Configuration file. Default ./catamaran.toml, else /etc/catamaran/catamaran.toml
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  catamaran echo --listen 127.0.0.1:8080 --message Coucou\n\n\
    Then, in another terminal:\n  printf hi | nc 127.0.0.1 8080\n  curl 127.0.0.1:8080"
)]
pub(crate) struct EchoArgs {
    /// Address and port, for TCP and UDP; port 0 lets the system choose
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    pub(crate) listen: SocketAddr,
    /// What is answered
    #[arg(long, value_name = "TEXT")]
    pub(crate) message: String,
    /// Wait before each answer but those to `/health`
    #[arg(long, hide = true, value_parser = parse_duration, default_value = "0s")]
    pub(crate) delay: Duration,
    /// Repeat the message until an HTTP body has this size
    #[arg(long, hide = true, value_parser = parse_size)]
    pub(crate) body_size: Option<usize>,
}

#[cfg(feature = "etcd")]
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  catamaran register --etcd 10.0.0.21:2379 --service api --address 10.0.0.5:8080 -- ./api\n  \
    catamaran register -c /etc/catamaran/etcd.toml --service api --address 10.0.0.5:8080 \\\n    \
    --health /health -- ./api --port 8080\n\n\
    The exit code is that of the command."
)]
pub(crate) struct RegisterArgs {
    /// A file with an `[etcd]` section; the rest of it does not matter
    #[arg(short, long, value_name = "FILE", required_unless_present = "etcd", conflicts_with_all = ["etcd", "prefix"])]
    pub(crate) config: Option<PathBuf>,
    /// Nodes of etcd, as HOST:PORT,HOST:PORT,…
    #[arg(long, value_name = "NODES", value_delimiter = ',')]
    pub(crate) etcd: Vec<String>,
    /// What every key begins with
    #[arg(long, value_name = "PATH", default_value = "/catamaran")]
    pub(crate) prefix: String,
    /// What backends ask for, with `servers = ["etcd:SERVICE"]`
    #[arg(long)]
    pub(crate) service: String,
    /// Where the server listens
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    pub(crate) address: SocketAddr,
    /// Its name, unique in its service; made of the address unless given
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Its share of the traffic, 0 to 256; the backend's unless given
    #[arg(long)]
    pub(crate) weight: Option<u16>,
    /// What says that it is well: `tcp` (it takes connections), a path (it answers with 200 to 299),
    /// or `none` (it lives)
    #[arg(long, default_value = "tcp", value_parser = crate::register::parse_health)]
    pub(crate) health: crate::register::Health,
    /// How often that is looked at
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_interval)]
    pub(crate) interval: Duration,
    /// How long the registration outlives this process when it is killed
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_lease)]
    pub(crate) ttl: Duration,
    /// How long balancers have to send nothing more before a signal to stop reaches the command
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    pub(crate) leave_delay: Duration,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  catamaran probe http://127.0.0.1:9100/ready")]
pub(crate) struct ProbeArgs {
    /// What to GET: http, a numeric address, a path
    #[arg(value_parser = parse_url)]
    pub(crate) url: Url,
    /// How long everything may take together
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "1s")]
    pub(crate) timeout: Duration,
}

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  catamaran top\n  catamaran top --url http://10.0.0.5:7900 --token-file admin.token\n  \
    catamaran top --once"
)]
pub(crate) struct TopArgs {
    #[command(flatten)]
    pub(crate) door: DoorArgs,
    /// How often the state is asked for
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_interval)]
    pub(crate) interval: Duration,
    /// Print one screen as text and end
    #[arg(long)]
    pub(crate) once: bool,
    /// With --once: columns of the screen
    #[arg(long, default_value_t = 100, requires = "once", value_parser = clap::value_parser!(u16).range(20..=500))]
    pub(crate) width: u16,
    /// With --once: its lines
    #[arg(long, default_value_t = 30, requires = "once", value_parser = clap::value_parser!(u16).range(5..=200))]
    pub(crate) height: u16,
}

/// Where the admin API is found.
#[derive(Debug, clap::Args)]
pub(crate) struct DoorArgs {
    /// The admin socket. Default: the first of the usual places where one answers
    #[arg(long, global = true, value_name = "PATH", conflicts_with = "url")]
    pub(crate) socket: Option<PathBuf>,
    /// The admin address over TCP, such as http://10.0.0.5:7900
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// File with the token for --url
    #[arg(long, global = true, value_name = "FILE", requires = "url")]
    pub(crate) token_file: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    catamaran completions bash > /etc/bash_completion.d/catamaran\n  \
    catamaran completions zsh > /usr/local/share/zsh/site-functions/_catamaran\n  \
    catamaran completions fish > ~/.config/fish/completions/catamaran.fish")]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: Shell,
}

/// A shell whose completion is known.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  catamaran man /usr/local/share/man\n\n\
    Then:\n  man catamaran\n  man catamaran.toml")]
pub(crate) struct ManArgs {
    /// Where `man1` and `man5` are made, if they are missing
    pub(crate) directory: PathBuf,
    /// The date that the pages bear, as 2026-01-31; none without it
    #[arg(
        long,
        value_name = "DATE",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) date: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DataArgs {
    /// Number of the descriptor that leads to the supervisor
    #[arg(long)]
    pub(crate) channel: i32,
    /// Number of the descriptor that leads to the vrrp process, if there is one
    #[arg(long)]
    pub(crate) link: Option<i32>,
    /// Whether another data process serves, whose place this one takes when it is told to
    #[arg(long)]
    pub(crate) successor: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct VrrpArgs {
    /// Number of the descriptor that leads to the supervisor
    #[arg(long)]
    pub(crate) channel: i32,
    /// Number of the descriptor that leads to the data process
    #[arg(long)]
    pub(crate) link: i32,
}

impl RunArgs {
    /// Where the configuration comes from.
    pub(crate) fn source(&self) -> anyhow::Result<Source> {
        if self.listen.is_empty() {
            return Source::read(self.config.as_deref());
        }
        let protocol = match (self.tcp, self.udp) {
            (true, _) => Protocol::Tcp,
            (_, true) => Protocol::Udp,
            _ => Protocol::Http,
        };
        Ok(Source::AdHoc(AdHoc {
            protocol,
            listen: self.listen.clone(),
            servers: self.servers.clone(),
        }))
    }
}

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        let port = text.strip_prefix(':').unwrap_or(text);
        let port = port.parse::<u16>().unwrap_or(8000);
        format!("expected an address and a port, such as 127.0.0.1:{port} or [::1]:{port}")
    })
}

pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split_unit(text);
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        _ => return Err("expected a number and ms, s, m or h, such as 30s".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "expected a whole number")?;
    let total = number.checked_mul(millis).ok_or("too long")?;
    Ok(Duration::from_millis(total))
}

/// A time between two looks: none shorter than what a process samples itself ten times in.
fn parse_interval(text: &str) -> Result<Duration, String> {
    let interval = parse_duration(text)?;
    if interval < Duration::from_millis(100) {
        return Err("at least 100ms".to_owned());
    }
    Ok(interval)
}

/// The life of a lease: etcd counts in seconds, and a third of it must do for a try.
#[cfg(feature = "etcd")]
fn parse_lease(text: &str) -> Result<Duration, String> {
    let time = parse_duration(text)?;
    if time < Duration::from_secs(2) || time > Duration::from_secs(3600) {
        return Err("2s to 1h".to_owned());
    }
    Ok(time)
}

fn parse_size(text: &str) -> Result<usize, String> {
    let (number, unit) = split_unit(text);
    let factor = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err("expected a number and B, KiB, MiB or GiB, such as 16KiB".to_owned()),
    };
    let number: usize = number.parse().map_err(|_| "expected a whole number")?;
    number
        .checked_mul(factor)
        .ok_or_else(|| "too large".to_owned())
}

fn split_unit(text: &str) -> (&str, &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    text.split_at(digits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example() {
        let command = Args::command();
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            let help = sub.get_after_help().unwrap().to_string();
            assert!(help.contains("Example"), "{} has none", sub.get_name());
        }
    }

    #[test]
    fn times_and_sizes_carry_their_unit() {
        assert_eq!(parse_duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(parse_duration("50ms"), Ok(Duration::from_millis(50)));
        assert!(parse_duration("30").is_err());
        assert!(parse_duration("s").is_err());
        assert_eq!(parse_size("1MiB"), Ok(1 << 20));
        assert!(parse_size("99999999999999999999GiB").is_err());
    }

    #[test]
    fn an_address_without_a_host_is_told_with_one() {
        assert!(parse_address("127.0.0.1:80").is_ok());
        let told = |text| parse_address(text).unwrap_err();
        assert!(told(":9000").contains("127.0.0.1:9000"));
        assert!(told("9000").contains("127.0.0.1:9000"));
        assert!(told("localhost").contains("127.0.0.1:8000"));
    }

    #[test]
    fn a_server_without_a_listener_is_refused() {
        let parse = |line: &str| Args::try_parse_from(line.split(' '));
        assert!(parse("catamaran run --server 127.0.0.1:1").is_err());
        assert!(parse("catamaran run --listen 127.0.0.1:0").is_err());
        assert!(parse("catamaran run --listen 127.0.0.1:0 --server 127.0.0.1:1").is_ok());
        assert!(parse("catamaran run -c x --listen 127.0.0.1:0 --server 127.0.0.1:1").is_err());
        assert!(parse("catamaran run --tcp --udp --listen 127.0.0.1:0 --server a:1").is_err());
    }
}
