//! A worker: one thread, its runtime, and all it owns.
//!
//! A worker accepts from its own sockets and serves what it accepted to the end. What workers share
//! is a closed list: the configuration, loads and health of servers, tables, queues, counters.

mod crew;
mod deadline;
mod listening;
mod metrics;
mod run;
mod stall;

pub(crate) use crew::Crew;
pub(crate) use deadline::{Alarm, Deadline, Deadlines, Phase};
pub(crate) use listening::{Listener, Slot};
pub use metrics::{Lag, WorkerMetrics};
pub(crate) use run::{Start, Vital, runtime, start};

use crate::access_log::{Appender, Record, Writer};
use crate::http1;
use crate::io::{BufferPool, PipePool};
use crate::state::{Admitted, Frontend, ListenerId, Server, Shared, Signal, Snapshot};
use crate::tunnel::Pools;
use crate::udp::FlowTable;
use crate::upstream::IdlePool;
use catamaran_core::Timestamp;
use catamaran_core::model::LogFormat;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// What one worker owns.
#[derive(Debug)]
pub(crate) struct Worker {
    /// Its number, from zero.
    pub(crate) index: usize,
    pub(crate) shared: Arc<Shared>,
    pub(crate) buffers: BufferPool,
    pub(crate) pipes: PipePool,
    pub(crate) deadlines: Rc<Deadlines>,
    pub(crate) idle: IdlePool,
    pub(crate) metrics: Arc<WorkerMetrics>,
    pub(crate) contexts: http1::ContextPool,
    pub(crate) flows: FlowTable,
    /// Connections from clients open here.
    pub(crate) open: Cell<usize>,
    /// Copies of requests under way.
    pub(crate) mirrors: Cell<usize>,
    /// Whether this worker winds down: connections close after their exchange.
    pub(crate) is_draining: Cell<bool>,
    /// When the log was last told that something is used up.
    told_exhausted: Cell<Option<Timestamp>>,
    /// The clock as it was last read.
    time: Cell<Timestamp>,
    rng: RefCell<fastrand::Rng>,
    /// Access logs in use: there are few.
    appenders: RefCell<Vec<LogEnd>>,
}

/// This worker's end of an access log.
#[derive(Debug)]
struct LogEnd {
    writer: Arc<Writer>,
    format: LogFormat,
    appender: Appender,
}

/// What another configuration changes, for every worker.
#[derive(Debug)]
pub(crate) struct Change {
    /// Listeners that stay, and their frontends as they are now.
    pub(crate) kept: Vec<(ListenerId, Arc<Frontend>)>,
    /// Listeners whose sockets go to another frontend, under another id.
    pub(crate) moved: Vec<(ListenerId, ListenerId, Arc<Frontend>)>,
    /// Listeners that go.
    pub(crate) closed: Vec<ListenerId>,
    /// [`Server::id`] of servers that are gone.
    pub(crate) gone_servers: Vec<u64>,
    pub(crate) snapshot: Arc<Snapshot>,
}

/// A listener that is new to a worker.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) id: ListenerId,
    pub(crate) frontend: Arc<Frontend>,
    pub(crate) socket: OwnedFd,
}

/// What the rest of the process asks of a worker.
#[derive(Debug)]
pub(crate) enum Command {
    /// Serve a connection that another worker accepted.
    Serve {
        /// The listener.
        listener: ListenerId,
        /// Its frontend, should this worker not know the listener yet.
        frontend: Arc<Frontend>,
        /// The connection.
        stream: OwnedFd,
        /// Its client.
        peer: SocketAddr,
        /// Its places among the connections of the frontend and of the process.
        admitted: (Admitted, Option<Admitted>),
    },
    /// A server was marked down: its idle connections close, and exchanges that await its response
    /// look for another.
    ServerDown {
        /// [`Server::id`].
        server: u64,
        /// Whether exchanges go on regardless.
        keep: bool,
    },
    /// Close idle connections to a server that has as many open as it may: another worker waits
    /// for one.
    CloseIdle {
        /// [`Server::id`].
        server: u64,
    },
    /// Serve another configuration.
    Reload {
        /// What changes for all workers.
        change: Arc<Change>,
        /// New listeners.
        opened: Vec<Opened>,
        /// Dropped when the sockets of removed listeners are closed.
        closing: mpsc::Sender<()>,
    },
    /// Give a socket of a listener to another worker.
    Pass {
        /// The listener.
        listener: ListenerId,
        /// The worker.
        to: usize,
        /// Dropped when that one has it.
        done: mpsc::Sender<()>,
    },
    /// Take clients from one more socket.
    Take {
        /// It and its listener.
        opened: Opened,
        /// Dropped when that is done.
        done: mpsc::Sender<()>,
    },
    /// Accept no more: another process does.
    Leave {
        /// Dropped when all sockets are closed.
        closing: mpsc::Sender<()>,
    },
    /// Have the connections there are end, each in its time.
    Retire {
        /// What was served last.
        snapshot: Arc<Snapshot>,
    },
    /// Accept what waits, then no more; connections close after their exchange.
    Drain,
    /// End at once.
    Stop,
    /// Block the thread until the other end is dropped.
    #[cfg(test)]
    Stall(std::sync::mpsc::Receiver<()>),
}

impl Worker {
    fn new(index: usize, shared: Arc<Shared>) -> Self {
        let metrics = Arc::clone(&shared.worker_metrics[index]);
        let flows = FlowTable::new(shared.max_flows);
        Self {
            index,
            shared,
            buffers: BufferPool::default(),
            pipes: PipePool::default(),
            deadlines: Rc::new(Deadlines::default()),
            idle: IdlePool::default(),
            metrics,
            contexts: http1::ContextPool::default(),
            flows,
            open: Cell::new(0),
            mirrors: Cell::new(0),
            is_draining: Cell::new(false),
            told_exhausted: Cell::new(None),
            time: Cell::new(Self::now()),
            rng: RefCell::new(fastrand::Rng::new()),
            appenders: RefCell::default(),
        }
    }

    /// Writes a line of the frontend's access log.
    pub(crate) fn log(&self, frontend: &Frontend, now: Timestamp, record: &Record<'_>) {
        let (Some(writer), Some(log)) = (&frontend.log, &frontend.model.access_log) else {
            return;
        };
        let mut ends = self.appenders.borrow_mut();
        let is_it = |end: &LogEnd| Arc::ptr_eq(&end.writer, writer) && end.format == log.format;
        let place = ends.iter().position(is_it).unwrap_or_else(|| {
            ends.push(LogEnd {
                writer: Arc::clone(writer),
                format: log.format,
                appender: writer.appender(log.format),
            });
            ends.len() - 1
        });
        let appender = &mut ends[place].appender;
        appender.append(now, record);
        if log.format == LogFormat::Human {
            // Somebody is watching.
            appender.flush();
        }
    }

    /// Hands over log lines that have waited long enough.
    fn flush_logs(&self, now: Timestamp) {
        for end in self.appenders.borrow_mut().iter_mut() {
            end.appender.handle_timeout(now);
        }
    }

    /// Lets go of access logs that the configuration no longer names, with what they still hold.
    fn drop_old_logs(&self, snapshot: &Snapshot) {
        let is_used = |end: &LogEnd| {
            let mut writers = snapshot.log_writers.values();
            writers.any(|writer| Arc::ptr_eq(writer, &end.writer))
        };
        self.appenders.borrow_mut().retain(is_used);
    }

    /// The time.
    pub(crate) fn now() -> Timestamp {
        Timestamp::from_nanos(catamaran_sys::clock::now_nanos())
    }

    /// Reads the clock, for [`Self::time`].
    pub(crate) fn tick(&self) -> Timestamp {
        let now = Self::now();
        self.time.set(now);
        now
    }

    /// The time of the last [`Self::tick`]: right for as long as a task has not waited since. A
    /// request reads the clock three times instead of nine so.
    pub(crate) fn time(&self) -> Timestamp {
        self.time.get()
    }

    /// Runs `draw` with this worker's source of randomness.
    pub(crate) fn with_rng<R>(&self, draw: impl FnOnce(&mut fastrand::Rng) -> R) -> R {
        draw(&mut self.rng.borrow_mut())
    }

    /// Where relays borrow buffers and pipes.
    pub(crate) fn pools(&self) -> Pools<'_> {
        Pools {
            buffers: &self.buffers,
            pipes: &self.pipes,
        }
    }

    /// Makes the deadline of the task that awaits this.
    pub(crate) async fn deadline(&self) -> Deadline {
        let deadline = self.deadlines.register();
        deadline.adopt().await;
        deadline
    }

    /// Whether to log that something is used up: once in a while, however many requests feel it.
    pub(crate) fn tells_exhausted(&self) -> bool {
        let now = Self::now();
        let is_due = self
            .told_exhausted
            .get()
            .is_none_or(|told| now.saturating_since(told) >= EXHAUSTED_EVERY);
        if is_due {
            self.told_exhausted.set(Some(now));
        }
        is_due
    }

    /// Tells the control plane what was noticed of `server`.
    pub(crate) fn signal(&self, server: &Arc<Server>, signal: Signal) {
        if server.raise(signal) {
            self.shared.signals.push(server);
        }
    }
}

/// Counts a client's connection for as long as it lives.
#[derive(Debug)]
pub(crate) struct OpenConnection {
    worker: Rc<Worker>,
    /// Its place among the frontend's connections.
    _admitted: (Admitted, Option<Admitted>),
}

impl OpenConnection {
    pub(crate) fn new(worker: &Rc<Worker>, admitted: (Admitted, Option<Admitted>)) -> Self {
        worker.open.set(worker.open.get() + 1);
        worker.shared.loads[worker.index]
            .store(worker.open.get(), std::sync::atomic::Ordering::Relaxed);
        Self {
            worker: Rc::clone(worker),
            _admitted: admitted,
        }
    }

    /// The worker that serves it.
    pub(crate) const fn worker(&self) -> &Rc<Worker> {
        &self.worker
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let worker = &self.worker;
        if std::thread::panicking() {
            // Caught at the task's boundary: it ends this connection and no other.
            worker.metrics.panics.add_alone(1);
        }
        worker.open.set(worker.open.get() - 1);
        worker.shared.loads[worker.index]
            .store(worker.open.get(), std::sync::atomic::Ordering::Relaxed);
    }
}

/// How often the log is told that descriptors, ports or memory are used up.
const EXHAUSTED_EVERY: Duration = Duration::from_secs(1);

/// How often idle connections to servers are looked over.
pub(crate) const IDLE_SWEEP: Duration = Duration::from_secs(1);
