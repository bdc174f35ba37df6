//! A worker's listeners: accepting, and their coming and going.

use super::{Change, Command, OpenConnection, Opened, Phase, Vital, Worker, stall};
use crate::io::{Acceptor, Stream};
use crate::state::{Admitted, Frontend, ListenerId, Snapshot};
use crate::{http1, tcp, udp};
use catamaran_core::model::Protocol;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

/// Wait after an accept that failed for want of descriptors or memory, or that may not be tried.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// A connection goes to the worker with the fewest when this one has that many more than twice as
/// many.
const HAND_OVER_SLACK: usize = 16;

/// How often it is looked whether the last connection of a removed listener is gone.
const LOOK: Duration = Duration::from_secs(1);

/// The listeners of one worker.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    /// Those with sockets, of which one may have several.
    open: RefCell<HashMap<ListenerId, Vec<Rc<Listener>>>>,
    /// Those with connections, too.
    slots: RefCell<HashMap<ListenerId, Rc<Slot>>>,
}

/// A socket that is accepted from, or received from.
#[derive(Debug)]
pub(crate) struct Listener {
    /// What it is for now.
    slot: RefCell<Rc<Slot>>,
    stop: Notify,
    is_stopping: Cell<bool>,
    /// Whether another process takes what comes from now on.
    is_left: Cell<bool>,
    /// Who gets the socket when it stops; nobody if it is closed then.
    heir: RefCell<Option<(usize, mpsc::Sender<()>)>>,
    /// Dropped when the socket is closed.
    closing: RefCell<Option<mpsc::Sender<()>>>,
}

/// A listener as its connections see it. The frontend changes with the configuration.
#[derive(Debug)]
pub(crate) struct Slot {
    id: ListenerId,
    frontend: RefCell<Arc<Frontend>>,
    is_closing: Cell<bool>,
}

impl Slot {
    fn new(id: ListenerId, frontend: Arc<Frontend>) -> Rc<Self> {
        Rc::new(Self {
            id,
            frontend: RefCell::new(frontend),
            is_closing: Cell::new(false),
        })
    }

    /// What the listener is known by.
    pub(crate) const fn id(&self) -> ListenerId {
        self.id
    }

    /// The frontend's policy as it is now.
    pub(crate) fn frontend(&self) -> Arc<Frontend> {
        Arc::clone(&self.frontend.borrow())
    }

    /// Whether the listener is gone, so that its connections close after their exchange.
    pub(crate) const fn is_closing(&self) -> bool {
        self.is_closing.get()
    }
}

impl Listener {
    /// What it is for now.
    pub(crate) fn slot(&self) -> Rc<Slot> {
        Rc::clone(&self.slot.borrow())
    }

    /// Whether nothing new is to be taken from it.
    pub(crate) const fn is_stopping(&self) -> bool {
        self.is_stopping.get()
    }

    /// Whether another process takes what comes to its socket from now on.
    pub(crate) const fn is_left(&self) -> bool {
        self.is_left.get()
    }

    /// Waits until it is to be closed.
    pub(crate) async fn stopped(&self) {
        let mut stop = std::pin::pin!(self.stop.notified());
        poll_fn(|cx| {
            let _ = stop.as_mut().poll(cx);
            if self.is_stopping() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// Notes that its socket is closed.
    pub(crate) fn closed(&self) {
        self.closing.take();
    }

    fn stop(&self) {
        self.is_stopping.set(true);
        self.stop.notify_waiters();
    }
}

impl Listeners {
    /// Listens on another socket.
    pub(crate) fn open(&self, worker: &Rc<Worker>, opened: Opened) {
        let Opened {
            id,
            frontend,
            socket,
        } = opened;
        let is_udp = frontend.model.protocol == Protocol::Udp;
        let slot = self.slot(id, frontend);
        let listener = Rc::new(Listener {
            slot: RefCell::new(slot),
            stop: Notify::new(),
            is_stopping: Cell::new(false),
            is_left: Cell::new(false),
            heir: RefCell::new(None),
            closing: RefCell::new(None),
        });
        if listener.slot().is_closing() {
            // It was removed while its socket was on its way here.
            listener.stop();
        } else {
            let mut open = self.open.borrow_mut();
            open.entry(id).or_default().push(Rc::clone(&listener));
        }
        let worker = Rc::clone(worker);
        if is_udp {
            tokio::task::spawn_local(udp::listen(worker, listener, socket));
        } else {
            tokio::task::spawn_local(accept(worker, listener, socket));
        }
    }

    /// The listener of this id; one that another worker has heard of earlier is made.
    pub(crate) fn slot(&self, id: ListenerId, frontend: Arc<Frontend>) -> Rc<Slot> {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.entry(id).or_insert_with(|| Slot::new(id, frontend));
        Rc::clone(slot)
    }

    /// The listener of this id, if it is known here.
    pub(crate) fn find(&self, id: ListenerId) -> Option<Rc<Slot>> {
        self.slots.borrow().get(&id).cloned()
    }

    /// Follows another configuration.
    pub(crate) fn reload(
        self: &Rc<Self>,
        worker: &Rc<Worker>,
        change: &Change,
        opened: Vec<Opened>,
        closing: &mpsc::Sender<()>,
    ) {
        for (id, frontend) in &change.kept {
            if let Some(slot) = self.slots.borrow().get(id) {
                slot.frontend.replace(Arc::clone(frontend));
            }
        }
        for (old, new, frontend) in &change.moved {
            let listeners = self.open.borrow_mut().remove(old);
            if let Some(listeners) = listeners {
                let slot = self.slot(*new, Arc::clone(frontend));
                for listener in &listeners {
                    listener.slot.replace(Rc::clone(&slot));
                }
                worker.shared.listening[worker.index].rename(*old, *new);
                self.open.borrow_mut().insert(*new, listeners);
            }
            self.close_slot(worker, *old, change);
        }
        for id in &change.closed {
            for listener in self.open.borrow_mut().remove(id).into_iter().flatten() {
                listener.closing.replace(Some(closing.clone()));
                listener.stop();
            }
            self.close_slot(worker, *id, change);
        }
        for opened in opened {
            self.open(worker, opened);
        }
    }

    /// Gives one socket of a listener to the worker `to`.
    pub(crate) fn pass(&self, id: ListenerId, to: usize, done: mpsc::Sender<()>) {
        let listener = self.open.borrow_mut().get_mut(&id).and_then(Vec::pop);
        if let Some(listener) = listener {
            listener.heir.replace(Some((to, done)));
            listener.stop();
        }
    }

    /// Accepts what waits, then no more. Flows of datagrams go on.
    pub(crate) fn drain(&self) {
        for listener in self.open.borrow().values().flatten() {
            if listener.slot().frontend().model.protocol != Protocol::Udp {
                listener.stop();
            }
        }
    }

    /// Accepts no more: another process has copies of the sockets.
    pub(crate) fn leave(&self, closing: &mpsc::Sender<()>) {
        for listener in self.open.borrow_mut().drain().flat_map(|(_, all)| all) {
            listener.closing.replace(Some(closing.clone()));
            listener.is_left.set(true);
            listener.stop();
        }
    }

    /// Has all connections end, each in its time.
    pub(crate) fn retire(self: &Rc<Self>, worker: &Rc<Worker>, snapshot: Arc<Snapshot>) {
        let change = Change {
            kept: Vec::new(),
            moved: Vec::new(),
            closed: self.slots.borrow().keys().copied().collect(),
            gone_servers: Vec::new(),
            snapshot,
        };
        for id in &change.closed {
            self.close_slot(worker, *id, &change);
        }
    }

    fn close_slot(self: &Rc<Self>, worker: &Rc<Worker>, id: ListenerId, change: &Change) {
        let Some(slot) = self.slots.borrow().get(&id).cloned() else {
            return;
        };
        slot.is_closing.set(true);
        let process = &change.snapshot.config.process;
        let (drain, tunnels) = (process.drain, process.drain_tunnels);
        let (all, worker) = (Rc::clone(self), Rc::clone(worker));
        tokio::task::spawn_local(async move {
            wind_up(&worker, &slot, drain, tunnels).await;
            all.slots.borrow_mut().remove(&slot.id);
        });
    }
}

/// Waits until the connections of a removed listener have ended: exchanges within `drain`, tunnels
/// within `tunnels`. What takes longer is ended.
async fn wind_up(worker: &Worker, slot: &Rc<Slot>, drain: Duration, tunnels: Duration) {
    let began = tokio::time::Instant::now();
    let mut is_light = false;
    loop {
        tokio::time::sleep(LOOK).await;
        // The list's, and the one of the task that awaits this.
        if Rc::strong_count(slot) <= 2 {
            return;
        }
        let took = began.elapsed();
        if took >= tunnels {
            worker.deadlines.end_listener(slot.id, Phase::Tunnel);
        } else if took >= drain {
            worker.deadlines.end_listener(slot.id, Phase::Exchange);
        }
        if took >= drain + LOOK && !is_light {
            // Tunnels are left: they must not keep a whole configuration.
            is_light = true;
            let remnant = slot.frontend().remnant();
            slot.frontend.replace(Arc::new(remnant));
        }
    }
}

/// Serves a connection that another worker accepted.
pub(crate) fn serve_other(
    worker: &Rc<Worker>,
    slot: &Rc<Slot>,
    stream: OwnedFd,
    peer: SocketAddr,
    admitted: (Admitted, Option<Admitted>),
) {
    serve(worker, slot, stream, peer, admitted);
}

async fn accept(worker: Rc<Worker>, this: Rc<Listener>, socket: OwnedFd) {
    let _vital = Vital;
    let listener = match Acceptor::new(socket) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "cannot listen");
            return;
        }
    };
    let listening = &worker.shared.listening[worker.index];
    let listener = listening.open(this.slot().id, listener);
    let mut stop = std::pin::pin!(this.stopped());
    let mut is_stopping = false;
    loop {
        match next_connection(&listener, stop.as_mut(), &mut is_stopping).await {
            None => break,
            Some(Ok((stream, peer))) => admit(&worker, &this.slot(), stream, peer).await,
            Some(Err(error)) => pause_after(&worker, &this.slot(), &error).await,
        }
    }
    let listener = listening
        .close(listener)
        .expect("the list held the only other reference");
    match this.heir.take() {
        Some((to, done)) => match listener.as_fd().try_clone_to_owned() {
            Ok(socket) => pass_on(&worker, &this.slot(), socket, to, done),
            Err(error) => {
                tracing::error!(%error, "a socket cannot go to another worker; it is closed");
                accept_rest(&worker, &this.slot(), &listener).await;
            }
        },
        None => accept_rest(&worker, &this.slot(), &listener).await,
    }
    drop(listener);
    // The socket is closed: whoever waits for that may go on.
    this.closed();
}

/// Has another worker accept from a socket. Whoever waits in its queue waits for that one.
fn pass_on(worker: &Worker, slot: &Slot, socket: OwnedFd, to: usize, done: mpsc::Sender<()>) {
    let opened = Opened {
        id: slot.id,
        frontend: slot.frontend(),
        socket,
    };
    worker.shared.command(to, Command::Take { opened, done });
}

/// The next connection; `None` once `stop` has come and nobody waits.
pub(super) async fn next_connection<T>(
    listener: &Acceptor,
    mut stop: Pin<&mut impl Future<Output = T>>,
    is_stopping: &mut bool,
) -> Option<io::Result<(OwnedFd, SocketAddr)>> {
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
async fn accept_rest(worker: &Rc<Worker>, slot: &Rc<Slot>, listener: &Acceptor) {
    /// Connections accepted before other tasks get their turn.
    const BATCH: usize = 64;
    for count in 1.. {
        match listener.accept() {
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
pub(super) async fn admit(worker: &Rc<Worker>, slot: &Rc<Slot>, stream: OwnedFd, peer: SocketAddr) {
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

/// Serves a new connection here, or hands it to a worker that has clearly fewer; just fewer, where a
/// listener has fewer sockets than there are workers.
fn place(
    worker: &Rc<Worker>,
    slot: &Rc<Slot>,
    stream: OwnedFd,
    peer: SocketAddr,
    admitted: (Admitted, Option<Admitted>),
) {
    // A listener that goes may be gone from the other worker already.
    let other = neighbour(worker).filter(|_| !slot.is_closing());
    match other {
        Some(index) => {
            worker.metrics.handed_over.add_alone(1);
            worker.shared.command(
                index,
                Command::Serve {
                    listener: slot.id,
                    frontend: slot.frontend(),
                    stream,
                    peer,
                    admitted,
                },
            );
        }
        None => serve(worker, slot, stream, peer, admitted),
    }
}

/// The worker with the fewest connections, if it is to have the next in place of this one.
fn neighbour(worker: &Worker) -> Option<usize> {
    let mine = worker.open.get();
    let active = worker.shared.active_workers();
    let is_uneven = worker.shared.crew.is_uneven() || worker.index >= active;
    if mine <= HAND_OVER_SLACK && !is_uneven {
        return None;
    }
    let loads = worker
        .shared
        .loads
        .iter()
        .take(active)
        .map(|load| load.load(Ordering::Relaxed));
    let now = Worker::now();
    let turning = loads
        .enumerate()
        .filter(|&(index, _)| !stall::is_stalled(worker, index, now));
    let (index, least) = turning.min_by_key(|&(_, load)| load)?;
    let is_clear = if is_uneven {
        // Sockets do not share clients out: those without one live by what they are handed.
        mine > least
    } else {
        mine > 2 * least + HAND_OVER_SLACK
    };
    (index != worker.index && is_clear).then_some(index)
}

fn serve(
    worker: &Rc<Worker>,
    slot: &Rc<Slot>,
    stream: OwnedFd,
    peer: SocketAddr,
    admitted: (Admitted, Option<Admitted>),
) {
    let frontend = slot.frontend();
    frontend.counts(worker.index).connections.add_alone(1);
    let open = OpenConnection::new(worker, admitted);
    let stream = Stream::new(stream);
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    match frontend.model.protocol {
        Protocol::Http => {
            tokio::task::spawn_local(http1::serve(open, Rc::clone(slot), stream, peer));
        }
        Protocol::Tcp | Protocol::Udp => {
            drop(frontend);
            let slot = Rc::clone(slot);
            tokio::task::spawn_local(async move {
                tcp::serve(open.worker(), &slot, stream, peer).await;
            });
        }
    }
}
