//! The tables whose entries outlive the process: which there are, and the way to their shards.

use super::Snapshot;
use catamaran_core::Key;
use catamaran_core::mirror::Mirrored;
use catamaran_core::model::{RateKey, Route};
use std::fmt::Debug;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// A table in parts, each under its own lock. Keys find theirs by
/// [`Key::shard`](catamaran_core::Key::shard).
pub trait Shards: Debug + Send + Sync {
    /// How many parts.
    fn count(&self) -> NonZeroUsize;

    /// Does something with the part of this index, under its lock: workers wait meanwhile.
    fn with(&self, shard: usize, act: &mut dyn FnMut(&mut dyn Mirrored));
}

/// A table of a configuration.
#[derive(Clone, Debug)]
pub struct KeptTable {
    /// What it is known by, in every process.
    pub name: TableName,
    /// Its parts. A table that goes on through a reload is the same `Arc`.
    pub shards: Arc<dyn Shards>,
}

/// What a table is known by. Another with the same name counts the same keys for the same end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    /// What it is for.
    pub kind: TableKind,
    /// The backend of an affinity table; the frontend, and the route if there is one, of a limit.
    pub of: String,
    /// What its keys are made of, in words.
    pub on: String,
}

/// What a table is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TableKind {
    /// Affinity.
    Stick,
    /// A rate limit.
    Rate,
}

impl Snapshot {
    /// Its tables.
    #[must_use]
    pub fn kept_tables(&self) -> Vec<KeptTable> {
        let mut tables = Vec::new();
        for backend in &*self.backends {
            if let (Some(shards), Some(stick)) = (backend.stick_shards(), &backend.model.stick) {
                let name = TableName {
                    kind: TableKind::Stick,
                    of: backend.model.name.to_string(),
                    on: format!("{:?}", stick.on),
                };
                tables.push(KeptTable { name, shards });
            }
        }
        for frontend in &self.frontends {
            for (route, by, shards) in frontend.limiters() {
                let name = rate_name(frontend.model.name.as_str(), route, by);
                tables.push(KeptTable { name, shards });
            }
        }
        tables
    }
}

fn rate_name(frontend: &str, route: Option<&Route>, by: &RateKey) -> TableName {
    // The name of a route may be a number of ours, which is another route's after a reload.
    let of = route.map_or_else(
        || frontend.to_owned(),
        |route| {
            let conditions = format!("{:?}{:?}", route.hosts, route.matches);
            let conditions = Key::of_bytes(conditions.as_bytes()).as_bits();
            format!("{frontend}/{}/{conditions:032x}", route.name)
        },
    );
    TableName {
        kind: TableKind::Rate,
        of,
        on: format!("{by:?}"),
    }
}
