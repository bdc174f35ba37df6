//! The URLs that requests go to.

use std::fmt;

/// An absolute `http` or `https` URL, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// The text up to the fragment.
    text: String,
    /// Whether it is `https`.
    pub is_tls: bool,
    /// Name or address, IPv6 without brackets.
    pub host: String,
    /// The port; 80, or 443 of `https`, unless it is written.
    pub port: u16,
    /// What the `Host` field says.
    pub authority: String,
    /// Path and query, `/` at least.
    pub target: String,
    /// Name and password before the host.
    pub user: Option<(String, String)>,
}

/// Why a text is no URL that can be asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// There is no scheme.
    #[error("`{0}` has no scheme; write http://{0}")]
    NoScheme(String),
    /// The scheme is another one.
    #[error("`{0}`: only http and https are supported")]
    Scheme(String),
    /// The scheme is none of WebSockets.
    #[error("`{0}` is no URL of a WebSocket; write ws:// or wss://")]
    WebSocket(String),
    /// Something is wrong with host or port.
    #[error("`{0}` has no valid host and port; write http://HOST:PORT/PATH")]
    Host(String),
    /// There are control characters.
    #[error("`{0}` has characters that must be written as %XX")]
    Characters(String),
    /// A `%` stands for itself.
    #[error("`{0}` has a `%` without two hexadecimal digits behind it; write %25 for a `%`")]
    Escape(String),
}

impl UrlError {
    /// The code of this failure in `error_code`.
    #[must_use]
    pub const fn code(&self) -> u16 {
        match self {
            Self::NoScheme(_) | Self::Scheme(_) | Self::WebSocket(_) => 1000,
            Self::Host(_) | Self::Characters(_) | Self::Escape(_) => 1020,
        }
    }
}

impl Url {
    /// Takes an absolute URL apart.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(UrlError::NoScheme(text.to_owned()));
        };
        let is_tls = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(UrlError::Scheme(text.to_owned())),
        };
        let (rest, fragment) = rest.split_at(rest.find('#').unwrap_or(rest.len()));
        if rest.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
            return Err(UrlError::Characters(text.to_owned()));
        }
        let host_len = rest.find(['/', '?']).unwrap_or(rest.len());
        let (place, target) = rest.split_at(host_len);
        let (user, authority) = match place.rsplit_once('@') {
            Some((user, authority)) => {
                let (name, password) = user.split_once(':').unwrap_or((user, ""));
                let pair = (percent_decoded(name), percent_decoded(password));
                (Some(pair), authority)
            }
            None => (None, place),
        };
        let invalid = || UrlError::Host(text.to_owned());
        let (host, port) = split_authority(authority, is_tls).ok_or_else(invalid)?;
        if !catamaran_http1::is_valid_host(authority.as_bytes()) {
            return Err(invalid());
        }
        let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
        let (path, fragment) = (encoded(path), encoded(fragment));
        Ok(Self {
            // As k6 shows it: the query stays as it is.
            text: format!("{}://{authority}{path}{query}{fragment}", scheme_of(is_tls)),
            is_tls,
            host: host.to_owned(),
            port,
            authority: authority.to_owned(),
            target: encoded_target(target),
            user,
        })
    }

    /// The URL that a reference from here means, such as a `Location` field has.
    pub fn join(&self, reference: &str) -> Result<Self, UrlError> {
        Self::parse(&self.resolve(reference))
    }

    /// What a reference from here means (RFC 3986 §5.2), whether or not it is a URL that can be asked.
    #[must_use]
    pub fn resolve(&self, reference: &str) -> String {
        // What only a query has is no scheme: `/login?next=http://…`.
        if has_scheme(reference) {
            return reference.to_owned();
        }
        let scheme = scheme_of(self.is_tls);
        if reference.starts_with("//") {
            return format!("{scheme}:{reference}");
        }
        let (rest, fragment) = reference.split_at(reference.find('#').unwrap_or(reference.len()));
        let path = self.target.split('?').next().unwrap_or_default();
        let target = match rest.bytes().next() {
            None => self.target.clone(),
            Some(b'?') => format!("{path}{rest}"),
            Some(b'/') => without_dots(rest),
            Some(_) => {
                let (directory, _) = path.rsplit_once('/').unwrap_or_default();
                without_dots(&format!("{directory}/{rest}"))
            }
        };
        format!("{scheme}://{}{target}{fragment}", self.authority)
    }

    /// Whether each `%` of path and fragment is followed by two digits; a query may have others.
    pub fn check_escapes(&self) -> Result<(), UrlError> {
        let (rest, fragment) = self
            .text
            .split_at(self.text.find('#').unwrap_or(self.text.len()));
        let path = rest.split('?').next().unwrap_or_default();
        let is_broken = |text: &str| {
            let mut rests = text.split('%').skip(1);
            rests.any(|rest| {
                let digits = rest.bytes().take(2).filter(u8::is_ascii_hexdigit);
                digits.count() < 2
            })
        };
        if is_broken(path) || is_broken(fragment) {
            return Err(UrlError::Escape(self.text.clone()));
        }
        Ok(())
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn scheme_of(is_tls: bool) -> &'static str {
    if is_tls { "https" } else { "http" }
}

/// Whether a reference is absolute: it begins with a scheme and a colon (RFC 3986 §3.1).
fn has_scheme(reference: &str) -> bool {
    let Some((scheme, _)) = reference.split_once(':') else {
        return false;
    };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

fn split_authority(authority: &str, is_tls: bool) -> Option<(&str, u16)> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            match port {
                "" => (host, ""),
                _ => (host, port.strip_prefix(':')?),
            }
        }
        None => authority.split_once(':').unwrap_or((authority, "")),
    };
    let port = match port {
        "" if is_tls => 443,
        "" => 80,
        _ => port.parse().ok().filter(|&port| port > 0)?,
    };
    (!host.is_empty()).then_some((host, port))
}

/// What is asked for: an empty path is `/`.
fn encoded_target(target: &str) -> String {
    let slash = if target.starts_with('/') { "" } else { "/" };
    format!("{slash}{}", encoded(target))
}

/// Writes blanks, what is not ASCII and what is none of a URL's characters as %XX.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() + 1);
    for byte in text.bytes() {
        match byte {
            b'!'..=b'~'
                if !matches!(
                    byte,
                    b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}'
                ) =>
            {
                encoded.push(char::from(byte));
            }
            _ => {
                encoded.push('%');
                encoded.push(char::from(HEX[usize::from(byte >> 4)]));
                encoded.push(char::from(HEX[usize::from(byte & 15)]));
            }
        }
    }
    encoded
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let byte = (bytes[at] == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(byte.unwrap_or(bytes[at]));
        at += if byte.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// Resolves `.` and `..` (RFC 3986 §5.2.4) in the path before a query.
fn without_dots(target: &str) -> String {
    let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
    let mut segments: Vec<&str> = Vec::new();
    let mut ends_open = false;
    for segment in path.split('/').skip(1) {
        ends_open = matches!(segment, "." | "..");
        match segment {
            "." => {}
            ".." => {
                segments.pop();
            }
            _ => segments.push(segment),
        }
    }
    if ends_open {
        segments.push("");
    }
    format!("/{}{query}", segments.join("/"))
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let url = Url::parse("http://us%65r:p@api.test:8080/a/b?c=d#e").unwrap();
        assert_eq!((url.host.as_str(), url.port), ("api.test", 8080));
        assert_eq!(url.authority, "api.test:8080");
        assert_eq!(url.target, "/a/b?c=d");
        assert_eq!(url.user, Some(("user".to_owned(), "p".to_owned())));
        assert_eq!(url.to_string(), "http://api.test:8080/a/b?c=d#e");
        let url = Url::parse("HTTP://[::1]?q=ä|").unwrap();
        assert_eq!((url.host.as_str(), url.port), ("::1", 80));
        assert_eq!(url.target, "/?q=%C3%A4%7C");
        let url = Url::parse("http://a/b c{ü}?d e=ü#f g").unwrap();
        assert_eq!(url.target, "/b%20c%7B%C3%BC%7D?d%20e=%C3%BC");
        assert_eq!(url.to_string(), "http://a/b%20c%7B%C3%BC%7D?d e=ü#f%20g");
        let url = Url::parse("https://a/").unwrap();
        assert_eq!((url.is_tls, url.port), (true, 443));
        assert_eq!(url.join("/x").unwrap().to_string(), "https://a/x");
    }

    #[test]
    fn what_cannot_be_asked_says_what_to_do() {
        let told = |text: &str| Url::parse(text).unwrap_err().to_string();
        assert!(told("localhost:80/x").contains("write http://localhost:80/x"));
        assert!(told("ftp://a/").contains("only http"));
        for text in [
            "http://",
            "http://:80",
            "http://a:0/",
            "http://a:x/",
            "http://[::1/",
            "http://a\u{1}/",
            "http://a b/",
        ] {
            assert!(Url::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn locations_are_resolved_against_the_url() {
        let url = Url::parse("http://a:1/b/c?d").unwrap();
        let to = |location: &str| url.join(location).unwrap().to_string();
        assert_eq!(to("/x"), "http://a:1/x");
        assert_eq!(to("x?y"), "http://a:1/b/x?y");
        assert_eq!(to("?y"), "http://a:1/b/c?y");
        assert_eq!(to("../x/./y/.."), "http://a:1/x/");
        assert_eq!(to("../../../x"), "http://a:1/x");
        assert_eq!(to("http://z/w#f"), "http://z/w#f");
        assert_eq!(to("//z/w"), "http://z/w");
        assert_eq!(to("/x/../y?a=/../b"), "http://a:1/y?a=/../b");
        assert_eq!(to("/x?next=http://z/w#f"), "http://a:1/x?next=http://z/w#f");
        assert_eq!(to("x?at=12:30"), "http://a:1/b/x?at=12:30");
        assert_eq!(to("#f"), "http://a:1/b/c?d#f");
        assert_eq!(url.resolve("mailto:a@b"), "mailto:a@b");
        assert!(url.join("ftp://z/").is_err());
    }

    #[test]
    fn a_percent_sign_is_followed_by_two_digits_but_in_a_query() {
        let is_good = |text: &str| Url::parse(text).unwrap().check_escapes().is_ok();
        for text in ["http://a/%C3%bc?100%#%41", "http://a/b", "http://a?%"] {
            assert!(is_good(text), "{text}");
        }
        for text in [
            "http://a/100%",
            "http://a/%4",
            "http://a/%zz",
            "http://a/#%",
            "http://a/%4%41",
        ] {
            assert!(!is_good(text), "{text}");
        }
    }
}
