//! The vrrp process, seen from its supervisor: started before clients are served, started again
//! when it dies, and told first when everything ends.

use super::backoff::Backoff;
use super::life::Life;
use crate::channel::Channel;
use crate::door::{Claim, Door, DoorName};
use crate::handover::{Handover, Message};
use crate::logging;
use crate::source::Source;
use crate::systemd;
use anyhow::Context as _;
use catamaran_core::model::{Config, VirtualIp};
use catamaran_sys::{fd_passing, process};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::process::Command;
use tokio::sync::{mpsc, watch};

/// The virtual addresses of this node, in the care of a process of their own.
#[derive(Debug)]
pub(crate) struct VirtualIps {
    stop: mpsc::Sender<()>,
    ended: watch::Receiver<bool>,
    /// The end of the line that data processes get.
    data_end: OwnedFd,
    /// The line to the process there is.
    present: watch::Receiver<Option<Arc<Channel>>>,
}

/// All that is needed to start the process again.
#[derive(Debug)]
struct Keeper {
    handover: Handover,
    virtual_ips: Vec<VirtualIp>,
    vrrp_end: OwnedFd,
    /// Where another supervisor finds the process when this one is gone.
    door: Option<Door>,
    /// Told of the line to each process.
    present: watch::Sender<Option<Arc<Channel>>>,
}

#[derive(Debug)]
struct VrrpProcess {
    life: Life,
    channel: Arc<Channel>,
}

impl VirtualIps {
    /// Starts the process and waits until it can do its duty, or takes over the one that an earlier
    /// supervisor of the same `name` left behind; `None` without virtual addresses.
    pub(super) async fn start(
        source: &Source,
        config: &Config,
        name: Option<&DoorName>,
    ) -> anyhow::Result<Option<Self>> {
        if config.virtual_ips.is_empty() {
            return Ok(None);
        }
        let (data_end, vrrp_end) = fd_passing::seqpacket_pair().context("socket pair")?;
        let (present_tx, present) = watch::channel(None);
        let mut keeper = Keeper {
            door: None,
            present: present_tx,
            handover: Handover {
                source: source.clone(),
                listeners: Vec::new(),
                state: None,
            },
            virtual_ips: config.virtual_ips.clone(),
            vrrp_end,
        };
        let name = name.map(DoorName::of_vrrp);
        let first = keeper.begin(name.as_ref()).await?;
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
            present,
        }))
    }

    /// Tells the process that another supervisor comes presently: that this one goes then is no
    /// reason to give anything up.
    pub(super) async fn expect_another(&self) {
        let channel = self.present.borrow().clone();
        if let Some(channel) = channel {
            // One that is gone has given everything up.
            let _ = Message::Expect.send(&channel).await;
        }
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
                self.present
                    .send_replace(Some(Arc::clone(&process.channel)));
                tokio::select! {
                    status = process.life.wait() => match status {
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

    /// Takes over the process behind the door, else takes the door and starts one.
    async fn begin(&mut self, name: Option<&DoorName>) -> anyhow::Result<VrrpProcess> {
        let claim = match name {
            Some(name) => Some(name.claim().await?),
            None => None,
        };
        match claim {
            Some(Claim::Orphaned(channel, orphan)) => {
                let life = Life::adopt(orphan.pid).context("vrrp process")?;
                self.door = Some(Door::new(orphan.door)?);
                let link = self.vrrp_end.try_clone()?;
                Message::Adopt(Some(link)).send(&channel).await?;
                // What it has still to say, it says to nobody: only its end counts.
                tracing::info!(pid = orphan.pid, "vrrp process taken over");
                return Ok(VrrpProcess { life, channel });
            }
            Some(Claim::Held(door)) => self.door = Some(door),
            Some(Claim::Taken(_)) | None => {}
        }
        self.start().await
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
        for variable in systemd::VARIABLES {
            command.env_remove(variable);
        }
        let child = Command::from(command)
            .spawn()
            .context("the vrrp process could not be started")?;
        drop(theirs);
        let mut process = VrrpProcess {
            life: Life::Child(child),
            channel: Channel::new(ours)?,
        };
        let begin = async {
            self.handover.send(&process.channel).await?;
            if let Some(door) = &self.door {
                Message::Door(door.copy()?).send(&process.channel).await?;
            }
            let word = process.channel.receive().await?;
            let word = word.map(Message::read).transpose()?;
            anyhow::Ok(matches!(word, Some(Message::Ready)))
        };
        match tokio::time::timeout(START, begin).await {
            Ok(Ok(true)) => {
                tracing::info!(pid = process.life.pid(), "vrrp process started");
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
        if tokio::time::timeout(STOP, self.life.wait()).await.is_err() {
            tracing::warn!("vrrp process did not stop; it is killed");
            self.end().await;
        }
    }

    /// Ends the process if it has not ended; how it ended, in words.
    async fn end(&mut self) -> String {
        let status = tokio::time::timeout(STOP, self.life.kill()).await;
        let status = status.ok().and_then(Result::ok);
        status.map_or_else(|| "no word".to_owned(), |status| status.to_string())
    }
}

/// What a start may take, on a machine that is busy.
const START: Duration = Duration::from_secs(10);
/// What giving up the addresses may take.
const STOP: Duration = Duration::from_secs(2);
