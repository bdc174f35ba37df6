//! `cargo xtask bench --restart`: what clients lose when the data process is killed.
//!
//! Two configurations: a small one, and one of 1,000 backends with 1,000,000 clients bound to their
//! servers. Under 2,000 requests per second, half of them on connections of their own, beside open
//! WebSockets and TCP tunnels, the data process gets SIGKILL. The gap is from the kill to the first
//! whole answer on a connection that was made after it. What goes out on connections of the process
//! that dies is lost, as long as they do not show it; that no connect is refused, that nobody waits
//! in vain, and that clients come back to their servers is asserted.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use catamaran_testkit::{
    Client, Failure, Load, Origin, Process, Program, Reply, Signal, WireError, descendants,
    free_addr, request_bytes, signal_pid, tunnel,
};

use super::report::median;
use crate::shell;

/// A configuration that is tried.
struct Setup {
    name: &'static str,
    backends: usize,
    /// Clients that are bound to a server when the process is killed.
    entries: usize,
    /// Milliseconds that the gap may take.
    goal: f64,
}

const SETUPS: [Setup; 2] = [
    Setup {
        name: "1 backend",
        backends: 1,
        entries: 0,
        goal: 100.0,
    },
    Setup {
        name: "1,000 backends, 1,000,000 entries",
        backends: 1000,
        entries: 1_000_000,
        goal: 250.0,
    },
];

/// Requests per second, over both kinds of load together.
const RATE: f64 = 2000.0;
const WEB_SOCKETS: usize = 200;
const TUNNELS: usize = 50;
/// Threads that bind clients, and requests that each has on its way at once.
const FILLERS: usize = 4;
const PIPELINED: usize = 32;
/// Clients that are asked for before and after.
const ASKED: usize = 50;
/// Longer than what the state file lags behind.
const COPIED: Duration = Duration::from_secs(2);
/// Lives as long make the supervisor start the next one at once.
const STEADY: Duration = Duration::from_millis(10_500);
const PATIENCE: Duration = Duration::from_secs(120);

/// What one kill cost.
struct Cost {
    gap_ms: f64,
    told_ms: f64,
    lost: u64,
    slowest_ms: f64,
}

/// Kills `runs` times in each configuration and prints the table.
pub(super) fn run(runs: usize) -> Result<()> {
    shell::say(
        "| configuration | gap, median (longest) | by the supervisor's log | requests lost for each \
         kill | refused | slowest request |\n| --- | --- | --- | --- | --- | --- |",
    );
    let mut missed = Vec::new();
    for setup in &SETUPS {
        let costs = measure(setup, runs).context(setup.name)?;
        let column = |of: fn(&Cost) -> f64| costs.iter().map(of).collect::<Vec<_>>();
        let longest = |of: fn(&Cost) -> f64| column(of).into_iter().fold(0.0, f64::max);
        let gap = median(column(|cost| cost.gap_ms));
        shell::say(&format!(
            "| {} | {gap:.0} ms ({:.0}) | {:.0} ms | {:.0} | 0 | {:.0} ms |",
            setup.name,
            longest(|cost| cost.gap_ms),
            median(column(|cost| cost.told_ms)),
            median(column(|cost| cost.lost as f64)),
            longest(|cost| cost.slowest_ms),
        ));
        if gap > setup.goal {
            missed.push(format!("{}: {gap:.0} ms of {}", setup.name, setup.goal));
        }
    }
    ensure!(missed.is_empty(), "missed: {}", missed.join("; "));
    Ok(())
}

/// What stands behind and before the balancer.
struct Scene {
    balancer: Process,
    web: SocketAddr,
    raw: SocketAddr,
    _origins: [Origin; 3],
}

fn measure(setup: &Setup, runs: usize) -> Result<Vec<Cost>> {
    let scene = start(setup)?;
    fill(&scene, setup)?;
    let asked = answers(&scene, setup)?;
    let mut costs = Vec::new();
    for _ in 0..runs {
        thread::sleep(STEADY);
        costs.push(kill(&scene)?);
        ensure!(
            answers(&scene, setup)? == asked,
            "clients have changed their servers"
        );
    }
    Ok(costs)
}

fn start(setup: &Setup) -> Result<Scene> {
    let origin = |name: &'static str| {
        Origin::http(move |request| match request.head.field("upgrade") {
            Some(_) => Reply::upgrade("websocket", tunnel::echo()),
            None => Reply::new(200, name),
        })
        .without_records()
        .start()
    };
    let origins = [
        origin("a")?,
        origin("b")?,
        Origin::tcp(tunnel::echo()).start()?,
    ];
    let [a, b, echo] = origins.each_ref().map(Origin::addr);
    let (web, raw) = (free_addr()?, free_addr()?);
    let mut text = format!(
        "[process]\nworkers = 2\n[admin]\nsocket = false\n\
         [frontend.web]\nlisten = \"{web}\"\nbackend = \"b0\"\n\
         [frontend.raw]\nprotocol = \"tcp\"\nlisten = \"{raw}\"\nbackend = \"echo\"\n\
         [backend.echo]\nservers = [\"{echo}\"]\n"
    );
    for number in 0..setup.backends {
        if number > 0 {
            write!(
                text,
                "[[frontend.web.route]]\npath = \"/b{number}\"\nbackend = \"b{number}\"\n"
            )?;
        }
        write!(
            text,
            "[backend.b{number}]\nservers = [\"{a}\", \"{b}\"]\nbalance = \"random\"\n\
             stick = {{ on = \"header:X-User\", for = \"1h\" }}\n"
        )?;
    }
    let program = std::env::current_dir()?.join("target/release/catamaran");
    let mut balancer = Program::run_config(program, &text)?.start()?;
    balancer.wait_for_port(web, PATIENCE)?;
    Ok(Scene {
        balancer,
        web,
        raw,
        _origins: origins,
    })
}

/// The request of a client: half of them go to one backend, the others to the rest.
fn request_of(user: usize, backends: usize) -> Vec<u8> {
    let target = match user % 2 {
        0 => "/".to_owned(),
        _ => format!("/b{}", user / 2 % backends.max(1)),
    };
    request_bytes("GET", &target, &[&format!("X-User: u{user}")], b"")
}

/// Binds as many clients as the configuration is to have.
fn fill(scene: &Scene, setup: &Setup) -> Result<()> {
    let bind = |first: usize| -> Result<()> {
        let mut client = Client::connect(scene.web)?;
        let users: Vec<usize> = (first..setup.entries).step_by(FILLERS).collect();
        for users in users.chunks(PIPELINED) {
            let requests = users.iter().map(|user| request_of(*user, setup.backends));
            client.send(&requests.collect::<Vec<_>>().concat())?;
            for _ in users {
                let status = client.receive_response("GET")?.status;
                ensure!(status == 200, "a client got {status}");
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..FILLERS)
            .map(|first| scope.spawn(move || bind(first)))
            .collect();
        let ended = threads.into_iter().map(|thread| thread.join());
        ended
            .into_iter()
            .try_for_each(|ended| ended.unwrap_or_else(|_| bail!("a thread panicked")))
    })?;
    thread::sleep(COPIED);
    Ok(())
}

/// Which server answers to each of some clients.
fn answers(scene: &Scene, setup: &Setup) -> Result<Vec<String>> {
    let step = (setup.entries / ASKED).max(1);
    let mut client = Client::connect(scene.web)?;
    let mut answers = Vec::new();
    for user in (0..ASKED).map(|number| number * step) {
        client.send(&request_of(user, setup.backends))?;
        answers.push(client.receive_response("GET")?.text());
    }
    // What was bound by this is to be copied, too.
    thread::sleep(COPIED);
    Ok(answers)
}

/// Kills the data process once, under load.
fn kill(scene: &Scene) -> Result<Cost> {
    let load = || Load::new(scene.web, RATE / 2.0).looking_first();
    let loads = [load().start(), load().without_keep_alive().start()];
    let mut tunnels = open_tunnels(scene)?;
    thread::sleep(Duration::from_secs(2));
    talk(&mut tunnels)?;
    let told = scene.balancer.stderr().len();
    let data = descendants(scene.balancer.pid());
    let [data] = data[..] else {
        bail!("{} processes where one was expected", data.len());
    };
    let killed = Instant::now();
    signal_pid(data, Signal::KILL)?;
    let gap = first_answer(scene.web, killed)?;
    thread::sleep(Duration::from_secs(2));
    let mut failed: BTreeMap<Failure, u64> = BTreeMap::new();
    let mut slowest = Duration::ZERO;
    for load in loads {
        let report = load.stop();
        slowest = slowest.max(report.quantile(1.0).context("nothing was answered")?);
        for (failure, count) in report.failed {
            *failed.entry(failure).or_default() += count;
        }
    }
    // Connections that were made later wait, and are served.
    let is_broken =
        |failure: &Failure| matches!(failure, Failure::Wire(error) if *error != WireError::Timeout);
    ensure!(
        failed.keys().all(is_broken),
        "more than what was in flight: {failed:?}"
    );
    let lost = failed.values().sum();
    let log = scene.balancer.stderr();
    let told_ms = milliseconds(&log[told..], " gap=").context("the log tells no gap")?;
    Ok(Cost {
        gap_ms: gap.as_secs_f64() * 1e3,
        told_ms,
        lost,
        slowest_ms: slowest.as_secs_f64() * 1e3,
    })
}

fn open_tunnels(scene: &Scene) -> Result<Vec<Client>> {
    let mut tunnels = Vec::new();
    for _ in 0..WEB_SOCKETS {
        let mut client = Client::connect(scene.web)?;
        let fields = ["Connection: upgrade", "Upgrade: websocket"];
        let status = client.request("GET", "/", &fields, b"")?.status;
        ensure!(status == 101, "a WebSocket got {status}");
        tunnels.push(client);
    }
    for _ in 0..TUNNELS {
        tunnels.push(Client::connect(scene.raw)?);
    }
    Ok(tunnels)
}

/// Sends a word there and back over each.
fn talk(tunnels: &mut [Client]) -> Result<()> {
    for client in tunnels {
        client.send(b"word")?;
        client.receive(4)?;
    }
    Ok(())
}

/// How long it took until a client that came afterwards had its answer.
fn first_answer(address: SocketAddr, since: Instant) -> Result<Duration> {
    while since.elapsed() < PATIENCE {
        // A refused connect is what must not be; one that the dying process took in may break.
        let mut client = Client::connect(address).context("refused")?;
        if client.get("/").is_ok_and(|response| response.status == 200) {
            return Ok(since.elapsed());
        }
    }
    bail!("nobody serves any more")
}

/// The time that a log tells after `field`, in milliseconds.
pub(super) fn milliseconds(log: &str, field: &str) -> Option<f64> {
    let (_, rest) = log.split_once(field)?;
    let word = rest.split_whitespace().next()?;
    let digits = word.trim_end_matches(|c: char| c.is_alphabetic());
    let unit = match &word[digits.len()..] {
        "s" => 1e3,
        "ms" => 1.0,
        "µs" => 1e-3,
        _ => return None,
    };
    Some(digits.parse::<f64>().ok()? * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gap_is_read_from_what_the_supervisor_says() {
        let gap_of = |log: &str| milliseconds(log, " gap=");
        let near = |log: &str, wanted: f64| (gap_of(log).unwrap() - wanted).abs() < 1e-9;
        assert!(near("INFO serving pid=7 gap=12.5ms\n", 12.5));
        assert!(near("serving pid=7 gap=1.25s", 1250.0));
        assert!(near("serving gap=900µs pid=7", 0.9));
        assert!(gap_of("serving pid=7").is_none());
    }
}
