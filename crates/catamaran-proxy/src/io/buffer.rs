//! Read buffers, and the pools of one worker that lend them.
//!
//! A connection borrows a buffer only while bytes are in flight; an idle one holds none. Two sizes:
//! small ones take request heads, large ones take bodies and responses, so that a head and a body
//! of 16 KiB fit one read (which makes such a response a quarter cheaper than four reads of 16 KiB).

use std::cell::RefCell;

/// Capacity of a small buffer in bytes.
pub(crate) const SMALL: usize = 8 * 1024;
/// Capacity of a large buffer in bytes.
pub(crate) const LARGE: usize = 64 * 1024;
/// Bytes that each pool keeps at most for later use; what comes back beyond is freed.
const MAX_POOLED_BYTES: usize = 16 * 1024 * 1024;

/// Bytes between a reader and a writer: filled at the end, consumed at the start.
#[derive(Default)]
pub(crate) struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buffer {
    fn with_capacity(capacity: usize) -> Self {
        Self {
            bytes: vec![0; capacity].into_boxed_slice(),
            start: 0,
            end: 0,
        }
    }

    /// Takes note that `count` bytes were written to [`Self::spare`].
    pub(crate) fn fill(&mut self, count: usize) {
        debug_assert!(self.end + count <= self.bytes.len());
        self.end += count;
    }

    /// Drops the first `count` bytes.
    pub(crate) fn consume(&mut self, count: usize) {
        debug_assert!(self.start + count <= self.end);
        self.start += count;
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Drops all bytes.
    pub(crate) fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
    }

    /// Moves the bytes to the front, so that all free room is behind them.
    pub(crate) fn compact(&mut self) {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
    }

    /// The free room behind the bytes.
    pub(crate) fn spare(&mut self) -> &mut [u8] {
        &mut self.bytes[self.end..]
    }

    /// The bytes not yet consumed.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Number of bytes not yet consumed.
    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether there are no bytes.
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether there is no room behind the bytes.
    pub(crate) fn is_full(&self) -> bool {
        self.end == self.bytes.len()
    }

    /// Bytes it can hold.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Buffer")
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .finish()
    }
}

/// The buffers of one worker that nobody borrows.
#[derive(Debug, Default)]
pub(crate) struct BufferPool {
    small: RefCell<Vec<Buffer>>,
    large: RefCell<Vec<Buffer>>,
}

impl BufferPool {
    /// Lends a small buffer.
    pub(crate) fn small(&self) -> Buffer {
        self.small
            .borrow_mut()
            .pop()
            .unwrap_or_else(|| Buffer::with_capacity(SMALL))
    }

    /// Lends a large buffer.
    pub(crate) fn large(&self) -> Buffer {
        self.large
            .borrow_mut()
            .pop()
            .unwrap_or_else(|| Buffer::with_capacity(LARGE))
    }

    /// Lends a large buffer that holds the bytes of `small`, which comes back.
    pub(crate) fn grow(&self, small: &mut Buffer) {
        let mut large = self.large();
        large.spare()[..small.len()].copy_from_slice(small.bytes());
        large.fill(small.len());
        self.give_back(std::mem::replace(small, large));
    }

    /// Takes a buffer back.
    pub(crate) fn give_back(&self, mut buffer: Buffer) {
        let pool = match buffer.capacity() {
            SMALL => &self.small,
            LARGE => &self.large,
            _ => return,
        };
        buffer.clear();
        let mut pool = pool.borrow_mut();
        if pool.len() < MAX_POOLED_BYTES / buffer.capacity() {
            pool.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grown_buffer_keeps_its_bytes_and_the_small_one_comes_back() {
        let pool = BufferPool::default();
        let mut buffer = pool.small();
        buffer.spare()[..3].copy_from_slice(b"abc");
        buffer.fill(3);
        buffer.consume(1);
        pool.grow(&mut buffer);
        assert_eq!(buffer.bytes(), b"bc");
        assert_eq!(buffer.capacity(), LARGE);
        assert_eq!(pool.small.borrow().len(), 1);
    }

    #[test]
    fn a_lent_buffer_is_empty_whatever_it_held_before() {
        let pool = BufferPool::default();
        let mut buffer = pool.large();
        buffer.fill(100);
        pool.give_back(buffer);
        assert!(pool.large().is_empty());
    }

    #[test]
    fn compacting_makes_room_behind_the_bytes() {
        let mut buffer = Buffer::with_capacity(4);
        buffer.spare().copy_from_slice(b"abcd");
        buffer.fill(4);
        buffer.consume(3);
        assert!(buffer.is_full());
        buffer.compact();
        assert_eq!(buffer.bytes(), b"d");
        assert_eq!(buffer.spare().len(), 3);
    }
}
