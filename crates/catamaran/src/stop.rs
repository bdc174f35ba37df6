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
    /// None if whoever started us wants it ignored, as `nohup` does.
    hangup: Option<Signal>,
}

impl Signals {
    /// Takes the signals over from now on.
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: if is_ignored(SignalKind::hangup()) {
                None
            } else {
                Some(signal(SignalKind::hangup())?)
            },
        })
    }

    /// Waits for the next signal and says which.
    pub(crate) async fn recv(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            () = next(self.hangup.as_mut()) => SignalKind::hangup(),
        }
    }

    /// Turns signals into requests: the first drains, each later one stops at once. With `reloads`
    /// SIGHUP asks for a reload instead.
    pub(crate) fn into_requests(
        mut self,
        reloads: Option<mpsc::Sender<()>>,
    ) -> mpsc::Receiver<Stop> {
        let (tx, rx) = mpsc::channel(REQUESTS);
        tokio::spawn(async move {
            let mut request = Stop::Drain;
            loop {
                let signal = self.recv().await;
                if let (Some(reloads), true) = (&reloads, signal == SignalKind::hangup()) {
                    ask(reloads);
                    continue;
                }
                if tx.send(request).await.is_err() {
                    return;
                }
                request = Stop::Now;
            }
        });
        rx
    }
}

/// Asks for a reload; one that waits already will do.
pub(crate) fn ask(reloads: &mpsc::Sender<()>) {
    let _ = reloads.try_send(());
}

async fn next(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Whether this process ignores a signal, as `proc(5)` tells in the line SigIgn.
fn is_ignored(signal: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & (1 << (signal.as_raw_value() - 1)) != 0)
}

/// Requests that may wait; a second one says all that can be said.
pub(crate) const REQUESTS: usize = 4;
