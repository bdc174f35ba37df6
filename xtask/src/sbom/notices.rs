//! The licences of others whose code is in the program, as most of them want to be passed on.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::{Crate, Crates};

/// One text with a list of the crates before each licence, each text once.
pub(crate) fn text(crates: &Crates) -> Result<String> {
    let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut without = Vec::new();
    for part in crates.foreign() {
        let title = title(part);
        let texts = texts(&part.directory)
            .with_context(|| format!("cannot read {}", part.directory.display()))?;
        if texts.is_empty() {
            without.push(title.clone());
        }
        for text in texts {
            users.entry(text).or_default().push(title.clone());
        }
    }
    let mut texts: Vec<_> = users.into_iter().collect();
    texts.sort_by(|(_, a), (_, b)| a.cmp(b));
    let mut out = INTRO.to_owned();
    if !without.is_empty() {
        out.push_str("\nThese carry no text of their own:\n");
        out.push_str(&list(&without));
    }
    for (text, titles) in texts {
        out.push_str(&format!("\n{RULE}\n{}\n{text}\n", list(&titles)));
    }
    Ok(out)
}

fn title(part: &Crate) -> String {
    let license = part.license.as_deref().unwrap_or("no licence named");
    format!("{} {} ({license})", part.name, part.version)
}

fn list(titles: &[String]) -> String {
    titles.iter().map(|title| format!("  {title}\n")).collect()
}

/// The texts of the licences in a crate's directory.
fn texts(directory: &Path) -> std::io::Result<Vec<String>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_ascii_uppercase();
        let is_one = [
            "LICENSE",
            "LICENCE",
            "COPYING",
            "COPYRIGHT",
            "NOTICE",
            "UNLICENSE",
        ]
        .iter()
        .any(|word| name.starts_with(word));
        if is_one && entry.file_type()?.is_file() {
            paths.push(entry.path());
        }
    }
    paths.sort();
    let texts = paths.iter().map(|path| {
        let bytes = fs::read(path)?;
        let text = String::from_utf8_lossy(&bytes).replace('\r', "");
        Ok(text.trim().to_owned())
    });
    texts.collect()
}

const INTRO: &str = "Catamaran is under the MIT licence. The program contains code of others, under the\n\
    licences below; catamaran.cdx.json beside this file lists it with versions and checksums.\n";

const RULE: &str = "----------------------------------------------------------------------------";
