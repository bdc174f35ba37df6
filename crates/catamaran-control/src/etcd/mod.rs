//! A node of a fleet: what it takes from etcd, and what an operator does there through it.
//!
//! `shell` keeps a watch over the store and feeds [`catamaran_core::fleet`], which decides; it
//! puts texts in place by the reloader and servers by discovery. `store` keeps the last good state
//! on disk. `texts` writes configurations into the store, with their history. `FleetHandle` is
//! what the admin API and the metrics have of all this.

mod act;
mod shell;
mod status;
mod store;
mod texts;

pub(crate) use status::{FleetLine, FleetStatus};
pub use store::{StateError, last_good};
pub(crate) use texts::{Entry, PutError, Written, needed};

use crate::admin::Plane;
use crate::resolve::Order;
use catamaran_core::model::Etcd;
use catamaran_etcd::{Client, Keys, SetupError};
use catamaran_proxy::Shared;
use shell::Shell;
use status::Contact;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{mpsc, oneshot, watch};

/// What others have of the fleet.
#[derive(Debug)]
pub(crate) struct FleetHandle {
    pub(crate) client: Client,
    pub(crate) keys: Keys,
    status: Mutex<Arc<FleetStatus>>,
    /// The revision of the texts that were last judged here.
    judged: watch::Sender<u64>,
    accepts: mpsc::Sender<oneshot::Sender<Result<(), String>>>,
}

/// Where requests to accept a cluster come out.
pub(crate) type Accepts = mpsc::Receiver<oneshot::Sender<Result<(), String>>>;

impl FleetHandle {
    /// The handle of a fleet on this etcd, and where its requests come out.
    ///
    /// # Errors
    /// [`SetupError`] if the certificates cannot be used.
    pub(crate) fn new(etcd: &Etcd) -> Result<(Arc<Self>, Accepts), SetupError> {
        let (accepts, accepted) = mpsc::channel(1);
        let keys = Keys::new(&etcd.prefix, &node_name(etcd));
        let status = FleetStatus::new(etcd, keys.node());
        let handle = Self {
            client: Client::new(etcd)?,
            keys,
            status: Mutex::new(Arc::new(status)),
            judged: watch::channel(0).0,
            accepts,
        };
        Ok((Arc::new(handle), accepted))
    }

    /// What is known now.
    pub(crate) fn status(&self) -> Arc<FleetStatus> {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&status)
    }

    fn set_status(&self, change: impl FnOnce(&mut FleetStatus)) {
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut status));
    }

    /// Takes the foreign cluster for ours.
    ///
    /// # Errors
    /// Why there is nothing to accept.
    pub(crate) async fn accept(&self) -> Result<(), String> {
        let (reply, answer) = oneshot::channel();
        let ending = |_| "the process is ending".to_owned();
        self.accepts.send(reply).await.map_err(|_| ending(()))?;
        answer.await.map_err(|_| ending(()))?
    }
}

/// What a node needs to belong to its fleet.
#[derive(Debug)]
pub(crate) struct Membership {
    pub(crate) handle: Arc<FleetHandle>,
    accepts: Accepts,
    etcd: Etcd,
}

/// The membership that the configuration says, if it says one.
pub(crate) fn begin(shared: &Shared) -> Option<Membership> {
    let etcd = shared.snapshot().config.etcd.clone()?;
    match FleetHandle::new(&etcd) {
        Ok((handle, accepts)) => Some(Membership {
            handle,
            accepts,
            etcd,
        }),
        Err(error) => {
            tracing::error!(%error, "etcd cannot be used; what was last known holds");
            None
        }
    }
}

/// Follows the fleet, for ever if there is one.
pub(crate) async fn belong(
    membership: Option<Membership>,
    plane: &Arc<Plane>,
    orders: mpsc::Sender<Order>,
) {
    if let Some(Membership {
        handle,
        accepts,
        etcd,
    }) = membership
    {
        Shell::new(handle, Arc::clone(plane), etcd, orders)
            .run(accepts)
            .await;
    }
}

/// What this node is called: written, or the name of the host as far as it can stand in a key.
fn node_name(etcd: &Etcd) -> String {
    if let Some(node) = &etcd.node {
        return node.clone();
    }
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let plain: String = host.trim().chars().take(100).collect();
    match catamaran_core::fleet::part_problem(&plain) {
        None => plain,
        Some(_) => "node".to_owned(),
    }
}

/// Where the last good state is kept, for a configuration file in `directory`.
fn state_path(etcd: &Etcd, directory: &Path) -> PathBuf {
    directory.join(&etcd.state)
}
