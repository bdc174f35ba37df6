//! The reference as Markdown: `docs/configuration.md`.

/// The reference of every key, as Markdown.
#[must_use]
pub fn markdown() -> String {
    String::new()
}
