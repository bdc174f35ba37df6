//! Putting another configuration in place of the one that is served.
//!
//! ```text
//!   plan        build the new snapshot beside the old one; find out which listeners come and go
//!   (the caller opens the sockets of those that come)
//!   apply       shared parts follow -> snapshot swapped -> workers told -> closed listeners emptied
//! ```
//! Until `apply` nothing has changed, so that whatever fails before it leaves the old configuration
//! as it was. An exchange ends with the snapshot that it began with; a connection takes the new one
//! with its next request.

use crate::proxy::{ListenerSockets, StartError};
use crate::state::{Frontend, ListenerId, Listeners, LogError, Shared, Snapshot, lock};
use crate::worker::{Change, Command, Opened, Worker};
use catamaran_core::model::{Config, ListenerKey, Name, Protocol};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// A configuration that is ready to be served.
#[derive(Debug)]
pub struct Plan {
    before: Arc<Snapshot>,
    snapshot: Arc<Snapshot>,
    listeners: ListenerPlan,
}

/// A listener that needs sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedListener {
    /// What its sockets are known by.
    pub key: ListenerKey,
    /// The frontend that it is for.
    pub frontend: Name,
    /// Where it is to listen.
    pub address: SocketAddr,
    /// What is spoken there.
    pub protocol: Protocol,
}

/// Why a planned configuration is not served.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Another one was applied meanwhile, or the process winds down.
    #[error("another configuration was applied meanwhile, or the process is ending; try again")]
    Stale,
    /// The sockets are not those that were wanted.
    #[error(transparent)]
    Sockets(#[from] StartError),
}

/// What becomes of each listener.
#[derive(Debug, Default)]
struct ListenerPlan {
    kept: Vec<(ListenerId, Arc<Frontend>)>,
    /// Its sockets go to another frontend, under another id.
    moved: Vec<(ListenerId, ListenerId, Arc<Frontend>)>,
    opened: Vec<(ListenerId, Arc<Frontend>, WantedListener)>,
    closed: Vec<(ListenerId, ListenerKey)>,
    open: HashMap<ListenerKey, (ListenerId, Name)>,
    last_id: ListenerId,
}

impl Plan {
    /// The listeners that need sockets.
    pub fn wanted(&self) -> impl Iterator<Item = &WantedListener> {
        self.listeners.opened.iter().map(|(_, _, wanted)| wanted)
    }

    /// The listeners whose sockets are closed.
    pub fn closed(&self) -> impl Iterator<Item = &ListenerKey> {
        self.listeners.closed.iter().map(|(_, key)| key)
    }

    /// What will be served.
    #[must_use]
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }
}

impl Shared {
    /// Makes `config` ready to be served in place of what is.
    ///
    /// # Errors
    /// [`LogError`] when an access log cannot be opened.
    pub fn plan(&self, config: Config) -> Result<Plan, LogError> {
        let before = self.snapshot();
        let snapshot = before.successor(config, &self.process, Worker::now())?;
        Ok(Plan {
            listeners: self.plan_listeners(&snapshot),
            snapshot: Arc::new(snapshot),
            before,
        })
    }

    /// Serves what `plan` has made ready, with `sockets` for the listeners that it wants. Returns
    /// when the sockets of removed listeners are closed, or that took too long.
    ///
    /// # Errors
    /// [`ApplyError`], with nothing changed.
    pub async fn apply(&self, plan: Plan, sockets: Vec<ListenerSockets>) -> Result<(), ApplyError> {
        let Plan {
            before,
            snapshot,
            listeners,
        } = plan;
        if !Arc::ptr_eq(&before, &self.snapshot()) || self.is_draining() {
            return Err(ApplyError::Stale);
        }
        let opened = listeners.spread(sockets, self.commands.len())?;
        let process = &snapshot.config.process;
        self.connections.set_max(process.max_connections);
        let gone_servers = snapshot.take_over(&before, Worker::now());
        let change = Arc::new(Change {
            kept: listeners.kept,
            moved: listeners.moved,
            closed: listeners.closed.into_iter().map(|(id, _)| id).collect(),
            gone_servers,
            snapshot: Arc::clone(&snapshot),
        });
        *lock(&self.listeners) = Listeners {
            open: listeners.open,
            last_id: listeners.last_id,
        };
        drop(before);
        self.set_snapshot(snapshot);
        let (closing, mut closed) = mpsc::channel(1);
        for (worker, opened) in opened.into_iter().enumerate() {
            let (change, closing) = (Arc::clone(&change), closing.clone());
            self.command(
                worker,
                Command::Reload {
                    change,
                    opened,
                    closing,
                },
            );
        }
        drop((change, closing));
        // Nobody sends: the channel ends when every worker is done with it.
        if tokio::time::timeout(CLOSE_PATIENCE, closed.recv())
            .await
            .is_err()
        {
            tracing::warn!("sockets of removed listeners are not closed yet; workers are busy");
        }
        Ok(())
    }

    /// Takes the sockets of the first configuration; returns those of each worker.
    pub(crate) fn open_first(
        &self,
        sockets: Vec<ListenerSockets>,
    ) -> Result<Vec<Vec<Opened>>, StartError> {
        let plan = self.plan_listeners(&self.snapshot());
        let opened = plan.spread(sockets, self.commands.len())?;
        *lock(&self.listeners) = Listeners {
            open: plan.open,
            last_id: plan.last_id,
        };
        Ok(opened)
    }

    /// Finds out what becomes of the listeners there are when `snapshot` is served.
    fn plan_listeners(&self, snapshot: &Snapshot) -> ListenerPlan {
        let before = self.snapshot();
        let held = lock(&self.listeners);
        let mut plan = ListenerPlan {
            last_id: held.last_id,
            ..ListenerPlan::default()
        };
        for frontend in &snapshot.frontends {
            for place in 0..frontend.model.listeners.len() {
                let key = ListenerKey::of(&frontend.model, place);
                let id = plan.place(&key, frontend, place, held.open.get(&key), &before);
                let name = frontend.model.name.clone();
                plan.open.insert(key, (id, name));
            }
        }
        let closed = held.open.iter();
        let closed = closed.filter(|(key, _)| !plan.open.contains_key(*key));
        plan.closed = closed.map(|(key, (id, _))| (*id, key.clone())).collect();
        plan
    }
}

impl ListenerPlan {
    /// Says what becomes of one listener; returns its id.
    fn place(
        &mut self,
        key: &ListenerKey,
        frontend: &Arc<Frontend>,
        place: usize,
        held: Option<&(ListenerId, Name)>,
        before: &Snapshot,
    ) -> ListenerId {
        if let Some((id, name)) = held {
            let protocol = before.frontend(name).map(|before| before.model.protocol);
            if *name == frontend.model.name && protocol == Some(frontend.model.protocol) {
                self.kept.push((*id, Arc::clone(frontend)));
                return *id;
            }
        }
        self.last_id += 1;
        match held {
            Some((id, _)) => self.moved.push((*id, self.last_id, Arc::clone(frontend))),
            None => {
                let wanted = WantedListener {
                    key: key.clone(),
                    frontend: frontend.model.name.clone(),
                    address: frontend.model.listeners[place].address,
                    protocol: frontend.model.protocol,
                };
                self.opened
                    .push((self.last_id, Arc::clone(frontend), wanted));
            }
        }
        self.last_id
    }

    /// The sockets of new listeners, by worker. Sockets of others are closed.
    fn spread(
        &self,
        sockets: Vec<ListenerSockets>,
        workers: usize,
    ) -> Result<Vec<Vec<Opened>>, StartError> {
        let mut groups: HashMap<_, _> = sockets
            .into_iter()
            .map(|group| (group.key, group.sockets))
            .collect();
        let mut opened: Vec<Vec<Opened>> = (0..workers).map(|_| Vec::new()).collect();
        for (id, frontend, wanted) in &self.opened {
            let group = groups.remove(&wanted.key).unwrap_or_default();
            if group.len() != workers {
                return Err(StartError::Sockets);
            }
            for (worker, socket) in opened.iter_mut().zip(group) {
                worker.push(Opened {
                    id: *id,
                    frontend: Arc::clone(frontend),
                    socket,
                });
            }
        }
        Ok(opened)
    }
}

/// How long closing the sockets of removed listeners is waited for: connections that wait to be
/// accepted are served first.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);
