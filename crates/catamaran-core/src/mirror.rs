//! Copies of tables outside of their process, kept up to date slot by slot.
//!
//! A table whose process may be killed is copied as it changes. Entries stand in numbered slots that
//! do not move, so that each has a place of its own in the copy: what changes is written over what
//! was there, the copy never grows beyond the table, nothing is ever compacted, and nobody needs to
//! understand it but who restores it. One bit for each slot says whether the copy is out of date.
//! Who copies takes the changed slots a few at a time, under the lock of the table's shard.
//!
//! ```text
//! a record, 32 bytes:  key 16 | word u64 | word u64     all zero: the slot is vacant
//! ```
//! Numbers are little-endian. A record never lies across pages, so that whoever is killed while it
//! writes leaves the old one or the new one. What the words mean is the table's business, but for a
//! zero as the first: that is never written.

use crate::Timestamp;
use crate::key::Key;
use std::ops::Range;

/// A table that can be copied as it changes, and restored from its copy.
pub trait Mirrored {
    /// Notes from now on which slots change; all that are in use count as changed.
    fn note_changes(&mut self);

    /// The next slots that changed, at `from` or after it, at most [`MAX_RUN`] of them. They count
    /// as unchanged from now on; some between them may not have changed.
    fn take_changes(&mut self, from: u32) -> Option<Range<u32>>;

    /// What stands at a slot; `None` if it is vacant.
    fn record(&self, slot: u32) -> Option<Record>;

    /// Entries held.
    fn entries(&self) -> usize;

    /// How many slots are or were in use: their numbers are below it.
    fn slots(&self) -> u32;

    /// Puts `records`, of so many `slots`, in place of what there is, but for those that are over
    /// at `now`. Each gets the slot that it had. The order of `records` changes.
    fn restore(&mut self, now: Timestamp, slots: u32, records: &mut Vec<(u32, Record)>);

    /// Takes in what another process says of a key; who heard of it last is right.
    fn merge(&mut self, now: Timestamp, record: &Record);
}

/// An entry of any table, as it is copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Whose it is.
    pub key: Key,
    /// What the table says of it. The first is not zero.
    pub words: [u64; 2],
}

impl Record {
    /// Bytes of a record.
    pub const BYTES: usize = 32;

    /// The record as it is written.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..16].copy_from_slice(&self.key.as_bits().to_be_bytes());
        bytes[16..24].copy_from_slice(&self.words[0].to_le_bytes());
        bytes[24..].copy_from_slice(&self.words[1].to_le_bytes());
        bytes
    }

    /// What was written; `None` of a vacant slot.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Option<Self> {
        let (key, rest) = bytes.split_first_chunk()?;
        let (first, rest) = rest.split_first_chunk()?;
        let record = Self {
            key: Key::from_bits(u128::from_be_bytes(*key)),
            words: [
                u64::from_le_bytes(*first),
                u64::from_le_bytes(*rest.first_chunk()?),
            ],
        };
        (record.words[0] != 0).then_some(record)
    }
}

/// Appends the bytes of `slots` as they are now.
pub fn write_run(table: &dyn Mirrored, slots: Range<u32>, out: &mut Vec<u8>) {
    for slot in slots {
        let record = table.record(slot);
        let bytes = record.map_or([0; Record::BYTES], Record::to_bytes);
        out.extend_from_slice(&bytes);
    }
}

/// The slots that are not vacant in `bytes`, which begin with slot 0.
#[must_use]
pub fn read_records(bytes: &[u8]) -> Vec<(u32, Record)> {
    let (records, _) = bytes.as_chunks();
    let each = (0..).zip(records);
    each.filter_map(|(slot, bytes)| Some((slot, Record::from_bytes(bytes)?)))
        .collect()
}

/// Slots that [`Mirrored::take_changes`] gives at once: those of one word.
pub const MAX_RUN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::Limiter;
    use crate::model::{Name, RateKey, RateLimit, Stick, StickKey};
    use crate::stick::{ServerKey, Table};
    use proptest::prelude::*;
    use std::time::Duration;

    const WINDOW: Duration = Duration::from_secs(10);

    fn table() -> Table {
        let stick = Stick {
            on: StickKey::SourceIp,
            window: WINDOW,
            refresh: true,
            max_entries: 50,
        };
        Table::new(&stick, 50)
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_nanos(millis * 1_000_000)
    }

    fn key(number: u8) -> Key {
        Key::of_bytes(&[number])
    }

    fn server(number: u8) -> ServerKey {
        ServerKey::new(&Name::new(&format!("s{number}")))
    }

    /// Brings a copy up to date.
    fn copy(table: &mut dyn Mirrored, copy: &mut Vec<u8>) {
        let mut from = 0;
        while let Some(run) = table.take_changes(from) {
            from = run.end.next_multiple_of(64);
            let mut bytes = Vec::new();
            write_run(table, run.clone(), &mut bytes);
            let start = run.start as usize * Record::BYTES;
            if copy.len() < start + bytes.len() {
                copy.resize(start + bytes.len(), 0);
            }
            copy[start..start + bytes.len()].copy_from_slice(&bytes);
        }
    }

    fn contents(table: &Table, now: Timestamp) -> Vec<(Key, ServerKey, u64, bool)> {
        let each = table.iter(now);
        each.map(|(key, entry)| {
            let opened_at = entry.opened_at.as_nanos() & !1;
            (key, entry.server, opened_at, entry.is_confirmed)
        })
        .collect()
    }

    proptest! {
        #[test]
        fn a_table_restored_from_its_copy_is_the_table(
            steps in prop::collection::vec((0..6u8, 0..80u8, 0..4u8), 0..400)
        ) {
            let mut table = table();
            table.note_changes();
            let mut bytes = Vec::new();
            let mut now = at(1);
            for (step, number, other) in steps {
                now = now + Duration::from_millis(1 + u64::from(number));
                match step {
                    0 | 1 => {
                        let choice = || Some(server(other));
                        table.lookup_or_choose(now, key(number), |s| s != server(3), choice);
                    }
                    2 => table.confirm(now, key(number), server(other)),
                    3 => table.rewrite(now, key(number), server(other)),
                    4 => drop(table.forget(key(number))),
                    _ => copy(&mut table, &mut bytes),
                }
            }
            copy(&mut table, &mut bytes);
            let mut again = self::table();
            again.note_changes();
            again.restore(now, table.slots(), &mut read_records(&bytes));
            prop_assert_eq!(contents(&again, now), contents(&table, now));
            // What was restored needs no copying, and goes on to be copied to the same places.
            let now = now + Duration::from_millis(1);
            again.learn(now, key(100), server(1));
            copy(&mut again, &mut bytes);
            let mut third = self::table();
            third.restore(now, again.slots(), &mut read_records(&bytes));
            prop_assert_eq!(contents(&third, now), contents(&again, now));
        }
    }

    #[test]
    fn of_two_records_of_one_key_the_later_one_counts() {
        let record = |millis: u64, number| Record {
            key: key(1),
            words: [at(millis).as_nanos(), server(number).as_bits()],
        };
        let mut table = table();
        table.note_changes();
        let mut records = vec![(3, record(7, 1)), (0, record(5, 2)), (9, record(6, 3))];
        table.restore(at(8), 4, &mut records);
        assert_eq!(table.len(), 1);
        assert_eq!(table.entry(at(8), key(1)).unwrap().server, server(1));
        assert!(table.take_changes(0).is_some());
    }

    #[test]
    fn what_another_process_says_is_taken_in_unless_more_is_known() {
        let record = |number: u8, millis: u64, of: u8| Record {
            key: key(number),
            words: [at(millis).as_nanos() | 1, server(of).as_bits()],
        };
        let mut table = table();
        table.note_changes();
        table.learn(at(100), key(1), server(1));
        table.learn(at(200), key(2), server(1));
        let now = at(300);
        table.merge(now, &record(1, 150, 2));
        table.merge(now, &record(2, 150, 2));
        table.merge(now, &record(3, 250, 2));
        table.merge(at(200) + WINDOW, &record(4, 10, 2));
        let mut of = |number| table.entry(now, key(number)).map(|entry| entry.server);
        assert_eq!(of(1), Some(server(2)), "heard of later");
        assert_eq!(of(2), Some(server(1)), "heard of earlier");
        assert_eq!(of(3), Some(server(2)), "not known here");
        assert_eq!(of(4), None, "over");
        assert_eq!(table.evicted(), 0);
        // It is passed on to whoever copies this table.
        assert!(table.take_changes(0).is_some());
    }

    #[test]
    fn what_two_processes_let_pass_is_used_up_for_both() {
        let limit = RateLimit {
            requests: 1,
            period: Duration::from_secs(10),
            burst: 1,
            by: RateKey::SourceIp,
            max_keys: 10,
            denial: crate::model::Denial::default(),
        };
        let (mut old, mut new) = (Limiter::new(&limit, 10), Limiter::new(&limit, 10));
        old.note_changes();
        old.check(at(1), key(1)).unwrap();
        let run = old.take_changes(0).unwrap();
        new.merge(at(2), &old.record(run.start).unwrap());
        assert!(new.check(at(2), key(1)).is_err());
        assert!(new.check(at(2), key(2)).is_ok());
    }

    #[test]
    fn what_is_over_is_not_restored() {
        let mut table = table();
        let record = Record {
            key: key(1),
            words: [at(1).as_nanos(), 7],
        };
        table.restore(at(1) + WINDOW, 1, &mut vec![(0, record)]);
        assert!(table.is_empty());
        let limit = RateLimit {
            requests: 1,
            period: Duration::from_secs(10),
            burst: 1,
            by: RateKey::SourceIp,
            max_keys: 10,
            denial: crate::model::Denial::default(),
        };
        let mut limiter = Limiter::new(&limit, 10);
        limiter.note_changes();
        limiter.check(at(1), key(1)).unwrap();
        limiter.check(at(5000), key(2)).unwrap();
        let mut bytes = Vec::new();
        copy(&mut limiter, &mut bytes);
        let mut again = Limiter::new(&limit, 10);
        again.restore(at(11_000), 2, &mut read_records(&bytes));
        assert_eq!(again.len(), 1);
        assert!(again.check(at(11_000), key(2)).is_err());
        assert!(again.check(at(11_000), key(1)).is_ok());
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let record = Record {
            key: key(9),
            words: [1, u64::MAX],
        };
        assert_eq!(Record::from_bytes(&record.to_bytes()), Some(record));
        assert_eq!(Record::from_bytes(&[0; Record::BYTES]), None);
    }
}
