//! Where log lines go: standard error, one compact line each.

use anyhow::Context as _;
use std::io::IsTerminal as _;
use std::sync::OnceLock;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Starts logging at `level`, else at what the environment says, else at info.
pub(crate) fn start(level: Option<&str>) -> anyhow::Result<()> {
    let from_environment = std::env::var(VARIABLE).ok();
    let level = level.or(from_environment.as_deref()).unwrap_or("info");
    let level = LEVEL.get_or_init(|| level.to_owned());
    let filter = EnvFilter::try_new(level)
        .ok()
        .filter(|_| is_filter(level))
        .with_context(|| {
            format!("log level `{level}` is none of error, warn, info, debug, trace and no filter")
        })?;
    tracing_subscriber::fmt()
        .compact()
        .with_env_filter(filter)
        .with_target(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    Ok(())
}

/// What is logged now.
pub(crate) fn level() -> String {
    LEVEL.get().cloned().unwrap_or_default()
}

/// Hands the level of this process on to a child.
pub(crate) fn pass_on(command: &mut std::process::Command) {
    if let Some(level) = LEVEL.get() {
        command.env(VARIABLE, level);
    }
}

/// Whether `filter` names a level wherever it names no target.
///
/// A lone word that is no level would be taken as a target, and a mistyped level be silence.
fn is_filter(filter: &str) -> bool {
    filter
        .split(',')
        .all(|part| part.contains(['=', '[']) || part.parse::<LevelFilter>().is_ok())
}

/// What logging was started with.
static LEVEL: OnceLock<String> = OnceLock::new();
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
        assert!(!is_filter("inof,catamaran=debug"));
    }
}
