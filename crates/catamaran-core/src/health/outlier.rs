//! Passive detection of failing servers: ejection after failures in a row, as Envoy's
//! `consecutive_5xx` does it.
//!
//! The path of every response touches only the server's [`FailureStreak`], an atomic that costs a
//! relaxed load while all is well. A streak that reaches its threshold is told to the backend's
//! [`Detector`], which the shell guards with a lock.
//!
//! ```text
//!              handle_streak            time over, Comeback::ByProbe
//!   InTraffic ---------------> Ejected ------------------------------> Probing --+
//!     ^  ^  ^                   |   |                                   |   ^    | handle_probe(Fail):
//!     |  |  +-- time over, -----+   |                                   |   +----+ again in 1 s
//!     |  |      Comeback::AtOnce    |                                   |
//!     |  +------ handle_pass -------+----------- handle_pass -----------+
//!     +------------------- handle_probe(Pass): true ---------------------+
//! ```
//! The n-th ejection lasts n times the base, up to the longest; n falls by one for every
//! [`Detector::DECAY_INTERVAL`] that the server stays in the traffic. What is ejected is at most the
//! configured share of the servers, rounded down, but at least one.

use super::ProbeResult;
use super::refusal::Reprobe;
use crate::Timestamp;
use crate::model::{Outlier, ServerId};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Failures in a row of one server, counted by all workers at once.
#[derive(Debug, Default)]
pub struct FailureStreak(AtomicU32);

/// The ejections of one backend.
#[derive(Debug)]
pub struct Detector {
    config: Outlier,
    comeback: Comeback,
    servers: Vec<Record>,
    /// Records that are not `InTraffic`.
    ejected: usize,
}

/// How a server returns when its ejection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Comeback {
    /// At once: active checks watch it.
    AtOnce,
    /// By a probe connection that stands: nothing else watches it.
    ByProbe,
}

/// A server was taken out of the traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejected {
    /// When its time is over.
    pub until: Timestamp,
    /// The how-maniest ejection this is, as far as the earlier ones are not forgotten.
    pub count: u32,
}

#[derive(Clone, Debug)]
struct Record {
    state: State,
    /// Ejections not yet forgotten as of `returned_at`.
    count: u32,
    /// When the server last came back into the traffic.
    returned_at: Timestamp,
}

#[derive(Clone, Debug)]
enum State {
    InTraffic,
    Ejected { until: Timestamp },
    Probing(Reprobe),
}

impl FailureStreak {
    /// No failures.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Ends the streak: a response below 500 came.
    pub fn success(&self) {
        // All workers read this line for every response; only the first success after a failure
        // may write it. Relaxed throughout: the count guards no other memory.
        if self.0.load(Ordering::Relaxed) != 0 {
            self.0.store(0, Ordering::Relaxed);
        }
    }

    /// Counts a failure (a connect failure or a 5xx). Returns whether the streak just reached
    /// `threshold`, and then starts anew, so that of many workers exactly one is told.
    pub fn failure(&self, threshold: NonZeroU32) -> bool {
        let mut count = self.0.load(Ordering::Relaxed);
        loop {
            let reached = count + 1 >= threshold.get();
            let next = if reached { 0 } else { count + 1 };
            match self
                .0
                .compare_exchange_weak(count, next, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => return reached,
                Err(seen) => count = seen,
            }
        }
    }
}

impl Detector {
    /// Time in the traffic after which one ejection is forgotten: Envoy's default `interval`.
    pub const DECAY_INTERVAL: Duration = Duration::from_secs(10);

    /// Watches `servers` servers, all in the traffic.
    #[must_use]
    pub fn new(config: Outlier, comeback: Comeback, servers: usize) -> Self {
        let record = Record {
            state: State::InTraffic,
            count: 0,
            returned_at: Timestamp::ZERO,
        };
        Self {
            config,
            comeback,
            servers: vec![record; servers],
            ejected: 0,
        }
    }

    /// Carries over what `old` knows, for a reload: `old_id` gives the id that a server had there.
    /// Ejections go on to their end; a probe under way is asked for again.
    #[must_use]
    pub fn with_ejections_of(
        mut self,
        old: &Self,
        old_id: impl Fn(ServerId) -> Option<ServerId>,
    ) -> Self {
        for (index, record) in self.servers.iter_mut().enumerate() {
            let known = old_id(server_id(index)).and_then(|id| old.servers.get(id.index()));
            let Some(known) = known else { continue };
            record.clone_from(known);
            if let State::Probing(probe) = &mut record.state {
                probe.forget();
            }
            self.ejected += usize::from(!matches!(record.state, State::InTraffic));
        }
        self
    }

    /// Notes that the streak of `server` reached the threshold. Returns the ejection if there is
    /// one: none while it is ejected already, or too many are.
    pub fn handle_streak(&mut self, now: Timestamp, server: ServerId) -> Option<Ejected> {
        self.config.consecutive?;
        let may_eject = self.ejected < self.max_ejected();
        let record = self.servers.get_mut(server.index())?;
        if !may_eject || !matches!(record.state, State::InTraffic) {
            return None;
        }
        let count = record.count_at(now).saturating_add(1);
        let longest = self.config.max_ejection.max(self.config.base_ejection);
        let time = self.config.base_ejection.saturating_mul(count).min(longest);
        let until = now + time;
        record.count = count;
        record.state = State::Ejected { until };
        self.ejected += 1;
        Some(Ejected { until, count })
    }

    /// Notes that an active check of `server` passed while its status is up: whatever was wrong is
    /// over. Returns whether this ended an ejection.
    pub fn handle_pass(&mut self, now: Timestamp, server: ServerId) -> bool {
        self.put_back(now, server)
    }

    /// Ends what ended by time. Returns a server that came back by this; call until `None`.
    pub fn handle_timeout(&mut self, now: Timestamp) -> Option<ServerId> {
        if self.ejected == 0 {
            return None;
        }
        for index in 0..self.servers.len() {
            let record = &mut self.servers[index];
            match (&record.state, self.comeback) {
                (State::Ejected { until }, Comeback::ByProbe) if *until <= now => {
                    record.state = State::Probing(Reprobe::new(*until));
                }
                (State::Ejected { until }, Comeback::AtOnce) if *until <= now => {
                    let server = server_id(index);
                    self.put_back(now, server);
                    return Some(server);
                }
                (State::InTraffic | State::Ejected { .. } | State::Probing(_), _) => {}
            }
        }
        None
    }

    /// The next server to start a probe connection to; call until `None`. Every one that is asked
    /// for must be answered by [`Self::handle_probe`].
    pub fn poll_probe(&mut self, now: Timestamp) -> Option<ServerId> {
        if self.ejected == 0 {
            return None;
        }
        let index = self
            .servers
            .iter_mut()
            .position(|record| match &mut record.state {
                State::Probing(probe) => probe.poll(now),
                State::InTraffic | State::Ejected { .. } => false,
            })?;
        Some(server_id(index))
    }

    /// Records whether the probe connection stood. Returns whether this brought the server back.
    pub fn handle_probe(&mut self, now: Timestamp, server: ServerId, result: ProbeResult) -> bool {
        let Some(record) = self.servers.get_mut(server.index()) else {
            return false;
        };
        let State::Probing(probe) = &mut record.state else {
            return false;
        };
        if result == ProbeResult::Pass {
            return self.put_back(now, server);
        }
        probe.handle_failure(now);
        false
    }

    /// When to call [`Self::handle_timeout`] and [`Self::poll_probe`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        if self.ejected == 0 {
            return None;
        }
        self.servers
            .iter()
            .filter_map(|record| match &record.state {
                State::InTraffic => None,
                State::Ejected { until } => Some(*until),
                State::Probing(probe) => probe.poll_timeout(),
            })
            .min()
    }

    /// Whether `server` is out of the traffic, unless panic lifts it.
    #[must_use]
    pub fn is_ejected(&self, server: ServerId) -> bool {
        self.servers
            .get(server.index())
            .is_some_and(|record| !matches!(record.state, State::InTraffic))
    }

    /// Failures in a row that eject; `None` if nothing does.
    #[must_use]
    pub const fn threshold(&self) -> Option<NonZeroU32> {
        self.config.consecutive
    }

    fn put_back(&mut self, now: Timestamp, server: ServerId) -> bool {
        let Some(record) = self.servers.get_mut(server.index()) else {
            return false;
        };
        if matches!(record.state, State::InTraffic) {
            return false;
        }
        record.state = State::InTraffic;
        record.returned_at = now;
        self.ejected -= 1;
        true
    }

    fn max_ejected(&self) -> usize {
        let share = self.servers.len() * usize::from(self.config.max_ejected_percent) / 100;
        share.max(1)
    }
}

impl Record {
    /// Ejections not yet forgotten at `now`, for a server in the traffic.
    fn count_at(&self, now: Timestamp) -> u32 {
        let healthy = now.saturating_since(self.returned_at);
        let forgotten = healthy.as_nanos() / Detector::DECAY_INTERVAL.as_nanos();
        self.count
            .saturating_sub(u32::try_from(forgotten).unwrap_or(u32::MAX))
    }
}

fn server_id(index: usize) -> ServerId {
    ServerId(u32::try_from(index).expect("a backend's servers are numbered by u32"))
}
