//! Ends the process when a script keeps the one thread that leads in a call that nothing can interrupt.
//!
//! Scripts are cut off between their steps; what a built-in function does in one go is one step, however long
//! it takes. Workers that are kept like that are given up ([`crate::engine`]); the thread that leads cannot
//! give up itself.

use std::io::{self, Write as _};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

/// Watches until it is dropped.
pub(super) struct Watchdog {
    _alive: Sender<()>,
}

impl Watchdog {
    /// Begins to watch `what`, which should take `time` at most. `code` is the exit status if it does not end.
    pub(super) fn start(what: &str, time: Duration, code: u8) -> io::Result<Self> {
        let (alive, ended) = channel();
        let text =
            format!("{what} cannot be interrupted: the script is in one call that does not end");
        let watch = move || {
            if ended.recv_timeout(time.saturating_add(GRACE)) == Err(RecvTimeoutError::Timeout) {
                // A terminal that has gone is no reason to stay.
                let _ = writeln!(io::stderr(), "catamaran load: {text}");
                end(code);
            }
        };
        let thread = thread::Builder::new().name("load-watchdog".to_owned());
        thread.spawn(watch)?;
        Ok(Self { _alive: alive })
    }
}

#[expect(
    clippy::exit,
    reason = "the thread that should return from main never does"
)]
fn end(code: u8) {
    std::process::exit(code.into());
}

/// For a script that was cut off to get there. Chosen: much more than it takes.
const GRACE: Duration = Duration::from_secs(30);
