//! What peers say to each other, and its bytes.
//!
//! ```text
//! payload:    frame…                        what the transport carries at once, encrypted
//! frame:      kind u16 | length u32 | body  an unknown kind is skipped by its length
//! body:       fields; more than are known are fields of a later version, and skipped
//! batches:    seq u64 | table u64 | size of an entry u16 | number u16 | entries…
//! stick:      key 16 | server u64 | stamp u64, u16 | age ms u32 | remaining life ms u32
//! rate:       key 16 | node u16 | incarnation u64 | (bucket u64, count u32) twice, the newer first
//! letter:     kind u8 | id u64 | length of all u32, offset u32 | bytes
//! note:       kind u8 | is active u8 | stamp u64, u16 | name text | length u32 | bytes
//! ```
//! Times of entries are told as age and remaining life: no two nodes share a clock. A node of a
//! version says the lowest that it speaks with; both sides must be content.

use super::clock::{Incarnation, NodeId, Stamp};
use super::wire::{DecodeError, Reader, Write};
use crate::key::Key;
use crate::stick::ServerKey;

/// The version of the messages of this program.
pub const VERSION: u16 = 1;
/// The lowest version that this program speaks with.
pub const MIN_VERSION: u16 = 1;
/// Bytes of a payload at most: what one Noise message can carry, less its tag.
pub const MAX_PAYLOAD: usize = 65_519;
/// Bytes of a note at most.
pub const MAX_NOTE: usize = 32 * 1024;

/// The first word on a connection, in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// The version the sender speaks.
    pub version: u16,
    /// The lowest version the sender understands.
    pub min_version: u16,
    /// Its run.
    pub incarnation: Incarnation,
    /// Its name.
    pub name: &'a str,
    /// The name of whom it wants to speak with.
    pub to: &'a str,
    /// What program it is, and of which version; for people.
    pub program: &'a str,
}

/// What a node says every half second.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heartbeat {
    /// Digest of the configuration, by which drift is seen; 0 for one that is not to be compared.
    pub digest: u64,
    /// Whether the receiver has been told all that the sender knew when they met.
    pub is_taught: bool,
    /// What the sender thinks of the virtual routers.
    pub routers: Vec<RouterView>,
}

/// One virtual router as a node sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterView {
    /// Its number.
    pub router_id: u8,
    /// Whether it is one of IPv6 addresses.
    pub is_v6: bool,
    /// Whether this node is its active.
    pub is_active: bool,
    /// The priority of this node.
    pub priority: u8,
}

/// An entry of an affinity table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StickEntry {
    pub(super) key: Key,
    pub(super) server: ServerKey,
    pub(super) stamp: Stamp,
    pub(super) age_ms: u32,
    pub(super) life_ms: u32,
}

/// What one node, in one run, let pass of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RateEntry {
    pub(super) key: Key,
    pub(super) node: NodeId,
    pub(super) incarnation: Incarnation,
    /// The newer first.
    pub(super) buckets: [Bucket; 2],
}

/// Requests that passed in one period. Periods are counted from 1970 by the node's own clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bucket {
    pub(super) number: u64,
    pub(super) count: u32,
}

/// A small named value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoteEntry<'a> {
    pub(super) kind: u8,
    pub(super) is_active: bool,
    pub(super) stamp: Stamp,
    pub(super) name: &'a str,
    pub(super) bytes: &'a [u8],
}

/// A part of a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LetterPart<'a> {
    pub(super) kind: u8,
    pub(super) id: u64,
    /// Bytes of the whole letter.
    pub(super) total: u32,
    /// Bytes of it before these.
    pub(super) offset: u32,
    pub(super) bytes: &'a [u8],
}

/// A frame that arrived.
#[derive(Debug)]
pub(super) enum Message<'a> {
    Hello(Hello<'a>),
    Heartbeat(Heartbeat),
    /// Batches that arrived.
    Ack(Reader<'a>),
    /// The sender has a table it did not have before: all is to be told again.
    Resync,
    Sticks(Batch<'a>),
    Rates(Batch<'a>),
    /// One note.
    Note(u64, NoteEntry<'a>),
    Letter(LetterPart<'a>),
    Unknown,
}

/// Entries of one table.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    pub(super) seq: u64,
    pub(super) table: u64,
    size: usize,
    entries: &'a [u8],
}

impl<'a> Batch<'a> {
    /// The bytes of each entry.
    pub(super) fn entries(&self) -> impl Iterator<Item = Reader<'a>> + use<'a> {
        self.entries.chunks_exact(self.size).map(Reader::new)
    }

    fn read(body: &mut Reader<'a>, least: usize) -> Result<Self, DecodeError> {
        let (seq, table) = (body.u64()?, body.u64()?);
        let (size, number) = (usize::from(body.u16()?), usize::from(body.u16()?));
        if size < least {
            return Err(DecodeError::OutOfRange);
        }
        let entries = body.bytes(size * number)?;
        Ok(Self {
            seq,
            table,
            size,
            entries,
        })
    }
}

/// The frames of a payload.
pub(super) struct Frames<'a>(Reader<'a>);

impl<'a> Frames<'a> {
    pub(super) const fn new(payload: &'a [u8]) -> Self {
        Self(Reader::new(payload))
    }

    fn read(&mut self) -> Result<Message<'a>, DecodeError> {
        let kind = self.0.u16()?;
        let length = usize::try_from(self.0.u32()?).map_err(|_| DecodeError::OutOfRange)?;
        let mut body = Reader::new(self.0.bytes(length)?);
        Ok(match kind {
            HELLO => Message::Hello(Hello::read(&mut body)?),
            HEARTBEAT => Message::Heartbeat(Heartbeat::read(&mut body)?),
            ACK => Message::Ack(body),
            RESYNC => Message::Resync,
            STICKS => Message::Sticks(Batch::read(&mut body, STICK_BYTES)?),
            RATES => Message::Rates(Batch::read(&mut body, RATE_BYTES)?),
            NOTE => Message::Note(body.u64()?, NoteEntry::read(&mut body)?),
            LETTER => Message::Letter(LetterPart::read(&mut body)?),
            _ => Message::Unknown,
        })
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Message<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let message = self.read();
        if message.is_err() {
            self.0 = Reader::new(&[]);
        }
        Some(message)
    }
}

impl<'a> Hello<'a> {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        frame(out, HELLO, |out| {
            out.put_u16(self.version);
            out.put_u16(self.min_version);
            out.put_u64(self.incarnation.0);
            out.put_text(self.name);
            out.put_text(self.to);
            out.put_text(self.program);
        });
    }

    fn read(body: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            version: body.u16()?,
            min_version: body.u16()?,
            incarnation: Incarnation(body.u64()?),
            name: body.text()?,
            to: body.text()?,
            program: body.text().unwrap_or_default(),
        })
    }
}

impl Heartbeat {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        frame(out, HEARTBEAT, |out| {
            out.put_u64(self.digest);
            out.put_u8(self.is_taught.into());
            let routers = self.routers.iter().take(usize::from(u8::MAX));
            out.put_u8(u8::try_from(routers.len()).unwrap_or(u8::MAX));
            for router in routers {
                let flags = u8::from(router.is_v6) | u8::from(router.is_active) << 1;
                out.extend_from_slice(&[router.router_id, flags, router.priority]);
            }
        });
    }

    fn read(body: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (digest, is_taught) = (body.u64()?, body.u8()? & 1 == 1);
        let count = body.u8()?;
        let mut routers = Vec::with_capacity(count.into());
        for _ in 0..count {
            let (router_id, flags, priority) = (body.u8()?, body.u8()?, body.u8()?);
            routers.push(RouterView {
                router_id,
                is_v6: flags & 1 == 1,
                is_active: flags & 2 == 2,
                priority,
            });
        }
        Ok(Self {
            digest,
            is_taught,
            routers,
        })
    }
}

impl StickEntry {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.put_u128(self.key.as_bits());
        out.put_u64(self.server.as_bits());
        write_stamp(self.stamp, out);
        out.put_u32(self.age_ms);
        out.put_u32(self.life_ms);
    }

    pub(super) fn read(mut entry: Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            key: Key::from_bits(entry.u128()?),
            server: ServerKey::from_bits(entry.u64()?),
            stamp: read_stamp(&mut entry)?,
            age_ms: entry.u32()?,
            life_ms: entry.u32()?,
        })
    }
}

impl RateEntry {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.put_u128(self.key.as_bits());
        out.put_u16(self.node.0);
        out.put_u64(self.incarnation.0);
        for bucket in self.buckets {
            out.put_u64(bucket.number);
            out.put_u32(bucket.count);
        }
    }

    pub(super) fn read(mut entry: Reader<'_>) -> Result<Self, DecodeError> {
        let (key, node) = (Key::from_bits(entry.u128()?), NodeId(entry.u16()?));
        let incarnation = Incarnation(entry.u64()?);
        let mut buckets = [Bucket::default(); 2];
        for bucket in &mut buckets {
            bucket.number = entry.u64()?;
            bucket.count = entry.u32()?;
        }
        Ok(Self {
            key,
            node,
            incarnation,
            buckets,
        })
    }
}

impl<'a> NoteEntry<'a> {
    /// Appends a frame that holds it.
    pub(super) fn write(&self, seq: u64, out: &mut Vec<u8>) {
        frame(out, NOTE, |out| {
            out.put_u64(seq);
            out.put_u8(self.kind);
            out.put_u8(self.is_active.into());
            write_stamp(self.stamp, out);
            out.put_text(self.name);
            out.put_u32(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
            out.extend_from_slice(self.bytes);
        });
    }

    fn read(body: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let (kind, is_active) = (body.u8()?, body.u8()? & 1 == 1);
        let stamp = read_stamp(body)?;
        let name = body.text()?;
        let length = usize::try_from(body.u32()?).map_err(|_| DecodeError::OutOfRange)?;
        let bytes = body.bytes(length)?;
        Ok(Self {
            kind,
            is_active,
            stamp,
            name,
            bytes,
        })
    }
}

impl<'a> LetterPart<'a> {
    /// Appends a frame that holds it.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        frame(out, LETTER, |out| {
            out.put_u8(self.kind);
            out.put_u64(self.id);
            out.put_u32(self.total);
            out.put_u32(self.offset);
            out.put_u32(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
            out.extend_from_slice(self.bytes);
        });
    }

    fn read(body: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let (kind, id) = (body.u8()?, body.u64()?);
        let (total, offset) = (body.u32()?, body.u32()?);
        let length = usize::try_from(body.u32()?).map_err(|_| DecodeError::OutOfRange)?;
        let bytes = body.bytes(length)?;
        Ok(Self {
            kind,
            id,
            total,
            offset,
            bytes,
        })
    }
}

/// Appends a frame of entries, each `size` bytes, that `write` appends.
pub(super) fn write_batch(
    out: &mut Vec<u8>,
    (kind, size): (u16, usize),
    seq: u64,
    table: u64,
    write: impl FnOnce(&mut Vec<u8>),
) {
    frame(out, kind, |out| {
        out.put_u64(seq);
        out.put_u64(table);
        out.put_u16(u16::try_from(size).expect("entries are small"));
        let number_at = out.len();
        out.put_u16(0);
        let start = out.len();
        write(out);
        let number = u16::try_from((out.len() - start) / size).unwrap_or(u16::MAX);
        out[number_at..start].copy_from_slice(&number.to_le_bytes());
    });
}

/// Appends a frame that says which batches arrived.
pub(super) fn write_ack(seqs: &[u64], out: &mut Vec<u8>) {
    frame(out, ACK, |out| {
        seqs.iter().for_each(|seq| out.put_u64(*seq));
    });
}

pub(super) fn write_resync(out: &mut Vec<u8>) {
    frame(out, RESYNC, |_| {});
}

fn frame(out: &mut Vec<u8>, kind: u16, body: impl FnOnce(&mut Vec<u8>)) {
    out.put_u16(kind);
    let length_at = out.len();
    out.put_u32(0);
    let start = out.len();
    body(out);
    let length = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    out[length_at..start].copy_from_slice(&length.to_le_bytes());
}

fn write_stamp(stamp: Stamp, out: &mut Vec<u8>) {
    out.put_u64(stamp.time);
    out.put_u16(stamp.node.0);
}

fn read_stamp(from: &mut Reader<'_>) -> Result<Stamp, DecodeError> {
    let (time, node) = (from.u64()?, NodeId(from.u16()?));
    // A later change must have room above it.
    if time > u64::MAX >> 1 {
        return Err(DecodeError::OutOfRange);
    }
    Ok(Stamp { time, node })
}

const HELLO: u16 = 1;
const HEARTBEAT: u16 = 2;
const ACK: u16 = 3;
const RESYNC: u16 = 4;
const STICKS: u16 = 5;
const RATES: u16 = 6;
const NOTE: u16 = 7;
const LETTER: u16 = 8;

const STICK_BYTES: usize = 16 + 8 + 10 + 4 + 4;
const RATE_BYTES: usize = 16 + 2 + 8 + 2 * 12;
/// Kind and size of entries of affinity tables.
pub(super) const STICK_BATCH: (u16, usize) = (STICKS, STICK_BYTES);
/// Kind and size of counts.
pub(super) const RATE_BATCH: (u16, usize) = (RATES, RATE_BYTES);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stick(number: u64) -> StickEntry {
        StickEntry {
            key: Key::of_bytes(&number.to_le_bytes()),
            server: ServerKey::from_bits(number),
            stamp: Stamp {
                time: number << 20,
                node: NodeId(7),
            },
            age_ms: 5,
            life_ms: 995,
        }
    }

    #[test]
    fn entries_are_read_as_they_were_written() {
        let mut out = Vec::new();
        write_batch(&mut out, STICK_BATCH, 3, 9, |out| {
            (0..4).for_each(|number| stick(number).write(out));
        });
        let mut frames = Frames::new(&out);
        let Some(Ok(Message::Sticks(batch))) = frames.next() else {
            panic!("a batch");
        };
        assert_eq!((batch.seq, batch.table), (3, 9));
        let read: Vec<_> = batch.entries().map(StickEntry::read).collect();
        assert_eq!(read, (0..4).map(|n| Ok(stick(n))).collect::<Vec<_>>());
        assert!(frames.next().is_none());
    }

    #[test]
    fn a_heartbeat_is_read_as_it_was_written() {
        let heartbeat = Heartbeat {
            digest: 77,
            is_taught: true,
            routers: vec![RouterView {
                router_id: 51,
                is_v6: false,
                is_active: true,
                priority: 150,
            }],
        };
        let mut out = Vec::new();
        heartbeat.write(&mut out);
        let Some(Ok(Message::Heartbeat(read))) = Frames::new(&out).next() else {
            panic!("a heartbeat");
        };
        assert_eq!(read, heartbeat);
    }

    #[test]
    fn kinds_and_fields_of_a_later_version_are_skipped() {
        let mut out = Vec::new();
        frame(&mut out, 999, |out| out.put_text("whatever"));
        let larger = (STICKS, STICK_BYTES + 3);
        write_batch(&mut out, larger, 1, 2, |out| {
            stick(1).write(out);
            out.extend_from_slice(b"new");
            stick(2).write(out);
            out.extend_from_slice(b"new");
        });
        let mut frames = Frames::new(&out);
        assert!(matches!(frames.next(), Some(Ok(Message::Unknown))));
        let Some(Ok(Message::Sticks(batch))) = frames.next() else {
            panic!("a batch");
        };
        let read: Vec<_> = batch.entries().map(StickEntry::read).collect();
        assert_eq!(read, [Ok(stick(1)), Ok(stick(2))]);
    }

    #[test]
    fn an_entry_of_no_size_is_refused() {
        let mut out = Vec::new();
        frame(&mut out, STICKS, |out| {
            out.put_u64(1);
            out.put_u64(1);
            out.put_u16(0);
            out.put_u16(9);
        });
        let read = Frames::new(&out).next().unwrap();
        assert_eq!(read.unwrap_err(), DecodeError::OutOfRange);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0..9u16) {
            let mut framed = Vec::new();
            frame(&mut framed, kind, |out| out.extend_from_slice(&bytes));
            for payload in [&bytes, &framed] {
                for message in Frames::new(payload).flatten() {
                    match message {
                        Message::Sticks(batch) => {
                            let _ = batch.entries().map(StickEntry::read).count();
                        }
                        Message::Rates(batch) => {
                            let _ = batch.entries().map(RateEntry::read).count();
                        }
                        _ => {}
                    }
                }
            }
        }
    }
}
