//! When the configuration file is read anew: on SIGHUP, or when it changes, if that is wished.

use catamaran_control::reload::Reloader;
use catamaran_proxy::Shared;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;

/// Reloads whenever `requests` ask for it, or the file changes and `process.watch` is set.
pub(crate) async fn follow(
    reloader: Arc<Reloader>,
    shared: Arc<Shared>,
    mut requests: mpsc::Receiver<()>,
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
        // What comes of it is logged, and kept for whoever asks.
        let _ = reloader.reload().await;
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
