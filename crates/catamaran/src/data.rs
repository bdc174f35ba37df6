//! The data process: what clients connect to.

use crate::args::{DataArgs, RunArgs};
use crate::bind;
use crate::channel::Channel;
use crate::engine::Engine;
use crate::handover::{Handover, Message};
use crate::host::ProcessHost;
use crate::limits;
use crate::ports::{self, Supervisor};
use crate::pulse;
use crate::reload;
use crate::reopen::Reopen;
use crate::sandbox;
use crate::stop::{self, REQUESTS, Signals, Stop};
use crate::virtual_ip;
use anyhow::{Context as _, bail, ensure};
use catamaran_control::keep::Found;
use catamaran_core::model::Config;
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
    let channel = Channel::new(socket)?;
    let handover = take(&channel)
        .await
        .context("the supervisor's hand-over failed")?;
    let line = listen_to(&channel, signals, handover.source.text().is_some());
    let supervisor = Supervisor {
        channel: Arc::clone(&channel),
        answers: line.answers,
    };
    let mut config = handover.source.load_logged()?;
    limits::settle(&mut config);
    let tracked = virtual_ip::tracked_backends(&config);
    sandbox::enter(&config, &handover.source)?;
    let engine = start(config, handover, Some(supervisor), line.reloads)?;
    if let Some(link) = link {
        virtual_ip::report(&engine, link, tracked);
    }
    Message::Ready.send(&channel).await?;
    tokio::spawn(pulse::tell(channel, Arc::clone(engine.shared())));
    serve(engine, line.stops, reopen).await
}

/// Serves in this process alone.
pub(crate) async fn run_foreground(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let source = args.source()?;
    let (reload, reloads) = mpsc::channel(1);
    let reload = source.text().is_some().then_some(reload);
    let stops = Signals::new()?.into_requests(reload);
    let reopen = Reopen::new()?;
    let mut config = source.load_logged()?;
    ensure!(
        config.virtual_ips.is_empty(),
        "virtual addresses are in the care of a process that a supervisor starts; leave out \
         `--no-supervisor`, or remove [virtual-ip]"
    );
    let listeners = bind::open_all(&config)?;
    limits::settle(&mut config);
    let state = None;
    let handover = Handover {
        source,
        listeners,
        state,
    };
    let engine = start(config, handover, None, reloads)?;
    tracing::info!("serving without a supervisor");
    serve(engine, stops, reopen).await
}

async fn take(channel: &Channel) -> anyhow::Result<Handover> {
    let raw = channel.receive().await?.context("the supervisor is gone")?;
    match Message::read(raw)? {
        Message::Handover(handover) => Ok(handover),
        other => bail!("the supervisor began with {other:?}"),
    }
}

/// Starts to serve, and to reload when `reloads` ask for it.
fn start(
    config: Config,
    handover: Handover,
    supervisor: Option<Supervisor>,
    reloads: mpsc::Receiver<()>,
) -> anyhow::Result<Engine> {
    let (ports, requests) = mpsc::channel(1);
    let text = handover.source.text().cloned();
    let host = match supervisor {
        Some(_) => ProcessHost::supervised(),
        None => ProcessHost::alone(),
    };
    let kept = handover.state.map(Found::open).transpose();
    let kept = kept.context("what the process before has left cannot be read")?;
    let engine = Engine::start(config, handover.listeners, text, ports, host, kept)?;
    let shared = || Arc::clone(engine.shared());
    tokio::spawn(ports::serve(requests, supervisor, shared()));
    let reloader = Arc::clone(engine.reloader());
    tokio::spawn(reload::follow(reloader, shared(), reloads));
    Ok(engine)
}

async fn serve(
    engine: Engine,
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
    let process = engine.shared().snapshot().config.process.clone();
    let at_once = async { while stops.recv().await != Some(Stop::Now) {} };
    let drained = async {
        if !process.drain_delay.is_zero() {
            tracing::info!(delay = ?process.drain_delay, "not ready any more; draining follows");
            engine.turn_away();
            tokio::time::sleep(process.drain_delay).await;
        }
        tracing::info!(deadline = ?process.drain, "draining");
        engine.drain(process.drain).await;
    };
    tokio::select! {
        () = drained => tracing::info!("drained"),
        () = at_once => tracing::warn!("stopped before all exchanges had finished"),
    }
    Ok(ExitCode::SUCCESS)
}

/// What comes from the supervisor and from signals.
struct Line {
    stops: mpsc::Receiver<Stop>,
    reloads: mpsc::Receiver<()>,
    answers: mpsc::Receiver<Message>,
}

/// Turns what the supervisor tells into requests.
///
/// While it lives, SIGINT is left to it: a terminal sends it to both processes, and the second must
/// not count as another request. SIGTERM drains, as often as it comes: a service manager may send it
/// to both as well. SIGHUP reloads, if there is a file. Once the supervisor is gone, signals count
/// as usual.
fn listen_to(channel: &Arc<Channel>, mut signals: Signals, has_file: bool) -> Line {
    let (tx, stops) = mpsc::channel(REQUESTS);
    let (reload, reloads) = mpsc::channel(1);
    let (answer, answers) = mpsc::channel(1);
    let mut messages = channel.listen();
    tokio::spawn(async move {
        loop {
            let request = tokio::select! {
                message = messages.recv() => match message.map(Message::read) {
                    Some(Ok(Message::Drain)) => Stop::Drain,
                    Some(Ok(Message::Stop)) => Stop::Now,
                    Some(Ok(Message::Reload)) => {
                        stop::ask(&reload);
                        continue;
                    }
                    Some(Ok(other)) => {
                        // Who asked may have given up.
                        let _ = answer.try_send(other);
                        continue;
                    }
                    Some(Err(error)) => {
                        tracing::error!("the supervisor cannot be understood: {error:#}");
                        continue;
                    }
                    None => break,
                },
                signal = signals.recv() => {
                    if signal == SignalKind::hangup() && has_file {
                        stop::ask(&reload);
                    }
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
        drop(answer);
        tracing::error!("the supervisor is gone; serving goes on without it");
        let mut own = signals.into_requests(has_file.then_some(reload));
        while let Some(request) = own.recv().await {
            if tx.send(request).await.is_err() {
                return;
            }
        }
    });
    Line {
        stops,
        reloads,
        answers,
    }
}
