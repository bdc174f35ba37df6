//! The case `systemd`: what systemd's own tools make of the units, without a systemd that runs.

use std::fs;

use anyhow::{Context, Result, ensure};
use catamaran_testkit::TempDir;

use crate::shell;

const SERVICE: &str = "packaging/systemd/catamaran.service";
const SOCKET: &str = "packaging/systemd/catamaran.socket";
/// Tenths of the exposure that `systemd-analyze security` may find: what is left are the sockets
/// and the capabilities for virtual addresses. docs/systemd.md says it too.
const EXPOSURE: &str = "24";

/// Runs the case.
pub(super) fn run() -> Result<()> {
    let dir = TempDir::create()?;
    let own = std::env::current_exe()?;
    let own = own.to_str().context("the path is UTF-8")?;
    let mut units = Vec::new();
    for unit in [SERVICE, SOCKET] {
        let text = fs::read_to_string(unit)?;
        // A program that is there, for the check that it is.
        let text = text.replace("/usr/bin/catamaran", own);
        let (_, name) = unit.rsplit_once('/').context("a path has a directory")?;
        let file = dir.write(name, &text)?;
        units.push(file.to_str().context("the path is UTF-8")?.to_owned());
    }
    let mut arguments = vec!["verify", "--man=no"];
    arguments.extend(units.iter().map(String::as_str));
    shell::run("systemd-analyze", &arguments)?;
    let threshold = format!("--threshold={EXPOSURE}");
    let security = [
        "security",
        "--offline=true",
        "--no-pager",
        &threshold,
        &units[0],
    ];
    let said = shell::output("systemd-analyze", &security)?;
    let last = said.lines().last().unwrap_or_default();
    ensure!(
        last.contains("exposure level"),
        "what it says is not understood: {last}"
    );
    shell::say(last.trim());
    Ok(())
}
