//! `catamaran vrrp`: the process that holds the virtual addresses, started by the supervisor.

use crate::args::VrrpArgs;
use crate::handover::{Channel, Handover, Notice};
use crate::stop::{REQUESTS, Signals};
use anyhow::Context as _;
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
    let channel = Arc::new(Channel::new(channel)?);
    let Handover { source, .. } = channel
        .take()
        .await
        .context("the supervisor's hand-over failed")?;
    // Its warnings were logged by the supervisor.
    let config = source.load()?.config;
    let (orders, ordered) = mpsc::channel(REQUESTS);
    let line = Arc::clone(&channel);
    let on_ready = async move || {
        if line.tell(Notice::Ready).await.is_err() {
            tracing::error!("the supervisor is gone before the virtual addresses are served");
        }
    };
    tokio::spawn(hear(channel, signals, orders));
    catamaran_vrrp::run(&config, link, ordered, on_ready).await?;
    Ok(ExitCode::SUCCESS)
}

/// Turns what the supervisor tells, and signals, into orders.
///
/// SIGTERM ends the process at any time. A terminal sends the others to all processes; while the
/// supervisor lives, they are left to it.
async fn hear(channel: Arc<Channel>, mut signals: Signals, orders: mpsc::Sender<Order>) {
    loop {
        let is_over = tokio::select! {
            notice = channel.hear() => match notice {
                Some(Notice::Drain | Notice::Stop) => true,
                Some(Notice::Ready) => false,
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
