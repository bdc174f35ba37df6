//! The chunked transfer coding (RFC 9112 §7.1).
//!
//! ```text
//!            hex digits      ";" …        CR LF          size bytes     CR LF
//!  Size ----------------> Extension --> SizeLf --size--> Data --------> DataCr, DataLf --> Size
//!                                         |
//!                                         +---- 0 ----> Trailers --empty line--> Done
//! ```

use std::ops::Range;

use crate::block::Block;
use crate::byte_class::{is_token, is_value};
use crate::encode::write_field;
use crate::error::FieldError;
use crate::{Field, FieldId, Limits};

/// Why a chunked body is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// The data of a chunk is not followed by CRLF.
    #[error("chunk data not followed by CRLF")]
    DataEndInvalid,
    /// A chunk extension is neither a token nor a quoted string.
    #[error("invalid chunk extension")]
    ExtensionInvalid,
    /// Extensions outweigh the data.
    #[error("too many bytes of chunk extensions")]
    ExtensionsTooLarge,
    /// A chunk does not begin with hex digits, or its line does not end with CRLF.
    #[error("invalid chunk size")]
    SizeInvalid,
    /// More digits than 64 bits have, or more than 2^63 - 1 bytes.
    #[error("chunk size exceeds 16 hex digits or 2^63 - 1")]
    SizeOverflow,
    /// A trailer field is wrong, or there are too many.
    #[error("invalid trailer section")]
    Trailer(#[source] FieldError),
}

/// What one call to a decoder found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The part of the input that is body data; may be empty.
    pub data: Range<usize>,
    /// How much of the input is done with, data included.
    pub consumed: usize,
    /// Whether the body is whole; what follows `consumed` is another message.
    pub finished: bool,
}

/// Takes a chunked body apart, in pieces of any size.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// In `Size`: the digits so far as a number. In `Data`: bytes of the chunk still to come.
    size: u64,
    digits: u8,
    /// Extension bytes that no data has paid for yet, see [`MAX_UNPAID_EXTENSION_BYTES`].
    unpaid: u64,
    trailers: Trailers,
}

/// The trailer section of a chunked body.
#[derive(Default)]
pub struct Trailers {
    bytes: Vec<u8>,
    block: Block,
    limits: Limits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    Extension(Extension),
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailers,
    Done,
}

/// Where in `*( BWS ";" BWS name [ BWS "=" BWS ( token / quoted-string ) ] )`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extension {
    BeforeSemicolon,
    BeforeName,
    Name,
    AfterName,
    BeforeValue,
    Value,
    Quoted,
    QuotedPair,
    AfterQuoted,
}

impl Decoder {
    /// Returns a decoder whose trailer section is held to `trailer_limits`.
    #[must_use]
    pub fn new(trailer_limits: Limits) -> Self {
        Self {
            state: State::Size,
            size: 0,
            digits: 0,
            unpaid: 0,
            trailers: Trailers {
                limits: trailer_limits,
                ..Trailers::default()
            },
        }
    }

    /// Begins a new body, keeping the memory.
    pub fn reset(&mut self) {
        self.state = State::Size;
        self.size = 0;
        self.digits = 0;
        self.unpaid = 0;
        self.trailers.bytes.clear();
        self.trailers.block.reset();
    }

    /// Reads on, up to the end of one run of data, of the body or of the input.
    ///
    /// Call it again with what follows `consumed` until nothing is left or the body is finished.
    pub fn decode(&mut self, input: &[u8]) -> Result<Step, ChunkError> {
        let mut at = 0;
        loop {
            match self.state {
                State::Done => return Ok(step(at..at, true)),
                State::Trailers => {
                    let (consumed, done) = self.trailers.read(&input[at..])?;
                    if done {
                        self.state = State::Done;
                    }
                    return Ok(step(at + consumed..at + consumed, done));
                }
                State::Data => {
                    let available = input.len() - at;
                    let len = usize::try_from(self.size).map_or(available, |n| n.min(available));
                    self.take_data(len as u64);
                    return Ok(step(at..at + len, false));
                }
                State::Size
                | State::Extension(_)
                | State::SizeLf
                | State::DataCr
                | State::DataLf => {
                    let Some(&byte) = input.get(at) else {
                        return Ok(step(at..at, false));
                    };
                    self.take_framing(byte)?;
                    at += 1;
                }
            }
        }
    }

    /// Bytes of plain data still to come before the next framing byte; 0 between chunks.
    #[must_use]
    pub fn remaining_in_chunk(&self) -> u64 {
        match self.state {
            State::Data => self.size,
            _ => 0,
        }
    }

    /// Notes that `len` bytes of the current chunk went past without being shown to the decoder.
    ///
    /// # Panics
    /// When `len` exceeds [`Self::remaining_in_chunk`].
    pub fn skip_data(&mut self, len: u64) {
        assert!(len <= self.remaining_in_chunk(), "skipped beyond the chunk");
        if len > 0 {
            self.take_data(len);
        }
    }

    /// Whether the body is whole.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.state == State::Done
    }

    /// The trailers, complete once the body is finished.
    #[must_use]
    pub fn trailers(&self) -> &Trailers {
        &self.trailers
    }

    fn take_data(&mut self, len: u64) {
        self.size -= len;
        if self.size == 0 {
            self.state = State::DataCr;
        }
    }

    fn take_framing(&mut self, byte: u8) -> Result<(), ChunkError> {
        self.state = match (self.state, byte) {
            (State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                self.take_digit(byte)?;
                State::Size
            }
            (State::Size, _) if self.digits == 0 => return Err(ChunkError::SizeInvalid),
            (State::Size, b'\r') => State::SizeLf,
            (State::Size, b';' | b' ' | b'\t') => {
                self.take_extension(Extension::BeforeSemicolon, byte)?
            }
            (State::Extension(extension), _) => self.take_extension(extension, byte)?,
            (State::SizeLf, b'\n') => self.after_size(),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size,
            (State::DataCr | State::DataLf, _) => return Err(ChunkError::DataEndInvalid),
            _ => return Err(ChunkError::SizeInvalid),
        };
        Ok(())
    }

    fn take_digit(&mut self, byte: u8) -> Result<(), ChunkError> {
        //= https://www.rfc-editor.org/rfc/rfc9112#section-7.1
        //# A recipient MUST be able to parse and decode the chunked transfer
        //# coding.
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            _ => (byte | 0x20) - b'a' + 10,
        };
        //= https://www.rfc-editor.org/rfc/rfc9112#section-7.1
        //# Therefore, recipients MUST anticipate
        //# potentially large hexadecimal numerals and prevent parsing errors due
        //# to integer conversion overflows or precision loss due to integer
        //# representation.
        if self.digits == MAX_DIGITS {
            return Err(ChunkError::SizeOverflow);
        }
        self.digits += 1;
        self.size = self.size << 4 | u64::from(digit);
        if self.size > MAX_SIZE {
            return Err(ChunkError::SizeOverflow);
        }
        Ok(())
    }

    fn after_size(&mut self) -> State {
        self.digits = 0;
        let paid = self.size.saturating_mul(2).saturating_add(FREE_PER_CHUNK);
        self.unpaid = self.unpaid.saturating_sub(paid);
        if self.size == 0 {
            State::Trailers
        } else {
            State::Data
        }
    }

    //= https://www.rfc-editor.org/rfc/rfc9112#section-7.1.1
    //# A recipient MUST ignore unrecognized chunk extensions.
    fn take_extension(&mut self, extension: Extension, byte: u8) -> Result<State, ChunkError> {
        self.unpaid += 1;
        if self.unpaid > MAX_UNPAID_EXTENSION_BYTES {
            return Err(ChunkError::ExtensionsTooLarge);
        }
        let may_end = matches!(
            extension,
            Extension::Name | Extension::Value | Extension::AfterQuoted
        );
        if may_end && byte == b'\r' {
            return Ok(State::SizeLf);
        }
        let next = match (extension, byte) {
            (Extension::Quoted, b'"') => Extension::AfterQuoted,
            (Extension::Quoted, b'\\') => Extension::QuotedPair,
            (Extension::Quoted | Extension::QuotedPair, _) if is_value(byte) => Extension::Quoted,
            (Extension::Quoted | Extension::QuotedPair, _) => {
                return Err(ChunkError::ExtensionInvalid);
            }
            (Extension::Name | Extension::AfterName, b'=') => Extension::BeforeValue,
            (Extension::BeforeName | Extension::BeforeValue, b' ' | b'\t') => extension,
            (Extension::Name | Extension::AfterName, b' ' | b'\t') => Extension::AfterName,
            (_, b' ' | b'\t') => Extension::BeforeSemicolon,
            (Extension::BeforeName | Extension::Name, _) if is_token(byte) => Extension::Name,
            (Extension::BeforeValue, b'"') => Extension::Quoted,
            (Extension::BeforeValue | Extension::Value, _) if is_token(byte) => Extension::Value,
            (Extension::BeforeName | Extension::BeforeValue, _) => {
                return Err(ChunkError::ExtensionInvalid);
            }
            (_, b';') => Extension::BeforeName,
            _ => return Err(ChunkError::ExtensionInvalid),
        };
        Ok(State::Extension(next))
    }
}

impl Default for Decoder {
    /// Trailers of at most 8 KiB in at most 32 fields. Chosen: gRPC-Web and checksums need a few
    /// hundred bytes.
    fn default() -> Self {
        Self::new(Limits {
            max_head_bytes: 8 * 1024,
            max_fields: 32,
        })
    }
}

impl Trailers {
    /// Name and value of each trailer that may be sent on.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.block
            .fields
            .iter()
            .map(|field: &Field| (field.name.of(&self.bytes), field.value.of(&self.bytes)))
            .filter(|(name, _)| is_forwardable(name))
    }

    /// Whether no trailer may be sent on.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Takes what belongs to the section from `input`. Returns how much that was, and whether the
    /// section is whole.
    fn read(&mut self, input: &[u8]) -> Result<(usize, bool), ChunkError> {
        if self.bytes.is_empty() && input.starts_with(b"\r\n") {
            return Ok((2, true));
        }
        let before = self.bytes.len();
        let room = self.limits.head_bytes() - before;
        let taken = input.len().min(room);
        self.bytes.extend_from_slice(&input[..taken]);
        if self.block.is_stalled(&self.bytes, &self.limits) {
            return Ok((taken, false));
        }
        let whole = self.block.read_fields(&self.bytes, &self.limits);
        if !whole.map_err(ChunkError::Trailer)? {
            return Ok((taken, false));
        }
        self.bytes.truncate(self.block.at);
        Ok((self.block.at - before, true))
    }
}

impl std::fmt::Debug for Trailers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trailers")
            .field("bytes", &self.bytes.len())
            .field("fields", &self.block.fields.len())
            .finish_non_exhaustive()
    }
}

/// Writes the head of a chunk of `len` bytes and returns it. After the data comes `\r\n`.
///
/// A chunk of 0 bytes would end the body: use [`write_last_chunk`] for that.
pub fn encode_chunk_head(len: u64, head: &mut [u8; 18]) -> &[u8] {
    debug_assert!(len > 0, "an empty chunk ends the body");
    head[16..].copy_from_slice(b"\r\n");
    let mut start = 16;
    let mut rest = len;
    loop {
        start -= 1;
        head[start] = b"0123456789abcdef"[(rest & 0xf) as usize];
        rest >>= 4;
        if rest == 0 {
            return &head[start..];
        }
    }
}

/// Appends the end of a chunked body: last chunk, the trailers if they are to be sent on, and the
/// empty line.
pub fn write_last_chunk(out: &mut Vec<u8>, trailers: Option<&Trailers>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flat_map(Trailers::iter) {
        write_field(out, name, value);
    }
    out.extend_from_slice(b"\r\n");
}

/// Whether a trailer may be sent on: not one that frames, routes, authenticates or modifies the
/// message, or that describes its content.
fn is_forwardable(name: &[u8]) -> bool {
    //= https://www.rfc-editor.org/rfc/rfc9110#section-6.5.1
    //# Many fields cannot be processed outside the header section because
    //# their evaluation is necessary prior to receiving the content, such as
    //# those that describe message framing, routing, authentication, request
    //# modifiers, response controls, or content format.  A sender MUST NOT
    //# generate a trailer field unless the sender knows the corresponding
    //# header field name's definition permits sending in trailers.
    let by_id = match FieldId::from_name(name) {
        // Server and Via say nothing that anybody acts on.
        FieldId::Other | FieldId::Server | FieldId::UserAgent | FieldId::Via => true,
        _ => false,
    };
    by_id
        && !HEADER_ONLY
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known))
}

fn step(data: Range<usize>, finished: bool) -> Step {
    Step {
        consumed: data.end,
        data,
        finished,
    }
}

/// Names besides those of [`FieldId`] that have no meaning after the content (RFC 9110 §6.5.1).
const HEADER_ONLY: [&[u8]; 25] = [
    b"accept",
    b"accept-encoding",
    b"age",
    b"authorization",
    b"cache-control",
    b"content-encoding",
    b"content-language",
    b"content-location",
    b"content-range",
    b"expires",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"if-unmodified-since",
    b"location",
    b"max-forwards",
    b"pragma",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"range",
    b"retry-after",
    b"vary",
    b"warning",
    b"www-authenticate",
];

/// Hex digits of a 64-bit number.
const MAX_DIGITS: u8 = 16;

/// As for `Content-Length`: offsets are signed.
const MAX_SIZE: u64 = i64::MAX.cast_unsigned();

/// Extension bytes each chunk may have besides two per byte of data; the rest is unpaid. The figures
/// are those of Go's net/http after CVE-2023-39326.
const FREE_PER_CHUNK: u64 = 16;

/// Unpaid extension bytes after which a body is refused.
const MAX_UNPAID_EXTENSION_BYTES: u64 = 16 * 1024;
