//! Nodes of a cluster: what one knows, the others know.

use crate::balancer::{Balancer, quoted};
use crate::operator::ask;
use crate::trial::{is_full, rounds};
use crate::upgrade::upgrade;
use crate::{PATIENCE, eventually};
use catamaran_testkit::{
    Client, Load, Origin, ReservedPort, RunningLoad, Signal, TempDir, descendants, http_get,
    signal_pid,
};
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Where the nodes of a cluster listen for each other, and their secrets.
pub(crate) struct Cluster {
    ports: Vec<(&'static str, ReservedPort)>,
    secrets: TempDir,
}

impl Cluster {
    pub(crate) fn of(names: &[&'static str]) -> Self {
        let port = |name: &&'static str| (*name, ReservedPort::any().unwrap());
        let cluster = Self {
            ports: names.iter().map(port).collect(),
            secrets: TempDir::create().unwrap(),
        };
        cluster.write_secret("first", "a");
        cluster
    }

    fn write_secret(&self, name: &str, digit: &str) -> PathBuf {
        let path = self.secrets.write(name, &digit.repeat(64)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// The `[cluster]` section of a node, with these secrets.
    pub(crate) fn section(&self, name: &str, secrets: &[&str]) -> String {
        let own = self.ports.iter().find(|(other, _)| *other == name).unwrap();
        let others = self.ports.iter().filter(|(other, _)| *other != name);
        let peers = others.map(|(name, port)| format!("{name} = \"{}\"", port.addr()));
        let peers: Vec<String> = peers.collect();
        let files = secrets.iter().map(|name| self.secrets.path().join(name));
        let files: Vec<String> = files.map(|path| path.display().to_string()).collect();
        format!(
            "[cluster]\nnode = \"{name}\"\nlisten = \"{}\"\npeers = {{ {} }}\nsecret-files = {}\n",
            own.1.addr(),
            peers.join(", "),
            quoted(&files)
        )
    }
}

/// A whole configuration around a `[cluster]` section.
fn config(section: &str, servers: &[SocketAddr], frontend: &str, backend: &str) -> String {
    format!(
        "[process]\nworkers = 2\n[admin]\nsocket = \"admin.sock\"\n{section}\
         [backend.app]\nservers = {}\n{backend}\n\
         [frontend.web]\nlisten = \"127.0.0.1:0\"\nbackend = \"app\"\n{frontend}\n",
        quoted(servers)
    )
}

const STICK: &str = "balance = \"random\"\nstick = { on = \"source-ip\", for = \"10m\" }";

fn numbered(count: usize) -> (Vec<Origin>, Vec<SocketAddr>) {
    let start = |number: usize| Origin::fixed(200, &number.to_string()).start().unwrap();
    let origins: Vec<_> = (0..count).map(start).collect();
    let addrs = origins.iter().map(Origin::addr).collect();
    (origins, addrs)
}

fn peers(balancer: &Balancer) -> Value {
    let (status, cluster) = ask(balancer, "GET", "/v1/peers", "");
    assert_eq!(status, 200, "{cluster}");
    cluster
}

fn wait_for(balancer: &Balancer, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    eventually(what, || {
        let cluster = peers(balancer);
        is_so(&cluster).then_some(cluster)
    })
}

fn in_step(balancer: &Balancer) {
    wait_for(balancer, "peers in step", |cluster| {
        let all = cluster["peers"].as_array().unwrap();
        cluster["current"] == true && all.iter().all(|peer| peer["state"] == "in-step")
    });
}

/// Waits until so many entries have been sent and all have arrived. Returns how many were sent.
fn told(balancer: &Balancer, least: u64) -> u64 {
    let cluster = wait_for(balancer, "all is told", |cluster| {
        let peer = &cluster["peers"][0];
        peer["waiting"] == 0 && peer["totals"]["sent"].as_u64() >= Some(least)
    });
    cluster["peers"][0]["totals"]["sent"].as_u64().unwrap()
}

/// A client by its number, up to 16 million of them.
fn source(number: u32) -> IpAddr {
    let [_, high, middle, low] = (number + 256).to_be_bytes();
    IpAddr::from([127, high + 1, middle, low])
}

fn server_of(at: SocketAddr, number: u32) -> String {
    let mut client = Client::connect_from(source(number), at).unwrap();
    client.get("/").unwrap().text()
}

/// How many of so many clients find at `other` the server that they had at `one`.
fn kept(one: &[String], other: SocketAddr) -> usize {
    let again = (0..).zip(one);
    again
        .filter(|(number, before)| server_of(other, *number) == **before)
        .count()
}

/// Kills the whole tree, who would start another first.
fn kill_all(balancer: &Balancer) {
    let children = descendants(balancer.process.pid());
    balancer.process.signal(Signal::KILL).unwrap();
    for pid in children {
        let _ = signal_pid(pid, Signal::KILL);
    }
}

#[test]
fn clients_find_their_server_at_the_other_node_when_theirs_is_killed() {
    let clients = u32::try_from(rounds(10_000)).unwrap();
    let (_origins, addrs) = numbered(3);
    let cluster = Cluster::of(&["a", "b"]);
    let [a, b] = ["a", "b"].map(|name| {
        let section = cluster.section(name, &["first"]);
        Balancer::start(&config(&section, &addrs, "", STICK))
    });
    in_step(&a);
    let before: Vec<String> = (0..clients).map(|n| server_of(a.addr(), n)).collect();
    // Whatever a had not told by then, a few milliseconds' worth, is lost. That a starved machine
    // may make it more is for the trial in full to say.
    if !is_full() {
        told(&a, clients.into());
    }
    kill_all(&a);
    let kept = kept(&before, b.addr());
    let least = before.len() * 999 / 1000;
    assert!(kept >= least, "{kept} of {clients}");
    let lost = wait_for(&b, "the loss", |cluster| {
        cluster["peers"][0]["state"] == "away"
    });
    assert_eq!(lost["peers"][0]["totals"]["disconnects"], 1, "{lost}");
}

#[test]
fn without_replication_clients_find_their_server_at_another_node_by_chance_only() {
    let clients = u32::try_from(rounds(3000)).unwrap();
    let (_origins, addrs) = numbered(3);
    let [a, b] = ["a", "b"].map(|_| Balancer::start(&config("", &addrs, "", STICK)));
    let before: Vec<String> = (0..clients).map(|n| server_of(a.addr(), n)).collect();
    let share = kept(&before, b.addr()) as f64 / f64::from(clients);
    assert!((0.2..0.5).contains(&share), "{share}");
    assert_eq!(peers(&a)["node"], Value::Null);
}

#[test]
fn a_limit_holds_for_both_nodes_together() {
    let (_origins, addrs) = numbered(1);
    let cluster = Cluster::of(&["a", "b"]);
    // Nothing is full again within the test: what passes is exactly the limit, and what the two had
    // not yet heard of each other.
    let limit = "rate-limit = { requests = 200, per = \"1h\", burst = 200 }";
    let both = ["a", "b"].map(|name| {
        let section = cluster.section(name, &["first"]);
        Balancer::start(&config(&section, &addrs, limit, ""))
    });
    both.iter().for_each(in_step);
    let (mut passed, mut sent) = (0, [0, 0]);
    for _ in 0..20 {
        let mut some = [0, 0];
        for round in 0..20 {
            let status = http_get(both[round % 2].addr(), "/").unwrap().status;
            some[round % 2] += usize::from(status == 200);
        }
        passed += some[0] + some[1];
        for (node, (sent, some)) in both.iter().zip(sent.iter_mut().zip(some)) {
            *sent = told(node, *sent + u64::from(some > 0));
        }
    }
    assert!((200..=230).contains(&passed), "{passed}");
}

/// Requests that passed of so many to each node at the same moment.
fn burst(nodes: &[Balancer], clients: usize, requests: usize) -> usize {
    let start = Barrier::new(nodes.len() * clients);
    let (start, targets) = (&start, &vec!["/"; requests][..]);
    std::thread::scope(|scope| {
        let client = |node: &Balancer| {
            let mut client = node.connect();
            scope.spawn(move || {
                start.wait();
                let answers = client.pipeline(targets).unwrap();
                answers.iter().filter(|one| one.status == 200).count()
            })
        };
        let all = nodes.iter().flat_map(|node| vec![node; clients]);
        let all: Vec<_> = all.map(client).collect();
        all.into_iter().map(|one| one.join().unwrap()).sum()
    })
}

#[test]
fn bursts_to_both_nodes_at_once_get_no_more_than_one_node_would_give() {
    let (_origins, addrs) = numbered(1);
    let cluster = Cluster::of(&["a", "b"]);
    let limit = "rate-limit = { requests = 100, per = \"1s\", burst = 100 }";
    let both = ["a", "b"].map(|name| {
        let section = cluster.section(name, &["first"]);
        Balancer::start(&config(&section, &addrs, limit, ""))
    });
    both.iter().for_each(in_step);
    let (start, mut passed) = (Instant::now(), 0);
    for wave in 0..8 {
        passed += burst(&both, 4, 40);
        let time = start.elapsed().as_secs_f64();
        let lag = 0.25;
        let most = (100.0 + 100.0 * time) * 1.05 + 100.0 * lag;
        assert!(
            (passed as f64) < most,
            "{passed} of {most} in wave {wave}, after {time} s"
        );
        // None, a short one, a long one.
        std::thread::sleep(Duration::from_millis(100 * (wave % 4)));
    }
    let least = (100.0 + 100.0 * start.elapsed().as_secs_f64()) / 2.0;
    assert!(passed as f64 > least, "{passed}, at least {least}");
}

#[test]
fn a_node_that_comes_late_is_taught_all_and_then_current() {
    let (_origins, addrs) = numbered(3);
    let cluster = Cluster::of(&["a", "b"]);
    let start = |name: &str| {
        let section = cluster.section(name, &["first"]);
        Balancer::start(&config(&section, &addrs, "", STICK))
    };
    let a = start("a");
    // Nobody else is there: after a while it counts as current alone.
    wait_for(&a, "a is current alone", |cluster| {
        cluster["current"] == true
    });
    let before: Vec<String> = (0..200).map(|n| server_of(a.addr(), n)).collect();
    let b = start("b");
    in_step(&b);
    assert_eq!(kept(&before, b.addr()), before.len());
    let (_, events) = ask(&b, "GET", "/v1/events", "");
    let kinds: Vec<&str> = events
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|e| e["kind"].as_str())
        .collect();
    assert!(kinds.contains(&"peer-connected"), "{kinds:?}");
    assert!(kinds.contains(&"replication-current"), "{kinds:?}");
}

#[test]
fn a_data_process_that_is_killed_goes_on_as_the_same_node() {
    let (_origins, addrs) = numbered(3);
    let cluster = Cluster::of(&["a", "b"]);
    let [a, b] = ["a", "b"].map(|name| {
        let section = cluster.section(name, &["first"]);
        Balancer::start(&config(&section, &addrs, "", STICK))
    });
    in_step(&a);
    let before: Vec<String> = (0..100).map(|n| server_of(a.addr(), n)).collect();
    told(&a, 100);
    let pid = ask(&a, "GET", "/v1/process", "").1["pid"].as_u64().unwrap();
    signal_pid(u32::try_from(pid).unwrap(), Signal::KILL).unwrap();
    wait_for(&b, "a is back", |cluster| {
        let peer = &cluster["peers"][0];
        peer["state"] == "in-step" && peer["totals"]["disconnects"].as_u64() >= Some(1)
    });
    assert_eq!(kept(&before, a.addr()), before.len());
    assert_eq!(kept(&before, b.addr()), before.len());
}

#[test]
fn a_node_with_another_secret_is_refused_and_comes_in_once_it_is_given_the_right_one() {
    let (_origins, addrs) = numbered(1);
    let cluster = Cluster::of(&["a", "b"]);
    cluster.write_secret("second", "b");
    let start = |name: &str, secret: &str| {
        let section = cluster.section(name, &[secret]);
        Balancer::start(&config(&section, &addrs, "", STICK))
    };
    let (a, b) = (start("a", "first"), start("b", "second"));
    b.process
        .wait_for_stderr("does not know the secret", PATIENCE)
        .unwrap();
    a.process
        .wait_for_stderr("does not know the secret", PATIENCE)
        .unwrap();
    assert_eq!(peers(&a)["peers"][0]["state"], "away");
    let (_, page) = ask(&b, "GET", "/v1/state", "");
    assert_eq!(page["cluster"]["peers"][0]["state"], "away");
    rewrite(
        &b,
        &config(&cluster.section("b", &["first"]), &addrs, "", STICK),
    );
    in_step(&a);
    // Neither secret is ever told.
    for log in [a.process.stderr(), b.process.stderr()] {
        assert!(!log.contains("aaaaaaaa") && !log.contains("bbbbbbbb"));
    }
}

/// Has a balancer serve another text.
fn rewrite(balancer: &Balancer, text: &str) {
    std::fs::write(balancer.process.config_path(), text).unwrap();
    let (status, told) = ask(balancer, "POST", "/v1/reload", "{}");
    assert_eq!(status, 200, "{told}");
}

#[test]
fn a_secret_is_exchanged_node_by_node_without_a_gap() {
    let (_origins, addrs) = numbered(3);
    let cluster = Cluster::of(&["a", "b"]);
    cluster.write_secret("second", "b");
    let with =
        |name: &str, secrets: &[&str]| config(&cluster.section(name, secrets), &addrs, "", STICK);
    let [a, b] = ["a", "b"].map(|name| Balancer::start(&with(name, &["first"])));
    in_step(&a);
    let before: Vec<String> = (0..20).map(|n| server_of(a.addr(), n)).collect();
    for secrets in [&["second", "first"][..], &["second"]] {
        rewrite(&a, &with("a", secrets));
        rewrite(&b, &with("b", secrets));
        in_step(&a);
    }
    // Known runs that met again: nothing was taught anew.
    wait_for(&a, "one exchange of connections", |cluster| {
        let totals = &cluster["peers"][0]["totals"];
        totals["taught"] == 1 && cluster["peers"][0]["state"] == "in-step"
    });
    assert_eq!(kept(&before, b.addr()), before.len());
}

#[test]
fn what_an_operator_drains_at_one_node_drains_at_the_other() {
    let (_origins, addrs) = numbered(2);
    let cluster = Cluster::of(&["a", "b"]);
    let start = |name: &str| {
        let section = cluster.section(name, &["first"]);
        Balancer::start(&config(&section, &addrs, "", STICK))
    };
    let (a, b) = (start("a"), start("b"));
    in_step(&a);
    let path = format!("/v1/backends/app/servers/{}", addrs[0]);
    let is = |node: &Balancer, word: &str| {
        eventually(word, || {
            (ask(node, "GET", &path, "").1["admin"] == word).then_some(())
        });
    };
    let set = |node: &Balancer, word: &str| {
        let body = format!("{{\"admin\": \"{word}\"}}");
        assert_eq!(ask(node, "PATCH", &path, &body).0, 200);
    };
    set(&a, "drain");
    is(&b, "drain");
    set(&b, "ready");
    is(&a, "ready");
    set(&a, "maintenance");
    is(&b, "maintenance");
    // One that starts with nothing hears of it.
    kill_all(&b);
    drop(b);
    let b = start("b");
    is(&b, "maintenance");
}

#[test]
fn a_drain_ends_with_the_server_that_it_was_about() {
    let (_origins, addrs) = numbered(3);
    let cluster = Cluster::of(&["a", "b"]);
    let start = |name: &str| {
        let section = cluster.section(name, &["first"]);
        Balancer::start(&config(&section, &addrs[..2], "", STICK))
    };
    let (a, b) = (start("a"), start("b"));
    in_step(&a);
    let servers = "/v1/backends/app/servers";
    let admin = |node: &Balancer, server: SocketAddr| {
        let (_, server) = ask(node, "GET", &format!("{servers}/{server}"), "");
        server["admin"].as_str().map(str::to_owned)
    };
    let drain = |node: &Balancer, server: SocketAddr| {
        let path = format!("{servers}/{server}");
        let (status, told) = ask(node, "PATCH", &path, "{\"admin\": \"drain\"}");
        assert_eq!(status, 200, "{told}");
    };
    let is_drained = |node: &Balancer, server: SocketAddr| {
        eventually("the drain", || {
            (admin(node, server).as_deref() == Some("drain")).then_some(())
        });
    };
    let add = |node: &Balancer| {
        let new = format!("{{\"address\": \"{}\"}}", addrs[2]);
        let (status, told) = ask(node, "POST", servers, &new);
        assert_eq!(status, 200, "{told}");
    };
    [&a, &b].into_iter().for_each(add);
    drain(&a, addrs[2]);
    is_drained(&b, addrs[2]);
    for node in [&a, &b] {
        let path = format!("{servers}/{}", addrs[2]);
        assert_eq!(ask(node, "DELETE", &path, "").0, 200);
    }
    // Another of the same name, weeks later. What is told after its beginning has passed all before.
    [&a, &b].into_iter().for_each(add);
    for (number, (from, to)) in [(&a, &b), (&b, &a)].into_iter().enumerate() {
        drain(from, addrs[number]);
        is_drained(to, addrs[number]);
    }
    // The next run is told all that is known.
    let pid = ask(&a, "GET", "/v1/process", "").1["pid"].as_u64().unwrap();
    signal_pid(u32::try_from(pid).unwrap(), Signal::KILL).unwrap();
    wait_for(&b, "a is back", |cluster| {
        let peer = &cluster["peers"][0];
        peer["state"] == "in-step" && peer["totals"]["disconnects"].as_u64() >= Some(1)
    });
    let body = "{\"admin\": \"maintenance\"}";
    let path = format!("{servers}/{}", addrs[0]);
    assert_eq!(ask(&b, "PATCH", &path, body).0, 200);
    eventually("a hears b", || {
        (admin(&a, addrs[0]).as_deref() == Some("maintenance")).then_some(())
    });
    for node in [&a, &b] {
        assert_eq!(admin(node, addrs[2]).as_deref(), Some("ready"));
    }
}

#[test]
fn affinity_that_an_operator_deletes_at_one_node_is_gone_at_the_other() {
    let (_origins, addrs) = numbered(3);
    let cluster = Cluster::of(&["a", "b"]);
    let [a, b] = ["a", "b"].map(|name| {
        let section = cluster.section(name, &["first"]);
        Balancer::start(&config(&section, &addrs, "", STICK))
    });
    in_step(&a);
    for number in 0..10 {
        server_of(a.addr(), number);
    }
    let entries = |node: &Balancer| ask(node, "GET", "/v1/tables", "").1[0]["entries"].clone();
    eventually("b has them", || (entries(&b) == 10).then_some(()));
    told(&a, 10);
    let entry = format!("/v1/tables/app/entry?key={}", source(3));
    assert_eq!(ask(&a, "DELETE", &entry, "").0, 200);
    assert_eq!((entries(&a), entries(&b)), (9.into(), 9.into()));
    assert_eq!(ask(&b, "GET", &entry, "").0, 404);
    assert_eq!(ask(&b, "DELETE", "/v1/tables/app", "").0, 200);
    assert_eq!((entries(&a), entries(&b)), (0.into(), 0.into()));
    // Where it comes back from is told.
    kill_all(&b);
    wait_for(&a, "b is away", |cluster| {
        cluster["peers"][0]["state"] == "away"
    });
    assert_eq!(ask(&a, "DELETE", "/v1/tables/app", "").0, 200);
    let told = "but not at b: do it there too";
    a.process.wait_for_stderr(told, PATIENCE).unwrap();
}

#[test]
fn drift_is_seen_told_and_mended_by_a_push() {
    let (_origins, addrs) = numbered(2);
    let cluster = Cluster::of(&["a", "b"]);
    let [a, b] = ["a", "b"].map(|name| {
        let section = cluster.section(name, &["first"]);
        Balancer::start(&config(&section, &addrs[..1], "", STICK))
    });
    in_step(&a);
    let drifted = |node: &Balancer, is: bool| {
        wait_for(node, "drift or none", |cluster| {
            cluster["peers"][0]["drifted"] == is
        });
    };
    drifted(&a, false);
    rewrite(
        &a,
        &config(&cluster.section("a", &["first"]), &addrs, "", STICK),
    );
    drifted(&a, true);
    drifted(&b, true);
    let (status, told) = ask(&a, "POST", "/v1/config/push", "{\"peer\": \"c\"}");
    assert_eq!(status, 404, "{told}");
    let (status, told) = ask(&a, "POST", "/v1/config/push", "{}");
    assert_eq!(status, 200, "{told}");
    assert_eq!(told["peers"][0]["peer"], "b", "{told}");
    assert_eq!(told["peers"][0]["applied"], true, "{told}");
    drifted(&a, false);
    drifted(&b, false);
    // It serves both servers, wrote that into its file, and is still itself.
    let (_, backend) = ask(&b, "GET", "/v1/backends/app", "");
    assert_eq!(backend["servers"].as_array().unwrap().len(), 2);
    let file = std::fs::read_to_string(b.process.config_path()).unwrap();
    assert!(
        file.contains("node = \"b\"") && file.contains(&addrs[1].to_string()),
        "{file}"
    );
    // A file that somebody edits meanwhile is not overwritten.
    std::fs::write(b.process.config_path(), "# edited").unwrap();
    let (_, told) = ask(&a, "POST", "/v1/config/push", "{}");
    assert_eq!(told["peers"][0]["applied"], false, "{told}");
    let message = told["peers"][0]["message"].as_str().unwrap();
    assert!(message.contains("was changed since"), "{message}");
}

#[test]
fn a_peer_that_stands_still_harms_nobody_and_catches_up() {
    let (_origins, addrs) = numbered(3);
    let cluster = Cluster::of(&["a", "b"]);
    let [a, b] = ["a", "b"].map(|name| {
        let section = cluster.section(name, &["first"]);
        Balancer::start(&config(&section, &addrs, "", STICK))
    });
    in_step(&a);
    let mut tree = vec![b.process.pid()];
    tree.extend(descendants(b.process.pid()));
    for pid in &tree {
        signal_pid(*pid, Signal::STOP).unwrap();
    }
    let resident = || a.process.usage().unwrap().resident_bytes;
    let before = resident();
    let clients = if is_full() { 3000 } else { 300 };
    // The same few clients change all the time: what waits for b does not grow with that.
    let mut slowest = Duration::ZERO;
    for round in 0..3 {
        for number in 0..clients {
            let began = Instant::now();
            server_of(a.addr(), number);
            slowest = slowest.max(began.elapsed());
        }
        if round == 0 {
            wait_for(&a, "the silence", |cluster| {
                cluster["peers"][0]["state"] == "away"
            });
        }
    }
    assert!(slowest < PATIENCE / 2, "{slowest:?}");
    let waiting = peers(&a)["peers"][0]["waiting"].as_u64().unwrap();
    assert!(waiting <= u64::from(clients) + 128, "{waiting}");
    let grown = resident().saturating_sub(before);
    assert!(grown < 64 << 20, "{grown} bytes more");
    for pid in &tree {
        signal_pid(*pid, Signal::CONT).unwrap();
    }
    in_step(&a);
    let expected: Vec<String> = (0..clients).map(|n| server_of(a.addr(), n)).collect();
    told(&a, clients.into());
    assert_eq!(kept(&expected, b.addr()), expected.len());
}

#[test]
fn a_node_joins_leaves_and_joins_again_by_reload() {
    let (_origins, addrs) = numbered(3);
    let cluster = Cluster::of(&["a", "b"]);
    let text = |section: &str| config(section, &addrs, "", STICK);
    let a = Balancer::start(&text(&cluster.section("a", &["first"])));
    let b = Balancer::start(&text(""));
    let before: Vec<String> = (0..50).map(|n| server_of(a.addr(), n)).collect();
    // Its data process sees no files but those beside its configuration.
    let secret = b.process.dir().path().join("cluster.key");
    std::fs::copy(cluster.secrets.path().join("first"), &secret).unwrap();
    let section = cluster.section("b", &["first"]);
    let there = cluster.secrets.path().join("first").display().to_string();
    let section = section.replace(&there, &secret.display().to_string());
    for _ in 0..2 {
        rewrite(&b, &text(&section));
        in_step(&b);
        assert_eq!(kept(&before, b.addr()), before.len());
        rewrite(&b, &text(""));
        wait_for(&a, "b has left", |cluster| {
            cluster["peers"][0]["state"] == "away"
        });
        assert_eq!(peers(&b)["node"], Value::Null);
    }
}

#[test]
fn an_upgrade_of_a_node_under_load_keeps_its_peer_and_what_both_know() {
    let (_origins, addrs) = numbered(3);
    let cluster = Cluster::of(&["a", "b"]);
    let both = ["a", "b"].map(|name| {
        let section = cluster.section(name, &["first"]);
        Balancer::start(&config(&section, &addrs, "", STICK))
    });
    both.iter().for_each(in_step);
    let [a, b] = &both;
    let before: Vec<String> = (0..100).map(|n| server_of(a.addr(), n)).collect();
    told(a, 100);
    let loads = both.each_ref().map(|node| {
        let load = Load::new(node.addr(), 100.0);
        load.max_in_flight(64).start()
    });
    let (mut known, mut next) = (before, 100);
    for node in [a, b, a] {
        let other = if node.addr() == a.addr() { b } else { a };
        // While one node is upgraded, the other binds clients that it has never seen.
        let ends = AtomicBool::new(false);
        let bound = std::thread::scope(|scope| {
            let clients = scope.spawn(|| {
                let numbers = (next..).take_while(|_| !ends.load(Ordering::Relaxed));
                let bound = numbers.map(|number| server_of(other.addr(), number));
                bound.collect::<Vec<String>>()
            });
            upgrade(node);
            ends.store(true, Ordering::Relaxed);
            clients.join().unwrap()
        });
        next += u32::try_from(bound.len()).unwrap();
        known.extend(bound);
        both.iter().for_each(in_step);
        for node in &both {
            wait_for(node, "all is told", |cluster| {
                cluster["peers"][0]["waiting"] == 0
            });
            assert_eq!(kept(&known, node.addr()), known.len());
        }
    }
    for report in loads.map(RunningLoad::stop) {
        assert_eq!(report.failures(), 0, "{report:?}");
        assert!(report.ok > 0, "{report:?}");
    }
    for node in &both {
        let told = peers(node);
        assert_eq!(told["peers"][0]["state"], "in-step", "{told}");
    }
}

#[test]
fn a_port_that_another_has_is_told_and_taken_once_it_is_free() {
    let (_origins, addrs) = numbered(1);
    let cluster = Cluster::of(&["a", "b"]);
    let other = std::net::TcpListener::bind(cluster.ports[0].1.addr()).unwrap();
    let section = cluster.section("a", &["first"]);
    let a = Balancer::start(&config(&section, &addrs, "", STICK));
    let told = wait_for(&a, "the problem", |cluster| cluster["problem"].is_string());
    assert!(
        told["problem"]
            .as_str()
            .unwrap()
            .contains("change `listen`"),
        "{told}"
    );
    assert_eq!(http_get(a.addr(), "/").unwrap().status, 200);
    drop(other);
    wait_for(&a, "the port", |cluster| cluster["problem"].is_null());
}
