//! What one node owes one of its peers: which slots it is to be told of, and what is under way.
//!
//! There is no log of changes. Each peer has one bit for each slot that it is to be told of; an entry
//! that changes often while the peer is slow or away is told once, as it is then, and memory does not
//! grow however long that takes. What was sent stands in a window until the peer says that it
//! arrived; what did not is marked again.
//!
//! ```text
//!         hello of a new run             all slots read          nothing marked      all arrived
//! (none) --------------------> Walking ----------------> Flushing ------------> Waiting -----> Done
//!                                                           ^   something is lost   |
//!                                                           +-----------------------+
//! ```

use super::clock::{Incarnation, NodeId};
use super::message::Heartbeat;
use super::node::Letters;
use super::tables::Source;
use crate::Timestamp;
use crate::marks::{Marks, Run};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// A peer, as this node sees it.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) name: String,
    pub(super) id: NodeId,
    /// Set while a connection stands.
    pub(super) connection: Option<Connection>,
    /// The run of the peer last met.
    pub(super) incarnation: Option<Incarnation>,
    /// Whether that run was met before.
    pub(super) is_known: bool,
    pub(super) teaching: Teaching,
    /// What the peer said last.
    pub(super) said: Option<Heartbeat>,
    /// When it last said anything.
    pub(super) heard_at: Option<Timestamp>,
    /// The version of its messages and its program, as it said when it was last met.
    pub(super) speaks: Option<(u16, String)>,
    pub(super) counters: Counters,
    /// Since when there is no connection; until others were told of what this peer said last.
    pub(super) lost_at: Option<Timestamp>,
    /// A table is new here: the peer is to tell all again.
    pub(super) wants_resync: bool,
    marks: BTreeMap<Source, Marks>,
    /// Where the search for marks goes on, so that none waits for ever behind others.
    next: (Source, u32),
    marked_at: Option<Timestamp>,
    in_flight: VecDeque<InFlight>,
    next_seq: u64,
}

/// What ends with a connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) has_said_hello: bool,
    pub(super) has_heard_hello: bool,
    pub(super) heard_at: Timestamp,
    pub(super) heartbeat_at: Timestamp,
    pub(super) acks: Vec<u64>,
    pub(super) is_ahead: bool,
    pub(super) letters: Letters,
}

/// How far the peer has been told what was known before it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Teaching {
    /// It has not been met.
    Idle,
    /// Slots from this source and slot on are still to be read.
    Walking(Option<Source>, u32),
    /// What is marked is still to be sent.
    Flushing,
    /// Batches up to this one are still to arrive.
    Waiting(u64),
    /// It has been told all.
    Done,
}

#[derive(Debug)]
struct InFlight {
    seq: u64,
    source: Source,
    runs: Vec<Run>,
    sent_at: Timestamp,
}

/// Counts of one peer since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Entries sent, told again included.
    pub sent: u64,
    /// Entries that arrived.
    pub received: u64,
    /// Entries that arrived and were newer than what was known.
    pub taken: u64,
    /// Batches that did not arrive in time, or when a connection broke, and were told again.
    pub resent: u64,
    /// Times that the peer was told all that is known, not only what it missed.
    pub taught: u64,
    /// Batches for tables that are not known here.
    pub unknown_tables: u64,
    /// Entries whose time is more than a second ahead of this node's.
    pub clock_ahead: u64,
    /// Frames of kinds that are not known here.
    pub unknown_frames: u64,
    /// Notes for which there was no room.
    pub dropped_notes: u64,
    /// Connections that ended.
    pub disconnects: u64,
}

impl Connection {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            has_said_hello: false,
            has_heard_hello: false,
            heard_at: now,
            heartbeat_at: now,
            acks: Vec::new(),
            is_ahead: false,
            letters: Letters::default(),
        }
    }
}

impl Link {
    pub(super) fn new(name: String) -> Self {
        Self {
            id: NodeId::new(&name),
            name,
            connection: None,
            incarnation: None,
            is_known: false,
            teaching: Teaching::Idle,
            said: None,
            heard_at: None,
            speaks: None,
            counters: Counters::default(),
            lost_at: None,
            wants_resync: false,
            marks: BTreeMap::new(),
            next: (Source::Notes, 0),
            marked_at: None,
            in_flight: VecDeque::new(),
            next_seq: 1,
        }
    }

    /// Whether a connection stands and the peer has said who it is.
    pub(super) fn is_met(&self) -> bool {
        self.connection
            .as_ref()
            .is_some_and(|connection| connection.has_heard_hello)
    }

    /// What the peer missed while there was no connection is to reach it before it counts as taught.
    pub(super) fn catch_up(&mut self) {
        if self.teaching == Teaching::Done && self.waiting() > 0 {
            self.teaching = Teaching::Flushing;
        }
    }

    /// Has the next heartbeat sent at once: it has news.
    pub(super) fn say_soon(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.heartbeat_at = Timestamp::ZERO;
        }
    }

    /// Whether the peer, in the same run as before, has not told all that it has seen without us.
    pub(super) fn is_behind(&self) -> bool {
        let said = self.said.as_ref();
        self.is_known && self.is_met() && said.is_some_and(|said| !said.is_taught)
    }

    /// Notes that the peer is to be told of these slots.
    pub(super) fn mark(&mut self, now: Timestamp, source: Source, run: Run) {
        // Who was never met is taught all when it comes.
        if run.bits != 0 && self.incarnation.is_some() {
            self.marks.entry(source).or_default().mark_run(run);
            self.marked_at.get_or_insert(now);
        }
    }

    pub(super) fn mark_slot(&mut self, now: Timestamp, source: Source, slot: u32) {
        let first = slot / 64 * 64;
        let bits = 1 << (slot - first);
        self.mark(now, source, Run { first, bits });
    }

    /// Takes marked slots of one source, at most `max` and 63 more. Notes come first, one at a time.
    pub(super) fn take_marked(&mut self, max: u32) -> Option<(Source, Vec<Run>)> {
        if let Some(run) = self.marks.get_mut(&Source::Notes).and_then(take_one) {
            return Some((Source::Notes, vec![run]));
        }
        let (next, from) = self.next;
        let after = self.marks.range_mut(next..);
        let found = after.into_iter().find_map(|(source, marks)| {
            let from = if *source == next { from } else { 0 };
            take_some(*source, marks, from, max)
        });
        let found = found.or_else(|| {
            let mut all = self.marks.iter_mut();
            all.find_map(|(source, marks)| take_some(*source, marks, 0, max))
        });
        match &found {
            Some((source, runs)) => {
                let last = runs.last().map_or(0, |run| run.first);
                self.next = (*source, last.saturating_add(64));
            }
            None => self.marked_at = None,
        }
        found
    }

    /// Number of the batch that is sent next.
    pub(super) const fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Notes that a batch of these slots is under way.
    pub(super) fn sent(&mut self, now: Timestamp, source: Source, runs: Vec<Run>) {
        let seq = self.next_seq;
        self.next_seq += 1;
        let slots = runs.iter().map(|run| u64::from(run.len()));
        self.counters.sent += slots.sum::<u64>();
        self.in_flight.push_back(InFlight {
            seq,
            source,
            runs,
            sent_at: now,
        });
    }

    pub(super) fn has_room(&self) -> bool {
        self.in_flight.len() < WINDOW
    }

    pub(super) fn handle_ack(&mut self, seq: u64) {
        if let Some(at) = self.in_flight.iter().position(|batch| batch.seq == seq) {
            self.in_flight.remove(at);
        }
        if let Teaching::Waiting(last) = self.teaching
            && self.in_flight.front().is_none_or(|batch| batch.seq > last)
        {
            self.teaching = Teaching::Done;
        }
    }

    /// Marks again what was sent before `before` and has not arrived.
    pub(super) fn take_back(&mut self, now: Timestamp, before: Timestamp) {
        while let Some(batch) = self.in_flight.pop_front_if(|batch| batch.sent_at <= before) {
            self.counters.resent += 1;
            for run in batch.runs {
                self.mark(now, batch.source, run);
            }
            if matches!(self.teaching, Teaching::Waiting(_)) {
                self.teaching = Teaching::Flushing;
            }
        }
    }

    /// Begins to teach the peer all. What it was to be told is part of that.
    pub(super) fn teach(&mut self) {
        self.marks.clear();
        self.marked_at = None;
        self.in_flight.clear();
        self.teaching = Teaching::Walking(None, 0);
    }

    /// Goes on with this source, or waits for what is still to be sent.
    pub(super) fn walk_on(&mut self, next: Option<Source>) {
        self.teaching = match next {
            Some(_) => Teaching::Walking(next, 0),
            None => {
                self.counters.taught += 1;
                Teaching::Flushing
            }
        };
    }

    /// Forgets what was to be told of tables that are no more.
    pub(super) fn retain(&mut self, is_there: impl Fn(&Source) -> bool) {
        self.marks.retain(|source, _| is_there(source));
        self.in_flight.retain(|batch| is_there(&batch.source));
    }

    /// Whether all that concerns this slot has arrived.
    pub(super) fn has_arrived(&self, source: Source, slot: u32) -> bool {
        let is_marked = self.marks.get(&source);
        let is_marked = is_marked.is_some_and(|marks| marks.is_marked(slot));
        let holds = |run: &Run| run.slots().any(|of| of == slot);
        let is_under_way = self
            .in_flight
            .iter()
            .any(|batch| batch.source == source && batch.runs.iter().any(holds));
        !is_marked && !is_under_way && self.teaching == Teaching::Done
    }

    /// Slots that the peer is not known to have been told of.
    pub(super) fn waiting(&self) -> usize {
        let marked = self.marks.values().map(Marks::len);
        let runs = self.in_flight.iter().flat_map(|batch| &batch.runs);
        let under_way = runs.map(|run| run.len() as usize);
        marked.chain(under_way).sum()
    }

    /// How old the oldest change is that is not known to have arrived.
    pub(super) fn lag(&self, now: Timestamp) -> Duration {
        let sent_at = self.in_flight.front().map(|batch| batch.sent_at);
        let oldest = [sent_at, self.marked_at].into_iter().flatten().min();
        oldest.map_or(Duration::ZERO, |at| now.saturating_since(at))
    }

    /// When the oldest batch under way is sent again.
    pub(super) fn resend_at(&self) -> Option<Timestamp> {
        let batch = self.in_flight.front()?;
        Some(batch.sent_at + RESEND_AFTER)
    }
}

fn take_some(source: Source, marks: &mut Marks, from: u32, max: u32) -> Option<(Source, Vec<Run>)> {
    let mut runs: Vec<Run> = Vec::new();
    let mut taken = 0;
    while taken < max {
        let from = runs.last().map_or(from, |run| run.first);
        let Some(run) = marks.take(from) else { break };
        taken += run.len();
        runs.push(run);
    }
    (!runs.is_empty()).then_some((source, runs))
}

fn take_one(marks: &mut Marks) -> Option<Run> {
    let run = marks.take(0)?;
    let first = run.bits & run.bits.wrapping_neg();
    marks.mark_run(Run {
        bits: run.bits & !first,
        ..run
    });
    Some(Run { bits: first, ..run })
}

/// Batches that may be under way: what a slow peer can make us keep.
const WINDOW: usize = 64;
/// After so long a batch counts as lost. A transport that loses nothing ends before that.
pub(super) const RESEND_AFTER: Duration = Duration::from_secs(3);
