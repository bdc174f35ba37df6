//! What is known of the peers.

use catamaran_core::Timestamp;
use catamaran_core::model::{Cluster, Name};
use catamaran_core::replication::{Counters, Node, Now, RouterView, SILENCE};
use std::time::Duration;

/// The peers as whoever decides about virtual addresses sees them: a heartbeat beside VRRP's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// Whether there is a `[cluster]`.
    pub is_clustered: bool,
    /// Whether this node has been told all that its peers knew, or waited 5 s for those that are
    /// not there.
    pub is_current: bool,
    /// Whether a peer that was away has not told yet what it has seen meanwhile.
    pub is_behind: bool,
    /// In the order of the configuration.
    pub peers: Vec<SeenPeer>,
    /// Virtual routers of which a peer was active until its connection ended, within the last 2 s.
    pub left: Vec<RouterView>,
}

/// A peer as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenPeer {
    /// Its name.
    pub name: String,
    /// Where it listens, as written.
    pub address: String,
    /// Whether a connection stands and it spoke within the last 2 s. Ends at once when its process
    /// dies, and after 2 s when its machine or the network between does.
    pub is_alive: bool,
    /// Whether no connection to it stands, as the node that speaks with it has just said.
    pub is_lost: bool,
    /// How long ago it last spoke; `None` if it never did. It speaks every 0.5 s at least.
    pub heard_ago: Option<Duration>,
    /// What it said of its virtual routers; empty when it is not alive.
    pub routers: Vec<RouterView>,
}

impl Sight {
    /// Whether there are peers, and the connection to each has ended.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        !self.peers.is_empty() && self.peers.iter().all(|peer| peer.is_lost)
    }
}

/// What the node last said of itself and its peers.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    /// When that was; `None` before the node has said anything.
    at: Option<Timestamp>,
    pub(crate) is_current: bool,
    is_behind: bool,
    pub(crate) peers: Vec<PeerView>,
    /// What peers were active for whose connection ended, and when that was.
    left: Vec<(Timestamp, RouterView)>,
    /// Why there is no node, although there is a `[cluster]`.
    pub(crate) problem: Option<String>,
}

/// A peer as the node last told.
#[derive(Clone, Debug)]
pub(crate) struct PeerView {
    pub(crate) name: Name,
    pub(crate) is_connected: bool,
    pub(crate) is_taught: bool,
    pub(crate) is_drifted: bool,
    pub(crate) digest: Option<u64>,
    /// Entries that it is not known to have.
    pub(crate) waiting: usize,
    pub(crate) lag: Duration,
    pub(crate) heard_at: Option<Timestamp>,
    /// Version of its messages, and its program.
    pub(crate) speaks: Option<(u16, String)>,
    pub(crate) routers: Vec<RouterView>,
    pub(crate) counters: Counters,
}

impl View {
    /// How `node` is.
    fn of(now: Now, node: &Node) -> Self {
        let peers = node.peers(now).map(|status| PeerView {
            name: Name::new(status.name),
            is_connected: status.is_connected,
            is_taught: status.is_taught,
            is_drifted: status.is_drifted,
            digest: status.digest,
            waiting: status.waiting,
            lag: status.lag,
            heard_at: status.heard_at,
            speaks: status.speaks.cloned(),
            routers: status.routers.to_vec(),
            counters: status.counters,
        });
        Self {
            at: Some(now.mono),
            is_current: node.is_current(),
            is_behind: node.is_behind(),
            peers: peers.collect(),
            left: Vec::new(),
            problem: None,
        }
    }

    /// Takes what the node says now in the place of what it said before.
    pub(super) fn follow(&mut self, now: Now, node: &Node) {
        let mut left = std::mem::take(&mut self.left);
        left.retain(|&(at, _)| now.mono.saturating_since(at) < LEFT_FOR);
        *self = Self {
            left,
            ..Self::of(now, node)
        };
    }

    /// The connection to `peer` has ended, of which this view does not know yet.
    pub(super) fn lose(&mut self, now: Now, peer: usize) {
        let Some(peer) = self.peers.get(peer) else {
            return;
        };
        let active = peer.routers.iter().filter(|router| router.is_active);
        self.left.extend(active.map(|&router| (now.mono, router)));
    }

    /// There is a node, which has said nothing yet; it begins with what is known if `is_current`.
    pub(super) fn begin(&mut self, is_current: bool) {
        self.problem = None;
        self.is_current = is_current;
    }

    /// There is no node. Returns whether that is news.
    pub(super) fn fail(&mut self, problem: &str) -> bool {
        let problem = Some(problem.to_owned());
        let is_new = self.problem != problem;
        self.problem = problem;
        is_new
    }

    pub(super) fn sight(&self, cluster: Option<&Cluster>, now: Timestamp) -> Sight {
        let Some(cluster) = cluster else {
            // Without a port this node shares nothing, and is not to be preferred.
            return Sight {
                is_clustered: self.problem.is_some(),
                ..Sight::default()
            };
        };
        // A node whose thread stands still does not hear that peers are silent.
        let is_fresh = |at: Timestamp| now.saturating_since(at) < SILENCE;
        let is_fresh = self.at.is_some_and(is_fresh);
        let peers = cluster.peers.iter().map(|peer| {
            let known = self.peers.iter().find(|one| one.name == peer.name);
            let heard_at = known.and_then(|known| known.heard_at);
            SeenPeer {
                name: peer.name.to_string(),
                address: peer.address.clone(),
                is_lost: is_fresh && known.is_some_and(|known| !known.is_connected),
                is_alive: is_fresh && known.is_some_and(|known| known.is_connected),
                heard_ago: heard_at.map(|at| now.saturating_since(at)),
                routers: known.map_or_else(Vec::new, |known| known.routers.clone()),
            }
        });
        Sight {
            is_clustered: true,
            is_current: self.is_current,
            is_behind: self.is_behind,
            peers: peers.collect(),
            left: self
                .left
                .iter()
                .filter(|(at, _)| now.saturating_since(*at) < LEFT_FOR)
                .map(|&(_, router)| router)
                .collect(),
        }
    }
}

/// How long it is told that a peer has left: longer than the longest interval by which virtual
/// addresses are given up is in question after it.
const LEFT_FOR: Duration = SILENCE;
