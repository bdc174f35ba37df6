//! A node of a fleet, with a store that we have in hand. What needs a real etcd is a case of
//! `cargo xtask interop`.

mod store;

pub(crate) use store::Store;

use crate::balancer::Balancer;
use crate::operator::ask;
use crate::{PATIENCE, catamaran, eventually};
use catamaran_testkit::{Origin, Process, ReservedPort, Signal, http_get};
use serde_json::{Value, json};
use std::net::SocketAddr;

/// The configuration of a node whose store is at `etcd`.
fn node(etcd: SocketAddr) -> String {
    format!(
        "[admin]\nsocket = \"admin.sock\"\n[etcd]\nendpoints = \"{etcd}\"\nnode = \"a\"\n\
         interval = \"100ms\"\ngrace = \"0s\"\n"
    )
}

/// The configuration of the fleet: `web` before the servers of `api`.
fn fleet(door: SocketAddr, more: &str) -> String {
    format!(
        "[frontend.web]\nlisten = \"{door}\"\nbackend = \"api\"\n[backend.api]\n\
         servers = [\"etcd:api\"]\n{more}\n"
    )
}

fn put(balancer: &Balancer, text: &str) -> (u16, Value) {
    let body = json!({ "text": text }).to_string();
    ask(balancer, "PUT", "/v1/etcd/config", &body)
}

/// Waits until the fleet is so, as the node sees it.
fn until(balancer: &Balancer, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    eventually(what, || {
        let (_, fleet) = ask(balancer, "GET", "/v1/etcd", "");
        is_so(&fleet).then_some(fleet)
    })
}

/// Waits until a client is answered.
fn served(door: SocketAddr) -> String {
    eventually("an answer", || {
        let response = http_get(door, "/").ok()?;
        (response.status == 200).then(|| response.text())
    })
}

#[test]
fn a_node_takes_configuration_and_servers_from_etcd_and_keeps_both_while_it_is_away() {
    let origin = Origin::fixed(200, "one").start().unwrap();
    let door = ReservedPort::any().unwrap();
    let store = Store::start();
    let mut balancer = Balancer::start(&node(store.addr()));
    store.put("/catamaran/servers/api/one", &origin.addr().to_string());
    let (status, put) = put(&balancer, &fleet(door.addr(), ""));
    assert_eq!((status, &put["serves"]), (200, &json!(true)), "{put}");
    assert_eq!(served(door.addr()), "one");
    // Else it would end every watch, and be away most of the time.
    store.fall_silent();
    let line = |state: &str| {
        eventually("a line of the fleet", || {
            let line = ask(&balancer, "GET", "/v1/state", "").1["fleet"].take();
            (line["state"] == state).then_some(line)
        })
    };
    let well = line("connected");
    assert_eq!(well["fleet_revision"], put["revision"], "{well}");
    assert_eq!(
        (&well["registered"], &well["missing"]),
        (&json!(1), &json!(0))
    );

    drop(store);
    until(&balancer, "etcd is away", |fleet| fleet["state"] == "away");
    let away = line("away");
    assert!(away["last_error"].is_string(), "{away}");
    assert_eq!(served(door.addr()), "one");

    // A start without etcd serves from what was kept.
    let config = balancer.process.config_path();
    balancer.process.kill().unwrap();
    let _second = catamaran(&["run", "-c", config.to_str().unwrap()])
        .start()
        .unwrap();
    assert_eq!(served(door.addr()), "one");
}

#[test]
fn a_text_that_cannot_serve_is_told_and_the_last_good_one_goes_on() {
    let origin = Origin::fixed(200, "one").start().unwrap();
    let door = ReservedPort::any().unwrap();
    let store = Store::start();
    let balancer = Balancer::start(&node(store.addr()));
    store.put("/catamaran/servers/api/one", &origin.addr().to_string());
    put(&balancer, &fleet(door.addr(), ""));
    assert_eq!(served(door.addr()), "one");

    store.put(
        "/catamaran/config",
        "[frontend.web]\nlisten = \"nowhere\"\n",
    );
    let told = until(&balancer, "the mistake", |fleet| {
        !fleet["config"]["error"].is_null()
    });
    let error = told["config"]["error"].as_str().unwrap();
    assert!(error.starts_with("etcd:config with"), "{error}");
    assert!(error.contains(":2:10: "), "{error}");
    assert_eq!(served(door.addr()), "one");

    // One that is put by us is judged before it is written.
    let (status, refused) = put(&balancer, "[etcd]\nendpoints = \"evil\"\n");
    assert_eq!(status, 409, "{refused}");
    let (_, history) = ask(&balancer, "GET", "/v1/etcd/history", "");
    let body = json!({ "revision": history[0]["revision"] }).to_string();
    let (status, back) = ask(&balancer, "POST", "/v1/etcd/config/rollback", &body);
    assert_eq!((status, &back["serves"]), (200, &json!(true)), "{back}");
    until(&balancer, "no mistake", |fleet| {
        fleet["config"]["error"].is_null()
    });
}

#[test]
fn a_watch_whose_connection_died_without_a_word_is_noticed() {
    let door = ReservedPort::any().unwrap();
    let origin = Origin::fixed(200, "one").start().unwrap();
    let store = Store::start();
    let balancer = Balancer::start(&node(store.addr()));
    store.put("/catamaran/servers/api/one", &origin.addr().to_string());
    put(&balancer, &fleet(door.addr(), ""));
    assert_eq!(served(door.addr()), "one");
    store.fall_silent();
    eventually("a silent watch", || {
        (store.silent_watches() > 0).then_some(())
    });
    // There are as many keys as before.
    let other = Origin::fixed(200, "other").start().unwrap();
    store.put("/catamaran/servers/api/one", &other.addr().to_string());
    eventually("the other server", || {
        (served(door.addr()) == "other").then_some(())
    });
    let text = fleet(door.addr(), "timeouts = { connect = \"1s\" }");
    store.put("/catamaran/config", &text);
    until(&balancer, "the other text", |fleet| {
        fleet["config"]["fleet_revision"] == fleet["revision"]
    });
}

#[test]
fn another_cluster_takes_nothing_away_until_it_is_accepted() {
    let origin = Origin::fixed(200, "one").start().unwrap();
    let door = ReservedPort::any().unwrap();
    let store = Store::start();
    let balancer = Balancer::start(&node(store.addr()));
    store.put("/catamaran/servers/api/one", &origin.addr().to_string());
    put(&balancer, &fleet(door.addr(), ""));
    assert_eq!(served(door.addr()), "one");
    let (status, _) = ask(&balancer, "POST", "/v1/etcd/accept", "{}");
    assert_eq!(status, 409, "there is nothing to accept yet");

    store.wipe();
    until(&balancer, "it is foreign", |fleet| {
        !fleet["foreign"].is_null()
    });
    let (_, held) = put(&balancer, &fleet(door.addr(), "slow-start = \"1s\""));
    assert_eq!(
        (&held["held"], &held["serves"]),
        (&json!(true), &json!(false)),
        "{held}"
    );
    assert_eq!(served(door.addr()), "one");

    let (status, _) = ask(&balancer, "POST", "/v1/etcd/accept", "{}");
    assert_eq!(status, 200);
    until(&balancer, "what waited serves", |fleet| {
        fleet["config"]["fleet_revision"] == held["revision"]
    });
    // It is not registered in the new cluster, but it is up.
    assert_eq!(served(door.addr()), "one");
}

#[test]
fn a_node_says_what_is_wrong_with_something_that_is_no_etcd() {
    let other = Origin::fixed(200, "hello").start().unwrap();
    let balancer = Balancer::start(&node(other.addr()));
    let fleet = until(&balancer, "a reason", |fleet| {
        !fleet["last_error"].is_null()
    });
    let error = fleet["last_error"].as_str().unwrap();
    assert!(error.contains("is it etcd 3.4 or later"), "{error}");
    let (status, refused) = put(&balancer, "");
    assert_eq!(status, 503, "{refused}");
}

#[test]
fn a_node_without_a_fleet_says_so() {
    let origin = Origin::fixed(200, "one").start().unwrap();
    let balancer = crate::operator::steered(&[origin.addr()], "", "");
    let (status, refused) = put(&balancer, "");
    assert_eq!(status, 409);
    let told = refused["error"]["message"].as_str().unwrap();
    assert!(told.contains("write `[etcd]`"), "{told}");
}

#[test]
fn a_registered_command_is_found_while_it_is_well_and_ends_as_it_does() {
    let store = Store::start();
    let origin = Origin::fixed(200, "one").start().unwrap();
    let etcd = store.addr().to_string();
    let address = origin.addr().to_string();
    let words = [
        "register",
        "--etcd",
        &etcd,
        "--service",
        "api",
        "--name",
        "one",
        "--address",
        &address,
        "--leave-delay",
        "10ms",
        "--health",
        "/",
        "--",
        "sh",
        "-c",
        "trap 'exit 5' TERM; while :; do sleep 0.05; done",
    ];
    let mut process = catamaran(&words).start().unwrap();
    let key = "/catamaran/servers/api/one";
    let value = eventually("the registration", || store.get(key));
    assert_eq!(value, format!("{{\"address\":\"{address}\"}}"));
    process.signal(Signal::TERM).unwrap();
    assert_eq!(process.wait(PATIENCE).unwrap().code(), Some(5));
    assert_eq!(store.get(key), None);
    assert!(
        process.stderr().contains("withdrawn"),
        "{}",
        process.stderr()
    );
}

/// A server that registers itself as `one` at this address, and takes connections or not.
fn registered(store: &Store, address: &str) -> Process {
    let etcd = store.addr().to_string();
    let words = [
        &["register", "--etcd", &etcd, "--service", "api"][..],
        &["--name", "one", "--address", address, "--ttl", "2s"],
        &["--leave-delay", "10ms", "--health", "none", "--"],
        &["sleep", "600"],
    ];
    catamaran(&words.concat()).start().unwrap()
}

#[test]
fn a_server_whose_place_another_took_leaves_without_taking_that_away() {
    let store = Store::start();
    let key = "/catamaran/servers/api/one";
    let is_at = |address: &str| {
        let value = store.get(key);
        value.is_some_and(|value| value == format!("{{\"address\":\"{address}\"}}"))
    };
    let mut old = registered(&store, "127.0.0.1:11");
    eventually("the old one", || is_at("127.0.0.1:11").then_some(()));
    let new = registered(&store, "127.0.0.1:12");
    eventually("the new one", || is_at("127.0.0.1:12").then_some(()));
    eventually("the old one sees that", || {
        old.stderr().contains("takes its place").then_some(())
    });
    old.signal(Signal::TERM).unwrap();
    old.wait(PATIENCE).unwrap();
    assert!(is_at("127.0.0.1:12"), "{:?}", store.get(key));

    // Somebody deletes it by mistake.
    store.delete(key);
    eventually("it is back", || is_at("127.0.0.1:12").then_some(()));
    new.wait_for_stderr("registered again", PATIENCE).unwrap();
}

#[test]
fn a_command_runs_and_ends_without_etcd_too() {
    let nobody = ReservedPort::any().unwrap();
    let etcd = nobody.addr().to_string();
    let words = [
        "register",
        "--etcd",
        &etcd,
        "--service",
        "api",
        "--address",
        "127.0.0.1:9",
        "--health",
        "none",
        "--",
        "sh",
        "-c",
        "exit 7",
    ];
    let mut process = catamaran(&words).start().unwrap();
    assert_eq!(process.wait(PATIENCE).unwrap().code(), Some(7));
}
