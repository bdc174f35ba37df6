//! Requests that wait for a server with room, and how room is handed to them.
//!
//! Room is handed over, not announced: the request that ends passes its place at the server to the
//! one that has waited longest, so that no newcomer slips in between and the queue stays fair over
//! all workers. A request bound to one server by affinity waits for that server only, and chooses
//! again when that takes its clients no more.

use super::{Backend, InFlight, Server, ServerSet, lock};
use catamaran_core::Timestamp;
use catamaran_core::balance::{Pick, Request};
use catamaran_core::model;
use catamaran_core::queue::{Queue, QueueFull, Ticket};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// The wait queue of one backend.
#[derive(Debug)]
pub(crate) struct Waiting {
    lines: Mutex<Lines>,
    /// How many wait, readable without the lock. In one order with the servers' counts of requests
    /// in flight, so that who enters and who leaves at the same time do not miss each other.
    len: AtomicUsize,
    max: AtomicUsize,
}

/// Who waits for what, in the order they came.
#[derive(Debug)]
struct Lines {
    config: model::Queue,
    any: Queue<Arc<Waiter>>,
    /// By [`Server::id`].
    bound: HashMap<u64, Queue<Arc<Waiter>>, foldhash::fast::RandomState>,
}

#[derive(Debug, Default)]
struct Waiter(Mutex<Handed>);

#[derive(Debug, Default)]
enum Handed {
    #[default]
    Nothing,
    Awaited(Waker),
    Room(InFlight),
    ChooseAgain,
}

/// What waiting came to.
#[derive(Debug)]
pub(crate) enum Waited {
    /// A place at a server.
    Room(InFlight),
    /// The server waited for takes clients bound to it no more.
    ChooseAgain,
}

/// Whom a server takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    Nobody,
    /// Clients that are bound to it.
    Bound,
    Anybody,
}

/// A place in the queue; leaving it early passes on what was handed to it meanwhile.
#[derive(Debug)]
pub(crate) struct Place {
    backend: Arc<Backend>,
    waiter: Arc<Waiter>,
    ticket: Ticket,
    bound: Option<u64>,
}

impl Waiting {
    pub(crate) fn new(config: &model::Queue) -> Self {
        let lines = Lines {
            config: config.clone(),
            any: Queue::new(config),
            bound: HashMap::default(),
        };
        Self {
            lines: Mutex::new(lines),
            len: AtomicUsize::new(0),
            max: AtomicUsize::new(config.max_waiting),
        }
    }

    /// Takes up a changed configuration. Those who wait go on.
    pub(crate) fn reconfigure(&self, config: &model::Queue) {
        let mut lines = lock(&self.lines);
        lines.config = config.clone();
        lines.any.reconfigure(config);
        for line in lines.bound.values_mut() {
            line.reconfigure(config);
        }
        self.max.store(config.max_waiting, Ordering::Relaxed);
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::SeqCst)
    }

    /// Hands a place at `server`, which an ended request leaves, to who waits for it.
    ///
    /// Returns whether somebody took it.
    fn hand_over(&self, backend: &Arc<Backend>, server: &Arc<Server>) -> bool {
        let takes = takes(&backend.set(), server);
        let Some(waiter) = self.next_for(server, takes) else {
            return false;
        };
        let room = InFlight::adopt(Arc::clone(backend), Arc::clone(server));
        waiter.give(Handed::Room(room));
        true
    }

    fn next_for(&self, server: &Server, takes: Takes) -> Option<Arc<Waiter>> {
        if takes == Takes::Nobody {
            return None;
        }
        let mut lines = lock(&self.lines);
        let mut called = lines.bound.get_mut(&server.id()).and_then(Queue::call_next);
        if called.is_none() && takes == Takes::Anybody {
            called = lines.any.call_next();
        }
        if called.is_some() {
            self.len.fetch_sub(1, Ordering::SeqCst);
        }
        called
    }

    /// Has those choose again who wait for a server that takes clients bound to it no more.
    pub(crate) fn release_bound(&self, set: &ServerSet) {
        let mut released = Vec::new();
        {
            let mut lines = lock(&self.lines);
            if lines.bound.is_empty() {
                return;
            }
            let taking = set.servers.iter().filter(|s| takes_bound(set, s));
            let taking: HashSet<u64> = taking.map(|server| server.id()).collect();
            for (server, line) in &mut lines.bound {
                if !taking.contains(server) {
                    released.extend(std::iter::from_fn(|| line.call_next()));
                }
            }
            self.len.fetch_sub(released.len(), Ordering::SeqCst);
        }
        for waiter in released {
            waiter.give(Handed::ChooseAgain);
        }
    }

    /// Gives those who wait what room there is, after servers came up or were added.
    pub(crate) fn serve_all(&self, backend: &Arc<Backend>) {
        /// Lost races for the last place of a server after which the rest is left to who ends.
        const MAX_RACES: usize = 16;
        let mut races = 0;
        let set = backend.set();
        let mut rng = fastrand::Rng::new();
        while self.len() > 0 && races < MAX_RACES {
            let request = Request {
                now: Timestamp::ZERO,
                hash: None,
                tried: &[],
            };
            let Pick::Server(id) = set.rotation.pick(&request, &mut rng) else {
                return;
            };
            let Some(room) = InFlight::begin(backend, set.server(id)) else {
                races += 1;
                continue;
            };
            // Dropping the room hands it over, or gives it back if nobody wants it.
            let before = self.len();
            drop(room);
            if self.len() == before {
                return;
            }
        }
    }
}

impl Place {
    /// Enters the queue of `backend`, for any server or only for `bound`.
    pub(crate) fn enter(
        backend: &Arc<Backend>,
        bound: Option<&Server>,
        now: Timestamp,
    ) -> Result<Self, QueueFull> {
        let waiting = &backend.waiting;
        let waiter = Arc::new(Waiter::default());
        let bound = bound.map(Server::id);
        let mut lines = lock(&waiting.lines);
        if waiting.len() >= waiting.max.load(Ordering::Relaxed) {
            return Err(QueueFull);
        }
        let Lines {
            config,
            any,
            bound: by_server,
        } = &mut *lines;
        let line = match bound {
            Some(server) => by_server
                .entry(server)
                .or_insert_with(|| Queue::new(config)),
            None => any,
        };
        let ticket = line.enter(now, Arc::clone(&waiter))?;
        waiting.len.fetch_add(1, Ordering::SeqCst);
        drop(lines);
        Ok(Self {
            backend: Arc::clone(backend),
            waiter,
            ticket,
            bound,
        })
    }

    /// Ready with a place at a server, or when it is to be chosen again.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<Waited> {
        let mut handed = lock(&self.waiter.0);
        match std::mem::take(&mut *handed) {
            Handed::Room(room) => Poll::Ready(Waited::Room(room)),
            Handed::ChooseAgain => Poll::Ready(Waited::ChooseAgain),
            Handed::Nothing | Handed::Awaited(_) => {
                *handed = Handed::Awaited(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lines = lock(&self.backend.waiting.lines);
        let left = match self.bound {
            Some(server) => lines
                .bound
                .get_mut(&server)
                .and_then(|line| line.leave(self.ticket)),
            None => lines.any.leave(self.ticket),
        };
        if let Some(server) = self.bound
            && lines.bound.get(&server).is_some_and(Queue::is_empty)
        {
            lines.bound.remove(&server);
        }
        drop(lines);
        if left.is_some() {
            self.backend.waiting.len.fetch_sub(1, Ordering::SeqCst);
        }
        let handed = std::mem::take(&mut *lock(&self.waiter.0));
        // Room that came too late goes to the next in line, outside of the lock.
        drop(handed);
    }
}

impl Waiter {
    fn give(&self, handed: Handed) {
        let before = std::mem::replace(&mut *lock(&self.0), handed);
        if let Handed::Awaited(waker) = before {
            waker.wake();
        }
    }
}

/// Whether clients bound to `server` may be sent to it.
pub(crate) fn takes_bound(set: &ServerSet, server: &Server) -> bool {
    set.rotation.takes_sticky(&server.state)
}

fn takes(set: &ServerSet, server: &Server) -> Takes {
    // One that was taken out of the backend only ends what it has.
    let id = set.by_stick_key(server.stick_key);
    let Some(id) = id.filter(|&id| set.server(id).id() == server.id()) else {
        return Takes::Nobody;
    };
    if set.rotation.takes_new(id) {
        Takes::Anybody
    } else if takes_bound(set, server) {
        Takes::Bound
    } else {
        Takes::Nobody
    }
}

/// Passes the place of an ended request on, or gives it back.
pub(super) fn leave(backend: &Arc<Backend>, server: &Arc<Server>) {
    let waiting = &backend.waiting;
    if waiting.len() > 0 && waiting.hand_over(backend, server) {
        return;
    }
    server.state.end();
    // Somebody may have entered the queue since the look at it, when this place still counted.
    if waiting.len() > 0
        && takes(&backend.set(), server) != Takes::Nobody
        && server.state.try_begin(server.max_in_flight())
        && !waiting.hand_over(backend, server)
    {
        server.state.end();
    }
}
