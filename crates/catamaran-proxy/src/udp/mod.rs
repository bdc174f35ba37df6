//! UDP: datagrams of one client are relayed to one server, and its answers back.
//!
//! ```text
//!  listener's task                        flow's task
//!  recv batch -> flow of the datagram? -- no --> limits -> choose a server, connect a socket to it
//!                     | yes                        |  \ backlog meanwhile
//!                     +--> send to its server      +--> recv batch -> send from the address asked
//! ```
//! The kernel hands all datagrams of one client to the same worker (SO_REUSEPORT hashes addresses
//! and ports), so that flows are a worker's own. Nothing waits for room to send: a datagram that a
//! socket does not take is lost, as on any network, and counted.

mod flow;
mod relay;

use crate::facts;
use crate::outcome::Outcome;
use crate::state::{Admitted, Frontend, ListenerId, OpenSource};
use crate::worker::{Listener, OpenConnection, Slot, Vital, Worker};
use catamaran_core::Timestamp;
use catamaran_core::flow::Flows;
use catamaran_sys::socket::{Datagram, LocalAddr, recv_with_dst};
use flow::Flow;
use std::cell::RefCell;
use std::collections::HashSet;
use std::future::{Future as _, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Datagrams taken from one socket before other tasks get their turn. Chosen: about a tenth of a
/// millisecond of work.
const BATCH: usize = 32;
/// A flow in which nothing went either way for this long is not waited for by a drain. Chosen: longer
/// than most answers take, short beside any drain.
const DRAIN_SILENCE: Duration = Duration::from_secs(1);
/// How often a drain looks for such flows.
const DRAIN_LOOK: Duration = Duration::from_millis(200);
/// How often a removed listener looks for flows that are over, and for another in its place.
const CLOSE_LOOK: Duration = Duration::from_millis(20);
/// Wait after a receive that failed for want of memory.
const RECEIVE_PAUSE: Duration = Duration::from_millis(50);

/// What makes datagrams belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct FlowKey {
    /// The listener.
    listener: ListenerId,
    client: SocketAddr,
    /// The address of ours that the client talks to; answers leave from it.
    local: LocalAddr,
}

/// The flows of one worker.
#[derive(Debug)]
pub(crate) struct FlowTable(RefCell<Flows<FlowKey, Rc<Flow>>>);

impl FlowTable {
    pub(crate) fn new(max: usize) -> Self {
        Self(RefCell::new(Flows::new(max)))
    }

    fn find(&self, key: FlowKey) -> Option<Rc<Flow>> {
        self.0.borrow_mut().handle_datagram(key).map(Rc::clone)
    }

    /// Adds `flow`. Returns the one that has to give way.
    fn insert(&self, flow: &Rc<Flow>) -> Option<Rc<Flow>> {
        self.0.borrow_mut().insert(flow.key, Rc::clone(flow))
    }

    /// Ends the flows of a listener that is closed: those that have been silent for long, or all.
    /// Returns whether any is left.
    fn end_listener(&self, listener: ListenerId, silent_at: Option<Timestamp>) -> bool {
        let mut flows = self.0.borrow_mut();
        let (mut over, mut left) = (HashSet::new(), false);
        for (key, flow) in flows.iter().filter(|(key, _)| key.listener == listener) {
            if silent_at.is_none_or(|now| flow.is_silent(now)) {
                over.insert(key);
            } else {
                left = true;
            }
        }
        for flow in flows.extract(|key| over.contains(&key)) {
            flow.evict();
        }
        left
    }

    /// Lets go of the flows that have been silent for long. Returns whether any flow is left.
    fn let_go_silent(&self, now: Timestamp) -> bool {
        let flows = self.0.borrow();
        for (_, flow) in flows.iter() {
            if flow.is_silent(now) {
                flow.let_go();
            }
        }
        !flows.is_empty()
    }

    /// Removes `flow`, unless another has taken its place since.
    fn remove(&self, flow: &Flow) {
        if !flow.is_evicted() {
            self.0.borrow_mut().remove(flow.key);
        }
    }
}

/// Takes what comes to a listener's socket and passes it on, for as long as the worker lives, or
/// the listener: flows go on while the worker drains.
pub(crate) async fn listen(worker: Rc<Worker>, listener: Rc<Listener>, socket: OwnedFd) {
    let _vital = Vital;
    match socket.try_clone() {
        Ok(copy) => {
            let listening = &worker.shared.listening[worker.index];
            listening.open_datagrams(listener.slot().id(), copy);
        }
        Err(error) => tracing::warn!(%error, "no other supervisor can take a socket over"),
    }
    let socket = match UdpSocket::from_std(socket.into()) {
        Ok(socket) => Rc::new(socket),
        Err(error) => {
            tracing::error!(%error, "cannot listen");
            return;
        }
    };
    loop {
        let ready = tokio::select! {
            ready = socket.readable() => ready,
            () = listener.stopped() => return close(&worker, &listener, socket).await,
        };
        if let Err(error) = ready {
            tracing::error!(%error, "a listener is lost");
            return;
        }
        let slot = listener.slot();
        match receive_batch(&worker, &slot, &socket) {
            Ok(Received::All) => {}
            Ok(Received::Batch) => tokio::task::yield_now().await,
            Err(error) => {
                worker.metrics.accepts_exhausted.add_alone(1);
                if worker.tells_exhausted() {
                    let frontend = &slot.frontend().model.name;
                    tracing::error!(%frontend, %error, "cannot receive datagrams");
                }
                tokio::time::sleep(RECEIVE_PAUSE).await;
            }
        }
    }
}

/// Sees to it that a drain does not wait for silent flows, since nothing in UDP says that one is
/// over. They are served for as long as the drain lasts for others.
pub(crate) async fn let_go_silent(worker: Rc<Worker>) {
    while worker.flows.let_go_silent(Worker::now()) {
        tokio::time::sleep(DRAIN_LOOK).await;
    }
}

/// Serves the flows of a listener on until they are silent, for as long as a drain may last, and then
/// closes its socket, from which they answer. Nothing new begins meanwhile.
async fn close(worker: &Rc<Worker>, listener: &Listener, socket: Rc<UdpSocket>) {
    let slot = listener.slot();
    let listening = &worker.shared.listening[worker.index];
    listening.close_datagrams(slot.id());
    // The port counts as closed: who opens it anew shares it with us for as long as we notice.
    listener.closed();
    if listener.is_left() {
        // The other process has this very socket: each datagram taken here would be one that it
        // lacks. What servers still answer goes out all the same.
        return;
    }
    let drain = worker.shared.snapshot().config.process.drain;
    let until = Worker::now() + drain;
    let address = catamaran_sys::socket::local_addr(socket.as_fd()).ok();
    while Worker::now() < until && !listening.has_datagrams_at(address) {
        if !worker.flows.end_listener(slot.id(), Some(Worker::now())) {
            break;
        }
        tokio::select! {
            ready = socket.readable() => if ready.is_err() { break },
            () = tokio::time::sleep(CLOSE_LOOK) => continue,
        }
        // What is lost now is lost as on any network.
        if receive_batch(worker, &slot, &socket).is_err() {
            tokio::time::sleep(RECEIVE_PAUSE).await;
        }
        tokio::task::yield_now().await;
    }
    worker.flows.end_listener(slot.id(), None);
    while Rc::strong_count(&socket) > 1 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// What a turn at a socket took from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Received {
    /// All there was.
    All,
    /// As much as one turn may; there may be more.
    Batch,
}

fn receive_batch(
    worker: &Rc<Worker>,
    slot: &Rc<Slot>,
    socket: &Rc<UdpSocket>,
) -> io::Result<Received> {
    let now = Worker::now();
    let mut buffer = worker.buffers.large();
    let mut result = Ok(Received::Batch);
    for _ in 0..BATCH {
        let received = socket.try_io(Interest::READABLE, || {
            recv_with_dst(socket.as_fd(), buffer.spare())
        });
        match received {
            Ok(datagram) => {
                let bytes = &buffer.spare()[..datagram.len];
                handle_datagram(worker, slot, socket, &datagram, bytes, now);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                result = Ok(Received::All);
                break;
            }
            // One without a usable address concerns nobody else.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                worker.metrics.datagrams_dropped.add_alone(1);
            }
            Err(error) => {
                result = Err(error);
                break;
            }
        }
    }
    worker.buffers.give_back(buffer);
    result
}

/// Gives a datagram to its flow, which begins with it if there is none.
fn handle_datagram(
    worker: &Rc<Worker>,
    slot: &Rc<Slot>,
    socket: &Rc<UdpSocket>,
    datagram: &Datagram,
    bytes: &[u8],
    now: Timestamp,
) {
    let key = FlowKey {
        listener: slot.id(),
        client: datagram.source,
        local: datagram.destination,
    };
    if let Some(flow) = worker.flows.find(key) {
        flow.forward(worker, bytes, now);
        return;
    }
    let frontend = slot.frontend();
    if worker.is_draining.get() || slot.is_closing() || !can_be_answered(socket, datagram) {
        worker.metrics.datagrams_dropped.add_alone(1);
        return;
    }
    let (admitted, source) = match admit(&frontend, datagram.source, now) {
        Ok(counted) => counted,
        // Only counted: forged sources must not fill the log.
        Err(outcome) => {
            worker.metrics.datagrams_dropped.add_alone(1);
            frontend.counts(worker.index).traffic.refuse(outcome, None);
            return;
        }
    };
    frontend.counts(worker.index).connections.add_alone(1);
    let flow = Rc::new(Flow::new(Rc::clone(slot), key, Rc::clone(socket), now));
    flow.forward(worker, bytes, now);
    if let Some(oldest) = worker.flows.insert(&flow) {
        worker.metrics.flows_evicted.add_alone(1);
        oldest.evict();
    }
    let open = OpenConnection::new(worker, admitted);
    let worker = Rc::clone(worker);
    tokio::task::spawn_local(async move {
        let mut open = Some(open);
        let mut serving = pin!(serve(&worker, &flow, now));
        poll_fn(|cx| {
            if flow.is_let_go() {
                open = None;
            }
            serving.as_mut().poll(cx)
        })
        .await;
        drop(source);
        drop(open);
    });
}

/// Whether answers may be sent to where a datagram says it comes from. One that claims to come from
/// the listener itself would be relayed round and round.
fn can_be_answered(socket: &UdpSocket, datagram: &Datagram) -> bool {
    let own_port = socket.local_addr().map(|address| address.port());
    let is_own = datagram.source.ip() == datagram.destination.ip
        && own_port.is_ok_and(|port| port == datagram.source.port());
    datagram.source.port() != 0 && !is_own
}

/// Whether a new flow from `client` may begin.
fn admit(
    frontend: &Arc<Frontend>,
    client: SocketAddr,
    now: Timestamp,
) -> Result<((Admitted, Option<Admitted>), OpenSource), Outcome> {
    if frontend.denies(client.ip()).is_some() {
        return Err(Outcome::Forbidden);
    }
    let admitted = frontend
        .connections
        .admit_now()
        .ok_or(Outcome::TooManyConnections)?;
    let source = frontend
        .open_source(client.ip())
        .map_err(|_| Outcome::TooManyConnections)?;
    frontend
        .check_rate(now, client.ip(), |_| None)
        .map_err(|_| Outcome::RateLimited)?;
    // The table of flows has the process's limit: the oldest gives way.
    Ok(((admitted, None), source))
}

/// Relays a flow until it ends, then counts and logs it.
async fn serve(worker: &Rc<Worker>, flow: &Rc<Flow>, began: Timestamp) {
    /// Takes the flow out of the table, however its task ends.
    struct Listed<'a>(&'a Worker, &'a Flow);
    impl Drop for Listed<'_> {
        fn drop(&mut self) {
            self.0.flows.remove(self.1);
        }
    }
    let listed = Listed(worker, flow);
    let backend = {
        let frontend = flow.slot.frontend();
        frontend.counts(worker.index).traffic.begun.add_alone(1);
        let id = frontend.model.backend;
        Arc::clone(frontend.backend(id.expect("a UDP frontend has a backend")))
    };
    let backend = &backend;
    let mut facts = relay::facts(backend, began);
    facts.count_begun(worker);
    let outcome = relay::run(worker, flow, backend, &mut facts).await;
    drop(listed);
    flow.drop_backlog(worker);
    let (bytes_in, bytes_out) = flow.bytes();
    facts.bytes_in = bytes_in;
    facts.bytes_out = bytes_out;
    let outcome = if flow.slot.is_closing() {
        outcome.at_closed_listener()
    } else {
        outcome
    };
    let frontend = flow.slot.frontend();
    facts::relayed(worker, &frontend, flow.key.client, &facts, outcome);
}
