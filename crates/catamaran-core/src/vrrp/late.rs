//! An active that was not given the processor in time.
//!
//! Another may have taken over while it slept, and it must not fight that one. Whoever took over has said
//! so by adverts, which wait to be read. So it looks at what has arrived before it says another word:
//!
//! ```text
//! slept                          another active is heard    none is
//! less than the down interval    as ever                    as ever
//! less than twice that           gives up                   goes on
//! longer                         gives up at once, before it looks
//! ```
//! The last line is for what stood still as a whole, a virtual machine say: what others sent meanwhile may
//! not have arrived at all. Where all its peers are known to be away it goes on in any case.

use super::machine::{Action, Output};
use super::router::{Event, Reason, Router, State};
use crate::Timestamp;
use std::time::Duration;

impl Router {
    /// Gives up, if it slept for so long that there is nothing to look for. Returns whether it did.
    pub(super) fn wake(&mut self, now: Timestamp, out: &mut Output<'_>) -> bool {
        let slept = self
            .lateness(now)
            .filter(|&slept| slept > self.shortest_wait() * 2);
        if let Some(slept) = slept {
            self.yield_late(now, slept, out);
        }
        slept.is_some()
    }

    /// Notes that what arrived is about to be read.
    pub(super) fn begin_to_read(&mut self, now: Timestamp) {
        self.reads_since = self.lateness(now).map(|_| now);
    }

    /// How long ago the last advert was sent, if that is so long that a backup may be active now.
    pub(super) fn lateness(&self, now: Timestamp) -> Option<Duration> {
        let silent = now.saturating_since(self.since);
        let speaks = self.state == State::Active && !self.is_leaving;
        (speaks && silent > self.shortest_wait() && !self.witness.is_alone).then_some(silent)
    }

    /// Whether it may speak. One that was late may when it has read all that arrived, just now.
    pub(super) fn may_speak(&mut self, now: Timestamp, out: &mut Output<'_>) -> bool {
        let Some(slept) = self.lateness(now) else {
            return true;
        };
        let fresh = self.settings.interval.as_duration() / 2;
        let has_read = self
            .reads_since
            .is_some_and(|since| now.saturating_since(since) <= fresh);
        self.reads_since = None;
        if has_read {
            out.event(Event::WentOn { slept });
        }
        has_read
    }

    /// Gives up, if it was late: another is active. Returns whether it did.
    pub(super) fn give_way(&mut self, now: Timestamp, out: &mut Output<'_>) -> bool {
        let slept = self.lateness(now);
        if let Some(slept) = slept {
            self.yield_late(now, slept, out);
        }
        slept.is_some()
    }

    /// Steps back without a word: whoever is active by now needs none.
    fn yield_late(&mut self, now: Timestamp, slept: Duration, out: &mut Output<'_>) {
        out.push(Action::RemoveAddresses(out.router));
        self.change(State::Backup, Reason::Late(slept), out);
        self.wait(now, self.settings.interval);
    }

    /// What the most urgent backup waits for.
    fn shortest_wait(&self) -> Duration {
        self.down_interval(super::tracking::OWNER, self.settings.interval)
    }
}
