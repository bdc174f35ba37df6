//! The embedded store over HTTP, so that several replicas share it: both ends.
//!
//! One resource, `POST /call`, with the operation in the body. It is for a network of one's own:
//! there is no authentication, and the form may change with every version.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::{DefaultBodyLimit, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout_at};
use uuid::Uuid;

use super::{Create, Created, Outcome, Settled, Store, StoreError, Term};
use crate::alert::{Alert, Moment};

/// An operation on its way.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Call {
    Create(Box<Create>),
    Get {
        id: Uuid,
    },
    List {
        after: Option<Uuid>,
        limit: usize,
    },
    Delete {
        id: Uuid,
    },
    Lead {
        candidate: String,
    },
    Resign {
        term: Term,
    },
    Due {
        now: Moment,
        limit: usize,
    },
    Settle {
        term: Term,
        id: Uuid,
        outcome: Outcome,
    },
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Created(Box<Created>),
    Alert(Option<Box<Alert>>),
    Alerts(Vec<Alert>),
    Done,
    Term(Option<Term>),
    Settled(Settled),
    Unavailable(String),
    Full(String),
    Broken(String),
}

impl From<StoreError> for Answer {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(cause) => Self::Unavailable(cause),
            StoreError::Full(cause) => Self::Full(cause),
            StoreError::Broken(cause) => Self::Broken(cause),
        }
    }
}

/// Serves a store to [`Remote`]s; `/health` says that it runs.
pub fn router(store: Arc<dyn Store>) -> Router {
    Router::new()
        .route("/call", post(answer))
        .route("/health", get(async || "ok\n"))
        .layer(DefaultBodyLimit::max(MAX_CALL_BYTES))
        .with_state(store)
}

async fn answer(State(store): State<Arc<dyn Store>>, Json(call): Json<Call>) -> Json<Answer> {
    Json(perform(&*store, call).await.unwrap_or_else(Answer::from))
}

async fn perform(store: &dyn Store, call: Call) -> Result<Answer, StoreError> {
    Ok(match call {
        Call::Create(new) => Answer::Created(Box::new(store.create(*new).await?)),
        Call::Get { id } => Answer::Alert(store.get(id).await?.map(Box::new)),
        Call::List { after, limit } => {
            Answer::Alerts(store.list(after, limit.min(MAX_ALERTS)).await?)
        }
        Call::Delete { id } => {
            store.delete(id).await?;
            Answer::Done
        }
        Call::Lead { candidate } => Answer::Term(store.lead(&candidate).await?),
        Call::Resign { term } => {
            store.resign(term).await?;
            Answer::Done
        }
        Call::Due { now, limit } => Answer::Alerts(store.due(now, limit.min(MAX_ALERTS)).await?),
        Call::Settle { term, id, outcome } => {
            Answer::Settled(store.settle(term, id, outcome).await?)
        }
    })
}

/// A store behind a store server.
#[derive(Debug)]
pub struct Remote {
    url: String,
    client: reqwest::Client,
    patience: Duration,
}

impl Remote {
    /// A store at `http://host:port`. An operation is tried for this long.
    pub fn new(url: &str, patience: Duration) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(TRY)
            .timeout(TRY)
            .tcp_nodelay(true)
            .build()?;
        Ok(Self {
            url: format!("{url}/call"),
            client,
            patience,
        })
    }

    /// Has an operation done, and again until it has an answer: all may be done twice.
    async fn call(&self, call: Call) -> Result<Answer, StoreError> {
        let deadline = Instant::now() + self.patience;
        loop {
            let answer = timeout_at(deadline, self.try_call(&call)).await;
            let cause = match answer {
                Ok(Ok(Answer::Full(cause))) => return Err(StoreError::Full(cause)),
                Ok(Ok(Answer::Broken(cause))) => return Err(StoreError::Broken(cause)),
                Ok(Ok(Answer::Unavailable(cause))) => cause,
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => error.to_string(),
                Err(_elapsed) => format!("no answer within {:?}", self.patience),
            };
            if Instant::now() + PAUSE >= deadline {
                return Err(StoreError::Unavailable(cause));
            }
            sleep(PAUSE).await;
        }
    }

    async fn try_call(&self, call: &Call) -> reqwest::Result<Answer> {
        let request = self.client.post(&self.url).json(call);
        request.send().await?.error_for_status()?.json().await
    }
}

/// What a server says that answers another question.
fn unexpected<T>(answer: &Answer) -> Result<T, StoreError> {
    Err(StoreError::Broken(format!("{answer:?}")))
}

#[async_trait]
impl Store for Remote {
    async fn create(&self, new: Create) -> Result<Created, StoreError> {
        match self.call(Call::Create(Box::new(new))).await? {
            Answer::Created(created) => Ok(*created),
            other => unexpected(&other),
        }
    }

    async fn get(&self, id: Uuid) -> Result<Option<Alert>, StoreError> {
        match self.call(Call::Get { id }).await? {
            Answer::Alert(alert) => Ok(alert.map(|alert| *alert)),
            other => unexpected(&other),
        }
    }

    async fn list(&self, after: Option<Uuid>, limit: usize) -> Result<Vec<Alert>, StoreError> {
        match self.call(Call::List { after, limit }).await? {
            Answer::Alerts(alerts) => Ok(alerts),
            other => unexpected(&other),
        }
    }

    async fn delete(&self, id: Uuid) -> Result<(), StoreError> {
        match self.call(Call::Delete { id }).await? {
            Answer::Done => Ok(()),
            other => unexpected(&other),
        }
    }

    async fn lead(&self, candidate: &str) -> Result<Option<Term>, StoreError> {
        let candidate = candidate.to_owned();
        match self.call(Call::Lead { candidate }).await? {
            Answer::Term(term) => Ok(term),
            other => unexpected(&other),
        }
    }

    async fn resign(&self, term: Term) -> Result<(), StoreError> {
        match self.call(Call::Resign { term }).await? {
            Answer::Done => Ok(()),
            other => unexpected(&other),
        }
    }

    async fn due(&self, now: Moment, limit: usize) -> Result<Vec<Alert>, StoreError> {
        match self.call(Call::Due { now, limit }).await? {
            Answer::Alerts(alerts) => Ok(alerts),
            other => unexpected(&other),
        }
    }

    async fn settle(&self, term: Term, id: Uuid, outcome: Outcome) -> Result<Settled, StoreError> {
        match self.call(Call::Settle { term, id, outcome }).await? {
            Answer::Settled(settled) => Ok(settled),
            other => unexpected(&other),
        }
    }
}

/// Longest time of one try. A restart of the server costs one try and a pause.
const TRY: Duration = Duration::from_secs(2);
/// Time between tries.
const PAUSE: Duration = Duration::from_millis(50);
/// An alert has 16 KiB at most; a call has one, in JSON.
const MAX_CALL_BYTES: usize = 64 * 1024;
/// Alerts in one answer.
const MAX_ALERTS: usize = 1000;
