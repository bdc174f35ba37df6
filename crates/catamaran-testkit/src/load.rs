//! Open-loop load: requests begin at a fixed rate whatever becomes of the earlier ones.
//!
//! Request `n` is due at `start + n / rate`. Its latency counts from then, also when it had to
//! wait for a free connection: a system that hangs cannot hide the requests it delayed
//! (coordinated omission).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::client::{Client, request_bytes};
use crate::wire::WireError;

/// How a request failed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// No connection could be made.
    Connect,
    /// A response came, with this status instead of the expected one.
    Status(u16),
    /// A response came whole, but its body is not the expected one.
    Body,
    /// The exchange broke.
    Wire(WireError),
}

/// The load to make.
#[derive(Clone, Debug)]
pub struct Load {
    addr: SocketAddr,
    request: Vec<u8>,
    method: String,
    rate: f64,
    max_in_flight: usize,
    patience: Duration,
    keep_alive: bool,
    looks_first: bool,
    expected_status: u16,
    expected_body: Option<Vec<u8>>,
}

impl Load {
    /// GETs of `/` at this many per second, at most 256 in flight, on kept connections.
    #[must_use]
    pub fn new(addr: SocketAddr, rate: f64) -> Self {
        Self {
            addr,
            request: request_bytes("GET", "/", &[], b""),
            method: "GET".to_owned(),
            rate,
            max_in_flight: 256,
            patience: Duration::from_secs(60),
            keep_alive: true,
            looks_first: false,
            expected_status: 200,
            expected_body: None,
        }
    }

    /// Sends this request instead; see [`request_bytes`].
    #[must_use]
    pub fn request(mut self, method: &str, target: &str, fields: &[&str], body: &[u8]) -> Self {
        self.request = request_bytes(method, target, fields, body);
        method.clone_into(&mut self.method);
        self
    }

    /// Has at most this many requests in flight, each on a connection and thread of its own.
    #[must_use]
    pub const fn max_in_flight(mut self, count: usize) -> Self {
        self.max_in_flight = count;
        self
    }

    /// Gives a response up after this time.
    #[must_use]
    pub const fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Opens a connection for every request.
    #[must_use]
    pub const fn without_keep_alive(mut self) -> Self {
        self.keep_alive = false;
        self
    }

    /// Looks whether a kept connection has been closed before a request goes out on it, and opens
    /// another then, as browsers do. Without this it counts as a failure.
    #[must_use]
    pub const fn looking_first(mut self) -> Self {
        self.looks_first = true;
        self
    }

    /// Counts a response with another status as failed. 200 unless told.
    #[must_use]
    pub const fn expect_status(mut self, status: u16) -> Self {
        self.expected_status = status;
        self
    }

    /// Counts a response with another body as failed.
    #[must_use]
    pub fn expect_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.expected_body = Some(body.into());
        self
    }

    /// Starts the load; it goes on until stopped.
    #[must_use]
    pub fn start(self) -> RunningLoad {
        let threads = self.max_in_flight;
        let shared = Arc::new(Shared {
            load: self,
            start: Instant::now(),
            next: AtomicU64::new(0),
            stopping: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            peak_in_flight: AtomicUsize::new(0),
            report: Mutex::default(),
        });
        let threads = (0..threads)
            .map(|_| {
                let shared = Arc::clone(&shared);
                thread::Builder::new()
                    .stack_size(256 * 1024)
                    .spawn(move || shared.work())
                    .expect("the system allows a thread per request in flight")
            })
            .collect();
        RunningLoad { shared, threads }
    }

    /// Runs the load for this long and returns its report.
    #[must_use]
    pub fn run_for(self, time: Duration) -> Report {
        let running = self.start();
        thread::sleep(time);
        running.stop()
    }
}

/// Load being made.
#[derive(Debug)]
pub struct RunningLoad {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl RunningLoad {
    /// Requests in flight now.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight.load(Ordering::Relaxed)
    }

    /// What has been counted so far.
    #[must_use]
    pub fn so_far(&self) -> Report {
        self.shared.report()
    }

    /// Begins no more requests, waits for those in flight, and returns the report.
    #[must_use]
    pub fn stop(self) -> Report {
        self.shared.stopping.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().expect("a load thread does not panic");
        }
        self.shared.report()
    }
}

/// What became of the requests.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Requests answered as expected.
    pub ok: u64,
    /// Requests that failed, by kind.
    pub failed: BTreeMap<Failure, u64>,
    /// When each of the first 20 failures was noticed, after the start of the load.
    pub first_failures: Vec<(Duration, Failure)>,
    /// Most requests in flight at once.
    pub peak_in_flight: usize,
    /// What the slowest connection took to be made.
    pub slowest_connect: Duration,
    /// How long each answered request took from the time it was due, unsorted.
    pub latencies: Vec<Duration>,
}

impl Report {
    /// Requests that failed in any way.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    /// The latency that this share (0 to 1) of the answered requests did not exceed.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let last = sorted.len().checked_sub(1)?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index within the length, which is far below 2^52"
        )]
        let index = (last as f64 * share.clamp(0.0, 1.0)).round() as usize;
        Some(sorted[index])
    }
}

#[derive(Debug)]
struct Shared {
    load: Load,
    start: Instant,
    next: AtomicU64,
    stopping: AtomicBool,
    in_flight: AtomicUsize,
    peak_in_flight: AtomicUsize,
    report: Mutex<Report>,
}

impl Shared {
    fn report(&self) -> Report {
        let mut report = self
            .report
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        report.peak_in_flight = self.peak_in_flight.load(Ordering::Relaxed);
        report
    }

    fn work(&self) {
        let mut client = None;
        while !self.stopping.load(Ordering::Relaxed) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let due = self.start + Duration::from_secs_f64(number as f64 / self.load.rate);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if self.stopping.load(Ordering::Relaxed) {
                return;
            }
            let in_flight = self.in_flight.fetch_add(1, Ordering::Relaxed) + 1;
            self.peak_in_flight.fetch_max(in_flight, Ordering::Relaxed);
            let result = self.exchange(&mut client);
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            self.count(due, result);
        }
    }

    fn exchange(&self, kept: &mut Option<Client>) -> Result<(), Failure> {
        let stands = |client: &Client| !self.load.looks_first || !client.is_closed();
        let mut client = match kept.take().filter(stands) {
            Some(client) => client,
            None => self.connect()?,
        };
        let response = client
            .set_patience(self.load.patience)
            .map_err(WireError::from)
            .and_then(|()| client.send(&self.load.request))
            .and_then(|()| client.receive_response(&self.load.method))
            .map_err(Failure::Wire)?;
        if self.load.keep_alive && response.keeps_alive() {
            *kept = Some(client);
        }
        if response.status != self.load.expected_status {
            return Err(Failure::Status(response.status));
        }
        match &self.load.expected_body {
            Some(expected) if *expected != response.body => Err(Failure::Body),
            _ => Ok(()),
        }
    }

    fn connect(&self) -> Result<Client, Failure> {
        let began = Instant::now();
        let client = Client::connect(self.load.addr).map_err(|_| Failure::Connect)?;
        let took = began.elapsed();
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        report.slowest_connect = report.slowest_connect.max(took);
        Ok(client)
    }

    fn count(&self, due: Instant, result: Result<(), Failure>) {
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        match result {
            Ok(()) => {
                report.ok += 1;
                report.latencies.push(due.elapsed());
            }
            Err(failure) => {
                if report.first_failures.len() < 20 {
                    report
                        .first_failures
                        .push((self.start.elapsed(), failure.clone()));
                }
                *report.failed.entry(failure).or_default() += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ending, Origin, Reply};

    /// Lets the load go on until its report is `enough`.
    fn stop_after(load: RunningLoad, enough: impl Fn(&Report) -> bool) -> Report {
        while !enough(&load.so_far()) {
            thread::sleep(Duration::from_millis(5));
        }
        load.stop()
    }

    #[test]
    fn every_request_is_counted_and_latency_includes_the_wait() {
        let origin = Origin::http(|_| Reply::new(200, "ok").delay(Duration::from_millis(20)))
            .start()
            .unwrap();
        let load = Load::new(origin.addr(), 200.0)
            .max_in_flight(1)
            .expect_body("ok")
            .start();
        let report = stop_after(load, |report| report.ok >= 15);
        assert_eq!(report.failures(), 0, "{:?}", report.failed);
        assert_eq!(report.ok, origin.requests().len() as u64);
        // One connection serves 50 a second of the 200 due: the later ones waited long.
        assert!(report.quantile(1.0).unwrap() > Duration::from_millis(100));
    }

    #[test]
    fn a_connection_that_was_closed_meanwhile_is_no_failure_to_whoever_looks_first() {
        let origin = Origin::fixed(200, "ok").start().unwrap();
        let load = Load::new(origin.addr(), 200.0)
            .max_in_flight(2)
            .looking_first();
        let closing = Origin::http(|_| {
            Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").then(Ending::Close)
        });
        let closing = closing.start().unwrap();
        let report = stop_after(load.clone().start(), |report| report.ok >= 10);
        assert!(report.failures() == 0 && origin.accepted() <= 2);
        assert!(report.slowest_connect > Duration::ZERO);
        let load = Load {
            addr: closing.addr(),
            rate: 4.0,
            ..load
        };
        let report = stop_after(load.start(), |report| report.ok >= 6);
        assert_eq!(report.failures(), 0, "{:?}", report.failed);
    }

    #[test]
    fn failures_are_told_by_kind() {
        let origin = Origin::fixed(503, "").start().unwrap();
        let load = Load::new(origin.addr(), 500.0).max_in_flight(4).start();
        let report = stop_after(load, |report| report.failures() > 0);
        assert_eq!(report.ok, 0);
        assert!(report.failed.contains_key(&Failure::Status(503)));
    }
}
