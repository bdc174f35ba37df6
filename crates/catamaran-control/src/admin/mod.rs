//! What an operator sees and changes at run time: the admin API, JSON under `/v1`.
//!
//! It is served on a unix socket that only our own user may open, and over TCP where that is
//! configured; `guard` says who may come in. Reading never changes anything: every change is a
//! POST, PUT or DELETE. What belongs to the process around us (its log, its configuration file, its
//! end) is asked of [`Host`].

mod checks;
mod config;
mod csv;
mod dashboard;
mod door;
mod drain;
mod error;
#[cfg(feature = "etcd")]
mod etcd;
mod events;
mod extract;
mod guard;
mod lists;
mod openapi;
mod overlays;
mod peers;
mod persist;
mod process;
mod rates;
mod routes;
mod servers;
mod state;
mod stats;
mod stream;
mod tables;
mod virtual_ips;

pub(crate) use checks::Checks;
pub(crate) use door::Door;
pub(crate) use drain::Drains;
pub(crate) use error::Refused;
#[cfg(feature = "etcd")]
pub(crate) use events::unix_now;
pub use events::{Event, Events, Kind, MAX_EVENTS};
pub use guard::Access;
pub use overlays::Overlays;
pub(crate) use rates::{Rates, SAMPLE_INTERVAL, connections_accepted};
pub(crate) use state::admin_word;
pub(crate) use stats::{Stats, backend_traffic, frontend_traffic, server_traffic};
pub(crate) use stream::{Streams, publish};

use crate::health::Command;
use crate::keep::Keeper;
use crate::metrics::Readiness;
use crate::reload::Reloader;
use crate::{Clock, Mesh, VirtualIps, http};
use catamaran_core::Timestamp;
use catamaran_core::model;
use catamaran_proxy::{Backend, Shared, Snapshot};
use schemars::JsonSchema;
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, oneshot, watch};

/// The process around the control plane, as the API sees it. Refusals are sentences for people.
pub trait Host: Send + Sync {
    /// What is logged now.
    fn log_level(&self) -> String;

    /// Changes what is logged.
    ///
    /// # Errors
    /// Why `level` is none.
    fn set_log_level(&self, level: &str) -> Result<(), String>;

    /// Takes no new clients and ends when those there are have left.
    ///
    /// # Errors
    /// Why it cannot be asked for.
    fn drain(&self) -> Result<(), String>;

    /// Has another binary take this one's place: the one at a path, else the one that stands where
    /// this one did. The result comes when the other serves, or does not.
    fn upgrade(&self, binary: Option<PathBuf>) -> oneshot::Receiver<Upgraded>;
}

/// What serves after an upgrade, in words; or why the old binary goes on.
pub type Upgraded = Result<String, String>;

/// How long a change lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kept {
    /// Until the process ends; over reloads too, unless the file comes to say otherwise.
    UntilRestart,
    /// It is written into the configuration file.
    InFile,
    /// Until the file is read anew.
    UntilReload,
}

/// Everything that the API reads and steers.
pub(crate) struct Plane {
    pub(crate) shared: Arc<Shared>,
    pub(crate) clock: Clock,
    pub(crate) started: Timestamp,
    pub(crate) readiness: watch::Receiver<Readiness>,
    pub(crate) events: Arc<Events>,
    pub(crate) checks: Checks,
    pub(crate) rates: Arc<Rates>,
    pub(crate) stats: Stats,
    pub(crate) host: Arc<dyn Host>,
    pub(crate) reloader: Arc<Reloader>,
    pub(crate) overlays: Arc<Overlays>,
    pub(crate) keeper: Option<Arc<Keeper>>,
    pub(crate) drains: Drains,
    pub(crate) monitor: mpsc::Sender<Command>,
    pub(crate) virtual_ips: VirtualIps,
    pub(crate) mesh: Mesh,
    pub(crate) streams: Streams,
    /// The fleet, on a node of one.
    #[cfg(feature = "etcd")]
    pub(crate) fleet: Option<Arc<crate::etcd::FleetHandle>>,
    /// Held by who changes a file, from reading what it says to serving that.
    pub(crate) persisting: tokio::sync::Mutex<()>,
}

impl Plane {
    /// Puts the servers that `models` describe into `backend` and under watch.
    pub(crate) async fn set_servers(
        &self,
        snapshot: &Snapshot,
        backend: &Arc<Backend>,
        models: &[model::Server],
    ) {
        let now = self.clock.now();
        backend.set_servers(backend.servers_of(models, now), now);
        let watched = crate::run::watched(snapshot, backend).servers;
        let name = backend.model.name.clone();
        self.tell_monitor(Command::SetServers(name, watched)).await;
    }

    /// Does something that may take its time, beside the control thread.
    pub(crate) async fn aside<R: Send + 'static>(
        &self,
        act: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, Refused> {
        tokio::task::spawn_blocking(act).await.map_err(|error| {
            tracing::error!(%error, "a request of the admin API panicked");
            Refused::new(
                axum::http::StatusCode::INTERNAL_SERVER_ERROR,
                "bug",
                "the request failed by a mistake of ours; the log says more",
            )
        })
    }

    /// Gives the watch over the servers an order.
    pub(crate) async fn tell_monitor(&self, command: Command) {
        // Without a monitor everything ends anyway.
        let _ = self.monitor.send(command).await;
    }
}

/// Where the API is served.
#[derive(Debug, Default)]
pub struct Doors {
    /// Only our own user may open it.
    pub unix: Option<UnixListener>,
    /// Over TCP, with who may come in.
    pub tcp: Option<(TcpListener, Access)>,
}

/// Serves the API behind all its doors, the dashboard over TCP; `pages` are served there as well.
pub(crate) async fn serve(doors: Doors, plane: Arc<Plane>, pages: axum::Router, open: http::Open) {
    let router = routes::router(plane, open.clone()).merge(pages);
    let unix = async {
        if let Some(listener) = doors.unix {
            http::serve(
                listener,
                guard::guarded(router.clone(), Access::Local),
                open.clone(),
            )
            .await;
        }
    };
    let tcp = async {
        if let Some((listener, access)) = doors.tcp {
            let free = guard::guarded(dashboard::router(), access.without_token());
            let router = guard::guarded(router.clone(), access).merge(free);
            http::serve(listener, router, open.clone()).await;
        }
    };
    tokio::join!(unix, tcp);
}

/// Takes samples for rates, and notes workers that stood still.
pub(crate) async fn sample(plane: &Plane) {
    let mut points_due = plane.clock.now();
    let mut stalled = vec![false; plane.shared.worker_metrics.len()];
    loop {
        let lags = plane.rates.sample(plane.clock.now(), &plane.shared);
        for (worker, lag) in lags.into_iter().enumerate() {
            // Told once for as long as it lasts.
            let was_stalled = std::mem::replace(&mut stalled[worker], lag >= STALL);
            if lag >= STALL && !was_stalled {
                let message = format!("worker {worker} stood still for {} ms", lag.as_millis());
                plane.events.note(Kind::WorkerStalled, message);
            }
        }
        if points_due <= plane.clock.now() {
            plane.stats.sample(plane.clock.now(), &plane.shared);
            points_due = points_due + stats::INTERVAL;
        }
        tokio::time::sleep(SAMPLE_INTERVAL).await;
    }
}

/// A worker that ran later than this stood still: a neighbour takes over by then, and logs it.
const STALL: std::time::Duration = std::time::Duration::from_millis(250);
