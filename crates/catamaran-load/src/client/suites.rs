//! Cipher suites of TLS by the names that scripts have for them: the option `tlsCipherSuites`.

use rustls::SupportedCipherSuite;
use rustls::crypto::ring::ALL_CIPHER_SUITES;

/// The cipher suites that are offered.
#[derive(Clone, Debug)]
pub struct TlsSuites(Vec<SupportedCipherSuite>);

impl Default for TlsSuites {
    fn default() -> Self {
        Self(ALL_CIPHER_SUITES.to_vec())
    }
}

impl TlsSuites {
    /// Those of these names. Old ones that are not spoken here are passed over, as long as there are others.
    /// Without one of TLS 1.3 among them all of TLS 1.3 are offered: in k6 they cannot be chosen.
    ///
    /// # Errors
    /// The name that is none, or why none is left.
    pub fn read<'a>(names: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let mut chosen = Vec::new();
        let mut old = None;
        for name in names {
            let found = ALL_CIPHER_SUITES.iter().find(|one| is_called(**one, name));
            match found {
                Some(suite) => chosen.push(*suite),
                None if OLD.contains(&name) => old = Some(name),
                None => return Err(format!("no cipher suite is called `{name}`; {}", known())),
            }
        }
        if let Some(old) = old
            && chosen.is_empty()
        {
            return Err(format!("`{old}` is too old to be spoken here; {}", known()));
        }
        if !chosen.iter().any(|suite| suite.tls13().is_some()) {
            let newest = ALL_CIPHER_SUITES.iter();
            chosen.extend(newest.filter(|suite| suite.tls13().is_some()));
        }
        Ok(Self(chosen))
    }

    pub(super) fn to_vec(&self) -> Vec<SupportedCipherSuite> {
        self.0.clone()
    }
}

/// The name of a suite, in the words of k6, which leaves out the hash of some.
pub(super) fn name(suite: SupportedCipherSuite) -> String {
    let name = format!("{:?}", suite.suite());
    match name.strip_prefix("TLS13_") {
        Some(name) => format!("TLS_{name}"),
        None => name.replace("POLY1305_SHA256", "POLY1305"),
    }
}

fn is_called(suite: SupportedCipherSuite, text: &str) -> bool {
    name(suite) == text || format!("{:?}", suite.suite()) == text
}

fn known() -> String {
    let names: Vec<String> = ALL_CIPHER_SUITES.iter().copied().map(name).collect();
    format!("there are {}", names.join(", "))
}

/// Suites that k6 knows and that nobody should need: without forward secrecy, or with ciphers that broke.
const OLD: &[&str] = &[
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_RSA_WITH_RC4_128_SHA",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Result<Vec<String>, String> {
        let suites = TlsSuites::read(text.split(' '))?;
        Ok(suites.0.into_iter().map(name).collect())
    }

    #[test]
    fn chosen_suites_are_offered_beside_those_of_tls_13() {
        let chosen =
            names("TLS_RSA_WITH_RC4_128_SHA TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305").unwrap();
        assert_eq!(chosen[0], "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305");
        assert_eq!(chosen.len(), 4);
        let newest = "TLS_AES_128_GCM_SHA256";
        assert_eq!(names(newest).unwrap(), [newest]);
    }

    #[test]
    fn a_name_that_is_none_and_one_that_is_too_old_are_told() {
        let none = names("TLS_RSA_WITH_NOTHING").unwrap_err();
        assert!(none.contains("no cipher suite is called"), "{none}");
        let old = names("TLS_RSA_WITH_RC4_128_SHA").unwrap_err();
        assert!(
            old.contains("too old") && old.contains("TLS_ECDHE"),
            "{old}"
        );
    }
}
