//! Letters between nodes, and what they are for most of all: mending drift. One node sends its
//! configuration, the others put it in place.

use super::{Mesh, forget, lock};
use crate::admin::{Kind, Plane, Refused};
use crate::reload::Text;
use catamaran_core::replication::{Letter, LetterKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::oneshot;

/// What became of a configuration at a peer.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(default)]
pub(crate) struct Pushed {
    /// The peer.
    pub(crate) peer: String,
    /// Whether it serves the configuration now.
    pub(crate) applied: bool,
    /// How many changes that made, or why it does not serve it.
    pub(crate) message: String,
}

impl Default for Pushed {
    fn default() -> Self {
        Self::failed("")
    }
}

impl Pushed {
    fn failed(message: impl Into<String>) -> Self {
        Self {
            peer: String::new(),
            applied: false,
            message: message.into(),
        }
    }
}

impl Mesh {
    /// The names of the peers; `None` without `[cluster]`.
    pub(crate) fn peer_names(&self) -> Option<Vec<String>> {
        let running = lock(&self.0.running);
        let peers = running.as_ref()?.cluster.peers.iter();
        Some(peers.map(|peer| peer.name.to_string()).collect())
    }

    /// Sends `text` to the peer at this place of the configuration, and waits for its answer.
    pub(crate) async fn push(&self, peer: usize, text: &str) -> Pushed {
        let text = text.as_bytes().to_vec();
        self.write(peer, LetterKind::CONFIG, text, PATIENCE).await
    }

    /// Writes a letter to the peer at this place of the configuration, and waits for its answer.
    pub(super) async fn write(
        &self,
        peer: usize,
        kind: LetterKind,
        bytes: Vec<u8>,
        patience: Duration,
    ) -> Pushed {
        let Some(handle) = self.handle() else {
            return Pushed::failed("replication has stopped");
        };
        let id = self.0.next_letter.fetch_add(1, Ordering::Relaxed);
        let (asker, answer) = oneshot::channel();
        lock(&self.0.asked).insert(id, asker);
        let letter = Letter { kind, id, bytes };
        let pushed = match handle.send_letter(peer, letter).await {
            Err(stopped) => Pushed::failed(stopped.to_string()),
            Ok(Err(refused)) => Pushed::failed(refused.to_string()),
            Ok(Ok(())) => match tokio::time::timeout(patience, answer).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Pushed::failed("replication has stopped"),
                Err(_) => Pushed::failed(
                    "the peer does not answer; its log, or `ctl config status` there, says more",
                ),
            },
        };
        lock(&self.0.asked).remove(&id);
        pushed
    }

    /// Does what a letter asks for, beside the loop that reads them.
    pub(super) fn handle_letter(&self, plane: &Arc<Plane>, peer: usize, letter: Letter) {
        if ![LetterKind::CONFIG, LetterKind::FORGET].contains(&letter.kind) {
            return;
        }
        let (mesh, plane) = (self.clone(), Arc::clone(plane));
        tokio::spawn(async move {
            let names = mesh.peer_names().unwrap_or_default();
            let from = names.get(peer).map_or("a peer", String::as_str);
            let done = match letter.kind {
                LetterKind::FORGET => forget::heed(&plane, from, &letter.bytes),
                _ => put(&plane, from, letter.bytes).await,
            };
            let answer = match done {
                Ok(message) => Pushed {
                    applied: true,
                    ..Pushed::failed(message)
                },
                Err(message) => Pushed::failed(message),
            };
            let letter = Letter {
                kind: LetterKind::ANSWER,
                id: letter.id,
                bytes: serde_json::to_vec(&answer).unwrap_or_default(),
            };
            if let Some(handle) = mesh.handle() {
                // Who asked may have gone.
                let _ = handle.send_letter(peer, letter).await;
            }
        });
    }
}

/// Puts the configuration of the peer called `from` in place, but for what is this node's own.
async fn put(plane: &Plane, from: &str, theirs: Vec<u8>) -> Result<String, String> {
    let _alone = plane.persisting.lock().await;
    let no_file = "its configuration came from the command line; start it with `-c FILE`";
    let served = plane.reloader.text().ok_or(no_file)?;
    let theirs = String::from_utf8(theirs).map_err(|_| "it is not UTF-8".to_owned())?;
    let text = Text {
        path: served.path.clone(),
        text: catamaran_config::with_own_sections(&theirs, &served.text)?,
    };
    tracing::info!(peer = from, "a peer sends its configuration");
    let applied = plane.put_in_file(&served, text).await;
    let applied = applied.map_err(Refused::into_message)?;
    let changes = applied.diff.changes.len();
    plane.events.note(
        Kind::Changed,
        format!("configuration of {from} put in place"),
    );
    Ok(format!("{changes} changes"))
}

/// How long a peer may take to check and apply a configuration of thousands of servers.
const PATIENCE: Duration = Duration::from_secs(20);
