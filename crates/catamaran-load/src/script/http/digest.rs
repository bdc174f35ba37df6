//! Digest authentication (RFC 7616), with MD5 as servers still ask for it.

use std::fmt::Write as _;

use crate::summary::md5;

/// The value of `Authorization` that answers `challenge`, the value of `WWW-Authenticate`.
pub(super) fn authorization(
    challenge: &str,
    user: &(String, String),
    method: &str,
    target: &str,
    client_nonce: &str,
) -> Option<String> {
    let fields = challenge
        .trim()
        .strip_prefix("Digest ")
        .or_else(|| challenge.trim().strip_prefix("digest "))?;
    let of = |name: &str| field(fields, name);
    let algorithm = of("algorithm");
    let is_session = match algorithm.as_deref().unwrap_or("MD5") {
        name if name.eq_ignore_ascii_case("MD5") => false,
        name if name.eq_ignore_ascii_case("MD5-sess") => true,
        _ => return None,
    };
    let (realm, nonce) = (of("realm")?, of("nonce")?);
    let has_quality = of("qop").is_some_and(|all| all.split(',').any(|one| one.trim() == "auth"));
    let hash = |text: String| md5::hex(text.as_bytes());
    let (name, password) = user;
    let mut secret = hash(format!("{name}:{realm}:{password}"));
    if is_session {
        secret = hash(format!("{secret}:{nonce}:{client_nonce}"));
    }
    let what = hash(format!("{method}:{target}"));
    let response = if has_quality {
        hash(format!(
            "{secret}:{nonce}:00000001:{client_nonce}:auth:{what}"
        ))
    } else {
        hash(format!("{secret}:{nonce}:{what}"))
    };
    let mut text = format!(
        "Digest username=\"{name}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{target}\", \
         response=\"{response}\""
    );
    // Writing to a text cannot fail.
    if let Some(algorithm) = algorithm {
        let _ = write!(text, ", algorithm={algorithm}");
    }
    if let Some(opaque) = of("opaque") {
        let _ = write!(text, ", opaque=\"{opaque}\"");
    }
    if has_quality || is_session {
        let _ = write!(text, ", qop=auth, nc=00000001, cnonce=\"{client_nonce}\"");
    }
    Some(text)
}

/// A field of a challenge, without quotes.
fn field(fields: &str, name: &str) -> Option<String> {
    let mut rest = fields;
    loop {
        let (key, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_at(after.find(',').unwrap_or(after.len())),
        };
        if key.trim().eq_ignore_ascii_case(name) {
            return Some(value.trim().to_owned());
        }
        rest = next.trim_start().strip_prefix(',')?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_answered_as_the_standard_shows() {
        // RFC 2617 §3.5
        let challenge = "Digest realm=\"testrealm@host.com\", qop=\"auth,auth-int\", \
            nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"";
        let user = ("Mufasa".to_owned(), "Circle Of Life".to_owned());
        let text = authorization(challenge, &user, "GET", "/dir/index.html", "0a4f113b").unwrap();
        assert!(
            text.contains("response=\"6629fae49393a05397450978507c4ef1\""),
            "{text}"
        );
        assert!(authorization("Basic realm=\"x\"", &user, "GET", "/", "c").is_none());
        assert!(authorization("Digest realm=\"x", &user, "GET", "/", "c").is_none());
    }
}
