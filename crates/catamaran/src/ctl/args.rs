//! The command line of `catamaran ctl`.

use crate::args::DoorArgs;
use clap::{Subcommand, ValueEnum};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  catamaran ctl status\n  catamaran ctl server api/10.0.0.1:8080 drain --wait\n  \
    catamaran ctl server api/b weight 5 --persist\n  catamaran ctl --url http://10.0.0.5:7900 --token-file admin.token servers\n\n\
    Exit codes:\n  0  done\n  1  refused, or failed\n  2  the command line is wrong\n  \
    3  no catamaran answers there\n  4  waited in vain"
)]
pub(crate) struct CtlArgs {
    #[command(flatten)]
    pub(crate) door: DoorArgs,
    /// Print what the API answers, as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: CtlCommand,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CtlCommand {
    /// Show the process, its frontends and its backends
    Status,
    /// Show the servers, of all backends or of one
    Servers {
        /// The backend
        backend: Option<String>,
    },
    /// Show or change a server
    #[command(subcommand_precedence_over_arg = true, arg_required_else_help = true)]
    Server {
        /// The server, as BACKEND/SERVER
        target: Option<String>,
        #[command(subcommand)]
        action: Option<ServerAction>,
    },
    /// Show the workers with their load
    Workers,
    /// Show the virtual addresses and who holds them
    VirtualIps,
    /// Show the peers of the cluster: who is connected, and what each is still to be told
    Peers,
    /// Close the listeners of a frontend, or open them again
    Frontend {
        /// The frontend
        name: String,
        #[command(subcommand)]
        action: FrontendAction,
    },
    /// Show the affinity tables
    Tables,
    /// Show or change an affinity table
    Table {
        /// Its backend
        backend: String,
        #[command(subcommand)]
        action: Option<TableAction>,
    },
    /// Show or change the lists of networks
    List {
        #[command(subcommand)]
        action: Option<ListAction>,
    },
    /// Show or change the maps to backends
    Map {
        #[command(subcommand)]
        action: Option<MapAction>,
    },
    /// Put the configuration file in place as it stands now
    Reload {
        /// Only tell what would change
        #[arg(long)]
        dry_run: bool,
    },
    /// Show, check or change the configuration
    Config {
        #[command(subcommand)]
        action: ConfigAction,
    },
    /// Show the fleet: etcd, its configuration, the servers that registered
    Etcd {
        #[command(subcommand)]
        action: Option<EtcdAction>,
    },
    /// Have another binary take this one's place, without a connection refused or cut
    Upgrade {
        /// The binary, instead of what stands where the present one was started from
        #[arg(long, value_name = "PATH")]
        binary: Option<PathBuf>,
    },
    /// Show what happened lately
    Events {
        /// Go on showing what happens
        #[arg(long, short)]
        follow: bool,
    },
    /// Take no new clients and end when those there are have left
    Drain,
    /// Show or change what is logged
    LogLevel {
        /// error, warn, info, debug, trace, or a filter
        level: Option<String>,
    },
    /// Print the metrics
    Metrics,
    /// Print the state in the columns of HAProxy's `show stat`
    Stat {
        /// As comma-separated values: what is printed anyway without --json, which prints the points
        /// of the last quarter of an hour
        #[arg(long, conflicts_with = "json")]
        csv: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ServerAction {
    /// Finish what it has and send it nothing new
    Drain {
        /// Wait until nothing is in flight, showing what is left
        #[arg(long)]
        wait: bool,
        /// How long to wait, such as 30s or 5m
        #[arg(long, value_name = "TIME", default_value = "5m", value_parser = crate::args::parse_duration)]
        timeout: Duration,
        /// End what is left after this time; without it nothing is ended
        #[arg(long, value_name = "TIME", value_parser = crate::args::parse_duration)]
        deadline: Option<Duration>,
    },
    /// Take it out of service
    Maintenance,
    /// Let it take traffic again as its health allows
    Enable,
    /// Change its share of the traffic
    Weight {
        /// 0 to 256, or `configured`
        weight: Weight,
        /// Write it into the configuration file too
        #[arg(long)]
        persist: bool,
    },
    /// Say what counts as its health
    Health {
        /// What counts
        health: Health,
    },
    /// Add a server to a backend
    Add {
        /// The backend
        backend: String,
        /// Its address, as 10.0.0.1:8080 or unix:/run/app.sock
        address: String,
        /// Its name; the address unless given
        #[arg(long)]
        name: Option<String>,
        /// Its share of the traffic
        #[arg(long)]
        weight: Option<u16>,
        /// Use it only when no other server is usable
        #[arg(long)]
        backup: bool,
        /// Write it into the configuration file too
        #[arg(long)]
        persist: bool,
    },
    /// Remove a server; what it has in flight is finished
    Remove {
        /// The server, as BACKEND/SERVER
        target: String,
        /// Remove it from the configuration file too
        #[arg(long)]
        persist: bool,
    },
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum FrontendAction {
    /// Close its listeners; finish what it has in flight
    Drain,
    /// Open its listeners again
    Resume,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TableAction {
    /// Show its entries
    List {
        /// How many at most
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Show the entry of a key
    Get {
        /// An address, the value of the header or cookie, or `#` and 32 hexadecimal digits
        key: String,
    },
    /// Bind a key to a server
    Set {
        /// As for `get`
        key: String,
        /// The server
        server: String,
    },
    /// Forget a key
    Delete {
        /// As for `get`
        key: String,
    },
    /// Forget every key
    Clear,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ListAction {
    /// Show the networks of a list
    Show {
        /// The list
        name: String,
        /// How many at most
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Add a network to a list
    Add {
        /// The list
        name: String,
        /// The network, as 10.0.0.0/8, or an address
        network: String,
        /// Write it into the list's file too
        #[arg(long)]
        persist: bool,
    },
    /// Remove a network from a list, not those within it
    Remove {
        /// The list
        name: String,
        /// The network as the list has it
        network: String,
        /// Remove it from the list's file too
        #[arg(long)]
        persist: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum MapAction {
    /// Show the entries of a map
    Show {
        /// The map
        name: String,
        /// How many at most
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
    /// Have a key lead to a backend
    Set {
        /// The map
        name: String,
        /// The key
        key: String,
        /// The backend
        backend: String,
        /// Write it into the map's file too
        #[arg(long)]
        persist: bool,
    },
    /// Delete a key
    Delete {
        /// The map
        name: String,
        /// The key
        key: String,
        /// Delete it from the map's file too
        #[arg(long)]
        persist: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigAction {
    /// Print the configuration that serves
    Show,
    /// Tell where it comes from, since when it serves, and what waits for a restart
    Status,
    /// Have the process judge a file; nothing changes
    Check {
        /// The file
        file: PathBuf,
    },
    /// Tell what a file would change, or the configuration file as it stands now
    Diff {
        /// The file
        file: Option<PathBuf>,
        /// Take the file for what the fleet has in etcd
        #[arg(long, requires = "file")]
        etcd: bool,
        /// With --etcd: for this node alone
        #[arg(long, value_name = "NAME", requires = "etcd")]
        node: Option<String>,
    },
    /// Put a file into etcd, for the whole fleet
    Put {
        /// The file
        file: PathBuf,
        /// For this node alone, key by key over what the fleet has
        #[arg(long, value_name = "NAME")]
        node: Option<String>,
        /// Why, for the history
        #[arg(
            long,
            value_name = "TEXT",
            default_value = "",
            hide_default_value = true
        )]
        note: String,
    },
    /// Show what was put into etcd, or one of the texts
    History {
        /// Print the text that this revision wrote
        revision: Option<u64>,
    },
    /// Put a configuration into etcd that was there before
    Rollback {
        /// The revision that wrote it, as `history` tells
        revision: u64,
    },
    /// Put a file in place
    Apply {
        /// The file
        file: PathBuf,
        /// Write it into the configuration file too
        #[arg(long)]
        persist: bool,
    },
    /// Have the peers of the cluster serve this node's configuration, but for what is their own
    Push {
        /// Only this one
        peer: Option<String>,
    },
}

#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum EtcdAction {
    /// Show the fleet: what is shown without a word
    Status,
    /// Take a cluster that is not the one that was known for ours, with all that it lacks
    Accept,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Health {
    /// It is up, whatever is observed
    Up,
    /// It is down, whatever is observed
    Down,
    /// What is observed counts
    Auto,
}

/// A server's share of the traffic.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Weight {
    /// As many shares.
    Number(u16),
    /// What the file says.
    Configured,
}

impl FromStr for Weight {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(number @ 0..=256) => Ok(Self::Number(number)),
            _ if text == "configured" => Ok(Self::Configured),
            _ => Err("a weight is 0 to 256, or `configured`"),
        }
    }
}
