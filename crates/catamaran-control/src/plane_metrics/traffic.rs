//! What frontends, routes, backends and servers count.
//!
//! Frontends and backends show every outcome and class of status, so that a rate of it begins at
//! zero. Of routes and servers, which may be thousands, only those are shown that ever were, and
//! histograms only once they hold a time.

use super::gauge;
use crate::admin::{backend_traffic, connections_accepted, frontend_traffic, server_traffic};
use crate::metrics::{Exposition, Histogram, Label, Metric};
use catamaran_core::Timestamp;
use catamaran_core::latency::bucket;
use catamaran_core::server::Admin;
use catamaran_proxy::{
    Backend, BackendCounts, Frontend, HistogramTotals, Metered, Outcome, Server, ServerCounts,
    TrafficTotals,
};
use std::time::Duration;

/// The metrics that one kind of object has of its traffic.
struct Names {
    requests: Metric,
    in_flight: Metric,
    received: Metric,
    sent: Metric,
    responses: Metric,
    outcomes: Metric,
    duration: Metric,
    /// Connecting, and the first byte.
    parts: Option<[Metric; 2]>,
}

/// Whether classes and outcomes are shown that never were.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Zeros {
    Shown,
    LeftOut,
}

const FRONTEND: Names = Names {
    requests: Metric::FrontendRequestsTotal,
    in_flight: Metric::FrontendInFlight,
    received: Metric::FrontendReceivedBytesTotal,
    sent: Metric::FrontendSentBytesTotal,
    responses: Metric::FrontendResponsesTotal,
    outcomes: Metric::FrontendOutcomesTotal,
    duration: Metric::FrontendDurationSeconds,
    parts: Some([
        Metric::FrontendConnectSeconds,
        Metric::FrontendFirstByteSeconds,
    ]),
};

const ROUTE: Names = Names {
    requests: Metric::RouteRequestsTotal,
    in_flight: Metric::RouteInFlight,
    received: Metric::RouteReceivedBytesTotal,
    sent: Metric::RouteSentBytesTotal,
    responses: Metric::RouteResponsesTotal,
    outcomes: Metric::RouteOutcomesTotal,
    duration: Metric::RouteDurationSeconds,
    parts: None,
};

const BACKEND: Names = Names {
    requests: Metric::BackendRequestsTotal,
    in_flight: Metric::BackendInFlight,
    received: Metric::BackendReceivedBytesTotal,
    sent: Metric::BackendSentBytesTotal,
    responses: Metric::BackendResponsesTotal,
    outcomes: Metric::BackendOutcomesTotal,
    duration: Metric::BackendDurationSeconds,
    parts: Some([
        Metric::BackendConnectSeconds,
        Metric::BackendFirstByteSeconds,
    ]),
};

const SERVER: Names = Names {
    requests: Metric::ServerRequestsTotal,
    in_flight: Metric::ServerInFlight,
    received: Metric::ServerReceivedBytesTotal,
    sent: Metric::ServerSentBytesTotal,
    responses: Metric::ServerResponsesTotal,
    outcomes: Metric::ServerOutcomesTotal,
    duration: Metric::ServerDurationSeconds,
    parts: Some([Metric::ServerConnectSeconds, Metric::ServerFirstByteSeconds]),
};

impl Names {
    fn write(
        &self,
        labels: &[Label<'_>],
        totals: &TrafficTotals,
        in_flight: u64,
        zeros: Zeros,
        out: &mut Exposition,
    ) {
        out.counter(self.requests, labels, totals.begun);
        let in_flight = usize::try_from(in_flight).unwrap_or(usize::MAX);
        out.gauge(self.in_flight, labels, gauge(in_flight));
        out.counter(self.received, labels, totals.bytes_in);
        out.counter(self.sent, labels, totals.bytes_out);
        let is_shown = |count: u64| count > 0 || zeros == Zeros::Shown;
        let mut longer = labels.to_vec();
        let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"];
        for (class, count) in classes.into_iter().zip(totals.statuses) {
            if is_shown(count) {
                longer.push(("class", class.into()));
                out.counter(self.responses, &longer, count);
                longer.pop();
            }
        }
        for outcome in Outcome::ALL {
            let count = totals.outcomes[outcome.index()];
            if is_shown(count) {
                longer.push(("outcome", outcome.consequence().label.into()));
                out.counter(self.outcomes, &longer, count);
                longer.pop();
            }
        }
        let parts = self.parts.into_iter().flatten();
        let parts = parts.zip([&totals.connect, &totals.first_byte]);
        for (metric, times) in parts.chain([(self.duration, &totals.total)]) {
            if is_shown(times.count()) {
                histogram(metric, labels, times, out);
            }
        }
    }
}

/// Adds a frontend and its routes.
pub(super) fn frontend(frontend: &Frontend, out: &mut Exposition) {
    let labels: [Label<'_>; 1] = [("frontend", (&frontend.model.name).into())];
    let totals = frontend_traffic(frontend);
    FRONTEND.write(&labels, &totals, totals.in_flight(), Zeros::Shown, out);
    let connections = connections_accepted(frontend);
    out.counter(Metric::FrontendConnectionsTotal, &labels, connections);
    let open = gauge(frontend.open_connections());
    out.gauge(Metric::FrontendConnectionsOpen, &labels, open);
    if let Some(max) = frontend.model.max_connections {
        out.gauge(Metric::FrontendConnectionsLimit, &labels, gauge(max));
    }
    let limited = frontend.connections_limited();
    let metric = Metric::FrontendConnectionsLimitedTotal;
    out.counter(metric, &labels, limited);
    let waits = frontend.bandwidth.as_ref().map_or(0, |limit| limit.waits());
    out.counter(Metric::FrontendThrottledTotal, &labels, waits);
    let tarpit = &frontend.tarpit;
    out.gauge(Metric::FrontendTarpitted, &labels, gauge(tarpit.held()));
    out.counter(Metric::FrontendTarpitFullTotal, &labels, tarpit.full());
    if let Some((sources, _)) = frontend.sources() {
        out.gauge(Metric::FrontendSources, &labels, gauge(sources));
    }
    if let Some(keys) = frontend.rate_keys() {
        out.gauge(Metric::FrontendRateKeys, &labels, gauge(keys.now));
        out.gauge(Metric::FrontendRateKeysLimit, &labels, gauge(keys.max));
        let metric = Metric::FrontendRateKeysEvictedTotal;
        out.counter(metric, &labels, keys.evicted);
    }
    for (index, route) in frontend.route_counts().iter().enumerate() {
        let labels = [labels[0], ("route", (&route.name).into())];
        let totals = TrafficTotals::of(route.workers.iter());
        ROUTE.write(&labels, &totals, totals.in_flight(), Zeros::LeftOut, out);
        if let Some(keys) = frontend.route_rate_keys(index) {
            out.gauge(Metric::RouteRateKeys, &labels, gauge(keys.now));
            out.gauge(Metric::RouteRateKeysLimit, &labels, gauge(keys.max));
            let metric = Metric::RouteRateKeysEvictedTotal;
            out.counter(metric, &labels, keys.evicted);
        }
    }
}

/// Adds a backend and its servers.
pub(super) fn backend(backend: &Backend, now: Timestamp, out: &mut Exposition) {
    let label: Label<'_> = ("backend", (&backend.model.name).into());
    let labels = [label];
    let set = backend.set();
    let servers = set.servers.iter();
    let in_flight = servers.map(|server| u64::from(server.state.in_flight()));
    let totals = backend_traffic(backend);
    BACKEND.write(&labels, &totals, in_flight.sum(), Zeros::Shown, out);
    let count = |of: fn(&BackendCounts) -> &Metered| backend.metrics.sum(of);
    for (metric, count) in [
        (Metric::BackendQueuedTotal, count(|b| &b.queued)),
        (
            Metric::BackendQueueFailuresTotal,
            count(|b| &b.queue_failures),
        ),
        (Metric::BackendNoServerTotal, count(|b| &b.no_server)),
        (Metric::BackendRetriesTotal, count(|b| &b.retries)),
        (Metric::BackendRedispatchesTotal, count(|b| &b.redispatches)),
        (
            Metric::BackendRetriesRefusedTotal,
            count(|b| &b.budget_spent),
        ),
    ] {
        out.counter(metric, &labels, count);
    }
    let mut waits = HistogramTotals::default();
    for worker in backend.metrics.iter() {
        waits.add(&worker.queue_wait);
    }
    histogram(Metric::BackendQueueSeconds, &labels, &waits, out);
    let usable = set.servers.iter().filter(|s| s.state.is_usable()).count();
    let panic = usize::from(set.rotation.is_panicking());
    for (metric, value) in [
        (Metric::BackendQueueLength, backend.waiting()),
        (Metric::BackendQueueLimit, backend.model.queue.max_waiting),
        (Metric::BackendServers, set.servers.len()),
        (Metric::BackendServersUsable, usable),
        (Metric::BackendPanic, panic),
    ] {
        out.gauge(metric, &labels, gauge(value));
    }
    if let (Some(entries), Some(stick)) = (backend.stick_entries(), &backend.model.stick) {
        out.gauge(Metric::BackendStickEntries, &labels, gauge(entries));
        out.gauge(Metric::BackendStickLimit, &labels, gauge(stick.max_entries));
        let evicted = backend.stick_evicted();
        out.counter(Metric::BackendStickEvictedTotal, &labels, evicted);
    }
    for one in &set.servers {
        let labels = [label, ("server", (&one.model.name).into())];
        server(one, now, &labels, out);
    }
}

fn server(server: &Server, now: Timestamp, labels: &[Label<'_>; 2], out: &mut Exposition) {
    let state = &server.state;
    let in_flight = u64::from(state.in_flight());
    let totals = server_traffic(server);
    SERVER.write(labels, &totals, in_flight, Zeros::LeftOut, out);
    let count = |of: fn(&ServerCounts) -> &Metered| server.metrics.workers.sum(of);
    for (metric, count) in [
        (Metric::ServerConnectsTotal, count(|s| &s.connects)),
        (
            Metric::ServerConnectFailuresTotal,
            count(|s| &s.connect_failures),
        ),
        (Metric::ServerReusesTotal, count(|s| &s.reuses)),
        (Metric::ServerRetriesTotal, count(|s| &s.retries)),
        (Metric::ServerRedispatchesTotal, count(|s| &s.redispatches)),
        (Metric::ServerFailuresTotal, count(|s| &s.failures)),
    ] {
        out.counter(metric, labels, count);
    }
    let is_up = !state.is_checked_down() && !state.is_refusing();
    let weight = state.weight().unwrap_or(server.model.weight);
    for (metric, value) in [
        (Metric::ServerUp, u32::from(is_up)),
        (Metric::ServerUsable, u32::from(state.is_usable())),
        (Metric::ServerEjected, u32::from(state.is_ejected())),
        (
            Metric::ServerDraining,
            u32::from(state.admin() == Admin::Drain),
        ),
        (
            Metric::ServerMaintenance,
            u32::from(state.admin() == Admin::Maintenance),
        ),
        (Metric::ServerWeight, u32::from(weight.as_u16())),
        (Metric::ServerConnectionsOpen, state.open_connections()),
    ] {
        out.gauge(metric, labels, value.into());
    }
    if let Some(max) = server.model.max_in_flight() {
        out.gauge(Metric::ServerInFlightLimit, labels, max.into());
    }
    if let Some(latency) = state.latency(now) {
        let latency = latency.as_secs_f64();
        out.gauge(Metric::ServerLatencySeconds, labels, latency);
    }
    let results = ["pass", "fail", "inconclusive"].into_iter();
    for (result, count) in results.zip(&server.metrics.checks) {
        let labels = [labels[0], labels[1], ("result", result.into())];
        out.counter(Metric::ServerChecksTotal, &labels, count.total());
    }
    for (status, count) in ["up", "down"].into_iter().zip(&server.metrics.changes) {
        let labels = [labels[0], labels[1], ("status", status.into())];
        out.counter(Metric::ServerStatusChangesTotal, &labels, count.total());
    }
}

fn histogram(metric: Metric, labels: &[Label<'_>], times: &HistogramTotals, out: &mut Exposition) {
    let mut buckets = [(0.0, 0); SHOWN.len()];
    let mut first = 0;
    for (shown, micros) in buckets.iter_mut().zip(SHOWN) {
        let next = bucket(micros) + 1;
        *shown = (seconds(micros), times.counts[first..next].iter().sum());
        first = next;
    }
    let histogram = Histogram {
        buckets: &buckets,
        above: times.counts[first..].iter().sum(),
        sum: seconds(times.sum_micros),
    };
    out.histogram(metric, labels, histogram);
}

fn seconds(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64()
}

/// Bounds of the page in microseconds, of those that are counted by: few enough for the page of a
/// thousand servers to be paid for, and such as people write into alerts.
const SHOWN: [u64; 16] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Format;
    use catamaran_core::latency::BOUNDS;

    #[test]
    fn the_bounds_of_the_page_are_counted_by() {
        for micros in SHOWN {
            assert_eq!(BOUNDS[bucket(micros)], micros);
        }
    }

    #[test]
    fn no_time_is_lost_between_the_bounds_of_the_page() {
        let mut times = HistogramTotals::default();
        times.counts.fill(1);
        let mut out = Exposition::new();
        histogram(Metric::FrontendDurationSeconds, &[], &times, &mut out);
        let page = out.finish(Format::Prometheus);
        let count = times.count();
        assert!(page.contains(&format!("le=\"+Inf\"}} {count}\n")), "{page}");
        let up_to_1_ms = bucket(1000) + 1;
        let line = format!("le=\"0.001\"}} {up_to_1_ms}\n");
        assert!(page.contains(&line), "{page}");
    }
}
