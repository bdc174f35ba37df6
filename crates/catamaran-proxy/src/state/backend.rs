//! One backend, as workers and the control plane share it.

use super::{Metered, Server, Signals};
use arc_swap::ArcSwap;
use catamaran_core::Timestamp;
use catamaran_core::balance::{Cursor, Rotation};
use catamaran_core::health::Detector;
use catamaran_core::key::Key;
use catamaran_core::model::{self, ServerId, StickKey};
use catamaran_core::queue::Queue;
use catamaran_core::retry::Budget;
use catamaran_core::server::ServerState;
use catamaran_core::stick::{ServerKey, Table};
use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// Parts of an affinity table, each under its own lock.
const STICK_SHARDS: NonZeroUsize = NonZeroUsize::new(64).expect("not zero");

/// One backend.
#[derive(Debug)]
pub struct Backend {
    /// What the configuration says.
    pub model: model::Backend,
    /// The servers and who of them takes traffic; swapped whole when either changes.
    set: ArcSwap<ServerSet>,
    /// Held while the set is made anew, so that no change is lost between two makers.
    rebuilding: Mutex<Arc<Cursor>>,
    stick: Option<Box<[Mutex<Table>]>>,
    /// What retries may cost.
    pub budget: Budget,
    /// Passive detection, told when a streak of failures is long enough.
    pub detector: Mutex<Detector>,
    queue: Mutex<Waiting>,
    waiting: AtomicUsize,
    /// Servers that workers want the control plane to look at.
    pub(crate) signals: Arc<Signals>,
    /// Counters.
    pub metrics: BackendMetrics,
}

/// The servers of a backend at one time.
#[derive(Debug)]
pub struct ServerSet {
    /// Indexed by [`ServerId`].
    pub servers: Vec<Arc<Server>>,
    /// Who takes traffic, and how it is shared out.
    pub rotation: Rotation,
    by_stick_key: HashMap<ServerKey, ServerId, foldhash::fast::RandomState>,
}

/// Requests that wait for a server with room.
#[derive(Debug)]
struct Waiting {
    queue: Queue,
    wakers: HashMap<u64, Waker, foldhash::fast::RandomState>,
}

/// Counters of one backend, over all workers.
#[derive(Debug, Default)]
pub struct BackendMetrics {
    /// Requests that had to wait for a server with room.
    pub queued: Metered,
    /// Requests turned away because the queue was full, or waited in vain.
    pub queue_failures: Metered,
    /// Requests for which no server was usable.
    pub no_server: Metered,
    /// Tries after the first that were not made because the budget was spent.
    pub budget_exhausted: Metered,
}
