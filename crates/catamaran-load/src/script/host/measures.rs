//! Groups, metrics and the console.

use std::fmt::Write as _;
use std::io::Write as _;

use catamaran_sys::clock::now_nanos;
use rquickjs_core::convert::Coerced;
use rquickjs_core::{Ctx, Exception, Function, Object, Result, Value};

use super::{Host, Natives, is_catchable, must_not_run, now};
use crate::live::terminal;
use crate::metric::{Contains, MetricId, builtin};
use crate::sink::{Kind, as_f64};

impl Host {
    fn begin_group(&self, name: &str) {
        let mut group = self.group.borrow_mut();
        let begun = (group.len(), now_nanos());
        self.groups_begun.borrow_mut().push(begun);
        // Writing to a text cannot fail.
        let _ = write!(group, "::{name}");
        self.local.recorder.borrow_mut().group(&group);
    }

    fn end_group(&self) {
        let Some((len, begun)) = self.groups_begun.borrow_mut().pop() else {
            return;
        };
        let tags = self.tags_of(&[]);
        let took = as_f64(now_nanos() - begun) / 1e6;
        self.local.record(builtin::GROUP_DURATION, tags, took);
        self.group.borrow_mut().truncate(len);
    }

    fn declare(&self, kind: &str, name: &str, is_time: bool) -> std::result::Result<u32, String> {
        let kind = match kind {
            "counter" => Kind::Counter,
            "gauge" => Kind::Gauge,
            "rate" => Kind::Rate,
            _ => Kind::Trend,
        };
        let contains = if is_time {
            Contains::Time
        } else {
            Contains::Default
        };
        let declared = match &self.declaring {
            Some(registry) => registry.borrow_mut().declare(name, kind, contains),
            None => self.local.recorder.borrow().registry().named(name),
        };
        declared
            .map(MetricId::number)
            .map_err(|error| error.to_string())
    }

    fn add(&self, metric: u32, value: f64, flat: &[String]) {
        let tags = self.tags_of(flat);
        let mut recorder = self.local.recorder.borrow_mut();
        if let Some(metric) = recorder.registry().at(metric) {
            recorder.record(metric, tags, value, now_nanos());
        }
    }
}

/// Calls a function in a group.
fn group<'js>(ctx: &Ctx<'js>, name: &str, work: &Function<'js>) -> Result<Value<'js>> {
    if name.contains("::") {
        let why = format!("the name of a group may not contain \"::\": {name}");
        return Err(Exception::throw_message(ctx, &why));
    }
    let maker: Result<Object<'js>> = work.get("constructor");
    let kind = maker.and_then(|maker| maker.get::<_, String>("name"));
    if kind.is_ok_and(|kind| kind == "AsyncFunction") {
        let why = format!(
            "group \"{name}\" is asynchronous; leave the group out or do without async in it"
        );
        return Err(Exception::throw_message(ctx, &why));
    }
    let host = now();
    if host.groups_begun.borrow().len() >= MAX_GROUP_DEPTH {
        let why = format!("groups are nested more than {MAX_GROUP_DEPTH} deep");
        return Err(Exception::throw_message(ctx, &why));
    }
    host.begin_group(name);
    let done = work.call(());
    // Of one that is cut off nothing is counted.
    if done.is_ok() || is_catchable(ctx) {
        host.end_group();
    }
    done
}

pub(super) fn install<'js>(natives: &Natives<'_, 'js>) -> Result<()> {
    natives.add(
        "group",
        |ctx: Ctx<'js>, name: Coerced<String>, work: Function<'js>| group(&ctx, &name.0, &work),
    )?;
    let declare = move |ctx: Ctx<'js>, kind: String, name: String, is_time: bool| {
        must_not_run(&ctx, "making a metric")?;
        let declared = now().declare(&kind, &name, is_time);
        declared.map_err(|why| Exception::throw_message(&ctx, &why))
    };
    natives.add("declare", declare)?;
    natives.add(
        "add",
        move |metric: u32, value: f64, tags: Option<Vec<String>>| {
            now().add(metric, value, &tags.unwrap_or_default());
        },
    )?;
    natives.add("log", |level: String, text: String| {
        let line = format!("level={level} msg={text:?} source=console");
        // A terminal that has gone, or a full disk, is no reason to end the run.
        let _ = match now().settings.printed.as_ref() {
            // In one call, so that lines of several threads stay whole.
            Some(mut file) => file.write_all(format!("{line}\n").as_bytes()),
            None => terminal::line(&mut std::io::stderr(), &line),
        };
    })
}

/// Groups within groups. The summary as JSON is nested twice as deep, and some programs read 128 levels.
const MAX_GROUP_DEPTH: usize = 50;
