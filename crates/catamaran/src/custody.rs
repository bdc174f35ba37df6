//! Who supervises this data process: the supervisor that started it, nobody, or another that has
//! taken it over.
//!
//! ```text
//!   supervised -- the line ends --> orphaned -- another supervisor knocks --> supervised
//! ```
//! While a supervisor lives, SIGINT is left to it: a terminal sends it to both processes, and the
//! second must not count as another request. SIGTERM drains, as often as it comes: a service manager
//! may send it to both as well. SIGHUP reloads, if there is a file. An orphan takes signals as usual.

use crate::channel::Channel;
use crate::door::Door;
use crate::handover::{Handover, Message, Orphan};
use crate::ports::Supervisor;
use crate::source::Source;
use crate::stop::{self, REQUESTS, Signals, Stop};
use catamaran_control::admin::Upgraded;
use catamaran_control::reload::Reloader;
use catamaran_proxy::Shared;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::SignalKind;
use tokio::sync::{mpsc, oneshot, watch};

/// What comes from supervisors and from signals.
#[derive(Debug)]
pub(crate) struct Custody {
    pub(crate) stops: mpsc::Receiver<Stop>,
    pub(crate) reloads: mpsc::Receiver<()>,
    /// Each supervisor in turn, as who opens sockets.
    pub(crate) supervisors: mpsc::Receiver<Supervisor>,
    /// The line to the present one.
    pub(crate) line: watch::Receiver<Option<Arc<Channel>>>,
    /// The lines to the vrrp processes that later supervisors have.
    pub(crate) links: mpsc::Receiver<OwnedFd>,
    /// Asks for the end of the whole, supervisor included.
    pub(crate) end: mpsc::Sender<()>,
    /// For what an orphan gives away, once there is something.
    pub(crate) served: oneshot::Sender<Served>,
    /// What is said of another process that takes this one's place.
    pub(crate) handing: mpsc::Receiver<Message>,
    /// Asks for another binary.
    pub(crate) upgrade: mpsc::Sender<UpgradeRequest>,
}

/// The binary that is asked for, and who is to be told.
pub(crate) type UpgradeRequest = (Option<PathBuf>, oneshot::Sender<Upgraded>);

/// What an orphan gives away.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) reloader: Arc<Reloader>,
    pub(crate) shared: Arc<Shared>,
}

/// Keeps the lines of [`Custody`] fed.
struct Keeper {
    signals: Signals,
    /// What flags said, if there is no file.
    source: Source,
    door: Option<Door>,
    stops: mpsc::Sender<Stop>,
    reload: mpsc::Sender<()>,
    supervisors: mpsc::Sender<Supervisor>,
    line: watch::Sender<Option<Arc<Channel>>>,
    links: mpsc::Sender<OwnedFd>,
    end: mpsc::Receiver<()>,
    served: oneshot::Receiver<Served>,
    /// What came over `served`.
    parts: Option<Served>,
    /// Where this process leaves what is to outlive it.
    state: Option<File>,
    handing: mpsc::Sender<Message>,
    upgrades: mpsc::Receiver<UpgradeRequest>,
    /// Who waits for the outcome of an upgrade.
    asker: Option<oneshot::Sender<Upgraded>>,
    /// Why the end of the line is nothing to worry about.
    calm: Option<&'static str>,
}

/// Follows the supervisor at the other end of `channel`, and those after it.
pub(crate) fn keep(channel: &Arc<Channel>, signals: Signals, given: &Handover) -> Custody {
    let source = &given.source;
    let state = given
        .state
        .as_ref()
        .and_then(|state| state.try_clone().ok());
    let (hand, handing) = mpsc::channel(ORDERS);
    let (upgrade, upgrades) = mpsc::channel(1);
    let (stop, stops) = mpsc::channel(REQUESTS);
    let (reload, reloads) = mpsc::channel(1);
    let (supervisor, supervisors) = mpsc::channel(1);
    let (line_tx, line) = watch::channel(Some(Arc::clone(channel)));
    let (link, links) = mpsc::channel(1);
    let (end, ends) = mpsc::channel(1);
    let (served, serving) = oneshot::channel();
    let keeper = Keeper {
        signals,
        source: source.clone(),
        door: None,
        stops: stop,
        reload,
        supervisors: supervisor,
        line: line_tx,
        links: link,
        end: ends,
        served: serving,
        parts: None,
        state,
        handing: hand,
        upgrades,
        asker: None,
        calm: None,
    };
    tokio::spawn(keeper.run(Arc::clone(channel)));
    Custody {
        stops,
        reloads,
        supervisors,
        line,
        links,
        end,
        served,
        handing,
        upgrade,
    }
}

/// Nobody serves any more.
struct Over;

impl Keeper {
    async fn run(mut self, mut channel: Arc<Channel>) {
        loop {
            let (answer, answers) = mpsc::channel(1);
            let supervisor = Supervisor {
                channel: Arc::clone(&channel),
                answers,
            };
            self.line.send_replace(Some(Arc::clone(&channel)));
            if self.supervisors.send(supervisor).await.is_err() {
                return;
            }
            if self.hear(&channel, answer).await.is_err() {
                return;
            }
            self.line.send_replace(None);
            // Whoever was starting another process in place of this one does so no more.
            let _ = self.handing.try_send(Message::Resume);
            match self.calm.take() {
                Some(reason) => tracing::info!("{reason}"),
                None => tracing::error!(
                    "the supervisor is gone; serving goes on without it: start `catamaran run` \
                     with the same configuration, and it takes over"
                ),
            }
            match self.wait_for_another().await {
                Ok(another) => channel = another,
                Err(Over) => return,
            }
            tracing::info!("another supervisor has taken over");
        }
    }

    /// Does what the supervisor says until it is gone.
    async fn hear(
        &mut self,
        channel: &Arc<Channel>,
        answer: mpsc::Sender<Message>,
    ) -> Result<(), Over> {
        let mut messages = channel.listen();
        loop {
            let request = tokio::select! {
                message = messages.recv() => match message.map(Message::read) {
                    Some(Ok(Message::Drain)) => Stop::Drain,
                    Some(Ok(Message::Stop)) => Stop::Now,
                    Some(Ok(Message::Reload)) => {
                        stop::ask(&self.reload);
                        continue;
                    }
                    Some(Ok(Message::Door(socket))) => {
                        self.open_door(socket);
                        continue;
                    }
                    Some(Ok(other)) => {
                        self.take_in(other, &answer);
                        continue;
                    }
                    Some(Err(error)) => {
                        tracing::error!("the supervisor cannot be understood: {error:#}");
                        continue;
                    }
                    None => return Ok(()),
                },
                Some(()) = self.end.recv() => {
                    tell(channel, Message::EndAll).await;
                    continue;
                }
                Some((path, asker)) = self.upgrades.recv() => {
                    if self.asker.as_ref().is_some_and(|asker| !asker.is_closed()) {
                        let _ = asker.send(Err("an upgrade is under way".to_owned()));
                    } else {
                        self.asker = Some(asker);
                        tell(channel, Message::Upgrade(path)).await;
                    }
                    continue;
                }
                signal = self.signals.recv() => {
                    if signal == SignalKind::hangup() && self.source.text().is_some() {
                        stop::ask(&self.reload);
                    }
                    if signal != SignalKind::terminate() {
                        continue;
                    }
                    tell(channel, Message::Ending).await;
                    Stop::Drain
                }
            };
            self.stop(request).await?;
        }
    }

    /// Takes in what is for another part of this process.
    fn take_in(&mut self, message: Message, answer: &mpsc::Sender<Message>) {
        match message {
            Message::Upgraded(outcome) => {
                if let Some(asker) = self.asker.take() {
                    // Who asked may have given up, here and below.
                    let _ = asker.send(outcome);
                }
            }
            Message::Expect => self.calm = Some("another supervisor comes"),
            order @ (Message::Hold | Message::Leave | Message::Resume | Message::Retire(_)) => {
                if matches!(order, Message::Retire(_)) {
                    // Another process is the one to find now, and to watch.
                    self.door = None;
                    self.line.send_replace(None);
                    self.calm = Some("the supervisor needs no word any more");
                }
                let _ = self.handing.try_send(order);
            }
            other => {
                let _ = answer.try_send(other);
            }
        }
    }

    /// Serves signals until another supervisor has taken over.
    async fn wait_for_another(&mut self) -> Result<Arc<Channel>, Over> {
        let mut request = Stop::Drain;
        loop {
            tokio::select! {
                channel = knock(self.door.as_ref()) => {
                    match tokio::time::timeout(PATIENCE, self.give_away(&channel)).await {
                        Ok(Ok(())) => return Ok(channel),
                        Ok(Err(error)) => {
                            tracing::error!("another supervisor could not take over: {error:#}");
                        }
                        Err(_) => tracing::error!("another supervisor said nothing in time"),
                    }
                }
                Some(()) = self.end.recv() => self.stop(Stop::Drain).await?,
                Some((_, asker)) = self.upgrades.recv() => {
                    let told = "the supervisor is gone; start `catamaran run` of the new binary \
                                with the same configuration, and it takes over";
                    let _ = asker.send(Err(told.to_owned()));
                }
                signal = self.signals.recv() => {
                    if signal == SignalKind::hangup() && self.source.text().is_some() {
                        stop::ask(&self.reload);
                        continue;
                    }
                    self.stop(request).await?;
                    request = Stop::Now;
                }
            }
        }
    }

    /// Gives another supervisor all it needs to do the duties of the one that is gone.
    async fn give_away(&mut self, channel: &Channel) -> anyhow::Result<()> {
        if self.parts.is_none() {
            self.parts = Some((&mut self.served).await?);
        }
        let (Some(Served { reloader, shared }), Some(door)) = (&self.parts, &self.door) else {
            anyhow::bail!("this process is ending");
        };
        // What is opened or closed until it has them would be lost to it.
        let _still = reloader.turn().await;
        let process = shared.snapshot().config.process.clone();
        let text = reloader.text().map(|text| (*text).clone());
        let orphan = Orphan {
            pid: std::process::id(),
            source: text.map_or_else(|| self.source.clone(), Source::Text),
            listeners: shared.copy_sockets().await?,
            state: self.state.as_ref().map(File::try_clone).transpose()?,
            drain: process.drain + process.drain_delay,
            door: door.copy()?,
        };
        Message::Orphan(Box::new(orphan)).send(channel).await?;
        let answer = channel.receive().await?.map(Message::read).transpose()?;
        match answer {
            Some(Message::Adopt(link)) => {
                if let Some(link) = link {
                    // Without virtual addresses of ours nobody takes it.
                    let _ = self.links.try_send(link);
                }
                Ok(())
            }
            Some(_) => anyhow::bail!("it answers strangely"),
            None => anyhow::bail!("it is gone"),
        }
    }

    async fn stop(&mut self, request: Stop) -> Result<(), Over> {
        // Another instance may begin to serve: nothing of this one is for taking over any more.
        self.door = None;
        self.stops.send(request).await.map_err(|_| Over)
    }

    fn open_door(&mut self, socket: OwnedFd) {
        match Door::new(socket) {
            Ok(door) => self.door = Some(door),
            Err(error) => tracing::warn!(%error, "no other supervisor can take this process over"),
        }
    }
}

/// Waits for another supervisor.
async fn knock(door: Option<&Door>) -> Arc<Channel> {
    match door {
        Some(door) => door.accept().await,
        None => std::future::pending().await,
    }
}

async fn tell(channel: &Channel, message: Message) {
    // One that is gone needs no telling.
    let _ = message.send(channel).await;
}

/// Orders that may wait; the supervisor waits for an answer to each but the last.
const ORDERS: usize = 4;
/// What taking over may take.
const PATIENCE: Duration = Duration::from_secs(10);
