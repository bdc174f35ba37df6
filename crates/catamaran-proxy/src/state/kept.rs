//! Which tables there are whose entries outlive the process, and their names.

use super::Snapshot;
use catamaran_core::Key;
use catamaran_core::model::{RateKey, Route};
use catamaran_core::tables::{KeptTable, TableKind, TableName};

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
