//! Routes: which requests go where, and what is changed on the way.
//!
//! Names and semantics are those of the Kubernetes Gateway API's `HTTPRoute`, so that a controller
//! can map one to one.

use super::{Access, BackendId, Denial, IpNet, MapId, Name, RateLimit, RouteAuth};
use std::sync::Arc;
use std::time::Duration;

/// What to do with the requests that match.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Label of metrics and logs: written, or `route-N` counted from 1.
    pub name: Name,
    /// Hosts it serves; empty serves all. Matched before `matches`.
    pub hosts: Vec<HostPattern>,
    /// Taken if any one matches; empty takes everything.
    pub matches: Vec<RouteMatch>,
    /// Changes to the request's header.
    pub request_headers: HeaderModifier,
    /// Changes to the response's header.
    pub response_headers: HeaderModifier,
    /// Changes to host and path of the request.
    pub rewrite: Option<UrlRewrite>,
    /// Copies of requests; their responses are thrown away.
    pub mirrors: Vec<Mirror>,
    /// Where the request goes.
    pub action: Action,
    /// Time for the whole exchange up to the response's head, every try included.
    pub timeout: Option<Duration>,
    /// What may be sent again.
    pub retry: RouteRetry,
    /// Rate limit of this route, besides the frontend's.
    pub rate_limit: Option<RateLimit>,
    /// Who may come by this route, besides what the frontend says.
    pub access: Access,
    /// What clients must show.
    pub auth: RouteAuth,
}

/// A host that a route serves; compared without case and port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This host; lower case.
    Exact(String),
    /// Any host that ends in this, one label or more before it (`*.example.com` holds
    /// `.example.com`, lower case).
    Wildcard(String),
}

/// Conditions that must all hold.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct RouteMatch {
    /// The path, without the query.
    pub path: Option<PathMatch>,
    /// The method, upper case.
    pub method: Option<String>,
    /// Header fields; names in lower case.
    pub headers: Vec<ValueMatch>,
    /// Query parameters, percent-decoded; the first of a name counts.
    pub query: Vec<ValueMatch>,
    /// Cookies.
    pub cookies: Vec<ValueMatch>,
    /// Client networks, one of which must hold the client; empty is any.
    pub source: Vec<IpNet>,
}

/// A condition on the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// Whole segments from the start: `/api` takes `/api`, `/api/` and `/api/x`, not `/apix`.
    Prefix(String),
}

/// A condition on a named value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueMatch {
    /// Name of the header (lower case), parameter or cookie.
    pub name: String,
    /// The value it must have; `None` only asks that it is there.
    pub value: Option<String>,
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// To a server of this backend.
    Backend(BackendId),
    /// To one of several, drawn by weight.
    Weighted(Vec<WeightedBackend>),
    /// To the backend that a map says.
    Mapped(Mapped),
    /// Nowhere: it is refused.
    Refuse(Denial),
    /// Back to the client, elsewhere.
    Redirect(Redirect),
    /// Back to the client, with a fixed answer.
    Respond(FixedResponse),
}

/// One of several backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WeightedBackend {
    /// The backend.
    pub backend: BackendId,
    /// Its share; the sum is above zero.
    pub weight: u32,
}

/// Where a map leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// The map.
    pub map: MapId,
    /// Where goes what is not in it; `None` gets 404.
    pub default: Option<BackendId>,
}

/// A redirect; what is `None` stays as the request has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// Host of the new location.
    pub host: Option<String>,
    /// Port of the new location; the scheme's own is left out.
    pub port: Option<u16>,
    /// Path of the new location.
    pub path: Option<PathModifier>,
    /// 301, 302, 303, 307 or 308. Default 302.
    pub status: u16,
}

/// A fixed answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedResponse {
    /// 200 to 599.
    pub status: u16,
    /// Value of `Content-Type`.
    pub content_type: String,
    /// The body.
    pub body: Arc<[u8]>,
}

/// Changes to host and path of a request.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct UrlRewrite {
    /// New value of `Host`.
    pub host: Option<String>,
    /// New path.
    pub path: Option<PathModifier>,
}

/// A new path; the query stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathModifier {
    /// The whole path is replaced.
    Full(String),
    /// The prefix that the route matched is replaced.
    Prefix(String),
}

/// Changes to header fields: removed, then set, then added.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct HeaderModifier {
    /// Replaces every field of that name.
    pub set: Vec<(String, String)>,
    /// Appended to what is there.
    pub add: Vec<(String, String)>,
    /// Names, lower case, whose fields are dropped.
    pub remove: Vec<String>,
}

/// A copy of requests to another backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// Who gets the copy.
    pub backend: BackendId,
    /// Share of requests that are copied, in percent. Default 100.
    pub percent: u8,
}

/// What a route lets be sent again.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct RouteRetry {
    /// Requests with this header (lower case) count as idempotent.
    pub idempotency_header: Option<String>,
    /// Tries after the first; `None` is the backend's.
    pub max_tries: Option<u32>,
}

impl HeaderModifier {
    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }
}

impl Redirect {
    /// A redirect that changes nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            scheme: None,
            host: None,
            port: None,
            path: None,
            status: 302,
        }
    }
}

impl Default for Redirect {
    fn default() -> Self {
        Self::new()
    }
}

impl Route {
    /// A route without conditions or changes.
    #[must_use]
    pub fn new(name: Name, action: Action) -> Self {
        Self {
            name,
            hosts: Vec::new(),
            matches: Vec::new(),
            request_headers: HeaderModifier::default(),
            response_headers: HeaderModifier::default(),
            rewrite: None,
            mirrors: Vec::new(),
            action,
            timeout: None,
            retry: RouteRetry::default(),
            rate_limit: None,
            access: Access::default(),
            auth: RouteAuth::default(),
        }
    }
}
