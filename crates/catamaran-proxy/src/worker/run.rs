//! The life of a worker: its runtime, its commands, its end.

use super::listening::{Listeners, serve_other};
use super::{Command, IDLE_SWEEP, Opened, Worker, stall};
use crate::state::Shared;
use crate::udp;
use catamaran_core::Timestamp;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::thread;
use std::time::Duration;
use tokio::runtime::{self, Runtime};
use tokio::sync::mpsc;
use tokio::task::LocalSet;

/// What a worker is started with.
pub(crate) struct Start {
    pub(crate) index: usize,
    pub(crate) shared: Arc<Shared>,
    /// One socket for each listener.
    pub(crate) opened: Vec<Opened>,
    pub(crate) commands: mpsc::UnboundedReceiver<Command>,
    /// The core to run on, if it is to stay on one.
    pub(crate) cpu: Option<usize>,
}

/// Makes what a worker runs on.
pub(crate) fn runtime() -> io::Result<Runtime> {
    runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
}

/// Starts a worker's thread.
pub(crate) fn start(start: Start, runtime: Runtime) -> io::Result<thread::JoinHandle<()>> {
    let name = format!("worker-{}", start.index);
    thread::Builder::new().name(name).spawn(move || {
        let _vital = Vital;
        if let Some(cpu) = start.cpu
            && let Err(error) = catamaran_sys::process::pin_to(cpu)
        {
            tracing::warn!(cpu, %error, "cannot keep a worker on its core");
        }
        let metrics = &start.shared.worker_metrics[start.index];
        metrics.runtime.get_or_init(|| runtime.metrics());
        let local = LocalSet::new();
        local.block_on(&runtime, run(start));
    })
}

/// Held by what a worker cannot do without: its thread, and the tasks that accept and keep time.
pub(crate) struct Vital;

impl Drop for Vital {
    /// A panic of a connection ends with its task. One of these leaves sockets from which nobody
    /// accepts, or deadlines that never come: the whole process goes, and the supervisor starts
    /// another.
    fn drop(&mut self) {
        if thread::panicking() {
            tracing::error!("a worker panicked");
            std::process::abort();
        }
    }
}

async fn run(start: Start) {
    let Start {
        index,
        shared,
        opened,
        mut commands,
        ..
    } = start;
    let worker = Rc::new(Worker::new(index, shared));
    let listeners = Rc::new(Listeners::default());
    keep(&worker, &listeners);
    for opened in opened {
        listeners.open(&worker, opened);
    }
    while let Some(command) = commands.recv().await {
        match command {
            Command::Serve {
                listener,
                frontend,
                stream,
                peer,
                admitted,
            } => {
                let slot = listeners.slot(listener, frontend);
                serve_other(&worker, &slot, stream, peer, admitted);
            }
            Command::Reload {
                change,
                opened,
                closing,
            } => {
                listeners.reload(&worker, &change, opened, &closing);
                for server in &change.gone_servers {
                    worker.idle.close(*server);
                }
                worker.drop_old_logs(&change.snapshot);
            }
            Command::Pass { listener, to, done } => listeners.pass(listener, to, done),
            Command::Take { opened, done } => {
                listeners.open(&worker, opened);
                drop(done);
            }
            Command::ServerDown { server, keep } => {
                worker.idle.close(server);
                if !keep {
                    worker.deadlines.server_down(server);
                }
            }
            Command::CloseIdle { server } => worker.idle.close(server),
            Command::Leave { closing } => listeners.leave(&closing),
            Command::Retire { snapshot } => {
                listeners.retire(&worker, snapshot);
                worker.idle.clear();
                tokio::task::spawn_local(udp::let_go_silent(Rc::clone(&worker)));
            }
            Command::Drain => {
                worker.is_draining.set(true);
                listeners.drain();
                worker.idle.clear();
                worker.deadlines.wake_all();
                tokio::task::spawn_local(udp::let_go_silent(Rc::clone(&worker)));
            }
            Command::Stop => break,
            #[cfg(test)]
            Command::Stall(until) => drop(until.recv()),
        }
    }
}

/// Starts what goes on beside the connections.
fn keep(worker: &Rc<Worker>, listeners: &Rc<Listeners>) {
    tokio::task::spawn_local(stall::keep_pulse(Rc::clone(worker), Rc::clone(listeners)));
    tokio::task::spawn_local(sweep_deadlines(Rc::clone(worker)));
    tokio::task::spawn_local(sweep_idle(Rc::clone(worker)));
    tokio::task::spawn_local(flush_logs(Rc::clone(worker)));
}

/// Wakes connections whose deadline has passed.
async fn sweep_deadlines(worker: Rc<Worker>) {
    let _vital = Vital;
    let clock_start = (tokio::time::Instant::now(), Worker::now());
    let mut sleep = Box::pin(tokio::time::sleep(Duration::ZERO));
    poll_fn(|cx| -> Poll<()> {
        worker.deadlines.set_sweeper(cx.waker());
        loop {
            let next = worker.deadlines.next_sweep();
            let next = if next <= Worker::now() {
                worker.deadlines.sweep(Worker::now())
            } else {
                next
            };
            let capped = next.min(Worker::now() + Duration::from_secs(3600));
            sleep
                .as_mut()
                .reset(clock_start.0 + capped.saturating_since(clock_start.1));
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    })
    .await;
}

/// Closes idle connections to servers that are old or were closed.
async fn sweep_idle(worker: Rc<Worker>) {
    let _vital = Vital;
    loop {
        tokio::time::sleep(IDLE_SWEEP).await;
        let now: Timestamp = Worker::now();
        worker.idle.sweep(now);
    }
}

/// Hands access log lines over that no later line has pushed out.
async fn flush_logs(worker: Rc<Worker>) {
    let _vital = Vital;
    loop {
        tokio::time::sleep(LOG_FLUSH).await;
        worker.flush_logs(Worker::now());
    }
}

/// How often that is looked at.
const LOG_FLUSH: Duration = Duration::from_millis(100);
