//! Where the process is watched and steered from.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

/// The admin API.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Admin {
    /// Its unix socket.
    pub socket: AdminSocket,
    /// Where it is served over TCP; off unless written.
    pub listen: Option<SocketAddr>,
    /// What clients over TCP must show; always there if `listen` is no loopback address.
    pub token: Option<Secret>,
    /// Names by which clients know `listen`, beside `localhost` and IP addresses.
    pub names: Vec<String>,
}

/// The unix socket of the admin API.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum AdminSocket {
    /// In the first directory for such things that this user may write to.
    #[default]
    Usual,
    /// There.
    At(PathBuf),
    /// Nowhere.
    Off,
}

/// A text that no log, page or dump shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    /// Takes the secret.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(Arc::from(text))
    }

    /// The secret itself, for what has to work with it; never to be shown.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether `shown` is the secret. Takes as long for every text of one length, so that nobody
    /// finds it byte by byte.
    #[must_use]
    pub fn is(&self, shown: &[u8]) -> bool {
        let secret = self.0.as_bytes();
        let both = secret.iter().zip(shown);
        let differing = both.fold(0, |differing, (a, b)| differing | (a ^ b));
        std::hint::black_box(differing) == 0 && secret.len() == shown.len()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_secret_is_the_secret_and_nobody_sees_it() {
        let secret = Secret::new("open sesame");
        assert!(secret.is(b"open sesame"));
        assert!(!secret.is(b"open sesam") && !secret.is(b"open sesame!") && !secret.is(b""));
        assert!(!format!("{secret:?}").contains("open"));
    }
}
