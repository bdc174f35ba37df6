//! What outlives a data process that is killed.

use crate::balancer::Balancer;
use crate::operator::{ask, steered};
use crate::{PATIENCE, eventually};
use catamaran_testkit::{Client, Origin, Signal, http_get, signal_pid};
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};

fn numbered(count: usize) -> (Vec<Origin>, Vec<SocketAddr>) {
    let start = |number: usize| Origin::fixed(200, &number.to_string()).start().unwrap();
    let origins: Vec<_> = (0..count).map(start).collect();
    let addrs = origins.iter().map(Origin::addr).collect();
    (origins, addrs)
}

fn data_pid(balancer: &Balancer) -> u32 {
    let (_, state) = ask(balancer, "GET", "/v1/process", "");
    u32::try_from(state["pid"].as_u64().unwrap()).unwrap()
}

/// Kills the data process; returns when the next one answers to operators.
fn kill(balancer: &Balancer) {
    let pid = data_pid(balancer);
    let served = || balancer.process.stderr().matches(" serving").count();
    let before = served();
    signal_pid(pid, Signal::KILL).unwrap();
    eventually("the next data process", || {
        (served() > before).then_some(())
    });
}

/// What the page of metrics says of a series.
fn metric(balancer: &Balancer, series: &str) -> u64 {
    let mut stream =
        std::os::unix::net::UnixStream::connect(crate::operator::socket_of(&balancer.process))
            .unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    std::io::Write::write_all(&mut stream, request).unwrap();
    let mut page = String::new();
    std::io::Read::read_to_string(&mut stream, &mut page).unwrap();
    let (_, rest) = page.split_once(&format!("\n{series} ")).unwrap();
    rest.lines().next().unwrap().parse().unwrap()
}

/// Waits until all that there is now of `part` is copied.
fn wait_for_copy(balancer: &Balancer, part: &str) {
    let series = format!("catamaran_state_copies_total{{part=\"{part}\",result=\"ok\"}}");
    let copies = || metric(balancer, &series);
    // The next to be done may have begun already.
    let enough = copies() + 2;
    eventually("two copies", || (copies() >= enough).then_some(()));
}

fn answer_from(balancer: &Balancer, host: u8) -> String {
    let source = IpAddr::from([127, 0, 7, host]);
    let mut client = Client::connect_from(source, balancer.addr()).unwrap();
    client.get("/").unwrap().text()
}

fn path(server: SocketAddr) -> String {
    format!("/v1/backends/app/servers/{server}")
}

#[test]
fn clients_stay_on_their_server_when_the_data_process_is_killed() {
    let (_origins, addrs) = numbered(8);
    let stick = "balance = \"random\"\nstick = { on = \"source-ip\", for = \"1h\" }";
    let balancer = steered(&addrs, "", stick);
    let mut expected: Vec<String> = (0..20).map(|host| answer_from(&balancer, host)).collect();
    for round in 0..3 {
        wait_for_copy(&balancer, "tables");
        kill(&balancer);
        let after: Vec<String> = (0..20).map(|host| answer_from(&balancer, host)).collect();
        assert_eq!(after, expected, "round {round}");
        // One more each time, in the table that was restored.
        let host = 100 + round;
        expected.push(answer_from(&balancer, host));
        assert_eq!(answer_from(&balancer, host), expected.pop().unwrap());
    }
}

#[test]
fn clients_stay_on_their_server_when_the_next_data_process_dies_at_once() {
    let (_origins, addrs) = numbered(8);
    let stick = "balance = \"random\"\nstick = { on = \"source-ip\", for = \"1h\" }";
    let balancer = steered(&addrs, "", stick);
    let answers = |hosts: u8| -> Vec<String> {
        (0..hosts)
            .map(|host| answer_from(&balancer, host))
            .collect()
    };
    let expected = answers(50);
    wait_for_copy(&balancer, "tables");
    kill(&balancer);
    // Few parts of the table have been needed so far.
    assert_eq!(answers(3), expected[..3]);
    kill(&balancer);
    assert_eq!(answers(50), expected);
}

#[test]
fn a_limit_that_is_used_up_stays_used_up_when_the_data_process_is_killed() {
    let (_origins, addrs) = numbered(1);
    let config = crate::operator::config(&addrs, "", "").replace(
        "backend = \"app\"\n",
        "backend = \"app\"\nrate-limit = { requests = 2, per = \"10m\", burst = 2 }\n",
    );
    let balancer = Balancer::start(&config);
    let status = || http_get(balancer.addr(), "/").unwrap().status;
    assert_eq!([status(), status(), status()], [200, 200, 429]);
    wait_for_copy(&balancer, "tables");
    kill(&balancer);
    assert_eq!(status(), 429);
}

#[test]
fn what_an_operator_changed_is_kept_from_the_answer_on() {
    let (origins, addrs) = numbered(4);
    let balancer = steered(&addrs[..3], "", "balance = \"random\"");
    let change = |method: &str, path: &str, body: &str| {
        let (status, told) = ask(&balancer, method, path, body);
        assert_eq!(status, 200, "{told}");
    };
    let add = format!(
        "{{\"address\": \"{}\", \"name\": \"late\", \"weight\": 7}}",
        addrs[3]
    );
    change("POST", "/v1/backends/app/servers", &add);
    change("DELETE", &path(addrs[1]), "");
    change("PATCH", &path(addrs[2]), "{\"weight\": 9}");
    change("PATCH", &path(addrs[0]), "{\"admin\": \"drain\"}");
    let shown = || {
        let (_, backend) = ask(&balancer, "GET", "/v1/backends/app", "");
        let servers = backend["servers"].as_array().unwrap().iter();
        let facts = servers.map(|s| (s["name"].clone(), s["admin"].clone(), s["weight"].clone()));
        facts.collect::<Vec<(Value, Value, Value)>>()
    };
    let before = shown();
    // No time to copy anything after the answer.
    kill(&balancer);
    assert_eq!(shown(), before);
    let asked: Vec<usize> = origins.iter().map(|o| o.requests().len()).collect();
    for _ in 0..30 {
        http_get(balancer.addr(), "/").unwrap();
    }
    assert_eq!(origins[0].requests().len(), asked[0], "it drains");
    assert_eq!(origins[1].requests().len(), asked[1], "it was removed");
}

#[test]
fn a_removed_server_stays_away_whatever_is_written_of_it() {
    let (origins, addrs) = numbered(3);
    let balancer = steered(&addrs, "", "source = \"127.0.0.1\"");
    let (status, told) = ask(&balancer, "DELETE", &path(addrs[1]), "");
    assert_eq!(status, 200, "{told}");
    kill(&balancer);
    let (_, backend) = ask(&balancer, "GET", "/v1/backends/app", "");
    assert_eq!(backend["servers"].as_array().unwrap().len(), 2, "{backend}");
    for _ in 0..10 {
        http_get(balancer.addr(), "/").unwrap();
    }
    assert_eq!(origins[1].requests().len(), 0);
}

#[test]
fn a_server_known_to_be_down_gets_nothing_from_the_next_data_process() {
    let (mut origins, addrs) = numbered(2);
    let health = "balance = \"random\"\nhealth = { http = \"/health\", interval = \"30s\", \
                  fast-interval = \"50ms\", rise = 1000 }";
    let balancer = steered(&addrs, "", health);
    origins[0].crash();
    balancer
        .process
        .wait_for_stderr("server is down", PATIENCE)
        .unwrap();
    wait_for_copy(&balancer, "tables");
    origins[0].restart().unwrap();
    kill(&balancer);
    let (_, process) = ask(&balancer, "GET", "/v1/process", "");
    assert_eq!(process["readiness"], "ready", "{process}");
    // It would answer, which nobody knows yet: with 1,000 checks to come up, one answer from it would
    // mean that it was taken to be up.
    for _ in 0..50 {
        assert_eq!(http_get(balancer.addr(), "/").unwrap().text(), "1");
    }
}

#[test]
fn counters_go_on_when_the_data_process_is_killed() {
    let (_origins, addrs) = numbered(1);
    let balancer = steered(&addrs, "", "");
    let series = "catamaran_frontend_responses_total{frontend=\"web\",class=\"2xx\"}";
    let served = || metric(&balancer, series);
    for _ in 0..5 {
        http_get(balancer.addr(), "/").unwrap();
    }
    eventually("the count", || (served() == 5).then_some(()));
    wait_for_copy(&balancer, "counters");
    kill(&balancer);
    http_get(balancer.addr(), "/").unwrap();
    eventually("the count", || (served() == 6).then_some(()));
}
