//! Who opens the sockets of a reload: the supervisor if there is one, else this process.

use crate::bind::{self, Recent};
use crate::channel::Channel;
use crate::engine::ListenerSockets;
use crate::handover::{Keep, Message};
use catamaran_control::reload::PortRequest;
use catamaran_core::model::ListenerKey;
use catamaran_proxy::{Shared, WantedListener};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc;

/// The way to the supervisor.
#[derive(Debug)]
pub(crate) struct Supervisor {
    pub(crate) channel: Arc<Channel>,
    /// What it answers; ends with it.
    pub(crate) answers: mpsc::Receiver<Message>,
}

/// Serves `requests` for as long as they come, by the last of the `supervisors`. Without one, or
/// once it is gone, sockets are opened here.
pub(crate) async fn serve(
    mut requests: mpsc::Receiver<PortRequest>,
    mut supervisors: mpsc::Receiver<Supervisor>,
    shared: Arc<Shared>,
) {
    let mut supervisor = None;
    let mut recent = Recent::default();
    loop {
        let request = tokio::select! {
            biased;
            Some(next) = supervisors.recv() => {
                supervisor = Some(next);
                continue;
            }
            request = requests.recv() => request,
        };
        let Some(request) = request else {
            return;
        };
        // Who asked may have given up: then nobody needs the answer.
        match request {
            PortRequest::Open {
                wanted,
                count,
                reply,
            } => {
                let asked = match &mut supervisor {
                    Some(supervisor) => supervisor.open(count, wanted.clone()).await,
                    None => None,
                };
                let opened = asked.unwrap_or_else(|| open_here(&shared, count, &wanted, &recent));
                let _ = reply.send(opened);
            }
            PortRequest::Keep {
                text,
                listeners,
                drain,
                reply,
            } => {
                for key in held(&shared).iter().filter(|key| !listeners.contains(key)) {
                    recent.note(key, Instant::now());
                }
                if let Some(supervisor) = &mut supervisor {
                    let keep = Keep {
                        text,
                        listeners,
                        drain,
                    };
                    supervisor.keep(keep).await;
                }
                let _ = reply.send(());
            }
        }
    }
}

impl Supervisor {
    /// `None` if it is gone.
    async fn open(
        &mut self,
        count: usize,
        wanted: Vec<WantedListener>,
    ) -> Option<Result<Vec<ListenerSockets>, String>> {
        let asked = Message::Open(count, wanted).send(&self.channel).await;
        asked.ok()?;
        match self.answers.recv().await? {
            Message::Opened(opened) => Some(opened),
            other => Some(Err(format!("the supervisor answered {other:?}"))),
        }
    }

    async fn keep(&mut self, keep: Keep) {
        // One that is gone starts nothing any more.
        if Message::Keep(keep).send(&self.channel).await.is_ok() {
            self.answers.recv().await;
        }
    }
}

fn open_here(
    shared: &Shared,
    count: usize,
    wanted: &[WantedListener],
    recent: &Recent,
) -> Result<Vec<ListenerSockets>, String> {
    let held = held(shared);
    let held: Vec<&ListenerKey> = held.iter().chain(recent.iter(Instant::now())).collect();
    bind::open_wanted(wanted, count, &held).map_err(|errors| errors.to_string())
}

/// The listeners of the configuration that is served.
fn held(shared: &Shared) -> Vec<ListenerKey> {
    let snapshot = shared.snapshot();
    let frontends = snapshot.config.frontends.iter();
    frontends
        .flat_map(|f| (0..f.listeners.len()).map(|place| ListenerKey::of(f, place)))
        .collect()
}
