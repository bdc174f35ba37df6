//! Who may come: allow and deny, lists and maps in files, tarpit and silent drop.

use crate::balancer::Balancer;
use crate::operator::{ask, socket_of};
use crate::{PATIENCE, catamaran, eventually};
use catamaran_testkit::{Client, Origin, Signal, TempDir, http_get, timely};
use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

/// A balancer of one worker with `text`, beside which stand these files.
struct Site {
    balancer: Balancer,
    dir: TempDir,
}

impl Site {
    /// `FILES` in `text` is where the files stand.
    fn start(text: &str, files: &[(&str, &str)]) -> Self {
        let dir = TempDir::create().unwrap();
        for (name, content) in files {
            dir.write(name, content).unwrap();
        }
        let text = text.replace("FILES", dir.path().to_str().unwrap());
        let head = "[process]\nworkers = 1\n[admin]\nsocket = \"admin.sock\"\n";
        let balancer = Balancer::start(&format!("{head}{text}"));
        Self { balancer, dir }
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(name)).unwrap()
    }

    /// Has the files read anew.
    fn reload(&self, times: usize) {
        self.balancer.process.signal(Signal::HUP).unwrap();
        eventually("a reload", || {
            let log = self.balancer.process.stderr();
            (log.matches("reloaded changes=").count() >= times).then_some(())
        });
    }

    fn ctl(&self, words: &[&str]) -> (bool, String) {
        let socket = socket_of(&self.balancer.process);
        let program = catamaran(&["ctl", "--socket", socket.to_str().unwrap()]);
        let mut process = program.args(words.iter().copied()).start().unwrap();
        let status = process.wait(PATIENCE).unwrap();
        let told = eventually("what it prints", || {
            let told = format!("{}{}", process.stdout(), process.stderr());
            (!told.is_empty()).then_some(told)
        });
        (status.success(), told)
    }

    fn does(&self, words: &[&str]) -> String {
        let (is_done, told) = self.ctl(words);
        assert!(is_done, "{told}");
        told
    }

    /// The status of a request that comes from `source` as the trusted proxy says.
    fn status(&self, source: &str) -> u16 {
        let source = format!("X-Forwarded-For: {source}");
        let asked = self.balancer.connect().request("GET", "/", &[&source], b"");
        asked.unwrap().status
    }

    fn text(&self, host: &str) -> String {
        let host = format!("Host: {host}");
        let asked = self.balancer.connect().request("GET", "/", &[&host], b"");
        let answer = asked.unwrap();
        match answer.status {
            200 => answer.text(),
            status => status.to_string(),
        }
    }
}

/// A backend `app` and a frontend `web` with these lines, which believes what 127.0.0.1 says.
fn web(origin: &Origin, lines: &str) -> String {
    format!(
        "[backend.app]\nservers = [\"{}\"]\n[frontend.web]\nlisten = \"127.0.0.1:0\"\n\
         backend = \"app\"\ntrusted-proxies = \"127.0.0.1\"\n{lines}\n",
        origin.addr()
    )
}

fn origin() -> Origin {
    Origin::fixed(200, "app").start().unwrap()
}

#[test]
fn who_may_not_come_gets_403_by_frontend_and_by_route() {
    let origin = origin();
    let lines = "deny = [\"list:bad\", \"2001:db8::/32\"]\n[[frontend.web.route]]\npath = \"/\"\n\
                 backend = \"app\"\nallow = \"10.0.0.0/8\"\n[list.bad]\nfile = \"FILES/bad.txt\"";
    let bad = "# known\n10.6.0.0/16\n10.9.9.9 # one\n";
    let site = Site::start(&web(&origin, lines), &[("bad.txt", bad)]);
    for (source, status) in [
        ("10.1.1.1", 200),
        ("10.6.1.1", 403),
        ("10.9.9.9", 403),
        ("10.9.9.8", 200),
        ("11.0.0.1", 403),
        ("2001:db8::1", 403),
    ] {
        assert_eq!(site.status(source), status, "{source}");
    }
}

#[test]
fn a_list_is_changed_at_run_time_and_kept_if_asked_for() {
    let origin = origin();
    let lines = "deny = \"list:bad\"\n[list.bad]\nfile = \"FILES/bad.txt\"";
    let site = Site::start(
        &web(&origin, lines),
        &[("bad.txt", "# known\n10.6.0.0/16\n")],
    );
    assert_eq!(site.status("10.7.0.1"), 200);
    let told = site.does(&["list", "add", "bad", "10.7.0.0/16"]);
    assert!(told.contains("until"), "{told}");
    assert_eq!(site.status("10.7.0.1"), 403);
    site.does(&["list", "remove", "bad", "10.6.0.0/16"]);
    assert_eq!(site.status("10.6.0.1"), 200);
    // Both outlive a reload.
    site.reload(1);
    assert_eq!(
        (site.status("10.6.0.1"), site.status("10.7.0.1")),
        (200, 403)
    );
    assert_eq!(site.file("bad.txt"), "# known\n10.6.0.0/16\n");

    site.does(&["list", "add", "bad", "10.8.0.1", "--persist"]);
    assert_eq!(site.file("bad.txt"), "# known\n10.6.0.0/16\n10.8.0.1\n");
    assert_eq!(site.status("10.8.0.1"), 403);
    let shown = site.does(&["list", "show", "bad"]);
    assert!(shown.contains("10.7.0.0/16") && shown.contains("10.8.0.1"));
    assert!(!shown.contains("10.6.0.0/16"), "{shown}");
    let (is_done, told) = site.ctl(&["list", "remove", "bad", "10.99.0.0/16"]);
    assert!(!is_done && told.contains("has no entry"), "{told}");
    let (is_done, told) = site.ctl(&["list", "add", "bud", "10.99.0.0/16"]);
    assert!(!is_done && told.contains("did you mean `bad`?"), "{told}");
}

#[test]
fn changes_that_are_kept_at_once_are_all_kept() {
    let origin = origin();
    let lines = "deny = \"list:bad\"\n[list.bad]\nfile = \"FILES/bad.txt\"";
    let long = "# known\n".repeat(20_000);
    let site = Site::start(&web(&origin, lines), &[("bad.txt", &long)]);
    std::thread::scope(|scope| {
        for number in 0..16 {
            let balancer = &site.balancer;
            scope.spawn(move || {
                let body = format!("{{\"network\": \"10.{number}.0.0/16\", \"persist\": true}}");
                let (status, told) = ask(balancer, "PUT", "/v1/lists/bad/entry", &body);
                assert_eq!(status, 200, "{told}");
            });
        }
    });
    let file = site.file("bad.txt");
    for number in 0..16 {
        let line = format!("\n10.{number}.0.0/16\n");
        assert!(file.contains(&line), "{number} is lost");
    }
}

#[test]
fn a_file_that_is_written_anew_is_read_anew_and_a_broken_one_changes_nothing() {
    let origin = origin();
    let lines = "deny = \"list:bad\"\n[list.bad]\nfile = \"FILES/bad.txt\"";
    let site = Site::start(&web(&origin, lines), &[("bad.txt", "10.6.0.0/16\n")]);
    site.dir.write("bad.txt", "10.7.0.0/16\n").unwrap();
    site.reload(1);
    assert_eq!(
        (site.status("10.6.0.1"), site.status("10.7.0.1")),
        (200, 403)
    );
    site.dir.write("bad.txt", "10.6.0.0/16\n10.7/16\n").unwrap();
    site.balancer.process.signal(Signal::HUP).unwrap();
    let told = "bad.txt:2:1: `10.7/16` is no network";
    site.balancer
        .process
        .wait_for_stderr(told, PATIENCE)
        .unwrap();
    assert_eq!(
        (site.status("10.6.0.1"), site.status("10.7.0.1")),
        (200, 403)
    );
}

#[test]
fn a_map_in_a_file_says_the_backend_and_is_changed_at_run_time() {
    let origins = ["one", "two", "rest"].map(|name| Origin::fixed(200, name).start().unwrap());
    let backends = origins.iter().zip(["one", "two", "rest"]);
    let backends: String = backends
        .map(|(origin, name)| format!("[backend.{name}]\nservers = [\"{}\"]\n", origin.addr()))
        .collect();
    let text = format!(
        "{backends}[map.sites]\nfile = \"FILES/sites.map\"\nmatch = \"domain\"\n\
         [frontend.web]\nlisten = \"127.0.0.1:0\"\n[[frontend.web.route]]\n\
         map = {{ name = \"sites\", default = \"rest\" }}\n"
    );
    let site = Site::start(
        &text,
        &[("sites.map", "One.example one # first\nexample two\n")],
    );
    let all = |hosts: [&str; 3]| hosts.map(|host| site.text(host));
    assert_eq!(
        all(["a.one.example", "b.example:80", "c.test"]),
        ["one", "two", "rest"]
    );
    site.does(&["map", "set", "sites", "c.test", "one"]);
    site.does(&["map", "delete", "sites", "example"]);
    assert_eq!(
        all(["a.one.example", "b.example", "c.test"]),
        ["one", "rest", "one"]
    );
    site.reload(1);
    assert_eq!(
        all(["a.one.example", "b.example", "c.test"]),
        ["one", "rest", "one"]
    );
    site.does(&["map", "set", "sites", "one.example", "two", "--persist"]);
    assert_eq!(
        site.file("sites.map"),
        "One.example one # first\nexample two\none.example two\n"
    );
    let (is_done, told) = site.ctl(&["map", "set", "sites", "d.test", "tow"]);
    assert!(!is_done && told.contains("did you mean `two`?"), "{told}");
    let shown = site.does(&["map", "show", "sites"]);
    assert!(shown.contains("c.test") && shown.contains("two"), "{shown}");
    let (status, maps) = ask(&site.balancer, "GET", "/v1/maps", "");
    assert_eq!((status, &maps[0]["entries"]), (200, &2.into()), "{maps}");
}

#[test]
fn a_tcp_client_that_may_not_come_is_closed_before_it_is_heard() {
    let origin = origin();
    let text = format!(
        "[backend.app]\nservers = [\"{}\"]\n[frontend.web]\nprotocol = \"tcp\"\n\
         listen = \"127.0.0.1:0\"\nbackend = \"app\"\nallow = \"127.0.0.2\"\n",
        origin.addr()
    );
    let balancer = Balancer::start(&text);
    let from = |ip: &str| Client::connect_from(ip.parse::<IpAddr>().unwrap(), balancer.addr());
    let mut welcome = from("127.0.0.2").unwrap();
    assert_eq!(welcome.get("/").unwrap().text(), "app");
    // It may be reset before it knows that it is connected.
    match from("127.0.0.3") {
        Ok(mut other) => assert!(other.is_closed_within(PATIENCE).unwrap()),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    assert_eq!(origin.accepted(), 1);
}

/// Whether the balancer ends a connection without a byte, before a byte was sent to it.
fn is_ended_unread(addr: SocketAddr) -> bool {
    let stream = TcpStream::connect(addr);
    let stream = match stream {
        Ok(stream) => stream,
        Err(error) => return error.kind() == ErrorKind::ConnectionReset,
    };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    match std::io::Read::read(&mut &stream, &mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn closing_and_dropping_ask_for_nothing_first() {
    for (denial, outcome) in [("close", "forbidden"), ("silent-drop", "dropped")] {
        let origin = origin();
        let lines = format!("deny = \"127.0.0.1\"\ndenial = \"{denial}\"");
        let text = web(&origin, &lines).replace("trusted-proxies = \"127.0.0.1\"\n", "");
        let site = Site::start(&text, &[]);
        // Loopback is one link, so that the reset of a silent drop is heard here, if one is sent.
        let is_heard = denial == "close";
        if is_heard {
            assert!(is_ended_unread(site.balancer.addr()));
        } else {
            drop(TcpStream::connect(site.balancer.addr()));
        }
        eventually("the count", || {
            let (_, state) = ask(&site.balancer, "GET", "/v1/state", "");
            let outcomes = &state["frontends"][0]["totals"]["outcomes"];
            (outcomes[outcome] == 1).then_some(())
        });
        assert_eq!(origin.accepted(), 0);
    }
}

#[test]
fn a_client_that_leaves_the_tarpit_makes_room_whatever_it_sent_before() {
    let origin = origin();
    let lines = "tarpit = { hold = \"10m\", max = 1 }\n[[frontend.web.route]]\npath = \"/admin\"\n\
                 refuse = \"tarpit\"";
    let site = Site::start(&web(&origin, lines), &[]);
    let held = |count: u32| {
        let line = format!("catamaran_frontend_tarpitted{{frontend=\"web\"}} {count}\n");
        eventually("those that are held", || {
            site.does(&["metrics"]).contains(&line).then_some(())
        });
    };
    let request = "GET /admin HTTP/1.1\r\nHost: a\r\n\r\n";
    for resets in [false, true] {
        // With a second request, which stays unread.
        let mut client = site.balancer.connect();
        client.send(request.repeat(2).as_bytes()).unwrap();
        held(1);
        client.send(request.as_bytes()).unwrap();
        if resets {
            client.reset().unwrap();
        } else {
            drop(client);
        }
        held(0);
    }
}

#[test]
fn a_tarpit_holds_as_many_as_it_may_and_refuses_others_at_once() {
    let origin = origin();
    let lines = "tarpit = { hold = \"4s\", max = 1 }\n[[frontend.web.route]]\npath = \"/admin\"\n\
                 refuse = \"tarpit\"";
    let site = Site::start(&web(&origin, lines), &[]);
    // The other one must come while the first is held.
    let (mut held, began, other) = timely(Duration::from_millis(3500), || {
        let mut held = site.balancer.connect();
        let began = Instant::now();
        held.send(b"GET /admin HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        let is_held = || {
            let metrics = site.does(&["metrics"]);
            metrics.contains("catamaran_frontend_tarpitted{frontend=\"web\"} 1")
        };
        while !is_held() && began.elapsed() < Duration::from_secs(4) {}
        let other = http_get(site.balancer.addr(), "/admin").unwrap();
        (held, began, other)
    });
    assert_eq!(other.status, 403);
    assert!(other.text().contains("forbidden"), "{}", other.text());
    assert_eq!(http_get(site.balancer.addr(), "/").unwrap().status, 200);
    let answer = held.receive_response("GET").unwrap();
    assert!(began.elapsed().as_millis() >= 3900, "{:?}", began.elapsed());
    assert_eq!(answer.status, 403);
    assert!(answer.text().contains("tarpitted"), "{}", answer.text());
    let metrics = site.does(&["metrics"]);
    let full = "catamaran_frontend_tarpit_full_total{frontend=\"web\"} ";
    let (_, full) = metrics.split_once(full).unwrap();
    assert!(!full.starts_with('0'), "{full}");
}

#[test]
fn what_is_above_a_rate_limit_may_be_kept_waiting_or_closed() {
    let origin = origin();
    let limit = |denial| {
        let limit = format!("requests = 1, per = \"1h\", denial = \"{denial}\"");
        web(
            &origin,
            &format!("tarpit = \"50ms\"\nrate-limit = {{ {limit} }}"),
        )
    };
    let site = Site::start(&limit("tarpit"), &[]);
    assert_eq!(site.status("10.0.0.1"), 200);
    let second = http_get(site.balancer.addr(), "/").unwrap();
    assert_eq!(second.status, 200);
    let third = http_get(site.balancer.addr(), "/").unwrap();
    assert_eq!(third.status, 429);
    assert!(third.text().contains("tarpitted"), "{}", third.text());
    let site = Site::start(&limit("close"), &[]);
    assert_eq!(http_get(site.balancer.addr(), "/").unwrap().status, 200);
    assert!(http_get(site.balancer.addr(), "/").is_err());
}

#[test]
fn a_hundred_thousand_networks_load_and_are_asked_in_no_time() {
    let origin = origin();
    let all: String = (0..100_000_u32)
        .map(|n| format!("{}\n", std::net::Ipv4Addr::from_bits(0x0a00_0000 + n * 7)))
        .collect();
    let lines = "deny = \"list:bad\"\n[list.bad]\nfile = \"FILES/bad.txt\"";
    let site = Site::start(&web(&origin, lines), &[("bad.txt", &all)]);
    assert!(Path::new(&site.dir.path().join("bad.txt")).exists());
    assert_eq!(
        (site.status("10.0.0.7"), site.status("10.0.0.8")),
        (403, 200)
    );
}
