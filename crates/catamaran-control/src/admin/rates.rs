//! Rates and percentiles of the last seconds, from counters that only grow.
//!
//! [`Rates`] takes a sample of the counters every second and keeps those of the last
//! [`WINDOW`]; a rate is the difference of the newest and the oldest over the time between them,
//! by the monotonic clock. What is known by a name that a new configuration gives to something else
//! shows no negative rate but none.

use catamaran_core::Timestamp;
use catamaran_core::latency::quantile;
use catamaran_core::model::Name;
use catamaran_proxy::{Frontend, Outcome, Shared, Snapshot};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The samples of the last seconds.
#[derive(Debug, Default)]
pub(crate) struct Rates(Mutex<VecDeque<Sample>>);

/// The counters at one time.
#[derive(Debug)]
struct Sample {
    at: Timestamp,
    frontends: HashMap<Name, FrontendTotals>,
    /// By `Server::id`: requests, failures.
    servers: HashMap<u64, [u64; 2]>,
    /// Longest time in this second that each worker ran late, in nanoseconds.
    lags: Vec<u64>,
}

/// Counters of one frontend, over all workers.
#[derive(Clone, Debug)]
pub(crate) struct FrontendTotals {
    /// Connections accepted.
    pub(crate) connections: u64,
    /// Exchanges and relays that ended.
    pub(crate) exchanges: u64,
    /// Those of them that ended by a failure.
    pub(crate) failures: u64,
    /// Bytes received from clients.
    pub(crate) bytes_in: u64,
    /// Bytes sent to clients.
    pub(crate) bytes_out: u64,
    /// By `Outcome::index`.
    pub(crate) outcomes: Vec<u64>,
    /// Responses by class, 1xx at index 0.
    pub(crate) statuses: [u64; 5],
    /// Times by bucket.
    latency: Vec<u64>,
}

/// What a frontend did each second of the last few.
#[derive(Clone, Debug, JsonSchema, Serialize)]
pub(crate) struct FrontendRates {
    /// Connections accepted per second.
    pub(crate) connections: f64,
    /// Exchanges (relays, for TCP and UDP) that ended per second.
    pub(crate) exchanges: f64,
    /// Those that ended by a failure of server or balancer, per second.
    failures: f64,
    /// Bytes received from clients per second.
    bytes_in: f64,
    /// Bytes sent to clients per second.
    bytes_out: f64,
    /// Time of exchanges in milliseconds; none without exchanges.
    latency_ms: Option<Percentiles>,
}

/// Percentiles in milliseconds, interpolated within the buckets of the histogram.
#[derive(Clone, Copy, Debug, PartialEq, JsonSchema, Serialize)]
pub(crate) struct Percentiles {
    p50: f64,
    p90: f64,
    p99: f64,
}

/// What a server did each second of the last few.
#[derive(Clone, Copy, Debug, Default, JsonSchema, Serialize)]
pub(crate) struct ServerRates {
    /// Exchanges and relays given to it per second.
    pub(crate) requests: f64,
    /// Responses of class 5xx, and exchanges without one, per second.
    failures: f64,
}

/// The rates at one time.
#[derive(Debug)]
pub(crate) struct View<'a>(MutexGuard<'a, VecDeque<Sample>>);

impl Rates {
    /// Takes a sample. Returns the lag of each worker since the last one.
    pub(crate) fn sample(&self, now: Timestamp, shared: &Shared) -> Vec<Duration> {
        let workers = shared.worker_metrics.iter();
        let lags: Vec<u64> = workers.map(|worker| worker.lag.take_worst()).collect();
        let snapshot = shared.snapshot();
        let sample = Sample {
            at: now,
            frontends: frontends(&snapshot),
            servers: servers(&snapshot),
            lags: lags.clone(),
        };
        let mut samples = self.lock();
        samples.push_back(sample);
        while samples.len() > KEPT {
            samples.pop_front();
        }
        lags.into_iter().map(Duration::from_nanos).collect()
    }

    /// The rates now.
    pub(crate) fn view(&self) -> View<'_> {
        View(self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Sample>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl View<'_> {
    /// The rates of the frontend of that name; none before the second sample.
    pub(crate) fn frontend(&self, name: &Name) -> Option<FrontendRates> {
        let (old, new, seconds) = self.ends()?;
        let (old, new) = (old.frontends.get(name)?, new.frontends.get(name)?);
        let rate = |of: fn(&FrontendTotals) -> u64| per_second(of(old), of(new), seconds);
        let both = new.latency.iter().zip(&old.latency);
        let latency: Vec<u64> = both.map(|(new, old)| new.saturating_sub(*old)).collect();
        Some(FrontendRates {
            connections: rate(|f| f.connections),
            exchanges: rate(|f| f.exchanges),
            failures: rate(|f| f.failures),
            bytes_in: rate(|f| f.bytes_in),
            bytes_out: rate(|f| f.bytes_out),
            latency_ms: Percentiles::of(&latency),
        })
    }

    /// The rates of a server.
    pub(crate) fn server(&self, id: u64) -> Option<ServerRates> {
        let (old, new, seconds) = self.ends()?;
        let (old, new) = (old.servers.get(&id)?, new.servers.get(&id)?);
        Some(ServerRates {
            requests: per_second(old[0], new[0], seconds),
            failures: per_second(old[1], new[1], seconds),
        })
    }

    /// How late the worker of this index ran at most in the window.
    pub(crate) fn lag(&self, worker: usize) -> Option<Duration> {
        let lags = self.0.iter().filter_map(|sample| sample.lags.get(worker));
        lags.max().copied().map(Duration::from_nanos)
    }

    fn ends(&self) -> Option<(&Sample, &Sample, f64)> {
        let (old, new) = (self.0.front()?, self.0.back()?);
        let seconds = new.at.saturating_since(old.at).as_secs_f64();
        (seconds > 0.0).then_some((old, new, seconds))
    }
}

impl Percentiles {
    fn of(buckets: &[u64]) -> Option<Self> {
        Some(Self {
            p50: millis(buckets, 0.5)?,
            p90: millis(buckets, 0.9)?,
            p99: millis(buckets, 0.99)?,
        })
    }
}

fn millis(buckets: &[u64], share: f64) -> Option<f64> {
    quantile(buckets, share).map(|micros| rounded(micros / 1000.0))
}

fn per_second(old: u64, new: u64, seconds: f64) -> f64 {
    rounded(float(new.saturating_sub(old)) / seconds)
}

/// Three digits behind the point are what a reader can use.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

#[expect(clippy::cast_precision_loss, reason = "a rate needs no more digits")]
const fn float(count: u64) -> f64 {
    count as f64
}

fn frontends(snapshot: &Snapshot) -> HashMap<Name, FrontendTotals> {
    let each = snapshot.frontends.iter();
    each.map(|frontend| (frontend.model.name.clone(), frontend_totals(frontend)))
        .collect()
}

/// The counters of a frontend, summed over the workers.
pub(crate) fn frontend_totals(frontend: &Frontend) -> FrontendTotals {
    let traffic = super::frontend_traffic(frontend);
    let outcomes = traffic.outcomes.to_vec();
    let is_failure = |outcome: &Outcome| outcome.consequence().status >= 500;
    let failed = Outcome::ALL.into_iter().filter(is_failure);
    FrontendTotals {
        connections: connections_accepted(frontend),
        exchanges: outcomes.iter().sum(),
        failures: failed.map(|outcome| outcomes[outcome.index()]).sum(),
        bytes_in: traffic.bytes_in,
        bytes_out: traffic.bytes_out,
        outcomes,
        statuses: traffic.statuses,
        latency: traffic.total.counts.to_vec(),
    }
}

/// Connections that a frontend accepted.
pub(crate) fn connections_accepted(frontend: &Frontend) -> u64 {
    let workers = frontend.metrics().iter();
    workers.map(|counts| counts.connections.total()).sum()
}

fn servers(snapshot: &Snapshot) -> HashMap<u64, [u64; 2]> {
    let mut totals = HashMap::new();
    for backend in &*snapshot.backends {
        for server in &backend.set().servers {
            let workers = &server.metrics.workers;
            let both = [
                workers.sum(|counts| &counts.traffic.begun),
                workers.sum(|counts| &counts.failures),
            ];
            totals.insert(server.id(), both);
        }
    }
    totals
}

/// How often a sample is taken.
pub(crate) const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// Over how long rates are taken. Chosen: short enough to follow by eye, long enough that a rate of
/// one a second does not flicker.
pub(crate) const WINDOW: Duration = Duration::from_secs(5);
const KEPT: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_that_began_anew_shows_no_negative_rate() {
        assert!((per_second(100, 300, 2.0) - 100.0).abs() < 1e-9);
        assert!(per_second(300, 100, 2.0).abs() < 1e-9);
    }

    #[test]
    fn the_window_is_what_is_kept() {
        let kept = u32::try_from(KEPT).unwrap() - 1;
        assert_eq!(SAMPLE_INTERVAL * kept, WINDOW);
    }
}
