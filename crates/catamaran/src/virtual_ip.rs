//! The data process's end of the line to the vrrp process.

use crate::engine::Engine;
use catamaran_control::metrics::Readiness;
use catamaran_control::{Mesh, Sight, VirtualIps};
use catamaran_core::model::{Config, Name, Tracked};
use catamaran_core::replication::{RouterView, SILENCE};
use catamaran_core::vrrp::{Family, State, Status};
use catamaran_vrrp::link::{self, Link, OtherActive, REPORT_INTERVAL};
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// The backends whose servers decide about the priority of a virtual address.
pub(crate) fn tracked_backends(config: &Config) -> BTreeSet<Name> {
    let tracks = config.virtual_ips.iter().flat_map(|one| &one.track);
    tracks
        .filter_map(|track| match track.what {
            Tracked::Backend(id) => Some(config.backends[id.index()].name.clone()),
            Tracked::Interface(_)
            | Tracked::Command { .. }
            | Tracked::File { .. }
            | Tracked::Replication => None,
        })
        .collect()
}

/// What replication knows that decides about virtual addresses, at the node called `own`.
fn of_peers(sight: &Sight, own: &str) -> link::Readiness {
    let alive = sight.peers.iter().filter(|peer| peer.is_alive);
    let all = alive.flat_map(|peer| peer.routers.iter().map(move |one| (peer, one)));
    let active = all.filter(|(_, one)| one.is_active);
    let others = active.map(|(peer, one)| OtherActive {
        router_id: one.router_id,
        is_v6: one.is_v6,
        priority: one.priority,
        wins_ties: *peer.name > *own,
    });
    link::Readiness {
        is_current: sight.is_current || !sight.is_clustered,
        is_behind: sight.is_behind,
        is_alone: sight.is_alone(),
        others: others.collect(),
        left: sight
            .left
            .iter()
            .map(|one| (one.router_id, one.is_v6))
            .collect(),
        ..link::Readiness::default()
    }
}

/// What peers are told of the virtual routers.
fn views(config: &Config, all: &[Status]) -> Vec<RouterView> {
    let view = |status: &Status| {
        let mut models = config.virtual_ips.iter();
        let model = models.find(|model| model.name == status.name)?;
        Some(RouterView {
            router_id: model.router_id,
            is_v6: status.family == Family::V6,
            is_active: status.state == State::Active,
            priority: status.priority,
        })
    };
    all.iter().filter_map(view).collect()
}

/// Says how this process is, and takes in how the virtual addresses are, as long as the process
/// lives: over `link`, and over those that come in its place. The thread that does it is the one
/// that everything else of the process depends on.
pub(crate) fn report(
    engine: &Engine,
    mut link: Option<Link>,
    mut links: mpsc::Receiver<OwnedFd>,
    tracked: BTreeSet<Name>,
) {
    let readiness = engine.readiness();
    let (virtual_ips, mesh) = (engine.virtual_ips(), engine.mesh());
    let shared = Arc::clone(engine.shared());
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(REPORT_INTERVAL);
        let mut heard_at = Instant::now();
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick(), if link.is_some() => {}
                // Its clients wait for another node to take over.
                () = mesh.lost(), if link.is_some() => {}
                Some(next) = links.recv() => link = Some(Link::new(next)),
                else => return,
            }
            let Some(line) = &link else {
                continue;
            };
            if shared.is_retired() {
                // It is for the process that serves now to say how it is.
                return;
            }
            let snapshot = shared.snapshot();
            // One that a reload has removed serves nobody.
            let is_failing = |name: &&Name| {
                let backend = snapshot.backends.iter().find(|b| b.model.name == **name);
                !backend.is_some_and(|b| b.set().servers.iter().any(|s| s.state.is_usable()))
            };
            let cluster = snapshot.config.cluster.as_ref();
            let own = cluster.map_or("", |cluster| cluster.node.as_str());
            let failing = tracked.iter().filter(is_failing).map(Name::to_string);
            let said = line.report(&link::Readiness {
                serves: *readiness.borrow() == Readiness::Ready,
                failing: failing.collect(),
                ..of_peers(&mesh.sight(), own)
            });
            let heard = said.and_then(|()| line.status());
            match heard {
                Ok(Some(all)) => {
                    heard_at = Instant::now();
                    mesh.set_routers(views(&snapshot.config, &all));
                    virtual_ips.set(all);
                }
                Ok(None) if heard_at.elapsed() < SILENCE => {}
                // What it said last is said for it no longer: another node has taken over.
                Ok(None) => forget(&mesh, &virtual_ips),
                Err(error) => {
                    tracing::error!(%error, "the line to the vrrp process is broken");
                    link = None;
                    forget(&mesh, &virtual_ips);
                }
            }
        }
    });
}

/// Nothing is known of the virtual routers.
fn forget(mesh: &Mesh, virtual_ips: &VirtualIps) {
    mesh.set_routers(Vec::new());
    virtual_ips.set(Vec::new());
}

#[cfg(test)]
mod tests {
    use super::*;
    use catamaran_control::SeenPeer;

    #[test]
    fn the_greater_name_wins_of_two_with_the_same_priority() {
        let peer = |name: &str, is_alive| SeenPeer {
            name: name.to_owned(),
            address: String::new(),
            is_alive,
            is_lost: !is_alive,
            heard_ago: None,
            routers: vec![RouterView {
                router_id: 51,
                is_v6: false,
                is_active: true,
                priority: 100,
            }],
        };
        let sight = Sight {
            is_clustered: true,
            is_current: true,
            is_behind: false,
            peers: vec![peer("a", true), peer("c", true), peer("d", false)],
            left: Vec::new(),
        };
        let others = of_peers(&sight, "b").others;
        let wins: Vec<bool> = others.iter().map(|other| other.wins_ties).collect();
        assert_eq!(wins, [false, true]);
    }
}
