//! Servers that refuse connections: out at the first refusal, back by a probe.
//!
//! A refused connection says at once what a check would say in seconds: nobody listens. [`Refusal`]
//! takes such a server out of the traffic and asks for a probe connection per second until one
//! stands. Active checks overrule it in both directions.
//!
//! ```text
//!                   handle_refused
//!     Accepting -----------------------> Refusing --+
//!        ^  ^                             |  |  ^   | handle_probe(Fail):
//!        |  +--- handle_probe(Pass): true +  |  +---+ again in 1 s
//!        +------ handle_status_change -------+
//! ```

use super::ProbeResult;
use crate::Timestamp;
use std::time::Duration;

/// Whether a server refuses connections.
#[derive(Clone, Debug, Default)]
pub struct Refusal {
    refusing: Option<Reprobe>,
}

impl Refusal {
    /// A server that has refused nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { refusing: None }
    }

    /// Notes a refused connection. Returns whether this took the server out of the traffic.
    pub fn handle_refused(&mut self, now: Timestamp) -> bool {
        if self.refusing.is_some() {
            // Connections begun before the first refusal end now too; they must not put off the
            // probe.
            return false;
        }
        self.refusing = Some(Reprobe::new(now + Reprobe::INTERVAL));
        true
    }

    /// Whether to start a probe connection now. Every one that is asked for must be answered by
    /// [`Self::handle_probe`].
    pub fn poll_probe(&mut self, now: Timestamp) -> bool {
        self.refusing.as_mut().is_some_and(|probe| probe.poll(now))
    }

    /// Records whether the probe connection stood. Returns whether this brought the server back.
    pub fn handle_probe(&mut self, now: Timestamp, result: ProbeResult) -> bool {
        let Some(probe) = &mut self.refusing else {
            return false;
        };
        if result == ProbeResult::Pass {
            self.refusing = None;
            return true;
        }
        probe.handle_failure(now);
        false
    }

    /// Notes that active checks changed the server's status: up, it accepts connections; down, the
    /// checks alone bring it back. Returns whether this ended a refusal.
    pub fn handle_status_change(&mut self) -> bool {
        self.refusing.take().is_some()
    }

    /// When to call [`Self::poll_probe`]; `None` while nothing is refused or a probe is under way.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.refusing.as_ref()?.poll_timeout()
    }

    /// Whether the server gets no traffic for this reason.
    #[must_use]
    pub const fn is_refusing(&self) -> bool {
        self.refusing.is_some()
    }
}

/// The pace of the probe connections that bring a server back: one at a time, a second apart.
#[derive(Clone, Debug)]
pub(super) struct Reprobe {
    next_at: Timestamp,
    is_under_way: bool,
}

impl Reprobe {
    /// Time from the start of one probe to the next.
    pub(super) const INTERVAL: Duration = Duration::from_secs(1);

    /// Probes from `first_at` on.
    #[must_use]
    pub(super) const fn new(first_at: Timestamp) -> Self {
        Self {
            next_at: first_at,
            is_under_way: false,
        }
    }

    /// Whether to start a probe now.
    pub(super) fn poll(&mut self, now: Timestamp) -> bool {
        if self.is_under_way || now < self.next_at {
            return false;
        }
        self.is_under_way = true;
        self.next_at = now + Self::INTERVAL;
        true
    }

    /// Records that the probe did not bring the server back.
    pub(super) fn handle_failure(&mut self, now: Timestamp) {
        self.is_under_way = false;
        self.next_at = self.next_at.max(now);
    }

    /// Gives up a probe whose result will not be told.
    pub(super) const fn forget(&mut self) {
        self.is_under_way = false;
    }

    /// When the next probe starts; `None` while one is under way.
    #[must_use]
    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        (!self.is_under_way).then_some(self.next_at)
    }
}
