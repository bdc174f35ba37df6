//! What is shown before a script runs.

use std::io;

use super::prepare::Prepared;
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
        "\n     execution: {}\n        script: {}\n\n     scenarios: (100.00%) {} scenario{}, {vus} max VUs, \
        {} max duration (incl. graceful stop):",
        execution(prepared),
        prepared.given.path.display(),
        scenarios.len(),
        if scenarios.len() == 1 { "" } else { "s" },
        exact(longest.unwrap_or_default())
    )?;
    for scenario in scenarios {
        writeln!(console.out, "              * {}", scenario.describe())?;
    }
    if let Some(why) = &prepared.kept_apart {
        writeln!(console.out, "\n     isolation: strict ({why})")?;
    } else {
        writeln!(console.out, "\n     isolation: shared")?;
    }
    writeln!(console.out)
}

/// Where it runs.
fn execution(prepared: &Prepared) -> String {
    let agents = prepared.given.agents.as_ref();
    agents.map_or_else(
        || "local".to_owned(),
        |agents| format!("on agents: {}", agents.addresses.join(", ")),
    )
}
