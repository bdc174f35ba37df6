//! What an operator sees and changes at run time: the admin API, JSON under `/v1`.
//!
//! It is served on a unix socket that only our own user may open, and over TCP where that is
//! configured; [`guard`] says who may come in. Reading never changes anything: every change is a
//! POST, PUT or DELETE. What belongs to the process around us (its log, its configuration file, its
//! end) is asked of [`Host`].

mod checks;
mod error;
mod events;
mod extract;
mod guard;
mod lists;
mod openapi;
mod process;
mod rates;
mod routes;
mod servers;
mod state;
mod tables;

pub(crate) use checks::Checks;
pub use events::{Event, Events, Kind, MAX_EVENTS};
pub use guard::Access;
pub(crate) use lists::Lists;
pub use process::Verdict;
pub(crate) use rates::{Rates, SAMPLE_INTERVAL};

use crate::health::Command;
use crate::metrics::Readiness;
use crate::{Clock, http};
use catamaran_core::Timestamp;
use catamaran_core::model::{self, Edit};
use catamaran_proxy::{Backend, Shared};
use error::Refused;
use schemars::JsonSchema;
use serde::Serialize;
use std::sync::Arc;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, watch};

/// The process around the control plane, as the API sees it. Refusals are sentences for people.
pub trait Host: Send + Sync {
    /// What is logged now.
    fn log_level(&self) -> String;

    /// Changes what is logged.
    ///
    /// # Errors
    /// Why `level` is none.
    fn set_log_level(&self, level: &str) -> Result<(), String>;

    /// What is known of the configuration.
    fn config(&self) -> ConfigFacts;

    /// The text of the configuration; `None` if it comes from the command line.
    fn config_text(&self) -> Option<String>;

    /// Judges a configuration that messages call `name`, or as the file that serves.
    fn check(&self, text: &str, name: Option<&str>) -> Verdict;

    /// Writes a change into the configuration file.
    ///
    /// # Errors
    /// Why it cannot be; the file is as it was.
    fn persist(&self, edit: &Edit) -> Result<(), String>;

    /// Reads a server as the configuration would write it.
    ///
    /// # Errors
    /// What is wrong with it.
    fn server(&self, address: &str, name: Option<&str>) -> Result<model::Server, String>;

    /// Takes no new clients and ends when those there are have left.
    ///
    /// # Errors
    /// Why it cannot be asked for.
    fn drain(&self) -> Result<(), String>;
}

/// How long a change lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kept {
    /// Until the process ends; over reloads too, unless the file comes to say otherwise.
    UntilRestart,
    /// It is written into the configuration file.
    InFile,
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
    pub(crate) lists: Lists,
    pub(crate) monitor: mpsc::Sender<Command>,
}

impl Plane {
    /// Makes the rotation of `backend` anew after an operator changed what it depends on.
    pub(crate) async fn rebuild(&self, backend: &Arc<Backend>) {
        // At once, so that the change holds when it is answered; the monitor makes it again, and
        // knows when time will change it next.
        backend.rebuild(self.clock.now());
        self.tell_monitor(Command::Rebuild(backend.id)).await;
    }

    /// Puts the servers that `backend` is to have now into it and under watch.
    pub(crate) async fn set_servers(&self, backend: &Arc<Backend>) {
        let now = self.clock.now();
        let models = self.lists.current(backend);
        backend.set_servers(crate::run::servers_of(backend, &models, now), now);
        let watched = crate::run::watched(&self.shared, backend).servers;
        self.tell_monitor(Command::SetServers(backend.id, watched))
            .await;
    }

    /// Writes `edit` into the configuration file. Beside the control thread, which a slow disk must
    /// not hold up.
    async fn persist(&self, edit: Edit) -> Result<Kept, Refused> {
        self.ask_host(move |host| host.persist(&edit))
            .await?
            .map_err(Refused::conflict)?;
        Ok(Kept::InFile)
    }

    /// Asks something of the host that may take its time.
    pub(crate) async fn ask_host<R: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn Host) -> R + Send + 'static,
    ) -> Result<R, Refused> {
        let host = Arc::clone(&self.host);
        let asked = tokio::task::spawn_blocking(move || ask(&*host));
        asked.await.map_err(|error| {
            tracing::error!(%error, "a request of the admin API panicked");
            Refused::new(
                axum::http::StatusCode::INTERNAL_SERVER_ERROR,
                "bug",
                "the request failed by a mistake of ours; the log says more",
            )
        })
    }

    async fn tell_monitor(&self, command: Command) {
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
