//! Changes to header fields that a route makes.

use crate::read::{Entry, Node};
use crate::reference;
use crate::syntax::{is_field_value, is_token};
use catamaran_core::model::HeaderModifier;

/// Reads `request-headers` or `response-headers`.
pub(crate) fn modifier(node: Node<'_>) -> Option<HeaderModifier> {
    let fields = node.fields(&reference::HEADERS)?;
    let mut modifier = HeaderModifier::default();
    for entry in fields
        .node("set")
        .and_then(|node| node.entries())
        .unwrap_or_default()
    {
        check_entry(entry);
        if let Some(value) = value(entry.node) {
            modifier.set.push((entry.name.to_owned(), value));
        }
    }
    for entry in fields
        .node("add")
        .and_then(|node| node.entries())
        .unwrap_or_default()
    {
        check_entry(entry);
        for value in entry.node.one_or_many().into_iter().filter_map(value) {
            modifier.add.push((entry.name.to_owned(), value));
        }
    }
    let removed = fields.node("remove").map(|node| node.one_or_many());
    for node in removed.unwrap_or_default() {
        if let Some(name) = name(node) {
            if let Some(problem) = framing(&name) {
                node.error(problem);
            }
            modifier.remove.push(name);
        }
    }
    Some(modifier)
}

/// Reads the name of a header; lower case.
pub(crate) fn name(node: Node<'_>) -> Option<String> {
    let name = node.text("the name of a header (a string)")?;
    if let Some(problem) = name_problem(&name) {
        node.error(problem);
        return None;
    }
    Some(name.to_ascii_lowercase())
}

/// What is wrong with `name` as the name of a header, and the remedy.
pub(crate) fn name_problem(name: &str) -> Option<String> {
    (!is_token(name)).then(|| {
        format!(
            "`{}` is no name of a header; write letters, digits and `-`",
            name
        )
    })
}

/// Reads the value of a header.
pub(crate) fn value(node: Node<'_>) -> Option<String> {
    let value = node.text("the value of a header (a string)")?;
    if !is_field_value(&value) {
        node.error(format!(
            "`{}` is no value of a header; remove control characters and the spaces around it",
            value
        ));
        return None;
    }
    Some(value)
}

fn check_entry(entry: Entry<'_>) {
    let problem = name_problem(entry.name).or_else(|| framing(entry.name));
    if let Some(problem) = problem {
        entry.node.reader().error(entry.at, problem);
    }
}

/// Why `name` may not be changed, if it frames a message, belongs to one connection or names the
/// host that routes were chosen by.
pub(crate) fn framing(name: &str) -> Option<String> {
    let name = name.to_ascii_lowercase();
    if name == "host" {
        return Some(
            "`host` cannot be changed here; write `rewrite = { host = \"…\" }`".to_owned(),
        );
    }
    FRAMING.contains(&name.as_str()).then(|| {
        format!("`{name}` cannot be changed, since catamaran frames messages itself; remove it")
    })
}

/// Fields that frame a message or belong to one connection (RFC 9110 §7.6.1, RFC 9112 §6).
const FRAMING: [&str; 8] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
