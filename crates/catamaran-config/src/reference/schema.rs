//! The reference as JSON Schema.

/// The reference of every key, as JSON.
#[must_use]
pub fn json_schema() -> String {
    String::new()
}
