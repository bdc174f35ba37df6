//! When and how the process is to end.

use std::io::Read as _;
use std::thread;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// How to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// What is under way is finished (SIGTERM, Ctrl-C).
    Gracefully,
    /// At once: whoever started us is gone.
    Now,
}

/// Waits until the process is to end.
///
/// With `with_parent` it is when standard input ends too: a parent that holds the other end of a
/// pipe can be killed in any way, and its children still end.
pub async fn requested(with_parent: bool) -> std::io::Result<Stop> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let parent = if with_parent {
        Some(watch_stdin()?)
    } else {
        None
    };
    let orphaned = async move {
        match parent {
            // The thread never goes without a word.
            Some(parent) => drop(parent.await),
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = terminate.recv() => Ok(Stop::Gracefully),
        _ = interrupt.recv() => Ok(Stop::Gracefully),
        () = orphaned => Ok(Stop::Now),
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
