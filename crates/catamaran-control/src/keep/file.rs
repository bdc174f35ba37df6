//! The file in memory that outlives the process: its layout.
//!
//! ```text
//! 0        format: 16 bytes
//! 2^40 …   documents, each in two halves of 2^36 bytes of which one is whole at any time:
//!          number u64 | length u64 | checksum u64 | 0 u64 | text
//! 2^44 …   places of tables, 2^44 bytes each, in parts of 2^36 bytes:
//!          the first: slots of each shard, u32; each other: the records of a shard
//! ```
//! Most of it is never written and takes no memory, so that nothing has to be moved when something
//! grows. Numbers are little-endian. A process that is killed while it writes leaves whole records,
//! and of a document the version before. Only one process writes at a time.

use catamaran_core::mirror::Record;
use catamaran_sys::memory;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use xxhash_rust::xxh3::xxh3_64;

/// The file, for one process.
#[derive(Debug)]
pub(super) struct StateFile(File);

/// A text that is replaced whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Document {
    /// Which table stands at which place.
    Tables,
    /// What operators changed, and what is known of servers.
    State,
    /// The counters.
    Counters,
}

/// Where a table stands.
pub(super) type Place = u32;

/// A part of a document, as it stands in the file.
struct Half {
    number: u64,
    text: Vec<u8>,
}

impl StateFile {
    /// Takes the file over, and begins it anew if it is empty or of another format. Returns whether
    /// it was of another.
    pub(super) fn open(file: File) -> io::Result<(Self, bool)> {
        let mut format = [0; FORMAT.len()];
        let is_new = file.metadata()?.len() == 0;
        let is_known = !is_new && file.read_exact_at(&mut format, 0).is_ok() && format == FORMAT;
        if !is_known {
            file.set_len(0)?;
            file.write_all_at(&FORMAT, 0)?;
        }
        Ok((Self(file), !is_known && !is_new))
    }

    /// What a document holds; `None` if it was never written.
    pub(super) fn read(&self, document: Document) -> Option<Vec<u8>> {
        Some(self.newest(document)?.1.text)
    }

    /// Replaces a document.
    pub(super) fn write(&self, document: Document, text: &[u8]) -> io::Result<()> {
        let newest = self.newest(document);
        let (half, number) = newest.map_or((0, 1), |(at, half)| (1 - at, half.number + 1));
        let at = offset_of(document, half);
        self.0.write_all_at(text, at + HEAD as u64)?;
        let mut head = [0; HEAD];
        for (field, value) in
            head.as_chunks_mut()
                .0
                .iter_mut()
                .zip([number, text.len() as u64, xxh3_64(text)])
        {
            *field = value.to_le_bytes();
        }
        self.0.write_all_at(&head, at)
    }

    /// Writes records from `slot` on.
    pub(super) fn write_records(
        &self,
        (place, shard): (Place, usize),
        slot: u32,
        records: &[u8],
    ) -> io::Result<()> {
        let offset = u64::from(slot) * Record::BYTES as u64;
        self.0
            .write_all_at(records, records_at(place, shard) + offset)
    }

    /// Notes how many slots a shard has, once their records are written.
    pub(super) fn write_slots(&self, (place, shard): (Place, usize), slots: u32) -> io::Result<()> {
        self.0
            .write_all_at(&slots.to_le_bytes(), place_at(place) + 4 * shard as u64)
    }

    /// How many slots each shard has.
    pub(super) fn read_slots(&self, place: Place) -> io::Result<[u32; MAX_SHARDS]> {
        let mut bytes = [0; 4 * MAX_SHARDS];
        // What lies behind the end of the file was never written.
        let _ = self.0.read_at(&mut bytes, place_at(place))?;
        let mut slots = [0; MAX_SHARDS];
        for (slots, bytes) in slots.iter_mut().zip(bytes.as_chunks().0) {
            *slots = u32::from_le_bytes(*bytes);
        }
        Ok(slots)
    }

    /// The records of the first `slots` slots of a shard.
    pub(super) fn read_records(
        &self,
        (place, shard): (Place, usize),
        slots: u32,
    ) -> io::Result<Vec<u8>> {
        let bytes = slots as usize * Record::BYTES;
        if bytes as u64 > PART {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut records = vec![0; bytes];
        self.0
            .read_exact_at(&mut records, records_at(place, shard))?;
        Ok(records)
    }

    /// Empties a place.
    pub(super) fn clear(&self, place: Place) -> io::Result<()> {
        memory::discard(self.0.as_fd(), place_at(place), PLACE)
    }

    fn newest(&self, document: Document) -> Option<(u64, Half)> {
        let halves = [0, 1].map(|half| Some((half, self.read_half(document, half)?)));
        let halves = halves.into_iter().flatten();
        halves.max_by_key(|(_, half)| half.number)
    }

    /// `None` unless it is whole.
    fn read_half(&self, document: Document, half: u64) -> Option<Half> {
        let at = offset_of(document, half);
        let mut head = [0; HEAD];
        self.0.read_exact_at(&mut head, at).ok()?;
        let [number, len, sum, _] = head.as_chunks().0 else {
            return None;
        };
        let (number, len) = (u64::from_le_bytes(*number), u64::from_le_bytes(*len));
        if number == 0 || len > MAX_TEXT {
            return None;
        }
        let mut text = vec![0; usize::try_from(len).ok()?];
        self.0.read_exact_at(&mut text, at + HEAD as u64).ok()?;
        (xxh3_64(&text) == u64::from_le_bytes(*sum)).then_some(Half { number, text })
    }
}

const fn offset_of(document: Document, half: u64) -> u64 {
    DOCUMENTS + (document as u64 * 2 + half) * HALF
}

fn place_at(place: Place) -> u64 {
    TABLES + u64::from(place) * PLACE
}

fn records_at(place: Place, shard: usize) -> u64 {
    place_at(place) + (1 + shard as u64) * PART
}

/// Raised with every change of the layout, or of what stands in it, that an older process would
/// misread.
const FORMAT: [u8; 16] = *b"catamaran kept 1";
const DOCUMENTS: u64 = 1 << 40;
const HALF: u64 = 1 << 36;
const HEAD: usize = 32;
/// No document comes near it; a length beyond is damage.
const MAX_TEXT: u64 = 1 << 30;
const TABLES: u64 = 1 << 44;
const PLACE: u64 = 1 << 44;
const PART: u64 = 1 << 36;
/// Places that there are: files end at 2^63.
pub(super) const MAX_PLACES: Place = (1 << 19) - 2;
/// Shards that have room in a place.
pub(super) const MAX_SHARDS: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> File {
        memory::anonymous_file("test").unwrap()
    }

    #[test]
    fn a_document_is_the_one_written_last_that_is_whole() {
        let (file, was_other) = StateFile::open(file()).unwrap();
        assert!(!was_other);
        assert_eq!(file.read(Document::State), None);
        file.write(Document::State, b"one").unwrap();
        file.write(Document::State, b"two").unwrap();
        file.write(Document::Counters, b"other").unwrap();
        assert_eq!(file.read(Document::State).unwrap(), b"two");
        file.write(Document::State, b"three").unwrap();
        // As if killed in the middle of the text.
        let at = offset_of(Document::State, 0) + HEAD as u64;
        file.0.write_all_at(b"fo", at).unwrap();
        assert_eq!(file.read(Document::State).unwrap(), b"two");
        assert_eq!(file.read(Document::Counters).unwrap(), b"other");
    }

    #[test]
    fn another_process_finds_what_was_written_and_nothing_of_another_format() {
        let first = file();
        let (written, _) = StateFile::open(first.try_clone().unwrap()).unwrap();
        written.write(Document::Tables, b"x").unwrap();
        let records = [9; 3 * Record::BYTES];
        let at = (MAX_PLACES - 1, MAX_SHARDS - 1);
        written.write_records(at, 2, &records).unwrap();
        written.write_slots(at, 5).unwrap();
        let (read, was_other) = StateFile::open(first.try_clone().unwrap()).unwrap();
        assert!(!was_other);
        assert_eq!(read.read(Document::Tables).unwrap(), b"x");
        assert_eq!(read.read_slots(at.0).unwrap()[at.1], 5);
        let bytes = read.read_records(at, 5).unwrap();
        assert_eq!(&bytes[64..], records.as_slice());
        read.clear(at.0).unwrap();
        assert_eq!(read.read_slots(at.0).unwrap(), [0; MAX_SHARDS]);

        first.write_all_at(b"catamaran kept 9", 0).unwrap();
        let (other, was_other) = StateFile::open(first).unwrap();
        assert!(was_other);
        assert_eq!(other.read(Document::Tables), None);
        assert_eq!(other.read_slots(0).unwrap(), [0; MAX_SHARDS]);
    }
}
