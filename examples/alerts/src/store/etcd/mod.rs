//! The store on etcd: any number of replicas, any node down.
//!
//! ```text
//!   alerts/ID            the record, JSON
//!   due/SECONDS/ID       empty; sorted by when the mail goes out
//!   keys/KEY             the alert that the key created; removed by its lease
//!   leader               who mails; its create revision is the term
//! ```
//! Each key stands behind the prefix. A record and its entry under `due/` change in one
//! transaction, so neither is ever without the other. Every write of the mail job compares the
//! create revision of `leader` in its transaction: a replica that lost the job cannot write, even
//! if it has not found out.
//!
//! Reads are linearizable: what one replica has written every other one reads. Without a majority
//! of nodes there are neither reads nor writes.

mod message;
mod nodes;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use uuid::Uuid;

use self::message::{
    Compare, KeyValue, LeaseGrantRequest, LeaseGrantResponse, LeaseKeepAliveRequest,
    LeaseKeepAliveResponse, LeaseRevokeRequest, LeaseRevokeResponse, RangeRequest, RangeResponse,
    RequestOp, ResponseOp, TxnRequest, TxnResponse,
};
use self::nodes::{Method, Nodes};
use super::{Create, Created, Outcome, Record, Settled, Store, StoreError, TERM, Term};
use crate::alert::{Alert, Moment};

/// A store on an etcd cluster.
#[derive(Debug)]
pub struct Etcd {
    nodes: Nodes,
    prefix: String,
    keys_for: Duration,
    /// The lease that new keys are put under.
    key_lease: Mutex<Option<KeyLease>>,
    /// The lease of the term that this replica has, or had last.
    term_lease: Mutex<Option<(Term, i64)>>,
}

/// Keys share leases: one for each key would be as many as there are alerts.
#[derive(Clone, Copy, Debug)]
struct KeyLease {
    id: i64,
    granted: Instant,
}

impl Etcd {
    /// A store on these nodes, each `host:port`, with every key behind the prefix.
    ///
    /// An operation is tried for `patience`; idempotency keys are remembered for `keys_for` at
    /// least, and twice that at most.
    pub fn new(
        nodes: &[String],
        prefix: &str,
        patience: Duration,
        keys_for: Duration,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            nodes: Nodes::new(nodes, patience)?,
            prefix: prefix.to_owned(),
            keys_for,
            key_lease: Mutex::new(None),
            term_lease: Mutex::new(None),
        })
    }

    fn alert_key(&self, id: Uuid) -> String {
        format!("{}alerts/{id}", self.prefix)
    }

    /// Sorts by date; what was due before 1970 is due with the rest of that time.
    fn due_key(&self, due: Moment, id: Uuid) -> String {
        format!("{}due/{:012}/{id}", self.prefix, due.seconds().max(0))
    }

    fn leader_key(&self) -> String {
        format!("{}leader", self.prefix)
    }

    async fn find(&self, key: &str) -> Result<Option<KeyValue>, StoreError> {
        let key = key.into();
        let request = RangeRequest {
            key,
            ..RangeRequest::default()
        };
        let found: RangeResponse = self.nodes.call(Method::Range, request).await?;
        Ok(found.kvs.into_iter().next())
    }

    async fn range(
        &self,
        from: String,
        to: String,
        limit: usize,
    ) -> Result<Vec<KeyValue>, StoreError> {
        let request = RangeRequest {
            key: from.into(),
            range_end: to.into(),
            limit: i64::try_from(limit).unwrap_or(i64::MAX),
        };
        let found: RangeResponse = self.nodes.call(Method::Range, request).await?;
        Ok(found.kvs)
    }

    async fn transact(
        &self,
        compare: Vec<Compare>,
        success: Vec<RequestOp>,
        failure: Vec<RequestOp>,
    ) -> Result<TxnResponse, StoreError> {
        let request = TxnRequest {
            compare,
            success,
            failure,
        };
        self.nodes.call(Method::Txn, request).await
    }

    /// Grants a lease.
    async fn grant(&self, time: Duration) -> Result<i64, StoreError> {
        let ttl = i64::try_from(time.as_secs().max(1)).unwrap_or(i64::MAX);
        let request = LeaseGrantRequest { ttl };
        // A grant that was done twice leaves a lease that nobody uses and that ends by itself.
        let lease: LeaseGrantResponse = self.nodes.call(Method::LeaseGrant, request).await?;
        Ok(lease.id)
    }

    /// A lease that lasts at least `keys_for` more.
    async fn key_lease(&self) -> Result<i64, StoreError> {
        let kept = *self.kept_key_lease();
        if let Some(lease) = kept
            && lease.granted.elapsed() < self.keys_for
        {
            return Ok(lease.id);
        }
        let granted = Instant::now();
        let id = self.grant(self.keys_for.saturating_mul(2)).await?;
        *self.kept_key_lease() = Some(KeyLease { id, granted });
        Ok(id)
    }

    fn kept_key_lease(&self) -> std::sync::MutexGuard<'_, Option<KeyLease>> {
        self.key_lease
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn term_lease(&self) -> std::sync::MutexGuard<'_, Option<(Term, i64)>> {
        self.term_lease
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The transaction of a create.
    async fn try_create(&self, new: &Create) -> Result<TxnResponse, StoreError> {
        let record = Record::new(new.alert.clone());
        let alert_key = self.alert_key(new.alert.id);
        let mut absent = vec![Compare::absent(&alert_key)];
        let mut write = vec![RequestOp::put(&alert_key, record.to_json(), 0)];
        let mut read = vec![RequestOp::get(&alert_key)];
        if let Some(due) = record.due {
            let due = self.due_key(due, new.alert.id);
            write.push(RequestOp::put(&due, Vec::new(), 0));
        }
        if let Some(key) = &new.key {
            let key = format!("{}keys/{key}", self.prefix);
            absent.push(Compare::absent(&key));
            read.push(RequestOp::get(&key));
            let lease = self.key_lease().await?;
            write.push(RequestOp::put(&key, record.to_json(), lease));
        }
        self.transact(absent, write, read).await
    }

    /// Takes the job if nobody has it.
    async fn campaign(&self, candidate: &str) -> Result<Option<Term>, StoreError> {
        let leader = self.leader_key();
        // A look costs less than a lease that is not needed.
        if let Some(other) = self.find(&leader).await?
            && other.value != candidate.as_bytes()
        {
            return Ok(None);
        }
        let lease = self.grant(TERM).await?;
        let put = RequestOp::put(&leader, candidate.into(), lease);
        let done = self
            .transact(
                vec![Compare::absent(&leader)],
                vec![put],
                vec![RequestOp::get(&leader)],
            )
            .await?;
        let term = if done.succeeded {
            done.header.map(|header| Term(header.revision))
        } else {
            // It may be there from this very call, whose first try was done without an answer:
            // then it is under this lease. One under an older lease of ours ends by itself.
            let held = done.responses.first().and_then(ResponseOp::found);
            held.filter(|held| held.value == candidate.as_bytes() && held.lease == lease)
                .map(|held| Term(held.create_revision))
        };
        if let Some(term) = term {
            *self.term_lease() = Some((term, lease));
        }
        Ok(term)
    }
}

#[async_trait]
impl Store for Etcd {
    async fn create(&self, new: Create) -> Result<Created, StoreError> {
        let mut done = self.try_create(&new).await;
        if matches!(&done, Err(StoreError::Broken(cause)) if cause.contains("lease not found")) {
            // The cluster was restored from a copy, say. With a new lease it goes.
            *self.kept_key_lease() = None;
            done = self.try_create(&new).await;
        }
        let done = done?;
        if done.succeeded {
            return Ok(Created::Alert(new.alert));
        }
        // The key first: it is what the client asks by.
        let [alert, key] = [0, 1].map(|at| done.responses.get(at).and_then(ResponseOp::found));
        if let Some(before) = key {
            let before = Record::from_json(&before.value)?.alert;
            return Ok(if before.content == new.alert.content {
                Created::Alert(before)
            } else {
                Created::KeyReused
            });
        }
        match alert {
            // Nobody else takes this name: it is this create, whose first try had no answer.
            Some(_) => Ok(Created::Alert(new.alert)),
            None => Err(StoreError::Broken(
                "a key vanished while it was read".to_owned(),
            )),
        }
    }

    async fn get(&self, id: Uuid) -> Result<Option<Alert>, StoreError> {
        let found = self.find(&self.alert_key(id)).await?;
        found
            .map(|found| Ok(Record::from_json(&found.value)?.alert))
            .transpose()
    }

    async fn list(&self, after: Option<Uuid>, limit: usize) -> Result<Vec<Alert>, StoreError> {
        let first = after.map_or_else(
            || format!("{}alerts/", self.prefix),
            // The next key there can be.
            |after| format!("{}\0", self.alert_key(after)),
        );
        // `0` is the character behind `/`.
        let end = format!("{}alerts0", self.prefix);
        let page = self.range(first, end, limit).await?;
        page.iter()
            .map(|found| Ok(Record::from_json(&found.value)?.alert))
            .collect()
    }

    async fn delete(&self, id: Uuid) -> Result<(), StoreError> {
        let key = self.alert_key(id);
        for _ in 0..MAX_CONFLICTS {
            let Some(found) = self.find(&key).await? else {
                return Ok(());
            };
            let mut remove = vec![RequestOp::delete(&key)];
            if let Some(due) = Record::from_json(&found.value)?.due {
                remove.push(RequestOp::delete(&self.due_key(due, id)));
            }
            let unchanged = vec![Compare::changed_by(&key, found.mod_revision)];
            if self
                .transact(unchanged, remove, Vec::new())
                .await?
                .succeeded
            {
                return Ok(());
            }
        }
        Err(StoreError::Unavailable(CONFLICTS.to_owned()))
    }

    async fn lead(&self, candidate: &str) -> Result<Option<Term>, StoreError> {
        let kept = *self.term_lease();
        if let Some((term, id)) = kept {
            let request = LeaseKeepAliveRequest { id };
            let lease: LeaseKeepAliveResponse =
                self.nodes.call(Method::LeaseKeepAlive, request).await?;
            if lease.ttl > 0 {
                return Ok(Some(term));
            }
            self.term_lease().take();
        }
        self.campaign(candidate).await
    }

    async fn resign(&self, term: Term) -> Result<(), StoreError> {
        let kept = self.term_lease().take_if(|kept| kept.0 == term);
        if let Some((_, id)) = kept {
            let request = LeaseRevokeRequest { id };
            let _: LeaseRevokeResponse = self.nodes.call(Method::LeaseRevoke, request).await?;
        }
        Ok(())
    }

    async fn due(&self, now: Moment, limit: usize) -> Result<Vec<Alert>, StoreError> {
        let first = format!("{}due/", self.prefix);
        let end = format!("{}due/{:012}", self.prefix, now.seconds().max(0) + 1);
        // More would be too much for one transaction.
        let limit = limit.min(MAX_OPERATIONS);
        let mut read = Vec::new();
        for entry in self.range(first, end, limit).await? {
            let key = String::from_utf8_lossy(&entry.key);
            let id = key.rsplit('/').next().and_then(|id| id.parse().ok());
            let id = id.ok_or_else(|| StoreError::Broken(format!("`{key}` names no alert")))?;
            read.push(RequestOp::get(&self.alert_key(id)));
        }
        if read.is_empty() {
            return Ok(Vec::new());
        }
        let alerts = self.transact(Vec::new(), read, Vec::new()).await?;
        // One that is deleted since is not due any more.
        let alerts = alerts.responses.iter().filter_map(ResponseOp::found);
        alerts
            .map(|found| Ok(Record::from_json(&found.value)?.alert))
            .collect()
    }

    async fn settle(&self, term: Term, id: Uuid, outcome: Outcome) -> Result<Settled, StoreError> {
        let (key, leader) = (self.alert_key(id), self.leader_key());
        for _ in 0..MAX_CONFLICTS {
            let Some(found) = self.find(&key).await? else {
                return Ok(Settled::Done);
            };
            let before = Record::from_json(&found.value)?;
            let Some(due) = before.due else {
                return Ok(Settled::Done);
            };
            let after = before.settled(outcome);
            let mut write = vec![RequestOp::put(&key, after.to_json(), 0)];
            let old = self.due_key(due, id);
            let new = after.due.map(|due| self.due_key(due, id));
            // etcd refuses to touch a key twice in one transaction.
            if new.as_ref() != Some(&old) {
                write.push(RequestOp::delete(&old));
                write.extend(new.map(|new| RequestOp::put(&new, Vec::new(), 0)));
            }
            let unchanged = vec![
                Compare::created_by(&leader, term.0),
                Compare::changed_by(&key, found.mod_revision),
            ];
            let done = self
                .transact(unchanged, write, vec![RequestOp::get(&leader)])
                .await?;
            if done.succeeded {
                return Ok(Settled::Done);
            }
            let now = done.responses.first().and_then(ResponseOp::found);
            if now.is_none_or(|leader| leader.create_revision != term.0) {
                return Ok(Settled::Fenced);
            }
        }
        Err(StoreError::Unavailable(CONFLICTS.to_owned()))
    }
}

/// How often an alert may change between being read and being written.
const MAX_CONFLICTS: u32 = 10;
/// Operations of one transaction, as etcd's default has it (`--max-txn-ops`), with some to spare.
const MAX_OPERATIONS: usize = 100;
const CONFLICTS: &str = "the alert was changed by others all the time";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_keys_sort_by_date() {
        let nodes = ["127.0.0.1:1".to_owned()];
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let _inside = runtime.enter();
        let etcd = Etcd::new(&nodes, "t/", TERM, TERM).unwrap();
        let key = |date: &str| etcd.due_key(Moment::parse(date).unwrap(), Uuid::nil());
        let dates = [
            "0001-01-01T00:00:00Z",
            "2001-09-09T00:00:00Z",
            "2001-09-10T00:00:00Z",
            "9999-12-31T00:00:00Z",
        ];
        assert!(dates.map(key).is_sorted());
    }
}
