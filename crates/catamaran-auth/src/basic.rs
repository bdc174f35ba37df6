//! Users and their passwords: the file, and what clients send (RFC 7617).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use ring::rand::SystemRandom;
use sha_crypt::{PasswordHashRef, PasswordVerifier as _, ShaCrypt};
use std::collections::HashMap;
use std::fmt;

/// The users of a file, by name.
#[derive(Clone)]
pub struct Users(HashMap<String, String>);

/// What is wrong with a file of users.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsersError {
    /// A line has no colon.
    #[error("no user; write `NAME:HASH`, as `htpasswd -B` does")]
    NoColon,
    /// A user is there twice.
    #[error("user `{0}` is written twice; remove one")]
    Twice(String),
    /// A hash of no kind that is known.
    #[error(
        "the hash of user `{0}` is of no kind that is safe; make it anew with `htpasswd -B`, or \
         `openssl passwd -6`"
    )]
    Hash(String),
}

/// What a client says that it is.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The name.
    pub user: String,
    /// The password.
    pub password: String,
}

/// Makes of credentials what may be remembered of them: nobody who reads it learns a password, and
/// another process makes something else of the same.
#[derive(Debug)]
pub struct Fingerprints(hmac::Key);

impl Fingerprints {
    /// With a key of its own.
    ///
    /// # Errors
    /// [`NoRandomness`] when the system has none.
    pub fn new() -> Result<Self, NoRandomness> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        key.map(Self).map_err(|_| NoRandomness)
    }

    /// The fingerprint of these credentials.
    #[must_use]
    pub fn of(&self, credentials: &Credentials) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.0);
        // A name has no colon, so that no two pairs are one text.
        context.update(credentials.user.as_bytes());
        context.update(b":");
        context.update(credentials.password.as_bytes());
        let mut print = [0; 32];
        print.copy_from_slice(context.sign().as_ref());
        print
    }
}

/// The system has no randomness to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gives no randomness")]
pub struct NoRandomness;

impl Users {
    /// Reads a file as htpasswd(1) writes it: `NAME:HASH` on each line, `#` begins a comment.
    ///
    /// # Errors
    /// What is wrong, with the number of the line from 1.
    pub fn parse(text: &str) -> Result<Self, (usize, UsersError)> {
        let mut users = HashMap::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |error| (index + 1, error);
            let (name, hash) = line
                .split_once(':')
                .ok_or_else(|| wrong(UsersError::NoColon))?;
            if !is_known(hash) {
                return Err(wrong(UsersError::Hash(name.to_owned())));
            }
            if users.insert(name.to_owned(), hash.to_owned()).is_some() {
                return Err(wrong(UsersError::Twice(name.to_owned())));
            }
        }
        Ok(Self(users))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the password is the user's. Takes tens of milliseconds, as the hash wants it, for a
    /// user that is not there too, so that time does not tell names.
    #[must_use]
    pub fn verify(&self, shown: &Credentials) -> bool {
        match self.0.get(&shown.user) {
            Some(hash) => matches(hash, &shown.password),
            None => {
                if let Some(other) = self.0.values().next() {
                    let _ = std::hint::black_box(matches(other, &shown.password));
                }
                false
            }
        }
    }
}

impl Credentials {
    /// Reads the value of an `Authorization` field; `None` if it is of another scheme or malformed.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let encoded = after_scheme(value, b"basic")?;
        let decoded = STANDARD.decode(encoded).ok()?;
        let text = String::from_utf8(decoded).ok()?;
        let (user, password) = text.split_once(':')?;
        let has_control = text.chars().any(char::is_control);
        (!has_control).then(|| Self {
            user: user.to_owned(),
            password: password.to_owned(),
        })
    }
}

/// What follows the scheme, which is compared without case (RFC 9110 §11.1).
pub(crate) fn after_scheme<'v>(value: &'v [u8], scheme: &[u8]) -> Option<&'v [u8]> {
    let (named, rest) = value.split_at_checked(scheme.len())?;
    let rest = rest.strip_prefix(b" ")?;
    named
        .eq_ignore_ascii_case(scheme)
        .then(|| rest.trim_ascii())
}

fn is_known(hash: &str) -> bool {
    is_bcrypt(hash) || is_sha_crypt(hash)
}

fn is_bcrypt(hash: &str) -> bool {
    let is_kind = ["$2a$", "$2b$", "$2y$"]
        .iter()
        .any(|kind| hash.starts_with(kind));
    // A cost above 15 takes seconds: a client could stop the hashing of all others.
    let cost = hash.get(4..6).and_then(|cost| cost.parse::<u32>().ok());
    is_kind && hash.len() == 60 && cost.is_some_and(|cost| (4..=15).contains(&cost))
}

fn is_sha_crypt(hash: &str) -> bool {
    let is_kind = hash.starts_with("$5$") || hash.starts_with("$6$");
    let rounds = hash.get(3..).and_then(|rest| rest.strip_prefix("rounds="));
    let rounds = rounds.map_or(Some(5000), |rest| rest.split('$').next()?.parse().ok());
    let is_bearable = rounds.is_some_and(|rounds: u32| rounds <= 1_000_000);
    is_kind && is_bearable && PasswordHashRef::new(hash).is_ok()
}

fn matches(hash: &str, password: &str) -> bool {
    if is_bcrypt(hash) {
        // Also compares in constant time.
        bcrypt::verify(password, hash).unwrap_or(false)
    } else {
        let hash = PasswordHashRef::new(hash);
        hash.is_ok_and(|hash| {
            let verified = ShaCrypt::default().verify_password(password.as_bytes(), hash);
            verified.is_ok()
        })
    }
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} users", self.0.len())
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user `{}`", self.user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first is a test vector of crypt_blowfish, of `U*U`; the others are of `secret`, by
    /// `openssl passwd -6` and `-5`.
    const FILE: &str = "# staff\nada:$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW\n\
        bob:$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1\n\n\
        cy:$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA\n";

    fn shown(user: &str, password: &str) -> Credentials {
        Credentials {
            user: user.to_owned(),
            password: password.to_owned(),
        }
    }

    #[test]
    fn only_the_right_password_of_a_user_is_right() {
        let users = Users::parse(FILE).unwrap();
        for (user, password) in [("ada", "U*U"), ("bob", "secret"), ("cy", "secret")] {
            assert!(users.verify(&shown(user, password)), "{user}");
            assert!(!users.verify(&shown(user, "Secret")), "{user}");
            assert!(!users.verify(&shown(user, "")), "{user}");
        }
        assert!(!users.verify(&shown("dan", "secret")));
        assert!(!format!("{users:?} {:?}", shown("ada", "secret")).contains("secret"));
    }

    #[test]
    fn hashes_that_are_quickly_guessed_are_refused_with_their_line() {
        for hash in ["secret", "$apr1$x$y", "{SHA}x", "$1$a$b", "$2y$31$x"] {
            let (line, error) = Users::parse(&format!("\nada:{hash}\n")).unwrap_err();
            assert_eq!((line, error), (2, UsersError::Hash("ada".to_owned())));
        }
        assert_eq!(Users::parse("ada").unwrap_err().1, UsersError::NoColon);
    }

    #[test]
    fn fingerprints_tell_credentials_apart_and_are_of_one_process() {
        let prints = Fingerprints::new().unwrap();
        let ada = prints.of(&shown("ada", "secret"));
        assert_eq!(ada, prints.of(&shown("ada", "secret")));
        assert_ne!(ada, prints.of(&shown("ada", "secret2")));
        assert_ne!(
            ada,
            Fingerprints::new().unwrap().of(&shown("ada", "secret"))
        );
    }

    #[test]
    fn credentials_are_read_as_clients_write_them() {
        // `Aladdin:open sesame`, RFC 7617 §2.
        let field = b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==";
        assert_eq!(
            Credentials::parse(field),
            Some(shown("Aladdin", "open sesame"))
        );
        let lower = b"basic  QWxhZGRpbjpvcGVuIHNlc2FtZQ== ";
        assert!(Credentials::parse(lower).is_some());
        for bad in [
            &b"Bearer QQ=="[..],
            b"Basic",
            b"Basic !",
            b"Basic QQ==",
            b"\xff\xff\xff\xff\xff \xff",
        ] {
            assert_eq!(Credentials::parse(bad), None);
        }
    }
}
