//! The counters of the data plane and of the watch over its servers, read out for the page.

use crate::metrics::{CountedBefore, Exposition, Histogram, Label, Metric, MetricsSource};
use crate::reload::Reloader;
use crate::resolve::LookupCounts;
use crate::{Clock, VirtualIps};
use catamaran_core::health::{ProbeResult, Status};
use catamaran_proxy::{Backend, Frontend, LATENCY_BOUNDS, Metered, Outcome, Server, Shared};
use catamaran_proxy::{FrontendMetrics, WorkerMetrics};

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Everything that is counted.
#[derive(Debug)]
pub(crate) struct PlaneMetrics {
    shared: Arc<Shared>,
    clock: Clock,
    lookups: Arc<LookupCounts>,
    reloader: Arc<Reloader>,
    virtual_ips: VirtualIps,
    /// Pass, fail, inconclusive.
    checks: [AtomicU64; 3],
    /// Up, down.
    changes: [AtomicU64; 2],
    /// What was counted before this process.
    base: CountedBefore,
}

impl PlaneMetrics {
    pub(crate) fn new(
        shared: Arc<Shared>,
        clock: Clock,
        lookups: Arc<LookupCounts>,
        reloader: Arc<Reloader>,
        virtual_ips: VirtualIps,
        base: CountedBefore,
    ) -> Self {
        Self {
            shared,
            clock,
            lookups,
            reloader,
            virtual_ips,
            checks: Default::default(),
            changes: Default::default(),
            base,
        }
    }

    pub(crate) fn count_check(&self, result: ProbeResult) {
        let index = match result {
            ProbeResult::Pass => 0,
            ProbeResult::Fail => 1,
            ProbeResult::Inconclusive => 2,
        };
        self.checks[index].fetch_add(1, Relaxed);
    }

    pub(crate) fn count_status(&self, status: Status) {
        let index = match status {
            Status::Up => 0,
            Status::Down => 1,
        };
        self.changes[index].fetch_add(1, Relaxed);
    }

    /// Drops affinity entries whose window is over.
    pub(crate) fn expire_stick(&self) {
        let now = self.clock.now();
        for backend in &*self.shared.snapshot().backends {
            backend.expire_stick(now);
        }
    }

    fn process(&self, out: &mut Exposition) {
        let mut total = |metric, of: fn(&WorkerMetrics) -> &Metered| {
            let workers = self.shared.worker_metrics.iter();
            out.counter(metric, &[], workers.map(|worker| of(worker).total()).sum());
        };
        total(Metric::PanicsTotal, |w| &w.panics);
        total(Metric::AcceptsExhaustedTotal, |w| &w.accepts_exhausted);
        total(Metric::ConnectsExhaustedTotal, |w| &w.connects_exhausted);
        total(Metric::ConnectionsHandedOverTotal, |w| &w.handed_over);
        total(Metric::WorkerStallsTotal, |w| &w.stalls);
        total(Metric::ConnectionsAdoptedTotal, |w| &w.adopted);
        total(Metric::FlowsEvictedTotal, |w| &w.flows_evicted);
        total(Metric::DatagramsDroppedTotal, |w| &w.datagrams_dropped);
        total(Metric::MirrorsSkippedTotal, |w| &w.mirrors_skipped);
        total(Metric::MirrorsFailedTotal, |w| &w.mirrors_failed);
        let snapshot = self.shared.snapshot();
        let writers = snapshot.log_writers.values();
        let dropped = writers.map(|writer| writer.dropped()).sum();
        out.counter(Metric::AccessLogDroppedTotal, &[], dropped);
        let version = [("version", env!("CARGO_PKG_VERSION").into())];
        out.gauge(Metric::BuildInfo, &version, 1.0);
        for (result, count) in ["pass", "fail", "inconclusive"].iter().zip(&self.checks) {
            let labels = [("result", (*result).into())];
            out.counter(Metric::ServerChecksTotal, &labels, count.load(Relaxed));
        }
        for (status, count) in ["up", "down"].iter().zip(&self.changes) {
            let labels = [("status", (*status).into())];
            let count = count.load(Relaxed);
            out.counter(Metric::ServerStatusChangesTotal, &labels, count);
        }
    }

    fn frontend(frontend: &Frontend, out: &mut Exposition) {
        let label: Label<'_> = ("frontend", (&frontend.model.name).into());
        let total = |of: &dyn Fn(&FrontendMetrics) -> u64| -> u64 {
            frontend.metrics().iter().map(of).sum()
        };
        let mut counter = |metric, of: fn(&FrontendMetrics) -> &Metered| {
            out.counter(metric, &[label], total(&|f| of(f).total()));
        };
        counter(Metric::FrontendConnectionsTotal, |f| &f.connections);
        counter(Metric::FrontendReceivedBytesTotal, |f| &f.bytes_in);
        counter(Metric::FrontendSentBytesTotal, |f| &f.bytes_out);
        for (at, class) in ["1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().enumerate() {
            let labels = [label, ("class", class.into())];
            let count = total(&|f| f.statuses[at].total());
            out.counter(Metric::FrontendResponsesTotal, &labels, count);
        }
        for outcome in Outcome::ALL {
            let labels = [label, ("outcome", outcome.consequence().label.into())];
            let count = total(&|f| f.outcomes[outcome.index()].total());
            out.counter(Metric::FrontendOutcomesTotal, &labels, count);
        }
        let tarpit = &frontend.tarpit;
        out.gauge(Metric::FrontendTarpitted, &[label], gauge(tarpit.held()));
        out.counter(Metric::FrontendTarpitFullTotal, &[label], tarpit.full());
        let bounds = LATENCY_BOUNDS.iter().enumerate();
        let buckets: Vec<(f64, u64)> = bounds
            .map(|(at, bound)| (seconds(*bound), total(&|f| f.latency[at].total())))
            .collect();
        let histogram = Histogram {
            buckets: &buckets,
            above: total(&|f| f.latency[LATENCY_BOUNDS.len()].total()),
            sum: seconds(total(&|f| f.latency_sum_micros.total())),
        };
        out.histogram(Metric::FrontendDurationSeconds, &[label], histogram);
    }

    fn backend(&self, backend: &Backend, out: &mut Exposition) {
        let label: Label<'_> = ("backend", (&backend.model.name).into());
        let counts = &backend.metrics;
        for (metric, count) in [
            (Metric::BackendQueuedTotal, &counts.queued),
            (Metric::BackendQueueFailuresTotal, &counts.queue_failures),
            (Metric::BackendNoServerTotal, &counts.no_server),
            (Metric::BackendRetriesRefusedTotal, &counts.budget_spent),
        ] {
            out.counter(metric, &[label], count.total());
        }
        let set = backend.set();
        let usable = set.servers.iter().filter(|s| s.state.is_usable()).count();
        let waiting = backend.waiting();
        let panic = usize::from(set.rotation.is_panicking());
        for (metric, value) in [
            (Metric::BackendQueueLength, waiting),
            (Metric::BackendServersUsable, usable),
            (Metric::BackendPanic, panic),
        ] {
            out.gauge(metric, &[label], gauge(value));
        }
        if let Some(entries) = backend.stick_entries() {
            out.gauge(Metric::BackendStickEntries, &[label], gauge(entries));
        }
        for server in &set.servers {
            let labels = [label, ("server", (&server.model.name).into())];
            self.server(server, &labels, out);
        }
    }

    fn server(&self, server: &Server, labels: &[Label<'_>], out: &mut Exposition) {
        let counts = &server.metrics;
        for (metric, count) in [
            (Metric::ServerRequestsTotal, &counts.requests),
            (Metric::ServerConnectsTotal, &counts.connects),
            (Metric::ServerConnectFailuresTotal, &counts.connect_failures),
            (Metric::ServerReusesTotal, &counts.reuses),
            (Metric::ServerRetriesTotal, &counts.retries),
            (Metric::ServerFailuresTotal, &counts.failures),
        ] {
            out.counter(metric, labels, count.total());
        }
        let state = &server.state;
        let is_up = !state.is_checked_down() && !state.is_refusing();
        let weight = state.weight().unwrap_or(server.model.weight);
        for (metric, value) in [
            (Metric::ServerUp, u32::from(is_up)),
            (Metric::ServerEjected, u32::from(state.is_ejected())),
            (Metric::ServerWeight, u32::from(weight.as_u16())),
            (Metric::ServerInFlight, state.in_flight()),
            (Metric::ServerConnectionsOpen, state.open_connections()),
        ] {
            out.gauge(metric, labels, value.into());
        }
        if let Some(latency) = state.latency(self.clock.now()) {
            let latency = latency.as_secs_f64();
            out.gauge(Metric::ServerLatencySeconds, labels, latency);
        }
    }
}

impl MetricsSource for PlaneMetrics {
    fn collect(&self, out: &mut Exposition) {
        out.add_base(self.base.get());
        self.process(out);
        let snapshot = self.shared.snapshot();
        for frontend in &snapshot.frontends {
            Self::frontend(frontend, out);
        }
        for backend in &*snapshot.backends {
            self.backend(backend, out);
        }
        for list in &*snapshot.tables.lists {
            let labels = [("list", (&list.model.name).into())];
            out.gauge(Metric::ListEntries, &labels, gauge(list.len()));
        }
        for map in &*snapshot.tables.maps {
            let labels = [("map", (&map.model.name).into())];
            out.gauge(Metric::MapEntries, &labels, gauge(map.len()));
        }
        self.lookups.collect(out);
        self.reloader.collect(out);
        self.virtual_ips.collect(out);
    }
}

fn seconds(micros: u64) -> f64 {
    std::time::Duration::from_micros(micros).as_secs_f64()
}

fn gauge(count: usize) -> f64 {
    u32::try_from(count).unwrap_or(u32::MAX).into()
}
