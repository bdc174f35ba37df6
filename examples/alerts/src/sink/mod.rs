//! A small SMTP sink for demonstrations and tests: takes every mail, sends none.
//!
//! It keeps the last mails and counts them all by Message-ID, which tells how many came twice.

mod smtp;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

pub use self::smtp::serve;

/// A mail that came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mail {
    /// Who sent it, as the envelope says.
    pub from: String,
    /// Who gets it, as the envelope says.
    pub to: Vec<String>,
    /// Its subject, as written.
    pub subject: String,
    /// Its Message-ID without the angle brackets; empty when it has none.
    pub message_id: String,
    /// All of it, heads and body.
    pub text: String,
}

/// What came so far.
#[derive(Clone, Debug, Default)]
pub struct Mails(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    received: u64,
    last: VecDeque<Mail>,
    /// How often each Message-ID came.
    ids: HashMap<String, u64>,
}

/// What `/mails` says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Mails that came.
    pub received: u64,
    /// Mails with a Message-ID that had not come before.
    pub distinct: u64,
    /// The last mails, the newest first.
    pub mails: Vec<Mail>,
}

#[derive(Debug, Deserialize)]
struct Wanted {
    limit: Option<usize>,
}

impl Mails {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, mail: Mail) {
        let mut kept = self.kept();
        kept.received += 1;
        if kept.ids.len() < MAX_IDS || kept.ids.contains_key(&mail.message_id) {
            *kept.ids.entry(mail.message_id.clone()).or_default() += 1;
        }
        if kept.last.len() == MAX_KEPT {
            kept.last.pop_front();
        }
        kept.last.push_back(mail);
    }

    fn summary(&self, limit: usize) -> Summary {
        let kept = self.kept();
        Summary {
            received: kept.received,
            distinct: kept.ids.len() as u64,
            mails: kept.last.iter().rev().take(limit).cloned().collect(),
        }
    }
}

/// Shows what came: `/mails?limit=N`, and `/mails/counts` with how often each Message-ID came.
pub fn router(mails: Mails) -> Router {
    Router::new()
        .route("/mails", get(show))
        .route("/mails/counts", get(counts))
        .route("/health", get(async || "ok\n"))
        .with_state(mails)
}

async fn show(State(mails): State<Mails>, Query(wanted): Query<Wanted>) -> Json<Summary> {
    Json(mails.summary(wanted.limit.unwrap_or(DEFAULT_LIMIT)))
}

async fn counts(State(mails): State<Mails>) -> Json<HashMap<String, u64>> {
    Json(mails.kept().ids.clone())
}

/// Mails kept at most; the oldest goes first.
const MAX_KEPT: usize = 1000;
/// Message-IDs counted at most; later ones are received and not counted.
const MAX_IDS: usize = 1_000_000;
/// Mails shown when nothing is asked.
const DEFAULT_LIMIT: usize = 20;
