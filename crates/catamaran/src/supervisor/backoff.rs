//! How long to wait before a process that died is started again.

use std::time::Duration;

/// Nothing after the first death, so that clients hardly notice it; then it doubles from [`FIRST`] to
/// [`LONGEST`], and starts over after a process has lived [`STEADY`].
#[derive(Debug, Default)]
pub(super) struct Backoff {
    deaths: u32,
}

impl Backoff {
    /// The wait after a process died that had lived for `lived`.
    pub(super) fn handle_death(&mut self, lived: Duration) -> Duration {
        if lived >= STEADY {
            self.deaths = 0;
        }
        let deaths = self.deaths;
        self.deaths += 1;
        let Some(doublings) = deaths.checked_sub(1) else {
            return Duration::ZERO;
        };
        let wait = FIRST.saturating_mul(1 << doublings.min(MAX_DOUBLINGS));
        wait.min(LONGEST)
    }
}

/// Short: a second crash may have nothing to do with the first.
const FIRST: Duration = Duration::from_millis(100);
/// Long enough that a crash loop costs next to nothing.
const LONGEST: Duration = Duration::from_secs(5);
/// A process that has lived this long did not die of its start.
const STEADY: Duration = Duration::from_secs(10);
const MAX_DOUBLINGS: u32 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_loop_slows_down_to_the_longest_wait() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..9)
            .map(|_| backoff.handle_death(Duration::ZERO).as_millis())
            .collect();
        assert_eq!(waits, [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    }

    #[test]
    fn a_steady_life_clears_the_record() {
        let mut backoff = Backoff::default();
        backoff.handle_death(Duration::ZERO);
        backoff.handle_death(Duration::ZERO);
        assert_eq!(backoff.handle_death(STEADY), Duration::ZERO);
        assert_eq!(backoff.handle_death(Duration::ZERO), FIRST);
    }
}
