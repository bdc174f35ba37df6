//! A data process that another takes the place of, and one that takes another's.
//!
//! ```text
//! old: serves -- Hold --> no reloads -- Leave --> accepts no more, all copied -- Retire --> drains
//!        ^                                             |                                      |
//!        +------------------- Resume ------------------+                          reports <---+
//! new: Prepared -- Take --> restores what was left, serves -- Ready
//! ```
//! Between Leave and Ready clients wait in the queues of the sockets, which both processes hold.

use crate::channel::Channel;
use crate::engine::Engine;
use crate::handover::Message;
use crate::stop::Stop;
use catamaran_control::keep::Predecessor;
use catamaran_core::Timestamp;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// What became of a process that was to leave.
#[derive(Debug)]
pub(crate) enum Left {
    /// The other one came to nothing.
    Stays,
    /// The other one serves; reports go over this line.
    Retires(OwnedFd),
}

/// Follows what the supervisor says, from [`Message::Hold`] on.
pub(crate) async fn leave(
    engine: &Engine,
    line: &watch::Receiver<Option<Arc<Channel>>>,
    orders: &mut mpsc::Receiver<Message>,
) -> Left {
    let reloader = Arc::clone(engine.reloader());
    let _no_reload = reloader.turn().await;
    tell(line, Message::Held).await;
    let process = engine.shared().snapshot().config.process.clone();
    let patience = process.upgrade_timeout + process.upgrade_pause + LONGER;
    let mut sockets = None;
    loop {
        let order = tokio::time::timeout(patience, orders.recv()).await;
        match order {
            Ok(Some(Message::Leave)) => match engine.shared().leave_clients().await {
                Ok(copies) => {
                    sockets = Some(copies);
                    tell(line, Message::Left(engine.close_doors())).await;
                }
                Err(error) => tracing::error!(%error, "clients cannot be left to another process"),
            },
            Ok(Some(Message::Retire(reports))) => return Left::Retires(reports),
            Ok(Some(Message::Resume) | None) | Err(_) => break,
            Ok(Some(_)) => {}
        }
    }
    if let Some(sockets) = sockets {
        engine.open_doors();
        engine.shared().resume_clients(sockets);
        tracing::warn!("another data process came to nothing; this one goes on");
    }
    Left::Stays
}

/// Serves to the end whom this process has, and reports to its successor meanwhile.
pub(crate) async fn retire(
    mut engine: Engine,
    reports: OwnedFd,
    stops: &mut mpsc::Receiver<Stop>,
) -> ExitCode {
    let process = engine.shared().snapshot().config.process.clone();
    tracing::info!(
        connections = engine.shared().open_connections(),
        tunnels_at_most = ?process.drain_tunnels,
        "another data process serves; this one drains"
    );
    engine.shared().retire();
    let mut successor = Channel::new(reports).ok();
    let began = Instant::now();
    let mut until = began + process.drain_tunnels.max(process.drain) + GRACE;
    let mut ticks = tokio::time::interval(REPORT);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            stop = stops.recv() => match stop {
                Some(Stop::Drain) => until = until.min(Instant::now() + process.drain),
                _ => return ExitCode::SUCCESS,
            },
        }
        let mut is_over = false;
        if began.elapsed() >= ANSWER {
            engine.end_control();
            let is_last = engine.predecessor_is_gone();
            let has_clients = engine.shared().open_connections() > 0;
            is_over = !has_clients && is_last || Instant::now() >= until;
        }
        // Looked at before, so that the last report tells of the last client.
        if let (Some(line), Some(report)) = (&successor, engine.report()) {
            let report = Message::Report(report);
            let sent = tokio::time::timeout(TELLING, report.send(line)).await;
            if !matches!(sent, Ok(Ok(()))) {
                // One that hangs or is gone is no reason to wait, and half a message is none.
                tracing::warn!("the process that serves hears no reports");
                successor = None;
            }
        }
        if is_over {
            engine.send_traces().await;
            tracing::info!("drained");
            return ExitCode::SUCCESS;
        }
    }
}

/// Takes in what the process before has to tell, until it ends; the result says whether it has.
pub(crate) fn follow(reports: OwnedFd, mut predecessor: Predecessor) -> watch::Receiver<bool> {
    let (end, ended) = watch::channel(false);
    tokio::spawn(async move {
        if let Ok(channel) = Channel::new(reports) {
            while let Ok(Some(raw)) = channel.receive().await {
                if let Ok(Message::Report(report)) = Message::read(raw) {
                    let now = Timestamp::from_nanos(catamaran_sys::clock::now_nanos());
                    predecessor.handle_report(now, &report);
                }
            }
        }
        end.send_replace(true);
    });
    ended
}

async fn tell(line: &watch::Receiver<Option<Arc<Channel>>>, message: Message) {
    let channel = line.borrow().clone();
    if let Some(channel) = channel {
        // A supervisor that is gone says nothing more: then all is as before.
        let _ = message.send(&channel).await;
    }
}

/// How much longer the next word of the supervisor may take than the other process may.
const LONGER: Duration = Duration::from_secs(15);
/// How often a successor is told.
const REPORT: Duration = Duration::from_millis(200);
/// What telling it may take; it may be busy with its clients.
const TELLING: Duration = Duration::from_secs(2);
/// How long the answer to whoever asked for the upgrade has to leave.
const ANSWER: Duration = Duration::from_secs(2);
/// What ending the last tunnels may take.
const GRACE: Duration = Duration::from_secs(5);
