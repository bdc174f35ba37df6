//! HTTP/1.1 for a proxy, without I/O: heads, framing, chunked bodies, and writing them anew.
//!
//! The crate decides what a received head means ([`RequestHead`], [`ResponseHead`]), where its
//! body ends ([`BodyReader`], [`Decoder`]) and what the message sent on looks like
//! ([`HeadWriter`]). It opens no socket and reads no clock; the caller owns the buffers.
//!
//! # Rules
//! - Framing is decided here and nowhere else. A message that two readers could take apart in
//!   two ways is refused, never repaired.
//! - Everything is a [`Span`] into the caller's buffer: nothing is copied, and after the first few
//!   messages nothing is allocated.
//! - Every parser may be given its input in pieces of any size, and gives the same answer.
//! - What is sent on is written from the parsed head; received bytes are copied only where they
//!   equal what would have been written.
#![forbid(unsafe_code)]

mod block;
mod body;
mod byte_class;
mod chunked;
mod encode;
mod error;
mod field;
mod framing;
#[cfg(any(test, feature = "testing"))]
pub mod invariants;
mod limits;
mod method;
mod request;
mod response;
mod span;
mod target;
mod version;

pub use body::{BodyReader, Truncated};
pub use chunked::{ChunkError, Decoder, Step, Trailers, encode_chunk_head, write_last_chunk};
pub use encode::{HeadWriter, is_valid_field, write_u64};
pub use error::{FieldError, FramingError, RequestError, ResponseError};
pub use field::{Field, FieldId};
pub use framing::{BodyFraming, ResponseFraming};
pub use limits::Limits;
pub use method::Method;
pub use request::{RequestHead, is_valid_host};
pub use response::{RequestKind, ResponseHead};
pub use span::Span;
pub use target::{Scheme, Target, TargetForm};
pub use version::Version;

/// How far a head has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The head is whole; its `head_len` says where the body begins.
    Complete,
    /// More bytes are needed; call again with the same bytes and what came after them.
    Partial,
}
