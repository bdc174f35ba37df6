//! What valid files mean.

use crate::{config, parse};
use catamaran_core::model::{
    Action, Backend, BackendId, Balance, Check, Frontend, HashKey, HashMethod, HostPattern,
    LogFormat, LogTarget, OnDown, PathMatch, PathModifier, Protocol, RateKey, Route, ServerAddr,
    StickKey,
};
use std::path::PathBuf;
use std::time::Duration;

const DESIGN: &str = r#"
[frontend.web]
listen  = ["0.0.0.0:80"]
backend = "api"

[frontend.echo]
protocol = "tcp"                     # "tcp" | "udp" | "http" (default)
listen   = ["127.0.0.1:7878"]
backend  = "echo"

[backend.echo]
balance = "random"
stick   = { on = "source-ip", for = "2s" }       # window opens at the first request; refresh = true slides it
servers = ["127.0.0.1:8080", "127.0.0.1:8081"]

[backend.api]
servers = ["10.0.0.1:8080", { address = "10.0.0.2:8080", weight = 2, name = "b", backup = false }]
health  = { http = "/health", interval = "1s", rise = 2, fall = 3 }
"#;

#[test]
fn the_design_loads_as_written() {
    let loaded = parse(DESIGN).unwrap();
    assert_eq!(loaded.warnings, []);
    let [web, echo] = loaded.config.frontends.as_slice() else {
        panic!("two frontends");
    };
    assert_eq!((web.name.as_str(), web.protocol), ("web", Protocol::Http));
    assert_eq!((echo.name.as_str(), echo.protocol), ("echo", Protocol::Tcp));
    assert_eq!(web.backend, Some(BackendId(1)));
    assert_eq!(echo.backend, Some(BackendId(0)));
    let [echo, api] = loaded.config.backends.as_slice() else {
        panic!("two backends");
    };
    assert_eq!(echo.balance, Balance::Random);
    let stick = echo.stick.as_ref().unwrap();
    assert_eq!(
        (&stick.on, stick.window),
        (&StickKey::SourceIp, Duration::from_secs(2))
    );
    assert!(!stick.refresh);
    assert_eq!(api.servers[1].name.as_str(), "b");
    assert_eq!(api.servers[1].weight.as_u16(), 2);
    let health = api.health.as_ref().unwrap();
    assert!(matches!(&health.check, Check::Http(check) if check.path == "/health"));
    assert_eq!(health.interval, Duration::from_secs(1));
}

#[test]
fn a_name_from_the_environment_is_put_in() {
    let text = "[frontend.w]\nlisten = \"127.0.0.1:${PORT}\"\nbackend = \"b\"\n[backend.b]\nservers \
                = [\"unix:/run/$${PORT}\"]\n";
    let config = config(text);
    assert_eq!(config.frontends[0].listeners[0].address.port(), 8080);
    let address = &config.backends[0].servers[0].address;
    assert_eq!(address, &ServerAddr::Unix(PathBuf::from("/run/${PORT}")));
}

#[test]
fn every_form_of_balance_is_read() {
    let balance = |value: &str| backend(&format!("balance = {value}")).balance;
    let hash = |key, method| Balance::Hash { key, method };
    let ring = |percent| HashMethod::BoundedRing { percent };
    for (value, expected) in [
        ("\"least-requests\"", Balance::LeastRequests),
        ("\"round-robin\"", Balance::RoundRobin),
        ("\"random\"", Balance::Random),
        ("\"least-connections\"", Balance::LeastConnections),
        ("\"ewma\"", Balance::Ewma),
        ("\"source\"", Balance::Source),
        ("\"first\"", Balance::First),
        (
            "{ hash = \"source-ip\" }",
            hash(HashKey::SourceIp, HashMethod::Maglev),
        ),
        (
            "{ hash = \"header:X-User\" }",
            hash(HashKey::Header("x-user".to_owned()), HashMethod::Maglev),
        ),
        (
            "{ hash = \"cookie:Id\", method = \"ring\" }",
            hash(HashKey::Cookie("Id".to_owned()), ring(125)),
        ),
        (
            "{ hash = \"query:id\", method = \"ring\", max-load = \"150%\" }",
            hash(HashKey::Query("id".to_owned()), ring(150)),
        ),
        (
            "{ hash = \"path\" }",
            hash(HashKey::Path, HashMethod::Maglev),
        ),
        ("{ hash = \"uri\" }", hash(HashKey::Uri, HashMethod::Maglev)),
        (
            "{ hash = \"host\" }",
            hash(HashKey::Host, HashMethod::Maglev),
        ),
    ] {
        assert_eq!(balance(value), expected);
    }
}

#[test]
fn every_form_of_stick_is_read() {
    let stick = |on: &str| {
        let lines =
            format!("stick = {{ on = \"{on}\", for = \"10m\", refresh = true, max-entries = 7 }}");
        backend(&lines).stick.unwrap()
    };
    assert_eq!(stick("header:X-A").on, StickKey::Header("x-a".to_owned()));
    assert_eq!(stick("cookie:Sid").on, StickKey::Cookie("Sid".to_owned()));
    let inserted = stick("insert-cookie:SRV");
    assert_eq!(inserted.on, StickKey::InsertedCookie("SRV".to_owned()));
    assert!(inserted.refresh);
    assert_eq!(inserted.max_entries, 7);
}

#[test]
fn every_policy_of_a_backend_is_read() {
    let backend = backend(
        r#"
        outlier = { consecutive = 3, base-ejection = "1s", max-ejection = "9s", max-ejected = "20%" }
        retry = { max-tries = 1, budget = "10%", min-budget = 5, replay = "4KiB" }
        queue = { max-waiting = 9, timeout = "1s", when-down = true }
        on-down = "keep"
        slow-start = "30s"
        panic-threshold = "0%"
        timeouts = { connect = "1s", response = "2s", body = "3s", idle = "4s" }
        max-idle = 3
        health = { tcp = true, interval = "300ms", port = 81 }
        "#,
    );
    assert_eq!(backend.outlier.consecutive.unwrap().get(), 3);
    assert_eq!(backend.outlier.max_ejected_percent, 20);
    assert_eq!(
        (backend.retry.max_tries, backend.retry.budget_per_mille),
        (1, 100)
    );
    assert_eq!(backend.retry.min_budget, 5);
    assert_eq!(backend.retry.replay_bytes, 4096);
    assert_eq!(
        (backend.queue.max_waiting, backend.queue.when_down),
        (9, true)
    );
    assert_eq!(backend.on_down, OnDown::Keep);
    assert_eq!(backend.slow_start, Some(Duration::from_secs(30)));
    assert_eq!((backend.panic_threshold, backend.max_idle), (0, 3));
    let seconds = [
        backend.connect_timeout,
        backend.response_timeout,
        backend.body_timeout,
        backend.idle_timeout,
    ];
    assert_eq!(seconds.map(|timeout| timeout.as_secs()), [1, 2, 3, 4]);
    let health = backend.health.unwrap();
    assert_eq!((health.check, health.port), (Check::Tcp, Some(81)));
    assert_eq!(health.fast_interval, Duration::from_millis(300));
}

#[test]
fn outlier_false_never_ejects() {
    assert_eq!(backend("outlier = false").outlier.consecutive, None);
}

#[test]
fn every_key_of_a_frontend_is_read() {
    let frontend = frontend(
        r#"
        max-connections = 10
        max-connections-per-source = 2
        rate-limit = { requests = 5, per = "1m", by = "header:X-Key", max-keys = 9 }
        trusted-proxies = ["10.0.0.0/8", "::1"]
        forwarded = "both"
        max-head = "60KiB"
        max-fields = 64
        timeouts = { request-head = "1s", keep-alive = "2s", body = "3s", tunnel = "4s" }
        access-log = { format = "clf", to = "syslog:127.0.0.1" }
        error-pages = { 503 = "503.html" }
        "#,
    );
    let limit = frontend.rate_limit.unwrap();
    assert_eq!((limit.requests, limit.burst, limit.max_keys), (5, 5, 9));
    assert_eq!(limit.by, RateKey::Header("x-key".to_owned()));
    assert_eq!(limit.period, Duration::from_secs(60));
    assert_eq!(frontend.trusted_proxies.len(), 2);
    assert_eq!(frontend.http.max_head_bytes, 60 * 1024);
    assert_eq!(frontend.timeouts.tunnel, Duration::from_secs(4));
    let log = frontend.access_log.unwrap();
    assert_eq!(log.format, LogFormat::Clf);
    assert_eq!(
        log.target,
        LogTarget::SyslogUdp("127.0.0.1:514".parse().unwrap())
    );
    let page = &frontend.error_pages[0];
    assert_eq!((page.status, &*page.body), (503, &b"<p>later"[..]));
    assert_eq!(page.content_type, "text/html; charset=utf-8");
}

#[test]
fn every_target_of_an_access_log_is_read() {
    let target = |to: &str| {
        let lines = format!("access-log = {{ to = \"{to}\" }}");
        frontend(&lines).access_log.unwrap().target
    };
    assert_eq!(target("stdout"), LogTarget::Stdout);
    assert_eq!(
        target("/var/log/c.log"),
        LogTarget::File(PathBuf::from("/var/log/c.log"))
    );
    assert_eq!(
        target("syslog"),
        LogTarget::SyslogUnix(PathBuf::from("/dev/log"))
    );
    assert_eq!(
        target("syslog:/run/l"),
        LogTarget::SyslogUnix(PathBuf::from("/run/l"))
    );
}

#[test]
fn a_single_match_may_stand_on_the_route() {
    let route = route(
        r#"
        hosts = ["Example.com", "*.Example.org"]
        path = "/api"
        method = "GET"
        headers = { X-A = "1", X-B = true }
        query = { "q q" = "" }
        cookies = { sid = true }
        source = "10.0.0.0/8"
        backend = "b"
        "#,
    );
    assert_eq!(
        route.hosts,
        [
            HostPattern::Exact("example.com".to_owned()),
            HostPattern::Wildcard(".example.org".to_owned()),
        ]
    );
    let [single] = route.matches.as_slice() else {
        panic!("one match");
    };
    assert_eq!(single.path, Some(PathMatch::Prefix("/api".to_owned())));
    assert_eq!(single.headers[0].name, "x-a");
    assert_eq!(single.headers[1].value, None);
    assert_eq!(single.query[0].name, "q q");
    assert_eq!((single.cookies.len(), single.source.len()), (1, 1));
    assert_eq!(route.name.as_str(), "route-1");
}

#[test]
fn several_matches_stand_in_a_list() {
    let route = route(
        "matches = [{ path = { exact = \"/a\" } }, { path = { prefix = \"/b\" } }, {}]\nrespond = {}",
    );
    assert_eq!(route.matches.len(), 3);
    assert_eq!(
        route.matches[0].path,
        Some(PathMatch::Exact("/a".to_owned()))
    );
    assert!(matches!(&route.action, Action::Respond(respond) if respond.status == 200));
}

#[test]
fn a_route_without_conditions_has_no_match() {
    assert_eq!(route("backend = \"b\"").matches, []);
}

#[test]
fn every_change_that_a_route_makes_is_read() {
    let route = route(
        r#"
        name = "all"
        path = "/old"
        backends = { b = 90, c = 10 }
        rewrite = { host = "inner:81", prefix = "/new" }
        request-headers = { set = { X-Env = "prod" }, add = { Via = ["a", "b"] }, remove = ["X-Debug"] }
        response-headers = { remove = "Server" }
        mirror = [{ backend = "c", percent = 5 }, { backend = "b" }]
        timeout = "5s"
        retry = { idempotency-header = "Idempotency-Key", max-tries = 1 }
        rate-limit = { requests = 1 }
        "#,
    );
    let Action::Weighted(backends) = &route.action else {
        panic!("weighted");
    };
    assert_eq!((backends[0].weight, backends[1].weight), (90, 10));
    let rewrite = route.rewrite.unwrap();
    assert_eq!(rewrite.path, Some(PathModifier::Prefix("/new".to_owned())));
    assert_eq!(rewrite.host.as_deref(), Some("inner:81"));
    assert_eq!(
        route.request_headers.set,
        [("X-Env".to_owned(), "prod".to_owned())]
    );
    assert_eq!(route.request_headers.add.len(), 2);
    assert_eq!(route.request_headers.remove, ["x-debug"]);
    assert_eq!(route.response_headers.remove, ["server"]);
    assert_eq!(
        (route.mirrors[0].percent, route.mirrors[1].percent),
        (5, 100)
    );
    assert_eq!(route.timeout, Some(Duration::from_secs(5)));
    assert_eq!(
        route.retry.idempotency_header.as_deref(),
        Some("idempotency-key")
    );
    assert_eq!(route.retry.max_tries, Some(1));
    assert!(route.rate_limit.is_some());
}

#[test]
fn a_redirect_keeps_what_it_does_not_say() {
    let route = route("redirect = { scheme = \"https\", port = 8443, status = 308 }");
    let Action::Redirect(redirect) = route.action else {
        panic!("redirect");
    };
    assert_eq!(redirect.scheme.as_deref(), Some("https"));
    assert_eq!((redirect.port, redirect.status), (Some(8443), 308));
    assert_eq!((redirect.host, redirect.path), (None, None));
}

#[test]
fn the_process_section_is_read() {
    let process = config(&format!(
        "{TWO_BACKENDS}[process]\nworkers = 2\nmax-connections = 9\ndrain = \"0s\"\nmetrics = \
         \"[::]:9100\"\nresolvers = [\"10.0.0.53\", \"[::1]:5353\"]\n[frontend.w]\nlisten = \
         \"[::]:0\"\nbackend = \"b\"\n"
    ))
    .process;
    assert_eq!(process.workers.unwrap().get(), 2);
    assert_eq!(
        (process.max_connections, process.drain),
        (Some(9), Duration::ZERO)
    );
    assert_eq!(process.metrics, Some("[::]:9100".parse().unwrap()));
    assert_eq!(process.resolvers[0], "10.0.0.53:53".parse().unwrap());
}

const TWO_BACKENDS: &str = "[backend.b]\nservers = [\"a:1\"]\n[backend.c]\nservers = [\"c:1\"]\n";

/// A backend with `lines`.
fn backend(lines: &str) -> Backend {
    let text = format!(
        "[frontend.w]\nlisten = \":80\"\nbackend = \"b\"\n[backend.b]\nservers = [\"a:1\"]\n{lines}\n"
    );
    config(&text).backends.remove(0)
}

/// A frontend with `lines`.
fn frontend(lines: &str) -> Frontend {
    let text = format!("{TWO_BACKENDS}[frontend.w]\nlisten = \":80\"\nbackend = \"b\"\n{lines}\n");
    config(&text).frontends.remove(0)
}

/// A route with `lines`.
fn route(lines: &str) -> Route {
    frontend(&format!("[[frontend.w.route]]\n{lines}"))
        .routes
        .remove(0)
}
