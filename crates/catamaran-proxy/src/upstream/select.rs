//! Which server a request goes to: affinity first, then the backend's balance.

use crate::state::{Backend, InFlight, Place, Server, ServerSet, Waited, takes_bound};
use crate::worker::{Alarm, Deadline, Worker};
use catamaran_core::Key;
use catamaran_core::Timestamp;
use catamaran_core::balance::{Pick, Request};
use catamaran_core::model::ServerId;
use catamaran_core::stick::{ServerKey, Why};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// What of a request decides which server it goes to.
#[derive(Debug, Default)]
pub(crate) struct Ask {
    /// What binds the client.
    pub(crate) binding: Binding,
    /// Hash of the key that the backend hashes.
    pub(crate) hash: Option<u64>,
    /// [`Server::id`] of servers it was sent to in vain.
    pub(crate) tried: Vec<u64>,
}

/// What binds a client to a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Binding {
    /// Nothing.
    #[default]
    None,
    /// A key that is bound at its first request.
    Key(Key),
    /// A key that a server gave out, bound when it was.
    Learned(Key),
    /// The server itself, named by a cookie of ours.
    Named(ServerKey),
}

/// A place at a server, and why there.
#[derive(Debug)]
pub(crate) struct Chosen {
    pub(crate) room: InFlight,
    pub(crate) why: Why,
}

/// Why there is no server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoServer {
    /// None is usable.
    Unusable,
    /// All are full, and so is the queue.
    QueueFull,
    /// All were full for the queue's timeout.
    QueueTimeout,
    /// The client left the queue.
    ClientGone,
}

/// Whether a request that no server accepts a connection for chooses again, since its backend has it
/// wait for servers that are down. Returns after a pause.
///
/// That they refuse connections takes the control plane a moment to notice. From then on they are
/// not chosen any more, and the choice waits in the queue; until then it would find them again.
pub(crate) async fn is_to_choose_again(backend: &Backend, began: Timestamp) -> bool {
    const PAUSE: Duration = Duration::from_millis(10);
    let queue = &backend.model.queue;
    if !queue.when_down || Worker::now() >= began + queue.timeout {
        return false;
    }
    tokio::time::sleep(PAUSE).await;
    true
}

enum Selected {
    Chosen(Chosen),
    /// The server is full that the client is bound to.
    BoundFull(Arc<Server>, Why),
    AllFull,
    NoneUsable,
}

/// Chooses a server with room at once, or waits for one in the backend's queue, until `until` at
/// the latest.
///
/// `client_left` is polled while waiting.
pub(crate) async fn select(
    worker: &Worker,
    backend: &Arc<Backend>,
    ask: &Ask,
    now: Timestamp,
    until: Timestamp,
    deadline: &Deadline,
    mut client_left: impl FnMut(&mut Context<'_>) -> Poll<()>,
) -> Result<Chosen, NoServer> {
    let until = until.min(now + backend.model.queue.timeout);
    let mut now = now;
    loop {
        let (bound, why) = match select_now(worker, backend, ask, now) {
            Selected::Chosen(chosen) => return Ok(chosen),
            Selected::BoundFull(server, why) => (Some(server), why),
            Selected::AllFull => (None, Why::New),
            Selected::NoneUsable if backend.model.queue.when_down => (None, Why::New),
            Selected::NoneUsable => {
                backend.counts(worker.index).no_server.add_alone(1);
                return Err(NoServer::Unusable);
            }
        };
        let entered = now;
        let waited = Box::pin(wait(
            worker,
            backend,
            bound.as_ref(),
            until,
            deadline,
            &mut client_left,
        ))
        .await;
        now = worker.tick();
        let counts = backend.counts(worker.index);
        counts.queue_wait.observe(now.saturating_since(entered));
        match waited {
            // What it waited for may have gone down in the meantime.
            Ok(Waited::Room(room)) if takes_bound(&backend.set(), room.server()) => {
                if bound.is_some() || bind(backend, ask, now, room.server()) {
                    return Ok(Chosen { room, why });
                }
            }
            Ok(Waited::Room(_) | Waited::ChooseAgain) => {}
            Err(reason) => {
                backend.counts(worker.index).queue_failures.add_alone(1);
                return Err(reason);
            }
        }
    }
}

/// Binds a client to the server that it waited for. Returns false if another request of it was
/// bound to another server meanwhile: it has to wait for that one.
fn bind(backend: &Backend, ask: &Ask, now: Timestamp, server: &Server) -> bool {
    let Binding::Key(key) = ask.binding else {
        return true;
    };
    let set = backend.set();
    let tried = ids(&set, &ask.tried);
    let takes = |bound: ServerKey| takes(&set, &tried, bound);
    let choice = backend
        .stick_shard(key)
        .and_then(|mut shard| shard.lookup_or_choose(now, key, takes, || Some(server.stick_key)));
    choice.is_none_or(|choice| choice.server == server.stick_key)
}

/// Whether clients bound to the server of `key` stay with it, those it failed for just now apart.
fn takes(set: &ServerSet, tried: &[ServerId], key: ServerKey) -> bool {
    set.by_stick_key(key)
        .is_some_and(|id| !tried.contains(&id) && set.rotation.takes_sticky(&set.server(id).state))
}

async fn wait(
    worker: &Worker,
    backend: &Arc<Backend>,
    bound: Option<&Arc<Server>>,
    until: Timestamp,
    deadline: &Deadline,
    mut client_left: impl FnMut(&mut Context<'_>) -> Poll<()>,
) -> Result<Waited, NoServer> {
    let now = Worker::now();
    let place =
        Place::enter(backend, bound.map(Arc::as_ref), now).map_err(|_| NoServer::QueueFull)?;
    backend.counts(worker.index).queued.add_alone(1);
    match bound {
        // It may have gone down just before we entered, when nobody could be told yet.
        Some(server) if !takes_bound(&backend.set(), server) => return Ok(Waited::ChooseAgain),
        // A server may have come up, or got room, just before we entered.
        Some(server) => drop(InFlight::begin(backend, server)),
        None => backend.waiting.serve_all(backend),
    }
    deadline.set(until);
    poll_fn(|cx| {
        if let Poll::Ready(waited) = place.poll(cx) {
            return Poll::Ready(Ok(waited));
        }
        if deadline.alarm() == Some(Alarm::Late) {
            return Poll::Ready(Err(NoServer::QueueTimeout));
        }
        client_left(cx).map(|()| Err(NoServer::ClientGone))
    })
    .await
}

fn select_now(worker: &Worker, backend: &Arc<Backend>, ask: &Ask, now: Timestamp) -> Selected {
    /// Lost races for the last place of a server after which all count as full.
    const MAX_RACES: usize = 16;
    let set = backend.set();
    let tried: Vec<ServerId> = if ask.tried.is_empty() {
        Vec::new()
    } else {
        ids(&set, &ask.tried)
    };
    let request = Request {
        now,
        hash: ask.hash,
        tried: &tried,
    };
    for _ in 0..MAX_RACES {
        let picked = match bound(worker, backend, &set, ask, &request) {
            Some(picked) => Ok(picked),
            None => match worker.with_rng(|rng| set.rotation.pick(&request, rng)) {
                Pick::Server(id) => Ok((id, Why::New)),
                Pick::AllFull => Err(Selected::AllFull),
                Pick::NoneUsable => Err(Selected::NoneUsable),
            },
        };
        let (id, why) = match picked {
            Ok(picked) => picked,
            Err(none) => return none,
        };
        let server = set.server(id);
        if let Some(room) = InFlight::begin(backend, server) {
            return Selected::Chosen(Chosen { room, why });
        }
        if why == Why::Sticky {
            return Selected::BoundFull(Arc::clone(server), why);
        }
    }
    Selected::AllFull
}

/// The server that the client is bound to, by now.
fn bound(
    worker: &Worker,
    backend: &Backend,
    set: &ServerSet,
    ask: &Ask,
    request: &Request<'_>,
) -> Option<(ServerId, Why)> {
    let takes = |key: ServerKey| takes(set, request.tried, key);
    match ask.binding {
        Binding::None => None,
        Binding::Named(key) => takes(key)
            .then(|| set.by_stick_key(key))
            .flatten()
            .map(|id| (id, Why::Sticky)),
        Binding::Learned(key) => {
            let server = backend.stick_shard(key)?.lookup(request.now, key, takes)?;
            Some((set.by_stick_key(server)?, Why::Sticky))
        }
        Binding::Key(key) => {
            let choose = || match worker.with_rng(|rng| set.rotation.pick(request, rng)) {
                Pick::Server(id) => Some(set.server(id).stick_key),
                Pick::AllFull | Pick::NoneUsable => None,
            };
            let choice =
                backend
                    .stick_shard(key)?
                    .lookup_or_choose(request.now, key, takes, choose)?;
            Some((set.by_stick_key(choice.server)?, choice.why))
        }
    }
}

fn ids(set: &ServerSet, tried: &[u64]) -> Vec<ServerId> {
    let ids = (0u32..).map(ServerId);
    set.servers
        .iter()
        .zip(ids)
        .filter(|(server, _)| tried.contains(&server.id()))
        .map(|(_, id)| id)
        .collect()
}

impl Chosen {
    /// Notes that the connection to the server stands, so that affinity holds to it.
    pub(crate) fn confirm(&self, backend: &Backend, binding: Binding, now: Timestamp) {
        if let Binding::Key(key) = binding
            && let Some(mut shard) = backend.stick_shard(key)
        {
            shard.confirm(now, key, self.room.server().stick_key);
        }
    }
}
