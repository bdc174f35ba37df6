//! The secret that all nodes share, and the file it is kept in.
//!
//! The file has one line, or two while the secret is exchanged: the first is used to connect, both
//! are accepted. To exchange it without interruption give every node old and new, then new and old,
//! then the new one alone.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use thiserror::Error;

/// 32 secret bytes. They are never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub(crate) [u8; 32]);

/// What a file of secrets holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secrets {
    /// The one to connect with.
    pub first: Secret,
    /// One more that is accepted.
    pub second: Option<Secret>,
}

/// Why a file of secrets is not taken.
#[derive(Debug, Error)]
pub enum SecretError {
    /// It cannot be read.
    #[error("the file cannot be read; `openssl rand -hex 32` makes a secret")]
    Unreadable(#[from] io::Error),
    /// Others may read it.
    #[error("others may read the file (mode {0:04o}); `chmod 600` mends that")]
    Open(u32),
    /// It is no file of secrets.
    #[error("line {0} is not a secret of 64 hexadecimal digits; `openssl rand -hex 32` makes one")]
    Malformed(usize),
    /// There is none in it, or more than two.
    #[error("the file holds {0} secrets; one is needed, and two are allowed")]
    Count(usize),
}

impl Secrets {
    /// Reads a file that its owner alone may read.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn load(path: &Path) -> Result<Self, SecretError> {
        let mut file = File::open(path)?;
        let mode = file.metadata()?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(SecretError::Open(mode));
        }
        let mut text = String::new();
        file.by_ref().take(MAX_BYTES).read_to_string(&mut text)?;
        Self::parse(&text)
    }

    /// Reads the lines of a file. Empty ones, and those that begin with `#`, are passed over.
    ///
    /// # Errors
    /// [`SecretError::Malformed`] and [`SecretError::Count`].
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let lines = (1..).zip(text.lines().map(str::trim));
        let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let secrets = lines.map(|(number, line)| {
            let secret = Secret::parse(line);
            secret.ok_or(SecretError::Malformed(number))
        });
        let secrets = secrets.collect::<Result<Vec<_>, _>>()?;
        match secrets.as_slice() {
            [first] => Ok(Self {
                first: first.clone(),
                second: None,
            }),
            [first, second] => Ok(Self {
                first: first.clone(),
                second: Some(second.clone()),
            }),
            other => Err(SecretError::Count(other.len())),
        }
    }

    /// Those that are accepted.
    pub(crate) fn accepted(&self) -> impl Iterator<Item = &Secret> {
        std::iter::once(&self.first).chain(&self.second)
    }
}

impl Secret {
    fn parse(line: &str) -> Option<Self> {
        let digits: Vec<u8> = line
            .chars()
            .map(|digit| u8::try_from(digit.to_digit(16)?).ok())
            .collect::<Option<_>>()?;
        let (pairs, rest) = digits.as_chunks::<2>();
        let bytes: Vec<u8> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
        (rest.is_empty()).then_some(Self(bytes.try_into().ok()?))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

const MAX_BYTES: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn one_secret_or_two_are_read_and_never_printed() {
        let (old, new) = ("ab".repeat(32), "0C".repeat(32));
        let secrets = Secrets::parse(&format!("# ours\n{old}\n\n{new}\n")).unwrap();
        assert_eq!(secrets.first, Secret([0xab; 32]));
        assert_eq!(secrets.second, Some(Secret([0x0c; 32])));
        assert!(!format!("{secrets:?}").contains("171"));
        assert!(Secrets::parse(&old).unwrap().second.is_none());
    }

    #[test]
    fn what_is_no_secret_is_refused_with_its_line() {
        let error = |text: &str| Secrets::parse(text).unwrap_err().to_string();
        assert!(error("\nhunter2").starts_with("line 2 is not a secret"));
        assert!(error(&"a".repeat(63)).starts_with("line 1"));
        assert!(error(&"ü".repeat(32)).starts_with("line 1"));
        assert!(error("").starts_with("the file holds 0 secrets"));
        let three = format!("{0}\n{0}\n{0}", "ab".repeat(32));
        assert!(error(&three).starts_with("the file holds 3 secrets"));
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let name = format!(
            "catamaran-secret-{}-{}",
            std::process::id(),
            fastrand::u64(..)
        );
        let path = std::env::temp_dir().join(name);
        fs::write(&path, "ab".repeat(32)).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let error = Secrets::load(&path).unwrap_err().to_string();
        assert!(
            error.contains("0640") && error.contains("chmod 600"),
            "{error}"
        );
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert!(Secrets::load(&path).is_ok());
        fs::remove_file(&path).unwrap();
        assert!(matches!(
            Secrets::load(&path),
            Err(SecretError::Unreadable(_))
        ));
    }
}
