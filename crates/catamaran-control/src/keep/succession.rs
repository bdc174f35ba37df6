//! What a process that was replaced tells its successor until it ends: what it still has in flight,
//! what it counts, and which clients it has bound or let pass.
//!
//! Of the first two a report tells all. Of tables it tells what changed: they may be large.

use super::tables::Changed;
use crate::metrics::CountedBefore;
use catamaran_core::Timestamp;
use catamaran_core::model::Name;
use catamaran_proxy::{Elsewhere, Shared, Snapshot};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A report.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Report {
    pub(super) in_flight: InFlight,
    /// The page of counters.
    pub(super) counters: Option<String>,
    /// What changed in tables since the last report.
    pub(super) tables: Vec<Changed>,
}

/// Requests in flight, by backend and server.
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(transparent)]
pub(super) struct InFlight(BTreeMap<String, BTreeMap<String, u32>>);

/// The process before this one, as long as it lives.
#[derive(Debug)]
pub struct Predecessor {
    shared: Arc<Shared>,
    counted: CountedBefore,
    /// What it has in flight, by backend and server.
    elsewhere: HashMap<(String, String), Vec<Elsewhere>>,
}

impl InFlight {
    pub(super) fn of(snapshot: &Snapshot) -> Self {
        let mut all = BTreeMap::new();
        for backend in &*snapshot.backends {
            let set = backend.set();
            let busy = set.servers.iter().filter_map(|server| {
                let count = server.state.in_flight();
                (count > 0).then(|| (server.model.name.to_string(), count))
            });
            let busy: BTreeMap<_, _> = busy.collect();
            if !busy.is_empty() {
                all.insert(backend.model.name.to_string(), busy);
            }
        }
        Self(all)
    }
}

impl Predecessor {
    /// Of a process whose data plane is `shared`, and which adds what was `counted` before.
    #[must_use]
    pub fn new(shared: Arc<Shared>, counted: CountedBefore) -> Self {
        Self {
            shared,
            counted,
            elsewhere: HashMap::new(),
        }
    }

    /// Takes in a report. What was in flight at the one before and is not any more has ended.
    pub fn handle_report(&mut self, now: Timestamp, report: &[u8]) {
        // A version that reports otherwise is known by its counters alone, from the start.
        let Ok(report) = serde_json::from_slice::<Report>(report) else {
            return;
        };
        if let Some(page) = report.counters {
            self.counted.set(page.into_bytes());
        }
        let snapshot = self.shared.snapshot();
        if !report.tables.is_empty() {
            let kept = snapshot.kept_tables();
            for changed in &report.tables {
                changed.merge(&kept, now);
            }
        }
        let mut wanted = HashMap::new();
        for (backend, servers) in report.in_flight.0 {
            for (server, count) in servers {
                wanted.insert((backend.clone(), server), count as usize);
            }
        }
        self.elsewhere.retain(|key, _| wanted.contains_key(key));
        for ((of, name), count) in wanted {
            let Some(backend) = snapshot.backend(&Name::new(&of)) else {
                continue;
            };
            let set = backend.set();
            let Some(server) = set.by_name(&Name::new(&name)) else {
                continue;
            };
            let held = self.elsewhere.entry((of, name)).or_default();
            held.truncate(count);
            while held.len() < count.min(MAX_ELSEWHERE) {
                held.push(Elsewhere::begin(backend, server));
            }
        }
    }
}

/// Requests of another process that are counted at one server; no process has more connections.
const MAX_ELSEWHERE: usize = 1 << 20;
