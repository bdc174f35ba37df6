//! The supervisor: binds ports, starts the data process and starts it again when it dies.
//!
//! It parses nothing that clients send, so that what kills the data process leaves the listening
//! sockets open: connections wait in their queues until the next one serves them. The vrrp process
//! is started the same way, and those of another binary (`upgrade`).

mod backoff;
mod child;
mod kept;
mod life;
mod takeover;
mod upgrade;
mod virtual_ips;
mod watchdog;

use crate::args::RunArgs;
use crate::channel::Raw;
use crate::door::Door;
use crate::handover::{Handover, Message};
use crate::identity;
use crate::reopen::Reopen;
use crate::stop::{Signals, Stop};
use crate::systemd::{Inherited, Notifier};
use anyhow::Context as _;
use backoff::Backoff;
use catamaran_core::model::Config;
use child::DataProcess;
use kept::Kept;
use life::Ended;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use takeover::{Begin, Entrance};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;
use upgrade::Successor;
use virtual_ips::VirtualIps;
use watchdog::{LOOK, Watchdog};

pub(crate) use child::Orphans;
pub(crate) use life::Life;
pub(crate) use upgrade::speech;

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
    /// Where other instances of the configuration ask who serves it.
    pub(crate) door: Option<Door>,
    /// Who is told how things stand.
    pub(crate) notifier: Notifier,
    /// What data processes are started of.
    pub(crate) program: PathBuf,
    /// Data processes that were replaced and still have clients.
    pub(crate) retired: Vec<Life>,
}

/// How the life of one data process ended.
#[derive(Debug)]
enum End {
    /// By itself.
    Died { status: Ended, was_ready: bool },
    /// Before it began.
    NotStarted(anyhow::Error),
    /// Because it was asked to.
    Stopped(ExitCode),
}

/// `catamaran run`.
pub(crate) async fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let inherited = Inherited::take().context("sockets from systemd")?;
    let notifier = Notifier::from_environment();
    let predecessor = upgrade::predecessor();
    let source = args.source()?;
    let (reload, reloads) = mpsc::channel(1);
    let has_file = source.text().is_some();
    let stops = Signals::new()?.into_requests(has_file.then_some(reload));
    let entrance = match &predecessor {
        Some(_) => Entrance::Executed,
        None => Entrance::Started,
    };
    let config = match source.load_logged() {
        // What serves is another text then, which is taken over.
        Err(error) if entrance == Entrance::Executed => {
            tracing::warn!("{error:#}");
            Config::default()
        }
        loaded => loaded?,
    };
    // Before anything is opened: the data process would find out too late.
    identity::wanted(&config.process)?;
    let Begin {
        handover,
        drain,
        door,
        adopted,
        virtual_ips,
    } = takeover::begin(source, &config, inherited, entrance).await?;
    let options = Options {
        virtual_ips: virtual_ips.clone(),
        orphans: Orphans::Serve,
        ready: None,
        drain,
        watchdog: config.process.watchdog,
        reloads: has_file.then_some(reloads),
        door,
        notifier,
        program: PathBuf::from(SELF),
        retired: predecessor.unwrap_or_default(),
    };
    let outcome = supervise_from(adopted, handover, options, stops).await;
    if let Some(virtual_ips) = virtual_ips {
        virtual_ips.stop().await;
    }
    outcome
}

/// Keeps a data process running until `stops` asks for the end. Returns its exit code.
pub(crate) async fn supervise(
    handover: Handover,
    options: Options,
    stops: mpsc::Receiver<Stop>,
) -> anyhow::Result<ExitCode> {
    supervise_from(None, handover, options, stops).await
}

/// As [`supervise`], beginning with a data process that serves already.
async fn supervise_from(
    mut adopted: Option<DataProcess>,
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
        let child = match adopted.take() {
            Some(adopted) => {
                served = true;
                Ok(adopted)
            }
            None => {
                let virtual_ips = options.virtual_ips.as_deref();
                DataProcess::start(&options.program, options.orphans, virtual_ips)
            }
        };
        let end = match child {
            Ok(child) => watch(child, &mut kept, &mut options, &mut stops, &mut reopen).await?,
            Err(error) => End::NotStarted(error),
        };
        let wait = backoff.handle_death(started.elapsed());
        match end {
            End::Stopped(code) => return Ok(code),
            // It could not even start: trying again would hide the reason that it gave.
            End::Died { status, was_ready } if !was_ready && !served => {
                return Ok(status.exit_code());
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
    let mut upgrades = signal(SignalKind::user_defined2())?;
    let mut heard = Heard {
        // One that was taken over serves already, and has all that it needs.
        was_ready: child.is_adopted(),
        is_ending: false,
        upgrade: None,
        watchdog: Watchdog::new(options.watchdog, Instant::now()),
    };
    if heard.was_ready {
        tracing::info!(pid = child.pid(), "data process taken over");
        told_ready(options, kept, child.pid());
    } else {
        let given = tokio::select! {
            given = give(kept, &child, options.door.as_ref()) => given,
            _ = stops.recv() => return end_unready(child, kept).await,
        };
        if let Err(error) = given {
            tracing::error!("hand-over to the data process failed: {error:#}");
            // Without its sockets it is of no use, if it lives at all.
            let status = child.kill().await?;
            return Ok(heard.died(status));
        }
    }
    let mut messages = child.channel().listen();
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let request = loop {
        // In this order: what was said while nobody listened counts before the silence.
        tokio::select! {
            biased;
            status = child.wait() => {
                let status = status?;
                if heard.is_ending && was_asked_too(stops).await {
                    end_virtual_ips(options).await;
                    return Ok(End::Stopped(status.exit_code()));
                }
                return Ok(heard.died(status));
            }
            Some(message) = messages.recv() => {
                if heard.handle(message, &child, kept, options).await {
                    break Stop::Drain;
                }
            }
            request = stops.recv() => break request.unwrap_or(Stop::Now),
            () = answer(options.door.as_ref()) => {}
            // Before it is ready it has opened nothing, and may not heed the signal yet.
            _ = upgrades.recv(), if heard.was_ready => heard.upgrade = Some(None),
            () = reopen.recv() => if heard.was_ready {
                Reopen::pass_on(child.pid());
            },
            Some(()) = next(options.reloads.as_mut()), if heard.was_ready => {
                options.notifier.reloading();
                child.tell(Message::Reload).await;
            }
            // Until it is ready it may take as long as its configuration needs.
            _ = look.tick(), if heard.was_ready => {
                upgrade::forget_ended(&mut options.retired);
                if let Some(hang) = heard.watchdog.handle_look(Instant::now()) {
                    let status = child.abort(hang).await?;
                    return Ok(heard.died(status));
                }
            }
        }
        if let Some(path) = heard.upgrade.take() {
            change(&mut child, &mut messages, kept, options, path).await;
            heard.watchdog.handle_sign(Instant::now());
        }
    };
    begin_to_end(options).await;
    if !heard.was_ready {
        return end_unready(child, kept).await;
    }
    end_all(child, kept, options, (request, stops)).await
}

/// Ends the data process, and those that were replaced.
async fn end_all(
    mut child: DataProcess,
    kept: &mut Kept,
    options: &mut Options,
    (request, stops): (Stop, &mut mpsc::Receiver<Stop>),
) -> anyhow::Result<End> {
    // From here on a connection that our copies took in would wait for nobody.
    let drain = kept.drain();
    kept.close();
    upgrade::hurry(&options.retired);
    let status = stop(&mut child, request, drain, stops).await?;
    upgrade::end(&mut options.retired, drain, stops).await?;
    Ok(End::Stopped(status.exit_code()))
}

/// Has another binary serve, and execute in place of this one; else all goes on.
async fn change(
    child: &mut DataProcess,
    messages: &mut mpsc::Receiver<Raw>,
    kept: &mut Kept,
    options: &mut Options,
    path: Option<PathBuf>,
) {
    let began = Instant::now();
    let Successor {
        child: new,
        binary,
        reports,
    } = match vouched(
        &options.notifier,
        upgrade::succeed(child, messages, kept, options, path),
    )
    .await
    {
        Ok(successor) => successor,
        Err(error) => {
            tracing::error!("no upgrade, the old binary goes on: {error:#}");
            let told = Message::Upgraded(Err(format!("{error:#}; the old binary goes on")));
            return child.tell(told).await;
        }
    };
    let pid = new.pid();
    let version = &binary.version;
    let told = format!("catamaran {version}, process {pid}");
    child.tell(Message::Upgraded(Ok(told))).await;
    child.tell(Message::Retire(reports)).await;
    let old = std::mem::replace(child, new);
    options.retired.push(old.into_life());
    tracing::info!(pid, version, took = ?began.elapsed(), "upgraded; serving");
    told_ready(options, kept, pid);
    upgrade::execute(&binary, options, child).await;
    // Not executed: what is started from here on is of the new binary all the same.
    options.program = binary.into_program();
    *messages = child.channel().listen();
}

/// Waits for what has a bound of its own. Nobody hears signs of life of the data process meanwhile:
/// systemd is given them all the same.
async fn vouched<T>(notifier: &Notifier, act: impl Future<Output = T>) -> T {
    let mut act = std::pin::pin!(act);
    loop {
        tokio::select! {
            done = &mut act => return done,
            () = tokio::time::sleep(LOOK) => notifier.alive(),
        }
    }
}

/// What was heard of a data process so far.
#[derive(Debug)]
struct Heard {
    was_ready: bool,
    /// Whether a signal asked it to end.
    is_ending: bool,
    /// The binary that an operator asks for.
    upgrade: Option<Option<PathBuf>>,
    watchdog: Watchdog,
}

impl Heard {
    /// Does what a message asks. Returns whether everything is to end.
    async fn handle(
        &mut self,
        message: Raw,
        child: &DataProcess,
        kept: &mut Kept,
        options: &mut Options,
    ) -> bool {
        match Message::read(message) {
            Ok(Message::Ready) => {
                self.was_ready = true;
                self.watchdog.handle_sign(Instant::now());
                let pid = child.pid();
                match kept.take_death() {
                    Some(died) => tracing::info!(pid, gap = ?died.elapsed(), "serving"),
                    None => tracing::info!(pid, "serving"),
                }
                told_ready(options, kept, child.pid());
                if let Some(ready) = options.ready.take() {
                    // Nobody waits any more if the receiver is gone.
                    let _ = ready.send(());
                }
            }
            Ok(Message::Beat) => {
                self.watchdog.handle_sign(Instant::now());
                options.notifier.alive();
            }
            Ok(Message::Reloaded(is_applied)) => {
                options.notifier.ready(child.pid());
                if !is_applied {
                    options.notifier.status(RELOAD_FAILED);
                }
            }
            Ok(Message::Hung(part)) => self.watchdog.handle_hang(part),
            Ok(Message::Ending) => self.is_ending = true,
            Ok(Message::EndAll) => return true,
            Ok(Message::Upgrade(path)) => self.upgrade = Some(path),
            Ok(message) => {
                kept.answer(message, child).await;
                options.notifier.keep(kept.listeners());
            }
            Err(error) => tracing::error!("data process is not understood: {error:#}"),
        }
        false
    }

    const fn died(&self, status: Ended) -> End {
        End::Died {
            status,
            was_ready: self.was_ready,
        }
    }
}

/// Tells whoever is to know that this instance ends.
async fn begin_to_end(options: &mut Options) {
    // The next instance may start while this one drains.
    options.door = None;
    options.notifier.stopping();
    // Who comes while this one drains is to be refused, not to wait for nobody.
    options.notifier.keep(&[]);
    end_virtual_ips(options).await;
}

/// Tells whoever started us that the process `pid` serves, and what is to be kept for the next start.
fn told_ready(options: &Options, kept: &Kept, pid: u32) {
    options.notifier.keep(kept.listeners());
    options.notifier.ready(pid);
}

/// Gives a new data process all that it needs.
async fn give(kept: &mut Kept, child: &DataProcess, door: Option<&Door>) -> anyhow::Result<()> {
    tracing::info!(pid = child.pid(), "data process started");
    kept.handover().send(child.channel()).await?;
    if let Some(door) = door {
        Message::Door(door.copy()?).send(child.channel()).await?;
    }
    Ok(())
}

/// Tells other instances of the configuration that there is one.
pub(crate) async fn answer(door: Option<&Door>) {
    match door {
        Some(door) => door.answer_busy().await,
        None => std::future::pending().await,
    }
}

/// Whether this process is asked to end as well, once a signal has ended the data process: a service
/// manager signals all of them at once.
async fn was_asked_too(stops: &mut mpsc::Receiver<Stop>) -> bool {
    let asked = tokio::time::timeout(ASKED_TOO, stops.recv()).await;
    asked.is_ok()
}

/// Gives up the virtual addresses: another node takes over while clients of this one are still
/// served to the end.
async fn end_virtual_ips(options: &Options) {
    if let Some(virtual_ips) = &options.virtual_ips {
        virtual_ips.stop().await;
    }
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
) -> anyhow::Result<Ended> {
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

/// What is told after a reload that changed nothing.
pub(crate) const RELOAD_FAILED: &str =
    "The last reload failed, the configuration before it is served; the log says why";
/// This very binary, even if another one has taken its place on disk.
pub(crate) const SELF: &str = "/proc/self/exe";
/// How long after the data process a signal that was meant for both may reach this one.
const ASKED_TOO: Duration = Duration::from_secs(1);
/// What the data process may take for its end after the drain time.
const DRAIN_GRACE: Duration = Duration::from_secs(2);
/// What the data process may take for its end when asked to stop at once.
const STOP_GRACE: Duration = Duration::from_secs(2);
