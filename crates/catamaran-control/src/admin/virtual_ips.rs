//! The virtual addresses as the API shows them.

use super::Plane;
use axum::Json;
use axum::extract::State;
use catamaran_core::model::VirtualIp;
use catamaran_core::vrrp::{Counters, Dropped, Family, Status};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One virtual router: a name of the configuration and a family of its addresses.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct VirtualIpState {
    name: String,
    /// `ipv4` or `ipv6`.
    family: &'static str,
    /// `initialize` (its interface is unusable), `backup` or `active`.
    state: &'static str,
    /// The priority that holds now.
    priority: u8,
    /// What the configuration says; none if it no longer has this name.
    configured_priority: Option<u8>,
    /// The active as far as this node knows.
    active: Option<String>,
    /// Whether another active is heard beside this one.
    conflict: bool,
    /// Whether a peer is alive and active, as replication knows, while its adverts do not arrive.
    path_dead: bool,
    /// The addresses of this family, with the length of their networks' prefix.
    addresses: Vec<String>,
    interface: Option<String>,
    totals: VirtualIpTotals,
}

/// Counts of a virtual router since the vrrp process started.
#[derive(Debug, JsonSchema, Serialize)]
struct VirtualIpTotals {
    adverts_sent: u64,
    adverts_received: u64,
    /// By reason; reasons that never came up are left out.
    adverts_dropped: BTreeMap<&'static str, u64>,
    became_active: u64,
    became_backup: u64,
    conflicts: u64,
    /// Times the own timer was so late that the addresses were given up.
    late: u64,
    announcements: u64,
    /// Neighbours who asked for an address and were answered.
    answers: u64,
    /// Times a peer was active while its adverts did not arrive.
    path_deaths: u64,
    failures: u64,
}

pub(crate) async fn list(State(plane): State<Arc<Plane>>) -> Json<Vec<VirtualIpState>> {
    Json(all(&plane))
}

/// The virtual routers now.
pub(crate) fn all(plane: &Plane) -> Vec<VirtualIpState> {
    let snapshot = plane.shared.snapshot();
    let configured = &snapshot.config.virtual_ips;
    let heard = plane.virtual_ips.all();
    heard
        .iter()
        .map(|status| {
            let model = configured.iter().find(|model| model.name == status.name);
            VirtualIpState::of(status, model)
        })
        .collect()
}

impl VirtualIpState {
    fn of(status: &Status, model: Option<&VirtualIp>) -> Self {
        let addresses = model.map_or(&[][..], |model| &model.addresses).iter();
        let of_family = addresses
            .filter(|one| one.address.is_ipv6() == (status.family == Family::V6))
            .map(|one| format!("{}/{}", one.address, one.prefix));
        Self {
            name: status.name.to_string(),
            family: status.family.as_str(),
            state: status.state.as_str(),
            priority: status.priority,
            configured_priority: model.map(|model| model.priority),
            active: status.active.map(|address| address.to_string()),
            conflict: status.is_in_conflict,
            path_dead: status.is_path_dead,
            addresses: of_family.collect(),
            interface: model.map(|model| model.interface.clone()),
            totals: VirtualIpTotals::of(&status.counters),
        }
    }
}

impl VirtualIpTotals {
    fn of(counters: &Counters) -> Self {
        let dropped = Dropped::ALL.iter().filter_map(|reason| {
            let count = counters.adverts_dropped[reason.index()];
            (count > 0).then_some((reason.as_str(), count))
        });
        Self {
            adverts_sent: counters.adverts_sent,
            adverts_received: counters.adverts_received,
            adverts_dropped: dropped.collect(),
            became_active: counters.became_active,
            became_backup: counters.became_backup,
            conflicts: counters.conflicts,
            late: counters.late,
            announcements: counters.announcements,
            answers: counters.answers,
            path_deaths: counters.path_deaths,
            failures: counters.failures,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use catamaran_core::vrrp::State as Vrrp;

    #[test]
    fn a_drop_is_told_by_its_reason_and_reasons_without_drops_are_not() {
        let mut counters = Counters::default();
        counters.adverts_dropped[Dropped::Checksum.index()] = 2;
        let status = Status {
            name: "main".into(),
            family: Family::V4,
            state: Vrrp::Backup,
            priority: 100,
            active: Some([192, 0, 2, 2].into()),
            is_in_conflict: false,
            is_path_dead: false,
            router_id: 51,
            counters,
        };
        let shown = serde_json::to_value(VirtualIpState::of(&status, None)).unwrap();
        assert_eq!(shown["state"], "backup");
        assert_eq!(shown["active"], "192.0.2.2");
        let dropped = serde_json::json!({ "checksum": 2 });
        assert_eq!(shown["totals"]["adverts_dropped"], dropped);
    }
}
