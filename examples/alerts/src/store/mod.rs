//! Where alerts are kept: one trait, three stores.
//!
//! Every operation may be tried again by whoever is not sure that it was done: a create by the
//! name of its alert, the others because doing them twice is doing them once. That is what lets
//! a store fail over to another node in the middle of an operation.

mod embedded;
mod etcd;
mod remote;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

pub use self::embedded::Embedded;
pub use self::etcd::Etcd;
pub use self::remote::{Remote, router};
use crate::alert::{Alert, Moment};
use crate::args::StoreAddress;

/// Keeps alerts, and knows who mails them.
#[async_trait]
pub trait Store: Send + Sync {
    /// Keeps an alert. With a key that came before, answers what was created then.
    async fn create(&self, new: Create) -> Result<Created, StoreError>;

    /// Returns an alert.
    async fn get(&self, id: Uuid) -> Result<Option<Alert>, StoreError>;

    /// Returns at most `limit` alerts by age, those behind `after`.
    async fn list(&self, after: Option<Uuid>, limit: usize) -> Result<Vec<Alert>, StoreError>;

    /// Sees to it that an alert is no more; that it was there before is not required.
    async fn delete(&self, id: Uuid) -> Result<(), StoreError>;

    /// Takes the mail job, or keeps it. `None`: another candidate has it.
    ///
    /// A term lasts [`TERM`] from the beginning of the last call that gave or kept it, and has a
    /// higher number than every term before. No two candidates have the same name.
    async fn lead(&self, candidate: &str) -> Result<Option<Term>, StoreError>;

    /// Gives the mail job back before its term is over.
    async fn resign(&self, term: Term) -> Result<(), StoreError>;

    /// Returns at most `limit` alerts that are to be mailed at `now`, the oldest first.
    async fn due(&self, now: Moment, limit: usize) -> Result<Vec<Alert>, StoreError>;

    /// Writes what became of an alert's mail, unless the job has gone to another term.
    async fn settle(&self, term: Term, id: Uuid, outcome: Outcome) -> Result<Settled, StoreError>;
}

/// An alert to keep.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Create {
    /// The alert.
    pub alert: Alert,
    /// The client's Idempotency-Key.
    pub key: Option<String>,
}

/// What became of a create.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Created {
    /// The alert as it was created: now, or when the key first came.
    Alert(Alert),
    /// The key came before with something else.
    KeyReused,
}

/// One candidate's time with the mail job. A later one has a higher number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Term(pub i64);

/// What became of a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The relay took it.
    Mailed,
    /// The relay refused it for good.
    Rejected,
    /// The relay refused it for now: it is due again then.
    Postponed(Moment),
}

/// What became of an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settled {
    /// It is written, or the alert is deleted.
    Done,
    /// The term is over: another replica mails now, and nothing was written.
    Fenced,
}

/// Why a store could not do something.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StoreError {
    /// No node answered in time. Whether the operation was done is not known.
    #[error("no answer from the store: {0}")]
    Unavailable(String),
    /// There is no room; nothing was done.
    #[error("the store is full: {0}")]
    Full(String),
    /// What it said makes no sense.
    #[error("unexpected answer of the store: {0}")]
    Broken(String),
}

/// An alert as a store keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    #[serde(flatten)]
    alert: Alert,
    /// When it is to be mailed next; nothing once that is settled. The index of due alerts has
    /// an entry of this moment, written and removed in the same transaction.
    due: Option<Moment>,
}

impl Record {
    const fn new(alert: Alert) -> Self {
        let due = Some(alert.content.notification_date);
        Self { alert, due }
    }

    /// What it is once its mail has this outcome.
    fn settled(&self, outcome: Outcome) -> Self {
        use crate::alert::Status;
        let mut after = self.clone();
        (after.alert.status, after.due) = match outcome {
            Outcome::Mailed => (Status::Mailed, None),
            Outcome::Rejected => (Status::Rejected, None),
            Outcome::Postponed(until) => (Status::Waiting, Some(until)),
        };
        after
    }

    fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a record has text keys only")
    }

    fn from_json(json: &[u8]) -> Result<Self, StoreError> {
        serde_json::from_slice(json).map_err(|error| StoreError::Broken(error.to_string()))
    }
}

/// Opens the store at this address.
///
/// `patience` is how long an operation is tried, `keys_for` how long keys are remembered.
pub fn open(
    address: &StoreAddress,
    patience: Duration,
    keys_for: Duration,
) -> anyhow::Result<Arc<dyn Store>> {
    Ok(match address {
        StoreAddress::File(path) => Arc::new(Embedded::open(path, keys_for)?),
        StoreAddress::Http(url) => Arc::new(Remote::new(url, patience)?),
        StoreAddress::Etcd { nodes, prefix } => {
            Arc::new(Etcd::new(nodes, prefix, patience, keys_for)?)
        }
    })
}

/// How long a candidate has the mail job without keeping it.
///
/// Longer: an orphaned job waits longer for its next replica. Shorter: a busy machine loses it
/// for nothing.
pub const TERM: Duration = Duration::from_secs(6);
