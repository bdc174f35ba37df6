//! Which nodes let requests of a limit pass, and so may let some pass that nobody has heard of yet.
//!
//! Of a pair with one virtual address only one node has clients, and its clients are to have the
//! whole limit. So a node that has served for a while reckons only with those peers that serve, too.
//! One that begins to serve knows less than they do, and reckons with all that are there.

use super::clock::NodeId;
use crate::Timestamp;
use std::collections::HashMap;
use std::time::Duration;

/// When each node last let something pass of one limit.
#[derive(Debug, Default)]
pub(super) struct Serving {
    /// Since when this node has without a longer pause, and when it last did.
    own: Option<(Timestamp, Timestamp)>,
    /// As heard; there are no more nodes than numbers of 16 bits.
    peers: HashMap<NodeId, Timestamp>,
}

impl Serving {
    /// Notes that something passed here.
    pub(super) fn note_own(&mut self, now: Timestamp) {
        let since = self.own.filter(|(_, last)| is_recent(now, *last));
        self.own = Some((since.map_or(now, |(since, _)| since), now));
    }

    /// Notes that something passed at a peer.
    pub(super) fn note_peer(&mut self, now: Timestamp, node: NodeId) {
        self.peers.insert(node, now);
    }

    /// How many of those `connected` may let something pass that is not known here.
    pub(super) fn others(&self, now: Timestamp, connected: &[NodeId]) -> u32 {
        let has_served = self.own.is_some_and(|(since, last)| {
            is_recent(now, last) && now.saturating_since(since) >= SETTLED
        });
        let serves = |node: &&NodeId| {
            let heard = self.peers.get(*node);
            !has_served || heard.is_some_and(|at| is_recent(now, *at))
        };
        u32::try_from(connected.iter().filter(serves).count()).unwrap_or(u32::MAX)
    }
}

fn is_recent(now: Timestamp, at: Timestamp) -> bool {
    now.saturating_since(at) < QUIET
}

/// After so long without a request a node counts as one that serves nobody.
const QUIET: Duration = Duration::from_secs(60);
/// After so long a node has heard who else serves.
const SETTLED: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(1 << 50) + Duration::from_secs(seconds)
    }

    #[test]
    fn one_that_begins_reckons_with_all_and_one_that_has_served_with_those_that_serve() {
        let mut serving = Serving::default();
        let connected = [NodeId(1), NodeId(2)];
        assert_eq!(serving.others(at(0), &connected), 2);
        serving.note_own(at(0));
        assert_eq!(serving.others(at(0), &connected), 2);
        assert_eq!(serving.others(at(1), &connected), 0);
        serving.note_peer(at(1), NodeId(2));
        assert_eq!(serving.others(at(1), &connected), 1);
        assert_eq!(serving.others(at(1), &connected[..1]), 0);
        serving.note_own(at(59));
        assert_eq!(serving.others(at(61), &connected), 0);
        // After a long pause it begins again.
        serving.note_own(at(200));
        assert_eq!(serving.others(at(200), &connected), 2);
    }
}
