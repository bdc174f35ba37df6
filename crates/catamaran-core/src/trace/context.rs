//! The names of traces and spans, and the field `traceparent` that carries them.

use std::fmt;

/// The name of a trace: 16 bytes, never all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId([u8; 16]);

/// The name of a span within its trace: 8 bytes, never all zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanId([u8; 8]);

/// What `traceparent` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The trace.
    pub trace_id: TraceId,
    /// The span of who sent the request.
    pub parent_id: SpanId,
    /// Whether that one may have recorded its span.
    pub is_sampled: bool,
}

impl TraceId {
    /// A new name.
    pub fn random(rng: &mut fastrand::Rng) -> Self {
        Self(rng.u128(1..).to_be_bytes())
    }

    /// The bytes, in the order of the text.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Its last 56 bits, which are random in most traces, whoever began them.
    pub(super) const fn chance(self) -> u64 {
        let [.., a, b, c, d, e, f, g] = self.0;
        u64::from_be_bytes([0, a, b, c, d, e, f, g])
    }
}

impl SpanId {
    /// A new name.
    pub fn random(rng: &mut fastrand::Rng) -> Self {
        Self(rng.u64(1..).to_be_bytes())
    }

    /// The bytes, in the order of the text.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TraceParent {
    /// Bytes of the field in version 00.
    pub const LEN: usize = 55;

    /// Reads the values of all fields `traceparent` of a request. `None` unless there is one, and
    /// that is valid: of two nobody knows which one holds.
    pub fn of_fields<'f>(values: impl IntoIterator<Item = &'f [u8]>) -> Option<Self> {
        let mut values = values.into_iter();
        let value = values.next()?;
        values.next().is_none().then(|| Self::parse(value))?
    }

    /// Reads a value. A version that is not known yet may have more behind what 00 has, parted by
    /// a `-` (§4.3 of the recommendation); of the flags only `sampled` is known.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (known, rest) = value.split_at_checked(Self::LEN)?;
        let [version] = bytes(&known[..2])?;
        match version {
            0 if rest.is_empty() => {}
            0 | 0xff => return None,
            _ if rest.first().is_none_or(|&byte| byte == b'-') => {}
            _ => return None,
        }
        if [known[2], known[35], known[52]] != [b'-'; 3] {
            return None;
        }
        let trace_id = bytes(&known[3..35]).filter(|bytes| *bytes != [0; 16])?;
        let parent_id = bytes(&known[36..52]).filter(|bytes| *bytes != [0; 8])?;
        let [flags] = bytes(&known[53..])?;
        Some(Self {
            trace_id: TraceId(trace_id),
            parent_id: SpanId(parent_id),
            is_sampled: flags & SAMPLED != 0,
        })
    }

    /// The value of the field, in version 00. Flags that this version does not know are zero.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(&self.trace_id.0, &mut text[3..35]);
        write_hex(&self.parent_id.0, &mut text[36..52]);
        text[54] = b'0' + u8::from(self.is_sampled);
        text
    }
}

/// The flag that says that a span may have been recorded.
const SAMPLED: u8 = 1;

/// Reads bytes from twice as many hexadecimal digits in lower case.
fn bytes<const LEN: usize>(text: &[u8]) -> Option<[u8; LEN]> {
    let mut out = [0; LEN];
    debug_assert_eq!(text.len(), 2 * LEN);
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}

const fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

fn write_hex(bytes: &[u8], text: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, pair) in bytes.iter().zip(text.chunks_exact_mut(2)) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 0xf)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn the_example_of_the_recommendation_is_read_and_written_alike() {
        let parent = TraceParent::parse(VALID.as_bytes()).unwrap();
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(parent.trace_id.to_string(), trace);
        assert_eq!(parent.parent_id.to_string(), "00f067aa0ba902b7");
        assert!(parent.is_sampled);
        assert_eq!(&parent.to_bytes(), VALID.as_bytes());
    }

    #[test]
    fn what_is_not_valid_names_no_trace() {
        for wrong in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0X",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-011",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7_01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "0g-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.more",
            " 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceParent::parse(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn versions_to_come_are_read_as_far_as_they_are_known() {
        for later in [
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff-what-it.may",
        ] {
            let parent = TraceParent::parse(later.as_bytes()).unwrap();
            assert_eq!(&parent.to_bytes(), VALID.as_bytes());
        }
        let flags = VALID.replace("-01", "-fe");
        assert!(!TraceParent::parse(flags.as_bytes()).unwrap().is_sampled);
    }

    #[test]
    fn of_several_fields_none_holds() {
        let valid = VALID.as_bytes();
        assert!(TraceParent::of_fields([valid]).is_some());
        assert_eq!(TraceParent::of_fields([valid, valid]), None);
        assert_eq!(TraceParent::of_fields([]), None);
    }

    proptest! {
        #[test]
        fn anything_is_read_without_panic_and_what_is_read_is_written_back(
            value in "[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.{0,9})?|.{0,80}"
        ) {
            if let Some(parent) = TraceParent::parse(value.as_bytes()) {
                let text = parent.to_bytes();
                prop_assert_eq!(&text[2..53], &value.as_bytes()[2..53]);
                prop_assert_eq!(TraceParent::parse(&text), Some(parent));
            }
        }

        #[test]
        fn one_changed_byte_is_never_read_past(at in 0..55usize, byte: u8) {
            let mut value = VALID.as_bytes().to_vec();
            value[at] = byte;
            let parsed = TraceParent::parse(&value);
            let is_hex = matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            prop_assert!(parsed.is_none() || is_hex || value == VALID.as_bytes());
        }
    }
}
