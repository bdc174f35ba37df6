//! The messages of `google/protobuf` that JSON writes in a form of its own, and their files.

use serde_json::{Map, Value, json};

use super::decode::{all_fields, decode_message, decode_one, float, zero};
use super::encode::encode_message;
use super::schema::Schema;
use super::text::{duration, duration_parts, timestamp, timestamp_parts};
use super::wire::{Field as Raw, Reader, put_bytes, put_tag, put_varint_field};

pub(super) const VALUE: &str = "google.protobuf.Value";
pub(super) const NULL: &str = "google.protobuf.NullValue";

/// Writes a message that has a form of its own; `None` of any other.
pub(super) fn encode(
    schema: &Schema,
    message: &str,
    value: &Value,
    depth: usize,
) -> Result<Option<Vec<u8>>, String> {
    let Some(name) = message.strip_prefix("google.protobuf.") else {
        return Ok(None);
    };
    let text = || {
        value
            .as_str()
            .ok_or_else(|| format!("{value} must be text"))
    };
    let mut out = Vec::new();
    match name {
        "Timestamp" | "Duration" => {
            let (seconds, nanos) = match name {
                "Timestamp" => timestamp_parts(text()?)?,
                _ => duration_parts(text()?)?,
            };
            put_varint_field(&mut out, 1, seconds.cast_unsigned());
            put_varint_field(&mut out, 2, i64::from(nanos).cast_unsigned());
        }
        "FieldMask" => {
            for path in text()?.split(',').filter(|path| !path.is_empty()) {
                put_bytes(&mut out, 1, snake(path).as_bytes());
            }
        }
        "Value" => encode_value(value, depth, &mut out)?,
        "Struct" => {
            let fields = value.as_object().ok_or("must be an object")?;
            encode_struct(fields, depth, &mut out)?;
        }
        "ListValue" => encode_list(value.as_array().ok_or("must be an array")?, depth, &mut out)?,
        "Any" => {
            let mut fields = value.as_object().ok_or("must be an object")?.clone();
            let url = fields.remove("@type").ok_or("must have \"@type\"")?;
            let url = url.as_str().ok_or("\"@type\" must be text")?;
            let inner = name_of(url);
            let own = fields
                .remove("value")
                .filter(|_| inner.starts_with("google.protobuf."));
            let content = own.unwrap_or(Value::Object(fields));
            put_bytes(&mut out, 1, url.as_bytes());
            put_bytes(
                &mut out,
                2,
                &encode_message(schema, inner, &content, depth + 1)?,
            );
        }
        _ if is_wrapper(name) => {
            // A wrapper is a message with one field, called `value`.
            if let Value::Object(_) = value {
                return Ok(None);
            }
            let wrapped = json!({ "value": value });
            return encode_message(schema, message, &wrapped, depth + 1).map(Some);
        }
        _ => return Ok(None),
    }
    Ok(Some(out))
}

/// Reads a message that has a form of its own; `None` of any other.
pub(super) fn decode(
    schema: &Schema,
    message: &str,
    bytes: &[u8],
    depth: usize,
) -> Result<Option<Value>, String> {
    let Some(name) = message.strip_prefix("google.protobuf.") else {
        return Ok(None);
    };
    let fields = || all_fields(bytes);
    Ok(Some(match name {
        "Timestamp" | "Duration" => {
            let fields = fields()?;
            let number = |number| match fields.get(&number).and_then(|raws| raws.last()) {
                Some(Raw::Varint(value)) => value.cast_signed(),
                _ => 0,
            };
            let nanos = i32::try_from(number(2)).unwrap_or(0);
            Value::from(match name {
                "Timestamp" => timestamp(number(1), nanos),
                _ => duration(number(1), nanos),
            })
        }
        "FieldMask" => {
            let fields = fields()?;
            let paths = fields.get(&1).into_iter().flatten();
            let paths = paths.filter_map(|raw| match raw {
                Raw::Bytes(path) => Some(super::file::json_name(&String::from_utf8_lossy(path))),
                _ => None,
            });
            Value::from(paths.collect::<Vec<_>>().join(","))
        }
        "Value" => decode_value(bytes, depth)?,
        "Struct" => decode_struct(bytes, depth)?,
        "ListValue" => decode_list(bytes, depth)?,
        "Any" => decode_any(schema, bytes, depth)?,
        _ if is_wrapper(name) => {
            let known = schema.message(message)?;
            let field = known.fields.first().ok_or("a wrapper without a value")?;
            match fields()?.get(&1).and_then(|raws| raws.last()) {
                Some(raw) => decode_one(schema, &field.kind, *raw, depth)?,
                None => zero(schema, &field.kind),
            }
        }
        _ => return Ok(None),
    }))
}

fn is_wrapper(name: &str) -> bool {
    let kinds = [
        "Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes",
    ];
    name.strip_suffix("Value")
        .is_some_and(|kind| kinds.contains(&kind))
}

/// The message that the URL of an `Any` names.
fn name_of(url: &str) -> &str {
    url.rsplit_once('/').map_or(url, |(_, name)| name)
}

fn decode_any(schema: &Schema, bytes: &[u8], depth: usize) -> Result<Value, String> {
    let fields = all_fields(bytes)?;
    let part = |number| match fields.get(&number).and_then(|raws| raws.last()) {
        Some(Raw::Bytes(bytes)) => *bytes,
        _ => &[],
    };
    let url = String::from_utf8_lossy(part(1)).into_owned();
    if url.is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    let inner = decode_message(schema, name_of(&url), part(2), depth + 1)?;
    let mut object = Map::new();
    object.insert("@type".to_owned(), Value::from(url));
    match inner {
        Value::Object(fields) => object.extend(fields),
        other => drop(object.insert("value".to_owned(), other)),
    }
    Ok(Value::Object(object))
}

fn encode_value(value: &Value, depth: usize, out: &mut Vec<u8>) -> Result<(), String> {
    check(depth)?;
    match value {
        Value::Null => put_varint_field(out, 1, 0),
        Value::Number(number) => {
            put_tag(out, 2, 1);
            out.extend_from_slice(&number.as_f64().unwrap_or(0.0).to_le_bytes());
        }
        Value::String(text) => put_bytes(out, 3, text.as_bytes()),
        Value::Bool(value) => put_varint_field(out, 4, u64::from(*value)),
        Value::Object(fields) => {
            let mut inner = Vec::new();
            encode_struct(fields, depth + 1, &mut inner)?;
            put_bytes(out, 5, &inner);
        }
        Value::Array(values) => {
            let mut inner = Vec::new();
            encode_list(values, depth + 1, &mut inner)?;
            put_bytes(out, 6, &inner);
        }
    }
    Ok(())
}

fn encode_struct(
    fields: &Map<String, Value>,
    depth: usize,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    for (name, value) in fields {
        let (mut entry, mut inner) = (Vec::new(), Vec::new());
        put_bytes(&mut entry, 1, name.as_bytes());
        encode_value(value, depth + 1, &mut inner)?;
        put_bytes(&mut entry, 2, &inner);
        put_bytes(out, 1, &entry);
    }
    Ok(())
}

fn encode_list(values: &[Value], depth: usize, out: &mut Vec<u8>) -> Result<(), String> {
    for value in values {
        let mut inner = Vec::new();
        encode_value(value, depth + 1, &mut inner)?;
        put_bytes(out, 1, &inner);
    }
    Ok(())
}

fn decode_value(bytes: &[u8], depth: usize) -> Result<Value, String> {
    check(depth)?;
    let mut reader = Reader(bytes);
    let mut value = Value::Null;
    while let Some((number, raw)) = reader.field()? {
        value = match (number, raw) {
            (2, Raw::Fixed64(bits)) => float(f64::from_bits(bits)),
            (3, Raw::Bytes(text)) => Value::from(String::from_utf8_lossy(text)),
            (4, Raw::Varint(flag)) => Value::Bool(flag != 0),
            (5, Raw::Bytes(fields)) => decode_struct(fields, depth + 1)?,
            (6, Raw::Bytes(values)) => decode_list(values, depth + 1)?,
            _ => Value::Null,
        };
    }
    Ok(value)
}

fn decode_struct(bytes: &[u8], depth: usize) -> Result<Value, String> {
    let mut object = Map::new();
    for raw in all_fields(bytes)?.remove(&1).unwrap_or_default() {
        let Raw::Bytes(entry) = raw else { continue };
        let fields = all_fields(entry)?;
        let part = |number| match fields.get(&number).and_then(|raws| raws.last()) {
            Some(Raw::Bytes(bytes)) => *bytes,
            _ => &[],
        };
        let name = String::from_utf8_lossy(part(1)).into_owned();
        object.insert(name, decode_value(part(2), depth + 1)?);
    }
    Ok(Value::Object(object))
}

fn decode_list(bytes: &[u8], depth: usize) -> Result<Value, String> {
    let values = all_fields(bytes)?.remove(&1).unwrap_or_default();
    let values = values.into_iter().filter_map(|raw| match raw {
        Raw::Bytes(bytes) => Some(decode_value(bytes, depth + 1)),
        _ => None,
    });
    values.collect::<Result<Vec<_>, _>>().map(Value::Array)
}

fn check(depth: usize) -> Result<(), String> {
    if depth > super::wire::MAX_DEPTH {
        return Err("values are nested too deep".to_owned());
    }
    Ok(())
}

/// `userId` becomes `user_id`.
fn snake(path: &str) -> String {
    let mut snake = String::with_capacity(path.len());
    for c in path.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

/// The file of the health check.
pub(super) const HEALTH: &str = "grpc/health/v1/health.proto";

/// The files that may be imported without being there.
pub(super) fn source(name: &str) -> Option<&'static str> {
    let found = FILES.iter().find(|(own, _)| *own == name);
    found.map(|(_, source)| *source)
}

const FILES: &[(&str, &str)] = &[
    (
        "google/protobuf/any.proto",
        "syntax = \"proto3\"; package google.protobuf; message Any { string type_url = 1; bytes value = 2; }",
    ),
    // Options are passed over, so that nothing of it is needed.
    (
        "google/protobuf/descriptor.proto",
        "syntax = \"proto2\"; package google.protobuf;",
    ),
    (
        "google/protobuf/duration.proto",
        "syntax = \"proto3\"; package google.protobuf; message Duration { int64 seconds = 1; int32 nanos = 2; }",
    ),
    (
        "google/protobuf/empty.proto",
        "syntax = \"proto3\"; package google.protobuf; message Empty {}",
    ),
    (
        "google/protobuf/field_mask.proto",
        "syntax = \"proto3\"; package google.protobuf; message FieldMask { repeated string paths = 1; }",
    ),
    (
        "google/protobuf/struct.proto",
        "syntax = \"proto3\"; package google.protobuf; message Struct { map<string, Value> fields = 1; } \
         message Value { oneof kind { NullValue null_value = 1; double number_value = 2; string string_value = 3; \
         bool bool_value = 4; Struct struct_value = 5; ListValue list_value = 6; } } \
         enum NullValue { NULL_VALUE = 0; } message ListValue { repeated Value values = 1; }",
    ),
    (
        "google/protobuf/timestamp.proto",
        "syntax = \"proto3\"; package google.protobuf; message Timestamp { int64 seconds = 1; int32 nanos = 2; }",
    ),
    (
        "google/protobuf/wrappers.proto",
        "syntax = \"proto3\"; package google.protobuf; message DoubleValue { double value = 1; } \
         message FloatValue { float value = 1; } message Int64Value { int64 value = 1; } \
         message UInt64Value { uint64 value = 1; } message Int32Value { int32 value = 1; } \
         message UInt32Value { uint32 value = 1; } message BoolValue { bool value = 1; } \
         message StringValue { string value = 1; } message BytesValue { bytes value = 1; }",
    ),
    (
        "grpc/health/v1/health.proto",
        "syntax = \"proto3\"; package grpc.health.v1; message HealthCheckRequest { string service = 1; } \
         message HealthCheckResponse { enum ServingStatus { UNKNOWN = 0; SERVING = 1; NOT_SERVING = 2; \
         SERVICE_UNKNOWN = 3; } ServingStatus status = 1; } service Health { \
         rpc Check(HealthCheckRequest) returns (HealthCheckResponse); \
         rpc Watch(HealthCheckRequest) returns (stream HealthCheckResponse); }",
    ),
];
