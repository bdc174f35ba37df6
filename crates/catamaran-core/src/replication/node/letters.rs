//! Letters: texts longer than a payload from one node to another, such as a configuration and what
//! became of it. A letter that is cut off by the end of a connection is lost; whoever wrote it waits
//! for an answer, and not for ever.

use super::super::link::Link;
use super::super::message::LetterPart;
use super::{Event, Node, PeerIndex};
use std::collections::VecDeque;
use thiserror::Error;

/// What a letter is about. Kinds of later versions are told all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LetterKind(pub u8);

impl LetterKind {
    /// A configuration that the receiver is asked to serve.
    pub const CONFIG: Self = Self(1);
    /// What became of a letter, by its number.
    pub const ANSWER: Self = Self(2);
    /// Affinity that the receiver is asked to forget.
    pub const FORGET: Self = Self(3);
}

/// A letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// What it is about.
    pub kind: LetterKind,
    /// Its number, chosen by its writer; an answer has that of what it answers.
    pub id: u64,
    /// What it says.
    pub bytes: Vec<u8>,
}

/// A letter that is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LetterError {
    /// There is no connection.
    #[error("the peer is not connected")]
    NotConnected,
    /// It is longer than is allowed.
    #[error("{MAX_LETTER} bytes are sent at most")]
    TooLong,
    /// Others wait for the same peer.
    #[error("too much is under way to the peer")]
    Busy,
}

/// The letters of one connection that are under way.
#[derive(Debug, Default)]
pub(in super::super) struct Letters {
    /// Letters to the peer, with how much of each is sent.
    outgoing: VecDeque<(Letter, usize)>,
    /// What arrived of the next one, and how long it will be.
    incoming: Option<(Letter, usize)>,
}

impl Letters {
    /// The next part to send.
    pub(super) fn write(&mut self, out: &mut Vec<u8>) {
        let Some((letter, sent)) = self.outgoing.front_mut() else {
            return;
        };
        let end = letter.bytes.len().min(*sent + PART);
        let part = LetterPart {
            kind: letter.kind.0,
            id: letter.id,
            total: u32::try_from(letter.bytes.len()).unwrap_or(u32::MAX),
            offset: u32::try_from(*sent).unwrap_or(u32::MAX),
            bytes: &letter.bytes[*sent..end],
        };
        part.write(out);
        *sent = end;
        if end == letter.bytes.len() {
            self.outgoing.pop_front();
        }
    }

    /// Takes a part. Returns the letter that it ends. What does not fit is dropped, with the letter.
    fn take(&mut self, part: &LetterPart<'_>) -> Option<Letter> {
        let total = usize::try_from(part.total).ok()?;
        if part.offset == 0 && total <= MAX_LETTER {
            let letter = Letter {
                kind: LetterKind(part.kind),
                id: part.id,
                bytes: Vec::new(),
            };
            self.incoming = Some((letter, total));
        }
        let (mut letter, total) = self.incoming.take()?;
        let is_next = usize::try_from(part.offset) == Ok(letter.bytes.len())
            && (part.kind, part.id) == (letter.kind.0, letter.id)
            && letter.bytes.len() + part.bytes.len() <= total;
        if !is_next {
            return None;
        }
        letter.bytes.extend_from_slice(part.bytes);
        if letter.bytes.len() == total {
            return Some(letter);
        }
        self.incoming = Some((letter, total));
        None
    }
}

impl Node {
    /// Sends a letter to `peer`.
    ///
    /// # Errors
    /// [`LetterError`], if it is not sent.
    pub fn send_letter(&mut self, peer: PeerIndex, letter: Letter) -> Result<(), LetterError> {
        let link = self.links.get_mut(peer).filter(|link| link.is_met());
        let connection = link.and_then(|link| link.connection.as_mut());
        let connection = connection.ok_or(LetterError::NotConnected)?;
        if letter.bytes.len() > MAX_LETTER {
            return Err(LetterError::TooLong);
        }
        let outgoing = &mut connection.letters.outgoing;
        if outgoing.len() >= MAX_WAITING {
            return Err(LetterError::Busy);
        }
        outgoing.push_back((letter, 0));
        Ok(())
    }

    pub(super) fn handle_letter(&mut self, peer: PeerIndex, part: &LetterPart<'_>) {
        let connection = |link: &mut Link| link.connection.as_mut()?.letters.take(part);
        if let Some(letter) = connection(&mut self.links[peer]) {
            self.events.push_back(Event::Letter(peer, letter));
        }
    }
}

/// Bytes of a letter at most.
pub const MAX_LETTER: usize = 4 << 20;
/// Bytes of one part.
const PART: usize = 32 * 1024;
/// Letters that wait for one peer.
const MAX_WAITING: usize = 4;

#[cfg(test)]
mod tests {
    use super::super::super::message::{Frames, Message};
    use super::*;

    fn letter(length: usize) -> Letter {
        Letter {
            kind: LetterKind::CONFIG,
            id: 7,
            bytes: (0..=250).cycle().take(length).collect(),
        }
    }

    fn pass(from: &mut Letters, to: &mut Letters) -> Option<Letter> {
        let mut bytes = Vec::new();
        from.write(&mut bytes);
        let message = Frames::new(&bytes).next()?.unwrap();
        let Message::Letter(part) = message else {
            panic!("a part of a letter");
        };
        to.take(&part)
    }

    #[test]
    fn a_letter_of_many_parts_arrives_whole() {
        for length in [0, 1, PART, PART + 1, 3 * PART + 17] {
            let (mut from, mut to) = (Letters::default(), Letters::default());
            from.outgoing.push_back((letter(length), 0));
            from.outgoing.push_back((letter(5), 0));
            let mut arrived = Vec::new();
            while !from.outgoing.is_empty() {
                arrived.extend(pass(&mut from, &mut to));
            }
            assert_eq!(arrived, [letter(length), letter(5)]);
        }
    }

    #[test]
    fn a_part_that_does_not_fit_ends_the_letter_and_takes_no_room() {
        let (mut from, mut to) = (Letters::default(), Letters::default());
        from.outgoing.push_back((letter(2 * PART), 0));
        assert_eq!(pass(&mut from, &mut to), None);
        let part = LetterPart {
            kind: 1,
            id: 8,
            total: 9,
            offset: 3,
            bytes: b"xyz",
        };
        assert_eq!(to.take(&part), None);
        assert!(to.incoming.is_none());
        let too_long = LetterPart {
            total: u32::MAX,
            offset: 0,
            ..part
        };
        assert_eq!(to.take(&too_long), None);
        assert!(to.incoming.is_none());
    }
}
