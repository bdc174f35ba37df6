//! Replication, as the rest of the control plane sees it.
//!
//! The node and its connections live on a thread of their own: teaching a peer a million entries
//! must not make checks late. [`Mesh`] starts and ends that thread as the configuration says, tells
//! it what changes here, and keeps what it last said of the peers for whoever asks.
//!
//! ```text
//!  reload, operators, checks ──► Mesh ──commands──► thread: Node, connections
//!        ▲                        │ ▲                  │
//!        └──drains, hints, letters┘ └──view, notes─────┘
//! ```

mod forget;
mod metrics;
mod push;
mod reporter;
mod running;
mod sight;
mod told;

pub(crate) use push::Pushed;
pub use sight::{SeenPeer, Sight};

use crate::admin::{Events, Plane, admin_word};
use catamaran_core::Timestamp;
use catamaran_core::model::{Cluster, Name};
use catamaran_core::replication::{Letter, NoteKind, RouterView};
use catamaran_core::server::Admin;
use catamaran_peers::{Counters, Handle};
use reporter::Reporter;
use running::{Before, Running};
pub(crate) use sight::{PeerView, View};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot};

/// Replication of this process. Cheap to clone; nothing here waits but what is `async`.
#[derive(Clone, Debug)]
pub struct Mesh(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    events: Arc<Events>,
    /// What the node last said.
    view: Mutex<View>,
    running: Mutex<Option<Running>>,
    /// Whether another process has the identity of this node.
    is_paused: AtomicBool,
    /// What the tables hold.
    before: Mutex<Before>,
    counters: Arc<Counters>,
    /// Notes for peers that are still to be told, and notes of theirs that are still to be heeded.
    outbox: Mutex<Notes>,
    inbox: Mutex<Notes>,
    /// Servers that are here and not ready, by the names of the notes that say so.
    drained: Mutex<BTreeSet<String>>,
    routers: Mutex<Vec<RouterView>>,
    letters: mpsc::Sender<(usize, Letter)>,
    arrived: Mutex<Option<mpsc::Receiver<(usize, Letter)>>>,
    /// Who waits for the answer to which letter.
    asked: Mutex<HashMap<u64, oneshot::Sender<Pushed>>>,
    next_letter: AtomicU64,
    /// Wakes the loop: there is something to tell or to heed.
    news: Notify,
    /// Wakes whoever waits for the loss of a peer.
    lost: Notify,
}

/// Notes by what they are about; there are no more than a node keeps.
type Notes = BTreeMap<(NoteKind, String), Vec<u8>>;

impl Mesh {
    /// Replication that begins when `run` does. `is_restored` says whether the tables hold
    /// what the process before this one has left.
    #[must_use]
    pub fn new(events: Arc<Events>, is_restored: bool) -> Self {
        let (letters, arrived) = mpsc::channel(LETTERS);
        Self(Arc::new(Inner {
            events,
            view: Mutex::default(),
            running: Mutex::default(),
            is_paused: AtomicBool::new(false),
            before: Mutex::new(Before {
                is_restored,
                is_current: false,
            }),
            counters: Arc::default(),
            outbox: Mutex::default(),
            inbox: Mutex::default(),
            drained: Mutex::default(),
            routers: Mutex::default(),
            letters,
            arrived: Mutex::new(Some(arrived)),
            asked: Mutex::default(),
            next_letter: AtomicU64::new(1),
            news: Notify::new(),
            lost: Notify::new(),
        }))
    }

    /// What is known of the peers at this moment. Without `[cluster]` nothing.
    #[must_use]
    pub fn sight(&self) -> Sight {
        let running = lock(&self.0.running);
        let cluster = running.as_ref().map(|running| &running.cluster);
        lock(&self.0.view).sight(cluster, now())
    }

    /// Waits until the connection to a peer ends. For one who waits.
    pub async fn lost(&self) {
        self.0.lost.notified().await;
    }

    /// What the node last said.
    pub(crate) fn view(&self) -> View {
        lock(&self.0.view).clone()
    }

    /// Says what this node thinks of its virtual routers. Peers are told with the next heartbeat
    /// (0.5 s at most), and at once if it is new.
    pub fn set_routers(&self, routers: Vec<RouterView>) {
        let mut known = lock(&self.0.routers);
        if *known != routers {
            *known = routers;
            self.0.news.notify_one();
        }
    }

    /// Leaves the mesh: another process takes the identity of this node. When it returns, the port
    /// is free.
    pub fn pause(&self) {
        self.0.is_paused.store(true, Ordering::Relaxed);
        self.stop();
        // Whatever is told meanwhile is told to the other process.
        lock(&self.0.before).is_current = false;
    }

    /// Undoes [`Self::pause`].
    pub fn resume(&self) {
        self.0.is_paused.store(false, Ordering::Relaxed);
        self.0.news.notify_one();
    }

    /// Has peers told that an operator wants this of a server: `ready`, `drain` or `maintenance`.
    pub(crate) fn tell_admin(&self, backend: &Name, server: &Name, word: &str) {
        let name = told::name_of(backend, server);
        if lock(&self.0.running).is_some() {
            self.note_drained(name.clone(), word != admin_word(Admin::Ready));
        }
        self.put(NoteKind::DRAIN, name, word);
    }

    /// Has peers told what checks found of a server: `up` or `down`.
    pub(crate) fn tell_health(&self, backend: &Name, server: &Name, word: &str) {
        self.put(NoteKind::HEALTH, told::name_of(backend, server), word);
    }

    /// Follows the configuration and passes on what either side says; never returns.
    pub(crate) async fn run(&self, plane: &Arc<Plane>) {
        let Some(mut arrived) = lock(&self.0.arrived).take() else {
            return;
        };
        let mut ticks = tokio::time::interval(LOOK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.follow(plane).await;
            self.heed(plane).await;
            tokio::select! {
                _ = ticks.tick() => {}
                () = self.0.news.notified() => {}
                Some((peer, letter)) = arrived.recv() => self.handle_letter(plane, peer, letter),
            }
        }
    }

    /// Brings the node to what the configuration and this process say.
    async fn follow(&self, plane: &Arc<Plane>) {
        let snapshot = plane.shared.snapshot();
        let wanted = snapshot.config.cluster.as_ref();
        let (is_same, has_ended) = match &*lock(&self.0.running) {
            Some(running) => (
                wanted.is_some_and(|wanted| running.is_of(wanted)),
                running.has_ended(),
            ),
            None => (wanted.is_none(), false),
        };
        if has_ended {
            tracing::error!("the thread of replication ended; another is started");
        }
        if !is_same || has_ended {
            self.stop();
            if let Some(wanted) = wanted {
                self.start(plane, wanted).await;
            }
        }
        let Some(handle) = self.handle() else {
            return;
        };
        // Whatever cannot be told because the thread has ended is told to the next one.
        let told = async {
            if let Some(secrets) = self.changed(|known| known.secrets_of(wanted)) {
                handle.set_secrets(secrets).await?;
            }
            if let Some(tables) = self.changed(|known| known.tables_of(&snapshot)) {
                handle.set_tables(tables).await?;
            }
            let text = plane.reloader.text();
            // What a fleet says may be another for each node.
            let is_alike = || {
                let layers = plane.reloader.layers();
                layers.is_none_or(|layers| layers.is_file_alone())
            };
            if let Some(digest) = self.changed(|known| known.digest_of(text, is_alike)) {
                handle.set_digest(digest).await?;
            }
            let routers = lock(&self.0.routers).clone();
            if let Some(routers) = self.changed(|known| known.routers_of(routers)) {
                handle.set_routers(routers).await?;
            }
            self.end_drains(&snapshot);
            let notes = std::mem::take(&mut *lock(&self.0.outbox));
            for ((kind, name), bytes) in notes {
                handle.put_note(kind, name, bytes).await?;
            }
            Ok::<(), catamaran_peers::Stopped>(())
        };
        let _ = told.await;
    }

    /// Starts the node, if its port can be had.
    async fn start(&self, plane: &Arc<Plane>, cluster: &Cluster) {
        let handle = {
            let mut running = lock(&self.0.running);
            // Whoever pauses takes the lock after saying so.
            if self.0.is_paused.load(Ordering::Relaxed) {
                return;
            }
            let counters = Arc::clone(&self.0.counters);
            let before = *lock(&self.0.before);
            let reporter = Reporter::new(self, cluster);
            let snapshot = plane.shared.snapshot();
            match Running::start(cluster, &snapshot, before, counters, reporter) {
                Ok(started) => {
                    lock(&self.0.view).begin(before.is_current);
                    let handle = started.handle.clone();
                    *running = Some(started);
                    handle
                }
                Err(problem) => {
                    let is_new = lock(&self.0.view).fail(&problem);
                    if is_new {
                        tracing::error!("no replication: {problem}; tried again until it can be");
                    }
                    return;
                }
            }
        };
        // Whatever node is started next in this process finds what this one knew.
        lock(&self.0.before).is_restored = true;
        tracing::info!(node = %cluster.node, listen = %cluster.listen, "replication");
        self.recall(&plane.shared.snapshot(), &handle).await;
    }

    fn stop(&self) {
        let running = lock(&self.0.running).take();
        if running.is_some() {
            // Its thread has ended when it is dropped.
            drop(running);
            let view = std::mem::take(&mut *lock(&self.0.view));
            lock(&self.0.before).is_current = view.is_current;
        }
        lock(&self.0.asked).clear();
    }

    fn put(&self, kind: NoteKind, name: String, word: &str) {
        if lock(&self.0.running).is_some() {
            let note = word.as_bytes().to_vec();
            lock(&self.0.outbox).insert((kind, name), note);
            self.0.news.notify_one();
        }
    }

    fn handle(&self) -> Option<Handle> {
        let running = lock(&self.0.running);
        running.as_ref().map(|running| running.handle.clone())
    }

    fn changed<T>(&self, of: impl FnOnce(&mut Running) -> Option<T>) -> Option<T> {
        lock(&self.0.running).as_mut().and_then(of)
    }
}

fn now() -> Timestamp {
    Timestamp::from_nanos(catamaran_sys::clock::now_nanos())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often it is looked whether the configuration, or its text, is another.
const LOOK: Duration = Duration::from_millis(200);
/// Letters of peers that wait to be heeded, 4 MiB each at most.
const LETTERS: usize = 4;
