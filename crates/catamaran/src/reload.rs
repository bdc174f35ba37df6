//! When the configuration file is read anew: on SIGHUP, or when it changes, if that is wished.

use crate::channel::Channel;
use crate::handover::Message;
use crate::supervisor::RELOAD_FAILED;
use crate::systemd::Notifier;
use catamaran_control::reload::Reloader;
use catamaran_proxy::Shared;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, watch};

/// Reloads whenever `requests` ask for it, or the file changes and `process.watch` is set.
pub(crate) async fn follow(
    reloader: Arc<Reloader>,
    shared: Arc<Shared>,
    mut requests: mpsc::Receiver<()>,
    told: Told,
) {
    let mut file = Watched::default();
    file.note(&reloader);
    loop {
        tokio::select! {
            Some(()) = requests.recv() => {}
            () = tokio::time::sleep(LOOK) => {
                let is_watched = shared.snapshot().config.process.watch;
                if !is_watched || !file.has_changed(&reloader) {
                    continue;
                }
                tracing::info!("the configuration file has changed");
            }
        }
        file.note(&reloader);
        // Why one failed is logged, and kept for whoever asks.
        told.begun();
        let is_applied = reloader.reload().await.is_ok();
        told.ended(is_applied, &shared).await;
    }
}

/// Who is told of reloads.
#[derive(Debug)]
pub(crate) enum Told {
    /// The supervisor, when there is one.
    Supervisor(watch::Receiver<Option<Arc<Channel>>>),
    /// systemd, by a process without a supervisor.
    Systemd(Notifier),
}

impl Told {
    fn begun(&self) {
        if let Self::Systemd(notifier) = self {
            notifier.reloading();
        }
    }

    async fn ended(&self, is_applied: bool, shared: &Arc<Shared>) {
        match self {
            Self::Supervisor(line) => {
                let channel = line.borrow().clone();
                if let Some(channel) = channel {
                    // One that is gone need not know.
                    let _ = Message::Reloaded(is_applied).send(&channel).await;
                }
            }
            Self::Systemd(notifier) => {
                match shared.copy_sockets().await {
                    Ok(sockets) => notifier.keep(&sockets),
                    Err(error) => tracing::warn!(%error, "sockets cannot be copied for systemd"),
                }
                notifier.ready(std::process::id());
                if !is_applied {
                    notifier.status(RELOAD_FAILED);
                }
            }
        }
    }
}

/// The file as it was seen.
#[derive(Debug, Default)]
struct Watched {
    /// When it was last read.
    read: Option<Stamp>,
    /// At the last look.
    seen: Option<Stamp>,
}

/// What changes with the content of a file, or with the file that stands in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    len: u64,
    modified: Option<SystemTime>,
}

impl Watched {
    fn note(&mut self, reloader: &Reloader) {
        self.read = stamp(reloader);
        self.seen = self.read;
    }

    /// Whether the file is another than when it was read, and no longer being written: the same at
    /// two looks. One that is gone is about to be replaced.
    fn has_changed(&mut self, reloader: &Reloader) -> bool {
        let now = stamp(reloader);
        let is_settled = now == self.seen;
        self.seen = now;
        now.is_some() && is_settled && now != self.read
    }
}

fn stamp(reloader: &Reloader) -> Option<Stamp> {
    Stamp::of(&reloader.text()?.path)
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let data = std::fs::metadata(path).ok()?;
        Some(Self {
            device: data.dev(),
            inode: data.ino(),
            len: data.len(),
            modified: data.modified().ok(),
        })
    }
}

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);
