//! Idle connections to servers, kept by the worker whose reactor watches them.
//!
//! The reactor sees an idle connection close, so that taking one costs no system call: what it has
//! seen decides. The newest is taken first, so that the surplus grows old and goes.

use crate::io::Seen;
use crate::upstream::Connection;
use catamaran_core::Timestamp;
use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

/// How long ago a connection may have been used for a request that must not be sent twice.
const FRESH: Duration = Duration::from_secs(1);

/// Which idle connections a request may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// Any: should the server close it just now, the request is sent again.
    Any,
    /// One used within the last second, and not seen closed by a look at the socket itself.
    Proven,
}

/// The idle connections of one worker, by the server's key.
#[derive(Debug, Default)]
pub(crate) struct IdlePool {
    servers: RefCell<HashMap<u64, Vec<Idle>, foldhash::fast::RandomState>>,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Timestamp,
    until: Timestamp,
}

impl IdlePool {
    /// Takes a connection to the server of `key`. Those found closed or old are dropped.
    pub(crate) fn take(
        &self,
        key: u64,
        freshness: Freshness,
        now: Timestamp,
    ) -> Option<Connection> {
        let mut servers = self.servers.borrow_mut();
        let idle = servers.get_mut(&key)?;
        while let Some(candidate) = idle.pop() {
            if candidate.until <= now || candidate.connection.stream.seen() == Seen::Something {
                continue;
            }
            if freshness == Freshness::Proven {
                if now.saturating_since(candidate.since) > FRESH {
                    // The others are older still.
                    idle.push(candidate);
                    return None;
                }
                if !candidate.connection.is_quiet() {
                    continue;
                }
            }
            return Some(candidate.connection);
        }
        None
    }

    /// Keeps a connection for at most `life`, unless `max` are kept already, or another worker
    /// waits for it to end.
    pub(crate) fn put(&self, connection: Connection, now: Timestamp, life: Duration, max: u32) {
        if connection.server.is_connection_wanted() {
            return;
        }
        let mut servers = self.servers.borrow_mut();
        let idle = servers.entry(connection.server.id()).or_default();
        if idle.len() < max as usize {
            idle.push(Idle {
                connection,
                since: now,
                until: now + life,
            });
        }
    }

    /// Closes every connection to the server of `key`.
    pub(crate) fn close(&self, key: u64) {
        let closed = self.servers.borrow_mut().remove(&key);
        drop(closed);
    }

    /// Closes what is old or was closed by its server.
    pub(crate) fn sweep(&self, now: Timestamp) {
        let mut closed = Vec::new();
        self.servers.borrow_mut().retain(|_, idle| {
            closed.extend(idle.extract_if(.., |one| {
                one.until <= now || one.connection.stream.seen() == Seen::Something
            }));
            !idle.is_empty()
        });
        // Closing may wake those who wait for a connection, outside of the borrow.
        drop(closed);
    }

    /// Closes everything.
    pub(crate) fn clear(&self) {
        let closed = std::mem::take(&mut *self.servers.borrow_mut());
        drop(closed);
    }
}
