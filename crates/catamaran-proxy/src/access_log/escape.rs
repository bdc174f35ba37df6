//! Escapes of the log formats: what a client sends never ends a line or a field.

/// Appends `text` as HAProxy encodes it in a request line (manual §8.6): everything outside
/// printable ASCII, and `#` and `"`, as `#` and two hex digits.
pub(super) fn haproxy(text: &[u8], out: &mut Vec<u8>) {
    for &byte in text {
        if matches!(byte, b' '..=b'~') && !matches!(byte, b'#' | b'"') {
            out.push(byte);
        } else {
            out.push(b'#');
            hex(byte, out);
        }
    }
}

/// Appends a field that ends at a space, encoded like [`haproxy`].
pub(super) fn haproxy_word(text: &str, out: &mut Vec<u8>) {
    for part in text.as_bytes().split_inclusive(|&byte| byte == b' ') {
        let word = part.strip_suffix(b" ").unwrap_or(part);
        haproxy(word, out);
        if word.len() < part.len() {
            out.extend_from_slice(b"#20");
        }
    }
}

/// Appends `text` as Apache's `mod_log_config` escapes it: `\"`, `\\`, `\n` and the like, `\xhh`.
pub(super) fn clf(text: &[u8], out: &mut Vec<u8>) {
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b' '..=b'~' => out.push(byte),
            _ => {
                out.extend_from_slice(b"\\x");
                hex(byte, out);
            }
        }
    }
}

/// Appends `text` as the inside of a JSON string (RFC 8259 §7); bytes that are no UTF-8 become
/// U+FFFD. Controls above ASCII and the line separators of Unicode are escaped too, for terminals.
pub(super) fn json(text: &[u8], out: &mut Vec<u8>) {
    for chunk in text.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '"' | '\\' => out.extend([b'\\', ascii(char)]),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\t' => out.extend_from_slice(b"\\t"),
                ' '..='~' => out.push(ascii(char)),
                '\u{2028}' | '\u{2029}' => unicode_escape(char, out),
                _ if char.is_control() => unicode_escape(char, out),
                _ => utf8(char, out),
            }
        }
        if !chunk.invalid().is_empty() {
            utf8(char::REPLACEMENT_CHARACTER, out);
        }
    }
}

/// Appends `text` for a terminal: controls as `\u{…}`.
pub(super) fn terminal(text: &str, out: &mut Vec<u8>) {
    for char in text.chars() {
        if char.is_control() {
            super::display(char.escape_unicode(), out);
        } else {
            utf8(char, out);
        }
    }
}

fn utf8(char: char, out: &mut Vec<u8>) {
    out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
}

fn ascii(char: char) -> u8 {
    u8::try_from(char).expect("the caller's pattern is ASCII")
}

/// Appends a character of the basic plane as `\uhhhh`.
fn unicode_escape(char: char, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\\u");
    for byte in u32::from(char).to_be_bytes().into_iter().skip(2) {
        hex(byte, out);
    }
}

fn hex(byte: u8, out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push(DIGITS[usize::from(byte >> 4)]);
    out.push(DIGITS[usize::from(byte & 15)]);
}
