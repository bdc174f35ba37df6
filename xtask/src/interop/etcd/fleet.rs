//! The balancer and the servers of the case, and what is asked of them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use catamaran_testkit::{Process, Program, Signal, TempDir, free_addr};
use serde_json::Value;

/// A balancer that belongs to a fleet. Dropping it ends it.
pub(super) struct Balancer {
    program: PathBuf,
    dir: TempDir,
    process: Option<Process>,
}

impl Balancer {
    /// Starts the node of this name, with `etcd` as further lines of its `[etcd]`.
    pub(super) fn start(program: &Path, node: &str, etcd: &str) -> Result<Self> {
        let dir = TempDir::create()?;
        let text = format!(
            "[admin]\nsocket = \"{}\"\n\n[etcd]\nnode = \"{node}\"\ntimeout = \"1s\"\n\
             interval = \"500ms\"\ngrace = \"2s\"\n{etcd}\n",
            dir.path().join("admin.sock").display()
        );
        dir.write("catamaran.toml", &text)?;
        let mut balancer = Self {
            program: program.to_owned(),
            dir,
            process: None,
        };
        balancer.restart()?;
        Ok(balancer)
    }

    /// Ends it by force if it runs, and starts it.
    pub(super) fn restart(&mut self) -> Result<()> {
        self.process = None;
        let config = self.dir.path().join("catamaran.toml");
        let program = Program::new(&self.program)?;
        let process = program.args(["run", "-c"]).arg(config).start()?;
        self.process = Some(process);
        self.wait_until("the admin socket answers", |_| true)?;
        Ok(())
    }

    /// Runs `catamaran ctl`.
    pub(super) fn ctl(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(&self.program);
        command
            .arg("ctl")
            .arg("--socket")
            .arg(self.dir.path().join("admin.sock"));
        command.args(arguments).output().context("catamaran ctl")
    }

    /// Runs `catamaran ctl`, which must succeed, and reads what it prints.
    pub(super) fn json(&self, arguments: &[&str]) -> Result<Value> {
        let output = self.ctl(&[&["--json"], arguments].concat())?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "ctl {arguments:?}: {told}");
        serde_json::from_slice(&output.stdout).with_context(|| format!("ctl {arguments:?}"))
    }

    /// Puts a text into etcd for the whole fleet.
    pub(super) fn put(&self, text: &str) -> Result<Value> {
        let file = self.dir.write("fleet.toml", text)?;
        self.json(&["config", "put", &file.display().to_string()])
    }

    /// Puts a text into etcd for the node of this name alone.
    pub(super) fn put_for(&self, node: &str, text: &str) -> Result<Value> {
        let file = self.dir.write("node.toml", text)?;
        let file = file.display().to_string();
        self.json(&["config", "put", &file, "--node", node])
    }

    /// The fleet as it sees it.
    pub(super) fn fleet(&self) -> Result<Value> {
        self.json(&["etcd"])
    }

    /// Waits until the fleet is so, as it sees it.
    pub(super) fn wait_until(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Result<Value> {
        let until = Instant::now() + PATIENCE;
        loop {
            let seen = self.fleet();
            match &seen {
                Ok(fleet) if is_so(fleet) => return seen,
                _ if Instant::now() < until => std::thread::sleep(LOOK),
                _ => bail!(
                    "not within {PATIENCE:?}: {what}; last: {seen:#?}\n{}",
                    self.log()
                ),
            }
        }
    }

    /// Waits until exactly these servers are used for the service `api`.
    pub(super) fn wait_for_servers(&self, names: &[&str]) -> Result<()> {
        let wanted: Vec<String> = names
            .iter()
            .map(|name| format!("etcd:api#{name}"))
            .collect();
        let until = Instant::now() + PATIENCE;
        loop {
            let used = self.servers();
            match &used {
                Ok(used) if *used == wanted => return Ok(()),
                _ if Instant::now() < until => std::thread::sleep(LOOK),
                _ => bail!("servers {wanted:?} wanted, found {used:?}\n{}", self.log()),
            }
        }
    }

    /// The servers that are used and up, by name.
    pub(super) fn servers(&self) -> Result<Vec<String>> {
        let state = self.json(&["servers"])?;
        let mut all = Vec::new();
        collect_names(&state, &mut all);
        all.sort();
        Ok(all)
    }

    pub(super) fn log(&self) -> String {
        self.process
            .as_ref()
            .map(Process::stderr)
            .unwrap_or_default()
    }
}

/// The names of all objects that have a state of a server and are up.
fn collect_names(value: &Value, names: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect_names(item, names)),
        Value::Object(fields) => {
            let name = fields.get("name").and_then(Value::as_str);
            if let Some(name) = name.filter(|name| name.starts_with("etcd:")) {
                names.push(name.to_owned());
            }
            fields
                .values()
                .for_each(|field| collect_names(field, names));
        }
        _ => {}
    }
}

/// An echo server that registers itself for `api`.
pub(super) struct Server {
    pub(super) name: &'static str,
    pub(super) address: SocketAddr,
    process: Option<Process>,
    /// Of one whose registrar was killed: ends with this.
    orphan: Option<Process>,
}

impl Server {
    pub(super) fn start(program: &Path, name: &'static str, etcd: &[String]) -> Result<Self> {
        let address = free_addr()?;
        let mut server = Self {
            name,
            address,
            process: None,
            orphan: None,
        };
        let listen = address.to_string();
        let echo = ["echo", "--listen", &listen, "--message", name];
        let echo = [&[program.to_str().context("a path of UTF-8")?], &echo[..]].concat();
        server.register(program, etcd, &echo)?;
        Ok(server)
    }

    /// Registers the server by a process that runs `command`.
    pub(super) fn register(
        &mut self,
        program: &Path,
        etcd: &[String],
        command: &[&str],
    ) -> Result<()> {
        let process = Program::new(program)?
            .args(["register", "--etcd", &etcd.join(",")])
            .args(["--service", "api", "--name", self.name, "--ttl", "2s"])
            .args([
                "--address",
                &self.address.to_string(),
                "--leave-delay",
                "500ms",
                "--",
            ])
            .args(command)
            .start()?;
        self.process = Some(process);
        Ok(())
    }

    /// Kills whoever registered it, but not the server itself.
    pub(super) fn kill_registrar(&mut self) -> Result<()> {
        let process = self.process.take().context("nobody registered it")?;
        process.signal(Signal::KILL)?;
        self.orphan = Some(process);
        Ok(())
    }

    /// Asks it to stop, and waits for its end. Returns the exit code.
    pub(super) fn stop(&mut self) -> Result<Option<i32>> {
        let mut process = self.process.take().context("nobody registered it")?;
        process.terminate()?;
        Ok(process.wait(PATIENCE)?.code())
    }
}

pub(super) const PATIENCE: Duration = Duration::from_secs(40);
const LOOK: Duration = Duration::from_millis(50);
