//! Keys of `auth`.

use super::Absent::{Default, Means, Required};
use super::{Key, Kind, Section};
use std::time::Duration;

pub(crate) static AUTH: Section = Section {
    name: "auth",
    title: "auth",
    doc: "What a client must show, of a frontend or a route: exactly one of these. Who does not \
          show it gets 401. See [access.md](access.md).",
    keys: &[
        Key::new(
            "basic",
            Kind::Table(&BASIC),
            Means("not asked for"),
            "A name and a password (RFC 7617).",
        ),
        Key::new(
            "jwt",
            Kind::Table(&JWT),
            Means("not asked for"),
            "A signed token (RFC 7519), as `Authorization: Bearer`.",
        ),
    ],
    example: "[frontend.web]\nlisten = \":80\"\nbackend = \"api\"\nauth = { basic = { users-file = \"users.htpasswd\" } }\n\n[[frontend.web.route]]\npath = \"/health\"\nbackend = \"api\"\nauth = false\n\n[backend.api]\nservers = [\"10.0.0.1:8080\"]\n",
};

pub(crate) static BASIC: Section = Section {
    name: "basic",
    title: "auth.basic",
    doc: "Names and passwords.",
    keys: &[
        Key::new(
            "users-file",
            Kind::Text("file"),
            Required,
            "The users, as `htpasswd -B` writes them: bcrypt (`$2y$`), or SHA-crypt (`$5$`, `$6$`). \
             Relative to the configuration file.",
        ),
        Key::new(
            "realm",
            Kind::Text("name"),
            Default("\"restricted\""),
            "What browsers show when they ask.",
        ),
    ],
    example: "",
};

pub(crate) static JWT: Section = Section {
    name: "jwt",
    title: "auth.jwt",
    doc: "Signed tokens. They must say when they end (`exp`).",
    keys: &[
        Key::new(
            "keys-file",
            Kind::Text("file"),
            Required,
            "The keys: a JSON Web Key Set (RFC 7517), or public keys in PEM. Relative to the \
             configuration file.",
        ),
        Key::new(
            "issuer",
            Kind::Text("issuer"),
            Means("anybody"),
            "Who must have issued it (`iss`).",
        ),
        Key::new(
            "audience",
            Kind::OneOrMany(&Kind::Text("audience")),
            Means("anybody"),
            "Whom it must be for (`aud`), any one of these.",
        ),
        Key::new(
            "algorithms",
            Kind::OneOrMany(&Kind::Text("algorithm")),
            Means("all with public keys"),
            "How it may be signed: `RS256`, `PS256`, `ES256`, their longer kin, `EdDSA`, or, if \
             written, `HS256`, `HS384`, `HS512`. A key is only ever used for the algorithms of its \
             kind.",
        ),
        Key::new(
            "clock-skew",
            Kind::Duration(Duration::ZERO, Duration::from_secs(3600)),
            Default("\"30s\""),
            "How far the clocks of the issuer and of this machine may differ.",
        ),
        Key::new(
            "headers",
            Kind::Map("HEADER", &Kind::Text("claim")),
            Means("none"),
            "Header fields of requests that say claims: `{ X-User = \"sub\", X-Roles = \
             \"realm_access.roles\" }`. Those that clients send are removed.",
        ),
        Key::new(
            "realm",
            Kind::Text("name"),
            Default("\"restricted\""),
            "What the challenge names.",
        ),
    ],
    example: "[frontend.web]\nlisten = \":80\"\nbackend = \"api\"\n\n[frontend.web.auth.jwt]\nkeys-file = \"keys.json\"\nissuer = \"https://id.example.com\"\naudience = \"api\"\nheaders = { X-User = \"sub\" }\n\n[backend.api]\nservers = [\"10.0.0.1:8080\"]\n",
};
