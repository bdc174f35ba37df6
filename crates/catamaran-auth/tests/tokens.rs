//! Tokens made by openssl(1): whom they are taken from, and what is refused.
#![expect(clippy::unwrap_used, reason = "what stops a test fails it")]

use catamaran_auth::{Algorithm, Claims, Expected, Keys, KeysError, TokenError};

const RSA_KEY: &str = "\
-----BEGIN PUBLIC KEY-----\n\
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA1prgNY+e/wxkZIKq/Svt\n\
uj01EhjeSqsfQblHMC8e+//zC5HNheyOlgTQ2Lg1PHXIu2IB/j0VysQmDovNPCDH\n\
vcPUzu82iDPwNi9xEB+Rzk3N1tfr5k7826dH95mGAYfpGlC5mtsPcI41s2k8/BYm\n\
QORqBeylQhRuD/5xNsj/faibFqhCSvlgG7CfWa5ubk5NM3R+ezL/UjJl87uyCzEQ\n\
DVULjQNERtjddQJyOVobX8UyMs5xPzxg69g3b439pQH5T/r7KcJ1G8FvpE69l8DC\n\
H6pPa72vLa6uEk4kR1/oETUlA9SBH21YxhKOZP0uHRq7rau/sjrhuWthuEsGAZk2\n\
xwIDAQAB\n\
-----END PUBLIC KEY-----\n";
const EC_KEY: &str = "\
-----BEGIN PUBLIC KEY-----\n\
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEPR5a4s7UYLTpnMntmhoiprmHONfH\n\
zNtkY0JLj5nAIGezGYhZbMzh8FvECH9PoTSAiCRiK/g3HICDxVEKzcFp6A==\n\
-----END PUBLIC KEY-----\n";
const ED_KEY: &str = "\
-----BEGIN PUBLIC KEY-----\n\
MCowBQYDK2VwAyEAmbhoCMgICSiepABJ/SrxnDnwvUfOZNoK4o6eknG36cE=\n\
-----END PUBLIC KEY-----\n";
const RS256: &str = concat!(
    "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiL",
    "CJhdWQiOlsiYXBpIiwid2ViIl0sImV4cCI6MjAwMCwibmJmIjoxMDAwLCJyZWFsbV9hY2Nlc3MiOnsicm9sZXMiOls",
    "iYWRtaW4iLCJkZXYiXX19.0bO_MJFN0kf6fLWrd0nOXFv0uBc-ZbG_ssNKW1TTGJXmKhc7ELFunR8Vl3G6BSk1Q_tc",
    "Dkav9CaL2XYmiwsydG-vK_kvzhvyAUOxekmATm-Vh7a5QDWv3Zbm2S-1dKY8QUMhofnbt50pgP3aIMF5OJ8OBlQLPO",
    "o_Mn2pGTeodYBZic9nzPKWA9v6_kWkVv-hs3KC-KAkHFdPR9YSPRF_2OTMVJNIysiQhtSZRBolG8Es-2E0scCRly_X",
    "fLRpUtjOV0SuIdhG5F4edd0kRz9TP0NGsDzYtomXZI-GxQsUoPNdjvkV6OBpF_M5oX23F4rsNh1xJN7G5znCrQa3X6",
    "vRfQ",
);
const PS256: &str = concat!(
    "eyJhbGciOiJQUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiL",
    "CJhdWQiOlsiYXBpIiwid2ViIl0sImV4cCI6MjAwMCwibmJmIjoxMDAwLCJyZWFsbV9hY2Nlc3MiOnsicm9sZXMiOls",
    "iYWRtaW4iLCJkZXYiXX19.rOyI5GeAwGOdYC9KyAMbLo1UTfQInr_LAzY_-PKny2KgiWnPTYz5U1rZss5fBcDeg6t_",
    "PjkVxUPYGYGwvo-_wE5D4JGRdmAknLIDMm5qBGL6IuWW8V4aFJ-kU0E1kCOnyj5zD3ChpBUmCFJg9WBNiWSbDIF5Fm",
    "1YCjHj4LtlFWh8p1bovI41i4UoQf9C2QGtWXRn82L00OXfzhOBiI69QpGLSC4Px1jkRY-3mKSQ7kBSc5sJCsS5VpHP",
    "iQhiam-cRRIbKTAsWwBQ_RQFnjmaTFu_LGSwWNQW6BC16adJDETatAGdEshTrc6LXKu1ypn-P6lxQrceNxiCL-Aw3b",
    "yvEw",
);
const ES256: &str = concat!(
    "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiL",
    "CJhdWQiOlsiYXBpIiwid2ViIl0sImV4cCI6MjAwMCwibmJmIjoxMDAwLCJyZWFsbV9hY2Nlc3MiOnsicm9sZXMiOls",
    "iYWRtaW4iLCJkZXYiXX19.OYdAi_lFHbMC6-dFa1NXr8mGMjvO4N0gdeKFWEedSI0crqc7b7Vazk-IPWUu_59ifhL2",
    "JTpmlnLCFpBvddVLtg",
);
const ED_DSA: &str = concat!(
    "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiL",
    "CJhdWQiOlsiYXBpIiwid2ViIl0sImV4cCI6MjAwMCwibmJmIjoxMDAwLCJyZWFsbV9hY2Nlc3MiOnsicm9sZXMiOls",
    "iYWRtaW4iLCJkZXYiXX19.lAbzgrq5tE0k8ezpbaHINZW2jpWFv9PPtOq32-L-9v-rLM7FvvfjBHXJtc7wQ7JAAkNE",
    "LBUL_Z_mb0PbmkSAAA",
);
/// An HMAC by the public key of RSA as it stands in its file: the classic confusion.
const CONFUSED: &str = concat!(
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJhZGEiLCJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiL",
    "CJhdWQiOlsiYXBpIiwid2ViIl0sImV4cCI6MjAwMCwibmJmIjoxMDAwLCJyZWFsbV9hY2Nlc3MiOnsicm9sZXMiOls",
    "iYWRtaW4iLCJkZXYiXX19.1Cl2QC4N3uw6SMVd3jgyoMY-gaTF0gDq0fpkiwNHhSY",
);

fn expected(algorithms: &[&str]) -> Expected {
    Expected {
        issuer: Some("https://id.example".to_owned()),
        audience: vec!["web".to_owned()],
        algorithms: algorithms
            .iter()
            .map(|name| Algorithm::named(name).unwrap())
            .collect(),
        skew: 30,
    }
}

fn judge(token: &str, key: &str, algorithms: &[&str]) -> Result<Claims, TokenError> {
    let keys = Keys::parse(key.as_bytes()).unwrap();
    Claims::verify(token.as_bytes(), &keys, &expected(algorithms), 1500)
}

#[test]
fn a_token_is_taken_from_whoever_holds_the_key() {
    for (token, key, algorithm) in [
        (RS256, RSA_KEY, "RS256"),
        (PS256, RSA_KEY, "PS256"),
        (ES256, EC_KEY, "ES256"),
        (ED_DSA, ED_KEY, "EdDSA"),
    ] {
        let claims = judge(token, key, &[algorithm]).unwrap();
        assert_eq!(claims.text("sub").unwrap(), "ada");
        assert_eq!(claims.text("realm_access.roles").unwrap(), "admin,dev");
        assert_eq!(claims.text("exp").unwrap(), "2000");
        assert_eq!(claims.text("realm_access"), None);
        let other = judge(token, key, &["ES384"]).unwrap_err();
        assert_eq!(other, TokenError::Algorithm);
    }
}

#[test]
fn a_public_key_is_never_a_secret() {
    let confused = judge(CONFUSED, RSA_KEY, &["RS256", "HS256"]).unwrap_err();
    assert_eq!(confused, TokenError::Signature);
}

/// `text` as a part of a token.
fn part(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
}

#[test]
fn a_token_without_a_signature_is_none() {
    let (_, rest) = ES256.split_once('.').unwrap();
    let (payload, _) = rest.split_once('.').unwrap();
    for algorithm in ["none", "None", "NONE", ""] {
        let header = part(&format!("{{\"alg\":\"{algorithm}\"}}"));
        let unsigned = judge(&format!("{header}.{payload}."), EC_KEY, &["ES256"]);
        assert_eq!(unsigned.unwrap_err(), TokenError::Algorithm);
    }
    let critical = part("{\"alg\":\"ES256\",\"crit\":[\"x\"]}");
    let critical = judge(&format!("{critical}.{payload}.AA"), EC_KEY, &["ES256"]);
    assert_eq!(critical.unwrap_err(), TokenError::Algorithm);
}

#[test]
fn what_was_changed_is_refused() {
    let (header, rest) = ES256.split_once('.').unwrap();
    let (_, signature) = rest.split_once('.').unwrap();
    let payload = part("{\"sub\":\"root\",\"exp\":9999}");
    let forged = judge(
        &format!("{header}.{payload}.{signature}"),
        EC_KEY,
        &["ES256"],
    );
    assert_eq!(forged.unwrap_err(), TokenError::Signature);
    for text in ["", ".", "..", "a.b", "a.b.c", "\u{e4}.b.c", "e30.e30.e30"] {
        assert!(judge(text, EC_KEY, &["ES256"]).is_err(), "{text}");
    }
}

#[test]
fn a_genuine_token_must_be_of_this_time_for_us_and_from_the_right_issuer() {
    let keys = Keys::parse(EC_KEY.as_bytes()).unwrap();
    let judge = |expected: &Expected, now| {
        let judged = Claims::verify(ES256.as_bytes(), &keys, expected, now);
        judged.map(drop)
    };
    let good = expected(&["ES256"]);
    assert_eq!(judge(&good, 2029), Ok(()));
    assert_eq!(judge(&good, 2030), Err(TokenError::Expired));
    assert_eq!(judge(&good, 970), Ok(()));
    assert_eq!(judge(&good, 969), Err(TokenError::TooEarly));
    let mut other = good.clone();
    other.issuer = Some("https://other.example".to_owned());
    assert_eq!(judge(&other, 1500), Err(TokenError::Issuer));
    other = good;
    other.audience = vec!["shop".to_owned()];
    assert_eq!(judge(&other, 1500), Err(TokenError::Audience));
    other.audience.clear();
    assert_eq!(judge(&other, 1500), Ok(()));
}

#[test]
fn a_shared_secret_is_taken_from_a_key_set_only_and_by_its_name() {
    use base64::Engine as _;
    let secret = "0123456789abcdef0123456789abcdef";
    let set = |id: &str| {
        let key = part(secret);
        format!("{{\"keys\":[{{\"kty\":\"oct\",\"kid\":\"{id}\",\"k\":\"{key}\"}}]}}")
    };
    let header = part("{\"alg\":\"HS256\",\"kid\":\"one\"}");
    let claims = "{\"iss\":\"https://id.example\",\"aud\":\"web\",\"exp\":2000}";
    let message = format!("{header}.{}", part(claims));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.as_bytes());
    let tag = ring::hmac::sign(&key, message.as_bytes());
    let tag = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(tag);
    let token = format!("{message}.{tag}");
    assert!(judge(&token, &set("one"), &["HS256"]).is_ok());
    let other = judge(&token, &set("two"), &["HS256"]).unwrap_err();
    assert_eq!(other, TokenError::Signature);
}

#[test]
fn files_without_a_usable_key_are_refused() {
    let parse = |text: &str| Keys::parse(text.as_bytes()).map(drop);
    assert_eq!(parse("secret"), Err(KeysError::Format));
    assert_eq!(parse("{\"keys\":[]}"), Err(KeysError::None));
    let short = "{\"keys\":[{\"kty\":\"oct\",\"k\":\"c2hvcnQ\"}]}";
    assert_eq!(parse(short), Err(KeysError::None));
    let private = "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n";
    assert_eq!(parse(private), Err(KeysError::Private));
    assert!(!format!("{:?}", Keys::parse(EC_KEY.as_bytes()).unwrap()).contains("MF"));
}
