//! The state of everything as one document: what a dashboard, `top` and `ctl status` show.

use super::Plane;
use super::checks::LastCheck;
use super::config::ConfigFacts;
use super::events::{Event, unix_now};
use super::peers::ClusterState;
use super::rates::{FrontendRates, FrontendTotals, ServerRates, View, WINDOW, frontend_totals};
use super::virtual_ips::{self, VirtualIpState};
use crate::metrics::Readiness;
use catamaran_core::Timestamp;
use catamaran_core::health::{ProbeResult, Status};
use catamaran_core::model::{Action, BackendId, Balance, Name, Protocol};
use catamaran_core::server::{Admin, ServerState};
use catamaran_proxy::{Backend, BackendCounts, Frontend, Metered, Outcome, Server, ServerCounts};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::Ordering::Relaxed;

/// The state of everything at one time.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct Overview {
    #[serde(flatten)]
    summary: Summary,
    /// The oldest first; at most 200.
    events: Vec<Event>,
}

/// The state of everything but what happened before.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct Summary {
    /// Unix time in seconds.
    at: f64,
    /// Over how many seconds rates are taken.
    rate_window_seconds: f64,
    process: Process,
    workers: Vec<Worker>,
    frontends: Vec<FrontendState>,
    backends: Vec<BackendState>,
    virtual_ips: Vec<VirtualIpState>,
    cluster: ClusterState,
    /// The fleet on etcd; none without one.
    #[cfg(feature = "etcd")]
    fleet: Option<crate::etcd::FleetLine>,
}

/// The process as a whole.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct Process {
    version: &'static str,
    pid: u32,
    uptime_seconds: f64,
    /// `starting`, `ready` or `draining`.
    readiness: &'static str,
    /// Connections of clients that are open.
    connections: usize,
    log_level: String,
    config: ConfigFacts,
}

/// One worker.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct Worker {
    index: usize,
    /// Connections of clients that are open.
    connections: usize,
    /// How late its loop ran at most in the rates' window.
    lag_ms: Option<f64>,
    panics: u64,
}

/// One frontend.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct FrontendState {
    name: String,
    protocol: &'static str,
    listeners: Vec<Listener>,
    routes: Vec<Route>,
    /// Where goes what no route takes.
    backend: Option<String>,
    /// Whether an operator has closed its listeners.
    drained: bool,
    /// Connections of clients that are open.
    connections: usize,
    rates: Option<FrontendRates>,
    totals: Totals,
}

#[derive(Debug, JsonSchema, Serialize)]
struct Listener {
    /// As configured; port 0 was the kernel's to choose.
    address: String,
}

#[derive(Debug, JsonSchema, Serialize)]
struct Route {
    name: String,
    /// Where it leads, with the share of each; none for redirects and fixed responses.
    backends: Vec<RouteBackend>,
}

#[derive(Debug, JsonSchema, Serialize)]
struct RouteBackend {
    name: String,
    weight: u32,
}

/// Counts of a frontend since the start.
#[derive(Debug, JsonSchema, Serialize)]
struct Totals {
    connections: u64,
    /// Exchanges (relays, for TCP and UDP) that ended.
    exchanges: u64,
    failures: u64,
    bytes_in: u64,
    bytes_out: u64,
    /// Responses by class, `1xx` to `5xx`.
    statuses: BTreeMap<&'static str, u64>,
    /// Exchanges by how they ended; those that never did are left out.
    outcomes: BTreeMap<&'static str, u64>,
}

/// One backend.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct BackendState {
    name: String,
    balance: &'static str,
    /// Servers that take traffic.
    usable: usize,
    /// Exchanges in flight at all its servers.
    in_flight: u32,
    /// Requests that wait for a server with room.
    waiting: usize,
    /// Whether ejections are ignored because too few servers are left.
    panic: bool,
    /// Entries of its affinity table; none without one.
    stick_entries: Option<usize>,
    totals: BackendTotals,
    servers: Vec<ServerDocument>,
}

#[derive(Debug, JsonSchema, Serialize)]
struct BackendTotals {
    queued: u64,
    queue_failures: u64,
    no_server: u64,
    retries_refused: u64,
}

/// One server.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct ServerDocument {
    name: String,
    address: String,
    /// What the operator wants: `ready`, `drain` or `maintenance`.
    admin: &'static str,
    /// What is observed: `up`, `down`, `refusing` or `ejected`.
    health: &'static str,
    /// What the operator says instead: `up` or `down`; none when the observation counts.
    health_override: Option<&'static str>,
    /// Whether it takes traffic, all told.
    usable: bool,
    /// Its share of the traffic now.
    weight: u16,
    /// What the configuration says.
    configured_weight: u16,
    backup: bool,
    /// Requests (connections, for TCP) in flight.
    in_flight: u32,
    max_in_flight: Option<u32>,
    /// Connections open, idle ones included.
    connections: u32,
    /// Peak-EWMA latency; none before the first answer.
    latency_ms: Option<f64>,
    /// The last active check; none where there is none yet.
    check: Option<Check>,
    rates: Option<ServerRates>,
    totals: ServerTotals,
}

/// The last active check of a server.
#[derive(Debug, JsonSchema, Serialize)]
struct Check {
    /// `pass`, `fail` or `inconclusive`.
    result: &'static str,
    /// Why it is no pass.
    reason: String,
    seconds_ago: f64,
}

#[derive(Debug, JsonSchema, Serialize)]
struct ServerTotals {
    requests: u64,
    failures: u64,
    connects: u64,
    connect_failures: u64,
    reuses: u64,
    retries: u64,
}

impl Overview {
    /// The state now.
    pub(crate) fn of(plane: &Plane) -> Self {
        Self {
            summary: Summary::of(plane),
            events: plane.events.after(0),
        }
    }
}

impl Summary {
    /// The state now.
    pub(crate) fn of(plane: &Plane) -> Self {
        let now = plane.clock.now();
        let rates = plane.rates.view();
        let snapshot = plane.shared.snapshot();
        let backends = snapshot.backends.iter();
        Self {
            at: unix_now(),
            rate_window_seconds: WINDOW.as_secs_f64(),
            process: Process::of(plane),
            workers: workers(plane, &rates),
            frontends: frontends(plane, &rates),
            backends: backends
                .map(|backend| BackendState::of(plane, backend, now, &rates))
                .collect(),
            virtual_ips: virtual_ips::all(plane),
            cluster: ClusterState::of(plane),
            #[cfg(feature = "etcd")]
            fleet: plane.fleet.as_ref().map(|fleet| fleet.status().line()),
        }
    }
}

impl Process {
    /// The process now.
    pub(crate) fn of(plane: &Plane) -> Self {
        let readiness = *plane.readiness.borrow();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            uptime_seconds: seconds(plane.clock.now().saturating_since(plane.started)),
            readiness: match readiness {
                Readiness::Starting => "starting",
                Readiness::Ready => "ready",
                Readiness::Draining => "draining",
            },
            connections: plane.shared.open_connections(),
            log_level: plane.host.log_level(),
            config: ConfigFacts::of(&plane.reloader),
        }
    }
}

/// The workers now.
pub(crate) fn workers(plane: &Plane, rates: &View<'_>) -> Vec<Worker> {
    let shared = &plane.shared;
    let each = shared.worker_metrics.iter().zip(&shared.loads).enumerate();
    let each = each.take(shared.started_workers());
    each.map(|(index, (metrics, load))| Worker {
        index,
        connections: load.load(Relaxed),
        lag_ms: rates.lag(index).map(millis),
        panics: metrics.panics.total(),
    })
    .collect()
}

/// The frontends now.
pub(crate) fn frontends(plane: &Plane, rates: &View<'_>) -> Vec<FrontendState> {
    let snapshot = plane.shared.snapshot();
    let each = snapshot.frontends.iter();
    each.map(|frontend| FrontendState::of(plane, frontend, rates))
        .collect()
}

impl FrontendState {
    fn of(plane: &Plane, frontend: &Frontend, rates: &View<'_>) -> Self {
        let model = &frontend.model;
        let name_of = |id: BackendId| frontend.backend(id).model.name.to_string();
        let routes = model.routes.iter();
        let listeners = model.listeners.iter();
        Self {
            name: model.name.to_string(),
            protocol: match model.protocol {
                Protocol::Http => "http",
                Protocol::Tcp => "tcp",
                Protocol::Udp => "udp",
            },
            listeners: listeners
                .map(|listener| Listener {
                    address: listener.address.to_string(),
                })
                .collect(),
            routes: routes
                .map(|route| Route {
                    name: route.name.to_string(),
                    backends: led_to(&route.action)
                        .into_iter()
                        .map(|(id, weight)| RouteBackend {
                            name: name_of(id),
                            weight,
                        })
                        .collect(),
                })
                .collect(),
            backend: model.backend.map(name_of),
            drained: plane.reloader.drained().contains(&model.name),
            connections: frontend.open_connections(),
            rates: rates.frontend(&model.name),
            totals: Totals::of(&frontend_totals(frontend)),
        }
    }
}

/// The backends that a route leads to, with their shares.
fn led_to(action: &Action) -> Vec<(BackendId, u32)> {
    match action {
        Action::Backend(id) => vec![(*id, 1)],
        Action::Weighted(backends) => backends
            .iter()
            .map(|backend| (backend.backend, backend.weight))
            .collect(),
        // The others are the map's, and may be thousands.
        Action::Mapped(to) => to.default.map(|id| (id, 1)).into_iter().collect(),
        Action::Refuse(_) | Action::Redirect(_) | Action::Respond(_) => Vec::new(),
    }
}

impl Totals {
    fn of(totals: &FrontendTotals) -> Self {
        let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"];
        let outcomes = Outcome::ALL.iter().filter_map(|outcome| {
            let count = totals.outcomes[outcome.index()];
            (count > 0).then(|| (outcome.consequence().label, count))
        });
        Self {
            connections: totals.connections,
            exchanges: totals.exchanges,
            failures: totals.failures,
            bytes_in: totals.bytes_in,
            bytes_out: totals.bytes_out,
            statuses: classes.into_iter().zip(totals.statuses).collect(),
            outcomes: outcomes.collect(),
        }
    }
}

impl BackendState {
    /// The backend now.
    pub(crate) fn of(plane: &Plane, backend: &Backend, now: Timestamp, rates: &View<'_>) -> Self {
        let set = backend.set();
        let checks = plane.checks.of(&backend.model.name);
        let states = || set.servers.iter().map(|server| &server.state);
        let count = |of: fn(&BackendCounts) -> &Metered| backend.metrics.sum(of);
        Self {
            name: backend.model.name.to_string(),
            balance: balance_word(&backend.model.balance),
            usable: states().filter(|state| state.is_usable()).count(),
            in_flight: states()
                .map(|state| state.in_flight())
                .fold(0, u32::saturating_add),
            waiting: backend.waiting(),
            panic: set.rotation.is_panicking(),
            stick_entries: backend.stick_len(),
            totals: BackendTotals {
                queued: count(|counts| &counts.queued),
                queue_failures: count(|counts| &counts.queue_failures),
                no_server: count(|counts| &counts.no_server),
                retries_refused: count(|counts| &counts.budget_spent),
            },
            servers: set
                .servers
                .iter()
                .map(|server| ServerDocument::of(server, &checks, now, rates))
                .collect(),
        }
    }
}

impl ServerDocument {
    /// The server now.
    pub(crate) fn of(
        server: &Server,
        checks: &HashMap<Name, LastCheck>,
        now: Timestamp,
        rates: &View<'_>,
    ) -> Self {
        let (model, state) = (&server.model, &server.state);
        let count = |of: fn(&ServerCounts) -> &Metered| server.metrics.workers.sum(of);
        let configured = model.weight;
        Self {
            name: model.name.to_string(),
            address: server.target.to_string(),
            admin: admin_word(state.admin()),
            health: health_word(state),
            health_override: state.health_override().map(status_word),
            usable: state.is_usable(),
            weight: state.weight().unwrap_or(configured).as_u16(),
            configured_weight: configured.as_u16(),
            backup: model.backup,
            in_flight: state.in_flight(),
            max_in_flight: model.max_in_flight(),
            connections: state.open_connections(),
            latency_ms: state.latency(now).map(millis),
            check: checks.get(&model.name).map(|check| Check::of(check, now)),
            rates: rates.server(server.id()),
            totals: ServerTotals {
                requests: count(|counts| &counts.traffic.begun),
                failures: count(|counts| &counts.failures),
                connects: count(|counts| &counts.connects),
                connect_failures: count(|counts| &counts.connect_failures),
                reuses: count(|counts| &counts.reuses),
                retries: count(|counts| &counts.retries),
            },
        }
    }
}

impl Check {
    fn of(check: &LastCheck, now: Timestamp) -> Self {
        Self {
            result: match check.result {
                ProbeResult::Pass => "pass",
                ProbeResult::Fail => "fail",
                ProbeResult::Inconclusive => "inconclusive",
            },
            reason: check.reason.clone(),
            seconds_ago: seconds(now.saturating_since(check.at)),
        }
    }
}

/// The word for what the operator wants.
pub(crate) const fn admin_word(admin: Admin) -> &'static str {
    match admin {
        Admin::Ready => "ready",
        Admin::Drain => "drain",
        Admin::Maintenance => "maintenance",
    }
}

/// The word for what is observed of a server; the worst of it.
pub(crate) fn health_word(state: &ServerState) -> &'static str {
    if state.is_checked_down() {
        "down"
    } else if state.is_refusing() {
        "refusing"
    } else if state.is_ejected() {
        "ejected"
    } else {
        "up"
    }
}

const fn status_word(status: Status) -> &'static str {
    match status {
        Status::Up => "up",
        Status::Down => "down",
    }
}

const fn balance_word(balance: &Balance) -> &'static str {
    match balance {
        Balance::LeastRequests => "least-requests",
        Balance::RoundRobin => "round-robin",
        Balance::Random => "random",
        Balance::LeastConnections => "least-connections",
        Balance::Ewma => "ewma",
        Balance::Source => "source",
        Balance::Hash { .. } => "hash",
        Balance::First => "first",
    }
}

/// A time in seconds, to the microsecond.
fn seconds(duration: std::time::Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e6
}

/// A time in milliseconds, to the microsecond.
fn millis(duration: std::time::Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}
