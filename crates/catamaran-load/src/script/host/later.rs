//! What a script began and does not wait for: timers, and requests that promise their answer.

use std::collections::HashMap;
use std::rc::Rc;

use rquickjs_core::function::Opt;
use rquickjs_core::{Ctx, Exception, Object, Result, Value};
use tokio::task::{AbortHandle, JoinSet};

use super::{Host, Natives, millis, must_run, wait};
use crate::script::http::{self, Ask};

/// Makes what is handed to the script, once it is its turn.
pub(in crate::script) type Outcome = Box<dyn for<'js> FnOnce(&Ctx<'js>) -> Result<Value<'js>>>;

/// What is under way.
#[derive(Default)]
pub(super) struct Later {
    tasks: JoinSet<(u32, Option<Outcome>)>,
    running: HashMap<u32, AbortHandle>,
}

impl Later {
    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// What is under way, if there is anything.
    fn take_tasks(&mut self) -> Option<JoinSet<(u32, Option<Outcome>)>> {
        (!self.tasks.is_empty()).then(|| std::mem::take(&mut self.tasks))
    }
}

impl Host {
    pub(in crate::script) fn begin_later(
        &self,
        ctx: &Ctx<'_>,
        number: u32,
        work: impl Future<Output = Option<Outcome>> + 'static,
    ) -> Result<()> {
        let mut later = self.later.borrow_mut();
        let later = later.get_or_insert_default();
        if later.running.len() >= MAX_LATER {
            let text = format!("more than {MAX_LATER} timers and requests are under way");
            return Err(Exception::throw_range(ctx, &text));
        }
        let task = later.tasks.spawn_local(async move { (number, work.await) });
        later.running.insert(number, task);
        Ok(())
    }

    fn end_later(&self, number: u32) {
        let mut later = self.later.borrow_mut();
        let task = later
            .as_mut()
            .and_then(|later| later.running.remove(&number));
        if let Some(task) = task {
            task.abort();
        }
    }
}

/// Waits for the next that ends: its number and what is handed to the script. `None` without any.
pub(in crate::script) fn next_later<'js>(
    ctx: &Ctx<'js>,
    host: &Rc<Host>,
) -> Result<Option<(u32, Value<'js>)>> {
    loop {
        // Taken out: nothing may stay borrowed while other virtual users run.
        let tasks = host
            .later
            .borrow_mut()
            .as_mut()
            .and_then(|later| later.take_tasks());
        let Some(mut tasks) = tasks else {
            return Ok(None);
        };
        let ended = wait(ctx, host, tasks.join_next())?;
        let mut later = host.later.borrow_mut();
        let own = later.get_or_insert_default();
        own.tasks = tasks;
        let Some(Ok((number, outcome))) = ended else {
            continue;
        };
        own.running.remove(&number);
        drop(later);
        let value = match outcome {
            Some(outcome) => outcome(ctx)?,
            None => Value::new_undefined(ctx.clone()),
        };
        return Ok(Some((number, value)));
    }
}

pub(super) fn install<'js>(natives: &Natives<'_, 'js>) -> Result<()> {
    let own = Rc::clone(natives.host);
    natives.add(
        "startTimer",
        move |ctx: Ctx<'js>, number: u32, after: f64| {
            must_run(&ctx, "a timer")?;
            own.begin_later(&ctx, number, async move {
                tokio::time::sleep(millis(after)).await;
                None
            })
        },
    )?;
    let own = Rc::clone(natives.host);
    natives.add(
        "startRequest",
        move |ctx: Ctx<'js>,
              number: u32,
              method: String,
              url: String,
              body: Opt<Value<'js>>,
              more: Opt<Object<'js>>| {
            must_run(&ctx, "a request")?;
            let ask = Ask::read(&ctx, &own, method, url, body.0, more.0)?;
            let host = Rc::clone(&own);
            let work = async move {
                let reply = http::perform(&host, ask).await;
                let outcome: Outcome = Box::new(|ctx| http::into_js(ctx, reply));
                Some(outcome)
            };
            own.begin_later(&ctx, number, work)
        },
    )?;
    let own = Rc::clone(natives.host);
    natives.add("cancel", move |number: u32| own.end_later(number))
}

/// Timers and requests of one virtual user at once.
const MAX_LATER: usize = 10_000;
