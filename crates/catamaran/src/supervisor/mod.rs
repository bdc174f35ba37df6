//! The supervisor: binds ports, starts the data process and starts it again when it dies.
//!
//! It parses nothing that clients send, so that what kills the data process leaves the listening
//! sockets open: connections wait in their queues until the next one serves them. The vrrp process
//! is started the same way; binary upgrades will be its business too.

mod backoff;
mod child;
mod kept;
mod virtual_ips;
mod watchdog;

use crate::args::RunArgs;
use crate::bind;
use crate::handover::{Handover, Message};
use crate::reopen::Reopen;
use crate::stop::{Signals, Stop};
use backoff::Backoff;
use child::DataProcess;
use kept::Kept;
use std::process::{ExitCode, ExitStatus};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;
use virtual_ips::VirtualIps;
use watchdog::{LOOK, Watchdog};

pub(crate) use child::Orphans;

/// How the data process is supervised.
#[derive(Debug)]
pub(crate) struct Options {
    /// What becomes of the data process when the supervisor is killed.
    pub(crate) orphans: Orphans,
    /// Told once, when clients are served for the first time.
    pub(crate) ready: Option<oneshot::Sender<()>>,
    /// How long a drain may take before the data process is killed; a reload may change it.
    pub(crate) drain: Duration,
    /// How long the data process may give no sign of life before it is killed; zero is for ever.
    pub(crate) watchdog: Duration,
    /// Requests to read the configuration anew; `None` where there is no file.
    pub(crate) reloads: Option<mpsc::Receiver<()>>,
    /// The virtual addresses of this node, if it has any.
    pub(crate) virtual_ips: Option<Arc<VirtualIps>>,
}

/// How the life of one data process ended.
#[derive(Debug)]
enum End {
    /// By itself.
    Died { status: ExitStatus, was_ready: bool },
    /// Before it began.
    NotStarted(anyhow::Error),
    /// Because it was asked to.
    Stopped(ExitCode),
}

/// `catamaran run`.
pub(crate) async fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let source = args.source()?;
    let (reload, reloads) = mpsc::channel(1);
    let has_file = source.text().is_some();
    let stops = Signals::new()?.into_requests(has_file.then_some(reload));
    let config = source.load_logged()?;
    let listeners = bind::open_all(&config)?;
    let virtual_ips = VirtualIps::start(&source, &config).await?.map(Arc::new);
    let options = Options {
        virtual_ips: virtual_ips.clone(),
        orphans: Orphans::Serve,
        ready: None,
        drain: config.process.drain + config.process.drain_delay,
        watchdog: config.process.watchdog,
        reloads: has_file.then_some(reloads),
    };
    let outcome = supervise(Handover::new(source, listeners), options, stops).await;
    if let Some(virtual_ips) = virtual_ips {
        virtual_ips.stop().await;
    }
    outcome
}

/// Keeps a data process running until `stops` asks for the end. Returns its exit code.
pub(crate) async fn supervise(
    handover: Handover,
    mut options: Options,
    mut stops: mpsc::Receiver<Stop>,
) -> anyhow::Result<ExitCode> {
    let mut kept = Kept::new(handover, options.drain);
    let mut reopen = Reopen::new()?;
    let mut backoff = Backoff::default();
    let mut served = false;
    loop {
        let started = Instant::now();
        let end = match DataProcess::start(options.orphans, options.virtual_ips.as_deref()) {
            Ok(child) => watch(child, &mut kept, &mut options, &mut stops, &mut reopen).await?,
            Err(error) => End::NotStarted(error),
        };
        let wait = backoff.handle_death(started.elapsed());
        match end {
            End::Stopped(code) => return Ok(code),
            // It could not even start: trying again would hide the reason that it gave.
            End::Died { status, was_ready } if !was_ready && !served => {
                return Ok(exit_code(status));
            }
            End::NotStarted(error) if !served => return Err(error),
            End::Died { status, was_ready } => {
                served |= was_ready;
                kept.note_death();
                let config = kept.name();
                tracing::error!(
                    %status,
                    restart_in = ?wait,
                    "data process died; the next one gets the configuration of {config} as last \
                     applied"
                );
            }
            End::NotStarted(error) => tracing::error!(restart_in = ?wait, "{error:#}"),
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = stops.recv() => return Ok(ExitCode::SUCCESS),
        }
    }
}

/// Accompanies one data process from its start to its end.
async fn watch(
    mut child: DataProcess,
    kept: &mut Kept,
    options: &mut Options,
    stops: &mut mpsc::Receiver<Stop>,
    reopen: &mut Reopen,
) -> anyhow::Result<End> {
    let pid = child.pid();
    tracing::info!(pid, "data process started");
    let mut was_ready = false;
    let given = tokio::select! {
        given = kept.handover().send(child.channel()) => given,
        _ = stops.recv() => return end_unready(child, kept).await,
    };
    if let Err(error) = given {
        tracing::error!("hand-over to the data process failed: {error:#}");
        // Without its sockets it is of no use, if it lives at all.
        let status = child.kill().await?;
        return Ok(End::Died { status, was_ready });
    }
    let mut messages = child.channel().listen();
    let mut watchdog = Watchdog::new(options.watchdog, Instant::now());
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let request = loop {
        // In this order: what was said while nobody listened counts before the silence.
        tokio::select! {
            biased;
            status = child.wait() => return Ok(End::Died { status: status?, was_ready }),
            Some(message) = messages.recv() => match Message::read(message) {
                Ok(Message::Ready) => {
                    was_ready = true;
                    watchdog.handle_sign(Instant::now());
                    match kept.take_death() {
                        Some(died) => tracing::info!(pid, gap = ?died.elapsed(), "serving"),
                        None => tracing::info!(pid, "serving"),
                    }
                    if let Some(ready) = options.ready.take() {
                        // Nobody waits any more if the receiver is gone.
                        let _ = ready.send(());
                    }
                }
                Ok(Message::Beat) => watchdog.handle_sign(Instant::now()),
                Ok(Message::Hung(part)) => watchdog.handle_hang(part),
                Ok(message) => kept.answer(message, &child).await,
                Err(error) => tracing::error!("data process is not understood: {error:#}"),
            },
            request = stops.recv() => break request.unwrap_or(Stop::Now),
            // Before it is ready it has opened nothing, and may not heed the signal yet.
            () = reopen.recv() => if was_ready {
                Reopen::pass_on(pid);
            },
            Some(()) = next(options.reloads.as_mut()), if was_ready => {
                child.tell(Message::Reload).await;
            }
            // Until it is ready it may take as long as its configuration needs.
            _ = look.tick(), if was_ready => {
                if let Some(hang) = watchdog.handle_look(Instant::now()) {
                    let status = child.abort(hang).await?;
                    return Ok(End::Died { status, was_ready });
                }
            }
        }
    };
    // Another node takes over while clients of this one are still served to the end.
    if let Some(virtual_ips) = &options.virtual_ips {
        virtual_ips.stop().await;
    }
    if !was_ready {
        return end_unready(child, kept).await;
    }
    // From here on a connection that our copies took in would wait for nobody.
    let drain = kept.drain();
    kept.close();
    let status = stop(&mut child, request, drain, stops).await?;
    Ok(End::Stopped(exit_code(status)))
}

/// Ends a data process that serves nobody yet: it may still take its hand-over.
async fn end_unready(mut child: DataProcess, kept: &mut Kept) -> anyhow::Result<End> {
    kept.close();
    child.kill().await?;
    Ok(End::Stopped(ExitCode::SUCCESS))
}

async fn next(reloads: Option<&mut mpsc::Receiver<()>>) -> Option<()> {
    match reloads {
        Some(reloads) => reloads.recv().await,
        None => std::future::pending().await,
    }
}

/// Ends the data process as `request` says; harder when another request comes or it takes too long.
async fn stop(
    child: &mut DataProcess,
    request: Stop,
    drain: Duration,
    stops: &mut mpsc::Receiver<Stop>,
) -> anyhow::Result<ExitStatus> {
    if request == Stop::Drain {
        child.tell(Message::Drain).await;
        tokio::select! {
            status = child.wait() => return status,
            () = tokio::time::sleep(drain + DRAIN_GRACE) => {
                tracing::warn!("data process did not drain in time");
            }
            _ = stops.recv() => {}
        }
    }
    child.tell(Message::Stop).await;
    tokio::select! {
        status = child.wait() => status,
        () = tokio::time::sleep(STOP_GRACE) => {
            tracing::warn!("data process did not stop; it is killed");
            child.kill().await
        }
    }
}

/// The exit code that stands for `status`: its own, or 128 and the signal's number as in a shell.
fn exit_code(status: ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt as _;
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// What the data process may take for its end after the drain time.
const DRAIN_GRACE: Duration = Duration::from_secs(2);
/// What the data process may take for its end when asked to stop at once.
const STOP_GRACE: Duration = Duration::from_secs(2);
