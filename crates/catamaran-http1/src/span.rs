//! A place in a buffer.

/// A run of bytes in the buffer that a head was parsed from.
///
/// A span is only meaningful with that buffer, whose beginning must not have moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    len: u32,
}

impl Span {
    /// The bytes from `start` up to, not including, `end`.
    ///
    /// Heads are far below 4 GiB ([`crate::Limits`] sees to it); a greater offset is cut off there.
    pub(crate) fn new(start: usize, end: usize) -> Self {
        Self {
            start: narrow(start),
            len: narrow(end.saturating_sub(start)),
        }
    }

    /// Returns the bytes of this span.
    ///
    /// # Panics
    /// When `buf` is shorter than the buffer that was parsed.
    #[must_use]
    pub fn of(self, buf: &[u8]) -> &[u8] {
        &buf[self.start()..self.end()]
    }

    /// Offset of the first byte.
    #[must_use]
    pub fn start(self) -> usize {
        self.start as usize
    }

    /// Offset after the last byte.
    #[must_use]
    pub fn end(self) -> usize {
        self.start as usize + self.len as usize
    }

    /// Number of bytes.
    #[must_use]
    pub fn len(self) -> usize {
        self.len as usize
    }

    /// Whether there are no bytes.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len == 0
    }
}

fn narrow(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}
