//! One node of the mesh: what it says, to whom, and what it makes of what it hears.

mod letters;
mod receive;
mod send;

pub(super) use letters::Letters;
pub use letters::{Letter, LetterError, LetterKind, MAX_LETTER};

use super::clock::{HybridClock, Incarnation, NodeId, Now, Stamp};
use super::link::{Connection, Counters, Link, RESEND_AFTER, Teaching};
use super::message::{Frames, MIN_VERSION, Message, RouterView, VERSION};
use super::notes::{Note, NoteError, NoteKind, Notes};
use super::rates::Rates;
use super::sticks::Sticks;
use super::tables::Source;
use super::wire::DecodeError;
use crate::Timestamp;
use crate::tables::KeptTable;
#[cfg(test)]
use crate::tables::TableName;
use std::collections::VecDeque;
use std::time::Duration;
use thiserror::Error;

/// Index of a peer in the list that [`Node::new`] was given.
pub type PeerIndex = usize;

/// Who this node is, and with whom it shares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its name.
    pub node: String,
    /// The names of its peers.
    pub peers: Vec<String>,
    /// Its run: milliseconds of the time of day at its start.
    pub incarnation: Incarnation,
    /// Counts of requests kept at most, of all keys and nodes; 100 bytes each.
    pub max_counts: usize,
    /// Program and version, to be shown at peers.
    pub program: String,
    /// Whether the tables hold what an earlier run of this node knew. Then what peers counted before
    /// they have told all is in the limits already, and not charged again.
    pub is_restored: bool,
    /// Whether they hold all that peers knew, too: that run was in this process and had been told.
    pub is_current: bool,
}

/// Names that cannot be told apart.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("nodes `{0}` and `{1}` have the same number; give one of them another name")]
pub struct SameNumber(pub String, pub String);

/// Why a connection is not gone on with.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// It cannot be read.
    #[error("the message cannot be read")]
    Unreadable(#[from] DecodeError),
    /// The first message is not a hello.
    #[error("the peer does not say who it is")]
    Nameless,
    /// It is no peer of this node.
    #[error("`{0}` is not among the peers of this node; add it to `cluster.peers`")]
    Stranger(String),
    /// It is another peer than was to be reached.
    #[error("`{found}` answers where `{expected}` should")]
    Another {
        /// Who was to be reached.
        expected: String,
        /// Who answers.
        found: String,
    },
    /// It wants to speak with another node.
    #[error("the peer takes this node for `{0}`; is the address right in its `cluster.peers`?")]
    NotMe(String),
    /// The versions have none in common.
    #[error(
        "the peer speaks version {theirs} and understands {their_least} and later, this node \
         {VERSION} and {MIN_VERSION}; upgrade the older one"
    )]
    Version {
        /// What it speaks.
        theirs: u16,
        /// The lowest that it understands.
        their_least: u16,
    },
}

/// Something that somebody may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A peer was met; whether it was started since the last time, or never met.
    Met(PeerIndex, Acquaintance),
    /// The connection to a peer that was met is no more.
    Lost(PeerIndex),
    /// The connection to a peer is to be closed: it has been silent for [`SILENCE`].
    Silent(PeerIndex),
    /// A peer was told all that was known here when it came.
    Taught(PeerIndex),
    /// This node has been told all that its peers knew.
    Current,
    /// The configuration of a peer is another (`true`) or the same again.
    Drift(PeerIndex, bool),
    /// The clock of a peer is more than a second ahead; told once for each connection.
    ClockAhead(PeerIndex),
    /// A peer changed a note, or one of this node became active.
    Note(NoteKind, String),
    /// A peer wrote a letter.
    Letter(PeerIndex, Letter),
}

/// What is known of a peer that is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acquaintance {
    /// The run that was known.
    Known,
    /// A run that was not.
    New,
}

/// A peer, for whoever asks.
#[derive(Clone, Debug)]
pub struct PeerStatus<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether a connection stands and it has said who it is.
    pub is_connected: bool,
    /// Whether it has been told all that was known here when it came.
    pub is_taught: bool,
    /// Entries that it is not known to have, what it is taught not counted.
    pub waiting: usize,
    /// How old the oldest change is that is not known to have arrived.
    pub lag: Duration,
    /// Digest of its configuration; `None` while there is no connection, or none to compare.
    pub digest: Option<u64>,
    /// Whether its configuration is another than ours.
    pub is_drifted: bool,
    /// When it last said anything.
    pub heard_at: Option<Timestamp>,
    /// The version of its messages, and its program, as it said when it was last met.
    pub speaks: Option<&'a (u16, String)>,
    /// What it thinks of the virtual routers; empty while there is no connection.
    pub routers: &'a [RouterView],
    /// Its counts.
    pub counters: Counters,
}

/// The replication of one node.
///
/// [`Node::handle_timeout`] is called every few milliseconds while there is traffic, since that is
/// when changes are collected, and no later than at [`Node::poll_timeout`]. After it and after each
/// message, [`Node::poll_transmit`] is called for each connected peer as long as its connection takes
/// more: what is not fetched is not made, so a slow peer costs marks only.
#[derive(Debug)]
pub struct Node {
    name: String,
    id: NodeId,
    incarnation: Incarnation,
    clock: HybridClock,
    sticks: Sticks,
    rates: Rates,
    notes: Notes,
    links: Vec<Link>,
    digest: u64,
    routers: Vec<RouterView>,
    events: VecDeque<Event>,
    started_at: Timestamp,
    /// When the turn of the limits began.
    turn_at: Timestamp,
    program: String,
    is_restored: bool,
    is_current: bool,
    /// Whether this run has been told all, or has waited long enough.
    is_told: bool,
}

impl Node {
    /// A node that has met nobody.
    ///
    /// # Errors
    /// [`SameNumber`], if two names cannot be told apart.
    pub fn new(now: Now, settings: Settings) -> Result<Self, SameNumber> {
        let mut names = vec![settings.node.clone()];
        for peer in &settings.peers {
            if let Some(same) = names.iter().find(|n| NodeId::new(n) == NodeId::new(peer)) {
                return Err(SameNumber(same.clone(), peer.clone()));
            }
            names.push(peer.clone());
        }
        Ok(Self {
            id: NodeId::new(&settings.node),
            name: settings.node,
            incarnation: settings.incarnation,
            clock: HybridClock::default(),
            sticks: Sticks::default(),
            rates: Rates::new(settings.max_counts),
            notes: Notes::default(),
            links: settings.peers.into_iter().map(Link::new).collect(),
            digest: 0,
            routers: Vec::new(),
            events: VecDeque::new(),
            started_at: now.mono,
            turn_at: now.mono,
            program: settings.program,
            is_restored: settings.is_restored,
            is_current: settings.is_current,
            is_told: false,
        })
    }

    /// Takes up the tables of a configuration. If one is new, peers are asked to tell all again.
    pub fn handle_tables(&mut self, now: Now, tables: &[KeptTable]) {
        let has_new = self.sticks.follow(tables);
        self.rates.follow(tables);
        let sources = self.sticks.sources();
        for link in &mut self.links {
            link.retain(|source| {
                !matches!(source, Source::Stick(..)) || sources.binary_search(source).is_ok()
            });
            link.wants_resync |= has_new && link.incarnation.is_some();
        }
        // What a table held before it was replicated is stamped before peers tell of it.
        self.collect(now);
    }

    /// Says what configuration this node runs; 0 for one that peers are not to have alike.
    pub fn handle_digest(&mut self, digest: u64) {
        let before = std::mem::replace(&mut self.digest, digest);
        for (peer, link) in self.links.iter().enumerate() {
            let Some(said) = &link.said else { continue };
            let (was, is) = (is_drift(said.digest, before), is_drift(said.digest, digest));
            if was != is {
                self.events.push_back(Event::Drift(peer, is));
            }
        }
    }

    /// Says what this node thinks of the virtual routers; told at once if that is new.
    pub fn handle_routers(&mut self, now: Now, routers: Vec<RouterView>) {
        if self.routers != routers {
            self.routers = routers;
            let connections = self.links.iter_mut().filter_map(|l| l.connection.as_mut());
            connections.for_each(|connection| connection.heartbeat_at = now.mono);
        }
    }

    /// Finds who it is that connected, by its first payload.
    ///
    /// # Errors
    /// [`Refused`], if it is nobody to speak with.
    pub fn identify(&self, payload: &[u8]) -> Result<PeerIndex, Refused> {
        let Some(Message::Hello(hello)) = Frames::new(payload).next().transpose()? else {
            return Err(Refused::Nameless);
        };
        self.check_hello(&hello)?;
        let peer = self.links.iter().position(|link| link.name == hello.name);
        peer.ok_or_else(|| Refused::Stranger(hello.name.to_owned()))
    }

    /// Says that a connection to `peer` stands. One there was before is over.
    pub fn handle_connected(&mut self, now: Now, peer: PeerIndex) {
        if self.links[peer].connection.is_some() {
            self.handle_disconnected(now, peer);
        }
        self.links[peer].connection = Some(Connection::new(now.mono));
    }

    /// Says that the connection to `peer` is no more. What had not arrived is told again.
    pub fn handle_disconnected(&mut self, now: Now, peer: PeerIndex) {
        let link = &mut self.links[peer];
        if let Some(connection) = link.connection.take() {
            link.counters.disconnects += 1;
            link.take_back(now.mono, Timestamp::MAX);
            link.lost_at = Some(now.mono);
            link.said = None;
            if connection.has_heard_hello {
                self.events.push_back(Event::Lost(peer));
            }
        }
    }

    /// Takes a payload from `peer`.
    ///
    /// # Errors
    /// [`Refused`]; the connection is to be closed then.
    pub fn handle_payload(
        &mut self,
        now: Now,
        peer: PeerIndex,
        payload: &[u8],
    ) -> Result<(), Refused> {
        if self.links[peer].connection.is_none() {
            return Ok(());
        }
        for message in Frames::new(payload) {
            self.handle_message(now, peer, message?)?;
        }
        let link = &mut self.links[peer];
        if let Some(connection) = &mut link.connection {
            connection.heard_at = now.mono;
            link.heard_at = Some(now.mono);
        }
        Ok(())
    }

    /// Collects what changed here and does what is due. Calling it early or often is harmless.
    pub fn handle_timeout(&mut self, now: Now) {
        self.collect(now);
        self.check_turn(now.mono);
        for peer in 0..self.links.len() {
            let link = &mut self.links[peer];
            let Some(connection) = &link.connection else {
                if link.lost_at.is_some_and(|at| at + ADOPT_AFTER <= now.mono) {
                    link.lost_at = None;
                    self.adopt(now, peer);
                }
                continue;
            };
            if connection.heard_at + SILENCE <= now.mono {
                self.handle_disconnected(now, peer);
                self.events.push_back(Event::Silent(peer));
            } else if link.resend_at().is_some_and(|at| at <= now.mono) {
                link.take_back(now.mono, now.mono - RESEND_AFTER);
            }
        }
        self.activate_blobs(now);
        self.check_current(now);
    }

    /// Puts the next payload for `peer` into `out`, which is emptied. Returns whether there is one.
    pub fn poll_transmit(&mut self, now: Now, peer: PeerIndex, out: &mut Vec<u8>) -> bool {
        out.clear();
        self.write_control(now, peer, out);
        // A payload has room for one of both.
        if self.links[peer].is_met() && !self.write_letters(peer, out) {
            self.write_entries(now, peer, out);
        }
        !out.is_empty()
    }

    /// The next thing to tell whoever wants to know.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Self::handle_timeout`] is to be called at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Timestamp {
        let due = self.links.iter().filter_map(|link| match &link.connection {
            Some(connection) => {
                let silent_at = connection.heard_at + SILENCE;
                let heartbeat_at = connection.heartbeat_at.min(silent_at);
                Some(
                    link.resend_at()
                        .map_or(heartbeat_at, |at| at.min(heartbeat_at)),
                )
            }
            None => link.lost_at.map(|at| at + ADOPT_AFTER),
        });
        let wait = (!self.is_told).then(|| self.started_at + WAIT_FOR_PEERS);
        due.chain(wait).min().unwrap_or(Timestamp::MAX)
    }

    /// Writes a note of this node for all. An empty one says that it is no more.
    ///
    /// # Errors
    /// [`NoteError`], if it is not taken.
    pub fn put_note(
        &mut self,
        now: Now,
        kind: NoteKind,
        name: &str,
        bytes: Vec<u8>,
    ) -> Result<(), NoteError> {
        let note = Note {
            kind,
            name: name.to_owned(),
            bytes,
            is_active: false,
            stamp: self.stamp_after(now, kind, name),
        };
        if let Some(slot) = self.notes.put(note)? {
            self.tell_note(now, slot, None);
        }
        Ok(())
    }

    /// Writes a note of what was so before this run: whatever a peer says of it is newer.
    ///
    /// # Errors
    /// [`NoteError`], if it is not taken.
    pub fn recall_note(
        &mut self,
        kind: NoteKind,
        name: &str,
        bytes: Vec<u8>,
    ) -> Result<(), NoteError> {
        let note = Note {
            kind,
            name: name.to_owned(),
            bytes,
            is_active: false,
            stamp: Stamp {
                time: 1,
                node: self.id,
            },
        };
        self.notes.put(note).map(drop)
    }

    /// The note of this name.
    #[must_use]
    pub fn note(&self, kind: NoteKind, name: &str) -> Option<&Note> {
        self.notes.find(kind, name)
    }

    /// All notes.
    pub fn notes(&self) -> impl Iterator<Item = &Note> {
        self.notes.iter().map(|(_, note)| note)
    }

    /// Whether this node has been told all that its peers knew when it came, or waited long enough
    /// for them.
    #[must_use]
    pub const fn is_current(&self) -> bool {
        self.is_current
    }

    /// Whether a peer that was away and came back has not told yet what it has seen meanwhile.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.links.iter().any(Link::is_behind)
    }

    /// Its peers, in the order of the settings.
    pub fn peers(&self, now: Now) -> impl Iterator<Item = PeerStatus<'_>> {
        self.links.iter().map(move |link| PeerStatus {
            name: &link.name,
            is_connected: link.is_met(),
            is_taught: link.teaching == Teaching::Done,
            waiting: link.waiting(),
            lag: link.lag(now.mono),
            digest: link
                .said
                .as_ref()
                .map(|said| said.digest)
                .filter(|it| *it != 0),
            heard_at: link.heard_at,
            speaks: link.speaks.as_ref(),
            is_drifted: link
                .said
                .as_ref()
                .is_some_and(|s| is_drift(s.digest, self.digest)),
            routers: link.said.as_ref().map_or(&[], |said| &said.routers),
            counters: link.counters,
        })
    }

    /// What all nodes let pass of `key` in the newest period each told of.
    #[cfg(test)]
    pub(super) fn rate_sum(&self, table: &TableName, key: crate::Key) -> u64 {
        self.rates.sum(table, key)
    }

    fn collect(&mut self, now: Now) {
        let links = &mut self.links;
        let mut mark = |source, run| {
            for link in links.iter_mut() {
                link.mark(now.mono, source, run);
            }
        };
        let clock = (&mut self.clock, self.id);
        self.sticks.collect(now, clock, &mut mark);
        let me = (self.id, self.incarnation);
        self.rates.collect(now, me, |slot| {
            for link in links.iter_mut() {
                link.mark_slot(now.mono, Source::Rates, slot);
            }
        });
    }

    /// Begins a turn of the limits, if the last is over and all have what was collected by then.
    fn check_turn(&mut self, now: Timestamp) {
        let took = now.saturating_since(self.turn_at);
        let mut met = self.links.iter().filter(|link| link.is_met());
        // What is collected is sent a moment later.
        if took >= TURN && met.all(|link| link.lag(now) + TURN / 2 <= took) {
            self.begin_turn(now);
        }
    }

    fn begin_turn(&mut self, now: Timestamp) {
        let met = self.links.iter().filter(|link| link.is_met());
        let connected: Vec<NodeId> = met.map(|link| link.id).collect();
        self.turn_at = now;
        self.rates.begin_turn(now, &connected);
    }

    /// Tells the others what is known from a peer that is lost: it may not have reached them.
    fn adopt(&mut self, now: Now, lost: PeerIndex) {
        let id = self.links[lost].id;
        let links = &mut self.links;
        if links.len() < 2 {
            return;
        }
        self.sticks.slots_of(id, |source, slot| {
            for (peer, link) in links.iter_mut().enumerate() {
                if peer != lost {
                    link.mark_slot(now.mono, source, slot);
                }
            }
        });
    }

    fn tell_note(&mut self, now: Now, slot: u32, except: Option<PeerIndex>) {
        for (peer, link) in self.links.iter_mut().enumerate() {
            if Some(peer) != except {
                link.mark_slot(now.mono, Source::Notes, slot);
            }
        }
    }

    fn stamp_after(&mut self, now: Now, kind: NoteKind, name: &str) -> Stamp {
        let before = self
            .notes
            .find(kind, name)
            .map_or(0, |note| note.stamp.time);
        Stamp {
            time: self.clock.tick(now).max(before + 1),
            node: self.id,
        }
    }

    fn activate_blobs(&mut self, now: Now) {
        let is_mine = |note: &Note| note.stamp.node == self.id && !note.is_active;
        let all = self.notes.iter();
        let waiting = all.filter(|(_, note)| note.kind == NoteKind::BLOB && is_mine(note));
        let has_arrived = |slot| {
            let mut met = self.links.iter().filter(|link| link.connection.is_some());
            met.all(|link| link.has_arrived(Source::Notes, slot))
        };
        let ready = waiting.filter(|(slot, _)| has_arrived(*slot));
        let ready: Vec<(u32, String)> = ready
            .map(|(slot, note)| (slot, note.name.clone()))
            .collect();
        for (slot, name) in ready {
            let stamp = self.stamp_after(now, NoteKind::BLOB, &name);
            self.notes.activate(slot, stamp);
            self.tell_note(now, slot, None);
            self.events.push_back(Event::Note(NoteKind::BLOB, name));
        }
    }

    fn check_current(&mut self, now: Now) {
        if self.is_told {
            return;
        }
        let is_taught = |link: &Link| link.said.as_ref().is_some_and(|said| said.is_taught);
        let has_waited = self.started_at + WAIT_FOR_PEERS <= now.mono;
        // After the wait only those count that are there.
        let mut awaited = self
            .links
            .iter()
            .filter(|link| link.is_met() || !has_waited);
        if awaited.all(is_taught) {
            self.is_told = true;
            if !std::mem::replace(&mut self.is_current, true) {
                self.events.push_back(Event::Current);
            }
        }
    }
}

/// Whether configurations of these digests are different and should not be.
const fn is_drift(one: u64, other: u64) -> bool {
    one != other && one != 0 && other != 0
}

/// Time between two heartbeats.
pub const HEARTBEAT: Duration = Duration::from_millis(500);
/// After so long without a word the connection to a peer is given up: four heartbeats.
pub const SILENCE: Duration = Duration::from_secs(2);
/// How long a turn of the limits takes at least: several times what news takes.
const TURN: Duration = Duration::from_millis(50);
/// How long a node that starts waits for peers before it counts as current without them.
pub const WAIT_FOR_PEERS: Duration = Duration::from_secs(5);
/// How long a peer may be away before what it said last is told again to the others.
const ADOPT_AFTER: Duration = Duration::from_secs(5);
