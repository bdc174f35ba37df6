//! How much of a head is read before it is refused.

/// Limits of one head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest head in bytes, first line and final empty line included.
    pub max_head_bytes: usize,
    /// Most header fields in a head.
    pub max_fields: usize,
}

impl Limits {
    /// The part of `buf` that may belong to the head.
    pub(crate) fn view<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        &buf[..buf.len().min(self.head_bytes())]
    }

    /// [`Self::max_head_bytes`], kept to what a [`crate::Span`] can express.
    pub(crate) fn head_bytes(&self) -> usize {
        self.max_head_bytes.min(1 << 30)
    }
}

impl Default for Limits {
    /// 32 KiB and 100 fields: above nginx's 4 × 8 KiB per head in one buffer and HAProxy's 101
    /// fields (`tune.http.maxhdr`), whose defaults real clients live with.
    fn default() -> Self {
        Self {
            max_head_bytes: 32 * 1024,
            max_fields: 100,
        }
    }
}
