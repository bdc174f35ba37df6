//! Sends the traces of sampled exchanges to a collector, in OpenTelemetry's protocol over HTTP.
//!
//! ```text
//! workers --Spans--> export: batch -> otlp -> client -> delivery: taken, tried again, lost
//! ```
//! Protobuf, not JSON: every collector takes it (some take nothing else), and it costs a fraction.
//! Whatever the collector does, workers never wait: the queue has its limit, what finds it full is
//! counted, and a batch is given up after half a minute.

mod client;
mod delivery;
mod otlp;
mod protobuf;

use crate::Clock;
use crate::metrics::{Exposition, Metric};
use crate::resolve::{Answer, Dns, Lookup, Question, Records};
use catamaran_core::Timestamp;
use catamaran_core::model::{Collector, ServerAddr};
use catamaran_proxy::{Record, Shared, SpansTaker, Tracing};
use delivery::{Delivery, Notice, Verdict};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// What became of spans.
#[derive(Debug, Default)]
pub(crate) struct ExportCounts {
    exported: AtomicU64,
    failed: AtomicU64,
    is_away: AtomicBool,
}

impl ExportCounts {
    /// Writes them, and what the queue of `shared` counts.
    pub(crate) fn collect(&self, shared: &Shared, out: &mut Exposition) {
        let spans = shared.spans();
        for (metric, count) in [
            (Metric::TracingDroppedTotal, spans.dropped.total()),
            (Metric::TracingLimitedTotal, spans.limited.total()),
            (
                Metric::TracingSpansExportedTotal,
                self.exported.load(Ordering::Relaxed),
            ),
            (
                Metric::TracingSpansFailedTotal,
                self.failed.load(Ordering::Relaxed),
            ),
        ] {
            out.counter(metric, &[], count);
        }
        if let Some(tracing) = &shared.snapshot().tracing {
            let gauge = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
            out.gauge(Metric::TracingQueueLength, &[], gauge(spans.waiting()));
            out.gauge(Metric::TracingQueueLimit, &[], gauge(tracing.model.queue));
            let is_away = self.is_away.load(Ordering::Relaxed);
            out.gauge(
                Metric::TracingCollectorUp,
                &[],
                f64::from(u8::from(!is_away)),
            );
        }
    }
}

/// Sends what the workers sample, for ever.
pub(crate) async fn export<L: Lookup>(
    shared: &Arc<Shared>,
    clock: Clock,
    dns: Arc<L>,
    counts: &ExportCounts,
) {
    let Some(taker) = shared.spans().taker() else {
        // Another control plane of the same data plane has it, as in tests.
        return;
    };
    let exporter = Exporter {
        shared,
        clock,
        dns,
        counts,
        changes: shared.changes(),
        taker,
        delivery: Delivery::default(),
        rng: fastrand::Rng::new(),
        last: None,
    };
    exporter.run().await;
}

/// Goes on sending what the workers sample where the rest of the control plane has ended: a process
/// that another one has replaced may finish requests for hours. Never returns; drop it to end it.
pub async fn send_traces(shared: Arc<Shared>, resolvers: &[SocketAddr]) {
    let clock = Clock::starting_at(Timestamp::from_nanos(catamaran_sys::clock::now_nanos()));
    let dns = Arc::new(Dns::new(resolvers));
    export(&shared, clock, dns, &ExportCounts::default()).await;
    std::future::pending::<()>().await;
}

struct Exporter<'a, L> {
    shared: &'a Arc<Shared>,
    clock: Clock,
    dns: Arc<L>,
    counts: &'a ExportCounts,
    changes: watch::Receiver<()>,
    taker: SpansTaker,
    delivery: Delivery,
    rng: fastrand::Rng,
    /// By what was traced last: what is still queued when that ends goes there too.
    last: Option<Arc<Tracing>>,
}

impl<L: Lookup> Exporter<'_, L> {
    async fn run(mut self) {
        let mut batch = Vec::new();
        loop {
            self.fill(&mut batch).await;
            self.deliver(&batch).await;
            self.taker.done();
            batch.clear();
        }
    }

    /// Waits for exchanges, then for a while for more.
    #[expect(
        clippy::vec_box,
        reason = "a worker hands a record over as a pointer; nobody moves it after that"
    )]
    async fn fill(&mut self, batch: &mut Vec<Box<Record>>) {
        self.taker.take(batch, BATCH).await;
        let until = Instant::now() + DELAY;
        while batch.len() < BATCH && !self.shared.is_draining() {
            // The process may begin to end meanwhile.
            let look = until.min(Instant::now() + LOOK);
            let more = self.taker.take(batch, BATCH - batch.len());
            if timeout_at(look, more).await.is_err() && Instant::now() >= until {
                break;
            }
        }
    }

    async fn deliver(&mut self, batch: &[Box<Record>]) {
        let spans = batch.iter().map(|record| otlp::spans(record)).sum();
        let mut body = None;
        loop {
            self.changes.mark_unchanged();
            let now_traced = self.shared.snapshot().tracing.clone();
            self.last = now_traced.or_else(|| self.last.take());
            let Some(tracing) = self.last.clone() else {
                self.counts.failed.fetch_add(spans, Ordering::Relaxed);
                return;
            };
            let body = body.get_or_insert_with(|| otlp::export(batch, &tracing.model));
            let limit = tracing.model.timeout;
            let sent = timeout(limit, self.send(&tracing.model.collector, body)).await;
            let sent = sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            let sent = sent.map_err(|error| error.to_string());
            let (verdict, notice) = self.delivery.handle(self.clock.now(), sent, &mut self.rng);
            let is_away = self.delivery.is_away();
            self.counts.is_away.store(is_away, Ordering::Relaxed);
            if let Some(notice) = notice {
                tell(&notice, &tracing.model.collector, self.shared);
            }
            match verdict {
                Verdict::Taken { rejected } => {
                    let rejected = rejected.min(spans);
                    let exported = &self.counts.exported;
                    exported.fetch_add(spans - rejected, Ordering::Relaxed);
                    self.counts.failed.fetch_add(rejected, Ordering::Relaxed);
                    return;
                }
                Verdict::Lost => {
                    self.counts.failed.fetch_add(spans, Ordering::Relaxed);
                    return;
                }
                Verdict::Again(wait) => self.pause(wait).await,
            }
        }
    }

    /// Waits, but not longer than until another configuration is served: it may name another
    /// collector.
    async fn pause(&mut self, wait: Duration) {
        tokio::select! {
            () = sleep(wait) => {}
            Ok(()) = self.changes.changed() => {}
        }
    }

    async fn send(&self, collector: &Collector, body: &[u8]) -> io::Result<delivery::Reply> {
        let addresses = self.addresses(&collector.address).await?;
        client::post(&addresses, collector, body).await
    }

    async fn addresses(&self, address: &ServerAddr) -> io::Result<Vec<SocketAddr>> {
        let (host, port) = match address {
            ServerAddr::Ip(address) => return Ok(vec![*address]),
            ServerAddr::Dns { host, port } => (host, *port),
            ServerAddr::Unix(_) | ServerAddr::Srv { .. } | ServerAddr::Etcd { .. } => {
                return Err(io::ErrorKind::Unsupported.into());
            }
        };
        let question = Question::Host(host.clone());
        let Answer::Host(answer) = self.dns.lookup(question).await else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let mut found = Vec::new();
        let mut why = "it has no address".to_owned();
        for records in [answer.v4, answer.v6] {
            match records {
                Records::Found { records, .. } => found.extend(records),
                Records::Nothing => {}
                Records::Failed(failure) => why = failure.to_string(),
            }
        }
        if found.is_empty() {
            return Err(io::Error::other(format!("`{host}` is not found: {why}")));
        }
        Ok(found
            .into_iter()
            .map(|ip| SocketAddr::new(ip, port))
            .collect())
    }
}

fn tell(notice: &Notice, collector: &Collector, shared: &Shared) {
    let collector = &collector.authority;
    match notice {
        Notice::Away(why) => tracing::warn!(
            %collector,
            "traces do not reach the collector: {why}; requests are served all the same"
        ),
        Notice::Back => tracing::info!(
            %collector,
            dropped = shared.spans().dropped.total(),
            "traces reach the collector again"
        ),
        Notice::Rejected(why) => {
            tracing::warn!(%collector, why, "the collector takes only a part of the spans");
        }
    }
}

/// Exchanges that are sent at once; chosen, as OpenTelemetry's own exporters have it.
const BATCH: usize = 512;
/// How long the first of a batch waits for others. Chosen; a person watching does not mind.
const DELAY: Duration = Duration::from_secs(1);
/// How often it is looked meanwhile whether the process ends.
const LOOK: Duration = Duration::from_millis(50);
