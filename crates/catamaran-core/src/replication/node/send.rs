//! What a node says: hello, heartbeats, acknowledgements, and then entries, batch by batch.

use super::super::clock::Now;
use super::super::link::Teaching;
use super::super::message::{
    Heartbeat, Hello, MIN_VERSION, NoteEntry, RATE_BATCH, STICK_BATCH, VERSION, write_ack,
    write_batch, write_resync,
};
use super::super::tables::Source;
use super::{Event, HEARTBEAT, Node, PeerIndex};
use crate::marks::Run;

impl Node {
    /// Everything but entries.
    pub(super) fn write_control(&mut self, now: Now, peer: PeerIndex, out: &mut Vec<u8>) {
        let link = &mut self.links[peer];
        let is_taught = link.teaching == Teaching::Done;
        let Some(connection) = &mut link.connection else {
            return;
        };
        if !connection.has_said_hello {
            connection.has_said_hello = true;
            let hello = Hello {
                version: VERSION,
                min_version: MIN_VERSION,
                incarnation: self.incarnation,
                name: &self.name,
                to: &link.name,
                program: &self.program,
            };
            hello.write(out);
        }
        if !connection.has_heard_hello {
            return;
        }
        if connection.heartbeat_at <= now.mono {
            connection.heartbeat_at = now.mono + HEARTBEAT;
            let heartbeat = Heartbeat {
                digest: self.digest,
                is_taught,
                routers: self.routers.clone(),
            };
            heartbeat.write(out);
        }
        if std::mem::take(&mut link.wants_resync) {
            write_resync(out);
        }
        if !connection.acks.is_empty() {
            let count = connection.acks.len().min(ACKS);
            let acks: Vec<u64> = connection.acks.drain(..count).collect();
            write_ack(&acks, out);
        }
    }

    /// A part of a letter, if there is one. Returns whether there was.
    pub(super) fn write_letters(&mut self, peer: PeerIndex, out: &mut Vec<u8>) -> bool {
        let before = out.len();
        if let Some(connection) = &mut self.links[peer].connection {
            connection.letters.write(out);
        }
        out.len() > before
    }

    /// One batch of entries, if there is one and room for it.
    pub(super) fn write_entries(&mut self, now: Now, peer: PeerIndex, out: &mut Vec<u8>) {
        // Slots that turn out to be empty make no batch; the next ones are tried.
        for _ in 0..ATTEMPTS {
            if !self.links[peer].has_room() {
                return;
            }
            let marked = self.links[peer].take_marked(ENTRIES);
            let Some((source, runs)) = marked.or_else(|| self.walk(peer)) else {
                let link = &mut self.links[peer];
                match link.teaching {
                    Teaching::Walking(..) => continue,
                    Teaching::Flushing => {
                        link.teaching = Teaching::Waiting(link.next_seq() - 1);
                        // It may all have arrived by now.
                        link.handle_ack(0);
                        if link.teaching == Teaching::Done {
                            link.say_soon();
                            self.events.push_back(Event::Taught(peer));
                        }
                    }
                    _ => {}
                }
                return;
            };
            let before = out.len();
            self.write_batch(now, peer, (source, &runs), out);
            if out.len() > before {
                self.links[peer].sent(now.mono, source, runs);
                return;
            }
        }
    }

    fn write_batch(
        &mut self,
        now: Now,
        peer: PeerIndex,
        (source, runs): (Source, &[Run]),
        out: &mut Vec<u8>,
    ) {
        let link = &mut self.links[peer];
        let seq = link.next_seq();
        let mut entries = Vec::new();
        let (batch, table) = match source {
            Source::Notes => {
                let slots = runs.iter().flat_map(|run| run.slots());
                for note in slots.filter_map(|slot| self.notes.at(slot)) {
                    NoteEntry::from(note).write(seq, out);
                }
                return;
            }
            Source::Rates => {
                let rest = |slot| link.mark_slot(now.mono, source, slot);
                let table = self.rates.write(now, runs, &mut entries, rest);
                (RATE_BATCH, table)
            }
            Source::Stick(table, shard) => {
                let of = (table, shard);
                self.sticks.write(now, of, runs, &mut entries);
                (STICK_BATCH, Some(table))
            }
        };
        if let Some(table) = table
            && !entries.is_empty()
        {
            write_batch(out, batch, seq, table.0, |out| {
                out.extend_from_slice(&entries);
            });
        }
    }

    /// The next slots that a peer is taught.
    fn walk(&mut self, peer: PeerIndex) -> Option<(Source, Vec<Run>)> {
        let Teaching::Walking(source, first) = self.links[peer].teaching else {
            return None;
        };
        let source = source.unwrap_or(Source::Notes);
        let end = match source {
            Source::Notes => self.notes.slots(),
            Source::Rates => self.rates.slots(),
            Source::Stick(table, shard) => self.sticks.slots((table, shard)),
        };
        if first >= end {
            let next = match source {
                Source::Notes => Some(Source::Rates),
                _ => self
                    .sticks
                    .sources()
                    .into_iter()
                    .find(|next| *next > source),
            };
            self.links[peer].walk_on(next);
            return None;
        }
        let width = if source == Source::Notes { 1 } else { ENTRIES };
        let mut runs = Vec::new();
        let mut slot = first;
        while slot < end.min(first + width) {
            let aligned = slot / 64 * 64;
            let run = Run::below(aligned, end.min(first + width));
            let skipped = Run::below(aligned, slot);
            let bits = run.bits & !skipped.bits;
            runs.push(Run { bits, ..run });
            slot = aligned + 64;
        }
        self.links[peer].teaching = Teaching::Walking(Some(source), first + width);
        Some((source, runs))
    }
}

/// Entries of a batch: 43,000 bytes, of which one payload holds one.
const ENTRIES: u32 = 960;
/// Batches acknowledged in one frame.
const ACKS: usize = 512;
/// Runs of empty slots that are passed over at once.
const ATTEMPTS: usize = 64;
