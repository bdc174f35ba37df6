//! The binary form of protocol buffers, as far as OTLP needs it
//! (<https://protobuf.dev/programming-guides/encoding/>).
//!
//! Written by hand: a library would bring a generator and its macros for what are four kinds of
//! fields. What is written here is read by another implementation in the interop case `tracing`.

/// A message that is being written.
#[derive(Debug, Default)]
pub(super) struct Writer {
    out: Vec<u8>,
}

/// How a field is written.
#[derive(Clone, Copy)]
enum Wire {
    Varint = 0,
    Fixed64 = 1,
    Bytes = 2,
    Fixed32 = 5,
}

impl Writer {
    /// The message.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.out
    }

    pub(super) fn varint(&mut self, field: u32, value: u64) {
        self.key(field, Wire::Varint);
        varint(value, &mut self.out);
    }

    pub(super) fn fixed64(&mut self, field: u32, value: u64) {
        self.key(field, Wire::Fixed64);
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn fixed32(&mut self, field: u32, value: u32) {
        self.key(field, Wire::Fixed32);
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn bytes(&mut self, field: u32, value: &[u8]) {
        self.key(field, Wire::Bytes);
        varint(value.len() as u64, &mut self.out);
        self.out.extend_from_slice(value);
    }

    /// A text; an empty one is left out, which means the same.
    pub(super) fn text(&mut self, field: u32, value: &str) {
        if !value.is_empty() {
            self.bytes(field, value.as_bytes());
        }
    }

    /// A message within this one.
    pub(super) fn message(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        self.key(field, Wire::Bytes);
        let begin = self.out.len();
        write(self);
        let len = (self.out.len() - begin) as u64;
        let end = self.out.len();
        varint(len, &mut self.out);
        // The length goes before what it counts.
        let digits = self.out.len() - end;
        self.out[begin..].rotate_right(digits);
    }

    fn key(&mut self, field: u32, wire: Wire) {
        varint(u64::from(field) << 3 | wire as u64, &mut self.out);
    }
}

/// Appends a number in groups of seven bits, the lowest first.
fn varint(mut value: u64, out: &mut Vec<u8>) {
    loop {
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        if value == 0 {
            out.push(low & 0x7f);
            return;
        }
        out.push(low | 0x80);
    }
}

/// The fields of a message that has come, one by one, until it ends or makes no sense.
pub(super) fn fields(message: &[u8]) -> impl Iterator<Item = (u64, Value<'_>)> {
    let mut rest = message;
    std::iter::from_fn(move || {
        let key = read_varint(&mut rest)?;
        let value = match key & 7 {
            0 => Value::Number(read_varint(&mut rest)?),
            1 => {
                take(&mut rest, 8)?;
                Value::Other
            }
            2 => {
                let len = usize::try_from(read_varint(&mut rest)?).ok()?;
                Value::Bytes(take(&mut rest, len)?)
            }
            5 => {
                take(&mut rest, 4)?;
                Value::Other
            }
            _ => return None,
        };
        Some((key >> 3, value))
    })
}

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'m> {
    /// A number.
    Number(u64),
    /// A text or message.
    Bytes(&'m [u8]),
    /// Something that nobody here reads.
    Other,
}

fn take<'m>(rest: &mut &'m [u8], len: usize) -> Option<&'m [u8]> {
    let (taken, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(taken)
}

fn read_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let [byte] = *take(rest, 1)? else {
            return None;
        };
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_manual_are_written_alike() {
        let mut writer = Writer::default();
        writer.varint(1, 150);
        assert_eq!(writer.into_bytes(), [0x08, 0x96, 0x01]);
        let mut writer = Writer::default();
        writer.text(2, "testing");
        writer.text(3, "");
        assert_eq!(writer.into_bytes(), b"\x12\x07testing");
        let mut writer = Writer::default();
        writer.message(3, |inner| inner.varint(1, 150));
        assert_eq!(writer.into_bytes(), [0x1a, 0x03, 0x08, 0x96, 0x01]);
    }

    #[test]
    fn a_long_message_within_another_has_its_length_before_it() {
        let text = "x".repeat(300);
        let mut writer = Writer::default();
        writer.message(1, |outer| outer.message(2, |inner| inner.text(4, &text)));
        writer.fixed32(3, 7);
        writer.fixed64(4, u64::MAX);
        let bytes = writer.into_bytes();
        let all: Vec<_> = fields(&bytes).collect();
        let [
            (1, Value::Bytes(outer)),
            (3, Value::Other),
            (4, Value::Other),
        ] = all[..]
        else {
            panic!("{all:?}");
        };
        let Some((2, Value::Bytes(inner))) = fields(outer).next() else {
            panic!("{outer:?}");
        };
        let expected = Some((4, Value::Bytes(text.as_bytes())));
        assert_eq!(fields(inner).next(), expected);
    }

    #[test]
    fn numbers_of_every_size_are_read_back() {
        for value in (0..64).flat_map(|bits| [1 << bits, (1 << bits) - 1, u64::MAX >> bits]) {
            let mut writer = Writer::default();
            writer.varint(9, value);
            let bytes = writer.into_bytes();
            let all: Vec<_> = fields(&bytes).collect();
            assert_eq!(all, [(9, Value::Number(value))]);
        }
    }

    #[test]
    fn whatever_comes_is_read_without_panic() {
        let mut rng = fastrand::Rng::with_seed(5);
        for _ in 0..20_000 {
            let len = rng.usize(..40);
            let bytes: Vec<u8> = (0..len).map(|_| rng.u8(..)).collect();
            assert!(fields(&bytes).count() <= len);
        }
        assert_eq!(
            fields(&[0x12, 0xff, 0xff, 0xff, 0xff, 0x0f, 1]).next(),
            None
        );
        assert_eq!(fields(&[0xff; 12]).next(), None);
    }
}
