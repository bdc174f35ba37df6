//! What runs once: `setup`, `teardown`, `handleSummary`.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use corosensei::stack::DefaultStack;

use super::Failed;
use super::prepare::Prepared;
use super::watchdog::Watchdog;
use crate::engine::{Local, Stop};
use crate::exit_code;
use crate::plain::Console;
use crate::script::host::{Host, Place};
use crate::script::realm::{Called, Realm, STACK_BYTES, Wanted, call_on_fiber};
use crate::time_text::exact;

impl Prepared {
    /// Runs `setup`, if there is one. Returns what it returned, as JSON.
    pub(super) async fn set_up(&self, local: &Rc<Local>) -> Result<Option<Arc<str>>, Failed> {
        if !self.has_setup {
            return Ok(None);
        }
        let timeout = self.options.setup_timeout.unwrap_or(MINUTE);
        let call = self.call(local, "setup", None, timeout, "");
        let called = tokio::select! {
            called = call => called,
            _ = tokio::signal::ctrl_c() => {
                let text = "interrupted in setup".to_owned();
                return Err(Failed(exit_code::SIGNAL, text));
            }
        };
        staged(local, "setup", called, timeout)
    }

    /// Runs `teardown`, if there is one.
    pub(super) async fn tear_down(
        &self,
        local: &Rc<Local>,
        data: Option<Arc<str>>,
    ) -> Result<(), Failed> {
        if !self.has_teardown {
            return Ok(());
        }
        let timeout = self.options.teardown_timeout.unwrap_or(MINUTE);
        let called = self.call(local, "teardown", data, timeout, "").await;
        staged(local, "teardown", called, timeout).map(drop)
    }

    /// Calls one function in a realm of its own; after the timeout it is cut off.
    pub(super) async fn call(
        &self,
        local: &Rc<Local>,
        name: &str,
        argument: Option<Arc<str>>,
        timeout: Duration,
        summary: &str,
    ) -> Result<Called, String> {
        let settings = Arc::clone(&self.settings);
        let place = Place::default();
        let host = Host::new(Rc::clone(local), settings, &self.script, place, None);
        summary.clone_into(&mut host.summary.borrow_mut());
        let realm = Realm::new(&self.script, Rc::new(host))?.loaded(&self.script)?;
        let stop = Rc::new(Stop::default());
        realm.host.begin(&stop, &format!("::{name}"));
        let stack = DefaultStack::new(STACK_BYTES).map_err(|error| error.to_string())?;
        let watch = tokio::task::spawn_local(async move {
            tokio::time::sleep(timeout).await;
            stop.cut();
        });
        let code = match name {
            "setup" => exit_code::SETUP_TIMEOUT,
            "teardown" => exit_code::TEARDOWN_TIMEOUT,
            _ => exit_code::FAILED,
        };
        let _watchdog = Watchdog::start(name, timeout, code).map_err(|error| error.to_string())?;
        // A task of its own: whoever drops the wait must not drop a script that has begun.
        let fiber = call_on_fiber(&realm, stack, name, argument, Wanted::Value);
        let called = tokio::task::spawn_local(fiber).await;
        watch.abort();
        called.map_err(|error| format!("{name}: {error}"))
    }

    /// Prints what was told outside of the run. Returns whether a script called the run failed.
    pub(super) fn hear(&self, local: &Local, console: &mut Console<'_>) -> io::Result<bool> {
        local.recorder.borrow_mut().flush_taps();
        let untold = local.untold();
        for text in untold.warnings {
            writeln!(console.err, "level=warning msg={text:?}")?;
        }
        Ok(untold.is_marked_failed)
    }
}

/// What `setup` or `teardown` came to.
fn staged(
    local: &Local,
    name: &str,
    called: Result<Called, String>,
    timeout: Duration,
) -> Result<Option<Arc<str>>, Failed> {
    if let Some(why) = local.aborted() {
        let text = format!("the script aborted the run: {why}");
        return Err(Failed(exit_code::ABORTED, text));
    }
    let timed_out = if name == "setup" {
        exit_code::SETUP_TIMEOUT
    } else {
        exit_code::TEARDOWN_TIMEOUT
    };
    match called {
        Ok(Called::Returned(value)) => Ok(value.map(Arc::from)),
        Ok(Called::Threw(why)) => Err(Failed(exit_code::FAILED, format!("{name}: {why}"))),
        Ok(Called::Cut) => {
            let text = format!("{name} took longer than {}", exact(timeout));
            Err(Failed(timed_out, text))
        }
        Err(why) => Err(Failed(exit_code::FAILED, why)),
    }
}

const MINUTE: Duration = Duration::from_secs(60);
