//! What the node says, taken down on its thread: nothing here waits.

use super::{Inner, Mesh, lock};
use crate::admin::Kind;
use catamaran_core::model::Cluster;
use catamaran_core::replication::{Event, Letter, LetterKind, Node, NoteKind, Now};
use catamaran_peers::Observer;
use std::sync::{Arc, Weak};

/// Listens to a node.
pub(super) struct Reporter {
    /// Weak: the mesh holds the thread that holds this.
    mesh: Weak<Inner>,
    names: Vec<String>,
}

impl Reporter {
    pub(super) fn new(mesh: &Mesh, cluster: &Cluster) -> Self {
        let names = cluster.peers.iter().map(|peer| peer.name.to_string());
        Self {
            mesh: Arc::downgrade(&mesh.0),
            names: names.collect(),
        }
    }
}

impl Observer for Reporter {
    fn handle_event(&mut self, now: Now, node: &Node, event: &Event) {
        let Some(mesh) = self.mesh.upgrade() else {
            return;
        };
        let name = |peer: usize| &self.names[peer];
        let note = |kind, message: String| mesh.events.note(kind, message);
        match event {
            Event::Met(peer, _) => note(Kind::PeerConnected, name(*peer).clone()),
            Event::Lost(peer) => {
                note(Kind::PeerLost, name(*peer).clone());
                lock(&mesh.view).lose(now, *peer);
                mesh.lost.notify_one();
            }
            Event::Current => note(Kind::ReplicationCurrent, String::new()),
            Event::Drift(peer, true) => {
                let told = format!("{} serves another configuration", name(*peer));
                note(Kind::ConfigDrift, told);
            }
            Event::Drift(peer, false) => {
                let told = format!("{} serves the same configuration", name(*peer));
                note(Kind::ConfigDrift, told);
            }
            Event::Note(kind @ (NoteKind::DRAIN | NoteKind::HEALTH), of) => {
                if let Some(written) = node.note(*kind, of) {
                    let mut inbox = lock(&mesh.inbox);
                    inbox.insert((*kind, of.clone()), written.bytes.clone());
                    mesh.news.notify_one();
                }
            }
            Event::Letter(peer, letter) => take(&mesh, *peer, letter),
            Event::Silent(_) | Event::Taught(_) | Event::ClockAhead(_) | Event::Note(..) => {}
        }
        lock(&mesh.view).follow(now, node);
    }

    fn look(&mut self, now: Now, node: &Node) {
        if let Some(mesh) = self.mesh.upgrade() {
            lock(&mesh.view).follow(now, node);
        }
    }
}

fn take(mesh: &Inner, peer: usize, letter: &Letter) {
    if letter.kind != LetterKind::ANSWER {
        // Who writes more than can be heeded gets no answer.
        let _ = mesh.letters.try_send((peer, letter.clone()));
        return;
    }
    let asker = lock(&mesh.asked).remove(&letter.id);
    if let (Some(asker), Ok(answer)) = (asker, serde_json::from_slice(&letter.bytes)) {
        // Who asked may have gone.
        let _ = asker.send(answer);
    }
}
