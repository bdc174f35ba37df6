//! The watch over the store.
//!
//! After each connect the whole prefix is listed, then every change that follows is watched. What is
//! listed is read as the majority of the cluster has it, and so is the question every few seconds
//! whether the cluster is still the same: a node that is cut off from the others fails it, and
//! another is asked. No decision is taken here but which node to ask.

use super::{Accepts, FleetHandle, store};
use crate::admin::Plane;
use crate::reload::Reloader;
use crate::resolve::{Order, server_name};
use catamaran_core::fleet::{Change, Fleet, Key, Listing, Registered, Saved, Text, Texts};
use catamaran_core::model::{Etcd, ServerAddr};
use catamaran_etcd::{Batch, EtcdError, Event, KeyValue, Node, Place, Range, Watch, registration};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep, timeout_at};

/// Keeps what this node has of its fleet up to date.
pub(crate) struct Shell {
    pub(super) handle: Arc<FleetHandle>,
    pub(super) plane: Arc<Plane>,
    pub(super) etcd: Etcd,
    /// Where the configuration file lies.
    pub(super) directory: PathBuf,
    pub(super) fleet: Fleet,
    /// The texts that serve.
    pub(super) good: Texts,
    /// Why the fleet's do not.
    pub(super) config_error: Option<String>,
    /// What was kept on disk last.
    pub(super) saved: Option<(Saved, String)>,
    /// Keys behind the prefix, as far as the watch has told.
    pub(super) keys: u64,
    /// The last revision that wrote one of them, as far as the watch has told.
    pub(super) written: u64,
    pub(super) orders: mpsc::Sender<Order>,
    /// Who waits for the cluster to answer, to have it accepted.
    wanting: Option<Reply>,
}

/// What an operator is told who wants the cluster accepted.
pub(super) type Reply = oneshot::Sender<Result<(), String>>;

/// Why a watch is over.
enum Over {
    /// Something is wrong with etcd, or the way to it.
    Failed(EtcdError),
    /// What was listed does not count any more.
    Outdated,
}

impl From<EtcdError> for Over {
    fn from(error: EtcdError) -> Self {
        match error {
            // Nothing is wrong: we were away for longer than etcd remembers.
            EtcdError::Compacted { .. } => Self::Outdated,
            error => Self::Failed(error),
        }
    }
}

impl Shell {
    /// A shell that begins with the last good state.
    pub(crate) fn new(
        handle: Arc<FleetHandle>,
        plane: Arc<Plane>,
        etcd: Etcd,
        orders: mpsc::Sender<Order>,
    ) -> Self {
        let served = plane.reloader.text();
        let path = served.as_ref().map(|text| text.path.clone());
        let path = path.unwrap_or_default();
        let directory = path.parent().map(Path::to_owned);
        let directory = directory.unwrap_or_default();
        let (saved, file) = match store::load(&etcd, &directory) {
            Ok(Some((saved, file))) => (saved, Some(file)),
            Ok(None) => (Saved::default(), None),
            Err(error) => {
                tracing::error!("{error}");
                (Saved::default(), None)
            }
        };
        begin_layers(&plane.reloader, &saved.texts, file);
        Self {
            good: saved.texts.clone(),
            fleet: Fleet::new(etcd.grace, saved),
            handle,
            plane,
            etcd,
            directory,
            config_error: None,
            saved: None,
            keys: 0,
            written: 0,
            orders,
            wanting: None,
        }
    }

    /// Watches for ever.
    pub(crate) async fn run(mut self, mut accepts: Accepts) {
        self.act().await;
        let mut wait = SHORTEST_WAIT;
        loop {
            match self.watch(&mut accepts, &mut wait).await {
                Over::Outdated => continue,
                Over::Failed(error) => self.failed(&error),
            }
            self.handle.client.turn();
            let jitter = wait.mul_f64(0.5 + fastrand::f64() / 2.0);
            wait = (wait * 2).min(LONGEST_WAIT);
            tokio::select! {
                () = sleep(jitter) => {}
                // Whoever wants the cluster accepted need not wait for the next try.
                Some(reply) = accepts.recv() => self.wanting = Some(reply),
            }
        }
    }

    /// Lists what there is, and takes in every change until something is wrong.
    async fn watch(&mut self, accepts: &mut Accepts, wait: &mut Duration) -> Over {
        let handle = Arc::clone(&self.handle);
        let node = handle.client.node();
        let begun = async {
            let root = handle.keys.root();
            let range = node.list(&root).await?;
            let from = range.header.revision + 1;
            self.list(&range);
            node.watch(&root, from).await
        };
        let watch = match begun.await {
            Ok(watch) => watch,
            Err(error) => {
                if let Some(reply) = self.wanting.take() {
                    // Who no longer waits need not know.
                    let _ = reply.send(Err(format!("etcd does not answer: {error}")));
                }
                return error.into();
            }
        };
        self.connected(node.endpoint());
        *wait = SHORTEST_WAIT;
        self.act().await;
        if let Some(reply) = self.wanting.take()
            && self.accept(reply).await
        {
            return Over::Outdated;
        }
        self.attend(node, watch, accepts).await
    }

    /// Takes in every change until something is wrong.
    async fn attend(
        &mut self,
        node: Node<'_>,
        mut watch: Watch<'_>,
        accepts: &mut Accepts,
    ) -> Over {
        let root = self.handle.keys.root();
        let mut beat = ticks(self.etcd.interval);
        let mut look = ticks(LOOK);
        // Whether the last beat found what the watch has not told of: it may be on its way, or the
        // connection of the watch dead without a word.
        let mut was_off = false;
        loop {
            tokio::select! {
                batch = watch.next() => match batch {
                    Ok(batch) => {
                        self.follow(&batch);
                        // What is written in a row is put in place together.
                        let until = Instant::now() + TOGETHER;
                        while let Ok(Ok(batch)) = timeout_at(until, watch.next()).await {
                            self.follow(&batch);
                        }
                        self.act().await;
                    }
                    Err(error) => return error.into(),
                },
                _ = beat.tick() => match node.newest(&root).await {
                    Ok(range) => {
                        let written = range.kvs.first().map_or(0, |newest| newest.mod_revision);
                        let is_off = range.count != self.keys || written > self.written;
                        let counts = self.fleet.handle_mark(range.header.mark());
                        if !counts || (is_off && was_off) {
                            return Over::Outdated;
                        }
                        was_off = is_off;
                        self.contacted();
                    }
                    Err(error) => return error.into(),
                },
                _ = look.tick(), if self.fleet.has_missing() => {
                    let plane = Arc::clone(&self.plane);
                    let now = plane.clock.now();
                    self.fleet.handle_timeout(now, |key| is_down(&plane, key));
                    self.act().await;
                }
                Some(reply) = accepts.recv() => {
                    if self.accept(reply).await {
                        return Over::Outdated;
                    }
                }
            }
        }
    }

    /// Takes in everything behind the prefix.
    fn list(&mut self, range: &Range) {
        let mut listing = Listing {
            mark: range.header.mark(),
            ..Listing::default()
        };
        for found in &range.kvs {
            match self.read(found) {
                Some(Change::Text(layer, text)) => listing.texts.set(layer, text),
                Some(Change::Server(server)) => listing.servers.push(server),
                _ => {}
            }
        }
        self.keys = u64::try_from(range.kvs.len()).unwrap_or(u64::MAX);
        let written = range.kvs.iter().map(|found| found.mod_revision);
        self.written = written.max().unwrap_or(0);
        self.fleet.handle_listing(self.plane.clock.now(), listing);
    }

    /// Takes in what the watch tells.
    fn follow(&mut self, batch: &Batch) {
        let now = self.plane.clock.now();
        for event in &batch.events {
            let change = match event {
                Event::Put(found) => {
                    self.keys += u64::from(found.is_new());
                    self.written = self.written.max(found.mod_revision);
                    self.read(found)
                }
                Event::Delete { key } => {
                    self.keys = self.keys.saturating_sub(1);
                    match self.handle.keys.place(key) {
                        Place::Text(layer) => Some(Change::TextGone(layer)),
                        Place::Server(key) => Some(Change::ServerGone(key)),
                        Place::Other | Place::Unknown => None,
                    }
                }
            };
            if let Some(change) = change {
                self.fleet.handle_change(now, change);
            }
        }
    }

    /// What a key that was written says, if that is anything for this node.
    fn read(&self, found: &KeyValue) -> Option<Change> {
        let modified = found.mod_revision;
        let what = match self.handle.keys.place(&found.key) {
            Place::Other => return None,
            Place::Unknown => Err("nothing is known of such a key".to_owned()),
            Place::Text(layer) => match std::str::from_utf8(&found.value) {
                Ok(text) => {
                    let text = text.into();
                    return Some(Change::Text(layer, Text { text, modified }));
                }
                Err(_) => Err("the value is no UTF-8".to_owned()),
            },
            Place::Server(key) => registration::read(&found.value).map(|registration| {
                Change::Server(Registered {
                    key,
                    registration,
                    modified,
                })
            }),
        };
        let key = String::from_utf8_lossy(&found.key);
        what.map_err(|what| {
            // Whoever wrote it chose the words.
            let what = format!("{key}: {what}").escape_debug().to_string();
            tracing::warn!(revision = modified, "etcd: {what}; correct or delete it");
            self.handle.set_status(|status| status.strange_keys += 1);
        })
        .ok()
    }
}

/// Says what the text that is served was put together from: the file as it stands now, or as it was
/// when the last good state was kept.
fn begin_layers(reloader: &Reloader, texts: &Texts, kept: Option<String>) {
    let Some(served) = reloader.text() else {
        return;
    };
    let now = std::fs::read_to_string(&served.path).ok();
    let mut files = [now.clone(), kept].into_iter().flatten();
    let made = files.find_map(|file| {
        let layers = store::layers(texts, &file);
        let made = reloader.merge(&layers).ok()?;
        (made.text == served.text).then_some(layers)
    });
    let made = made.unwrap_or_else(|| store::layers(&Texts::default(), &now.unwrap_or_default()));
    reloader.note_layers(made);
}

/// Whether no backend finds the server usable; a server that none has is not.
fn is_down(plane: &Plane, key: &Key) -> bool {
    let snapshot = plane.shared.snapshot();
    let mut uses = snapshot.config.backends.iter().flat_map(|backend| {
        let servers = backend.servers.iter();
        let of_service = servers.filter(|server| {
            matches!(&server.address, ServerAddr::Etcd { service } if **service == *key.service)
        });
        of_service.map(|template| (&backend.name, server_name(&template.name, &key.name)))
    });
    uses.all(|(backend, server)| {
        let Some(backend) = snapshot.backend(backend) else {
            return true;
        };
        let set = backend.set();
        set.by_name(&server)
            .is_none_or(|server| server.state.is_checked_down() || server.state.is_refusing())
    })
}

/// Ticks that are left out while there is something else to do.
fn ticks(time: Duration) -> Interval {
    let mut ticks = interval(time);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Times between tries to connect.
const SHORTEST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How long changes are gathered that follow one another.
const TOGETHER: Duration = Duration::from_millis(50);
/// How often servers are looked at whose registration vanished.
const LOOK: Duration = Duration::from_secs(1);
