//! The seam between Rust and the engine: the only `unsafe` code of the crate.
//!
//! A script calls `http.get` and gets an answer; it never says where it waits. So each iteration runs
//! on a stack of its own (a coroutine), and a host function that must wait leaves its future there and
//! switches back to the worker, which polls the future on its own stack and comes back when that is done.
//! Other virtual users run meanwhile. A script that computes for long gives way in the same manner, from the
//! engine's interrupt handler.
//!
//! ```text
//! worker ── Fiber::poll ──► coroutine: JavaScript ──► host function ──► wait(future)
//!    ◄──────────────── suspend; poll the future; resume when it is done ─┘
//! ```
//! # Safety argument
//! - A coroutine never leaves its thread: neither it nor a [`Fiber`] is `Send`.
//! - [`wait`] and [`give_way`] suspend only the coroutine that they run on. `ACTIVE` holds that one's
//!   yielder: the coroutine sets it as it begins and whenever it is resumed, and [`Fiber::poll`] puts back
//!   what was there before as soon as control returns to it, be it by a suspension, by the end or by a
//!   panic. The yielder lives on the coroutine's own stack, below every frame that suspends.
//! - A future that is waited for lies on the stack of the coroutine, in the frame of [`wait`], which goes on
//!   only after [`Fiber::poll`] has polled it to its end and let go of it. `JOB` carries it from one to the
//!   other: it is set right before the switch and taken right after it. A fiber that is dropped meanwhile
//!   keeps its stack for ever, see below, and polls no more.
//! - Frames of the engine's C code may lie between. They hold no lock of another virtual user: each has
//!   a runtime of its own (`realm.rs`), which nothing else enters until the iteration has ended. For the
//!   same reason the engine's interrupt handler is not entered twice while it is suspended. Where virtual
//!   users share a runtime (`world.rs`), [`anchor`] says why they may.
//! - The engine measures its stack from where [`entered`] was last called; `realm.rs` does so each time
//!   it enters the engine, on the stack that it enters on, which has more bytes than the engine may use.
//! - A suspended coroutine is never unwound, since that would run through C frames: a fiber dropped
//!   before its end leaks its stack ([`Fiber::drop`]). Workers drop none: a virtual user is resumed until
//!   it has ended, which a cut makes it do soon.
//! - A panic does not cross C frames: rquickjs catches it in every host function and lets it go on
//!   behind them.
//! - Bytecode is trusted by the engine. A [`Compiled`] comes from [`compile`] only, of the same engine
//!   in the same process.

mod anchor;
mod getters;
mod heap;

use std::cell::Cell;
use std::mem::ManuallyDrop;
use std::pin::{Pin, pin};
use std::ptr::NonNull;
use std::task::{Context, Poll};

use catamaran_sys::clock::now_nanos;
use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use rquickjs_core::module::{Declared, WriteOptions};
use rquickjs_core::{
    ArrayBuffer, Ctx, Error, Function, JsLifetime, Module, Object, Result, Runtime, Value, qjs,
};

pub(super) use anchor::{Anchor, enter, watch};
pub(super) use getters::{Get, Getters, define_getters, keep};
use heap::Heap;

/// Work on a stack of its own that may wait anywhere.
pub(super) struct Fiber<T> {
    coroutine: ManuallyDrop<Coroutine<(), (), T>>,
    /// What it waits for.
    job: Option<NonNull<Job>>,
}

/// A future in the frame of [`wait`].
type Job = dyn Future<Output = ()> + Unpin;

impl<T> Unpin for Fiber<T> {}

impl<T: 'static> Fiber<T> {
    /// Makes one; it begins when it is polled.
    pub(super) fn new(stack: DefaultStack, work: impl FnOnce() -> T + 'static) -> Self {
        let coroutine = Coroutine::with_stack(stack, move |yielder: &Yielder<(), ()>, ()| {
            ACTIVE.set(Some(NonNull::from(yielder)));
            work()
        });
        Self {
            coroutine: ManuallyDrop::new(coroutine),
            job: None,
        }
    }

    /// The stack of one that has ended, for the next.
    pub(super) fn into_stack(self) -> Option<DefaultStack> {
        let mut this = ManuallyDrop::new(self);
        if !this.coroutine.done() {
            return None;
        }
        // SAFETY: `this` is not dropped and not used any more.
        let coroutine = unsafe { ManuallyDrop::take(&mut this.coroutine) };
        Some(coroutine.into_stack())
    }
}

impl<T> Future for Fiber<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        loop {
            if let Some(mut job) = self.job {
                // SAFETY: `wait` waits for it, suspended, and nobody else has it, see above.
                let job = unsafe { job.as_mut() };
                if Pin::new(job).poll(context).is_pending() {
                    return Poll::Pending;
                }
                self.job = None;
            }
            let outer = Outer {
                active: ACTIVE.take(),
                visit: anchor::leave(),
            };
            SINCE.set(0);
            let result = self.coroutine.resume(());
            drop(outer);
            match result {
                CoroutineResult::Yield(()) => self.job = JOB.take(),
                CoroutineResult::Return(value) => return Poll::Ready(value),
            }
        }
    }
}

impl<T> Drop for Fiber<T> {
    fn drop(&mut self) {
        if self.coroutine.started() && !self.coroutine.done() {
            return;
        }
        // SAFETY: it is dropped once, here, and not used afterwards. It has not begun or has ended, so
        // that dropping it unwinds nothing.
        unsafe { ManuallyDrop::drop(&mut self.coroutine) };
    }
}

/// Waits for a future, on a fiber.
///
/// # Panics
/// Outside a fiber.
pub(super) fn wait<F: Future>(future: F) -> F::Output {
    let yielder = ACTIVE.get().expect("scripts run on fibers only");
    let mut output = None;
    let mut work = Work {
        future: pin!(future),
        output: &mut output,
    };
    let job: &mut (dyn Future<Output = ()> + Unpin + '_) = &mut work;
    // SAFETY: only the lifetime changes; it is used while this function waits, and no longer, see above.
    let job = unsafe {
        std::mem::transmute::<&mut (dyn Future<Output = ()> + Unpin + '_), &mut Job>(job)
    };
    JOB.set(Some(NonNull::from(job)));
    suspend(yielder);
    output.expect("a fiber goes on when what it waits for is done")
}

/// A future with a place for what it gives.
struct Work<'a, F: Future> {
    future: Pin<&'a mut F>,
    output: &'a mut Option<F::Output>,
}

// What is pinned is behind a reference.
impl<F: Future> Unpin for Work<'_, F> {}

impl<F: Future> Future for Work<'_, F> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.future
            .as_mut()
            .poll(context)
            .map(|output| *self.output = Some(output))
    }
}

/// Lets other virtual users run, if this one has computed for a while. Outside a fiber nothing happens.
pub(super) fn give_way() {
    if !is_on_fiber() {
        return;
    }
    let now = now_nanos();
    match SINCE.get() {
        0 => SINCE.set(now),
        since if now - since < SLICE_NANOS => {}
        // The runtime looks after timers and sockets before it resumes this one.
        _ => wait(tokio::task::yield_now()),
    }
}

/// Switches to the worker once: the fuzzer does so before each host function. Outside a fiber nothing
/// happens.
#[cfg(feature = "testing")]
pub(super) fn pause() {
    if is_on_fiber() {
        wait(tokio::task::yield_now());
    }
}

/// Switches to the worker, and goes on when it resumes.
fn suspend(yielder: NonNull<Yielder<(), ()>>) {
    if !anchor::suspend(yielder) {
        // SAFETY: this runs on the coroutine whose yielder it is, see above; that lives as long.
        unsafe { yielder.as_ref() }.suspend(());
    }
    ACTIVE.set(Some(yielder));
}

/// Whether [`wait`] may be called here.
pub(super) fn is_on_fiber() -> bool {
    ACTIVE.get().is_some()
}

/// Notes that the engine is entered on this stack, from here on.
pub(super) fn entered(ctx: &Ctx<'_>) {
    // SAFETY: the context is alive.
    let runtime = unsafe { qjs::JS_GetRuntime(ctx.as_raw().as_ptr()) };
    // SAFETY: so is its runtime.
    unsafe { qjs::JS_UpdateStackTop(runtime) };
}

/// Throws an error that no `catch` and no `finally` of a script sees.
pub(super) fn throw_uncatchable<'js>(ctx: &Ctx<'js>, error: Value<'js>) -> Error {
    // SAFETY: both belong to the runtime that runs now, and the value is alive.
    unsafe { qjs::JS_SetUncatchableError(ctx.as_raw().as_ptr(), error.as_raw()) };
    ctx.throw(error)
}

/// The bytes of an `ArrayBuffer`.
pub(super) fn bytes_of(value: &Value<'_>) -> Option<Vec<u8>> {
    let buffer = ArrayBuffer::from_object(value.as_object()?.clone())?;
    let raw = buffer.as_raw()?;
    // SAFETY: the buffer is alive, and no script runs that could change it before this returns.
    Some(unsafe { raw.as_ref() }.to_vec())
}

/// Makes an engine.
pub(super) fn runtime() -> Result<Runtime> {
    // A sanitizer watches over what the system's allocator gives, and nothing else.
    if cfg!(feature = "testing") {
        return Runtime::new();
    }
    Runtime::new_with_alloc(Heap::new())
}

/// A module as bytecode.
#[derive(Debug)]
pub(super) struct Compiled(Vec<u8>);

/// Writes a module as bytecode, without its source text.
pub(super) fn compile(module: &Module<'_, Declared>) -> Result<Compiled> {
    module
        .write(WriteOptions {
            strip_source: true,
            ..WriteOptions::default()
        })
        .map(Compiled)
}

/// Reads a module back, in any realm.
pub(super) fn load<'js>(ctx: &Ctx<'js>, compiled: &Compiled) -> Result<Module<'js, Declared>> {
    // SAFETY: the bytecode is of this engine, as `Compiled` has no other source.
    unsafe { Module::load(ctx.clone(), &compiled.0) }
}

/// A module that may be imported once more.
#[derive(Clone, Debug)]
pub(super) struct Loaded<'js>(pub(super) Module<'js, Declared>);

// SAFETY: the lifetime is that of the module, which has no other.
unsafe impl<'js> JsLifetime<'js> for Loaded<'js> {
    type Changed<'to> = Loaded<'to>;
}

/// Something of ours that a script holds: no value of the engine is in it.
pub(super) struct Held<T: 'static>(pub(super) T);

// SAFETY: what is `'static` has no lifetime of the engine to change.
unsafe impl<T: 'static> JsLifetime<'_> for Held<T> {
    type Changed<'to> = Self;
}

/// What an object had not got.
pub(super) enum Found<'js> {
    /// A value, which the object has from now on.
    Value(Value<'js>),
    /// What gives the value of a name, and what takes another one.
    Accessors([Function<'js>; 2]),
}

/// Finds what an object has not got.
pub(super) type Find = Box<dyn for<'js> Fn(&Ctx<'js>, &str) -> Result<Option<Found<'js>>>>;

/// Asks `find` for names that `object` has not got, before its prototype is asked.
pub(super) fn find_missing(object: &Object<'_>, find: Find) -> Result<()> {
    let ctx = object.ctx();
    let above = object.get_prototype();
    let above = above.map_or_else(|| Value::new_null(ctx.clone()), Object::into_value);
    let made = finder(ctx, &above, find)?;
    object.set_prototype(Some(&made))
}

/// An object that asks `find` for names that it has not got.
pub(super) fn finds<'js>(ctx: &Ctx<'js>, find: Find) -> Result<Object<'js>> {
    finder(ctx, &Value::new_null(ctx.clone()), find)
}

/// As above, with a prototype.
fn finder<'js>(ctx: &Ctx<'js>, above: &Value<'js>, find: Find) -> Result<Object<'js>> {
    // SAFETY: the context is alive.
    let runtime = unsafe { qjs::JS_GetRuntime(ctx.as_raw().as_ptr()) };
    let mut class = qjs::JS_INVALID_CLASS_ID;
    // SAFETY: so is its runtime.
    unsafe { qjs::JS_NewClassID(runtime, &raw mut class) };
    let definition = qjs::JSClassDef {
        class_name: c"Missing".as_ptr(),
        finalizer: Some(drop_find),
        gc_mark: None,
        call: None,
        exotic: (&raw const MISSING).cast_mut(),
    };
    // SAFETY: what the definition points to is static, and the engine does not write to it.
    if unsafe { qjs::JS_NewClass(runtime, class, &raw const definition) } < 0 {
        return Err(Error::Allocation);
    }
    // SAFETY: context, prototype and class are of one runtime.
    let made = unsafe { qjs::JS_NewObjectProtoClass(ctx.as_raw().as_ptr(), above.as_raw(), class) };
    // SAFETY: the value is new, and nobody else has it.
    let made = unsafe { Value::from_raw(ctx.clone(), made) };
    let made = made.into_object().ok_or(Error::Exception)?;
    let find = Box::into_raw(Box::new(find));
    // SAFETY: the object is alive and of the class above, whose finalizer frees what is put there.
    unsafe { qjs::JS_SetOpaque(made.as_raw(), find.cast()) };
    Ok(made)
}

/// What the engine calls for a name that it finds nowhere before.
static MISSING: qjs::JSClassExoticMethods = qjs::JSClassExoticMethods {
    get_own_property: Some(missing),
    get_own_property_names: None,
    delete_property: None,
    define_own_property: None,
    has_property: None,
    get_property: None,
    set_property: None,
};

/// Asks the [`Find`] of `object`. A panic in it ends the program, as it may not cross C frames.
unsafe extern "C" fn missing(
    context: *mut qjs::JSContext,
    described: *mut qjs::JSPropertyDescriptor,
    object: qjs::JSValue,
    name: qjs::JSAtom,
) -> core::ffi::c_int {
    let Some(raw) = NonNull::new(context) else {
        return 0;
    };
    // SAFETY: the engine passes the context that runs.
    let ctx = unsafe { Ctx::from_raw(raw) };
    let mut class = qjs::JS_INVALID_CLASS_ID;
    // SAFETY: the engine passes an object that is alive.
    let find = unsafe { qjs::JS_GetAnyOpaque(object, &raw mut class) };
    // SAFETY: only objects of `finder` come here; theirs lives as long as they, or is not there yet.
    let Some(find) = (unsafe { find.cast::<Find>().as_ref() }) else {
        return 0;
    };
    // SAFETY: the engine passes a name that is alive.
    let text = unsafe { qjs::JS_AtomToValue(context, name) };
    // SAFETY: the value is new, and nobody else has it.
    let text = unsafe { Value::from_raw(ctx.clone(), text) };
    let Some(Ok(text)) = text.as_string().map(rquickjs_core::String::to_string) else {
        return 0;
    };
    let found = match find(&ctx, &text) {
        Ok(Some(found)) => found,
        Ok(None) => return 0,
        // What was thrown is with the context.
        Err(_) => return -1,
    };
    let owned = |value: qjs::JSValue| {
        // SAFETY: the context and what was found are alive.
        unsafe { qjs::JS_DupValue(context, value) }
    };
    let found = match found {
        Found::Accessors([get, set]) => qjs::JSPropertyDescriptor {
            flags: FOUND,
            value: qjs::JS_UNDEFINED,
            getter: owned(get.as_raw()),
            setter: owned(set.as_raw()),
        },
        Found::Value(value) => {
            let (flags, own) = (KEPT, owned(value.as_raw()));
            // SAFETY: all are alive; the engine has the value from now on, even if this fails.
            if unsafe { qjs::JS_DefinePropertyValue(context, object, name, own, flags) } < 0 {
                return -1;
            }
            qjs::JSPropertyDescriptor {
                flags,
                value: owned(value.as_raw()),
                getter: qjs::JS_UNDEFINED,
                setter: qjs::JS_UNDEFINED,
            }
        }
    };
    if described.is_null() {
        for value in [found.value, found.getter, found.setter] {
            // SAFETY: they were counted above, and nobody else has them from there.
            unsafe { qjs::JS_FreeValue(context, value) };
        }
        return 1;
    }
    // SAFETY: it points to where the engine wants the answer, which owns what is in it from now on.
    unsafe { described.write(found) };
    1
}

/// Frees the [`Find`] of an object that goes.
unsafe extern "C" fn drop_find(_runtime: *mut qjs::JSRuntime, object: qjs::JSValue) {
    let mut class = qjs::JS_INVALID_CLASS_ID;
    // SAFETY: the engine passes an object of the class of `finder`, once.
    let find = unsafe { qjs::JS_GetAnyOpaque(object, &raw mut class) };
    if !find.is_null() {
        // SAFETY: it was put there as a box, and nobody asks the object any more.
        drop(unsafe { Box::from_raw(find.cast::<Find>()) });
    }
}

/// A part of the language that a context may do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intrinsic {
    TypedArrays,
    MapSet,
    Date,
    WeakRef,
    Base64,
    Performance,
    Json,
    Proxy,
}

/// Adds a part of the language to a context that has not got it.
pub(super) fn add_intrinsic(ctx: &Ctx<'_>, intrinsic: Intrinsic) -> Result<()> {
    let add = match intrinsic {
        Intrinsic::TypedArrays => qjs::JS_AddIntrinsicTypedArrays,
        Intrinsic::MapSet => qjs::JS_AddIntrinsicMapSet,
        Intrinsic::Date => qjs::JS_AddIntrinsicDate,
        Intrinsic::WeakRef => qjs::JS_AddIntrinsicWeakRef,
        Intrinsic::Base64 => qjs::JS_AddIntrinsicAToB,
        Intrinsic::Performance => qjs::JS_AddPerformance,
        Intrinsic::Json => qjs::JS_AddIntrinsicJSON,
        Intrinsic::Proxy => qjs::JS_AddIntrinsicProxy,
    };
    // SAFETY: the context is alive; each of these may be added at any time, as its objects are reached
    // through the context only.
    match unsafe { add(ctx.as_raw().as_ptr()) } {
        0 => Ok(()),
        _ => Err(Error::Exception),
    }
}

/// What held before a fiber was resumed, put back when it is dropped.
struct Outer {
    active: Option<NonNull<Yielder<(), ()>>>,
    visit: Option<NonNull<anchor::Visit>>,
}

impl Drop for Outer {
    fn drop(&mut self) {
        ACTIVE.set(self.active.take());
        anchor::come_back(self.visit.take());
    }
}

thread_local! {
    /// The yielder of the coroutine that runs on this thread.
    static ACTIVE: Cell<Option<NonNull<Yielder<(), ()>>>> = const { Cell::new(None) };
    /// What it waits for, on the way from `wait` to `Fiber::poll`.
    static JOB: Cell<Option<NonNull<Job>>> = const { Cell::new(None) };
    /// When it was first seen computing since it was resumed; 0 before.
    static SINCE: Cell<u64> = const { Cell::new(0) };
}

/// A property with functions that give and take its value.
#[expect(clippy::cast_possible_wrap, reason = "both are small")]
const FOUND: core::ffi::c_int =
    (qjs::JS_PROP_GETSET | qjs::JS_PROP_CONFIGURABLE) as core::ffi::c_int;

/// A property with a value of its own.
#[expect(clippy::cast_possible_wrap, reason = "it is small")]
const KEPT: core::ffi::c_int = qjs::JS_PROP_C_W_E as core::ffi::c_int;

/// How long a script computes at a stretch while others wait.
const SLICE_NANOS: u64 = 1_000_000;
