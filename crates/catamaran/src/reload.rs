//! When the configuration file is read anew: on SIGHUP, or when it or a list or map that it names
//! changes, if that is wished.

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
        // What comes of it is logged, and kept for whoever asks.
        let _ = reloader.reload().await;
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
