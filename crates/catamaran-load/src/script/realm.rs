//! A script in its engine: one for each virtual user, and one each for options, setup, teardown and the
//! summary.
//!
//! Each has an engine of its own, so that no state leaks between virtual users, as in k6. Only where a
//! script cannot tell the difference they share one (`world.rs`).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{self, Poll};

use catamaran_sys::clock::now_nanos;
use corosensei::stack::DefaultStack;
use rquickjs_core::context::intrinsic;
use rquickjs_core::module::Declared;
use rquickjs_core::promise::PromiseState;
use rquickjs_core::{
    CatchResultExt, CaughtError, Context, Ctx, Exception, Function, Module, Object, Persistent,
    Result, Value,
};

use super::host::{self, Host};
use super::loader::{HOST, Library, Modules};
use super::seam::{self, Fiber};
use super::world::{self, World};

/// The script and what it is given, the same for all realms.
#[derive(Debug)]
pub(super) struct Script {
    /// The path, absolute.
    pub(super) path: String,
    /// Its modules, and what its realms share.
    pub(super) library: Arc<Library>,
    /// `__ENV`.
    pub(super) env: Arc<Vec<(String, String)>>,
}

/// How a call into a script ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Called {
    /// With this value as JSON, if it was wanted; `None` of `undefined`.
    Returned(Option<String>),
    /// With an exception: what it says, with its stack.
    Threw(String),
    /// It was cut off.
    Cut,
}

/// What becomes of the value that a function returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// It is given back as JSON.
    Value,
    /// It is forgotten.
    Nothing,
}

/// One realm. Fields are dropped in this order: values before their context.
pub(super) struct Realm {
    exports: RefCell<Option<Persistent<Object<'static>>>>,
    data: RefCell<Option<Persistent<Value<'static>>>>,
    /// The function called last, with its name.
    called: RefCell<Option<(String, Persistent<Function<'static>>)>>,
    engine: Engine,
    pub(super) host: Rc<Host>,
}

/// Where a script runs.
enum Engine {
    Own(Context),
    Shared(Rc<World>),
}

impl Realm {
    /// One in which nothing has run yet.
    pub(super) fn new(script: &Script, host: Rc<Host>) -> std::result::Result<Rc<Self>, String> {
        let said = |error: rquickjs_core::Error| error.to_string();
        let runtime = seam::runtime().map_err(said)?;
        runtime.set_max_stack_size(SCRIPT_STACK_BYTES);
        runtime.set_memory_limit(MAX_MEMORY_BYTES);
        let modules = Modules::of_one(Arc::clone(&script.library));
        runtime.set_loader(modules.clone(), modules);
        let watched = Rc::clone(&host);
        runtime.set_interrupt_handler(Some(Box::new(move || {
            seam::give_way();
            watched.is_over()
        })));
        let noted = Rc::clone(&host);
        runtime.set_host_promise_rejection_tracker(Some(Box::new(
            move |_ctx, _promise, reason, is_handled| {
                noted.note_rejection(|| describe_value(&reason), is_handled);
            },
        )));
        let context = Context::custom::<Intrinsics>(&runtime).map_err(said)?;
        Ok(Self::with(Engine::Own(context), host))
    }

    /// As [`Realm::new`], in an engine that it shares with the other virtual users of this worker.
    pub(super) fn shared(script: &Script, host: Rc<Host>) -> std::result::Result<Rc<Self>, String> {
        let world = World::of_worker(script, &host)?;
        Ok(Self::with(Engine::Shared(world), host))
    }

    fn with(engine: Engine, host: Rc<Host>) -> Rc<Self> {
        Rc::new(Self {
            exports: RefCell::default(),
            data: RefCell::default(),
            called: RefCell::default(),
            engine,
            host,
        })
    }

    /// Runs the script's top level, for a minute at most. What is called later sees `env` beside the
    /// variables of all.
    pub(super) fn load(
        &self,
        script: &Script,
        env: &BTreeMap<String, String>,
    ) -> std::result::Result<(), String> {
        let deadline = &self.host.deadline;
        deadline.set(now_nanos() + INIT_NANOS);
        let loaded = self.run_top_level(script, env);
        let is_late = deadline.replace(u64::MAX) < now_nanos();
        match loaded {
            Err(_) if is_late => Err("the script's top level took longer than a minute".to_owned()),
            loaded => loaded,
        }
    }

    /// As [`Self::load`], with the variables of all alone.
    pub(super) fn loaded(self: Rc<Self>, script: &Script) -> std::result::Result<Rc<Self>, String> {
        self.load(script, &BTreeMap::new())?;
        Ok(self)
    }

    fn run_top_level(
        &self,
        script: &Script,
        env: &BTreeMap<String, String>,
    ) -> std::result::Result<(), String> {
        self.host.is_loading.set(true);
        let loaded = self.enter(|ctx| told(ctx, self.read(ctx, script, env)));
        self.host.is_loading.set(false);
        loaded.map_err(|why| self.explained(why))
    }

    fn enter<R>(&self, work: impl FnOnce(&Ctx<'_>) -> R) -> R {
        let _turn = host::turn(&self.host);
        match &self.engine {
            Engine::Own(context) => context.with(|ctx| {
                seam::entered(&ctx);
                work(&ctx)
            }),
            Engine::Shared(world) => world.enter(work),
        }
    }

    fn read(&self, ctx: &Ctx<'_>, script: &Script, env: &BTreeMap<String, String>) -> Result<()> {
        let exports = match &self.engine {
            Engine::Own(_) => self.read_own(ctx, script)?,
            Engine::Shared(world) => world.load(ctx, script, &self.host)?,
        };
        // What a CommonJS module exports is not known before it runs.
        let exports = match exports.get::<_, Object<'_>>("__commonjs") {
            Ok(common) => common,
            Err(_) => exports,
        };
        self.exports.replace(Some(Persistent::save(ctx, exports)));
        // The top level of a script sees the variables of all; what runs then, those of its scenario.
        match &self.engine {
            Engine::Own(_) if env.is_empty() => {}
            Engine::Own(_) => {
                let variables: Object<'_> = ctx.globals().get("__ENV")?;
                for (name, value) in env {
                    variables.set(&**name, &**value)?;
                }
            }
            Engine::Shared(world) => {
                world.define(ctx, script, self.host.place.scenario, env)?;
                self.host.sees_own_variables.set(true);
            }
        }
        Ok(())
    }

    fn read_own<'js>(&self, ctx: &Ctx<'js>, script: &Script) -> Result<Object<'js>> {
        host::install(ctx, &self.host, script)?;
        let own = evaluate(ctx, &script.library, HOST)?;
        self.host.keep_parts(ctx, own.get("parts")?);
        evaluate(ctx, &script.library, &script.path)
    }

    /// Whether the script exports a function of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.enter(|ctx| {
            let exports = self.exports(ctx);
            exports
                .and_then(|exports| exports.get::<_, Function<'_>>(name))
                .is_ok()
        })
    }

    /// An export as JSON; `None`, if there is none.
    pub(super) fn export(&self, name: &str) -> std::result::Result<Option<String>, String> {
        self.enter(|ctx| {
            let read = || {
                let value: Value<'_> = self.exports(ctx)?.get(name)?;
                json(ctx, value)
            };
            read().catch(ctx).map_err(|error| describe(&error))
        })
    }

    /// Calls an exported function with `argument`, which is read once and kept.
    fn call(&self, name: &str, argument: Option<&str>, wanted: Wanted) -> Called {
        self.enter(|ctx| {
            let called = self.try_call(ctx, name, argument, wanted).catch(ctx);
            if self.host.forget_later() {
                // Of one that is cut off nothing is called any more, so that it forgets in vain.
                let _ = self
                    .later(ctx, "forget")
                    .and_then(|forget| forget.call::<_, ()>(()))
                    .catch(ctx);
            }
            let rejection = self.host.take_rejection();
            match (called, rejection) {
                _ if self.host.is_cut() => Called::Cut,
                (Err(error), _) => Called::Threw(self.explained(describe(&error))),
                (Ok(_), Some(why)) => Called::Threw(format!("Uncaught (in promise) {why}")),
                (Ok(value), None) => Called::Returned(value),
            }
        })
    }

    fn try_call<'js>(
        &self,
        ctx: &Ctx<'js>,
        name: &str,
        argument: Option<&str>,
        wanted: Wanted,
    ) -> Result<Option<String>> {
        let function = self.function(ctx, name)?;
        let argument = self.argument(ctx, argument)?;
        let value: Value<'js> = function.call((argument,))?;
        let promise = value.as_promise().cloned();
        self.run_later(ctx)?;
        let value = match promise.map(|promise| promise.result::<Value<'js>>()) {
            None => value,
            Some(Some(result)) => result?,
            Some(None) => return Ok(None),
        };
        match wanted {
            Wanted::Value => json(ctx, value),
            Wanted::Nothing => Ok(None),
        }
    }

    /// Runs promises and timers until there are none left, as k6 does before an iteration ends.
    ///
    /// Not inlined, as [`json`] and [`describe`]: the stack below a script would be the deeper for what few
    /// iterations need.
    #[inline(never)]
    fn run_later(&self, ctx: &Ctx<'_>) -> Result<()> {
        // Who shares an engine has none, see `typescript/sharing.rs`.
        if self.is_shared() {
            return Ok(());
        }
        loop {
            while !self.host.is_cut() && ctx.execute_pending_job() {}
            let Some((number, outcome)) = host::next_later(ctx, &self.host)? else {
                return Ok(());
            };
            let complete = self.later(ctx, "complete")?;
            complete.call::<_, ()>((number, outcome))?;
        }
    }

    /// A function of the module that calls scripts back.
    fn later<'js>(&self, ctx: &Ctx<'js>, name: &str) -> Result<Function<'js>> {
        self.host.part(ctx, "later")?.get(name)
    }

    /// Whether its engine is one of many.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self.engine, Engine::Shared(_))
    }

    /// What was thrown, with a word on engines that are shared if that may be why.
    fn explained(&self, why: String) -> String {
        match self.is_shared() {
            true => world::explained(why),
            false => why,
        }
    }

    fn function<'js>(&self, ctx: &Ctx<'js>, name: &str) -> Result<Function<'js>> {
        if let Some((known, function)) = &*self.called.borrow()
            && known == name
        {
            return function.clone().restore(ctx);
        }
        let function: Function<'js> = self.exports(ctx)?.get(name)?;
        let kept = Persistent::save(ctx, function.clone());
        self.called.replace(Some((name.to_owned(), kept)));
        Ok(function)
    }

    fn argument<'js>(&self, ctx: &Ctx<'js>, text: Option<&str>) -> Result<Value<'js>> {
        let Some(text) = text else {
            return Ok(Value::new_undefined(ctx.clone()));
        };
        if let Some(kept) = self.data.borrow().clone() {
            return kept.restore(ctx);
        }
        let value = ctx.json_parse(text)?;
        self.data
            .replace(Some(Persistent::save(ctx, value.clone())));
        Ok(value)
    }

    fn exports<'js>(&self, ctx: &Ctx<'js>) -> Result<Object<'js>> {
        let exports = self.exports.borrow().clone();
        exports.ok_or(rquickjs_core::Error::Unknown)?.restore(ctx)
    }
}

impl Drop for Realm {
    fn drop(&mut self) {
        self.host.forget_parts();
    }
}

/// Calls an exported function on a fiber, so that it may wait.
pub(super) fn call_on_fiber(
    realm: &Rc<Realm>,
    stack: DefaultStack,
    name: &str,
    argument: Option<Arc<str>>,
    wanted: Wanted,
) -> Call<Called> {
    let host = Rc::clone(&realm.host);
    let (realm, name) = (Rc::clone(realm), name.to_owned());
    let fiber = Fiber::new(stack, move || {
        realm.call(&name, argument.as_deref(), wanted)
    });
    Call { fiber, host }
}

/// As [`Realm::load`], while others run; cut off, it is an error.
pub(super) async fn load_on_fiber(
    realm: &Rc<Realm>,
    stack: DefaultStack,
    script: Arc<Script>,
    env: BTreeMap<String, String>,
) -> std::result::Result<(), String> {
    let (own, host) = (Rc::clone(realm), Rc::clone(&realm.host));
    let stop = host.stop();
    let _turn = match &realm.engine {
        Engine::Own(_) => None,
        Engine::Shared(world) => Some(tokio::select! {
            turn = world.loading.lock() => turn,
            () = stop.was_cut() => return Err("the run ended".to_owned()),
        }),
    };
    let fiber = Fiber::new(stack, move || own.load(&script, &env));
    Call { fiber, host }.await
}

/// Work in a script, under way.
pub(super) struct Call<T> {
    fiber: Fiber<T>,
    host: Rc<Host>,
}

impl<T: 'static> Call<T> {
    /// The stack of one that has ended, for the next.
    pub(super) fn into_stack(self) -> Option<DefaultStack> {
        self.fiber.into_stack()
    }
}

impl<T> Future for Call<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut task::Context<'_>) -> Poll<T> {
        let _turn = host::turn(&self.host);
        Pin::new(&mut self.fiber).poll(context)
    }
}

/// Runs the top level of a module. Returns what it exports.
pub(super) fn evaluate<'js>(ctx: &Ctx<'js>, library: &Library, name: &str) -> Result<Object<'js>> {
    run(ctx, library.declare(ctx, name)?)
}

/// As [`evaluate`], of a module that is declared.
pub(super) fn run<'js>(ctx: &Ctx<'js>, module: Module<'js, Declared>) -> Result<Object<'js>> {
    let (module, promise) = module.eval()?;
    while promise.state() == PromiseState::Pending && ctx.execute_pending_job() {}
    match promise.result::<Value<'_>>() {
        Some(result) => result.map(drop)?,
        None => {
            let text = "the script waits at its top level for what never comes";
            return Err(Exception::throw_message(ctx, text));
        }
    }
    module.namespace()
}

/// A value as JSON; `None` of what JSON has no words for.
#[inline(never)]
fn json<'js>(ctx: &Ctx<'js>, value: Value<'js>) -> Result<Option<String>> {
    let text = ctx.json_stringify(value)?;
    text.map(|text| text.to_string()).transpose()
}

/// What came of work in a script, with what was thrown as text.
pub(super) fn told<T>(ctx: &Ctx<'_>, done: Result<T>) -> std::result::Result<T, String> {
    done.catch(ctx).map_err(|error| describe(&error))
}

/// What was thrown, and where.
#[inline(never)]
fn describe(error: &CaughtError<'_>) -> String {
    match error {
        CaughtError::Exception(exception) => describe_exception(exception),
        CaughtError::Value(value) => format!("Uncaught {}", describe_value(value)),
        CaughtError::Error(error) => error.to_string(),
    }
}

fn describe_exception(exception: &Exception<'_>) -> String {
    let name: String = exception.as_object().get("name").unwrap_or_default();
    let message = exception.message().unwrap_or_default();
    let stack = exception.stack().unwrap_or_default();
    // A getter of the script's may have thrown meanwhile.
    exception.as_object().ctx().catch();
    let text = format!("{name}: {message}\n{}", stack.trim_end());
    text.trim_end().to_owned()
}

/// Anything that was thrown or that a promise was rejected with.
fn describe_value(value: &Value<'_>) -> String {
    let exception = value.as_object().cloned().and_then(Exception::from_object);
    if let Some(exception) = exception {
        return describe_exception(&exception);
    }
    let text = value.as_string().map(rquickjs_core::String::to_string);
    let text = text.and_then(Result::ok).or_else(|| {
        let text = value.ctx().json_stringify(value.clone()).ok()??;
        text.to_string().ok()
    });
    text.unwrap_or_else(|| "undefined".to_owned())
}

/// What a realm begins with, beside the base of the language; the rest is made when a script names it.
type Intrinsics = (
    intrinsic::Eval,
    intrinsic::RegExpCompiler,
    intrinsic::RegExp,
    intrinsic::Promise,
);

/// Bytes of the stack that a script runs on. Only what is touched takes memory.
pub(super) const STACK_BYTES: usize = 1024 * 1024;
/// What the engine may use of them; the rest is for host functions.
pub(super) const SCRIPT_STACK_BYTES: usize = 640 * 1024;
/// Bytes that one virtual user may hold: an endless loop of allocations ends as an exception.
const MAX_MEMORY_BYTES: usize = 512 * 1024 * 1024;
/// How long the top level of a script may take.
const INIT_NANOS: u64 = 60_000_000_000;
