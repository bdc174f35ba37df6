//! What one file declares, before names are resolved.

/// A file.
#[derive(Clone, Debug, Default)]
pub(crate) struct File {
    pub(crate) name: String,
    pub(super) package: String,
    pub(crate) imports: Vec<String>,
    pub(super) is_proto3: bool,
    /// All of them, nested ones too, by full name.
    pub(super) messages: Vec<RawMessage>,
    /// Full names with values.
    pub(super) enums: Vec<(String, Vec<(String, i32)>)>,
    pub(super) services: Vec<(String, Vec<RawMethod>)>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct RawMessage {
    pub(super) name: String,
    pub(super) fields: Vec<RawField>,
    /// Whether it stands for an entry of a map: field 1 is the key, field 2 the value.
    pub(super) is_entry: bool,
}

#[derive(Clone, Debug, Default)]
pub(super) struct RawField {
    pub(super) name: String,
    pub(super) json_name: String,
    pub(super) number: u32,
    pub(super) is_repeated: bool,
    /// Whether it is among a `oneof`, `optional` of proto3 included.
    pub(super) is_in_oneof: bool,
    pub(super) packed: Option<bool>,
    /// A scalar's name, or a message's or an enum's, with a dot before it if it is a full one.
    pub(super) kind: String,
}

#[derive(Clone, Debug, Default)]
pub(super) struct RawMethod {
    pub(super) name: String,
    pub(super) input: String,
    pub(super) output: String,
    pub(super) is_client_streaming: bool,
    pub(super) is_server_streaming: bool,
}

/// The name of a field in JSON: `user_id` becomes `userId`.
pub(super) fn json_name(name: &str) -> String {
    let mut json = String::with_capacity(name.len());
    let mut is_upper = false;
    for c in name.chars() {
        if c == '_' {
            is_upper = true;
        } else if std::mem::take(&mut is_upper) {
            json.push(c.to_ascii_uppercase());
        } else {
            json.push(c);
        }
    }
    json
}

/// A name within another.
pub(super) fn within(scope: &str, name: &str) -> String {
    if scope.is_empty() {
        name.to_owned()
    } else {
        format!("{scope}.{name}")
    }
}
