//! Small named values that every node is to have: what drains, health at a start, secrets.
//!
//! The later change of a name counts. A secret is used only when every peer that can be reached has
//! it: its maker then declares it active, and that declaration travels as a change of its own.

use super::clock::Stamp;
use super::message::{MAX_NOTE, NoteEntry};
use std::collections::HashMap;
use std::time::Duration;
use thiserror::Error;

/// What a note is about. Kinds of later versions are kept and handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NoteKind(pub u8);

impl NoteKind {
    /// A server, or a whole backend, takes no new clients.
    pub const DRAIN: Self = Self(1);
    /// What a node found of a server: a hint for one that starts.
    pub const HEALTH: Self = Self(2);
    /// A secret or a file with rules of activation.
    pub const BLOB: Self = Self(3);
}

/// A note as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What it is about.
    pub kind: NoteKind,
    /// Its name within its kind.
    pub name: String,
    /// Its value. Empty: it is no more.
    pub bytes: Vec<u8>,
    /// Whether every peer that could be reached had it, when it was last looked at.
    pub is_active: bool,
    /// Who wrote it, and when.
    pub stamp: Stamp,
}

/// A note that is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NoteError {
    /// There are as many as are kept.
    #[error("{MAX_NOTES} notes are kept at most")]
    Full,
    /// It is longer than fits.
    #[error("a note has at most {MAX_NOTE} bytes, and its name at most {MAX_NAME}")]
    TooLong,
}

/// In which part of its life a secret is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Not every peer has it: it is understood, and not used.
    Announced,
    /// It is used.
    InUse,
    /// Another is used; it is still understood.
    Retiring,
    /// It is to be forgotten.
    Over,
}

impl Note {
    /// In which part of its life it is, `age` after it became active.
    #[must_use]
    pub fn phase(&self, age: Duration, use_for: Duration, keep_for: Duration) -> Phase {
        if !self.is_active {
            Phase::Announced
        } else if age < use_for {
            Phase::InUse
        } else if age < use_for + keep_for {
            Phase::Retiring
        } else {
            Phase::Over
        }
    }

    /// How long ago it was written or, if it is active, became so; by the time of day.
    #[must_use]
    pub const fn age(&self, wall_ms: u64) -> Duration {
        Duration::from_millis(wall_ms.saturating_sub(self.stamp.time >> 20))
    }
}

/// All notes.
#[derive(Debug, Default)]
pub(super) struct Notes {
    slots: Vec<Note>,
    index: HashMap<(NoteKind, String), u32>,
}

impl Notes {
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Note)> {
        (0..).zip(&self.slots)
    }

    pub(super) fn find(&self, kind: NoteKind, name: &str) -> Option<&Note> {
        let slot = *self.index.get(&(kind, name.to_owned()))?;
        self.at(slot)
    }

    pub(super) fn at(&self, slot: u32) -> Option<&Note> {
        self.slots.get(slot as usize)
    }

    pub(super) fn slots(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    /// Puts a note in place of an older one; `None` if what is there is newer.
    pub(super) fn put(&mut self, note: Note) -> Result<Option<u32>, NoteError> {
        if note.bytes.len() > MAX_NOTE || note.name.len() > MAX_NAME {
            return Err(NoteError::TooLong);
        }
        if let Some(slot) = self.index.get(&(note.kind, note.name.clone())) {
            let there = &mut self.slots[*slot as usize];
            if note.stamp <= there.stamp {
                return Ok(None);
            }
            *there = note;
            return Ok(Some(*slot));
        }
        if self.slots.len() >= MAX_NOTES {
            let slot = self.place_of_a_hint(&note).ok_or(NoteError::Full)?;
            let there = &mut self.slots[slot as usize];
            self.index.remove(&(there.kind, there.name.clone()));
            self.index.insert((note.kind, note.name.clone()), slot);
            *there = note;
            return Ok(Some(slot));
        }
        let slot = self.slots();
        self.index.insert((note.kind, note.name.clone()), slot);
        self.slots.push(note);
        Ok(Some(slot))
    }

    /// The slot of the oldest hint of health, which gives way to `note`. A hint gives way to later ones
    /// only, so that all nodes keep the same.
    fn place_of_a_hint(&self, note: &Note) -> Option<u32> {
        let hints = self.iter().filter(|(_, of)| of.kind == NoteKind::HEALTH);
        let (slot, oldest) = hints.min_by_key(|(_, of)| of.stamp)?;
        (note.kind != NoteKind::HEALTH || note.stamp > oldest.stamp).then_some(slot)
    }

    /// Declares the note at `slot` active.
    pub(super) fn activate(&mut self, slot: u32, stamp: Stamp) {
        if let Some(note) = self.slots.get_mut(slot as usize) {
            note.is_active = true;
            note.stamp = note.stamp.max(stamp);
        }
    }
}

impl<'a> From<&'a Note> for NoteEntry<'a> {
    fn from(note: &'a Note) -> Self {
        Self {
            kind: note.kind.0,
            is_active: note.is_active,
            stamp: note.stamp,
            name: &note.name,
            bytes: &note.bytes,
        }
    }
}

impl From<NoteEntry<'_>> for Note {
    fn from(entry: NoteEntry<'_>) -> Self {
        Self {
            kind: NoteKind(entry.kind),
            name: entry.name.to_owned(),
            bytes: entry.bytes.to_vec(),
            is_active: entry.is_active,
            stamp: entry.stamp,
        }
    }
}

/// Notes at most. Those that are no more are counted, too: who was away must hear of their end. When
/// there are as many, the oldest hint of health gives way.
pub const MAX_NOTES: usize = 4096;
/// Bytes of a note's name at most.
const MAX_NAME: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_understood_before_it_is_used_and_after() {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        let note = |is_active| Note {
            kind: NoteKind::BLOB,
            name: "ticket".to_owned(),
            bytes: vec![1],
            is_active,
            stamp: Stamp {
                time: 5000 << 20,
                ..Stamp::default()
            },
        };
        let phase = |is_active, age| note(is_active).phase(age, hours(12), hours(12));
        assert_eq!(phase(false, hours(99)), Phase::Announced);
        assert_eq!(phase(true, hours(11)), Phase::InUse);
        assert_eq!(phase(true, hours(12)), Phase::Retiring);
        assert_eq!(phase(true, hours(24)), Phase::Over);
        assert_eq!(note(true).age(7000), Duration::from_secs(2));
        assert_eq!(note(true).age(1000), Duration::ZERO);
    }

    #[test]
    fn there_is_an_end_to_what_is_kept() {
        let mut notes = Notes::default();
        let note = |name: String, length| Note {
            kind: NoteKind::DRAIN,
            name,
            bytes: vec![0; length],
            is_active: false,
            stamp: Stamp::default(),
        };
        let long = notes.put(note("x".to_owned(), MAX_NOTE + 1));
        assert_eq!(long, Err(NoteError::TooLong));
        for number in 0..MAX_NOTES {
            notes.put(note(number.to_string(), 1)).unwrap();
        }
        assert_eq!(notes.put(note("x".to_owned(), 1)), Err(NoteError::Full));
    }

    #[test]
    fn hints_of_health_give_way_to_later_ones_and_to_what_operators_want() {
        let mut notes = Notes::default();
        let note = |kind, name: &str, time| Note {
            kind,
            name: name.to_owned(),
            bytes: vec![1],
            is_active: false,
            stamp: Stamp {
                time,
                ..Stamp::default()
            },
        };
        for number in 0..MAX_NOTES as u64 {
            let hint = note(NoteKind::HEALTH, &number.to_string(), 10 + number);
            notes.put(hint).unwrap();
        }
        let earlier = note(NoteKind::HEALTH, "earlier", 9);
        assert_eq!(notes.put(earlier), Err(NoteError::Full));
        let drain = note(NoteKind::DRAIN, "drain", 1);
        assert_eq!(notes.put(drain), Ok(Some(0)));
        let later = note(NoteKind::HEALTH, "later", 99_999);
        assert_eq!(notes.put(later), Ok(Some(1)));
        assert!(notes.find(NoteKind::HEALTH, "0").is_none());
        assert!(notes.find(NoteKind::DRAIN, "drain").is_some());
        assert_eq!(notes.slots() as usize, MAX_NOTES);
    }
}
