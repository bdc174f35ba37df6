//! Asking clients who they are, for routes that want to know.
//!
//! Passwords are hashed so that guessing is slow, and so is asking: that happens on threads beside
//! the workers, few at a time, and what was right is remembered by a keyed fingerprint for a while.
//! Tokens are judged at once: a signature takes about as long as a request.

use crate::state::lock;
use catamaran_auth::{Algorithm, Claims, Credentials, Expected, Fingerprints, Keys, Users};
use catamaran_core::Timestamp;
use catamaran_core::model::{Auth, BasicAuth, HeaderModifier, JwtAuth};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Semaphore;

/// What lets requests of a route in.
#[derive(Debug)]
pub(crate) struct Guard {
    pub(crate) model: Auth,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Basic(Basic),
    Jwt(Jwt),
}

#[derive(Debug)]
struct Basic {
    challenge: String,
    users: Arc<Users>,
    fingerprints: Option<Fingerprints>,
    /// Until when each is taken without hashing.
    known: Mutex<HashMap<[u8; 32], Timestamp>>,
    turns: &'static Semaphore,
    waiting: AtomicUsize,
    /// How long a turn is waited for.
    patience: Duration,
}

#[derive(Debug)]
struct Jwt {
    realm: String,
    keys: Keys,
    expected: Expected,
    headers: Vec<(String, String)>,
}

/// Why a request is not let in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotIn {
    /// The client is to show this, the value of `WWW-Authenticate`.
    Challenge(String),
    /// As many passwords are being hashed as may.
    Busy,
}

impl Guard {
    pub(crate) fn new(model: &Auth) -> Arc<Self> {
        let kind = match model {
            Auth::Basic(basic) => Kind::Basic(Basic::new(basic)),
            Auth::Jwt(jwt) => Kind::Jwt(Jwt::new(jwt)),
        };
        let model = model.clone();
        Arc::new(Self { model, kind })
    }

    /// Judges what a client shows, the values of its `Authorization` fields. Returns the changes to
    /// the request that say who it is, if there are any.
    pub(crate) async fn check(
        &self,
        now: Timestamp,
        shown: Shown,
    ) -> Result<Option<Box<HeaderModifier>>, NotIn> {
        match &self.kind {
            Kind::Basic(basic) => basic.check(now, shown).await.map(|()| None),
            Kind::Jwt(jwt) => jwt.check(&shown),
        }
    }
}

/// What a client shows.
#[derive(Debug)]
pub(crate) enum Shown {
    Nothing,
    /// The value of its `Authorization` field.
    Value(Vec<u8>),
    /// More than one, of which a server might take another than we.
    Ambiguous,
}

impl Basic {
    fn new(model: &BasicAuth) -> Self {
        let users = Users::parse(model.users.reveal());
        Self {
            challenge: format!("Basic realm=\"{}\", charset=\"UTF-8\"", model.realm),
            users: Arc::new(users.expect("a configuration that loads is valid")),
            // Without randomness nothing is remembered.
            fingerprints: Fingerprints::new().ok(),
            known: Mutex::default(),
            turns: &TURNS,
            waiting: AtomicUsize::new(0),
            patience: PATIENCE,
        }
    }

    async fn check(&self, now: Timestamp, shown: Shown) -> Result<(), NotIn> {
        let challenge = || NotIn::Challenge(self.challenge.clone());
        let Shown::Value(value) = shown else {
            return Err(challenge());
        };
        let credentials = Credentials::parse(&value).ok_or_else(challenge)?;
        let print = self.fingerprints.as_ref().map(|all| all.of(&credentials));
        if print.is_some_and(|print| self.is_known(&print, now)) {
            return Ok(());
        }
        if !self.hash(credentials).await? {
            return Err(challenge());
        }
        if let Some(print) = print {
            self.remember(print, now);
        }
        Ok(())
    }

    /// Whether the password is right, asked on another thread when it is its turn.
    async fn hash(&self, credentials: Credentials) -> Result<bool, NotIn> {
        let _waits = Waits::begin(&self.waiting).ok_or(NotIn::Busy)?;
        let turn = tokio::time::timeout(self.patience, self.turns.acquire());
        let turn = turn.await.map_err(|_| NotIn::Busy)?;
        let turn = turn.map_err(|_| NotIn::Busy)?;
        let users = Arc::clone(&self.users);
        let verified = tokio::task::spawn_blocking(move || {
            // Held by the hashing itself, which goes on when the client has left.
            let _turn = turn;
            users.verify(&credentials)
        });
        verified.await.map_err(|_| NotIn::Busy)
    }

    fn is_known(&self, print: &[u8; 32], now: Timestamp) -> bool {
        let until = lock(&self.known).get(print).copied();
        until.is_some_and(|until| now < until)
    }

    fn remember(&self, print: [u8; 32], now: Timestamp) {
        let mut known = lock(&self.known);
        if known.len() >= MAX_KNOWN {
            known.retain(|_, until| now < *until);
        }
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(print, now + REMEMBERED);
    }
}

impl Jwt {
    fn new(model: &JwtAuth) -> Self {
        let algorithms = model.algorithms.iter();
        let keys = Keys::parse(model.keys.reveal().as_bytes());
        Self {
            realm: model.realm.clone(),
            keys: keys.expect("a configuration that loads is valid"),
            expected: Expected {
                issuer: model.issuer.clone(),
                audience: model.audience.clone(),
                algorithms: algorithms
                    .filter_map(|name| Algorithm::named(name))
                    .collect(),
                skew: model.skew.as_secs(),
            },
            headers: model.headers.clone(),
        }
    }

    fn check(&self, shown: &Shown) -> Result<Option<Box<HeaderModifier>>, NotIn> {
        let challenge =
            |error: &str| NotIn::Challenge(format!("Bearer realm=\"{}\"{error}", self.realm));
        // RFC 6750 §3: who shows nothing is told of no error.
        let value = match shown {
            Shown::Value(value) => value,
            Shown::Nothing => return Err(challenge("")),
            Shown::Ambiguous => return Err(challenge(", error=\"invalid_request\"")),
        };
        let token = Claims::token(value).ok_or_else(|| challenge(""))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_secs();
        let claims = Claims::verify(token, &self.keys, &self.expected, now).map_err(|error| {
            tracing::debug!(%error, "a token is refused");
            challenge(", error=\"invalid_token\"")
        })?;
        if self.headers.is_empty() {
            return Ok(None);
        }
        let mut changes = HeaderModifier::default();
        for (name, claim) in &self.headers {
            changes.remove.push(name.to_ascii_lowercase());
            if let Some(text) = claims.text(claim) {
                changes.set.push((name.clone(), text));
            }
        }
        Ok(Some(Box::new(changes)))
    }
}

/// One who waits for a password to be hashed, while it lives.
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn begin(waiting: &'a AtomicUsize) -> Option<Self> {
        let begun = waiting.fetch_update(Relaxed, Relaxed, |waiting| {
            (waiting < MAX_WAITING).then_some(waiting + 1)
        });
        begun.is_ok().then_some(Self(waiting))
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Passwords hashed at once, for all guards together: who guesses keeps so many cores busy, not all,
/// however many routes ask.
const MAX_HASHING: usize = 2;
static TURNS: Semaphore = Semaphore::const_new(MAX_HASHING);
/// Requests that wait for that; more get 503 at once.
const MAX_WAITING: usize = 256;
/// How long they wait; then 503. Chosen: about as long as somebody looks at a page that does not come.
const PATIENCE: Duration = Duration::from_secs(10);
/// Credentials remembered at once.
const MAX_KNOWN: usize = 10_000;
/// How long they are: a password that is changed in the file is forgotten by the reload.
const REMEMBERED: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;
    use catamaran_core::model::Secret;

    #[test]
    fn a_password_that_is_not_hashed_in_time_is_not_waited_for_for_ever() {
        let model = BasicAuth {
            realm: "r".to_owned(),
            users: Secret::new(""),
        };
        // Turns of its own, so that other tests have theirs.
        static OURS: Semaphore = Semaphore::const_new(1);
        let basic = Basic {
            patience: Duration::from_millis(1),
            turns: &OURS,
            ..Basic::new(&model)
        };
        let held = OURS.try_acquire().unwrap();
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().build().unwrap();
        // `a:b`
        let shown = || Shown::Value(b"Basic YTpi".to_vec());
        let check = || runtime.block_on(basic.check(Timestamp::ZERO, shown()));
        assert_eq!(check(), Err(NotIn::Busy));
        assert_eq!(basic.waiting.load(Relaxed), 0);
        drop(held);
        assert!(matches!(check(), Err(NotIn::Challenge(_))));
    }
    #[test]
    fn all_guards_wait_for_the_same_turns() {
        let guard = |realm: &str| {
            Basic::new(&BasicAuth {
                realm: realm.to_owned(),
                users: Secret::new(""),
            })
        };
        assert!(std::ptr::eq(guard("a").turns, guard("b").turns));
        assert!(TURNS.available_permits() <= MAX_HASHING);
    }
}
