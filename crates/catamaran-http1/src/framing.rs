//! The one place that decides where a body ends (RFC 9112 §6.3).

use crate::Version;
use crate::block::{Facts, Occurrence};
use crate::error::FramingError;

/// How the body of a request is framed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BodyFraming {
    /// There is none.
    #[default]
    None,
    /// That many bytes.
    Length(u64),
    /// Chunks, up to the last one and the trailers.
    Chunked,
}

/// How the body of a response is framed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResponseFraming {
    /// There is none.
    #[default]
    None,
    /// That many bytes.
    Length(u64),
    /// Chunks, up to the last one and the trailers.
    Chunked,
    /// Everything up to the end of the connection.
    UntilClose,
}

impl From<BodyFraming> for ResponseFraming {
    fn from(framing: BodyFraming) -> Self {
        match framing {
            BodyFraming::None => Self::None,
            BodyFraming::Length(length) => Self::Length(length),
            BodyFraming::Chunked => Self::Chunked,
        }
    }
}

/// Decides the framing that the fields announce; `None` when they announce none.
pub(crate) fn announced(
    facts: &Facts,
    version: Version,
    view: &[u8],
) -> Result<Option<BodyFraming>, FramingError> {
    if facts.transfer_encoding.count > 0 {
        return coding(facts, version, view).map(|()| Some(BodyFraming::Chunked));
    }
    let length = length(facts.content_length, view)?;
    Ok(length.map(BodyFraming::Length))
}

/// Checks that the transfer codings are exactly one `chunked` and nothing contradicts it.
fn coding(facts: &Facts, version: Version, view: &[u8]) -> Result<(), FramingError> {
    //= https://www.rfc-editor.org/rfc/rfc9112#section-6.1
    //# A server or client that receives an HTTP/1.0 message containing a
    //# Transfer-Encoding header field MUST treat the message as if the
    //# framing is faulty, even if a Content-Length is present, and close the
    //# connection after processing the message.
    if version == Version::Http10 {
        return Err(FramingError::CodingInHttp10);
    }
    // RFC 9112 §6.1 lets a server process the message by its Transfer-Encoding alone; what the
    // next server would do is not known, so it is refused.
    if facts.content_length.count > 0 {
        return Err(FramingError::LengthAndCoding);
    }
    if facts.transfer_encoding.count > 1 {
        return Err(FramingError::CodingRepeated);
    }
    let value = facts.transfer_encoding.value.of(view);
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    Err(unspoken_coding(value))
}

/// Tells a list of known codings, which is only unsupported, from what is wrong in itself.
fn unspoken_coding(value: &[u8]) -> FramingError {
    let mut members = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    let last = members.next_back().unwrap_or_default();
    let known = |member: &[u8]| KNOWN.iter().any(|known| member.eq_ignore_ascii_case(known));
    if members.all(known) && (known(last) || last.eq_ignore_ascii_case(b"chunked")) {
        //= https://www.rfc-editor.org/rfc/rfc9112#section-6.1
        //# A server that receives a request message with a transfer coding it
        //# does not understand SHOULD respond with 501 (Not Implemented).
        FramingError::CodingUnsupported
    } else {
        FramingError::CodingInvalid
    }
}

/// Reads `Content-Length`.
pub(crate) fn length(field: Occurrence, view: &[u8]) -> Result<Option<u64>, FramingError> {
    let Some(value) = field.first() else {
        return Ok(None);
    };
    //= https://www.rfc-editor.org/rfc/rfc9112#section-6.3
    //# If a message is received without Transfer-Encoding and with an
    //# invalid Content-Length header field, then the message framing is
    //# invalid and the recipient MUST treat it as an unrecoverable error,
    //# unless the field value can be successfully parsed as a
    //# comma-separated list
    if field.count > 1 {
        return Err(FramingError::LengthRepeated);
    }
    let digits = value.of(view);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(FramingError::LengthInvalid);
    }
    let mut length: u64 = 0;
    for digit in digits {
        //= https://www.rfc-editor.org/rfc/rfc9110#section-8.6
        //# Since there is no predefined limit to the length of content, a
        //# recipient MUST anticipate potentially large decimal numerals and
        //# prevent parsing errors due to integer conversion overflows or
        //# precision loss due to integer conversion
        length = length
            .checked_mul(10)
            .and_then(|length| length.checked_add(u64::from(digit - b'0')))
            .filter(|&length| length <= MAX_LENGTH)
            .ok_or(FramingError::LengthOverflow)?;
    }
    Ok(Some(length))
}

/// Registered transfer codings besides `chunked` (RFC 9112 §7.2).
const KNOWN: [&[u8]; 5] = [b"gzip", b"x-gzip", b"deflate", b"compress", b"x-compress"];

/// The kernel's offsets are signed, and so are those of most servers behind us.
const MAX_LENGTH: u64 = i64::MAX.cast_unsigned();
