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

use super::Crew;
use super::drive::sleep_until;
use super::local::Shared;
use super::worker::{Job, spawn};
use crate::board::Board;
use crate::metric::{Registry, builtin};
use crate::output::{Tap, TapSource};
use crate::scenario::Scenario;
use crate::schedule::Stripe;
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
pub(super) enum Command {
    Wait,
    /// Begin at this time of the monotonic clock.
    Start(u64),
    Drain,
    Cut,
}

/// What workers tell the lead.
#[derive(Debug)]
pub(super) enum Message {
    /// The virtual users are made.
    Ready,
    /// The run cannot go on.
    Failed(String),
    /// The operator should know.
    Warning(String),
    /// A script ends the run.
    Aborted(String),
    /// A script lets the run end as failed.
    MarkedFailed,
    /// A full second has passed.
    Interval(Report),
    /// The worker is done.
    Done(Report),
}

/// What a worker did since its last report.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) worker: u64,
    /// Which second of the run.
    pub(super) second: u64,
    pub(super) at: u64,
    pub(super) has_lost_tags: bool,
    pub(super) board: Board,
    pub(super) active: u64,
    pub(super) made: u64,
    pub(super) whole: u64,
    pub(super) cut: u64,
    /// Processor time of the whole run, in the last report.
    pub(super) busy: Duration,
}

/// Is told how the run goes.
pub trait Observer {
    /// Called about once a second.
    fn progress(&mut self, progress: &Progress<'_>);
    /// Called for each thing that the operator should know.
    fn warn(&mut self, text: &str);
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
    /// Whether a script called it failed.
    pub is_marked_failed: bool,
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
    /// Something made it impossible.
    Failed(String),
}

/// Runs a course to its end. `keep` takes each second once it is whole.
///
/// # Errors
/// When no thread or signal handler can be had.
pub async fn lead<C: Crew>(
    course: &Course,
    crew: Arc<C>,
    observer: &mut dyn Observer,
    keep: &mut dyn FnMut(Second),
) -> io::Result<Outcome> {
    let (commands, _) = watch::channel(Command::Wait);
    let (to_lead, messages) = unbounded_channel();
    let shared = Arc::new(Shared::new(course.scenarios.len()));
    let mut threads = Vec::new();
    for index in 0..course.workers {
        threads.push(spawn(Job {
            stripe: Stripe {
                index,
                of: course.workers,
            },
            crew: Arc::clone(&crew),
            registry: Arc::clone(&course.registry),
            scenarios: Arc::clone(&course.scenarios),
            shared: Arc::clone(&shared),
            taps: course.taps.clone(),
            commands: commands.subscribe(),
            to_lead: to_lead.clone(),
        })?);
    }
    drop(to_lead);
    let mut run = Run::new(course, commands, observer, keep);
    run.shared = shared;
    run.follow(messages).await?;
    for thread in threads {
        // One that panicked has told so by its missing report.
        let _ = thread.join();
    }
    Ok(run.outcome())
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
    ending: Ending,
    has_lost_tags: bool,
    is_marked_failed: bool,
    shared: Arc<Shared>,
    taps: Vec<Tap>,
}

#[derive(Clone, Copy, Default)]
struct Latest {
    active: u64,
    made: u64,
    whole: u64,
    cut: u64,
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
            ending: Ending::Finished,
            has_lost_tags: false,
            is_marked_failed: false,
            shared: Arc::default(),
            taps: course.taps.iter().map(TapSource::tap).collect(),
        }
    }

    /// Follows the workers until all of them are done.
    async fn follow(&mut self, mut messages: UnboundedReceiver<Message>) -> io::Result<()> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut cut_at = u64::MAX / 2;
        let mut look_at = u64::MAX / 2;
        loop {
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
            }
            if self.start != 0 && look_at == u64::MAX / 2 {
                look_at = self.start + LOOK_NANOS;
            }
        }
        if self.done < self.course.workers && self.ending == Ending::Finished {
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
                if self.ready == self.course.workers && self.ending == Ending::Finished {
                    self.start = now_nanos() + START_DELAY_NANOS;
                    self.commands.send_replace(Command::Start(self.start));
                }
            }
            Message::Failed(why) => self.finish(Ending::Failed(why), Command::Cut),
            Message::Warning(text) => self.observer.warn(&text),
            Message::Aborted(why) => self.finish(Ending::Aborted(why), Command::Cut),
            Message::MarkedFailed => self.is_marked_failed = true,
            Message::Interval(report) => {
                let second = report.second;
                self.note(&report);
                self.keep_seconds(second);
            }
            Message::Done(report) => {
                self.done += 1;
                self.busiest = self.busiest.max(report.busy);
                self.end = self.end.max(report.at);
                self.note(&report);
            }
        }
    }

    /// Ends the run early, the first reason counts. A run that has not begun ends at once.
    fn finish(&mut self, ending: Ending, command: Command) {
        if self.ending == Ending::Finished {
            self.ending = ending;
        }
        self.command(command);
    }

    fn command(&self, command: Command) {
        self.commands.send_replace(command);
    }

    fn note(&mut self, report: &Report) {
        self.total.merge(&report.board);
        if let Some(latest) = usize::try_from(report.worker)
            .ok()
            .and_then(|worker| self.latest.get_mut(worker))
        {
            *latest = Latest {
                active: report.active,
                made: report.made,
                whole: report.whole,
                cut: report.cut,
            };
        }
        let told = [
            (&self.shared.active, self.sum(|latest| latest.active)),
            (&self.shared.made, self.sum(|latest| latest.made)),
            (&self.shared.whole, self.sum(|latest| latest.whole)),
            (&self.shared.cut, self.sum(|latest| latest.cut)),
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
            let begun = self.shared.iterations.iter();
            let begun: Vec<u64> = begun.map(|count| count.load(Ordering::Relaxed)).collect();
            self.observer.progress(&Progress {
                elapsed: Duration::from_nanos(now_nanos().saturating_sub(self.start)),
                active: second.active,
                made: self.sum(|latest| latest.made),
                whole: self.sum(|latest| latest.whole),
                cut: self.sum(|latest| latest.cut),
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
            whole: self.sum(|latest| latest.whole),
            cut: self.sum(|latest| latest.cut),
            board: self.total,
            run_time,
            ending: self.ending,
            is_marked_failed: self.is_marked_failed,
            busiest,
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
