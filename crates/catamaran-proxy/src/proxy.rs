//! Starting and ending the data plane.

use crate::state::{Layout, LogError, Process, Shared, Snapshot, Spans};
use crate::worker::{Command, Crew, Worker};
use catamaran_core::model::{Config, ListenerKey};
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// The sockets of one listener: one for each worker that there was when they were opened.
#[derive(Debug)]
pub struct ListenerSockets {
    /// The listener.
    pub key: ListenerKey,
    /// The sockets; at least one. Workers share them out; one without any is handed connections.
    pub sockets: Vec<OwnedFd>,
}

/// Why the data plane does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener has no socket.
    #[error("every listener needs a socket")]
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
}

/// How often a drain looks whether connections are left.
const DRAIN_LOOK: Duration = Duration::from_millis(20);
/// How long log lines may take to be written at the end.
const LOG_PATIENCE: Duration = Duration::from_secs(2);

impl Proxy {
    /// Serves `config` on `listeners`, with as many workers as it says, else with one for each socket
    /// of a listener.
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
        let most = listeners.iter().map(|group| group.sockets.len()).max();
        if listeners.iter().any(|group| group.sockets.is_empty()) {
            return Err(StartError::Sockets);
        }
        let workers = config.process.workers.map(NonZeroUsize::get).or(most);
        let workers = workers.unwrap_or(1);
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..most_workers(workers))
            .map(|_| mpsc::unbounded_channel())
            .unzip();
        let proxy = Self {
            shared: Arc::new(share(config, workers, senders, receivers)?),
        };
        proxy.shared.trace_by(&proxy.shared.snapshot().config);
        let opened = proxy.shared.open_first(listeners)?;
        prepare(&proxy.shared);
        proxy.shared.start_workers(workers, opened)?;
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
}

impl Drop for Proxy {
    /// Ends the workers, whatever is in flight, then writes what the logs still hold.
    fn drop(&mut self) {
        self.shared.command_all(|| Command::Stop);
        for worker in self.shared.take_threads() {
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
    workers: usize,
    commands: Vec<mpsc::UnboundedSender<Command>>,
    receivers: Vec<mpsc::UnboundedReceiver<Command>>,
) -> Result<Shared, LogError> {
    let process = Process {
        layout: Layout::new(commands.len(), config.process.server_histograms),
        open: Arc::default(),
        spans: Spans::new(),
    };
    let max_flows = max_flows(config.process.max_connections, workers);
    let snapshot = Snapshot::first(config, &process, Worker::now())?;
    let crew = Crew::new(receivers, cpus(workers));
    Ok(Shared::new(snapshot, process, commands, crew, max_flows))
}

/// How many workers a process that begins with so many may come to have: counters are kept for all.
fn most_workers(workers: usize) -> usize {
    let cpus = catamaran_sys::process::available_cpus().map_or(1, |cpus| cpus.len());
    workers.max(cpus).max(FEW_WORKERS)
}

/// Workers that every process may have, however few processors there are; chosen.
const FEW_WORKERS: usize = 4;

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
