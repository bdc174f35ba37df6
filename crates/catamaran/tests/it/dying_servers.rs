//! Servers that are killed, and servers that hang, under load.

use crate::balancer::Balancer;
use crate::trial::{open_files, rounds};
use crate::{PATIENCE, catamaran, echo, eventually};
use catamaran_testkit::{Client, Load, Process};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

/// An echo server that takes 50 ms for an answer.
struct Slow {
    process: Process,
    address: SocketAddr,
}

impl Slow {
    fn start() -> Self {
        let (process, address) = echo("ok", &["--delay", "50ms"]);
        Self { process, address }
    }

    fn restart(&mut self) {
        let address = self.address.to_string();
        let arguments = [
            "echo",
            "--listen",
            &address,
            "--message",
            "ok",
            "--delay",
            "50ms",
        ];
        self.process = catamaran(&arguments).start().unwrap();
        self.process.wait_for_stdout("\n", PATIENCE).unwrap();
    }

    /// Connections made to it since it was started.
    fn connections(&self) -> usize {
        let files = open_files(self.process.pid());
        files
            .iter()
            .filter(|(_, file)| file.starts_with("socket:"))
            .count()
    }
}

#[test]
fn a_server_killed_and_restarted_again_and_again_costs_no_get() {
    let mut servers = [Slow::start(), Slow::start()];
    let balancer = Balancer::http(
        &servers.each_ref().map(|server| server.address),
        "",
        "health = { http = \"/health\", interval = \"50ms\", rise = 1, fall = 3 }",
    );
    // 1,600 a second at 50 ms each are 80 in flight.
    let load = Load::new(balancer.addr(), 1600.0)
        .expect_body("ok\n")
        .start();
    let mut in_flight = Vec::new();
    for round in 0..rounds(100) {
        let victim = &mut servers[0];
        // It is back in the rotation and has requests at work.
        eventually("traffic on the restarted server", || {
            (victim.connections() >= 24 && load.in_flight() >= 64).then_some(())
        });
        in_flight.push(load.in_flight());
        victim.process.kill().unwrap();
        // Restarted at once, and after the checks have seen it down.
        if round % 2 == 1 {
            thread::sleep(Duration::from_millis(250));
        }
        victim.restart();
    }
    let report = load.stop();
    in_flight.sort_unstable();
    let told = format!(
        "{} kills, {} in flight at the median one, {} answered, p99 {:?}, failed {:?} {:?}",
        in_flight.len(),
        in_flight[in_flight.len() / 2],
        report.ok,
        report.quantile(0.99),
        report.failed,
        report.first_failures
    );
    assert_eq!(
        report.failures(),
        0,
        "{told}\n{}",
        balancer.process.stderr()
    );
    announce(&told);
}

/// Tells what was measured to whoever asks for it with `--nocapture`.
#[expect(clippy::print_stdout, reason = "a test's measurements")]
fn announce(told: &str) {
    println!("{told}");
}

/// When a request began, after the server hung, and how it was answered.
struct Asked {
    began: Duration,
    took: Duration,
    status: u16,
}

/// Begins a POST every 10 ms, each on a connection of its own, until `time` has passed since
/// `hung`.
fn posts(address: SocketAddr, hung: Instant, time: Duration) -> Vec<Asked> {
    let ask = || {
        let mut client = Client::connect(address).unwrap();
        let began = hung.elapsed();
        let response = client.request("POST", "/", &[], b"x").unwrap();
        Asked {
            began,
            took: hung.elapsed() - began,
            status: response.status,
        }
    };
    thread::scope(|scope| {
        let mut threads = Vec::new();
        while hung.elapsed() < time {
            threads.push(scope.spawn(ask));
            thread::sleep(Duration::from_millis(10));
        }
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}

#[test]
fn a_hung_server_is_avoided_once_its_checks_have_failed() {
    let servers = [Slow::start(), Slow::start()];
    let balancer = Balancer::http(
        &servers.each_ref().map(|server| server.address),
        "",
        "balance = \"round-robin\"\noutlier = false\ntimeouts = { response = \"5s\" }\n\
         health = { http = \"/health\", interval = \"100ms\", timeout = \"300ms\", fall = 3 }",
    );
    posts(balancer.addr(), Instant::now(), Duration::from_millis(300));
    let load = Load::new(balancer.addr(), 400.0).start();
    thread::sleep(Duration::from_millis(300));
    servers[0].process.hang().unwrap();
    let hung = Instant::now();
    let address = balancer.addr();
    let (asked, marked) = thread::scope(|scope| {
        let posts = scope.spawn(|| posts(address, hung, Duration::from_secs(4)));
        balancer
            .process
            .wait_for_stderr("server is down", PATIENCE)
            .unwrap();
        let marked = hung.elapsed();
        (posts.join().unwrap(), marked)
    });

    // fall × fast interval + timeout are 600 ms; the rest is for a busy machine.
    assert!(
        marked < Duration::from_secs(3),
        "marked down only after {marked:?}"
    );
    let failed: Vec<_> = asked.iter().filter(|asked| asked.status != 200).collect();
    assert!(!failed.is_empty(), "no request was on the hung server");
    // It was marked down long before the response timeout, so all of them got 502, at that time.
    assert!(failed.iter().all(|asked| asked.status == 502));
    assert!(
        failed
            .iter()
            .all(|asked| asked.took < Duration::from_secs(4))
    );
    let last = failed.iter().map(|asked| asked.began).max().unwrap();
    assert!(
        last < marked,
        "marked down after {marked:?}, chosen after {last:?}: {}",
        balancer.process.stderr()
    );

    // GETs that were on it have been sent to the other one.
    servers[0].process.resume().unwrap();
    let report = load.stop();
    assert_eq!(
        report.failures(),
        0,
        "{:?} {:?}",
        report.failed,
        report.first_failures
    );
    announce(&format!(
        "down {marked:?} after the stop; {} of {} POSTs failed, 0 of {} GETs",
        failed.len(),
        asked.len(),
        report.ok
    ));

    let before = servers[0].connections();
    eventually("traffic on the resumed server", || {
        posts(balancer.addr(), Instant::now(), Duration::from_millis(50));
        (servers[0].connections() > before).then_some(())
    });
}

#[test]
fn a_tcp_check_cannot_see_a_hung_server() {
    let servers = [Slow::start(), Slow::start()];
    // Without passive detection, which does see it.
    let balancer = Balancer::http(
        &servers.each_ref().map(|server| server.address),
        "",
        "balance = \"round-robin\"\noutlier = false\ntimeouts = { response = \"300ms\" }\n\
         health = { tcp = true, interval = \"50ms\", timeout = \"100ms\", fall = 3 }",
    );
    posts(balancer.addr(), Instant::now(), Duration::from_millis(300));
    servers[0].process.hang().unwrap();
    let asked = posts(balancer.addr(), Instant::now(), Duration::from_secs(3));
    let failed: Vec<_> = asked.iter().filter(|asked| asked.status != 200).collect();
    assert!(failed.iter().all(|asked| asked.status == 504));
    let late = |asked: &&&Asked| asked.began > Duration::from_secs(2);
    let late = failed.iter().filter(late).count();
    assert!(
        late > 0,
        "requests begun after 2 s went to the hung server no more"
    );
    announce(&format!("{late} POSTs of the last second got 504"));
}
