//! The counters of the data plane and of the watch over its servers, read out for the page.

mod process;
mod traffic;

use crate::admin::{Plane, Rates};
use crate::keep::Copies;
use crate::metrics::{CountedBefore, Exposition, LabelValue, Metric, MetricsSource};
use crate::reload::Reloader;
use crate::resolve::LookupCounts;
use crate::trace::ExportCounts;
use crate::{Clock, Mesh, VirtualIps};
use catamaran_core::Timestamp;
use catamaran_proxy::{Metered, Shared, WorkerMetrics};

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Everything that is counted.
pub(crate) struct PlaneMetrics {
    shared: Arc<Shared>,
    clock: Clock,
    started: Timestamp,
    rates: Arc<Rates>,
    reloader: Arc<Reloader>,
    lookups: Arc<LookupCounts>,
    exported: Arc<ExportCounts>,
    virtual_ips: VirtualIps,
    mesh: Mesh,
    #[cfg(feature = "etcd")]
    fleet: Option<Arc<crate::etcd::FleetHandle>>,
    /// What was counted before this process.
    base: CountedBefore,
    /// What is copied for the process after it, if somebody holds that.
    copies: Option<Arc<Copies>>,
}

impl PlaneMetrics {
    pub(crate) fn new(
        plane: &Plane,
        (lookups, exported): (Arc<LookupCounts>, Arc<ExportCounts>),
        virtual_ips: VirtualIps,
        base: CountedBefore,
    ) -> Self {
        Self {
            shared: Arc::clone(&plane.shared),
            clock: plane.clock,
            started: plane.started,
            rates: Arc::clone(&plane.rates),
            reloader: Arc::clone(&plane.reloader),
            lookups,
            exported,
            virtual_ips,
            mesh: plane.mesh.clone(),
            #[cfg(feature = "etcd")]
            fleet: plane.fleet.clone(),
            base,
            copies: plane.keeper.as_ref().map(|keeper| keeper.copies()),
        }
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
        let uptime = self.clock.now().saturating_since(self.started);
        out.gauge(Metric::UptimeSeconds, &[], uptime.as_secs_f64());
        let open = self.shared.open_connections();
        out.gauge(Metric::ConnectionsOpen, &[], gauge(open));
        if let Some(max) = snapshot.config.process.max_connections {
            out.gauge(Metric::ConnectionsLimit, &[], gauge(max));
        }
        let limited = self.shared.connections_limited();
        out.counter(Metric::ConnectionsLimitedTotal, &[], limited);
        let flows = self.shared.max_flows * self.shared.worker_metrics.len();
        out.gauge(Metric::FlowsLimit, &[], gauge(flows));
        process::collect(out);
    }

    fn workers(&self, out: &mut Exposition) {
        let rates = self.rates.view();
        let each = self.shared.worker_metrics.iter().zip(&self.shared.loads);
        for (index, (metrics, load)) in each.enumerate() {
            let labels = [("worker", LabelValue::Number(index))];
            let open = gauge(load.load(Relaxed));
            out.gauge(Metric::WorkerConnectionsOpen, &labels, open);
            if let Some(busy) = metrics.busy() {
                let busy = busy.as_secs_f64();
                out.float_counter(Metric::WorkerBusySecondsTotal, &labels, busy);
            }
            if let Some(lag) = rates.lag(index) {
                out.gauge(Metric::WorkerLagSeconds, &labels, lag.as_secs_f64());
            }
        }
    }
}

impl std::fmt::Debug for PlaneMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlaneMetrics").finish_non_exhaustive()
    }
}

impl MetricsSource for PlaneMetrics {
    fn collect(&self, out: &mut Exposition) {
        out.add_base(self.base.get());
        self.process(out);
        self.workers(out);
        let snapshot = self.shared.snapshot();
        let now = self.clock.now();
        for frontend in &snapshot.frontends {
            traffic::frontend(frontend, out);
        }
        for backend in &*snapshot.backends {
            traffic::backend(backend, now, out);
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
        self.exported.collect(&self.shared, out);
        self.reloader.collect(out);
        self.virtual_ips.collect(out);
        self.mesh.collect(out);
        #[cfg(feature = "etcd")]
        if let Some(fleet) = &self.fleet {
            fleet.status().collect(out);
        }
        if let Some(copies) = &self.copies {
            copies.collect(out);
        }
    }
}

fn gauge(count: usize) -> f64 {
    u32::try_from(count).unwrap_or(u32::MAX).into()
}
