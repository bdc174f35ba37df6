//! Active health checking of one server.
//!
//! [`Checker`] decides *when* to probe and *what a result means*; it opens no sockets. The I/O
//! shell runs the probes it asks for, each in its own time, and reports how they went.
//!
//! ```text
//!        Up -- fall consecutive failures ---> Down
//!        Up <-- rise consecutive passes ----- Down
//! ```
//! Probes start an interval apart, counted from start to start, so that the spread given to servers
//! at the beginning lasts. While results contradict the status they start a fast interval apart. A
//! probe of a server that is up and does not answer within the fast interval is a suspicion, and
//! the next starts without waiting for the first to time out: a server that hangs is down
//! (fall - 1) × fast interval + timeout after the first probe it did not answer, not fall × timeout.

use crate::Timestamp;
use crate::model::Health;
use std::num::NonZeroU32;
use std::time::Duration;

/// The schedule and verdict of the checks of one server.
#[derive(Clone, Debug)]
pub struct Checker {
    interval: Duration,
    fast_interval: Duration,
    rise: NonZeroU32,
    fall: NonZeroU32,
    status: Status,
    is_checked: bool,
    /// Results in a row that contradict the status; below the threshold that would flip it.
    streak: u32,
    /// Probes asked for whose results are not in.
    in_flight: u32,
    last_probe_at: Timestamp,
    next_probe_at: Timestamp,
    /// The first probe after the one at the start: where this server stands in the spread.
    first_regular_at: Timestamp,
}

/// What active checks say of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// It failed too often in a row, and has not passed often enough since.
    Down,
    /// It passes, or was not checked yet.
    Up,
}

/// How a probe went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProbeResult {
    /// No answer, or not the expected one.
    Fail,
    /// We could not ask, or were late ourselves: says nothing about the server.
    Inconclusive,
    /// The expected answer within the timeout.
    Pass,
}

impl Checker {
    /// A server that counts as up until its checks say otherwise. It is first probed within a fast
    /// interval from `now`, then at its place in the interval; `rng` spreads both.
    #[must_use]
    pub fn new(config: &Health, now: Timestamp, rng: &mut fastrand::Rng) -> Self {
        let share = rng.f64();
        let first_at = now + config.fast_interval.mul_f64(share);
        let mut first_regular_at = now + config.interval.mul_f64(share);
        if first_regular_at < first_at + config.fast_interval {
            first_regular_at = first_regular_at + config.interval;
        }
        Self {
            interval: config.interval,
            fast_interval: config.fast_interval,
            rise: config.rise,
            fall: config.fall,
            status: Status::Up,
            is_checked: false,
            streak: 0,
            in_flight: 0,
            last_probe_at: first_at,
            next_probe_at: first_at,
            first_regular_at,
        }
    }

    /// As [`Self::new`], of a server that is known to be down.
    #[must_use]
    pub fn known_down(config: &Health, now: Timestamp, rng: &mut fastrand::Rng) -> Self {
        Self {
            status: Status::Down,
            ..Self::new(config, now, rng)
        }
    }

    /// Takes the server for down, as somebody else found it, if no check has said anything yet.
    /// Returns whether that was so.
    pub const fn assume_down(&mut self) -> bool {
        let is_unchecked = !self.is_checked();
        if is_unchecked {
            self.status = Status::Down;
        }
        is_unchecked
    }

    /// Takes up a changed configuration, keeping what is known of the server.
    pub fn reconfigure(&mut self, now: Timestamp, config: &Health) {
        self.interval = config.interval;
        self.fast_interval = config.fast_interval;
        self.rise = config.rise;
        self.fall = config.fall;
        // A streak that a lower threshold would have ended ends with its next result.
        self.next_probe_at = self.next_probe_at.min(now + self.interval);
    }

    /// Whether to start a probe now. Every one that is asked for must be answered by
    /// [`Self::handle_result`].
    pub fn poll_probe(&mut self, now: Timestamp) -> bool {
        if self.poll_timeout().is_none_or(|at| now < at) {
            return false;
        }
        self.in_flight += 1;
        self.last_probe_at = now;
        self.next_probe_at = now + self.fast_interval;
        true
    }

    /// Records how a probe went. Returns the new status if this result changed it.
    pub fn handle_result(&mut self, now: Timestamp, result: ProbeResult) -> Option<Status> {
        self.in_flight = self.in_flight.saturating_sub(1);
        let (agrees, threshold) = match (self.status, result) {
            (_, ProbeResult::Inconclusive) => {
                self.schedule(now, self.fast_interval);
                return None;
            }
            (Status::Up, result) => (result == ProbeResult::Pass, self.fall),
            (Status::Down, result) => (result == ProbeResult::Fail, self.rise),
        };
        self.is_checked = true;
        if agrees {
            self.streak = 0;
            self.schedule_regular(now);
            return None;
        }
        self.streak += 1;
        if self.streak < threshold.get() {
            self.schedule(now, self.fast_interval);
            return None;
        }
        self.streak = 0;
        self.status = match self.status {
            Status::Up => Status::Down,
            Status::Down => Status::Up,
        };
        self.schedule_regular(now);
        Some(self.status)
    }

    /// Notes that a connection to the server failed: the next probe comes a fast interval after
    /// the last one, however many connections fail.
    pub fn handle_failure_hint(&mut self, now: Timestamp) {
        if self.status == Status::Up {
            let soon = now.max(self.last_probe_at + self.fast_interval);
            self.next_probe_at = self.next_probe_at.min(soon);
        }
    }

    /// When to call [`Self::poll_probe`]; `None` while the result of a probe must come first.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let max_in_flight = match self.status {
            Status::Up => self.fall.get(),
            Status::Down => 1,
        };
        (self.in_flight < max_in_flight).then_some(self.next_probe_at)
    }

    /// What the checks say.
    #[must_use]
    pub const fn status(&self) -> Status {
        self.status
    }

    /// Whether any check has said anything yet.
    #[must_use]
    pub const fn is_checked(&self) -> bool {
        self.is_checked
    }

    /// Sets the next probe an interval after the start of the last one, or, after the very first
    /// probes, to where this server stands in the spread.
    fn schedule_regular(&mut self, now: Timestamp) {
        if now < self.first_regular_at {
            self.next_probe_at = self.first_regular_at;
        } else {
            self.schedule(now, self.interval);
        }
    }

    /// Sets the next probe `after` the start of the last one, or now if that is over.
    fn schedule(&mut self, now: Timestamp, after: Duration) {
        self.next_probe_at = now.max(self.last_probe_at + after);
    }
}
