//! The case `etcd`: a fleet on three real nodes of etcd, while these are killed, emptied and lied to.
//!
//! One story with 100 requests a second from beginning to end, of which none may fail: whatever
//! becomes of etcd, nobody who has a server loses it.

mod cluster;
mod fleet;
mod secure;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use catamaran_testkit::{Client, Load, RunningLoad, free_addr, http_get};
use serde_json::{Value, json};

use self::cluster::Cluster;
use self::fleet::{Balancer, PATIENCE, Server};
use crate::shell;

/// Runs the case.
pub(super) fn run() -> Result<()> {
    shell::run("cargo", &["build", "--locked", "-p", "catamaran"])?;
    let program = std::path::absolute("target/debug/catamaran")?;
    let mut story = Story::begin(&program)?;
    let scenes: [(&str, Scene); 12] = [
        ("a node of etcd is killed", Story::one_node_dies),
        ("all nodes of etcd are killed", Story::all_nodes_die),
        ("a value is corrupt", Story::a_value_is_corrupt),
        (
            "the balancer starts beside a text that cannot serve",
            Story::a_start_beside_a_wrong_text,
        ),
        (
            "a lease runs out and its server is well",
            Story::a_lease_runs_out,
        ),
        ("a server leaves", Story::a_server_leaves),
        ("a server moves", Story::a_server_moves),
        (
            "a node has a text of its own",
            Story::a_text_is_for_one_node,
        ),
        ("a thousand changes in a row", Story::a_thousand_changes),
        ("a history of megabytes", Story::a_long_history),
        ("etcd comes back empty", Story::etcd_comes_back_empty),
        (
            "the balancer starts without etcd",
            Story::a_start_without_etcd,
        ),
    ];
    for (name, act) in scenes {
        let began = Instant::now();
        act(&mut story).with_context(|| name.to_owned())?;
        story.nothing_failed().with_context(|| name.to_owned())?;
        shell::say(&format!("{:6.1} s  {name}", began.elapsed().as_secs_f64()));
    }
    secure::run(&program)?;
    shell::say("         TLS, client certificates and a password");
    Ok(())
}

/// A part of the story.
type Scene = fn(&mut Story) -> Result<()>;

struct Story {
    program: PathBuf,
    cluster: Cluster,
    balancer: Balancer,
    servers: Vec<Server>,
    /// Where clients come in.
    door: SocketAddr,
    load: Option<RunningLoad>,
}

impl Story {
    /// A fleet of one balancer and two servers, all that they know from etcd.
    fn begin(program: &Path) -> Result<Self> {
        let cluster = Cluster::start(3, None)?;
        let nodes = cluster.endpoints();
        let balancer = Balancer::start(program, "a", &endpoints(&nodes))?;
        let servers = ["one", "two"].map(|name| Server::start(program, name, &nodes));
        let mut story = Self {
            program: program.to_owned(),
            cluster,
            balancer,
            servers: servers.into_iter().collect::<Result<_>>()?,
            door: free_addr()?,
            load: None,
        };
        let put = story.balancer.put(&story.text(1))?;
        ensure!(put["serves"] == true, "the first configuration: {put}");
        story.balancer.wait_for_servers(&["one", "two"])?;
        story.wait_for_answers()?;
        story.load = Some(Load::new(story.door, 100.0).start());
        Ok(story)
    }

    /// The configuration of the fleet, different for each number.
    fn text(&self, number: u64) -> String {
        format!(
            "# {number}\n[frontend.web]\nlisten = \"{}\"\nbackend = \"api\"\n\n[backend.api]\n\
             servers = [\"etcd:api\"]\nhealth = {{ http = \"/health\", interval = \"500ms\" }}\n\
             timeouts = {{ connect = \"{}ms\" }}\n",
            self.door,
            3000 + number
        )
    }

    /// Waits until a client is answered, and both servers are known to be up.
    fn wait_for_answers(&self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while http_get(self.door, "/").map_or(0, |response| response.status) != 200 {
            ensure!(Instant::now() < until, "no answer: {}", self.balancer.log());
            sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn nothing_failed(&self) -> Result<()> {
        let report = self.load.as_ref().context("no load")?.so_far();
        ensure!(
            report.failures() == 0,
            "requests failed: {report:?}\n{}",
            self.balancer.log()
        );
        Ok(())
    }

    /// Puts another configuration, and sees that it serves.
    fn a_change_arrives(&self, number: u64) -> Result<()> {
        let put = self.balancer.put(&self.text(number))?;
        ensure!(put["serves"] == true, "{put}");
        ensure!(put["changes"] != json!([]), "nothing changed: {put}");
        Ok(())
    }

    fn one_node_dies(&mut self) -> Result<()> {
        // The one that is watched.
        let fleet = self.balancer.fleet()?;
        let endpoint = fleet["endpoint"].as_str().context("no endpoint")?;
        let index = self.cluster.index_of(endpoint).context("which node?")?;
        self.cluster.kill(index)?;
        let is_elsewhere = |fleet: &Value| fleet["endpoint"] != endpoint && is(fleet, "connected");
        self.balancer
            .wait_until("another node is watched", is_elsewhere)?;
        self.a_change_arrives(2)?;
        self.cluster.restart(index)
    }

    fn all_nodes_die(&mut self) -> Result<()> {
        self.cluster.kill_all()?;
        self.balancer
            .wait_until("etcd is away", |fleet| is(fleet, "away"))?;
        // Longer than the leases and the grace time.
        sleep(Duration::from_secs(5));
        self.balancer.wait_for_servers(&["one", "two"])?;
        self.cluster.restart_all()?;
        self.balancer
            .wait_until("etcd is back", |fleet| is(fleet, "connected"))?;
        self.balancer
            .wait_until("both are registered", |fleet| registered(fleet) == 2)?;
        self.a_change_arrives(3)
    }

    fn a_value_is_corrupt(&mut self) -> Result<()> {
        let before = self.balancer.json(&["config", "history"])?;
        for text in ["[frontend.web", "[frontend.web]\nlisten = \"nowhere\"\n"] {
            self.cluster.ctl(&["put", "/catamaran/config", text])?;
            let is_told = |fleet: &Value| !fleet["config"]["error"].is_null();
            self.balancer.wait_until("the mistake is told", is_told)?;
        }
        self.cluster
            .ctl(&["put", "/catamaran/servers/api/three", "not an address"])?;
        let is_counted = |fleet: &Value| fleet["strange_keys"] != 0;
        self.balancer
            .wait_until("the strange value is counted", is_counted)?;
        let revision = before[0]["revision"].to_string();
        let back = self.balancer.json(&["config", "rollback", &revision])?;
        ensure!(back["serves"] == true, "{back}");
        self.cluster.ctl(&["del", "/catamaran/servers/api/three"])?;
        self.balancer.wait_for_servers(&["one", "two"])
    }

    fn a_start_beside_a_wrong_text(&mut self) -> Result<()> {
        let report = self.load.take().context("no load")?.stop();
        ensure!(report.failures() == 0, "requests failed: {report:?}");
        self.cluster
            .ctl(&["put", "/catamaran/config", "[frontend.web"])?;
        let is_told = |fleet: &Value| !fleet["config"]["error"].is_null();
        self.balancer.wait_until("the mistake is told", is_told)?;
        self.balancer.restart()?;
        let is_judged = |fleet: &Value| is(fleet, "connected") || is(fleet, "etcd-foreign");
        let fleet = self.balancer.wait_until("etcd is watched", is_judged)?;
        ensure!(
            fleet["foreign"].is_null(),
            "it is taken for another: {fleet}"
        );
        self.balancer.wait_until("the mistake is told", is_told)?;
        self.wait_for_answers()?;
        self.load = Some(Load::new(self.door, 100.0).start());
        self.a_change_arrives(2500)
    }

    fn a_lease_runs_out(&mut self) -> Result<()> {
        let nodes = self.cluster.endpoints();
        let one = &mut self.servers[0];
        one.kill_registrar()?;
        self.balancer
            .wait_until("its registration vanished", |fleet| registered(fleet) == 1)?;
        // Longer than the grace time: it is up, so it stays.
        sleep(Duration::from_secs(4));
        self.balancer.wait_for_servers(&["one", "two"])?;
        one.register(&self.program, &nodes, &["sleep", "600"])?;
        self.balancer
            .wait_until("it is registered again", |fleet| registered(fleet) == 2)?;
        Ok(())
    }

    fn a_server_leaves(&mut self) -> Result<()> {
        let nodes = self.cluster.endpoints();
        let code = self.servers[1].stop()?;
        ensure!(code == Some(0), "its exit code is {code:?}");
        self.balancer.wait_for_servers(&["one"])?;
        self.servers[1] = Server::start(&self.program, "two", &nodes)?;
        self.balancer.wait_for_servers(&["one", "two"])?;
        self.balancer
            .wait_until("both are registered", |fleet| registered(fleet) == 2)?;
        Ok(())
    }

    /// The new one starts elsewhere before the old one stops.
    fn a_server_moves(&mut self) -> Result<()> {
        let nodes = self.cluster.endpoints();
        let new = Server::start(&self.program, "two", &nodes)?;
        let address = new.address.to_string();
        self.balancer.wait_until("the new one is used", |fleet| {
            let mut servers = fleet["servers"].as_array().into_iter().flatten();
            servers.any(|server| server["address"] == address.as_str())
        })?;
        let mut old = std::mem::replace(&mut self.servers[1], new);
        let code = old.stop()?;
        ensure!(code == Some(0), "its exit code is {code:?}");
        let key = "/catamaran/servers/api/two";
        let told = self.cluster.ctl(&["get", key])?;
        ensure!(told.contains(&address), "the old one took it away: {told}");
        // Somebody deletes it by mistake.
        self.cluster.ctl(&["del", key])?;
        let until = Instant::now() + PATIENCE;
        while !self.cluster.ctl(&["get", key])?.contains(&address) {
            ensure!(Instant::now() < until, "it did not register again");
            sleep(Duration::from_millis(50));
        }
        self.balancer.wait_for_servers(&["one", "two"])
    }

    /// Another node listens elsewhere and answers on a path that the first one does not know.
    fn a_text_is_for_one_node(&mut self) -> Result<()> {
        let door = free_addr()?;
        let text = |number: u32| {
            format!(
                "[frontend.web]\nlisten = \"{door}\"\n[[frontend.web.route]]\nname = \"own\"\n\
                 path = \"/own/{number}\"\nrespond = {{ status = 418 }}\n"
            )
        };
        let first = self.balancer.put_for("b", &text(1))?;
        ensure!(first["error"].is_null(), "{first}");
        let nodes = self.cluster.endpoints();
        let other = Balancer::start(&self.program, "b", &endpoints(&nodes))?;
        let serves =
            |put: Value| move |fleet: &Value| fleet["config"]["node_revision"] == put["revision"];
        other.wait_until("its own text serves", serves(first))?;
        other.wait_for_servers(&["one", "two"])?;
        let status = |at, path: &str| Ok::<_, anyhow::Error>(http_get(at, path)?.status);
        ensure!(status(door, "/own/1")? == 418, "b does not serve its text");
        ensure!(status(door, "/")? == 200, "b does not serve the fleet's");
        ensure!(status(self.door, "/own/1")? == 200, "a serves b's text");
        // What serves already is changed by whichever node it is put through.
        for (number, through) in [(2, &self.balancer), (3, &other)] {
            let put = through.put_for("b", &text(number))?;
            other.wait_until("the next one serves", serves(put))?;
            let path = format!("/own/{number}");
            ensure!(status(door, &path)? == 418, "b does not serve {number}");
            ensure!(status(self.door, &path)? == 200, "a serves {number}");
        }
        let fleet = self.balancer.fleet()?;
        ensure!(fleet["config"]["node_revision"].is_null(), "{fleet}");
        Ok(())
    }

    fn a_thousand_changes(&mut self) -> Result<()> {
        let mut client = Client::connect(self.cluster.first())?;
        for number in 1..=1000 {
            let body = json!({
                "key": base64(b"/catamaran/config"),
                "value": base64(self.text(number).as_bytes()),
            });
            let body = body.to_string();
            let put = client.request("POST", "/v3/kv/put", &[], body.as_bytes())?;
            ensure!(put.status == 200, "{put:?}");
        }
        let until = Instant::now() + PATIENCE;
        let last = self.text(1000);
        loop {
            let served = self.balancer.json(&["config", "show"])?;
            let text = served["text"].as_str().unwrap_or_default();
            if text.starts_with(&last) {
                break;
            }
            ensure!(
                Instant::now() < until,
                "the last change does not serve: {text}"
            );
            sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// Who starts lists what it needs, and none of the texts of the past.
    fn a_long_history(&mut self) -> Result<()> {
        let ballast = format!("# {}\n", "x".repeat(100)).repeat(5000);
        for number in 4000..4012 {
            let put = self
                .balancer
                .put(&format!("{}{ballast}", self.text(number)))?;
            ensure!(put["serves"] == true, "{put}");
        }
        let put = self.balancer.put(&self.text(4012))?;
        ensure!(put["serves"] == true, "{put}");
        // Its door is not that of the first.
        let own = format!("[frontend.web]\nlisten = \"{}\"\n", free_addr()?);
        self.balancer.put_for("c", &own)?;
        let nodes = self.cluster.endpoints();
        let other = Balancer::start(&self.program, "c", &endpoints(&nodes))?;
        let is_well = |fleet: &Value| is(fleet, "connected") && fleet["disconnects"] == 0;
        other.wait_until("a new node is connected", is_well)?;
        Ok(())
    }

    fn etcd_comes_back_empty(&mut self) -> Result<()> {
        self.cluster.kill_all()?;
        self.cluster.wipe()?;
        self.cluster.restart_all()?;
        let is_foreign = |fleet: &Value| is(fleet, "etcd-foreign");
        self.balancer
            .wait_until("the cluster is foreign", is_foreign)?;
        sleep(Duration::from_secs(4));
        self.balancer.wait_for_servers(&["one", "two"])?;
        // A new server is taken in, a new configuration waits.
        let nodes = self.cluster.endpoints();
        self.servers
            .push(Server::start(&self.program, "four", &nodes)?);
        self.balancer.wait_for_servers(&["four", "one", "two"])?;
        let put = self.balancer.put(&self.text(2000))?;
        ensure!(put["held"] == true && put["serves"] == false, "{put}");
        self.balancer.json(&["etcd", "accept"])?;
        let is_taken = |fleet: &Value| is(fleet, "connected") && fleet["foreign"].is_null();
        self.balancer
            .wait_until("the cluster is accepted", is_taken)?;
        let serves = |fleet: &Value| fleet["config"]["fleet_revision"] == put["revision"];
        self.balancer.wait_until("what waited serves", serves)?;
        self.balancer
            .wait_until("all are registered", |fleet| registered(fleet) == 3)?;
        self.balancer.wait_for_servers(&["four", "one", "two"])
    }

    fn a_start_without_etcd(&mut self) -> Result<()> {
        self.cluster.kill_all()?;
        // Its end is no fault of etcd's.
        let report = self.load.take().context("no load")?.stop();
        ensure!(report.failures() == 0, "requests failed: {report:?}");
        self.balancer.restart()?;
        self.wait_for_answers()?;
        self.balancer.wait_for_servers(&["four", "one", "two"])?;
        self.load = Some(Load::new(self.door, 100.0).start());
        self.cluster.restart_all()?;
        self.balancer
            .wait_until("etcd is back", |fleet| is(fleet, "connected"))?;
        self.a_change_arrives(3000)
    }
}

/// The line of `[etcd]` that names these nodes.
fn endpoints(nodes: &[String]) -> String {
    format!("endpoints = {nodes:?}")
}

fn is(fleet: &Value, state: &str) -> bool {
    fleet["state"] == state
}

/// How many servers are registered.
fn registered(fleet: &Value) -> usize {
    let servers = fleet["servers"].as_array().into_iter().flatten();
    servers
        .filter(|server| server["registered"] == true)
        .count()
}

/// As etcd's gateway wants bytes (RFC 4648 §4).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut three = [0; 3];
        three[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for place in 0..4 {
            let digit = usize::try_from((bits >> (18 - 6 * place)) & 63).unwrap_or(0);
            text.push(if place > chunk.len() {
                '='
            } else {
                char::from(DIGITS[digit])
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_is_that_of_the_rfc() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foob", "Zm9vYg=="),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
