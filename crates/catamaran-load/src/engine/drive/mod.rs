//! Begins the iterations of a scenario, for one worker's share of it.

mod arrival;
mod closed;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use catamaran_sys::clock::now_nanos;
use tokio::task::JoinSet;

use super::local::Local;
use super::stop::Stop;
use super::{Crew, Ended, Iteration, Vu};
use crate::scenario::Executor;

/// What a driver needs to know.
pub(super) struct Drive<C: Crew> {
    pub(super) local: Rc<Local>,
    pub(super) crew: Arc<C>,
    /// The number of the scenario.
    pub(super) scenario: usize,
    /// When the scenario begins, in nanoseconds of the monotonic clock.
    pub(super) start: u64,
    pub(super) stop: Rc<Stop>,
}

impl<C: Crew> Drive<C> {
    /// Runs this worker's share of the scenario with the virtual users made for it.
    pub(super) async fn run(self, vus: Vec<C::Vu>) {
        let drive = Rc::new(self);
        if drive.local.from.get() >= drive.end() {
            return;
        }
        tokio::select! {
            () = sleep_until(drive.start) => {}
            () = drive.stop.drained() => return,
        }
        let grace = tokio::task::spawn_local(Rc::clone(&drive).end_in_time());
        match drive.executor().arrivals() {
            Some(arrivals) => arrival::run(&drive, arrivals, vus).await,
            None => closed::run(&drive, vus).await,
        }
        grace.abort();
    }

    fn executor(&self) -> &Executor {
        &self.local.scenarios[self.scenario].executor
    }

    /// When no iteration begins any more.
    fn end(&self) -> u64 {
        self.start + nanos(self.executor().regular_duration())
    }

    /// Drains a closed model at its end, and cuts off what runs after the grace.
    ///
    /// An open one ends with its schedule: what is due in its last moment begins, though this thread
    /// be a little late.
    async fn end_in_time(self: Rc<Self>) {
        sleep_until(self.end()).await;
        if self.executor().arrivals().is_none() {
            self.stop.drain();
        }
        let scenario = &self.local.scenarios[self.scenario];
        sleep_until(self.end() + nanos(scenario.graceful_stop)).await;
        self.stop.cut();
    }

    /// Whether another iteration may begin now.
    fn goes_on(&self) -> bool {
        !self.stop.is_draining() && now_nanos() < self.end()
    }

    /// Runs one iteration.
    async fn iterate(&self, vu: &mut C::Vu, intended: Option<u64>, stop: &Rc<Stop>) -> Ended {
        let running = self.local.begin_iteration();
        let iteration = Iteration {
            scenario: self.scenario,
            intended,
        };
        let ended = vu.iterate(iteration, stop).await;
        if ended == Ended::Whole {
            running.whole();
        }
        // Iterations that never wait must not keep the others of this thread waiting.
        tokio::task::coop::consume_budget().await;
        ended
    }
}

/// Runs `work`, the iterations of one virtual user, until they are done or cut off.
async fn until_cut<V: Vu>(work: impl Future<Output = ()>, stop: &Stop) {
    if !V::MAY_BE_DROPPED {
        return work.await;
    }
    tokio::select! {
        biased;
        () = work => {}
        () = stop.was_cut() => {}
    }
}

/// Waits for all, passing a panic on.
async fn join(mut tasks: JoinSet<()>) {
    while let Some(result) = tasks.join_next().await {
        if let Err(error) = result
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
}

/// Waits until `at` nanoseconds of the monotonic clock, to a millisecond.
pub(crate) async fn sleep_until(at: u64) {
    let left = at.saturating_sub(now_nanos());
    if left > 0 {
        tokio::time::sleep(Duration::from_nanos(left)).await;
    }
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 4)
}
