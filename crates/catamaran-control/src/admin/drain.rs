//! Draining a server with a deadline, and a frontend.

use super::error::Refused;
use super::extract::{Body, Named};
use super::process::Nothing;
use super::servers::Changed;
use super::{Kept, Kind, Plane};
use crate::reload::ReloadError;
use axum::Json;
use axum::extract::State;
use catamaran_core::model::Name;
use catamaran_core::nearest::remedy;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Which drain of each server is the last: only that one may end anything.
#[derive(Debug, Default)]
pub(crate) struct Drains(Mutex<HashMap<(Name, Name), u64>>);

impl Drains {
    /// Begins another one of this server, or ends the last. Returns its number.
    pub(crate) fn begin(&self, backend: &Name, server: &Name) -> u64 {
        let mut drains = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let number = drains.entry((backend.clone(), server.clone())).or_default();
        *number += 1;
        *number
    }

    fn is_last(&self, backend: &Name, server: &Name, number: u64) -> bool {
        let drains = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        drains.get(&(backend.clone(), server.clone())) == Some(&number)
    }
}

/// Ends what a server that drains still has after `deadline`, unless it has nothing left before or
/// an operator changes his mind.
pub(crate) async fn end_after(
    plane: Arc<Plane>,
    backend: Name,
    server: Name,
    number: u64,
    deadline: Duration,
) {
    let until = Instant::now() + deadline;
    let told = loop {
        tokio::time::sleep(LOOK).await;
        if !plane.drains.is_last(&backend, &server, number) {
            return;
        }
        // One that is gone has nothing that is ours to end.
        let Ok(left) = plane.shared.left(&backend, &server) else {
            return;
        };
        if left.in_flight == 0 {
            break "drained".to_owned();
        }
        if Instant::now() >= until {
            let _ = plane.shared.end_server(&backend, &server);
            break format!("drained; {} in flight were ended", left.in_flight);
        }
    };
    tracing::info!(%backend, %server, "{told}");
    let (backend, server) = (backend.as_str(), server.as_str());
    plane
        .events
        .note_server(Kind::Changed, backend, server, told);
}

pub(crate) async fn drain_frontend(
    State(plane): State<Arc<Plane>>,
    Named(name): Named<String>,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Json<Changed>, Refused> {
    set(&plane, &name, true).await
}

pub(crate) async fn resume_frontend(
    State(plane): State<Arc<Plane>>,
    Named(name): Named<String>,
    Body(Nothing {}): Body<Nothing>,
) -> Result<Json<Changed>, Refused> {
    set(&plane, &name, false).await
}

async fn set(plane: &Plane, name: &str, is_drained: bool) -> Result<Json<Changed>, Refused> {
    let frontend = Name::new(name);
    let set = plane.reloader.set_drained(&frontend, is_drained).await;
    set.map_err(|error| match error {
        ReloadError::NoFrontend(_) => unknown(plane, name),
        error => Refused::conflict(error.to_string()),
    })?;
    let word = if is_drained { "drained" } else { "resumed" };
    tracing::info!(frontend = name, "{word} by an operator");
    plane
        .events
        .note(Kind::Changed, format!("frontend {name} {word}"));
    Ok(Json(Changed {
        kept: Kept::UntilRestart,
    }))
}

fn unknown(plane: &Plane, name: &str) -> Refused {
    let snapshot = plane.shared.snapshot();
    let frontends = snapshot.frontends.iter();
    let names: Vec<&str> = frontends.map(|f| f.model.name.as_str()).collect();
    let remedy = remedy(name, &names);
    Refused::unknown(format!("unknown frontend `{name}`; {remedy}"))
}

/// How often a drain looks at what is left.
const LOOK: Duration = Duration::from_millis(100);
