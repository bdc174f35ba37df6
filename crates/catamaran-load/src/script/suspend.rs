//! Suspends a script where it waits: the only `unsafe` code of the crate.
//!
//! A script calls `http.get` and gets an answer; it never says where it waits. So each iteration runs
//! on a stack of its own (a coroutine), and a host function that must wait polls its future there and,
//! while the future is pending, switches back to the worker. Other virtual users run meanwhile.
//!
//! ```text
//! worker ── Fiber::poll ──► coroutine: JavaScript ──► host function ──► wait(future)
//!    ◄───────────────────────── suspend while pending ───────────────────┘
//! ```
//! # Safety argument
//! - A coroutine never leaves its thread: neither it nor a [`Fiber`] is `Send`.
//! - [`wait`] suspends only the coroutine that it runs on. `ACTIVE` holds that one's yielder: the
//!   coroutine sets it as it begins and whenever it is resumed, and [`Fiber::poll`] puts back what was
//!   there before as soon as control returns to it, be it by a suspension, by the end or by a panic.
//!   The yielder lives on the coroutine's own stack below every frame that calls [`wait`].
//! - Frames of the engine's C code may lie between. They hold no lock of another virtual user: each has
//!   a runtime of its own (`realm.rs`), which nothing else enters until the iteration has ended.
//! - A suspended coroutine is never unwound, since that would run through C frames: a fiber dropped
//!   before its end leaks its stack ([`Fiber::drop`]). Workers drop none: a virtual user is resumed until
//!   it has ended, which a cut makes it do soon.
//! - A panic does not cross C frames: rquickjs catches it in every host function and lets it go on
//!   behind them.

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;
use std::pin::{Pin, pin};
use std::ptr::NonNull;
use std::task::{Context, Poll, Waker};

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use rquickjs_core::{Ctx, Error, Value, qjs};

/// Work on a stack of its own that may wait anywhere.
pub(super) struct Fiber<T> {
    coroutine: ManuallyDrop<Coroutine<(), (), T>>,
}

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
}

impl<T> Future for Fiber<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let outer = Outer {
            active: ACTIVE.take(),
            waker: WAKER.replace(Some(context.waker().clone())),
        };
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
        // SAFETY: this runs on the coroutine whose yielder it is, see above; that lives as long.
        let yielder_ref = unsafe { yielder.as_ref() };
        yielder_ref.suspend(());
        ACTIVE.set(Some(yielder));
    }
}

/// Whether [`wait`] may be called here.
pub(super) fn is_on_fiber() -> bool {
    ACTIVE.get().is_some()
}

/// Throws an error that no `catch` and no `finally` of a script sees.
pub(super) fn throw_uncatchable(ctx: &Ctx<'_>, error: Value<'_>) -> Error {
    // SAFETY: both belong to the runtime that runs now, and the value is alive.
    unsafe { qjs::JS_SetUncatchableError(ctx.as_raw().as_ptr(), error.as_raw()) };
    ctx.throw(error)
}

/// What held before a fiber was resumed, put back when it is dropped.
struct Outer {
    active: Option<NonNull<Yielder<(), ()>>>,
    waker: Option<Waker>,
}

impl Drop for Outer {
    fn drop(&mut self) {
        ACTIVE.set(self.active.take());
        WAKER.set(self.waker.take());
    }
}

thread_local! {
    /// The yielder of the coroutine that runs on this thread.
    static ACTIVE: Cell<Option<NonNull<Yielder<(), ()>>>> = const { Cell::new(None) };
    /// Wakes the task that resumed it.
    static WAKER: RefCell<Option<Waker>> = const { RefCell::new(None) };
}
