//! Routes through the whole program: what matches, and what becomes of it.

use crate::balancer::Balancer;
use crate::{PATIENCE, eventually};
use catamaran_testkit::{
    Client, Ending, Origin, Reply, ReservedPort, TempDir, request_bytes, shortest, timely,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Holds answers back until it is opened.
#[derive(Clone, Default)]
struct Gate(Arc<AtomicBool>);

impl Gate {
    /// A server that has this reply ready behind the gate.
    fn before(&self, reply: Reply) -> Origin {
        let is_open = Arc::clone(&self.0);
        Origin::http(move |_| {
            eventually("the gate to open", || {
                is_open.load(Ordering::SeqCst).then_some(())
            });
            reply.clone()
        })
        .start()
        .unwrap()
    }

    fn open(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Backends by name, each with one server that answers with the name and records.
struct Site {
    balancer: Balancer,
    origins: BTreeMap<&'static str, Origin>,
}

impl Site {
    /// `routes` are the tables `[[frontend.web.route]]`, after `frontend` lines of the frontend.
    fn start(names: &[&'static str], frontend: &str, routes: &[&str]) -> Self {
        let origins: BTreeMap<_, _> = names
            .iter()
            .map(|&name| (name, Origin::fixed(200, name).start().unwrap()))
            .collect();
        // One worker, so that an origin records the requests in their order on one connection.
        let mut config = format!(
            "[process]\nworkers = 1\n[frontend.web]\nlisten = \"127.0.0.1:0\"\n{frontend}\n"
        );
        for route in routes {
            config.push_str(&format!("[[frontend.web.route]]\n{route}\n"));
        }
        for (name, origin) in &origins {
            config.push_str(&format!(
                "[backend.{name}]\nservers = [\"{}\"]\n",
                origin.addr()
            ));
        }
        let balancer = Balancer::start(&config);
        Self { balancer, origins }
    }

    fn client(&self) -> Client {
        self.balancer.connect()
    }

    /// Which backend answers a request, or the status if it is no 200.
    fn ask(&self, method: &str, target: &str, fields: &[&str]) -> String {
        let response = self.client().request(method, target, fields, b"").unwrap();
        match response.status {
            200 => response.text(),
            status => status.to_string(),
        }
    }

    fn get(&self, target: &str, fields: &[&str]) -> String {
        self.ask("GET", target, fields)
    }
}

#[test]
fn hosts_match_exactly_or_by_wildcard() {
    let site = Site::start(
        &["exact", "wild", "rest"],
        "backend = \"rest\"",
        &[
            "hosts = [\"a.example\"]\nbackend = \"exact\"",
            "hosts = [\"*.a.example\"]\nbackend = \"wild\"",
        ],
    );
    for (host, expected) in [
        ("a.example", "exact"),
        ("A.Example", "exact"),
        ("a.example:8080", "exact"),
        ("b.a.example", "wild"),
        ("c.b.a.example", "wild"),
        ("ba.example", "rest"),
        ("example", "rest"),
    ] {
        assert_eq!(
            site.get("/", &[&format!("Host: {host}")]),
            expected,
            "{host}"
        );
    }
}

#[test]
fn paths_match_exactly_or_by_whole_segments() {
    let site = Site::start(
        &["exact", "prefix", "longer"],
        "",
        &[
            "path = { exact = \"/api/v1\" }\nbackend = \"exact\"",
            "path = \"/api\"\nbackend = \"prefix\"",
            "path = \"/api/v1/users\"\nbackend = \"longer\"",
        ],
    );
    for (target, expected) in [
        ("/api/v1", "exact"),
        ("/api/v1?x=y", "exact"),
        ("/api/v1/", "prefix"),
        ("/api", "prefix"),
        ("/api/", "prefix"),
        ("/api/v1/users/7", "longer"),
        ("/api/v1/users-all", "prefix"),
        ("/apiary", "404"),
        ("/", "404"),
    ] {
        assert_eq!(site.get(target, &[]), expected, "{target}");
    }
}

#[test]
fn no_path_gets_around_a_route_by_being_written_otherwise() {
    let site = Site::start(
        &["open"],
        "backend = \"open\"",
        &["path = \"/admin\"\nrespond = { status = 403 }"],
    );
    for target in [
        "/admin",
        "/%61dmin",
        "/x/../admin",
        "/x/%2e%2e/admin",
        "/./admin",
        "/admin/x",
    ] {
        let got = site.get(target, &[]);
        assert!(got == "403" || got == "400", "{target}: {got}");
    }
    assert_eq!(site.get("/../admin", &[]), "400");
    assert_eq!(site.get("/x", &[]), "open");
}

#[test]
fn methods_headers_queries_and_cookies_match() {
    let site = Site::start(
        &[
            "rest", "method", "header", "present", "query", "cookie", "all",
        ],
        "backend = \"rest\"",
        &[
            "method = \"DELETE\"\nbackend = \"method\"",
            "headers = { X-Env = \"test\" }\nbackend = \"header\"",
            "headers = { X-Debug = true }\nbackend = \"present\"",
            "query = { version = \"2 b\" }\nbackend = \"query\"",
            "cookies = { group = \"b\" }\nbackend = \"cookie\"",
            "path = \"/all\"\nmethod = \"PUT\"\nheaders = { X-Env = \"test\" }\nquery = { q = true }\nbackend = \"all\"",
        ],
    );
    assert_eq!(site.ask("DELETE", "/", &[]), "method");
    assert_eq!(site.get("/", &["x-env: test"]), "header");
    assert_eq!(site.get("/", &["X-Env: tes"]), "rest");
    assert_eq!(site.get("/", &["X-Debug: whatever"]), "present");
    assert_eq!(site.get("/?a=b&version=2%20b", &[]), "query");
    assert_eq!(site.get("/?version=3&version=2%20b", &[]), "rest");
    assert_eq!(site.get("/", &["Cookie: a=b; group=b"]), "cookie");
    assert_eq!(site.get("/", &["Cookie: group=bb"]), "rest");
    assert_eq!(site.ask("PUT", "/all?q=1", &["X-Env: test"]), "all");
    assert_eq!(site.ask("PUT", "/all", &["X-Env: test"]), "header");
}

#[test]
fn sources_match_by_network_and_behind_trusted_proxies() {
    let site = Site::start(
        &["inside", "outside"],
        "backend = \"outside\"\ntrusted-proxies = [\"127.0.0.9/32\"]",
        &["source = [\"127.0.0.2/31\", \"10.0.0.0/8\"]\nbackend = \"inside\""],
    );
    let from = |source: [u8; 4], fields: &[&str]| {
        let addr = site.balancer.addr();
        let mut client = Client::connect_from(source.into(), addr).unwrap();
        client.request("GET", "/", fields, b"").unwrap().text()
    };
    assert_eq!(from([127, 0, 0, 2], &[]), "inside");
    assert_eq!(from([127, 0, 0, 3], &[]), "inside");
    assert_eq!(from([127, 0, 0, 4], &[]), "outside");
    assert_eq!(
        from([127, 0, 0, 4], &["X-Forwarded-For: 10.1.1.1"]),
        "outside"
    );
    assert_eq!(
        from([127, 0, 0, 9], &["X-Forwarded-For: 10.1.1.1"]),
        "inside"
    );
    assert_eq!(
        from([127, 0, 0, 9], &["X-Forwarded-For: 10.1.1.1, 192.0.2.1"]),
        "outside"
    );
}

#[test]
fn any_of_several_matches_is_enough() {
    let site = Site::start(
        &["app"],
        "",
        &["matches = [{ path = \"/a\" }, { path = \"/b\", method = \"POST\" }]\nbackend = \"app\""],
    );
    assert_eq!(site.get("/a", &[]), "app");
    assert_eq!(site.ask("POST", "/b", &[]), "app");
    assert_eq!(site.get("/b", &[]), "404");
}

#[test]
fn redirects_say_where_and_keep_what_they_do_not_change() {
    let site = Site::start(
        &[],
        "",
        &[
            "path = \"/secure\"\nredirect = { scheme = \"https\", status = 308 }",
            "path = \"/old\"\nredirect = { prefix = \"/new\", status = 301 }",
            "path = { exact = \"/one\" }\nredirect = { host = \"other.example\", path = \"/two\", port = 8443 }",
        ],
    );
    let mut client = site.client();
    for (target, status, location) in [
        ("/secure/a?b=c", 308, "https://site.example/secure/a?b=c"),
        ("/old/a/b?c", 301, "http://site.example/new/a/b?c"),
        ("/one", 302, "http://other.example:8443/two"),
    ] {
        let response = client
            .request("GET", target, &["Host: site.example"], b"")
            .unwrap();
        assert_eq!(response.status, status, "{target}");
        assert_eq!(response.field("location").as_deref(), Some(location));
        assert!(response.keeps_alive());
    }
    let response = client
        .request("POST", "/old", &["Host: site.example"], b"body")
        .unwrap();
    assert_eq!(response.status, 301);
    assert_eq!(
        client.request("HEAD", "/old", &[], b"").unwrap().status,
        301
    );
}

#[test]
fn fixed_responses_need_no_server() {
    let site = Site::start(
        &[],
        "",
        &[
            "path = \"/ping\"\nrespond = { body = \"pong\" }",
            "path = \"/json\"\nrespond = { status = 202, body = \"{}\", content-type = \"application/json\" }",
            "path = \"/nothing\"\nrespond = { status = 204 }",
        ],
    );
    let mut client = site.client();
    let pong = client.request("POST", "/ping", &[], b"ignored").unwrap();
    assert_eq!((pong.status, pong.text().as_str()), (200, "pong"));
    assert_eq!(
        pong.field("content-type").as_deref(),
        Some("text/plain; charset=utf-8")
    );
    let json = client.get("/json").unwrap();
    assert_eq!((json.status, json.text().as_str()), (202, "{}"));
    assert_eq!(
        json.field("content-type").as_deref(),
        Some("application/json")
    );
    assert_eq!(client.get("/nothing").unwrap().status, 204);
    let head = client.request("HEAD", "/ping", &[], b"").unwrap();
    assert_eq!(head.field("content-length").as_deref(), Some("4"));
    assert_eq!(client.get("/ping").unwrap().text(), "pong");
}

#[test]
fn a_fixed_response_to_a_large_body_reaches_the_client() {
    let site = Site::start(&[], "", &["respond = { status = 403, body = \"no\" }"]);
    let mut client = site.client();
    let head = request_bytes("POST", "/", &["Content-Length: 100000000"], b"");
    client.send(&head).unwrap();
    let piece = vec![0; 64 * 1024];
    let mut sent = 0;
    while sent < 100_000_000 && client.send(&piece).is_ok() {
        sent += piece.len();
    }
    let response = client.receive_response("POST").unwrap();
    assert_eq!((response.status, response.keeps_alive()), (403, false));
}

#[test]
fn host_and_path_are_rewritten_and_the_query_stays() {
    let site = Site::start(
        &["app"],
        "",
        &[
            "path = \"/api\"\nbackend = \"app\"\nrewrite = { prefix = \"/v2\", host = \"inner.example\" }",
            "path = { exact = \"/exact\" }\nbackend = \"app\"\nrewrite = { path = \"/all/new\" }",
            "path = \"/gone\"\nbackend = \"app\"\nrewrite = { prefix = \"/\" }",
        ],
    );
    let origin = &site.origins["app"];
    for (target, path, host) in [
        ("/api/users?x=1", "/v2/users?x=1", "inner.example"),
        ("/api", "/v2", "inner.example"),
        ("/exact?y", "/all/new?y", "test"),
        ("/gone/a", "/a", "test"),
        ("/gone", "/", "test"),
    ] {
        assert_eq!(site.get(target, &[]), "app");
        let request = origin.requests().pop().unwrap();
        assert_eq!(request.target, path, "{target}");
        let hosts: Vec<_> = request.head.all("host").collect();
        assert_eq!(hosts, [host.as_bytes()]);
    }
}

#[test]
fn headers_of_requests_and_responses_are_set_added_and_removed() {
    let origin = Origin::http(|_| {
        Reply::new(200, "ok")
            .field("Server", "origin/1")
            .field("X-Powered-By", "php")
            .field("Vary", "Accept")
    })
    .start()
    .unwrap();
    let balancer = Balancer::start(&format!(
        "[backend.app]\nservers = [\"{}\"]\n[frontend.web]\nlisten = \"127.0.0.1:0\"\n\
         [[frontend.web.route]]\nbackend = \"app\"\n\
         request-headers = {{ set = {{ X-Env = \"prod\" }}, add = {{ X-List = [\"b\", \"c\"] }}, remove = [\"X-Secret\"] }}\n\
         response-headers = {{ set = {{ Server = \"front\" }}, add = {{ Vary = \"Origin\" }}, remove = \"X-Powered-By\" }}\n",
        origin.addr()
    ));
    let fields = [
        "x-env: test",
        "X-Env: more",
        "X-List: a",
        "X-SECRET: 1",
        "X-Other: 2",
    ];
    let response = balancer
        .connect()
        .request("GET", "/", &fields, b"")
        .unwrap();
    let request = &origin.requests()[0];
    let all = |name: &str| -> Vec<String> {
        let values = request.head.all(name);
        values
            .map(|value| String::from_utf8_lossy(value).into_owned())
            .collect()
    };
    assert_eq!(all("x-env"), ["prod"]);
    assert_eq!(all("x-list"), ["a", "b", "c"]);
    assert!(all("x-secret").is_empty());
    assert_eq!(all("x-other"), ["2"]);
    assert_eq!(response.field("server").as_deref(), Some("front"));
    assert_eq!(response.field("x-powered-by"), None);
    let vary: Vec<_> = response.head.all("vary").collect();
    assert_eq!(vary, [&b"Accept"[..], b"Origin"]);
}

#[test]
fn weighted_backends_get_their_shares() {
    let site = Site::start(
        &["many", "few", "none"],
        "",
        &["backends = { many = 80, few = 20, none = 0 }"],
    );
    let mut client = site.client();
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..1000 {
        *counts.entry(client.get("/").unwrap().text()).or_default() += 1;
    }
    // Five standard deviations of a draw of 1000 at 20 %: 63.
    assert!((137..=263).contains(&counts["few"]), "{counts:?}");
    assert!(!counts.contains_key("none"), "{counts:?}");
}

#[test]
fn a_mirror_gets_copies_and_never_holds_the_exchange_up() {
    let app = Origin::fixed(200, "app").start().unwrap();
    let gate = Gate::default();
    let copy = gate.before(Reply::new(500, "slow"));
    let balancer = Balancer::start(&format!(
        "[backend.app]\nservers = [\"{}\"]\n[backend.copy]\nservers = [\"{}\"]\n\
         [frontend.web]\nlisten = \"127.0.0.1:0\"\n[[frontend.web.route]]\nbackend = \"app\"\n\
         mirror = {{ backend = \"copy\" }}\n",
        app.addr(),
        copy.addr()
    ));
    // None of the copies is answered before all of the exchanges are over.
    let mut client = balancer.connect();
    for number in 0..5 {
        let target = format!("/{number}");
        let response = client
            .request("POST", &target, &["X-A: b"], b"body")
            .unwrap();
        assert_eq!(response.text(), "app");
    }
    gate.open();
    assert!(copy.wait_for_requests(5, PATIENCE));
    let mut targets: Vec<_> = copy
        .requests()
        .into_iter()
        .map(|copied| {
            assert_eq!(
                (copied.method.as_str(), copied.body.content.as_slice()),
                ("POST", &b"body"[..])
            );
            assert_eq!(copied.field("x-a").as_deref(), Some("b"));
            copied.target
        })
        .collect();
    targets.sort();
    assert_eq!(targets, ["/0", "/1", "/2", "/3", "/4"]);
}

#[test]
fn a_dead_mirror_is_not_noticed() {
    let dead = ReservedPort::any().unwrap();
    let app = Origin::fixed(200, "app").start().unwrap();
    let balancer = Balancer::start(&format!(
        "[backend.app]\nservers = [\"{}\"]\n[backend.copy]\nservers = [\"{}\"]\n\
         [frontend.web]\nlisten = \"127.0.0.1:0\"\n[[frontend.web.route]]\nbackend = \"app\"\n\
         mirror = [{{ backend = \"copy\" }}]\n",
        app.addr(),
        dead.addr()
    ));
    let mut client = balancer.connect();
    for _ in 0..10 {
        assert_eq!(client.get("/").unwrap().text(), "app");
    }
}

#[test]
fn a_routes_timeout_covers_every_try() {
    let origin = Origin::http(|_| Reply::nothing(Ending::Hang))
        .start()
        .unwrap();
    let balancer = Balancer::start(&format!(
        "[backend.app]\nservers = [\"{}\"]\n[frontend.web]\nlisten = \"127.0.0.1:0\"\n\
         [[frontend.web.route]]\nbackend = \"app\"\ntimeout = \"200ms\"\n",
        origin.addr()
    ));
    // A minute if only the backend's own timeout counted.
    let bound = Duration::from_secs(30);
    let took = shortest(bound, || {
        assert_eq!(balancer.connect().get("/").unwrap().status, 504);
    });
    assert!(
        took >= Duration::from_millis(200) && took < bound,
        "{took:?}"
    );
}

#[test]
fn requests_beyond_the_rate_are_told_when_to_come_back() {
    let site = Site::start(
        &["app"],
        "backend = \"app\"\nrate-limit = { requests = 5, per = \"1h\" }",
        &[],
    );
    let mut client = site.client();
    for _ in 0..5 {
        assert_eq!(client.get("/").unwrap().status, 200);
    }
    let response = client.get("/").unwrap();
    assert_eq!(response.status, 429);
    let text = "429 Too Many Requests: too many requests; try again later (rate-limited)\n";
    assert_eq!(response.text(), text);
    let wait: u64 = response.field("retry-after").unwrap().parse().unwrap();
    // One of five in an hour comes back every twelve minutes.
    assert!((600..=720).contains(&wait), "{wait}");
    assert!(response.keeps_alive());
    let mut other = Client::connect_from([127, 0, 0, 2].into(), site.balancer.addr()).unwrap();
    assert_eq!(other.get("/").unwrap().status, 200);
}

#[test]
fn the_rate_comes_back_with_time() {
    let site = Site::start(
        &["app"],
        "backend = \"app\"\nrate-limit = { requests = 1, per = \"2s\" }",
        &[],
    );
    let mut client = site.client();
    // Half of the time is for a worker that reads its clock late.
    let statuses = timely(Duration::from_secs(1), || {
        eventually("a request's turn", || {
            (client.get("/").unwrap().status == 200).then_some(())
        });
        client.get("/").unwrap().status
    });
    assert_eq!(statuses, 429);
    eventually("another request's turn", || {
        (client.get("/").unwrap().status == 200).then_some(())
    });
}

#[test]
fn a_rate_may_count_by_header_and_by_route() {
    let site = Site::start(
        &["app"],
        "backend = \"app\"",
        &[
            "path = \"/limited\"\nbackend = \"app\"\nrate-limit = { requests = 2, per = \"1h\", by = \"header:X-Key\" }",
        ],
    );
    for key in ["X-Key: a", "X-Key: b"] {
        for expected in ["app", "app", "429"] {
            assert_eq!(site.get("/limited", &[key]), expected);
        }
        assert_eq!(site.get("/free", &[key]), "app");
    }
}

#[test]
fn connections_of_one_source_beyond_the_limit_get_429() {
    let site = Site::start(
        &["app"],
        "backend = \"app\"\nmax-connections-per-source = 2",
        &[],
    );
    let mut held: Vec<_> = (0..2).map(|_| site.client()).collect();
    for client in &mut held {
        assert_eq!(client.get("/").unwrap().status, 200);
    }
    let response = site.client().get("/").unwrap();
    assert_eq!((response.status, response.keeps_alive()), (429, false));
    let mut other = Client::connect_from([127, 0, 0, 2].into(), site.balancer.addr()).unwrap();
    assert_eq!(other.get("/").unwrap().status, 200);
    drop(held);
    eventually("room for the source again", || {
        (site.client().get("/").ok()?.status == 200).then_some(())
    });
}

#[test]
fn requests_above_a_servers_limit_wait_and_the_queue_has_an_end() {
    let gate = Gate::default();
    let origin = gate.before(Reply::new(200, "ok"));
    let balancer = Balancer::start(&format!(
        "[backend.app]\nservers = [{{ address = \"{}\", max-requests = 1 }}]\n\
         queue = {{ max-waiting = 2, timeout = \"1m\" }}\n\
         [frontend.web]\nlisten = \"127.0.0.1:0\"\nbackend = \"app\"\n",
        origin.addr()
    ));
    let answered = AtomicUsize::new(0);
    let statuses: Vec<_> = thread::scope(|scope| {
        let ask = || {
            let response = balancer.connect().get("/").unwrap();
            answered.fetch_add(1, Ordering::SeqCst);
            response
        };
        let clients = [(); 5].map(|()| scope.spawn(ask));
        // The server answers none before those have been refused that found no room.
        eventually("two refusals", || {
            (answered.load(Ordering::SeqCst) == 2).then_some(())
        });
        gate.open();
        clients.map(|client| client.join().unwrap()).into()
    });
    let served = statuses
        .iter()
        .filter(|response| response.status == 200)
        .count();
    assert_eq!(served, 3);
    for refused in statuses.iter().filter(|response| response.status != 200) {
        assert_eq!(refused.status, 503);
        assert!(
            refused.text().contains("(queue-full)"),
            "{}",
            refused.text()
        );
    }
}

#[test]
fn a_wait_in_the_queue_that_is_too_long_is_a_503() {
    let gate = Gate::default();
    let origin = gate.before(Reply::new(200, "ok"));
    let balancer = Balancer::start(&format!(
        "[backend.app]\nservers = [{{ address = \"{}\", max-requests = 1 }}]\n\
         queue = {{ timeout = \"100ms\" }}\n\
         [frontend.web]\nlisten = \"127.0.0.1:0\"\nbackend = \"app\"\n",
        origin.addr()
    ));
    let mut first = balancer.connect();
    first.send(&request_bytes("GET", "/", &[], b"")).unwrap();
    assert!(origin.wait_for_requests(1, PATIENCE));
    let response = balancer.connect().get("/").unwrap();
    assert_eq!(response.status, 503);
    assert!(
        response.text().contains("(queue-timeout)"),
        "{}",
        response.text()
    );
    gate.open();
    assert_eq!(first.receive_response("GET").unwrap().status, 200);
}

#[test]
fn a_client_that_leaves_the_queue_is_not_served() {
    let gate = Gate::default();
    let origin = gate.before(Reply::new(200, "ok"));
    let dir = TempDir::create().unwrap();
    let log = dir.path().join("access.log");
    let balancer = Balancer::start(&format!(
        "[backend.app]\nservers = [{{ address = \"{}\", max-requests = 1 }}]\n\
         queue = {{ timeout = \"1m\" }}\n\
         [frontend.web]\nlisten = \"127.0.0.1:0\"\nbackend = \"app\"\n\
         access-log = {{ to = \"{}\" }}\n",
        origin.addr(),
        log.display()
    ));
    let mut first = balancer.connect();
    first
        .send(&request_bytes("GET", "/first", &[], b""))
        .unwrap();
    assert!(origin.wait_for_requests(1, PATIENCE));
    let mut left = balancer.connect();
    left.send(&request_bytes("GET", "/left", &[], b"")).unwrap();
    drop(left);
    eventually("the end of the exchange of who left", || {
        let lines = std::fs::read_to_string(&log).unwrap_or_default();
        lines.contains("/left").then_some(())
    });
    gate.open();
    assert_eq!(first.receive_response("GET").unwrap().status, 200);
    assert_eq!(first.get("/last").unwrap().status, 200);
    let targets: Vec<_> = origin
        .requests()
        .into_iter()
        .map(|request| request.target)
        .collect();
    assert_eq!(targets, ["/first", "/last"]);
}
