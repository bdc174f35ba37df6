//! Where log lines go: standard error, one compact line each.

use anyhow::Context as _;
use std::io::IsTerminal as _;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Starts logging at `level`, else at what the environment says, else at info.
pub(crate) fn start(level: Option<&str>) -> anyhow::Result<()> {
    let from_environment = std::env::var(VARIABLE).ok();
    let level = level.or(from_environment.as_deref()).unwrap_or("info");
    let filter = filter_of(level)?;
    *current() = level.to_owned();
    let builder = tracing_subscriber::fmt()
        .compact()
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .with_env_filter(filter)
        .with_filter_reloading();
    let handle = builder.reload_handle();
    let change = move |filter| handle.reload(filter).map_err(|error| error.to_string());
    // Only the first call of the process gets here and on: a second `init` panics.
    let _ = CHANGE.set(Box::new(change));
    builder.init();
    Ok(())
}

/// Changes what this process logs, and what it hands on to its children.
pub(crate) fn set_level(level: &str) -> anyhow::Result<()> {
    let filter = filter_of(level)?;
    let change = CHANGE.get().context("logging was not started")?;
    change(filter).map_err(anyhow::Error::msg)?;
    *current() = level.to_owned();
    tracing::info!(level, "log level changed");
    Ok(())
}

fn filter_of(level: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(level)
        .ok()
        .filter(|_| is_filter(level))
        .with_context(|| {
            format!("log level `{level}` is none of error, warn, info, debug, trace and no filter")
        })
}

/// Puts another filter in place.
type Change = Box<dyn Fn(EnvFilter) -> Result<(), String> + Send + Sync>;

/// What is logged now.
pub(crate) fn level() -> String {
    current().clone()
}

/// Hands the level of this process on to a child.
pub(crate) fn pass_on(command: &mut std::process::Command) {
    command.env(VARIABLE, level());
}

/// Whether `filter` names a level wherever it names no target.
///
/// A lone word that is no level would be taken as a target, and a mistyped level be silence.
fn is_filter(filter: &str) -> bool {
    filter
        .split(',')
        // Nothing would be taken for `error`.
        .all(|part| {
            // A part like `target[span]=level` may leave out the level, one with `=` alone may not.
            let level = part.rsplit_once('=').map_or(part, |(_, level)| level);
            let is_level = !level.is_empty() && level.parse::<LevelFilter>().is_ok();
            is_level || (part.contains('[') && !part.ends_with('='))
        })
}

fn current() -> MutexGuard<'static, String> {
    LEVEL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is logged.
static LEVEL: Mutex<String> = Mutex::new(String::new());
/// Changes it.
static CHANGE: OnceLock<Change> = OnceLock::new();
const VARIABLE: &str = "CATAMARAN_LOG";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_level_is_no_filter() {
        for good in ["info", "WARN", "off", "info,catamaran_proxy=debug"] {
            assert!(is_filter(good), "{good}");
        }
        assert!(!is_filter("inof"));
        assert!(!is_filter("nonsense="));
        assert!(!is_filter("inof,catamaran=debug"));
        assert!(!is_filter("") && !is_filter("info,"));
    }
}
