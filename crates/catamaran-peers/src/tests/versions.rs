//! A node of a later version beside one of this: each knows what the other learned.
//!
//! The later one is this one with all that it says rewritten: it names its version, its frames and
//! entries have more in them than this version knows, and between them are frames of a kind that
//! this version never heard of.

use super::{Places, Sticks, clock, eventually, secrets, server};
use crate::connect::PROLOGUE;
use catamaran_core::model::ClusterSecret;
use catamaran_core::replication::{Event, Incarnation, Node, NoteKind, Now, Settings, VERSION};
use catamaran_core::tables::{KeptTable, TableKind, TableName};
use catamaran_noise::initiate;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::interval;

const HELLO: u16 = 1;
const HEARTBEAT: u16 = 2;
const STICKS: u16 = 5;
const RATES: u16 = 6;
const NOTE: u16 = 7;

fn frame(kind: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap().to_le_bytes();
    [&kind.to_le_bytes()[..], &length, body].concat()
}

/// A batch whose entries have a field more.
fn larger(body: &[u8]) -> Vec<u8> {
    let (head, entries) = body.split_at(20);
    let size = u16::from_le_bytes([head[16], head[17]]);
    let mut out = head.to_vec();
    out[16..18].copy_from_slice(&(size + 3).to_le_bytes());
    for entry in entries.chunks_exact(size.into()) {
        out.extend_from_slice(entry);
        out.extend_from_slice(b"new");
    }
    out
}

/// What a node of the next version would say instead.
fn later(payload: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::new(), payload);
    while !rest.is_empty() {
        let kind = u16::from_le_bytes([rest[0], rest[1]]);
        let length: [u8; 4] = rest[2..6].try_into().unwrap();
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap();
        let body = &rest[6..6 + length];
        rest = &rest[6 + length..];
        let body = match kind {
            HELLO => [&(VERSION + 1).to_le_bytes(), &body[2..], b"more"].concat(),
            HEARTBEAT | NOTE => [body, b"more"].concat(),
            STICKS | RATES => larger(body),
            _ => body.to_vec(),
        };
        out.extend(frame(kind, &body));
    }
    out.extend(frame(900, b"of a later version"));
    out
}

fn now() -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Now {
        mono: clock(),
        wall_ms: u64::try_from(wall.as_millis()).unwrap(),
    }
}

/// What the later node has seen.
#[derive(Default)]
struct Seen {
    is_current: bool,
    notes: Vec<String>,
    /// The version and the program of the other.
    speaks: Option<(u16, String)>,
}

/// Lives as the node `a` of the next version, connected to `b` at `address`.
async fn live(address: String, secret: ClusterSecret, tables: Arc<Sticks>, seen: Arc<Mutex<Seen>>) {
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let (mut sealer, mut opener) = initiate(&mut stream, secret.reveal(), PROLOGUE)
        .await
        .unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let (arrived, mut inbox) = mpsc::channel(8);
    tokio::spawn(async move {
        while let Ok((payload, _)) = opener.receive(&mut reader).await {
            if arrived.send(payload).await.is_err() {
                return;
            }
        }
    });
    let settings = Settings {
        node: "a".to_owned(),
        peers: vec!["b".to_owned()],
        incarnation: Incarnation(7),
        max_counts: 100,
        program: "catamaran 99.0.0".to_owned(),
        is_restored: false,
        is_current: false,
    };
    let mut node = Node::new(now(), settings).unwrap();
    let name = TableName {
        kind: TableKind::Stick,
        of: "api".to_owned(),
        on: "source".to_owned(),
    };
    let shards = tables as _;
    node.handle_tables(now(), &[KeptTable { name, shards }]);
    node.handle_connected(now(), 0);
    let put = node.put_note(now(), NoteKind::DRAIN, "of-a", vec![1]);
    put.unwrap();
    let mut ticks = interval(Duration::from_millis(10));
    let mut payload = Vec::new();
    loop {
        tokio::select! {
            Some(payload) = inbox.recv() => node.handle_payload(now(), 0, &payload).unwrap(),
            _ = ticks.tick() => node.handle_timeout(now()),
        }
        while node.poll_transmit(now(), 0, &mut payload) {
            sealer.send(&mut writer, &later(&payload)).await.unwrap();
        }
        let mut seen = seen.lock().unwrap();
        while let Some(event) = node.poll_event() {
            if let Event::Note(_, name) = event {
                seen.notes.push(name);
            }
        }
        seen.is_current = node.is_current();
        seen.speaks = node.peers(now()).next().and_then(|b| b.speaks.cloned());
    }
}

#[tokio::test]
async fn a_node_of_a_later_version_and_one_of_this_know_what_each_of_them_learns() {
    let mut places = Places::of(&["a", "b"]).await;
    let b = places.start("b", &secrets(&[1]));
    let (tables, seen) = (Sticks::new(), Arc::new(Mutex::new(Seen::default())));
    (0..3000).for_each(|number| tables.learn(number, 1));
    (10_000..13_000).for_each(|number| b.tables.learn(number, 2));
    let put = b
        .handle
        .put_note(NoteKind::DRAIN, "of-b".to_owned(), vec![1]);
    put.await.unwrap();
    let secret = ClusterSecret::new([1; 32]);
    let (to, shared) = (Arc::clone(&tables), Arc::clone(&seen));
    let later = tokio::spawn(live(places.0[1].2.clone(), secret, to, shared));
    eventually("each is taught all", async || {
        b.tables.len() == 6000 && tables.len() == 6000
    })
    .await;
    eventually("both are current", async || {
        b.is_current() && seen.lock().unwrap().is_current
    })
    .await;
    tables.learn(1, 7);
    b.tables.learn(2, 8);
    eventually("each hears of a change", async || {
        b.tables.server_of(1) == Some(server(7)) && tables.server_of(2) == Some(server(8))
    })
    .await;
    eventually("each hears of a note", async || {
        let heard = Event::Note(NoteKind::DRAIN, "of-a".to_owned());
        b.has_seen(&heard) && seen.lock().unwrap().notes.contains(&"of-b".to_owned())
    })
    .await;
    let peer = b.peer();
    assert!(peer.counters.unknown_frames > 0, "{:?}", peer.counters);
    assert_eq!((peer.counters.disconnects, peer.counters.resent), (0, 0));
    assert_eq!(peer.program.as_deref(), Some("catamaran 99.0.0"));
    let of_b = seen.lock().unwrap().speaks.clone();
    assert_eq!(of_b, Some((VERSION, "catamaran 0.0.0".to_owned())));
    assert!(!later.is_finished());
    later.abort();
}
