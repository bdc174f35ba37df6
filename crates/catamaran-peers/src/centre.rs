//! The centre: the one task that owns the machine, and hands it what comes in.

use crate::connect::{Context, Secured, Tasks, dial, error_chain, listen, run, tell_met};
use crate::counters::{Counters, count};
use catamaran_core::Timestamp;
use catamaran_core::model::{Cluster, ClusterSecret};
use catamaran_core::replication::{
    Event, Incarnation, Letter, LetterError, Node, NoteKind, Now, PeerIndex, Refused, RouterView,
    SameNumber, Settings,
};
use catamaran_core::tables::KeptTable;
use catamaran_noise::NoiseError;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

/// What a mesh is made of, as one node sees it.
#[derive(Debug)]
pub struct Config {
    /// Who they are, and what they must know.
    pub cluster: Cluster,
    /// Where peers connect to.
    pub listener: TcpListener,
    /// Program and version, to be shown at peers.
    pub program: String,
    /// Counts of requests kept at most, of all keys and nodes; 100 bytes each.
    pub max_counts: usize,
    /// Whether the tables hold what an earlier run of this node knew.
    pub is_restored: bool,
    /// Whether they hold all that peers knew, since that run was in this process and had been told.
    pub is_current: bool,
    /// What the clock of the tables reads now.
    pub clock: fn() -> Timestamp,
    /// What is counted of connections.
    pub counters: Arc<Counters>,
}

/// Who is told what happens. Called by the centre, which waits meanwhile.
pub trait Observer: Send {
    /// Something happened; `node` knows the rest.
    fn handle_event(&mut self, now: Now, node: &Node, event: &Event);

    /// Told now and then, several times a second, how all is.
    fn look(&mut self, now: Now, node: &Node);
}

/// The way to the centre. When all are dropped, it ends.
#[derive(Clone, Debug)]
pub struct Handle {
    commands: mpsc::Sender<Command>,
}

/// The centre is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("replication has stopped")]
pub struct Stopped;

enum Command {
    Tables(Vec<KeptTable>),
    Digest(u64),
    Routers(Vec<RouterView>),
    Secrets(Vec<ClusterSecret>),
    Note(NoteKind, String, Vec<u8>),
    Recall(NoteKind, String, Vec<u8>),
    Letter(PeerIndex, Letter, oneshot::Sender<Result<(), LetterError>>),
}

/// What tasks of connections say.
pub(crate) enum ToCentre {
    Arrived(Secured, Arrival),
    Payload(u64, Vec<u8>),
    Broke(u64, NoiseError),
}

/// How a connection came to be.
pub(crate) enum Arrival {
    /// By a peer, whose first words these are.
    Accepted(Vec<u8>, SocketAddr),
    /// By this node, which is told when it is over.
    Dialed(PeerIndex, oneshot::Sender<()>),
}

struct Centre {
    node: Node,
    names: Vec<String>,
    observer: Box<dyn Observer>,
    connections: Vec<Option<(u64, Tasks)>>,
    next_id: u64,
    context: Context,
    secrets: watch::Sender<Vec<ClusterSecret>>,
    clock: fn() -> Timestamp,
}

/// Starts replication on the runtime of the caller.
///
/// # Errors
/// [`SameNumber`], if two nodes cannot be told apart by their names.
pub fn start(
    config: Config,
    tables: Vec<KeptTable>,
    observer: Box<dyn Observer>,
) -> Result<Handle, SameNumber> {
    let now = read_clocks(config.clock);
    let Cluster {
        node: own,
        peers,
        secrets,
        ..
    } = config.cluster;
    let names: Vec<String> = peers.iter().map(|peer| peer.name.to_string()).collect();
    let settings = Settings {
        node: own.to_string(),
        peers: names.clone(),
        program: config.program,
        incarnation: Incarnation(now.wall_ms),
        max_counts: config.max_counts,
        is_restored: config.is_restored,
        is_current: config.is_current,
    };
    let node = Node::new(now, settings)?;
    let (centre, inbox) = mpsc::channel(INBOX);
    let (commands, orders) = mpsc::channel(INBOX);
    let (secrets, current_secrets) = watch::channel(secrets);
    let context = Context {
        centre,
        secrets: current_secrets,
        counters: config.counters,
        has_room: Arc::new(Notify::new()),
    };
    let handle = Handle { commands };
    let mut tasks = JoinSet::new();
    tasks.spawn(listen(config.listener, context.clone()));
    for (index, peer) in peers.into_iter().enumerate() {
        // One of the two connects; that must not depend on who came first.
        if own < peer.name {
            tasks.spawn(dial(index, peer, context.clone()));
        }
    }
    let centre = Centre {
        node,
        connections: names.iter().map(|_| None).collect(),
        names,
        observer,
        next_id: 0,
        context,
        secrets,
        clock: config.clock,
    };
    tokio::spawn(centre.run(tables, inbox, orders, tasks));
    Ok(handle)
}

impl Handle {
    /// Takes up other tables.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn set_tables(&self, tables: Vec<KeptTable>) -> Result<(), Stopped> {
        self.send(Command::Tables(tables)).await
    }

    /// Says what configuration this node runs.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn set_digest(&self, digest: u64) -> Result<(), Stopped> {
        self.send(Command::Digest(digest)).await
    }

    /// Says what this node thinks of the virtual routers.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn set_routers(&self, routers: Vec<RouterView>) -> Result<(), Stopped> {
        self.send(Command::Routers(routers)).await
    }

    /// Writes a note for all nodes; an empty one says that it is no more. One that there is no room
    /// for is not written, which the log says.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn put_note(
        &self,
        kind: NoteKind,
        name: String,
        bytes: Vec<u8>,
    ) -> Result<(), Stopped> {
        self.send(Command::Note(kind, name, bytes)).await
    }

    /// Says what was so before this run; whatever a peer says of it is newer.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn recall_note(
        &self,
        kind: NoteKind,
        name: String,
        bytes: Vec<u8>,
    ) -> Result<(), Stopped> {
        self.send(Command::Recall(kind, name, bytes)).await
    }

    /// Uses other secrets from now on. Connections that were made with one that is no longer among
    /// them are made again.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn set_secrets(&self, secrets: Vec<ClusterSecret>) -> Result<(), Stopped> {
        self.send(Command::Secrets(secrets)).await
    }

    /// Sends a letter to a peer, by its place in the configuration.
    ///
    /// # Errors
    /// [`Stopped`], and what says that it is not sent.
    pub async fn send_letter(
        &self,
        peer: PeerIndex,
        letter: Letter,
    ) -> Result<Result<(), LetterError>, Stopped> {
        let (answer, answered) = oneshot::channel();
        self.send(Command::Letter(peer, letter, answer)).await?;
        answered.await.map_err(|_| Stopped)
    }

    async fn send(&self, command: Command) -> Result<(), Stopped> {
        self.commands.send(command).await.map_err(|_| Stopped)
    }
}

impl Centre {
    async fn run(
        mut self,
        tables: Vec<KeptTable>,
        mut inbox: mpsc::Receiver<ToCentre>,
        mut orders: mpsc::Receiver<Command>,
        tasks: JoinSet<()>,
    ) {
        let mut ticks = interval(TICK);
        let mut looked = 0_u32;
        // Before any peer is heard. It takes a while where millions of entries are there already.
        self.node.handle_tables(read_clocks(self.clock), &tables);
        drop(tables);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let has_room = Arc::clone(&self.context.has_room);
        loop {
            tokio::select! {
                Some(message) = inbox.recv() => self.handle_message(message),
                command = orders.recv() => match command {
                    Some(command) => self.handle_command(command),
                    None => break,
                },
                () = has_room.notified() => {}
                _ = ticks.tick() => {
                    let now = read_clocks(self.clock);
                    self.node.handle_timeout(now);
                    looked += 1;
                    if looked >= TICKS_PER_LOOK {
                        looked = 0;
                        self.observer.look(now, &self.node);
                    }
                }
            }
            self.tell();
            self.pump();
        }
        drop(tasks);
    }

    fn handle_message(&mut self, message: ToCentre) {
        match message {
            ToCentre::Arrived(secured, Arrival::Dialed(peer, over)) => {
                self.take(peer, secured, Some(over));
            }
            ToCentre::Arrived(secured, Arrival::Accepted(hello, from)) => {
                match self.node.identify(&hello) {
                    Ok(peer) => {
                        self.take(peer, secured, None);
                        self.handle_payload(peer, &hello);
                    }
                    Err(refused) => {
                        let reason = error_chain(&refused);
                        if count(&self.context.counters.refused) {
                            warn!(%from, reason, "a connection is refused");
                        }
                    }
                }
            }
            ToCentre::Payload(id, payload) => {
                if let Some(peer) = self.peer_of(id) {
                    self.handle_payload(peer, &payload);
                }
            }
            ToCentre::Broke(id, error) => {
                if let Some(peer) = self.peer_of(id) {
                    let (peer_name, error) = (&self.names[peer], error_chain(&error));
                    warn!(peer = peer_name, error, "peer is lost; connecting again");
                    self.part(peer);
                }
            }
        }
    }

    fn handle_command(&mut self, command: Command) {
        let now = read_clocks(self.clock);
        match command {
            Command::Tables(tables) => self.node.handle_tables(now, &tables),
            Command::Digest(digest) => self.node.handle_digest(digest),
            Command::Routers(routers) => self.node.handle_routers(now, routers),
            Command::Secrets(secrets) => self.set_secrets(secrets),
            Command::Note(kind, name, bytes) => {
                if let Err(error) = self.node.put_note(now, kind, &name, bytes) {
                    warn!(name, %error, "a note for peers is not taken");
                }
            }
            Command::Recall(kind, name, bytes) => {
                if let Err(error) = self.node.recall_note(kind, &name, bytes) {
                    warn!(name, %error, "a note for peers is not taken");
                }
            }
            Command::Letter(peer, letter, answer) => {
                // Who asked may have gone.
                let _ = answer.send(self.node.send_letter(peer, letter));
            }
        }
    }

    fn set_secrets(&mut self, secrets: Vec<ClusterSecret>) {
        for peer in 0..self.connections.len() {
            let tasks = self.connections[peer].as_ref().map(|(_, tasks)| tasks);
            if tasks.is_some_and(|tasks| !secrets.contains(&tasks.secret)) {
                let peer_name = &self.names[peer];
                info!(
                    peer = peer_name,
                    "the secret of a connection is not valid any more; connecting again"
                );
                self.part(peer);
            }
        }
        self.secrets.send_replace(secrets);
    }

    /// Goes on with a connection; one there was before is over.
    fn take(&mut self, peer: PeerIndex, secured: Secured, over: Option<oneshot::Sender<()>>) {
        let now = read_clocks(self.clock);
        self.node.handle_connected(now, peer);
        self.next_id += 1;
        let tasks = run(secured, self.next_id, over, &self.context);
        self.connections[peer] = Some((self.next_id, tasks));
    }

    fn part(&mut self, peer: PeerIndex) {
        let now = read_clocks(self.clock);
        self.node.handle_disconnected(now, peer);
        self.connections[peer] = None;
    }

    fn handle_payload(&mut self, peer: PeerIndex, payload: &[u8]) {
        let now = read_clocks(self.clock);
        let taken = self.node.handle_payload(now, peer, payload);
        if let Err(refused) = taken {
            self.refuse(peer, &refused);
        }
    }

    fn refuse(&mut self, peer: PeerIndex, refused: &Refused) {
        let (peer_name, reason) = (&self.names[peer], error_chain(refused));
        if count(&self.context.counters.refused) {
            warn!(peer = peer_name, reason, "peer is refused");
        }
        self.part(peer);
    }

    fn peer_of(&self, id: u64) -> Option<PeerIndex> {
        let is_it = |connection: &Option<(u64, Tasks)>| {
            connection.as_ref().is_some_and(|(other, _)| *other == id)
        };
        self.connections.iter().position(is_it)
    }

    /// Gives each writer what it has room for.
    fn pump(&mut self) {
        let now = read_clocks(self.clock);
        let mut payload = Vec::new();
        for (peer, connection) in self.connections.iter().enumerate() {
            let Some((_, tasks)) = connection else {
                continue;
            };
            while let Ok(permit) = tasks.payloads.try_reserve() {
                if !self.node.poll_transmit(now, peer, &mut payload) {
                    break;
                }
                permit.send(std::mem::take(&mut payload));
            }
        }
    }

    /// Tells the log and the observer what happened.
    fn tell(&mut self) {
        let now = read_clocks(self.clock);
        while let Some(event) = self.node.poll_event() {
            match &event {
                Event::Met(peer, _) => tell_met(&self.names[*peer]),
                Event::Silent(peer) => {
                    warn!(peer = self.names[*peer], "peer is silent; connecting again");
                    self.connections[*peer] = None;
                }
                Event::Taught(peer) => {
                    info!(
                        peer = self.names[*peer],
                        "peer knows all that is known here"
                    );
                }
                Event::Current => info!("this node knows all that its peers know"),
                Event::Drift(peer, true) => warn!(
                    peer = self.names[*peer],
                    "peer runs another configuration; give both the same file"
                ),
                Event::Drift(peer, false) => {
                    info!(peer = self.names[*peer], "peer runs the same configuration");
                }
                Event::ClockAhead(peer) => warn!(
                    peer = self.names[*peer],
                    "the clock of a peer is more than a second ahead; does every node run NTP?"
                ),
                Event::Lost(_) | Event::Note(..) | Event::Letter(..) => {}
            }
            self.observer.handle_event(now, &self.node, &event);
        }
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Command")
    }
}

fn read_clocks(clock: fn() -> Timestamp) -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH);
    let wall = wall.map_or(0, |wall| wall.as_millis());
    Now {
        mono: clock(),
        wall_ms: u64::try_from(wall).unwrap_or(u64::MAX),
    }
}

/// How often changes are collected: the least that they are late.
const TICK: Duration = Duration::from_millis(10);
/// So that the observer is told ten times a second.
const TICKS_PER_LOOK: u32 = 10;
/// Messages that wait for the centre.
const INBOX: usize = 64;
