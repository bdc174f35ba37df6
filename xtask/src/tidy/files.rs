//! Rules about one file's name and content.

use super::Finding;

/// Lines of a Rust file, inline tests included.
const MAX_LINES: usize = 800;

/// Bytes of any file.
const MAX_BYTES: usize = 200 * 1024;

/// Names that say nothing of what is inside.
const VAGUE_NAMES: &[&str] = &[
    "common", "helper", "helpers", "misc", "types", "util", "utils",
];

/// Words that stand for unfinished work.
///
/// Written in pieces here, so that this file does not find itself.
const UNFINISHED: &[&str] = &[
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("dbg", "!("),
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
];

/// Words that the style guide gives another name, with that name.
const BANNED: &[(&str, &str)] = &[
    (concat!("mas", "ter"), "active (VRRP), supervisor, leader"),
    (concat!("sla", "ve"), "backup (VRRP), follower"),
    (concat!("white", "list"), "allow-list"),
    (concat!("black", "list"), "deny-list"),
    (concat!("upstream", " pool"), "backend, or idle connections"),
    (concat!("upstream", " server"), "server"),
    (concat!("backend", " server"), "server"),
    (concat!("virtual", " server"), "frontend"),
];

/// Directories that exist only on somebody's machine.
const MACHINE_PATHS: &[&str] = &[
    concat!("/home", "/"),
    concat!("/Use", "rs/"),
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
];

/// Checks one tracked file.
pub(super) fn check(path: &str, bytes: &[u8]) -> Vec<Finding> {
    let mut findings = Vec::new();
    if bytes.len() > MAX_BYTES {
        let size = bytes.len() / 1024;
        let message = format!("{size} KiB; the limit is {} KiB", MAX_BYTES / 1024);
        findings.push(Finding::new(path, 0, "large-file", message));
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return findings;
    };
    if path.ends_with("Cargo.lock") || path.starts_with("fuzz/corpus/") {
        return findings;
    }
    if path.ends_with(".rs") {
        check_rust(path, text, &mut findings);
    }
    for (index, line) in text.lines().enumerate() {
        check_line(path, index + 1, line, &mut findings);
    }
    findings
}

fn check_rust(path: &str, text: &str, findings: &mut Vec<Finding>) {
    let first = text.lines().next().unwrap_or_default();
    if !first.starts_with("//! ") {
        let message = "the file must open with `//!` and a sentence that says what it is";
        findings.push(Finding::new(path, 1, "no-opening", message));
    }
    let lines = text.lines().count();
    if lines > MAX_LINES {
        let message = format!("{lines} lines; the limit is {MAX_LINES}");
        findings.push(Finding::new(path, 0, "too-long", message));
    }
    if let Some(name) = vague_name(path) {
        let message = format!("`{name}` says nothing of what is inside");
        findings.push(Finding::new(path, 0, "vague-name", message));
    }
}

fn vague_name(path: &str) -> Option<&str> {
    path.split('/')
        .map(|part| part.strip_suffix(".rs").unwrap_or(part))
        .find(|part| VAGUE_NAMES.contains(part))
}

fn check_line(path: &str, number: usize, line: &str, findings: &mut Vec<Finding>) {
    for word in UNFINISHED {
        if has_word(line, word) {
            let message = format!("`{word}`: an issue or nothing");
            findings.push(Finding::new(path, number, "unfinished", message));
        }
    }
    // What Redis itself answers cannot be said otherwise.
    let lower = line.to_ascii_lowercase().replace("role:master", "");
    for (word, instead) in BANNED {
        if has_word(&lower, word) {
            let message = format!("`{word}`: say {instead}");
            findings.push(Finding::new(path, number, "banned-word", message));
        }
    }
    for machine in MACHINE_PATHS {
        if line.contains(machine) {
            let message = format!("`{machine}…` is a path of one machine");
            findings.push(Finding::new(path, number, "machine-path", message));
        }
    }
    let is_home_of_unsafe = path.starts_with("crates/catamaran-sys/") || path.starts_with(SEAM);
    if path.ends_with(".rs") && !is_home_of_unsafe && is_unsafe(line) {
        let message = "`unsafe` belongs to catamaran-sys, and to the seam of catamaran-load";
        findings.push(Finding::new(path, number, "unsafe", message));
    }
}

/// Where the load test meets its JavaScript engine: the one other home of `unsafe`, with its argument.
const SEAM: &str = "crates/catamaran-load/src/script/seam/";

/// Whether the line is code with `unsafe` as a keyword.
fn is_unsafe(line: &str) -> bool {
    let code = line.trim_start();
    if code.starts_with("//") {
        return false;
    }
    let keyword = concat!("un", "safe");
    ["{", "fn", "impl", "trait", "extern"].iter().any(|next| {
        code.match_indices(keyword).any(|(at, _)| {
            let before = code[..at].chars().next_back();
            let after = &code[at + keyword.len()..];
            before.is_none_or(|c| !is_word(c) && c != '"' && c != '`')
                && after.starts_with(' ')
                && after.trim_start().starts_with(next)
        })
    })
}

/// Whether `word` stands in the line with no letter or digit beside it.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let ends_open = word.ends_with('(');
        before.is_none_or(|c| !is_word(c)) && (ends_open || after.is_none_or(|c| !is_word(c)))
    })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(path: &str, text: &str) -> Vec<&'static str> {
        let findings = check(path, text.as_bytes());
        findings.into_iter().map(|finding| finding.rule).collect()
    }

    #[test]
    fn a_tidy_file_has_no_findings() {
        assert!(rules("crates/a/src/pick.rs", "//! Picks.\n\nfn pick() {}\n").is_empty());
    }

    #[test]
    fn a_file_must_open_with_its_purpose() {
        assert_eq!(rules("a/src/pick.rs", "fn pick() {}\n"), ["no-opening"]);
        assert!(rules("docs/pick.md", "# Pick\n").is_empty());
    }

    #[test]
    fn a_file_has_800_lines_at_most() {
        let text = format!("//! Long.\n{}", "\n".repeat(799));
        assert!(rules("a.rs", &text).is_empty());
        let text = format!("//! Long.\n{}", "\n".repeat(800));
        assert_eq!(rules("a.rs", &text), ["too-long"]);
    }

    #[test]
    fn unfinished_work_is_found_in_any_text() {
        let word = UNFINISHED[0];
        assert_eq!(
            rules("README.md", &format!("{word}: write")),
            ["unfinished"]
        );
        assert!(rules("README.md", &format!("{word}S are words")).is_empty());
        assert_eq!(
            rules("a.rs", &format!("//! A.\n    {}x);\n", UNFINISHED[3])),
            ["unfinished"]
        );
    }

    #[test]
    fn banned_words_are_found_as_words_only() {
        let (word, _) = BANNED[0];
        assert_eq!(rules("a.md", &format!("the {word} node")), ["banned-word"]);
        assert!(rules("a.md", &format!("a {word}piece")).is_empty());
    }

    #[test]
    fn vague_names_are_found_in_files_and_directories() {
        assert_eq!(vague_name("crates/a/src/utils.rs"), Some("utils"));
        assert_eq!(vague_name("crates/a/src/common/mod.rs"), Some("common"));
        assert_eq!(vague_name("crates/a/src/commonplace.rs"), None);
    }

    #[test]
    fn only_the_sys_crate_may_be_unsafe() {
        let text = concat!("//! A.\n    let x = un", "safe { f() };\n");
        assert_eq!(rules("crates/a/src/a.rs", text), ["unsafe"]);
        assert!(rules("crates/catamaran-sys/src/a.rs", text).is_empty());
        assert!(rules("a.rs", "//! A.\n#![forbid(unsafe_code)]\n").is_empty());
        assert!(rules("a.rs", "//! A.\n// unsafe code is elsewhere\n").is_empty());
    }

    #[test]
    fn paths_of_a_machine_and_large_files_are_found() {
        let text = format!("see {}me", MACHINE_PATHS[0]);
        assert_eq!(rules("a.md", &text), ["machine-path"]);
        assert_eq!(rules("a.bin", &"x".repeat(MAX_BYTES + 1)), ["large-file"]);
    }
}
