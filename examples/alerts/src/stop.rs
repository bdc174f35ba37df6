//! When and how the process is to end.

use std::io::Read as _;
use std::thread;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

/// How to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// What is under way is finished (SIGTERM, Ctrl-C).
    Gracefully,
    /// At once: whoever started us is gone.
    Now,
}

/// What can ask this process to end.
#[derive(Debug)]
pub struct Requests {
    terminate: Signal,
    interrupt: Signal,
    parent: Option<oneshot::Receiver<()>>,
}

impl Requests {
    /// Takes the signals over from now on; a process that says that it is ready has done so before.
    ///
    /// With `with_parent` the end of standard input is a request too: a parent that holds the
    /// other end of a pipe can be killed in any way, and its children still end.
    pub fn new(with_parent: bool) -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            parent: with_parent.then(watch_stdin).transpose()?,
        })
    }

    /// Waits for the first request.
    pub async fn wait(mut self) -> Stop {
        let orphaned = async {
            match self.parent {
                // The thread never ends without a word.
                Some(parent) => drop(parent.await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => Stop::Gracefully,
            _ = self.interrupt.recv() => Stop::Gracefully,
            () = orphaned => Stop::Now,
        }
    }
}

fn watch_stdin() -> std::io::Result<oneshot::Receiver<()>> {
    let (ended, is_ended) = oneshot::channel();
    thread::Builder::new()
        .name("parent".to_owned())
        .spawn(move || {
            let mut input = std::io::stdin().lock();
            let mut ignored = [0; 256];
            while matches!(input.read(&mut ignored), Ok(1..)) {}
            // Nobody listens any more when the process is ending anyway.
            let _ = ended.send(());
        })?;
    Ok(is_ended)
}
