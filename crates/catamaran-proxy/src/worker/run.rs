//! The life of a worker: its runtime, its accept loops, its commands, its end.

use super::{Command, IDLE_SWEEP, OpenConnection, Worker, stall};
use crate::io::Stream;
use crate::state::{Admitted, Frontend, Shared};
use crate::{http1, tcp, udp};
use catamaran_core::Timestamp;
use catamaran_core::model::Protocol;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::thread;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{self, Runtime};
use tokio::sync::{Notify, mpsc};
use tokio::task::LocalSet;

/// What a worker is started with.
pub(crate) struct Start {
    pub(crate) index: usize,
    pub(crate) shared: Arc<Shared>,
    /// One socket for each listener, in the order of the listeners.
    pub(crate) sockets: Vec<(Arc<Frontend>, OwnedFd)>,
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

/// Wait after an accept that failed for want of descriptors or memory, or that may not be tried.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// A connection goes to the worker with the fewest when this one has that many more than twice as
/// many.
const HAND_OVER_SLACK: usize = 16;

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
        sockets,
        mut commands,
        ..
    } = start;
    let worker = Rc::new(Worker::new(index, shared));
    let accepting = stall::Slots::default();
    keep(&worker, &accepting);
    let stop_accepting = Rc::new(Notify::new());
    let mut slots = Vec::new();
    let accepting = stall::Slots::default();
    tokio::task::spawn_local(stall::keep_pulse(Rc::clone(&worker), Rc::clone(&accepting)));
    for (listener, (frontend, socket)) in sockets.into_iter().enumerate() {
        let slot = Rc::new(Slot {
            listener,
            frontend: RefCell::new(frontend),
        });
        slots.push(Rc::clone(&slot));
        if slot.frontend().model.protocol == Protocol::Udp {
            tokio::task::spawn_local(udp::listen(Rc::clone(&worker), slot, socket));
            continue;
        }
        accepting.borrow_mut().push(Rc::clone(&slot));
        tokio::task::spawn_local(accept(
            Rc::clone(&worker),
            slot,
            socket,
            Rc::clone(&stop_accepting),
        ));
    }
    while let Some(command) = commands.recv().await {
        match command {
            Command::Serve {
                listener,
                stream,
                peer,
                admitted,
            } => match TcpStream::from_std(stream) {
                Ok(stream) => serve(&worker, &slots[listener], stream, peer, admitted),
                Err(error) => tracing::error!(%error, "cannot take over a connection"),
            },
            Command::ServerDown { server, keep } => {
                worker.idle.close(server);
                if !keep {
                    worker.deadlines.server_down(server);
                }
            }
            Command::CloseIdle { server } => worker.idle.close(server),
            Command::Drain => {
                worker.is_draining.set(true);
                stop_accepting.notify_waiters();
                worker.idle.clear();
                worker.deadlines.wake_all();
            }
            Command::Stop => break,
            #[cfg(test)]
            Command::Stall(until) => drop(until.recv()),
        }
    }
}

/// Starts what goes on beside the connections.
fn keep(worker: &Rc<Worker>, accepting: &stall::Slots) {
    tokio::task::spawn_local(stall::keep_pulse(Rc::clone(worker), Rc::clone(accepting)));
    tokio::task::spawn_local(sweep_deadlines(Rc::clone(worker)));
    tokio::task::spawn_local(sweep_idle(Rc::clone(worker)));
    if worker
        .shared
        .frontends
        .iter()
        .any(|frontend| frontend.log.is_some())
    {
        tokio::task::spawn_local(flush_logs(Rc::clone(worker)));
    }
}

/// A listener as one worker sees it; the frontend changes with the configuration.
#[derive(Debug)]
pub(crate) struct Slot {
    listener: usize,
    frontend: RefCell<Arc<Frontend>>,
}

impl Slot {
    /// Index of the listener.
    pub(crate) const fn listener(&self) -> usize {
        self.listener
    }

    /// The frontend's policy as it is now.
    pub(crate) fn frontend(&self) -> Arc<Frontend> {
        Arc::clone(&self.frontend.borrow())
    }
}

async fn accept(worker: Rc<Worker>, slot: Rc<Slot>, socket: OwnedFd, stop: Rc<Notify>) {
    let _vital = Vital;
    let listener = match TcpListener::from_std(socket.into()) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "cannot listen");
            return;
        }
    };
    let listening = &worker.shared.listening[worker.index];
    let listener = listening.open(slot.listener, listener);
    let mut stop = std::pin::pin!(stop.notified());
    // The order to stop may have come before this task began.
    let mut is_stopping = worker.is_draining.get();
    loop {
        match next_connection(&listener, stop.as_mut(), &mut is_stopping).await {
            None => break,
            Some(Ok((stream, peer))) => admit(&worker, &slot, stream, peer).await,
            Some(Err(error)) => pause_after(&worker, &slot, &error).await,
        }
    }
    let listener = listening
        .close(listener)
        .expect("the list held the only other reference");
    match listener.into_std() {
        Ok(listener) => accept_rest(&worker, &slot, &listener).await,
        Err(error) => tracing::error!(%error, "cannot empty an accept queue"),
    }
}

/// The next connection; `None` once `stop` has come and nobody waits.
pub(super) async fn next_connection<T>(
    listener: &TcpListener,
    mut stop: Pin<&mut impl Future<Output = T>>,
    is_stopping: &mut bool,
) -> Option<io::Result<(TcpStream, SocketAddr)>> {
    poll_fn(|cx| {
        *is_stopping = *is_stopping || stop.as_mut().poll(cx).is_ready();
        match listener.poll_accept(cx) {
            Poll::Pending if *is_stopping => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
            Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
        }
    })
    .await
}

/// Accepts until the socket itself says that nobody waits: closing it would reset those who do. The
/// reactor may not have heard of the last of them, or had its turn of them.
async fn accept_rest(worker: &Rc<Worker>, slot: &Rc<Slot>, listener: &std::net::TcpListener) {
    /// Connections accepted before other tasks get their turn.
    const BATCH: usize = 64;
    for count in 1.. {
        let accepted = listener.accept().and_then(|(stream, peer)| {
            stream.set_nonblocking(true)?;
            Ok((TcpStream::from_std(stream)?, peer))
        });
        match accepted {
            Ok((stream, peer)) => admit(worker, slot, stream, peer).await,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) => pause_after(worker, slot, &error).await,
        }
        if count % BATCH == 0 {
            tokio::task::yield_now().await;
        }
    }
}

/// Serves a new connection as soon as it may be open. One per worker may wait here, the rest in the
/// kernel.
pub(super) async fn admit(
    worker: &Rc<Worker>,
    slot: &Rc<Slot>,
    stream: TcpStream,
    peer: SocketAddr,
) {
    let frontend = slot.frontend();
    let admitted = (
        frontend.connections.admit().await,
        Some(worker.shared.connections.admit().await),
    );
    place(worker, slot, stream, peer, admitted);
}

/// Tells of a failed accept and waits, unless it concerns one connection only.
pub(super) async fn pause_after(worker: &Worker, slot: &Slot, error: &io::Error) {
    if is_of_one_connection(error) {
        return;
    }
    worker.metrics.accepts_exhausted.add_alone(1);
    if worker.tells_exhausted() {
        let frontend = &slot.frontend().model.name;
        tracing::error!(%frontend, %error, "cannot accept connections");
    }
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// Whether a failed accept concerns the one connection only (accept(2), "error handling").
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::PermissionDenied
    )
}

/// Serves a new connection here, or hands it to a worker that has clearly fewer.
fn place(
    worker: &Rc<Worker>,
    slot: &Rc<Slot>,
    stream: TcpStream,
    peer: SocketAddr,
    admitted: (Admitted, Option<Admitted>),
) {
    match neighbour(worker) {
        Some(index) => match stream.into_std() {
            Ok(stream) => {
                worker.metrics.handed_over.add_alone(1);
                worker.shared.command(
                    index,
                    Command::Serve {
                        listener: slot.listener,
                        stream,
                        peer,
                        admitted,
                    },
                );
            }
            Err(error) => tracing::error!(%error, "cannot hand a connection over"),
        },
        None => serve(worker, slot, stream, peer, admitted),
    }
}

/// The worker with the fewest connections, if it has clearly fewer than this one.
fn neighbour(worker: &Worker) -> Option<usize> {
    let mine = worker.open.get();
    if mine <= HAND_OVER_SLACK {
        return None;
    }
    let loads = worker
        .shared
        .loads
        .iter()
        .map(|load| load.load(Ordering::Relaxed));
    let now = Worker::now();
    let turning = loads
        .enumerate()
        .filter(|&(index, _)| !stall::is_stalled(worker, index, now));
    let (index, least) = turning.min_by_key(|&(_, load)| load)?;
    (index != worker.index && mine > 2 * least + HAND_OVER_SLACK).then_some(index)
}

fn serve(
    worker: &Rc<Worker>,
    slot: &Rc<Slot>,
    stream: TcpStream,
    peer: SocketAddr,
    admitted: (Admitted, Option<Admitted>),
) {
    let frontend = slot.frontend();
    worker.metrics.frontends[frontend.id.index()]
        .connections
        .add_alone(1);
    let open = OpenConnection::new(worker, admitted);
    let stream = Stream::Tcp(stream);
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    match frontend.model.protocol {
        Protocol::Http => {
            tokio::task::spawn_local(http1::serve(open, Rc::clone(slot), stream, peer));
        }
        Protocol::Tcp | Protocol::Udp => {
            tokio::task::spawn_local(async move {
                tcp::serve(open.worker(), &frontend, stream, peer).await;
            });
        }
    }
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
