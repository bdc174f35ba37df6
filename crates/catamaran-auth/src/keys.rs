//! Keys by which tokens are judged, and the algorithms that fit each.
//!
//! A key verifies only what it is made for: a public key of RSA is never taken for the secret of
//! an HMAC, which is the classic confusion, because the two are different kinds here. `none` is no
//! algorithm at all.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::{hmac, signature};
use serde_json::Value;
use std::fmt;

/// An algorithm of RFC 7518 §3.1 or RFC 8037.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "their names are their documentation")]
pub enum Algorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

/// The keys of a file.
#[derive(Clone)]
pub struct Keys(Vec<Key>);

#[derive(Clone)]
struct Key {
    /// What tokens call it.
    id: Option<String>,
    /// The only algorithm that it may be used with, if it says so.
    algorithm: Option<Algorithm>,
    material: Material,
}

#[derive(Clone)]
enum Material {
    Secret(Vec<u8>),
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// The point, uncompressed (SEC 1 §2.3.3).
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

/// What is wrong with a file of keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// It is neither JSON nor PEM.
    #[error("neither a JSON Web Key Set nor PEM public keys; write either")]
    Format,
    /// No key in it can verify anything.
    #[error(
        "no key that can be used: RSA from 2048 bits, P-256, P-384, Ed25519 and, in a JSON Web Key \
         Set, secrets from 32 bytes"
    )]
    None,
    /// It holds a private key.
    #[error("a private key; only the public one is needed: `openssl pkey -pubout`")]
    Private,
}

impl Algorithm {
    /// All, by their names (RFC 7518 §3.1).
    pub const ALL: [(&'static str, Self); 12] = [
        ("HS256", Self::Hs256),
        ("HS384", Self::Hs384),
        ("HS512", Self::Hs512),
        ("RS256", Self::Rs256),
        ("RS384", Self::Rs384),
        ("RS512", Self::Rs512),
        ("PS256", Self::Ps256),
        ("PS384", Self::Ps384),
        ("PS512", Self::Ps512),
        ("ES256", Self::Es256),
        ("ES384", Self::Es384),
        ("EdDSA", Self::EdDsa),
    ];

    /// The algorithm of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        found.map(|&(_, algorithm)| algorithm)
    }
}

impl Keys {
    /// Reads a JSON Web Key Set (RFC 7517), one key of it, or public keys in PEM (RFC 7468).
    /// Keys of kinds that are not known are passed over, as RFC 7517 §5 says.
    ///
    /// # Errors
    /// [`KeysError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, KeysError> {
        let text = std::str::from_utf8(bytes).map_err(|_| KeysError::Format)?;
        let keys = if text.contains("-----BEGIN ") {
            of_pem(text)?
        } else {
            let document: Value = serde_json::from_str(text).map_err(|_| KeysError::Format)?;
            match document.get("keys").and_then(Value::as_array) {
                Some(keys) => keys.iter().filter_map(Key::of_jwk).collect(),
                None if document.get("kty").is_some() => {
                    Key::of_jwk(&document).into_iter().collect()
                }
                None => return Err(KeysError::Format),
            }
        };
        if keys.is_empty() {
            return Err(KeysError::None);
        }
        Ok(Self(keys))
    }

    /// Whether some key made this signature of `message` by `algorithm`. A token that names its
    /// key is judged by that one alone.
    pub(crate) fn verify(
        &self,
        algorithm: Algorithm,
        id: Option<&str>,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        let may = |key: &&Key| {
            let is_named = match (id, &key.id) {
                (Some(id), Some(known)) => id == known,
                _ => true,
            };
            is_named && key.algorithm.is_none_or(|only| only == algorithm)
        };
        let mut keys = self.0.iter().filter(may).take(MAX_TRIED);
        keys.any(|key| key.material.verify(algorithm, message, signature))
    }
}

impl Key {
    fn of_jwk(jwk: &Value) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(Value::as_str);
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        if text("use").is_some_and(|used| used != "sig") {
            return None;
        }
        let material = match (text("kty")?, text("crv")) {
            ("oct", _) => Material::Secret(bytes("k").filter(|key| key.len() >= MIN_SECRET)?),
            ("RSA", _) => rsa(bytes("n")?, bytes("e")?)?,
            ("EC", Some("P-256")) => Material::P256(point(bytes("x")?, bytes("y")?, 32)?),
            ("EC", Some("P-384")) => Material::P384(point(bytes("x")?, bytes("y")?, 48)?),
            ("OKP", Some("Ed25519")) => {
                Material::Ed25519(bytes("x").filter(|key| key.len() == 32)?)
            }
            _ => return None,
        };
        Some(Self {
            id: text("kid").map(str::to_owned),
            algorithm: match text("alg") {
                Some(name) => Some(Algorithm::named(name)?),
                None => None,
            },
            material,
        })
    }
}

impl Material {
    fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        use Algorithm::{
            EdDsa, Es256, Es384, Hs256, Hs384, Hs512, Ps256, Ps384, Ps512, Rs256, Rs384, Rs512,
        };
        let public = |how: &dyn signature::VerificationAlgorithm, key: &[u8]| {
            how.verify(key.into(), message.into(), signature.into())
                .is_ok()
        };
        match (self, algorithm) {
            (Self::Secret(key), Hs256 | Hs384 | Hs512) => {
                let how = match algorithm {
                    Hs256 => hmac::HMAC_SHA256,
                    Hs384 => hmac::HMAC_SHA384,
                    _ => hmac::HMAC_SHA512,
                };
                // Compares in constant time.
                hmac::verify(&hmac::Key::new(how, key), message, signature).is_ok()
            }
            (Self::Rsa { n, e }, Rs256 | Rs384 | Rs512 | Ps256 | Ps384 | Ps512) => {
                let how = match algorithm {
                    Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
                    Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
                    Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
                    Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
                    Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
                    _ => &signature::RSA_PSS_2048_8192_SHA512,
                };
                let key = signature::RsaPublicKeyComponents { n, e };
                key.verify(how, message, signature).is_ok()
            }
            (Self::P256(key), Es256) => public(&signature::ECDSA_P256_SHA256_FIXED, key),
            (Self::P384(key), Es384) => public(&signature::ECDSA_P384_SHA384_FIXED, key),
            (Self::Ed25519(key), EdDsa) => public(&signature::ED25519, key),
            _ => false,
        }
    }
}

/// A key of RSA, if it is long enough to be safe.
fn rsa(n: Vec<u8>, e: Vec<u8>) -> Option<Material> {
    let n: Vec<u8> = n.into_iter().skip_while(|&byte| byte == 0).collect();
    let e: Vec<u8> = e.into_iter().skip_while(|&byte| byte == 0).collect();
    ((256..=1024).contains(&n.len()) && !e.is_empty()).then_some(Material::Rsa { n, e })
}

fn point(x: Vec<u8>, y: Vec<u8>, len: usize) -> Option<Vec<u8>> {
    (x.len() == len && y.len() == len).then(|| [vec![4], x, y].concat())
}

/// The public keys of a PEM file.
fn of_pem(text: &str) -> Result<Vec<Key>, KeysError> {
    let mut keys = Vec::new();
    for part in text.split("-----BEGIN ").skip(1) {
        let (label, rest) = part.split_once("-----").ok_or(KeysError::Format)?;
        if label.contains("PRIVATE KEY") {
            return Err(KeysError::Private);
        }
        let (body, _) = rest.split_once("-----END ").ok_or(KeysError::Format)?;
        let body: String = body.split_whitespace().collect();
        let der = STANDARD.decode(body).map_err(|_| KeysError::Format)?;
        let material = match label {
            "PUBLIC KEY" => of_spki(&der),
            "RSA PUBLIC KEY" => of_rsa_public_key(&der),
            _ => None,
        };
        keys.extend(material.map(|material| Key {
            id: None,
            algorithm: None,
            material,
        }));
    }
    Ok(keys)
}

/// A `SubjectPublicKeyInfo` (RFC 5280 §4.1.2.7) in DER.
fn of_spki(der: &[u8]) -> Option<Material> {
    let (outer, _) = element(der, SEQUENCE)?;
    let (algorithm, rest) = element(outer, SEQUENCE)?;
    let (bits, _) = element(rest, BIT_STRING)?;
    let key = bits.strip_prefix(&[0])?;
    let (oid, parameters) = element(algorithm, OID)?;
    match oid {
        OID_RSA => of_rsa_public_key(key),
        OID_ED25519 if key.len() == 32 => Some(Material::Ed25519(key.to_vec())),
        OID_EC => match (element(parameters, OID)?.0, key.len()) {
            (OID_P256, 65) => Some(Material::P256(key.to_vec())),
            (OID_P384, 97) => Some(Material::P384(key.to_vec())),
            _ => None,
        },
        _ => None,
    }
}

/// An `RSAPublicKey` (RFC 8017 §A.1.1) in DER.
fn of_rsa_public_key(der: &[u8]) -> Option<Material> {
    let (outer, _) = element(der, SEQUENCE)?;
    let (n, rest) = element(outer, INTEGER)?;
    let (e, _) = element(rest, INTEGER)?;
    rsa(n.to_vec(), e.to_vec())
}

/// The content of the element that `der` begins with, which must have this tag, and what follows.
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let rest = der.strip_prefix(&[tag])?;
    let (&first, rest) = rest.split_first()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 | 0x82 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
            let fold = |len, &digit: &u8| len << 8 | usize::from(digit);
            (digits.iter().fold(0, fold), rest)
        }
        // Nothing here has 64 KiB.
        _ => return None,
    };
    rest.split_at_checked(len)
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.0.len())
    }
}

const INTEGER: u8 = 2;
const BIT_STRING: u8 = 3;
const OID: u8 = 6;
const SEQUENCE: u8 = 0x30;
/// 1.2.840.113549.1.1.1, RFC 8017 §A.1.
const OID_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
/// 1.2.840.10045.2.1, RFC 5480 §2.1.1.
const OID_EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
/// 1.2.840.10045.3.1.7, RFC 5480 §2.1.1.1.
const OID_P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
/// 1.3.132.0.34, RFC 5480 §2.1.1.1.
const OID_P384: &[u8] = &[0x2b, 0x81, 4, 0, 34];
/// 1.3.101.112, RFC 8410 §3.
const OID_ED25519: &[u8] = &[0x2b, 0x65, 0x70];
/// Bytes of a secret at least: as long as the hash (RFC 7518 §3.2).
const MIN_SECRET: usize = 32;
/// Keys that one token is tried with, so that a large set without names bounds the work.
const MAX_TRIED: usize = 16;
