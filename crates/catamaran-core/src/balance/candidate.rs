//! Who takes part in a rotation, and with what weight.

use super::Request;
use crate::Timestamp;
use crate::model::{Backend, Balance, ServerId};
use crate::server::ServerState;
use std::sync::Arc;
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A server that takes new clients when it is usable.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) state: Arc<ServerState>,
    pub(super) id: ServerId,
    /// In tenths of the configured weight, for the steps of a slow start; positive.
    pub(super) weight: u32,
    /// Requests in flight at once.
    max_in_flight: u32,
    pub(super) name_hash: u64,
    pub(super) backup: bool,
}

/// Whether a rotation sends traffic to ejected servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ejections {
    Respected,
    /// Too few servers are left: panic.
    Ignored,
}

/// Which candidates are in rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tier {
    pub(super) backup: bool,
    pub(super) ejections: Ejections,
}

impl Candidate {
    pub(super) fn is_usable(&self, ejections: Ejections) -> bool {
        match ejections {
            Ejections::Respected => self.state.is_usable(),
            Ejections::Ignored => self.state.is_usable_in_panic(),
        }
    }

    pub(super) fn has_room(&self) -> bool {
        self.state.in_flight() < self.max_in_flight
    }

    /// Whether the server is a first choice for `request` at this moment.
    pub(super) fn accepts(&self, ejections: Ejections, request: &Request<'_>) -> bool {
        self.is_usable(ejections) && self.has_room() && !request.tried.contains(&self.id)
    }

    /// Its load with one more request, before the division by weight.
    pub(super) fn next_load(&self) -> u64 {
        u64::from(self.state.in_flight()) + 1
    }

    /// Whether (in-flight + 1) / weight is lower than that of `other`. Of two that are idle neither
    /// is: the draw has already gone by their weights, and the heavier would get all there is.
    pub(super) fn is_less_loaded(&self, other: &Self) -> bool {
        if self.state.in_flight() == 0 && other.state.in_flight() == 0 {
            return false;
        }
        self.next_load() * u64::from(other.weight) < other.next_load() * u64::from(self.weight)
    }

    /// Whether latency × (in-flight + 1) is lower than that of `other`; one that was never measured
    /// is taken to be as quick as the other, so that it is tried without being stormed.
    pub(super) fn is_quicker(&self, other: &Self, now: Timestamp) -> bool {
        let latencies = (self.state.latency_secs(now), other.state.latency_secs(now));
        let (mine, others) = match latencies {
            (Some(mine), Some(others)) => (f64::from(mine), f64::from(others)),
            _ => (1.0, 1.0),
        };
        mine * self.next_load() as f64 <= others * other.next_load() as f64
    }
}

/// The candidates of `backend`, and when a slow start next changes a weight.
pub(super) fn candidates(
    backend: &Backend,
    states: &[Arc<ServerState>],
    now: Timestamp,
) -> (Vec<Candidate>, Option<Timestamp>) {
    assert_eq!(
        backend.servers.len(),
        states.len(),
        "each server has its state"
    );
    let window = backend
        .slow_start
        .filter(|_| has_slow_start(&backend.balance));
    let mut next_change: Option<Timestamp> = None;
    let mut candidates = Vec::with_capacity(states.len());
    for ((id, server), state) in (0..).zip(&backend.servers).zip(states) {
        let weight = state.weight().unwrap_or(server.weight).as_u16();
        if weight == 0 {
            continue;
        }
        let (tenths, next) = slow_start(state.came_up_at(), window, now);
        next_change = next_change.into_iter().chain(next).min();
        candidates.push(Candidate {
            state: Arc::clone(state),
            id: ServerId(id),
            weight: u32::from(weight) * tenths,
            max_in_flight: server.max_in_flight().unwrap_or(u32::MAX),
            name_hash: xxh3_64_with_seed(server.name.as_str().as_bytes(), NAME_SEED),
            backup: server.backup,
        });
    }
    (candidates, next_change)
}

impl Tier {
    /// Primaries while one is usable, else backups; ejected servers only when nothing else is left
    /// or fewer than `panic_threshold` percent of the tier are usable.
    pub(super) fn choose(candidates: &[Candidate], panic_threshold: u8) -> Self {
        for backup in [false, true] {
            let tier = || candidates.iter().filter(|c| c.backup == backup);
            let usable = tier().filter(|c| c.is_usable(Ejections::Respected)).count();
            if usable > 0 {
                let panics = usable * 100 < usize::from(panic_threshold) * tier().count();
                let ejections = match panics {
                    true => Ejections::Ignored,
                    false => Ejections::Respected,
                };
                return Self { backup, ejections };
            }
        }
        let ejected = candidates
            .iter()
            .filter(|c| panic_threshold > 0 && c.is_usable(Ejections::Ignored))
            .map(|c| c.backup)
            .min();
        Self {
            backup: ejected.unwrap_or(false),
            ejections: match ejected {
                Some(_) => Ejections::Ignored,
                None => Ejections::Respected,
            },
        }
    }

    pub(super) fn contains(self, candidate: &Candidate) -> bool {
        candidate.backup == self.backup && candidate.is_usable(self.ejections)
    }
}

/// A weight that grows would move keys from node to node: what must agree everywhere goes without.
fn has_slow_start(balance: &Balance) -> bool {
    match balance {
        Balance::LeastRequests
        | Balance::RoundRobin
        | Balance::Random
        | Balance::LeastConnections
        | Balance::Ewma => true,
        Balance::Source | Balance::Hash { .. } | Balance::First => false,
    }
}

/// Tenths of the weight that a server has `now`, and when that changes.
fn slow_start(
    came_up_at: Option<Timestamp>,
    window: Option<Duration>,
    now: Timestamp,
) -> (u32, Option<Timestamp>) {
    let (Some(came_up_at), Some(window)) = (came_up_at, window) else {
        return (10, None);
    };
    let elapsed = now.saturating_since(came_up_at);
    let step = window / 9;
    if elapsed >= window || step.is_zero() {
        return (10, None);
    }
    let steps = elapsed.as_nanos() / step.as_nanos();
    let tenths = u32::try_from(steps + 1).unwrap_or(9).min(9);
    let next = if tenths == 9 { window } else { step * tenths };
    (tenths, Some(came_up_at + next))
}

const NAME_SEED: u64 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_start_grows_from_a_tenth_to_full() {
        let up = Timestamp::from_nanos(1_000);
        let window = Some(Duration::from_secs(10));
        let at = |ms| slow_start(Some(up), window, up + Duration::from_millis(ms)).0;
        let tenths: Vec<_> = (0..=10).map(|s| at(s * 1_000)).collect();
        assert_eq!(tenths, [1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert_eq!((at(9_999), at(20_000)), (9, 10));
        assert_eq!(slow_start(None, window, up), (10, None));
        assert_eq!(slow_start(Some(up), None, up), (10, None));
    }

    #[test]
    fn each_change_of_a_slow_start_is_announced() {
        let up = Timestamp::from_nanos(77);
        let window = Some(Duration::from_nanos(1_000_003));
        let (mut now, mut seen) = (up, vec![]);
        loop {
            let (tenths, next) = slow_start(Some(up), window, now);
            seen.push(tenths);
            let Some(next) = next else { break };
            assert!(next > now);
            now = next;
        }
        assert_eq!(seen, (1..=10).collect::<Vec<_>>());
    }
}
