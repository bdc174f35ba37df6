//! JSON Web Tokens (RFC 7519) in their compact, signed form (RFC 7515 §7.1).
//!
//! The order is that of distrust: form, then algorithm, then signature, and only of a token that is
//! genuine what it claims.

use crate::basic::after_scheme;
use crate::keys::{Algorithm, Keys};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// What a token must say.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Who must have issued it, if that matters.
    pub issuer: Option<String>,
    /// Whom it must be for, any one of these; empty for anybody.
    pub audience: Vec<String>,
    /// How it may be signed.
    pub algorithms: Vec<Algorithm>,
    /// How far the clocks of issuer and of this machine may differ, in seconds.
    pub skew: u64,
}

/// What a genuine token says.
#[derive(Clone, Debug)]
pub struct Claims(Map<String, Value>);

/// Why a token is not accepted; the words are for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is no token in compact form, or longer than [`MAX_TOKEN`].
    #[error("malformed")]
    Malformed,
    /// It is signed by an algorithm that is not allowed, or has critical extensions.
    #[error("algorithm not allowed")]
    Algorithm,
    /// No key made the signature.
    #[error("wrong signature")]
    Signature,
    /// It is too old, or does not say when it ends.
    #[error("expired")]
    Expired,
    /// Its time has not come.
    #[error("not valid yet")]
    TooEarly,
    /// Somebody else issued it.
    #[error("wrong issuer")]
    Issuer,
    /// It is for somebody else.
    #[error("wrong audience")]
    Audience,
}

/// Bytes of a token at most. Chosen: common ones have 1 to 2 KiB.
pub const MAX_TOKEN: usize = 16 * 1024;

impl Claims {
    /// The token in the value of an `Authorization` field (RFC 6750 §2.1); `None` for another scheme.
    #[must_use]
    pub fn token(value: &[u8]) -> Option<&[u8]> {
        after_scheme(value, b"bearer")
    }

    /// Judges a token at `now`, in seconds of Unix time.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn verify(
        token: &[u8],
        keys: &Keys,
        expected: &Expected,
        now: u64,
    ) -> Result<Self, TokenError> {
        if token.len() > MAX_TOKEN {
            return Err(TokenError::Malformed);
        }
        let text = std::str::from_utf8(token).map_err(|_| TokenError::Malformed)?;
        let (message, signature) = text.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(TokenError::Malformed)?;
        let header = object(header)?;
        // RFC 7515 §4.1.11: what is critical must be understood, and nothing is.
        if header.contains_key("crit") {
            return Err(TokenError::Algorithm);
        }
        let named = header.get("alg").and_then(Value::as_str);
        let algorithm = named
            .and_then(Algorithm::named)
            .filter(|algorithm| expected.algorithms.contains(algorithm))
            .ok_or(TokenError::Algorithm)?;
        let id = header.get("kid").and_then(Value::as_str);
        let signature = decoded(signature)?;
        if !keys.verify(algorithm, id, message.as_bytes(), &signature) {
            return Err(TokenError::Signature);
        }
        let claims = Self(object(payload)?);
        claims.check(expected, now)?;
        Ok(claims)
    }

    /// The claim at `path`, whose steps are parted by dots, as the value of a header field: texts,
    /// numbers, truths, and lists of them with commas. `None` if there is none, or one that no
    /// field can hold.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<String> {
        // A name may have dots itself, as names that are URLs have.
        let value = self.0.get(path).or_else(|| {
            let mut steps = path.split('.');
            let first = self.0.get(steps.next()?)?;
            steps.try_fold(first, |value, step| value.get(step))
        })?;
        let text = match value {
            Value::Array(items) => {
                let items: Option<Vec<String>> = items.iter().map(scalar).collect();
                items?.join(",")
            }
            value => scalar(value)?,
        };
        let is_field_value = text.bytes().all(|byte| byte >= b' ' && byte != 0x7f);
        is_field_value.then_some(text)
    }

    fn check(&self, expected: &Expected, now: u64) -> Result<(), TokenError> {
        let ends = self.time("exp").ok_or(TokenError::Expired)?;
        if now >= ends.saturating_add(expected.skew) {
            return Err(TokenError::Expired);
        }
        if self.0.contains_key("nbf") {
            let begins = self.time("nbf").ok_or(TokenError::TooEarly)?;
            if now.saturating_add(expected.skew) < begins {
                return Err(TokenError::TooEarly);
            }
        }
        let issuer = self.0.get("iss").and_then(Value::as_str);
        if expected.issuer.is_some() && expected.issuer.as_deref() != issuer {
            return Err(TokenError::Issuer);
        }
        let is_for = |value: &Value| {
            let text = value.as_str();
            text.is_some_and(|text| expected.audience.iter().any(|known| known == text))
        };
        let is_for_us = match self.0.get("aud") {
            Some(Value::Array(all)) => all.iter().any(is_for),
            Some(one) => is_for(one),
            None => false,
        };
        if !expected.audience.is_empty() && !is_for_us {
            return Err(TokenError::Audience);
        }
        Ok(())
    }

    /// A time in seconds (RFC 7519 §2, NumericDate); of a fraction the whole part.
    fn time(&self, name: &str) -> Option<u64> {
        let value = self.0.get(name)?;
        value.as_u64().or_else(|| {
            let seconds = value.as_f64().filter(|seconds| *seconds >= 0.0)?;
            format!("{:.0}", seconds.floor()).parse().ok()
        })
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn decoded(part: &str) -> Result<Vec<u8>, TokenError> {
    let decoded = URL_SAFE_NO_PAD.decode(part);
    decoded.map_err(|_| TokenError::Malformed)
}

fn object(part: &str) -> Result<Map<String, Value>, TokenError> {
    match serde_json::from_slice(&decoded(part)?) {
        Ok(Value::Object(object)) => Ok(object),
        _ => Err(TokenError::Malformed),
    }
}
