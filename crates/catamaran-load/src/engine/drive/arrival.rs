//! The open models: iterations begin when they are due, whatever became of the earlier ones.
//!
//! One task per worker and scenario waits for the next iteration and hands it to a virtual user that
//! is free. The queue of an overloaded target is the schedule itself: what is due and not begun needs
//! no memory, and its intended start is known.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;

use catamaran_sys::clock::now_nanos;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::{Drive, join, nanos, sleep_until, until_cut};
use crate::engine::alarm::Alarm;
use crate::engine::local::increment;
use crate::engine::stop::Stop;
use crate::engine::{Crew, Ended};
use crate::metric::builtin;
use crate::scenario::Overload;
use crate::schedule::Arrivals;
use crate::sink;
use crate::tags::TagsId;

/// The virtual users of one worker and scenario.
struct Pool<C: Crew> {
    drive: Rc<Drive<C>>,
    /// Free ones; the one freed last is taken first, so that few connections stay warm.
    free: RefCell<Vec<Rc<Slot>>>,
    freed: Notify,
    tasks: RefCell<JoinSet<()>>,
    made: Cell<u64>,
    /// Whether one more is being made.
    is_making: Cell<bool>,
    max: u64,
}

/// What there is for an iteration that is due.
enum Taken {
    /// A virtual user.
    Free(Rc<Slot>),
    /// One is being made.
    Soon,
    /// All are at work, and there may be no more.
    Never,
}

/// Where a virtual user is told what to do.
#[derive(Default)]
struct Slot {
    /// When its next iteration should have begun.
    due: Cell<Option<u64>>,
    told: Notify,
}

/// Begins the iterations of this worker's share.
pub(super) async fn run<C: Crew>(drive: &Rc<Drive<C>>, arrivals: Arrivals, vus: Vec<C::Vu>) {
    let max = drive.local.stripe.share_of(drive.executor().max_vus());
    let pool = Rc::new(Pool {
        drive: Rc::clone(drive),
        free: RefCell::default(),
        freed: Notify::new(),
        tasks: RefCell::default(),
        made: Cell::new(0),
        is_making: Cell::new(false),
        max,
    });
    for vu in vus {
        let slot = pool.employ(vu);
        pool.free.borrow_mut().push(slot);
    }
    if let Err(error) = dispatch(&pool, &arrivals).await {
        drive.local.fail(format!("timer: {error}"));
    }
    drive.stop.drain();
    let tasks = pool.tasks.take();
    join(tasks).await;
}

/// Hands out iterations until the schedule ends.
async fn dispatch<C: Crew>(pool: &Rc<Pool<C>>, arrivals: &Arrivals) -> std::io::Result<()> {
    let drive = &pool.drive;
    let local = &drive.local;
    let tags = local.scenario_tags(drive.scenario);
    let overload = local.scenarios[drive.scenario].overload;
    let alarm = Alarm::new()?;
    let due_of = |n: u64| {
        let time = arrivals.time_of(local.stripe.nth(n))?;
        Some(drive.start + nanos(time))
    };
    let from = local.from.get();
    let mut next = first_from(0, |n| due_of(n).is_none_or(|due| due >= from));
    // Whether what is late is so for want of a free virtual user, and not by this thread's doing.
    let mut waits_for_vus = false;
    while let Some(due) = due_of(next) {
        if now_nanos() < due {
            tokio::select! {
                result = alarm.until(due) => result?,
                () = drive.stop.drained() => return Ok(()),
            }
            waits_for_vus = false;
        }
        let late = now_nanos().saturating_sub(due);
        match (pool.take(), overload) {
            (Taken::Free(slot), _) => {
                slot.begin(due);
                if !waits_for_vus {
                    local.record(builtin::SCHEDULE_LATENESS, tags, sink::as_f64(late) / 1e6);
                }
            }
            (Taken::Never, Overload::Drop) => {
                local.record(builtin::DROPPED_ITERATIONS, tags, 1.0);
                tokio::task::coop::consume_budget().await;
            }
            // That one is not made yet is our own doing: what is late by that begins even after the end.
            (Taken::Soon, _) => {
                waits_for_vus = false;
                tokio::select! {
                    () = pool.freed.notified() => continue,
                    () = drive.stop.drained() => break,
                }
            }
            (Taken::Never, Overload::Queue) => {
                waits_for_vus = true;
                tokio::select! {
                    () = pool.freed.notified() => {}
                    () = drive.stop.drained() => {}
                    () = sleep_until(drive.end()) => {}
                }
                if drive.goes_on() {
                    continue;
                }
                break;
            }
        }
        if drive.stop.is_draining() {
            break;
        }
        next += 1;
    }
    note_not_begun(pool, tags, next, !waits_for_vus, due_of);
    Ok(())
}

/// Counts what was due by now, from the worker's iteration `next` on, and will never begin; `is_own`, if that
/// is by our own doing.
fn note_not_begun<C: Crew>(
    pool: &Pool<C>,
    tags: TagsId,
    next: u64,
    is_own: bool,
    due_of: impl Fn(u64) -> Option<u64>,
) {
    let drive = &pool.drive;
    let now = now_nanos().min(drive.end());
    let count = first_from(next, |n| due_of(n).is_none_or(|due| due >= now)) - next;
    if count == 0 {
        return;
    }
    // Of very many only some are looked at, each for its neighbours too.
    let stride = count.div_ceil(MAX_LOOKED_AT);
    for first in (0..count).step_by(usize::try_from(stride).unwrap_or(usize::MAX)) {
        let times = stride.min(count - first);
        if let Some(due) = due_of(next + first + times / 2) {
            let waited = now.saturating_sub(due);
            let (crew, local) = (&drive.crew, &drive.local);
            crew.not_begun(local, drive.scenario, waited, times);
            if is_own {
                let mut recorder = local.recorder.borrow_mut();
                let (metric, millis) = (builtin::SCHEDULE_LATENESS, sink::as_f64(waited) / 1e6);
                recorder.record_times(metric, tags, millis, times, now);
            }
        }
    }
    let count = sink::as_f64(count);
    drive.local.record(builtin::DROPPED_ITERATIONS, tags, count);
}

/// The first number from `from` on for which `holds`, which then holds for all that follow.
fn first_from(from: u64, holds: impl Fn(u64) -> bool) -> u64 {
    let mut step = 1;
    while !holds(from + step - 1) {
        step *= 2;
    }
    let (mut low, mut high) = (from + step / 2, from + step - 1);
    while low < high {
        let middle = low.midpoint(high);
        if holds(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

impl<C: Crew> Pool<C> {
    /// A free virtual user; one more is made if none is free and there may be more.
    fn take(self: &Rc<Self>) -> Taken {
        if let Some(slot) = self.free.borrow_mut().pop() {
            return Taken::Free(slot);
        }
        if self.is_making.get() {
            return Taken::Soon;
        }
        if self.made.get() >= self.max {
            return Taken::Never;
        }
        if C::MAKES_AT_ONCE {
            let drive = &self.drive;
            return match drive
                .crew
                .make(&drive.local, drive.scenario, self.next_number())
            {
                Ok(vu) => Taken::Free(self.add(vu)),
                Err(why) => {
                    drive.local.fail(why);
                    Taken::Never
                }
            };
        }
        self.is_making.set(true);
        let pool = Rc::clone(self);
        self.tasks.borrow_mut().spawn_local(async move {
            pool.make_one_more().await;
        });
        Taken::Soon
    }

    /// Makes a virtual user while the others go on.
    async fn make_one_more(self: &Rc<Self>) {
        let drive = &self.drive;
        let (local, stop, own) = (&drive.local, &drive.stop, Rc::new(Stop::default()));
        let begin = now_nanos();
        let number = self.next_number();
        let making = drive
            .crew
            .make_meanwhile(local, drive.scenario, number, &own);
        let mut making = pin!(making);
        let made = tokio::select! {
            biased;
            made = &mut making => made,
            () = stop.drained() => {
                // Nobody needs it any more.
                own.cut();
                making.await
            }
        };
        self.is_making.set(false);
        match made {
            Ok(vu) if !stop.is_draining() => {
                let slot = self.add(vu);
                self.free.borrow_mut().push(slot);
            }
            Err(why) if !own.is_cut() => local.fail(why),
            _ => self.warn_of_making(now_nanos() - begin),
        }
        self.freed.notify_one();
    }

    /// Tells that nobody waited any longer for a virtual user that was being made for so many nanoseconds.
    fn warn_of_making(&self, taken: u64) {
        if taken > LONG_NANOS {
            let seconds = taken / NANOS_PER_SECOND;
            self.drive.local.warn(format!(
                "a virtual user was not made yet when its scenario ended, after {seconds} s: the top level of the \
                 script takes long, or never ends"
            ));
        }
    }

    /// The number of the virtual user that is made next.
    fn next_number(&self) -> u64 {
        self.drive.local.stripe.nth(self.made.get()) + 1
    }

    /// Employs one that was made.
    fn add(self: &Rc<Self>, vu: C::Vu) -> Rc<Slot> {
        increment(&self.drive.local.counts.made, 1);
        self.employ(vu)
    }

    /// Starts the task of a virtual user.
    fn employ(self: &Rc<Self>, mut vu: C::Vu) -> Rc<Slot> {
        increment(&self.made, 1);
        let slot = Rc::new(Slot::default());
        let (pool, own) = (Rc::clone(self), Rc::clone(&slot));
        self.tasks.borrow_mut().spawn_local(async move {
            let stop = Rc::clone(&pool.drive.stop);
            until_cut::<C::Vu>(pool.serve(&own, &mut vu), &stop).await;
        });
        slot
    }

    /// Runs what a slot is told to, until the scenario drains.
    async fn serve(&self, slot: &Rc<Slot>, vu: &mut C::Vu) {
        let stop = &self.drive.stop;
        loop {
            if slot.due.get().is_none() {
                tokio::select! {
                    biased;
                    () = slot.told.notified() => {}
                    () = stop.drained() => {}
                }
            }
            let Some(due) = slot.due.take() else {
                if stop.is_draining() {
                    return;
                }
                continue;
            };
            if self.drive.iterate(vu, Some(due), stop).await == Ended::Cut {
                return;
            }
            self.free.borrow_mut().push(Rc::clone(slot));
            self.freed.notify_one();
        }
    }
}

impl Slot {
    fn begin(&self, due: u64) {
        self.due.set(Some(due));
        self.told.notify_one();
    }
}

/// Whoever takes as long to make is worth a word.
const LONG_NANOS: u64 = 2 * NANOS_PER_SECOND;
const NANOS_PER_SECOND: u64 = 1_000_000_000;
/// Iterations that never began and are looked at one by one.
const MAX_LOOKED_AT: u64 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_holds_is_found_wherever_it_is() {
        for limit in [0, 1, 2, 3, 7, 8, 1000, 1_000_000_007] {
            for from in [0, 1, 5] {
                assert_eq!(
                    first_from(from, |n| n >= limit),
                    limit.max(from),
                    "{from} {limit}"
                );
            }
        }
    }
}
