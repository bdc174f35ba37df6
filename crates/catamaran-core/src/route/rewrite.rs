//! New paths and redirect locations, as the Gateway API's `HTTPURLRewriteFilter` and
//! `HTTPRequestRedirectFilter` say.

use super::path;
use crate::model::{PathModifier, Redirect};
use std::borrow::Cow;
use std::io::Write;

/// The URI of a request, as the client sees it.
#[derive(Clone, Copy, Debug)]
pub struct RequestUri<'a> {
    /// `http` or `https`.
    pub scheme: &'a str,
    /// The host without its port; empty if an HTTP/1.0 client sent none.
    pub host: &'a [u8],
    /// The port that the client used: that of `Host`, which outside a port mapping is right where
    /// the listener's is not. `None` is the scheme's own.
    pub port: Option<u16>,
    /// The path as sent.
    pub path: &'a [u8],
    /// What follows the first `?`, if there is one.
    pub query: Option<&'a [u8]>,
}

/// Appends what `modifier` makes of `path`, the path as sent, to `out`.
///
/// `matched_prefix` is [`super::Found::prefix`]. What follows the prefix stays as sent unless the
/// path has dot segments or spells the prefix differently; then it is taken from the normal form,
/// so that dots cannot climb out of the replaced prefix. A path that is none (`*`) stays.
///
/// Slashes meet as in the table of `HTTPPathModifier`: exactly one between replacement and rest,
/// and never an empty path.
pub fn rewrite_path(modifier: &PathModifier, matched_prefix: &str, path: &[u8], out: &mut Vec<u8>) {
    let replacement = match modifier {
        PathModifier::Full(full) => {
            out.extend_from_slice(full.as_bytes());
            return;
        }
        PathModifier::Prefix(replacement) => replacement,
    };
    if path.first() != Some(&b'/') {
        out.extend_from_slice(path);
        return;
    }
    let as_sent = path::strip_prefix(path, matched_prefix);
    let rest = match as_sent {
        Some(rest) if !path::has_dot_segments(path) => Cow::Borrowed(rest),
        _ => Cow::Owned(rest_of_normal(matched_prefix, path)),
    };
    let start = out.len();
    let replacement = match &*rest {
        b"" => replacement,
        _ => replacement.trim_end_matches('/'),
    };
    out.extend_from_slice(replacement.as_bytes());
    out.extend_from_slice(&rest);
    if out.len() == start {
        out.push(b'/');
    }
}

/// Appends the value of `Location` to `out`.
///
/// The port is the redirect's; else, if it names a scheme, that scheme's own; else the one the
/// client used. A scheme's own port is not written. Without any host the location is a path.
pub fn redirect_location(
    redirect: &Redirect,
    uri: &RequestUri<'_>,
    matched_prefix: &str,
    out: &mut Vec<u8>,
) {
    let scheme = redirect.scheme.as_deref().unwrap_or(uri.scheme);
    let port = match (redirect.port, &redirect.scheme) {
        (Some(port), _) => Some(port),
        (None, Some(_)) => None,
        (None, None) => uri.port,
    };
    let host = redirect.host.as_ref().map_or(uri.host, |h| h.as_bytes());
    if !host.is_empty() {
        out.extend_from_slice(scheme.as_bytes());
        out.extend_from_slice(b"://");
        out.extend_from_slice(host);
        if let Some(port) = port.filter(|&port| Some(port) != own_port(scheme)) {
            write!(out, ":{port}").expect("writing to a Vec cannot fail");
        }
    }
    let path_start = out.len();
    match &redirect.path {
        Some(modifier) => rewrite_path(modifier, matched_prefix, uri.path, out),
        None if uri.path.first() == Some(&b'/') => out.extend_from_slice(uri.path),
        // `OPTIONS *` asks about the server as a whole, whose URI has no path (RFC 9110 §9.3.7).
        None => {}
    }
    // Where no host stands before it, `//x` would name one (RFC 3986 §4.2).
    if host.is_empty() {
        let slashes = out[path_start..].iter().take_while(|&&byte| byte == b'/');
        let extra = slashes.count().saturating_sub(1);
        out.drain(path_start..path_start + extra);
    }
    if let Some(query) = uri.query {
        out.push(b'?');
        out.extend_from_slice(query);
    }
}

fn rest_of_normal(prefix: &str, path: &[u8]) -> Vec<u8> {
    let normal = path::normal(path).unwrap_or(Cow::Borrowed(b"/"));
    path::strip_prefix(&normal, prefix).map_or_else(Vec::new, <[u8]>::to_vec)
}

fn own_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(path: &str, prefix: &str, replacement: &str) -> String {
        let mut out = Vec::new();
        let modifier = PathModifier::Prefix(replacement.to_owned());
        rewrite_path(
            &modifier,
            prefix.trim_end_matches('/'),
            path.as_bytes(),
            &mut out,
        );
        String::from_utf8(out).unwrap()
    }

    fn location(redirect: &Redirect, port: Option<u16>) -> String {
        let uri = RequestUri {
            scheme: "http",
            host: b"example.com",
            port,
            path: b"/old/x",
            query: Some(b"q=1"),
        };
        let mut out = Vec::new();
        redirect_location(redirect, &uri, "/old", &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn prefixes_are_replaced_as_in_the_gateway_api_table() {
        for (path, prefix, replacement, modified) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "", "/bar"),
            ("/foo/", "/foo", "", "/"),
            ("/foo", "/foo", "", "/"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
        ] {
            let found = replaced(path, prefix, replacement);
            assert_eq!(found, modified, "{path} {prefix} {replacement}");
        }
    }

    #[test]
    fn the_root_as_prefix_puts_a_path_below() {
        assert_eq!(replaced("/a", "/", "/xyz"), "/xyz/a");
        assert_eq!(replaced("/", "/", "/xyz"), "/xyz/");
    }

    #[test]
    fn the_rest_stays_as_sent() {
        let path = "/foo/http://a/%2f%41//";
        assert_eq!(replaced(path, "/foo", "/x"), "/x/http://a/%2f%41//");
    }

    #[test]
    fn dots_do_not_climb_out_of_the_replaced_prefix() {
        assert_eq!(replaced("/foo/a/../../foo/b", "/foo", "/x"), "/x/b");
        assert_eq!(replaced("/foo/%2e%2e/foo/b", "/foo", "/x"), "/x/b");
    }

    #[test]
    fn another_spelling_of_the_prefix_is_replaced_too() {
        assert_eq!(replaced("//foo/b", "/foo", "/x"), "/x/b");
        assert_eq!(replaced("/%66oo/b", "/foo", "/x"), "/x/b");
    }

    #[test]
    fn a_star_is_no_path_to_rewrite() {
        assert_eq!(replaced("*", "", "/x"), "*");
    }

    #[test]
    fn a_redirect_keeps_what_it_does_not_change() {
        assert_eq!(
            location(&Redirect::new(), None),
            "http://example.com/old/x?q=1"
        );
        assert_eq!(
            location(&Redirect::new(), Some(8080)),
            "http://example.com:8080/old/x?q=1"
        );
        assert_eq!(
            location(&Redirect::new(), Some(80)),
            "http://example.com/old/x?q=1"
        );
    }

    #[test]
    fn a_new_scheme_brings_its_own_port() {
        let mut redirect = Redirect::new();
        redirect.scheme = Some("https".to_owned());
        let expected = "https://example.com/old/x?q=1";
        assert_eq!(location(&redirect, Some(8080)), expected);
        redirect.port = Some(443);
        assert_eq!(location(&redirect, Some(8080)), expected);
        redirect.port = Some(80);
        assert_eq!(
            location(&redirect, None),
            "https://example.com:80/old/x?q=1"
        );
    }

    #[test]
    fn without_a_host_the_location_is_a_path_and_names_none() {
        let uri = RequestUri {
            scheme: "http",
            host: b"",
            port: None,
            path: b"///evil.example/x",
            query: None,
        };
        let mut out = Vec::new();
        redirect_location(&Redirect::new(), &uri, "", &mut out);
        assert_eq!(out, b"/evil.example/x");
    }

    #[test]
    fn host_and_path_can_change() {
        let mut redirect = Redirect::new();
        redirect.host = Some("new.example".to_owned());
        redirect.path = Some(PathModifier::Prefix("/new".to_owned()));
        assert_eq!(location(&redirect, None), "http://new.example/new/x?q=1");
        redirect.path = Some(PathModifier::Full("/only".to_owned()));
        assert_eq!(location(&redirect, None), "http://new.example/only?q=1");
    }
}
