//! The seam between Rust and the engine: the only `unsafe` code of the crate.
//!
//! A script calls `http.get` and gets an answer; it never says where it waits. So each iteration runs
//! on a stack of its own (a coroutine), and a host function that must wait polls its future there and,
//! while the future is pending, switches back to the worker. Other virtual users run meanwhile. A script
//! that computes for long gives way in the same manner, from the engine's interrupt handler.
//!
//! ```text
//! worker ── Fiber::poll ──► coroutine: JavaScript ──► host function ──► wait(future)
//!    ◄───────────────────────── suspend while pending ───────────────────┘
//! ```
//! # Safety argument
//! - A coroutine never leaves its thread: neither it nor a [`Fiber`] is `Send`.
//! - [`wait`] and [`give_way`] suspend only the coroutine that they run on. `ACTIVE` holds that one's
//!   yielder: the coroutine sets it as it begins and whenever it is resumed, and [`Fiber::poll`] puts back
//!   what was there before as soon as control returns to it, be it by a suspension, by the end or by a
//!   panic. The yielder lives on the coroutine's own stack, below every frame that suspends.
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

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::pin::{Pin, pin};
use std::ptr::NonNull;
use std::task::{Context, Poll, Waker};

use catamaran_sys::clock::now_nanos;
use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use rquickjs_core::module::{Declared, WriteOptions};
use rquickjs_core::{ArrayBuffer, Ctx, Error, JsLifetime, Module, Result, Value, qjs};

pub(super) use anchor::{Anchor, enter, watch};

/// Work on a stack of its own that may wait anywhere.
pub(super) struct Fiber<T> {
    coroutine: ManuallyDrop<Coroutine<(), (), T>>,
}

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
        let outer = Outer {
            active: ACTIVE.take(),
            visit: anchor::leave(),
            waker: WAKER.replace(Some(context.waker().clone())),
        };
        SINCE.set(0);
        let result = self.coroutine.resume(());
        drop(outer);
        match result {
            CoroutineResult::Yield(()) => Poll::Pending,
            CoroutineResult::Return(value) => Poll::Ready(value),
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
    let mut future = pin!(future);
    loop {
        let waker = WAKER.with_borrow(Clone::clone);
        let waker = waker.unwrap_or_else(|| Waker::noop().clone());
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        suspend(yielder);
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

/// What held before a fiber was resumed, put back when it is dropped.
struct Outer {
    active: Option<NonNull<Yielder<(), ()>>>,
    visit: Option<NonNull<anchor::Visit>>,
    waker: Option<Waker>,
}

impl Drop for Outer {
    fn drop(&mut self) {
        ACTIVE.set(self.active.take());
        anchor::come_back(self.visit.take());
        WAKER.set(self.waker.take());
    }
}

thread_local! {
    /// The yielder of the coroutine that runs on this thread.
    static ACTIVE: Cell<Option<NonNull<Yielder<(), ()>>>> = const { Cell::new(None) };
    /// Wakes the task that resumed it.
    static WAKER: RefCell<Option<Waker>> = const { RefCell::new(None) };
    /// When it was first seen computing since it was resumed; 0 before.
    static SINCE: Cell<u64> = const { Cell::new(0) };
}

/// How long a script computes at a stretch while others wait.
const SLICE_NANOS: u64 = 1_000_000;
