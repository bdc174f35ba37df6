//! Requests that wait for a server with room, and how room is handed to them.
//!
//! Room is handed over, not announced: the request that ends passes its place at the server to the
//! one that has waited longest, so that no newcomer slips in between and the queue stays fair over
//! all workers. A request bound to one server by affinity waits for that server only.

use super::{Backend, InFlight, Server, lock};
use catamaran_core::Timestamp;
use catamaran_core::balance::{Pick, Request};
use catamaran_core::model;
use catamaran_core::queue::{Queue, QueueFull, Ticket};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

/// The wait queue of one backend.
#[derive(Debug)]
pub(crate) struct Waiting {
    lines: Mutex<Lines>,
    /// How many wait, readable without the lock.
    len: AtomicUsize,
    max: usize,
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
            max: config.max_waiting,
        }
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Hands a place at `server`, which an ended request leaves, to who waits for it.
    ///
    /// Returns whether somebody took it.
    fn hand_over(&self, backend: &Arc<Backend>, server: &Arc<Server>) -> bool {
        let Some(waiter) = self.next_for(server) else {
            return false;
        };
        waiter.give(InFlight::adopt(Arc::clone(backend), Arc::clone(server)));
        true
    }

    fn next_for(&self, server: &Server) -> Option<Arc<Waiter>> {
        let mut lines = lock(&self.lines);
        let called = lines.bound.get_mut(&server.id()).and_then(Queue::call_next);
        let called = called.or_else(|| lines.any.call_next());
        if called.is_some() {
            self.len.fetch_sub(1, Ordering::Relaxed);
        }
        called
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
        if waiting.len() >= waiting.max {
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
        waiting.len.fetch_add(1, Ordering::Relaxed);
        drop(lines);
        Ok(Self {
            backend: Arc::clone(backend),
            waiter,
            ticket,
            bound,
        })
    }

    /// Ready with a place at a server.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<InFlight> {
        let mut handed = lock(&self.waiter.0);
        match std::mem::take(&mut *handed) {
            Handed::Room(room) => Poll::Ready(room),
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
            self.backend.waiting.len.fetch_sub(1, Ordering::Relaxed);
        }
        let handed = std::mem::take(&mut *lock(&self.waiter.0));
        // Room that came too late goes to the next in line, outside of the lock.
        drop(handed);
    }
}

impl Waiter {
    fn give(&self, room: InFlight) {
        let before = std::mem::replace(&mut *lock(&self.0), Handed::Room(room));
        if let Handed::Awaited(waker) = before {
            waker.wake();
        }
    }
}

/// Passes the place of an ended request on, or gives it back.
pub(super) fn leave(backend: &Arc<Backend>, server: &Arc<Server>) {
    let waiting = &backend.waiting;
    if waiting.len() > 0 && server.state.is_usable() && waiting.hand_over(backend, server) {
        return;
    }
    server.state.end();
    // Somebody may have entered the queue since the look at it, when this place still counted.
    if waiting.len() > 0
        && server.state.is_usable()
        && server.state.try_begin(server.max_in_flight())
        && !waiting.hand_over(backend, server)
    {
        server.state.end();
    }
}
