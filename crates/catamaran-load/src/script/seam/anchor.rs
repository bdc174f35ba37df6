//! How coroutines may share a runtime of the engine.
//!
//! The engine knows what runs by one pointer of the runtime, its current frame. Each call puts its own frame
//! before it, and puts back what was there when it returns; what an error says of the stack is read from
//! that chain. With several coroutines the pointer would be that of whoever ran last, whose frames may be
//! gone. Nothing of the engine's interface sets it. But a call of a C function does, twice: so all switching
//! is done inside of one, [`hold`].
//!
//! # Safety argument
//! Beyond that of the module above:
//! - *Whoever is resumed finds its own frame again.* [`suspend`] calls `hold` through the engine, and `hold`
//!   switches. The frame of that call lies on the stack of the coroutine and has kept the pointer as it was.
//!   Once resumed, `hold` returns, and the engine puts the kept pointer back before anything reads it. It
//!   does not matter who called `suspend`: a host function, or the interrupt handler.
//! - *Whoever enters from outside finds a frame that is there for ever.* The anchor is a coroutine that
//!   did nothing but call `hold` when no frame was there yet. [`enter`] resumes it: its call returns, which
//!   makes the pointer null, and it calls `hold` again. So the pointer is the anchor's frame, before which
//!   there is none. Every chain ends there. To be exact, the frame is another after each entry, but at the
//!   same place with the same content: the anchor's stack is used for nothing else, each call is made from
//!   the same loop, and whoever follows a chain does so while the anchor is in its call. [`hold`] ends the
//!   process should the place ever move. (A sanitizer that lays frames elsewhere than on the stack, to
//!   find uses after their return, takes that away; the fuzzer runs without this.)
//! - *The call of `hold` does not fail.* The engine refuses a call when the stack is at its end or the
//!   interrupt handler says so: the limit is taken away before, and the handler says nothing meanwhile.
//! - *The stack is measured from the right place.* `enter` and `suspend` set the engine's limit for the
//!   stack that they run on, each time.
//! - *An exception that is on its way* is taken out before the switch and put back after it. What cannot be
//!   caught is marked in the exception itself.
//! - *The collector* counts references: what only a suspended stack holds has one more than it finds, and is
//!   kept. It reads no frames but those of suspended generators, which lie in their objects.
//! - *Locks of rquickjs* would be held over a switch: `enter` does not take them. It is one thread, and what
//!   rquickjs keeps in its runtime is not borrowed while a script runs. The interrupt handler is a plain
//!   function, which may be entered again while it is suspended.
//! - *The runtime outlives the anchor and every visit*: whoever visits holds it, and a coroutine that is
//!   dropped before its end keeps all that it holds.
//! - Promises would run as jobs of whoever looks at the queue. That is not unsafe, but wrong: scripts that
//!   use them do not share (`typescript/sharing.rs`).

use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void};
use std::mem::ManuallyDrop;
use std::ptr::{NonNull, null_mut};
use std::rc::Rc;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, Yielder};
use rquickjs_core::{Context, Ctx, Error, Result, qjs};

use super::super::host;
use super::super::realm::SCRIPT_STACK_BYTES;
use super::give_way;

/// The end of every chain of frames of a runtime, see above.
pub(in crate::script) struct Anchor {
    context: NonNull<qjs::JSContext>,
    /// The function `hold`.
    hold: qjs::JSValue,
    ends: Rc<Cell<bool>>,
    coroutine: RefCell<ManuallyDrop<Coroutine<(), (), ()>>>,
}

impl Anchor {
    /// Makes the anchor of a runtime in which nothing has run yet; the context must be dropped after it.
    pub(in crate::script) fn new(context: &Context) -> Result<Self> {
        let context = context.as_raw();
        let stack = DefaultStack::new(STACK_BYTES).map_err(|_| Error::Allocation)?;
        let name = c"catamaran";
        let kind = qjs::JSCFunctionEnum_JS_CFUNC_generic;
        // SAFETY: the context is alive, and the name ends with a zero.
        let function = unsafe {
            qjs::JS_NewCFunction2(context.as_ptr(), Some(hold), name.as_ptr(), 0, kind, 0)
        };
        // SAFETY: any value has a tag.
        if unsafe { qjs::JS_IsException(function) } {
            return Err(Error::Allocation);
        }
        let ends = Rc::new(Cell::new(false));
        let own = Rc::clone(&ends);
        let place = Box::new(Cell::new(0));
        let coroutine = Coroutine::with_stack(stack, move |yielder: &Yielder<(), ()>, ()| {
            while !own.get() {
                ANCHORS.set(Some(NonNull::from(&*place)));
                call(context, function, NonNull::from(yielder));
            }
        });
        let anchor = Self {
            context,
            hold: function,
            ends,
            coroutine: RefCell::new(ManuallyDrop::new(coroutine)),
        };
        anchor.resume();
        Ok(anchor)
    }

    fn resume(&self) {
        let mut coroutine = self.coroutine.borrow_mut();
        if !coroutine.done() {
            coroutine.resume(());
        }
    }
}

impl Drop for Anchor {
    fn drop(&mut self) {
        self.ends.set(true);
        self.resume();
        // SAFETY: it is dropped once, here. It has ended, so that dropping it unwinds nothing.
        unsafe { ManuallyDrop::drop(self.coroutine.get_mut()) };
        // SAFETY: the function is owned, and the context still alive.
        unsafe { qjs::JS_FreeValue(self.context.as_ptr(), self.hold) };
    }
}

/// A stay in a shared runtime, on one stack.
pub(super) struct Visit {
    context: NonNull<qjs::JSContext>,
    hold: qjs::JSValue,
    /// Where it began on the stack, which grows down from there.
    top: usize,
}

impl Visit {
    /// Tells the engine how much of this stack is left.
    fn limit_stack(&self) {
        let used = self.top.saturating_sub(here());
        // None at all would mean no limit.
        let left = SCRIPT_STACK_BYTES.saturating_sub(used).max(1);
        let runtime = runtime_of(self.context);
        // SAFETY: the runtime is alive.
        unsafe { qjs::JS_UpdateStackTop(runtime) };
        // SAFETY: the same.
        unsafe { qjs::JS_SetMaxStackSize(runtime, left as _) };
    }
}

/// Enters a shared runtime.
pub(in crate::script) fn enter<R>(
    context: &Context,
    anchor: &Anchor,
    work: impl FnOnce(&Ctx<'_>) -> R,
) -> R {
    anchor.resume();
    let visit = Visit {
        context: context.as_raw(),
        hold: anchor.hold,
        top: here(),
    };
    let _left = Left(VISIT.replace(Some(NonNull::from(&visit))));
    visit.limit_stack();
    // SAFETY: this is the only thread of the runtime, and the lifetime is one that `work` cannot name.
    let ctx = unsafe { Ctx::from_raw(context.as_raw()) };
    work(&ctx)
}

/// Lets the interrupt handler of a shared runtime be that of whoever runs.
pub(in crate::script) fn watch(context: &Context) {
    let runtime = runtime_of(context.as_raw());
    // SAFETY: the runtime is alive, and the handler needs nothing else.
    unsafe { qjs::JS_SetInterruptHandler(runtime, Some(interrupt), null_mut()) };
}

/// Suspends a coroutine that visits a shared runtime. Returns whether it does.
pub(super) fn suspend(yielder: NonNull<Yielder<(), ()>>) -> bool {
    let Some(at) = VISIT.get() else {
        return false;
    };
    // SAFETY: the visit lies on this stack, below; it has not ended, or `VISIT` were another.
    let visit = unsafe { at.as_ref() };
    let context = visit.context.as_ptr();
    // SAFETY: the context is alive.
    let is_thrown = unsafe { qjs::JS_HasException(context) };
    // SAFETY: the same.
    let thrown = is_thrown.then(|| unsafe { qjs::JS_GetException(context) });
    call(visit.context, visit.hold, yielder);
    VISIT.set(Some(at));
    visit.limit_stack();
    if let Some(thrown) = thrown {
        // SAFETY: the exception is owned, and given back.
        unsafe { qjs::JS_Throw(context, thrown) };
    }
    true
}

/// Leaves the visit of this stack, as another is switched to.
pub(super) fn leave() -> Option<NonNull<Visit>> {
    VISIT.take()
}

/// The reverse of [`leave`].
pub(super) fn come_back(visit: Option<NonNull<Visit>>) {
    VISIT.set(visit);
}

/// Calls `hold`, which suspends the coroutine of this yielder.
fn call(
    context: NonNull<qjs::JSContext>,
    function: qjs::JSValue,
    yielder: NonNull<Yielder<(), ()>>,
) {
    HOLDING.set(Some(yielder));
    // SAFETY: the runtime is alive.
    unsafe { qjs::JS_SetMaxStackSize(runtime_of(context), 0) };
    // SAFETY: the context and the function are alive, and there are no arguments. What it returns is no
    // value that had to be freed.
    unsafe { qjs::JS_Call(context.as_ptr(), function, qjs::JS_UNDEFINED, 0, null_mut()) };
}

fn runtime_of(context: NonNull<qjs::JSContext>) -> *mut qjs::JSRuntime {
    // SAFETY: whoever has a context here keeps it alive.
    unsafe { qjs::JS_GetRuntime(context.as_ptr()) }
}

/// Switches away from the coroutine that called it.
unsafe extern "C" fn hold(
    _: *mut qjs::JSContext,
    _: qjs::JSValue,
    _: c_int,
    _: *mut qjs::JSValue,
) -> qjs::JSValue {
    if let Some(place) = ANCHORS.take() {
        // SAFETY: the anchor's coroutine has set it just now, and owns it.
        let place = unsafe { place.as_ref() };
        let here = here();
        let before = place.replace(here);
        if before != 0 && before != here {
            std::process::abort();
        }
    }
    if let Some(yielder) = HOLDING.take() {
        // SAFETY: `call` was given the yielder of the coroutine that this runs on; it lives as long.
        unsafe { yielder.as_ref() }.suspend(());
    }
    qjs::JS_UNDEFINED
}

/// The engine asks now and then whether what runs shall end.
unsafe extern "C" fn interrupt(_: *mut qjs::JSRuntime, _: *mut c_void) -> c_int {
    // On its way into `hold` nothing ends.
    if HOLDING.get().is_some() {
        return 0;
    }
    give_way();
    c_int::from(host::is_over())
}

/// About where the stack is.
#[inline(never)]
fn here() -> usize {
    let here = 0_u8;
    std::ptr::from_ref(std::hint::black_box(&here)).addr()
}

/// The visit before, put back when it is dropped.
struct Left(Option<NonNull<Visit>>);

impl Drop for Left {
    fn drop(&mut self) {
        VISIT.set(self.0.take());
    }
}

thread_local! {
    /// The visit on the stack that runs, if it is one of a shared runtime.
    static VISIT: Cell<Option<NonNull<Visit>>> = const { Cell::new(None) };
    /// Where the frame of an anchor was, while that calls `hold`; 0 before its first call.
    static ANCHORS: Cell<Option<NonNull<Cell<usize>>>> = const { Cell::new(None) };
    /// Whom `hold` suspends next.
    static HOLDING: Cell<Option<NonNull<Yielder<(), ()>>>> = const { Cell::new(None) };
}

/// Bytes of an anchor's stack: two calls, and what a sanitizer adds.
const STACK_BYTES: usize = 64 * 1024;
