//! Limits on bytes in a time, as connections share them.

use super::lock;
use catamaran_core::limit::Pace;
use catamaran_core::model::{self, BandwidthOf};
use catamaran_core::{Key, Timestamp};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, Weak};

/// The limits of a frontend.
#[derive(Debug)]
pub struct Bandwidth {
    pub(crate) model: model::Bandwidth,
    /// What all connections share, if they do.
    shared: Option<Arc<Meters>>,
    /// What connections of one source share; those of sources without connections are dropped.
    sources: Mutex<Sources>,
    waits: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Sources {
    meters: HashMap<Key, Weak<Meters>>,
    /// How many there may be before those that nobody uses are dropped.
    sweep_at: usize,
}

/// The buckets of both directions.
#[derive(Debug)]
pub(crate) struct Meters {
    pub(crate) inbound: Option<Arc<Meter>>,
    pub(crate) outbound: Option<Arc<Meter>>,
}

/// One bucket.
#[derive(Debug)]
pub(crate) struct Meter {
    pub(crate) pace: Pace,
    /// When it is full, in nanoseconds.
    full_at: AtomicU64,
    waits: Arc<AtomicU64>,
}

impl Bandwidth {
    pub(crate) fn new(model: model::Bandwidth) -> Arc<Self> {
        let waits = Arc::default();
        let shared = (model.per == BandwidthOf::Frontend).then(|| Meters::new(&model, &waits));
        Arc::new(Self {
            model,
            shared,
            sources: Mutex::default(),
            waits,
        })
    }

    /// How often bytes had to wait.
    #[must_use]
    pub fn waits(&self) -> u64 {
        self.waits.load(Relaxed)
    }

    /// The buckets of a connection from `ip`, which it keeps while it lives.
    pub(crate) fn meters(&self, ip: IpAddr) -> Arc<Meters> {
        if let Some(shared) = &self.shared {
            return Arc::clone(shared);
        }
        let new = || Meters::new(&self.model, &self.waits);
        if self.model.per == BandwidthOf::Connection {
            return new();
        }
        let mut sources = lock(&self.sources);
        let key = Key::of_network(ip);
        if let Some(known) = sources.meters.get(&key).and_then(Weak::upgrade) {
            return known;
        }
        if sources.meters.len() >= sources.sweep_at {
            sources.meters.retain(|_, meters| meters.strong_count() > 0);
            sources.sweep_at = (2 * sources.meters.len()).max(MIN_SWEEP);
        }
        let meters = new();
        sources.meters.insert(key, Arc::downgrade(&meters));
        meters
    }
}

impl Meters {
    fn new(model: &model::Bandwidth, waits: &Arc<AtomicU64>) -> Arc<Self> {
        let meter = |rate| {
            Arc::new(Meter {
                pace: Pace::new(rate),
                full_at: AtomicU64::new(0),
                waits: Arc::clone(waits),
            })
        };
        Arc::new(Self {
            inbound: model.inbound.map(meter),
            outbound: model.outbound.map(meter),
        })
    }
}

impl Meter {
    /// Reserves `bytes`; returns when they may be moved.
    pub(crate) fn reserve(&self, now: Timestamp, bytes: u64) -> Timestamp {
        let mut full_at = self.full_at.load(Relaxed);
        loop {
            let before = Timestamp::from_nanos(full_at);
            let reserved = self.pace.reserve(before, now, bytes);
            let after = reserved.full_at.as_nanos();
            match self
                .full_at
                .compare_exchange_weak(full_at, after, Relaxed, Relaxed)
            {
                Ok(_) => return reserved.begins,
                Err(found) => full_at = found,
            }
        }
    }

    /// Counts one who waits.
    pub(crate) fn note_wait(&self) {
        self.waits.fetch_add(1, Relaxed);
    }
}

/// Sources remembered before it is looked which are gone.
const MIN_SWEEP: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU64;

    fn bandwidth(per: BandwidthOf) -> Arc<Bandwidth> {
        Bandwidth::new(model::Bandwidth {
            inbound: None,
            outbound: NonZeroU64::new(1 << 20),
            per,
        })
    }

    #[test]
    fn a_bucket_is_shared_by_whom_the_configuration_says() {
        let ips = ["10.0.0.1", "10.0.0.2"].map(|ip| ip.parse().unwrap());
        let same = |per, a: usize, b: usize| {
            let all = bandwidth(per);
            let (a, b) = (all.meters(ips[a]), all.meters(ips[b]));
            Arc::ptr_eq(&a, &b)
        };
        assert!(!same(BandwidthOf::Connection, 0, 0));
        assert!(same(BandwidthOf::Source, 0, 0) && !same(BandwidthOf::Source, 0, 1));
        assert!(same(BandwidthOf::Frontend, 0, 1));
    }

    #[test]
    fn sources_without_connections_are_forgotten() {
        let all = bandwidth(BandwidthOf::Source);
        for n in 0..10_000_u32 {
            drop(all.meters(std::net::Ipv4Addr::from_bits(n).into()));
        }
        assert!(lock(&all.sources).meters.len() <= MIN_SWEEP);
    }
}
