//! The closed models: a virtual user begins its next iteration when the last one ends.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::Ordering;

use catamaran_sys::clock::now_nanos;
use tokio::task::JoinSet;

use super::{Drive, join, nanos, sleep_until, until_cut};
use crate::engine::local::increment;
use crate::engine::stop::Stop;
use crate::engine::{Crew, Ended};
use crate::metric::builtin;
use crate::scenario::Executor;
use crate::schedule::Ramp;
use crate::sink;

/// Runs the virtual users of this worker to the end of the scenario.
pub(super) async fn run<C: Crew>(drive: &Rc<Drive<C>>, vus: Vec<C::Vu>) {
    let mut tasks = JoinSet::new();
    for (index, vu) in (0..).zip(vus) {
        let number = drive.local.stripe.nth(index) + 1;
        let drive = Rc::clone(drive);
        tasks.spawn_local(async move { work(&drive, vu, number).await });
    }
    join(tasks).await;
    note_left_over(drive);
}

/// The iterations of virtual user `number`.
async fn work<C: Crew>(drive: &Drive<C>, mut vu: C::Vu, number: u64) {
    match drive.executor() {
        Executor::SharedIterations { iterations, .. } => {
            let shared = &drive.local.shared;
            let begun = &shared.iterations[drive.scenario];
            let own = shared.shares.share_of(*iterations);
            let has_one = || {
                let has_one = begun.fetch_add(1, Ordering::Relaxed) < own;
                increment(&drive.local.begun[drive.scenario], u64::from(has_one));
                has_one
            };
            let work =
                async { while drive.goes_on() && has_one() && step(drive, &mut vu).await {} };
            until_cut::<C::Vu>(work, &drive.stop).await;
        }
        Executor::PerVuIterations { iterations, .. } => {
            let left = Cell::new(iterations.saturating_sub(done_before(drive)));
            let work = async {
                while left.get() > 0 && drive.goes_on() {
                    left.set(left.get() - 1);
                    increment(&drive.local.begun[drive.scenario], 1);
                    step(drive, &mut vu).await;
                }
            };
            until_cut::<C::Vu>(work, &drive.stop).await;
            note_dropped(drive, left.get());
        }
        Executor::RampingVus {
            start_vus,
            stages,
            graceful_ramp_down,
        } => {
            let ramp = Ramp::new(*start_vus, stages);
            let grace = nanos(*graceful_ramp_down);
            for (from, to) in ramp.intervals(number) {
                let (from, to) = (drive.start + nanos(from), drive.start + nanos(to));
                work_between(drive, &mut vu, from, to, grace).await;
            }
        }
        _ => {
            let work = async { while drive.goes_on() && step(drive, &mut vu).await {} };
            until_cut::<C::Vu>(work, &drive.stop).await;
        }
    }
}

/// Iterations that each virtual user had done when these took over from others.
fn done_before<C: Crew>(drive: &Drive<C>) -> u64 {
    let shared = &drive.local.shared;
    let done = shared.iterations[drive.scenario].load(Ordering::Relaxed);
    let vus = shared.shares.share_of(drive.executor().initial_vus());
    done / vus.max(1)
}

/// Runs one iteration. Returns whether it ended by itself.
async fn step<C: Crew>(drive: &Drive<C>, vu: &mut C::Vu) -> bool {
    drive.iterate(vu, None, &drive.stop).await == Ended::Whole
}

/// Iterates between two moments; the iteration in hand gets `grace` to end, or that of the scenario.
async fn work_between<C: Crew>(drive: &Drive<C>, vu: &mut C::Vu, from: u64, to: u64, grace: u64) {
    tokio::select! {
        () = sleep_until(from) => {}
        () = drive.stop.drained() => return,
    }
    let own = Rc::new(Stop::default());
    // At the end of the scenario its graceful stop holds, before it this one's.
    let until = if to >= drive.end() {
        u64::MAX / 2
    } else {
        to + grace
    };
    let watch = {
        let (own, all) = (Rc::clone(&own), Rc::clone(&drive.stop));
        tokio::task::spawn_local(async move {
            tokio::select! {
                () = sleep_until(until) => {}
                () = all.was_cut() => {}
            }
            own.cut();
        })
    };
    let work = async {
        while drive.goes_on() && now_nanos() < to {
            if drive.iterate(vu, None, &own).await == Ended::Cut {
                break;
            }
        }
    };
    until_cut::<C::Vu>(work, &own).await;
    watch.abort();
}

/// Counts shared iterations that nobody began; the first worker of this process does it for all.
fn note_left_over<C: Crew>(drive: &Drive<C>) {
    let local = &drive.local;
    if let Executor::SharedIterations { iterations, .. } = drive.executor()
        && local.stripe.index == local.shared.shares.first()
    {
        let begun = local.shared.iterations[drive.scenario].load(Ordering::Relaxed);
        let own = local.shared.shares.share_of(*iterations);
        note_dropped(drive, own.saturating_sub(begun));
    }
}

fn note_dropped<C: Crew>(drive: &Drive<C>, count: u64) {
    // What a run that is ended early leaves out was not due yet.
    if count > 0 && now_nanos() >= drive.end() {
        let tags = drive.local.scenario_tags(drive.scenario);
        let count = sink::as_f64(count);
        drive.local.record(builtin::DROPPED_ITERATIONS, tags, count);
    }
}
