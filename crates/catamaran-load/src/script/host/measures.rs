//! Checks, groups, metrics and the console.

use std::fmt::Write as _;
use std::io::Write as _;

use catamaran_sys::clock::now_nanos;
use rquickjs_core::function::Opt;
use rquickjs_core::{CString, Ctx, Exception, Result};

use super::{Host, Natives, SystemTag, must_not_run, now};
use crate::board::{Check, CheckId, Recorder};
use crate::live::terminal;
use crate::metric::{Contains, MetricId, builtin};
use crate::sink::{Kind, as_f64};
use crate::tags::TagsId;

impl Host {
    /// Counts a check. Returns its number for [`Self::check_again`], if it has one.
    fn check(&self, name: &str, holds: bool, flat: &[String]) -> Option<usize> {
        let check = self.has(SystemTag::Check).then_some(("check", name));
        let pairs = flat.chunks_exact(2);
        let pairs = pairs.map(|pair| (pair[0].as_str(), pair[1].as_str()));
        let check = Check {
            tags: self.tags(check.into_iter().chain(pairs)),
            group: &self.group.borrow(),
            name,
            scenario: self.place.scenario,
        };
        let mut recorder = self.local.recorder.borrow_mut();
        let id = recorder.check(check, holds);
        record(&mut recorder, check.tags, holds);
        let is_usual = flat.is_empty() && self.vu_tags.borrow().is_empty();
        id.filter(|_| is_usual).map(|id| id.0)
    }

    /// Counts a check of this number, unless it would have other tags by now. Returns whether it did.
    fn check_again(&self, number: usize, holds: bool) -> bool {
        // What a script gives its virtual user changes as it likes.
        if !self.vu_tags.borrow().is_empty() {
            return false;
        }
        let mut recorder = self.local.recorder.borrow_mut();
        let (id, scenario) = (CheckId(number), self.place.scenario);
        let tags = recorder.check_again(id, &self.group.borrow(), scenario, holds);
        if let Some(tags) = tags {
            record(&mut recorder, tags, holds);
        }
        tags.is_some()
    }

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

fn record(recorder: &mut Recorder, tags: TagsId, holds: bool) {
    let now = if recorder.is_tapped() { now_nanos() } else { 0 };
    recorder.record(builtin::CHECKS, tags, f64::from(u8::from(holds)), now);
}

pub(super) fn install<'js>(natives: &Natives<'_, 'js>) -> Result<()> {
    natives.add(
        "check",
        move |name: CString<'js>, holds: bool, tags: Opt<Option<Vec<String>>>| {
            let tags = tags.0.flatten().unwrap_or_default();
            // Text of JavaScript need not be well-formed.
            now().check(&String::from_utf8_lossy(name.as_ref()), holds, &tags)
        },
    )?;
    natives.add("checkAgain", move |number: usize, holds: bool| {
        now().check_again(number, holds)
    })?;
    natives.add("beginGroup", move |ctx: Ctx<'js>, name: String| {
        if now().groups_begun.borrow().len() >= MAX_GROUP_DEPTH {
            let text = format!("groups are nested more than {MAX_GROUP_DEPTH} deep");
            return Err(Exception::throw_message(&ctx, &text));
        }
        now().begin_group(&name);
        Ok(())
    })?;
    natives.add("endGroup", move || now().end_group())?;
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
