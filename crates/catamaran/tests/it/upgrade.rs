//! Another binary in place of the one that serves: nobody notices.

use crate::balancer::{Balancer, quoted};
use crate::operator::{ask, steered};
use crate::trial::{Drops, is_full};
use crate::{PATIENCE, eventually, is_alive};
use catamaran_testkit::{
    Client, Load, Origin, Reply, Request, RunningLoad, Signal, free_addr, http_get, signal_pid,
    tunnel,
};
use serde_json::Value;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::Duration;

fn data_pid(balancer: &Balancer) -> u32 {
    let (_, state) = ask(balancer, "GET", "/v1/process", "");
    u32::try_from(state["pid"].as_u64().unwrap()).unwrap()
}

/// Has the same binary take its own place; returns what it was.
pub(crate) fn upgrade(balancer: &Balancer) -> u32 {
    let before = data_pid(balancer);
    let (status, told) = ask(balancer, "POST", "/v1/upgrade", "{}");
    assert_eq!(status, 200, "{told}\n{}", balancer.process.stderr());
    let after = data_pid(balancer);
    assert_ne!(before, after, "{told}\n{}", balancer.process.stderr());
    let supervisor = balancer.process.pid();
    // By that name it is found (pgrep, killall, exporters).
    eventually("the name of the supervisor", || {
        let name = std::fs::read_to_string(format!("/proc/{supervisor}/comm")).unwrap();
        (name == "catamaran\n").then_some(())
    });
    // The next upgrade is for the supervisor of the new binary.
    let taken = format!("data process taken over pid={after}");
    balancer.process.wait_for_stderr(&taken, PATIENCE).unwrap();
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
    let (rounds, rate, sockets, tcp) = match is_full() {
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
    let before = Drops::so_far();
    let kept = load(Load::new(balancer.addr(), rate));
    let fresh = load(Load::new(balancer.addr(), rate).without_keep_alive());
    for round in 0..rounds {
        upgrade(&balancer);
        say(&mut tunnels, format!("round {round}").as_bytes());
        std::thread::sleep(Duration::from_millis(300));
    }
    let reports = [kept, fresh].map(RunningLoad::stop);
    for (kind, report) in ["kept", "fresh"].into_iter().zip(&reports) {
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
    eprintln!("{}", before.assert_no_more(&reports));
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

#[test]
fn whom_the_old_process_binds_while_it_drains_is_bound_in_the_new_one() {
    let start = |number: usize| Origin::fixed(200, &number.to_string()).start().unwrap();
    let origins: Vec<_> = (0..5).map(start).collect();
    let addrs: Vec<_> = origins.iter().map(Origin::addr).collect();
    let stick = "balance = \"random\"\nstick = { on = \"header:X-User\", for = \"1h\" }";
    let balancer = steered(&addrs, "", stick);
    // Idle connections stay open for one more request each.
    let mut clients: Vec<Client> = (0..20).map(|_| balancer.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").unwrap().status, 200);
    }
    upgrade(&balancer);
    let bound: Vec<String> = clients
        .iter_mut()
        .enumerate()
        .map(|(user, client)| {
            let user = format!("X-User: {user}");
            let answer = client.request("GET", "/", &[&user], b"").unwrap();
            assert!(!answer.keeps_alive(), "the old process answers");
            answer.text()
        })
        .collect();
    eventually("word of them", || {
        let (_, page) = ask(&balancer, "GET", "/v1/tables/app?limit=1000", "");
        let entries = page["entries"].as_array().unwrap().len();
        (entries == bound.len()).then_some(())
    });
    for (user, server) in bound.iter().enumerate() {
        let user = format!("X-User: {user}");
        let answer = balancer.connect().request("GET", "/", &[&user], b"");
        assert_eq!(answer.unwrap().text(), *server, "{user}");
    }
}

/// Sends a datagram from a socket of its own; returns what comes back.
/// The deadline is long enough for an upgrade on a busy machine, and the tunnel would go on for an hour.
#[test]
fn what_the_old_process_has_of_a_server_ends_at_the_deadline_of_its_drain() {
    let served = Origin::fixed(200, "x").start().unwrap();
    let echo = Origin::tcp(tunnel::echo()).start().unwrap();
    let balancer = full(&[served.addr()], served.addr(), echo.addr());
    let mut client = Client::connect(balancer.addr_of("tcp")).unwrap();
    client.send(b"hi").unwrap();
    assert_eq!(client.receive(2).unwrap(), b"hi");
    let path = format!("/v1/backends/echo/servers/{}", echo.addr());
    let drain = r#"{ "admin": "drain", "deadline_ms": 8000 }"#;
    assert_eq!(ask(&balancer, "PATCH", &path, drain).0, 200);
    upgrade(&balancer);
    client.set_patience(PATIENCE).unwrap();
    assert!(client.receive(1).is_err());
    let wanted = "drained; 1 in flight were ended";
    balancer.process.wait_for_stderr(wanted, PATIENCE).unwrap();
}

fn datagram(to: SocketAddr) -> Option<usize> {
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    let patience = Some(Duration::from_secs(5));
    client.set_read_timeout(patience).unwrap();
    client.send_to(b"ask", to).unwrap();
    client.recv(&mut [0; 16]).ok()
}

#[test]
fn datagrams_that_come_after_an_upgrade_are_all_for_the_new_process() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buf = [0; 16];
        // Ends with the test's process.
        while let Ok((len, from)) = server.recv_from(&mut buf) {
            let _ = server.send_to(&buf[..len], from);
        }
    });
    let dns = format!(
        "[frontend.dns]\nprotocol = \"udp\"\nlisten = \"127.0.0.1:0\"\nbackend = \"dns\"\n\
         [backend.dns]\nservers = [\"{address}\"]\n"
    );
    let origin = Origin::fixed(200, "up").start().unwrap();
    let balancer = steered(&[origin.addr()], "", &dns);
    let port = balancer.addr_of("dns");
    // A flow of the old process, which goes on to speak.
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.connect(port).unwrap();
    let speak = || {
        client.send(b"again").unwrap();
        assert_eq!(client.recv(&mut [0; 16]).unwrap(), 5);
    };
    speak();
    upgrade(&balancer);
    for number in 0..100 {
        speak();
        assert_eq!(datagram(port), Some(3), "datagram {number}");
    }
}

/// A program that is no catamaran, outside of what the data process may write to.
fn program(balancer: &Balancer, name: &str, text: &str) -> PathBuf {
    program_of_mode(balancer, name, 0o755, text)
}

fn program_of_mode(balancer: &Balancer, name: &str, mode: u32, text: &str) -> PathBuf {
    let directory = balancer.process.dir().path().with_extension("bin");
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    path
}

#[test]
fn a_change_on_a_connection_to_the_old_process_is_refused_and_not_lost() {
    let origin = Origin::fixed(200, "up").start().unwrap();
    let addr = free_addr().unwrap();
    let balancer = steered(&[origin.addr()], &format!("listen = \"{addr}\""), "");
    let mut client = Client::connect(addr).unwrap();
    let host = format!("Host: {addr}");
    let fields = [host.as_str(), "Content-Type: application/json"];
    let upgraded = client
        .request("POST", "/v1/upgrade", &fields, b"{}")
        .unwrap();
    assert_eq!(upgraded.status, 200, "{}", upgraded.text());
    let path = format!("/v1/backends/app/servers/{}", origin.addr());
    let drain = br#"{"admin": "drain"}"#;
    // The old process ends its pages soon, and the connection with them.
    if let Ok(told) = client.request("PATCH", &path, &fields, drain) {
        assert_eq!(told.status, 409, "{}", told.text());
        assert!(!told.keeps_alive());
    }
    let (_, server) = ask(&balancer, "GET", &path, "");
    assert_eq!(server["admin"], "ready", "{server}");
}

/// The processes that the supervisor has started.
fn children(balancer: &Balancer) -> Vec<u32> {
    let all = balancer.process.pids().into_iter();
    all.filter(|pid| *pid != balancer.process.pid()).collect()
}

#[test]
fn a_supervisor_killed_in_an_upgrade_leaves_a_process_that_another_takes_over() {
    let origin = Origin::fixed(200, "up").start().unwrap();
    let mut balancer = steered(&[origin.addr()], "", "");
    // So many that the successor takes its time to be ready, in which it is stopped.
    let mut text = std::fs::read_to_string(balancer.process.config_path()).unwrap();
    text += "[backend.many]\nservers = [\n";
    for number in 0..10_000 {
        text += &format!("\"10.9.{}.{}:80\",\n", number / 250, number % 250);
    }
    text += "]\n";
    std::fs::write(balancer.process.config_path(), text).unwrap();
    let (status, told) = ask(&balancer, "POST", "/v1/reload", "{}");
    assert_eq!(status, 200, "{told}");
    let data = data_pid(&balancer);
    balancer.process.signal(Signal::USR2).unwrap();
    let successor = eventually("the successor", || {
        let log = balancer.process.stderr();
        assert!(!log.contains("upgraded; serving"), "it was too fast");
        let mut others = children(&balancer).into_iter().filter(|pid| *pid != data);
        // Not the one that is asked what it speaks.
        let is_successor = |pid: &u32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.windows(11).any(|word| word == b"--successor")
        };
        others.find(is_successor)
    });
    signal_pid(successor, Signal::STOP).unwrap();
    balancer.process.kill().unwrap();
    signal_pid(successor, Signal::KILL).unwrap();
    let second = catamaran_testkit::Program::new(env!("CARGO_BIN_EXE_catamaran"))
        .unwrap()
        .args(["run", "-c"])
        .arg(balancer.process.config_path())
        .start()
        .unwrap();
    let taken = format!("data process taken over pid={data}");
    second.wait_for_stderr(&taken, PATIENCE).unwrap();
    assert_eq!(http_get(balancer.addr(), "/").unwrap().text(), "up");
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
        (
            program_of_mode(&balancer, "open", 0o777, &speaks(ours.trim())),
            "others may change it",
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
