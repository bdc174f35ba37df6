//! The peers of the cluster as the API shows them, and sending them this node's configuration.

use super::config::no_file;
use super::error::Refused;
use super::extract::Body;
use super::{Kind, Plane};
use crate::mesh::{PeerView, Pushed};
use axum::Json;
use axum::extract::State;
use catamaran_core::Timestamp;
use catamaran_core::nearest::remedy;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The cluster as this node sees it.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct ClusterState {
    /// The name of this node; none without `[cluster]`.
    node: Option<String>,
    /// Where peers connect to.
    listen: Option<String>,
    /// Whether this node has been told all that its peers knew, or waited 5 s for those that are
    /// not there.
    current: bool,
    /// Why it does not take part; none if it does.
    problem: Option<String>,
    /// Digest of what all nodes are to have alike of the configuration.
    digest: Option<String>,
    /// In the order of the configuration.
    peers: Vec<Peer>,
}

/// A peer.
#[derive(Debug, JsonSchema, Serialize)]
struct Peer {
    name: String,
    /// Where it listens.
    address: String,
    /// `away`, `learning` (it is being told all that is known here) or `in-step`.
    state: &'static str,
    /// Its program with its version; none if it was never met.
    program: Option<String>,
    /// The version of its messages.
    protocol: Option<u16>,
    /// How long ago it last said anything.
    heard_seconds_ago: Option<f64>,
    /// Age of the oldest change that it is not known to have.
    lag_ms: f64,
    /// Changed entries that it is not known to have.
    waiting: usize,
    /// Whether it serves another configuration; none while it is away.
    drifted: Option<bool>,
    /// Digest of its configuration.
    digest: Option<String>,
    totals: PeerTotals,
}

/// Counts of a peer since replication started.
#[derive(Debug, JsonSchema, Serialize)]
struct PeerTotals {
    /// Entries told to it.
    sent: u64,
    /// Entries told by it.
    received: u64,
    /// Of those, the ones that were newer than what was known.
    taken: u64,
    /// Batches told again.
    resent: u64,
    /// Times that it was taught all.
    taught: u64,
    disconnects: u64,
}

/// To whom this node's configuration is sent.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Push {
    /// One peer; all unless given.
    peer: Option<String>,
}

/// What became of a configuration at the peers.
#[derive(Debug, JsonSchema, Serialize)]
pub(crate) struct PushedToAll {
    /// In the order of the configuration.
    peers: Vec<Pushed>,
}

pub(crate) async fn list(State(plane): State<Arc<Plane>>) -> Json<ClusterState> {
    Json(ClusterState::of(&plane))
}

pub(crate) async fn push(
    State(plane): State<Arc<Plane>>,
    Body(push): Body<Push>,
) -> Result<Json<PushedToAll>, Refused> {
    let names = plane.mesh.peer_names().ok_or_else(|| {
        Refused::conflict("this node has no peers; write [cluster] into its configuration")
    })?;
    let text = plane.reloader.text().ok_or_else(no_file)?;
    if let Some(wanted) = &push.peer
        && !names.contains(wanted)
    {
        let known: Vec<&str> = names.iter().map(String::as_str).collect();
        let remedy = remedy(wanted, &known);
        return Err(Refused::unknown(format!(
            "unknown peer `{wanted}`; {remedy}"
        )));
    }
    let mut peers = Vec::new();
    for (at, name) in names.into_iter().enumerate() {
        if push.peer.as_ref().is_none_or(|wanted| *wanted == name) {
            let pushed = plane.mesh.push(at, &text.text).await;
            let outcome = if pushed.applied {
                "served by"
            } else {
                "refused by"
            };
            let message = format!("configuration sent: {outcome} {name}");
            plane.events.note(Kind::Changed, message);
            peers.push(Pushed {
                peer: name,
                ..pushed
            });
        }
    }
    Ok(Json(PushedToAll { peers }))
}

impl ClusterState {
    /// The cluster now.
    pub(crate) fn of(plane: &Plane) -> Self {
        let snapshot = plane.shared.snapshot();
        let cluster = snapshot.config.cluster.as_ref();
        let view = plane.mesh.view();
        let now = plane.clock.now();
        let digest = cluster.and_then(|_| plane.reloader.text());
        let peers = cluster.map_or(&[][..], |cluster| &cluster.peers).iter();
        let peers = peers.map(|peer| {
            let known = view.peers.iter().find(|one| one.name == peer.name);
            Peer::of(peer.name.as_str(), &peer.address, known, now)
        });
        Self {
            node: cluster.map(|cluster| cluster.node.to_string()),
            listen: cluster.map(|cluster| cluster.listen.to_string()),
            current: view.is_current,
            peers: peers.collect(),
            problem: view.problem,
            digest: digest.map(|text| hex(catamaran_config::shared_digest(&text.text))),
        }
    }
}

impl Peer {
    fn of(name: &str, address: &str, known: Option<&PeerView>, now: Timestamp) -> Self {
        let counters = known.map(|known| known.counters).unwrap_or_default();
        let speaks = known.and_then(|known| known.speaks.clone());
        let heard_at = known.and_then(|known| known.heard_at);
        let millis = |lag: std::time::Duration| (lag.as_secs_f64() * 1e6).round() / 1e3;
        let state = match known {
            Some(known) if known.is_connected && known.is_taught => "in-step",
            Some(known) if known.is_connected => "learning",
            _ => "away",
        };
        let there = known.filter(|known| known.is_connected && known.digest.is_some());
        Self {
            name: name.to_owned(),
            address: address.to_owned(),
            state,
            protocol: speaks.as_ref().map(|(version, _)| *version),
            program: speaks.map(|(_, program)| program),
            heard_seconds_ago: heard_at.map(|at| millis(now.saturating_since(at)) / 1e3),
            lag_ms: known.map_or(0.0, |known| millis(known.lag)),
            waiting: known.map_or(0, |known| known.waiting),
            drifted: there.map(|known| known.is_drifted),
            digest: there.and_then(|known| known.digest).map(hex),
            totals: PeerTotals {
                sent: counters.sent,
                received: counters.received,
                taken: counters.taken,
                resent: counters.resent,
                taught: counters.taught,
                disconnects: counters.disconnects,
            },
        }
    }
}

fn hex(digest: u64) -> String {
    format!("{digest:016x}")
}
