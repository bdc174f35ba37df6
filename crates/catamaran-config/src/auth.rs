//! Who clients must show that they are: `auth`.

use crate::error::Place;
use crate::headers;
use crate::read::{Fields, Node, set};
use crate::reference;
use catamaran_auth::{Algorithm, Keys, Users};
use catamaran_core::model::{Auth, BasicAuth, JwtAuth, RouteAuth, Secret};
use catamaran_core::nearest::remedy;
use std::path::Path;
use std::time::Duration;

/// Reads `auth` of a route: a table, or `false`.
pub(crate) fn of_route(node: Node<'_>) -> Option<RouteAuth> {
    match node.as_bool() {
        Some(false) => Some(RouteAuth::Off),
        Some(true) => {
            node.mismatch("a table (`{ … }`), or `false`");
            None
        }
        None => auth(node).map(RouteAuth::Own),
    }
}

/// Reads `auth`: exactly one of `basic` and `jwt`.
pub(crate) fn auth(node: Node<'_>) -> Option<Auth> {
    let fields = node.fields(&reference::AUTH)?;
    match (fields.node("basic"), fields.node("jwt")) {
        (Some(node), None) => basic(node).map(Auth::Basic),
        (None, Some(node)) => jwt(node).map(Auth::Jwt),
        (Some(_), Some(jwt)) => {
            jwt.error("`auth` has both `basic` and `jwt`; remove one");
            None
        }
        (None, None) => {
            if !fields.has_unknown() {
                fields.error(
                    "`auth` does not say what to show; add `basic = { users-file = \"…\" }` or \
                     `jwt = { keys-file = \"…\" }`",
                );
            }
            None
        }
    }
}

fn basic(node: Node<'_>) -> Option<BasicAuth> {
    let fields = node.fields(&reference::BASIC)?;
    let realm = realm(fields);
    let file = fields.required("users-file", "\"users.htpasswd\"")?;
    let (path, users) = secret_file(file)?;
    if let Err((line, error)) = Users::parse(&users) {
        let place = Place { line, column: 1 };
        let reader = file.reader();
        reader.error_in(Path::new(&path), place, error.to_string());
        return None;
    }
    Some(BasicAuth {
        realm: realm?,
        users: Secret::new(&users),
    })
}

fn jwt(node: Node<'_>) -> Option<JwtAuth> {
    let fields = node.fields(&reference::JWT)?;
    let realm = realm(fields);
    let text = |node: Node<'_>| node.text("a string");
    let audience = fields.node("audience").map(|node| node.one_or_many());
    let audience = audience.unwrap_or_default();
    let algorithms = fields.node("algorithms").map(|node| node.one_or_many());
    let algorithms = match algorithms {
        Some(written) => written.into_iter().filter_map(algorithm).collect(),
        None => PUBLIC.map(str::to_owned).to_vec(),
    };
    let mut skew = Duration::from_secs(30);
    set(&mut skew, fields.duration("clock-skew"));
    let entries = fields.node("headers").and_then(|node| node.entries());
    let mut claims = Vec::new();
    for entry in entries.unwrap_or_default() {
        if let Some(problem) = headers::name_problem(entry.name) {
            entry.node.reader().error(entry.at, problem);
        } else if let Some(problem) = headers::framing(entry.name) {
            entry.node.reader().error(entry.at, problem);
        }
        claims.extend(text(entry.node).map(|claim| (entry.name.to_owned(), claim)));
    }
    let file = fields.required("keys-file", "\"keys.json\"")?;
    let (path, keys) = secret_file(file)?;
    if let Err(error) = Keys::parse(keys.as_bytes()) {
        file.error(format!("`{path}` holds {error}"));
        return None;
    }
    Some(JwtAuth {
        realm: realm?,
        issuer: fields.node("issuer").and_then(text),
        audience: audience.into_iter().filter_map(text).collect(),
        algorithms,
        skew,
        keys: Secret::new(&keys),
        headers: claims,
    })
}

fn realm(fields: Fields<'_>) -> Option<String> {
    let Some(node) = fields.node("realm") else {
        return Some("restricted".to_owned());
    };
    let realm = node.text("a name (a string)")?;
    if realm.contains(['"', '\\']) || realm.chars().any(char::is_control) || !realm.is_ascii() {
        node.error("`realm` must be plain ASCII without `\"` and `\\`");
        return None;
    }
    Some(realm)
}

fn algorithm(node: Node<'_>) -> Option<String> {
    let name = node.text("an algorithm such as `\"RS256\"`")?;
    if Algorithm::named(&name).is_none() {
        let names = Algorithm::ALL.map(|(name, _)| name);
        let remedy = remedy(&name, &names);
        node.error(format!("unknown algorithm `{name}`; {remedy}"));
        return None;
    }
    Some(name)
}

/// The name of a file and its text, which no message quotes.
fn secret_file(node: Node<'_>) -> Option<(String, String)> {
    let path = node.text("a file (a string)")?;
    let read = node.reader().read_file(Path::new(&path));
    let bytes = read.map_err(|source| {
        let path = Path::new(&path);
        node.error(node.reader().unreadable(path, &source, "write the file"));
    });
    let bytes = bytes.ok().filter(|bytes| {
        let fits = bytes.len() <= MAX_BYTES;
        if !fits {
            node.error(format!("`{path}` has more than {MAX_BYTES} bytes"));
        }
        fits
    })?;
    let text = String::from_utf8(bytes);
    let text =
        text.map_err(|_| node.error(format!("`{path}` is not UTF-8; save it as UTF-8 text")));
    Some((path, text.ok()?))
}

/// The algorithms whose keys may be known to everybody: allowed unless others are written.
const PUBLIC: [&str; 9] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
];
/// Bytes of a file of users or keys.
const MAX_BYTES: usize = 4 << 20;
