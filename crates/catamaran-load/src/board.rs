//! What one worker has counted, and how it is gathered.
//!
//! A worker writes into a [`Board`] of its own, without a lock, and gives it away once a second; the
//! thread that leads the run merges what it gets into one board for the run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::metric::{MetricId, Registry, SinkId};
use crate::output::{Tap, TapSource};
use crate::sink::{Gauge, Sink};
use crate::tags::{TagSet, Tags, TagsId};

/// The samples of some time.
#[derive(Clone, Debug)]
pub struct Board {
    sinks: Vec<Sink>,
    /// Checks by the path of their group and their name.
    pub checks: BTreeMap<(String, String), Tally>,
    /// The paths of groups.
    pub groups: BTreeSet<String>,
    /// How requests ended, and how many of them so.
    pub answers: BTreeMap<Answered, u64>,
}

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answered {
    /// With an answer of this status.
    Status(u16),
    /// With bytes, over a protocol without a status.
    Bytes,
    /// Without a whole answer, for this reason.
    Failure(String),
}

impl Answered {
    /// Not at all, as the run was cut off before.
    #[must_use]
    pub fn cut_off() -> Self {
        Self::Failure("cut off before it was answered".to_owned())
    }
}

impl fmt::Display for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => status.fmt(f),
            Self::Bytes => f.write_str("answered"),
            Self::Failure(why) => f.write_str(why),
        }
    }
}

/// How often something held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Times it held.
    pub passes: u64,
    /// Times it did not.
    pub fails: u64,
    /// Where it was met first, so that checks keep the order of the script.
    pub order: u64,
}

impl Tally {
    fn add(&mut self, holds: bool) {
        if holds {
            self.passes += 1;
        } else {
            self.fails += 1;
        }
    }
}

/// A check, and the samples that are made of it.
#[derive(Clone, Copy, Debug)]
pub struct Check<'a> {
    /// The path of its group.
    pub group: &'a str,
    /// Its name.
    pub name: &'a str,
    /// The number of the scenario that it is made in.
    pub scenario: Option<usize>,
    /// The tags of its samples.
    pub tags: TagsId,
}

/// A check that one [`Recorder`] knows by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckId(pub usize);

/// A check with what it gave since the board was given away last.
#[derive(Debug)]
struct KnownCheck {
    key: (String, String),
    scenario: Option<usize>,
    tags: TagsId,
    tally: Tally,
}

impl KnownCheck {
    fn new(check: Check<'_>, order: u64) -> Self {
        Self {
            key: (check.group.to_owned(), check.name.to_owned()),
            scenario: check.scenario,
            tags: check.tags,
            tally: Tally {
                order,
                ..Tally::default()
            },
        }
    }

    fn is(&self, check: Check<'_>) -> bool {
        let is_tagged_so = self.tags == check.tags && self.scenario == check.scenario;
        is_tagged_so && self.key.1 == check.name && self.key.0 == check.group
    }
}

impl Board {
    /// Returns one without samples.
    #[must_use]
    pub fn new(registry: &Registry) -> Self {
        Self {
            sinks: registry
                .sinks()
                .iter()
                .map(|&kind| Sink::new(kind))
                .collect(),
            checks: BTreeMap::new(),
            groups: BTreeSet::new(),
            answers: BTreeMap::new(),
        }
    }

    /// Counts how requests ended.
    pub fn answered(&mut self, how: Answered, times: u64) {
        if let Some(count) = self.answers.get_mut(&how) {
            *count += times;
        } else if self.answers.len() < MAX_ANSWERS {
            self.answers.insert(how, times);
        } else {
            let other = Answered::Failure("other".to_owned());
            *self.answers.entry(other).or_default() += times;
        }
    }

    /// Adds what `other` has, a board of the same registry.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.sinks.iter_mut().zip(&other.sinks) {
            mine.merge(theirs);
        }
        other.groups.iter().for_each(|path| self.add_group(path));
        for (how, &times) in &other.answers {
            self.answered(how.clone(), times);
        }
        for (key, &theirs) in &other.checks {
            self.add_checks(key.clone(), theirs);
        }
    }

    fn add_group(&mut self, path: &str) {
        let has_room = self.groups.len() < MAX_NAMES;
        let path = if has_room { path } else { MORE_GROUPS };
        if !self.groups.contains(path) {
            self.groups.insert(path.to_owned());
        }
    }

    fn add_checks(&mut self, key: (String, String), theirs: Tally) {
        let has_room = self.checks.len() < MAX_NAMES || self.checks.contains_key(&key);
        let key = if has_room {
            key
        } else {
            (String::new(), MORE_CHECKS.to_owned())
        };
        let mine = self.checks.entry(key).or_insert_with(|| Tally {
            order: theirs.order,
            ..Tally::default()
        });
        mine.passes += theirs.passes;
        mine.fails += theirs.fails;
        mine.order = mine.order.min(theirs.order);
    }

    /// Takes its times from one clock to another: what was `from` there is `to` here.
    pub(crate) fn move_clock(&mut self, from: u64, to: u64) {
        for sink in &mut self.sinks {
            if let Sink::Gauge(Gauge { at: Some(at), .. }) = sink {
                *at = at.saturating_sub(from).saturating_add(to);
            }
        }
    }

    /// All sinks, in the order of the registry.
    pub(crate) fn sinks(&self) -> &[Sink] {
        &self.sinks
    }

    /// Puts one together of sinks in the order of the registry.
    pub(crate) const fn of(sinks: Vec<Sink>) -> Self {
        Self {
            sinks,
            checks: BTreeMap::new(),
            groups: BTreeSet::new(),
            answers: BTreeMap::new(),
        }
    }

    /// One sink.
    #[must_use]
    pub fn sink(&self, id: SinkId) -> &Sink {
        &self.sinks[id.index()]
    }

    /// The sink of all samples of a metric.
    #[must_use]
    pub fn metric<'a>(&'a self, registry: &Registry, id: MetricId) -> &'a Sink {
        self.sink(registry.metric(id).sink)
    }

    /// Adds a sample to one sink.
    pub fn record(&mut self, sink: SinkId, value: f64, now_nanos: u64) {
        self.record_times(sink, value, 1, now_nanos);
    }

    fn record_times(&mut self, sink: SinkId, value: f64, times: u64, now_nanos: u64) {
        self.sinks[sink.index()].record_times(value, times, now_nanos);
    }
}

/// A worker's board with the tags that its samples bear.
#[derive(Debug)]
pub struct Recorder {
    registry: Arc<Registry>,
    tags: Tags,
    /// By number of a set of tags: sinks of sub-metrics that take its samples.
    parts: Vec<Box<[(MetricId, SinkId)]>>,
    board: Board,
    /// The checks that were met first.
    known: Vec<KnownCheck>,
    checks_met: u64,
    /// Those that are found without their tags.
    usual: Vec<CheckId>,
    /// Which of them is looked at next.
    next: usize,
    /// Where every sample is written, too.
    taps: Vec<Tap>,
}

impl Recorder {
    /// Returns one for the metrics of `registry`.
    #[must_use]
    pub fn new(registry: Arc<Registry>) -> Self {
        Self {
            board: Board::new(&registry),
            parts: vec![registry.parts_for(&TagSet::new()).into()],
            registry,
            tags: Tags::default(),
            known: Vec::new(),
            checks_met: 0,
            usual: Vec::new(),
            next: 0,
            taps: Vec::new(),
        }
    }

    /// Writes every sample to these from now on.
    #[must_use]
    pub fn with_taps(mut self, sources: &[TapSource]) -> Self {
        self.taps = sources.iter().map(TapSource::tap).collect();
        self
    }

    /// Names a set of tags.
    pub fn intern(&mut self, pairs: &[(&str, &str)]) -> TagsId {
        let id = self.tags.intern(pairs);
        if id.index() == self.parts.len() {
            self.parts
                .push(self.registry.parts_for(self.tags.set(id)).into());
        }
        id
    }

    /// The metrics.
    #[must_use]
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// The tags of a set.
    #[must_use]
    pub fn tags(&self, id: TagsId) -> &[(String, String)] {
        self.tags.set(id)
    }

    /// Whether there were too many sets of tags to tell them apart.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.tags.is_full()
    }

    /// Adds a sample to its metric and to the sub-metrics that take it.
    pub fn record(&mut self, metric: MetricId, tags: TagsId, value: f64, now_nanos: u64) {
        self.record_times(metric, tags, value, 1, now_nanos);
    }

    /// Adds `times` equal samples.
    pub fn record_times(
        &mut self,
        metric: MetricId,
        tags: TagsId,
        value: f64,
        times: u64,
        now_nanos: u64,
    ) {
        let whole = self.registry.metric(metric).sink;
        self.board.record_times(whole, value, times, now_nanos);
        for &(of, sink) in &*self.parts[tags.index()] {
            if of == metric {
                self.board.record_times(sink, value, times, now_nanos);
            }
        }
        for tap in &mut self.taps {
            let set = &self.tags;
            tap.sample(metric, tags, || set.set(tags), value, times, now_nanos);
        }
    }

    /// Counts a check. Returns its number, for [`Self::remember`], if it has one.
    pub fn check(&mut self, check: Check<'_>, holds: bool) -> Option<CheckId> {
        let id = self.known.iter().position(|known| known.is(check));
        let id = CheckId(id.unwrap_or(self.known.len()));
        if id.0 == self.known.len() {
            let mut known = KnownCheck::new(check, self.checks_met);
            self.checks_met += 1;
            if id.0 >= MAX_KNOWN {
                known.tally.add(holds);
                self.board.add_checks(known.key, known.tally);
                return None;
            }
            self.known.push(known);
        }
        self.known[id.0].tally.add(holds);
        Some(id)
    }

    /// Lets [`Self::check_again`] find a check: its tags follow from its name, group and scenario.
    pub fn remember(&mut self, check: CheckId) {
        if !self.usual.contains(&check) {
            self.usual.push(check);
        }
    }

    /// Counts a check that is remembered and gives the tags of its samples; `None` of others.
    pub fn check_again(
        &mut self,
        name: &str,
        group: &str,
        scenario: Option<usize>,
        holds: bool,
    ) -> Option<TagsId> {
        // They come in the order of the script again and again.
        let (before, from) = self.usual.split_at(self.next.min(self.usual.len()));
        let mut found = from.iter().chain(before).zip(self.next..);
        let (id, at) = found.find(|(id, _)| {
            let known = &self.known[id.0];
            known.key.1 == name && known.key.0 == group && known.scenario == scenario
        })?;
        self.next = (at + 1) % self.usual.len();
        let known = &mut self.known[id.0];
        known.tally.add(holds);
        Some(known.tags)
    }

    /// Puts the checks that were met onto the board.
    fn settle_checks(&mut self) {
        for known in &mut self.known {
            let tally = &mut known.tally;
            if tally.passes + tally.fails > 0 {
                self.board.add_checks(known.key.clone(), *tally);
                (tally.passes, tally.fails) = (0, 0);
            }
        }
    }

    /// Whether each sample is written somewhere, with its time.
    #[must_use]
    pub fn is_tapped(&self) -> bool {
        !self.taps.is_empty()
    }

    /// Notes that there is a group with this path.
    pub fn group(&mut self, path: &str) {
        self.board.add_group(path);
    }

    /// Counts how a request ended.
    pub fn answered(&mut self, how: Answered) {
        self.board.answered(how, 1);
    }

    /// Gives on what the taps have gathered.
    pub fn flush_taps(&mut self) {
        self.taps.iter_mut().for_each(Tap::flush);
    }

    /// Gives away what was counted since the last time.
    pub fn take(&mut self) -> Board {
        self.flush_taps();
        self.settle_checks();
        std::mem::replace(&mut self.board, Board::new(&self.registry))
    }
}

/// Checks that have a number; others are compared with each of them.
const MAX_KNOWN: usize = 64;

/// Checks, and groups, that are told apart: names that scripts make anew each time are no use to anybody.
const MAX_NAMES: usize = 10_000;
/// What the others are counted as.
const MORE_CHECKS: &str = "(checks beyond 10000)";
const MORE_GROUPS: &str = "::(groups beyond 10000)";
/// Different endings that are told apart: all statuses that servers use, and some failures.
const MAX_ANSWERS: usize = 100;

#[cfg(test)]
mod tests {
    use crate::metric::builtin;

    use super::*;

    #[test]
    fn a_sample_reaches_its_metric_and_fitting_sub_metrics() {
        let mut registry = Registry::new();
        let part = registry.select("http_req_duration{status:200}").unwrap();
        let registry = Arc::new(registry);
        let mut recorder = Recorder::new(registry.clone());
        let ok = recorder.intern(&[("status", "200")]);
        let bad = recorder.intern(&[("status", "500")]);
        recorder.record(builtin::HTTP_REQ_DURATION, ok, 1.0, 0);
        recorder.record(builtin::HTTP_REQ_DURATION, bad, 3.0, 0);
        recorder.record(builtin::HTTP_REQ_WAITING, ok, 9.0, 0);
        let board = recorder.take();
        let count = |sink: &Sink| sink.distribution().unwrap().count();
        assert_eq!(
            count(board.metric(&registry, builtin::HTTP_REQ_DURATION)),
            2
        );
        assert_eq!(count(board.sink(part)), 1);
        let empty = recorder.take();
        assert!(
            empty
                .metric(&registry, builtin::HTTP_REQ_DURATION)
                .is_empty()
        );
    }

    #[test]
    fn checks_that_are_remembered_are_found_in_any_order() {
        let mut recorder = Recorder::new(Arc::new(Registry::new()));
        let names = ["a", "b", "c"];
        for name in names {
            let check = Check {
                group: "",
                name,
                scenario: None,
                tags: TagsId::default(),
            };
            let id = recorder.check(check, true).unwrap();
            recorder.remember(id);
        }
        for name in ["b", "c", "a", "c", "c", "b"] {
            assert!(recorder.check_again(name, "", None, true).is_some());
        }
        let board = recorder.take();
        let passes = names.map(|name| board.checks[&(String::new(), name.to_owned())].passes);
        assert_eq!(passes, [2, 3, 4]);
    }

    #[test]
    fn names_without_end_are_counted_as_one() {
        let mut recorder = Recorder::new(Arc::new(Registry::new()));
        for number in 0..MAX_NAMES + 5 {
            let name = format!("check {number}");
            let check = Check {
                group: "",
                name: &name,
                scenario: None,
                tags: TagsId::default(),
            };
            recorder.check(check, true);
            recorder.group(&format!("::{name}"));
        }
        let mut total = Board::new(recorder.registry());
        total.merge(&recorder.take());
        assert_eq!(total.checks.len(), MAX_NAMES);
        let rest = total.checks[&(String::new(), MORE_CHECKS.to_owned())];
        assert!(rest.passes >= 5, "{rest:?}");
        let passes: u64 = total.checks.values().map(|tally| tally.passes).sum();
        assert_eq!(passes, MAX_NAMES as u64 + 5);
        assert_eq!(total.groups.len(), MAX_NAMES);
    }

    #[test]
    fn checks_are_added_up_and_keep_their_order() {
        let mut recorder = Recorder::new(Arc::new(Registry::new()));
        let of = |name: &'static str| Check {
            group: "",
            name,
            scenario: None,
            tags: TagsId::default(),
        };
        let first = recorder.check(of("z first"), true).unwrap();
        recorder.check(of("a second"), false);
        let mut total = recorder.take();
        assert!(recorder.check_again("z first", "", None, false).is_none());
        recorder.remember(first);
        assert!(
            recorder
                .check_again("z first", "::g", None, false)
                .is_none()
        );
        assert!(
            recorder
                .check_again("z first", "", Some(0), false)
                .is_none()
        );
        assert!(recorder.check_again("a second", "", None, false).is_none());
        assert!(recorder.check_again("z first", "", None, false).is_some());
        total.merge(&recorder.take());
        let tally = |name: &str| total.checks[&(String::new(), name.to_owned())];
        assert_eq!((tally("z first").passes, tally("z first").fails), (1, 1));
        assert!(tally("z first").order < tally("a second").order);
    }
}
