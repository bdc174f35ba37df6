//! Who may use the API, and how long and large a request may be.
//!
//! A browser is the danger on a loopback address: any page may send requests there, and a name of
//! its owner may be made to lead there (DNS rebinding). So over TCP the Host must be an IP address,
//! `localhost` or a listed name; a foreign Origin is refused; changes must be declared as JSON,
//! which no form can send and for which a script needs a permission that is never given.

use super::door::{self, Door};
use super::error::Refused;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HOST, ORIGIN, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use catamaran_core::model::Secret;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

/// Who may come in by a door.
#[derive(Clone, Debug)]
pub enum Access {
    /// Whoever may open the unix socket.
    Local,
    /// Whoever reaches the address and has the token, if there is one.
    Remote {
        /// What the client must show.
        token: Option<Secret>,
        /// Names under which clients know the address, beside `localhost` and IP addresses.
        names: Arc<[String]>,
    },
}

impl Access {
    /// The same for what anybody may see who reaches the address.
    pub(crate) fn without_token(&self) -> Self {
        match self {
            Self::Local => Self::Local,
            Self::Remote { names, .. } => Self::Remote {
                token: None,
                names: Arc::clone(names),
            },
        }
    }
}

/// The router behind the guard.
pub(crate) fn guarded(router: Router, access: Access) -> Router {
    router
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn(
            move |mut request: Request, next: Next| {
                request.extensions_mut().insert(access.clone());
                let refused = check(&access, request.method(), request.headers()).err();
                async move {
                    let door = request.extensions().get::<Door>().copied();
                    let asked = changes(request.method()).then(|| Asked::of(&request));
                    let mut answer = match refused {
                        Some(refused) => refused.into_response(),
                        None => door::within(door, in_time(next.run(request))).await,
                    };
                    if let Some(asked) = asked {
                        asked.log(door, answer.status());
                    }
                    // What it says is true of now only, and is what its type says.
                    let fields = answer.headers_mut();
                    fields.entry(CACHE_CONTROL).or_insert(NO_STORE);
                    fields.entry(X_CONTENT_TYPE_OPTIONS).or_insert(NO_SNIFF);
                    answer
                }
            },
        ))
}

/// What a request wanted changed, for the log.
struct Asked {
    method: Method,
    /// Without what follows the `?`, which may hold a key of a client's.
    path: String,
}

impl Asked {
    fn of(request: &Request) -> Self {
        Self {
            method: request.method().clone(),
            path: request.uri().path().chars().take(MAX_LOGGED).collect(),
        }
    }

    fn log(&self, door: Option<Door>, status: StatusCode) {
        let door = door.map_or_else(|| "unknown".to_owned(), |door| door.to_string());
        let is_stranger = is_of_stranger(status);
        let (method, path, status) = (&self.method, &self.path, status.as_u16());
        if is_stranger {
            // Who has not come in must not be able to fill the log.
            tracing::debug!(%door, %method, path, status, "change asked for by a stranger");
        } else {
            tracing::info!(%door, %method, path, status, "change asked for");
        }
    }
}

async fn in_time(answer: impl Future<Output = Response>) -> Response {
    match tokio::time::timeout(REQUEST_TIMEOUT, answer).await {
        Ok(answer) => answer,
        Err(_) => Refused::new(
            StatusCode::REQUEST_TIMEOUT,
            "timeout",
            format!("the request was not whole or not done within {REQUEST_TIMEOUT:?}"),
        )
        .into_response(),
    }
}

fn check(access: &Access, method: &Method, headers: &HeaderMap) -> Result<(), Refused> {
    if let Access::Remote { token, names } = access {
        let host = check_host(headers, names)?;
        check_origin(headers, host)?;
        if let Some(token) = token {
            check_token(headers, token)?;
        }
    } else if headers.contains_key(ORIGIN) {
        return Err(cross_origin());
    }
    // DELETE has no body, and of methods that no operation has the router knows better.
    let has_body = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
    if has_body && !is_json(headers) {
        return Err(Refused::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "not-json",
            "a change needs `Content-Type: application/json`",
        ));
    }
    Ok(())
}

/// Whether a request with this answer never came in: that of [`check`] to an unknown host, a page from
/// elsewhere, or without the token.
fn is_of_stranger(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::MISDIRECTED_REQUEST
    )
}

/// Whether a request of this method may change something.
pub(super) const fn changes(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Returns the Host if requests for it may be meant for us.
fn check_host<'a>(headers: &'a HeaderMap, names: &[String]) -> Result<&'a str, Refused> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().unwrap_or_default(),
        _ => "",
    };
    let name = without_port(host);
    let is_address = name.parse::<IpAddr>().is_ok()
        || name
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok());
    let is_known = name.eq_ignore_ascii_case("localhost")
        || names.iter().any(|known| known.eq_ignore_ascii_case(name));
    if is_address || is_known {
        return Ok(host);
    }
    Err(Refused::new(
        StatusCode::MISDIRECTED_REQUEST,
        "unknown-host",
        "the Host is neither an IP address nor a name listed under `[admin] names`",
    ))
}

fn check_origin(headers: &HeaderMap, host: &str) -> Result<(), Refused> {
    let Some(origin) = headers.get(ORIGIN) else {
        return Ok(());
    };
    let origin = origin.to_str().unwrap_or_default();
    let authority = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    match authority {
        Some(authority) if authority.eq_ignore_ascii_case(host) => Ok(()),
        _ => Err(cross_origin()),
    }
}

fn cross_origin() -> Refused {
    Refused::new(
        StatusCode::FORBIDDEN,
        "cross-origin",
        "requests of pages from elsewhere are refused",
    )
}

fn check_token(headers: &HeaderMap, token: &Secret) -> Result<(), Refused> {
    let shown = headers.get(AUTHORIZATION).map(|value| value.as_bytes());
    let shown = shown.and_then(|value| {
        let (scheme, rest) = value.split_at_checked(BEARER.len())?;
        scheme.eq_ignore_ascii_case(BEARER).then_some(rest)
    });
    if shown.is_some_and(|shown| token.is(shown)) {
        return Ok(());
    }
    Err(Refused::new(
        StatusCode::UNAUTHORIZED,
        "no-token",
        "the token is missing or wrong; send `Authorization: Bearer TOKEN` with what the token \
         file holds",
    ))
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).unwrap_or("");
    kind.trim().eq_ignore_ascii_case("application/json")
}

/// The host of an authority, brackets and all.
fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !host.ends_with(':') => {
            host
        }
        _ => authority,
    }
}

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const BEARER: &[u8] = b"Bearer ";
/// Bytes of a request's body: a configuration of 10,000 servers has one.
pub(crate) const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;
/// Time for a request's body and for the answer to be made.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(45);

/// Characters of a path in the log.
const MAX_LOGGED: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let fields = fields.iter();
        fields
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    fn remote(token: Option<&str>) -> Access {
        Access::Remote {
            token: token.map(Secret::new),
            names: Arc::from(["lb.example".to_owned()]),
        }
    }

    fn status(access: &Access, method: &Method, fields: &[(&'static str, &str)]) -> u16 {
        match check(access, method, &headers(fields)) {
            Ok(()) => 200,
            Err(refused) => refused.into_response().status().as_u16(),
        }
    }

    #[test]
    fn a_name_that_was_made_to_lead_here_is_refused() {
        let of = |host| status(&remote(None), &Method::GET, &[("host", host)]);
        for good in [
            "127.0.0.1:7900",
            "[::1]:7900",
            "[::1]",
            "10.0.0.1",
            "localhost:7900",
            "LB.example",
        ] {
            assert_eq!(of(good), 200, "{good}");
        }
        for bad in [
            "evil.example",
            "evil.example:7900",
            "",
            "127.0.0.1.evil.example",
        ] {
            assert_eq!(of(bad), 421, "{bad}");
        }
        assert_eq!(status(&remote(None), &Method::GET, &[]), 421);
    }

    #[test]
    fn a_page_from_elsewhere_is_refused_and_our_own_is_not() {
        let of = |origin| {
            let fields = [("host", "127.0.0.1:7900"), ("origin", origin)];
            status(&remote(None), &Method::GET, &fields)
        };
        assert_eq!(of("http://127.0.0.1:7900"), 200);
        for bad in [
            "http://evil.example",
            "null",
            "http://127.0.0.1:7901",
            "http://127.0.0.1:7900.evil.example",
        ] {
            assert_eq!(of(bad), 403, "{bad}");
        }
        let local = [("origin", "http://localhost")];
        assert_eq!(status(&Access::Local, &Method::GET, &local), 403);
    }

    #[test]
    fn only_the_whole_token_opens() {
        let of = |value| {
            let fields = [("host", "127.0.0.1"), ("authorization", value)];
            status(&remote(Some("secret-of-the-door")), &Method::GET, &fields)
        };
        assert_eq!(of("Bearer secret-of-the-door"), 200);
        assert_eq!(of("bearer secret-of-the-door"), 200);
        for bad in [
            "Bearer secret-of-the-doo",
            "Bearer secret-of-the-door2",
            "Bearer ",
            "Bearer",
            "Basic secret-of-the-door",
            "",
        ] {
            assert_eq!(of(bad), 401, "{bad}");
        }
    }

    #[test]
    fn who_is_turned_away_at_the_door_is_a_stranger_to_the_log() {
        let token = remote(Some("secret-of-the-door"));
        for (host, origin) in [
            ("evil.example", "http://evil.example"),
            ("127.0.0.1", "http://evil.example"),
            ("127.0.0.1", "http://127.0.0.1"),
        ] {
            let fields = [("host", host), ("origin", origin)];
            let status = StatusCode::from_u16(status(&token, &Method::POST, &fields)).unwrap();
            assert!(is_of_stranger(status), "{status}");
        }
        assert!(!is_of_stranger(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }

    #[test]
    fn a_change_must_say_that_it_is_json() {
        let of = |kind| status(&Access::Local, &Method::POST, &[("content-type", kind)]);
        assert_eq!(of("application/json"), 200);
        assert_eq!(of("application/json; charset=utf-8"), 200);
        for bad in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/jsonp",
        ] {
            assert_eq!(of(bad), 415, "{bad}");
        }
        assert_eq!(status(&Access::Local, &Method::POST, &[]), 415);
    }
}
