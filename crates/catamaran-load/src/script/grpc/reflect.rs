//! The schema as a server tells it: server reflection, versions 1 and 1alpha.
//!
//! Each question is a call of its own, so that nothing depends on how a server goes on.

use super::call::{Call, Status, Target, finish, send, status_of};
use crate::client::Http2;
use crate::proto::{Reader, Schema, WireField, put_bytes, read_file};

/// Asks for all services and adds their files to the schema.
pub(super) async fn reflect(
    connection: &Http2,
    target: &Target,
    schema: &mut Schema,
) -> Result<(), Status> {
    let mut target = target.clone();
    let mut services = Err(Status::default());
    for version in ["v1", "v1alpha"] {
        target.path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
        services = ask(connection, &target, LIST_SERVICES, b"*").await;
        if !matches!(&services, Err(status) if status.code == UNIMPLEMENTED) {
            break;
        }
    }
    // ListServiceResponse: repeated ServiceResponse { name = 1 } = 1, in field 6.
    let mut files = Vec::new();
    let mut wanted = Vec::new();
    for list in inner(&services?, 6)? {
        for service in inner(list, 1)? {
            for name in inner(service, 1)? {
                wanted.push((FILE_OF_SYMBOL, name.to_vec()));
            }
        }
    }
    let mut known = std::collections::HashSet::new();
    while let Some((question, name)) = wanted.pop() {
        let answer = ask(connection, &target, question, &name).await?;
        // FileDescriptorResponse: repeated bytes file_descriptor_proto = 1, in field 4.
        for list in inner(&answer, 4)? {
            for bytes in inner(list, 1)? {
                let file = read_file(bytes).map_err(broken)?;
                if !known.insert(file.name.clone()) {
                    continue;
                }
                for import in &file.imports {
                    if !schema.has_file(import) && !known.contains(import) {
                        wanted.push((FILE_BY_NAME, import.clone().into_bytes()));
                    }
                }
                files.push(file);
            }
        }
        if files.len() > MAX_FILES {
            return Err(broken(format!(
                "the server has more than {MAX_FILES} files"
            )));
        }
    }
    schema.add(&files).map_err(broken)
}

/// Asks one question. Returns the answer, unless it is that something is not there.
async fn ask(
    connection: &Http2,
    target: &Target,
    question: u32,
    name: &[u8],
) -> Result<Vec<u8>, Status> {
    let mut message = Vec::new();
    put_bytes(&mut message, question, name);
    let mut call = Call::begin(connection, target, MAX_ANSWER).await?;
    if let Some(stream) = &mut call.sending {
        send(stream, &message)
            .await
            .map_err(|failure| status_of(&failure))?;
        finish(stream).map_err(|failure| status_of(&failure))?;
    }
    call.head().await?;
    let answer = call.receiving.message().await?;
    match answer {
        Some(answer) => Ok(answer),
        None => Err(call.receiving.status()),
    }
}

/// The values of a field of bytes.
fn inner(bytes: &[u8], wanted: u32) -> Result<Vec<&[u8]>, Status> {
    let mut reader = Reader(bytes);
    let mut found = Vec::new();
    while let Some((number, field)) = reader.field().map_err(broken)? {
        if let (true, WireField::Bytes(value)) = (number == wanted, field) {
            found.push(value);
        }
    }
    Ok(found)
}

fn broken(why: impl std::fmt::Display) -> Status {
    Status::new(super::call::INTERNAL, format!("reflection: {why}"))
}

/// Fields of `ServerReflectionRequest`.
const FILE_BY_NAME: u32 = 3;
const FILE_OF_SYMBOL: u32 = 4;
const LIST_SERVICES: u32 = 7;
const UNIMPLEMENTED: u32 = 12;
/// Files of a server at most.
const MAX_FILES: usize = 10_000;
/// Bytes of an answer at most.
const MAX_ANSWER: usize = 64 * 1024 * 1024;
