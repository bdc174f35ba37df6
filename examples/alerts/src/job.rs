//! The mail job: one replica at a time mails the alerts that are due.
//!
//! ```text
//!   take or keep the term ─► read due alerts ─► mail each ─► settle each under the term ─┐
//!        ▲                                                                                │
//!        └────────────────────────────────────────────────────────────────────────────────┘
//! ```
//! An alert is settled only after the relay took its mail, so none is lost wherever the job stops.
//! A replica that dies between the two leaves a mail that is sent again: as many as are in flight
//! at once ([`AT_ONCE`]) for each death, and none else. In particular no mail is begun that could
//! end after the term, when another replica may have the job.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::alert::{Alert, Moment};
use crate::mail::{Mailer, SEND_TIMEOUT, Sent};
use crate::store::{Outcome, Settled, Store, StoreError, TERM, Term};

/// Mails what is due.
pub struct Job {
    store: Arc<dyn Store>,
    mailer: Mailer,
    /// Names this process and no other, not even one of the same name before it.
    candidate: String,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Job")
            .field("candidate", &self.candidate)
            .finish_non_exhaustive()
    }
}

/// A term, and when it may be over at the earliest.
#[derive(Clone, Copy, Debug)]
struct Held {
    term: Term,
    since: Instant,
}

impl Held {
    /// Whether a mail that is begun now ends within the term.
    fn has_time(self) -> bool {
        self.since.elapsed() + SEND_TIMEOUT < TERM
    }

    /// Whether the term is to be kept before more is done.
    fn is_old(self) -> bool {
        self.since.elapsed() > TERM / 4
    }
}

/// Why a round ended before every due alert was mailed.
enum Pause {
    /// Time to keep the term.
    Renew,
    /// The job went to another replica.
    Fenced,
    /// The relay does not answer.
    NoRelay,
    Store(StoreError),
}

impl Job {
    /// A job of the replica of this name.
    pub fn new(store: Arc<dyn Store>, mailer: Mailer, name: &str) -> Self {
        let candidate = format!("{name} {}", uuid::Uuid::now_v7());
        Self {
            store,
            mailer,
            candidate,
        }
    }

    /// Mails until `stop` changes, and gives the job back then.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut held = None;
        while !*stop.borrow() {
            held = self.round(held, &stop).await;
            // Whoever has the job looks for due alerts, the others whether it is free.
            tokio::select! {
                () = sleep(LOOK) => {}
                _ = stop.changed() => {}
            }
        }
        if let Some(Held { term, .. }) = held
            && let Ok(Err(error)) = timeout(SEND_TIMEOUT, self.store.resign(term)).await
        {
            tracing::warn!(%error, "the mail job could not be given back; another replica takes it when its term ends");
        }
    }

    /// Takes or keeps the job and mails all that is due. Returns the term if it is still ours.
    async fn round(&self, before: Option<Held>, stop: &watch::Receiver<bool>) -> Option<Held> {
        let mut had = before.map(|held| held.term);
        loop {
            let since = Instant::now();
            let term = match self.store.lead(&self.candidate).await {
                Ok(term) => term?,
                Err(error) => {
                    tracing::warn!(%error, "the mail job waits for the store");
                    return before;
                }
            };
            if had != Some(term) {
                tracing::info!(term = term.0, "this replica mails now");
                had = Some(term);
            }
            let held = Held { term, since };
            match self.mail_due(held, stop).await {
                // A relay that does not answer is asked again after a rest, like an empty index.
                Ok(()) | Err(Pause::NoRelay) => return Some(held),
                Err(Pause::Renew) => {}
                Err(Pause::Fenced) => {
                    tracing::warn!(term = term.0, "another replica mails now");
                    return None;
                }
                Err(Pause::Store(error)) => {
                    tracing::warn!(%error, "the mail job waits for the store");
                    return Some(held);
                }
            }
        }
    }

    /// Mails what is due, as long as the term is young.
    async fn mail_due(&self, held: Held, stop: &watch::Receiver<bool>) -> Result<(), Pause> {
        loop {
            let due = self
                .store
                .due(Moment::now(), BATCH)
                .await
                .map_err(Pause::Store)?;
            if due.is_empty() {
                return Ok(());
            }
            let halted = &AtomicBool::new(false);
            let mut mails = stream::iter(due)
                .map(|alert| async move {
                    if halted.load(Ordering::Relaxed) || *stop.borrow() {
                        return Ok(());
                    }
                    let done = self.mail(held, &alert).await;
                    halted.fetch_or(done.is_err(), Ordering::Relaxed);
                    done
                })
                .buffer_unordered(AT_ONCE);
            // All that is begun is ended: a mail whose future is dropped might be sent unsettled.
            let mut pause = None;
            while let Some(done) = mails.next().await {
                pause = done.err().or(pause);
            }
            match pause {
                Some(pause) => return Err(pause),
                None if *stop.borrow() => return Ok(()),
                None => {}
            }
        }
    }

    /// Mails one alert and settles it.
    async fn mail(&self, held: Held, alert: &Alert) -> Result<(), Pause> {
        if held.is_old() || !held.has_time() {
            return Err(Pause::Renew);
        }
        let id = alert.id;
        let outcome = match self.mailer.send(alert).await {
            Sent::Accepted => Outcome::Mailed,
            Sent::Refused(cause) => {
                tracing::warn!(%id, %cause, "the relay refused a mail for good");
                Outcome::Rejected
            }
            Sent::Postponed(cause) => {
                tracing::warn!(%id, %cause, "the relay put a mail off");
                Outcome::Postponed(Moment::now().plus_seconds(POSTPONE_SECONDS))
            }
            Sent::Unreachable(cause) => {
                tracing::warn!(%cause, "the SMTP relay does not answer; see that it runs where --smtp says");
                return Err(Pause::NoRelay);
            }
        };
        match self.store.settle(held.term, id, outcome).await {
            Ok(Settled::Done) => Ok(()),
            Ok(Settled::Fenced) => Err(Pause::Fenced),
            Err(error) => Err(Pause::Store(error)),
        }
    }
}

/// Mails in flight at once: how many may be sent twice when a replica dies.
pub const AT_ONCE: usize = 4;
/// Time between looks for due alerts, and for a free job.
const LOOK: Duration = Duration::from_secs(1);
/// Alerts read at once.
const BATCH: usize = 100;
/// How long a mail waits that the relay put off.
const POSTPONE_SECONDS: u32 = 60;
