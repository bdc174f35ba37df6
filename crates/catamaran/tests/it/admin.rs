//! The admin API over the real program: every change and what it does to traffic, and who is let in.

use crate::balancer::Balancer;
use crate::operator::{ask, ask_tcp, config, lasting_state, send, socket_of, steered};
use crate::{PATIENCE, eventually};
use catamaran_testkit::{Origin, Signal, free_addr, http_get, signal_pid};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;

/// Two servers that answer with their names.
fn two() -> (Origin, Origin) {
    let start = |name| Origin::fixed(200, name).start().unwrap();
    (start("a"), start("b"))
}

/// The path of a server of `app`.
fn path(server: SocketAddr) -> String {
    format!("/v1/backends/app/servers/{server}")
}

/// Who answers one request.
fn answer(balancer: &Balancer) -> String {
    let response = http_get(balancer.addr(), "/").unwrap();
    String::from_utf8_lossy(&response.body).into_owned()
}

/// Whether `server` answers any of many requests.
fn serves(balancer: &Balancer, server: &str) -> bool {
    (0..30).any(|_| answer(balancer) == server)
}

#[test]
fn each_way_to_take_a_server_out_keeps_traffic_away_until_it_is_taken_back() {
    let (a, b) = two();
    let balancer = steered(&[a.addr(), b.addr()], "", "balance = \"random\"");
    for (out, back) in [
        (json!({ "admin": "drain" }), json!({ "admin": "ready" })),
        (
            json!({ "admin": "maintenance" }),
            json!({ "admin": "ready" }),
        ),
        (json!({ "health": "down" }), json!({ "health": "auto" })),
        (json!({ "weight": 0 }), json!({ "weight": "configured" })),
    ] {
        let (status, told) = ask(&balancer, "PATCH", &path(a.addr()), &out.to_string());
        assert_eq!(
            (status, &told["kept"]),
            (200, &json!("until-restart")),
            "{told}"
        );
        assert!(!serves(&balancer, "a"), "{out}");
        let (status, told) = ask(&balancer, "PATCH", &path(a.addr()), &back.to_string());
        assert_eq!(status, 200);
        assert_eq!(told["server"]["usable"], true, "{told}");
        assert!(serves(&balancer, "a"), "{back}");
    }
}

#[test]
fn an_operator_can_say_that_a_server_is_up_though_its_checks_fail() {
    let (a, _) = two();
    let health = "health = { http = \"/\", interval = \"50ms\", expect = \"201\" }";
    let balancer = steered(&[a.addr()], "", health);
    eventually("the server to be down", || {
        let (_, server) = ask(&balancer, "GET", &path(a.addr()), "");
        let check = &server["check"];
        assert_ne!(check["result"], "pass");
        (server["health"] == "down" && check["reason"] == "status 200").then_some(())
    });
    assert_eq!(http_get(balancer.addr(), "/").unwrap().status, 503);
    ask(&balancer, "PATCH", &path(a.addr()), r#"{"health": "up"}"#);
    assert_eq!(answer(&balancer), "a");
    let (_, events) = ask(&balancer, "GET", "/v1/events", "");
    let kinds: Vec<_> = events
        .as_array()
        .unwrap()
        .iter()
        .map(|e| &e["kind"])
        .collect();
    assert_eq!(kinds, ["started", "server-down", "changed"], "{events}");
}

#[test]
fn a_dead_server_that_checks_take_down_is_not_told_to_accept_again() {
    let (mut a, b) = two();
    let health = "health = { http = \"/\", interval = \"1s\" }";
    let balancer = steered(&[a.addr(), b.addr()], "", health);
    let kinds = || -> Vec<String> {
        let (_, events) = ask(&balancer, "GET", "/v1/events", "");
        let events = events.as_array().unwrap().iter();
        let kinds = events.map(|event| event["kind"].as_str().unwrap().to_owned());
        kinds.collect()
    };
    a.stop();
    eventually("the server to refuse and then to be down", || {
        answer(&balancer);
        kinds().contains(&"server-down".to_owned()).then_some(())
    });
    // Whatever follows from that stands before this change.
    ask(&balancer, "PATCH", &path(b.addr()), r#"{"weight": 2}"#);
    let kinds = kinds();
    assert!(!kinds.contains(&"server-accepting".to_owned()), "{kinds:?}");
}

#[test]
fn servers_added_and_removed_at_run_time_stay_so_over_a_reload() {
    let (a, b) = two();
    let c = Origin::fixed(200, "c").start().unwrap();
    let balancer = steered(&[a.addr(), b.addr()], "", "balance = \"random\"");
    let add = json!({ "address": c.addr().to_string(), "weight": 3 }).to_string();
    let servers = "/v1/backends/app/servers";
    let (status, told) = ask(&balancer, "POST", servers, &add);
    assert_eq!(
        (status, &told["server"]["weight"]),
        (200, &json!(3)),
        "{told}"
    );
    assert_eq!(ask(&balancer, "POST", servers, &add).0, 409);
    assert_eq!(ask(&balancer, "DELETE", &path(a.addr()), "").0, 200);
    let check = || {
        assert!(serves(&balancer, "c") && serves(&balancer, "b"));
        assert!(!serves(&balancer, "a"));
    };
    check();
    let (status, told) = ask(&balancer, "POST", "/v1/reload", "{}");
    assert_eq!((status, &told["applied"]), (200, &json!(true)), "{told}");
    check();
    assert_eq!(ask(&balancer, "DELETE", &path(c.addr()), "").0, 200);
    let last = ask(&balancer, "DELETE", &path(b.addr()), "");
    assert_eq!(last.0, 409, "{}", last.1);
}

#[test]
fn a_weight_lasts_until_the_file_says_another() {
    let (a, b) = two();
    let both = [a.addr(), b.addr()];
    let balancer = steered(&both, "", "");
    ask(&balancer, "PATCH", &path(a.addr()), r#"{"weight": 9}"#);
    let weight = || ask(&balancer, "GET", &path(a.addr()), "").1["weight"].clone();
    assert_eq!(ask(&balancer, "POST", "/v1/reload", "{}").0, 200);
    assert_eq!(weight(), 9);
    let before = format!("\"{}\"", a.addr());
    let after = format!("{{ address = {before}, weight = 4 }}");
    let text = config(&both, "", "").replace(&before, &after);
    std::fs::write(balancer.process.config_path(), text).unwrap();
    let (_, told) = ask(&balancer, "POST", "/v1/reload", r#"{"dry_run": true}"#);
    assert_eq!(told["changes"].as_array().unwrap().len(), 1, "{told}");
    assert_eq!(weight(), 9);
    assert_eq!(ask(&balancer, "POST", "/v1/reload", "{}").0, 200);
    assert_eq!(weight(), 4);
}

#[test]
fn a_kept_change_is_in_the_file_with_every_comment_and_outlives_the_data_process() {
    let (a, b) = two();
    let balancer = steered(&[a.addr(), b.addr()], "", "");
    let body = r#"{"weight": 0, "persist": true}"#;
    let (status, told) = ask(&balancer, "PATCH", &path(a.addr()), body);
    assert_eq!((status, &told["kept"]), (200, &json!("in-file")), "{told}");
    let text = std::fs::read_to_string(balancer.process.config_path()).unwrap();
    for part in ["# the whole", "# of the shop", "# both", "weight = 0"] {
        assert!(text.contains(part), "{text}");
    }
    let process = &balancer.process;
    let data = process.pids().into_iter().find(|pid| *pid != process.pid());
    let data = data.unwrap();
    signal_pid(data, Signal::KILL).unwrap();
    // The one that was killed may take connections in for as long as its last thread lives.
    eventually("another data process to open the socket", || {
        let opened = process.stderr().matches("admin socket path").count();
        (opened == 2).then_some(())
    });
    let (_, server) = ask(&balancer, "GET", &path(a.addr()), "");
    assert_eq!(server["configured_weight"], 0, "{server}");
    assert!(!serves(&balancer, "a"));
}

#[test]
fn what_the_file_cannot_keep_or_has_lost_is_refused_and_nothing_changes() {
    let (a, b) = two();
    let balancer = steered(&[a.addr(), b.addr()], "", "");
    let before = lasting_state(&balancer);
    let body = r#"{"admin": "drain", "persist": true}"#;
    assert_eq!(ask(&balancer, "PATCH", &path(a.addr()), body).0, 400);
    let file = balancer.process.config_path();
    let text = std::fs::read_to_string(&file).unwrap() + "# edited\n";
    std::fs::write(&file, &text).unwrap();
    let body = r#"{"weight": 5, "persist": true}"#;
    let (status, told) = ask(&balancer, "PATCH", &path(a.addr()), body);
    assert_eq!(status, 409, "{told}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    assert_eq!(lasting_state(&balancer), before);
}

#[test]
fn an_affinity_entry_that_is_set_leads_its_client_and_one_deleted_does_not() {
    let (a, b) = two();
    let stick = "balance = \"random\"\nstick = { on = \"source-ip\", for = \"1h\" }";
    let balancer = steered(&[a.addr(), b.addr()], "", stick);
    let entry = "/v1/tables/app/entry";
    for (server, name) in [(a.addr(), "a"), (b.addr(), "b")] {
        let body = json!({ "key": "127.0.0.1", "server": server.to_string() }).to_string();
        let (status, told) = ask(&balancer, "PUT", entry, &body);
        assert_eq!(status, 200, "{told}");
        assert!((0..10).all(|_| answer(&balancer) == name));
    }
    let (_, page) = ask(&balancer, "GET", "/v1/tables/app?limit=1", "");
    assert_eq!(page["entries"][0]["key"], "127.0.0.1", "{page}");
    assert_eq!(ask(&balancer, "GET", "/v1/tables", "").1[0]["entries"], 1);
    let one = format!("{entry}?key=127.0.0.1");
    assert_eq!(ask(&balancer, "DELETE", &one, "").0, 200);
    assert_eq!(ask(&balancer, "GET", &one, "").0, 404);
}

#[test]
fn the_log_level_changes_at_run_time() {
    let (a, _) = two();
    let balancer = steered(&[a.addr()], "", "");
    let (status, _) = ask(&balancer, "PUT", "/v1/log-level", r#"{"level": "debug"}"#);
    assert_eq!(status, 200);
    assert_eq!(
        ask(&balancer, "GET", "/v1/log-level", "").1["level"],
        "debug"
    );
    assert_eq!(
        ask(&balancer, "PUT", "/v1/log-level", r#"{"level": "inof"}"#).0,
        400
    );
}

#[test]
fn a_drain_ends_the_whole_program_and_is_answered_first() {
    let (a, _) = two();
    let mut balancer = steered(&[a.addr()], "", "");
    assert_eq!(ask(&balancer, "POST", "/v1/drain", "{}").0, 200);
    assert_eq!(balancer.process.wait(PATIENCE).unwrap().code(), Some(0));
}

#[test]
fn only_our_own_user_may_open_the_socket() {
    let (a, _) = two();
    let balancer = steered(&[a.addr()], "", "");
    let file = std::fs::metadata(socket_of(&balancer.process)).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
}

/// Every operation of the description, as method and path with names that exist.
fn operations(balancer: &Balancer, server: SocketAddr) -> Vec<(String, String)> {
    let (_, description) = ask(balancer, "GET", "/v1/openapi.json", "");
    let mut all = Vec::new();
    for (path, methods) in description["paths"].as_object().unwrap() {
        let path = path.replace("{backend}", "app");
        let path = path.replace("{server}", &server.to_string());
        for method in methods.as_object().unwrap().keys() {
            all.push((method.to_uppercase(), path.clone()));
        }
    }
    assert!(all.len() > 20, "{all:?}");
    all
}

#[test]
fn reading_changes_nothing() {
    let (a, b) = two();
    let stick = "stick = { on = \"source-ip\", for = \"1h\" }";
    let balancer = steered(&[a.addr(), b.addr()], "", stick);
    let before = lasting_state(&balancer);
    for (_, path) in operations(&balancer, a.addr()) {
        // Its answer has no end; a test of its own reads it.
        if path == "/v1/stream" {
            continue;
        }
        for query in [
            "",
            "?persist=true",
            "?key=127.0.0.1&after=1",
            "?admin=drain",
        ] {
            let (status, _) = ask(&balancer, "GET", &format!("{path}{query}"), "");
            assert!(status < 500, "{path}{query}: {status}");
        }
    }
    assert_eq!(lasting_state(&balancer), before);
    assert_eq!(answer(&balancer).len(), 1);
}

#[test]
fn hostile_bodies_are_refused_and_change_nothing() {
    let (a, b) = two();
    let stick = "stick = { on = \"source-ip\", for = \"1h\" }";
    let balancer = steered(&[a.addr(), b.addr()], "", stick);
    let before = lasting_state(&balancer);
    let deep = "[".repeat(50_000);
    let long = format!("{{\"weight\": {}}}", "9".repeat(10_000));
    let bodies = [
        "",
        "{",
        "null",
        "[]",
        "0",
        "\"\"",
        "{\"weight\": -1}",
        "{\"weight\": 257}",
        "{\"weight\": 1e999}",
        "{\"weight\": \"many\"}",
        "{\"admin\": \"root\"}",
        "{\"health\": null, \"x\": 1}",
        "{\"address\": \"\"}",
        "{\"address\": \"a b\"}",
        "{\"address\": \"10.0.0.1:0\"}",
        "{\"address\": \"example.com:80\"}",
        "{\"address\": \"10.0.0.1:80\", \"weight\": 65536}",
        "{\"address\": \"10.0.0.1:80\", \"name\": \"a\\u0000\\nb\"}",
        "{\"key\": \"x\", \"server\": \"y\"}",
        "{\"key\": \"#zz\", \"server\": \"y\"}",
        "{\"level\": \"\"}",
        "{\"text\": 1}",
        "{\"dry_run\": 3}",
        "{\"text\": \"\\u0000\"}",
        &deep,
        &long,
    ];
    for (method, path) in operations(&balancer, a.addr()) {
        if matches!(method.as_str(), "GET" | "DELETE") || path == "/v1/config/check" {
            continue;
        }
        for body in bodies {
            let (status, told) = ask(&balancer, &method, &path, body);
            let shown = &body[..body.len().min(60)];
            assert!(
                (400..500).contains(&status),
                "{method} {path} {shown}: {status} {told}"
            );
            assert!(
                told["error"]["message"].is_string(),
                "{method} {path} {shown}"
            );
        }
        // Bytes that are no text.
        let mut stream = UnixStream::connect(socket_of(&balancer.process)).unwrap();
        let fields = ["Content-Type: application/json"];
        let (status, _) = send(&mut stream, &method, &path, &fields, b"\xff\xfe\x00{");
        assert!((400..500).contains(&status), "{method} {path}: {status}");
    }
    for path in [
        "/v1/backends/%00/servers/%ff",
        "/v1/backends/..%2f..",
        "//",
        "/v1/tables/app?limit=-1",
    ] {
        let (status, _) = ask(&balancer, "GET", path, "");
        assert!((400..500).contains(&status), "{path}: {status}");
    }
    assert_eq!(lasting_state(&balancer), before);
}

#[test]
fn over_tcp_the_token_the_host_and_the_origin_are_looked_at() {
    const TOKEN: &str = "token-of-this-test-0123456789";
    let (a, _) = two();
    let directory = catamaran_testkit::TempDir::create().unwrap();
    let file = directory.write("token", &format!("{TOKEN}\n")).unwrap();
    let addr = free_addr().unwrap();
    let admin = format!(
        "listen = \"{addr}\"\ntoken-file = \"{}\"\nnames = [\"lb.example\"]",
        file.display()
    );
    let balancer = steered(&[a.addr()], &admin, "");
    let host = format!("Host: {addr}");
    let token = format!("Authorization: Bearer {TOKEN}");
    let get = |fields: &[&str]| ask_tcp(addr, "GET", "/v1/state", fields, "").0;
    assert_eq!(get(&[&host, &token]), 200);
    assert_eq!(get(&["Host: lb.example", &token]), 200);
    assert_eq!(get(&[&host]), 401);
    assert_eq!(
        get(&[&host, "Authorization: Bearer token-of-another-test"]),
        401
    );
    assert_eq!(get(&["Host: rebound.example", &token]), 421);
    assert_eq!(get(&[&host, &token, "Origin: http://evil.example"]), 403);
    assert_eq!(
        get(&[&host, &token, &format!("Origin: http://{addr}")]),
        200
    );
    let drain = |fields: &[&str]| {
        let body = r#"{"admin": "drain"}"#;
        ask_tcp(addr, "PATCH", &path(a.addr()), fields, body).0
    };
    assert_eq!(drain(&[&host, &token, "Content-Type: text/plain"]), 415);
    assert_eq!(drain(&[&host, "Content-Type: application/json"]), 401);
    let (_, server) = ask(&balancer, "GET", &path(a.addr()), "");
    assert_eq!(server["admin"], "ready");
    // A permission that a browser would ask for before it lets a page send JSON.
    let (status, _) = ask_tcp(addr, "OPTIONS", "/v1/drain", &[&host, &token], "");
    assert_eq!(status, 405);
    assert!(!balancer.process.stderr().contains(TOKEN));
    let (_, config) = ask(&balancer, "GET", "/v1/config", "");
    assert!(!config.to_string().contains(TOKEN));
}

#[test]
fn an_address_that_others_reach_needs_a_token() {
    let text = "[admin]\nlisten = \"0.0.0.0:0\"\n[backend.b]\nservers = [\"127.0.0.1:9\"]\n\
                [frontend.w]\nlisten = \"127.0.0.1:0\"\nbackend = \"b\"\n";
    let program = catamaran_testkit::Program::run_config(env!("CARGO_BIN_EXE_catamaran"), text);
    let mut process = program.unwrap().start().unwrap();
    assert_eq!(process.wait(PATIENCE).unwrap().code(), Some(1));
    process
        .wait_for_stderr("catamaran.toml:2:10: `0.0.0.0:0`", PATIENCE)
        .unwrap();
    process.wait_for_stderr("token-file", PATIENCE).unwrap();
}

#[test]
fn changes_that_are_written_at_once_are_all_written() {
    let origins: Vec<Origin> = (0..6)
        .map(|_| Origin::fixed(200, "up").start().unwrap())
        .collect();
    let addrs: Vec<_> = origins.iter().map(Origin::addr).collect();
    let balancer = steered(&addrs, "", "");
    std::thread::scope(|scope| {
        for (number, addr) in addrs.iter().enumerate() {
            let balancer = &balancer;
            scope.spawn(move || {
                let path = format!("/v1/backends/app/servers/{addr}");
                let body = format!("{{\"weight\": {}, \"persist\": true}}", number + 11);
                let (status, told) = ask(balancer, "PATCH", &path, &body);
                assert_eq!(status, 200, "{told}");
            });
        }
    });
    let file = std::fs::read_to_string(balancer.process.config_path()).unwrap();
    for number in 0..addrs.len() {
        let weight = format!("weight = {}", number + 11);
        assert!(file.contains(&weight), "{weight}: {file}");
    }
}

#[test]
fn the_state_shows_traffic_and_where_it_went() {
    let (a, b) = two();
    let balancer = steered(&[a.addr(), b.addr()], "", "balance = \"round-robin\"");
    // Before two looks at the counters there are no rates, and what was before the first is in none.
    eventually("rates", || {
        let (_, state) = ask(&balancer, "GET", "/v1/state", "");
        state["frontends"][0]["rates"].is_object().then_some(())
    });
    for _ in 0..10 {
        answer(&balancer);
    }
    let state = eventually("the traffic", || {
        let (_, state) = ask(&balancer, "GET", "/v1/state", "");
        let frontend = &state["frontends"][0];
        let rate = frontend["rates"]["exchanges"].as_f64()?;
        (rate > 0.0 && frontend["totals"]["exchanges"] == 10).then_some(state)
    });
    let frontend = &state["frontends"][0];
    assert_eq!(frontend["totals"]["outcomes"], json!({ "done": 10 }));
    assert!(frontend["rates"]["latency_ms"]["p99"].as_f64().unwrap() > 0.0);
    let servers = state["backends"][0]["servers"].as_array().unwrap();
    let requests: Vec<&Value> = servers.iter().map(|s| &s["totals"]["requests"]).collect();
    assert_eq!(requests, [5, 5]);
    assert_eq!(state["process"]["readiness"], "ready");
}
