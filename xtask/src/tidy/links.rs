//! The rule that a link within the tree leads somewhere: to a file, and to a heading of it.

use std::path::{Component, Path, PathBuf};

use super::Finding;

/// Checks the links of a Markdown file; `read` gives the text of a file or of nothing, if it is a
/// directory, and `None` if there is none.
pub(super) fn check(
    path: &str,
    text: &str,
    read: &dyn Fn(&Path) -> Option<String>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in prose(text) {
        for target in targets(line) {
            if let Some(message) = problem(path, text, target, read) {
                findings.push(Finding::new(path, number, "broken-link", message));
            }
        }
    }
    findings
}

/// What is wrong with a link, if something is.
fn problem(
    path: &str,
    text: &str,
    target: &str,
    read: &dyn Fn(&Path) -> Option<String>,
) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let there = if file.is_empty() {
        text.to_owned()
    } else {
        let directory = Path::new(path).parent().unwrap_or_else(|| Path::new(""));
        let Some(there) = read(&normal(&directory.join(file))) else {
            return Some(format!("`{target}`: there is no such file"));
        };
        there
    };
    let is_known = anchor.is_empty() || headings(&there).any(|heading| slug(heading) == anchor);
    (!is_known).then(|| format!("`{target}`: there is no such heading"))
}

/// The path without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        if part == Component::ParentDir {
            normal.pop();
        } else {
            normal.push(part);
        }
    }
    normal
}

/// Where the links of a line lead: `[text](target)`, outside of code.
fn targets(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = line;
    while let Some(at) = rest.find("](") {
        let after = &rest[at + 2..];
        let is_code = rest[..at].matches('`').count() % 2 == 1;
        let Some(end) = after.find(')') else { break };
        if !is_code {
            found.push(&after[..end]);
        }
        rest = if is_code { after } else { &after[end..] };
    }
    found
}

/// The lines that are no code, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
            return None;
        }
        (!is_code).then_some((index + 1, line))
    })
}

fn headings(text: &str) -> impl Iterator<Item = &str> {
    prose(text).filter_map(|(_, line)| {
        let heading = line.trim_start_matches('#');
        (heading.len() < line.len() && heading.starts_with(' ')).then_some(heading.trim())
    })
}

/// The anchor of a heading, as GitHub makes it.
fn slug(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> Vec<String> {
        let read = |path: &Path| match path.to_str()? {
            "README.md" => Some("# Hello\n\n## What `it` costs, or not\n".to_owned()),
            "docs/examples" => Some(String::new()),
            _ => None,
        };
        let found = check("docs/a.md", text, &read).into_iter();
        found.map(|finding| finding.text()).collect()
    }

    #[test]
    fn a_link_that_leads_somewhere_is_fine() {
        let fine = [
            "[a](../README.md), [b](examples), [c](https://example.com/gone)",
            "[a](../README.md#what-it-costs-or-not) and [b](#mine)\n\n# Mine\n",
            "`[a](gone.md)`\n```text\n[a](gone.md)\n```\n",
        ];
        for text in fine {
            assert!(findings(text).is_empty(), "{text}: {:?}", findings(text));
        }
    }

    #[test]
    fn a_link_that_leads_nowhere_is_found() {
        let told = |text| findings(text).join("\n");
        let gone = "docs/a.md:2: broken-link: `gone.md`: there is no such file";
        assert_eq!(told("\nsee [a](gone.md)"), gone);
        assert!(told("[a](../README.md#costs)").contains("no such heading"));
        assert!(told("[a](#mine)").contains("no such heading"));
        assert!(told("`b` [a](gone.md)").contains("no such file"));
    }
}
