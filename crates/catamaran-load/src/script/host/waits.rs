//! What makes a script wait.

use std::pin::pin;

use catamaran_sys::clock::now_nanos;
use rquickjs_core::convert::Coerced;
use rquickjs_core::function::Opt;
use rquickjs_core::{Array, Ctx, Exception, Object, Result, Value};

use super::{Host, Natives, millis, must_run, now};
use crate::client::Url;
use crate::script::http::{self, Ask};
use crate::script::loader::HTML;
use crate::script::realm::evaluate;
use crate::script::seam;
use crate::sink::as_f64;
use crate::time_text::{self, parse_duration};

/// Waits on the fiber, but not beyond a cut, which ends the script.
pub(in crate::script) fn wait<T>(
    ctx: &Ctx<'_>,
    host: &Host,
    work: impl Future<Output = T>,
) -> Result<T> {
    let stop = host.stop();
    let mut work = pin!(work);
    let done = seam::wait(async {
        tokio::select! {
            biased;
            () = stop.was_cut() => None,
            done = &mut work => Some(done),
        }
    });
    done.map_or_else(|| Err(cut(ctx)?), Ok)
}

/// As [`wait`], for work that is some kilobytes large.
///
/// It is made by the worker and kept on the heap, as long as it lasts. What lay on the stack of the script
/// once, that has for good: each virtual user would keep pages for it while it sleeps.
pub(in crate::script) fn wait_long<T, F: Future<Output = T>>(
    ctx: &Ctx<'_>,
    host: &Host,
    make: impl FnOnce() -> F,
) -> Result<T> {
    wait(ctx, host, async { Box::pin(make()).await })
}

/// The error that ends a script, whatever it catches.
pub(super) fn cut(ctx: &Ctx<'_>) -> Result<rquickjs_core::Error> {
    let error = Exception::from_message(ctx.clone(), "the run ended")?;
    let error = error.into_object().into_value();
    Ok(seam::throw_uncatchable(ctx, error))
}

pub(super) fn install<'js>(natives: &Natives<'_, 'js>) -> Result<()> {
    natives.add("sleep", move |ctx: Ctx<'js>, seconds: Opt<Coerced<f64>>| {
        must_run(&ctx, "sleep")?;
        // What is no number is none.
        let seconds = seconds.0.map_or(0.0, |seconds| seconds.0);
        wait(&ctx, &now(), tokio::time::sleep(millis(seconds * 1e3)))
    })?;
    natives.add(
        "request",
        move |ctx: Ctx<'js>,
              method: String,
              url: String,
              body: Opt<Value<'js>>,
              more: Opt<Object<'js>>| {
            must_run(&ctx, "a request")?;
            let own = now();
            let ask = Ask::read(&ctx, &own, method, url, body.0, more.0)?;
            let reply = wait_long(&ctx, &own, || http::perform(&own, ask))?;
            http::into_js(&ctx, reply)
        },
    )?;
    natives.add("batch", move |ctx: Ctx<'js>, list: Vec<Array<'js>>| {
        must_run(&ctx, "a batch")?;
        let own = now();
        let read = |args: &Array<'js>| {
            let (method, url) = (args.get(0)?, args.get(1)?);
            Ask::read(&ctx, &own, method, url, args.get(2)?, args.get(3)?)
        };
        let asks = list.iter().map(read).collect::<Result<Vec<_>>>()?;
        let replies = wait_long(&ctx, &own, || http::perform_all(&own, asks))?;
        let replies = replies.into_iter().map(|reply| http::into_js(&ctx, reply));
        replies.collect::<Result<Vec<_>>>()
    })?;
    natives.add("load", move |ctx: Ctx<'js>, part: String| {
        now().load(&ctx, &part)
    })?;
    natives.add("loadHtml", move |ctx: Ctx<'js>| {
        evaluate(&ctx, now().library(), HTML)
    })?;
    natives.add(
        "joinUrl",
        |ctx: Ctx<'js>, base: String, relative: String| {
            let joined = Url::parse(&base).and_then(|base| base.join(&relative));
            let joined = joined.map(|url| url.to_string());
            joined.map_err(|error| Exception::throw_message(&ctx, &error.to_string()))
        },
    )?;
    natives.add("clock", || as_f64(now_nanos()) / 1e6)?;
    natives.add("millis", |ctx: Ctx<'js>, text: String| {
        let read = parse_duration(&text).map(time_text::millis);
        read.map_err(|error| Exception::throw_message(&ctx, &error.to_string()))
    })
}
