//! The case `compose`: the system of `deploy/compose`, driven through its balancer.
//!
//! While requests go on, each API replica and each etcd node is killed and comes back by its
//! restart policy, one at a time, and the replicas are restarted in order. No request may fail, and
//! everything that was acknowledged must be there once in the end.

mod system;
mod traffic;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use catamaran_testkit::http_get;
use serde_json::Value;

use self::system::System;
use self::traffic::{Totals, Traffic};
use crate::docker::Engine;
use crate::docker::images::{self, Image, Profile};
use crate::shell;

/// Runs the case.
pub(super) fn run() -> Result<()> {
    let engine = Engine::find_or_start()?;
    shell::say(&engine.describe()?);
    let (_, time) = timed(|| images::build(&engine, &Image::ALL, Profile::Trial))?;
    say_seconds("programs and images built", time);
    shell::say(&images::sizes(&engine, &Image::ALL)?);
    let (system, time) = timed(|| System::start(&engine))?;
    say_seconds("all containers healthy", time);
    let result = drive(&system);
    if result.is_err() {
        shell::complain(&system.logs());
    }
    result
}

fn drive(system: &System<'_>) -> Result<()> {
    let ((), time) = timed(|| wait_for_answer(system.api()))?;
    say_seconds("then answered through the balancer", time);
    a_due_alert_is_mailed(system)?;
    let traffic = Traffic::start(system.api(), RATE);
    traffic.wait_for(RATE)?;
    for service in REPLICAS.iter().chain(NODES) {
        let ((), time) = timed(|| system.kill(service))?;
        say_seconds(&format!("{service} killed, healthy again"), time);
        traffic.wait_for(RATE)?;
    }
    for replica in REPLICAS {
        let ((), time) = timed(|| system.restart(replica))?;
        say_seconds(&format!("{replica} restarted, healthy again"), time);
        traffic.wait_for(RATE)?;
    }
    let totals = traffic.stop();
    shell::say(&totals.line());
    ensure!(totals.failures.is_empty(), totals.explain());
    check_everything_is_there(system.api(), &totals)
}

/// A mail goes out through the sink.
fn a_due_alert_is_mailed(system: &System<'_>) -> Result<()> {
    let title = "due at once";
    traffic::create(
        system.api(),
        "due",
        &traffic::alert(title, "2020-01-01T00:00:00Z"),
    )?;
    let deadline = Instant::now() + PATIENCE;
    while !http_get(system.sink(), "/mails")?.text().contains(title) {
        ensure!(Instant::now() < deadline, "the sink has not got a mail");
        thread::sleep(LOOK);
    }
    Ok(())
}

/// Reads every acknowledged alert one by one, then all of them page by page.
fn check_everything_is_there(api: SocketAddr, totals: &Totals) -> Result<()> {
    for id in &totals.created {
        let status = http_get(api, &format!("/alerts/{id}"))?.status;
        ensure!(status == 200, "{id} was acknowledged and is now {status}");
    }
    let listed = list(api)?;
    let unique: BTreeSet<_> = listed.iter().collect();
    ensure!(unique.len() == listed.len(), "an alert is listed twice");
    // The one that was due is not of the traffic.
    let expected = totals.created.len() + 1;
    ensure!(
        listed.len() == expected,
        "{} alerts are there, {expected} were created",
        listed.len()
    );
    shell::say(&format!("{expected} alerts created, each is there once"));
    Ok(())
}

/// The ids of all alerts.
fn list(api: SocketAddr) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    let mut target = "/alerts?limit=100".to_owned();
    loop {
        let response = http_get(api, &target)?;
        ensure!(response.status == 200, "{target}: {}", response.status);
        let page: Value = serde_json::from_slice(&response.body)?;
        let items = page["items"].as_array().context("a page has items")?;
        for item in items {
            ids.push(
                item["id"]
                    .as_str()
                    .context("an alert has an id")?
                    .to_owned(),
            );
        }
        match page["next"].as_str() {
            Some(next) => target = format!("/alerts?limit=100&cursor={next}"),
            None => return Ok(ids),
        }
    }
}

fn wait_for_answer(api: SocketAddr) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match http_get(api, "/alerts") {
            Ok(response) if response.status == 200 => return Ok(()),
            Ok(response) if Instant::now() > deadline => bail!("status {}", response.status),
            Err(error) if Instant::now() > deadline => bail!("{error}"),
            _ => thread::sleep(LOOK),
        }
    }
}

fn timed<T>(action: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
    let start = Instant::now();
    let value = action()?;
    Ok((value, start.elapsed()))
}

fn say_seconds(what: &str, time: Duration) {
    shell::say(&format!("{what:40} {:6.1} s", time.as_secs_f64()));
}

const REPLICAS: &[&str] = &["api-1", "api-2", "api-3"];
const NODES: &[&str] = &["etcd-1", "etcd-2", "etcd-3"];

/// Requests per second. Enough that some are in flight whenever something dies; the proof at a
/// high rate runs without containers.
const RATE: u32 = 100;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

const LOOK: Duration = Duration::from_millis(100);
