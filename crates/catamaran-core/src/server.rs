//! What all workers share about one server: its load, its status and its latency.
//!
//! Only atomics, so that a worker never waits for another. Orderings are relaxed: each value stands
//! for itself, and a worker that sees a change a moment later only picks on slightly older news.
//! Only the gauges are in one order with the lengths of wait queues: see `Gauge`.

use crate::Timestamp;
use crate::health::Status;
use crate::model::{Name, Weight};
use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst};
use std::time::Duration;

/// What the operator wants of a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Admin {
    /// Takes traffic as its health allows.
    #[default]
    Ready,
    /// Finishes what it has and takes nothing new; clients bound to it are bound anew.
    Drain,
    /// Out of service.
    Maintenance,
}

/// Shared state of one server, held by an `Arc` for as long as an exchange counts on it.
///
/// It outlives configurations: a reload that keeps the server keeps its state.
pub struct ServerState {
    name: Name,
    /// Zero means usable: the admin state in the two lowest bits, then one bit per reason, then what
    /// the operator says of its health; see [`is_usable`].
    status: AtomicU32,
    /// [`NO_OVERRIDE`], or the weight that stands in for the configured one.
    weight: AtomicU32,
    /// Nanoseconds; zero if the server has been usable since the start.
    came_up_at: AtomicU64,
    requests: Gauge,
    connections: Gauge,
    latency: PeakEwma,
}

impl ServerState {
    /// A server that is usable and idle.
    #[must_use]
    pub fn new(name: Name) -> Self {
        Self {
            name,
            status: AtomicU32::new(0),
            weight: AtomicU32::new(NO_OVERRIDE),
            came_up_at: AtomicU64::new(0),
            requests: Gauge::default(),
            connections: Gauge::default(),
            latency: PeakEwma::default(),
        }
    }

    /// The server's name.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// Counts a request (a connection, for TCP) as in flight.
    pub fn begin(&self) {
        self.requests.raise();
    }

    /// Counts a request as in flight unless `max` already are; `None` is no limit.
    #[must_use]
    pub fn try_begin(&self, max: Option<u32>) -> bool {
        self.requests.try_raise(max)
    }

    /// Ends what [`begin`](Self::begin) or [`try_begin`](Self::try_begin) counted.
    pub fn end(&self) {
        let was_counted = self.requests.lower();
        debug_assert!(was_counted, "a request ended that never began");
    }

    /// Requests in flight (connections, for TCP).
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.requests.value()
    }

    /// Counts a connection as open.
    pub fn begin_connection(&self) {
        self.connections.raise();
    }

    /// Counts a connection as open unless `max` already are; `None` is no limit.
    #[must_use]
    pub fn try_begin_connection(&self, max: Option<u32>) -> bool {
        self.connections.try_raise(max)
    }

    /// Ends what [`begin_connection`](Self::begin_connection) or
    /// [`try_begin_connection`](Self::try_begin_connection) counted.
    pub fn end_connection(&self) {
        let was_counted = self.connections.lower();
        debug_assert!(was_counted, "a connection ended that never began");
    }

    /// Connections open, idle ones included.
    #[must_use]
    pub fn open_connections(&self) -> u32 {
        self.connections.value()
    }

    /// Sets what the operator wants. Returns whether it changed.
    pub fn set_admin(&self, now: Timestamp, admin: Admin) -> bool {
        let bits = match admin {
            Admin::Ready => 0,
            Admin::Drain => DRAIN,
            Admin::Maintenance => MAINTENANCE,
        };
        self.change_status(now, |status| status & !(DRAIN | MAINTENANCE) | bits)
    }

    /// Sets what counts as the server's health whatever is observed of it; `None` returns to that.
    /// Returns whether it changed.
    pub fn set_health_override(&self, now: Timestamp, health: Option<Status>) -> bool {
        let bits = match health {
            None => 0,
            Some(Status::Up) => FORCED_UP,
            Some(Status::Down) => FORCED_DOWN,
        };
        self.change_status(now, |status| status & !(FORCED_UP | FORCED_DOWN) | bits)
    }

    /// What counts as the server's health whatever is observed of it.
    #[must_use]
    pub fn health_override(&self) -> Option<Status> {
        let status = self.status.load(Relaxed);
        if status & FORCED_UP != 0 {
            Some(Status::Up)
        } else if status & FORCED_DOWN != 0 {
            Some(Status::Down)
        } else {
            None
        }
    }

    /// Active checks have taken the server down. Returns whether that is new.
    pub fn mark_checked_down(&self) -> bool {
        self.status.fetch_or(CHECKED_DOWN, Relaxed) & CHECKED_DOWN == 0
    }

    /// Active checks have brought the server up. Returns whether that is new.
    pub fn mark_checked_up(&self, now: Timestamp) -> bool {
        self.change_status(now, |status| status & !CHECKED_DOWN)
    }

    /// The server refuses connections right now. Returns whether that is new.
    pub fn mark_refusing(&self) -> bool {
        self.status.fetch_or(REFUSING, Relaxed) & REFUSING == 0
    }

    /// The server accepts connections again. Returns whether that is new.
    pub fn mark_accepting(&self, now: Timestamp) -> bool {
        self.change_status(now, |status| status & !REFUSING)
    }

    /// Passive detection has ejected the server. Returns whether that is new.
    pub fn eject(&self) -> bool {
        self.status.fetch_or(EJECTED, Relaxed) & EJECTED == 0
    }

    /// The ejection is over. Returns whether there was one.
    pub fn readmit(&self, now: Timestamp) -> bool {
        self.change_status(now, |status| status & !EJECTED)
    }

    /// What the operator wants of the server.
    #[must_use]
    pub fn admin(&self) -> Admin {
        let status = self.status.load(Relaxed);
        if status & MAINTENANCE != 0 {
            Admin::Maintenance
        } else if status & DRAIN != 0 {
            Admin::Drain
        } else {
            Admin::Ready
        }
    }

    /// Whether active checks hold the server down.
    #[must_use]
    pub fn is_checked_down(&self) -> bool {
        self.status.load(Relaxed) & CHECKED_DOWN != 0
    }

    /// Whether the server refuses connections right now.
    #[must_use]
    pub fn is_refusing(&self) -> bool {
        self.status.load(Relaxed) & REFUSING != 0
    }

    /// Whether passive detection has ejected the server.
    #[must_use]
    pub fn is_ejected(&self) -> bool {
        self.status.load(Relaxed) & EJECTED != 0
    }

    /// Whether nothing speaks against sending the server traffic.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        is_usable(self.status.load(Relaxed))
    }

    /// As [`is_usable`](Self::is_usable), but an ejection does not count: panic lifts nothing else.
    #[must_use]
    pub fn is_usable_in_panic(&self) -> bool {
        is_usable(self.status.load(Relaxed) & !EJECTED)
    }

    /// Whether clients bound to the server stay with it.
    ///
    /// They do at weight 0, which only keeps new clients away; not while it is down or draining.
    /// [`Rotation::takes_sticky`](crate::balance::Rotation::takes_sticky) also knows of panic.
    #[must_use]
    pub fn takes_sticky(&self) -> bool {
        self.is_usable()
    }

    /// Sets a weight in place of the configured one; `None` returns to that. Returns whether it
    /// changed.
    pub fn set_weight(&self, weight: Option<Weight>) -> bool {
        let weight = weight.map_or(NO_OVERRIDE, |weight| weight.as_u16().into());
        self.weight.swap(weight, Relaxed) != weight
    }

    /// The weight set in place of the configured one.
    #[must_use]
    pub fn weight(&self) -> Option<Weight> {
        u16::try_from(self.weight.load(Relaxed))
            .ok()
            .and_then(Weight::new)
    }

    /// When the server last became usable; `None` if it has been since the start.
    #[must_use]
    pub fn came_up_at(&self) -> Option<Timestamp> {
        match self.came_up_at.load(Relaxed) {
            0 => None,
            nanos => Some(Timestamp::from_nanos(nanos)),
        }
    }

    /// Begins a slow start, for a server that joins a backend already at work.
    pub fn start_slowly(&self, now: Timestamp) {
        self.came_up_at.store(now.as_nanos(), Relaxed);
    }

    /// Takes in how long the server took to answer.
    pub fn observe_latency(&self, now: Timestamp, latency: Duration) {
        self.latency.observe(now, latency);
    }

    /// The peak-EWMA latency; `None` before the first answer.
    ///
    /// It jumps to a higher sample and nears lower ones within about 10 s. Without samples it
    /// decays towards zero, so that a server once slow is tried again.
    #[must_use]
    pub fn latency(&self, now: Timestamp) -> Option<Duration> {
        self.latency_secs(now).map(Duration::from_secs_f32)
    }

    pub(crate) fn latency_secs(&self, now: Timestamp) -> Option<f32> {
        self.latency.value_secs(now)
    }

    /// Returns whether the status changed; one that becomes usable has come up now.
    fn change_status(&self, now: Timestamp, change: impl Fn(u32) -> u32) -> bool {
        let before = self.status.fetch_update(Relaxed, Relaxed, |status| {
            let changed = change(status);
            (changed != status).then_some(changed)
        });
        let Ok(before) = before else {
            return false;
        };
        if is_usable(change(before)) && !is_usable(before) {
            self.start_slowly(now);
        }
        true
    }
}

impl fmt::Debug for ServerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerState")
            .field("name", &self.name)
            .field("admin", &self.admin())
            .field("checked_down", &self.is_checked_down())
            .field("refusing", &self.is_refusing())
            .field("ejected", &self.is_ejected())
            .field("in_flight", &self.in_flight())
            .field("open_connections", &self.open_connections())
            .finish_non_exhaustive()
    }
}

/// A count that workers raise and lower at once; a cache line of its own, for it is written on
/// every request while its neighbours are only read.
///
/// Who leaves a place lowers it, then looks whether somebody waits; who waits says so, then looks
/// for a place. Were these not in one order, each could miss the other.
#[derive(Default)]
#[repr(align(64))]
struct Gauge(AtomicU32);

impl Gauge {
    fn raise(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    fn try_raise(&self, max: Option<u32>) -> bool {
        let Some(max) = max else {
            self.raise();
            return true;
        };
        let raised = |value| (value < max).then(|| value + 1);
        self.0.fetch_update(SeqCst, SeqCst, raised).is_ok()
    }

    /// Returns false, and stays at zero, if there was nothing to lower: a count of four billion
    /// would take the server out of rotation for good.
    fn lower(&self) -> bool {
        let lowered = |value: u32| value.checked_sub(1);
        self.0.fetch_update(SeqCst, SeqCst, lowered).is_ok()
    }

    fn value(&self) -> u32 {
        self.0.load(Relaxed)
    }
}

/// Peak-EWMA of Finagle and Linkerd: an average that forgets with time, not with samples, and that
/// believes bad news at once.
///
/// The estimate (an `f32` of seconds) and the time of its last sample share one word, so that both
/// change together. The time counts 131 µs ticks and wraps after 6 days; samples within a tick only
/// count if they are peaks, which also keeps busy workers from fighting over the word.
#[derive(Default)]
#[repr(align(64))]
struct PeakEwma(AtomicU64);

impl PeakEwma {
    fn observe(&self, now: Timestamp, latency: Duration) {
        let sample = latency.min(MAX_LATENCY).as_secs_f32().max(MIN_LATENCY_SECS);
        let _ = self.0.fetch_update(Relaxed, Relaxed, |word| {
            let Some((estimate, at)) = unpack(word) else {
                return Some(pack(sample, tick(now)));
            };
            let elapsed = ticks_since(at, now);
            if sample > estimate {
                return Some(pack(sample, at.wrapping_add(elapsed)));
            }
            if elapsed == 0 {
                return None;
            }
            let kept = kept_after(elapsed);
            let mixed = estimate * kept + sample * (1.0 - kept);
            Some(pack(mixed, at.wrapping_add(elapsed)))
        });
    }

    fn value_secs(&self, now: Timestamp) -> Option<f32> {
        let (estimate, at) = unpack(self.0.load(Relaxed))?;
        Some(estimate * kept_after(ticks_since(at, now)))
    }
}

fn pack(secs: f32, at: u32) -> u64 {
    (u64::from(secs.to_bits()) << 32) | u64::from(at)
}

/// `None` for zero, which no sample packs to: each is positive.
fn unpack(word: u64) -> Option<(f32, u32)> {
    (word != 0).then(|| (f32::from_bits(low_half(word >> 32)), low_half(word)))
}

fn tick(now: Timestamp) -> u32 {
    low_half(now.as_nanos() >> TICK_SHIFT)
}

/// Zero if `at` lies in the future: another worker's clock reading may be the newer one.
fn ticks_since(at: u32, now: Timestamp) -> u32 {
    let elapsed = tick(now).wrapping_sub(at);
    if elapsed > u32::MAX / 2 { 0 } else { elapsed }
}

/// The share of an estimate that is left after `ticks`.
fn kept_after(ticks: u32) -> f32 {
    let elapsed = f64::from(ticks) * f64::from(1_u32 << TICK_SHIFT);
    let decay = LATENCY_DECAY.as_secs_f64() * 1e9;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a share needs no more digits"
    )]
    let kept = (-elapsed / decay).exp() as f32;
    kept
}

#[expect(clippy::cast_possible_truncation, reason = "that is what it is for")]
const fn low_half(word: u64) -> u32 {
    word as u32
}

/// Whether nothing in `status` keeps traffic away.
const fn is_usable(status: u32) -> bool {
    status == 0 || (status & FORCED_UP != 0 && status & (DRAIN | MAINTENANCE) == 0)
}

const DRAIN: u32 = 1;
const MAINTENANCE: u32 = 1 << 1;
const CHECKED_DOWN: u32 = 1 << 2;
const REFUSING: u32 = 1 << 3;
const EJECTED: u32 = 1 << 4;
const FORCED_UP: u32 = 1 << 5;
const FORCED_DOWN: u32 = 1 << 6;

const NO_OVERRIDE: u32 = u32::MAX;

/// Time in which an estimate falls to 1/e without samples; Linkerd's figure.
const LATENCY_DECAY: Duration = Duration::from_secs(10);
/// Longer answers tell nothing more.
const MAX_LATENCY: Duration = Duration::from_secs(3600);
/// Keeps every estimate above zero.
const MIN_LATENCY_SECS: f32 = 1e-9;
const TICK_SHIFT: u32 = 17;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn server() -> ServerState {
        ServerState::new(Name::new("a"))
    }

    fn at(secs: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs(secs)
    }

    #[test]
    fn a_change_is_reported_once() {
        let server = server();
        assert!(server.mark_checked_down());
        assert!(!server.mark_checked_down());
        assert!(server.mark_checked_up(at(1)));
        assert!(!server.mark_checked_up(at(2)));
        assert!(server.mark_refusing() && !server.mark_refusing());
        assert!(server.mark_accepting(at(3)) && !server.mark_accepting(at(3)));
        assert!(server.eject() && !server.eject());
        assert!(server.readmit(at(4)) && !server.readmit(at(4)));
        assert!(server.set_admin(at(5), Admin::Drain));
        assert!(!server.set_admin(at(5), Admin::Drain));
        assert!(server.set_weight(Some(Weight::MAX)) && !server.set_weight(Some(Weight::MAX)));
        assert_eq!(server.weight(), Some(Weight::MAX));
        assert!(server.set_weight(None));
        assert_eq!(server.weight(), None);
    }

    #[test]
    fn an_operator_overrules_health_but_not_a_drain() {
        let server = server();
        server.mark_checked_down();
        server.eject();
        assert!(server.set_health_override(at(1), Some(Status::Up)));
        assert!(server.is_usable() && server.came_up_at() == Some(at(1)));
        server.set_admin(at(2), Admin::Drain);
        assert!(!server.is_usable());
        server.set_admin(at(2), Admin::Ready);
        server.set_health_override(at(3), Some(Status::Down));
        assert!(!server.is_usable() && !server.is_usable_in_panic());
        server.mark_checked_up(at(4));
        server.readmit(at(4));
        assert!(!server.is_usable());
        assert_eq!(server.health_override(), Some(Status::Down));
        assert!(server.set_health_override(at(5), None) && server.is_usable());
    }

    #[test]
    fn each_reason_alone_keeps_traffic_away() {
        let server = server();
        assert!(server.is_usable());
        server.mark_checked_down();
        server.mark_refusing();
        server.mark_checked_up(at(1));
        assert!(!server.is_usable() && server.is_refusing());
        assert_eq!(server.came_up_at(), None);
        server.mark_accepting(at(2));
        assert!(server.is_usable());
        assert_eq!(server.came_up_at(), Some(at(2)));
    }

    #[test]
    fn panic_lifts_an_ejection_and_nothing_else() {
        let server = server();
        server.eject();
        assert!(!server.is_usable() && server.is_usable_in_panic());
        server.set_admin(at(1), Admin::Maintenance);
        assert!(!server.is_usable_in_panic());
        assert_eq!(server.admin(), Admin::Maintenance);
        server.set_admin(at(1), Admin::Ready);
        server.mark_refusing();
        assert!(!server.is_usable_in_panic());
    }

    #[test]
    fn weight_zero_keeps_bound_clients_and_drain_does_not() {
        let server = server();
        server.set_weight(Weight::new(0));
        assert!(server.takes_sticky());
        server.set_admin(at(1), Admin::Drain);
        assert!(!server.takes_sticky());
    }

    #[test]
    fn a_full_server_begins_nothing_more() {
        let server = server();
        assert!(server.try_begin(Some(2)) && server.try_begin(Some(2)));
        assert!(!server.try_begin(Some(2)));
        server.end();
        assert!(server.try_begin(Some(2)));
        assert!(server.try_begin(None));
        assert_eq!(server.in_flight(), 3);
        assert!(!server.try_begin_connection(Some(0)));
        server.begin_connection();
        assert_eq!(server.open_connections(), 1);
        server.end_connection();
        assert_eq!(server.open_connections(), 0);
    }

    #[test]
    fn in_flight_has_a_cache_line_of_its_own() {
        assert_eq!(size_of::<Gauge>(), 64);
        assert_eq!(align_of::<ServerState>(), 64);
    }

    #[test]
    fn a_slow_answer_counts_at_once_and_fades() {
        let server = server();
        assert_eq!(server.latency(at(1)), None);
        server.observe_latency(at(1), Duration::from_millis(1));
        server.observe_latency(at(1), Duration::from_secs(1));
        let peak = server.latency(at(1)).unwrap();
        assert_eq!(peak, Duration::from_secs(1));
        let later = server.latency(at(11)).unwrap().as_secs_f64();
        assert!((later - (-1.0_f64).exp()).abs() < 1e-3, "{later}");
        server.observe_latency(at(11), Duration::from_millis(1));
        let mixed = server.latency(at(11)).unwrap().as_secs_f64();
        assert!(mixed > 0.3 && mixed < 0.4, "{mixed}");
    }

    #[test]
    fn an_endless_answer_and_an_old_clock_are_harmless() {
        let server = server();
        server.observe_latency(at(5), Duration::MAX);
        server.observe_latency(at(1), Duration::ZERO);
        assert_eq!(server.latency(at(1)), Some(MAX_LATENCY));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn a_gauge_never_falls_below_zero(
            scripts in prop::collection::vec(prop::collection::vec(any::<bool>(), 0..200), 1..4),
        ) {
            let gauge = Gauge::default();
            let held: u32 = std::thread::scope(|scope| {
                let run = |script: &Vec<bool>| {
                    let mut held = 0_u32;
                    for raise in script {
                        if *raise {
                            gauge.raise();
                            held += 1;
                        } else if held > 0 {
                            assert!(gauge.lower());
                            held -= 1;
                        }
                        assert!(gauge.value() <= 600);
                    }
                    held
                };
                let workers: Vec<_> = scripts.iter().map(|s| scope.spawn(move || run(s))).collect();
                workers.into_iter().map(|worker| worker.join().unwrap()).sum()
            });
            prop_assert_eq!(gauge.value(), held);
            for _ in 0..held {
                prop_assert!(gauge.lower());
            }
            prop_assert!(!gauge.lower());
            prop_assert_eq!(gauge.value(), 0);
        }

        #[test]
        fn a_limit_holds_under_contention(max in 1_u32..8) {
            let server = server();
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        for _ in 0..100 {
                            if server.try_begin(Some(max)) {
                                assert!(server.in_flight() <= max);
                                server.end();
                            }
                        }
                    });
                }
            });
            prop_assert_eq!(server.in_flight(), 0);
        }
    }
}
