//! The second heartbeat: adverts are lost in both directions, and all else comes through. The nodes
//! know each other alive by their replication link, so that the address stays where it is, for as
//! long as both live and no longer.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;

use super::super::lab::{Lab, PATIENCE, Running, wait_for};
use super::super::pair;
use super::{V4, V4_NET, V6, V6_NET};
use crate::shell;

/// Runs it.
pub(super) fn run(program: &str) -> Result<()> {
    let lab = Lab::new(&["one", "two"])?;
    let _servers = [
        pair::start_server(&lab, program, "one")?,
        pair::start_server(&lab, program, "two")?,
    ];
    let mut one = start(&lab, program, "one", "two", 254)?;
    stay_on_one(&lab, Duration::ZERO)?;
    let two = start(&lab, program, "two", "one", 253)?;
    pair::wait_for_backup(&two)?;
    for node in [&one, &two] {
        wait_for("the replication link", PATIENCE, || {
            Ok(node.text()?.contains("peer is connected"))
        })?;
    }
    for round in 1..=2 {
        drop_adverts(&lab, "-A")?;
        wait_for("a dead path of adverts", PATIENCE, || {
            is_path_dead(&lab, "two")
        })?;
        stay_on_one(&lab, time())?;
        let died = events(&lab, "two", "its adverts do not arrive")?;
        // One for each family.
        ensure!(died == round * 2, "{died} events of two in round {round}");
        drop_adverts(&lab, "-D")?;
        wait_for("a path of adverts that is well", PATIENCE, || {
            Ok(!is_path_dead(&lab, "two")?)
        })?;
        stay_on_one(&lab, Duration::from_secs(1))?;
        let healed = events(&lab, "two", "no longer in question")?;
        ensure!(
            healed == round * 2,
            "{healed} events of two in round {round}"
        );
    }
    for (node, word) in [(&one, "active -> "), (&two, "-> active")] {
        let text = node.text()?;
        ensure!(!text.contains(word), "a transition: {text}");
    }
    shell::say(
        "adverts dropped in both directions, twice: the address stays, the events are written",
    );
    // A peer whose link ends as well is dead.
    drop_adverts(&lab, "-A")?;
    wait_for("a dead path of adverts", PATIENCE, || {
        is_path_dead(&lab, "two")
    })?;
    one.kill_tree()?;
    let took = lab.wait_for_address("two", V4)?;
    lab.wait_for_holder("two", V4)?;
    shell::say(&format!(
        "kill -9 of the active meanwhile: the other has the address after {} ms",
        took.as_millis()
    ));
    Ok(())
}

/// Starts a node with a replication link.
fn start(
    lab: &Lab,
    program: &str,
    machine: &'static str,
    other: &str,
    priority: u8,
) -> Result<Running> {
    let admin = socket(lab, machine).display().to_string();
    let options = format!(
        "advert-interval = \"100ms\"\n[admin]\nsocket = {admin:?}\n{}",
        pair::cluster(lab, machine, other)?
    );
    pair::start_balancer(lab, program, machine, priority, &[V4_NET, V6_NET], &options)
}

fn socket(lab: &Lab, machine: &str) -> PathBuf {
    lab.file(&format!("{machine}.sock"))
}

/// Adds (`-A`) or removes (`-D`) the rule that drops what arrives of VRRP.
fn drop_adverts(lab: &Lab, what: &str) -> Result<()> {
    for machine in ["one", "two"] {
        for program in ["iptables", "ip6tables"] {
            let mut command = lab.command(machine, program);
            let status = command
                .args([what, "INPUT", "-p", "112", "-j", "DROP"])
                .status()?;
            ensure!(status.success(), "{program} {what} on {machine}: {status}");
        }
    }
    Ok(())
}

/// Fails if `one` is not the only one with both addresses at any moment of `time`.
fn stay_on_one(lab: &Lab, time: Duration) -> Result<()> {
    for address in [V4, V6] {
        lab.wait_for_holder("one", address)?;
        lab.stays("one", address, time / 2)?;
    }
    Ok(())
}

fn is_path_dead(lab: &Lab, machine: &str) -> Result<bool> {
    let lines = lab.metrics(machine, "catamaran_virtual_ip_path_dead")?;
    Ok(!lines.is_empty() && lines.iter().all(|line| line.ends_with(" 1")))
}

/// How many events of the node say `words`.
fn events(lab: &Lab, machine: &str, words: &str) -> Result<usize> {
    let mut command = lab.command(machine, "curl");
    let output = command
        .args(["-s", "-m", "5", "--unix-socket"])
        .arg(socket(lab, machine))
        .arg("http://localhost/v1/events")
        .output()?;
    let all: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    let messages = all.iter().filter_map(|event| event["message"].as_str());
    Ok(messages.filter(|message| message.contains(words)).count())
}

/// How long adverts are dropped.
fn time() -> Duration {
    Duration::from_secs(if pair::is_full() { 60 } else { 6 })
}
