//! `catamaran register -- CMD`: runs a server and keeps it registered in etcd while it lives and is
//! well.
//!
//! ```text
//!   CMD starts --> check passes --> registered under a lease, which is kept alive
//!                      ^                  |
//!                      |   3 checks fail  v
//!                      +------------- withdrawn: `leaving`, then deleted
//! ```
//! A signal to stop withdraws first, waits until balancers send nothing more, and then reaches CMD;
//! other signals reach it at once. If this process is killed, CMD goes on and so do its clients: the
//! lease runs out, and balancers keep a server that is up.

mod lease;
mod signals;

use crate::args::RegisterArgs;
use crate::probe::{self, Url};
use anyhow::{Context as _, bail};
use catamaran_core::fleet::{Key, Registration, part_problem};
use catamaran_core::model::{Etcd, Weight};
use catamaran_etcd::{Client, Keys};
use lease::{Registrar, Wish};
use signals::Signals;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::signal::unix::SignalKind;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// How a server says that it is well.
#[derive(Clone, Debug)]
pub(crate) enum Health {
    /// It takes connections.
    Tcp,
    /// It answers this path with 200 to 299.
    Http(String),
    /// It lives.
    None,
}

/// Runs the command, and ends as it does.
pub(crate) async fn run(args: &RegisterArgs) -> anyhow::Result<ExitCode> {
    let etcd = etcd(args)?;
    let key = key(args)?;
    let registration = Registration {
        address: args.address,
        weight: args.weight.map(weight).transpose()?,
        is_leaving: false,
    };
    let client = Client::new(&etcd)?;
    let keys = Keys::new(&etcd.prefix, "");
    let signals = Signals::new()?;
    let (program, rest) = args.command.split_first().context("there is no command")?;
    let child = Command::new(program)
        .args(rest)
        .spawn()
        .with_context(|| format!("`{program}` cannot be started"))?;
    let registrar = Registrar::new(client, keys.server(&key), registration, args.ttl);
    let (wish, wishes) = watch::channel(Wish::Withdrawn);
    let registering = tokio::spawn(registrar.run(wishes));
    tracing::info!(server = %key, address = %args.address, "the command runs; it is registered when it is well");
    let status = tokio::select! {
        status = attend(child, signals, &wish, args) => status?,
        () = watch_health(args, &wish) => unreachable!("it watches for ever"),
    };
    // It is gone, whatever it ended by: nobody should be sent there.
    wish.send_replace(Wish::Ended);
    if timeout(etcd.timeout * 2, registering).await.is_err() {
        tracing::warn!("etcd does not answer: the registration ends with its lease");
    }
    Ok(exit_code(status))
}

/// Passes signals on until the command ends. One to stop withdraws the server first.
async fn attend(
    mut child: Child,
    mut signals: Signals,
    wish: &watch::Sender<Wish>,
    args: &RegisterArgs,
) -> anyhow::Result<ExitStatus> {
    let pid = child.id().context("the command has ended")?;
    let mut is_stopping = false;
    loop {
        let signal = tokio::select! {
            status = child.wait() => return Ok(status?),
            signal = signals.recv() => signal,
        };
        let stops = [SignalKind::terminate(), SignalKind::interrupt()].contains(&signal);
        if stops && !std::mem::replace(&mut is_stopping, true) {
            wish.send_replace(Wish::Ended);
            tracing::info!(delay = ?args.leave_delay, "leaving; the command is stopped then");
            // A second signal, and the end of the command, need not wait for that.
            tokio::select! {
                () = sleep(args.leave_delay) => {}
                _ = signals.recv() => {}
                status = child.wait() => return Ok(status?),
            }
        }
        if let Err(error) = catamaran_sys::process::send_signal(pid, signal.as_raw_value()) {
            tracing::warn!(%error, "a signal cannot be passed on");
        }
    }
}

/// Has the server registered while it is well. Never returns.
async fn watch_health(args: &RegisterArgs, wish: &watch::Sender<Wish>) {
    let mut failures = 0;
    let mut was_well = false;
    loop {
        match check(&args.health, args.address).await {
            Ok(()) => {
                failures = 0;
                was_well = true;
                say(wish, Wish::Registered);
            }
            Err(reason) if was_well => {
                failures += 1;
                tracing::warn!(%reason, failures, "a check failed");
                if failures >= FALL {
                    was_well = false;
                    say(wish, Wish::Withdrawn);
                }
            }
            Err(reason) => tracing::debug!(%reason, "not well yet"),
        }
        let wait = if was_well {
            args.interval
        } else {
            args.interval.min(START_INTERVAL)
        };
        sleep(wait).await;
    }
}

/// Says what is wished, unless it is over.
fn say(wish: &watch::Sender<Wish>, new: Wish) {
    wish.send_if_modified(|wish| {
        let is_news = *wish != new && *wish != Wish::Ended;
        if is_news {
            *wish = new;
        }
        is_news
    });
}

async fn check(health: &Health, address: SocketAddr) -> Result<(), String> {
    match health {
        Health::None => Ok(()),
        Health::Tcp => match timeout(CHECK_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("timeout".to_owned()),
        },
        Health::Http(path) => {
            let url = Url::new(address, path);
            let asked = tokio::task::spawn_blocking(move || probe::check(&url, CHECK_TIMEOUT));
            match asked.await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(error)) => Err(format!("{error:#}")),
                Err(error) => Err(error.to_string()),
            }
        }
    }
}

/// Which etcd: that of a configuration file, or of the command line.
fn etcd(args: &RegisterArgs) -> anyhow::Result<Etcd> {
    if let Some(path) = &args.config {
        let loaded = catamaran_config::load(path)
            .map_err(|errors| anyhow::anyhow!("no valid configuration\n{errors}"))?;
        let etcd = loaded.config.etcd;
        return etcd.with_context(|| format!("{}: there is no [etcd]", path.display()));
    }
    let mut endpoints = Vec::new();
    for text in &args.etcd {
        let (endpoint, is_tls) =
            catamaran_config::etcd_endpoint(text).map_err(anyhow::Error::msg)?;
        if is_tls {
            bail!("for TLS write a file with [etcd], and name it with `-c FILE`");
        }
        endpoints.push(endpoint);
    }
    let mut etcd = Etcd::new(endpoints);
    etcd.prefix.clone_from(&args.prefix);
    Ok(etcd)
}

fn key(args: &RegisterArgs) -> anyhow::Result<Key> {
    let address = args.address.to_string();
    // An address can stand in a key but for the colons.
    let usual = address.replace([':', '[', ']'], "-");
    let name = args.name.as_deref().unwrap_or(&usual);
    for (what, part) in [("service", args.service.as_str()), ("name", name)] {
        if let Some(problem) = part_problem(part) {
            bail!("the {what} `{part}` {problem}");
        }
    }
    Ok(Key {
        service: args.service.as_str().into(),
        name: name.into(),
    })
}

fn weight(weight: u16) -> anyhow::Result<Weight> {
    Weight::new(weight).context("a weight is 0 to 256")
}

/// That of the command; 128 and its number for a signal, as shells have it.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| Some(128 + status.signal()?));
    let code = code.and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}

/// Reads `tcp`, `none` or a path.
pub(crate) fn parse_health(text: &str) -> Result<Health, String> {
    match text {
        "tcp" => Ok(Health::Tcp),
        "none" => Ok(Health::None),
        path if path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()) => {
            Ok(Health::Http(path.to_owned()))
        }
        _ => Err("expected `tcp`, `none`, or a path such as /health".to_owned()),
    }
}

/// Checks in a row that must fail.
const FALL: u32 = 3;
/// Time for one check. That of balancers unless written otherwise.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);
/// How often it is looked whether the command is well, until it is.
const START_INTERVAL: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_a_signal_ended_has_the_code_that_shells_give() {
        assert_eq!(exit_code(ExitStatus::from_raw(15)), ExitCode::from(143));
        assert_eq!(exit_code(ExitStatus::from_raw(3 << 8)), ExitCode::from(3));
    }

    #[test]
    fn a_check_is_tcp_none_or_a_path() {
        assert!(matches!(parse_health("tcp"), Ok(Health::Tcp)));
        assert!(matches!(parse_health("none"), Ok(Health::None)));
        assert!(matches!(parse_health("/up"), Ok(Health::Http(path)) if path == "/up"));
        assert!(parse_health("http://x/").is_err() && parse_health("/a b").is_err());
    }
}
