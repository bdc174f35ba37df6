//! Checks: the function of scripts that is called most.
//!
//! All of a call is done here, so that the engine comes to us and goes back once.

use catamaran_sys::clock::now_nanos;
use rquickjs_core::convert::Coerced;
use rquickjs_core::function::Opt;
use rquickjs_core::{Atom, Ctx, Exception, FromJs, Object, Result, Value};

use super::{Host, Natives, SystemTag, is_catchable, now};
use crate::board::{Check, Recorder};
use crate::metric::builtin;
use crate::tags::TagsId;

impl Host {
    /// Counts a check with tags of its own.
    fn check(&self, name: &str, holds: bool, tags: &[(String, String)]) {
        let is_usual = tags.is_empty() && self.vu_tags.borrow().is_empty();
        if is_usual && self.check_again(name, holds) {
            return;
        }
        let check = self.has(SystemTag::Check).then_some(("check", name));
        let pairs = tags.iter();
        let pairs = pairs.map(|(name, value)| (name.as_str(), value.as_str()));
        let check = Check {
            tags: self.tags(check.into_iter().chain(pairs)),
            group: &self.group.borrow(),
            name,
            scenario: self.place.scenario,
        };
        let mut recorder = self.local.recorder.borrow_mut();
        let id = recorder.check(check, holds);
        record(&mut recorder, check.tags, holds);
        if let Some(id) = id.filter(|_| is_usual) {
            recorder.remember(id);
        }
    }

    /// Counts a check that came before, without putting its tags together again. Returns whether it did.
    fn check_again(&self, name: &str, holds: bool) -> bool {
        let mut recorder = self.local.recorder.borrow_mut();
        let (group, scenario) = (self.group.borrow(), self.place.scenario);
        let tags = recorder.check_again(name, &group, scenario, holds);
        if let Some(tags) = tags {
            record(&mut recorder, tags, holds);
        }
        tags.is_some()
    }
}

fn record(recorder: &mut Recorder, tags: TagsId, holds: bool) {
    let now = if recorder.is_tapped() { now_nanos() } else { 0 };
    recorder.record(builtin::CHECKS, tags, f64::from(u8::from(holds)), now);
}

pub(super) fn install<'js>(natives: &Natives<'_, 'js>) -> Result<()> {
    natives.add(
        "check",
        |ctx: Ctx<'js>, value: Opt<Value<'js>>, checks: Opt<Value<'js>>, tags: Opt<Value<'js>>| {
            let checks = checks.0.and_then(Value::into_object);
            let Some(checks) = checks.filter(|checks| !checks.is_function()) else {
                let text = "check: the second argument must be an object of names and functions";
                return Err(Exception::throw_type(&ctx, text));
            };
            let value = value.0.unwrap_or_else(|| Value::new_undefined(ctx.clone()));
            let tags = pairs(tags.0.and_then(Value::into_object))?;
            check_all(&ctx, &value, &checks, &tags)
        },
    )
}

/// Counts each of `checks`. Returns whether all hold.
fn check_all<'js>(
    ctx: &Ctx<'js>,
    value: &Value<'js>,
    checks: &Object<'js>,
    tags: &[(String, String)],
) -> Result<bool> {
    let host = now();
    let mut all = true;
    for name in checks.keys::<Atom<'js>>() {
        let name = name?;
        let text = name.to_js_string()?.to_cstring()?;
        // Text of JavaScript need not be well-formed.
        let text = String::from_utf8_lossy(text.as_ref());
        if text.contains("::") {
            let why = format!("the name of a check may not contain \"::\": {text}");
            return Err(Exception::throw_message(ctx, &why));
        }
        let mut holds: Value<'js> = checks.get(name)?;
        if let Some(judge) = holds.as_function() {
            holds = match judge.call((value.clone(),)) {
                Ok(holds) => holds,
                Err(error) => {
                    // What is cut off has neither passed nor failed.
                    if is_catchable(ctx) {
                        host.check(&text, false, tags);
                    }
                    return Err(error);
                }
            };
        }
        if holds.is_promise() {
            let why =
                format!("check \"{text}\" is asynchronous; await the value first and check that");
            return Err(Exception::throw_message(ctx, &why));
        }
        let holds = Coerced::<bool>::from_js(ctx, holds)?.0;
        host.check(&text, holds, tags);
        all &= holds;
    }
    Ok(all)
}

/// Names and values, as texts.
fn pairs(tags: Option<Object<'_>>) -> Result<Vec<(String, String)>> {
    let Some(tags) = tags else {
        return Ok(Vec::new());
    };
    let pairs = tags.props::<String, Coerced<String>>();
    pairs
        .map(|pair| pair.map(|(name, value)| (name, value.0)))
        .collect()
}
