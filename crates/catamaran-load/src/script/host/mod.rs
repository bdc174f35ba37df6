//! What scripts can do: the functions behind the modules, and what the host knows of each realm.

mod checks;
mod cookies;
mod data;
mod facts;
mod globals;
mod later;
mod measures;
mod memo;
mod neighbourhood;
mod system_tags;
mod turn;
mod waits;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::File;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rquickjs_core::object::Accessor;
use rquickjs_core::{Ctx, Error, Exception, Function, IntoJs, Object, Persistent, Result, Value};

use super::grpc::{self, Grpc};
use super::http::{Jar, Pool};
use super::loader::Library;
use super::realm::{Script, evaluate};
use super::seam::{self, Find, Found};
use super::sockets::{self, Sockets};
use crate::client::LazyTls;
use crate::engine::{Local, Stop};
use crate::metric::Registry;
use crate::names::Names;
use crate::options::HttpDebug;
use crate::pace::Pace;
use crate::sources::Sources;
use crate::tags::TagsId;
pub(super) use globals::{buffer, install_globals};
use later::Later;
pub(super) use later::{Outcome, next_later};
pub(super) use memo::About;
use neighbourhood::Neighbourhood;
pub(super) use system_tags::{SystemTag, SystemTags};
pub(super) use turn::{is_over, now, turn};
pub(super) use waits::wait;

/// What is the same for all virtual users of a run.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) user_agent: String,
    pub(super) max_redirects: u32,
    pub(super) throws: bool,
    /// Whether requests to `https` go over HTTP/3.
    pub(super) http3: bool,
    pub(super) discards_bodies: bool,
    pub(super) keeps_connections: bool,
    pub(super) keeps_connections_over_iterations: bool,
    pub(super) keeps_cookies_over_iterations: bool,
    pub(super) batch: usize,
    pub(super) batch_per_host: usize,
    /// Where names lead.
    pub(super) names: Names,
    /// How many requests there may be a second.
    pub(super) pace: Option<Pace>,
    /// Tags of all samples.
    pub(super) tags: Vec<(String, String)>,
    pub(super) system_tags: SystemTags,
    /// What connections over TLS begin with.
    pub(super) tls: LazyTls,
    /// Addresses that requests come from, if the system does not choose them.
    pub(super) sources: Option<Sources>,
    /// What is logged of requests and answers.
    pub(super) http_debug: Option<HttpDebug>,
    /// Where what scripts print goes, in place of the standard error.
    pub(super) printed: Option<File>,
    /// The options as JSON, for `exec.test.options`.
    pub(super) options: String,
}

/// Who a realm belongs to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    /// `__VU`; 0 outside of scenarios.
    pub(super) vu: u64,
    /// Its number among those of this process; agents on other machines have others.
    pub(super) here: u64,
    /// The number of its scenario.
    pub(super) scenario: Option<usize>,
}

/// What the host knows of one realm.
pub(super) struct Host {
    pub(super) local: Rc<Local>,
    pub(super) settings: Arc<Settings>,
    pub(super) place: Place,
    /// While metrics may still be declared: where they are.
    pub(super) declaring: Option<RefCell<Registry>>,
    pub(super) iteration: Cell<u64>,
    /// Its number among all iterations of the scenario that asked for theirs.
    pub(super) unique: Cell<Option<u64>>,
    pub(super) pool: RefCell<Pool>,
    /// Bytes of the answers that the script keeps.
    pub(super) kept_bytes: Rc<Cell<usize>>,
    /// Cookie jars; the first is the virtual user's own.
    pub(super) jars: RefCell<Vec<Jar>>,
    /// How many of them outlive iterations: that and those made at the top level.
    pub(super) lasting_jars: Cell<usize>,
    pub(super) sockets: RefCell<Sockets>,
    pub(super) grpc: Grpc,
    /// How many nanoseconds too late the iteration began, in an open model: its requests should have begun
    /// so much sooner.
    pub(super) late: Cell<Option<u64>>,
    /// Whether its script ended the run.
    pub(super) aborts: Cell<bool>,
    /// When the top level must be done, in nanoseconds of the monotonic clock.
    pub(super) deadline: Cell<u64>,
    /// Whether its script's top level runs.
    pub(super) is_loading: Cell<bool>,
    /// Whether it sees the variables of its scenario, or only those of all, as the top level does.
    pub(super) sees_own_variables: Cell<bool>,
    /// Tags that the script gave its virtual user.
    pub(super) vu_tags: RefCell<BTreeMap<String, String>>,
    /// The summary as text, for `handleSummary`.
    pub(super) summary: RefCell<String>,
    library: Arc<Library>,
    /// What modules of ours put where others find it.
    parts: RefCell<Option<Persistent<Object<'static>>>>,
    /// What promises were rejected with that nobody has looked at.
    rejections: RefCell<Vec<String>>,
    /// Made when a script first begins what it does not wait for.
    later: RefCell<Option<Box<Later>>>,
    stop: RefCell<Rc<Stop>>,
    group: RefCell<String>,
    groups_begun: RefCell<Vec<(usize, u64)>>,
    pub(super) neighbourhood: Rc<Neighbourhood>,
}

impl Host {
    pub(super) fn new(
        local: Rc<Local>,
        settings: Arc<Settings>,
        script: &Script,
        place: Place,
        declaring: Option<Registry>,
    ) -> Self {
        let neighbourhood = Neighbourhood::of_worker(&local, &settings, script);
        Self {
            local,
            settings,
            place,
            declaring: declaring.map(RefCell::new),
            iteration: Cell::new(0),
            unique: Cell::new(None),
            pool: RefCell::default(),
            kept_bytes: Rc::default(),
            jars: RefCell::new(vec![Jar::default()]),
            lasting_jars: Cell::new(1),
            sockets: RefCell::default(),
            grpc: Grpc::default(),
            late: Cell::new(None),
            aborts: Cell::new(false),
            deadline: Cell::new(u64::MAX),
            is_loading: Cell::new(false),
            sees_own_variables: Cell::new(false),
            vu_tags: RefCell::default(),
            summary: RefCell::default(),
            library: Arc::clone(&script.library),
            parts: RefCell::default(),
            rejections: RefCell::default(),
            later: RefCell::default(),
            stop: RefCell::default(),
            group: RefCell::default(),
            groups_begun: RefCell::default(),
            neighbourhood,
        }
    }

    /// The address that its requests come from; as in k6, the first is also for what is no virtual user.
    pub(super) fn source(&self) -> Option<IpAddr> {
        let sources = self.settings.sources.as_ref()?;
        sources.nth(self.place.here.saturating_sub(1))
    }

    /// What all realms of the run share.
    pub(super) fn library(&self) -> &Library {
        &self.library
    }

    /// Keeps what the modules share, until [`Self::forget_parts`].
    pub(super) fn keep_parts<'js>(&self, ctx: &Ctx<'js>, parts: Object<'js>) {
        self.parts.replace(Some(Persistent::save(ctx, parts)));
    }

    /// Forgets it, as must be before the realm goes.
    pub(super) fn forget_parts(&self) {
        self.parts.take();
    }

    /// What the modules share.
    pub(super) fn parts<'js>(&self, ctx: &Ctx<'js>) -> Result<Object<'js>> {
        let parts = self.parts.borrow().clone();
        parts.ok_or(Error::Unknown)?.restore(ctx)
    }

    /// What a module of ours shares, which is loaded when it is first needed.
    pub(super) fn part<'js>(&self, ctx: &Ctx<'js>, name: &str) -> Result<Object<'js>> {
        let parts = self.parts(ctx)?;
        if let Some(part) = parts.get(name)? {
            return Ok(part);
        }
        self.load(ctx, name)?;
        parts.get(name)
    }

    fn load(&self, ctx: &Ctx<'_>, part: &str) -> Result<()> {
        evaluate(ctx, &self.library, &format!("catamaran:{part}")).map(drop)
    }

    /// Where the script lies.
    pub(super) fn directory(&self) -> &std::path::Path {
        &self.neighbourhood.directory
    }

    /// Whether one of its functions runs, which may wait, and not the top level.
    pub(super) fn may_wait(&self) -> bool {
        seam::is_on_fiber() && !self.is_loading.get()
    }

    pub(super) fn stop(&self) -> Rc<Stop> {
        Rc::clone(&self.stop.borrow())
    }

    /// Whether the iteration is cut off.
    pub(super) fn is_cut(&self) -> bool {
        self.stop.borrow().is_cut() || self.local.has_aborted()
    }

    /// Prepares for an iteration, or for `setup` and `teardown` with their group.
    pub(super) fn begin(&self, stop: &Rc<Stop>, group: &str) {
        self.stop.replace(Rc::clone(stop));
        group.clone_into(&mut self.group.borrow_mut());
        self.groups_begun.borrow_mut().clear();
        self.unique.set(None);
        let mut jars = self.jars.borrow_mut();
        jars.truncate(self.lasting_jars.get());
        if !self.settings.keeps_cookies_over_iterations {
            jars[0].clear();
        }
        if !self.settings.keeps_connections_over_iterations {
            self.pool.borrow_mut().clear();
        }
    }

    /// Ends what timers and requests wait for: nothing of it belongs to the next iteration. Returns
    /// whether there was anything.
    pub(super) fn forget_later(&self) -> bool {
        // Outside of the borrow: what is closed tells how long it was open.
        let sockets = self.sockets.take();
        drop(sockets);
        self.grpc.forget_streams();
        // Nothing new is made where there was nothing, which is the rule.
        self.later.take().is_some_and(|later| !later.is_empty())
    }

    /// Notes that a promise was rejected, or that somebody took the rejection after all.
    pub(super) fn note_rejection(&self, why: impl FnOnce() -> String, is_handled: bool) {
        let mut rejections = self.rejections.borrow_mut();
        if is_handled {
            // Which one is not told; that there is one less is.
            rejections.pop();
        } else if rejections.len() < MAX_REJECTIONS {
            rejections.push(why());
        }
    }

    /// The first rejection that nobody took; all are forgotten.
    pub(super) fn take_rejection(&self) -> Option<String> {
        self.rejections.take().into_iter().next()
    }

    /// The tags of what there are many of: from the memo, or as `make` puts them together.
    pub(super) fn tags_about(&self, about: About<'_>, make: impl FnOnce() -> TagsId) -> TagsId {
        // What a script gives its virtual user changes as it likes.
        if !self.vu_tags.borrow().is_empty() {
            return make();
        }
        let group = self.group.borrow();
        let (memo, at) = (
            &self.neighbourhood.memo,
            (self.place.scenario, group.as_str()),
        );
        if let Some(tags) = memo.borrow().find(at, about) {
            return tags;
        }
        let tags = make();
        memo.borrow_mut().keep(at, about, tags);
        tags
    }

    /// Names the set of these tags with those of the group and the scenario below them.
    pub(super) fn tags<'a>(&self, own: impl Iterator<Item = (&'a str, &'a str)>) -> TagsId {
        let own: Vec<_> = own.collect();
        let group = self.group.borrow();
        let vu_tags = self.vu_tags.borrow();
        let mut pairs: Vec<(&str, &str)> = Vec::with_capacity(20);
        pairs.extend(self.neighbourhood.tags_of(self.place.scenario));
        if self.has(SystemTag::Group) {
            pairs.push(("group", &group));
        }
        let vu_tags = vu_tags.iter();
        pairs.extend(vu_tags.map(|(name, value)| (name.as_str(), value.as_str())));
        pairs.extend_from_slice(&own);
        self.local.recorder.borrow_mut().intern(&pairs)
    }

    /// As above, with names and values by turns.
    pub(super) fn tags_of(&self, flat: &[String]) -> TagsId {
        let pairs = flat.chunks_exact(2);
        self.tags(pairs.map(|pair| (pair[0].as_str(), pair[1].as_str())))
    }

    /// Names the tags that iterations have: those of the scenario, in no group.
    pub(super) fn iteration_tags(&self) -> TagsId {
        self.tags_about(About::Iteration, || self.new_iteration_tags())
    }

    fn new_iteration_tags(&self) -> TagsId {
        let vu_tags = self.vu_tags.borrow();
        let own = self.neighbourhood.tags_of(self.place.scenario);
        let vu = vu_tags.iter();
        let vu = vu.map(|(name, value)| (name.as_str(), value.as_str()));
        let group = self.has(SystemTag::Group).then_some(("group", ""));
        let pairs: Vec<_> = own.chain(group).chain(vu).collect();
        self.local.recorder.borrow_mut().intern(&pairs)
    }

    /// Which variables it sees: 0 are those of all, then come those of the scenarios.
    fn variables_seen(&self) -> usize {
        match self.place.scenario {
            Some(scenario) if self.sees_own_variables.get() => scenario + 1,
            _ => 0,
        }
    }

    /// Whether the load test adds this tag by itself.
    pub(super) fn has(&self, tag: SystemTag) -> bool {
        self.settings.system_tags.has(tag)
    }
}

/// Puts the host's functions and the usual globals into a realm.
pub(super) fn install<'js>(ctx: &Ctx<'js>, host: &Rc<Host>, script: &Script) -> Result<()> {
    install_natives(ctx)?;
    let globals = ctx.globals();
    globals.set("__VU", host.place.vu)?;
    globals::install(ctx, host, &script.env)
}

/// As above, for a realm that virtual users share: whoever runs sees what is its own.
pub(super) fn install_shared(ctx: &Ctx<'_>) -> Result<()> {
    install_natives(ctx)?;
    let number = Accessor::from(|| now().place.vu);
    ctx.globals().prop("__VU", number)?;
    let seen = Function::new(ctx.clone(), || now().variables_seen())?;
    ctx.globals().set("__seen", seen)
}

/// The variables of the environment, as an object.
pub(super) fn variables<'js>(ctx: &Ctx<'js>, script: &Script) -> Result<Object<'js>> {
    let variables = Object::new(ctx.clone())?;
    for (name, value) in &*script.env {
        variables.set(&**name, &**value)?;
    }
    Ok(variables)
}

fn install_natives<'js>(ctx: &Ctx<'js>) -> Result<()> {
    // Each is made when a script first needs it: most need few of them.
    let find: Find = Box::new(|ctx, name| {
        let value = native(ctx, &now(), name)?;
        Ok((!value.is_undefined()).then_some(Found::Value(value)))
    });
    let globals = ctx.globals();
    globals.set("__host", seam::finds(ctx, find)?)?;
    let iteration = || {
        let host = now();
        host.place.scenario.map(|_| host.iteration.get())
    };
    globals.prop("__ITER", Accessor::from(iteration).configurable())
}

/// The native function or value of a name; `undefined` without one.
fn native<'js>(ctx: &Ctx<'js>, host: &Rc<Host>, name: &str) -> Result<Value<'js>> {
    let object = Object::new(ctx.clone())?;
    let natives = Natives {
        ctx,
        host,
        object: &object,
        wanted: name,
    };
    checks::install(&natives)?;
    measures::install(&natives)?;
    waits::install(&natives)?;
    later::install(&natives)?;
    data::install(&natives)?;
    facts::install(&natives)?;
    cookies::install(&natives)?;
    super::http::install(&natives)?;
    sockets::install(&natives)?;
    grpc::install(&natives)?;
    natives.set("throws", host.settings.throws)?;
    let value: Value<'js> = object.get(name)?;
    #[cfg(feature = "testing")]
    if value.is_function() {
        return pausing(ctx, value);
    }
    Ok(value)
}

/// The function, with a pause before each call.
#[cfg(feature = "testing")]
fn pausing<'js>(ctx: &Ctx<'js>, function: Value<'js>) -> Result<Value<'js>> {
    use rquickjs_core::context::EvalOptions;

    let pause = Function::new(ctx.clone(), seam::pause)?;
    let text = "(pause, work) => (...values) => { pause(); return work(...values); }";
    let mut options = EvalOptions::default();
    // Where it shows in a stack, it is one of our modules.
    options.filename = Some("k6".to_owned());
    let wrap: Function<'js> = ctx.eval_with_options(text, options)?;
    wrap.call((pause, function))
}

/// Where native functions are put.
pub(super) struct Natives<'a, 'js> {
    pub(super) ctx: &'a Ctx<'js>,
    pub(super) host: &'a Rc<Host>,
    object: &'a Object<'js>,
    /// The only one that is made.
    wanted: &'a str,
}

impl<'js> Natives<'_, 'js> {
    /// Adds a function under a name.
    pub(super) fn add<P, F>(&self, name: &str, function: F) -> Result<()>
    where
        F: rquickjs_core::function::IntoJsFunc<'js, P> + 'js,
    {
        if name != self.wanted {
            return Ok(());
        }
        let function = Function::new(self.ctx.clone(), function)?.with_name(name)?;
        self.object.set(name, function)
    }

    /// Adds a value under a name.
    pub(super) fn set(&self, name: &str, value: impl IntoJs<'js>) -> Result<()> {
        if name != self.wanted {
            return Ok(());
        }
        self.object.set(name, value)
    }
}

/// Refuses what a script may not do at its top level.
pub(super) fn must_run(ctx: &Ctx<'_>, what: &str) -> Result<()> {
    if now().may_wait() {
        return Ok(());
    }
    let text = format!("{what} is for functions that run, not for the top level of the script");
    Err(Exception::throw_message(ctx, &text))
}

/// Refuses what a script may do at its top level only.
pub(super) fn must_not_run(ctx: &Ctx<'_>, what: &str) -> Result<()> {
    if !now().may_wait() {
        return Ok(());
    }
    let text = format!("{what} is for the top level of the script, not for functions that run");
    Err(Exception::throw_message(ctx, &text))
}

/// Whether a script may catch what was thrown: a cut it may not. It stays thrown.
fn is_catchable(ctx: &Ctx<'_>) -> bool {
    let thrown = ctx.catch();
    let is_catchable = !thrown.is_uncatchable_error();
    ctx.throw(thrown);
    is_catchable
}

/// A time from JavaScript's milliseconds, at most a day: what is longer is meant for ever.
pub(super) fn millis(millis: f64) -> Duration {
    Duration::try_from_secs_f64(millis / 1e3)
        .unwrap_or(if millis > 0.0 { DAY } else { Duration::ZERO })
        .min(DAY)
}

/// Rejections of one iteration that are told apart.
const MAX_REJECTIONS: usize = 100;

const DAY: Duration = Duration::from_secs(86_400);
