//! Byte streams in which every byte tells its owner and its place.
//!
//! A stream is cut in blocks of eight bytes: the owner and the block's index, both big-endian
//! `u32`. A checker knows which byte must come next, so that a byte of another stream, a lost one
//! and a repeated one all show at once; it reads the foreign owner out of the surrounding block.

use std::fmt;

/// Bytes of one block.
const BLOCK: u64 = 8;

/// Produces the bytes of one owner's stream.
#[derive(Clone, Debug)]
pub struct TaggedStream {
    owner: u32,
    offset: u64,
}

impl TaggedStream {
    /// The stream of `owner`, from its first byte.
    #[must_use]
    pub const fn new(owner: u32) -> Self {
        Self { owner, offset: 0 }
    }

    /// Fills `buf` with the next bytes of the stream.
    pub fn fill(&mut self, buf: &mut [u8]) {
        for byte in buf {
            *byte = byte_at(self.owner, self.offset);
            self.offset += 1;
        }
    }

    /// Returns the next `len` bytes of the stream.
    #[must_use]
    pub fn take(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.fill(&mut bytes);
        bytes
    }
}

/// Checks that received bytes are exactly one owner's stream.
#[derive(Clone, Debug)]
pub struct TagChecker {
    owner: u32,
    offset: u64,
    /// The last bytes seen, to name the owner of a foreign block.
    recent: Vec<u8>,
}

impl TagChecker {
    /// Expects the stream of `owner`, from its first byte.
    #[must_use]
    pub const fn new(owner: u32) -> Self {
        Self {
            owner,
            offset: 0,
            recent: Vec::new(),
        }
    }

    /// Bytes accepted so far.
    #[must_use]
    pub const fn checked(&self) -> u64 {
        self.offset
    }

    /// Accepts the next received bytes, or says which byte is not the owner's.
    pub fn check(&mut self, bytes: &[u8]) -> Result<(), ForeignByte> {
        for (index, byte) in bytes.iter().enumerate() {
            if *byte != byte_at(self.owner, self.offset) {
                let mut context = std::mem::take(&mut self.recent);
                context.extend_from_slice(&bytes[index..bytes.len().min(index + 16)]);
                return Err(ForeignByte {
                    owner: self.owner,
                    offset: self.offset,
                    found: context,
                });
            }
            self.offset += 1;
            if self.offset.is_multiple_of(BLOCK) {
                self.recent.clear();
            } else {
                self.recent.push(*byte);
            }
        }
        Ok(())
    }
}

/// A byte that does not belong where it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignByte {
    /// Whose stream was expected.
    pub owner: u32,
    /// Offset of the first wrong byte in the stream.
    pub offset: u64,
    /// What came from the start of its block on: four bytes of owner, four of block index, …
    pub found: Vec<u8>,
}

impl fmt::Display for ForeignByte {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "byte {} of the stream of owner {} is foreign: the block reads {:02x?}",
            self.offset, self.owner, self.found
        )
    }
}

impl std::error::Error for ForeignByte {}

fn byte_at(owner: u32, offset: u64) -> u8 {
    let place = usize::try_from(offset % BLOCK).expect("a remainder of eight fits");
    // The block index wraps after 32 GiB, far beyond what a test sends.
    let index = (offset / BLOCK).to_be_bytes();
    match place {
        0..4 => owner.to_be_bytes()[place],
        _ => index[place],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_passes_its_own_check_however_it_is_cut() {
        let bytes = TaggedStream::new(7).take(1000);
        let mut checker = TagChecker::new(7);
        for piece in bytes.chunks(13) {
            checker.check(piece).unwrap();
        }
        assert_eq!(checker.checked(), 1000);
    }

    #[test]
    fn a_byte_of_another_stream_is_found_with_its_owner() {
        let mut bytes = TaggedStream::new(1).take(64);
        let other = TaggedStream::new(2).take(64);
        bytes[32..40].copy_from_slice(&other[32..40]);
        let error = TagChecker::new(1).check(&bytes).unwrap_err();
        assert_eq!(error.offset, 35);
        assert_eq!(error.found[..4], [0, 0, 0, 2]);
    }

    #[test]
    fn a_lost_byte_is_found() {
        let mut bytes = TaggedStream::new(1).take(64);
        bytes.remove(20);
        assert!(TagChecker::new(1).check(&bytes).is_err());
    }
}
