//! Nodes of a mesh on this machine, over real connections.

use crate::centre::{Config, Handle, Observer, Peer, PeerAddress, start};
use crate::noise::initiate;
use crate::secret::{Secret, Secrets};
use catamaran_core::model::{Name, Stick, StickKey};
use catamaran_core::replication::{Event, Node, NoteKind, VERSION};
use catamaran_core::stick::{ServerKey, Table};
use catamaran_core::tables::{KeptTable, Part, Shards, TableKind, TableName};
use catamaran_core::{Key, Timestamp};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};

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

#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<Event>>>);

impl Observer for Seen {
    fn handle_event(&mut self, _: &Node, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

struct Member {
    handle: Handle,
    tables: Arc<Sticks>,
    seen: Seen,
}

impl Member {
    async fn peers(&self) -> Vec<Peer> {
        self.handle.peers().await.unwrap().1
    }

    async fn is_current(&self) -> bool {
        self.handle.peers().await.unwrap().0
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

    fn start(&mut self, name: &str, secrets: &Secrets) -> Member {
        let peers = self.0.iter().filter(|(other, ..)| other != name);
        let peers = peers.map(|(name, _, address)| PeerAddress {
            name: name.clone(),
            address: address.clone(),
        });
        let peers = peers.collect();
        let (_, listener, _) = self.0.iter_mut().find(|(other, ..)| other == name).unwrap();
        // The next one of this name listens at the same place.
        let std = std::net::TcpListener::from(rustix_clone(listener));
        std.set_nonblocking(true).unwrap();
        let config = Config {
            node: name.to_owned(),
            peers,
            listener: TcpListener::from_std(std).unwrap(),
            secrets: secrets.clone(),
            max_counts: 1000,
            is_restored: false,
            clock,
        };
        let (tables, seen) = (Sticks::new(), Seen::default());
        let name = TableName {
            kind: TableKind::Stick,
            of: "api".to_owned(),
            on: "source".to_owned(),
        };
        let shards = Arc::clone(&tables) as _;
        let kept = [KeptTable { name, shards }];
        let handle = start(config, &kept, Box::new(seen.clone())).unwrap();
        Member {
            handle,
            tables,
            seen,
        }
    }
}

fn rustix_clone(listener: &TcpListener) -> std::os::fd::OwnedFd {
    use std::os::fd::AsFd;
    listener.as_fd().try_clone_to_owned().unwrap()
}

fn secrets(first: u8, second: Option<u8>) -> Secrets {
    Secrets {
        first: Secret([first; 32]),
        second: second.map(|second| Secret([second; 32])),
    }
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
    let all = ["a", "b", "c"].map(|name| places.start(name, &secrets(1, None)));
    for (number, member) in (0..).zip(&all) {
        member.tables.learn(number, number);
    }
    for member in &all {
        eventually("all know all", async || {
            (0..3).all(|number| member.tables.server_of(number) == Some(server(number)))
        })
        .await;
        eventually("all are current", async || member.is_current().await).await;
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
    let a = places.start("a", &secrets(1, None));
    let b = places.start("b", &secrets(1, None));
    (0..5000).for_each(|number| b.tables.learn(number, 1));
    eventually("a knows what b learned", async || a.tables.len() == 5000).await;
    drop(b);
    eventually("a misses b", async || !a.peers().await[0].is_connected).await;
    let b = places.start("b", &secrets(1, None));
    eventually("b knows it again", async || b.tables.len() == 5000).await;
    eventually("b is current", async || b.is_current().await).await;
    assert!(b.seen.0.lock().unwrap().contains(&Event::Current));
    assert_eq!(b.tables.server_of(77), Some(server(1)));
}

#[tokio::test]
async fn who_does_not_know_the_secret_is_refused_and_counted_and_comes_in_once_it_does() {
    let mut places = Places::of(&["a", "b"]).await;
    let a = places.start("a", &secrets(1, None));
    let b = places.start("b", &secrets(2, None));
    eventually("b counts it", async || b.handle.counts().wrong_secrets > 1).await;
    assert!(a.handle.counts().connect_failures > 0);
    assert!(!b.peers().await[0].is_connected);
    a.handle.set_secrets(secrets(2, None));
    eventually("a is in", async || b.peers().await[0].is_connected).await;
}

#[tokio::test]
async fn a_secret_is_exchanged_while_both_are_in_use() {
    let mut places = Places::of(&["a", "b"]).await;
    let a = places.start("a", &secrets(2, Some(1)));
    let b = places.start("b", &secrets(1, Some(2)));
    eventually("they meet", async || a.peers().await[0].is_connected).await;
    // Another secret ends no connection; it is for the next.
    b.handle.set_secrets(secrets(2, None));
    a.tables.learn(1, 1);
    eventually("b hears it", async || b.tables.server_of(1).is_some()).await;
    assert_eq!(a.peers().await[0].counters.disconnects, 0);
}

#[tokio::test]
async fn notes_and_views_reach_the_others() {
    let mut places = Places::of(&["a", "b"]).await;
    let a = places.start("a", &secrets(1, None));
    let b = places.start("b", &secrets(1, None));
    let (kind, name) = (NoteKind::BLOB, "ticket-key".to_owned());
    let put = a.handle.put_note(kind, name.clone(), vec![1; 48]);
    put.await.unwrap();
    let is_told = Event::Note(kind, name);
    eventually("b has the secret", async || {
        b.seen.0.lock().unwrap().contains(&is_told)
    })
    .await;
    a.handle.set_digest(1).await.unwrap();
    b.handle.set_digest(2).await.unwrap();
    eventually("drift is seen", async || a.peers().await[0].is_drifted).await;
    b.handle.set_digest(1).await.unwrap();
    eventually("drift is over", async || !a.peers().await[0].is_drifted).await;
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
    let b = places.start("b", &secrets(1, None));
    let mut stream = TcpStream::connect(&places.0[0].2).await.unwrap();
    let secret = Secret([1; 32]);
    let (mut sealer, mut opener) = initiate(&mut stream, &secret).await.unwrap();
    sealer.send(&mut stream, hello).await.unwrap();
    let answer = opener.receive(&mut stream).await;
    let is_connected = b.peers().await[0].is_connected;
    assert_eq!(answer.is_ok(), is_connected);
    (is_connected, b.handle.counts().refused)
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

/// CPU time of this process, in seconds.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = fields.split_whitespace().skip(11).take(2);
    ticks
        .map(|ticks| ticks.parse::<f64>().unwrap())
        .sum::<f64>()
        / 100.0
}

/// Not a test of anything but speed: `cargo test --release -p catamaran-peers -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "tells how fast it is, which only a release build on a quiet machine can say"]
async fn a_million_entries_and_100_000_updates_a_second() {
    const ENTRIES: u32 = 1_000_000;
    let mut places = Places::of(&["a", "b"]).await;
    let a = places.start("a", &secrets(1, None));
    (0..ENTRIES).for_each(|number| a.tables.learn(number, 1));
    let (began, used) = (Instant::now(), cpu());
    let b = places.start("b", &secrets(1, None));
    eventually("b knows all", async || b.tables.len() == ENTRIES as usize).await;
    eventually("b is current", async || b.is_current().await).await;
    println!(
        "1,000,000 entries taught in {:?}, with {:.2} s of CPU for both nodes",
        began.elapsed(),
        cpu() - used
    );
    let (began, used) = (Instant::now(), cpu());
    let (mut most_waiting, mut most_lag) = (0, Duration::ZERO);
    for round in 0..500 {
        for step in 0..1000 {
            let number = (round * 1000 + step) * 7919 % ENTRIES;
            a.tables.learn(number, 2 + round);
        }
        let due = began + Duration::from_millis(10) * (round + 1);
        tokio::time::sleep_until(due.into()).await;
        let peer = &a.peers().await[0];
        most_waiting = most_waiting.max(peer.waiting);
        most_lag = most_lag.max(peer.lag);
    }
    let wrote = began.elapsed();
    eventually("b heard all", async || a.peers().await[0].waiting == 0).await;
    let updates = 500_000.0 / wrote.as_secs_f64();
    println!(
        "{updates:.0} updates/s for {wrote:?}; all had arrived {:?} later; at most {most_waiting} \
         waited, for {most_lag:?}; {:.2} s of CPU for both nodes and the updates",
        began.elapsed() - wrote,
        cpu() - used
    );
    assert_eq!(
        b.tables.server_of(499 * 1000 * 7919 % ENTRIES),
        Some(server(501))
    );
}
