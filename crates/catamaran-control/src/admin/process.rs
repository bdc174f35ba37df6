//! The process as a whole: its log level, its configuration, its end.

use super::error::Refused;
use super::extract::{Asked, Body};
use super::servers::Changed;
use super::{Access, Event, Kept, Kind, Plane, Upgraded};
use axum::Json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// What is logged.
#[derive(Debug, Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogLevel {
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,catamaran_proxy=debug`.
    level: String,
}

/// Nothing more needs to be said.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// Which events.
#[derive(Debug, Deserialize)]
pub(crate) struct After {
    #[serde(default)]
    after: u64,
}

pub(crate) async fn events(
    State(plane): State<Arc<Plane>>,
    Asked(asked): Asked<After>,
) -> Json<Vec<Event>> {
    Json(plane.events.after(asked.after))
}

pub(crate) async fn log_level(State(plane): State<Arc<Plane>>) -> Json<LogLevel> {
    Json(LogLevel {
        level: plane.host.log_level(),
    })
}

pub(crate) async fn set_log_level(
    State(plane): State<Arc<Plane>>,
    Body(new): Body<LogLevel>,
) -> Result<Json<Changed>, Refused> {
    let level = new.level;
    plane.host.set_log_level(&level).map_err(Refused::invalid)?;
    plane
        .events
        .note(Kind::Changed, format!("log level {level}"));
    Ok(Json(Changed {
        kept: Kept::UntilRestart,
    }))
}

pub(crate) async fn drain(
    State(plane): State<Arc<Plane>>,
    Body(Nothing {}): Body<Nothing>,
) -> Json<Changed> {
    let host = Arc::clone(&plane.host);
    tokio::spawn(async move {
        // A process without clients ends at once, and the answer is to come first.
        tokio::time::sleep(DRAIN_PAUSE).await;
        if let Err(error) = host.drain() {
            tracing::error!("{error}");
        }
    });
    Json(Changed {
        kept: Kept::UntilRestart,
    })
}

/// Which binary is to take this one's place.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewBinary {
    /// Its path; unless written, where the present one stands. Only over the unix socket.
    binary: Option<String>,
}

/// Another binary serves, or nobody knows yet.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct Succeeded {
    /// What serves now, in words.
    serves: String,
    /// Whether the upgrade has ended. One that takes longer than an answer may goes on.
    #[serde(rename = "done")]
    is_done: bool,
}

pub(crate) async fn upgrade(
    State(plane): State<Arc<Plane>>,
    access: Option<Extension<Access>>,
    Body(new): Body<NewBinary>,
) -> Result<Json<Succeeded>, Refused> {
    let is_local = matches!(access, Some(Extension(Access::Local)));
    if new.binary.is_some() && !is_local {
        return Err(Refused::new(
            StatusCode::FORBIDDEN,
            "local-only",
            "which binary is executed is said over the unix socket only; leave `binary` out",
        ));
    }
    let outcome = plane.host.upgrade(new.binary.map(PathBuf::from));
    succeeded(outcome, UPGRADE_PATIENCE).await.map(Json)
}

/// How an upgrade ended, if it does within `patience`.
async fn succeeded(
    outcome: oneshot::Receiver<Upgraded>,
    patience: Duration,
) -> Result<Succeeded, Refused> {
    let Ok(outcome) = tokio::time::timeout(patience, outcome).await else {
        return Ok(Succeeded {
            serves: "not known yet: the upgrade goes on, and the log says how it ends".to_owned(),
            is_done: false,
        });
    };
    let ending = || Err("the process is ending".to_owned());
    let serves = outcome.unwrap_or_else(|_| ending());
    let serves = serves.map_err(Refused::conflict)?;
    Ok(Succeeded {
        serves,
        is_done: true,
    })
}

/// How long the answer to a request for an upgrade waits: less than any answer may take, and more than
/// the default of `upgrade-timeout`, which may be a day.
const UPGRADE_PATIENCE: Duration = Duration::from_secs(40);
/// How long the answer to a request to drain has to leave.
const DRAIN_PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_upgrade_that_takes_longer_than_an_answer_may_goes_on() {
        let (sender, outcome) = oneshot::channel();
        let told = succeeded(outcome, Duration::from_millis(10)).await.unwrap();
        assert!(!told.is_done && told.serves.contains("goes on"), "{told:?}");
        drop(sender);
        let (sender, outcome) = oneshot::channel();
        sender.send(Ok("2.0 as process 7".to_owned())).unwrap();
        let told = succeeded(outcome, Duration::from_secs(60)).await.unwrap();
        assert!(told.is_done && told.serves == "2.0 as process 7");
        let (sender, outcome) = oneshot::channel();
        drop(sender);
        assert!(succeeded(outcome, Duration::from_secs(60)).await.is_err());
    }
}
