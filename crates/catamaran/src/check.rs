//! `catamaran check`: every error of a configuration, or what it holds.

use crate::args::CheckArgs;
use crate::source::Source;
use catamaran_core::model::Config;
use std::io::Write as _;
use std::process::ExitCode;

/// Checks the configuration that `run` would take.
pub(crate) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let source = Source::read(args.config.as_deref())?;
    let loaded = match source.load() {
        Ok(loaded) => loaded,
        Err(errors) => {
            writeln!(std::io::stderr(), "{errors}")?;
            return Ok(ExitCode::FAILURE);
        }
    };
    for warning in &loaded.warnings {
        writeln!(std::io::stderr(), "{warning} (warning)")?;
    }
    let counts = counts(&loaded.config);
    writeln!(std::io::stdout(), "{}: ok: {counts}", source.name())?;
    Ok(ExitCode::SUCCESS)
}

fn counts(config: &Config) -> String {
    let listeners = config.frontends.iter().map(|f| f.listeners.len()).sum();
    let routes = config.frontends.iter().map(|f| f.routes.len()).sum();
    let servers = config.backends.iter().map(|b| b.servers.len()).sum();
    [
        count(config.frontends.len(), "frontend"),
        count(listeners, "listener"),
        count(routes, "route"),
        count(config.backends.len(), "backend"),
        count(servers, "server"),
    ]
    .join(", ")
}

fn count(n: usize, what: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {what}{plural}")
}
