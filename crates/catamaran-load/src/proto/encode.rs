//! Messages from JSON to bytes.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::Value;

use super::known;
use super::schema::{Field, Kind, Schema};
use super::wire::{Field as Raw, MAX_DEPTH, Reader, put_bytes, put_tag, put_varint};

/// Writes a message of this full name.
pub(crate) fn encode(schema: &Schema, message: &str, value: &Value) -> Result<Vec<u8>, String> {
    encode_message(schema, message, value, 0)
}

pub(super) fn encode_message(
    schema: &Schema,
    message: &str,
    value: &Value,
    depth: usize,
) -> Result<Vec<u8>, String> {
    if depth > MAX_DEPTH {
        return Err("messages are nested too deep".to_owned());
    }
    if let Some(bytes) = known::encode(schema, message, value, depth)? {
        return Ok(bytes);
    }
    let fields = value
        .as_object()
        .ok_or_else(|| format!("`{message}` must be an object"))?;
    let known = schema.message(message)?;
    let mut out = Vec::new();
    let is_it = |field: &Field, name: &str| field.json_name == name || field.name == name;
    for name in fields.keys() {
        if !known.fields.iter().any(|field| is_it(field, name)) {
            return Err(format!("unknown field \"{name}\" of `{message}`"));
        }
    }
    for field in &known.fields {
        let (name, own) = (&field.name, &field.json_name);
        let Some(value) = fields.get(own).or_else(|| fields.get(name)) else {
            continue;
        };
        let is_value = matches!(&field.kind, Kind::Message(name) if name == known::VALUE);
        if value.is_null() && !is_value {
            continue;
        }
        encode_field(schema, field, value, depth, &mut out)
            .map_err(|why| format!("{name}: {why}"))?;
    }
    Ok(out)
}

fn encode_field(
    schema: &Schema,
    field: &Field,
    value: &Value,
    depth: usize,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    if let Some((key, of_value)) = schema.entry(field) {
        let map = value.as_object().ok_or("must be an object")?;
        for (name, value) in map {
            let mut entry = Vec::new();
            let name = match &key.kind {
                Kind::Bool => Value::Bool(name == "true"),
                _ => Value::from(name.as_str()),
            };
            encode_one(schema, key, &name, depth, &mut entry)?;
            encode_one(schema, of_value, value, depth, &mut entry)?;
            put_bytes(out, field.number, &entry);
        }
        return Ok(());
    }
    if !field.is_repeated {
        let before = out.len();
        encode_one(schema, field, value, depth, out)?;
        // Zeros of fields without presence are not written.
        let has_presence =
            field.is_in_oneof || !field.is_proto3 || matches!(field.kind, Kind::Message(_));
        if !has_presence && is_zero(&out[before..]) {
            out.truncate(before);
        }
        return Ok(());
    }
    let values = value.as_array().ok_or("must be an array")?;
    if !field.is_packed {
        return values
            .iter()
            .try_for_each(|value| encode_one(schema, field, value, depth, out));
    }
    let mut packed = Vec::new();
    for value in values {
        scalar(schema, &field.kind, value)?.put(&mut packed);
    }
    if !packed.is_empty() {
        put_bytes(out, field.number, &packed);
    }
    Ok(())
}

/// Whether a field carries zero or nothing.
fn is_zero(field: &[u8]) -> bool {
    let mut reader = Reader(field);
    matches!(
        reader.field(),
        Ok(Some((
            _,
            Raw::Varint(0) | Raw::Fixed32(0) | Raw::Fixed64(0) | Raw::Bytes(b"")
        )))
    )
}

/// Writes one value with its tag.
fn encode_one(
    schema: &Schema,
    field: &Field,
    value: &Value,
    depth: usize,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    match &field.kind {
        Kind::Message(name) => {
            let bytes = encode_message(schema, name, value, depth + 1)?;
            put_bytes(out, field.number, &bytes);
        }
        Kind::Text => {
            let text = value.as_str().ok_or("must be a string")?;
            put_bytes(out, field.number, text.as_bytes());
        }
        Kind::Bytes => {
            let text = value.as_str().ok_or("must be base64 text")?;
            put_bytes(out, field.number, &bytes_of(text)?);
        }
        kind => {
            let scalar = scalar(schema, kind, value)?;
            put_tag(out, field.number, scalar.wire_type());
            scalar.put(out);
        }
    }
    Ok(())
}

/// A number as it is written.
enum Scalar {
    Varint(u64),
    Four([u8; 4]),
    Eight([u8; 8]),
}

impl Scalar {
    const fn wire_type(&self) -> u8 {
        match self {
            Self::Varint(_) => 0,
            Self::Eight(_) => 1,
            Self::Four(_) => 5,
        }
    }

    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Varint(value) => put_varint(out, *value),
            Self::Four(bytes) => out.extend_from_slice(bytes),
            Self::Eight(bytes) => out.extend_from_slice(bytes),
        }
    }
}

fn scalar(schema: &Schema, kind: &Kind, value: &Value) -> Result<Scalar, String> {
    let signed = |value: i64| Scalar::Varint(value.cast_unsigned());
    let zigzag = |value: i64| Scalar::Varint(((value << 1) ^ (value >> 63)).cast_unsigned());
    Ok(match kind {
        Kind::Double => Scalar::Eight(float(value)?.to_le_bytes()),
        Kind::Float => Scalar::Four(narrow(float(value)?).to_le_bytes()),
        Kind::Int32 => signed(i64::from(integer::<i32>(value)?)),
        Kind::Int64 => signed(integer(value)?),
        Kind::Uint32 => Scalar::Varint(u64::from(integer::<u32>(value)?)),
        Kind::Uint64 => Scalar::Varint(integer(value)?),
        Kind::Sint32 => zigzag(i64::from(integer::<i32>(value)?)),
        Kind::Sint64 => zigzag(integer(value)?),
        Kind::Fixed32 => Scalar::Four(integer::<u32>(value)?.to_le_bytes()),
        Kind::Sfixed32 => Scalar::Four(integer::<i32>(value)?.to_le_bytes()),
        Kind::Fixed64 => Scalar::Eight(integer::<u64>(value)?.to_le_bytes()),
        Kind::Sfixed64 => Scalar::Eight(integer::<i64>(value)?.to_le_bytes()),
        Kind::Bool => Scalar::Varint(u64::from(value.as_bool().ok_or("must be true or false")?)),
        Kind::Enum(name) => signed(i64::from(enum_number(schema, name, value)?)),
        Kind::Text | Kind::Bytes | Kind::Message(_) => return Err("is no number".to_owned()),
    })
}

fn enum_number(schema: &Schema, name: &str, value: &Value) -> Result<i32, String> {
    if value.is_null() {
        return Ok(0);
    }
    let Some(text) = value.as_str() else {
        return integer(value);
    };
    let values = schema.enum_values(name);
    let found = values.iter().find(|(name, _)| name == text);
    found
        .map(|&(_, number)| number)
        .ok_or_else(|| format!("`{name}` has no value \"{text}\""))
}

/// A whole number, as a number or as text.
fn integer<T: TryFrom<i128>>(value: &Value) -> Result<T, String> {
    let number = match value {
        Value::String(text) => text.trim().parse::<i128>().ok(),
        Value::Number(number) => number
            .as_i64()
            .map(i128::from)
            .or_else(|| number.as_u64().map(i128::from))
            .or_else(|| number.as_f64().and_then(whole)),
        _ => None,
    };
    let number = number.and_then(|number| T::try_from(number).ok());
    number.ok_or_else(|| format!("{value} is no whole number of this size"))
}

/// The integer that a float is, such as 1e3.
fn whole(number: f64) -> Option<i128> {
    let is_whole = number.fract() == 0.0 && number.abs() < 1e19;
    is_whole
        .then(|| format!("{number:.0}").parse().ok())
        .flatten()
}

fn float(value: &Value) -> Result<f64, String> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => match text.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            text => text.parse().ok(),
        },
        _ => None,
    };
    number.ok_or_else(|| format!("{value} is no number"))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a float is what the schema wants"
)]
const fn narrow(number: f64) -> f32 {
    number as f32
}

/// Bytes in base64, of either alphabet, padded or not.
pub(super) fn bytes_of(text: &str) -> Result<Vec<u8>, String> {
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let is_url = text.contains(['-', '_']);
    let alphabet = if is_url {
        alphabet::URL_SAFE
    } else {
        alphabet::STANDARD
    };
    let engine = GeneralPurpose::new(&alphabet, config);
    engine
        .decode(text)
        .map_err(|error| format!("is no base64: {error}"))
}
