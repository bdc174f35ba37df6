//! One worker: a thread with a runtime and its share of every scenario.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use catamaran_sys::clock::now_nanos;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio::task::{JoinSet, LocalSet};

use super::Crew;
use super::drive::{Drive, nanos, sleep_until};
use super::lead::{Command, Message, Report};
use super::local::{Local, Shared, increment};
use crate::board::Recorder;
use crate::client::watch;
use crate::metric::Registry;
use crate::output::TapSource;
use crate::scenario::Scenario;
use crate::schedule::Stripe;

/// What a worker is given.
pub(super) struct Job<C> {
    pub(super) stripe: Stripe,
    pub(super) crew: Arc<C>,
    pub(super) registry: Arc<Registry>,
    pub(super) scenarios: Arc<Vec<Scenario>>,
    pub(super) shared: Arc<Shared>,
    pub(super) taps: Vec<TapSource>,
    pub(super) commands: watch::Receiver<Command>,
    /// Whether it takes over from one that was lost, while the run goes on.
    pub(super) takes_over: bool,
    pub(super) to_lead: UnboundedSender<Message>,
}

/// Runs a worker on this thread, to the end of the run.
pub(super) fn run<C: Crew>(job: Job<C>) {
    let to_lead = job.to_lead.clone();
    let result = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map(|runtime| LocalSet::new().block_on(&runtime, work(job)));
    let message = match result {
        Ok(Ok(report)) => Message::Done(report),
        Ok(Err(why)) => Message::Failed(why),
        Err(error) => Message::Failed(format!("the event loop could not be started: {error}")),
    };
    // A lead that has gone needs no telling.
    let _ = to_lead.send(message);
}

async fn work<C: Crew>(job: Job<C>) -> Result<Report, String> {
    let Job {
        stripe,
        crew,
        registry,
        scenarios,
        shared,
        taps,
        mut commands,
        takes_over,
        to_lead,
    } = job;
    let recorder = Recorder::new(registry).with_taps(&taps);
    let local = Rc::new(Local::new(stripe, recorder, scenarios, shared, to_lead));
    let vus = make_vus(&local, &*crew)?;
    local.tell(Message::Ready);
    let Ok(Command::Start(start)) = commands
        .wait_for(|command| *command != Command::Wait)
        .await
        .map(|command| *command)
    else {
        return Ok(report(&local, 0, 0, Duration::ZERO));
    };
    local.start.set(start);
    if takes_over {
        local.from.set(now_nanos());
    }
    let watching = tokio::task::spawn_local(watch());
    let obeying = tokio::task::spawn_local(obey(Rc::clone(&local), commands));
    let reporting = tokio::task::spawn_local(report_each_second(Rc::clone(&local), start));
    sleep_until(start).await;
    let before = working_time();
    let mut drives = JoinSet::new();
    for (scenario, vus) in vus.into_iter().enumerate() {
        let drive = Drive {
            crew: Arc::clone(&crew),
            scenario,
            start: start + nanos(local.scenarios[scenario].start_time),
            stop: Rc::clone(&local.stops[scenario]),
            local: Rc::clone(&local),
        };
        drives.spawn_local(drive.run(vus));
    }
    while let Some(result) = drives.join_next().await {
        result.map_err(|error| format!("a worker failed: {error}"))?;
    }
    watching.abort();
    obeying.abort();
    reporting.abort();
    let busy = working_time().saturating_sub(before);
    let second = now_nanos().saturating_sub(start) / NANOS_PER_SECOND;
    Ok(report(&local, second, now_nanos(), busy))
}

/// Makes the virtual users that each scenario begins with.
fn make_vus<C: Crew>(local: &Rc<Local>, crew: &C) -> Result<Vec<Vec<C::Vu>>, String> {
    let scenarios = Arc::clone(&local.scenarios);
    let of_scenario = |(index, scenario): (usize, &Scenario)| {
        let count = local.stripe.share_of(scenario.executor.initial_vus());
        increment(&local.counts.made, count);
        (0..count)
            .map(|n| crew.make(local, index, local.stripe.nth(n) + 1))
            .collect()
    };
    scenarios.iter().enumerate().map(of_scenario).collect()
}

/// Follows what the lead says.
async fn obey(local: Rc<Local>, mut commands: watch::Receiver<Command>) {
    while commands.changed().await.is_ok() {
        let command = *commands.borrow_and_update();
        for stop in &local.stops {
            match command {
                Command::Wait | Command::Start(_) => {}
                Command::Drain => stop.drain(),
                Command::Cut => stop.cut(),
            }
        }
    }
}

/// Gives the board away at each full second of the run.
async fn report_each_second(local: Rc<Local>, start: u64) {
    // Of the seconds before one took over there is nothing to tell.
    let first = now_nanos().saturating_sub(start) / NANOS_PER_SECOND;
    for second in first.. {
        sleep_until(start + (second + 1) * NANOS_PER_SECOND).await;
        local.tell(Message::Interval(report(
            &local,
            second,
            now_nanos(),
            Duration::ZERO,
        )));
    }
}

fn report(local: &Local, second: u64, now: u64, busy: Duration) -> Report {
    let mut recorder = local.recorder.borrow_mut();
    Report {
        worker: local.stripe.index,
        second,
        at: now,
        has_lost_tags: recorder.is_full(),
        board: recorder.take(),
        active: local.counts.active.get(),
        made: local.counts.made.get(),
        whole: local.counts.whole.get(),
        cut: local.counts.cut.get(),
        begun: local.begun.iter().map(Cell::get).collect(),
        asked: local.asked.iter().map(Cell::get).collect(),
        busy,
    }
}

/// What this thread has worked so far, or wanted to while others had its processor: both are times in which
/// it could do nothing more.
fn working_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let worked = Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0));
    // Nanoseconds at work, nanoseconds of waiting for a processor, and how often.
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let waited = told.split(' ').nth(1).and_then(|nanos| nanos.parse().ok());
    worked + Duration::from_nanos(waited.unwrap_or(0))
}

/// Starts the thread of a worker.
pub(super) fn spawn<C: Crew>(job: Job<C>) -> io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new()
        .name(format!("load-{}", job.stripe.index))
        .spawn(move || run(job))
}

const NANOS_PER_SECOND: u64 = 1_000_000_000;
