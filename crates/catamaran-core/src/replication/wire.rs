//! Numbers and byte strings as they travel: little-endian, nothing aligned.

use thiserror::Error;

/// Bytes that cannot be read as what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// They end within a value.
    #[error("message ends in the middle of a value")]
    Truncated,
    /// A value is outside of its range.
    #[error("message holds a value out of range")]
    OutOfRange,
}

/// Reads values from the front of a byte string.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(rest: &'a [u8]) -> Self {
        Self { rest }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let split = self.rest.split_at_checked(count);
        let (bytes, rest) = split.ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let split = self.rest.split_first_chunk();
        let (bytes, rest) = split.ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(*bytes)
    }

    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn u128(&mut self) -> Result<u128, DecodeError> {
        self.array().map(u128::from_le_bytes)
    }

    /// A text of 16 bits of length.
    pub(super) fn text(&mut self) -> Result<&'a str, DecodeError> {
        let length = self.u16()?;
        let bytes = self.bytes(length.into())?;
        std::str::from_utf8(bytes).map_err(|_| DecodeError::OutOfRange)
    }
}

/// Appends values to a byte string.
pub(super) trait Write {
    fn put_u8(&mut self, value: u8);
    fn put_u16(&mut self, value: u16);
    fn put_u32(&mut self, value: u32);
    fn put_u64(&mut self, value: u64);
    fn put_u128(&mut self, value: u128);
    /// A text of at most 65,535 bytes; what is longer is cut where it may be.
    fn put_text(&mut self, text: &str);
}

impl Write for Vec<u8> {
    fn put_u8(&mut self, value: u8) {
        self.push(value);
    }

    fn put_u16(&mut self, value: u16) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_u32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_u64(&mut self, value: u64) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_u128(&mut self, value: u128) {
        self.extend_from_slice(&value.to_le_bytes());
    }

    fn put_text(&mut self, text: &str) {
        let text = &text[..text.floor_char_boundary(u16::MAX.into())];
        self.put_u16(u16::try_from(text.len()).unwrap_or(u16::MAX));
        self.extend_from_slice(text.as_bytes());
    }
}
