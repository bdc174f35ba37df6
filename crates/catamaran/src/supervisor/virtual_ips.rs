//! The vrrp process, seen from its supervisor: started before clients are served, started again
//! when it dies, and told first when everything ends.

use super::backoff::Backoff;
use crate::channel::Channel;
use crate::handover::{Handover, Message};
use crate::logging;
use crate::source::Source;
use anyhow::Context as _;
use catamaran_core::model::{Config, VirtualIp};
use catamaran_sys::{fd_passing, process};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};

/// The virtual addresses of this node, in the care of a process of their own.
#[derive(Debug)]
pub(crate) struct VirtualIps {
    stop: mpsc::Sender<()>,
    ended: watch::Receiver<bool>,
    /// The end of the line that data processes get.
    data_end: OwnedFd,
}

/// All that is needed to start the process again.
#[derive(Debug)]
struct Keeper {
    handover: Handover,
    virtual_ips: Vec<VirtualIp>,
    vrrp_end: OwnedFd,
}

#[derive(Debug)]
struct VrrpProcess {
    child: Child,
    channel: Arc<Channel>,
}

impl VirtualIps {
    /// Starts the process and waits until it can do its duty; `None` without virtual addresses.
    pub(crate) async fn start(source: &Source, config: &Config) -> anyhow::Result<Option<Self>> {
        if config.virtual_ips.is_empty() {
            return Ok(None);
        }
        let (data_end, vrrp_end) = fd_passing::seqpacket_pair().context("socket pair")?;
        let keeper = Keeper {
            handover: Handover {
                source: source.clone(),
                listeners: Vec::new(),
                state: None,
            },
            virtual_ips: config.virtual_ips.clone(),
            vrrp_end,
        };
        let first = keeper.start().await?;
        let (stop, stops) = mpsc::channel(1);
        let (end, ended) = watch::channel(false);
        tokio::spawn(async move {
            keeper.keep(first, stops).await;
            end.send_replace(true);
        });
        Ok(Some(Self {
            stop,
            ended,
            data_end,
        }))
    }

    /// The end of the line that data processes get.
    pub(crate) fn data_end(&self) -> BorrowedFd<'_> {
        self.data_end.as_fd()
    }

    /// Has the addresses given up, and returns when they are. Calling it again is harmless.
    pub(crate) async fn stop(&self) {
        // One order is enough, and nobody takes it once the process has ended.
        let _ = self.stop.try_send(());
        let mut ended = self.ended.clone();
        // The keeper has bounds of its own for everything it waits for.
        let _ = ended.wait_for(|ended| *ended).await;
    }
}

impl Keeper {
    async fn keep(self, first: VrrpProcess, mut stops: mpsc::Receiver<()>) {
        let mut backoff = Backoff::default();
        let mut running = Some(first);
        loop {
            let started = Instant::now();
            if let Some(mut process) = running.take() {
                tokio::select! {
                    status = process.child.wait() => match status {
                        Ok(status) => tracing::error!(%status, "vrrp process died"),
                        Err(error) => tracing::error!(%error, "vrrp process was lost"),
                    },
                    _ = stops.recv() => {
                        process.stop().await;
                        self.clean_up();
                        return;
                    }
                }
            }
            // Another node takes over by now; two with the address would be worse than none.
            self.clean_up();
            let wait = backoff.handle_death(started.elapsed());
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = stops.recv() => return,
            }
            match self.start().await {
                Ok(process) => running = Some(process),
                Err(error) => tracing::error!(restart_in = ?wait, "{error:#}"),
            }
        }
    }

    /// Starts a process and waits for its readiness.
    async fn start(&self) -> anyhow::Result<VrrpProcess> {
        let (ours, theirs) = fd_passing::seqpacket_pair().context("socket pair")?;
        let mut command = std::process::Command::new("/proc/self/exe");
        let channel = process::pass_descriptor(&mut command, theirs.as_fd());
        let link = process::pass_descriptor(&mut command, self.vrrp_end.as_fd());
        command
            .arg0("catamaran")
            .args(["vrrp", "--channel", &channel.to_string()])
            .args(["--link", &link.to_string()])
            .stdin(Stdio::null());
        logging::pass_on(&mut command);
        let child = Command::from(command)
            .spawn()
            .context("the vrrp process could not be started")?;
        drop(theirs);
        let mut process = VrrpProcess {
            child,
            channel: Channel::new(ours)?,
        };
        let begin = async {
            self.handover.send(&process.channel).await?;
            let word = process.channel.receive().await?;
            let word = word.map(Message::read).transpose()?;
            anyhow::Ok(matches!(word, Some(Message::Ready)))
        };
        match tokio::time::timeout(START, begin).await {
            Ok(Ok(true)) => {
                tracing::info!(pid = process.child.id(), "vrrp process started");
                Ok(process)
            }
            _ => {
                let status = process.end().await;
                anyhow::bail!(
                    "virtual addresses cannot be served: the vrrp process ended with {status}; \
                     the reason stands above"
                )
            }
        }
    }

    fn clean_up(&self) {
        if let Err(error) = catamaran_vrrp::remove_leftovers(&self.virtual_ips) {
            tracing::warn!(%error, "virtual addresses could not be removed; the kernel will");
        }
    }
}

impl VrrpProcess {
    async fn stop(&mut self) {
        if let Err(error) = Message::Stop.send(&self.channel).await {
            tracing::debug!("vrrp process could not be told: {error:#}");
        }
        if tokio::time::timeout(STOP, self.child.wait()).await.is_err() {
            tracing::warn!("vrrp process did not stop; it is killed");
            self.end().await;
        }
    }

    /// Ends the process if it has not ended; how it ended, in words.
    async fn end(&mut self) -> String {
        if let Err(error) = self.child.start_kill() {
            tracing::debug!(%error, "vrrp process could not be killed");
        }
        let status = tokio::time::timeout(STOP, self.child.wait()).await;
        let status: Option<ExitStatus> = status.ok().and_then(Result::ok);
        status.map_or_else(|| "no word".to_owned(), |status| status.to_string())
    }
}

/// What a start may take, on a machine that is busy.
const START: Duration = Duration::from_secs(10);
/// What giving up the addresses may take.
const STOP: Duration = Duration::from_secs(2);
