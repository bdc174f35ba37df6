//! The thread that leads a run: starts workers, gathers what they counted, ends the run early.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use catamaran_sys::clock::now_nanos;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::drive::sleep_until;
use super::hands::{Begun, Hands, Lost, Resumed};
use super::local::Shared;
use super::quiet::Quiet;
use super::{Crew, Missing};
use crate::agents::OnLoss;
use crate::board::Board;
use crate::metric::{Registry, builtin};
use crate::output::{Tap, TapSource};
use crate::scenario::Scenario;
use crate::schedule::Shares;
use crate::sink;
use crate::tags::TagsId;
use crate::threshold::Guarded;

/// What a run is.
#[derive(Clone, Debug)]
pub struct Course {
    /// Its metrics.
    pub registry: Arc<Registry>,
    /// Its scenarios.
    pub scenarios: Arc<Vec<Scenario>>,
    /// What must hold.
    pub thresholds: Vec<Guarded>,
    /// Worker threads, 1 at least.
    pub workers: u64,
    /// Where every sample is written, too.
    pub taps: Vec<TapSource>,
}

/// What the lead tells all workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Wait,
    /// Begin at this time of the monotonic clock.
    Start(u64),
    Drain,
    Cut,
}

/// What workers tell the lead.
#[derive(Debug)]
pub(crate) enum Message {
    /// The virtual users are made.
    Ready,
    /// The run cannot go on.
    Failed(String),
    /// The operator should know.
    Warning(String),
    /// Something in a script went wrong.
    Error(String),
    /// A script ends the run.
    Aborted(String),
    /// A script lets the run end as failed.
    MarkedFailed,
    /// A full second has passed.
    Interval(Report),
    /// The worker is done.
    Done(Report),
    /// Workers on another machine are out of reach.
    Lost(Lost),
}

/// What a worker did since its last report.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) worker: u64,
    /// Which second of the run.
    pub(crate) second: u64,
    pub(crate) at: u64,
    pub(crate) has_lost_tags: bool,
    pub(crate) board: Board,
    pub(crate) active: u64,
    pub(crate) made: u64,
    pub(crate) whole: u64,
    pub(crate) cut: u64,
    /// By scenario: iterations begun, of those whose number is fixed.
    pub(crate) begun: Vec<u64>,
    /// By scenario: iterations that asked for their number.
    pub(crate) asked: Vec<u64>,
    /// Processor time of the whole run, in the last report.
    pub(crate) busy: Duration,
}

impl Report {
    /// Takes its times from one clock to another: what was `from` there is `to` here.
    pub(crate) fn move_clock(&mut self, from: u64, to: u64) {
        self.at = self.at.saturating_sub(from).saturating_add(to);
        self.board.move_clock(from, to);
    }
}

/// Is told how the run goes.
pub trait Observer {
    /// Called about once a second.
    fn progress(&mut self, progress: &Progress<'_>);
    /// Called for each thing that the operator should know.
    fn warn(&mut self, text: &str);
    /// Called for what went wrong in a script.
    fn error(&mut self, text: &str);
}

/// How far the run is.
#[derive(Debug)]
pub struct Progress<'a> {
    /// Since its start.
    pub elapsed: Duration,
    /// Virtual users at an iteration.
    pub active: u64,
    /// Virtual users made.
    pub made: u64,
    /// Iterations that ended by themselves.
    pub whole: u64,
    /// Iterations cut off.
    pub cut: u64,
    /// By scenario: iterations begun, of those that its virtual users share.
    pub begun: &'a [u64],
    /// The second that was gathered last, if any.
    pub second: Option<&'a Second>,
}

/// What happened in one second.
#[derive(Clone, Debug)]
pub struct Second {
    /// Which second of the run, from 0.
    pub second: u64,
    /// The samples of that second.
    pub board: Board,
    /// Virtual users at an iteration, at its end.
    pub active: u64,
}

/// What became of a run.
#[derive(Debug)]
pub struct Outcome {
    /// All samples.
    pub board: Board,
    /// How long it took.
    pub run_time: Duration,
    /// How it ended.
    pub ending: Ending,
    /// Iterations that ended by themselves.
    pub whole: u64,
    /// Iterations cut off.
    pub cut: u64,
    /// The greatest share of its time that a worker was busy, 0 to 1.
    pub busiest: f64,
    /// The agent that this worker was on, if it was not on this machine.
    pub busiest_agent: Option<String>,
    /// What the figures lack, because agents were lost.
    pub missing: Vec<Missing>,
    /// Whether a script called it failed.
    pub is_marked_failed: bool,
}

impl Outcome {
    /// Whether a part of the load is missing, because agents were lost.
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        self.missing.iter().any(Missing::is_grave)
    }

    /// Of a run that ended before it began, with the samples until then.
    #[must_use]
    pub const fn before_the_run(board: Board) -> Self {
        Self {
            board,
            run_time: Duration::ZERO,
            ending: Ending::Finished,
            whole: 0,
            cut: 0,
            busiest: 0.0,
            busiest_agent: None,
            missing: Vec::new(),
            is_marked_failed: false,
        }
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As planned.
    Finished,
    /// Somebody sent SIGINT or SIGTERM.
    Signal,
    /// A threshold said so.
    Threshold,
    /// A script said so, and why.
    Aborted(String),
    /// An agent was lost, and the run should not go on without it.
    Incomplete,
    /// Something made it impossible.
    Failed(String),
}

/// Runs a course to its end. `keep` takes each second once it is whole.
///
/// # Errors
/// When no thread or signal handler can be had.
pub async fn lead<C: Crew>(
    course: &Course,
    hands: Hands<C>,
    observer: &mut dyn Observer,
    keep: &mut dyn FnMut(Second),
) -> io::Result<Outcome> {
    let (commands, _) = watch::channel(Command::Wait);
    let (to_lead, messages) = unbounded_channel();
    let shares = Shares::all(course.workers);
    let shared = Arc::new(Shared::new(course.scenarios.len(), shares));
    let hands = hands.begin(course, &shared, &commands, &to_lead)?;
    drop(to_lead);
    let mut run = Run::new(course, commands, observer, keep);
    run.shared = shared;
    run.hands = Some(&hands);
    run.follow(messages).await?;
    let is_stuck = run.stuck.is_some();
    let outcome = run.outcome();
    if !is_stuck {
        hands.end();
    }
    Ok(outcome)
}

/// A run as the lead sees it.
struct Run<'a> {
    course: &'a Course,
    commands: watch::Sender<Command>,
    observer: &'a mut dyn Observer,
    keep: &'a mut dyn FnMut(Second),
    total: Board,
    /// Seconds that not all workers have reported, with the number of those that have.
    pending: BTreeMap<u64, (Board, u64)>,
    /// By worker: what it said last.
    latest: Vec<Latest>,
    ready: u64,
    done: u64,
    start: u64,
    end: u64,
    busiest: Duration,
    busiest_worker: u64,
    ending: Ending,
    missing: Vec<Missing>,
    has_lost_tags: bool,
    is_marked_failed: bool,
    shared: Arc<Shared>,
    hands: Option<&'a Begun>,
    taps: Vec<Tap>,
    quiet: Quiet,
    /// A worker whose thread nobody gets back.
    stuck: Option<u64>,
}

#[derive(Clone, Default)]
struct Latest {
    active: u64,
    made: u64,
    whole: u64,
    cut: u64,
    begun: Vec<u64>,
    asked: Vec<u64>,
    /// When.
    at: u64,
    is_done: bool,
    /// What was told by those whose place this worker took.
    before: Before,
}

#[derive(Clone, Default)]
struct Before {
    whole: u64,
    cut: u64,
    resumed: Resumed,
}

impl Latest {
    /// Of a worker that there is none of: nothing is expected of it.
    const NONE: Self = Self {
        active: 0,
        made: 0,
        whole: 0,
        cut: 0,
        begun: Vec::new(),
        asked: Vec::new(),
        at: 0,
        is_done: true,
        before: Before {
            whole: 0,
            cut: 0,
            resumed: Resumed {
                begun: Vec::new(),
                asked: Vec::new(),
            },
        },
    };

    fn whole(&self) -> u64 {
        self.before.whole + self.whole
    }

    fn cut(&self) -> u64 {
        self.before.cut + self.cut
    }

    /// Iterations of a scenario that have begun.
    fn begun(&self, scenario: usize) -> u64 {
        at(&self.before.resumed.begun, scenario) + at(&self.begun, scenario)
    }

    /// Those that asked for their number.
    fn asked(&self, scenario: usize) -> u64 {
        at(&self.before.resumed.asked, scenario) + at(&self.asked, scenario)
    }
}

fn at(counts: &[u64], scenario: usize) -> u64 {
    counts.get(scenario).copied().unwrap_or(0)
}

impl<'a> Run<'a> {
    fn new(
        course: &'a Course,
        commands: watch::Sender<Command>,
        observer: &'a mut dyn Observer,
        keep: &'a mut dyn FnMut(Second),
    ) -> Self {
        let workers = usize::try_from(course.workers).unwrap_or(1);
        Self {
            total: Board::new(&course.registry),
            latest: vec![Latest::default(); workers],
            pending: BTreeMap::new(),
            course,
            commands,
            observer,
            keep,
            ready: 0,
            done: 0,
            start: 0,
            end: 0,
            busiest: Duration::ZERO,
            busiest_worker: 0,
            ending: Ending::Finished,
            missing: Vec::new(),
            has_lost_tags: false,
            is_marked_failed: false,
            shared: Arc::default(),
            hands: None,
            taps: course.taps.iter().map(TapSource::tap).collect(),
            quiet: Quiet::new(workers),
            stuck: None,
        }
    }

    /// Follows the workers until all of them are done.
    async fn follow(&mut self, mut messages: UnboundedReceiver<Message>) -> io::Result<()> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut cut_at = u64::MAX / 2;
        let mut look_at = u64::MAX / 2;
        let mut seconds = interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while self.stuck.is_none() {
            tokio::select! {
                message = messages.recv() => match message {
                    Some(message) => self.handle(message),
                    None => break,
                },
                () = either(&mut interrupt, &mut terminate) => {
                    if self.ending == Ending::Signal || self.start == 0 {
                        cut_at = 0;
                    }
                    self.finish(Ending::Signal, Command::Drain);
                    cut_at = cut_at.min(now_nanos() + SIGNAL_GRACE_NANOS);
                }
                () = sleep_until(cut_at) => {
                    self.command(Command::Cut);
                    cut_at = u64::MAX / 2;
                }
                () = sleep_until(look_at) => {
                    self.look_at_thresholds();
                    look_at += LOOK_NANOS;
                }
                _ = seconds.tick() => self.look_for_stuck(),
            }
            if self.start != 0 && look_at == u64::MAX / 2 {
                look_at = self.start + LOOK_NANOS;
            }
        }
        if self.stuck.is_none()
            && self.done < self.course.workers
            && self.ending == Ending::Finished
        {
            self.ending =
                Ending::Failed("a worker ended without a report; this is a bug".to_owned());
        }
        self.keep_seconds(u64::MAX);
        Ok(())
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Ready => {
                self.ready += 1;
                // Those that take over later are ready as well.
                if self.ready == self.course.workers
                    && self.start == 0
                    && self.ending == Ending::Finished
                {
                    let delay = self.hands.map_or(0, Begun::start_delay);
                    self.start = now_nanos() + START_DELAY_NANOS + delay;
                    self.commands.send_replace(Command::Start(self.start));
                }
            }
            Message::Failed(why) => self.finish(Ending::Failed(why), Command::Cut),
            Message::Warning(text) => self.observer.warn(&text),
            Message::Error(text) => self.observer.error(&text),
            Message::Aborted(why) => self.finish(Ending::Aborted(why), Command::Cut),
            Message::MarkedFailed => self.is_marked_failed = true,
            Message::Interval(report) => {
                let second = report.second;
                self.note(&report);
                self.keep_seconds(second);
            }
            Message::Done(report) => {
                self.done += 1;
                if report.busy > self.busiest {
                    (self.busiest, self.busiest_worker) = (report.busy, report.worker);
                }
                self.end = self.end.max(report.at);
                self.note(&report);
                if let Some(latest) = self.latest_of(report.worker) {
                    latest.is_done = true;
                }
            }
            Message::Lost(lost) => self.lose(&lost),
        }
    }

    /// Gives up a worker that says nothing any more, and the run with it.
    fn look_for_stuck(&mut self) {
        let is_cut = *self.commands.borrow() == Command::Cut;
        if self.start == 0 && !is_cut {
            return;
        }
        let latest = &self.latest;
        let is_done = |worker: u64| {
            let worker = usize::try_from(worker).ok();
            worker.is_none_or(|worker| latest[worker].is_done)
        };
        self.stuck = self.quiet.look(is_cut, is_done);
        let Some(worker) = self.stuck else { return };
        let agent = self.hands.and_then(|hands| hands.agent_of(worker));
        let of = agent.map_or(String::new(), |agent| format!(" of agent {agent}"));
        let text = format!(
            "worker {worker}{of} says nothing any more: a script keeps it in one call that cannot be \
             interrupted"
        );
        self.observer.warn(&text);
        self.finish(Ending::Failed(text), Command::Cut);
    }

    /// Ends the run early, the first reason counts. A run that has not begun ends at once.
    fn finish(&mut self, ending: Ending, command: Command) {
        if self.ending == Ending::Finished {
            self.ending = ending;
        }
        self.command(command);
    }

    /// Goes on without an agent, has others take its place, or ends the run, as the operator chose.
    fn lose(&mut self, lost: &Lost) {
        let now = now_nanos();
        let left = |worker: &&u64| !self.latest(**worker).is_done;
        let groups = lost.groups.iter();
        let groups: Vec<Vec<u64>> = groups
            .map(|group| group.iter().filter(left).copied().collect())
            .collect();
        let workers: Vec<u64> = groups.iter().flatten().copied().collect();
        if workers.is_empty() {
            return;
        }
        let (agent, why) = (&lost.agent, &lost.why);
        if self.start == 0 {
            self.leave_out(&workers);
            let text = format!("agent {agent} was lost before the run began: {why}");
            return self.finish(Ending::Failed(text), Command::Cut);
        }
        self.end = self.end.max(now);
        let told = workers.iter().map(|&worker| self.latest(worker).at);
        let since = told.min().unwrap_or(now).max(self.start);
        let mut gone = workers.clone();
        if lost.on_loss == OnLoss::TakeOver && self.ending == Ending::Finished {
            for group in groups.iter().filter(|group| !group.is_empty()) {
                let taken = self.hand_over(group);
                gone.retain(|worker| !taken.contains(worker));
            }
        }
        self.leave_out(&gone);
        let missing = Missing {
            agent: agent.clone(),
            why: why.clone(),
            at: Duration::from_nanos(now.saturating_sub(self.start)),
            unmerged: Duration::from_nanos(now.saturating_sub(since)),
            share: sink::as_f64(workers.len() as u64) / sink::as_f64(self.course.workers),
            is_taken_over: gone.is_empty(),
        };
        self.observer.warn(&missing.to_string());
        self.missing.push(missing);
        if lost.on_loss == OnLoss::Abort || self.done == self.course.workers {
            self.finish(Ending::Incomplete, Command::Cut);
        }
    }

    /// Goes on without these.
    fn leave_out(&mut self, workers: &[u64]) {
        for &worker in workers {
            if let Some(latest) = self.latest_of(worker) {
                (latest.active, latest.made, latest.is_done) = (0, 0, true);
                self.done += 1;
            }
        }
    }

    /// Has others take the places of workers that count together. Returns those whose
    /// places are taken.
    fn hand_over(&mut self, group: &[u64]) -> Vec<u64> {
        let scenarios = 0..self.course.scenarios.len();
        let all = group.iter().map(|&worker| self.latest(worker));
        let all: Vec<Latest> = all.cloned().collect();
        let sum = |of: fn(&Latest, usize) -> u64| -> Vec<u64> {
            let sum = |scenario| all.iter().map(|latest| of(latest, scenario)).sum();
            scenarios.clone().map(sum).collect()
        };
        let resumed = Resumed {
            begun: sum(Latest::begun),
            asked: sum(Latest::asked),
        };
        let taken = self
            .hands
            .map_or_else(Vec::new, |hands| hands.take_over(group, &resumed));
        for (own, resumed) in &taken {
            let mut resumed = Some(resumed.clone());
            for &worker in own {
                self.quiet.heard(worker);
                if let Some(latest) = self.latest_of(worker) {
                    *latest = Latest {
                        at: latest.at,
                        before: Before {
                            whole: latest.whole(),
                            cut: latest.cut(),
                            // What they count together stands with one of them.
                            resumed: resumed.take().unwrap_or_default(),
                        },
                        ..Latest::default()
                    };
                }
            }
        }
        taken.into_iter().flat_map(|(own, _)| own).collect()
    }

    fn latest(&self, worker: u64) -> &Latest {
        static NONE: Latest = Latest::NONE;
        let worker = usize::try_from(worker).ok();
        worker
            .and_then(|worker| self.latest.get(worker))
            .unwrap_or(&NONE)
    }

    fn latest_of(&mut self, worker: u64) -> Option<&mut Latest> {
        let worker = usize::try_from(worker).ok()?;
        self.latest.get_mut(worker)
    }

    fn command(&self, command: Command) {
        self.commands.send_replace(command);
    }

    fn note(&mut self, report: &Report) {
        self.quiet.heard(report.worker);
        self.total.merge(&report.board);
        if let Some(latest) = self.latest_of(report.worker) {
            *latest = Latest {
                active: report.active,
                made: report.made,
                whole: report.whole,
                cut: report.cut,
                begun: report.begun.clone(),
                asked: report.asked.clone(),
                at: report.at,
                is_done: false,
                before: std::mem::take(&mut latest.before),
            };
        }
        let told = [
            (&self.shared.active, self.sum(|latest| latest.active)),
            (&self.shared.made, self.sum(|latest| latest.made)),
            (&self.shared.whole, self.sum(Latest::whole)),
            (&self.shared.cut, self.sum(Latest::cut)),
        ];
        for (cell, sum) in told {
            cell.store(sum, Ordering::Relaxed);
        }
        if report.has_lost_tags && !self.has_lost_tags {
            self.has_lost_tags = true;
            self.observer.warn(
                "more than 100,000 sets of tags; further ones are counted without tags. \
                 Give requests to URLs that differ a `name` tag",
            );
        }
        let pending = self.pending.entry(report.second);
        let (board, reports) = pending.or_insert_with(|| (Board::new(&self.course.registry), 0));
        board.merge(&report.board);
        *reports += 1;
    }

    /// Gives on the seconds that all have reported, and those that lie back three.
    fn keep_seconds(&mut self, current: u64) {
        while let Some(entry) = self.pending.first_entry() {
            let second = *entry.key();
            let is_whole =
                entry.get().1 >= self.course.workers - self.done.min(self.course.workers);
            if current != u64::MAX && !is_whole && second + 3 > current {
                break;
            }
            let (board, _) = entry.remove();
            let second = Second {
                second,
                board,
                active: self.sum(|latest| latest.active),
            };
            if current != u64::MAX {
                self.sample_users();
            }
            let begun = |scenario| self.sum(|latest| latest.begun(scenario));
            let begun: Vec<u64> = (0..self.course.scenarios.len()).map(begun).collect();
            self.observer.progress(&Progress {
                elapsed: Duration::from_nanos(now_nanos().saturating_sub(self.start)),
                active: second.active,
                made: self.sum(|latest| latest.made),
                whole: self.sum(Latest::whole),
                cut: self.sum(Latest::cut),
                begun: &begun,
                second: Some(&second),
            });
            (self.keep)(second);
        }
    }

    /// Samples the gauges of virtual users, as they are once a second.
    fn sample_users(&mut self) {
        let now = now_nanos();
        let values = [
            (builtin::VUS, self.sum(|latest| latest.active)),
            (builtin::VUS_MAX, self.sum(|latest| latest.made)),
        ];
        for (metric, value) in values {
            let sink = self.course.registry.metric(metric).sink;
            let value = sink::as_f64(value);
            self.total.record(sink, value, now);
            for tap in &mut self.taps {
                tap.sample(metric, TagsId::default(), || &[], value, 1, now);
                tap.flush();
            }
        }
    }

    fn sum(&self, field: impl Fn(&Latest) -> u64) -> u64 {
        self.latest.iter().map(field).sum()
    }

    /// Ends the run if a threshold says so.
    fn look_at_thresholds(&mut self) {
        let elapsed = Duration::from_nanos(now_nanos().saturating_sub(self.start));
        let fails = self.course.thresholds.iter().any(|guarded| {
            let sink = self.total.sink(guarded.sink);
            guarded.thresholds.iter().any(|threshold| {
                threshold.abort_on_fail
                    && elapsed >= threshold.delay_abort
                    && threshold
                        .evaluate(sink, elapsed)
                        .is_some_and(|verdict| !verdict.holds)
            })
        });
        if fails {
            self.finish(Ending::Threshold, Command::Cut);
        }
    }

    fn outcome(self) -> Outcome {
        let run_time = Duration::from_nanos(self.end.saturating_sub(self.start));
        let run_time = if self.start == 0 {
            Duration::ZERO
        } else {
            run_time
        };
        let busiest = if run_time.is_zero() {
            0.0
        } else {
            self.busiest.as_secs_f64() / run_time.as_secs_f64()
        };
        Outcome {
            whole: self.sum(Latest::whole),
            cut: self.sum(Latest::cut),
            board: self.total,
            run_time,
            ending: self.ending,
            is_marked_failed: self.is_marked_failed,
            busiest,
            busiest_agent: self
                .hands
                .and_then(|hands| hands.agent_of(self.busiest_worker)),
            missing: self.missing,
        }
    }
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

/// Between the last worker's readiness and the start: time for all of them to wake.
const START_DELAY_NANOS: u64 = 20_000_000;

/// Between two looks at the thresholds, as k6 has it.
const LOOK_NANOS: u64 = 2_000_000_000;

/// What iterations get to end after the first signal.
const SIGNAL_GRACE_NANOS: u64 = 5_000_000_000;
