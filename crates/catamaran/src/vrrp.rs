//! `catamaran vrrp`: the process that holds the virtual addresses, started by the supervisor.

use crate::args::VrrpArgs;
use crate::channel::{Channel, Raw};
use crate::handover::{Handover, Message};
use crate::stop::{REQUESTS, Signals};
use anyhow::{Context as _, bail};
use catamaran_sys::process::take_passed_descriptor;
use catamaran_vrrp::Order;
use std::process::ExitCode;
use std::sync::Arc;
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
    tokio::spawn(hear(channel.listen(), signals, orders));
    catamaran_vrrp::run(&config, link, ordered, on_ready).await?;
    Ok(ExitCode::SUCCESS)
}

/// Turns what the supervisor tells, and signals, into orders.
///
/// SIGTERM ends the process at any time. A terminal sends the others to all processes; while the
/// supervisor lives, they are left to it.
async fn hear(
    mut messages: mpsc::Receiver<Raw>,
    mut signals: Signals,
    orders: mpsc::Sender<Order>,
) {
    loop {
        let is_over = tokio::select! {
            message = messages.recv() => match message.map(Message::read) {
                Some(message) => matches!(message, Ok(Message::Drain | Message::Stop)),
                None => break,
            },
            signal = signals.recv() => signal == SignalKind::terminate(),
        };
        if is_over {
            // Nobody listens any more once it has ended by itself.
            let _ = orders.send(Order::Stop).await;
            return;
        }
    }
    tracing::error!("the supervisor is gone; others may take over the virtual addresses");
    let _ = orders.send(Order::Orphan).await;
    signals.recv().await;
    let _ = orders.send(Order::Stop).await;
}
