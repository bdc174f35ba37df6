//! A real etcd cluster of processes on this machine, whose nodes are killed, started again and wiped.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use catamaran_testkit::{TempDir, free_port};

/// Nodes of one cluster. Dropping it kills them.
pub(super) struct Cluster {
    nodes: Vec<Node>,
    dir: TempDir,
    /// The files of TLS, if it is spoken with clients.
    tls: Option<Tls>,
}

struct Node {
    name: String,
    client: u16,
    peer: u16,
    child: Option<Child>,
}

/// Files in PEM.
#[derive(Clone)]
pub(super) struct Tls {
    pub(super) ca: PathBuf,
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

impl Cluster {
    /// Starts a cluster of this many nodes, and waits until each takes part.
    pub(super) fn start(count: usize, tls: Option<Tls>) -> Result<Self> {
        let nodes = (0..count).map(|index| {
            Ok(Node {
                name: format!("n{index}"),
                client: free_port()?,
                peer: free_port()?,
                child: None,
            })
        });
        let mut cluster = Self {
            nodes: nodes.collect::<Result<_>>()?,
            dir: TempDir::create()?,
            tls,
        };
        cluster.restart_all()?;
        Ok(cluster)
    }

    /// The nodes as `[etcd]` writes them.
    pub(super) fn endpoints(&self) -> Vec<String> {
        let scheme = self.scheme();
        let nodes = self.nodes.iter();
        nodes
            .map(|node| format!("{scheme}://127.0.0.1:{}", node.client))
            .collect()
    }

    /// The first node, for requests of our own.
    pub(super) fn first(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.nodes[0].client).into()
    }

    /// The node that is called so by its clients.
    pub(super) fn index_of(&self, endpoint: &str) -> Option<usize> {
        let port: u16 = endpoint.rsplit(':').next()?.parse().ok()?;
        self.nodes.iter().position(|node| node.client == port)
    }

    /// Runs etcdctl.
    pub(super) fn ctl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new("etcdctl");
        command
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &self.endpoints().join(",")]);
        if let Some(tls) = &self.tls {
            command.arg("--cacert").arg(&tls.ca);
            command.arg("--cert").arg(&tls.certificate);
            command.arg("--key").arg(&tls.key);
        }
        let output = command.args(arguments).output().context("etcdctl")?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "etcdctl {arguments:?}: {told}");
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    pub(super) fn kill(&mut self, index: usize) -> Result<()> {
        if let Some(mut child) = self.nodes[index].child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    pub(super) fn kill_all(&mut self) -> Result<()> {
        (0..self.nodes.len()).try_for_each(|index| self.kill(index))
    }

    /// Starts a node with the data that it has, and waits until it takes part.
    pub(super) fn restart(&mut self, index: usize) -> Result<()> {
        self.spawn(index)?;
        self.wait(index)
    }

    pub(super) fn restart_all(&mut self) -> Result<()> {
        for index in 0..self.nodes.len() {
            self.spawn(index)?;
        }
        (0..self.nodes.len()).try_for_each(|index| self.wait(index))
    }

    /// Throws away what the nodes have, all of which must be dead.
    pub(super) fn wipe(&self) -> Result<()> {
        for node in &self.nodes {
            fs::remove_dir_all(self.dir.path().join(&node.name))?;
        }
        Ok(())
    }

    fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    fn spawn(&mut self, index: usize) -> Result<()> {
        let peer_url = |node: &Node| format!("http://127.0.0.1:{}", node.peer);
        let members = self.nodes.iter();
        let members: Vec<_> = members
            .map(|node| format!("{}={}", node.name, peer_url(node)))
            .collect();
        let scheme = self.scheme();
        let node = &mut self.nodes[index];
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join(format!("{}.log", node.name)))?;
        let client = format!("{scheme}://127.0.0.1:{}", node.client);
        let peer = peer_url(node);
        let mut command = Command::new("etcd");
        command
            .args(["--name", &node.name, "--data-dir"])
            .arg(self.dir.path().join(&node.name))
            .args(["--listen-client-urls", &client])
            .args(["--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer])
            .args(["--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &members.join(",")])
            // The same after a wipe, so that the cluster has its old id.
            .args(["--initial-cluster-token", "fleet", "--logger", "zap"]);
        if let Some(tls) = &self.tls {
            command.arg("--cert-file").arg(&tls.certificate);
            command.arg("--key-file").arg(&tls.key);
            command.arg("--trusted-ca-file").arg(&tls.ca);
            command.arg("--client-cert-auth");
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("etcd")?;
        node.child = Some(child);
        Ok(())
    }

    /// Waits until a node answers with the majority behind it.
    fn wait(&self, index: usize) -> Result<()> {
        let node = &self.nodes[index];
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, node.client));
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() || self.ctl(&["get", "x"]).is_err() {
            if Instant::now() > until {
                let log = self.dir.path().join(format!("{}.log", node.name));
                let log = fs::read_to_string(log).unwrap_or_default();
                let end: Vec<_> = log.lines().rev().take(5).collect();
                bail!("etcd {} does not take part: {end:#?}", node.name);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // What cannot be killed is dead.
        let _ = self.kill_all();
    }
}

const PATIENCE: Duration = Duration::from_secs(60);
