//! Reads compiled descriptors: `FileDescriptorSet` and `FileDescriptorProto` of
//! `google/protobuf/descriptor.proto`.

use super::file::{File, RawField, RawMessage, RawMethod, json_name, within};
use super::wire::{Field, Reader};

/// Reads a set of files, as `protoc --descriptor_set_out --include_imports` writes it.
pub(crate) fn read_set(bytes: &[u8]) -> Result<Vec<File>, String> {
    let mut files = Vec::new();
    each(bytes, |number, field| {
        if let (1, Field::Bytes(file)) = (number, field) {
            files.push(read_file(file)?);
        }
        Ok(())
    })?;
    Ok(files)
}

/// Reads one file.
pub(crate) fn read_file(bytes: &[u8]) -> Result<File, String> {
    let mut file = File::default();
    // Names within depend on the package, which may come last.
    each(bytes, |number, field| {
        match (number, field) {
            (1, Field::Bytes(name)) => file.name = text(name),
            (2, Field::Bytes(package)) => file.package = text(package),
            (3, Field::Bytes(import)) => file.imports.push(text(import)),
            (12, Field::Bytes(syntax)) => file.is_proto3 = syntax == b"proto3",
            (14, Field::Varint(_)) => file.is_proto3 = true,
            _ => {}
        }
        Ok(())
    })?;
    let package = file.package.clone();
    each(bytes, |number, field| {
        match (number, field) {
            (4, Field::Bytes(message)) => read_message(message, &package, &mut file, 0)?,
            (5, Field::Bytes(enumeration)) => read_enum(enumeration, &package, &mut file)?,
            (6, Field::Bytes(service)) => read_service(service, &package, &mut file)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(file)
}

fn read_message(bytes: &[u8], scope: &str, file: &mut File, depth: usize) -> Result<(), String> {
    if depth > super::wire::MAX_DEPTH {
        return Err("messages are nested too deep".to_owned());
    }
    let name = within(scope, &name_of(bytes)?);
    let mut message = RawMessage {
        name: name.clone(),
        ..RawMessage::default()
    };
    each(bytes, |number, field| {
        match (number, field) {
            (2, Field::Bytes(field)) => message.fields.push(read_field(field)?),
            (3, Field::Bytes(nested)) => read_message(nested, &name, file, depth + 1)?,
            (4, Field::Bytes(enumeration)) => read_enum(enumeration, &name, file)?,
            (7, Field::Bytes(options)) => each(options, |number, field| {
                message.is_entry |= (number, field) == (7, Field::Varint(1));
                Ok(())
            })?,
            _ => {}
        }
        Ok(())
    })?;
    file.messages.push(message);
    Ok(())
}

fn read_field(bytes: &[u8]) -> Result<RawField, String> {
    let mut raw = RawField::default();
    let mut kind = 0;
    each(bytes, |number, field| {
        match (number, field) {
            (1, Field::Bytes(name)) => raw.name = text(name),
            (3, Field::Varint(number)) => raw.number = u32::try_from(number).unwrap_or(0),
            (4, Field::Varint(label)) => raw.is_repeated = label == 3,
            (5, Field::Varint(number)) => kind = usize::try_from(number).unwrap_or(0),
            (6, Field::Bytes(name)) => raw.kind = text(name),
            (8, Field::Bytes(options)) => each(options, |number, field| {
                if let (2, Field::Varint(packed)) = (number, field) {
                    raw.packed = Some(packed != 0);
                }
                Ok(())
            })?,
            (9, Field::Varint(_)) => raw.is_in_oneof = true,
            (10, Field::Bytes(name)) => raw.json_name = text(name),
            _ => {}
        }
        Ok(())
    })?;
    if raw.kind.is_empty() {
        let known = KINDS.get(kind).filter(|name| !name.is_empty());
        let known = known.ok_or_else(|| format!("field `{}` is of no known kind", raw.name))?;
        (*known).clone_into(&mut raw.kind);
    }
    if raw.json_name.is_empty() {
        raw.json_name = json_name(&raw.name);
    }
    Ok(raw)
}

fn read_enum(bytes: &[u8], scope: &str, file: &mut File) -> Result<(), String> {
    let mut values = Vec::new();
    each(bytes, |number, field| {
        if let (2, Field::Bytes(value)) = (number, field) {
            let mut of_value = 0;
            each(value, |number, field| {
                if let (2, Field::Varint(number)) = (number, field) {
                    of_value = super::decode::low_i32(number);
                }
                Ok(())
            })?;
            values.push((name_of(value)?, of_value));
        }
        Ok(())
    })?;
    file.enums.push((within(scope, &name_of(bytes)?), values));
    Ok(())
}

fn read_service(bytes: &[u8], scope: &str, file: &mut File) -> Result<(), String> {
    let mut methods = Vec::new();
    each(bytes, |number, field| {
        if let (2, Field::Bytes(method)) = (number, field) {
            let mut raw = RawMethod::default();
            each(method, |number, field| {
                match (number, field) {
                    (1, Field::Bytes(name)) => raw.name = text(name),
                    (2, Field::Bytes(input)) => raw.input = text(input),
                    (3, Field::Bytes(output)) => raw.output = text(output),
                    (5, Field::Varint(flag)) => raw.is_client_streaming = flag != 0,
                    (6, Field::Varint(flag)) => raw.is_server_streaming = flag != 0,
                    _ => {}
                }
                Ok(())
            })?;
            methods.push(raw);
        }
        Ok(())
    })?;
    file.services
        .push((within(scope, &name_of(bytes)?), methods));
    Ok(())
}

/// The name of whatever has one: field 1 everywhere.
fn name_of(bytes: &[u8]) -> Result<String, String> {
    let mut name = String::new();
    each(bytes, |number, field| {
        if let (1, Field::Bytes(bytes)) = (number, field) {
            name = text(bytes);
        }
        Ok(())
    })?;
    Ok(name)
}

fn each<'a>(
    bytes: &'a [u8],
    mut take: impl FnMut(u32, Field<'a>) -> Result<(), String>,
) -> Result<(), String> {
    let mut reader = Reader(bytes);
    while let Some((number, field)) = reader.field()? {
        take(number, field)?;
    }
    Ok(())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Scalars by `FieldDescriptorProto.Type`; messages, enums and groups have a name of their own.
const KINDS: &[&str] = &[
    "", "double", "float", "int64", "uint64", "int32", "fixed64", "fixed32", "bool", "string", "",
    "", "bytes", "uint32", "", "sfixed32", "sfixed64", "sint32", "sint64",
];
