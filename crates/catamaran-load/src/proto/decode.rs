//! Messages from bytes to JSON, with the fields that are not there as their defaults, as k6 has it.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value};

use super::known;
use super::schema::{Field, Kind, Schema};
use super::wire::{Field as Raw, MAX_DEPTH, Reader};

/// Reads a message of this full name.
pub(crate) fn decode(schema: &Schema, message: &str, bytes: &[u8]) -> Result<Value, String> {
    decode_message(schema, message, bytes, 0)
}

pub(super) fn decode_message(
    schema: &Schema,
    message: &str,
    bytes: &[u8],
    depth: usize,
) -> Result<Value, String> {
    if depth > MAX_DEPTH {
        return Err("messages are nested too deep".to_owned());
    }
    if let Some(value) = known::decode(schema, message, bytes, depth)? {
        return Ok(value);
    }
    let known = schema.message(message)?;
    let mut there = all_fields(bytes)?;
    let mut object = Map::new();
    for field in &known.fields {
        let raws = there.remove(&field.number).unwrap_or_default();
        let value = if raws.is_empty() {
            unset(schema, field)
        } else {
            let value = decode_field(schema, field, &raws, depth);
            Some(value.map_err(|why| format!("{}: {why}", field.name))?)
        };
        if let Some(value) = value {
            object.insert(field.json_name.clone(), value);
        }
    }
    Ok(Value::Object(object))
}

/// All values of each field, in their order.
pub(super) fn all_fields(bytes: &[u8]) -> Result<HashMap<u32, Vec<Raw<'_>>>, String> {
    let mut reader = Reader(bytes);
    let mut all: HashMap<u32, Vec<Raw<'_>>> = HashMap::new();
    while let Some((number, raw)) = reader.field()? {
        all.entry(number).or_default().push(raw);
    }
    Ok(all)
}

/// What stands for a field that is not there; `None` if it is left out.
fn unset(schema: &Schema, field: &Field) -> Option<Value> {
    if field.is_in_oneof {
        return None;
    }
    if field.is_repeated {
        let is_map = schema.entry(field).is_some();
        return Some(if is_map {
            Value::Object(Map::new())
        } else {
            Value::Array(Vec::new())
        });
    }
    if !field.is_proto3 {
        return Some(Value::Null);
    }
    Some(zero(schema, &field.kind))
}

/// The value of a scalar that is not there.
pub(super) fn zero(schema: &Schema, kind: &Kind) -> Value {
    match kind {
        Kind::Message(_) => Value::Null,
        Kind::Text | Kind::Bytes => Value::from(""),
        Kind::Bool => Value::Bool(false),
        Kind::Int64 | Kind::Uint64 | Kind::Sint64 | Kind::Fixed64 | Kind::Sfixed64 => {
            Value::from("0")
        }
        Kind::Enum(name) => enum_value(schema, name, 0),
        _ => Value::from(0),
    }
}

fn decode_field(
    schema: &Schema,
    field: &Field,
    raws: &[Raw<'_>],
    depth: usize,
) -> Result<Value, String> {
    if let Some((key, of_value)) = schema.entry(field) {
        return decode_map(schema, key, of_value, raws, depth);
    }
    if field.is_repeated {
        let mut list = Vec::new();
        for raw in raws {
            match raw {
                Raw::Bytes(packed) if !is_of_bytes(&field.kind) => {
                    let mut reader = Reader(packed);
                    while !reader.0.is_empty() {
                        let raw = next_packed(&field.kind, &mut reader)?;
                        list.push(decode_one(schema, &field.kind, raw, depth)?);
                    }
                }
                raw => list.push(decode_one(schema, &field.kind, *raw, depth)?),
            }
        }
        return Ok(Value::Array(list));
    }
    if let (Kind::Message(name), [_, _, ..]) = (&field.kind, raws) {
        // A message in parts is their sum.
        let parts = raws.iter().filter_map(|raw| match raw {
            Raw::Bytes(bytes) => Some(*bytes),
            _ => None,
        });
        let whole = parts.collect::<Vec<_>>().concat();
        return decode_message(schema, name, &whole, depth + 1);
    }
    match raws.last() {
        Some(raw) => decode_one(schema, &field.kind, *raw, depth),
        None => Ok(Value::Null),
    }
}

fn decode_map(
    schema: &Schema,
    key: &Field,
    of_value: &Field,
    raws: &[Raw<'_>],
    depth: usize,
) -> Result<Value, String> {
    let mut map = Map::new();
    for raw in raws {
        let Raw::Bytes(entry) = raw else {
            return Err("entry of a map is no message".to_owned());
        };
        let fields = all_fields(entry)?;
        let last = |number| fields.get(&number).and_then(|raws| raws.last());
        let name = match last(1) {
            Some(raw) => decode_one(schema, &key.kind, *raw, depth)?,
            None => zero(schema, &key.kind),
        };
        let value = match (last(2), &of_value.kind) {
            (Some(raw), kind) => decode_one(schema, kind, *raw, depth)?,
            (None, Kind::Message(name)) => decode_message(schema, name, &[], depth + 1)?,
            (None, kind) => zero(schema, kind),
        };
        let name = match name {
            Value::String(name) => name,
            other => other.to_string(),
        };
        map.insert(name, value);
    }
    Ok(Value::Object(map))
}

const fn is_of_bytes(kind: &Kind) -> bool {
    matches!(kind, Kind::Text | Kind::Bytes | Kind::Message(_))
}

fn next_packed<'a>(kind: &Kind, reader: &mut Reader<'a>) -> Result<Raw<'a>, String> {
    Ok(match kind {
        Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => {
            Raw::Fixed64(u64::from_le_bytes(reader.array()?))
        }
        Kind::Float | Kind::Fixed32 | Kind::Sfixed32 => {
            Raw::Fixed32(u32::from_le_bytes(reader.array()?))
        }
        _ => Raw::Varint(reader.varint()?),
    })
}

pub(super) fn decode_one(
    schema: &Schema,
    kind: &Kind,
    raw: Raw<'_>,
    depth: usize,
) -> Result<Value, String> {
    Ok(match (kind, raw) {
        (Kind::Message(name), Raw::Bytes(bytes)) => decode_message(schema, name, bytes, depth + 1)?,
        (Kind::Text, Raw::Bytes(bytes)) => {
            Value::from(str::from_utf8(bytes).map_err(|_| "is no UTF-8")?)
        }
        (Kind::Bytes, Raw::Bytes(bytes)) => Value::from(STANDARD.encode(bytes)),
        (Kind::Double, Raw::Fixed64(bits)) => float(f64::from_bits(bits)),
        (Kind::Float, Raw::Fixed32(bits)) => single(f32::from_bits(bits)),
        (Kind::Fixed32, Raw::Fixed32(value)) => Value::from(value),
        (Kind::Sfixed32, Raw::Fixed32(value)) => Value::from(value.cast_signed()),
        (Kind::Int64, Raw::Varint(value)) | (Kind::Sfixed64, Raw::Fixed64(value)) => {
            Value::from(value.cast_signed().to_string())
        }
        (Kind::Uint64, Raw::Varint(value)) | (Kind::Fixed64, Raw::Fixed64(value)) => {
            Value::from(value.to_string())
        }
        (Kind::Sint64, Raw::Varint(value)) => Value::from(unzigzag(value).to_string()),
        (Kind::Int32, Raw::Varint(value)) => Value::from(low_i32(value)),
        (Kind::Sint32, Raw::Varint(value)) => Value::from(unzigzag(value)),
        (Kind::Uint32, Raw::Varint(value)) => Value::from(value & 0xffff_ffff),
        (Kind::Bool, Raw::Varint(value)) => Value::Bool(value != 0),
        (Kind::Enum(name), Raw::Varint(value)) => enum_value(schema, name, low_i32(value)),
        _ => return Err("is of another kind than the schema says".to_owned()),
    })
}

fn enum_value(schema: &Schema, name: &str, number: i32) -> Value {
    if name == known::NULL {
        return Value::Null;
    }
    let values = schema.enum_values(name);
    let found = values.iter().find(|(_, known)| *known == number);
    found.map_or_else(
        || Value::from(number),
        |(name, _)| Value::from(name.as_str()),
    )
}

const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

/// The lower half, as fields of 32 bits are written.
pub(super) const fn low_i32(value: u64) -> i32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}

pub(super) fn float(value: f64) -> Value {
    if value.fract() == 0.0 && value.abs() < 1e15 {
        // JSON knows no difference, and JavaScript shows none.
        let whole = format!("{value:.0}").parse::<i64>();
        return whole.map_or(Value::Null, Value::from);
    }
    Number::from_f64(value).map_or_else(|| Value::from(special(value)), Value::Number)
}

fn single(value: f32) -> Value {
    let shortest = value.to_string().parse::<f64>();
    float(shortest.unwrap_or_else(|_| f64::from(value)))
}

const fn special(value: f64) -> &'static str {
    if value.is_nan() {
        "NaN"
    } else if value.is_sign_positive() {
        "Infinity"
    } else {
        "-Infinity"
    }
}
