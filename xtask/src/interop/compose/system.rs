//! The containers of `deploy/compose`, under a name and on ports of their own.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use catamaran_testkit::{Signal, free_addr, signal_pid};

use crate::docker::{Engine, output};
use crate::shell;

/// The system, running. Dropping it removes containers, networks and volumes.
#[derive(Debug)]
pub(super) struct System<'a> {
    engine: &'a Engine,
    project: String,
    api: SocketAddr,
    sink: SocketAddr,
}

impl<'a> System<'a> {
    /// Starts everything and waits until every container is healthy.
    pub(super) fn start(engine: &'a Engine) -> Result<Self> {
        let system = Self {
            engine,
            project: format!("catamaran-interop-{}", std::process::id()),
            api: free_addr()?,
            sink: free_addr()?,
        };
        system.compose(&["up", "-d"])?;
        for service in system.compose(&["config", "--services"])?.lines() {
            system.wait_until_healthy(service, None)?;
        }
        Ok(system)
    }

    /// Where the balancer is published.
    pub(super) const fn api(&self) -> SocketAddr {
        self.api
    }

    /// Where the sink shows its mails.
    pub(super) const fn sink(&self) -> SocketAddr {
        self.sink
    }

    /// Kills the process of a container (SIGKILL, as the kernel would) and waits until it is
    /// healthy again, by nothing but its restart policy.
    pub(super) fn kill(&self, service: &str) -> Result<()> {
        let before = self.started_at(service)?;
        let pid = self.inspect(service, "{{.State.Pid}}")?.parse()?;
        ensure!(pid != 0, "{service} does not run");
        signal_pid(pid, Signal::KILL)?;
        self.wait_until_healthy(service, Some(&before))
    }

    /// Has a container end in order and start again, and waits until it is healthy.
    pub(super) fn restart(&self, service: &str) -> Result<()> {
        let before = self.started_at(service)?;
        self.compose(&["restart", service])?;
        self.wait_until_healthy(service, Some(&before))
    }

    /// The last lines of every container, for a report of a failure.
    pub(super) fn logs(&self) -> String {
        let logs = self.compose(&["logs", "--no-color", "--tail", "40"]);
        logs.unwrap_or_else(|error| format!("no logs: {error:#}"))
    }

    /// Waits until a container that was not started at `before` is healthy.
    fn wait_until_healthy(&self, service: &str, before: Option<&str>) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let state = self.inspect(service, "{{.State.StartedAt}} {{.State.Health.Status}}")?;
            let is_new = before.is_none_or(|before| !state.starts_with(before));
            if is_new && state.ends_with(" healthy") {
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "{service} is not healthy after {PATIENCE:?}: {state}\n{}",
                self.logs()
            );
            thread::sleep(LOOK);
        }
    }

    fn started_at(&self, service: &str) -> Result<String> {
        self.inspect(service, "{{.State.StartedAt}}")
    }

    fn inspect(&self, service: &str, format: &str) -> Result<String> {
        let id = self.compose(&["ps", "-q", service])?;
        let text = self
            .engine
            .docker(&["inspect", "--format", format, id.trim()])?;
        Ok(text.trim().to_owned())
    }

    fn compose(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.engine.compose()?;
        command
            .args(["--file", FILE, "--project-name", &self.project])
            .args(arguments)
            .env("CATAMARAN_PORT", self.api.port().to_string())
            .env("SINK_PORT", self.sink.port().to_string());
        output(&mut command).with_context(|| shell::line("docker compose", arguments))
    }
}

impl Drop for System<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.compose(&["down", "--volumes", "--timeout", "5"]) {
            shell::complain(&format!("what was started may still be there: {error:#}"));
        }
    }
}

const FILE: &str = "deploy/compose/compose.yaml";

/// Longer than a start takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

const LOOK: Duration = Duration::from_millis(100);
