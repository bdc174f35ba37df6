//! Which bytes may stand where.

/// Whether `byte` may stand in a token (RFC 9110 §5.6.2): field names, methods, options.
pub(crate) fn is_token(byte: u8) -> bool {
    CLASSES[byte as usize] & TOKEN != 0
}

/// Whether `byte` may stand in a registered name (RFC 3986 §3.2.2), `%` aside.
pub(crate) fn is_reg_name(byte: u8) -> bool {
    CLASSES[byte as usize] & REG_NAME != 0
}

/// Returns the offset of the first byte of `text` that may not stand in a token.
pub(crate) fn token_len(text: &[u8]) -> Option<usize> {
    class_len::<TOKEN>(text)
}

/// Returns the offset of the first byte of `text` that may not stand in a request target.
pub(crate) fn target_len(text: &[u8]) -> Option<usize> {
    class_len::<TARGET>(text)
}

/// Whether all of `text` is one token.
pub(crate) fn is_all_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().copied().all(is_token)
}

/// Whether `byte` may stand in a field value: HTAB, SP, visible characters, obs-text
/// (RFC 9110 §5.5).
pub(crate) fn is_value(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

/// Returns the offset of the first byte of `text` that may not stand in a field value.
///
/// Sixteen bytes are tested at once: values are most of a head, and byte by byte they would be most
/// of its cost.
pub(crate) fn value_len(text: &[u8]) -> Option<usize> {
    let mut offset = 0;
    while let Some(run) = text.get(offset..).and_then(<[u8]>::first_chunk::<16>) {
        // Without an early exit the compiler tests all sixteen in a few vector instructions.
        if run
            .iter()
            .fold(false, |found, &byte| found | is_control(byte))
        {
            break;
        }
        offset += run.len();
    }
    while let Some(run) = text.get(offset..).and_then(<[u8]>::first_chunk) {
        let controls = control_bytes(u64::from_le_bytes(*run));
        if controls == 0 {
            offset += size_of::<u64>();
            continue;
        }
        offset += (controls.trailing_zeros() / 8) as usize;
        if text[offset] != b'\t' {
            return Some(offset);
        }
        offset += 1;
    }
    let rest = text.get(offset..).unwrap_or_default();
    let at = rest.iter().position(|&byte| !is_value(byte));
    at.map(|at| offset + at)
}

fn is_control(byte: u8) -> bool {
    byte < b' ' || byte == 0x7f
}

/// Sets the high bit of the lowest byte of `run` that is below 0x20 or equal to 0x7f; higher bytes
/// may be marked wrongly (a borrow runs upwards), so only the lowest mark counts.
fn control_bytes(run: u64) -> u64 {
    let below_space = run.wrapping_sub(ONES * 0x20) & !run;
    let delete = run ^ (ONES * 0x7f);
    let delete = delete.wrapping_sub(ONES) & !delete;
    (below_space | delete) & (ONES * 0x80)
}

const ONES: u64 = u64::from_le_bytes([1; 8]);

fn class_len<const CLASS: u8>(text: &[u8]) -> Option<usize> {
    let mut offset = 0;
    // Four at once: one branch in place of four.
    while let Some(&[a, b, c, d]) = text.get(offset..).and_then(<[u8]>::first_chunk) {
        let [a, b, c, d] = [a, b, c, d].map(|byte| CLASSES[byte as usize]);
        if a & b & c & d & CLASS == 0 {
            break;
        }
        offset += 4;
    }
    let rest = text.get(offset..).unwrap_or_default();
    let at = rest
        .iter()
        .position(|&byte| CLASSES[byte as usize] & CLASS == 0);
    at.map(|at| offset + at)
}

const TOKEN: u8 = 1;

/// A visible US-ASCII character other than `#`. Wider than RFC 3986 (`|`, `"`, `{` and their like
/// are sent by browsers and mean nothing to framing or routing), but neither a space nor a
/// fragment.
const TARGET: u8 = 2;

const REG_NAME: u8 = 4;

static CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = class(byte.to_le_bytes()[0]);
        byte += 1;
    }
    classes
}

const fn class(byte: u8) -> u8 {
    let mut class = 0;
    if byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.'
        )
        || matches!(byte, b'^' | b'_' | b'`' | b'|' | b'~')
    {
        class |= TOKEN;
    }
    if byte.is_ascii_graphic() && byte != b'#' {
        class |= TARGET;
    }
    if byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'')
        || matches!(byte, b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=')
    {
        class |= REG_NAME;
    }
    class
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_finds_the_same_byte_as_one_by_one() {
        for at in 0..40 {
            for byte in 0..=255 {
                let mut text = [b'a'; 40];
                text[at] = byte;
                text[39] = b'\n';
                let expected = text.iter().position(|&byte| !is_value(byte));
                assert_eq!(value_len(&text), expected, "{byte:#x} at {at}");
            }
        }
        assert_eq!(value_len(b"\t\x80\xff\t\t\t\t\t\t\x7f"), Some(9));
        assert_eq!(value_len(b""), None);
        assert_eq!(value_len(b"all of it may stand"), None);
    }

    #[test]
    fn tokens_hold_no_separators() {
        let separators = b"\"(),/:;<=>?@[\\]{} \t\r\n\0\x7f\x80\xff";
        assert!(separators.iter().all(|&byte| !is_token(byte)));
        assert!(is_all_token(b"!#$%&'*+-.^_`|~aZ09"));
        assert!(!is_all_token(b""));
    }
}
