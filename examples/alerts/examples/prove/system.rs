//! The whole system as processes of this machine: three etcd nodes, three replicas, the balancer.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, bail};
use catamaran_testkit::{Process, Program, free_port};

use crate::cluster::Cluster;
use crate::load::{Load, Verdict};

/// One replica, which keeps its port over its lives.
struct Replica {
    name: String,
    address: SocketAddr,
    process: Process,
}

/// Starts everything, makes load, and kills one part after the other.
pub(crate) fn run(rate: u32, rounds: u32) -> anyhow::Result<Verdict> {
    let Some(mut cluster) = Cluster::start(3)? else {
        bail!("there is no `etcd` on PATH (apt install etcd-server)");
    };
    let sink = start(
        "alerts",
        &["sink", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"],
    )?;
    let relay = relay_of(&sink)?;
    let mut replicas = (1..=3)
        .map(|number| {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
            let name = format!("api-{number}");
            let process = start_replica(&name, address, &cluster.address(), &relay)?;
            Ok(Replica {
                name,
                address,
                process,
            })
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    let front = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let config = configuration(front, &replicas);
    let mut balancer = Program::run_config(program("catamaran")?, &config)?.start()?;
    balancer.wait_for_port(front, PATIENCE)?;
    sleep(SETTLE);
    let load = Load::start(&format!("http://{front}"), rate)?;
    load.phase("steady");
    sleep(STEADY);
    for _ in 0..rounds {
        for replica in &mut replicas {
            load.phase(&format!("kill -9 {}", replica.name));
            replica.process.kill()?;
            sleep(DOWN);
            replica.start(&cluster.address(), &relay)?;
            sleep(SETTLE);
        }
        for node in 0..3 {
            load.phase(&format!("kill -9 etcd {}", node + 1));
            cluster.kill(node)?;
            sleep(DOWN);
            cluster.restart(node)?;
            sleep(SETTLE);
        }
        for replica in &mut replicas {
            load.phase(&format!("restart {}", replica.name));
            replica.process.terminate()?;
            let status = replica.process.wait(PATIENCE)?;
            if !status.success() {
                bail!(
                    "{} ended with {status}: {}",
                    replica.name,
                    replica.process.stderr()
                );
            }
            replica.start(&cluster.address(), &relay)?;
            sleep(SETTLE);
        }
    }
    load.phase("steady again");
    sleep(STEADY);
    load.stop()
}

impl Replica {
    fn start(&mut self, store: &str, relay: &str) -> anyhow::Result<()> {
        self.process = start_replica(&self.name, self.address, store, relay)?;
        Ok(())
    }
}

fn configuration(front: SocketAddr, replicas: &[Replica]) -> String {
    let servers: Vec<_> = replicas
        .iter()
        .map(|one| {
            format!(
                "{{ address = \"{}\", name = \"{}\" }}",
                one.address, one.name
            )
        })
        .collect();
    format!(
        "[frontend.api]\nlisten = [\"{front}\"]\n\n\
         [[frontend.api.route]]\nbackend = \"alerts\"\n\
         retry = {{ idempotency-header = \"Idempotency-Key\" }}\n\n\
         [backend.alerts]\nservers = [{}]\n\
         health = {{ http = \"/ready\", interval = \"500ms\" }}\n",
        servers.join(", ")
    )
}

fn start_replica(
    name: &str,
    address: SocketAddr,
    store: &str,
    relay: &str,
) -> anyhow::Result<Process> {
    let listen = address.to_string();
    let words = [
        "--listen", &listen, "--name", name, "--store", store, "--smtp", relay,
    ];
    start("alerts", &[&words[..], &["--stop-delay", "4s"]].concat())
}

fn start(name: &str, words: &[&str]) -> anyhow::Result<Process> {
    let process = Program::new(program(name)?)?
        .args(words.iter().copied())
        .start()?;
    process.wait_for_stderr(READY, PATIENCE)?;
    Ok(process)
}

fn relay_of(sink: &Process) -> anyhow::Result<String> {
    let log = sink.stderr();
    let relay = log
        .split_once(READY)
        .and_then(|(_, rest)| rest.split_once(','));
    Ok(relay
        .context("the sink does not say where it listens")?
        .0
        .to_owned())
}

/// A program from the directory above ours, which is `examples` of the same build.
fn program(name: &str) -> anyhow::Result<PathBuf> {
    let ours = std::env::current_exe()?;
    let directory = ours.parent().and_then(|directory| directory.parent());
    let program = directory
        .context("our own program is in no directory")?
        .join(name);
    if !program.exists() {
        bail!("`{}` is not there; build it first", program.display());
    }
    Ok(program)
}

const READY: &str = "alerts: ready on ";
/// Longer than anything takes to start or end on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a part stays dead.
const DOWN: Duration = Duration::from_secs(4);
/// How long a part that is back is left alone, so that the next kill finds all well.
const SETTLE: Duration = Duration::from_secs(4);
const STEADY: Duration = Duration::from_secs(10);
