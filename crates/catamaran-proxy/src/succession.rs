//! Leaving the listeners to another process, and going on to serve whom this one has.
//!
//! Copies of a listening socket in two processes are one queue: whoever accepts first has the
//! connection, and what waits in it is lost only when the last copy is closed.

use crate::proxy::ListenerSockets;
use crate::state::{Shared, lock};
use crate::worker::{Command, Opened};
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::mpsc;

impl Shared {
    /// Takes no new clients from now on; returns copies of the sockets, by which
    /// [`Self::resume_clients`] takes them again. Those there are go on as if nothing were. Hold up
    /// reloads meanwhile.
    ///
    /// # Errors
    /// When descriptors are used up: then nothing has changed.
    pub async fn leave_clients(&self) -> io::Result<Vec<ListenerSockets>> {
        let copies = self.copy_sockets().await?;
        let (closing, mut closed) = mpsc::channel(1);
        self.command_all(|| Command::Leave {
            closing: closing.clone(),
        });
        drop(closing);
        // A worker that hangs goes on to accept as soon as it turns, which does no harm.
        let _ = tokio::time::timeout(PATIENCE, closed.recv()).await;
        Ok(copies)
    }

    /// Takes new clients again.
    pub fn resume_clients(&self, sockets: Vec<ListenerSockets>) {
        let (done, _) = mpsc::channel(1);
        let snapshot = self.snapshot();
        let held = lock(&self.listeners);
        let workers = snapshot.config.process.workers;
        for group in sockets {
            let Some((id, name)) = held.open.get(&group.key) else {
                continue;
            };
            let Some(frontend) = snapshot.frontend(name) else {
                continue;
            };
            let count = workers.map_or(group.sockets.len(), std::num::NonZeroUsize::get);
            for (index, socket) in group.sockets.into_iter().enumerate() {
                let (id, frontend) = (*id, std::sync::Arc::clone(frontend));
                let opened = Opened {
                    id,
                    frontend,
                    socket,
                };
                let done = done.clone();
                self.command(index % count.max(1), Command::Take { opened, done });
            }
        }
    }

    /// Whether another process serves in place of this one.
    pub fn is_retired(&self) -> bool {
        self.is_retired.load(Ordering::Relaxed)
    }

    /// Has the clients there are leave, after [`Self::leave_clients`]: connections close after their
    /// next exchange, what takes longer is ended as when a listener is removed. Unlike in a drain,
    /// idle connections stay open until then: a client that is just sending would find no answer.
    pub fn retire(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
        self.is_retired.store(true, Ordering::Relaxed);
        let snapshot = self.snapshot();
        self.command_all(|| Command::Retire {
            snapshot: std::sync::Arc::clone(&snapshot),
        });
    }
}

/// How long it may take until every worker accepts no more.
const PATIENCE: Duration = Duration::from_secs(1);
