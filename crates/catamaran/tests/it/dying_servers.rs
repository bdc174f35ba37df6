//! Servers that are killed, and servers that hang, under load.

use crate::balancer::Balancer;
use crate::trial::{open_files, rounds};
use crate::{PATIENCE, echo_at, eventually};
use catamaran_testkit::{Client, Load, Process, ReservedPort};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

/// An echo server that takes 50 ms for an answer.
struct Slow {
    process: Process,
    port: ReservedPort,
    message: &'static str,
}

impl Slow {
    fn start(message: &'static str) -> Self {
        let port = ReservedPort::any().unwrap();
        let process = echo_at(&port, message, &["--delay", "50ms"]);
        Self {
            process,
            port,
            message,
        }
    }

    fn address(&self) -> SocketAddr {
        self.port.addr()
    }

    fn restart(&mut self) {
        self.process = echo_at(&self.port, self.message, &["--delay", "50ms"]);
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
    let mut servers = ["ok", "ok"].map(Slow::start);
    // Only refused checks take a server down: one that is starved has a minute for its answer.
    let balancer = Balancer::http(
        &servers.each_ref().map(Slow::address),
        "",
        "health = { http = \"/health\", interval = \"50ms\", timeout = \"1m\", rise = 1, fall = 3 }",
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
    text: String,
}

/// Begins a POST every 10 ms, each on a connection of its own, until `time` has passed since
/// `hung`, and `least` of them at least.
fn posts(address: SocketAddr, hung: Instant, time: Duration, least: usize) -> Vec<Asked> {
    let ask = || {
        let mut client = Client::connect(address).unwrap();
        let began = hung.elapsed();
        let response = client.request("POST", "/", &[], b"x").unwrap();
        Asked {
            began,
            took: hung.elapsed() - began,
            status: response.status,
            text: response.text(),
        }
    };
    thread::scope(|scope| {
        let mut threads = Vec::new();
        while hung.elapsed() < time || threads.len() < least {
            threads.push(scope.spawn(ask));
            thread::sleep(Duration::from_millis(10));
        }
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    })
}

/// Longer than a server that does not hang is starved.
const CHECK_TIMEOUT: Duration = Duration::from_secs(3);

#[test]
fn a_hung_server_is_avoided_once_its_checks_have_failed() {
    let servers = ["hung", "well"].map(Slow::start);
    let balancer = Balancer::http(
        &servers.each_ref().map(Slow::address),
        "",
        &format!(
            "balance = \"round-robin\"\noutlier = false\ntimeouts = {{ response = \"1m\" }}\n\
             health = {{ http = \"/health\", interval = \"100ms\", timeout = \"{}s\", fall = 3 }}",
            CHECK_TIMEOUT.as_secs()
        ),
    );
    let warm = Duration::from_millis(300);
    posts(balancer.addr(), Instant::now(), warm, 10);
    let load = Load::new(balancer.addr(), 400.0).start();
    thread::sleep(Duration::from_millis(300));
    servers[0].process.hang().unwrap();
    let hung = Instant::now();
    let address = balancer.addr();
    let (asked, marked) = thread::scope(|scope| {
        let posts = scope.spawn(|| posts(address, hung, 2 * CHECK_TIMEOUT, 10));
        balancer
            .process
            .wait_for_stderr("server is down", PATIENCE)
            .unwrap();
        let marked = hung.elapsed();
        let log = balancer.process.stderr();
        let down = log.lines().find(|line| line.contains("server is down"));
        assert!(down.unwrap().contains(&servers[0].address().to_string()));
        (posts.join().unwrap(), marked)
    });

    // Two fast intervals and one timeout, and time for a busy machine; not a timeout for each of
    // the three checks.
    assert!(
        marked < 3 * CHECK_TIMEOUT,
        "marked down only after {marked:?}"
    );
    let failed: Vec<_> = asked.iter().filter(|asked| asked.status != 200).collect();
    assert!(!failed.is_empty(), "no request was on the hung server");
    // It was marked down long before the response timeout, so all of them got 502, at that time.
    assert!(failed.iter().all(|asked| asked.status == 502));
    assert!(
        failed
            .iter()
            .all(|asked| asked.took < Duration::from_secs(30))
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

    eventually("traffic on the resumed server", || {
        let asked = posts(balancer.addr(), Instant::now(), Duration::ZERO, 4);
        let is_resumed = |asked: &Asked| asked.text.starts_with("hung");
        asked.iter().any(is_resumed).then_some(())
    });
}

#[test]
fn a_tcp_check_cannot_see_a_hung_server() {
    let servers = ["hung", "well"].map(Slow::start);
    // Without passive detection, which does see it.
    let balancer = Balancer::http(
        &servers.each_ref().map(Slow::address),
        "",
        "balance = \"round-robin\"\noutlier = false\ntimeouts = { response = \"300ms\" }\n\
         health = { tcp = true, interval = \"50ms\", timeout = \"100ms\", fall = 3 }",
    );
    let warm = Duration::from_millis(300);
    posts(balancer.addr(), Instant::now(), warm, 10);
    servers[0].process.hang().unwrap();
    // Time in which checks that could see it would have, many times over.
    thread::sleep(Duration::from_secs(2));
    let asked = posts(balancer.addr(), Instant::now(), Duration::from_secs(1), 10);
    let failed: Vec<_> = asked.iter().filter(|asked| asked.status != 200).collect();
    assert!(failed.iter().all(|asked| asked.status == 504));
    assert!(
        failed.len() >= asked.len() / 3,
        "requests after 2 s went to the hung server no more"
    );
    announce(&format!(
        "{} of {} POSTs got 504",
        failed.len(),
        asked.len()
    ));
}
