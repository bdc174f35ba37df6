//! The case `virtual-ip`: two balancers, one address, and everything that may happen to a node.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use super::lab::{Lab, PATIENCE, PLUGGED, Running, send, wait_for};
use crate::shell;

/// Starts the server that the balancer of a machine has.
pub(super) fn start_server(lab: &Lab, program: &str, machine: &str) -> Result<Running> {
    let arguments = ["echo", "--listen", "127.0.0.1:8080", "--message", machine];
    lab.start(machine, program, &arguments)
}

/// Starts a balancer and waits until it serves.
pub(super) fn start_balancer(
    lab: &Lab,
    program: &str,
    machine: &str,
    priority: u8,
    addresses: &[&str],
    options: &str,
) -> Result<Running> {
    let text = format!(
        "[process]\nmetrics = \"127.0.0.1:9100\"\ndrain = \"1s\"\n[frontend.web]\n\
             listen = \":80\"\nbackend = \"echo\"\n[backend.echo]\nservers = [\"127.0.0.1:8080\"]\n\
             [virtual-ip.main]\naddresses = {addresses:?}\ninterface = \"eth0\"\nrouter-id = 51\n\
             priority = {priority}\n{options}"
    );
    let config = lab.file(&format!("{machine}.toml"));
    std::fs::write(&config, text)?;
    let config = config.display().to_string();
    let process = lab.start(machine, program, &["run", "-c", &config])?;
    wait_for("a balancer that serves", PATIENCE, || {
        Ok(process.text()?.contains(&format!("-> {priority}")))
    })?;
    Ok(process)
}

/// The part of a node's configuration by which it and `other` share what they know.
pub(super) fn cluster(lab: &Lab, machine: &str, other: &str) -> Result<String> {
    let secret = lab.file("cluster.key");
    if !secret.exists() {
        std::fs::write(&secret, "5".repeat(64))?;
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600))?;
    }
    let number = if other == "one" { 1 } else { 2 };
    let secret = secret.display().to_string();
    Ok(format!(
        "[cluster]\nnode = \"{machine}\"\nlisten = \"0.0.0.0:7946\"\n\
         peers = {{ {other} = \"10.9.0.{number}:7946\" }}\nsecret-file = {secret:?}\n"
    ))
}

/// Waits until a balancer that was just started hears the active.
pub(super) fn wait_for_backup(balancer: &Running) -> Result<()> {
    wait_for("a backup", PATIENCE, || {
        Ok(balancer.text()?.contains("-> backup"))
    })?;
    Ok(())
}

/// Builds the program, optimised when it is measured in full; where it is.
pub(super) fn build() -> Result<String> {
    let program = if is_full() {
        shell::build_release("catamaran")?;
        std::path::absolute("target/release/catamaran")?
    } else {
        shell::run("cargo", &["build", "--package", "catamaran"])?;
        let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned());
        std::path::absolute(target)?.join("debug/catamaran")
    };
    Ok(program.display().to_string())
}

/// Whether figures are asked for rather than a sign of life.
pub(super) fn is_full() -> bool {
    std::env::var("CATAMARAN_ROUNDS").is_ok_and(|rounds| rounds == "full")
}

/// Runs the case.
pub(in crate::interop) fn run() -> Result<()> {
    let program = build()?;
    let lab = Lab::new(&["one", "two", "client"])?;
    let _servers = [
        start_server(&lab, &program, "one")?,
        start_server(&lab, &program, "two")?,
    ];
    kill_and_stop(&lab, &program)?;
    sleep_and_wake(&lab, &program)?;
    cut_and_heal(&lab, &program)?;
    refuse_unsealed(&lab, &program)?;
    lose_readiness(&lab, &program)
}

/// kill -9 of everything at once, of the vrrp process, and clean stops.
fn kill_and_stop(lab: &Lab, program: &str) -> Result<()> {
    let mut quiet = Vec::new();
    let mut killed = Vec::new();
    let mut stopped = Vec::new();
    let mut gone = Vec::new();
    let (mut active, mut backup) = start(lab, program)?;
    for _ in 0..rounds() {
        // What this machine alone does to the clients, to judge the rest by.
        quiet.push(Probe::start(lab)?.gap()?);
        let probe = Probe::start(lab)?;
        active.kill_tree()?;
        lab.wait_for_address("two", ADDRESS)?;
        gone.push(lab.wait_for_holder("two", ADDRESS)?);
        killed.push(probe.gap()?);
        active = node(lab, program, "one", 150)?;
        wait_for_backup(&active)?;
        let probe = Probe::start(lab)?;
        backup.signal(Signal::TERM)?;
        lab.wait_for_holder("one", ADDRESS)?;
        stopped.push(probe.gap()?);
        backup = node(lab, program, "two", 100)?;
        wait_for_backup(&backup)?;
    }
    tell(
        "nothing happens: longest time without an answer",
        &mut quiet,
    );
    tell(
        "kill -9 of the whole tree: longest time without an answer",
        &mut killed,
    );
    tell("clean stop: longest time without an answer", &mut stopped);
    tell(
        "kill -9: the kernel had removed the address after",
        &mut gone,
    );
    ensure!(
        killed.iter().all(|gap| *gap < Duration::from_secs(2)),
        "too long after a kill"
    );

    let probe = Probe::start(lab)?;
    send(active.find("catamaran-vrrp")?, Signal::KILL);
    lab.wait_for_holder("two", ADDRESS)?;
    let gap = probe.gap()?;
    shell::say(&format!(
        "kill -9 of the vrrp process alone: {} ms",
        gap.as_millis()
    ));
    wait_for("a new vrrp process", PATIENCE, || {
        Ok(active.text()?.matches("vrrp process started").count() == 2)
    })?;
    lab.stays("two", ADDRESS, Duration::from_secs(1))
}

/// A vrrp process that slept while another took over gives the address up before it says a word.
fn sleep_and_wake(lab: &Lab, program: &str) -> Result<()> {
    let (active, _backup) = start(lab, program)?;
    let pid = active.find("catamaran-vrrp")?;
    let probe = Probe::start(lab)?;
    send(pid, Signal::STOP);
    lab.wait_for_address("two", ADDRESS)?;
    send(pid, Signal::CONT);
    lab.wait_for_holder("two", ADDRESS)?;
    lab.stays("two", ADDRESS, Duration::from_secs(1))?;
    let gap = probe.gap()?;
    let text = active.text()?;
    ensure!(
        text.contains("active -> backup: this node slept"),
        "the late timer was not noticed"
    );
    let late = lab.metrics("one", "catamaran_virtual_ip_late_total")?;
    ensure!(
        late.iter().any(|line| line.ends_with(" 1")),
        "not counted: {late:?}"
    );
    shell::say(&format!(
        "SIGSTOP and SIGCONT of the vrrp process: {} ms",
        gap.as_millis()
    ));
    Ok(())
}

/// Both are active while they do not hear each other; then one is, and says so to the neighbours.
fn cut_and_heal(lab: &Lab, program: &str) -> Result<()> {
    let (_active, backup) = start(lab, program)?;
    // The switch drops what goes to `one`, whose own link stays up: it sees nothing of it.
    lab.ip("switch", "link set one nomaster")?;
    lab.wait_for_address("two", ADDRESS)?;
    ensure!(lab.holders(ADDRESS)? == ["one", "two"], "both are active");
    let announced = announcements(lab, "one")?;
    lab.ip("switch", &format!("link set one {PLUGGED}"))?;
    let took = lab.wait_for_holder("one", ADDRESS)?;
    shell::say(&format!(
        "a healed cut has one active after {} ms",
        took.as_millis()
    ));
    let probe = Probe::start(lab)?;
    wait_for("a new announcement", PATIENCE, || {
        Ok(announcements(lab, "one")? > announced)
    })?;
    let gap = probe.gap()?;
    ensure!(
        gap < Duration::from_secs(1),
        "clients did not find the winner: {gap:?}"
    );
    ensure!(
        backup.text()?.contains("active -> backup: fe80:")
            || backup.text()?.contains("active -> backup: 10.9.0.1"),
        "the weaker yields"
    );
    lab.stays("one", ADDRESS, Duration::from_secs(2))
}

/// Nodes with a secret hear each other, and nobody who has it not.
fn refuse_unsealed(lab: &Lab, program: &str) -> Result<()> {
    let secret = lab.file("secret");
    std::fs::write(&secret, "a secret of the two nodes\n")?;
    let options = format!("secret-file = {:?}\n", secret.display().to_string());
    let sealed = |machine, priority| {
        start_balancer(lab, program, machine, priority, &[ADDRESS_NET], &options)
    };
    let _active = sealed("one", 150)?;
    lab.wait_for_holder("one", ADDRESS)?;
    let backup = sealed("two", 100)?;
    wait_for_backup(&backup)?;
    lab.stays("one", ADDRESS, Duration::from_secs(1))?;
    let stranger = "preempt = true\n";
    let _stranger = start_balancer(lab, program, "client", 200, &[ADDRESS_NET], stranger)?;
    lab.wait_for_address("client", ADDRESS)?;
    for machine in ["one", "two"] {
        wait_for("adverts without a seal to be counted", PATIENCE, || {
            let drops = lab.metrics(machine, "catamaran_virtual_ip_adverts_dropped_total")?;
            let of_strangers = drops.iter().find(|line| line.contains("unsealed"));
            Ok(of_strangers.is_some_and(|line| !line.ends_with(" 0")))
        })?;
    }
    ensure!(
        lab.holders(ADDRESS)? == ["one", "client"],
        "the active heeds a stranger"
    );
    shell::say("adverts without a seal are dropped and counted");
    Ok(())
}

/// A data process that hangs lowers the priority, so that the other node takes over.
fn lose_readiness(lab: &Lab, program: &str) -> Result<()> {
    let (active, _backup) = start(lab, program)?;
    let data = active.find("catamaran-data")?;
    let probe = Probe::start(lab)?;
    send(data, Signal::STOP);
    lab.wait_for_holder("two", ADDRESS)?;
    let gap = probe.gap()?;
    send(data, Signal::CONT);
    shell::say(&format!(
        "SIGSTOP of the data process: {} ms",
        gap.as_millis()
    ));
    ensure!(gap < Duration::from_secs(3), "too long");
    // It does not preempt, so it leaves the address where it is.
    lab.stays("two", ADDRESS, Duration::from_secs(1))
}

fn start(lab: &Lab, program: &str) -> Result<(Running, Running)> {
    let active = node(lab, program, "one", 150)?;
    lab.wait_for_holder("one", ADDRESS)?;
    let backup = node(lab, program, "two", 100)?;
    wait_for_backup(&backup)?;
    lab.stays("one", ADDRESS, Duration::from_secs(1))?;
    Ok((active, backup))
}

fn node(lab: &Lab, program: &str, machine: &'static str, priority: u8) -> Result<Running> {
    let addresses = ["10.9.0.100/24", "fe80::100/64", "fd09::100/64"];
    start_balancer(lab, program, machine, priority, &addresses, "")
}

/// Frames sent, as the metrics count them, which lag by half a second.
fn announcements(lab: &Lab, machine: &str) -> Result<u64> {
    let lines = lab.metrics(machine, "catamaran_virtual_ip_announcements_total")?;
    let counts = lines
        .iter()
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    Ok(counts.sum())
}

/// The client at work on its machine.
struct Probe(std::process::Child);

impl Probe {
    fn start(lab: &Lab) -> Result<Self> {
        let me = std::env::current_exe()?;
        let me = me.to_str().context("the path is UTF-8")?;
        let mut command = lab.command("client", me);
        command.args(["interop-probe", &format!("{ADDRESS}:80"), "6"]);
        let child = command.stdout(Stdio::piped()).spawn()?;
        // It shall have had answers before anything happens.
        std::thread::sleep(Duration::from_millis(500));
        Ok(Self(child))
    }

    /// The longest time without an answer.
    fn gap(self) -> Result<Duration> {
        let output = self.0.wait_with_output()?;
        let text = String::from_utf8(output.stdout)?;
        let millis = text
            .trim()
            .rsplit(' ')
            .next()
            .and_then(|word| word.parse().ok());
        Ok(Duration::from_millis(
            millis.with_context(|| format!("no gap in `{text}`"))?,
        ))
    }
}

fn tell(what: &str, times: &mut [Duration]) {
    times.sort();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    shell::say(&format!(
        "{what}: median {} ms, worst {} ms of {}",
        median.as_millis(),
        worst.as_millis(),
        times.len()
    ));
}

fn rounds() -> usize {
    if is_full() { 20 } else { 3 }
}

const ADDRESS: &str = "10.9.0.100";
const ADDRESS_NET: &str = "10.9.0.100/24";
