//! What frontends, backends and servers did over the last quarter of an hour, for charts.
//!
//! The control thread looks at the counters every [`INTERVAL`] and keeps [`KEPT`] points of each
//! object. Servers without latencies of their own (`process.server-histograms`) have none.

mod series;

use super::Plane;
use super::error::Refused;
use super::events::unix_now;
use super::extract::Asked;
use axum::Json;
use axum::extract::State;
use catamaran_core::Timestamp;
use catamaran_core::model::Name;
use catamaran_proxy::{Backend, Frontend, Server, Shared, TrafficTotals};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
pub(super) use series::{Averages, Summary};
use series::{Columns, KEPT, Levels, Series, Window};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often the counters are looked at.
pub(crate) const INTERVAL: Duration = Duration::from_secs(5);

/// The points that are kept.
#[derive(Debug, Default)]
pub(crate) struct Stats(Mutex<Ring>);

#[derive(Debug, Default)]
struct Ring {
    looked_at: Option<Timestamp>,
    /// Unix time of each point.
    times: VecDeque<f64>,
    series: HashMap<Object, Kept>,
    /// Counts the looks.
    look: u64,
}

#[derive(Debug)]
struct Kept {
    series: Series,
    /// The last look at which the object was there.
    seen: u64,
}

/// Whose points.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Object {
    Frontend(Name),
    Backend(Name),
    /// By `Server::id`.
    Server(u64),
}

/// Rates, latencies and errors over time.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct StatsDocument {
    /// Unix time in seconds.
    at: f64,
    /// Between two points.
    interval_seconds: f64,
    /// Unix time of each point in seconds, at its end, the oldest first; at most 180. Every column
    /// below has one value for each; null where the object was not there or nothing was measured.
    times: Vec<f64>,
    frontends: Vec<FrontendStats>,
    backends: Vec<BackendStats>,
}

/// What one frontend did.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct FrontendStats {
    name: String,
    #[serde(flatten)]
    stats: ObjectStats,
}

/// What one backend did.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct BackendStats {
    name: String,
    #[serde(flatten)]
    stats: ObjectStats,
    /// Its servers, as far as they have latencies of their own.
    servers: Vec<ServerStats>,
}

/// What one server did.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct ServerStats {
    name: String,
    #[serde(flatten)]
    stats: ObjectStats,
}

#[derive(Debug, JsonSchema, Serialize)]
struct ObjectStats {
    /// Over the last ten seconds; none before the first point.
    last_10s: Option<Window>,
    /// Over the last minute.
    last_1m: Option<Window>,
    points: Columns,
}

/// Which points.
#[derive(Debug, Deserialize)]
pub(crate) struct Which {
    #[serde(default)]
    since: f64,
    #[serde(default = "yes")]
    servers: bool,
    backend: Option<String>,
}

const fn yes() -> bool {
    true
}

pub(crate) async fn stats(
    State(plane): State<Arc<Plane>>,
    Asked(which): Asked<Which>,
) -> Result<Json<StatsDocument>, Refused> {
    let snapshot = plane.shared.snapshot();
    if let Some(backend) = &which.backend
        && snapshot.backend(&Name::new(backend)).is_none()
    {
        return Err(Refused::unknown(format!("there is no backend `{backend}`")));
    }
    let ring = plane.stats.lock();
    let times: Vec<f64> = ring.times.iter().copied().collect();
    let first = times.partition_point(|time| *time <= which.since);
    let wanted = times.len() - first;
    let frontends = snapshot.frontends.iter().map(|frontend| FrontendStats {
        name: frontend.model.name.to_string(),
        stats: ring.of(&Object::Frontend(frontend.model.name.clone()), wanted),
    });
    let is_wanted = |backend: &&Arc<Backend>| {
        let name = backend.model.name.as_str();
        which.backend.as_ref().is_none_or(|wanted| wanted == name)
    };
    let backends = snapshot.backends.iter().filter(is_wanted);
    Ok(Json(StatsDocument {
        at: unix_now(),
        interval_seconds: INTERVAL.as_secs_f64(),
        frontends: frontends.collect(),
        backends: backends
            .map(|backend| ring.backend(backend, wanted, which.servers))
            .collect(),
        times: times[first..].to_vec(),
    }))
}

impl Stats {
    /// Looks at the counters.
    pub(crate) fn sample(&self, now: Timestamp, shared: &Shared) {
        let snapshot = shared.snapshot();
        let mut ring = self.lock();
        ring.begin();
        let since = ring.looked_at.map(|before| now.saturating_since(before));
        let seconds = since.map_or(0.0, |since| since.as_secs_f64());
        for frontend in &snapshot.frontends {
            let totals = frontend_traffic(frontend);
            let levels = Levels {
                in_flight: totals.in_flight(),
                queue: 0,
            };
            let object = Object::Frontend(frontend.model.name.clone());
            ring.look(object, totals, levels, seconds);
        }
        for backend in &*snapshot.backends {
            let set = backend.set();
            let mut in_flight = 0;
            for server in &set.servers {
                let of_server = u64::from(server.state.in_flight());
                in_flight += of_server;
                if server.metrics.has_latencies() {
                    let levels = Levels {
                        in_flight: of_server,
                        queue: 0,
                    };
                    let object = Object::Server(server.id());
                    ring.look(object, server_traffic(server), levels, seconds);
                }
            }
            let queue = backend.waiting() as u64;
            let object = Object::Backend(backend.model.name.clone());
            let levels = Levels { in_flight, queue };
            ring.look(object, backend_traffic(backend), levels, seconds);
        }
        ring.end(now);
    }

    /// Averages and maxima of a backend.
    pub(super) fn of_backend(&self, name: &Name) -> Option<Summary> {
        self.summary(&Object::Backend(name.clone()))
    }

    /// Averages and maxima of the server of this `Server::id`.
    pub(super) fn of_server(&self, id: u64) -> Option<Summary> {
        self.summary(&Object::Server(id))
    }

    fn summary(&self, object: &Object) -> Option<Summary> {
        self.lock().series.get(object)?.series.summary()
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn begin(&mut self) {
        self.look += 1;
    }

    fn look(&mut self, object: Object, now: TrafficTotals, levels: Levels, seconds: f64) {
        let look = self.look;
        match self.series.get_mut(&object) {
            Some(kept) => {
                kept.seen = look;
                kept.series.push(now, levels, seconds);
            }
            None => {
                let series = Series::new(now);
                self.series.insert(object, Kept { series, seen: look });
            }
        }
    }

    /// Forgets objects that are gone.
    fn end(&mut self, now: Timestamp) {
        let look = self.look;
        self.series.retain(|_, kept| kept.seen == look);
        if self.looked_at.replace(now).is_none() {
            return;
        }
        if self.times.len() == KEPT {
            self.times.pop_front();
        }
        self.times.push_back(unix_now());
    }

    fn of(&self, object: &Object, wanted: usize) -> ObjectStats {
        let series = self.series.get(object).map(|kept| &kept.series);
        ObjectStats {
            last_10s: series.and_then(|series| series.window(2)),
            last_1m: series.and_then(|series| series.window(12)),
            points: match series {
                Some(series) => series.columns(wanted),
                None => Series::new(TrafficTotals::default()).columns(wanted),
            },
        }
    }

    fn backend(&self, backend: &Backend, wanted: usize, with_servers: bool) -> BackendStats {
        let set = backend.set();
        let servers = set.servers.iter();
        let servers = servers.filter(|server| with_servers && server.metrics.has_latencies());
        BackendStats {
            name: backend.model.name.to_string(),
            stats: self.of(&Object::Backend(backend.model.name.clone()), wanted),
            servers: servers
                .map(|server| ServerStats {
                    name: server.model.name.to_string(),
                    stats: self.of(&Object::Server(server.id()), wanted),
                })
                .collect(),
        }
    }
}

/// The traffic of a frontend, summed over the workers.
pub(crate) fn frontend_traffic(frontend: &Frontend) -> TrafficTotals {
    TrafficTotals::of(frontend.metrics().iter().map(|counts| &counts.traffic))
}

/// The traffic of a backend, summed over the workers.
pub(crate) fn backend_traffic(backend: &Backend) -> TrafficTotals {
    TrafficTotals::of(backend.metrics.iter().map(|counts| &counts.traffic))
}

/// The traffic of a server, summed over the workers.
pub(crate) fn server_traffic(server: &Server) -> TrafficTotals {
    TrafficTotals::of(server.metrics.workers.iter().map(|counts| &counts.traffic))
}
