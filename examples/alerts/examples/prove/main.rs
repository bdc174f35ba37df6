//! Proves that nothing is lost: load on the API while its parts are killed.
//!
//! ```text
//! cargo build --release -p catamaran -p alerts --bins --examples
//! target/release/examples/prove kills            # everything started and killed by this program
//! target/release/examples/prove load --url http://127.0.0.1:8000 --for 60s    # a system that is there
//! ```
//! Requests begin at a fixed rate whatever becomes of the earlier ones; a fifth are creates with
//! an idempotency key, the others reads of what was created. None is tried again here: a request
//! that the system does not answer well has failed. At the end every alert that was acknowledged
//! must be there, and none twice. The exit code says whether all that held.
//!
//! Let it end by itself: killed, it leaves what it has started.

#[path = "../../tests/it/cluster.rs"]
mod cluster;
mod load;
mod system;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

/// Proves that nothing is lost: load on the API while its parts are killed.
#[derive(Debug, Parser)]
enum Args {
    /// Starts etcd, replicas and the balancer, and kills them one after the other
    Kills {
        /// Requests per second
        #[arg(long, default_value_t = 1000)]
        rate: u32,
        /// Kills of each part
        #[arg(long, default_value_t = 1)]
        rounds: u32,
    },
    /// Only makes load on a system that is there, and looks what became of it
    Load {
        /// Where the API is, as `http://host:port`
        #[arg(long)]
        url: String,
        /// Requests per second
        #[arg(long, default_value_t = 1000)]
        rate: u32,
        /// How long, in whole seconds such as `60s`
        #[arg(long = "for", default_value = "60s", value_parser = parse_seconds)]
        time: Duration,
    },
}

fn main() -> anyhow::Result<ExitCode> {
    let verdict = match Args::parse() {
        Args::Kills { rate, rounds } => system::run(rate, rounds)?,
        Args::Load { url, rate, time } => {
            let load = load::Load::start(&url, rate)?;
            load.phase("steady");
            std::thread::sleep(time);
            load.stop()?
        }
    };
    print(&verdict.to_string());
    Ok(if verdict.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    text.strip_suffix('s')
        .and_then(|seconds| seconds.parse().ok())
        .map(Duration::from_secs)
        .ok_or_else(|| "write seconds, such as 60s".to_owned())
}

#[expect(
    clippy::print_stdout,
    reason = "a program for developers, whose result this is"
)]
fn print(text: &str) {
    println!("{text}");
}
