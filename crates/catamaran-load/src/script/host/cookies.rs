//! Cookie jars, as scripts see them.

use rquickjs_core::{Ctx, Exception, Result};

use super::{Host, Natives, now};
use crate::client::Url;
use crate::script::http::Jar;

impl Host {
    fn with_jar<R>(&self, ctx: &Ctx<'_>, at: usize, work: impl FnOnce(&mut Jar) -> R) -> Result<R> {
        let mut jars = self.jars.borrow_mut();
        let jar = jars.get_mut(at).ok_or_else(|| {
            let text = "this cookie jar is of an earlier iteration; make a new one, or one for all at the top level";
            Exception::throw_message(ctx, text)
        })?;
        Ok(work(jar))
    }
}

pub(super) fn install<'js>(natives: &Natives<'_, 'js>) -> Result<()> {
    let read = |ctx: &Ctx<'js>, url: &str| {
        Url::parse(url).map_err(|error| Exception::throw_message(ctx, &error.to_string()))
    };
    natives.add("newJar", move |ctx: Ctx<'js>| {
        let own = now();
        let mut jars = own.jars.borrow_mut();
        if jars.len() >= MAX_JARS {
            let text = format!("an iteration has {MAX_JARS} cookie jars at most");
            return Err(Exception::throw_range(&ctx, &text));
        }
        jars.push(Jar::default());
        if !own.may_wait() {
            own.lasting_jars.set(jars.len());
        }
        Ok(jars.len() - 1)
    })?;
    natives.add(
        "jarCookies",
        move |ctx: Ctx<'js>, at: usize, url: String| {
            let url = read(&ctx, &url)?;
            now().with_jar(&ctx, at, |jar| {
                let pairs = jar.cookies_for(&url).into_iter();
                pairs
                    .flat_map(|(name, value)| [name, value])
                    .collect::<Vec<_>>()
            })
        },
    )?;
    natives.add(
        "jarSet",
        move |ctx: Ctx<'js>, at: usize, url: String, line: String| {
            let url = read(&ctx, &url)?;
            now().with_jar(&ctx, at, |jar| jar.take(&url, &line))
        },
    )?;
    natives.add(
        "jarRemove",
        move |ctx: Ctx<'js>, at: usize, url: String, name: Option<String>| {
            let url = read(&ctx, &url)?;
            now().with_jar(&ctx, at, |jar| jar.remove(&url, name.as_deref()))
        },
    )
}

/// Cookie jars of one iteration, with those of the top level.
const MAX_JARS: usize = 1000;
