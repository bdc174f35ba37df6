//! The case `vrrp-keepalived`: one node is catamaran, the other keepalived, in both roles.

use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::process::Signal;

use super::lab::{Lab, PATIENCE, Running, wait_for};
use super::pair;
use crate::shell;

/// One way to speak VRRP.
struct Variant {
    title: &'static str,
    version: u8,
    /// What both nodes hold.
    addresses: &'static [&'static str],
    /// Addresses of catamaran and keepalived, if adverts go from one to the other alone.
    unicast: Option<(&'static str, &'static str)>,
    /// Longest time that the down interval and this machine may take.
    bound: Duration,
}

/// Runs the case.
pub(in crate::interop) fn run() -> Result<()> {
    let program = pair::build()?;
    for variant in VARIANTS {
        play(&program, variant)?;
    }
    Ok(())
}

fn play(program: &str, variant: &Variant) -> Result<()> {
    shell::say(&format!("-- {}", variant.title));
    let lab = Lab::new(&["cat", "kee", "client"])?;
    let dump = lab.start(
        "switch",
        "tcpdump",
        &["-i", "br0", "-nn", "-vv", "-l", "-U"],
    )?;
    wait_for("tcpdump", PATIENCE, || {
        Ok(dump.text()?.contains("listening on"))
    })?;
    let _server = pair::start_server(&lab, program, "cat")?;
    let last = variant.addresses[variant.addresses.len() - 1];
    let trial = Trial {
        lab: &lab,
        program,
        variant,
        address: plain(last),
    };
    let keepalived = trial.take_over_from_catamaran()?;
    let catamaran = trial.hand_over_both_ways(keepalived)?;
    trial.outrank(catamaran)?;
    examine(&dump, variant)
}

/// One catamaran and one keepalived, and the address that they hold in turn.
struct Trial<'a> {
    lab: &'a Lab,
    program: &'a str,
    variant: &'a Variant,
    address: &'a str,
}

impl Trial<'_> {
    /// Each hears the other, and keepalived takes over from a catamaran that is killed.
    fn take_over_from_catamaran(&self) -> Result<Running> {
        let mut active = self.catamaran()?;
        self.lab.wait_for_holder("cat", self.address)?;
        let keepalived = keepalived(self.lab, self.variant, 100)?;
        self.lab.stays("cat", self.address, self.variant.bound)?;
        shell::say("keepalived hears catamaran and stays backup");
        active.kill_tree()?;
        let took = self.lab.wait_for_address("kee", self.address)?;
        self.check("kill -9 of catamaran: keepalived has the address", took)?;
        self.lab.wait_for_holder("kee", self.address)?;
        Ok(keepalived)
    }

    /// Priority 0 from either, then a keepalived that is killed.
    fn hand_over_both_ways(&self, active: Running) -> Result<Running> {
        let catamaran = self.backup()?;
        self.lab.stays("kee", self.address, self.variant.bound)?;
        shell::say("catamaran hears keepalived and stays backup");
        active.stop()?;
        let took = self.lab.wait_for_holder("cat", self.address)?;
        self.check(
            "stop of keepalived (priority 0): catamaran has the address",
            took,
        )?;

        let active = keepalived(self.lab, self.variant, 100)?;
        self.lab
            .stays("cat", self.address, Duration::from_secs(1))?;
        catamaran.signal(Signal::TERM)?;
        let took = self.lab.wait_for_holder("kee", self.address)?;
        self.check(
            "stop of catamaran (priority 0): keepalived has the address",
            took,
        )?;
        drop(catamaran);

        let catamaran = self.backup()?;
        self.lab.stays("kee", self.address, self.variant.bound)?;
        drop(active);
        let took = self.lab.wait_for_address("cat", self.address)?;
        self.check("kill -9 of keepalived: catamaran has the address", took)?;
        // A killed keepalived leaves its addresses behind.
        for address in self.variant.addresses {
            self.lab
                .ip("kee", &format!("addr del {address} dev eth0"))?;
        }
        Ok(catamaran)
    }

    /// A stronger keepalived wins, and no advert was dropped on the way there.
    fn outrank(&self, _active: Running) -> Result<()> {
        let _stronger = keepalived(self.lab, self.variant, 200)?;
        self.lab.wait_for_holder("kee", self.address)?;
        shell::say("a stronger keepalived takes the address from catamaran");
        let drops = self
            .lab
            .metrics("cat", "catamaran_virtual_ip_adverts_dropped_total")?;
        ensure!(
            drops.len() >= 7 && drops.iter().all(|line| line.ends_with(" 0")),
            "adverts were dropped: {drops:?}"
        );
        Ok(())
    }

    fn catamaran(&self) -> Result<Running> {
        let version = self.variant.version;
        let mut options = format!("checksum = \"pseudo-header\"\nversion = {version}\n");
        if let Some((_, peer)) = self.variant.unicast {
            options += &format!("peers = \"{peer}\"\n");
        }
        let addresses = self.variant.addresses;
        pair::start_balancer(self.lab, self.program, "cat", 150, addresses, &options)
    }

    fn backup(&self) -> Result<Running> {
        let catamaran = self.catamaran()?;
        pair::wait_for_backup(&catamaran)?;
        Ok(catamaran)
    }

    fn check(&self, what: &str, took: Duration) -> Result<()> {
        shell::say(&format!("{what} after {} ms", took.as_millis()));
        let Variant { title, bound, .. } = self.variant;
        ensure!(took <= *bound, "{title}: {what} only after {took:?}");
        Ok(())
    }
}

/// What tcpdump's decoder says of the packets.
fn examine(dump: &Running, variant: &Variant) -> Result<()> {
    let text = dump.text()?;
    let adverts = format!("VRRPv{}, Advertisement, vrid 51", variant.version);
    for (from, wanted) in [
        ("catamaran", "prio 150"),
        ("keepalived", "prio 100"),
        ("either", "prio 0"),
    ] {
        let count = text
            .lines()
            .filter(|l| l.contains(&adverts) && l.contains(wanted))
            .count();
        ensure!(count > 0, "tcpdump saw no advert of {from} with {wanted}");
    }
    let bad: Vec<&str> = text
        .lines()
        .filter(|l| l.contains("bad vrrp cksum"))
        .collect();
    ensure!(bad.is_empty(), "tcpdump finds wrong checksums: {}", bad[0]);
    for address in variant.addresses {
        let address = plain(address);
        let announced = if address.contains(':') {
            text.contains(&format!("tgt is {address}"))
        } else {
            text.contains(&format!(
                "who-has {address} (ff:ff:ff:ff:ff:ff) tell {address}"
            )) || text.contains(&format!("who-has {address} tell {address}"))
        };
        ensure!(announced, "tcpdump saw no announcement of {address}");
    }
    shell::say("tcpdump decodes all adverts, their checksums and the announcements");
    Ok(())
}

fn keepalived(lab: &Lab, variant: &Variant, priority: u8) -> Result<Running> {
    let interval = if variant.version == 2 { "1" } else { "0.1" };
    let unicast = variant.unicast.map_or(String::new(), |(peer, own)| {
        format!("unicast_src_ip {own}\nunicast_peer {{\n{peer}\n}}\n")
    });
    let text = format!(
        "global_defs {{\nvrrp_garp_master_repeat 1\n}}\nvrrp_instance V {{\nstate BACKUP\n\
         interface eth0\nversion {}\nvirtual_router_id 51\npriority {priority}\n\
         advert_int {interval}\n{unicast}virtual_ipaddress {{\n{}\n}}\n}}\n",
        variant.version,
        variant.addresses.join("\n")
    );
    let config = lab.file("keepalived.conf");
    std::fs::write(&config, text)?;
    let (pid, vrrp) = (lab.file("keepalived.pid"), lab.file("vrrp.pid"));
    for file in [&pid, &vrrp] {
        // One that was killed leaves its file, and the next would think that it runs.
        let _ = std::fs::remove_file(file);
    }
    let path = |path: &std::path::Path| path.display().to_string();
    let arguments = [
        "-n",
        "-l",
        "-D",
        "-P",
        "-f",
        &path(&config),
        "-p",
        &path(&pid),
        "-r",
        &path(&vrrp),
    ];
    lab.start("kee", "keepalived", &arguments)
}

fn plain(address: &str) -> &str {
    address.split('/').next().unwrap_or(address)
}

const VARIANTS: &[Variant] = &[
    Variant {
        title: "version 3, IPv4, multicast",
        version: 3,
        addresses: &["10.9.0.100/24"],
        unicast: None,
        bound: Duration::from_secs(2),
    },
    Variant {
        title: "version 3, IPv4, unicast",
        version: 3,
        addresses: &["10.9.0.100/24", "10.9.0.101/24"],
        unicast: Some(("10.9.0.1", "10.9.0.2")),
        bound: Duration::from_secs(2),
    },
    Variant {
        title: "version 3, IPv6, multicast",
        version: 3,
        addresses: &["fe80::100/64", "fd09::100/64"],
        unicast: None,
        bound: Duration::from_secs(2),
    },
    Variant {
        title: "version 2, IPv4, multicast",
        version: 2,
        addresses: &["10.9.0.100/24"],
        unicast: None,
        bound: Duration::from_secs(6),
    },
    Variant {
        title: "version 2, IPv4, unicast",
        version: 2,
        addresses: &["10.9.0.100/24"],
        unicast: Some(("10.9.0.1", "10.9.0.2")),
        bound: Duration::from_secs(6),
    },
];
