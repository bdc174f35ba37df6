//! The one form of a path that routes are matched on.
//!
//! RFC 3986 §6.2.2 with merged slashes; the table of cases stands in [`super`].

use std::borrow::Cow;

/// A path whose dot segments climb above the root, or that servers read in different ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("path climbs above the root or has more than one reading")]
pub struct BadPath;

/// Returns `path` in normal form, borrowed if it has that already.
///
/// What does not begin with a slash (`*`) is returned as it is.
///
/// # Errors
/// [`BadPath`] if dot segments climb above the root, or if there is a backslash, which some servers
/// take for a slash, or an escaped NUL, at which some end the path.
pub fn normal(path: &[u8]) -> Result<Cow<'_, [u8]>, BadPath> {
    if !may_differ(path) {
        return Ok(Cow::Borrowed(path));
    }
    let Some(relative) = path.strip_prefix(b"/") else {
        return Ok(Cow::Borrowed(path));
    };
    if path.contains(&b'\\') || path.windows(3).any(|part| part == b"%00") {
        return Err(BadPath);
    }
    let decoded = decode_unreserved(relative);
    let mut out = Vec::with_capacity(path.len());
    let mut ends_in_slash = false;
    for segment in decoded.split(|&byte| byte == b'/') {
        ends_in_slash = true;
        match segment {
            b"" | b"." => {}
            b".." => {
                let parent = out.iter().rposition(|&byte| byte == b'/');
                out.truncate(parent.ok_or(BadPath)?);
            }
            name => {
                out.push(b'/');
                out.extend_from_slice(name);
                ends_in_slash = false;
            }
        }
    }
    if ends_in_slash {
        out.push(b'/');
    }
    Ok(Cow::Owned(out))
}

/// Returns what follows `prefix`, empty or beginning with a slash, if `path` begins with all of
/// its segments. `prefix` has no final slash.
#[must_use]
pub fn strip_prefix<'p>(path: &'p [u8], prefix: &str) -> Option<&'p [u8]> {
    let rest = path.strip_prefix(prefix.as_bytes())?;
    let whole = match rest.first() {
        // The empty path occurs only as the whole of what a prefix took.
        None => !path.is_empty(),
        Some(byte) => *byte == b'/',
    };
    whole.then_some(rest)
}

/// Whether some segment, escaped or not, is `.` or `..`.
#[must_use]
pub fn has_dot_segments(path: &[u8]) -> bool {
    path.split(|&byte| byte == b'/').any(|segment| {
        let mut rest = segment;
        let mut dots = 0;
        while let Some(after) = strip_dot(rest) {
            rest = after;
            dots += 1;
        }
        rest.is_empty() && (1..=2).contains(&dots)
    })
}

fn strip_dot(segment: &[u8]) -> Option<&[u8]> {
    match segment {
        [b'.', rest @ ..] | [b'%', b'2', b'e' | b'E', rest @ ..] => Some(rest),
        _ => None,
    }
}

/// Whether [`normal`] has to look closer: an escape, two slashes, or a segment with a dot first.
fn may_differ(path: &[u8]) -> bool {
    let mut previous = 0;
    for &byte in path {
        if matches!(byte, b'%' | b'\\') || (previous == b'/' && matches!(byte, b'/' | b'.')) {
            return true;
        }
        previous = byte;
    }
    false
}

/// Decodes escaped unreserved characters and writes the hex digits of the others in upper case.
fn decode_unreserved(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        match escaped_byte(rest) {
            Some(byte) if is_unreserved(byte) => {
                out.push(byte);
                rest = &rest[3..];
            }
            Some(_) => {
                out.extend([
                    b'%',
                    rest[1].to_ascii_uppercase(),
                    rest[2].to_ascii_uppercase(),
                ]);
                rest = &rest[3..];
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

/// Returns the byte that `text` begins with the escape of.
pub(super) fn escaped_byte(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = text else {
        return None;
    };
    Some(hex_digit(*high)? << 4 | hex_digit(*low)?)
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// RFC 3986 §2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn normal_text(path: &str) -> Result<String, BadPath> {
        normal(path.as_bytes()).map(|p| String::from_utf8(p.into_owned()).unwrap())
    }

    #[test]
    fn every_spelling_of_a_path_has_one_normal_form() {
        for (sent, matched) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("/a/b/", "/a/b/"),
            ("/%61dmin", "/admin"),
            ("/%7Euser", "/~user"),
            ("/a%2fb", "/a%2Fb"),
            ("/a%20b", "/a%20b"),
            ("//admin", "/admin"),
            ("/a//b///c", "/a/b/c"),
            ("//", "/"),
            ("/x/../admin", "/admin"),
            ("/x/%2e%2E/admin", "/admin"),
            ("/x/.%2e/admin", "/admin"),
            ("/./a/.", "/a/"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a//../b", "/b"),
            ("/.well-known/x", "/.well-known/x"),
            ("/...", "/..."),
            ("/a..", "/a.."),
            ("/%zz", "/%zz"),
            ("/%", "/%"),
            ("/%2", "/%2"),
            ("/%252e", "/%252e"),
            ("*", "*"),
            ("", ""),
        ] {
            assert_eq!(normal_text(sent).as_deref(), Ok(matched), "{sent}");
        }
    }

    #[test]
    fn a_path_above_the_root_is_refused() {
        for sent in [
            "/..",
            "/../a",
            "/a/../../b",
            "/%2e%2e/a",
            "//../a",
            "/a/..//..",
        ] {
            assert_eq!(normal_text(sent), Err(BadPath), "{sent}");
        }
    }

    #[test]
    fn a_path_of_two_readings_is_refused() {
        for sent in ["/a\\..\\b", "/a\\", "/a%00", "/a%00/b"] {
            assert_eq!(normal_text(sent), Err(BadPath), "{sent}");
        }
    }

    #[test]
    fn a_plain_path_is_not_copied() {
        assert!(matches!(normal(b"/a/b.c/d"), Ok(Cow::Borrowed(_))));
    }

    #[test]
    fn a_prefix_ends_at_a_segment() {
        assert_eq!(strip_prefix(b"/api", "/api"), Some(&b""[..]));
        assert_eq!(strip_prefix(b"/api/x", "/api"), Some(&b"/x"[..]));
        assert_eq!(strip_prefix(b"/apix", "/api"), None);
        assert_eq!(strip_prefix(b"/", ""), Some(&b"/"[..]));
        assert_eq!(strip_prefix(b"*", ""), None);
        assert_eq!(strip_prefix(b"", ""), None);
    }

    #[test]
    fn dot_segments_are_seen_through_escapes() {
        for path in [&b"/a/../b"[..], b"/a/.", b"/%2e", b"/.%2E/x"] {
            assert!(has_dot_segments(path));
        }
        for path in [&b"/a/..."[..], b"/a..b", b"/.a", b"/", b"//"] {
            assert!(!has_dot_segments(path));
        }
    }

    proptest! {
        #[test]
        fn a_normal_form_is_its_own(path in "/[a./%25eE2F]{0,24}") {
            if let Ok(once) = normal(path.as_bytes()) {
                let twice = normal(&once).map(Cow::into_owned);
                prop_assert_eq!(twice.as_deref(), Ok(&*once));
                prop_assert!(!has_dot_segments(&once));
                prop_assert!(!once.windows(2).any(|pair| pair == b"//"));
            }
        }

        #[test]
        fn no_bytes_panic(path in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = normal(&path);
        }
    }
}
