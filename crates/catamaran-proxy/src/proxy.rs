//! Starting and ending the data plane.

use crate::state::{LogError, Process, Shared, Snapshot};
use crate::worker::{Command, Start, Worker, runtime, start};
use catamaran_core::model::{Config, ListenerKey};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc;

/// The sockets of one listener, one for each worker.
#[derive(Debug)]
pub struct ListenerSockets {
    /// The listener.
    pub key: ListenerKey,
    /// The sockets; all listeners have as many.
    pub sockets: Vec<OwnedFd>,
}

/// Why the data plane does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Listeners differ in the number of their sockets, or one has none.
    #[error("every listener needs as many sockets as there are workers, at least one")]
    Sockets,
    /// An access log cannot be opened.
    #[error(transparent)]
    AccessLog(#[from] LogError),
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
        Self::start_after(config, listeners, |_| ())
    }

    /// As [`Self::start`], once `prepare` has done its work: until then nobody is served.
    ///
    /// # Errors
    /// [`StartError`], with nothing left running.
    pub fn start_after(
        config: Config,
        listeners: Vec<ListenerSockets>,
        prepare: impl FnOnce(&Arc<Shared>),
    ) -> Result<Self, StartError> {
        let count = listeners.first().map_or(0, |group| group.sockets.len());
        if count == 0 || listeners.iter().any(|group| group.sockets.len() != count) {
            return Err(StartError::Sockets);
        }
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..count).map(|_| mpsc::unbounded_channel()).unzip();
        let shared = Arc::new(share(config, senders)?);
        let sockets = shared.open_first(listeners)?;
        prepare(&shared);
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
        for (index, ((opened, commands), runtime)) in each.enumerate() {
            let shared = Arc::clone(&shared);
            let cpu = cpus.get(index).copied();
            let parts = Start {
                index,
                shared,
                opened,
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
        for writer in self.shared.snapshot().log_writers.values() {
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
        for writer in self.shared.snapshot().log_writers.values() {
            if !writer.stop(LOG_PATIENCE) {
                tracing::warn!("access log lines were left unwritten");
            }
        }
    }
}

fn share(
    config: Config,
    commands: Vec<mpsc::UnboundedSender<Command>>,
) -> Result<Shared, LogError> {
    let process = Process {
        workers: commands.len(),
        open: Arc::default(),
    };
    let max_flows = max_flows(config.process.max_connections, commands.len());
    let snapshot = Snapshot::first(config, &process, Worker::now())?;
    Ok(Shared::new(snapshot, process, commands, max_flows))
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
