//! The simulated nodes, their tables and the network between them.
#![expect(
    clippy::disallowed_types,
    reason = "this is the shell of the simulated nodes"
)]

use super::super::{Event, Incarnation, Node, Now, PeerIndex, Settings};
use crate::limit::Limiter;
use crate::model::{Denial, Name, RateKey, RateLimit, Stick, StickKey};
use crate::stick::{ServerKey, Table, Why};
use crate::tables::{KeptTable, Part, Shards, TableKind, TableName};
use crate::{Key, Timestamp};
use fastrand::Rng;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// What the network does to payloads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    pub(super) loss_percent: u8,
    pub(super) duplicate_percent: u8,
    pub(super) max_delay: Duration,
}

pub(super) struct Net {
    pub(super) fault: Fault,
    pub(super) nodes: Vec<Member>,
    /// Pairs between which nothing comes through.
    cuts: Vec<(usize, usize)>,
    under_way: Vec<Letter>,
    now: Timestamp,
    stick: Stick,
    pub(super) rng: Rng,
}

pub(super) struct Member {
    pub(super) node: Option<Node>,
    tables: Held,
    /// Its clock reads so much at the start, and runs so many millionths too fast.
    clock_start: u64,
    clock_ppm: i64,
    wall_ms: u64,
    /// The connection to each peer, by number; both ends have the same while it stands.
    connections: Vec<Option<u64>>,
    pub(super) events: Vec<Event>,
}

/// The tables of a member.
struct Held {
    stick: Arc<Parts<Table>>,
    rate: Arc<Parts<Limiter>>,
}

#[derive(Debug)]
struct Parts<T>(Vec<Mutex<T>>);

#[derive(Clone)]
struct Letter {
    arrives: Timestamp,
    from: usize,
    to: usize,
    connection: u64,
    payload: Vec<u8>,
}

impl<T> Parts<T> {
    fn lock(&self, shard: usize) -> MutexGuard<'_, T> {
        self.0[shard].lock().unwrap()
    }
}

impl Shards for Parts<Table> {
    fn count(&self) -> NonZeroUsize {
        SHARDS
    }

    fn with(&self, shard: usize, act: &mut dyn FnMut(Part<'_>)) {
        act(Part::Stick(&mut self.lock(shard)));
    }
}

impl Shards for Parts<Limiter> {
    fn count(&self) -> NonZeroUsize {
        SHARDS
    }

    fn with(&self, shard: usize, act: &mut dyn FnMut(Part<'_>)) {
        act(Part::Rate(&mut self.lock(shard)));
    }
}

impl Net {
    pub(super) fn new(count: usize, window: Duration, refresh: bool, mut rng: Rng) -> Self {
        let stick = Stick {
            on: StickKey::SourceIp,
            window,
            refresh,
            max_entries: 1000,
        };
        let members = (0..count).map(|_| Member {
            node: None,
            tables: Held::new(&stick),
            clock_start: rng.u64(1 << 40..1 << 50),
            clock_ppm: rng.i64(-200..=200),
            wall_ms: 1_000_000_000_000 + rng.u64(0..5000),
            connections: vec![None; count],
            events: Vec::new(),
        });
        let nodes = members.collect();
        let mut net = Self {
            fault: WELL,
            nodes,
            cuts: Vec::new(),
            under_way: Vec::new(),
            now: Timestamp::ZERO,
            stick,
            rng,
        };
        (0..count).for_each(|node| net.start(node));
        net
    }

    pub(super) const fn now(&self) -> Timestamp {
        self.now
    }

    pub(super) fn kill(&mut self, node: usize) {
        self.nodes[node].node = None;
        self.nodes[node].tables = Held::new(&self.stick);
        for peer in 0..self.nodes.len() {
            self.nodes[node].connections[peer] = None;
        }
    }

    pub(super) fn start(&mut self, node: usize) {
        self.kill(node);
        let now = self.clocks(node);
        let names = (0..self.nodes.len()).map(name);
        let settings = Settings {
            node: name(node),
            peers: names.filter(|other| *other != name(node)).collect(),
            incarnation: Incarnation(now.wall_ms),
            max_counts: 10_000,
            program: String::new(),
            is_restored: false,
            is_current: false,
        };
        let mut machine = Node::new(now, settings).unwrap();
        machine.handle_tables(now, &self.nodes[node].tables.all());
        self.nodes[node].node = Some(machine);
    }

    /// Cuts the connection between two nodes. Neither is told: both hear nothing any more.
    pub(super) fn cut(&mut self, one: usize, other: usize) {
        self.cuts.push((one, other));
    }

    /// Cuts `node` off from all.
    pub(super) fn cut_off(&mut self, node: usize) {
        (0..self.nodes.len()).for_each(|other| self.cut(node, other));
    }

    /// Mends the network, and starts what is dead.
    pub(super) fn heal(&mut self) {
        self.fault = WELL;
        self.mend();
        for node in 0..self.nodes.len() {
            if self.nodes[node].node.is_none() {
                self.start(node);
            }
        }
    }

    pub(super) fn mend(&mut self) {
        self.cuts.clear();
    }

    /// Has a client come to `node`. Returns how its server was found.
    pub(super) fn visit(&mut self, node: usize, client: u64, confirms: bool) -> Option<Why> {
        let now = self.clocks(node);
        let (server, bad) = (server(self.rng.u64(0..3)), self.rng.u64(0..30));
        let member = &mut self.nodes[node];
        member.node.as_ref()?;
        let shard = key(client).shard(SHARDS);
        let mut table = member.tables.stick.lock(shard);
        let is_usable = |bound| bound != self::server(bad);
        let choice = table.lookup_or_choose(now.mono, key(client), is_usable, || Some(server))?;
        // Where the choice replaces one that others know of, it is not left open.
        if confirms || choice.why == Why::Rechosen {
            table.confirm(now.mono, key(client), choice.server);
        }
        Some(choice.why)
    }

    /// Has `node` count a request of a client. Returns whether it passes.
    pub(super) fn request(&mut self, node: usize, client: u64) -> bool {
        let now = self.clocks(node);
        let member = &mut self.nodes[node];
        let shard = key(client).shard(SHARDS);
        let mut limiter = member.tables.rate.lock(shard);
        member.node.is_some() && limiter.check(now.mono, key(client)).is_ok()
    }

    pub(super) fn set_limit(&mut self, limit: &RateLimit) {
        for member in &mut self.nodes {
            for shard in 0..SHARDS.get() {
                member.tables.rate.lock(shard).reconfigure(limit, 1000);
            }
        }
    }

    /// Whom `node` binds `client` to, and for how long, as the network's clock goes.
    pub(super) fn bound(&self, node: usize, client: u64) -> Option<(ServerKey, Timestamp)> {
        let now = self.clocks(node).mono;
        let shard = key(client).shard(SHARDS);
        let table = self.nodes[node].tables.stick.lock(shard);
        let (_, entry) = table.iter(now).find(|(of, _)| *of == key(client))?;
        let left = table.end_of(&entry).saturating_since(now);
        entry.is_confirmed.then(|| (entry.server, self.now + left))
    }

    pub(super) fn rate_sum(&self, node: usize, client: u64) -> u64 {
        let node = self.nodes[node].node.as_ref().unwrap();
        node.rate_sum(&rate_name(), key(client))
    }

    /// Whether all are connected and nobody has anything left to tell.
    pub(super) fn is_settled(&self) -> bool {
        (0..self.nodes.len()).all(|node| {
            let now = self.clocks(node);
            let node = self.nodes[node].node.as_ref().unwrap();
            let is_quiet = |peer: super::super::PeerStatus<'_>| {
                peer.is_connected && peer.is_taught && peer.waiting == 0
            };
            node.is_current() && !node.is_behind() && node.peers(now).all(is_quiet)
        })
    }

    /// Whether `node` has not been told yet what others have seen without it.
    pub(super) fn is_behind(&self, node: usize) -> bool {
        let node = self.nodes[node].node.as_ref();
        node.is_some_and(Node::is_behind)
    }

    pub(super) fn is_connected(&self, node: usize) -> bool {
        let now = self.clocks(node);
        let node = self.nodes[node].node.as_ref();
        node.is_some_and(|node| node.peers(now).all(|peer| peer.is_connected))
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.tick();
        }
    }

    /// Runs until all is told, at most `limit`. Returns how long that took.
    pub(super) fn settle(&mut self, limit: Duration) -> Duration {
        let start = self.now;
        // What was done last is to be collected first.
        self.run(TICK * 2);
        while !self.is_settled() {
            let took = self.now.saturating_since(start);
            assert!(took <= limit, "not settled after {took:?}");
            self.tick();
        }
        self.now.saturating_since(start)
    }

    pub(super) fn tick(&mut self) {
        self.now = self.now + TICK;
        self.connect();
        let due = |letter: &Letter| letter.arrives <= self.now;
        let (mut due, rest): (Vec<Letter>, _) = self.under_way.drain(..).partition(due);
        self.under_way = rest;
        due.sort_by_key(|letter| letter.arrives);
        for letter in due {
            self.deliver(&letter);
        }
        for node in 0..self.nodes.len() {
            self.turn(node);
        }
    }

    /// Connects whoever is not, as a shell would; a connection that one side gave up is over.
    fn connect(&mut self) {
        let count = self.nodes.len();
        for (one, other) in (0..count).flat_map(|one| (0..one).map(move |other| (one, other))) {
            let ends = (
                self.nodes[one].connections[other],
                self.nodes[other].connections[one],
            );
            let is_dead = self.nodes[one].node.is_none() || self.nodes[other].node.is_none();
            if is_dead || self.is_cut(one, other) || ends.0.is_some() && ends.0 == ends.1 {
                continue;
            }
            // Most attempts succeed at once, some take their time.
            if self.rng.u8(0..10) == 0 {
                let connection = self.rng.u64(..);
                self.join(one, other, connection);
                self.join(other, one, connection);
            }
        }
    }

    fn join(&mut self, node: usize, other: usize, connection: u64) {
        let now = self.clocks(node);
        let member = &mut self.nodes[node];
        member.connections[other] = Some(connection);
        if let Some(machine) = &mut member.node {
            machine.handle_connected(now, peer_index(node, other));
        }
    }

    fn deliver(&mut self, letter: &Letter) {
        let now = self.clocks(letter.to);
        let is_cut = self.is_cut(letter.from, letter.to);
        let member = &mut self.nodes[letter.to];
        let is_same = member.connections[letter.from] == Some(letter.connection);
        if let Some(node) = &mut member.node
            && is_same
            && !is_cut
        {
            let peer = peer_index(letter.to, letter.from);
            let took = node.handle_payload(now, peer, &letter.payload);
            // A hello may have been lost.
            if took.is_err() {
                node.handle_disconnected(now, peer);
                member.connections[letter.from] = None;
            }
        }
    }

    fn turn(&mut self, at: usize) {
        let now = self.clocks(at);
        let count = self.nodes.len();
        let mut payload = Vec::new();
        let mut said = Vec::new();
        let member = &mut self.nodes[at];
        let Some(node) = &mut member.node else {
            return;
        };
        node.handle_timeout(now);
        for other in (0..count).filter(|other| *other != at) {
            let Some(connection) = member.connections[other] else {
                continue;
            };
            let peer = peer_index(at, other);
            while node.poll_transmit(now, peer, &mut payload) {
                said.push((other, connection, payload.clone()));
            }
        }
        while let Some(event) = node.poll_event() {
            if let Event::Silent(peer) = event {
                let other = if peer >= at { peer + 1 } else { peer };
                member.connections[other] = None;
            }
            member.events.push(event);
        }
        for (to, connection, payload) in said {
            self.send(at, to, connection, &payload);
        }
    }

    fn send(&mut self, from: usize, to: usize, connection: u64, payload: &[u8]) {
        let copies = 1 + usize::from(self.rng.u8(0..100) < self.fault.duplicate_percent);
        for _ in 0..copies {
            if self.rng.u8(0..100) < self.fault.loss_percent || self.is_cut(from, to) {
                continue;
            }
            let max = u64::try_from(self.fault.max_delay.as_nanos()).unwrap();
            self.under_way.push(Letter {
                arrives: self.now + Duration::from_nanos(self.rng.u64(0..=max)),
                from,
                to,
                connection,
                payload: payload.to_vec(),
            });
        }
    }

    fn is_cut(&self, one: usize, other: usize) -> bool {
        self.cuts.contains(&(one, other)) || self.cuts.contains(&(other, one))
    }

    fn clocks(&self, node: usize) -> Now {
        let node = &self.nodes[node];
        let passed = i128::from(self.now.as_nanos());
        let drift = passed * i128::from(node.clock_ppm) / 1_000_000;
        let read = i128::from(node.clock_start) + passed + drift;
        Now {
            mono: Timestamp::from_nanos(u64::try_from(read).unwrap()),
            wall_ms: node.wall_ms + self.now.as_nanos() / 1_000_000,
        }
    }
}

impl Held {
    fn new(stick: &Stick) -> Self {
        let limit = RateLimit {
            requests: 1000,
            // What is full again before it is told is not told.
            period: Duration::from_secs(3600),
            burst: 1_000_000,
            by: RateKey::SourceIp,
            max_keys: 1000,
            denial: Denial::default(),
        };
        let shards = 0..SHARDS.get();
        let stick = shards.clone().map(|_| Mutex::new(Table::new(stick, 1000)));
        let rate = shards.map(|_| Mutex::new(Limiter::new(&limit, 1000)));
        Self {
            stick: Arc::new(Parts(stick.collect())),
            rate: Arc::new(Parts(rate.collect())),
        }
    }

    fn all(&self) -> [KeptTable; 2] {
        let stick = TableName {
            kind: TableKind::Stick,
            ..rate_name()
        };
        [
            KeptTable {
                name: stick,
                shards: Arc::clone(&self.stick) as _,
            },
            KeptTable {
                name: rate_name(),
                shards: Arc::clone(&self.rate) as _,
            },
        ]
    }
}

fn rate_name() -> TableName {
    TableName {
        kind: TableKind::Rate,
        of: "api".to_owned(),
        on: "source".to_owned(),
    }
}

fn name(node: usize) -> String {
    format!("node-{node}")
}

fn key(client: u64) -> Key {
    Key::of_bytes(&client.to_le_bytes())
}

fn server(number: u64) -> ServerKey {
    ServerKey::new(&Name::new(&format!("server-{number}")))
}

const fn peer_index(of: usize, other: usize) -> PeerIndex {
    if other > of { other - 1 } else { other }
}

pub(super) const WELL: Fault = Fault {
    loss_percent: 0,
    duplicate_percent: 0,
    max_delay: Duration::from_millis(20),
};
const SHARDS: NonZeroUsize = NonZeroUsize::new(2).unwrap();
/// How often each node looks at its tables and its connections.
pub(super) const TICK: Duration = Duration::from_millis(20);
