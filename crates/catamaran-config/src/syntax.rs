//! Small grammars of HTTP that several sections share.

/// Whether `text` is a token (RFC 9110 §5.6.2): a header name, method or cookie name.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Whether `text` can be a field value (RFC 9110 §5.5): no control characters but tab, no space
/// at either end.
pub(crate) fn is_field_value(text: &str) -> bool {
    text.bytes().all(|b| b == b'\t' || (b >= b' ' && b != 0x7F))
        && text.trim_matches([' ', '\t']).len() == text.len()
}

/// Whether `text` can be the path of a request: starts with a slash, no space, control
/// character, fragment or character beyond ASCII. A query is allowed if `query` says so.
pub(crate) fn is_path(text: &str, query: Query) -> bool {
    text.starts_with('/')
        && text
            .bytes()
            .all(|b| b.is_ascii_graphic() && b != b'#' && (b != b'?' || query == Query::Allowed))
}

/// Whether a path may carry a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Query {
    /// After a question mark.
    Allowed,
    /// No question mark.
    Refused,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_values_and_paths_keep_to_their_grammar() {
        assert!(is_token("X-User_1"));
        assert!(!is_token("X User") && !is_token("") && !is_token("a:b"));
        assert!(is_field_value("a b\tc") && is_field_value(""));
        assert!(!is_field_value("a\r\nb") && !is_field_value(" a") && !is_field_value("a\u{7f}"));
        assert!(is_path("/a?b=c", Query::Allowed) && !is_path("/a?b", Query::Refused));
        assert!(!is_path("a", Query::Allowed) && !is_path("/a b", Query::Allowed));
        assert!(!is_path("/a#b", Query::Allowed) && !is_path("/ä", Query::Allowed));
    }
}
