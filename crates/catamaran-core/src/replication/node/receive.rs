//! What a node makes of what it hears.

use super::super::clock::Now;
use super::super::link::Teaching;
use super::super::message::{Batch, Heartbeat, Hello, MIN_VERSION, Message, NoteEntry, VERSION};
use super::super::notes::Note;
use super::super::wire::{DecodeError, Reader};
use super::{Acquaintance, Event, Node, PeerIndex, Refused, is_drift};

impl Node {
    pub(super) fn handle_message(
        &mut self,
        now: Now,
        peer: PeerIndex,
        message: Message<'_>,
    ) -> Result<(), Refused> {
        if let Message::Hello(hello) = message {
            return self.handle_hello(now, peer, &hello);
        }
        if !self.links[peer].is_met() {
            return Err(Refused::Nameless);
        }
        match message {
            Message::Hello(_) => {}
            Message::Heartbeat(heartbeat) => self.handle_heartbeat(peer, heartbeat),
            Message::Ack(acks) => self.handle_acks(peer, acks)?,
            Message::Resync => self.links[peer].teach(),
            Message::Sticks(batch) => self.handle_sticks(now, peer, &batch)?,
            Message::Rates(batch) => self.handle_rates(now, peer, &batch)?,
            Message::Note(seq, entry) => self.handle_note(now, peer, seq, entry),
            Message::Letter(part) => self.handle_letter(peer, &part),
            Message::Unknown => self.links[peer].counters.unknown_frames += 1,
        }
        Ok(())
    }

    pub(super) fn check_hello(&self, hello: &Hello<'_>) -> Result<(), Refused> {
        if hello.version < MIN_VERSION || hello.min_version > VERSION {
            return Err(Refused::Version {
                theirs: hello.version,
                their_least: hello.min_version,
            });
        }
        if hello.to != self.name {
            return Err(Refused::NotMe(hello.to.to_owned()));
        }
        Ok(())
    }

    fn handle_hello(
        &mut self,
        now: Now,
        peer: PeerIndex,
        hello: &Hello<'_>,
    ) -> Result<(), Refused> {
        self.check_hello(hello)?;
        let link = &mut self.links[peer];
        link.speaks = Some((
            hello.version,
            hello.program.chars().take(MAX_PROGRAM).collect(),
        ));
        if link.name != hello.name {
            return Err(Refused::Another {
                expected: link.name.clone(),
                found: hello.name.to_owned(),
            });
        }
        let Some(connection) = &mut link.connection else {
            return Ok(());
        };
        if std::mem::replace(&mut connection.has_heard_hello, true) {
            return Ok(());
        }
        let is_known = link.incarnation == Some(hello.incarnation);
        let was_met = link.incarnation.replace(hello.incarnation).is_some();
        let was_adopted = link.lost_at.take().is_none();
        link.is_known = is_known;
        let acquaintance = if is_known {
            link.catch_up();
            Acquaintance::Known
        } else {
            link.teach();
            Acquaintance::New
        };
        if was_met && !is_known && !was_adopted {
            self.adopt(now, peer);
        }
        self.events.push_back(Event::Met(peer, acquaintance));
        // From now on it may let pass what is not known here.
        self.begin_turn(now.mono);
        Ok(())
    }

    fn handle_heartbeat(&mut self, peer: PeerIndex, heartbeat: Heartbeat) {
        let is_drifted = is_drift(heartbeat.digest, self.digest);
        let link = &mut self.links[peer];
        let was_drifted = link
            .said
            .as_ref()
            .is_some_and(|said| is_drift(said.digest, self.digest));
        link.said = Some(heartbeat);
        if is_drifted != was_drifted {
            self.events.push_back(Event::Drift(peer, is_drifted));
        }
    }

    fn handle_acks(&mut self, peer: PeerIndex, mut acks: Reader<'_>) -> Result<(), DecodeError> {
        let link = &mut self.links[peer];
        let was_done = link.teaching == Teaching::Done;
        while !acks.is_empty() {
            link.handle_ack(acks.u64()?);
        }
        if !was_done && link.teaching == Teaching::Done {
            link.say_soon();
            self.events.push_back(Event::Taught(peer));
        }
        Ok(())
    }

    fn handle_sticks(
        &mut self,
        now: Now,
        peer: PeerIndex,
        batch: &Batch<'_>,
    ) -> Result<(), DecodeError> {
        let clock = (&mut self.clock, self.links[peer].id);
        let applied = self.sticks.apply(now, clock, batch)?;
        let counters = &mut self.links[peer].counters;
        counters.received += batch.entries().count() as u64;
        counters.taken += applied.taken;
        counters.clock_ahead += applied.ahead;
        counters.unknown_tables += u64::from(applied.is_unknown);
        if applied.ahead > 0 {
            self.note_clock_ahead(peer);
        }
        self.acknowledge(peer, batch.seq);
        Ok(())
    }

    fn handle_rates(
        &mut self,
        now: Now,
        peer: PeerIndex,
        batch: &Batch<'_>,
    ) -> Result<(), DecodeError> {
        let me = (self.id, self.incarnation);
        let charges = self.is_told || !self.is_restored;
        let is_known = self.rates.apply(now, (me, charges), batch)?;
        let counters = &mut self.links[peer].counters;
        counters.received += batch.entries().count() as u64;
        counters.unknown_tables += u64::from(!is_known);
        self.acknowledge(peer, batch.seq);
        Ok(())
    }

    fn handle_note(&mut self, now: Now, peer: PeerIndex, seq: u64, entry: NoteEntry<'_>) {
        let note = Note::from(entry);
        let (kind, name) = (note.kind, note.name.clone());
        if self.clock.observe(now, note.stamp.time) {
            self.links[peer].counters.clock_ahead += 1;
            self.note_clock_ahead(peer);
        }
        let counters = &mut self.links[peer].counters;
        counters.received += 1;
        match self.notes.put(note) {
            // Notes are few: whoever hears one hands it on, and hears it back at most once.
            Ok(Some(slot)) => {
                counters.taken += 1;
                self.tell_note(now, slot, Some(peer));
                self.events.push_back(Event::Note(kind, name));
            }
            Ok(None) => {}
            Err(_) => counters.dropped_notes += 1,
        }
        self.acknowledge(peer, seq);
    }

    fn note_clock_ahead(&mut self, peer: PeerIndex) {
        if let Some(connection) = &mut self.links[peer].connection
            && !std::mem::replace(&mut connection.is_ahead, true)
        {
            self.events.push_back(Event::ClockAhead(peer));
        }
    }

    fn acknowledge(&mut self, peer: PeerIndex, seq: u64) {
        if let Some(connection) = &mut self.links[peer].connection
            // Who sends without listening is to send again.
            && connection.acks.len() < MAX_ACKS
        {
            connection.acks.push(seq);
        }
    }
}

/// Acknowledgements that wait to be sent: many times what a peer may have under way.
const MAX_ACKS: usize = 1024;
/// Characters of the name of a peer's program that are kept.
const MAX_PROGRAM: usize = 64;
