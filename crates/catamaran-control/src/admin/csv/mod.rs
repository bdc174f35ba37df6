//! The state as HAProxy's `show stat` writes it, for monitoring that reads that.
//!
//! Columns, their order and their meaning are HAProxy's (management guide §9.1): a row for each
//! frontend (`FRONTEND`), each server, and each backend (`BACKEND`). What we do not know stays empty,
//! as HAProxy leaves it. Maxima (`qmax`, `smax`, `rate_max`) are those of the last quarter of an hour
//! as seen every 5 s, average times those of the last minute; docs/metrics.md lists the differences.

mod row;

use super::checks::LastCheck;
use super::rates::View;
use super::stats::{Averages, Summary};
use super::{Plane, backend_traffic, connections_accepted, frontend_traffic, server_traffic};
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use catamaran_core::Timestamp;
use catamaran_core::health::ProbeResult;
use catamaran_core::model::{Balance, Check, Health, Name, Protocol};
use catamaran_core::server::Admin;
use catamaran_proxy::{
    Backend, BackendCounts, Frontend, Metered, Outcome, Server, ServerCounts, TrafficTotals,
};
use row::{Column, Row};
use std::collections::HashMap;
use std::sync::Arc;

pub(crate) async fn csv(State(plane): State<Arc<Plane>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/csv; charset=utf-8")], page(&plane))
}

fn page(plane: &Plane) -> String {
    let snapshot = plane.shared.snapshot();
    let now = plane.clock.now();
    let mut page = String::new();
    row::write_names(&mut page);
    let rates = plane.rates.view();
    let frontends = snapshot.frontends.iter().zip(1..);
    for (frontend, number) in frontends {
        let mut row = of_frontend(frontend, number, &rates);
        if plane.reloader.drained().contains(&frontend.model.name) {
            row.set(Column::Status, "STOP");
        }
        row.write(&mut page);
    }
    let first = snapshot.frontends.len() + 1;
    for (backend, number) in snapshot.backends.iter().zip(first..) {
        let writing = Writing {
            plane,
            backend,
            number,
            // A backend is whatever its frontends speak; one that none leads to is shown as HTTP.
            mode: snapshot
                .frontends
                .iter()
                .find(|frontend| frontend.model.backend == Some(backend.id))
                .map_or("http", |frontend| mode(frontend.model.protocol)),
            rates: &rates,
            checks: plane.checks.of(&backend.model.name),
            now,
        };
        let set = backend.set();
        for (server, place) in set.servers.iter().zip(1..) {
            writing.server(server, place).write(&mut page);
        }
        writing.backend(&set.servers).write(&mut page);
    }
    page
}

fn of_frontend(frontend: &Frontend, number: usize, rates: &View<'_>) -> Row {
    let model = &frontend.model;
    let totals = frontend_traffic(frontend);
    let connections = connections_accepted(frontend);
    let mut row = begin(&model.name, "FRONTEND", number, 0, 0);
    row.set(Column::Scur, frontend.open_connections());
    row.set_some(Column::Slim, model.max_connections);
    row.set(Column::Stot, connections);
    row.set(Column::ConnTot, connections);
    row.set(Column::Status, "OPEN");
    row.set(Column::Mode, mode(model.protocol));
    if let Some(rates) = rates.frontend(&model.name) {
        row.set(Column::Rate, whole(rates.connections));
        row.set(Column::ConnRate, whole(rates.connections));
        row.set(Column::ReqRate, whole(rates.exchanges));
    }
    let limit = model.rate_limit.as_ref();
    row.set_some(Column::RateLim, limit.map(|limit| limit.requests));
    row.set(Column::ReqTot, totals.begun);
    row.set(Column::Ereq, sum(&totals, REQUEST_ERRORS));
    row.set(Column::Dreq, sum(&totals, DENIED));
    row.set(Column::Intercepted, sum(&totals, &[Outcome::Answered]));
    traffic(&mut row, &totals);
    row
}

/// What the rows of one backend have in common.
struct Writing<'a> {
    plane: &'a Plane,
    backend: &'a Arc<Backend>,
    number: usize,
    mode: &'static str,
    rates: &'a View<'a>,
    checks: HashMap<Name, LastCheck>,
    now: Timestamp,
}

impl Writing<'_> {
    fn server(&self, server: &Server, place: usize) -> Row {
        let (model, state) = (&server.model, &server.state);
        let totals = server_traffic(server);
        let count = |of: fn(&ServerCounts) -> &Metered| server.metrics.workers.sum(of);
        let name = model.name.as_str();
        let mut row = begin(&self.backend.model.name, name, self.number, place, 2);
        row.set(Column::Scur, state.in_flight());
        row.set_some(Column::Slim, model.max_in_flight());
        row.set(Column::Stot, totals.begun);
        row.set(Column::Lbtot, totals.begun);
        row.set(Column::ReqTot, totals.ended);
        row.set(Column::Econ, count(|counts| &counts.connect_failures));
        row.set(Column::Eresp, count(|counts| &counts.failures));
        row.set(Column::Wretr, count(|counts| &counts.retries));
        row.set(Column::Connect, count(|counts| &counts.connects));
        row.set(Column::Reuse, count(|counts| &counts.reuses));
        row.set(Column::Status, self.status(server));
        let weight = state.weight().unwrap_or(model.weight).as_u16();
        row.set(Column::Weight, weight);
        row.set(Column::Uweight, weight);
        row.set(Column::Act, u8::from(!model.backup));
        row.set(Column::Bck, u8::from(model.backup));
        row.set(Column::Chkfail, server.metrics.checks[1].total());
        row.set(Column::Chkdown, server.metrics.changes[1].total());
        row.set(Column::Addr, &server.target);
        row.set(Column::Mode, self.mode);
        let idle = state.open_connections().saturating_sub(state.in_flight());
        row.set(Column::SrvIcur, idle);
        row.set(Column::IdleConnCur, idle);
        row.set(Column::UsedConnCur, state.in_flight());
        if let Some(rates) = self.rates.server(server.id()) {
            row.set(Column::Rate, whole(rates.requests));
        }
        if let Some(health) = &self.backend.model.health {
            self.check(&mut row, server, health);
        }
        traffic(&mut row, &totals);
        if let Some(summary) = self.plane.stats.of_server(server.id()) {
            summarize(&mut row, &summary);
        }
        row
    }

    fn backend(&self, servers: &[Arc<Server>]) -> Row {
        let backend = self.backend;
        let model = &backend.model;
        let totals = backend_traffic(backend);
        let count = |of: fn(&BackendCounts) -> &Metered| backend.metrics.sum(of);
        let server_count = |of: fn(&ServerCounts) -> &Metered| -> u64 {
            servers.iter().map(|s| s.metrics.workers.sum(of)).sum()
        };
        let usable = || servers.iter().filter(|server| server.state.is_usable());
        let mut row = begin(&model.name, "BACKEND", self.number, 0, 1);
        row.set(Column::Qcur, backend.waiting());
        row.set(Column::Qlimit, model.queue.max_waiting);
        let in_flight = servers.iter().map(|server| server.state.in_flight());
        row.set(Column::Scur, in_flight.fold(0, u32::saturating_add));
        row.set(Column::Stot, totals.begun);
        row.set(Column::Lbtot, totals.begun);
        row.set(Column::ReqTot, totals.begun);
        row.set(Column::Dreq, sum(&totals, DENIED));
        row.set(Column::Econ, sum(&totals, NOT_CONNECTED));
        row.set(Column::Eresp, server_count(|counts| &counts.failures));
        row.set(Column::Wretr, count(|counts| &counts.retries));
        row.set(Column::Wredis, count(|counts| &counts.redispatches));
        row.set(Column::Connect, server_count(|counts| &counts.connects));
        row.set(Column::Reuse, server_count(|counts| &counts.reuses));
        let has_usable = usable().next().is_some();
        row.set(Column::Status, if has_usable { "UP" } else { "DOWN" });
        let weight = |server: &Arc<Server>| {
            let weight = server.state.weight().unwrap_or(server.model.weight);
            u32::from(weight.as_u16())
        };
        row.set(Column::Weight, usable().map(weight).sum::<u32>());
        row.set(Column::Act, usable().filter(|s| !s.model.backup).count());
        row.set(Column::Bck, usable().filter(|s| s.model.backup).count());
        row.set(Column::Mode, self.mode);
        row.set(Column::Algo, algorithm(&model.balance));
        traffic(&mut row, &totals);
        if let Some(summary) = self.plane.stats.of_backend(&model.name) {
            row.set(Column::Rate, whole(summary.rate));
            row.set(Column::ReqRate, whole(summary.rate));
            row.set(Column::Qmax, whole(summary.max_queue));
            row.set(Column::ReqRateMax, whole(summary.max_rate));
            summarize(&mut row, &summary);
        }
        row
    }

    /// The words that HAProxy has for it.
    fn status(&self, server: &Server) -> &'static str {
        let state = &server.state;
        match state.admin() {
            Admin::Maintenance => "MAINT",
            Admin::Drain => "DRAIN",
            Admin::Ready if state.is_checked_down() || state.is_refusing() => "DOWN",
            Admin::Ready if state.is_ejected() => "NOLB",
            Admin::Ready if self.backend.model.health.is_none() => "no check",
            Admin::Ready => "UP",
        }
    }

    fn check(&self, row: &mut Row, server: &Server, health: &Health) {
        row.set(Column::CheckRise, health.rise);
        row.set(Column::CheckFall, health.fall);
        let Some(last) = self.checks.get(&server.model.name) else {
            return row.set(Column::CheckStatus, "INI");
        };
        let is_http = matches!(health.check, Check::Http(_));
        let status = match (last.result, is_http) {
            (ProbeResult::Pass, true) => "L7OK",
            (ProbeResult::Pass, false) => "L4OK",
            (ProbeResult::Fail, true) => "L7RSP",
            (ProbeResult::Fail, false) => "L4CON",
            (ProbeResult::Inconclusive, _) => "UNK",
        };
        row.set(Column::CheckStatus, status);
        row.set(Column::LastChk, &last.reason);
        let ago = self.now.saturating_since(last.at);
        row.set(Column::CheckDesc, format_args!("{} s ago", ago.as_secs()));
    }
}

fn begin(proxy: &Name, service: &str, number: usize, place: usize, kind: u8) -> Row {
    let mut row = Row::new();
    row.set(Column::Pxname, proxy);
    row.set(Column::Svname, service);
    row.set(Column::Pid, 1);
    row.set(Column::Iid, number);
    row.set(Column::Sid, place);
    row.set(Column::Type, kind);
    row
}

fn traffic(row: &mut Row, totals: &TrafficTotals) {
    const CLASSES: [Column; 5] = [
        Column::Hrsp1xx,
        Column::Hrsp2xx,
        Column::Hrsp3xx,
        Column::Hrsp4xx,
        Column::Hrsp5xx,
    ];
    row.set(Column::Bin, totals.bytes_in);
    row.set(Column::Bout, totals.bytes_out);
    for (column, count) in CLASSES.into_iter().zip(totals.statuses) {
        row.set(column, count);
    }
    row.set(Column::HrspOther, 0);
    row.set(Column::CliAbrt, sum(totals, CLIENT_ABORTS));
    row.set(Column::SrvAbrt, sum(totals, SERVER_ABORTS));
}

fn summarize(row: &mut Row, summary: &Summary) {
    row.set(Column::Smax, whole(summary.max_in_flight));
    row.set(Column::RateMax, whole(summary.max_rate));
    let Averages {
        connect,
        first_byte,
        total,
    } = summary.averages;
    for (column, average) in [
        (Column::Ctime, connect),
        (Column::Rtime, first_byte),
        (Column::Ttime, total),
    ] {
        row.set_some(column, average.map(whole));
    }
}

fn sum(totals: &TrafficTotals, outcomes: &[Outcome]) -> u64 {
    let counts = outcomes.iter().map(|one| totals.outcomes[one.index()]);
    counts.sum()
}

/// HAProxy writes whole numbers.
fn whole(value: f64) -> f64 {
    value.round()
}

const fn mode(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http => "http",
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

/// HAProxy's word where it has one for the same.
const fn algorithm(balance: &Balance) -> &'static str {
    match balance {
        Balance::LeastRequests => "least-requests",
        Balance::RoundRobin => "roundrobin",
        Balance::Random => "random",
        Balance::LeastConnections => "leastconn",
        Balance::Ewma => "ewma",
        Balance::Source => "source",
        Balance::Hash { .. } => "hash",
        Balance::First => "first",
    }
}

const REQUEST_ERRORS: &[Outcome] = &[
    Outcome::BadRequest(400),
    Outcome::BadPath,
    Outcome::BadRequestBody,
    Outcome::RequestCut,
    Outcome::RequestTimeout,
    Outcome::RequestBodyTimeout,
];
const DENIED: &[Outcome] = &[Outcome::RateLimited, Outcome::TooManyConnections];
const NOT_CONNECTED: &[Outcome] = &[
    Outcome::ConnectFailed,
    Outcome::ConnectTimeout,
    Outcome::NoServer,
];
const CLIENT_ABORTS: &[Outcome] = &[Outcome::ClientGone, Outcome::ClientStalled];
const SERVER_ABORTS: &[Outcome] = &[
    Outcome::ServerClosed,
    Outcome::Truncated,
    Outcome::ResponseBodyTimeout,
];
