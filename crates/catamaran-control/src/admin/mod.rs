//! What an operator sees and changes at run time: the admin API, JSON under `/v1`.
//!
//! It is served on a unix socket that only our own user may open, and over TCP where that is
//! configured; [`guard`] says who may come in. Reading never changes anything: every change is a
//! POST, PUT or DELETE. What belongs to the process around us (its log, its configuration file, its
//! end) is asked of [`Host`].

mod checks;
mod error;
mod events;
mod guard;
mod rates;
mod routes;
mod state;

pub(crate) use checks::Checks;
pub use events::{Event, Events, Kind, MAX_EVENTS};
pub use guard::Access;
pub(crate) use rates::{Rates, SAMPLE_INTERVAL};

use crate::metrics::Readiness;
use crate::{Clock, http};
use catamaran_core::Timestamp;
use catamaran_proxy::Shared;
use schemars::JsonSchema;
use serde::Serialize;
use std::sync::Arc;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

/// The process around the control plane, as the API sees it.
pub trait Host: Send + Sync {
    /// What is logged now.
    fn log_level(&self) -> String;

    /// What is known of the configuration.
    fn config(&self) -> ConfigFacts;
}

/// What is known of the configuration that serves.
#[derive(Clone, Debug, Default, JsonSchema, Serialize)]
pub struct ConfigFacts {
    /// The file, or `the command line`.
    pub source: String,
    /// XXH3-64 of its text in hexadecimal digits: two processes with the same digest serve the same.
    pub digest: String,
    /// 1 at the start; one more with each reload.
    pub generation: u64,
    /// Why the last reload was refused; none if it was not.
    pub last_error: Option<String>,
}

/// Everything that the API reads and steers.
pub(crate) struct Plane {
    pub(crate) shared: Arc<Shared>,
    pub(crate) clock: Clock,
    pub(crate) started: Timestamp,
    pub(crate) readiness: watch::Receiver<Readiness>,
    pub(crate) events: Arc<Events>,
    pub(crate) checks: Arc<Checks>,
    pub(crate) rates: Arc<Rates>,
    pub(crate) host: Arc<dyn Host>,
}

/// Where the API is served.
#[derive(Debug, Default)]
pub struct Doors {
    /// Only our own user may open it.
    pub unix: Option<UnixListener>,
    /// Over TCP, with who may come in.
    pub tcp: Option<(TcpListener, Access)>,
}

/// Serves the API behind all its doors; `pages` are served there as well.
pub(crate) async fn serve(doors: Doors, plane: Arc<Plane>, pages: axum::Router) {
    let router = routes::router(plane).merge(pages);
    let unix = async {
        if let Some(listener) = doors.unix {
            http::serve(listener, guard::guarded(router.clone(), Access::Local)).await;
        }
    };
    let tcp = async {
        if let Some((listener, access)) = doors.tcp {
            http::serve(listener, guard::guarded(router.clone(), access)).await;
        }
    };
    tokio::join!(unix, tcp);
}

/// Takes samples for rates, and notes workers that stood still.
pub(crate) async fn sample(clock: Clock, shared: &Shared, rates: &Rates, events: &Events) {
    let mut stalled = vec![false; shared.worker_metrics.len()];
    loop {
        let lags = rates.sample(clock.now(), shared);
        for (worker, lag) in lags.into_iter().enumerate() {
            // Told once for as long as it lasts.
            let was_stalled = std::mem::replace(&mut stalled[worker], lag >= STALL);
            if lag >= STALL && !was_stalled {
                tracing::warn!(worker, ?lag, "a worker stood still");
                let message = format!("worker {worker} stood still for {} ms", lag.as_millis());
                events.note(Kind::WorkerStalled, message);
            }
        }
        tokio::time::sleep(SAMPLE_INTERVAL).await;
    }
}

/// A worker that ran later than this stood still; design §4 has a neighbour take over by then.
const STALL: std::time::Duration = std::time::Duration::from_millis(250);
