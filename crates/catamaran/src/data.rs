//! The data process: what clients connect to.

use crate::args::{DataArgs, RunArgs};
use crate::bind;
use crate::engine::Engine;
use crate::handover::{Channel, Handover, Notice};
use crate::limits;
use crate::reopen::Reopen;
use crate::stop::{REQUESTS, Signals, Stop};
use crate::virtual_ip;
use anyhow::{Context as _, ensure};
use catamaran_sys::process::take_passed_descriptor;
use catamaran_vrrp::link::Link;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::SignalKind;
use tokio::sync::mpsc;

/// Serves with the configuration and sockets that a supervisor sends.
pub(crate) async fn run_supervised(args: &DataArgs) -> anyhow::Result<ExitCode> {
    let by_hand = "`catamaran data` is started by `catamaran run`, not by hand";
    let socket = take_passed_descriptor(args.channel).context(by_hand)?;
    let link = args.link.map(take_passed_descriptor).transpose();
    let link = link.context(by_hand)?.map(Link::new);
    // It holds whatever privileges it will ever need.
    catamaran_sys::process::set_no_new_privs().context("no-new-privs")?;
    // Before anything that takes time, so that no signal finds its default action.
    let signals = Signals::new()?;
    let reopen = Reopen::new()?;
    let channel = Arc::new(Channel::new(socket)?);
    let Handover { source, listeners } = channel
        .take()
        .await
        .context("the supervisor's hand-over failed")?;
    let mut config = source.load_logged()?;
    limits::settle(&mut config);
    let drain = config.process.drain;
    let tracked = virtual_ip::tracked_backends(&config);
    let engine = Engine::start(config, listeners)?;
    if let Some(link) = link {
        virtual_ip::report(&engine, link, tracked);
    }
    channel.tell(Notice::Ready).await?;
    serve(engine, drain, listen_to(channel, signals), reopen).await
}

/// Serves in this process alone.
pub(crate) async fn run_foreground(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let source = args.source()?;
    let stops = Signals::new()?.into_requests();
    let reopen = Reopen::new()?;
    let mut config = source.load_logged()?;
    ensure!(
        config.virtual_ips.is_empty(),
        "virtual addresses are in the care of a process that a supervisor starts; leave out \
         `--no-supervisor`, or remove [virtual-ip]"
    );
    let listeners = bind::open_all(&config)?;
    limits::settle(&mut config);
    let drain = config.process.drain;
    let engine = Engine::start(config, listeners)?;
    tracing::info!("serving without a supervisor");
    serve(engine, drain, stops, reopen).await
}

async fn serve(
    engine: Engine,
    drain: std::time::Duration,
    mut stops: mpsc::Receiver<Stop>,
    mut reopen: Reopen,
) -> anyhow::Result<ExitCode> {
    let stop = loop {
        tokio::select! {
            stop = stops.recv() => break stop,
            () = reopen.recv() => {
                engine.reopen_logs();
                tracing::info!("access logs are opened anew");
            }
        }
    };
    if stop == Some(Stop::Now) {
        return Ok(ExitCode::SUCCESS);
    }
    tracing::info!(deadline = ?drain, "draining");
    let at_once = async { while stops.recv().await != Some(Stop::Now) {} };
    tokio::select! {
        () = engine.drain(drain) => tracing::info!("drained"),
        () = at_once => tracing::warn!("stopped before all exchanges had finished"),
    }
    Ok(ExitCode::SUCCESS)
}

/// Turns what the supervisor tells into requests to stop.
///
/// While it lives, SIGINT and SIGHUP are left to it: a terminal sends them to both processes, and
/// the second must not count as another request. SIGTERM drains, as often as it comes: a service
/// manager may send it to both as well. Once the supervisor is gone, signals count as usual.
fn listen_to(channel: Arc<Channel>, mut signals: Signals) -> mpsc::Receiver<Stop> {
    let (tx, rx) = mpsc::channel(REQUESTS);
    tokio::spawn(async move {
        loop {
            let request = tokio::select! {
                notice = channel.hear() => match notice {
                    Some(Notice::Drain) => Stop::Drain,
                    Some(Notice::Stop) => Stop::Now,
                    Some(Notice::Ready) => continue,
                    None => break,
                },
                signal = signals.recv() => {
                    if signal != SignalKind::terminate() {
                        continue;
                    }
                    Stop::Drain
                }
            };
            if tx.send(request).await.is_err() {
                return;
            }
        }
        tracing::error!("the supervisor is gone; serving goes on without it");
        let mut own = signals.into_requests();
        while let Some(request) = own.recv().await {
            if tx.send(request).await.is_err() {
                return;
            }
        }
    });
    rx
}
