//! The protocol versions spoken.

/// The HTTP version of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    #[default]
    Http11,
}

/// What the bytes where a version should stand are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VersionText {
    Spoken(Version),
    /// Well formed, but neither 1.0 nor 1.1.
    Unspoken,
    Malformed,
    /// Well formed as far as it goes.
    Partial,
}

impl Version {
    /// Length of `HTTP/1.1`.
    pub(crate) const TEXT_LEN: usize = 8;

    /// Reads the version that `text` begins with.
    pub(crate) fn read(text: &[u8]) -> VersionText {
        if text.starts_with(b"HTTP/1.1") {
            return VersionText::Spoken(Self::Http11);
        }
        for (index, &byte) in text.iter().take(Self::TEXT_LEN).enumerate() {
            let expected = match index {
                0..=4 => byte == b"HTTP/"[index],
                6 => byte == b'.',
                _ => byte.is_ascii_digit(),
            };
            if !expected {
                return VersionText::Malformed;
            }
        }
        match text.get(5..8) {
            None => VersionText::Partial,
            Some(b"1.0") => VersionText::Spoken(Self::Http10),
            Some(_) => VersionText::Unspoken,
        }
    }
}
