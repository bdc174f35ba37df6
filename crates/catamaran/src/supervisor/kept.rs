//! What the supervisor keeps for the next data process: configuration and sockets.

use super::child::DataProcess;
use crate::bind::{self, Recent};
use crate::engine::ListenerSockets;
use crate::handover::{Handover, Keep, Message};
use crate::sandbox;
use crate::source::Source;
use catamaran_core::model::{Config, ListenerKey, Process};
use catamaran_proxy::WantedListener;
use std::collections::HashSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What the next data process begins with.
#[derive(Debug)]
pub(super) struct Kept {
    handover: Handover,
    /// Sockets that were opened for a reload that is not through yet.
    opened: Vec<ListenerSockets>,
    drain: Duration,
    /// Since when nobody serves.
    died: Option<Instant>,
    recent: Recent,
}

impl Kept {
    pub(super) fn new(handover: Handover, drain: Duration) -> Self {
        Self {
            handover,
            opened: Vec::new(),
            drain,
            died: None,
            recent: Recent::default(),
        }
    }

    /// Notes that nobody serves from now on.
    pub(super) fn note_death(&mut self) {
        self.died.get_or_insert_with(Instant::now);
    }

    /// Since when nobody served, if that was noted.
    pub(super) const fn take_death(&mut self) -> Option<Instant> {
        self.died.take()
    }

    /// What is given to the next data process.
    pub(super) fn handover(&mut self) -> &Handover {
        // Nobody accepts from what the one before it asked for and did not come to use.
        self.opened.clear();
        &self.handover
    }

    /// The sockets that are kept.
    pub(super) fn listeners(&self) -> &[ListenerSockets] {
        &self.handover.listeners
    }

    /// Directories that the data process may write to.
    pub(super) fn writable(&self) -> Vec<PathBuf> {
        let config = self.config();
        let writable = |config| sandbox::writable(&config, &self.handover.source);
        config.map_or_else(Vec::new, writable)
    }

    /// What is served says of the process.
    pub(super) fn process(&self) -> Process {
        self.config().unwrap_or_default().process
    }

    /// What is served, which was valid when it was read.
    fn config(&self) -> Option<Config> {
        let loaded = self.handover.source.load();
        loaded.ok().map(|loaded| loaded.config)
    }

    /// What messages call the configuration.
    pub(super) fn name(&self) -> String {
        self.handover.source.name()
    }

    /// How long a drain may take.
    pub(super) const fn drain(&self) -> Duration {
        self.drain
    }

    /// Closes all sockets.
    pub(super) fn close(&mut self) {
        self.opened.clear();
        self.handover.listeners.clear();
    }

    /// Does what the data process asks.
    pub(super) async fn answer(&mut self, message: Message, child: &DataProcess) {
        let answer = match message {
            Message::Open(count, wanted) => {
                let opened = self.open(count, &wanted);
                let answer = Message::Opened(opened);
                if let Err(error) = answer.send(child.channel()).await {
                    tracing::error!("data process does not take its sockets: {error:#}");
                }
                if let Message::Opened(Ok(opened)) = answer {
                    self.opened.extend(opened);
                }
                return;
            }
            Message::Keep(keep) => {
                self.keep(keep);
                Message::Kept
            }
            other => {
                tracing::error!("data process said {other:?}");
                return;
            }
        };
        child.tell(answer).await;
    }

    fn open(
        &self,
        count: usize,
        wanted: &[WantedListener],
    ) -> Result<Vec<ListenerSockets>, String> {
        let held = self.handover.listeners.iter().map(|l| &l.key);
        let held: Vec<&ListenerKey> = held.chain(self.recent.iter(Instant::now())).collect();
        bind::open_wanted(wanted, count, &held).map_err(|errors| errors.to_string())
    }

    fn keep(&mut self, keep: Keep) {
        let Keep {
            text,
            listeners,
            drain,
        } = keep;
        if let Some(text) = text {
            self.handover.source = Source::Text(text);
        }
        self.drain = drain;
        let wanted: HashSet<ListenerKey> = listeners.into_iter().collect();
        let kept = &mut self.handover.listeners;
        kept.append(&mut self.opened);
        let now = Instant::now();
        kept.retain(|listener| {
            let is_wanted = wanted.contains(&listener.key);
            if !is_wanted {
                self.recent.note(&listener.key, now);
            }
            is_wanted
        });
    }
}
