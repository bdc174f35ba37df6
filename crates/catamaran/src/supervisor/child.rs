//! One data process, seen from its supervisor.

use super::life::{Ended, Life};
use super::virtual_ips::VirtualIps;
use super::watchdog::Hang;
use crate::channel::Channel;
use crate::handover::Message;
use crate::logging;
use crate::systemd;
use anyhow::Context as _;
use catamaran_sys::{fd_passing, process};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use tokio::process::Command;

/// What becomes of the data process when its supervisor is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Orphans {
    /// It goes on serving.
    Serve,
    /// It dies too.
    Die,
}

/// A running data process and the line to it.
#[derive(Debug)]
pub(super) struct DataProcess {
    life: Life,
    channel: Arc<Channel>,
}

impl DataProcess {
    /// Starts the process; it waits for its hand-over.
    pub(super) fn start(
        program: &Path,
        orphans: Orphans,
        virtual_ips: Option<&VirtualIps>,
    ) -> anyhow::Result<Self> {
        Self::start_with(program, &[], orphans, virtual_ips)
    }

    /// As [`Self::start`]; the process waits until it is to take another's place.
    pub(super) fn succeed(
        program: &Path,
        orphans: Orphans,
        virtual_ips: Option<&VirtualIps>,
    ) -> anyhow::Result<Self> {
        Self::start_with(program, &["--successor"], orphans, virtual_ips)
    }

    fn start_with(
        program: &Path,
        more: &[&str],
        orphans: Orphans,
        virtual_ips: Option<&VirtualIps>,
    ) -> anyhow::Result<Self> {
        let (ours, theirs) = fd_passing::seqpacket_pair().context("socket pair")?;
        let mut command = std::process::Command::new(program);
        let number = process::pass_descriptor(&mut command, theirs.as_fd());
        command
            .arg0("catamaran")
            .args(["data", "--channel", &number.to_string()])
            .args(more)
            .stdin(Stdio::null());
        if let Some(virtual_ips) = virtual_ips {
            let link = process::pass_descriptor(&mut command, virtual_ips.data_end());
            command.args(["--link", &link.to_string()]);
        }
        logging::pass_on(&mut command);
        for variable in systemd::VARIABLES {
            command.env_remove(variable);
        }
        if orphans == Orphans::Die {
            process::set_parent_death_signal(&mut command, libc::SIGKILL);
        }
        let child = Command::from(command)
            .kill_on_drop(orphans == Orphans::Die)
            .spawn()
            .context("the data process could not be started")?;
        Ok(Self {
            life: Life::Child(child),
            channel: Channel::new(ours)?,
        })
    }

    /// Takes charge of the process `pid` at the other end of `channel`.
    pub(super) fn adopt(pid: u32, channel: Arc<Channel>) -> anyhow::Result<Self> {
        let life = Life::adopt(pid).with_context(|| format!("process {pid} cannot be watched"))?;
        Ok(Self { life, channel })
    }

    /// Whether another supervisor started it, so that it serves already.
    pub(super) const fn is_adopted(&self) -> bool {
        self.life.is_adopted()
    }

    /// What is left when nothing more is to be said.
    pub(super) fn into_life(self) -> Life {
        self.life
    }

    /// Its process id; 0 once it has been waited for.
    pub(super) fn pid(&self) -> u32 {
        self.life.pid()
    }

    /// Tells the process; one that is gone needs no telling.
    pub(super) async fn tell(&self, message: Message) {
        if let Err(error) = message.send(&self.channel).await {
            tracing::debug!("data process could not be told: {error:#}");
        }
    }

    /// The line to the process.
    pub(super) const fn channel(&self) -> &Arc<Channel> {
        &self.channel
    }

    /// Ends a process that hangs: with what helps to find out why, if it still can.
    pub(super) async fn abort(&mut self, hang: Hang) -> anyhow::Result<Ended> {
        let silent = hang.silent;
        let pid = self.pid();
        match hang.part {
            Some(part) => tracing::error!(pid, %part, ?silent, "data process hangs; it is killed"),
            None => tracing::error!(pid, ?silent, "data process says nothing; it is killed"),
        }
        // It may have ended this moment.
        let _ = process::send_signal(pid, libc::SIGABRT);
        tokio::select! {
            status = self.wait() => return status,
            () = tokio::time::sleep(ABORT_GRACE) => {}
        }
        self.kill().await
    }

    pub(super) async fn wait(&mut self) -> anyhow::Result<Ended> {
        self.life
            .wait()
            .await
            .context("waiting for the data process")
    }

    pub(super) async fn kill(&mut self) -> anyhow::Result<Ended> {
        self.life.kill().await.context("killing the data process")
    }
}

/// What a process that hangs may take to end by itself when aborted.
const ABORT_GRACE: Duration = Duration::from_secs(2);
