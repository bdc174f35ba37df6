//! The data process: what clients connect to.

use crate::args::{DataArgs, RunArgs};
use crate::bind;
use crate::channel::Channel;
use crate::custody::{self, Served};
use crate::door::{self, Claim, Door, DoorName};
use crate::engine::Engine;
use crate::handover::{Doors, Handover, Message};
use crate::host::ProcessHost;
use crate::identity;
use crate::limits;
use crate::ports::{self, Supervisor};
use crate::pulse;
use crate::reload::{self, Told};
use crate::reopen::Reopen;
use crate::sandbox;
use crate::source::Source;
use crate::stop::{REQUESTS, Signals, Stop};
use crate::succession::{self, Left};
use crate::supervisor;
use crate::systemd::{Inherited, Notifier};
use crate::virtual_ip;
use anyhow::{Context as _, bail, ensure};
use catamaran_control::keep::Found;
use catamaran_core::model::Config;
use catamaran_sys::process::take_passed_descriptor;
use catamaran_vrrp::link::Link;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

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
    // The supervisor has told the warnings.
    let mut config = handover.source.load_valid()?.config;
    limits::settle(&mut config);
    let tracked = virtual_ip::tracked_backends(&config);
    sandbox::enter(&config, &handover.source)?;
    let (doors, reports) = if args.successor {
        let (doors, reports) = wait_for_turn(&channel).await?;
        (doors, Some(reports))
    } else {
        (Doors::default(), None)
    };
    let custody = custody::keep(&channel, signals, &handover);
    let host = ProcessHost::supervised(custody.end, custody.upgrade);
    let told = Told::Supervisor(custody.line.clone());
    let reloads = (custody.reloads, told);
    let mut engine = start(
        config,
        handover,
        host,
        custody.supervisors,
        (reloads, doors),
    )?;
    if let Some(reports) = reports {
        engine.follow(reports);
    }
    virtual_ip::report(&engine, link, custody.links, tracked);
    let served = Served {
        reloader: Arc::clone(engine.reloader()),
        shared: Arc::clone(engine.shared()),
    };
    // Who waits for it lives as long as the process.
    let _ = custody.served.send(served);
    Message::Ready.send(&channel).await?;
    let line = custody.line.clone();
    tokio::spawn(pulse::tell(custody.line, Arc::clone(engine.shared())));
    serve(engine, custody.stops, reopen, (line, custody.handing)).await
}

/// Says that nothing is left to be done but to serve, and waits until it is time.
async fn wait_for_turn(channel: &Channel) -> anyhow::Result<(Doors, OwnedFd)> {
    Message::Prepared.send(channel).await?;
    let raw = channel.receive().await?.context("the supervisor is gone")?;
    match Message::read(raw)? {
        Message::Take(doors, reports) => Ok((doors, reports)),
        other => bail!("the supervisor went on with {other:?}"),
    }
}

/// Serves in this process alone.
pub(crate) async fn run_foreground(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let inherited = Inherited::take().context("sockets from systemd")?;
    let notifier = Notifier::from_environment();
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
    let door = guard(&source).await?;
    let listeners = bind::open_all(&config, inherited)?;
    notifier.keep(&listeners);
    limits::settle(&mut config);
    if let Some(identity) = identity::wanted(&config.process)? {
        catamaran_sys::identity::become_for_good(identity).context("user cannot be changed")?;
    }
    let state = None;
    let handover = Handover {
        source,
        listeners,
        state,
    };
    let engine = start(
        config,
        handover,
        ProcessHost::alone(),
        mpsc::channel(1).1,
        ((reloads, Told::Systemd(notifier.clone())), Doors::default()),
    )?;
    tracing::info!("serving without a supervisor");
    notifier.ready(std::process::id());
    tokio::spawn(pulse::tell_systemd(
        notifier.clone(),
        Arc::clone(engine.shared()),
    ));
    tokio::select! {
        code = serve(engine, told(stops, notifier), reopen, nobody()) => code,
        () = supervisor::answer(door.as_ref()) => unreachable!("it answers for ever"),
    }
}

/// Sees that no other instance serves the same configuration.
async fn guard(source: &Source) -> anyhow::Result<Option<Door>> {
    let Some(name) = DoorName::of(source) else {
        return Ok(None);
    };
    match name.claim().await? {
        Claim::Held(door) => Ok(Some(door)),
        Claim::Taken(pid) => Err(door::is_taken(pid)),
        Claim::Orphaned(_, orphan) => bail!(
            "process {} serves this configuration since its supervisor is gone; leave out \
             `--no-supervisor` to take it over, or `kill {}` first",
            orphan.pid,
            orphan.pid
        ),
    }
}

/// Passes requests to stop on, having told systemd of them.
fn told(mut stops: mpsc::Receiver<Stop>, notifier: Notifier) -> mpsc::Receiver<Stop> {
    let (tx, rx) = mpsc::channel(REQUESTS);
    tokio::spawn(async move {
        while let Some(stop) = stops.recv().await {
            notifier.stopping();
            notifier.keep(&[]);
            if tx.send(stop).await.is_err() {
                return;
            }
        }
    });
    rx
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
    host: ProcessHost,
    supervisors: mpsc::Receiver<Supervisor>,
    ((reloads, told), doors): ((mpsc::Receiver<()>, Told), Doors),
) -> anyhow::Result<Engine> {
    let (ports, requests) = mpsc::channel(1);
    let text = handover.source.text().cloned();
    let kept = handover.state.map(Found::open).transpose();
    let kept = kept.context("what the process before has left cannot be read")?;
    let engine = Engine::start(config, handover.listeners, text, ports, host, (kept, doors))?;
    let shared = || Arc::clone(engine.shared());
    tokio::spawn(ports::serve(requests, supervisors, shared()));
    let reloader = Arc::clone(engine.reloader());
    tokio::spawn(reload::follow(reloader, shared(), reloads, told));
    Ok(engine)
}

/// The line to the supervisor, and what it says of another process that takes this one's place.
type Orders = (
    watch::Receiver<Option<Arc<Channel>>>,
    mpsc::Receiver<Message>,
);

/// The orders of no supervisor.
fn nobody() -> Orders {
    (watch::channel(None).1, mpsc::channel(1).1)
}

async fn serve(
    engine: Engine,
    mut stops: mpsc::Receiver<Stop>,
    mut reopen: Reopen,
    (line, mut handing): Orders,
) -> anyhow::Result<ExitCode> {
    let stop = loop {
        tokio::select! {
            Some(order) = handing.recv() => {
                // What was said of an upgrade that is over says nothing of the next.
                if !matches!(order, Message::Hold) {
                    continue;
                }
                let left = tokio::select! {
                    left = succession::leave(&engine, &line, &mut handing) => left,
                    stop = stops.recv() => break stop,
                };
                if let Left::Retires(reports) = left {
                    return Ok(succession::retire(engine, reports, &mut stops).await);
                }
            }
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
            engine.turn_away();
            tracing::info!(delay = ?process.drain_delay, "not ready any more; draining follows");
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
