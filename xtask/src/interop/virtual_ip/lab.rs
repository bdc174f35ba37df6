//! Network namespaces as machines on one switch, and the programs that run in them.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::shell;

/// A switch with machines on it; gone when dropped.
#[derive(Debug)]
pub(super) struct Lab {
    prefix: String,
    machines: Vec<&'static str>,
    directory: PathBuf,
}

/// A program that runs on a machine; killed with all its children when dropped.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    pub(super) log: PathBuf,
}

impl Lab {
    /// Machines with the addresses 10.9.0.N and fd09::N, N from 1, on `eth0`.
    pub(super) fn new(machines: &[&'static str]) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Relaxed);
        let prefix = format!("cat{}-{count}", std::process::id());
        let directory = std::env::temp_dir().join(&prefix);
        std::fs::create_dir_all(&directory)?;
        let lab = Self {
            prefix,
            machines: machines.to_vec(),
            directory,
        };
        ip(&format!("netns add {}", lab.space("switch")))?;
        lab.ip("switch", "link add br0 type bridge mcast_snooping 0")?;
        lab.ip("switch", "link set br0 up")?;
        for (index, machine) in machines.iter().enumerate() {
            let (space, number) = (lab.space(machine), index + 1);
            ip(&format!("netns add {space}"))?;
            lab.ip(
                "switch",
                &format!("link add {machine} type veth peer name eth0 netns {space}"),
            )?;
            lab.ip("switch", &format!("link set {machine} {PLUGGED} up"))?;
            lab.ip(machine, "link set lo up")?;
            lab.ip(machine, "link set eth0 up")?;
            lab.ip(machine, &format!("addr add 10.9.0.{number}/24 dev eth0"))?;
            lab.ip(
                machine,
                &format!("addr add fd09::{number}/64 dev eth0 nodad"),
            )?;
        }
        // Link-local addresses are looked for duplicates first, which takes a second or two.
        for machine in machines {
            wait_for("link-local address", Duration::from_secs(20), || {
                let addresses = lab.addresses(machine)?;
                Ok(addresses.contains("fe80:") && !addresses.contains("tentative"))
            })?;
        }
        Ok(lab)
    }

    /// Runs `ip` on a machine.
    pub(super) fn ip(&self, machine: &str, arguments: &str) -> Result<()> {
        ip(&format!("-n {} {arguments}", self.space(machine)))
    }

    /// Runs `tc` on a machine.
    pub(super) fn tc(&self, machine: &str, arguments: &str) -> Result<()> {
        let space = self.space(machine);
        let words: Vec<&str> = arguments.split_whitespace().collect();
        shell::run("tc", &[&["-n", &space], &words[..]].concat())
    }

    /// A file that programs of the lab may read or write.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// A command that runs on `machine`.
    pub(super) fn command(&self, machine: &str, program: &str) -> Command {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.space(machine), program])
            .stdin(Stdio::null());
        command
    }

    /// Starts a program on `machine`; what it writes goes to a file.
    pub(super) fn start(
        &self,
        machine: &str,
        program: &str,
        arguments: &[&str],
    ) -> Result<Running> {
        let name = Path::new(program)
            .file_name()
            .unwrap_or_default()
            .to_string_lossy();
        let count = std::fs::read_dir(&self.directory)?.count();
        let log = self.file(&format!("{machine}-{name}-{count}.log"));
        let out = File::create(&log)?;
        let child = self
            .command(machine, program)
            .args(arguments)
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("cannot run `{program}`"))?;
        Ok(Running { child, log })
    }

    /// Which machines hold `address`.
    pub(super) fn holders(&self, address: &str) -> Result<Vec<&'static str>> {
        let mut holders = Vec::new();
        for &machine in &self.machines {
            if self.addresses(machine)?.contains(&format!(" {address}/")) {
                holders.push(machine);
            }
        }
        Ok(holders)
    }

    /// Waits until only `machine` holds `address`; how long that took.
    pub(super) fn wait_for_holder(&self, machine: &str, address: &str) -> Result<Duration> {
        let what = format!("{machine} to be the only one with {address}");
        wait_for(&what, PATIENCE, || Ok(self.holders(address)? == [machine]))
    }

    /// Waits until `machine` holds `address`, whoever else does; how long that took.
    pub(super) fn wait_for_address(&self, machine: &str, address: &str) -> Result<Duration> {
        let what = format!("{machine} to have {address}");
        wait_for(&what, PATIENCE, || {
            Ok(self.addresses(machine)?.contains(&format!(" {address}/")))
        })
    }

    /// Fails if `machine` is not the only one with `address` at any moment of `time`.
    pub(super) fn stays(&self, machine: &str, address: &str, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            let holders = self.holders(address)?;
            ensure!(
                holders == [machine],
                "{address} is on {holders:?}, not only on {machine}"
            );
            // Each look is a process; several labs share the cores.
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// The metrics of the balancer on `machine` that begin with `name`.
    pub(super) fn metrics(&self, machine: &str, name: &str) -> Result<Vec<String>> {
        let mut command = self.command(machine, "curl");
        let output = command
            .args(["-s", "-m", "5", "http://127.0.0.1:9100/metrics"])
            .output()?;
        let page = String::from_utf8(output.stdout)?;
        let lines = page.lines().filter(|line| line.starts_with(name));
        Ok(lines.map(str::to_owned).collect())
    }

    fn addresses(&self, machine: &str) -> Result<String> {
        shell::output("ip", &["-n", &self.space(machine), "-o", "addr", "show"])
    }

    fn space(&self, machine: &str) -> String {
        format!("{}-{machine}", self.prefix)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for machine in self.machines.iter().chain(&["switch"]) {
            // What could not be made cannot be removed either.
            let _ = ip(&format!("netns del {}", self.space(machine)));
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Running {
    /// Sends a signal to the program alone.
    pub(super) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).context("cannot signal")
    }

    /// Sends a signal to it and all its children, the children first.
    pub(super) fn signal_tree(&self, signal: Signal) {
        for pid in tree(self.child.id()).into_iter().rev() {
            send(pid, signal);
        }
    }

    /// Kills it and all its children, the children first, so that none sees another die.
    pub(super) fn kill_tree(&mut self) -> Result<()> {
        self.signal_tree(Signal::KILL);
        self.child.wait()?;
        Ok(())
    }

    /// Ends it in good order.
    pub(super) fn stop(mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        wait_for("a clean stop", PATIENCE, || {
            Ok(self.child.try_wait()?.is_some())
        })?;
        Ok(())
    }

    /// The process in its tree that is called `name`.
    pub(super) fn find(&self, name: &str) -> Result<u32> {
        let is_it = |pid: &u32| {
            let comm = std::fs::read_to_string(format!("/proc/{pid}/comm"));
            comm.is_ok_and(|comm| comm.trim() == name)
        };
        let found = tree(self.child.id()).into_iter().find(is_it);
        found.with_context(|| format!("there is no process `{name}`"))
    }

    /// What it has written.
    pub(super) fn text(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(&self.log)?).into_owned())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended long ago.
        let _ = self.kill_tree();
    }
}

/// Sends `signal`; a process that is gone needs none.
pub(super) fn send(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// Polls until `is_so`; how long that took.
pub(super) fn wait_for(
    what: &str,
    patience: Duration,
    mut is_so: impl FnMut() -> Result<bool>,
) -> Result<Duration> {
    let start = Instant::now();
    while !is_so()? {
        if start.elapsed() > patience {
            bail!("waited {patience:?} in vain for {what}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(start.elapsed())
}

/// A process and all below it, parents first.
fn tree(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut at = 0;
    while at < all.len() {
        let path = format!("/proc/{0}/task/{0}/children", all[at]);
        let children = std::fs::read_to_string(path).unwrap_or_default();
        all.extend(
            children
                .split_whitespace()
                .filter_map(|pid| pid.parse::<u32>().ok()),
        );
        at += 1;
    }
    all
}

fn ip(arguments: &str) -> Result<()> {
    let words: Vec<&str> = arguments.split_whitespace().collect();
    shell::run("ip", &words)
}

/// What `ip link set` says of a port that is plugged into the switch; tidy knows half of the word
/// from elsewhere.
pub(super) const PLUGGED: &str = concat!("mas", "ter br0");
/// Longer than anything here takes on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
