//! Routes of a frontend: their matches. What they do is in [`crate::route_action`].

use crate::access;
use crate::address::is_host;
use crate::auth;
use crate::backend::{Backends, name_problem};
use crate::files::Files;
use crate::frontend::networks;
use crate::headers;
use crate::policy;
use crate::read::{Fields, Node};
use crate::reference;
use crate::route_action::{self, PrefixUse};
use crate::syntax::{Query, is_path, is_token};
use catamaran_core::model::{
    BackendId, HostPattern, Name, PathMatch, Route, RouteMatch, ValueMatch,
};
use std::collections::HashMap;

/// Reads the routes of the frontend, in the order of the file.
pub(crate) fn read_all<'a>(
    frontend: Fields<'a>,
    backends: &Backends<'a>,
    files: &Files<'a>,
) -> Vec<Route> {
    let items = frontend.node("route").and_then(|node| {
        if node.is_table() {
            node.mismatch("a list, written as `[[frontend.NAME.route]]`");
            return None;
        }
        node.list()
    });
    let mut names = HashMap::new();
    let mut routes = Vec::new();
    for (index, node) in items.unwrap_or_default().into_iter().enumerate() {
        let Some(route) = read(node, index + 1, backends, files) else {
            continue;
        };
        if let Some(earlier) = crate::backend::first(&mut names, route.name.clone(), node.at()) {
            node.error(format!(
                "two routes are named `{}`, the first at line {}; name one of them otherwise",
                route.name,
                node.reader().line(earlier)
            ));
        }
        routes.push(route);
    }
    routes
}

fn read<'a>(
    node: Node<'a>,
    number: usize,
    backends: &Backends<'a>,
    files: &Files<'a>,
) -> Option<Route> {
    let fields = node.fields(&reference::ROUTE)?;
    let name = route_name(fields, number);
    let matches = matches(fields);
    let prefixes = if matches
        .iter()
        .any(|m| matches!(m.path, Some(PathMatch::Exact(_))))
    {
        PrefixUse::Refused
    } else {
        PrefixUse::Allowed
    };
    let action = route_action::action(fields, backends, files, prefixes);
    // A placeholder keeps the other mistakes of this route coming.
    let none = catamaran_core::model::Action::Backend(BackendId(0));
    let mut route = Route::new(name, action.unwrap_or(none));
    route.hosts = hosts(fields);
    route.matches = matches;
    let modifier = |key| {
        let node: Option<Node<'a>> = fields.node(key);
        node.and_then(headers::modifier).unwrap_or_default()
    };
    route.request_headers = modifier("request-headers");
    route.response_headers = modifier("response-headers");
    route.rewrite = route_action::rewrite(fields, prefixes);
    route.mirrors = route_action::mirrors(fields, backends);
    route.timeout = fields.duration("timeout");
    route.retry = route_action::retry(fields);
    route.rate_limit = fields.node("rate-limit").and_then(policy::rate_limit);
    route.auth = fields
        .node("auth")
        .and_then(auth::of_route)
        .unwrap_or_default();
    route.access = access::access(fields, files);
    Some(route)
}

fn route_name(fields: Fields<'_>, number: usize) -> Name {
    let written = fields.node("name").and_then(|node| {
        let name = node.text("a name (a string)")?;
        if let Some(problem) = name_problem(&name) {
            node.error(format!("the name of route `{}` {problem}", name));
        }
        Some(Name::new(&name))
    });
    written.unwrap_or_else(|| Name::new(&format!("route-{number}")))
}

fn hosts(fields: Fields<'_>) -> Vec<HostPattern> {
    let items = fields.node("hosts").map(|node| node.one_or_many());
    items
        .unwrap_or_default()
        .into_iter()
        .filter_map(host)
        .collect()
}

fn host(node: Node<'_>) -> Option<HostPattern> {
    let text = node.text("a host such as `\"example.com\"`")?;
    let name = text.to_ascii_lowercase();
    let name = name.strip_suffix('.').unwrap_or(&name);
    if let Some(suffix) = name.strip_prefix('*')
        && suffix.strip_prefix('.').is_some_and(is_host)
    {
        return Some(HostPattern::Wildcard(suffix.to_owned()));
    }
    let is_v6 = |name: &str| {
        let inner = name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'));
        inner.is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok())
    };
    if is_host(name) || is_v6(name) {
        return Some(HostPattern::Exact(name.to_owned()));
    }
    node.error(format!(
        "`{}` is no host; write it as `example.com` or `*.example.com`, without scheme and port",
        text
    ));
    None
}

/// The matches of a route: those of `matches`, or the one written on the route itself.
fn matches(fields: Fields<'_>) -> Vec<RouteMatch> {
    let Some(list) = fields.node("matches") else {
        let single = single_match(fields);
        return if single == RouteMatch::default() {
            Vec::new()
        } else {
            vec![single]
        };
    };
    for key in reference::MATCH.keys {
        if let Some(at) = fields.key_at(key.name) {
            let message = format!(
                "`{}` stands beside `matches`; move it into one of them",
                key.name
            );
            fields.reader().error(at, message);
        }
    }
    let items = list.list().unwrap_or_default();
    let read = |node: Node<'_>| node.fields(&reference::MATCH).map(single_match);
    items.into_iter().filter_map(read).collect()
}

fn single_match(fields: Fields<'_>) -> RouteMatch {
    RouteMatch {
        path: fields.node("path").and_then(path_match),
        method: fields.node("method").and_then(policy::method),
        headers: conditions(fields, "headers", Names::Header),
        query: conditions(fields, "query", Names::Parameter),
        cookies: conditions(fields, "cookies", Names::Cookie),
        source: networks(fields, "source"),
    }
}

fn path_match(node: Node<'_>) -> Option<PathMatch> {
    if !node.is_table() {
        return path(node).map(PathMatch::Prefix);
    }
    let fields = node.fields(&reference::PATH)?;
    match (fields.node("exact"), fields.node("prefix")) {
        (Some(exact), None) => path(exact).map(PathMatch::Exact),
        (None, Some(prefix)) => path(prefix).map(PathMatch::Prefix),
        (Some(_), Some(prefix)) => {
            prefix.error("`path` has both `exact` and `prefix`; remove one");
            None
        }
        (None, None) if fields.has_unknown() => None,
        (None, None) => {
            fields.error("`path` is empty; write `path = \"/x\"` or `path = { exact = \"/x\" }`");
            None
        }
    }
}

/// A path without a query.
pub(crate) fn path(node: Node<'_>) -> Option<String> {
    let path = node.text("a path such as `\"/api\"`")?;
    if is_path(&path, Query::Refused) {
        return Some(path);
    }
    node.error(if path.contains('?') {
        format!("the path `{path}` has a query; match on it by `query = {{ name = \"value\" }}`")
    } else if path.starts_with('/') {
        format!("the path `{path}` has characters that no request can have; percent-encode them")
    } else {
        format!(
            "`{path}` is no path; write it as `/{}`",
            path.trim_start_matches('/')
        )
    });
    None
}

/// Whose names the keys of a table of conditions are.
#[derive(Clone, Copy, PartialEq)]
enum Names {
    Header,
    Parameter,
    Cookie,
}

fn conditions(fields: Fields<'_>, key: &'static str, names: Names) -> Vec<ValueMatch> {
    let entries = fields.node(key).and_then(|node| node.entries());
    let mut conditions = Vec::new();
    for entry in entries.unwrap_or_default() {
        let problem = match names {
            Names::Header => headers::name_problem(entry.name),
            Names::Cookie if !is_token(entry.name) => Some(format!(
                "`{}` is no name of a cookie; write letters, digits, `-` and `_`",
                entry.name
            )),
            Names::Cookie | Names::Parameter => None,
        };
        if let Some(problem) = problem {
            entry.node.reader().error(entry.at, problem);
        }
        let value = match entry.node.as_bool() {
            Some(true) => Some(None),
            _ => entry
                .node
                .text("a string, or `true` if any value will do")
                .map(Some),
        };
        let name = match names {
            Names::Header => entry.name.to_ascii_lowercase(),
            Names::Parameter | Names::Cookie => entry.name.to_owned(),
        };
        conditions.extend(value.map(|value| ValueMatch { name, value }));
    }
    conditions
}
