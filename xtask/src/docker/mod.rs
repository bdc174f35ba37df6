//! The container engine that images are built and run by.
//!
//! The one that answers is taken. Where none does and we are root, a daemon of our own is started
//! with a socket, data and network of its own, and ended with us: it touches neither the firewall
//! nor the forwarding of the machine, and what it made is removed with it.

pub(crate) mod images;

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use catamaran_testkit::{Process, Program, TempDir};

use crate::shell;

/// How to reach a container engine. Dropping it ends the daemon, if it is ours.
#[derive(Debug)]
pub(crate) struct Engine {
    daemon: Option<Daemon>,
}

/// A daemon of our own.
#[derive(Debug)]
struct Daemon {
    process: Process,
    dir: TempDir,
}

impl Engine {
    /// The engine that answers, or one of our own.
    pub(crate) fn find_or_start() -> Result<Self> {
        if let Some(engine) = Self::find() {
            return Ok(engine);
        }
        if let Some(missing) = Self::missing() {
            bail!(missing);
        }
        let daemon = Daemon::start()?;
        Ok(Self {
            daemon: Some(daemon),
        })
    }

    /// The engine that answers by itself, at `DOCKER_HOST` or the usual socket.
    pub(crate) fn find() -> Option<Self> {
        shell::works("docker", &["info"]).then_some(Self { daemon: None })
    }

    /// Why no engine can be had; `None` if one can.
    pub(crate) fn missing() -> Option<String> {
        if Self::find().is_some() {
            return None;
        }
        if !shell::is_installed("docker") || !shell::is_installed("dockerd") {
            return Some(
                "no container engine answers and dockerd is not installed: \
                 apt-get install -y docker.io"
                    .to_owned(),
            );
        }
        (!rustix::process::geteuid().is_root())
            .then(|| "no container engine answers, and only root can start one".to_owned())
    }

    /// What answers, for a report.
    pub(crate) fn describe(&self) -> Result<String> {
        let format = "{{.ServerVersion}}, {{.Driver}}, cgroup v{{.CgroupVersion}}";
        let info = self.docker(&["info", "--format", format])?;
        let whose = match self.daemon {
            Some(_) => "a daemon of our own",
            None => "the one that answered",
        };
        Ok(format!("Docker Engine {}, {whose}", info.trim()))
    }

    /// A command that talks to this engine.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        if let Some(daemon) = &self.daemon {
            command.env("DOCKER_HOST", daemon.host());
        }
        // Some clients ask whether BuildKit is there and complain; the plain builder is enough.
        command.env("DOCKER_BUILDKIT", "0");
        command
    }

    /// Runs `docker` with these arguments and returns what it printed.
    pub(crate) fn docker(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.command("docker");
        command.args(arguments);
        output(&mut command).with_context(|| shell::line("docker", arguments))
    }

    /// A compose command.
    pub(crate) fn compose(&self) -> Result<Command> {
        match Compose::find() {
            Some(Compose::Plugin) => {
                let mut command = self.command("docker");
                command.arg("compose");
                Ok(command)
            }
            Some(Compose::Program) => Ok(self.command("docker-compose")),
            None => bail!("neither `docker compose` nor docker-compose is installed"),
        }
    }
}

/// The program that starts many containers from one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compose {
    /// `docker compose`: version 2 and later.
    Plugin,
    /// `docker-compose`: version 1, which Debian has.
    Program,
}

impl Compose {
    /// Which one is installed; the plugin if both are.
    pub(crate) fn find() -> Option<Self> {
        if shell::works("docker", &["compose", "version"]) {
            return Some(Self::Plugin);
        }
        shell::is_installed("docker-compose").then_some(Self::Program)
    }
}

impl Daemon {
    fn start() -> Result<Self> {
        let dir = TempDir::create()?;
        let at = |name: &str| dir.path().join(name).into_os_string();
        let program = Program::new("dockerd")?
            .arg("--host")
            .arg(host_of(&dir))
            .arg("--data-root")
            .arg(at("data"))
            .arg("--exec-root")
            .arg(at("exec"))
            .arg("--pidfile")
            .arg(at("pid"))
            .args(OWN_NETWORK)
            .args(["--log-level", "warn"])
            // Whatever ends us ends it too, and it ends its containers.
            .under(&["setpriv", "--pdeathsig", "TERM"]);
        let mut process = program.start().context("cannot start dockerd")?;
        let deadline = Instant::now() + START;
        let socket = dir.path().join(SOCKET);
        while !(socket.exists() && answers(&dir)) {
            if let Some(status) = process.try_wait()? {
                bail!("dockerd ended with {status}: {}", process.stderr());
            }
            if Instant::now() > deadline {
                bail!("dockerd does not answer: {}", process.stderr());
            }
            thread::sleep(LOOK);
        }
        Ok(Self { process, dir })
    }

    fn host(&self) -> String {
        host_of(&self.dir)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Asked to end, it stops its containers and unmounts their layers, so that the directory
        // can be removed. What fails here shows as a directory left behind.
        self.process.terminate().ok();
        self.process.wait(STOP).ok();
    }
}

/// Runs a command whose output is wanted; what it complained of is in the error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.output().context("cannot run it")?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!("{}: {}", output.status, complaint.trim());
    }
    String::from_utf8(output.stdout).context("output is not UTF-8")
}

fn answers(dir: &TempDir) -> bool {
    let host = host_of(dir);
    shell::works("docker", &["--host", &host, "info"])
}

fn host_of(dir: &TempDir) -> String {
    let socket: PathBuf = dir.path().join(SOCKET);
    format!("unix://{}", socket.display())
}

const SOCKET: &str = "docker.sock";

/// Leaves the machine's firewall, forwarding and interfaces alone. Containers of one network reach
/// each other, their ports are published by a small proxy of Docker's; nothing leads outside.
const OWN_NETWORK: [&str; 5] = [
    "--bridge=none",
    "--iptables=false",
    "--ip6tables=false",
    "--ip-forward=false",
    "--ip-masq=false",
];

/// It took 1 s on an idle machine.
const START: Duration = Duration::from_secs(60);

/// Docker gives containers 10 s before it kills them.
const STOP: Duration = Duration::from_secs(40);

const LOOK: Duration = Duration::from_millis(100);
