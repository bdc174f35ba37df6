//! Routes: which one a request takes, and what that makes of its host and path.
//!
//! [`RouteTable`] is compiled once per configuration and asked once per request. It decides with
//! the precedence of the Kubernetes Gateway API's `HTTPRoute`:
//!
//! 1. host: exact, then the longest wildcard, then routes without hosts. A host whose routes do
//!    not match gives way to the next, so an exact host hides nothing of a wildcard;
//! 2. path: exact, then the longest prefix;
//! 3. method given;
//! 4. most headers, 5. most query parameters,
//! 6. most cookies, 7. source given (these two are ours, hence last);
//! 8. the order written.
//!
//! # Paths are matched in one form only
//! A route that guards `/admin` must not be walked around by another spelling of it, so conditions
//! see a normalised copy (RFC 3986 §6.2.2); what is sent on stays as the client sent it.
//!
//! | sent | matched as | why |
//! | --- | --- | --- |
//! | `/%61dmin` | `/admin` | escaped unreserved characters mean themselves |
//! | `/a%2fb` | `/a%2Fb` | an escaped slash is data of its segment, never a separator |
//! | `//admin` | `/admin` | most servers merge slashes; done before dots are resolved |
//! | `/x/../admin`, `/x/%2e%2e/admin` | `/admin` | dot segments are resolved |
//! | `/../admin` | refused, [`BadPath`] | above the root there is nothing to mean |
//! | `/%zz`, `/a;b`, `/a\b` | as sent | nothing that servers agree on |
//!
//! The paths of routes are normalised the same way. A table none of whose routes asks about the
//! path does not look at it and refuses nothing. `OPTIONS *` matches only conditions without path.

mod by_path;
pub mod cookie;
mod draw;
pub mod forwarded;
pub mod path;
pub mod query;
pub mod rewrite;
#[cfg(test)]
mod tests;

pub use draw::draw;
pub use path::BadPath;

use crate::model::{HostPattern, IpNet, PathMatch, Route, RouteMatch, ValueMatch};
use by_path::ByPath;
use foldhash::fast::FixedState;
use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;

/// What a route asks of a request.
pub trait RequestView {
    /// The method, as sent.
    fn method(&self) -> &[u8];
    /// The host without its port, in any case; empty if there is none.
    fn host(&self) -> &[u8];
    /// The path as sent, without the query; `*` for `OPTIONS *`.
    fn path(&self) -> &[u8];
    /// What follows the first `?`, if there is one.
    fn query(&self) -> Option<&[u8]>;
    /// The value of the first field of this name, which is given in lower case.
    fn header(&self, name: &str) -> Option<&[u8]>;
    /// The client's address.
    fn source(&self) -> IpAddr;

    /// The value of the first cookie of this name.
    ///
    /// Looks in the one `Cookie` field that RFC 6265 §5.4 lets a client send; requests that may
    /// hold several (HTTP/2 splits the field) have their own implementation.
    fn cookie(&self, name: &str) -> Option<&[u8]> {
        cookie::find(self.header("cookie")?, name)
    }
}

/// The route that a request takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found<'t> {
    /// Index in the slice that the table was made of.
    pub route: usize,
    /// What prefix modifiers replace: the path of the condition that matched, normalised and, if
    /// it is a prefix, without a final slash; empty for a condition without path.
    pub prefix: &'t str,
}

/// The routes of a frontend, compiled for lookup.
///
/// Costs nothing without routes; hosts are found by hash, and so are the paths of a host that has many
/// conditions. They lie in order of precedence, so that the first to match wins.
#[derive(Debug, Default)]
pub struct RouteTable {
    /// In order of precedence, hosts apart.
    conditions: Box<[Condition]>,
    /// Conditions of each exact host, as ascending indices into `conditions`.
    exact: ByHost,
    /// The same for wildcards, keyed by what follows the `*` (`.example.com`).
    wildcard: ByHost,
    /// The same for routes without hosts.
    any: ByPath,
    /// Whether any condition asks about the path.
    has_paths: bool,
}

type ByHost = HashMap<Box<[u8]>, ByPath, FixedState>;

/// Longest host that is looked up, in bytes; DNS names end at 253 (RFC 1035 §2.3.4).
const MAX_HOST: usize = 255;

impl RouteTable {
    /// Compiles `routes`.
    ///
    /// # Panics
    /// If there are more than 2³² conditions.
    #[must_use]
    pub fn new(routes: &[Route]) -> Self {
        let everything = [RouteMatch::default()];
        let mut conditions: Vec<Condition> = Vec::new();
        for (index, route) in routes.iter().enumerate() {
            let matches = match route.matches.as_slice() {
                [] => &everything,
                written => written,
            };
            conditions.extend(matches.iter().map(|m| Condition::new(index, m)));
        }
        // Stable, so that the order written decides between equals.
        conditions.sort_by_key(Condition::rank);

        let mut exact: HashMap<&str, Vec<u32>> = HashMap::new();
        let mut wildcard: HashMap<&str, Vec<u32>> = HashMap::new();
        let mut any = Vec::new();
        for (index, condition) in conditions.iter().enumerate() {
            let index = u32::try_from(index).expect("a configuration has under 2^32 conditions");
            let hosts = &routes[condition.route].hosts;
            if hosts.is_empty() {
                any.push(index);
            }
            for host in hosts {
                match host {
                    HostPattern::Exact(host) => exact.entry(host).or_default().push(index),
                    HostPattern::Wildcard(tail) => wildcard.entry(tail).or_default().push(index),
                }
            }
        }
        Self {
            has_paths: conditions.iter().any(|c| c.path != PathCondition::Any),
            exact: by_host(exact, &conditions),
            wildcard: by_host(wildcard, &conditions),
            any: ByPath::new(any, &conditions),
            conditions: conditions.into(),
        }
    }

    /// Returns the route that `request` takes; `None` leaves it to the frontend's own backend.
    ///
    /// # Errors
    /// [`BadPath`] if the path climbs above the root, see the module's table.
    pub fn find<R: RequestView>(&self, request: &R) -> Result<Option<Found<'_>>, BadPath> {
        if self.conditions.is_empty() {
            return Ok(None);
        }
        let path = if self.has_paths {
            path::normal(request.path())?
        } else {
            Cow::Borrowed(request.path())
        };
        if !(self.exact.is_empty() && self.wildcard.is_empty())
            && let Some(found) = self.find_by_host(request, &path)
        {
            return Ok(Some(found));
        }
        Ok(self.first_match(&self.any, request, &path))
    }

    fn find_by_host<R: RequestView>(&self, request: &R, path: &[u8]) -> Option<Found<'_>> {
        let host = request.host();
        // `example.com.` is the same name, written absolutely.
        let host = host.strip_suffix(b".").unwrap_or(host);
        let mut lower = [0; MAX_HOST];
        let lower = lower.get_mut(..host.len())?;
        lower.copy_from_slice(host);
        lower.make_ascii_lowercase();
        let host = &*lower;

        let exact = self.exact.get(host);
        if let Some(found) = exact.and_then(|list| self.first_match(list, request, path)) {
            return Some(found);
        }
        if self.wildcard.is_empty() {
            return None;
        }
        // From the left, so that the longest comes first; at least one character before the dot.
        (1..host.len())
            .filter(|&at| host[at] == b'.')
            .filter_map(|dot| self.wildcard.get(&host[dot..]))
            .find_map(|list| self.first_match(list, request, path))
    }

    fn first_match<R: RequestView>(
        &self,
        list: &ByPath,
        request: &R,
        path: &[u8],
    ) -> Option<Found<'_>> {
        let holds = |index: u32| self.conditions[index as usize].holds(request, path);
        let condition = &self.conditions[list.find(path, holds)? as usize];
        Some(Found {
            route: condition.route,
            prefix: condition.path.as_str(),
        })
    }
}

fn by_host(lists: HashMap<&str, Vec<u32>>, conditions: &[Condition]) -> ByHost {
    let each = lists.into_iter();
    each.map(|(host, list)| (host.as_bytes().into(), ByPath::new(list, conditions)))
        .collect()
}

/// One [`RouteMatch`], compiled.
#[derive(Debug)]
struct Condition {
    /// Index of its route.
    route: usize,
    path: PathCondition,
    method: Option<Box<[u8]>>,
    headers: Box<[ValueMatch]>,
    query: Box<[ValueMatch]>,
    cookies: Box<[ValueMatch]>,
    source: Box<[IpNet]>,
}

#[derive(Debug, PartialEq)]
enum PathCondition {
    Any,
    /// Normalised.
    Exact(Box<str>),
    /// Normalised, without a final slash; empty for `/`.
    Prefix(Box<str>),
}

impl Condition {
    fn new(route: usize, written: &RouteMatch) -> Self {
        Self {
            route,
            path: PathCondition::new(written.path.as_ref()),
            method: written.method.as_ref().map(|m| Box::from(m.as_bytes())),
            headers: written.headers.as_slice().into(),
            query: written.query.as_slice().into(),
            cookies: written.cookies.as_slice().into(),
            source: written.source.as_slice().into(),
        }
    }

    /// The sort key that puts the higher precedence first.
    fn rank(&self) -> impl Ord + use<> {
        let path = match &self.path {
            PathCondition::Exact(_) => (0, Reverse(0)),
            PathCondition::Prefix(prefix) => (1, Reverse(prefix.len())),
            PathCondition::Any => (1, Reverse(0)),
        };
        (
            path,
            Reverse(self.method.is_some()),
            Reverse(self.headers.len()),
            Reverse(self.query.len()),
            Reverse(self.cookies.len()),
            Reverse(!self.source.is_empty()),
        )
    }

    fn holds<R: RequestView>(&self, request: &R, path: &[u8]) -> bool {
        let method = self.method.as_deref();
        self.path.holds(path)
            && method.is_none_or(|method| method == request.method())
            && all_hold(&self.headers, |name| request.header(name))
            && all_hold(&self.cookies, |name| request.cookie(name))
            && self.query_holds(request)
            && (self.source.is_empty() || self.source.iter().any(|n| n.contains(request.source())))
    }

    fn query_holds<R: RequestView>(&self, request: &R) -> bool {
        self.query.iter().all(|wanted| {
            let raw = request.query().and_then(|q| query::raw(q, &wanted.name));
            match (raw, &wanted.value) {
                (Some(raw), Some(value)) => query::decodes_to(raw, value.as_bytes()),
                (found, None) => found.is_some(),
                (None, Some(_)) => false,
            }
        })
    }
}

fn all_hold<'r>(wanted: &[ValueMatch], find: impl Fn(&str) -> Option<&'r [u8]>) -> bool {
    wanted.iter().all(|wanted| {
        find(&wanted.name).is_some_and(|found| {
            let value = wanted.value.as_deref();
            value.is_none_or(|value| value.as_bytes() == found)
        })
    })
}

impl PathCondition {
    fn new(written: Option<&PathMatch>) -> Self {
        match written {
            None => Self::Any,
            Some(PathMatch::Exact(path)) => Self::Exact(normal_text(path).into()),
            Some(PathMatch::Prefix(path)) => {
                Self::Prefix(normal_text(path).trim_end_matches('/').into())
            }
        }
    }

    fn holds(&self, path: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact.as_bytes() == path,
            Self::Prefix(prefix) => path::strip_prefix(path, prefix).is_some(),
        }
    }

    fn as_str(&self) -> &str {
        match self {
            Self::Any => "",
            Self::Exact(path) | Self::Prefix(path) => path,
        }
    }
}

/// Normalises the path of a route; one that climbs above the root stays and never matches.
fn normal_text(path: &str) -> String {
    match path::normal(path.as_bytes()) {
        Ok(normal) => String::from_utf8_lossy(&normal).into_owned(),
        Err(BadPath) => path.to_owned(),
    }
}
