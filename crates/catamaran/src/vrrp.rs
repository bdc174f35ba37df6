//! `catamaran vrrp`: the process that holds the virtual addresses, started by the supervisor.

use crate::args::VrrpArgs;
use crate::channel::Channel;
use crate::door::Door;
use crate::handover::{Handover, Message, Orphan};
use crate::source::Source;
use crate::stop::{REQUESTS, Signals};
use anyhow::{Context as _, bail};
use catamaran_sys::process::take_passed_descriptor;
use catamaran_vrrp::Order;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::SignalKind;
use tokio::sync::mpsc;

/// Plays the virtual routers of the configuration that a supervisor sends.
pub(crate) async fn run(args: &VrrpArgs) -> anyhow::Result<ExitCode> {
    let by_hand = "`catamaran vrrp` is started by `catamaran run`, not by hand";
    let channel = take_passed_descriptor(args.channel).context(by_hand)?;
    let link = take_passed_descriptor(args.link).context(by_hand)?;
    let signals = Signals::new()?;
    let channel = Channel::new(channel)?;
    let first = channel.receive().await?.context("the supervisor is gone")?;
    let Message::Handover(Handover { source, .. }) = Message::read(first)? else {
        bail!("the supervisor did not begin with a hand-over");
    };
    // Its warnings were logged by the supervisor.
    let config = source.load()?.config;
    let (orders, ordered) = mpsc::channel(REQUESTS);
    let line = Arc::clone(&channel);
    let on_ready = async move || {
        if Message::Ready.send(&line).await.is_err() {
            tracing::error!("the supervisor is gone before the virtual addresses are served");
        }
    };
    let hearing = Hearing {
        channel,
        signals,
        source,
        orders,
        expects: false,
    };
    tokio::spawn(hearing.run());
    catamaran_vrrp::run(&config, link, ordered, on_ready).await?;
    Ok(ExitCode::SUCCESS)
}

/// What is needed to find another supervisor.
struct Hearing {
    channel: Arc<Channel>,
    signals: Signals,
    source: Source,
    orders: mpsc::Sender<Order>,
    /// Whether another supervisor was announced.
    expects: bool,
}

impl Hearing {
    /// Turns what supervisors tell, and signals, into orders.
    ///
    /// SIGTERM ends the process at any time. A terminal sends the others to all processes; while a
    /// supervisor lives, they are left to it.
    async fn run(mut self) {
        let mut door = None;
        let mut messages = self.channel.listen();
        loop {
            let is_over = tokio::select! {
                message = messages.recv() => match message.map(Message::read) {
                    Some(Ok(Message::Door(socket))) => {
                        door = Door::new(socket).ok();
                        false
                    }
                    Some(Ok(Message::Expect)) => {
                        self.expects = true;
                        false
                    }
                    Some(message) => matches!(message, Ok(Message::Drain | Message::Stop)),
                    None => match self.orphaned(door.as_ref()).await {
                        Some(channel) => {
                            messages = channel.listen();
                            self.channel = channel;
                            false
                        }
                        None => true,
                    },
                },
                signal = self.signals.recv() => signal == SignalKind::terminate(),
            };
            if is_over {
                // Nobody listens any more once it has ended by itself.
                let _ = self.orders.send(Order::Stop).await;
                return;
            }
        }
    }

    /// Waits for another supervisor; `None` when a signal comes first.
    async fn orphaned(&mut self, door: Option<&Door>) -> Option<Arc<Channel>> {
        if std::mem::take(&mut self.expects) {
            // As good as never gone.
            let channel = tokio::time::timeout(EXPECTED, knock(door)).await;
            if let Ok(channel) = channel
                && let Ok(link) = self.give_away(&channel, door).await
            {
                let _ = self.orders.send(Order::Adopted(link)).await;
                return Some(channel);
            }
        }
        tracing::error!("the supervisor is gone; others may take over the virtual addresses");
        let _ = self.orders.send(Order::Orphan).await;
        loop {
            let channel = tokio::select! {
                _ = self.signals.recv() => return None,
                channel = knock(door) => channel,
            };
            match tokio::time::timeout(PATIENCE, self.give_away(&channel, door)).await {
                Ok(Ok(link)) => {
                    let _ = self.orders.send(Order::Adopted(link)).await;
                    return Some(channel);
                }
                Ok(Err(error)) => tracing::error!("another supervisor went away: {error:#}"),
                Err(_) => tracing::error!("another supervisor said nothing in time"),
            }
        }
    }

    async fn give_away(&self, channel: &Channel, door: Option<&Door>) -> anyhow::Result<OwnedFd> {
        let orphan = Orphan {
            pid: std::process::id(),
            source: self.source.clone(),
            listeners: Vec::new(),
            state: None,
            drain: Duration::ZERO,
            door: door.context("no door")?.copy()?,
        };
        Message::Orphan(Box::new(orphan)).send(channel).await?;
        match channel.receive().await?.map(Message::read).transpose()? {
            Some(Message::Adopt(Some(link))) => Ok(link),
            _ => bail!("it does not take over"),
        }
    }
}

async fn knock(door: Option<&Door>) -> Arc<Channel> {
    match door {
        Some(door) => door.accept().await,
        None => std::future::pending().await,
    }
}

/// How soon a supervisor that was announced comes.
const EXPECTED: Duration = Duration::from_secs(5);
/// What taking over may take.
const PATIENCE: Duration = Duration::from_secs(10);
