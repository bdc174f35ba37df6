//! Protocol Buffers whose schema is known only when a script runs: `.proto` files and descriptor sets,
//! and messages from JSON to bytes and back. No I/O but for the files of a schema.
//!
//! ```text
//! token, parse   the text of a .proto file     set    a compiled FileDescriptorSet
//!           └──► file: what a file declares ◄───┘
//! schema         all files with their names resolved
//! encode, decode, known, text   JSON (proto3's mapping) to bytes and back
//! wire           the bytes: varints and tags
//! ```
//! <https://protobuf.dev/programming-guides/encoding/>, <https://protobuf.dev/programming-guides/json/>

mod decode;
mod encode;
mod file;
mod known;
mod parse;
mod schema;
mod set;
#[cfg(test)]
mod tests;
mod text;
mod token;
mod wire;

pub(crate) use decode::decode;
pub(crate) use encode::encode;
pub(crate) use schema::{Method, Schema};
pub(crate) use set::{read_file, read_set};
pub(crate) use wire::{Field as WireField, Reader, put_bytes};
