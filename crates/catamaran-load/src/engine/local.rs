//! What the virtual users of one worker share.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use catamaran_sys::clock::now_nanos;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::lead::Message;
use super::stop::Stop;
use crate::board::Recorder;
use crate::metric::{MetricId, Registry};
use crate::output::TapSource;
use crate::scenario::Scenario;
use crate::schedule::{Shares, Stripe};
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
    /// What all workers count together.
    pub shared: Arc<Shared>,
    /// When the run began, in nanoseconds of the monotonic clock.
    pub start: Cell<u64>,
    pub(super) stops: Vec<Rc<Stop>>,
    pub(super) counts: Counts,
    /// By scenario: iterations begun, of those whose number is fixed.
    pub(super) begun: Vec<Cell<u64>>,
    /// By scenario: iterations that asked for their number.
    pub(crate) asked: Vec<Cell<u64>>,
    /// Whether iterations of open models have asked by HTTP, so that those that never begin would have.
    #[cfg(feature = "scripts")]
    pub(crate) asks_http: Cell<bool>,
    /// When it takes over from one that was lost: what was due before is left out.
    pub(super) from: Cell<u64>,
    /// Sent at most once each.
    told: RefCell<BTreeSet<String>>,
    to_lead: UnboundedSender<Message>,
    aborted: RefCell<Option<String>>,
    /// Of one that belongs to no worker: what nobody has heard yet.
    untold: RefCell<Option<UnboundedReceiver<Message>>>,
}

/// What was told where no lead listens.
#[derive(Debug, Default)]
pub struct Untold {
    /// What the operator should know.
    pub warnings: Vec<String>,
    /// Whether a script called the run failed.
    pub is_marked_failed: bool,
}

/// What all workers of this process count together.
#[derive(Debug, Default)]
pub struct Shared {
    /// Which of all workers they are; the others are those of other agents.
    pub shares: Shares,
    /// By scenario: iterations begun, of those that all workers share; of those that each virtual user
    /// has, only what others did that were lost.
    pub iterations: Vec<AtomicU64>,
    /// By scenario: iterations that asked for their number.
    pub asked_iterations: Vec<AtomicU64>,
    /// Virtual users at an iteration, as told last.
    pub active: AtomicU64,
    /// Virtual users made, as told last.
    pub made: AtomicU64,
    /// Iterations that ended by themselves, as told last.
    pub whole: AtomicU64,
    /// Iterations cut off, as told last.
    pub cut: AtomicU64,
}

impl Shared {
    /// Returns one for so many scenarios.
    #[must_use]
    pub fn new(scenarios: usize, shares: Shares) -> Self {
        let zeros = || (0..scenarios).map(|_| AtomicU64::new(0)).collect();
        Self {
            shares,
            iterations: zeros(),
            asked_iterations: zeros(),
            ..Self::default()
        }
    }

    /// Returns one for workers that take over: `begun` and `asked` were counted before.
    pub(super) fn resumed(shares: Shares, begun: &[u64], asked: &[u64]) -> Self {
        let cells = |counts: &[u64]| counts.iter().copied().map(AtomicU64::new).collect();
        Self {
            shares,
            iterations: cells(begun),
            asked_iterations: cells(asked),
            ..Self::default()
        }
    }
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
        shared: Arc<Shared>,
        to_lead: UnboundedSender<Message>,
    ) -> Self {
        Self {
            stripe,
            recorder: RefCell::new(recorder),
            stops: scenarios.iter().map(|_| Rc::default()).collect(),
            begun: scenarios.iter().map(|_| Cell::default()).collect(),
            asked: scenarios.iter().map(|_| Cell::default()).collect(),
            #[cfg(feature = "scripts")]
            asks_http: Cell::new(false),
            from: Cell::new(0),
            scenarios,
            shared,
            start: Cell::new(now_nanos()),
            counts: Counts::default(),
            told: RefCell::default(),
            to_lead,
            aborted: RefCell::default(),
            untold: RefCell::default(),
        }
    }

    /// One that belongs to no worker, for what is run before and after the others.
    #[must_use]
    pub fn detached(
        registry: Arc<Registry>,
        scenarios: Arc<Vec<Scenario>>,
        taps: &[TapSource],
    ) -> Self {
        let (to_lead, messages) = unbounded_channel();
        let whole = Stripe { index: 0, of: 1 };
        let shared = Arc::new(Shared::new(scenarios.len(), Shares::default()));
        let recorder = Recorder::new(registry).with_taps(taps);
        let mut local = Self::new(whole, recorder, scenarios, shared, to_lead);
        local.untold = RefCell::new(Some(messages));
        local
    }

    /// What one that belongs to no worker had to tell since the last time.
    pub fn untold(&self) -> Untold {
        let mut untold = Untold::default();
        let mut messages = self.untold.borrow_mut();
        while let Some(Ok(message)) = messages.as_mut().map(UnboundedReceiver::try_recv) {
            match message {
                Message::Warning(text) | Message::Error(text) => untold.warnings.push(text),
                Message::MarkedFailed => untold.is_marked_failed = true,
                _ => {}
            }
        }
        untold
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
        self.tell_once(text, Message::Warning);
    }

    /// As above, of what went wrong in a script.
    #[cfg(feature = "scripts")]
    pub(crate) fn error(&self, text: String) {
        self.tell_once(text, Message::Error);
    }

    fn tell_once(&self, text: String, as_message: fn(String) -> Message) {
        let mut told = self.told.borrow_mut();
        if told.len() > MAX_TOLD || !told.insert(text.clone()) {
            return;
        }
        // It counts as the one beyond the limit.
        if told.len() > MAX_TOLD {
            let text = format!(
                "a worker had more than {MAX_TOLD} different things to say; it says no more"
            );
            return self.tell(Message::Warning(text));
        }
        self.tell(as_message(text));
    }

    /// Ends the run: it cannot go on.
    pub(crate) fn fail(&self, why: String) {
        self.tell(Message::Failed(why));
    }

    /// Ends the run as a script asks.
    pub fn abort(&self, why: String) {
        self.aborted.replace(Some(why.clone()));
        self.tell(Message::Aborted(why));
    }

    /// Whether a script of this thread ended the run.
    #[must_use]
    pub fn has_aborted(&self) -> bool {
        self.aborted.borrow().is_some()
    }

    /// Why a script of this thread ended the run, if one did.
    #[must_use]
    pub fn aborted(&self) -> Option<String> {
        self.aborted.borrow().clone()
    }

    /// Lets the run go on, but end as failed.
    pub fn mark_failed(&self) {
        self.tell(Message::MarkedFailed);
    }

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
const MAX_TOLD: usize = 100;
