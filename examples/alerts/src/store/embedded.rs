//! The embedded store: a redb file of one process, durable when an operation answers.
//!
//! One thread writes. It takes all writes that wait, does them in one transaction and commits
//! once, so that a disk that syncs slowly slows each write and not their number.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{iter, thread};

use anyhow::Context as _;
use async_trait::async_trait;
use redb::{
    Database, ReadableDatabase as _, ReadableTable, ReadableTableMetadata as _, TableDefinition,
    WriteTransaction,
};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::{Create, Created, Outcome, Record, Settled, Store, StoreError, TERM, Term};
use crate::alert::{Alert, Moment};

/// A store in a file.
#[derive(Debug)]
pub struct Embedded {
    database: Arc<Database>,
    writes: mpsc::Sender<Write>,
    leader: Mutex<Option<Leader>>,
    /// Held while a candidate takes the job, so that two do not take it at once.
    campaign: tokio::sync::Mutex<()>,
}

/// Who has the mail job. Kept in memory: after a restart somebody takes a new term.
#[derive(Debug)]
struct Leader {
    candidate: String,
    term: Term,
    until: Instant,
}

/// A write that waits for its turn, with where its result goes.
#[derive(Debug)]
enum Write {
    Create(Box<Create>, oneshot::Sender<Result<Created, StoreError>>),
    Delete(Uuid, oneshot::Sender<Result<(), StoreError>>),
    Settle(Uuid, Outcome, oneshot::Sender<Result<(), StoreError>>),
    /// Gives the next term.
    Term(oneshot::Sender<Result<Term, StoreError>>),
}

/// What is remembered of an idempotency key.
#[derive(Serialize, Deserialize)]
struct KeyRecord {
    expires: i64,
    alert: Alert,
}

impl Embedded {
    /// Opens the file, or makes it. Only one process can have it open.
    pub fn open(path: &Path, keys_for: Duration) -> anyhow::Result<Self> {
        let cannot = || {
            let path = path.display();
            format!("cannot open the store `{path}`; another process may have it open")
        };
        let database = Arc::new(Database::create(path).with_context(cannot)?);
        let tables = database.begin_write()?;
        Tables::open(&tables)?;
        tables.commit()?;
        let (writes, waiting) = mpsc::channel(MAX_WAITING);
        let writer = Writer {
            database: Arc::clone(&database),
            keys_for,
        };
        thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run(waiting))
            .context("cannot start the thread that writes")?;
        Ok(Self {
            database,
            writes,
            leader: Mutex::new(None),
            campaign: tokio::sync::Mutex::new(()),
        })
    }

    /// Has a write done by the writer.
    async fn write<T>(
        &self,
        write: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Write,
    ) -> Result<T, StoreError> {
        let (reply, result) = oneshot::channel();
        let gone = || StoreError::Unavailable("the thread that writes has ended".to_owned());
        self.writes.send(write(reply)).await.map_err(|_| gone())?;
        result.await.map_err(|_| gone())?
    }

    /// Reads on a thread that may wait for the disk.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Database) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<Result<T, StoreError>, StoreError> {
        let database = Arc::clone(&self.database);
        tokio::task::spawn_blocking(move || read(&database).map_err(failed))
            .await
            .map_err(|error| StoreError::Unavailable(error.to_string()))
    }

    fn leader(&self) -> std::sync::MutexGuard<'_, Option<Leader>> {
        self.leader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the term for the candidate that has it; says who else has the job.
    fn keep(&self, candidate: &str, began: Instant) -> Keep {
        match self.leader().as_mut() {
            Some(leader) if leader.candidate == candidate => {
                leader.until = began + TERM;
                Keep::Kept(leader.term)
            }
            Some(leader) if leader.until > began => Keep::Taken,
            Some(_) | None => Keep::Free,
        }
    }
}

/// What became of keeping the mail job.
enum Keep {
    Kept(Term),
    Taken,
    Free,
}

#[async_trait]
impl Store for Embedded {
    async fn create(&self, new: Create) -> Result<Created, StoreError> {
        self.write(|reply| Write::Create(Box::new(new), reply))
            .await
    }

    async fn get(&self, id: Uuid) -> Result<Option<Alert>, StoreError> {
        let json = self.read(move |database| {
            let alerts = database.begin_read()?.open_table(ALERTS)?;
            Ok(alerts.get(id.as_u128())?.map(|json| json.value().to_vec()))
        });
        json.await??
            .map(|json| Ok(Record::from_json(&json)?.alert))
            .transpose()
    }

    async fn list(&self, after: Option<Uuid>, limit: usize) -> Result<Vec<Alert>, StoreError> {
        let first = after.map_or(0, |after| after.as_u128().saturating_add(1));
        let page = self.read(move |database| {
            let alerts = database.begin_read()?.open_table(ALERTS)?;
            let page = alerts.range(first..)?.take(limit);
            page.map(|entry| Ok(entry?.1.value().to_vec())).collect()
        });
        let page: Vec<Vec<u8>> = page.await??;
        page.iter()
            .map(|json| Ok(Record::from_json(json)?.alert))
            .collect()
    }

    async fn delete(&self, id: Uuid) -> Result<(), StoreError> {
        self.write(|reply| Write::Delete(id, reply)).await
    }

    async fn lead(&self, candidate: &str) -> Result<Option<Term>, StoreError> {
        let _alone = self.campaign.lock().await;
        let began = Instant::now();
        match self.keep(candidate, began) {
            Keep::Kept(term) => return Ok(Some(term)),
            Keep::Taken => return Ok(None),
            Keep::Free => {}
        }
        let term = self.write(Write::Term).await?;
        *self.leader() = Some(Leader {
            candidate: candidate.to_owned(),
            term,
            until: began + TERM,
        });
        Ok(Some(term))
    }

    async fn resign(&self, term: Term) -> Result<(), StoreError> {
        self.leader().take_if(|leader| leader.term == term);
        Ok(())
    }

    async fn due(&self, now: Moment, limit: usize) -> Result<Vec<Alert>, StoreError> {
        let due = self.read(move |database| {
            let reading = database.begin_read()?;
            let (alerts, due) = (reading.open_table(ALERTS)?, reading.open_table(DUE)?);
            let mut found = Vec::new();
            for entry in due.range(..=(now.seconds(), u128::MAX))?.take(limit) {
                let (_, id) = entry?.0.value();
                found.extend(alerts.get(id)?.map(|json| json.value().to_vec()));
            }
            Ok(found)
        });
        let due = due.await??;
        due.iter()
            .map(|json| Ok(Record::from_json(json)?.alert))
            .collect()
    }

    async fn settle(&self, term: Term, id: Uuid, outcome: Outcome) -> Result<Settled, StoreError> {
        if self
            .leader()
            .as_ref()
            .is_none_or(|leader| leader.term != term)
        {
            return Ok(Settled::Fenced);
        }
        // A term that ends between the look above and the write below does no harm here: what is
        // written is that the relay took the mail, which is true whoever has the job.
        self.write(|reply| Write::Settle(id, outcome, reply))
            .await?;
        Ok(Settled::Done)
    }
}

/// The thread that writes.
struct Writer {
    database: Arc<Database>,
    keys_for: Duration,
}

impl Writer {
    fn run(&self, mut waiting: mpsc::Receiver<Write>) {
        while let Some(first) = waiting.blocking_recv() {
            let more = iter::from_fn(|| waiting.try_recv().ok());
            let batch: Vec<_> = iter::once(first).chain(more).take(MAX_BATCH).collect();
            self.write(batch);
        }
    }

    /// Does all writes of a batch, commits, and only then answers.
    fn write(&self, batch: Vec<Write>) {
        let done = self.try_write(&batch);
        match done {
            Ok(done) => {
                for (write, result) in batch.into_iter().zip(done) {
                    write.answer(result);
                }
            }
            Err(error) => {
                let error = failed(error);
                for write in batch {
                    write.fail(error.clone());
                }
            }
        }
    }

    fn try_write(&self, batch: &[Write]) -> Result<Vec<Done>, redb::Error> {
        let transaction = self.database.begin_write()?;
        let mut done = Vec::with_capacity(batch.len());
        {
            let mut tables = Tables::open(&transaction)?;
            let now = Moment::now().seconds();
            tables.forget_keys(now)?;
            for write in batch {
                done.push(match write {
                    Write::Create(new, _) => {
                        let keys_for = i64::try_from(self.keys_for.as_secs()).unwrap_or(i64::MAX);
                        Done::Created(tables.create(new, now.saturating_add(keys_for))?)
                    }
                    Write::Delete(id, _) => Done::Nothing(tables.delete(*id)?),
                    Write::Settle(id, outcome, _) => Done::Nothing(tables.settle(*id, *outcome)?),
                    Write::Term(_) => Done::Term(tables.next_term()?),
                });
            }
        }
        transaction.commit()?;
        Ok(done)
    }
}

/// The result of one write, of the same kind as the write.
enum Done {
    Created(Result<Created, StoreError>),
    Nothing(Result<(), StoreError>),
    Term(Term),
}

impl Write {
    fn answer(self, done: Done) {
        // Whoever asked may have left since; the write is done all the same.
        match (self, done) {
            (Self::Create(_, reply), Done::Created(result)) => drop(reply.send(result)),
            (Self::Delete(_, reply) | Self::Settle(_, _, reply), Done::Nothing(result)) => {
                drop(reply.send(result));
            }
            (Self::Term(reply), Done::Term(term)) => drop(reply.send(Ok(term))),
            (write, _) => write.fail(StoreError::Broken("results out of order".to_owned())),
        }
    }

    fn fail(self, error: StoreError) {
        match self {
            Self::Create(_, reply) => drop(reply.send(Err(error))),
            Self::Delete(_, reply) | Self::Settle(_, _, reply) => drop(reply.send(Err(error))),
            Self::Term(reply) => drop(reply.send(Err(error))),
        }
    }
}

/// The tables of a transaction that writes.
struct Tables<'t> {
    alerts: redb::Table<'t, u128, &'static [u8]>,
    due: redb::Table<'t, (i64, u128), ()>,
    keys: redb::Table<'t, &'static str, &'static [u8]>,
    key_expiry: redb::Table<'t, (i64, &'static str), ()>,
    terms: redb::Table<'t, (), i64>,
}

impl<'t> Tables<'t> {
    fn open(transaction: &'t WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            alerts: transaction.open_table(ALERTS)?,
            due: transaction.open_table(DUE)?,
            keys: transaction.open_table(KEYS)?,
            key_expiry: transaction.open_table(KEY_EXPIRY)?,
            terms: transaction.open_table(TERMS)?,
        })
    }

    fn create(
        &mut self,
        new: &Create,
        expires: i64,
    ) -> Result<Result<Created, StoreError>, redb::Error> {
        let alert = &new.alert;
        if let Some(key) = &new.key {
            let before = self.keys.get(key.as_str())?;
            if let Some(before) = before.map(|json| json.value().to_vec()) {
                return Ok(match serde_json::from_slice::<KeyRecord>(&before) {
                    Ok(before) if before.alert.content == alert.content => {
                        Ok(Created::Alert(before.alert))
                    }
                    Ok(_) => Ok(Created::KeyReused),
                    Err(error) => Err(StoreError::Broken(error.to_string())),
                });
            }
        }
        if self.alerts.get(alert.id.as_u128())?.is_some() {
            return Ok(Ok(Created::Alert(alert.clone())));
        }
        self.put(&Record::new(alert.clone()))?;
        if let Some(key) = &new.key {
            let alert = alert.clone();
            let json = serde_json::to_vec(&KeyRecord { expires, alert });
            let json = json.expect("a record has text keys only");
            self.keys.insert(key.as_str(), json.as_slice())?;
            self.key_expiry.insert((expires, key.as_str()), ())?;
        }
        Ok(Ok(Created::Alert(alert.clone())))
    }

    fn delete(&mut self, id: Uuid) -> Result<Result<(), StoreError>, redb::Error> {
        let before = self.alerts.remove(id.as_u128())?;
        let Some(before) = before.map(|json| json.value().to_vec()) else {
            return Ok(Ok(()));
        };
        Ok(match Record::from_json(&before) {
            Ok(before) => Ok(self.remove_due(&before)?),
            Err(error) => Err(error),
        })
    }

    fn settle(
        &mut self,
        id: Uuid,
        outcome: Outcome,
    ) -> Result<Result<(), StoreError>, redb::Error> {
        let before = self.alerts.get(id.as_u128())?;
        let Some(before) = before.map(|json| json.value().to_vec()) else {
            return Ok(Ok(()));
        };
        let before = match Record::from_json(&before) {
            Ok(before) => before,
            Err(error) => return Ok(Err(error)),
        };
        if before.due.is_some() {
            self.remove_due(&before)?;
            self.put(&before.settled(outcome))?;
        }
        Ok(Ok(()))
    }

    /// Writes a record and its entry in the index of due alerts.
    fn put(&mut self, record: &Record) -> Result<(), redb::Error> {
        let id = record.alert.id.as_u128();
        self.alerts.insert(id, record.to_json().as_slice())?;
        if let Some(due) = record.due {
            self.due.insert((due.seconds(), id), ())?;
        }
        Ok(())
    }

    fn remove_due(&mut self, record: &Record) -> Result<(), redb::Error> {
        if let Some(due) = record.due {
            let id = record.alert.id.as_u128();
            self.due.remove((due.seconds(), id))?;
        }
        Ok(())
    }

    /// Removes keys whose time is over, and the oldest of too many.
    fn forget_keys(&mut self, now: i64) -> Result<(), redb::Error> {
        loop {
            let too_many = self.keys.len()? > MAX_KEYS;
            let oldest = self.key_expiry.first()?.map(|(entry, _)| {
                let (expires, key) = entry.value();
                (expires, key.to_owned())
            });
            let Some((expires, key)) = oldest else {
                return Ok(());
            };
            if expires > now && !too_many {
                return Ok(());
            }
            self.keys.remove(key.as_str())?;
            self.key_expiry.remove((expires, key.as_str()))?;
        }
    }

    fn next_term(&mut self) -> Result<Term, redb::Error> {
        let last = self.terms.get(())?.map_or(0, |term| term.value());
        self.terms.insert((), last + 1)?;
        Ok(Term(last + 1))
    }
}

/// Says what an error of the file means.
fn failed(error: redb::Error) -> StoreError {
    match error {
        redb::Error::Io(cause) if cause.kind() == std::io::ErrorKind::StorageFull => {
            StoreError::Full(cause.to_string())
        }
        other => StoreError::Unavailable(other.to_string()),
    }
}

const ALERTS: TableDefinition<'_, u128, &[u8]> = TableDefinition::new("alerts");
/// Alerts to be mailed, by when.
const DUE: TableDefinition<'_, (i64, u128), ()> = TableDefinition::new("due");
const KEYS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("keys");
const KEY_EXPIRY: TableDefinition<'_, (i64, &str), ()> = TableDefinition::new("key-expiry");
const TERMS: TableDefinition<'_, (), i64> = TableDefinition::new("terms");
/// Writes that wait; more wait with their requests.
const MAX_WAITING: usize = 1024;
/// Writes of one commit.
const MAX_BATCH: usize = 256;
/// Idempotency keys remembered at most; beyond that the oldest is forgotten early.
const MAX_KEYS: u64 = 1_000_000;
