//! A script in an engine of its own: one for each virtual user, and one each for options, setup,
//! teardown and the summary.
//!
//! Nothing is shared between realms, so that no state leaks between virtual users, as in k6.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use catamaran_sys::clock::now_nanos;
use rquickjs_core::promise::PromiseState;
use rquickjs_core::{
    CatchResultExt, CaughtError, Context, Ctx, Function, Module, Object, Persistent, Result,
    Runtime, Value,
};

use super::host::{self, Host};
use super::loader::Modules;
use super::suspend;

/// The script and what it is given, the same for all realms.
#[derive(Debug)]
pub(super) struct Script {
    /// The path, absolute.
    pub(super) path: String,
    /// Its text.
    pub(super) source: String,
    /// `__ENV`.
    pub(super) env: Vec<(String, String)>,
}

/// How a call into a script ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Called {
    /// With this value as JSON; `None` of `undefined`.
    Returned(Option<String>),
    /// With an exception: what it says, with its stack.
    Threw(String),
    /// It was cut off.
    Cut,
}

/// One realm. Fields are dropped in this order: values before their context.
pub(super) struct Realm {
    exports: RefCell<Option<Persistent<Object<'static>>>>,
    data: RefCell<Option<Persistent<Value<'static>>>>,
    context: Context,
    pub(super) host: Rc<Host>,
    script: Arc<Script>,
}

impl Realm {
    /// Runs the script's top level.
    pub(super) fn new(
        script: &Arc<Script>,
        host: Rc<Host>,
    ) -> std::result::Result<Rc<Self>, String> {
        let told = |error: rquickjs_core::Error| error.to_string();
        let runtime = Runtime::new().map_err(told)?;
        runtime.set_max_stack_size(SCRIPT_STACK_BYTES);
        runtime.set_memory_limit(MAX_MEMORY_BYTES);
        runtime.set_loader(Modules, Modules);
        let watched = Rc::clone(&host);
        runtime.set_interrupt_handler(Some(Box::new(move || {
            watched.stop().is_cut() || now_nanos() > watched.init_deadline.get()
        })));
        let realm = Rc::new(Self {
            exports: RefCell::default(),
            data: RefCell::default(),
            context: Context::full(&runtime).map_err(told)?,
            host,
            script: Arc::clone(script),
        });
        realm.host.init_deadline.set(now_nanos() + INIT_NANOS);
        realm.context.with(|ctx| realm.load(&ctx))?;
        realm.host.init_deadline.set(u64::MAX);
        Ok(realm)
    }

    fn load(&self, ctx: &Ctx<'_>) -> std::result::Result<(), String> {
        let loaded = (|| {
            host::install(ctx, &self.host, &self.script)?;
            let module = Module::declare(ctx.clone(), &*self.script.path, &*self.script.source)?;
            let (module, promise) = module.eval()?;
            while promise.state() == PromiseState::Pending && ctx.execute_pending_job() {}
            match promise.result::<Value<'_>>() {
                Some(result) => result.map(drop)?,
                None => return Ok(None),
            }
            Ok(Some(Persistent::save(ctx, module.namespace()?)))
        })();
        match loaded.catch(ctx) {
            Ok(Some(exports)) => {
                self.exports.replace(Some(exports));
                Ok(())
            }
            Ok(None) => Err("the script waits at its top level for what never comes".to_owned()),
            Err(error) => Err(describe(&error)),
        }
    }

    /// Whether the script exports a function of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.context.with(|ctx| {
            let exports = self.exports(&ctx);
            exports
                .and_then(|exports| exports.get::<_, Function<'_>>(name))
                .is_ok()
        })
    }

    /// An export as JSON.
    pub(super) fn export(&self, name: &str) -> Option<String> {
        self.context.with(|ctx| {
            let value: Value<'_> = self.exports(&ctx).ok()?.get(name).ok()?;
            json(&ctx, value).ok()?
        })
    }

    /// Calls an exported function with `argument`, which is read once and kept.
    pub(super) fn call(&self, name: &str, argument: Option<&str>) -> Called {
        self.context.with(|ctx| {
            let called = self.try_call(&ctx, name, argument);
            match called.catch(&ctx) {
                Ok(value) => Called::Returned(value),
                Err(_) if self.host.stop().is_cut() => Called::Cut,
                Err(error) => Called::Threw(describe(&error)),
            }
        })
    }

    fn try_call<'js>(
        &self,
        ctx: &Ctx<'js>,
        name: &str,
        argument: Option<&str>,
    ) -> Result<Option<String>> {
        let function: Function<'js> = self.exports(ctx)?.get(name)?;
        let argument = self.argument(ctx, argument)?;
        let value: Value<'js> = function.call((argument,))?;
        let Some(promise) = value.as_promise().cloned() else {
            while ctx.execute_pending_job() {}
            return json(ctx, value);
        };
        while promise.state() == PromiseState::Pending && ctx.execute_pending_job() {}
        match promise.result::<Value<'js>>() {
            Some(result) => json(ctx, result?),
            None => Ok(None),
        }
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

/// Calls an exported function on a fiber, so that it may wait.
pub(super) fn call_on_fiber(
    realm: &Rc<Realm>,
    stack: corosensei::stack::DefaultStack,
    name: &str,
    argument: Option<Arc<str>>,
) -> suspend::Fiber<Called> {
    let (realm, name) = (Rc::clone(realm), name.to_owned());
    suspend::Fiber::new(stack, move || realm.call(&name, argument.as_deref()))
}

/// A value as JSON; `None` of what JSON has no words for.
fn json<'js>(ctx: &Ctx<'js>, value: Value<'js>) -> Result<Option<String>> {
    let text = ctx.json_stringify(value)?;
    text.map(|text| text.to_string()).transpose()
}

/// What was thrown, and where.
fn describe(error: &CaughtError<'_>) -> String {
    match error {
        CaughtError::Exception(exception) => {
            let message = exception.message().unwrap_or_default();
            let stack = exception.stack().unwrap_or_default();
            format!("{message}\n{}", stack.trim_end())
                .trim_end()
                .to_owned()
        }
        CaughtError::Value(value) => match value.as_string().map(|text| text.to_string()) {
            Some(Ok(text)) => text,
            _ => "a value that is no error was thrown".to_owned(),
        },
        CaughtError::Error(error) => error.to_string(),
    }
}

/// Bytes of the stack that a script runs on, below those of its coroutine.
pub(super) const STACK_BYTES: usize = 256 * 1024;
/// What the engine may use of them; the rest is for host functions.
const SCRIPT_STACK_BYTES: usize = 160 * 1024;
/// Bytes that one virtual user may hold: an endless loop of allocations ends as an exception.
const MAX_MEMORY_BYTES: usize = 1 << 30;
/// How long the top level of a script may take.
const INIT_NANOS: u64 = 60_000_000_000;
