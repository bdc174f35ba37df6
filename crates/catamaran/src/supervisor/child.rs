//! One data process, seen from its supervisor.

use super::watchdog::{Hang, LOOK, Watchdog};
use crate::handover::{Channel, Handover, Notice};
use crate::logging;
use anyhow::Context as _;
use catamaran_sys::{fd_passing, process};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};
use tokio::time::MissedTickBehavior;

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
    child: Child,
    channel: Channel,
}

impl DataProcess {
    /// Starts the process; it waits for its hand-over.
    pub(super) fn start(orphans: Orphans) -> anyhow::Result<Self> {
        let (ours, theirs) = fd_passing::seqpacket_pair().context("socket pair")?;
        // The link leads to this very binary, even if another one has taken its place on disk.
        let mut command = std::process::Command::new("/proc/self/exe");
        let number = process::pass_descriptor(&mut command, theirs.as_fd());
        command
            .arg0("catamaran")
            .args(["data", "--channel", &number.to_string()])
            .stdin(Stdio::null());
        logging::pass_on(&mut command);
        if orphans == Orphans::Die {
            process::set_parent_death_signal(&mut command, libc::SIGKILL);
        }
        let child = Command::from(command)
            .kill_on_drop(orphans == Orphans::Die)
            .spawn()
            .context("the data process could not be started")?;
        Ok(Self {
            child,
            channel: Channel::new(ours)?,
        })
    }

    /// Its process id; 0 once it has been waited for.
    pub(super) fn pid(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    /// Hands over, reports readiness to `on_ready`, and returns when the process has died. One that
    /// gives no sign of life for as long as `watchdog` is killed.
    pub(super) async fn serve(
        &mut self,
        handover: &Handover,
        watchdog: Duration,
        on_ready: impl FnOnce(),
    ) -> anyhow::Result<ExitStatus> {
        match self.channel.give(handover).await {
            Ok(()) => {
                if self.channel.hear().await == Some(Notice::Ready) {
                    on_ready();
                    return self.guard(watchdog).await;
                }
            }
            Err(error) => {
                tracing::error!("hand-over to the data process failed: {error:#}");
                // Without its sockets it is of no use, if it lives at all.
                return self.kill().await;
            }
        }
        self.wait().await
    }

    /// Waits for the end of the process, and brings it about if it hangs.
    async fn guard(&mut self, patience: Duration) -> anyhow::Result<ExitStatus> {
        let mut watchdog = Watchdog::new(patience, Instant::now());
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_talking = true;
        loop {
            // In this order: what was said while nobody listened counts before the silence.
            tokio::select! {
                biased;
                status = self.child.wait() => {
                    return status.context("waiting for the data process");
                }
                notice = self.channel.hear(), if is_talking => match notice {
                    Some(Notice::Beat) => watchdog.handle_sign(Instant::now()),
                    Some(Notice::Hung(part)) => watchdog.handle_hang(part),
                    Some(Notice::Ready | Notice::Drain | Notice::Stop) => {}
                    None => is_talking = false,
                },
                _ = look.tick() => {
                    if let Some(hang) = watchdog.handle_look(Instant::now()) {
                        return self.abort(hang).await;
                    }
                }
            }
        }
    }

    /// Ends a process that hangs: with what helps to find out why, if it still can.
    async fn abort(&mut self, hang: Hang) -> anyhow::Result<ExitStatus> {
        let silent = hang.silent;
        let pid = self.pid();
        match hang.part {
            Some(part) => tracing::error!(pid, %part, ?silent, "data process hangs; it is killed"),
            None => tracing::error!(pid, ?silent, "data process says nothing; it is killed"),
        }
        // It may have ended this moment.
        let _ = process::send_signal(pid, libc::SIGABRT);
        tokio::select! {
            status = self.child.wait() => status.context("waiting for the data process"),
            () = tokio::time::sleep(ABORT_GRACE) => self.kill().await,
        }
    }

    /// Tells the process; one that is gone needs no telling.
    pub(super) async fn tell(&self, notice: Notice) {
        if let Err(error) = self.channel.tell(notice).await {
            tracing::debug!(%error, "data process could not be told");
        }
    }

    pub(super) async fn wait(&mut self) -> anyhow::Result<ExitStatus> {
        self.child
            .wait()
            .await
            .context("waiting for the data process")
    }

    pub(super) async fn kill(&mut self) -> anyhow::Result<ExitStatus> {
        self.child
            .kill()
            .await
            .context("killing the data process")?;
        self.wait().await
    }
}

/// What a process that hangs may take to write its core.
const ABORT_GRACE: Duration = Duration::from_secs(2);
