//! What happened lately: the last [`MAX_EVENTS`] changes that an operator would ask about.

use super::door;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// The recent events.
#[derive(Debug, Default)]
pub struct Events {
    kept: Mutex<Inner>,
    /// The id of the last event.
    last: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    last_id: u64,
    events: VecDeque<Event>,
}

/// One event.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub struct Event {
    /// Grows by one with each event of this process.
    pub id: u64,
    /// Unix time in seconds.
    pub at: f64,
    /// What happened.
    pub kind: Kind,
    /// The backend it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// The server it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// One sentence for people, or empty where the kind says all.
    pub message: String,
    /// By which door the request came that made it happen, and from where: `admin socket, pid 7` or
    /// `tcp 10.0.0.5:40312`. Left out for what nobody asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// This process began to serve.
    Started,
    /// Active checks took a server down.
    ServerDown,
    /// Active checks brought a server up.
    ServerUp,
    /// A server refuses connections.
    ServerRefusing,
    /// A server accepts connections again.
    ServerAccepting,
    /// Passive detection ejected a server.
    ServerEjected,
    /// An ejection is over.
    ServerReadmitted,
    /// An operator changed something.
    Changed,
    /// A new configuration serves.
    Reloaded,
    /// A new configuration was refused; the old one serves on.
    ReloadFailed,
    /// The process takes no new clients and will end.
    Draining,
    /// A worker's loop stood still.
    WorkerStalled,
    /// A virtual address came here or went.
    VirtualIp,
    /// A peer of the cluster is connected.
    PeerConnected,
    /// A peer of the cluster is gone.
    PeerLost,
    /// This node has been told all that its peers knew.
    ReplicationCurrent,
    /// A peer of the cluster serves another configuration, or the same again.
    ConfigDrift,
    /// The store of the fleet came, went or is another, or a server registered or left.
    Etcd,
}

impl Events {
    /// Notes an event of the process as a whole.
    pub fn note(&self, kind: Kind, message: impl Into<String>) {
        self.push(kind, None, None, message.into());
    }

    /// Notes an event of one server.
    pub fn note_server(&self, kind: Kind, backend: &str, server: &str, message: impl Into<String>) {
        self.push(kind, Some(backend), Some(server), message.into());
    }

    /// The events with an id above `after`, the oldest first.
    #[must_use]
    pub fn after(&self, after: u64) -> Vec<Event> {
        let inner = self.lock();
        let new = inner.events.iter().filter(|event| event.id > after);
        new.cloned().collect()
    }

    /// Wakes at each new event; holds the id of the last one.
    pub(crate) fn news(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    fn push(&self, kind: Kind, backend: Option<&str>, server: Option<&str>, message: String) {
        let mut inner = self.lock();
        inner.last_id += 1;
        let event = Event {
            id: inner.last_id,
            at: unix_now(),
            kind,
            backend: backend.map(str::to_owned),
            server: server.map(str::to_owned),
            message,
            by: door::current().map(|door| door.to_string()),
        };
        if inner.events.len() == MAX_EVENTS {
            inner.events.pop_front();
        }
        inner.events.push_back(event);
        self.last.send_replace(inner.last_id);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Unix time in seconds, to the millisecond.
pub(crate) fn unix_now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let seconds = since.unwrap_or_default().as_secs_f64();
    (seconds * 1000.0).round() / 1000.0
}

/// Events that are kept.
pub const MAX_EVENTS: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_events_give_way_and_ids_go_on() {
        let events = Events::default();
        for _ in 0..MAX_EVENTS + 5 {
            events.note(Kind::Changed, "x");
        }
        let kept = events.after(0);
        assert_eq!(kept.len(), MAX_EVENTS);
        assert_eq!(kept[0].id, 6);
        assert_eq!(events.after(204).len(), 1);
    }
}
