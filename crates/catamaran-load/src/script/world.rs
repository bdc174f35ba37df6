//! An engine that virtual users share: one for each worker.
//!
//! Each virtual user has the modules of its script to itself, with their variables and functions; the
//! modules of ours and what the language brings are there once, and cannot be changed
//! (`modules/shared.js`). Which scripts may share is decided by `typescript/sharing.rs`; why a thread may
//! switch between them in the middle of a call is told in `seam/anchor.rs`.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::{Rc, Weak};
use std::sync::Arc;

use rquickjs_core::{Context, Ctx, Function, Module, Object, Persistent, Result, Value};
use tokio::sync::Mutex;

use super::host::{self, Host};
use super::loader::{Graph, HOST, Library, Modules};
use super::realm::{self, Script, told};
use super::seam::{self, Anchor};

/// An engine for many. Fields are dropped in this order: values before their context.
pub(super) struct World {
    define: RefCell<Option<Persistent<Function<'static>>>>,
    /// What modules of ours put where others find it.
    parts: RefCell<Option<Persistent<Object<'static>>>>,
    /// Scenarios whose variables are known.
    defined: RefCell<BTreeSet<usize>>,
    graph: Rc<Graph>,
    /// Held by who runs the top level of the script on a fiber: the graph is of one at a time.
    pub(super) loading: Mutex<()>,
    anchor: Anchor,
    context: Context,
    /// Owns the bytecode that the engine runs.
    library: Arc<Library>,
}

impl World {
    /// The world of this worker, made for the first virtual user that asks.
    pub(super) fn of_worker(
        script: &Script,
        host: &Rc<Host>,
    ) -> std::result::Result<Rc<Self>, String> {
        let known = HERE.with_borrow(Weak::upgrade);
        if let Some(known) = known.filter(|known| Arc::ptr_eq(&known.library, &script.library)) {
            return Ok(known);
        }
        let world = Rc::new(Self::new(script, host)?);
        HERE.set(Rc::downgrade(&world));
        Ok(world)
    }

    fn new(script: &Script, host: &Rc<Host>) -> std::result::Result<Self, String> {
        let said = |error: rquickjs_core::Error| error.to_string();
        let runtime = seam::runtime().map_err(said)?;
        runtime.set_memory_limit(MAX_MEMORY_BYTES);
        let library = Arc::clone(&script.library);
        let graph = Rc::new(Graph::default());
        let modules = Modules::of_many(Arc::clone(&library), Rc::clone(&graph));
        runtime.set_loader(modules.clone(), modules);
        let context = Context::full(&runtime).map_err(said)?;
        seam::watch(&context);
        let world = Self {
            define: RefCell::default(),
            parts: RefCell::default(),
            defined: RefCell::default(),
            graph,
            loading: Mutex::default(),
            anchor: Anchor::new(&context).map_err(said)?,
            context,
            library,
        };
        let _turn = host::turn(host);
        world.enter(|ctx| told(ctx, world.prepare(ctx, script)))?;
        Ok(world)
    }

    fn prepare(&self, ctx: &Ctx<'_>, script: &Script) -> Result<()> {
        host::install_shared(ctx)?;
        let seen: Value<'_> = ctx.globals().get("__seen")?;
        let own = realm::evaluate(ctx, &self.library, HOST)?;
        let parts: Object<'_> = own.get("parts")?;
        self.parts
            .replace(Some(Persistent::save(ctx, parts.clone())));
        host::install_globals(ctx, &self.library, &parts)?;
        let make: Function<'_> = ctx.eval(SHARED)?;
        let made: Object<'_> = make.call((seen,))?;
        let define: Function<'_> = made.get("define")?;
        define.call::<_, ()>((0, host::variables(ctx, script)?))?;
        self.define.replace(Some(Persistent::save(ctx, define)));
        // Now, as they add to what they share while they are loaded.
        let text = self.library.imports_of_own();
        let module = Module::declare(ctx.clone(), "catamaran:shared", text)?;
        let own: Value<'_> = realm::run(ctx, module)?.get("default")?;
        made.get::<_, Function<'_>>("harden")?.call((own,))
    }

    /// Enters the engine, on any stack.
    pub(super) fn enter<R>(&self, work: impl FnOnce(&Ctx<'_>) -> R) -> R {
        seam::enter(&self.context, &self.anchor, work)
    }

    /// Runs the top level of the script once more, for another virtual user. Returns what it exports.
    pub(super) fn load<'js>(
        &self,
        ctx: &Ctx<'js>,
        script: &Script,
        host: &Host,
    ) -> Result<Object<'js>> {
        let parts = self.parts.borrow().clone();
        host.keep_parts(
            ctx,
            parts.ok_or(rquickjs_core::Error::Unknown)?.restore(ctx)?,
        );
        let module = self.graph.declare(ctx, &self.library, &script.path);
        let exports = module.and_then(|module| realm::run(ctx, module));
        // Nothing of it is imported any more.
        self.graph.clear();
        exports
    }

    /// Says once what the virtual users of a scenario see in `__ENV` beside the variables of all.
    pub(super) fn define(
        &self,
        ctx: &Ctx<'_>,
        script: &Script,
        scenario: Option<usize>,
        env: &BTreeMap<String, String>,
    ) -> Result<()> {
        let Some(scenario) = scenario.filter(|own| self.defined.borrow_mut().insert(*own)) else {
            return Ok(());
        };
        let variables = host::variables(ctx, script)?;
        for (name, value) in env {
            variables.set(&**name, &**value)?;
        }
        let define = self.define.borrow().clone();
        let define = define.ok_or(rquickjs_core::Error::Unknown)?.restore(ctx)?;
        define.call((scenario + 1, variables))
    }
}

/// What a script threw that shares an engine. Where it wanted to change what it shares, or an object that
/// inherits from that, it is told so: with an engine of its own it could.
pub(super) fn explained(mut why: String) -> String {
    let first = why.lines().next().unwrap_or_default();
    let is_refused = REFUSALS.iter().any(|text| first.contains(text));
    if is_refused && first.starts_with("TypeError: ") {
        let end = first.len();
        why.insert_str(end, REMEDY);
    }
    why
}

/// What the engine says of a change that it refuses.
const REFUSALS: &[&str] = &[
    "is read-only",
    "object is not extensible",
    "no setter for property",
    "not configurable",
    "could not delete property",
];
const REMEDY: &str = " (virtual users share an engine here: unless the script itself made that \
    unchangeable, run it with --vu-isolation strict)";

thread_local! {
    /// The world of this thread, as long as somebody lives there.
    static HERE: RefCell<Weak<World>> = const { RefCell::new(Weak::new()) };
}

const SHARED: &str = include_str!("modules/shared.js");

/// Bytes that the virtual users of a worker may hold together.
const MAX_MEMORY_BYTES: usize = 2 * 1024 * 1024 * 1024;
