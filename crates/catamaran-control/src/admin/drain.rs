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
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The drains that have a deadline: of each server only the last may end anything.
#[derive(Debug, Default)]
pub(crate) struct Drains(Mutex<Running>);

#[derive(Debug, Default)]
struct Running {
    /// Drains with a deadline so far.
    count: u64,
    /// The number of the last of each server, by backend and server.
    last: HashMap<(Name, Name), u64>,
}

impl Drains {
    /// Begins one of this server in place of the last. Returns its number.
    pub(crate) fn begin(&self, backend: &Name, server: &Name) -> u64 {
        let mut running = self.lock();
        running.count += 1;
        let number = running.count;
        let of = (backend.clone(), server.clone());
        running.last.insert(of, number);
        number
    }

    /// Ends that of this server, if there is one: somebody wants something else of it.
    pub(crate) fn end(&self, backend: &Name, server: &Name) {
        self.lock().last.remove(&(backend.clone(), server.clone()));
    }

    fn is_last(&self, backend: &Name, server: &Name, number: u64) -> bool {
        let of = (backend.clone(), server.clone());
        self.lock().last.get(&of) == Some(&number)
    }

    fn lock(&self) -> MutexGuard<'_, Running> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
            return plane.drains.end(&backend, &server);
        };
        if left.in_flight == 0 {
            break "drained".to_owned();
        }
        if Instant::now() >= until {
            let _ = plane.shared.end_server(&backend, &server);
            break format!("drained; {} in flight were ended", left.in_flight);
        }
    };
    plane.drains.end(&backend, &server);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_drain_of_a_server_may_end_anything_and_none_is_remembered() {
        let drains = Drains::default();
        let (app, a, b) = ("app".into(), "a".into(), "b".into());
        let (first, other) = (drains.begin(&app, &a), drains.begin(&app, &b));
        let second = drains.begin(&app, &a);
        assert!(!drains.is_last(&app, &a, first));
        assert!(drains.is_last(&app, &a, second) && drains.is_last(&app, &b, other));
        drains.end(&app, &a);
        assert!(!drains.is_last(&app, &a, second));
        // The number of one that has ended comes never again.
        let third = drains.begin(&app, &a);
        assert!(third != second && !drains.is_last(&app, &a, second));
        drains.end(&app, &a);
        drains.end(&app, &b);
        assert!(drains.lock().last.is_empty());
    }
}
