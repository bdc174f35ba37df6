//! The reference as a JSON Schema, by which editors complete and check the file.

use super::{Absent, Key, Kind, ROOT, Section, sections, slug};
use serde_json::{Map, Value, json};

/// The reference of every key, as a JSON Schema (draft 2020-12): the text of
/// `docs/catamaran.schema.json`.
#[must_use]
pub fn json_schema() -> String {
    let mut schema = object(&ROOT);
    let mut definitions = Map::new();
    for section in sections() {
        definitions.insert(slug(section.title), object(section));
    }
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("catamaran configuration");
    schema["$defs"] = Value::Object(definitions);
    let mut text = serde_json::to_string_pretty(&schema).expect("keys are strings");
    text.push('\n');
    text
}

fn object(section: &Section) -> Value {
    let known = || {
        let keys = section.keys.iter();
        keys.filter(|key| !matches!(key.absent, Absent::Later(_)))
    };
    let properties: Map<String, Value> = known()
        .map(|key| (key.name.to_owned(), property(key)))
        .collect();
    let required: Vec<&str> = known()
        .filter(|key| key.absent == Absent::Required)
        .map(|key| key.name)
        .collect();
    let mut schema = json!({
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    });
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    if !section.doc.is_empty() {
        schema["description"] = json!(section.doc);
    }
    schema
}

fn property(key: &Key) -> Value {
    let mut schema = value(&key.kind);
    schema["description"] = json!(key.doc);
    if let Absent::Default(literal) = key.absent {
        // The literals are TOML and JSON alike, which a test ensures.
        schema["default"] = serde_json::from_str(literal).unwrap_or(Value::Null);
    }
    schema
}

fn value(kind: &Kind) -> Value {
    match kind {
        Kind::Text(_) => json!({ "type": "string" }),
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Only(value) => json!({ "const": value }),
        Kind::Integer(min, max) => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Duration(..) => quantity("us|ms|s|m|h|d"),
        Kind::Size(..) => quantity("B|[kK]B|MB|GB|KiB|MiB|GiB"),
        Kind::Percent(..) | Kind::Share => quantity("%"),
        Kind::Choice(words) => json!({
            "anyOf": [{ "enum": words }, { "type": "string", "pattern": VARIABLE }],
        }),
        Kind::Table(section) => json!({ "$ref": format!("#/$defs/{}", slug(section.title)) }),
        Kind::List(item) => json!({ "type": "array", "items": value(item) }),
        Kind::OneOrMany(item) => json!({
            "anyOf": [value(item), { "type": "array", "items": value(item) }],
        }),
        Kind::Map(_, item) => json!({ "type": "object", "additionalProperties": value(item) }),
        Kind::Either(kinds) => {
            let kinds: Vec<Value> = kinds.iter().map(value).collect();
            json!({ "anyOf": kinds })
        }
    }
}

/// A number with a unit, or anything with an environment variable.
fn quantity(units: &str) -> Value {
    json!({
        "type": "string",
        "pattern": format!("^[0-9]+(\\.[0-9]+)? *({units})$|{VARIABLE}"),
    })
}

/// A string that holds an environment variable.
const VARIABLE: &str = "\\$\\{";
