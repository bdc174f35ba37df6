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
}

impl UrlError {
    /// The code of this failure in `error_code`.
    #[must_use]
    pub const fn code(&self) -> u16 {
        match self {
            Self::NoScheme(_) | Self::Scheme(_) | Self::WebSocket(_) => 1000,
            Self::Host(_) | Self::Characters(_) => 1020,
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

    /// The URL that a `Location` field of an answer from here means.
    pub fn join(&self, location: &str) -> Result<Self, UrlError> {
        let location = location.split('#').next().unwrap_or_default();
        if location.contains("://") {
            return Self::parse(location);
        }
        let scheme = scheme_of(self.is_tls);
        let origin = format!("{scheme}://{}", self.authority);
        if let Some(rest) = location.strip_prefix("//") {
            return Self::parse(&format!("{scheme}://{rest}"));
        }
        if location.starts_with('/') {
            return Self::parse(&format!("{origin}{location}"));
        }
        let path = self.target.split('?').next().unwrap_or_default();
        if location.starts_with('?') {
            return Self::parse(&format!("{origin}{path}{location}"));
        }
        let (directory, _) = path.rsplit_once('/').unwrap_or_default();
        Self::parse(&format!(
            "{origin}{}",
            without_dots(&format!("{directory}/{location}"))
        ))
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
        assert_eq!(to("http://z/w#f"), "http://z/w");
        assert_eq!(to("//z/w"), "http://z/w");
    }
}
