//! Runs scenarios: one thread per processor, nothing shared while requests are made.
//!
//! ```text
//! lead (the caller's thread)       prints, watches thresholds and signals, merges boards
//!   └── worker 0..W                a thread, a current_thread runtime, and all it owns
//!         └── drive, per scenario  begins iterations as the schedule of its share says
//!               └── virtual user   one iteration after the other
//! ```
//! Virtual users and the ticks of an open model are dealt out by number ([`crate::schedule::Stripe`]),
//! so that workers have nothing to agree on. A worker gives its board away each second. What an
//! iteration does is the business of whoever makes the virtual users ([`Crew`]). Workers may be threads of
//! other machines ([`crate::agents`]): the lead gets the same reports from them.

mod alarm;
mod drive;
mod hands;
mod lead;
mod local;
mod quiet;
mod stop;
mod under_way;
mod worker;

use std::rc::Rc;

#[cfg(feature = "scripts")]
pub(crate) use drive::sleep_until;
pub use hands::{Hands, Missing};
pub(crate) use hands::{Hired, Lost, Places, Resumed, hire};
pub(crate) use lead::{Command, Message, Report};
pub use lead::{Course, Ending, Observer, Outcome, Progress, Second, lead};
pub use local::{Local, Shared, Untold};
pub use stop::Stop;
pub use under_way::UnderWay;

/// One iteration that is about to begin.
#[derive(Clone, Copy, Debug)]
pub struct Iteration {
    /// The number of its scenario.
    pub scenario: usize,
    /// When it should have begun, in nanoseconds of the monotonic clock; earlier than now when the
    /// open model found no free virtual user. `None` in a closed model, which intends nothing.
    pub intended: Option<u64>,
}

/// How an iteration ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself, well or not.
    Whole,
    /// It was cut off.
    Cut,
}

/// A virtual user.
pub trait Vu: 'static {
    /// Whether an iteration may be dropped where it waits. If not, [`Self::iterate`] must itself end
    /// soon after [`Stop::cut`].
    const MAY_BE_DROPPED: bool;

    /// Runs one iteration and records what came of it.
    fn iterate(&mut self, iteration: Iteration, stop: &Rc<Stop>) -> impl Future<Output = Ended>;
}

/// Makes virtual users, on the thread that they live on.
pub trait Crew: Send + Sync + 'static {
    /// What it makes.
    type Vu: Vu;

    /// Makes the virtual user of this number, from 1, for a scenario. An error ends the run.
    fn make(&self, local: &Rc<Local>, scenario: usize, number: u64) -> Result<Self::Vu, String>;

    /// Whether [`Self::make`] takes next to no time, so that it may be called in the middle of the run.
    const MAKES_AT_ONCE: bool = false;

    /// As [`Self::make`], in the middle of the run: what takes long lets the others of this thread go on, and
    /// ends soon after `stop` cuts it off. It is not dropped before its end.
    fn make_meanwhile(
        &self,
        local: &Rc<Local>,
        scenario: usize,
        number: u64,
        stop: &Rc<Stop>,
    ) -> impl Future<Output = Result<Self::Vu, String>> {
        let _ = stop;
        std::future::ready(self.make(local, scenario, number))
    }

    /// Notes that `times` iterations were due and had not begun when the scenario ended, after about
    /// `waited` nanoseconds.
    fn not_begun(&self, local: &Local, scenario: usize, waited: u64, times: u64) {
        let _ = (local, scenario, waited, times);
    }
}
