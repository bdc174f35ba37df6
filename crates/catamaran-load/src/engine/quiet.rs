//! Workers that say nothing any more: a script keeps their thread in one call that nothing can interrupt.
//!
//! QuickJS looks whether it should stop between the steps of a script, and within regular expressions, but
//! not within everything that it does in one go.

/// For how many looks in a row workers were not heard. One look is a second of this process: one that was
/// stopped for a while does not take its own pause for theirs.
#[derive(Debug)]
pub(super) struct Quiet {
    looks: Vec<u32>,
}

impl Quiet {
    pub(super) fn new(workers: usize) -> Self {
        Self {
            looks: vec![0; workers],
        }
    }

    /// Notes that a worker reported, or that it is about to be made.
    pub(super) fn heard(&mut self, worker: u64) {
        let worker = usize::try_from(worker).ok();
        if let Some(looks) = worker.and_then(|worker| self.looks.get_mut(worker)) {
            *looks = 0;
        }
    }

    /// Looks once more. Returns a worker that was silent too long; `is_cut` says that all were told to end at
    /// once.
    pub(super) fn look(&mut self, is_cut: bool, is_done: impl Fn(u64) -> bool) -> Option<u64> {
        let most = if is_cut { CUT_LOOKS } else { LOOKS };
        let mut stuck = None;
        for (worker, looks) in (0..).zip(&mut self.looks) {
            if is_done(worker) {
                continue;
            }
            *looks += 1;
            if *looks > most {
                stuck = stuck.or(Some(worker));
            }
        }
        stuck
    }
}

/// Workers report each second. Chosen: no machine is that busy.
const LOOKS: u32 = 60;
/// Those that were told to end interrupt their scripts. As long as agents get for it.
const CUT_LOOKS: u32 = 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_is_not_heard_for_a_minute_is_stuck_and_one_that_is_done_is_not() {
        let mut quiet = Quiet::new(3);
        for look in 0..LOOKS {
            quiet.heard(0);
            assert_eq!(quiet.look(false, |worker| worker == 1), None, "{look}");
        }
        quiet.heard(0);
        assert_eq!(quiet.look(false, |worker| worker == 1), Some(2));
        quiet.heard(2);
        assert_eq!(quiet.look(false, |worker| worker == 1), None);
        quiet.heard(7);
    }

    #[test]
    fn who_was_told_to_end_has_less_time() {
        let mut quiet = Quiet::new(1);
        for _ in 0..CUT_LOOKS {
            assert_eq!(quiet.look(true, |_| false), None);
        }
        assert_eq!(quiet.look(true, |_| false), Some(0));
    }
}
