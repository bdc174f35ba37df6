//! The snapshot that workers pick from.

use super::candidate::{Candidate, Ejections, Tier, candidates};
use super::draw::Draw;
use super::maglev::Maglev;
use super::ring::Ring;
use super::round_robin::{Cursor, Turns};
use super::{Pick, Request};
use crate::Timestamp;
use crate::model::{Backend, Balance, HashMethod, ServerId};
use crate::server::ServerState;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Who takes part in balancing a backend, prepared for its algorithm.
///
/// Immutable: the shell builds another whenever a server's status or weight changes or
/// [`next_change`](Self::next_change) has come, and swaps it in. Until then a pick still never
/// returns a server that has become unusable or full: that is checked on the spot.
#[derive(Debug)]
pub struct Rotation {
    servers: Box<[Candidate]>,
    /// Those not in rotation, primaries first: asked only when nobody in rotation is usable, which
    /// is when a rebuild is due.
    others: Box<[Candidate]>,
    method: Method,
    tier: Tier,
    cursor: Arc<Cursor>,
    next_change: Option<Timestamp>,
}

/// An algorithm with what it needs; indices are those of [`Rotation::servers`].
#[derive(Debug)]
enum Method {
    LeastRequests(Draw),
    RoundRobin(Turns),
    Random(Draw),
    /// With the highest weight of all.
    LeastConnections(u32),
    Ewma(Draw),
    Maglev(Maglev, Draw),
    Ring(Ring, Draw),
    First,
}

impl Rotation {
    /// Prepares the servers of `backend`, whose states are `states` in the same order.
    ///
    /// `cursor` is the backend's, the same for every rotation of it.
    ///
    /// # Panics
    /// If there is not one state for each server.
    #[must_use]
    pub fn build(
        backend: &Backend,
        states: &[Arc<ServerState>],
        cursor: &Arc<Cursor>,
        now: Timestamp,
    ) -> Self {
        let (candidates, next_change) = candidates(backend, states, now);
        let tier = Tier::choose(&candidates, backend.panic_threshold);
        let (servers, mut others): (Vec<_>, Vec<_>) = candidates
            .into_iter()
            .partition(|candidate| tier.contains(candidate));
        others.sort_by_key(|candidate| candidate.backup);
        Self {
            method: Method::new(backend, &servers),
            servers: servers.into_boxed_slice(),
            others: others.into_boxed_slice(),
            tier,
            cursor: Arc::clone(cursor),
            next_change,
        }
    }

    /// When a step of a slow start makes a rebuild needed.
    #[must_use]
    pub const fn next_change(&self) -> Option<Timestamp> {
        self.next_change
    }

    /// Whether ejections are ignored because too few servers are usable.
    #[must_use]
    pub fn is_panicking(&self) -> bool {
        self.tier.ejections == Ejections::Ignored
    }

    /// Whether the backups serve because no primary is usable.
    #[must_use]
    pub const fn uses_backups(&self) -> bool {
        self.tier.backup
    }

    /// How many servers are in rotation.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.servers.len()
    }

    /// Whether no server is in rotation.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    /// Whether clients bound to `server` stay with it: also at weight 0, and in panic also while
    /// it is ejected.
    #[must_use]
    pub fn takes_sticky(&self, server: &ServerState) -> bool {
        match self.tier.ejections {
            Ejections::Respected => server.takes_sticky(),
            Ejections::Ignored => server.is_usable_in_panic(),
        }
    }

    /// Whether the server of this id takes new clients: it is in rotation, and usable at this
    /// moment. Not at weight 0, nor as a backup while a primary is usable.
    #[must_use]
    pub fn takes_new(&self, id: ServerId) -> bool {
        // In the order of the backend's servers, as they were built.
        let found = self.servers.binary_search_by_key(&id, |server| server.id);
        found.is_ok_and(|at| self.servers[at].is_usable(self.tier.ejections))
    }

    /// Chooses a server that is usable at this moment, has room and, if there is another, was not
    /// tried before.
    pub fn pick(&self, request: &Request<'_>, rng: &mut fastrand::Rng) -> Pick {
        match self.pick_quickly(request, rng) {
            Some(index) => Pick::Server(self.servers[index].id),
            None => self.pick_of_all(request, rng),
        }
    }

    /// The algorithm's own choice; `None` if that cannot serve the request.
    fn pick_quickly(&self, request: &Request<'_>, rng: &mut fastrand::Rng) -> Option<usize> {
        match &self.method {
            Method::LeastRequests(draw) => {
                self.better_of_two(draw, request, rng, |a, b| !b.is_less_loaded(a))
            }
            Method::Ewma(draw) => {
                self.better_of_two(draw, request, rng, |a, b| a.is_quicker(b, request.now))
            }
            Method::RoundRobin(turns) => (0..MAX_TURNS_PASSED)
                .map_while(|_| turns.at(self.cursor.advance()))
                .find(|index| self.accepts(*index, request)),
            Method::Random(draw) => self.drawn(draw, request, rng),
            Method::Maglev(maglev, draw) => match request.hash {
                Some(hash) => maglev
                    .at(hash)
                    .filter(|index| self.accepts(*index, request)),
                None => self.drawn(draw, request, rng),
            },
            Method::Ring(ring, draw) => match request.hash {
                Some(hash) => ring.pick(hash, &self.servers, |server| {
                    server.accepts(self.tier.ejections, request)
                }),
                None => self.drawn(draw, request, rng),
            },
            // Servers are in the order written.
            Method::First => (0..self.servers.len()).find(|index| self.accepts(*index, request)),
            Method::LeastConnections(heaviest) => self.idle_one(*heaviest, request, rng),
        }
    }

    /// Of two servers drawn the first if `is_first_better`, which also decides ties: the order of
    /// the draw is random. One that cannot serve leaves the other.
    fn better_of_two(
        &self,
        draw: &Draw,
        request: &Request<'_>,
        rng: &mut fastrand::Rng,
        is_first_better: impl Fn(&Candidate, &Candidate) -> bool,
    ) -> Option<usize> {
        let (first, second) = draw.two(rng)?;
        let second = second.filter(|index| self.accepts(*index, request));
        if !self.accepts(first, request) {
            return second;
        }
        match second {
            Some(second) if !is_first_better(&self.servers[first], &self.servers[second]) => {
                Some(second)
            }
            _ => Some(first),
        }
    }

    /// One that nothing could be better than, if there is such a one near a place that is drawn: with
    /// thousands of servers there mostly is. Of few servers all are looked at, so that ties are even.
    fn idle_one(
        &self,
        heaviest: u32,
        request: &Request<'_>,
        rng: &mut fastrand::Rng,
    ) -> Option<usize> {
        let len = self.servers.len();
        if len < MANY {
            return None;
        }
        let first = rng.usize(..len);
        let mut near = (first..first + MAX_PROBED).map(|at| at % len);
        near.find(|index| {
            let server = &self.servers[*index];
            server.weight == heaviest && server.next_load() <= 1 && self.accepts(*index, request)
        })
    }

    fn drawn(&self, draw: &Draw, request: &Request<'_>, rng: &mut fastrand::Rng) -> Option<usize> {
        draw.one(rng).filter(|index| self.accepts(*index, request))
    }

    fn accepts(&self, index: usize, request: &Request<'_>) -> bool {
        self.servers[index].accepts(self.tier.ejections, request)
    }

    /// The best of all servers: how `least-connections` always chooses, and the others when their
    /// own choice is unusable, full or tried. A full backend never spills into its backups; one
    /// whose rotation has died since it was built does.
    #[inline(never)]
    fn pick_of_all(&self, request: &Request<'_>, rng: &mut fastrand::Rng) -> Pick {
        let first_backup = self.others.partition_point(|other| !other.backup);
        let (primaries, backups) = self.others.split_at(first_backup);
        [&*self.servers, primaries, backups]
            .into_iter()
            .map(|servers| self.best_of(servers, request, rng))
            .find(|pick| *pick != Pick::NoneUsable)
            .unwrap_or(Pick::NoneUsable)
    }

    fn best_of(
        &self,
        servers: &[Candidate],
        request: &Request<'_>,
        rng: &mut fastrand::Rng,
    ) -> Pick {
        let mut outcome = Pick::NoneUsable;
        let mut best = (true, f64::INFINITY, u32::MAX);
        for server in servers {
            if !server.is_usable(self.tier.ejections) {
                continue;
            }
            if !server.has_room() {
                if outcome == Pick::NoneUsable {
                    outcome = Pick::AllFull;
                }
                continue;
            }
            let was_tried = request.tried.contains(&server.id);
            let rank = (was_tried, self.cost(server, request, rng), rng.u32(..));
            if rank < best || !matches!(outcome, Pick::Server(_)) {
                best = rank;
                outcome = Pick::Server(server.id);
            }
        }
        outcome
    }

    /// What speaks against `server`: the lowest is picked.
    fn cost(&self, server: &Candidate, request: &Request<'_>, rng: &mut fastrand::Rng) -> f64 {
        match &self.method {
            Method::LeastRequests(_) | Method::LeastConnections(_) => {
                server.next_load() as f64 / f64::from(server.weight)
            }
            Method::Ewma(_) => {
                let latency = server.state.latency_secs(request.now).unwrap_or(0.0);
                f64::from(latency) * server.next_load() as f64
            }
            Method::RoundRobin(_) | Method::Random(_) => arrival(rng.u64(..), server.weight),
            Method::Maglev(..) | Method::Ring(..) => {
                let random = match request.hash {
                    Some(hash) => xxh3_64_with_seed(&server.name_hash.to_le_bytes(), hash),
                    None => rng.u64(..),
                };
                arrival(random, server.weight)
            }
            Method::First => f64::from(server.id.0),
        }
    }
}

impl Method {
    fn new(backend: &Backend, servers: &[Candidate]) -> Self {
        let weights: Vec<u32> = servers.iter().map(|server| server.weight).collect();
        let draw = || Draw::new(&weights);
        let maglev = || {
            let named: Vec<(&str, u32)> = servers
                .iter()
                .map(|s| (backend.servers[s.id.index()].name.as_str(), s.weight))
                .collect();
            Self::Maglev(Maglev::new(&named), draw())
        };
        match &backend.balance {
            Balance::LeastRequests => Self::LeastRequests(draw()),
            Balance::RoundRobin => Self::RoundRobin(Turns::new(&weights)),
            Balance::Random => Self::Random(draw()),
            Balance::LeastConnections => {
                Self::LeastConnections(weights.iter().copied().max().unwrap_or_default())
            }
            Balance::Ewma => Self::Ewma(draw()),
            Balance::Source => maglev(),
            Balance::Hash { method, .. } => match method {
                HashMethod::Maglev => maglev(),
                HashMethod::BoundedRing { percent } => {
                    Self::Ring(Ring::new(servers, *percent), draw())
                }
            },
            Balance::First => Self::First,
        }
    }
}

/// When a server of `weight` arrives in a race of exponential clocks set by `random`.
///
/// The first to arrive is a draw by weight. With a `random` of key and server name it is weighted
/// rendezvous hashing: the keys of a server that cannot serve spread over all others, the same on
/// every node.
fn arrival(random: u64, weight: u32) -> f64 {
    let unit = ((random >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    -unit.ln() / f64::from(weight)
}

/// Servers from which on `least-connections` tries its luck before it looks at all.
const MANY: usize = 256;
/// How many it looks at then.
const MAX_PROBED: usize = 64;
/// Turns of unusable, full or tried servers that a round-robin pick passes over before it looks at
/// all servers.
const MAX_TURNS_PASSED: usize = 4;
