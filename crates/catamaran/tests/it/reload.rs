//! Another configuration while the old one serves: nothing is lost that the change does not name.

use crate::balancer::{Balancer, quoted};
use crate::trial::rounds;
use crate::{PATIENCE, eventually};
use catamaran_testkit::{
    Client, Load, Origin, Reply, Signal, TempDir, Usage, free_addr, http_get, tunnel,
};
use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A balancer whose configuration is changed.
struct Changing {
    balancer: Balancer,
    /// Reloads so far, those that failed included.
    reloads: usize,
}

impl Changing {
    fn start(config: &str) -> Self {
        Self::start_with(config, &[])
    }

    fn start_with(config: &str, more: &[&str]) -> Self {
        Self {
            balancer: Balancer::start_with(config, more),
            reloads: 0,
        }
    }

    fn write(&self, config: &str) {
        // As editors do it: a reader sees the old file or the new one.
        let path = self.balancer.process.config_path();
        let new = path.with_extension("new");
        fs::write(&new, config).unwrap();
        fs::rename(new, path).unwrap();
    }

    /// Puts `config` in place.
    fn reload(&mut self, config: &str) {
        self.write(config);
        self.hang_up("reloaded changes=");
    }

    /// Asks for a reload and waits for what comes of it.
    fn hang_up(&mut self, outcome: &str) {
        self.balancer.process.signal(Signal::HUP).unwrap();
        self.reloads += 1;
        let wanted = self.reloads;
        eventually("a reload", || {
            let log = self.balancer.process.stderr();
            let ended =
                log.matches("reloaded changes=").count() + log.matches("reload failed").count();
            (ended >= wanted).then_some(())
        });
        assert!(
            self.log()
                .lines()
                .rev()
                .take(40)
                .any(|line| line.contains(outcome)),
            "{}",
            self.log()
        );
    }

    fn data_pid(&self) -> u32 {
        let process = &self.balancer.process;
        let mut pids = process.pids().into_iter();
        pids.find(|pid| *pid != process.pid()).unwrap()
    }

    fn log(&self) -> String {
        self.balancer.process.stderr()
    }
}

fn http(listen: &[SocketAddr], servers: &[SocketAddr], more: &str) -> String {
    format!(
        "[process]\nworkers = 2\n[frontend.web]\nlisten = {}\nbackend = \"app\"\n\
         [backend.app]\nservers = {}\n{more}\n",
        quoted(listen),
        quoted(servers)
    )
}

fn body(address: SocketAddr, target: &str) -> String {
    http_get(address, target).unwrap().text()
}

#[test]
fn servers_routes_listeners_and_frontends_come_and_go() {
    let (one, two) = (Origin::fixed(200, "one"), Origin::fixed(200, "two"));
    let (one, two) = (one.start().unwrap(), two.start().unwrap());
    let (web, more) = (free_addr().unwrap(), free_addr().unwrap());
    let mut changing = Changing::start(&http(&[web], &[one.addr()], ""));
    assert_eq!(body(web, "/"), "one");

    // A server in place of the other.
    changing.reload(&http(&[web], &[two.addr()], ""));
    assert_eq!(body(web, "/"), "two");

    // A route to another backend.
    let route = format!(
        "[backend.other]\nservers = {}\n[[frontend.web.route]]\npath = \"/one\"\nbackend = \"other\"\n",
        quoted(&[one.addr()])
    );
    changing.reload(&http(&[web], &[two.addr()], &route));
    assert_eq!(
        (body(web, "/one"), body(web, "/")),
        ("one".to_owned(), "two".to_owned())
    );

    // A listener and a frontend more.
    let api = free_addr().unwrap();
    let frontend = format!("{route}[frontend.api]\nlisten = \"{api}\"\nbackend = \"other\"\n");
    changing.reload(&http(&[web, more], &[two.addr()], &frontend));
    assert_eq!(
        (body(more, "/"), body(api, "/")),
        ("two".to_owned(), "one".to_owned())
    );

    // Both and the route gone again: the ports are closed.
    changing.reload(&http(&[web], &[two.addr()], ""));
    assert_eq!(body(web, "/one"), "two");
    for closed in [more, api] {
        assert!(Client::connect(closed).is_err(), "{closed}");
    }

    // And there once more.
    changing.reload(&http(&[web, more], &[one.addr()], ""));
    assert_eq!(body(more, "/"), "one");
}

#[test]
fn a_listener_goes_to_another_frontend_without_a_refused_connection() {
    let (one, two) = (Origin::fixed(200, "one"), Origin::fixed(200, "two"));
    let (one, two) = (one.start().unwrap(), two.start().unwrap());
    let port = free_addr().unwrap();
    let wide: SocketAddr = ([0, 0, 0, 0], port.port()).into();
    let config = |frontend: &str, listen: SocketAddr, server: SocketAddr| {
        http(&[listen], &[server], "").replace("frontend.web", frontend)
    };
    let mut changing = Changing::start(&config("frontend.a", port, one.addr()));
    let load = Load::new(port, 100.0)
        .without_keep_alive()
        .max_in_flight(8)
        .start();
    changing.reload(&config("frontend.b", port, two.addr()));
    assert_eq!(body(port, "/"), "two");
    changing.reload(&config("frontend.b", wide, two.addr()));
    changing.reload(&config("frontend.a", port, one.addr()));
    let report = load.stop();
    assert!(report.failures() == 0, "{report:?}");
    assert!(report.ok > 0, "{report:?}");
}

#[test]
fn a_broken_file_leaves_the_old_configuration_and_names_the_place() {
    let origin = Origin::fixed(200, "old").start().unwrap();
    let web = free_addr().unwrap();
    let metrics = free_addr().unwrap();
    let config = http(&[web], &[origin.addr()], "").replace(
        "workers = 2",
        &format!("workers = 2\nmetrics = \"{metrics}\""),
    );
    let mut changing = Changing::start(&config);
    changing.write(&config.replace("backend = \"app\"", "backend = \"apq\""));
    changing.hang_up("unknown backend `apq`; did you mean `app`?");
    let place = format!("{}:6:11", changing.balancer.process.config_path().display());
    let process = &changing.balancer.process;
    process.wait_for_stderr(&place, PATIENCE).unwrap();
    assert_eq!(body(web, "/"), "old");
    let page = body(metrics, "/metrics");
    assert!(
        page.contains("catamaran_reloads_total{result=\"failed\"} 1\n"),
        "{page}"
    );
    assert!(page.contains("catamaran_reload_last_ok 0\n"), "{page}");

    // A port that somebody else has is as good a reason.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().map(|address| (taken, address)).unwrap();
    changing.write(&config.replace(&quoted(&[web]), &quoted(&[web, taken.1])));
    changing.hang_up("port in use");
    assert_eq!(body(web, "/"), "old");

    changing.reload(&config);
    let page = body(metrics, "/metrics");
    assert!(
        page.contains("catamaran_reloads_total{result=\"ok\"} 1\n"),
        "{page}"
    );
    assert!(page.contains("catamaran_reload_last_ok 1\n"), "{page}");
}

#[test]
fn files_beyond_what_the_process_kept_are_refused_with_the_remedy() {
    let origin = Origin::fixed(200, "old").start().unwrap();
    let web = free_addr().unwrap();
    let config = http(&[web], &[origin.addr()], "");
    let mut changing = Changing::start(&config);
    if changing.log().contains("no Landlock") {
        eprintln!("skipped: this kernel has no Landlock");
        return;
    }
    let elsewhere = TempDir::create().unwrap();
    let page = elsewhere.write("p.html", "sorry").unwrap();
    let log = page.with_file_name("a.log");
    let keys = [
        format!("access-log = {{ to = \"{}\" }}", log.display()),
        format!("error-pages = {{ 503 = \"{}\" }}", page.display()),
    ];
    for key in keys {
        let backend = "backend = \"app\"\n";
        changing.write(&config.replacen(backend, &format!("{backend}{key}\n"), 1));
        // Its own lines only.
        let before = changing.log().len();
        changing.hang_up("that it started with: restart to use another");
        let log = &changing.log()[before..];
        assert!(
            log.contains("Permission denied") && log.contains("restart to use another"),
            "{key}: {log}"
        );
        assert_eq!(body(web, "/"), "old", "{key}");
    }
    assert!(!log.exists());
}

#[test]
fn what_needs_a_restart_is_said_and_left() {
    let origin = Origin::fixed(200, "up").start().unwrap();
    let web = free_addr().unwrap();
    let config = http(&[web], &[origin.addr()], "");
    let mut changing = Changing::start(&config);
    // A thread has its name only once it runs.
    eventually("both workers", || (workers(&changing) == 2).then_some(()));
    // Room is kept for as many as there are processors, and a few; never for so many.
    changing.reload(&config.replace("workers = 2", "workers = 999"));
    let expected = "~ process workers: 2 -> 999 (comes only with a restart)";
    assert!(changing.log().contains(expected), "{}", changing.log());
    assert_eq!(body(web, "/"), "up");
    assert_eq!(workers(&changing), 2);
}

#[test]
fn a_server_that_is_down_stays_down_and_affinity_goes_on() {
    let (one, two) = (Origin::fixed(200, "one"), Origin::fixed(200, "two"));
    let (one, mut two) = (one.start().unwrap(), two.start().unwrap());
    let web = free_addr().unwrap();
    let health = "health = { http = \"/\", interval = \"50ms\", rise = 1000, fall = 2 }\n\
                  stick = { on = \"source-ip\", for = \"1h\" }\n";
    let servers = [one.addr(), two.addr()];
    let config = |more: &str| http(&[web], &servers, &format!("{health}{more}"));
    let mut changing = Changing::start(&config(""));
    two.crash();
    changing
        .balancer
        .process
        .wait_for_stderr("server is down", PATIENCE)
        .unwrap();
    assert_eq!(body(web, "/"), "one");
    two.restart().unwrap();
    let checks = two.accepted();
    for round in 0..5 {
        changing.reload(&config(&format!("max-idle = {}\n", 10 + round)));
        // With 1,000 passes to come up, a single request there would mean a new beginning.
        for _ in 0..10 {
            assert_eq!(body(web, "/"), "one");
        }
    }
    eventually("checks to go on", || {
        (two.accepted() > checks + 3).then_some(())
    });
    assert!(
        !changing.log().contains("server is up"),
        "{}",
        changing.log()
    );
}

#[test]
fn an_affinity_window_does_not_start_anew() {
    let (one, two) = (Origin::fixed(200, "one"), Origin::fixed(200, "two"));
    let (one, two) = (one.start().unwrap(), two.start().unwrap());
    let web = free_addr().unwrap();
    let config = |idle: usize| {
        let more = format!(
            "balance = \"round-robin\"\nmax-idle = {idle}\n\
             stick = {{ on = \"source-ip\", for = \"3s\" }}\n"
        );
        http(&[web], &[one.addr(), two.addr()], &more)
    };
    let mut changing = Changing::start(&config(10));
    let began = Instant::now();
    let first = body(web, "/");
    let mut idle = 10;
    // Whether nothing was asked at a time when the window may have ended.
    let mut is_sound = true;
    while began.elapsed() < Duration::from_millis(2500) {
        idle += 1;
        changing.reload(&config(idle));
        is_sound = began.elapsed() < Duration::from_millis(2500);
        if is_sound {
            let now = body(web, "/");
            is_sound = began.elapsed() < Duration::from_millis(2900);
            if is_sound {
                assert_eq!(now, first, "{:?} after the first", began.elapsed());
            }
        }
    }
    // Had a reload opened it anew, the window would last 3 s from the last of them.
    let until = Instant::now() + Duration::from_millis(1500);
    eventually("the window to end", || {
        (began.elapsed() > Duration::from_millis(3100)).then_some(())
    });
    if is_sound && Instant::now() < until {
        assert_ne!(body(web, "/"), first);
    }
}

#[test]
fn a_killed_data_process_begins_with_the_configuration_last_applied() {
    let (one, two) = (Origin::fixed(200, "one"), Origin::fixed(200, "two"));
    let (one, two) = (one.start().unwrap(), two.start().unwrap());
    let (web, more) = (free_addr().unwrap(), free_addr().unwrap());
    let mut changing = Changing::start(&http(&[web], &[one.addr()], ""));
    changing.reload(&http(&[web, more], &[two.addr()], ""));
    changing.write("this is no configuration");
    catamaran_testkit::signal_pid(changing.data_pid(), Signal::KILL).unwrap();
    let process = &changing.balancer.process;
    process
        .wait_for_stderr("as last applied", PATIENCE)
        .unwrap();
    assert_eq!(
        (body(web, "/"), body(more, "/")),
        ("two".to_owned(), "two".to_owned())
    );
}

#[test]
fn without_a_supervisor_ports_are_opened_by_the_process_itself() {
    let origin = Origin::fixed(200, "up").start().unwrap();
    let (web, more) = (free_addr().unwrap(), free_addr().unwrap());
    let config = |listen: &[SocketAddr]| http(listen, &[origin.addr()], "");
    let mut changing = Changing::start_with(&config(&[web]), &["--no-supervisor"]);
    changing.reload(&config(&[web, more]));
    assert_eq!(body(more, "/"), "up");
    changing.reload(&config(&[web]));
    assert!(Client::connect(more).is_err());
}

#[test]
fn a_watched_file_is_applied_by_itself() {
    let (one, two) = (Origin::fixed(200, "one"), Origin::fixed(200, "two"));
    let (one, two) = (one.start().unwrap(), two.start().unwrap());
    let web = free_addr().unwrap();
    let config = |server: SocketAddr| {
        http(&[web], &[server], "").replace("workers = 2", "workers = 2\nwatch = true")
    };
    let changing = Changing::start(&config(one.addr()));
    assert_eq!(body(web, "/"), "one");
    changing.write(&config(two.addr()));
    eventually("the change to be noticed", || {
        (body(web, "/") == "two").then_some(())
    });
}

#[test]
fn a_tunnel_outlives_the_listener_it_came_by_until_its_time_is_over() {
    let origin = Origin::tcp(tunnel::echo()).start().unwrap();
    let (kept, gone) = (free_addr().unwrap(), free_addr().unwrap());
    let config = |listen: &[SocketAddr], tunnels: &str| {
        http(listen, &[origin.addr()], "")
            .replace(
                "workers = 2",
                &format!("workers = 2\ndrain = \"0s\"\ndrain-tunnels = \"{tunnels}\""),
            )
            .replace("backend = \"app\"", "backend = \"app\"\nprotocol = \"tcp\"")
    };
    let mut changing = Changing::start(&config(&[kept, gone], "1h"));
    let mut tunnel = Client::connect(gone).unwrap();
    let echo = |tunnel: &mut Client| {
        tunnel.send(b"hi").unwrap();
        assert_eq!(tunnel.receive(2).unwrap(), b"hi");
    };
    echo(&mut tunnel);
    changing.reload(&config(&[kept], "1h"));
    assert!(Client::connect(gone).is_err());
    // Longer than any look at what is left.
    assert!(!tunnel.is_closed_within(Duration::from_secs(3)).unwrap());
    echo(&mut tunnel);

    let mut short = Client::connect(kept).unwrap();
    echo(&mut short);
    changing.reload(&config(&[gone], "1s"));
    assert!(short.is_closed_within(PATIENCE).unwrap());
    echo(&mut tunnel);
}

#[test]
fn ten_thousand_servers_and_routes_are_reloaded_in_bounded_time() {
    let origin = Origin::fixed(200, "up").start().unwrap();
    let web = free_addr().unwrap();
    let config = |servers: usize, routes: usize| {
        // Nobody is there, which without checks nobody finds out: a route leads past them.
        let mut many: Vec<String> = Vec::new();
        for n in 0..servers {
            many.push(format!("127.{}.{}.1:9", 1 + n / 250, 1 + n % 250));
        }
        let mut more = format!("[backend.many]\nservers = {}\n", quoted(&many));
        for n in 0..routes {
            more += &format!("[[frontend.web.route]]\npath = \"/r{n}\"\nbackend = \"many\"\n");
        }
        http(&[web], &[origin.addr()], &more)
    };
    let mut changing = Changing::start(&config(10_000, 10_000));
    let began = Instant::now();
    changing.reload(&config(9_999, 10_001));
    changing.reload(&config(10_000, 10_000));
    // Two reloads of a debug build.
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    assert_eq!(body(web, "/"), "up");
}

#[test]
fn a_stop_says_first_that_it_is_not_ready() {
    let origin = Origin::fixed(200, "up").start().unwrap();
    let (web, metrics) = (free_addr().unwrap(), free_addr().unwrap());
    let process = format!("workers = 2\nmetrics = \"{metrics}\"\ndrain-delay = \"5s\"");
    let config = http(&[web], &[origin.addr()], "").replace("workers = 2", &process);
    let mut balancer = Balancer::start(&config);
    let ready = || http_get(metrics, "/ready").unwrap().status;
    eventually("readiness", || (ready() == 200).then_some(()));
    balancer.process.terminate().unwrap();
    let said = "not ready any more";
    balancer.process.wait_for_stderr(said, PATIENCE).unwrap();
    // New clients are served for as long.
    assert_eq!((ready(), body(web, "/")), (503, "up".to_owned()));
    assert_eq!(balancer.process.wait(PATIENCE).unwrap().code(), Some(0));
}

/// What changes from reload to reload of the trial below.
struct Trial {
    web: SocketAddr,
    more: SocketAddr,
    tcp: SocketAddr,
    servers: Vec<SocketAddr>,
    echo: SocketAddr,
}

impl Trial {
    fn config(&self, round: usize) -> String {
        let servers = &self.servers[..=round % self.servers.len()];
        let mut listen = vec![self.web];
        if round % 3 == 1 {
            listen.push(self.more);
        }
        let mut more = format!("max-idle = {}\n", 16 + round % 7);
        for route in 0..round % 4 {
            more +=
                &format!("[[frontend.web.route]]\npath = \"/route-{route}\"\nbackend = \"app\"\n");
        }
        if round % 2 == 1 {
            let echo = quoted(&[self.echo]);
            more += &format!("[backend.extra-{}]\nservers = {echo}\n", round % 5);
        }
        more += &format!(
            "[frontend.tcp]\nprotocol = \"tcp\"\nlisten = \"{}\"\nbackend = \"echo\"\n\
             [backend.echo]\nservers = {}\nmax-idle = {}\n",
            self.tcp,
            quoted(&[self.echo]),
            20 + round % 3,
        );
        http(&listen, servers, &more)
    }
}

/// Bytes of memory that the data process holds.
fn memory(changing: &Changing) -> u64 {
    Usage::of(changing.data_pid()).unwrap().resident_bytes
}

/// Worker threads of the data process.
fn workers(changing: &Changing) -> usize {
    let tasks = fs::read_dir(format!("/proc/{}/task", changing.data_pid())).unwrap();
    let names = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("comm")));
    let workers = names.filter(|name| name.as_ref().is_ok_and(|name| name.starts_with("worker-")));
    workers.count()
}

#[test]
fn reloads_under_load_lose_nothing_and_leave_nothing_behind() {
    let script = |_: &catamaran_testkit::Request| Reply::new(200, "served");
    let origins: Vec<Origin> = (0..3)
        .map(|_| Origin::http(script).start().unwrap())
        .collect();
    let socket = |_: &catamaran_testkit::Request| Reply::upgrade("websocket", tunnel::echo());
    let sockets = Origin::http(socket).start().unwrap();
    let echo = Origin::tcp(tunnel::echo()).start().unwrap();
    let trial = Trial {
        web: free_addr().unwrap(),
        more: free_addr().unwrap(),
        tcp: free_addr().unwrap(),
        servers: origins.iter().map(Origin::addr).collect(),
        echo: echo.addr(),
    };
    let with_sockets = |round: usize| {
        let upgrade = format!(
            "[backend.sockets]\nservers = {}\n[[frontend.web.route]]\npath = \"/socket\"\nbackend = \"sockets\"\n",
            quoted(&[sockets.addr()])
        );
        trial.config(round) + &upgrade
    };
    let mut changing = Changing::start(&with_sockets(0));
    let mut tunnels: Vec<Client> = (0..20)
        .map(|_| Client::connect(trial.tcp).unwrap())
        .collect();
    for _ in 0..20 {
        let mut client = Client::connect(trial.web).unwrap();
        let fields = ["Connection: upgrade", "Upgrade: websocket"];
        let response = client.request("GET", "/socket", &fields, b"").unwrap();
        assert_eq!(response.status, 101);
        tunnels.push(client);
    }
    let load = |load: Load| load.expect_body("served").max_in_flight(16).start();
    let kept = load(Load::new(trial.web, 300.0));
    let fresh = load(Load::new(trial.web, 200.0).without_keep_alive());
    let rounds = rounds(200);
    let mut settled = 0;
    for round in 1..=rounds {
        changing.reload(&with_sockets(round));
        let tunnel = &mut tunnels[round % 40];
        tunnel.send(b"still here").unwrap();
        assert_eq!(tunnel.receive(10).unwrap(), b"still here");
        if round == rounds / 4 {
            settled = memory(&changing);
        }
    }
    for (kind, load) in [("kept", kept), ("fresh", fresh)] {
        let report = load.stop();
        assert!(report.failures() == 0, "{kind}: {report:?}");
        assert!(report.ok > 0, "{kind}: {report:?}");
    }
    for tunnel in &mut tunnels {
        tunnel.send(b"to the end").unwrap();
        assert_eq!(tunnel.receive(10).unwrap(), b"to the end");
    }
    // Snapshots of forty tunnels and of removed listeners, and what an allocator keeps for itself.
    let grown = memory(&changing).saturating_sub(settled);
    assert!(grown < 8 << 20, "{grown} bytes more after {rounds} reloads");
}
