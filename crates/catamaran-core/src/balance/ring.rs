//! A hash ring on which no server holds much more than its share of the load.
//!
//! Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing with Bounded Loads", SODA 2018; HAProxy's
//! `hash-balance-factor`. A key goes to the first server along the ring that is below the bound.

use super::candidate::Candidate;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A ring of points, each of a server's index.
#[derive(Debug)]
pub(super) struct Ring {
    /// Sorted by place.
    points: Box<[Point]>,
    /// Highest load of a server, in percent of its share.
    percent: u16,
    total_weight: u64,
    load: TotalLoad,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    place: u64,
    /// Decides between equal places, so that the order of servers does not.
    name_hash: u64,
    index: u32,
}

/// Requests in flight of all servers. Of more than [`COUNTED_AT_ONCE`] servers it is counted anew
/// only every so many picks, so that a pick's share of the work stays constant.
#[derive(Debug, Default)]
struct TotalLoad {
    picks: AtomicU32,
    counted: AtomicU64,
}

impl Ring {
    pub(super) fn new(servers: &[Candidate], percent: u16) -> Self {
        let per_server = (MAX_POINTS / servers.len().max(1)).clamp(1, 256) as u64;
        let heaviest = servers.iter().map(|s| u64::from(s.weight)).max();
        let heaviest = heaviest.unwrap_or(1);
        let mut points = Vec::new();
        for (index, server) in (0..).zip(servers) {
            let count = (per_server * u64::from(server.weight) / heaviest).max(1);
            points.extend((0..count).map(|nth| Point {
                place: xxh3_64_with_seed(&server.name_hash.to_le_bytes(), nth),
                name_hash: server.name_hash,
                index,
            }));
        }
        points.sort_unstable();
        Self {
            points: points.into_boxed_slice(),
            percent,
            total_weight: servers.iter().map(|s| u64::from(s.weight)).sum(),
            load: TotalLoad::default(),
        }
    }

    /// The first server along the ring from `hash` that is below its bound and that `accepts`.
    pub(super) fn pick(
        &self,
        hash: u64,
        servers: &[Candidate],
        accepts: impl Fn(&Candidate) -> bool,
    ) -> Option<usize> {
        let total = self.load.of(servers);
        let start = self.points.partition_point(|point| point.place < hash);
        let (before, after) = self.points.split_at(start);
        after
            .iter()
            .chain(before)
            .take(MAX_WALK)
            .map(|point| point.index as usize)
            .find(|index| {
                let server = &servers[*index];
                self.is_below_bound(server, total) && accepts(server)
            })
    }

    /// Whether in-flight + 1 is at most its share of `total` + 1, times the percentage, rounded up.
    fn is_below_bound(&self, server: &Candidate, total: u64) -> bool {
        let load = u128::from(server.state.in_flight()) * 100 * u128::from(self.total_weight);
        let share = u128::from(total + 1) * u128::from(server.weight);
        load < share * u128::from(self.percent)
    }
}

impl TotalLoad {
    fn of(&self, servers: &[Candidate]) -> u64 {
        let count = || servers.iter().map(|s| u64::from(s.state.in_flight())).sum();
        if servers.len() <= COUNTED_AT_ONCE {
            return count();
        }
        let period = u32::try_from(servers.len() / COUNTED_AT_ONCE).unwrap_or(u32::MAX);
        let since = self.picks.fetch_add(1, Relaxed) % period;
        if since == 0 {
            self.counted.store(count(), Relaxed);
        }
        // Each pick since then may have added one: rather too high than too low, which would take
        // keys from their servers.
        self.counted.load(Relaxed) + u64::from(since)
    }
}

/// Bounds the ring to 24 MiB; servers beyond a million would get one point each.
const MAX_POINTS: usize = 1 << 20;
/// Beyond, the caller looks at all servers at once.
const MAX_WALK: usize = 1_024;
const COUNTED_AT_ONCE: usize = 64;
