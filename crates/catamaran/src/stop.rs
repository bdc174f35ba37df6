//! Requests to stop, by signal or otherwise.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// How a process is asked to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// No new clients; exchanges in flight finish within the drain time.
    Drain,
    /// At once.
    Now,
}

/// SIGTERM, SIGINT and SIGHUP of this process.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Takes the signals over from now on.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next signal and says which.
    pub(crate) async fn recv(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.hangup.recv() => SignalKind::hangup(),
        }
    }

    /// Turns signals into requests: the first drains, each later one stops at once.
    pub(crate) fn into_requests(mut self) -> mpsc::Receiver<Stop> {
        let (tx, rx) = mpsc::channel(REQUESTS);
        tokio::spawn(async move {
            let mut request = Stop::Drain;
            loop {
                self.recv().await;
                if tx.send(request).await.is_err() {
                    return;
                }
                request = Stop::Now;
            }
        });
        rx
    }
}

/// Requests that may wait; a second one says all that can be said.
pub(crate) const REQUESTS: usize = 4;
