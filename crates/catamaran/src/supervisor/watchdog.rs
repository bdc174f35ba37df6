//! When a data process that gives no sign of life counts as hung.
//!
//! It tells several times a second whether every thread of it turns. A supervisor that was itself
//! not scheduled on time cannot tell a process that hangs from a machine that does: then the time
//! counts from anew.

use crate::handover::Part;
use std::time::{Duration, Instant};

/// The watch over one data process.
#[derive(Debug)]
pub(super) struct Watchdog {
    /// Zero is for ever.
    patience: Duration,
    last_sign: Instant,
    last_look: Instant,
    /// What did not turn when it was heard of last.
    hung: Option<Part>,
}

/// A data process that hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hang {
    /// What does not turn; `None` if the whole process says nothing.
    pub(super) part: Option<Part>,
    /// For how long nothing good was heard.
    pub(super) silent: Duration,
}

impl Watchdog {
    pub(super) const fn new(patience: Duration, now: Instant) -> Self {
        Self {
            patience,
            last_sign: now,
            last_look: now,
            hung: None,
        }
    }

    /// Takes note that every thread turns.
    pub(super) const fn handle_sign(&mut self, now: Instant) {
        self.last_sign = now;
        self.hung = None;
    }

    /// Takes note that a part does not turn, says the process itself.
    pub(super) const fn handle_hang(&mut self, part: Part) {
        self.hung = Some(part);
    }

    /// Looks whether it hangs. To be called every [`LOOK`], after all that was heard.
    pub(super) fn handle_look(&mut self, now: Instant) -> Option<Hang> {
        let was_late = now.saturating_duration_since(self.last_look) >= LATE;
        self.last_look = now;
        if was_late {
            self.last_sign = now;
            return None;
        }
        let silent = now.saturating_duration_since(self.last_sign);
        let hangs = !self.patience.is_zero() && silent >= self.patience;
        let part = self.hung;
        hangs.then_some(Hang { part, silent })
    }
}

/// How often to look.
pub(super) const LOOK: Duration = Duration::from_millis(200);
/// Time between two looks from which the machine counts as too busy to judge by.
const LATE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(2);

    /// Looks every [`LOOK`] for `time`; the first verdict.
    fn look(dog: &mut Watchdog, from: Instant, time: Duration) -> Option<Hang> {
        let looks = time.as_millis() / LOOK.as_millis();
        (1..=u32::try_from(looks).unwrap()).find_map(|count| dog.handle_look(from + LOOK * count))
    }

    #[test]
    fn silence_for_as_long_as_configured_is_a_hang_and_not_before() {
        let now = Instant::now();
        let mut dog = Watchdog::new(PATIENCE, now);
        assert_eq!(look(&mut dog, now, PATIENCE - LOOK), None);
        let silent = PATIENCE;
        let hang = Some(Hang { part: None, silent });
        assert_eq!(dog.handle_look(now + PATIENCE), hang);
    }

    #[test]
    fn a_thread_that_does_not_turn_is_named_though_the_process_speaks() {
        let now = Instant::now();
        let mut dog = Watchdog::new(PATIENCE, now);
        dog.handle_hang(Part::Worker(3));
        let hang = look(&mut dog, now, PATIENCE).unwrap();
        assert_eq!(hang.part, Some(Part::Worker(3)));
    }

    #[test]
    fn a_sign_begins_the_time_anew() {
        let now = Instant::now();
        let mut dog = Watchdog::new(PATIENCE, now);
        assert_eq!(look(&mut dog, now, PATIENCE - LOOK), None);
        let later = now + PATIENCE - LOOK;
        dog.handle_sign(later);
        assert_eq!(look(&mut dog, later, PATIENCE - LOOK), None);
    }

    #[test]
    fn a_supervisor_that_was_late_itself_judges_nobody() {
        let now = Instant::now();
        let mut dog = Watchdog::new(PATIENCE, now);
        let later = now + 10 * PATIENCE;
        assert_eq!(dog.handle_look(later), None);
        assert_eq!(look(&mut dog, later, PATIENCE - LOOK), None);
    }

    #[test]
    fn without_a_limit_nothing_is_a_hang() {
        let now = Instant::now();
        let mut dog = Watchdog::new(Duration::ZERO, now);
        assert_eq!(look(&mut dog, now, 10 * PATIENCE), None);
    }
}
