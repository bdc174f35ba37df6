//! What the virtual users of one worker share.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use catamaran_sys::clock::now_nanos;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::lead::Message;
use super::stop::Stop;
use crate::board::Recorder;
use crate::metric::{MetricId, Registry};
use crate::scenario::Scenario;
use crate::schedule::Stripe;
use crate::tags::TagsId;

/// The state of one worker.
#[derive(Debug)]
pub struct Local {
    /// Which share of everything it has.
    pub stripe: Stripe,
    /// What it has counted.
    pub recorder: RefCell<Recorder>,
    /// All scenarios of the run.
    pub scenarios: Arc<Vec<Scenario>>,
    /// By scenario: iterations begun, of those that all workers share.
    pub(super) shared_iterations: Arc<Vec<AtomicU64>>,
    pub(super) stops: Vec<Rc<Stop>>,
    pub(super) counts: Counts,
    /// Sent at most once each.
    warned: RefCell<BTreeSet<String>>,
    to_lead: UnboundedSender<Message>,
}

/// Numbers that the progress line shows.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Virtual users at an iteration.
    pub(super) active: Cell<u64>,
    /// Virtual users made.
    pub(super) made: Cell<u64>,
    /// Iterations that ended by themselves.
    pub(super) whole: Cell<u64>,
    /// Iterations cut off.
    pub(super) cut: Cell<u64>,
}

impl Local {
    pub(super) fn new(
        stripe: Stripe,
        recorder: Recorder,
        scenarios: Arc<Vec<Scenario>>,
        shared_iterations: Arc<Vec<AtomicU64>>,
        to_lead: UnboundedSender<Message>,
    ) -> Self {
        Self {
            stripe,
            recorder: RefCell::new(recorder),
            stops: scenarios.iter().map(|_| Rc::default()).collect(),
            scenarios,
            shared_iterations,
            counts: Counts::default(),
            warned: RefCell::default(),
            to_lead,
        }
    }

    /// One that belongs to no worker, for what is run before and after the others. Warnings are lost.
    #[must_use]
    pub fn detached(registry: Arc<Registry>, scenarios: Arc<Vec<Scenario>>) -> Self {
        let (to_lead, _) = unbounded_channel();
        let whole = Stripe { index: 0, of: 1 };
        Self::new(
            whole,
            Recorder::new(registry),
            scenarios,
            Arc::default(),
            to_lead,
        )
    }

    /// Adds a sample of now.
    pub fn record(&self, metric: MetricId, tags: TagsId, value: f64) {
        let mut recorder = self.recorder.borrow_mut();
        recorder.record(metric, tags, value, now_nanos());
    }

    /// Names the tags that all samples of a scenario bear.
    #[must_use]
    pub fn scenario_tags(&self, scenario: usize) -> TagsId {
        let scenario = &self.scenarios[scenario];
        let own = scenario.tags.iter();
        let mut pairs: Vec<(&str, &str)> = own.map(|(name, value)| (&**name, &**value)).collect();
        pairs.push(("scenario", &scenario.name));
        self.recorder.borrow_mut().intern(&pairs)
    }

    /// Tells the operator, once for each text.
    pub fn warn(&self, text: String) {
        let mut warned = self.warned.borrow_mut();
        if warned.len() < MAX_WARNINGS && warned.insert(text.clone()) {
            self.tell(Message::Warning(text));
        }
    }

    /// Ends the run: it cannot go on.
    pub(crate) fn fail(&self, why: String) {
        self.tell(Message::Failed(why));
    }

    /// Ends the run as a script asks.
    pub(super) fn tell(&self, message: Message) {
        // A lead that has gone needs no telling.
        let _ = self.to_lead.send(message);
    }

    /// Counts an iteration as running until the guard says how it ended; dropped, it was cut off.
    pub(super) fn begin_iteration(self: &Rc<Self>) -> Running {
        increment(&self.counts.active, 1);
        Running {
            local: Rc::clone(self),
            is_whole: false,
        }
    }
}

/// An iteration that runs.
#[derive(Debug)]
pub(super) struct Running {
    local: Rc<Local>,
    is_whole: bool,
}

impl Running {
    pub(super) fn whole(mut self) {
        self.is_whole = true;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let counts = &self.local.counts;
        counts.active.set(counts.active.get() - 1);
        if self.is_whole {
            increment(&counts.whole, 1);
        } else {
            increment(&counts.cut, 1);
        }
    }
}

pub(super) fn increment(cell: &Cell<u64>, by: u64) {
    cell.set(cell.get() + by);
}

/// Different texts that one worker prints at most: a script that makes a new one for every request
/// would bury the others.
const MAX_WARNINGS: usize = 100;
