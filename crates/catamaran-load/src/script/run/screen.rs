//! What is shown while a script runs.

use std::io;
use std::time::Duration;

use super::prepare::Prepared;
use crate::engine::{Observer, Progress};
use crate::plain::Console;
use crate::scenario::Scenario;
use crate::time_text::exact;

/// Says what will be run, in the words of k6.
pub(super) fn introduce(prepared: &Prepared, console: &mut Console<'_>) -> io::Result<()> {
    let scenarios = &prepared.derived.scenarios;
    let vus = scenarios.iter().map(|scenario| scenario.executor.max_vus());
    let vus: u64 = vus.sum();
    let longest = scenarios.iter().map(Scenario::longest).max();
    writeln!(
        console.out,
        "\n     execution: local\n        script: {}\n\n     scenarios: (100.00%) {} scenario{}, {vus} max VUs, \
        {} max duration (incl. graceful stop):",
        prepared.given.path.display(),
        scenarios.len(),
        if scenarios.len() == 1 { "" } else { "s" },
        exact(longest.unwrap_or_default())
    )?;
    for scenario in scenarios {
        writeln!(console.out, "              * {}", scenario.describe())?;
    }
    writeln!(console.out)
}

/// Prints how the run goes.
pub(super) struct Screen<'a> {
    pub(super) err: &'a mut dyn io::Write,
    pub(super) is_quiet: bool,
}

impl Observer for Screen<'_> {
    fn progress(&mut self, progress: &Progress<'_>) {
        if self.is_quiet {
            return;
        }
        let elapsed = exact(Duration::from_secs(progress.elapsed.as_secs()));
        // A terminal that has gone is no reason to end the run.
        let _ = writeln!(
            self.err,
            "running ({elapsed}), {}/{} VUs, {} complete and {} interrupted iterations",
            progress.active, progress.made, progress.whole, progress.cut
        );
    }

    fn warn(&mut self, text: &str) {
        let _ = writeln!(self.err, "level=warning msg={text:?}");
    }
}
