//! Pieces of memory for the engines of one thread.
//!
//! An engine asks for some thousand small pieces, most of them below a hundred bytes. Allocators for all
//! purposes round sizes up to some steps and keep pieces of each in pages of their own; here a piece has
//! the bytes that were asked for, rounded up to 8, and lies behind the one that was asked for before it.
//!
//! ```text
//! region:  | one bit for each 8 bytes: does a piece begin there? | piece | piece | free | piece | fresh ... |
//! ```
//! How long a piece is follows from where the next one begins. Free ones are in lists by their length, last in,
//! first out: what one virtual user has just given back is in the cache when the next one asks. Neighbours
//! become one when there would not be enough memory otherwise.
//!
//! # Safety argument
//! - *Pieces do not overlap.* The bits divide a region into pieces without gaps: a piece is what lies between
//!   its bit and the next. [`divide`] sets a bit in the middle of a piece, [`merge`] clears that between two, both for
//!   their one owner; nothing else changes them.
//! - *A piece is either with the engine, or free.* Free is what is in a list, once, and what is fresh. It is
//!   taken out before it is given away, and comes back by [`Pieces::give`], whose caller has it.
//! - *Nothing outlives its region*: `Pieces` is dropped with the last engine that has pieces of it (`heap.rs`).
//! - *One thread*: neither the pieces nor the engines of it are `Send`.

use std::num::NonZero;
use std::ptr::NonNull;

use super::regions::{Pages, REGION, Region};

/// All sizes are multiples of this, and all pieces lie at multiples of it: no type of the engine needs more.
const GRAIN: usize = 8;

/// The most bytes that a piece may be asked for here; a region has room for many of them.
pub(super) const MOST: usize = 64 * 1024;

/// Memory of engines.
pub(super) struct Pieces {
    /// Free pieces by length.
    bins: [Option<NonNull<Free>>; BINS],
    /// Which bins are not empty: a bit each.
    filled: u128,
    /// The end of the newest region, which nobody had yet.
    fresh: Option<NonNull<u8>>,
    fresh_len: usize,
    /// Bytes in bins.
    free_len: usize,
    /// How many regions there were when neighbours last became one.
    swept: usize,
    regions: Vec<Region>,
}

/// A free piece: the next one of its bin.
struct Free {
    next: Option<NonNull<Self>>,
}

impl Pieces {
    pub(super) fn new() -> Self {
        Self {
            bins: [None; BINS],
            filled: 0,
            fresh: None,
            fresh_len: 0,
            free_len: 0,
            swept: 0,
            regions: Vec::new(),
        }
    }

    /// Takes a piece of `len` bytes at least, at most [`MOST`]; `None`, if the system has no more.
    pub(super) fn take(&mut self, len: usize) -> Option<NonNull<u8>> {
        let len = rounded(len);
        loop {
            if let Some(piece) = self.take_free(len).or_else(|| self.take_fresh(len)) {
                return Some(piece);
            }
            self.grow()?;
        }
    }

    /// Gives a piece back.
    ///
    /// # Safety
    /// It came from [`Self::take`] of this, and is not used afterwards.
    pub(super) unsafe fn give(&mut self, piece: NonNull<u8>) {
        // SAFETY: the caller has it from here.
        let len = unsafe { len_of(piece) };
        // SAFETY: its end is within the region, or that of the region.
        let end = unsafe { piece.add(len) };
        if self.fresh == Some(end) && self.fresh_len > 0 {
            // SAFETY: both are free now, and neighbours: the fresh end is never all of a region.
            unsafe { merge(end) };
            self.fresh = Some(piece);
            self.fresh_len += len;
            return;
        }
        // SAFETY: the caller gives it away.
        unsafe { self.keep(piece, len) };
    }

    /// Makes a piece longer or shorter where it lies. Returns whether it could.
    ///
    /// # Safety
    /// It came from [`Self::take`] of this.
    pub(super) unsafe fn resize(&mut self, piece: NonNull<u8>, len: usize) -> bool {
        // SAFETY: the caller has it from here.
        let own = unsafe { len_of(piece) };
        let len = rounded(len);
        if len <= own {
            // SAFETY: the caller has all of it, and wants no more than its beginning.
            unsafe { self.cut(piece, own, len) };
            return true;
        }
        // SAFETY: its end is within the region, or that of the region.
        let end = unsafe { piece.add(own) };
        if self.fresh != Some(end) || self.fresh_len < len - own {
            return false;
        }
        let Some(more) = self.take_fresh(len - own) else {
            return false;
        };
        // SAFETY: both are with the caller now, and neighbours.
        unsafe { merge(more) };
        true
    }

    fn take_free(&mut self, len: usize) -> Option<NonNull<u8>> {
        let own = bin_of(len);
        // In a bin of more than one length the first may be too short, in those above none is.
        let fits = |piece: NonNull<Free>| {
            // SAFETY: what is in a bin is a piece.
            own < EXACT || unsafe { len_of(piece.cast()) } >= len
        };
        let bin = if self.bins[own].is_some_and(fits) {
            own
        } else {
            // No bin is the last bit.
            let above = self.filled >> (own + 1) << (own + 1);
            if above == 0 {
                return None;
            }
            above.trailing_zeros() as usize
        };
        let piece = self.bins[bin]?;
        // SAFETY: what is in a bin is free, and nobody else's.
        let next = unsafe { piece.as_ref() }.next;
        self.bins[bin] = next;
        if next.is_none() {
            self.filled &= !(1 << bin);
        }
        let piece = piece.cast();
        // SAFETY: it was in a bin, and so is a piece.
        let has = unsafe { len_of(piece) };
        self.free_len -= has;
        // SAFETY: it is in no bin any more, and nobody else has it.
        unsafe { self.cut(piece, has, len) };
        Some(piece)
    }

    fn take_fresh(&mut self, len: usize) -> Option<NonNull<u8>> {
        let piece = self.fresh.filter(|_| len <= self.fresh_len)?;
        // SAFETY: not more than what is left of the region.
        let rest = unsafe { piece.add(len) };
        self.fresh = Some(rest);
        self.fresh_len -= len;
        if self.fresh_len > 0 {
            // SAFETY: it lies within the fresh piece, which is nobody else's.
            unsafe { divide(rest) };
        }
        Some(piece)
    }

    /// Keeps `len` bytes of a piece of `has`, and frees the rest.
    ///
    /// # Safety
    /// The piece is in no bin, and nobody uses what is behind `len`.
    unsafe fn cut(&mut self, piece: NonNull<u8>, has: usize, len: usize) {
        // What no engine asks for is left with the piece.
        if has < len + LEAST {
            return;
        }
        // SAFETY: within the piece.
        let rest = unsafe { piece.add(len) };
        // SAFETY: the rest is free, and a piece of its own from now on.
        unsafe { divide(rest) };
        // SAFETY: the same.
        unsafe { self.keep(rest, has - len) };
    }

    /// Puts a free piece into its bin.
    ///
    /// # Safety
    /// It is a piece of this length, in no bin, and nobody uses it.
    unsafe fn keep(&mut self, piece: NonNull<u8>, len: usize) {
        let bin = bin_of(len);
        let piece = piece.cast::<Free>();
        let next = self.bins[bin];
        // SAFETY: it is ours, has room for this, and lies at a multiple of 8.
        unsafe { piece.write(Free { next }) };
        self.bins[bin] = Some(piece);
        self.filled |= 1 << bin;
        self.free_len += len;
    }

    /// Gets more to take from: by what is free but in parts, or from the system.
    fn grow(&mut self) -> Option<()> {
        let regions = self.regions.len();
        let is_due = regions > self.swept + self.swept / 4 && self.free_len > regions * REGION / 8;
        if is_due {
            self.swept = regions;
            self.sweep();
            return Some(());
        }
        // Whoever has little shall not take a whole huge page for it.
        let pages = if regions == 0 {
            Pages::Small
        } else {
            Pages::Huge
        };
        let region = Region::new(pages)?;
        if let Some(rest) = self.fresh.filter(|_| self.fresh_len > 0) {
            let len = self.fresh_len;
            // SAFETY: it is a piece, and nobody has it.
            unsafe { self.keep(rest, len) };
        }
        // SAFETY: the bits take the first part of the region.
        let fresh = unsafe { region.base().add(BITS) };
        // SAFETY: the region is new, and ours.
        unsafe { divide(fresh) };
        self.fresh = Some(fresh);
        self.fresh_len = REGION - BITS;
        self.regions.push(region);
        Some(())
    }

    /// Makes one piece of free neighbours.
    fn sweep(&mut self) {
        let mut pieces = Vec::new();
        for bin in &mut self.bins {
            let mut next = bin.take();
            while let Some(piece) = next {
                // SAFETY: what is in a bin is free, and nobody else's.
                next = unsafe { piece.as_ref() }.next;
                pieces.push(piece.cast::<u8>());
            }
        }
        self.filled = 0;
        self.free_len = 0;
        // From the last to the first, so that the first is taken next.
        pieces.sort_unstable();
        let mut behind = None;
        for piece in pieces.into_iter().rev() {
            // SAFETY: it was in a bin, and so is a piece.
            let mut len = unsafe { len_of(piece) };
            // SAFETY: its end is within the region, or that of the region.
            let end = unsafe { piece.add(len) };
            if let Some((after, its_len)) = behind.take() {
                if after == end {
                    // SAFETY: both are free and in no bin, and neighbours: no piece begins where a region does.
                    unsafe { merge(end) };
                    len += its_len;
                } else {
                    // SAFETY: it is free, and in no bin since it was taken out above.
                    unsafe { self.keep(after, its_len) };
                }
            }
            behind = Some((piece, len));
        }
        if let Some((piece, len)) = behind {
            // SAFETY: the same.
            unsafe { self.keep(piece, len) };
        }
    }
}

/// Where the bit of an address lies, which says whether a piece begins there, and the bit.
///
/// # Safety
/// The address is within a region.
unsafe fn bit_of(place: NonNull<u8>) -> (NonNull<u64>, u64) {
    let grain = grain_of(place);
    // SAFETY: a region begins with a bit for each of its grains.
    let word = unsafe { base_of(place).cast::<u64>().add(grain / 64) };
    (word, 1 << (grain % 64))
}

/// Makes two pieces of one.
///
/// # Safety
/// `second` lies in the middle of a piece which is whoever's who calls, and will be the second.
unsafe fn divide(second: NonNull<u8>) {
    // SAFETY: it is within a region.
    let (word, bit) = unsafe { bit_of(second) };
    // SAFETY: bits are read and written by this thread only.
    unsafe { *word.as_ptr() |= bit };
}

/// Makes one piece of two.
///
/// # Safety
/// Both are whoever's who calls; `second` lies behind the other in the same region.
unsafe fn merge(second: NonNull<u8>) {
    // SAFETY: it is a piece.
    let (word, bit) = unsafe { bit_of(second) };
    // SAFETY: bits are read and written by this thread only.
    unsafe { *word.as_ptr() &= !bit };
}

/// The bytes of a piece.
///
/// # Safety
/// It came from [`Pieces::take`] and was not given back.
pub(super) unsafe fn len_of(piece: NonNull<u8>) -> usize {
    let grain = grain_of(piece);
    let bits = base_of(piece).cast::<u64>();
    let mut at = (grain + 1) / 64;
    let mut seen = !0 << ((grain + 1) % 64);
    while at < BITS / 8 {
        // SAFETY: a region begins with so many words of bits.
        let word = unsafe { bits.add(at) };
        // SAFETY: bits are read and written by this thread only.
        let word = unsafe { word.read() } & seen;
        if word != 0 {
            return (at * 64 + word.trailing_zeros() as usize - grain) * GRAIN;
        }
        at += 1;
        seen = !0;
    }
    REGION - grain * GRAIN
}

/// Where the region of an address begins.
fn base_of(place: NonNull<u8>) -> NonNull<u8> {
    place.map_addr(|addr| NonZero::new(addr.get() & !(REGION - 1)).unwrap_or(addr))
}

/// The number of an address in its region, in grains.
fn grain_of(place: NonNull<u8>) -> usize {
    place.addr().get() % REGION / GRAIN
}

fn rounded(len: usize) -> usize {
    len.max(LEAST).next_multiple_of(GRAIN)
}

/// The bin of pieces of this length: one for each up to 512 bytes, from there on four for each power of two.
fn bin_of(len: usize) -> usize {
    let grains = len / GRAIN;
    if grains <= EXACT {
        return grains - 1;
    }
    let power = grains.ilog2() as usize;
    EXACT + (power - 6) * 4 + (grains >> (power - 2)) % 4
}

/// Bytes of bits at the beginning of a region.
const BITS: usize = REGION / GRAIN / 8;

/// The least that an engine asks for: a head and something.
const LEAST: usize = 16;

/// Bins of one length.
const EXACT: usize = 64;

const BINS: usize = EXACT + 13 * 4;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::regions;
    use super::*;

    /// A heap, and what is taken of it: each piece with its length and the byte that it is full of.
    struct Model {
        pieces: Pieces,
        there: BTreeMap<NonNull<u8>, (usize, u8)>,
        rng: fastrand::Rng,
    }

    impl Model {
        fn new() -> Self {
            Self {
                pieces: Pieces::new(),
                there: BTreeMap::new(),
                rng: fastrand::Rng::with_seed(7),
            }
        }

        fn any_len(&mut self) -> usize {
            match self.rng.u8(..) {
                0..200 => self.rng.usize(1..300),
                200..252 => self.rng.usize(1..3000),
                _ => self.rng.usize(1..=MOST),
            }
        }

        fn any(&mut self) -> NonNull<u8> {
            let at = self.rng.usize(..self.there.len());
            *self.there.keys().nth(at).unwrap()
        }

        /// Notes a piece, which is to have so many bytes that nobody else has.
        fn fill(&mut self, piece: NonNull<u8>, asked: usize) {
            // SAFETY: it was just given to us.
            let len = unsafe { len_of(piece) };
            assert!(len >= asked && regions::has(piece));
            let (begin, end) = (piece.addr().get(), piece.addr().get() + len);
            let before = self.there.range(..piece).next_back();
            assert!(before.is_none_or(|(piece, (len, _))| piece.addr().get() + len <= begin));
            let behind = self.there.range(piece..).next();
            assert!(behind.is_none_or(|(piece, _)| end <= piece.addr().get()));
            let byte = self.rng.u8(..);
            // SAFETY: it has so many bytes.
            unsafe { piece.write_bytes(byte, len) };
            self.there.insert(piece, (len, byte));
        }

        /// Forgets a piece, of which at least the first bytes are to be what they were.
        fn look(&mut self, piece: NonNull<u8>, most: usize) {
            let (len, byte) = self.there.remove(&piece).unwrap();
            // SAFETY: it has so many bytes, and is ours.
            let bytes = unsafe { std::slice::from_raw_parts(piece.as_ptr(), len.min(most)) };
            assert!(bytes.iter().all(|own| *own == byte));
        }

        fn step(&mut self, grows: bool) {
            let takes = if grows { 70 } else { 20 };
            match self.rng.u8(..100) {
                what if what < takes || self.there.is_empty() => {
                    let len = self.any_len();
                    let piece = self.pieces.take(len).unwrap();
                    self.fill(piece, len);
                }
                what if what < takes + 10 => {
                    let (piece, len) = (self.any(), self.any_len());
                    // SAFETY: it is there.
                    if unsafe { self.pieces.resize(piece, len) } {
                        self.look(piece, len);
                        self.fill(piece, len);
                    }
                }
                _ => {
                    let piece = self.any();
                    self.give(piece);
                }
            }
        }

        fn give(&mut self, piece: NonNull<u8>) {
            self.look(piece, usize::MAX);
            // SAFETY: it is there, and forgotten.
            unsafe { self.pieces.give(piece) };
        }
    }

    #[test]
    fn pieces_never_overlap_and_keep_what_is_in_them() {
        let mut model = Model::new();
        for step in 0..30_000 {
            model.step(step % 10_000 < 6_000);
            if step % 7_000 == 0 {
                model.pieces.sweep();
            }
        }
        assert!(
            model.pieces.regions.len() > 1,
            "more than one region is to be tried"
        );
    }

    #[test]
    fn what_was_given_back_is_whole_again_when_neighbours_become_one() {
        let mut model = Model::new();
        for _ in 0..5_000 {
            model.step(true);
        }
        while let Some((&piece, _)) = model.there.first_key_value() {
            model.give(piece);
        }
        let pieces = &mut model.pieces;
        pieces.sweep();
        let whole = pieces.regions.len() * (REGION - BITS);
        assert_eq!(pieces.free_len + pieces.fresh_len, whole);
        let free = pieces.bins.iter().flatten().count();
        assert!(free <= pieces.regions.len(), "{free} free pieces are left");
    }

    #[test]
    fn the_piece_that_was_given_back_last_is_taken_first() {
        let mut pieces = Pieces::new();
        let taken: Vec<_> = (0..3).map(|_| pieces.take(100).unwrap()).collect();
        for piece in &taken[..2] {
            // SAFETY: it is there, and forgotten.
            unsafe { pieces.give(*piece) };
        }
        assert_eq!(pieces.take(104), Some(taken[1]));
        assert_eq!(pieces.take(97), Some(taken[0]));
    }

    #[test]
    fn a_piece_at_the_end_grows_and_shrinks_where_it_lies() {
        let mut pieces = Pieces::new();
        let piece = pieces.take(100).unwrap();
        for len in [5_000, 40] {
            // SAFETY: it is there.
            assert!(unsafe { pieces.resize(piece, len) });
            // SAFETY: the same.
            assert_eq!(unsafe { len_of(piece) }, len);
        }
        let behind = pieces.take(1_000).unwrap();
        // SAFETY: both are in the region.
        assert_eq!(unsafe { behind.offset_from(piece) }, 40);
        // SAFETY: it is there.
        assert!(!unsafe { pieces.resize(piece, 48) });
    }
}
