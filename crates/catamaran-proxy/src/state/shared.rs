//! The process as a whole: its workers, its parts, and what they tell each other.

use super::{Backend, Connections, Layout, Listening, Pulse, Server, Snapshot, Spans, lock};
use crate::worker::{Command, Crew, WorkerMetrics};
use arc_swap::ArcSwap;
use catamaran_core::Timestamp;
use catamaran_core::health::Status;
use catamaran_core::model::{Config, ListenerKey, Name, Weight};
use catamaran_core::server::Admin;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::{Notify, mpsc, watch};

/// What the workers and the control plane share.
#[derive(Debug)]
pub struct Shared {
    /// The configuration that is served.
    snapshot: ArcSwap<Snapshot>,
    /// Told of each new one.
    changed: watch::Sender<()>,
    /// Counters, by worker: of all that there may come to be, see [`Self::started_workers`].
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
    /// Backends whose rotation an operator changed, for the control plane to make anew.
    pub rebuilds: Rebuilds,
    /// What all frontends are a part of.
    pub(crate) process: Process,
    /// Connections of clients over all frontends.
    pub(crate) connections: Arc<Connections>,
    /// The listeners whose sockets the workers hold.
    pub(crate) listeners: Mutex<Listeners>,
    /// The ways to all workers that there may come to be.
    pub(crate) commands: Vec<mpsc::UnboundedSender<Command>>,
    pub(crate) crew: Crew,
    pub(crate) is_draining: AtomicBool,
    /// Whether another process serves in place of this one.
    pub(crate) is_retired: AtomicBool,
}

/// A server that there is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("backend `{backend}` has no server `{server}`")]
pub struct NoSuchServer {
    /// The backend as asked for.
    pub backend: Name,
    /// The server as asked for.
    pub server: Name,
}

/// What a server still has to finish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Requests in flight (connections, for TCP; tunnels count too).
    pub in_flight: u32,
    /// Connections open, idle ones included.
    pub connections: u32,
}

/// What all frontends are a part of.
#[derive(Debug)]
pub(crate) struct Process {
    /// What counters of servers are made by.
    pub(crate) layout: Layout,
    /// Connections of clients, those on their way between workers and UDP flows too.
    pub(crate) open: Arc<AtomicUsize>,
    /// Exchanges that were sampled.
    pub(crate) spans: Arc<Spans>,
}

/// The listeners whose sockets the workers hold, and what workers know them by.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    /// With the name of the frontend that each belongs to.
    pub(crate) open: HashMap<ListenerKey, (ListenerId, Name)>,
    /// The worker of each socket.
    pub(crate) owners: HashMap<ListenerKey, Vec<usize>>,
    /// Counts up, so that no id is used twice.
    pub(crate) last_id: ListenerId,
}

/// What workers know a listener of a frontend by; never zero, never used for another.
pub(crate) type ListenerId = u32;

/// Backends whose rotation is to be made anew. A backend is in it at most once.
#[derive(Debug, Default)]
pub struct Rebuilds {
    backends: Mutex<Vec<Name>>,
    notify: Notify,
}

impl Rebuilds {
    pub(crate) fn push(&self, backend: &Name) {
        let mut backends = lock(&self.backends);
        if !backends.contains(backend) {
            backends.push(backend.clone());
        }
        self.notify.notify_one();
    }

    /// Waits for a backend whose rotation is to be made anew.
    pub async fn next(&self) -> Name {
        loop {
            let backend = lock(&self.backends).pop();
            if let Some(backend) = backend {
                return backend;
            }
            self.notify.notified().await;
        }
    }
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
    /// Sets what the operator wants of a server. One that drains or is in maintenance gets nothing
    /// new from now on; what it has, it finishes, see [`Self::left`] and [`Self::end_server`].
    ///
    /// # Errors
    /// [`NoSuchServer`].
    pub fn set_admin_state(
        &self,
        backend: &Name,
        server: &Name,
        admin: Admin,
    ) -> Result<(), NoSuchServer> {
        let (found, server) = self.find_server(backend, server)?;
        let now = Timestamp::from_nanos(catamaran_sys::clock::now_nanos());
        if server.state.set_admin(now, admin) {
            self.rebuild(&found, now);
            if admin != Admin::Ready {
                let server = server.id();
                self.command_all(|| Command::CloseIdle { server });
            }
        }
        Ok(())
    }

    /// Sets a weight in place of the configured one; `None` returns to that.
    ///
    /// # Errors
    /// [`NoSuchServer`].
    pub fn set_weight(
        &self,
        backend: &Name,
        server: &Name,
        weight: Option<Weight>,
    ) -> Result<(), NoSuchServer> {
        let (found, server) = self.find_server(backend, server)?;
        if server.state.set_weight(weight) {
            let now = Timestamp::from_nanos(catamaran_sys::clock::now_nanos());
            self.rebuild(&found, now);
        }
        Ok(())
    }

    /// Sets what counts as a server's health whatever is observed of it; `None` returns to that.
    ///
    /// # Errors
    /// [`NoSuchServer`].
    pub fn set_health_override(
        &self,
        backend: &Name,
        server: &Name,
        health: Option<Status>,
    ) -> Result<(), NoSuchServer> {
        let (found, server) = self.find_server(backend, server)?;
        let now = Timestamp::from_nanos(catamaran_sys::clock::now_nanos());
        if server.state.set_health_override(now, health) {
            self.rebuild(&found, now);
            if health == Some(Status::Down) {
                self.server_down(&found, &server);
            }
        }
        Ok(())
    }

    /// Closes the idle connections to `server`, which takes no new traffic.
    pub fn close_idle(&self, server: &Server) {
        self.command_all(|| Command::CloseIdle {
            server: server.id(),
        });
    }

    /// What a server still has to finish.
    ///
    /// # Errors
    /// [`NoSuchServer`].
    pub fn left(&self, backend: &Name, server: &Name) -> Result<Left, NoSuchServer> {
        let (_, server) = self.find_server(backend, server)?;
        Ok(Left {
            in_flight: server.state.in_flight(),
            connections: server.state.open_connections(),
        })
    }

    /// Ends what a server still has, when the time to drain it is over: tunnels end, exchanges
    /// without a response byte go to another server if the retry rule allows it.
    ///
    /// # Errors
    /// [`NoSuchServer`].
    pub fn end_server(&self, backend: &Name, server: &Name) -> Result<(), NoSuchServer> {
        let (_, server) = self.find_server(backend, server)?;
        let server = server.id();
        self.command_all(|| Command::ServerDown {
            server,
            keep: false,
        });
        Ok(())
    }

    fn find_server(
        &self,
        backend: &Name,
        server: &Name,
    ) -> Result<(Arc<Backend>, Arc<Server>), NoSuchServer> {
        let no_such = || NoSuchServer {
            backend: backend.clone(),
            server: server.clone(),
        };
        let snapshot = self.snapshot();
        let found = snapshot.backend(backend).ok_or_else(no_such)?;
        let set = found.set();
        let server = set.by_name(server).ok_or_else(no_such)?;
        Ok((Arc::clone(found), Arc::clone(server)))
    }

    /// Makes the rotation anew, and has the control plane do so once more, which keeps its timers.
    fn rebuild(&self, backend: &Arc<Backend>, now: Timestamp) {
        backend.rebuild(now);
        self.rebuilds.push(&backend.model.name);
    }

    /// Tells every worker that `server` of `backend` is down: its idle connections close, and
    /// exchanges that await its response look for another, unless the backend keeps them.
    pub fn server_down(&self, backend: &Backend, server: &Server) {
        let keep = backend.model.on_down == catamaran_core::model::OnDown::Keep;
        self.command_all(|| Command::ServerDown {
            server: server.id(),
            keep,
        });
    }

    /// What `snapshot` describes, served by at most as many workers as there are `commands`.
    pub(crate) fn new(
        snapshot: Snapshot,
        process: Process,
        commands: Vec<mpsc::UnboundedSender<Command>>,
        crew: Crew,
        max_flows: usize,
    ) -> Self {
        let workers = commands.len();
        let now = Timestamp::from_nanos(catamaran_sys::clock::now_nanos());
        let max_connections = snapshot.config.process.max_connections;
        Self {
            snapshot: ArcSwap::from_pointee(snapshot),
            changed: watch::channel(()).0,
            worker_metrics: (0..workers).map(|_| Arc::default()).collect(),
            loads: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
            pulses: (0..workers).map(|_| Pulse::new(now)).collect(),
            control_pulse: Pulse::new(now),
            listening: (0..workers).map(|_| Listening::default()).collect(),
            max_flows,
            signals: Signals::default(),
            rebuilds: Rebuilds::default(),
            process,
            connections: Connections::new(max_connections, None),
            listeners: Mutex::default(),
            commands,
            crew,
            is_draining: AtomicBool::new(false),
            is_retired: AtomicBool::new(false),
        }
    }

    /// The configuration that is served. Not to be kept: hold it for as long as it is looked at.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Tells of each new [`Self::snapshot`].
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Has the queue of sampled exchanges follow `config`. What waits there goes on to wait where
    /// nothing is traced any more.
    pub(crate) fn trace_by(&self, config: &Config) {
        if let Some(tracing) = &config.tracing {
            self.process.spans.set_max(tracing.queue);
        }
    }

    /// Serves `snapshot` from now on.
    pub(crate) fn set_snapshot(&self, snapshot: Arc<Snapshot>) {
        self.snapshot.store(snapshot);
        self.changed.send_replace(());
    }

    /// Exchanges that were sampled and wait to be sent to a collector.
    pub const fn spans(&self) -> &Arc<Spans> {
        &self.process.spans
    }

    /// Clients' connections open in the whole process, those on their way between workers too.
    pub fn open_connections(&self) -> usize {
        self.process.open.load(Ordering::Relaxed)
    }

    /// Connections that had to wait because as many were open as may be over all frontends.
    pub fn connections_limited(&self) -> u64 {
        self.connections.limited()
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
        for worker in 0..self.started_workers() {
            self.command(worker, command());
        }
    }
}
