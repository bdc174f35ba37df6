//! Tests of the route table: precedence, hosts, and every kind of condition.

use super::*;
use crate::model::{Action, BackendId, Name};
use proptest::prelude::*;

#[derive(Clone)]
struct Request {
    method: &'static str,
    host: &'static str,
    path: &'static str,
    query: Option<&'static str>,
    headers: Vec<(&'static str, &'static str)>,
    source: &'static str,
}

impl RequestView for Request {
    fn method(&self) -> &[u8] {
        self.method.as_bytes()
    }
    fn host(&self) -> &[u8] {
        self.host.as_bytes()
    }
    fn path(&self) -> &[u8] {
        self.path.as_bytes()
    }
    fn query(&self) -> Option<&[u8]> {
        self.query.map(str::as_bytes)
    }
    fn header(&self, name: &str) -> Option<&[u8]> {
        let mut fields = self.headers.iter();
        fields.find(|(n, _)| *n == name).map(|(_, v)| v.as_bytes())
    }
    fn source(&self) -> IpAddr {
        self.source.parse().unwrap()
    }
}

fn get(host: &'static str, path: &'static str) -> Request {
    Request {
        method: "GET",
        host,
        path,
        query: None,
        headers: Vec::new(),
        source: "192.0.2.1",
    }
}

fn route(hosts: &[&str], matches: Vec<RouteMatch>) -> Route {
    let mut route = Route::new(Name::new("r"), Action::Backend(BackendId(0)));
    route.hosts = hosts
        .iter()
        .map(|host| match host.strip_prefix('*') {
            Some(tail) => HostPattern::Wildcard(tail.to_owned()),
            None => HostPattern::Exact((*host).to_owned()),
        })
        .collect();
    route.matches = matches;
    route
}

fn exact(path: &str) -> RouteMatch {
    RouteMatch {
        path: Some(PathMatch::Exact(path.to_owned())),
        ..RouteMatch::default()
    }
}

fn prefix(path: &str) -> RouteMatch {
    RouteMatch {
        path: Some(PathMatch::Prefix(path.to_owned())),
        ..RouteMatch::default()
    }
}

fn value(name: &str, value: Option<&str>) -> ValueMatch {
    ValueMatch {
        name: name.to_owned(),
        value: value.map(str::to_owned),
    }
}

fn taken(routes: &[Route], request: &Request) -> Option<usize> {
    let table = RouteTable::new(routes);
    table.find(request).unwrap().map(|found| found.route)
}

#[test]
fn without_routes_nothing_is_found_or_refused() {
    assert_eq!(RouteTable::new(&[]).find(&get("a", "/../x")), Ok(None));
}

#[test]
fn a_route_without_conditions_takes_everything() {
    let routes = [route(&[], vec![])];
    assert_eq!(taken(&routes, &get("", "*")), Some(0));
}

#[test]
fn an_exact_host_goes_before_the_longest_wildcard_before_none() {
    let routes = [
        route(&[], vec![exact("/x")]),
        route(&["*.example.com"], vec![]),
        route(&["*.a.example.com"], vec![]),
        route(&["b.a.example.com"], vec![]),
    ];
    assert_eq!(taken(&routes, &get("b.a.example.com", "/x")), Some(3));
    assert_eq!(taken(&routes, &get("c.a.example.com", "/x")), Some(2));
    assert_eq!(taken(&routes, &get("d.c.example.com", "/x")), Some(1));
    assert_eq!(taken(&routes, &get("example.com", "/x")), Some(0));
    assert_eq!(taken(&routes, &get(".example.com", "/x")), Some(0));
    assert_eq!(taken(&routes, &get("badexample.com", "/y")), None);
}

#[test]
fn hosts_are_compared_without_case_and_final_dot() {
    let routes = [route(&["example.com"], vec![])];
    assert_eq!(taken(&routes, &get("EXAMPLE.com.", "/")), Some(0));
}

#[test]
fn a_host_too_long_for_a_name_is_no_host_of_ours() {
    let long: &'static str = "a".repeat(300).leak();
    let routes = [route(&["a"], vec![]), route(&[], vec![])];
    assert_eq!(taken(&routes, &get(long, "/")), Some(1));
}

#[test]
fn an_exact_host_without_a_match_gives_way_to_the_wildcard() {
    let routes = [
        route(&["a.example.com"], vec![prefix("/api")]),
        route(&["*.example.com"], vec![]),
    ];
    assert_eq!(taken(&routes, &get("a.example.com", "/api/x")), Some(0));
    assert_eq!(taken(&routes, &get("a.example.com", "/other")), Some(1));
}

#[test]
fn an_exact_path_goes_before_the_longest_prefix() {
    let routes = [
        route(&[], vec![]),
        route(&[], vec![prefix("/")]),
        route(&[], vec![prefix("/a")]),
        route(&[], vec![prefix("/a/b/")]),
        route(&[], vec![exact("/a/b")]),
    ];
    assert_eq!(taken(&routes, &get("h", "/a/b")), Some(4));
    assert_eq!(taken(&routes, &get("h", "/a/b/")), Some(3));
    assert_eq!(taken(&routes, &get("h", "/a/bc")), Some(2));
    assert_eq!(taken(&routes, &get("h", "/ab")), Some(0));
}

#[test]
fn precedence_falls_through_every_kind_of_condition() {
    let mut request = get("h", "/a");
    request.query = Some("q=1&r");
    request.headers = vec![("x", "1"), ("y", "2"), ("cookie", "c=1; d=2")];
    let any = RouteMatch::default;
    // Lowest first: each later route must win over all before it.
    let ladder = [
        any(),
        RouteMatch {
            source: vec!["192.0.2.0/24".parse().unwrap()],
            ..any()
        },
        RouteMatch {
            cookies: vec![value("c", Some("1"))],
            ..any()
        },
        RouteMatch {
            cookies: vec![value("c", Some("1")), value("d", None)],
            ..any()
        },
        RouteMatch {
            query: vec![value("q", Some("1"))],
            ..any()
        },
        RouteMatch {
            query: vec![value("q", Some("1")), value("r", None)],
            ..any()
        },
        RouteMatch {
            headers: vec![value("x", Some("1"))],
            ..any()
        },
        RouteMatch {
            headers: vec![value("x", Some("1")), value("y", None)],
            ..any()
        },
        RouteMatch {
            method: Some("GET".to_owned()),
            ..any()
        },
        prefix("/a"),
        exact("/a"),
    ];
    for rungs in 1..=ladder.len() {
        let routes: Vec<Route> = ladder[..rungs]
            .iter()
            .map(|m| route(&[], vec![m.clone()]))
            .collect();
        assert_eq!(taken(&routes, &request), Some(rungs - 1));
    }
}

#[test]
fn between_equals_the_order_written_decides() {
    let routes = [
        route(&[], vec![prefix("/a")]),
        route(&[], vec![prefix("/a/")]),
    ];
    assert_eq!(taken(&routes, &get("h", "/a")), Some(0));
}

#[test]
fn a_condition_that_fails_is_passed_over() {
    let conditions = [
        RouteMatch {
            method: Some("POST".to_owned()),
            ..RouteMatch::default()
        },
        RouteMatch {
            headers: vec![value("x", Some("1"))],
            ..RouteMatch::default()
        },
        RouteMatch {
            query: vec![value("q", Some("a b"))],
            ..RouteMatch::default()
        },
        RouteMatch {
            cookies: vec![value("c", None)],
            ..RouteMatch::default()
        },
        RouteMatch {
            source: vec!["10.0.0.0/8".parse().unwrap()],
            ..RouteMatch::default()
        },
    ];
    for condition in conditions {
        let routes = [route(&[], vec![condition])];
        let mut request = get("h", "/");
        assert_eq!(taken(&routes, &request), None, "{routes:?}");
        request.method = "POST";
        request.headers = vec![("x", "1"), ("cookie", "c=")];
        request.query = Some("q=a+b");
        request.source = "10.1.1.1";
        assert_eq!(taken(&routes, &request), Some(0), "{routes:?}");
    }
}

#[test]
fn any_one_match_of_a_route_suffices_and_says_its_prefix() {
    let routes = [route(&[], vec![prefix("/a/"), exact("/b")])];
    let table = RouteTable::new(&routes);
    let prefix_of = |path| table.find(&get("h", path)).unwrap().map(|f| f.prefix);
    assert_eq!(prefix_of("/a/x"), Some("/a"));
    assert_eq!(prefix_of("/b"), Some("/b"));
    assert_eq!(prefix_of("/b/"), None);
}

#[test]
fn other_spellings_do_not_walk_around_a_route() {
    let routes = [route(&[], vec![]), route(&[], vec![prefix("/admin")])];
    for path in [
        "/admin",
        "//admin/x",
        "/%61dmin",
        "/x/../admin",
        "/x/%2e%2e//admin/",
    ] {
        assert_eq!(taken(&routes, &get("h", path)), Some(1), "{path}");
    }
    for path in ["/admin%2Fx", "/x%2f..%2fadmin", "/administrator"] {
        assert_eq!(taken(&routes, &get("h", path)), Some(0), "{path}");
    }
    let table = RouteTable::new(&routes);
    assert_eq!(table.find(&get("h", "/../admin")), Err(BadPath));
}

#[test]
fn a_star_is_no_path() {
    let routes = [route(&[], vec![prefix("/")])];
    assert_eq!(taken(&routes, &get("h", "*")), None);
}

#[test]
fn among_a_thousand_hosts_each_finds_its_own() {
    let routes: Vec<Route> = (0..1000)
        .map(|n| route(&[format!("h{n}.example.com").as_str()], vec![prefix("/")]))
        .collect();
    let table = RouteTable::new(&routes);
    for n in [0, 1, 500, 999] {
        let host: &'static str = format!("h{n}.example.com").leak();
        let found = table.find(&get(host, "/x")).unwrap();
        assert_eq!(found.map(|f| f.route), Some(n));
    }
}

#[test]
fn among_ten_thousand_paths_each_finds_its_own_and_those_without_one_theirs() {
    let mut routes: Vec<Route> = (0..10_000)
        .map(|n| route(&[], vec![prefix(&format!("/r{n}/x"))]))
        .collect();
    routes.push(route(&[], vec![prefix("/")]));
    let table = RouteTable::new(&routes);
    for (path, wanted) in [
        ("/r77/x", 77),
        ("/r9999/x/y/z", 9999),
        ("/r77/xy", 10_000),
        ("/r77", 10_000),
        ("/", 10_000),
    ] {
        let found = table.find(&get("h", path)).unwrap();
        assert_eq!(found.map(|f| f.route), Some(wanted), "{path}");
    }
}

/// The precedence, written down once more without any table.
fn model(routes: &[Route], host: &str, path: &str) -> Option<usize> {
    let mut best = None;
    for (index, route) in routes.iter().enumerate() {
        let host_rank = if route.hosts.is_empty() {
            Some((0, 0))
        } else {
            let ranks = route.hosts.iter().filter_map(|pattern| match pattern {
                HostPattern::Exact(exact) => (exact == host).then_some((2, 0)),
                HostPattern::Wildcard(tail) => {
                    let label = host.strip_suffix(tail.as_str())?;
                    (!label.is_empty()).then_some((1, tail.len()))
                }
            });
            ranks.max()
        };
        for condition in &route.matches {
            let path_rank = match condition.path.as_ref().unwrap() {
                PathMatch::Exact(exact) => (exact == path).then_some((1, 0)),
                PathMatch::Prefix(prefix) => {
                    let prefix = prefix.trim_end_matches('/');
                    let rest = path.strip_prefix(prefix);
                    let whole = rest.is_some_and(|r| r.is_empty() || r.starts_with('/'));
                    whole.then_some((0, prefix.len()))
                }
            };
            let Some(rank) = host_rank.zip(path_rank) else {
                continue;
            };
            if best.is_none_or(|(highest, _)| rank > highest) {
                best = Some((rank, index));
            }
        }
    }
    best.map(|(_, index)| index)
}

fn any_route() -> impl Strategy<Value = Route> {
    let host = prop_oneof!["[ab](\\.[ab]){0,2}", "\\*(\\.[ab]){1,2}"];
    let path = ("(/[ab]){1,3}/?", any::<bool>()).prop_map(|(path, is_exact)| {
        if is_exact {
            exact(&path)
        } else {
            prefix(&path)
        }
    });
    let hosts = proptest::collection::vec(host, 0..3);
    let paths = proptest::collection::vec(path, 1..3);
    (hosts, paths).prop_map(|(hosts, paths)| {
        let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
        route(&hosts, paths)
    })
}

proptest! {
    /// So many that their paths are found by hash.
    #[test]
    fn a_table_of_many_routes_decides_as_the_precedence_says(
        routes in proptest::collection::vec(any_route(), 40..90),
        host in "[ab](\\.[ab]){0,3}",
        paths in proptest::collection::vec("(/[ab]){1,3}/?", 8),
    ) {
        for path in paths {
            let expected = model(&routes, &host, &path);
            let request = get(host.clone().leak(), path.leak());
            prop_assert_eq!(taken(&routes, &request), expected);
        }
    }

    #[test]
    fn the_table_decides_as_the_precedence_says(
        routes in proptest::collection::vec(any_route(), 0..8),
        host in "[ab](\\.[ab]){0,3}",
        path in "(/[ab]){1,3}/?",
    ) {
        let expected = model(&routes, &host, &path);
        let request = get(host.leak(), path.leak());
        prop_assert_eq!(taken(&routes, &request), expected);
    }
}
