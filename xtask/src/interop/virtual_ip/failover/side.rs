//! What is compared: a node of catamaran, and one of keepalived with HAProxy.

use std::path::Path;

use anyhow::{Result, bail};
use rustix::process::Signal;

use super::super::lab::{Lab, PATIENCE, Running, wait_for};
use super::super::pair;

/// A way to make a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Catamaran,
    CatamaranWithVirtualMac,
    Keepalived,
}

/// A node that runs.
#[derive(Debug)]
pub(super) struct Node {
    side: Side,
    /// The process that plays VRRP first.
    processes: Vec<Running>,
}

impl Side {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Catamaran => "catamaran",
            Self::CatamaranWithVirtualMac => "catamaran, virtual-mac",
            Self::Keepalived => "keepalived + HAProxy",
        }
    }

    /// Starts a node that serves; the stronger one is `one`.
    pub(super) fn start(
        self,
        lab: &Lab,
        program: &str,
        machine: &'static str,
        interval_ms: u32,
    ) -> Result<Node> {
        // As close as can be, so that the backup does not wait for its place in the row.
        let priority = if machine == "one" { 254 } else { 253 };
        let processes = match self {
            Self::Keepalived => {
                let config = lab.file(&format!("{machine}-haproxy.cfg"));
                std::fs::write(&config, HAPROXY)?;
                let haproxy = lab.start(machine, "haproxy", &["-db", "-f", &path(&config)])?;
                wait_for("HAProxy", PATIENCE, || serves(lab, machine))?;
                vec![keepalived(lab, machine, priority, interval_ms)?, haproxy]
            }
            Self::Catamaran | Self::CatamaranWithVirtualMac => {
                let virtual_mac = self == Self::CatamaranWithVirtualMac;
                let other = if machine == "one" { "two" } else { "one" };
                let options = format!(
                    "advert-interval = \"{interval_ms}ms\"\nallow-jitter = true\n\
                     virtual-mac = {virtual_mac}\ntrack = [{{ backend = \"echo\" }}]\n{}",
                    pair::cluster(lab, machine, other)?
                );
                let addresses = [super::V4_NET, super::V6_NET];
                let node =
                    pair::start_balancer(lab, program, machine, priority, &addresses, &options)?;
                vec![node]
            }
        };
        Ok(Node {
            side: self,
            processes,
        })
    }
}

impl Node {
    /// Waits until it knows the other by more than adverts, if it is of a kind that does.
    pub(super) fn wait_for_peer(&self) -> Result<()> {
        if self.side != Side::Keepalived {
            wait_for("the replication link", PATIENCE, || {
                Ok(self.processes[0].text()?.contains("peer is connected"))
            })?;
        }
        Ok(())
    }

    /// What it has written.
    pub(super) fn texts(&self) -> String {
        let texts = self.processes.iter().map(Running::text);
        texts.filter_map(Result::ok).collect()
    }

    /// kill -9 of everything.
    pub(super) fn kill(&mut self) -> Result<()> {
        for process in &mut self.processes {
            process.signal_tree(Signal::KILL);
        }
        for process in &mut self.processes {
            process.kill_tree()?;
        }
        Ok(())
    }

    /// Has the node give up in good order; HAProxy goes on, which is the best for its clients.
    pub(super) fn stop(&self) -> Result<()> {
        self.processes[0].signal(Signal::TERM)
    }

    /// SIGSTOP or SIGCONT of everything.
    pub(super) fn signal(&self, signal: Signal) {
        for process in &self.processes {
            process.signal_tree(signal);
        }
    }

    /// Removes what this kind of node leaves behind on `machine` when it is killed.
    pub(super) fn clean_up(self, lab: &Lab, machine: &str) -> Result<()> {
        let side = self.side;
        drop(self);
        if side == Side::Keepalived {
            for address in [super::V4_NET, super::V6_NET] {
                // It may have taken them away itself.
                let _ = lab.ip(machine, &format!("addr del {address} dev eth0"));
            }
        }
        wait_for("a node without the address", PATIENCE, || {
            Ok(!lab.holders(super::V4)?.contains(&machine))
        })?;
        Ok(())
    }
}

/// keepalived with everything that makes it quick: version 3 with the same interval, equal
/// priorities but for one, real-time scheduling, memory that is not swapped, announcements at once
/// and often, also when two actives have met.
fn keepalived(lab: &Lab, machine: &str, priority: u8, interval_ms: u32) -> Result<Running> {
    let interval = f64::from(interval_ms) / 1000.0;
    let script = lab.file("check.sh");
    std::fs::write(&script, CHECK)?;
    let instance = |name: &str, id: u8, address: &str| {
        format!(
            "vrrp_instance {name} {{\nstate BACKUP\ninterface eth0\nversion 3\n\
             virtual_router_id {id}\npriority {priority}\nadvert_int {interval}\nnopreempt\n\
             garp_master_delay 1\ngarp_master_repeat 5\ngarp_lower_prio_delay 1\n\
             garp_lower_prio_repeat 5\nhigher_prio_send_advert yes\nvirtual_ipaddress {{\n{address}\n}}\n\
             track_script {{\ncheck\n}}\n}}\n"
        )
    };
    let text = format!(
        "global_defs {{\nvrrp_rt_priority 50\nvrrp_rlimit_rttime 1000000\nvrrp_no_swap\n\
         script_user root\n}}\n\
         vrrp_script check {{\nscript \"/bin/sh {}\"\ninterval 1\ntimeout 1\nfall 1\nrise 1\n}}\n{}{}",
        path(&script),
        instance("V4", 51, super::V4_NET),
        instance("V6", 52, super::V6_NET),
    );
    let config = lab.file(&format!("{machine}-keepalived.conf"));
    std::fs::write(&config, text)?;
    let pids = ["keepalived", "vrrp"].map(|name| lab.file(&format!("{machine}-{name}.pid")));
    for file in &pids {
        // One that was killed leaves its file, and the next would think that it runs.
        let _ = std::fs::remove_file(file);
    }
    let [pid, vrrp] = pids.map(|file| path(&file));
    let config = path(&config);
    let arguments = [
        "-n", "-l", "-D", "-P", "-f", &config, "-p", &pid, "-r", &vrrp,
    ];
    let process = lab.start(machine, "keepalived", &arguments)?;
    let state = if machine == "one" {
        LEADS
    } else {
        "BACKUP STATE"
    };
    wait_for("keepalived", PATIENCE, || {
        let text = process.text()?;
        if text.contains("Unknown keyword") {
            bail!("keepalived does not understand its configuration: {text}");
        }
        Ok(text.matches(state).count() >= 2)
    })?;
    Ok(process)
}

/// Whether the balancer on `machine` has a server.
fn serves(lab: &Lab, machine: &str) -> Result<bool> {
    let arguments = [
        "-sf",
        "-m",
        "0.5",
        "-o",
        "/dev/null",
        "http://127.0.0.1:80/",
    ];
    Ok(lab
        .command(machine, "curl")
        .args(arguments)
        .status()?
        .success())
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

/// What keepalived logs when it is active; tidy has another word for it.
const LEADS: &str = concat!("MAS", "TER STATE");
const HAPROXY: &str = "\
global
    maxconn 4000
defaults
    mode http
    timeout connect 1s
    timeout client 10s
    timeout server 10s
frontend web
    bind :::80 v4v6
    default_backend echo
backend echo
    server one 127.0.0.1:8080 check inter 500
";

/// Whether HAProxy has a server: what is commonly written for keepalived.
const CHECK: &str = "exec curl -sf -m 0.5 -o /dev/null http://127.0.0.1:80/\n";
