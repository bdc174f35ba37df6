//! Nodes of a mesh on this machine, over real connections.

mod speed;
mod versions;

use crate::centre::{Config, Handle, Observer, start};
use crate::connect::PROLOGUE;
use crate::counters::{Counters, Counts};
use crate::nameless;
use catamaran_core::model::{Cluster, ClusterPeer, ClusterSecret, Name, Stick, StickKey};
use catamaran_core::replication::{
    Counters as PeerCounters, Event, Letter, LetterError, LetterKind, Node, NoteKind, Now, VERSION,
};
use catamaran_core::stick::{ServerKey, Table};
use catamaran_core::tables::{KeptTable, Part, Shards, TableKind, TableName};
use catamaran_core::{Key, Timestamp};
use catamaran_noise::initiate;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const SHARDS: NonZeroUsize = NonZeroUsize::new(16).unwrap();

fn clock() -> Timestamp {
    static START: OnceLock<Instant> = OnceLock::new();
    // A window may have begun before the test did.
    let since = START.get_or_init(Instant::now).elapsed();
    Timestamp::from_nanos(1 << 50) + since
}

fn key(number: u32) -> Key {
    Key::of_bytes(&number.to_le_bytes())
}

fn server(number: u32) -> ServerKey {
    ServerKey::new(&Name::new(&format!("server-{number}")))
}

#[derive(Debug)]
struct Sticks(Vec<Mutex<Table>>);

impl Sticks {
    fn new() -> Arc<Self> {
        let stick = Stick {
            on: StickKey::SourceIp,
            window: Duration::from_secs(600),
            refresh: false,
            max_entries: 1 << 22,
        };
        let shards = (0..SHARDS.get()).map(|_| Mutex::new(Table::new(&stick, 1 << 18)));
        Arc::new(Self(shards.collect()))
    }

    fn learn(&self, number: u32, to: u32) {
        let shard = &self.0[key(number).shard(SHARDS)];
        shard
            .lock()
            .unwrap()
            .learn(clock(), key(number), server(to));
    }

    fn server_of(&self, number: u32) -> Option<ServerKey> {
        let shard = &self.0[key(number).shard(SHARDS)];
        Some(shard.lock().unwrap().entry(clock(), key(number))?.server)
    }

    fn len(&self) -> usize {
        self.0.iter().map(|shard| shard.lock().unwrap().len()).sum()
    }
}

impl Shards for Sticks {
    fn count(&self) -> NonZeroUsize {
        SHARDS
    }

    fn with(&self, shard: usize, act: &mut dyn FnMut(Part<'_>)) {
        act(Part::Stick(&mut self.0[shard].lock().unwrap()));
    }
}

/// What a node said of itself and its peers.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Facts>>);

#[derive(Default)]
struct Facts {
    events: Vec<Event>,
    is_current: bool,
    peers: Vec<Peer>,
}

#[derive(Clone)]
struct Peer {
    is_connected: bool,
    is_drifted: bool,
    waiting: usize,
    lag: Duration,
    counters: PeerCounters,
    program: Option<String>,
}

impl Observer for Seen {
    fn handle_event(&mut self, now: Now, node: &Node, event: &Event) {
        self.0.lock().unwrap().events.push(event.clone());
        self.look(now, node);
    }

    fn look(&mut self, now: Now, node: &Node) {
        let mut facts = self.0.lock().unwrap();
        facts.is_current = node.is_current();
        let peers = node.peers(now).map(|status| Peer {
            is_connected: status.is_connected,
            is_drifted: status.is_drifted,
            waiting: status.waiting,
            lag: status.lag,
            counters: status.counters,
            program: status.speaks.map(|(_, program)| program.clone()),
        });
        facts.peers = peers.collect();
    }
}

struct Member {
    handle: Handle,
    tables: Arc<Sticks>,
    seen: Seen,
    counters: Arc<Counters>,
}

impl Member {
    /// The first of its peers.
    fn peer(&self) -> Peer {
        let facts = self.seen.0.lock().unwrap();
        let unmet = Peer {
            is_connected: false,
            is_drifted: false,
            waiting: usize::MAX,
            lag: Duration::ZERO,
            counters: PeerCounters::default(),
            program: None,
        };
        facts.peers.first().cloned().unwrap_or(unmet)
    }

    fn is_current(&self) -> bool {
        self.seen.0.lock().unwrap().is_current
    }

    fn has_seen(&self, event: &Event) -> bool {
        self.seen.0.lock().unwrap().events.contains(event)
    }

    fn counts(&self) -> Counts {
        self.counters.counts()
    }

    async fn set_secrets(&self, secrets: Vec<ClusterSecret>) {
        self.handle.set_secrets(secrets).await.unwrap();
    }
}

/// The addresses of nodes `a`, `b` and so on, and their listeners.
struct Places(Vec<(String, TcpListener, String)>);

impl Places {
    async fn of(names: &[&str]) -> Self {
        let mut places = Vec::new();
        for name in names {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap().to_string();
            places.push(((*name).to_owned(), listener, address));
        }
        Self(places)
    }

    fn start(&mut self, name: &str, secrets: &[ClusterSecret]) -> Member {
        let peers = self.0.iter().filter(|(other, ..)| other != name);
        let peers = peers.map(|(name, _, address)| ClusterPeer {
            name: Name::new(name),
            address: address.clone(),
        });
        let peers = peers.collect();
        let (_, listener, _) = self.0.iter_mut().find(|(other, ..)| other == name).unwrap();
        // The next one of this name listens at the same place.
        let std = std::net::TcpListener::from(rustix_clone(listener));
        std.set_nonblocking(true).unwrap();
        let counters = Arc::new(Counters::default());
        let config = Config {
            cluster: Cluster {
                node: Name::new(name),
                listen: std.local_addr().unwrap(),
                peers,
                secrets: secrets.to_vec(),
            },
            listener: TcpListener::from_std(std).unwrap(),
            program: "catamaran 0.0.0".to_owned(),
            max_counts: 1000,
            is_restored: false,
            is_current: false,
            clock,
            counters: Arc::clone(&counters),
        };
        let (tables, seen) = (Sticks::new(), Seen::default());
        let name = TableName {
            kind: TableKind::Stick,
            of: "api".to_owned(),
            on: "source".to_owned(),
        };
        let shards = Arc::clone(&tables) as _;
        let kept = vec![KeptTable { name, shards }];
        let handle = start(config, kept, Box::new(seen.clone())).unwrap();
        Member {
            handle,
            tables,
            seen,
            counters,
        }
    }
}

fn rustix_clone(listener: &TcpListener) -> std::os::fd::OwnedFd {
    use std::os::fd::AsFd;
    listener.as_fd().try_clone_to_owned().unwrap()
}

fn secrets(all: &[u8]) -> Vec<ClusterSecret> {
    let each = all.iter();
    each.map(|&byte| ClusterSecret::new([byte; 32])).collect()
}

async fn eventually(what: &str, is_so: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_so().await {
        assert!(Instant::now() < deadline, "never came to be: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn three_nodes_know_what_each_of_them_learned() {
    let mut places = Places::of(&["a", "b", "c"]).await;
    let all = ["a", "b", "c"].map(|name| places.start(name, &secrets(&[1])));
    for (number, member) in (0..).zip(&all) {
        member.tables.learn(number, number);
    }
    for member in &all {
        eventually("all know all", async || {
            (0..3).all(|number| member.tables.server_of(number) == Some(server(number)))
        })
        .await;
        eventually("all are current", async || member.is_current()).await;
    }
    all[0].tables.learn(7, 1);
    all[0].tables.learn(7, 2);
    eventually("the last change counts", async || {
        all[2].tables.server_of(7) == Some(server(2))
    })
    .await;
}

#[tokio::test]
async fn a_node_that_starts_again_is_taught_what_it_knew() {
    let mut places = Places::of(&["a", "b"]).await;
    let a = places.start("a", &secrets(&[1]));
    let b = places.start("b", &secrets(&[1]));
    (0..5000).for_each(|number| b.tables.learn(number, 1));
    eventually("a knows what b learned", async || a.tables.len() == 5000).await;
    drop(b);
    eventually("a misses b", async || !a.peer().is_connected).await;
    let b = places.start("b", &secrets(&[1]));
    eventually("b knows it again", async || b.tables.len() == 5000).await;
    eventually("b is current", async || b.is_current()).await;
    assert!(b.has_seen(&Event::Current));
    assert_eq!(b.tables.server_of(77), Some(server(1)));
}

#[tokio::test]
async fn who_does_not_know_the_secret_is_refused_and_counted_and_comes_in_once_it_does() {
    let mut places = Places::of(&["a", "b"]).await;
    let a = places.start("a", &secrets(&[1]));
    let b = places.start("b", &secrets(&[2]));
    eventually("b counts it", async || b.counts().wrong_secrets > 1).await;
    assert!(a.counts().connect_failures > 0);
    assert!(!b.peer().is_connected);
    a.set_secrets(secrets(&[2])).await;
    eventually("a is in", async || b.peer().is_connected).await;
}

#[tokio::test]
async fn strangers_who_are_silent_do_not_keep_a_peer_away() {
    let mut places = Places::of(&["a", "b"]).await;
    let target: SocketAddr = places.0[1].2.parse().unwrap();
    let b = places.start("b", &secrets(&[1]));
    for _ in 0..2 * nameless::MAX {
        tokio::spawn(async move {
            // Whoever is closed comes again.
            loop {
                let socket = TcpSocket::new_v4().unwrap();
                socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
                let mut stream = socket.connect(target).await.unwrap();
                // How it ends does not matter.
                let _ = stream.read(&mut [0]).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
    }
    eventually("it is crowded", async || b.counts().crowded_out > 1000).await;
    let _a = places.start("a", &secrets(&[1]));
    eventually("they meet", async || b.peer().is_connected).await;
}

#[tokio::test]
async fn a_secret_is_exchanged_node_by_node() {
    let mut places = Places::of(&["a", "b"]).await;
    let a = places.start("a", &secrets(&[1]));
    let b = places.start("b", &secrets(&[1]));
    let is_taught = async || a.peer().is_connected && a.peer().counters.taught == 1;
    eventually("they meet", is_taught).await;
    // The one that connects is given the new one first: it tries that, then the old one.
    a.set_secrets(secrets(&[2, 1])).await;
    b.set_secrets(secrets(&[2, 1])).await;
    a.tables.learn(1, 1);
    eventually("b hears it", async || b.tables.server_of(1).is_some()).await;
    assert_eq!(a.peer().counters.disconnects, 0);
    // A connection that was made with the old one ends with it; what it owed is not lost, and not all is
    // told again.
    a.set_secrets(secrets(&[2])).await;
    a.tables.learn(2, 1);
    eventually("b hears that too", async || b.tables.server_of(2).is_some()).await;
    assert_eq!(
        (a.peer().counters.disconnects, a.peer().counters.taught),
        (1, 1)
    );
    b.set_secrets(secrets(&[2])).await;
    a.tables.learn(3, 1);
    eventually("b goes on", async || b.tables.server_of(3).is_some()).await;
    assert_eq!(a.peer().counters.disconnects, 1);
}

#[tokio::test]
async fn a_node_with_the_new_secret_reaches_one_that_knows_only_the_old() {
    let mut places = Places::of(&["a", "b"]).await;
    let a = places.start("a", &secrets(&[2, 1]));
    let _b = places.start("b", &secrets(&[1]));
    eventually("they meet", async || a.peer().is_connected).await;
}

#[tokio::test]
async fn a_letter_arrives_whole_and_one_to_nobody_is_refused() {
    let mut places = Places::of(&["a", "b"]).await;
    let a = places.start("a", &secrets(&[1]));
    let letter = Letter {
        kind: LetterKind::CONFIG,
        id: 7,
        bytes: (0..=250).cycle().take(300_000).collect(),
    };
    let sent = a.handle.send_letter(0, letter.clone()).await.unwrap();
    assert_eq!(sent, Err(LetterError::NotConnected));
    let b = places.start("b", &secrets(&[1]));
    eventually("they meet", async || a.peer().is_connected).await;
    a.handle
        .send_letter(0, letter.clone())
        .await
        .unwrap()
        .unwrap();
    let arrived = Event::Letter(0, letter);
    eventually("b has it", async || b.has_seen(&arrived)).await;
    assert_eq!(b.peer().program.as_deref(), Some("catamaran 0.0.0"));
}

#[tokio::test]
async fn notes_and_views_reach_the_others() {
    let mut places = Places::of(&["a", "b"]).await;
    let a = places.start("a", &secrets(&[1]));
    let b = places.start("b", &secrets(&[1]));
    let (kind, name) = (NoteKind::BLOB, "ticket-key".to_owned());
    let put = a.handle.put_note(kind, name.clone(), vec![1; 48]);
    put.await.unwrap();
    let is_told = Event::Note(kind, name);
    eventually("b has the secret", async || b.has_seen(&is_told)).await;
    a.handle.set_digest(1).await.unwrap();
    b.handle.set_digest(2).await.unwrap();
    eventually("drift is seen", async || a.peer().is_drifted).await;
    b.handle.set_digest(1).await.unwrap();
    eventually("drift is over", async || !a.peer().is_drifted).await;
}

/// The first words of a node called `a`, and a frame that nobody knows.
fn hello(version: u16, min_version: u16, name: &str, to: &str) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend_from_slice(&version.to_le_bytes());
    body.extend_from_slice(&min_version.to_le_bytes());
    body.extend_from_slice(&7_u64.to_le_bytes());
    for text in [name, to] {
        body.extend_from_slice(&u16::try_from(text.len()).unwrap().to_le_bytes());
        body.extend_from_slice(text.as_bytes());
    }
    body.extend_from_slice(b"a field of a later version");
    let mut frame = 1_u16.to_le_bytes().to_vec();
    frame.extend_from_slice(&u32::try_from(body.len()).unwrap().to_le_bytes());
    frame.extend_from_slice(&body);
    frame.extend_from_slice(&[231, 3, 3, 0, 0, 0, 1, 2, 3]);
    frame
}

/// Whether a node `b` answers who says that.
async fn answers(hello: &[u8]) -> (bool, u64) {
    let mut places = Places::of(&["b", "c"]).await;
    places.0[1].0 = "a".to_owned();
    let b = places.start("b", &secrets(&[1]));
    let mut stream = TcpStream::connect(&places.0[0].2).await.unwrap();
    let secret = ClusterSecret::new([1; 32]);
    let (mut sealer, mut opener) = initiate(&mut stream, secret.reveal(), PROLOGUE)
        .await
        .unwrap();
    sealer.send(&mut stream, hello).await.unwrap();
    let answer = opener.receive(&mut stream).await;
    let is_connected = b.peer().is_connected;
    assert_eq!(answer.is_ok(), is_connected);
    (is_connected, b.counts().refused)
}

#[tokio::test]
async fn a_version_that_one_of_both_does_not_understand_is_refused() {
    assert_eq!(answers(&hello(0, 0, "a", "b")).await, (false, 1));
    let later = VERSION + 1;
    assert_eq!(answers(&hello(later, later, "a", "b")).await, (false, 1));
    assert_eq!(answers(&hello(later, VERSION, "a", "b")).await, (true, 0));
    assert_eq!(answers(&hello(VERSION, VERSION, "a", "b")).await, (true, 0));
}

#[tokio::test]
async fn strangers_and_those_who_want_another_are_refused() {
    assert_eq!(answers(&hello(1, 1, "x", "b")).await, (false, 1));
    assert_eq!(answers(&hello(1, 1, "a", "c")).await, (false, 1));
    assert_eq!(answers(b"nonsense").await, (false, 1));
}
