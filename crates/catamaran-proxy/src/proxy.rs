//! Starting and ending the data plane.

use crate::access_log::Writer;
use crate::state::{
    Backend, Connections, Frontend, Listening, Pulse, Server, Shared, Signals, Target,
};
use crate::worker::{Command, Start, Worker, WorkerMetrics, runtime, start};
use catamaran_core::model::{BackendId, Config, FrontendId, LogTarget, ServerAddr};
use catamaran_core::server::ServerState;
use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc;

/// The sockets of one listener, one for each worker.
#[derive(Debug)]
pub struct ListenerSockets {
    /// The frontend that the listener belongs to.
    pub frontend: FrontendId,
    /// Its index among the frontend's listeners.
    pub listener: usize,
    /// The sockets; all listeners have as many.
    pub sockets: Vec<OwnedFd>,
}

/// Why the data plane does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Listeners differ in the number of their sockets, or there is none.
    #[error("every listener needs as many sockets as there are workers, at least one")]
    Sockets,
    /// An access log cannot be opened.
    #[error("cannot open the access log of frontend `{frontend}`")]
    AccessLog {
        /// The frontend.
        frontend: String,
        /// What is in the way.
        source: io::Error,
    },
    /// A thread cannot be started.
    #[error("cannot start a worker's thread")]
    Thread(#[source] io::Error),
}

/// The data plane at work.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    workers: Mutex<Vec<JoinHandle<()>>>,
}

/// How often a drain looks whether connections are left.
const DRAIN_LOOK: Duration = Duration::from_millis(20);
/// How long log lines may take to be written at the end.
const LOG_PATIENCE: Duration = Duration::from_secs(2);

impl Proxy {
    /// Serves `config` on `listeners`.
    ///
    /// # Errors
    /// [`StartError`], with nothing left running.
    pub fn start(config: Config, listeners: Vec<ListenerSockets>) -> Result<Self, StartError> {
        let count = listeners.first().map_or(0, |group| group.sockets.len());
        if count == 0 || listeners.iter().any(|group| group.sockets.len() != count) {
            return Err(StartError::Sockets);
        }
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..count).map(|_| mpsc::unbounded_channel()).unzip();
        let shared = Arc::new(share(config, senders)?);
        let mut sockets: Vec<Vec<(Arc<Frontend>, OwnedFd)>> =
            (0..count).map(|_| Vec::new()).collect();
        for group in listeners {
            for (worker, socket) in sockets.iter_mut().zip(group.sockets) {
                worker.push((
                    Arc::clone(&shared.frontends[group.frontend.index()]),
                    socket,
                ));
            }
        }
        let cpus = cpus(count);
        let proxy = Self {
            shared: Arc::clone(&shared),
            workers: Mutex::new(Vec::new()),
        };
        // All of them before the first one accepts and could use the descriptors up.
        let runtimes = (0..count).map(|_| runtime());
        let runtimes: Vec<_> = runtimes
            .collect::<Result<_, _>>()
            .map_err(StartError::Thread)?;
        let each = sockets.into_iter().zip(receivers).zip(runtimes);
        for (index, ((sockets, commands), runtime)) in each.enumerate() {
            let shared = Arc::clone(&shared);
            let cpu = cpus.get(index).copied();
            let parts = Start {
                index,
                shared,
                sockets,
                commands,
                cpu,
            };
            let worker = start(parts, runtime).map_err(StartError::Thread)?;
            proxy.workers().push(worker);
        }
        Ok(proxy)
    }

    /// What the control plane reads and steers.
    #[must_use]
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Takes no new clients and waits, at most for `patience`, until those there are have left.
    /// Returns whether all had.
    pub async fn drain(&self, patience: Duration) -> bool {
        self.shared.drain();
        let until = tokio::time::Instant::now() + patience;
        while self.shared.open_connections() > 0 && tokio::time::Instant::now() < until {
            tokio::time::sleep(DRAIN_LOOK).await;
        }
        self.shared.open_connections() == 0
    }

    /// Opens the files of access logs anew, after they were moved away.
    pub fn reopen_logs(&self) {
        for writer in &self.shared.log_writers {
            writer.reopen();
        }
    }

    fn workers(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.workers
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for Proxy {
    /// Ends the workers, whatever is in flight, then writes what the logs still hold.
    fn drop(&mut self) {
        self.shared.command_all(|| Command::Stop);
        let workers = std::mem::take(&mut *self.workers());
        for worker in workers {
            if worker.join().is_err() {
                tracing::error!("a worker had panicked");
            }
        }
        for writer in &self.shared.log_writers {
            if !writer.stop(LOG_PATIENCE) {
                tracing::warn!("access log lines were left unwritten");
            }
        }
    }
}

fn share(
    config: Config,
    commands: Vec<mpsc::UnboundedSender<Command>>,
) -> Result<Shared, StartError> {
    let now = Worker::now();
    let ids = (0u32..).map(BackendId);
    let backends: Vec<Arc<Backend>> = config
        .backends
        .into_iter()
        .zip(ids)
        .map(|(model, id)| {
            let servers = model.servers.iter().filter_map(server).collect();
            Arc::new(Backend::new(id, model, servers, now))
        })
        .collect();
    let mut writers: HashMap<LogTarget, Arc<Writer>> = HashMap::new();
    let mut frontends = Vec::new();
    for (model, id) in config.frontends.into_iter().zip((0u32..).map(FrontendId)) {
        let log = match &model.access_log {
            Some(log) => Some(writer(&mut writers, &log.target, &model.name)?),
            None => None,
        };
        frontends.push(Arc::new(Frontend::new(id, model, backends.clone(), log)));
    }
    let workers = commands.len();
    Ok(Shared {
        worker_metrics: (0..workers)
            .map(|_| Arc::new(WorkerMetrics::new(frontends.len())))
            .collect(),
        loads: (0..workers).map(|_| AtomicUsize::new(0)).collect(),
        pulses: (0..workers).map(|_| Pulse::new(now)).collect(),
        control_pulse: Pulse::new(now),
        listening: (0..workers).map(|_| Listening::default()).collect(),
        max_flows: max_flows(config.process.max_connections, workers),
        frontends,
        backends,
        signals: Signals::default(),
        connections: Connections::new(config.process.max_connections),
        log_writers: writers.into_values().collect(),
        commands,
        is_draining: AtomicBool::new(false),
    })
}

/// A server whose address is known; names are resolved by the control plane.
fn server(model: &catamaran_core::model::Server) -> Option<Arc<Server>> {
    let target = match &model.address {
        ServerAddr::Ip(address) => Target::Ip(*address),
        ServerAddr::Unix(path) => Target::Unix(path.clone()),
        ServerAddr::Dns { .. } | ServerAddr::Srv { .. } => return None,
    };
    let state = Arc::new(ServerState::new(model.name.clone()));
    Some(Arc::new(Server::new(model.clone(), target, state)))
}

fn writer(
    writers: &mut HashMap<LogTarget, Arc<Writer>>,
    target: &LogTarget,
    frontend: &catamaran_core::model::Name,
) -> Result<Arc<Writer>, StartError> {
    if let Some(writer) = writers.get(target) {
        return Ok(Arc::clone(writer));
    }
    let writer = Writer::start(target).map_err(|source| StartError::AccessLog {
        frontend: frontend.to_string(),
        source,
    })?;
    let writer = Arc::new(writer);
    writers.insert(target.clone(), Arc::clone(&writer));
    Ok(writer)
}

/// UDP flows that each of `workers` may have: its part of the connections that the configuration
/// allows, and of half the descriptors that there may be, since each holds one.
fn max_flows(max_connections: Option<usize>, workers: usize) -> usize {
    let descriptors = catamaran_sys::process::raise_descriptor_limit().map_or(MAX_FLOWS, |limit| {
        usize::try_from(limit.soft / 2).unwrap_or(usize::MAX)
    });
    let written = max_connections.unwrap_or(usize::MAX);
    (descriptors.min(written).min(MAX_FLOWS) / workers).max(1)
}

/// UDP flows at most, however many descriptors there may be. Each takes a local port of its own,
/// whichever server it leads to, and Linux gives out 28,232 (net.ipv4.ip_local_port_range): the
/// oldest flow is to give way before they run out.
const MAX_FLOWS: usize = 24 * 1024;

/// One core for each worker, if there are as many; else the scheduler decides.
fn cpus(workers: usize) -> Vec<usize> {
    match catamaran_sys::process::available_cpus() {
        Ok(cpus) if cpus.len() == workers => cpus,
        _ => Vec::new(),
    }
}
