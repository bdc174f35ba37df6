//! What scripts can do: the functions behind the modules.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use catamaran_sys::clock::now_nanos;
use rquickjs_core::{Array, Ctx, Exception, Function, Object, Result};

use super::http::{self, Ask, Pool};
use super::realm::Script;
use super::suspend;
use crate::engine::{Local, Stop};
use crate::metric::{Contains, MetricId, Registry, builtin};
use crate::sink::{Kind, as_f64};
use crate::tags::TagsId;
use crate::time_text::{millis, parse_duration};

/// What is the same for all virtual users of a run.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) user_agent: String,
    pub(super) max_redirects: u32,
    pub(super) throws: bool,
    pub(super) discards_bodies: bool,
    pub(super) keeps_connections: bool,
    pub(super) keeps_connections_over_iterations: bool,
    pub(super) batch: usize,
    /// Tags of all samples.
    pub(super) tags: Vec<(String, String)>,
}

/// What the host knows of one realm.
pub(super) struct Host {
    pub(super) local: Rc<Local>,
    pub(super) settings: Arc<Settings>,
    /// While metrics may still be declared: where they are.
    pub(super) declaring: Option<RefCell<Registry>>,
    pub(super) vu: u64,
    pub(super) iteration: Cell<u64>,
    /// When the top level must be done, in nanoseconds of the monotonic clock.
    pub(super) init_deadline: Cell<u64>,
    pub(super) pool: RefCell<Pool>,
    /// When the iteration should have begun, until its first request has taken it.
    pub(super) intended: Cell<Option<u64>>,
    stop: RefCell<Rc<Stop>>,
    group: RefCell<String>,
    groups_begun: RefCell<Vec<(usize, u64)>>,
    scenario_tags: Vec<(String, String)>,
    path: String,
}

impl Host {
    pub(super) fn new(
        local: Rc<Local>,
        settings: Arc<Settings>,
        script: &Script,
        vu: u64,
        scenario: Option<usize>,
        declaring: Option<Registry>,
    ) -> Self {
        let mut scenario_tags = settings.tags.clone();
        if let Some(scenario) = scenario.map(|index| &local.scenarios[index]) {
            let own = scenario.tags.iter();
            scenario_tags.extend(own.map(|(name, value)| (name.clone(), value.clone())));
            scenario_tags.push(("scenario".to_owned(), scenario.name.clone()));
        }
        Self {
            local,
            settings,
            declaring: declaring.map(RefCell::new),
            vu,
            iteration: Cell::new(0),
            init_deadline: Cell::new(u64::MAX),
            pool: RefCell::default(),
            intended: Cell::new(None),
            stop: RefCell::default(),
            group: RefCell::default(),
            groups_begun: RefCell::default(),
            scenario_tags,
            path: script.path.clone(),
        }
    }

    pub(super) fn stop(&self) -> Rc<Stop> {
        Rc::clone(&self.stop.borrow())
    }

    /// Prepares for an iteration, or for `setup` and `teardown` with their group.
    pub(super) fn begin(&self, stop: &Rc<Stop>, group: &str) {
        self.stop.replace(Rc::clone(stop));
        group.clone_into(&mut self.group.borrow_mut());
        self.groups_begun.borrow_mut().clear();
        if !self.settings.keeps_connections_over_iterations {
            self.pool.borrow_mut().clear();
        }
    }

    /// Names the set of these tags with those of the group and the scenario below them.
    pub(super) fn tags(&self, flat: &[String]) -> TagsId {
        let group = self.group.borrow();
        let mut pairs: Vec<(&str, &str)> = Vec::with_capacity(16);
        pairs.push(("group", &group));
        pairs.extend(
            self.scenario_tags
                .iter()
                .map(|(name, value)| (&**name, &**value)),
        );
        pairs.extend(flat.chunks_exact(2).map(|pair| (&*pair[0], &*pair[1])));
        self.local.recorder.borrow_mut().intern(&pairs)
    }

    fn check(&self, name: &str, holds: bool, flat: &[String]) {
        let mut all = vec!["check".to_owned(), name.to_owned()];
        all.extend_from_slice(flat);
        let tags = self.tags(&all);
        let group = self.group.borrow();
        let mut recorder = self.local.recorder.borrow_mut();
        recorder.check(&group, name, holds);
        recorder.record(
            builtin::CHECKS,
            tags,
            f64::from(u8::from(holds)),
            now_nanos(),
        );
    }

    fn begin_group(&self, name: &str) {
        let mut group = self.group.borrow_mut();
        self.groups_begun
            .borrow_mut()
            .push((group.len(), now_nanos()));
        // Writing to a text cannot fail.
        let _ = write!(group, "::{name}");
        self.local.recorder.borrow_mut().group(&group);
    }

    fn end_group(&self) {
        let Some((len, begun)) = self.groups_begun.borrow_mut().pop() else {
            return;
        };
        let tags = self.tags(&[]);
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
        let tags = self.tags(flat);
        let mut recorder = self.local.recorder.borrow_mut();
        if let Some(metric) = recorder.registry().at(metric) {
            recorder.record(metric, tags, value, now_nanos());
        }
    }

    fn is_running(&self) -> bool {
        suspend::is_on_fiber()
    }
}

/// Waits on the fiber, but not beyond a cut, which ends the script.
pub(super) fn wait<T>(ctx: &Ctx<'_>, host: &Host, work: impl Future<Output = T>) -> Result<T> {
    let stop = host.stop();
    let done = suspend::wait(async {
        tokio::select! {
            biased;
            () = stop.was_cut() => None,
            done = work => Some(done),
        }
    });
    match done {
        Some(done) => Ok(done),
        None => {
            let error = Exception::from_message(ctx.clone(), "the run ended")?;
            Err(suspend::throw_uncatchable(
                ctx,
                error.into_object().into_value(),
            ))
        }
    }
}

/// Puts the host's functions and the usual globals into a realm.
pub(super) fn install<'js>(ctx: &Ctx<'js>, host: &Rc<Host>, script: &Script) -> Result<()> {
    let object = Object::new(ctx.clone())?;
    install_measures(ctx, host, &object)?;
    install_waits(ctx, host, &object)?;
    install_files(ctx, host, &object)?;
    object.set("throws", host.settings.throws)?;
    let globals = ctx.globals();
    globals.set("__host", object)?;
    let env = Object::new(ctx.clone())?;
    for (name, value) in &script.env {
        env.set(&**name, &**value)?;
    }
    globals.set("__ENV", env)?;
    globals.set("__VU", host.vu)?;
    globals.set("__ITER", 0)?;
    ctx.eval::<(), _>(include_str!("modules/prelude.js"))
}

fn install_measures<'js>(ctx: &Ctx<'js>, host: &Rc<Host>, object: &Object<'js>) -> Result<()> {
    let own = Rc::clone(host);
    let check = move |name: String, holds: bool, tags: Vec<String>| own.check(&name, holds, &tags);
    object.set("check", Function::new(ctx.clone(), check)?)?;
    let own = Rc::clone(host);
    let begin = move |name: String| own.begin_group(&name);
    object.set("beginGroup", Function::new(ctx.clone(), begin)?)?;
    let own = Rc::clone(host);
    object.set(
        "endGroup",
        Function::new(ctx.clone(), move || own.end_group())?,
    )?;
    let own = Rc::clone(host);
    let declare = move |ctx: Ctx<'js>, kind: String, name: String, is_time: bool| {
        if own.is_running() {
            let text = "metrics are made at the top level of the script, not while it runs";
            return Err(Exception::throw_message(&ctx, text));
        }
        let declared = own.declare(&kind, &name, is_time);
        declared.map_err(|why| Exception::throw_message(&ctx, &why))
    };
    object.set("declare", Function::new(ctx.clone(), declare)?)?;
    let own = Rc::clone(host);
    let add = move |metric: u32, value: f64, tags: Vec<String>| own.add(metric, value, &tags);
    object.set("add", Function::new(ctx.clone(), add)?)?;
    let log = |level: String, text: String| {
        // A terminal that has gone is no reason to end the run.
        let _ = writeln!(
            std::io::stderr(),
            "level={level} msg={text:?} source=console"
        );
    };
    object.set("log", Function::new(ctx.clone(), log)?)
}

fn install_waits<'js>(ctx: &Ctx<'js>, host: &Rc<Host>, object: &Object<'js>) -> Result<()> {
    let own = Rc::clone(host);
    let sleep = move |ctx: Ctx<'js>, seconds: f64| {
        must_run(&ctx, &own, "sleep")?;
        let time = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        wait(&ctx, &own, tokio::time::sleep(time.min(MAX_SLEEP)))
    };
    object.set("sleep", Function::new(ctx.clone(), sleep)?)?;
    let own = Rc::clone(host);
    let request = move |ctx: Ctx<'js>, args: Array<'js>| {
        must_run(&ctx, &own, "a request")?;
        let ask = Ask::read(&ctx, &args, &own.settings)?;
        let reply = wait(&ctx, &own, http::perform(Rc::clone(&own), ask))?;
        reply.into_js(&ctx)
    };
    object.set("request", Function::new(ctx.clone(), request)?)?;
    let own = Rc::clone(host);
    let batch = move |ctx: Ctx<'js>, list: Vec<Array<'js>>| {
        must_run(&ctx, &own, "a batch")?;
        let read = |args: &Array<'js>| Ask::read(&ctx, args, &own.settings);
        let asks = list.iter().map(read).collect::<Result<Vec<_>>>()?;
        let replies = wait(&ctx, &own, http::perform_all(Rc::clone(&own), asks))?;
        let replies = replies.into_iter().map(|reply| reply.into_js(&ctx));
        replies.collect::<Result<Vec<_>>>()
    };
    object.set("batch", Function::new(ctx.clone(), batch)?)?;
    let time = |ctx: Ctx<'js>, text: String| {
        let read = parse_duration(&text).map(millis);
        read.map_err(|error| Exception::throw_message(&ctx, &error.to_string()))
    };
    object.set("millis", Function::new(ctx.clone(), time)?)
}

fn install_files<'js>(ctx: &Ctx<'js>, host: &Rc<Host>, object: &Object<'js>) -> Result<()> {
    let read = |ctx: &Ctx<'js>, host: &Host, path: &str| -> Result<Vec<u8>> {
        if host.is_running() {
            let text = "open() is for the top level of the script, so that files are read once";
            return Err(Exception::throw_message(ctx, text));
        }
        let directory = Path::new(&host.path)
            .parent()
            .unwrap_or_else(|| Path::new(""));
        let path = directory.join(path);
        let told = |error| {
            let text = format!("{}: {error}", path.display());
            Exception::throw_message(ctx, &text)
        };
        std::fs::read(&path).map_err(told)
    };
    let own = Rc::clone(host);
    let text = move |ctx: Ctx<'js>, path: String| -> Result<String> {
        let bytes = read(&ctx, &own, &path)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    object.set("openText", Function::new(ctx.clone(), text)?)?;
    let own = Rc::clone(host);
    let bytes = move |ctx: Ctx<'js>, path: String| -> Result<Vec<u8>> { read(&ctx, &own, &path) };
    object.set("openBytes", Function::new(ctx.clone(), bytes)?)?;
    let decode = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    object.set("decode", Function::new(ctx.clone(), decode)?)
}

/// Refuses what a script may not do at its top level.
fn must_run(ctx: &Ctx<'_>, host: &Host, what: &str) -> Result<()> {
    if host.is_running() {
        return Ok(());
    }
    let text = format!("{what} is for functions that run, not for the top level of the script");
    Err(Exception::throw_message(ctx, &text))
}

/// A day: what is longer is meant for ever, and timers have their limits.
const MAX_SLEEP: Duration = Duration::from_secs(86_400);
