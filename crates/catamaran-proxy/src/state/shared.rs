//! The process as a whole: its workers, its parts, and what they tell each other.

use super::{Backend, Connections, Frontend, Listening, Pulse, Server, lock};
use crate::access_log::Writer;
use crate::worker::{Command, WorkerMetrics};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::{Notify, mpsc};

/// What the workers and the control plane share.
#[derive(Debug)]
pub struct Shared {
    /// Indexed by [`catamaran_core::model::FrontendId`].
    pub frontends: Vec<Arc<Frontend>>,
    /// Indexed by [`catamaran_core::model::BackendId`].
    pub backends: Vec<Arc<Backend>>,
    /// Counters, by worker.
    pub worker_metrics: Vec<Arc<WorkerMetrics>>,
    /// Clients' connections open, by worker.
    pub loads: Vec<AtomicUsize>,
    /// When each worker last turned its loop.
    pub pulses: Vec<Pulse>,
    /// When the control thread last turned its loop, which is for that to say.
    pub control_pulse: Pulse,
    /// The sockets that each worker accepts from.
    pub(crate) listening: Vec<Listening>,
    /// UDP flows that each worker keeps at most.
    pub max_flows: usize,
    /// Servers that the control plane is to look at.
    pub signals: Signals,
    /// Connections of clients over all frontends.
    pub(crate) connections: Arc<Connections>,
    /// One for each target of access logs.
    pub log_writers: Vec<Arc<Writer>>,
    pub(crate) commands: Vec<mpsc::UnboundedSender<Command>>,
    pub(crate) is_draining: AtomicBool,
}

/// Servers of which workers noticed something. A server is in it at most once.
#[derive(Debug, Default)]
pub struct Signals {
    servers: Mutex<Vec<Arc<Server>>>,
    notify: Notify,
}

impl Signals {
    pub(crate) fn push(&self, server: &Arc<Server>) {
        lock(&self.servers).push(Arc::clone(server));
        self.notify.notify_one();
    }

    /// Waits for servers to look at; their signals are then to be taken.
    pub async fn next(&self) -> Vec<Arc<Server>> {
        loop {
            let servers = std::mem::take(&mut *lock(&self.servers));
            if !servers.is_empty() {
                return servers;
            }
            self.notify.notified().await;
        }
    }
}

impl Shared {
    /// Tells every worker that `server` of `backend` is down: its idle connections close, and
    /// exchanges that await its response look for another, unless the backend keeps them.
    pub fn server_down(&self, backend: &Backend, server: &Server) {
        let keep = backend.model.on_down == catamaran_core::model::OnDown::Keep;
        self.command_all(|| Command::ServerDown {
            server: server.id(),
            keep,
        });
    }

    /// Clients' connections open in the whole process, those on their way between workers too.
    pub fn open_connections(&self) -> usize {
        self.frontends
            .iter()
            .map(|frontend| frontend.open_connections())
            .sum()
    }

    /// Whether the process winds down.
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// Accepts no more connections and closes those there are after their exchange.
    pub(crate) fn drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
        self.command_all(|| Command::Drain);
    }

    /// Asks something of one worker; one that has ended needs nothing any more.
    pub(crate) fn command(&self, worker: usize, command: Command) {
        let _ = self.commands[worker].send(command);
    }

    /// Asks something of every worker.
    pub(crate) fn command_all(&self, command: impl Fn() -> Command) {
        for worker in 0..self.commands.len() {
            self.command(worker, command());
        }
    }
}
