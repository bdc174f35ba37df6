//! Another binary in place of the one that serves: nobody notices.

use crate::balancer::{Balancer, quoted};
use crate::operator::{ask, steered};
use crate::{PATIENCE, eventually, is_alive};
use catamaran_testkit::{
    Client, Load, Origin, Reply, Request, Signal, http_get, signal_pid, tunnel,
};
use serde_json::Value;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

fn data_pid(balancer: &Balancer) -> u32 {
    let (_, state) = ask(balancer, "GET", "/v1/process", "");
    u32::try_from(state["pid"].as_u64().unwrap()).unwrap()
}

/// Has the same binary take its own place; returns what it was.
fn upgrade(balancer: &Balancer) -> u32 {
    let before = data_pid(balancer);
    let (status, told) = ask(balancer, "POST", "/v1/upgrade", "{}");
    assert_eq!(status, 200, "{told}\n{}", balancer.process.stderr());
    let after = data_pid(balancer);
    assert_ne!(before, after);
    // The next upgrade is for the supervisor of the new binary.
    eventually("the new supervisor", || {
        let taken = format!("data process taken over pid={after}");
        balancer.process.stderr().contains(&taken).then_some(())
    });
    before
}

fn answer_from(balancer: &Balancer, host: u8) -> String {
    let source = IpAddr::from([127, 0, 8, host]);
    let mut client = Client::connect_from(source, balancer.addr()).unwrap();
    client.get("/").unwrap().text()
}

/// A balancer with everything that a trial needs: HTTP with WebSockets, and TCP.
fn full(served: &[SocketAddr], sockets: SocketAddr, echo: SocketAddr) -> Balancer {
    let config = format!(
        "[process]\nworkers = 2\ndrain-tunnels = \"1h\"\n[admin]\nsocket = \"admin.sock\"\n\
         [frontend.web]\nlisten = \"127.0.0.1:0\"\nbackend = \"app\"\n\
         [[frontend.web.route]]\npath = \"/socket\"\nbackend = \"sockets\"\n\
         [frontend.tcp]\nprotocol = \"tcp\"\nlisten = \"127.0.0.1:0\"\nbackend = \"echo\"\n\
         [backend.app]\nservers = {}\n[backend.sockets]\nservers = {}\n\
         [backend.echo]\nservers = {}\n",
        quoted(served),
        quoted(&[sockets]),
        quoted(&[echo])
    );
    Balancer::start(&config)
}

/// So many WebSockets, and so many relayed connections.
fn open_tunnels(balancer: &Balancer, sockets: usize, tcp: usize) -> Vec<Client> {
    let relayed = (0..tcp).map(|_| Client::connect(balancer.addr_of("tcp")).unwrap());
    let mut tunnels: Vec<Client> = relayed.collect();
    for _ in 0..sockets {
        let mut client = balancer.connect();
        let fields = ["Connection: upgrade", "Upgrade: websocket"];
        let response = client.request("GET", "/socket", &fields, b"").unwrap();
        assert_eq!(response.status, 101);
        tunnels.push(client);
    }
    tunnels
}

#[test]
fn upgrades_under_load_lose_nothing() {
    let is_full = std::env::var("CATAMARAN_ROUNDS").is_ok_and(|rounds| rounds == "full");
    let (rounds, rate, sockets, tcp) = match is_full {
        true => (10, 1000.0, 200, 50),
        false => (3, 150.0, 20, 10),
    };
    let served: Vec<Origin> = (0..2)
        .map(|_| {
            Origin::http(|_: &Request| Reply::new(200, "served"))
                .without_records()
                .start()
                .unwrap()
        })
        .collect();
    let socket = |_: &Request| Reply::upgrade("websocket", tunnel::echo());
    let socket = Origin::http(socket).start().unwrap();
    let echo = Origin::tcp(tunnel::echo()).start().unwrap();
    let addrs: Vec<_> = served.iter().map(Origin::addr).collect();
    let balancer = full(&addrs, socket.addr(), echo.addr());
    let supervisor = balancer.process.pid();
    let mut tunnels = open_tunnels(&balancer, sockets, tcp);
    let say = |tunnels: &mut Vec<Client>, text: &[u8]| {
        for (index, tunnel) in tunnels.iter_mut().enumerate() {
            tunnel.send(text).unwrap();
            let back = tunnel.receive(text.len());
            assert_eq!(
                back.as_deref(),
                Ok(text),
                "tunnel {index}: {}",
                balancer.process.stderr()
            );
        }
    };
    say(&mut tunnels, b"hello");
    let load = |load: Load| load.expect_body("served").max_in_flight(64).start();
    let kept = load(Load::new(balancer.addr(), rate));
    let fresh = load(Load::new(balancer.addr(), rate).without_keep_alive());
    for round in 0..rounds {
        upgrade(&balancer);
        say(&mut tunnels, format!("round {round}").as_bytes());
        std::thread::sleep(Duration::from_millis(300));
    }
    for (kind, load) in [("kept", kept), ("fresh", fresh)] {
        let report = load.stop();
        assert!(
            report.failures() == 0,
            "{kind}: {:?} {:?}",
            report.failed,
            report.first_failures
        );
        assert!(report.ok > 0, "{kind}");
        eprintln!(
            "{kind}: {} ok, 0 failed in {rounds} upgrades, p50 {:?}, p99.9 {:?}, longest {:?}",
            report.ok,
            report.quantile(0.5),
            report.quantile(0.999),
            report.quantile(1.0)
        );
    }
    say(&mut tunnels, b"to the end");
    assert!(is_alive(supervisor));
    drop(tunnels);
    // Those before end when their tunnels have: one process is left, and none unburied.
    eventually("the end of those before", || {
        (balancer.process.pids().len() == 2).then_some(())
    });
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one state, looked at before and after"
)]
fn what_is_known_and_counted_is_the_same_after_an_upgrade() {
    let start = |number: usize| Origin::fixed(200, &number.to_string()).start().unwrap();
    let mut origins: Vec<_> = (0..5).map(start).collect();
    let echo = Origin::tcp(tunnel::echo()).start().unwrap();
    let addrs: Vec<_> = origins.iter().map(Origin::addr).collect();
    let health = format!(
        "balance = \"random\"\nstick = {{ on = \"source-ip\", for = \"1h\" }}\n\
         health = {{ http = \"/\", interval = \"30s\", fast-interval = \"50ms\", rise = 1000 }}\n\
         [backend.echo]\nservers = {}\n[frontend.tcp]\nprotocol = \"tcp\"\nlisten = \"127.0.0.1:0\"\n\
         backend = \"echo\"",
        quoted(&[echo.addr()])
    );
    let balancer = steered(&addrs, "", &health);
    origins[0].crash();
    balancer
        .process
        .wait_for_stderr("server is down", PATIENCE)
        .unwrap();
    let drained = format!("/v1/backends/app/servers/{}", addrs[1]);
    ask(&balancer, "PATCH", &drained, "{\"admin\": \"drain\"}");
    let mut tunnels: Vec<Client> = (0..7)
        .map(|_| Client::connect(balancer.addr_of("tcp")).unwrap())
        .collect();
    for tunnel in &mut tunnels {
        tunnel.send(b"x").unwrap();
        assert_eq!(tunnel.receive(1).unwrap(), b"x");
    }
    let before: Vec<String> = (0..30).map(|host| answer_from(&balancer, host)).collect();
    let known = || {
        let (_, state) = ask(&balancer, "GET", "/v1/state", "");
        let mut known = Vec::new();
        for backend in state["backends"].as_array().unwrap() {
            for server in backend["servers"].as_array().unwrap() {
                let keys = ["name", "admin", "health", "usable", "weight", "in_flight"];
                known.extend(keys.map(|key| server[key].clone()));
            }
        }
        let (_, page) = ask(&balancer, "GET", "/v1/tables/app?limit=1000", "");
        let entries = page["entries"].as_array().unwrap().iter();
        let mut entries: Vec<String> = entries
            .map(|entry| format!("{} {}", entry["key"], entry["server"]))
            .collect();
        entries.sort();
        known.push(Value::from(entries));
        known.push(state["process"]["readiness"].clone());
        Value::from(known)
    };
    // An exchange counts until a moment after its answer has come.
    eventually("no exchange in flight", || {
        let (_, backend) = ask(&balancer, "GET", "/v1/backends/app", "");
        let mut servers = backend["servers"].as_array().unwrap().iter();
        servers.all(|s| s["in_flight"] == 0).then_some(())
    });
    let expected = known();
    origins[0].restart().unwrap();
    origins[0].forget();
    upgrade(&balancer);
    let after: Vec<String> = (0..30).map(|host| answer_from(&balancer, host)).collect();
    assert_eq!(after, before);
    let mut last = Value::Null;
    let until = std::time::Instant::now() + PATIENCE;
    while last != expected && std::time::Instant::now() < until {
        last = known();
    }
    assert_eq!(last, expected);
    // With 1,000 checks to come up, clients would mean that it was taken to be up.
    for host in 100..150 {
        let answer = answer_from(&balancer, host);
        assert!(answer != "0" && answer != "1", "{answer}");
    }
    // Checks do not say for whom they ask.
    let of_client = |request: &Request| request.head.field("x-forwarded-for").is_some();
    assert!(!origins[0].requests().iter().any(of_client));
    // What ends in the old process ends in the new one's count too.
    drop(tunnels);
    eventually("nothing in flight", || {
        let (_, backend) = ask(&balancer, "GET", "/v1/backends/echo", "");
        (backend["servers"][0]["in_flight"] == 0).then_some(())
    });
}

/// A program that is no catamaran, outside of what the data process may write to.
fn program(balancer: &Balancer, name: &str, text: &str) -> PathBuf {
    let directory = balancer.process.dir().path().with_extension("bin");
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn a_binary_that_cannot_take_over_leaves_the_old_one_serving() {
    let origin = Origin::fixed(200, "up").start().unwrap();
    let balancer = steered(&[origin.addr()], "", "");
    let pid = data_pid(&balancer);
    let ours = std::process::Command::new(env!("CARGO_BIN_EXE_catamaran"))
        .arg("speaks")
        .output()
        .unwrap();
    let ours = String::from_utf8(ours.stdout).unwrap();
    let speaks = |words: &str| {
        format!("#!/bin/sh\nif [ $1 = speaks ]; then echo '{words}'; else exit 3; fi\n")
    };
    let cases = [
        (program(&balancer, "text", "hello"), "cannot be executed"),
        (
            program(&balancer, "fails", "#!/bin/sh\nexit 1\n"),
            "no catamaran of this kind",
        ),
        (
            program(
                &balancer,
                "newer",
                &speaks("catamaran 99.0.0 handover 900-999"),
            ),
            "restart instead",
        ),
        (
            program(&balancer, "dies", &speaks(ours.trim())),
            "data process",
        ),
        (PathBuf::from("/nonexistent/catamaran"), "cannot be read"),
        (
            balancer.process.config_path(),
            "the data process may write to that directory",
        ),
    ];
    for (path, reason) in cases {
        let body = format!("{{\"binary\": \"{}\"}}", path.display());
        // A child that another test forks this moment may hold the file open for writing.
        let (status, told) = eventually("an answer", || {
            let answer = ask(&balancer, "POST", "/v1/upgrade", &body);
            (!answer.1.to_string().contains("file busy")).then_some(answer)
        });
        let message = told["error"]["message"].to_string() + &told.to_string();
        assert_eq!(status, 409, "{told}");
        assert!(message.contains(reason), "{}: {message}", path.display());
        assert!(message.contains("the old binary goes on"), "{message}");
        assert_eq!(http_get(balancer.addr(), "/").unwrap().text(), "up");
        assert_eq!(data_pid(&balancer), pid);
    }
    // It changes nothing for one that can.
    upgrade(&balancer);
    assert_eq!(http_get(balancer.addr(), "/").unwrap().text(), "up");
    std::fs::remove_dir_all(balancer.process.dir().path().with_extension("bin")).ok();
}

#[test]
fn after_an_upgrade_by_signal_all_goes_on_as_before() {
    let origin = Origin::fixed(200, "up").start().unwrap();
    let mut balancer = steered(&[origin.addr()], "", "");
    let (first, supervisor) = (data_pid(&balancer), balancer.process.pid());
    balancer.process.signal(Signal::USR2).unwrap();
    let second = eventually("another data process", || {
        let pid = data_pid(&balancer);
        let taken = format!("data process taken over pid={pid}");
        let is_done = pid != first && balancer.process.stderr().contains(&taken);
        is_done.then_some(pid)
    });
    eventually("the end of the first", || (!is_alive(first)).then_some(()));
    assert!(is_alive(supervisor));
    // A reload, a death, a stop: by the supervisor of the new binary.
    let (status, told) = ask(&balancer, "POST", "/v1/reload", "{}");
    assert_eq!(status, 200, "{told}");
    signal_pid(second, Signal::KILL).unwrap();
    eventually("a third data process", || {
        let pids = balancer.process.pids();
        (pids.len() == 2 && !pids.contains(&second)).then_some(())
    });
    assert_eq!(http_get(balancer.addr(), "/").unwrap().text(), "up");
    balancer.process.terminate().unwrap();
    assert_eq!(balancer.process.wait(PATIENCE).unwrap().code(), Some(0));
}
