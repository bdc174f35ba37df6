//! Cookies: looked up in requests, learned from responses, set by ourselves.
//!
//! Lenient in what is read, as servers are (RFC 6265 §5.4 and §5.2): spaces around a pair do not
//! count, quotes belong to the value, names are compared with case. Strict in what is written.

use super::path::escaped_byte;
use std::borrow::Cow;

/// Returns the value of the first cookie `name` in the value of a `Cookie` field.
#[must_use]
pub fn find<'f>(field: &'f [u8], name: &str) -> Option<&'f [u8]> {
    field
        .split(|&byte| byte == b';')
        .filter_map(pair)
        .find(|(key, _)| *key == name.as_bytes())
        .map(|(_, value)| value)
}

/// Returns name and value of a `Set-Cookie` field; `None` if it has no name.
#[must_use]
pub fn set_cookie(field: &[u8]) -> Option<(&[u8], &[u8])> {
    let first = field.split(|&byte| byte == b';').next()?;
    pair(first).filter(|(name, _)| !name.is_empty())
}

/// Appends the value of the `Set-Cookie` field that makes a client name its server.
///
/// It lasts until the browser ends, is hidden from scripts and not sent along with requests
/// that other sites start, links apart. What a cookie's value cannot hold (RFC 6265 §4.1.1) is
/// percent-encoded; [`inserted_value`] undoes that.
pub fn insert_cookie(name: &str, value: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(name.as_bytes());
    out.push(b'=');
    for &byte in value.as_bytes() {
        if is_cookie_octet(byte) && byte != b'%' {
            out.push(byte);
        } else {
            out.push(b'%');
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
        }
    }
    out.extend_from_slice(b"; Path=/; HttpOnly; SameSite=Lax");
}

/// Decodes the value of a cookie that [`insert_cookie`] made.
#[must_use]
pub fn inserted_value(raw: &[u8]) -> Cow<'_, [u8]> {
    if !raw.contains(&b'%') {
        return Cow::Borrowed(raw);
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let [first, after @ ..] = rest {
        if let Some(byte) = escaped_byte(rest) {
            out.push(byte);
            rest = &rest[3..];
        } else {
            out.push(*first);
            rest = after;
        }
    }
    Cow::Owned(out)
}

fn pair(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|&byte| byte == b'=')?;
    Some((text[..at].trim_ascii(), text[at + 1..].trim_ascii()))
}

/// RFC 6265 §4.1.1, `cookie-octet`.
const fn is_cookie_octet(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\')
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_cookie_is_found_among_others() {
        let field = b"a=1; login=xyz;b = 2 ;broken; c=\"q\"";
        assert_eq!(find(field, "login"), Some(&b"xyz"[..]));
        assert_eq!(find(field, "b"), Some(&b"2"[..]));
        assert_eq!(find(field, "c"), Some(&b"\"q\""[..]));
        assert_eq!(find(field, "broken"), None);
        assert_eq!(find(field, "Login"), None);
        assert_eq!(find(field, "log"), None);
    }

    #[test]
    fn the_first_of_a_name_counts() {
        assert_eq!(find(b"a=1; a=2", "a"), Some(&b"1"[..]));
    }

    #[test]
    fn a_set_cookie_field_gives_name_and_value_only() {
        let field = b"id=a=b; Path=/; HttpOnly";
        assert_eq!(set_cookie(field), Some((&b"id"[..], &b"a=b"[..])));
        assert_eq!(set_cookie(b"id="), Some((&b"id"[..], &b""[..])));
        assert_eq!(set_cookie(b"=x"), None);
        assert_eq!(set_cookie(b"flag; Path=/"), None);
    }

    #[test]
    fn an_inserted_cookie_is_hidden_from_scripts() {
        let mut out = Vec::new();
        insert_cookie("SRV", "[::1]:80", &mut out);
        assert_eq!(out, b"SRV=[::1]:80; Path=/; HttpOnly; SameSite=Lax");
    }

    proptest! {
        #[test]
        fn any_server_name_comes_back(name in "\\PC{0,16}") {
            let mut out = Vec::new();
            insert_cookie("s", &name, &mut out);
            let (_, raw) = set_cookie(&out).unwrap();
            let value = inserted_value(raw);
            prop_assert_eq!(&*value, name.as_bytes());
        }
    }
}
