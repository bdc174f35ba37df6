//! What is counted of traffic: each worker counts for itself, and who reads sums over the workers.
//!
//! Frontends, routes, backends and servers count the same things, so that one can be held against
//! the other. A worker makes its counters when it first needs them. They take 0.4 KiB without
//! latencies; the three histograms take 1.6 KiB more, which servers get only while there are few
//! enough of them (`process.server-histograms`).

use super::Metered;
use crate::outcome::Outcome;
use catamaran_core::latency::{self, BUCKETS};
use catamaran_core::model::Name;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Counters of which every worker has its own.
#[derive(Debug)]
pub struct PerWorker<T>(Box<[OnceLock<Box<T>>]>);

/// The counters of one route.
#[derive(Debug)]
pub struct RouteCounts {
    /// The route's name.
    pub name: Name,
    /// Its traffic.
    pub workers: PerWorker<Traffic>,
}

impl<T> PerWorker<T> {
    /// None so far, of `workers` workers.
    pub(crate) fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| OnceLock::new()).collect())
    }

    /// Those of the worker of this index; `make` makes them at first.
    #[inline]
    pub(crate) fn of(&self, worker: usize, make: impl FnOnce() -> T) -> &T {
        let slot = &self.0[worker];
        match slot.get() {
            Some(counts) => counts,
            None => slot.get_or_init(|| Box::new(make())),
        }
    }

    /// Those of all workers that counted anything.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0
            .iter()
            .filter_map(|slot| slot.get().map(AsRef::as_ref))
    }

    /// One counter, summed over the workers.
    pub fn sum(&self, of: impl Fn(&T) -> &Metered) -> u64 {
        self.iter().map(|counts| of(counts).total()).sum()
    }
}

/// What one worker counts of the traffic of one frontend, route, backend or server. Those of other
/// workers lie on other cache lines.
#[derive(Debug)]
#[repr(align(64))]
pub struct Traffic {
    /// Exchanges and relays that began; tries, for a server.
    pub begun: Metered,
    /// What was refused before it began: it has an outcome and nothing else.
    pub refused: Metered,
    /// Bytes of clients, their requests' heads included.
    pub bytes_in: Metered,
    /// Bytes to clients, the heads of responses included.
    pub bytes_out: Metered,
    /// Responses by class of status, 1xx at index 1; at index 0 what had none.
    pub statuses: [Metered; 6],
    /// Exchanges and relays by how they ended, by [`Outcome::index`]; what was refused too.
    pub outcomes: [Metered; Outcome::ALL.len()],
    /// How long things took.
    pub latencies: Option<Box<Latencies>>,
}

/// How long things took.
#[derive(Debug, Default)]
pub struct Latencies {
    /// Making a connection to the server, where one was made.
    pub connect: Histogram,
    /// From sending the request to the head of the response.
    pub first_byte: Histogram,
    /// From the request's head to the response's end; the life of a relay.
    pub total: Histogram,
}

/// Times by size, in the buckets of [`catamaran_core::latency`].
#[derive(Debug)]
pub struct Histogram {
    counts: [Metered; BUCKETS],
    /// Sum of the times in microseconds.
    sum: Metered,
}

/// The times of an exchange or relay, as counted at its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    connect: Option<Sized>,
    first_byte: Option<Sized>,
    total: Sized,
}

/// A time in microseconds and its bucket, found once for all histograms that it goes into.
#[derive(Clone, Copy, Debug)]
struct Sized {
    micros: u64,
    bucket: usize,
}

/// The end of an exchange or relay.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    /// [`Outcome::index`].
    pub(crate) outcome: usize,
    /// By [`class_of`].
    pub(crate) class: usize,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    pub(crate) times: Times,
}

impl Traffic {
    /// Nothing so far, with latencies.
    pub(crate) fn new() -> Self {
        Self::with(Some(Box::default()))
    }

    /// Nothing so far; without latencies.
    pub(crate) fn without_latencies() -> Self {
        Self::with(None)
    }

    fn with(latencies: Option<Box<Latencies>>) -> Self {
        Self {
            begun: Metered::default(),
            refused: Metered::default(),
            bytes_in: Metered::default(),
            bytes_out: Metered::default(),
            statuses: Default::default(),
            outcomes: [const { Metered::new() }; Outcome::ALL.len()],
            latencies,
        }
    }

    /// Counts the end of an exchange or relay.
    ///
    /// In line always: three or four objects count each end, and what they count is then read once.
    #[inline(always)]
    pub(crate) fn end(&self, ended: &Ended) {
        self.bytes_in.add_alone(ended.bytes_in);
        self.bytes_out.add_alone(ended.bytes_out);
        self.outcomes[ended.outcome].add_alone(1);
        self.statuses[ended.class].add_alone(1);
        if let Some(latencies) = &self.latencies {
            latencies.add(&ended.times);
        }
    }

    /// Counts what was refused before it was a request.
    pub(crate) fn refuse(&self, outcome: Outcome, status: Option<u16>) {
        self.outcomes[outcome.index()].add_alone(1);
        self.statuses[class_of(status)].add_alone(1);
        self.refused.add_alone(1);
    }
}

/// The place of a status in [`Traffic::statuses`].
pub(crate) fn class_of(status: Option<u16>) -> usize {
    let class = usize::from(status.unwrap_or_default() / 100);
    if class < 6 { class } else { 0 }
}

impl Latencies {
    fn add(&self, times: &Times) {
        if let Some(connect) = times.connect {
            self.connect.add(connect);
        }
        if let Some(first_byte) = times.first_byte {
            self.first_byte.add(first_byte);
        }
        self.total.add(times.total);
    }
}

impl Histogram {
    /// Counts a time.
    pub(crate) fn observe(&self, time: Duration) {
        self.add(Sized::of(time));
    }

    fn add(&self, time: Sized) {
        self.counts[time.bucket].add_alone(1);
        self.sum.add_alone(time.micros);
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: [const { Metered::new() }; BUCKETS],
            sum: Metered::default(),
        }
    }
}

impl Times {
    pub(crate) fn new(
        connect: Option<Duration>,
        first_byte: Option<Duration>,
        total_micros: u64,
    ) -> Self {
        Self {
            connect: connect.map(Sized::of),
            first_byte: first_byte.map(Sized::of),
            total: Sized::of_micros(total_micros),
        }
    }
}

impl Sized {
    fn of(time: Duration) -> Self {
        let micros = time.as_secs().saturating_mul(1_000_000);
        Self::of_micros(micros.saturating_add(u64::from(time.subsec_micros())))
    }

    fn of_micros(micros: u64) -> Self {
        Self {
            micros,
            // Said again here, so that it is not checked for each histogram.
            bucket: latency::bucket(micros).min(BUCKETS - 1),
        }
    }
}

/// What all workers counted of one frontend, route, backend or server.
#[derive(Clone, Debug)]
pub struct TrafficTotals {
    /// As [`Traffic::begun`].
    pub begun: u64,
    /// Those that ended.
    pub ended: u64,
    /// As [`Traffic::bytes_in`].
    pub bytes_in: u64,
    /// As [`Traffic::bytes_out`].
    pub bytes_out: u64,
    /// Responses by class of status, 1xx at index 0.
    pub statuses: [u64; 5],
    /// As [`Traffic::outcomes`].
    pub outcomes: [u64; Outcome::ALL.len()],
    /// Making connections.
    pub connect: HistogramTotals,
    /// Until the heads of responses.
    pub first_byte: HistogramTotals,
    /// Until the ends of responses.
    pub total: HistogramTotals,
}

/// What all workers counted in one histogram.
#[derive(Clone, Debug)]
pub struct HistogramTotals {
    /// By bucket of [`catamaran_core::latency`].
    pub counts: [u64; BUCKETS],
    /// Sum of the times in microseconds.
    pub sum_micros: u64,
}

impl TrafficTotals {
    /// Sums what each worker counted.
    pub fn of<'a>(workers: impl Iterator<Item = &'a Traffic>) -> Self {
        let mut totals = Self::default();
        for worker in workers {
            totals.add(worker);
        }
        totals
    }

    /// Exchanges and relays under way.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.begun.saturating_sub(self.ended)
    }

    fn add(&mut self, worker: &Traffic) {
        // In this order, so that what ends between the two looks is not taken for more than began.
        let refused = worker.refused.total();
        let mut outcomes = [0; Outcome::ALL.len()];
        add_all(&mut outcomes, &worker.outcomes);
        self.ended += outcomes.iter().sum::<u64>().saturating_sub(refused);
        for (total, count) in self.outcomes.iter_mut().zip(outcomes) {
            *total += count;
        }
        self.begun += worker.begun.total();
        self.bytes_in += worker.bytes_in.total();
        self.bytes_out += worker.bytes_out.total();
        add_all(&mut self.statuses, &worker.statuses[1..]);
        if let Some(latencies) = &worker.latencies {
            self.connect.add(&latencies.connect);
            self.first_byte.add(&latencies.first_byte);
            self.total.add(&latencies.total);
        }
    }
}

impl Default for TrafficTotals {
    fn default() -> Self {
        Self {
            begun: 0,
            ended: 0,
            bytes_in: 0,
            bytes_out: 0,
            statuses: [0; 5],
            outcomes: [0; Outcome::ALL.len()],
            connect: HistogramTotals::default(),
            first_byte: HistogramTotals::default(),
            total: HistogramTotals::default(),
        }
    }
}

impl HistogramTotals {
    /// Adds what one worker counted.
    pub fn add(&mut self, histogram: &Histogram) {
        add_all(&mut self.counts, &histogram.counts);
        self.sum_micros += histogram.sum.total();
    }

    /// How many times were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

impl Default for HistogramTotals {
    fn default() -> Self {
        Self {
            counts: [0; BUCKETS],
            sum_micros: 0,
        }
    }
}

fn add_all(totals: &mut [u64], counts: &[Metered]) {
    for (total, count) in totals.iter_mut().zip(counts) {
        *total += count.total();
    }
}

/// What the counters of servers are made by: as many workers, and histograms while there are any
/// left to give out.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) workers: usize,
    histograms: Arc<Slots>,
}

/// Servers that may still get histograms.
#[derive(Debug)]
struct Slots {
    max: AtomicUsize,
    taken: AtomicUsize,
}

/// A server's right to histograms; given back when dropped.
#[derive(Debug)]
pub(crate) struct Slot(Arc<Slots>);

impl Layout {
    /// For as many workers, and histograms for as many servers.
    pub(crate) fn new(workers: usize, max_histograms: usize) -> Self {
        Self {
            workers,
            histograms: Arc::new(Slots {
                max: AtomicUsize::new(max_histograms),
                taken: AtomicUsize::new(0),
            }),
        }
    }

    /// Changes for how many servers; those that have histograms keep them.
    pub(crate) fn set_max_histograms(&self, max: usize) {
        self.histograms.max.store(max, Ordering::Relaxed);
    }

    /// A server's right to histograms, if there is one left.
    pub(crate) fn take_slot(&self) -> Option<Slot> {
        let slots = &self.histograms;
        let max = slots.max.load(Ordering::Relaxed);
        slots
            .taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                (taken < max).then_some(taken + 1)
            })
            .is_ok()
            .then(|| Slot(Arc::clone(slots)))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(outcome: Outcome, millis: u64) -> Ended {
        Ended {
            outcome: outcome.index(),
            class: class_of(Some(204)),
            bytes_in: 10,
            bytes_out: 100,
            times: Times::new(None, None, millis * 1000),
        }
    }

    #[test]
    fn what_workers_count_apart_is_summed() {
        let all = PerWorker::new(3);
        for worker in [0, 2] {
            let traffic = all.of(worker, Traffic::new);
            traffic.begun.add_alone(2);
            traffic.end(&ended(Outcome::Done, 5));
        }
        assert_eq!(all.iter().count(), 2);
        assert_eq!(all.sum(|traffic| &traffic.begun), 4);
        let totals = TrafficTotals::of(all.iter());
        assert_eq!((totals.in_flight(), totals.bytes_out), (2, 200));
        assert_eq!(totals.statuses, [0, 2, 0, 0, 0]);
        assert_eq!(totals.outcomes[Outcome::Done.index()], 2);
        assert_eq!(totals.total.counts[latency::bucket(5000)], 2);
        assert_eq!((totals.total.count(), totals.total.sum_micros), (2, 10_000));
        assert_eq!(totals.connect.count(), 0);
    }

    #[test]
    fn what_was_refused_has_an_outcome_and_was_never_in_flight() {
        let traffic = Traffic::without_latencies();
        for status in [None, Some(0), Some(99), Some(600), Some(u16::MAX)] {
            traffic.refuse(Outcome::NoRequest, status);
        }
        let totals = TrafficTotals::of([&traffic].into_iter());
        assert_eq!(totals.statuses, [0; 5]);
        assert_eq!((totals.ended, totals.in_flight()), (0, 0));
        assert_eq!(totals.outcomes[Outcome::NoRequest.index()], 5);
    }

    #[test]
    fn only_so_many_servers_get_histograms_and_one_that_goes_gives_its_right_back() {
        let layout = Layout::new(1, 2);
        let first = layout.take_slot();
        let second = layout.take_slot();
        assert!(first.is_some() && second.is_some() && layout.take_slot().is_none());
        drop(first);
        assert!(layout.take_slot().is_some());
        layout.set_max_histograms(0);
        assert!(layout.take_slot().is_none());
    }

    #[test]
    fn counters_take_the_memory_that_is_told() {
        assert!(size_of::<Traffic>() <= 384);
        assert!(size_of::<Latencies>() <= 1664);
    }
}
