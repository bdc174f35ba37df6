//! What a route does with the requests it takes.

use crate::access;
use crate::address::is_host;
use crate::backend::Backends;
use crate::files::Files;
use crate::headers;
use crate::read::{Fields, Node, set};
use crate::reference;
use crate::route::path;
use crate::syntax::is_field_value;
use catamaran_core::model::{
    Action, FixedResponse, Mapped, Mirror, PathModifier, Redirect, RouteRetry, UrlRewrite,
    WeightedBackend,
};
use std::sync::Arc;

/// Whether the prefix that a route matched can be replaced: not if it matches whole paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PrefixUse {
    /// Every match has a prefix, which is `/` where none is written.
    Allowed,
    /// Some match has an exact path.
    Refused,
}

/// Reads where requests go: exactly one of `backend`, `backends`, `map`, `refuse`, `redirect` and
/// `respond`.
pub(crate) fn action<'a>(
    fields: Fields<'a>,
    backends: &Backends<'a>,
    files: &Files<'a>,
    prefixes: PrefixUse,
) -> Option<Action> {
    let keys = [
        "backend", "backends", "map", "refuse", "redirect", "respond",
    ];
    let written: Vec<&'static str> = keys
        .into_iter()
        .filter(|key| fields.node(key).is_some())
        .collect();
    match written.as_slice() {
        [] if !fields.has_unknown() => fields.error(
            "the route does nothing; add one of `backend`, `backends`, `map`, `refuse`, \
             `redirect`, `respond`",
        ),
        [] | [_] => {}
        [kept, others @ ..] => {
            for at in others.iter().filter_map(|key| fields.key_at(key)) {
                let message = format!("the route already has `{kept}`; remove one of them");
                fields.reader().error(at, message);
            }
        }
    }
    // All that are written are read, so that their own mistakes are told too.
    let backend = fields
        .node("backend")
        .and_then(|node| backends.resolve(node));
    let weighted = fields
        .node("backends")
        .and_then(|node| weighted(node, backends));
    let mapped = fields
        .node("map")
        .and_then(|node| mapped(node, backends, files));
    let refused = fields.node("refuse").and_then(access::denial);
    let redirect = fields
        .node("redirect")
        .and_then(|node| redirect(node, prefixes));
    let respond = fields.node("respond").and_then(respond);
    backend
        .map(Action::Backend)
        .or_else(|| weighted.map(Action::Weighted))
        .or_else(|| mapped.map(Action::Mapped))
        .or_else(|| refused.map(Action::Refuse))
        .or_else(|| redirect.map(Action::Redirect))
        .or_else(|| respond.map(Action::Respond))
}

fn weighted<'a>(node: Node<'a>, backends: &Backends<'a>) -> Option<Vec<WeightedBackend>> {
    let entries = node.entries()?;
    let mut all = Vec::with_capacity(entries.len());
    let mut sum = 0;
    for entry in &entries {
        let backend = backends.find(entry.name, entry.at);
        let weight = entry.node.integer(0, 1_000_000);
        sum += weight.unwrap_or(1);
        if let (Some(backend), Some(weight)) = (backend, weight) {
            let weight = u32::try_from(weight).ok()?;
            all.push(WeightedBackend { backend, weight });
        }
    }
    if sum == 0 {
        node.error("the weights of `backends` sum to 0; give one a weight above 0");
    }
    Some(all)
}

fn mapped<'a>(node: Node<'a>, backends: &Backends<'a>, files: &Files<'a>) -> Option<Mapped> {
    if !node.is_table() {
        let map = files.map(node)?;
        return Some(Mapped { map, default: None });
    }
    let fields = node.fields(&reference::MAPPED)?;
    let map = fields.required("name", "\"sites\"");
    let map = map.and_then(|node| files.map(node));
    let default = fields.node("default").map(|node| backends.resolve(node));
    Some(Mapped {
        map: map?,
        default: default.flatten(),
    })
}

fn redirect(node: Node<'_>, prefixes: PrefixUse) -> Option<Redirect> {
    let fields = node.fields(&reference::REDIRECT)?;
    let mut redirect = Redirect::new();
    let schemes = [("http", "http"), ("https", "https")];
    redirect.scheme = fields
        .node("scheme")
        .and_then(|node| node.choice(&schemes))
        .map(str::to_owned);
    redirect.host = fields.node("host").and_then(plain_host);
    redirect.port = fields.number("port");
    redirect.path = path_modifier(fields, prefixes);
    if let Some(node) = fields.node("status") {
        match node.integer(0, u64::from(u16::MAX)) {
            Some(status @ (301 | 302 | 303 | 307 | 308)) => {
                set(&mut redirect.status, u16::try_from(status).ok());
            }
            Some(status) => node.error(format!(
                "status {status} is no redirect; write 301, 302, 303, 307 or 308"
            )),
            None => {}
        }
    }
    let targets = ["scheme", "host", "port", "path", "prefix"];
    if targets.iter().all(|key| fields.node(key).is_none()) {
        node.error(
            "the redirect leads where it came from; add `scheme`, `host`, `port`, `path` or \
             `prefix`",
        );
    }
    Some(redirect)
}

fn respond(node: Node<'_>) -> Option<FixedResponse> {
    let fields = node.fields(&reference::RESPOND)?;
    let status = fields.number("status").unwrap_or(200);
    let body = fields.node("body").and_then(|node| node.text("a string"));
    let body = body.unwrap_or_default();
    if matches!(status, 204 | 205 | 304) && !body.is_empty() {
        fields.error(format!("a response of {status} has no body; remove `body`"));
    }
    let content_type = fields.node("content-type").and_then(|node| {
        let text = node.text("a media type such as `\"text/html\"`")?;
        if !text.contains('/') || !is_field_value(&text) {
            node.error(format!(
                "`{text}` is no media type; write it as `text/html`"
            ));
        }
        Some(text)
    });
    Some(FixedResponse {
        status,
        content_type: content_type.unwrap_or_else(|| "text/plain; charset=utf-8".to_owned()),
        body: Arc::from(body.into_bytes()),
    })
}

/// Reads `rewrite`.
pub(crate) fn rewrite(fields: Fields<'_>, prefixes: PrefixUse) -> Option<UrlRewrite> {
    let node = fields.node("rewrite")?;
    let rewrite = node.fields(&reference::REWRITE)?;
    for key in ["redirect", "respond"] {
        if fields.node(key).is_some() {
            node.error(format!(
                "`rewrite` changes requests to servers, but this route has `{key}`; remove one"
            ));
        }
    }
    Some(UrlRewrite {
        host: rewrite.node("host").and_then(plain_host),
        path: path_modifier(rewrite, prefixes),
    })
}

/// Reads `mirror`: a table or a list of them.
pub(crate) fn mirrors<'a>(fields: Fields<'a>, backends: &Backends<'a>) -> Vec<Mirror> {
    let items = fields.node("mirror").map(|node| node.one_or_many());
    let mirror = |node: Node<'a>| {
        let fields = node.fields(&reference::MIRROR)?;
        let backend = fields.required("backend", "\"…\"");
        let backend = backend.and_then(|node| backends.resolve(node));
        let percent = fields.number("percent").unwrap_or(100);
        Some(Mirror {
            backend: backend?,
            percent,
        })
    };
    items
        .unwrap_or_default()
        .into_iter()
        .filter_map(mirror)
        .collect()
}

/// Reads `retry` of a route.
pub(crate) fn retry(fields: Fields<'_>) -> RouteRetry {
    let node = fields.node("retry");
    let Some(fields) = node.and_then(|node| node.fields(&reference::ROUTE_RETRY)) else {
        return RouteRetry::default();
    };
    RouteRetry {
        idempotency_header: fields.node("idempotency-header").and_then(headers::name),
        max_tries: fields.number("max-tries"),
    }
}

fn path_modifier(fields: Fields<'_>, prefixes: PrefixUse) -> Option<PathModifier> {
    match (fields.node("path"), fields.node("prefix")) {
        (None, None) => None,
        (Some(full), None) => path(full).map(PathModifier::Full),
        (None, Some(prefix)) => {
            if prefixes == PrefixUse::Refused {
                prefix.error(
                    "`prefix` replaces a matched prefix, but the route matches an exact path; \
                     write `path`",
                );
            }
            path(prefix).map(PathModifier::Prefix)
        }
        (Some(_), Some(prefix)) => {
            prefix.error("both `path` and `prefix` are given; remove one");
            None
        }
    }
}

/// A host, with or without port, for a `Host` or `Location`.
fn plain_host(node: Node<'_>) -> Option<String> {
    let host = node.text("a host such as `\"example.com\"`")?;
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !host.ends_with(']') => (name, Some(port)),
        _ => (host.as_str(), None),
    };
    let bracketed = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .is_some_and(|name| name.parse::<std::net::Ipv6Addr>().is_ok());
    let port_stands = port.is_none_or(|port| port.parse::<u16>().is_ok());
    if (is_host(name) || bracketed) && port_stands {
        return Some(host);
    }
    node.error(format!(
        "`{host}` is no host; write it as `example.com`, without a scheme"
    ));
    None
}
