//! How a scenario is told to end.

use std::cell::Cell;

use tokio::sync::Notify;

/// Ends a scenario in two steps: no new iterations, then none at all.
#[derive(Debug, Default)]
pub struct Stop {
    step: Cell<Step>,
    changed: Notify,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    #[default]
    Going,
    Draining,
    Cut,
}

impl Stop {
    /// Begins no further iterations.
    pub fn drain(&self) {
        self.step(Step::Draining);
    }

    /// Cuts off those that run, too.
    pub fn cut(&self) {
        self.step(Step::Cut);
    }

    /// Whether no iteration begins any more.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.step.get() >= Step::Draining
    }

    /// Whether those that run are cut off.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.step.get() == Step::Cut
    }

    /// Waits until no iteration begins any more.
    pub async fn drained(&self) {
        self.reached(Step::Draining).await;
    }

    /// Waits until those that run are cut off.
    pub async fn was_cut(&self) {
        self.reached(Step::Cut).await;
    }

    fn step(&self, step: Step) {
        if step > self.step.get() {
            self.step.set(step);
            self.changed.notify_waiters();
        }
    }

    async fn reached(&self, step: Step) {
        // Nothing runs on this thread between the look and the first poll of the wait.
        while self.step.get() < step {
            self.changed.notified().await;
        }
    }
}
