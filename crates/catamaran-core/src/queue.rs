//! Where the exchanges of a backend wait while every server is full.
//!
//! First come, first served. The shell guards the queue with a lock, since all workers share it; a
//! waiter is whatever the shell needs to wake the one who waits.
//!
//! ```text
//!                   +-- call_next -------> has room, is sent
//!   enter --> waits +-- leave -----------> the client left
//!     |             +-- handle_timeout --> waited too long: 503
//!     +-- QueueFull: 503
//! ```
//! Each waiter leaves by exactly one of these. All wait equally long at most, so the first of the
//! line is also the first whose time is over.

use crate::Timestamp;
use crate::chain::{self, Chain};
use crate::model;
use std::time::Duration;

/// The wait queue of one backend.
#[derive(Debug)]
pub struct Queue<T> {
    line: Chain<Waiting<T>>,
    max_waiting: usize,
    timeout: Duration,
    entered: u64,
}

/// A place in a [`Queue`], for leaving it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    slot: u32,
    /// How many entered before: slots are used again, numbers are not.
    number: u64,
}

/// As many wait as may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the queue is full")]
pub struct QueueFull;

#[derive(Debug)]
struct Waiting<T> {
    waiter: T,
    number: u64,
    entered_at: Timestamp,
}

impl<T> Queue<T> {
    /// An empty queue.
    #[must_use]
    pub fn new(config: &model::Queue) -> Self {
        Self {
            line: Chain::new(),
            max_waiting: config.max_waiting.min(chain::MAX_LEN),
            timeout: config.timeout,
            entered: 0,
        }
    }

    /// Takes up a changed configuration. Those who wait go on, with the new timeout.
    pub fn reconfigure(&mut self, config: &model::Queue) {
        self.max_waiting = config.max_waiting.min(chain::MAX_LEN);
        self.timeout = config.timeout;
    }

    /// Places `waiter` at the end.
    ///
    /// # Errors
    /// [`QueueFull`] if as many wait as may.
    pub fn enter(&mut self, now: Timestamp, waiter: T) -> Result<Ticket, QueueFull> {
        if self.line.len() >= self.max_waiting {
            return Err(QueueFull);
        }
        let number = self.entered;
        self.entered += 1;
        let slot = self.line.push_back(Waiting {
            waiter,
            number,
            entered_at: now,
        });
        Ok(Ticket { slot, number })
    }

    /// Takes the waiter of `ticket` out; `None` if it was called or timed out before. Then it holds
    /// the room it was called for and must pass it on.
    pub fn leave(&mut self, ticket: Ticket) -> Option<T> {
        let waiting = self.line.get(ticket.slot)?;
        if waiting.number != ticket.number {
            return None;
        }
        self.line.remove(ticket.slot).map(|waiting| waiting.waiter)
    }

    /// Takes out the waiter that has waited longest: a server has room for it. A waiter whose time
    /// is over but who was not told so yet is still called; the room is there.
    pub fn call_next(&mut self) -> Option<T> {
        self.take_first()
    }

    /// When the first waiter's time is over.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let (_, first) = self.line.front()?;
        Some(first.entered_at + self.timeout)
    }

    /// Takes out a waiter whose time is over; call until `None`.
    pub fn handle_timeout(&mut self, now: Timestamp) -> Option<T> {
        if self.poll_timeout()? > now {
            return None;
        }
        self.take_first()
    }

    /// How many wait.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.line.len()
    }

    /// Whether none waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn take_first(&mut self) -> Option<T> {
        let (slot, _) = self.line.front()?;
        self.line.remove(slot).map(|waiting| waiting.waiter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn queue(max_waiting: usize) -> Queue<u32> {
        Queue::new(&model::Queue {
            max_waiting,
            timeout: Duration::from_secs(3),
            when_down: false,
        })
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs(seconds)
    }

    #[test]
    fn who_came_first_is_served_first() {
        let mut queue = queue(10);
        for waiter in 0..5 {
            queue.enter(at(0), waiter).unwrap();
        }
        let served: Vec<u32> = std::iter::from_fn(|| queue.call_next()).collect();
        assert_eq!(served, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_full_queue_lets_nobody_in_until_one_leaves() {
        let mut queue = queue(1);
        let ticket = queue.enter(at(0), 1).unwrap();
        assert_eq!(queue.enter(at(0), 2), Err(QueueFull));
        assert_eq!(queue.leave(ticket), Some(1));
        assert!(queue.enter(at(0), 2).is_ok());
    }

    #[test]
    fn a_client_that_left_is_not_called() {
        let mut queue = queue(10);
        queue.enter(at(0), 1).unwrap();
        let second = queue.enter(at(0), 2).unwrap();
        queue.enter(at(0), 3).unwrap();
        assert_eq!(queue.leave(second), Some(2));
        assert_eq!(queue.call_next(), Some(1));
        assert_eq!(queue.call_next(), Some(3));
    }

    #[test]
    fn an_old_ticket_does_not_take_out_another_in_the_same_place() {
        let mut queue = queue(10);
        let old = queue.enter(at(0), 1).unwrap();
        assert_eq!(queue.call_next(), Some(1));
        let new = queue.enter(at(0), 2).unwrap();
        assert_eq!(old.slot, new.slot);
        assert_eq!(queue.leave(old), None);
        assert_eq!(queue.leave(new), Some(2));
    }

    #[test]
    fn a_waiter_times_out_by_its_own_time_of_entry() {
        let mut queue = queue(10);
        queue.enter(at(0), 1).unwrap();
        queue.enter(at(1), 2).unwrap();
        assert_eq!(queue.poll_timeout(), Some(at(3)));
        assert_eq!(queue.handle_timeout(at(2)), None);
        assert_eq!(queue.handle_timeout(at(3)), Some(1));
        assert_eq!(queue.handle_timeout(at(3)), None);
        assert_eq!(queue.poll_timeout(), Some(at(4)));
    }

    proptest! {
        #[test]
        fn every_waiter_comes_out_exactly_once(
            steps in prop::collection::vec((0..4u8, any::<prop::sample::Index>()), 0..200)
        ) {
            let mut queue = queue(20);
            let mut tickets = Vec::new();
            let mut out = Vec::new();
            let mut entered = 0;
            for (second, (step, index)) in (0u64..).zip(steps) {
                match step {
                    0 | 1 => {
                        if let Ok(ticket) = queue.enter(at(second), entered) {
                            tickets.push(ticket);
                            entered += 1;
                        }
                    }
                    2 if !tickets.is_empty() => {
                        out.extend(queue.leave(tickets[index.index(tickets.len())]));
                    }
                    2 => {}
                    _ => out.extend(queue.call_next()),
                }
                out.extend(queue.handle_timeout(at(second)));
                prop_assert!(queue.len() <= 20);
            }
            out.extend(std::iter::from_fn(|| queue.call_next()));
            out.sort_unstable();
            prop_assert_eq!(out, (0..entered).collect::<Vec<u32>>());
        }
    }
}
