//! Configurations written into the store, and what was written before.
//!
//! Every text that is put stands in the history as well, written in the same step: its revision is
//! what a rollback names. What somebody wrote past us has no entry there.

use super::FleetHandle;
use catamaran_core::fleet::Layer;
use catamaran_etcd::{Compare, EtcdError, Op};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::timeout;

/// An entry of the history.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Entry {
    /// The revision that wrote it.
    #[serde(skip)]
    pub(crate) revision: u64,
    /// Whose text it is; none is every node's.
    #[serde(default)]
    pub(crate) node: Option<String>,
    /// Unix time in seconds.
    pub(crate) at: u64,
    /// Who put it, and through which node.
    pub(crate) by: String,
    /// Why, or what it is.
    #[serde(default)]
    pub(crate) note: String,
    pub(crate) text: String,
}

/// A text was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Written {
    /// The revision that did it.
    pub(crate) revision: u64,
    /// Whether this node has taken it in, for better or worse.
    pub(crate) is_judged: bool,
}

/// Why a text was not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PutError {
    /// etcd did not do it.
    #[error(transparent)]
    Etcd(#[from] EtcdError),
    /// Somebody else wrote in the meantime.
    #[error(
        "somebody else changed it in the meantime; look at `catamaran ctl config history`, then put it again"
    )]
    Overtaken,
    /// There is no such entry in the history.
    #[error(
        "the history has no revision {0}; `catamaran ctl config history` lists those there are"
    )]
    NoSuchRevision(u64),
}

impl FleetHandle {
    /// Writes a text and its entry of the history, and waits until this node has taken it in, a few
    /// seconds at most.
    ///
    /// # Errors
    /// [`PutError`].
    pub(crate) async fn put_text(
        &self,
        node: Option<&str>,
        text: &str,
        (by, note): (String, String),
    ) -> Result<Written, PutError> {
        let key = match node {
            None => self.keys.text(Layer::Fleet),
            Some(node) => self.keys.text_of(node),
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default();
        let entry = Entry {
            revision: 0,
            node: node.map(str::to_owned),
            at: now.as_secs(),
            by,
            note,
            text: text.to_owned(),
        };
        let entry = serde_json::to_vec(&entry).unwrap_or_default();
        let history = self.keys.history_entry(now.as_micros());
        let before = self.client.get(&key).await?;
        let before = before.kvs.first().map_or(0, |found| found.mod_revision);
        let compare = vec![Compare::written_by(&key, before)];
        let write = vec![Op::put(&key, text.as_bytes()), Op::put(&history, &entry)];
        let done = self.client.transact(compare, write).await?;
        let revision = if done.succeeded {
            done.header.revision
        } else {
            // It may be ours, from a try whose answer was lost.
            let ours = self.client.get(&history).await?;
            let ours = ours.kvs.first().filter(|found| found.value == entry);
            ours.ok_or(PutError::Overtaken)?.mod_revision
        };
        self.prune().await;
        let is_ours = node.is_none_or(|node| node == self.keys.node());
        let is_judged = is_ours && self.wait_for(revision).await;
        Ok(Written {
            revision,
            is_judged,
        })
    }

    /// What was put before, the latest first.
    ///
    /// # Errors
    /// [`EtcdError`].
    pub(crate) async fn history(&self) -> Result<Vec<Entry>, EtcdError> {
        let found = self.client.list(&self.keys.history()).await?;
        let entries = found.kvs.iter().filter_map(|found| {
            let entry: Entry = serde_json::from_slice(&found.value).ok()?;
            let revision = found.mod_revision;
            Some(Entry { revision, ..entry })
        });
        let mut entries: Vec<Entry> = entries.collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.revision));
        Ok(entries)
    }

    /// The entry that `revision` wrote.
    ///
    /// # Errors
    /// [`PutError`].
    pub(crate) async fn entry(&self, revision: u64) -> Result<Entry, PutError> {
        let entries = self.history().await?.into_iter();
        let mut found = entries.filter(|entry| entry.revision == revision);
        found.next().ok_or(PutError::NoSuchRevision(revision))
    }

    /// Removes the oldest entries of the history. What fails is done by the next put.
    async fn prune(&self) {
        let Ok(found) = self.client.list_keys(&self.keys.history()).await else {
            return;
        };
        let extra = found.kvs.len().saturating_sub(MAX_HISTORY);
        let oldest = found.kvs.iter().take(extra).take(MAX_AT_ONCE);
        let delete: Vec<Op> = oldest.map(|found| Op::delete(&found.key)).collect();
        if !delete.is_empty()
            && let Err(error) = self.client.transact(Vec::new(), delete).await
        {
            tracing::warn!(%error, "old entries of the history cannot be removed from etcd");
        }
    }

    /// Waits until the texts of `revision` were judged here. Returns whether they were.
    async fn wait_for(&self, revision: u64) -> bool {
        let mut judged = self.judged.subscribe();
        let arrived = judged.wait_for(|judged| *judged >= revision);
        timeout(PATIENCE, arrived).await.is_ok()
    }
}

/// Whether a handle is there, for operations that need one.
pub(crate) fn needed(handle: Option<&Arc<FleetHandle>>) -> Result<&Arc<FleetHandle>, &'static str> {
    handle.ok_or("this node has no fleet; write `[etcd]` in its configuration file and restart")
}

/// Entries of the history that are kept.
const MAX_HISTORY: usize = 50;
/// Operations of one transaction, far below etcd's limit of 128.
const MAX_AT_ONCE: usize = 50;
/// How long a put waits for this node.
const PATIENCE: Duration = Duration::from_secs(5);
