//! When the configuration file is read anew: on SIGHUP, or when it or a list or map that it names
//! changes, if that is wished.

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
    file.note(&reloader, &shared);
    loop {
        tokio::select! {
            Some(()) = requests.recv() => {}
            () = tokio::time::sleep(LOOK) => {
                let is_watched = shared.snapshot().config.process.watch;
                if !is_watched || !file.has_changed(&reloader, &shared) {
                    continue;
                }
                tracing::info!("the configuration file, or one that it names, has changed");
            }
        }
        file.note(&reloader, &shared);
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

/// The files as they were seen.
#[derive(Debug, Default)]
struct Watched {
    /// When they were last read.
    read: Option<Vec<Stamp>>,
    /// At the last look.
    seen: Option<Vec<Stamp>>,
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
    fn note(&mut self, reloader: &Reloader, shared: &Shared) {
        self.read = stamps(reloader, shared);
        self.seen.clone_from(&self.read);
    }

    /// Whether a file is another than when it was read, and no longer being written: the same at
    /// two looks. One that is gone is about to be replaced.
    fn has_changed(&mut self, reloader: &Reloader, shared: &Shared) -> bool {
        let now = stamps(reloader, shared);
        let has_changed = now.is_some() && now == self.seen && now != self.read;
        self.seen = now;
        has_changed
    }
}

/// The configuration file, and the lists and maps that it names.
fn stamps(reloader: &Reloader, shared: &Shared) -> Option<Vec<Stamp>> {
    let text = reloader.text()?;
    let directory = text.path.parent().unwrap_or_else(|| Path::new(""));
    let snapshot = shared.snapshot();
    let mut stamps = vec![Stamp::of(&text.path)?];
    for file in catamaran_config::files::paths(&snapshot.config, directory) {
        stamps.push(Stamp::of(&file)?);
    }
    Some(stamps)
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
