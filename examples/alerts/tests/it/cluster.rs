//! A real etcd cluster of processes on this machine, whose nodes can be killed and started again.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use catamaran_testkit::{Signal, TempDir, free_port, signal_pid};

/// Nodes of one cluster. Dropping it kills them.
#[derive(Debug)]
pub(crate) struct Cluster {
    nodes: Vec<Node>,
    dir: TempDir,
}

#[derive(Debug)]
struct Node {
    name: String,
    client: u16,
    peer: u16,
    child: Option<Child>,
}

impl Cluster {
    /// Starts a cluster of this many nodes, and waits until each answers.
    ///
    /// `None`, with a message, on a machine without etcd; where `CATAMARAN_INTEROP` is 1 that is
    /// an error.
    pub(crate) fn start(count: usize) -> anyhow::Result<Option<Self>> {
        if Command::new("etcd").arg("--version").output().is_err() {
            if std::env::var_os("CATAMARAN_INTEROP").is_some_and(|value| value == "1") {
                bail!("there is no `etcd` on PATH (apt install etcd-server)");
            }
            say("skipped: there is no `etcd` on PATH (apt install etcd-server)");
            return Ok(None);
        }
        let nodes = (0..count).map(|index| {
            Ok(Node {
                name: format!("n{index}"),
                client: free_port()?,
                peer: free_port()?,
                child: None,
            })
        });
        let mut cluster = Self {
            nodes: nodes.collect::<anyhow::Result<_>>()?,
            dir: TempDir::create()?,
        };
        for index in 0..count {
            cluster.spawn(index)?;
        }
        for index in 0..count {
            cluster.wait(index)?;
        }
        Ok(Some(cluster))
    }

    /// The nodes as `etcd://…` names them.
    pub(crate) fn address(&self) -> String {
        let nodes: Vec<_> = self.endpoints();
        format!("etcd://{}", nodes.join(","))
    }

    /// The nodes as `host:port`.
    pub(crate) fn endpoints(&self) -> Vec<String> {
        let nodes = self.nodes.iter();
        nodes
            .map(|node| format!("127.0.0.1:{}", node.client))
            .collect()
    }

    /// Kills a node with SIGKILL.
    pub(crate) fn kill(&mut self, index: usize) -> anyhow::Result<()> {
        if let Some(mut child) = self.nodes[index].child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Stops a node in its tracks, or lets it go on.
    #[allow(
        dead_code,
        reason = "not everything that includes this file hangs nodes"
    )]
    pub(crate) fn signal(&self, index: usize, signal: Signal) -> anyhow::Result<()> {
        let child = self.nodes[index]
            .child
            .as_ref()
            .context("it does not run")?;
        Ok(signal_pid(child.id(), signal)?)
    }

    /// Starts a node that was killed, with the data it has, and waits until it takes part.
    pub(crate) fn restart(&mut self, index: usize) -> anyhow::Result<()> {
        self.spawn(index)?;
        self.wait(index)
    }

    fn spawn(&mut self, index: usize) -> anyhow::Result<()> {
        let members: Vec<_> = self.nodes.iter().map(Node::member).collect();
        let node = &mut self.nodes[index];
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join(format!("{}.log", node.name)))?;
        let url = |port| format!("http://127.0.0.1:{port}");
        let child = Command::new("etcd")
            .args(["--name", &node.name, "--data-dir"])
            .arg(self.dir.path().join(&node.name))
            .args(["--listen-client-urls", &url(node.client)])
            .args(["--advertise-client-urls", &url(node.client)])
            .args(["--listen-peer-urls", &url(node.peer)])
            .args(["--initial-advertise-peer-urls", &url(node.peer)])
            .args(["--initial-cluster", &members.join(",")])
            .args(["--initial-cluster-token", "test", "--logger", "zap"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("etcd cannot be started")?;
        node.child = Some(child);
        Ok(())
    }

    /// Waits until a node answers that it is healthy, which it is with a leader.
    fn wait(&mut self, index: usize) -> anyhow::Result<()> {
        let node = &mut self.nodes[index];
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, node.client));
        let deadline = Instant::now() + PATIENCE;
        while !is_healthy(address) {
            let child = node.child.as_mut().context("it does not run")?;
            if let Some(status) = child.try_wait()? {
                let log = self.dir.path().join(format!("{}.log", node.name));
                bail!("{} ended with {status}: {}", node.name, tail(&log));
            }
            if Instant::now() > deadline {
                bail!("{} has not become healthy within {PATIENCE:?}", node.name);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for index in 0..self.nodes.len() {
            // It may have ended by itself.
            let _ = self.kill(index);
        }
    }
}

impl Node {
    fn member(&self) -> String {
        format!("{}=http://127.0.0.1:{}", self.name, self.peer)
    }
}

fn is_healthy(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_ok()
        && catamaran_testkit::http_get(address, "/health").is_ok_and(|answer| answer.status == 200)
}

fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<_> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

#[expect(
    clippy::print_stderr,
    reason = "whoever runs the tests is to see what was left out"
)]
fn say(text: &str) {
    eprintln!("{text}");
}

/// Longer than a cluster takes to find a leader on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
