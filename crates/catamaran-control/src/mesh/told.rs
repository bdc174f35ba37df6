//! Notes: what operators want of servers, and what checks found, told among nodes.

use super::{Mesh, lock};
use crate::admin::{Kind, Plane, admin_word};
use crate::health::Command;
use catamaran_core::model::Name;
use catamaran_core::replication::NoteKind;
use catamaran_core::server::Admin;
use catamaran_peers::Handle;
use catamaran_proxy::Snapshot;
use std::sync::Arc;

/// The name of a note of a server. Names have no spaces.
pub(super) fn name_of(backend: &Name, server: &Name) -> String {
    format!("{backend} {server}")
}

/// What an operator wants of the server that a note is about; `None` if it is not here.
fn admin_of(snapshot: &Snapshot, name: &str) -> Option<Admin> {
    let (backend, server) = name.split_once(' ')?;
    let set = snapshot.backend(&Name::new(backend))?.set();
    Some(set.by_name(&Name::new(server))?.state.admin())
}

impl Mesh {
    /// Tells a node that just started how servers are that are not as at a start: the process before
    /// has left it so, or the node before.
    pub(super) async fn recall(&self, snapshot: &Snapshot, handle: &Handle) {
        for backend in &*snapshot.backends {
            for server in &backend.set().servers {
                let name = || name_of(&backend.model.name, &server.model.name);
                let admin = server.state.admin();
                if admin != Admin::Ready {
                    self.note_drained(name(), true);
                    let word = admin_word(admin).as_bytes().to_vec();
                    let _ = handle.recall_note(NoteKind::DRAIN, name(), word).await;
                }
                if server.state.is_checked_down() {
                    let word = b"down".to_vec();
                    let _ = handle.recall_note(NoteKind::HEALTH, name(), word).await;
                }
            }
        }
    }

    /// Notes whether a server that is here is not ready.
    pub(super) fn note_drained(&self, name: String, is_drained: bool) {
        let mut drained = lock(&self.0.drained);
        if is_drained {
            drained.insert(name);
        } else {
            drained.remove(&name);
        }
    }

    /// Has peers told of servers that went while they were drained: the next one of that name begins
    /// anew, and the note must not outlive the one it was about.
    pub(super) fn end_drains(&self, snapshot: &Snapshot) {
        let is_over = |name: &String| {
            let admin = admin_of(snapshot, name);
            admin.is_none_or(|admin| admin == Admin::Ready)
        };
        let over: Vec<String> = lock(&self.0.drained).extract_if(.., is_over).collect();
        for name in over {
            lock(&self.0.outbox).insert((NoteKind::DRAIN, name), Vec::new());
        }
    }

    /// Does what the notes of peers say.
    pub(super) async fn heed(&self, plane: &Arc<Plane>) {
        let notes = std::mem::take(&mut *lock(&self.0.inbox));
        for ((kind, name), bytes) in notes {
            let Some((backend, server)) = name.split_once(' ') else {
                continue;
            };
            let (backend, server) = (Name::new(backend), Name::new(server));
            match (kind, &*bytes) {
                (NoteKind::DRAIN, word) => {
                    let is_drained = heed_admin(plane, &backend, &server, word);
                    self.note_drained(name, is_drained);
                }
                // That it is up is found by the next check.
                (NoteKind::HEALTH, b"down") => {
                    let hint = Command::HintDown(backend, server);
                    plane.tell_monitor(hint).await;
                }
                _ => {}
            }
        }
    }
}

/// Returns whether the server is here and not ready.
fn heed_admin(plane: &Plane, backend: &Name, server: &Name, word: &[u8]) -> bool {
    let known = [Admin::Ready, Admin::Drain, Admin::Maintenance];
    let admin = known
        .into_iter()
        .find(|admin| admin_word(*admin).as_bytes() == word);
    let snapshot = plane.shared.snapshot();
    let found = snapshot.backend(backend);
    let found = found.and_then(|found| found.set().by_name(server).cloned());
    // A peer of another configuration, or of a later version, may mean what is not here.
    let (Some(admin), Some(found)) = (admin, found) else {
        return false;
    };
    let is_drained = admin != Admin::Ready;
    if found.state.admin() == admin {
        return is_drained;
    }
    plane.drains.begin(backend, server);
    if plane.shared.set_admin_state(backend, server, admin).is_ok() {
        let told = format!("{}: told by a peer", admin_word(admin));
        tracing::info!(%backend, %server, "{told}");
        let events = &plane.events;
        events.note_server(Kind::Changed, backend.as_str(), server.as_str(), told);
    }
    is_drained
}
