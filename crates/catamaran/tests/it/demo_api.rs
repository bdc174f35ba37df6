//! The demonstration of the example API: the whole system, one replica of it killed.

use crate::{PATIENCE, catamaran, eventually, is_alive};
use catamaran_testkit::{Client, Process, Signal, http_get, signal_pid};
use serde_json::Value;
use std::collections::BTreeMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Starts the demonstration and returns it with the balancer's address.
fn demo_api() -> (Process, SocketAddr) {
    let address = eventually("a free port", || {
        // Below the range in which the clients of other tests get theirs.
        let chance = RandomState::new().hash_one(0) % 9_000;
        let port = 31_000 + u16::try_from(chance / 10).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port + 1));
        TcpStream::connect(address).is_err().then_some(address)
    });
    let port = (address.port() - 1).to_string();
    let demo = catamaran(&[
        "demo",
        "--api",
        "--quiet",
        "--port",
        &port,
        "--dashboard-port",
        "0",
    ]);
    let demo = demo.start().unwrap();
    demo.wait_for_stdout("Ctrl-C", BUILD_PATIENCE).unwrap();
    (demo, address)
}

/// The process id in the line of a part.
fn pid_of(demo: &Process, part: &str) -> u32 {
    let text = demo.stdout();
    let line = text
        .lines()
        .find(|line| line.trim_start().starts_with(part));
    line.unwrap().rsplit(' ').next().unwrap().parse().unwrap()
}

fn create(client: &mut Client, number: usize) -> String {
    let body = format!(
        "{{\"movie_id\":\"tt1\",\"email\":\"ada@example.org\",\"title\":\"{number}\",\
         \"category\":\"test\",\"notification_date\":\"2040-01-01T00:00:00Z\"}}"
    );
    let key = format!("Idempotency-Key: {number}");
    let fields = ["Content-Type: application/json", &key];
    let answer = client
        .request("POST", "/alerts", &fields, body.as_bytes())
        .unwrap();
    assert_eq!(answer.status, 201, "{}", answer.text());
    let alert: Value = serde_json::from_slice(&answer.body).unwrap();
    alert["id"].as_str().unwrap().to_owned()
}

#[test]
fn no_create_fails_is_lost_or_doubled_when_a_replica_is_killed() {
    let (demo, address) = demo_api();
    let victim = pid_of(&demo, "api-2");
    let mut client = Client::connect(address).unwrap();
    let mut created = BTreeMap::new();
    for number in 0..CREATES {
        if number == CREATES / 3 {
            signal_pid(victim, Signal::KILL).unwrap();
        }
        created.insert(create(&mut client, number), number.to_string());
    }
    demo.wait_for_stdout("api-2 ended", PATIENCE).unwrap();
    let mut kept = Vec::new();
    let mut path = "/alerts?limit=100".to_owned();
    loop {
        let page = http_get(address, &path).unwrap();
        let page: Value = serde_json::from_slice(&page.body).unwrap();
        for alert in page["items"].as_array().unwrap() {
            let [id, title] = ["id", "title"].map(|name| alert[name].as_str().unwrap().to_owned());
            kept.push((id, title));
        }
        let Some(next) = page["next"].as_str() else {
            break;
        };
        path = format!("/alerts?limit=100&cursor={next}");
    }
    assert_eq!(kept.len(), CREATES, "no more than were created");
    assert_eq!(kept.into_iter().collect::<BTreeMap<_, _>>(), created);
}

#[test]
fn every_part_of_the_api_ends_with_the_demonstration_however_it_ends() {
    for signal in [Signal::INT, Signal::KILL] {
        let (mut demo, address) = demo_api();
        assert_eq!(http_get(address, "/docs/").unwrap().status, 200);
        let pids = demo.pids();
        assert!(
            pids.len() >= 7,
            "three replicas, a store, a sink, a data process and itself"
        );
        demo.signal(signal).unwrap();
        demo.wait(PATIENCE).unwrap();
        for pid in pids {
            eventually("the end of every process", || {
                (!is_alive(pid)).then_some(())
            });
        }
    }
}

#[test]
fn without_the_example_beside_it_the_remedy_is_told() {
    let dir = catamaran_testkit::TempDir::create().unwrap();
    let alone = dir.path().join("catamaran");
    std::fs::copy(env!("CARGO_BIN_EXE_catamaran"), &alone).unwrap();
    let program = catamaran_testkit::Program::new(alone).unwrap();
    let program = program
        .args(["demo", "--api", "--dashboard-port", "0"])
        .under(&["env", "-u", "CARGO"]);
    let mut demo = program.start().unwrap();
    assert_eq!(demo.wait(PATIENCE).unwrap().code(), Some(1));
    demo.wait_for_stderr("cargo build --release -p alerts", PATIENCE)
        .unwrap();
}

const CREATES: usize = 300;
/// The first start builds the example, if nothing has built it before.
const BUILD_PATIENCE: Duration = Duration::from_secs(900);
