//! Who clients must show that they are.

use super::Secret;
use std::time::Duration;

/// What a client must show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// A name and a password (RFC 7617).
    Basic(BasicAuth),
    /// A signed token (RFC 7519).
    Jwt(JwtAuth),
}

/// Names and passwords.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasicAuth {
    /// What browsers show when they ask. Default `restricted`.
    pub realm: String,
    /// The file of users, as htpasswd(1) writes it.
    pub users: Secret,
}

/// Signed tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtAuth {
    /// What the challenge names. Default `restricted`.
    pub realm: String,
    /// Who must have issued it, if that matters.
    pub issuer: Option<String>,
    /// Whom it must be for, any one of these; empty for anybody.
    pub audience: Vec<String>,
    /// How it may be signed, by the names of RFC 7518.
    pub algorithms: Vec<String>,
    /// How far clocks may differ. Default 30 s.
    pub skew: Duration,
    /// The file of keys.
    pub keys: Secret,
    /// Header fields of requests that say claims: name, and path of the claim. Those that clients
    /// send are removed.
    pub headers: Vec<(String, String)>,
}

/// What a route asks a client to show.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum RouteAuth {
    /// What its frontend asks.
    #[default]
    Inherited,
    /// Nothing.
    Off,
    /// This.
    Own(Auth),
}
