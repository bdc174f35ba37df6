//! Deadlines of one worker's connections, and the watch on the server that each waits for.
//!
//! Moving a deadline is one store: no timer is armed per request. The entries lie in chunks that
//! remember a lower bound of their deadlines; a sweep skips every chunk whose bound lies ahead. One
//! task per worker sleeps until the lowest bound, sweeps, and wakes the connections that are late.
//!
//! The same entry says which server its connection awaits a response from, so that a server marked
//! down wakes exactly those.

use crate::outcome::Outcome;
use crate::state::ListenerId;
use catamaran_core::Timestamp;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// Entries of a chunk: a chunk is swept whole or not at all.
const CHUNK: usize = 256;

/// Why a connection was woken by its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alarm {
    /// Its deadline passed.
    Late,
    /// The server it watches was marked down.
    ServerDown,
}

/// What a connection does, as far as the end of its listener is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Exchanges, or nothing.
    Exchange,
    /// It relays.
    Tunnel,
}

/// All deadlines of a worker.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    chunks: RefCell<Vec<Rc<Chunk>>>,
    free: RefCell<Vec<u32>>,
    /// When the sweeping task wakes next.
    next_sweep: Cell<Timestamp>,
    /// The sweeping task, to be woken when a deadline lies before its next sweep.
    sweeper: RefCell<Option<Waker>>,
}

#[derive(Debug)]
struct Chunk {
    /// No deadline in the chunk lies before it.
    earliest: Cell<Timestamp>,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    deadline: Cell<Timestamp>,
    /// [`Server::id`](crate::state::Server::id) of the awaited server; zero when none is.
    watch: Cell<u64>,
    /// The listener that its connection came by; zero before it is said.
    listener: Cell<ListenerId>,
    phase: Cell<Phase>,
    /// Whether its time is over for good, wherever its deadline moves.
    is_over: Cell<bool>,
    alarm: Cell<Option<Alarm>>,
    waker: RefCell<Option<Waker>>,
}

/// The entry of one connection.
#[derive(Debug)]
pub(crate) struct Deadline {
    owner: Rc<Deadlines>,
    chunk: Rc<Chunk>,
    index: u32,
}

impl Deadlines {
    /// Makes an entry without a deadline; [`Deadline::adopt`] says whose it is.
    pub(crate) fn register(self: &Rc<Self>) -> Deadline {
        let vacant = self.free.borrow_mut().pop();
        let index = vacant.unwrap_or_else(|| self.add_chunk());
        let chunk = Rc::clone(&self.chunks.borrow()[index as usize / CHUNK]);
        Deadline {
            owner: Rc::clone(self),
            chunk,
            index,
        }
    }

    /// Wakes every connection whose deadline has passed; returns when to sweep next.
    pub(crate) fn sweep(&self, now: Timestamp) -> Timestamp {
        let mut next = Timestamp::MAX;
        for chunk in self.chunks.borrow().iter() {
            if chunk.earliest.get() <= now {
                chunk.sweep(now);
            }
            next = next.min(chunk.earliest.get());
        }
        self.next_sweep.set(next);
        next
    }

    /// Takes note of the task that sweeps.
    pub(crate) fn set_sweeper(&self, waker: &Waker) {
        let mut sweeper = self.sweeper.borrow_mut();
        match &mut *sweeper {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    /// When the sweeping task is to wake.
    pub(crate) fn next_sweep(&self) -> Timestamp {
        self.next_sweep.get()
    }

    /// Wakes every connection that awaits the server of this key.
    pub(crate) fn server_down(&self, key: u64) {
        for chunk in self.chunks.borrow().iter() {
            for entry in chunk
                .entries
                .iter()
                .filter(|entry| entry.watch.get() == key)
            {
                entry.ring(Alarm::ServerDown);
            }
        }
    }

    /// Ends what came by `listener` and is in `phase` or an earlier one, as if it were late, for
    /// good.
    pub(crate) fn end_listener(&self, listener: ListenerId, phase: Phase) {
        for chunk in self.chunks.borrow().iter() {
            let is_meant =
                |entry: &&Entry| entry.listener.get() == listener && entry.phase.get() <= phase;
            for entry in chunk.entries.iter().filter(is_meant) {
                entry.is_over.set(true);
                entry.ring(Alarm::Late);
            }
        }
    }

    /// Wakes every connection, so that each looks at what has changed.
    pub(crate) fn wake_all(&self) {
        for chunk in self.chunks.borrow().iter() {
            for entry in &chunk.entries {
                if let Some(waker) = &*entry.waker.borrow() {
                    waker.wake_by_ref();
                }
            }
        }
    }

    fn add_chunk(&self) -> u32 {
        let mut chunks = self.chunks.borrow_mut();
        let first = chunks.len() * CHUNK;
        let entries = std::iter::repeat_with(Entry::vacant).take(CHUNK).collect();
        chunks.push(Rc::new(Chunk {
            earliest: Cell::new(Timestamp::MAX),
            entries,
        }));
        let index = |at: usize| u32::try_from(first + at).expect("descriptors are fewer than 2^32");
        self.free.borrow_mut().extend((1..CHUNK).rev().map(index));
        index(0)
    }
}

impl Chunk {
    fn sweep(&self, now: Timestamp) {
        let mut earliest = Timestamp::MAX;
        for entry in &self.entries {
            let deadline = entry.deadline.get();
            if deadline <= now {
                entry.deadline.set(Timestamp::MAX);
                entry.ring(Alarm::Late);
            } else {
                earliest = earliest.min(deadline);
            }
        }
        self.earliest.set(earliest);
    }
}

impl Entry {
    fn vacant() -> Self {
        Self {
            deadline: Cell::new(Timestamp::MAX),
            watch: Cell::new(0),
            listener: Cell::new(0),
            phase: Cell::new(Phase::Exchange),
            is_over: Cell::new(false),
            alarm: Cell::new(None),
            waker: RefCell::new(None),
        }
    }

    fn ring(&self, alarm: Alarm) {
        if self.alarm.get() != Some(Alarm::ServerDown) {
            self.alarm.set(Some(alarm));
        }
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }
}

impl Deadline {
    /// Makes the entry that of the task that awaits this.
    pub(crate) async fn adopt(&self) {
        poll_fn(|cx| {
            *self.entry().waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Ready(())
        })
        .await;
    }

    /// Sets when [`Self::alarm`] says [`Alarm::Late`]; clears such an alarm not yet seen.
    ///
    /// That the watched server is down stays said until [`Self::watch`]: a task that has something
    /// else to do in the same turn, and moves its deadline, has not seen it.
    pub(crate) fn set(&self, at: Timestamp) {
        let entry = self.entry();
        if entry.alarm.get() == Some(Alarm::Late) {
            entry.alarm.set(None);
        }
        entry.deadline.set(at);
        if at < self.chunk.earliest.get() {
            self.chunk.earliest.set(at);
            if at < self.owner.next_sweep.get() {
                self.owner.next_sweep.set(at);
                if let Some(sweeper) = &*self.owner.sweeper.borrow() {
                    sweeper.wake_by_ref();
                }
            }
        }
    }

    /// Watches the server of `key` besides, and no other any more; zero watches none.
    pub(crate) fn watch(&self, key: u64) {
        let entry = self.entry();
        entry.watch.set(key);
        if entry.alarm.get() == Some(Alarm::ServerDown) {
            entry.alarm.set(None);
        }
    }

    /// Says which listener the connection came by.
    pub(crate) fn belongs_to(&self, listener: ListenerId) {
        self.entry().listener.set(listener);
    }

    /// Says that the connection relays from now on.
    pub(crate) fn set_tunnel(&self) {
        self.entry().phase.set(Phase::Tunnel);
    }

    /// Why the task should stop waiting, if it should.
    pub(crate) fn alarm(&self) -> Option<Alarm> {
        let entry = self.entry();
        let over = || entry.is_over.get().then_some(Alarm::Late);
        entry.alarm.get().or_else(over)
    }

    /// Whether the connection is to end even if it makes progress.
    pub(crate) fn is_over(&self) -> bool {
        self.entry().is_over.get()
    }

    /// What an end is called, given that it may be the listener that ended it.
    pub(crate) fn outcome_of(&self, outcome: Outcome) -> Outcome {
        if self.is_over() {
            outcome.at_closed_listener()
        } else {
            outcome
        }
    }

    fn entry(&self) -> &Entry {
        &self.chunk.entries[self.index as usize % CHUNK]
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        let entry = self.entry();
        entry.deadline.set(Timestamp::MAX);
        entry.watch.set(0);
        entry.listener.set(0);
        entry.phase.set(Phase::Exchange);
        entry.is_over.set(false);
        entry.alarm.set(None);
        entry.waker.borrow_mut().take();
        self.owner.free.borrow_mut().push(self.index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Timestamp {
        Timestamp::from_nanos(nanos)
    }

    #[test]
    fn a_passed_deadline_rings_once_and_a_moved_one_not_at_all() {
        let all = Rc::new(Deadlines::default());
        let late = all.register();
        let moved = all.register();
        late.set(at(10));
        moved.set(at(10));
        moved.set(at(50));
        assert_eq!(all.sweep(at(20)), at(50));
        assert_eq!(late.alarm(), Some(Alarm::Late));
        assert_eq!(moved.alarm(), None);
        late.set(at(100));
        assert_eq!(late.alarm(), None);
        assert_eq!(all.sweep(at(60)), at(100));
    }

    #[test]
    fn the_next_sweep_comes_forward_for_an_earlier_deadline() {
        let all = Rc::new(Deadlines::default());
        let one = all.register();
        one.set(at(100));
        all.sweep(at(1));
        let other = all.register();
        other.set(at(30));
        assert_eq!(all.next_sweep(), at(30));
    }

    #[test]
    fn a_server_going_down_rings_only_those_who_await_it() {
        let all = Rc::new(Deadlines::default());
        let (one, other) = (all.register(), all.register());
        one.watch(7);
        other.watch(8);
        all.server_down(7);
        assert_eq!(
            (one.alarm(), other.alarm()),
            (Some(Alarm::ServerDown), None)
        );
    }

    #[test]
    fn the_end_of_a_listener_rings_its_exchanges_and_leaves_its_tunnels() {
        let all = Rc::new(Deadlines::default());
        let (exchange, tunnel, other) = (all.register(), all.register(), all.register());
        exchange.belongs_to(3);
        tunnel.belongs_to(3);
        tunnel.set_tunnel();
        other.belongs_to(4);
        all.end_listener(3, Phase::Exchange);
        let alarms = || (exchange.alarm(), tunnel.alarm(), other.alarm());
        assert_eq!(alarms(), (Some(Alarm::Late), None, None));
        exchange.set(at(100));
        assert_eq!(exchange.alarm(), Some(Alarm::Late));
        all.end_listener(3, Phase::Tunnel);
        assert_eq!(alarms(), (Some(Alarm::Late), Some(Alarm::Late), None));
    }

    #[test]
    fn a_moved_deadline_does_not_hide_that_the_server_went_down() {
        let all = Rc::new(Deadlines::default());
        let one = all.register();
        one.watch(7);
        one.set(at(10));
        all.server_down(7);
        one.set(at(50));
        assert_eq!(one.alarm(), Some(Alarm::ServerDown));
        one.watch(0);
        assert_eq!(one.alarm(), None);
    }

    #[test]
    fn entries_of_ended_connections_are_used_again() {
        let all = Rc::new(Deadlines::default());
        for _ in 0..10 * CHUNK {
            all.register().set(at(5));
        }
        assert_eq!(all.chunks.borrow().len(), 1);
    }
}
