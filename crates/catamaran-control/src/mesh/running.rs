//! The thread that a node lives on, and what it was told last.

use super::now;
use super::reporter::Reporter;
use crate::reload::Text;
use catamaran_core::model::{Cluster, ClusterSecret};
use catamaran_core::replication::RouterView;
use catamaran_core::tables::KeptTable;
use catamaran_peers::{Config, Counters, Handle};
use catamaran_proxy::Snapshot;
use std::net::TcpListener;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use tokio::runtime;
use tokio::sync::oneshot;

/// What the tables hold before a node starts.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Before {
    /// What an earlier run of this node knew.
    pub(super) is_restored: bool,
    /// All that its peers knew, since that run was in this process and had been told.
    pub(super) is_current: bool,
}

/// A node at work. When it is dropped, its thread has ended and its port is free.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) cluster: Cluster,
    pub(super) handle: Handle,
    /// Ends the thread when dropped.
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    /// Whose tables it was told of.
    snapshot: Weak<Snapshot>,
    text: Option<Arc<Text>>,
    routers: Vec<RouterView>,
}

impl Running {
    /// Opens the port of `cluster` and starts the node.
    ///
    /// # Errors
    /// What is in the way, with the remedy.
    pub(super) fn start(
        cluster: &Cluster,
        snapshot: &Arc<Snapshot>,
        before: Before,
        counters: Arc<Counters>,
        reporter: Reporter,
    ) -> Result<Self, String> {
        let listener = bind(cluster)?;
        let tables = snapshot.kept_tables();
        let (end, ended) = oneshot::channel::<()>();
        let (started, is_started) = sync_channel(1);
        let of = cluster.clone();
        let act = move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build();
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => return drop(started.send(Err(error.to_string()))),
            };
            runtime.block_on(async {
                let handle = tokio::net::TcpListener::from_std(listener)
                    .map_err(|error| error.to_string())
                    .and_then(|listener| {
                        let config = Config {
                            cluster: of,
                            listener,
                            program: PROGRAM.to_owned(),
                            max_counts: MAX_COUNTS,
                            is_restored: before.is_restored,
                            is_current: before.is_current,
                            clock: now,
                            counters,
                        };
                        catamaran_peers::start(config, tables, Box::new(reporter))
                            .map_err(|error| error.to_string())
                    });
                if started.send(handle).is_ok() {
                    let _ = ended.await;
                }
            });
            // A name of a peer may be looked up, which nobody is to wait for.
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new().name("mesh".to_owned()).spawn(act);
        let thread = thread.map_err(|error| format!("no thread can be started: {error}"))?;
        let handle = is_started.recv();
        let handle = handle.map_err(|_| "its thread ended at once".to_owned())??;
        Ok(Self {
            cluster: cluster.clone(),
            handle,
            end: Some(end),
            thread: Some(thread),
            snapshot: Arc::downgrade(snapshot),
            text: None,
            routers: Vec::new(),
        })
    }

    /// Whether it is the node of `cluster`, whatever its secrets are.
    pub(super) fn is_of(&self, cluster: &Cluster) -> bool {
        let Cluster {
            node,
            listen,
            peers,
            secrets: _,
        } = &self.cluster;
        (node, listen, peers) == (&cluster.node, &cluster.listen, &cluster.peers)
    }

    pub(super) fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// The secrets of `cluster`, if it was told others.
    pub(super) fn secrets_of(&mut self, cluster: Option<&Cluster>) -> Option<Vec<ClusterSecret>> {
        let secrets = &cluster?.secrets;
        (*secrets != self.cluster.secrets).then(|| {
            self.cluster.secrets.clone_from(secrets);
            secrets.clone()
        })
    }

    /// The tables of `snapshot`, if it was told of another's: periods may differ where tables do not.
    pub(super) fn tables_of(&mut self, snapshot: &Arc<Snapshot>) -> Option<Vec<KeptTable>> {
        if std::ptr::eq(self.snapshot.as_ptr(), Arc::as_ptr(snapshot)) {
            return None;
        }
        self.snapshot = Arc::downgrade(snapshot);
        Some(snapshot.kept_tables())
    }

    /// The digest of `text`, if it was told of another; 0 unless `is_alike` at all nodes.
    pub(super) fn digest_of(
        &mut self,
        text: Option<Arc<Text>>,
        is_alike: impl FnOnce() -> bool,
    ) -> Option<u64> {
        let text = text?;
        let is_known = self
            .text
            .as_ref()
            .is_some_and(|known| Arc::ptr_eq(known, &text));
        (!is_known).then(|| {
            let digest = match is_alike() {
                true => catamaran_config::shared_digest(&text.text),
                false => 0,
            };
            self.text = Some(text);
            digest
        })
    }

    /// `routers`, if it was told others.
    pub(super) fn routers_of(&mut self, routers: Vec<RouterView>) -> Option<Vec<RouterView>> {
        (routers != self.routers).then(|| {
            self.routers.clone_from(&routers);
            routers
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end = None;
        let thread = self.thread.take();
        // What it says last may be the last use of the mesh: it cannot wait for itself.
        let other = thread.filter(|thread| thread.thread().id() != thread::current().id());
        if other.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of replication panicked");
        }
    }
}

fn bind(cluster: &Cluster) -> Result<TcpListener, String> {
    let listener = TcpListener::bind(cluster.listen);
    let listener = listener.and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    listener.map_err(|error| {
        format!(
            "{}: peers cannot be listened for there: {error}; change `listen` under [cluster]",
            cluster.listen
        )
    })
}

const PROGRAM: &str = concat!("catamaran ", env!("CARGO_PKG_VERSION"));
/// Counts of requests kept, of all keys and nodes: 100 MB if all are used.
const MAX_COUNTS: usize = 1_000_000;
