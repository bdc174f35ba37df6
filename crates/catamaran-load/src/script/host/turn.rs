//! Whose script it is that runs.

use std::cell::RefCell;
use std::rc::Rc;

use catamaran_sys::clock::now_nanos;

use super::Host;

/// The turn of a realm, which ends when this is dropped.
pub(in crate::script) struct Turn(Option<Rc<Host>>);

/// Begins the turn of a realm.
pub(in crate::script) fn turn(host: &Rc<Host>) -> Turn {
    Turn(NOW.replace(Some(Rc::clone(host))))
}

impl Drop for Turn {
    fn drop(&mut self) {
        NOW.set(self.0.take());
    }
}

/// The host of what runs.
///
/// # Panics
/// When nothing runs.
pub(in crate::script) fn now() -> Rc<Host> {
    let host = NOW.with_borrow(Clone::clone);
    host.expect("only scripts call their host")
}

/// Whether what runs shall end now.
pub(in crate::script) fn is_over() -> bool {
    NOW.with_borrow(|host| host.as_ref().is_some_and(|host| host.is_over()))
}

impl Host {
    /// Whether the script shall end now: it is cut off, or its top level took too long.
    pub(in crate::script) fn is_over(&self) -> bool {
        self.is_cut() || now_nanos() > self.deadline.get()
    }
}

thread_local! {
    static NOW: RefCell<Option<Rc<Host>>> = const { RefCell::new(None) };
}
