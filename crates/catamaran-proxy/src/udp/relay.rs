//! The task of one flow: a server for it, answers back, another server when that one fails.
//!
//! ```text
//!   waiting --datagram--> choosing --socket--> relaying --idle, evicted--> ended
//!      ^                     | no server: ended     |
//!      +------- refused, marked down ---------------+
//! ```

use super::Received;
use super::flow::{Flow, TO_READ};
use crate::facts::{self, Facts};
use crate::outcome::Outcome;
use crate::state::{Backend, Server, Signal, Target as Address};
use crate::tcp::ask;
use crate::upstream::{Ask, Chosen, NoServer, local_end, select};
use crate::worker::{Alarm, Deadline, Worker};
use catamaran_core::Timestamp;
use catamaran_core::health::Blame;
use catamaran_core::model::OnDown;
use catamaran_sys::socket::connect_udp_from;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use tokio::net::UdpSocket;

/// Why a flow's server is relayed to no more.
enum End {
    /// The flow is over.
    Flow(Outcome),
    /// The server refused, or cannot be reached.
    Failed(io::Error),
    /// The server was marked down.
    ServerDown,
}

/// What is known of a flow that began just now.
pub(super) fn facts(backend: &Arc<Backend>, began: Timestamp) -> Facts<'_> {
    let mut facts = Facts::new(began, 0);
    facts.backend = Some(backend);
    facts
}

/// Relays a flow until it ends. Returns how.
pub(super) async fn run<'a>(
    worker: &Worker,
    flow: &Flow,
    backend: &'a Arc<Backend>,
    facts: &mut Facts<'a>,
) -> Outcome {
    let deadline = worker.deadline().await;
    let mut ask = ask(backend, flow.key.client);
    loop {
        if let Err(outcome) = wait_for_datagram(flow, &deadline).await {
            return outcome;
        }
        let opened = open(worker, flow, backend, &mut ask, &deadline, facts).await;
        let (socket, chosen) = match opened {
            Ok(opened) => opened,
            Err(outcome) => return outcome,
        };
        facts::connected(worker, &flow.slot.frontend(), flow.key.client, facts);
        let server = chosen.room.server();
        if backend.model.on_down == OnDown::Redispatch {
            deadline.watch(server.id());
        }
        let end = relay(worker, flow, server, &socket, &deadline, &mut ask, facts).await;
        deadline.watch(0);
        flow.close();
        match end {
            End::Flow(outcome) => return outcome,
            End::Failed(error) => {
                fail(worker, backend, server, &error);
                note_tried(&mut ask, server);
            }
            End::ServerDown => {}
        }
        facts.retries += 1;
    }
}

/// Waits until a datagram needs a server.
async fn wait_for_datagram(flow: &Flow, deadline: &Deadline) -> Result<(), Outcome> {
    deadline.set(flow.idle_at());
    poll_fn(|cx| {
        flow.watch(cx);
        if flow.is_evicted() {
            return Poll::Ready(Err(Outcome::Evicted));
        }
        if flow.has_backlog() {
            return Poll::Ready(Ok(()));
        }
        if deadline.alarm() == Some(Alarm::Late) {
            return Poll::Ready(Err(Outcome::Done));
        }
        Poll::Pending
    })
    .await
}

/// Chooses a server and opens a socket to it, to another one if that fails.
async fn open<'a>(
    worker: &Worker,
    flow: &Flow,
    backend: &'a Arc<Backend>,
    ask: &mut Ask,
    deadline: &Deadline,
    facts: &mut Facts<'a>,
) -> Result<(Rc<UdpSocket>, Chosen), Outcome> {
    loop {
        let asked = Worker::now();
        let evicted = |cx: &mut std::task::Context<'_>| {
            flow.watch(cx);
            if flow.is_evicted() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        };
        let chosen = select(
            worker,
            backend,
            ask,
            asked,
            Timestamp::MAX,
            deadline,
            evicted,
        )
        .await
        .map_err(|reason| match reason {
            NoServer::Unusable if facts.server.is_some() => Outcome::ConnectFailed,
            NoServer::Unusable => Outcome::NoServer,
            NoServer::QueueFull => Outcome::QueueFull,
            NoServer::QueueTimeout => Outcome::QueueTimeout,
            NoServer::ClientGone => Outcome::Evicted,
        })?;
        let now = Worker::now();
        facts.queued = Some(now.saturating_since(asked));
        let server = chosen.room.server();
        facts.note_server(worker, server);
        facts.server = Some((Arc::clone(server), chosen.why));
        match connect(worker, server) {
            Ok(socket) => {
                server.counts(worker.index).connects.add_alone(1);
                chosen.confirm(backend, ask.binding, now);
                return Ok((Rc::new(socket), chosen));
            }
            Err(error) if Blame::of_connect_error(&error) == Blame::Ours => {
                worker.metrics.connects_exhausted.add(1);
                if worker.tells_exhausted() {
                    let server = &server.model.name;
                    tracing::error!(%server, %error, "out of resources to talk to a server");
                }
                return Err(Outcome::Exhausted);
            }
            Err(error) => {
                fail(worker, backend, server, &error);
                note_tried(ask, server);
            }
        }
    }
}

fn connect(worker: &Worker, server: &Server) -> io::Result<UdpSocket> {
    match &server.target {
        Address::Ip(address) => {
            let from = local_end(worker, server, *address);
            UdpSocket::from_std(connect_udp_from(*address, from)?.into())
        }
        // The configuration allows none for UDP.
        Address::Unix(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Passes datagrams to `server` and its answers to the client.
async fn relay(
    worker: &Worker,
    flow: &Flow,
    server: &Server,
    socket: &Rc<UdpSocket>,
    deadline: &Deadline,
    ask: &mut Ask,
    facts: &mut Facts<'_>,
) -> End {
    let opened = Worker::now();
    flow.open(worker, socket);
    deadline.set(flow.idle_at());
    let mut has_answered = false;
    loop {
        let mut ready = pin!(socket.ready(TO_READ));
        let end = poll_fn(|cx| {
            flow.watch(cx);
            if let Some(end) = ended(flow, deadline) {
                return Poll::Ready(Some(end));
            }
            ready
                .as_mut()
                .poll(cx)
                .map(|result| result.err().map(End::Failed))
        })
        .await;
        if let Some(end) = end {
            return end;
        }
        let before = flow.bytes().1;
        let received = flow.answer_batch(worker, socket);
        if !has_answered && flow.bytes().1 > before {
            has_answered = true;
            ask.tried.clear();
            server.streak.success();
            let now = Worker::now();
            server.observe(now, opened);
            facts
                .responded
                .get_or_insert_with(|| now.saturating_since(opened));
        }
        match received {
            Ok(Received::All) => {}
            Ok(Received::Batch) => tokio::task::yield_now().await,
            Err(error) => return End::Failed(error),
        }
    }
}

/// Whether the relay is over, for another reason than the server's socket.
fn ended(flow: &Flow, deadline: &Deadline) -> Option<End> {
    if flow.is_evicted() {
        return Some(End::Flow(Outcome::Evicted));
    }
    if let Some(error) = flow.take_error() {
        return Some(End::Failed(error));
    }
    match deadline.alarm()? {
        Alarm::ServerDown => Some(End::ServerDown),
        // Datagrams that came meanwhile have moved it.
        Alarm::Late if flow.idle_at() > Worker::now() => {
            deadline.set(flow.idle_at());
            None
        }
        // The way every flow ends: nothing in UDP says that it has.
        Alarm::Late => Some(End::Flow(Outcome::Done)),
    }
}

/// Notes that `server` was tried in vain. A flow may live long and try it often.
fn note_tried(ask: &mut Ask, server: &Server) {
    if !ask.tried.contains(&server.id()) {
        ask.tried.push(server.id());
    }
}

/// Counts a server's failure and tells the control plane of it.
fn fail(worker: &Worker, backend: &Backend, server: &Arc<Server>, error: &io::Error) {
    let signal = if error.kind() == io::ErrorKind::ConnectionRefused {
        Signal::Refused
    } else {
        Signal::ConnectFailed
    };
    let counts = server.counts(worker.index);
    counts.failures.add_alone(1);
    counts.connect_failures.add_alone(1);
    worker.signal(server, signal);
    if let Some(threshold) = backend.model.outlier.consecutive
        && server.streak.failure(threshold)
    {
        worker.signal(server, Signal::Outlier);
    }
}
