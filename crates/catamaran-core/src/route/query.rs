//! Query parameters, decoded as HTML forms write them: percent escapes, and `+` for a space.
//!
//! A name without `=` has the empty value; of several parameters of one name the first counts.

use super::path::escaped_byte;
use std::borrow::Cow;

/// Returns the decoded value of the first parameter `name` of `query`.
#[must_use]
pub fn value<'q>(query: &'q [u8], name: &str) -> Option<Cow<'q, [u8]>> {
    let raw = raw(query, name)?;
    if raw.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        Some(decoded(raw).collect())
    } else {
        Some(Cow::Borrowed(raw))
    }
}

/// Returns the value of the first parameter `name` as it was sent.
pub(super) fn raw<'q>(query: &'q [u8], name: &str) -> Option<&'q [u8]> {
    query
        .split(|&byte| byte == b'&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| match pair.iter().position(|&byte| byte == b'=') {
            Some(at) => (&pair[..at], &pair[at + 1..]),
            None => (pair, &[][..]),
        })
        .find(|(key, _)| decodes_to(key, name.as_bytes()))
        .map(|(_, value)| value)
}

/// Whether `raw` decodes to `plain`.
pub(super) fn decodes_to(raw: &[u8], plain: &[u8]) -> bool {
    decoded(raw).eq(plain.iter().copied())
}

/// Decodes byte by byte; an escape that is none stays as it is.
fn decoded(raw: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = raw;
    std::iter::from_fn(move || {
        let (&first, after) = rest.split_first()?;
        if let Some(byte) = escaped_byte(rest) {
            rest = &rest[3..];
            return Some(byte);
        }
        rest = after;
        Some(if first == b'+' { b' ' } else { first })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(query: &str, name: &str) -> Option<String> {
        value(query.as_bytes(), name).map(|v| String::from_utf8(v.into_owned()).unwrap())
    }

    #[test]
    fn names_and_values_are_decoded() {
        assert_eq!(text("a=1&b=2", "b").as_deref(), Some("2"));
        assert_eq!(text("%61=x%2Fy+z", "a").as_deref(), Some("x/y z"));
        assert_eq!(text("a=1%2B1", "a").as_deref(), Some("1+1"));
        assert_eq!(text("a=b=c", "a").as_deref(), Some("b=c"));
    }

    #[test]
    fn the_first_of_a_name_counts() {
        assert_eq!(text("a=1&a=2", "a").as_deref(), Some("1"));
    }

    #[test]
    fn a_name_without_value_is_there_and_empty() {
        assert_eq!(text("debug&x", "debug").as_deref(), Some(""));
        assert_eq!(text("&&", ""), None);
        assert_eq!(text("ab=1", "a"), None);
    }

    #[test]
    fn a_broken_escape_stays() {
        assert_eq!(text("a=%zz%4", "a").as_deref(), Some("%zz%4"));
    }
}
