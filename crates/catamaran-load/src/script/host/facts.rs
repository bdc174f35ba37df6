//! What a script may know of its run: `k6/execution`.

use std::sync::atomic::Ordering;

use catamaran_sys::clock::now_nanos;
use rquickjs_core::{Ctx, Exception, Result};

use super::waits::cut;
use super::{Host, Natives, must_run, now};
use crate::scenario::{Executor, Scenario};
use crate::sink::as_f64;
use crate::time_text::millis;

impl Host {
    /// A number of `k6/execution`; `None` of what is not known where it is asked for.
    fn fact(&self, name: &str) -> Option<f64> {
        let shared = &self.local.shared;
        let count = |cell: &std::sync::atomic::AtomicU64| as_f64(cell.load(Ordering::Relaxed));
        Some(match name {
            "vu" => as_f64(self.place.vu),
            "iteration" => as_f64(self.iteration.get()),
            "unique" => as_f64(self.local.shared.shares.nth(self.unique_iteration()?)),
            "uniqueHere" => as_f64(self.unique_iteration()?),
            "vuHere" => as_f64(self.place.here),
            "elapsed" => as_f64(now_nanos().saturating_sub(self.local.start.get())) / 1e6,
            "startTime" => {
                let elapsed = now_nanos().saturating_sub(self.local.start.get());
                let scenario = self.place.scenario.map(|at| &self.local.scenarios[at])?;
                unix_millis() - as_f64(elapsed) / 1e6 + millis(scenario.start_time)
            }
            "progress" => self.progress()?,
            "whole" => count(&shared.whole),
            "cut" => count(&shared.cut),
            // In an iteration there is one at least; the count is up to a second old.
            "active" => {
                count(&shared.active).max(f64::from(u8::from(self.place.scenario.is_some())))
            }
            "made" => count(&shared.made).max(1.0),
            _ => return None,
        })
    }

    /// The number of this iteration among those of the scenario in this process, dealt out when it is
    /// first asked for.
    fn unique_iteration(&self) -> Option<u64> {
        if let Some(number) = self.unique.get() {
            return Some(number);
        }
        let scenario = self.place.scenario?;
        let dealt = &self.local.shared.asked_iterations[scenario];
        let number = dealt.fetch_add(1, Ordering::Relaxed);
        let asked = &self.local.asked[scenario];
        asked.set(asked.get() + 1);
        self.unique.set(Some(number));
        Some(number)
    }

    /// How far the scenario is, 0 to 1: by its iterations, if their number is known, else by time.
    fn progress(&self) -> Option<f64> {
        let at = self.place.scenario?;
        let scenario = &self.local.scenarios[at];
        let begun = as_f64(self.local.shared.iterations[at].load(Ordering::Relaxed));
        let share = match &scenario.executor {
            Executor::SharedIterations { iterations, .. } => {
                begun / as_f64(self.local.shared.shares.share_of(*iterations))
            }
            Executor::PerVuIterations { iterations, .. } => {
                as_f64(self.iteration.get()) / as_f64(*iterations)
            }
            executor => {
                let elapsed = as_f64(now_nanos().saturating_sub(self.local.start.get())) / 1e6;
                (elapsed - millis(scenario.start_time)) / millis(executor.regular_duration())
            }
        };
        Some(share.clamp(0.0, 1.0))
    }
}

pub(super) fn install<'js>(natives: &Natives<'_, 'js>) -> Result<()> {
    natives.add("fact", move |ctx: Ctx<'js>, name: String| {
        must_run(&ctx, "k6/execution")?;
        Ok::<_, rquickjs_core::Error>(now().fact(&name))
    })?;
    natives.add("scenario", move |ctx: Ctx<'js>| {
        must_run(&ctx, "k6/execution")?;
        let own = now();
        let scenario = own.place.scenario.map(|at| &own.local.scenarios[at]);
        let told =
            |scenario: &Scenario| vec![scenario.name.clone(), scenario.executor.name().to_owned()];
        Ok::<_, rquickjs_core::Error>(scenario.map(told))
    })?;
    natives.add("mustRun", |ctx: Ctx<'js>| must_run(&ctx, "k6/execution"))?;
    natives.set("options", natives.host.settings.options.as_str())?;
    natives.add(
        "setTag",
        move |ctx: Ctx<'js>, name: String, value: String| {
            let own = now();
            let mut tags = own.vu_tags.borrow_mut();
            if tags.len() >= MAX_VU_TAGS {
                let text = format!("a virtual user has {MAX_VU_TAGS} tags at most");
                return Err(Exception::throw_range(&ctx, &text));
            }
            tags.insert(name, value);
            Ok(())
        },
    )?;
    natives.add("tags", move |ctx: Ctx<'js>| {
        must_run(&ctx, "k6/execution")?;
        let own = now();
        let tags = own.tags_of(&[]);
        let recorder = own.local.recorder.borrow();
        let pairs = recorder.tags(tags).iter();
        let flat = pairs.flat_map(|(name, value)| [name.clone(), value.clone()]);
        Ok::<Vec<String>, rquickjs_core::Error>(flat.collect())
    })?;
    natives.add("removeTag", move |name: String| {
        now().vu_tags.borrow_mut().remove(&name);
    })?;
    natives.add("abort", move |ctx: Ctx<'js>, why: String| {
        let own = now();
        own.aborts.set(true);
        own.local.abort(why);
        Err::<(), _>(cut(&ctx)?)
    })?;
    natives.add("markFailed", || now().local.mark_failed())?;
    natives.add("summaryText", move |ctx: Ctx<'js>| {
        let own = now();
        let text = own.summary.borrow();
        if text.is_empty() {
            let told = "textSummary is for handleSummary";
            return Err(Exception::throw_message(&ctx, told));
        }
        Ok(text.clone())
    })
}

/// Tags that a script gives its virtual user.
const MAX_VU_TAGS: usize = 100;

fn unix_millis() -> f64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap_or_default().as_secs_f64() * 1e3
}
