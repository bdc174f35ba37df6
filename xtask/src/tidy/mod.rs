//! `cargo xtask tidy`: the rules of style that a program can check.
//!
//! It looks at the files that git tracks and at `cargo metadata`. What a rule forbids today and
//! cannot be mended at once stands in `xtask/tidy-allow.txt`, which may only shrink: an entry
//! that no longer matches anything is an error too.

mod crates;
mod files;
mod links;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::shell;

const ALLOWED: &str = "xtask/tidy-allow.txt";

/// A rule that a file breaks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// The file, or the crate's manifest.
    pub(crate) path: String,
    /// The line from 1; 0 is the file as a whole.
    pub(crate) line: usize,
    /// The rule's name, as in the allow-list.
    pub(crate) rule: &'static str,
    /// What is wrong and what to do.
    pub(crate) message: String,
}

impl Finding {
    fn new(path: &str, line: usize, rule: &'static str, message: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            rule,
            message: message.into(),
        }
    }

    fn text(&self) -> String {
        match self.line {
            0 => format!("{}: {}: {}", self.path, self.rule, self.message),
            line => format!("{}:{line}: {}: {}", self.path, self.rule, self.message),
        }
    }
}

/// Checks the tree and fails with all findings.
pub(crate) fn run() -> Result<()> {
    let mut findings = Vec::new();
    let tracked = shell::output("git", &["ls-files", "-z"])?;
    for path in tracked.split('\0').filter(|path| !path.is_empty()) {
        // Deleted but not yet committed.
        let Ok(bytes) = fs::read(path) else { continue };
        findings.extend(files::check(path, &bytes));
        if path.ends_with(".md") {
            let text = String::from_utf8_lossy(&bytes);
            findings.extend(links::check(path, &text, &read));
        }
    }
    findings.extend(crates::check()?);
    findings.sort();
    let allowed = fs::read_to_string(ALLOWED).with_context(|| format!("cannot read {ALLOWED}"))?;
    let findings = without_allowed(findings, &allowed);
    for finding in &findings {
        shell::say(&finding.text());
    }
    match findings.len() {
        0 => Ok(()),
        count => bail!("tidy: {count} findings"),
    }
}

/// The text of a file, as far as it is one; nothing of a directory.
fn read(path: &Path) -> Option<String> {
    if path.is_dir() {
        return Some(String::new());
    }
    let bytes = fs::read(path).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Drops what the list allows; adds a finding for each entry that allows nothing.
///
/// An entry is `RULE PATH`; lines with `#` are remarks.
fn without_allowed(findings: Vec<Finding>, list: &str) -> Vec<Finding> {
    let entries: BTreeSet<_> = list
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let mut used = BTreeSet::new();
    let mut left = Vec::new();
    for finding in findings {
        let entry = format!("{} {}", finding.rule, finding.path);
        match entries.get(entry.as_str()) {
            Some(entry) => {
                used.insert(*entry);
            }
            None => left.push(finding),
        }
    }
    for entry in entries.difference(&used) {
        let message = format!("`{entry}` allows nothing any more; remove it");
        left.push(Finding::new(ALLOWED, 0, "stale-entry", message));
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowed_finding_is_dropped_and_a_stale_entry_is_one() {
        let finding = Finding::new("a.rs", 3, "too-long", "900 lines");
        let other = Finding::new("b.rs", 1, "too-long", "900 lines");
        let list = "# why\ntoo-long a.rs\ntoo-long gone.rs\n";
        let left = without_allowed(vec![finding, other.clone()], list);
        assert_eq!(left[0], other);
        assert_eq!(left[1].rule, "stale-entry");
        assert_eq!(left.len(), 2);
    }
}
