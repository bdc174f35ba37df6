//! Memory of the system for the heap of engines: regions of 2 MB.
//!
//! All lie in one range of addresses, which is reserved when the first is asked for; that takes no memory. So
//! an address alone tells whether it is one of a region, and of which.
//!
//! # Safety argument
//! - The range is mapped once, is never unmapped, and is nobody else's. What is no region in it may not be
//!   touched, which the system sees to.
//! - A region is given out once until it is dropped: its number is either below `begun` and with whoever has
//!   the [`Region`], or in `left`.

use std::ffi::c_void;
use std::ptr::{NonNull, null_mut};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::mm::{self, Advice, MapFlags, MprotectFlags, ProtFlags};

/// Bytes of a region, which lies at a multiple of them: one huge page.
pub(super) const REGION: usize = 2 * 1024 * 1024;

/// The pages that a region consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pages {
    /// The system gives those that are touched.
    Small,
    /// It gives one for the whole region where it can, which it finds sooner than many small ones.
    Huge,
}

/// A piece of memory that is read and written by its owner alone, all zero at first.
#[derive(Debug)]
pub(super) struct Region {
    base: NonNull<u8>,
    number: usize,
}

impl Region {
    /// One more, if the system has one.
    pub(super) fn new(pages: Pages) -> Option<Self> {
        let range = range()?;
        let number = {
            let mut numbers = range.numbers.lock().unwrap_or_else(PoisonError::into_inner);
            numbers.next()?
        };
        // SAFETY: the number is below `MOST`, so that this is within the range.
        let base = unsafe { range.base.add(number * REGION) };
        let region = Self { base, number };
        let place = base.as_ptr().cast::<c_void>();
        let access = MprotectFlags::READ | MprotectFlags::WRITE;
        // SAFETY: the region is ours since its number is, and nobody else's.
        unsafe { mm::mprotect(place, REGION, access) }.ok()?;
        if pages == Pages::Huge {
            // A system without them gives small ones.
            // SAFETY: as above; only what lies below the addresses is other.
            let _ = unsafe { mm::madvise(place, REGION, Advice::LinuxHugepage) };
        }
        Some(region)
    }

    pub(super) fn base(&self) -> NonNull<u8> {
        self.base
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        let Some(range) = range() else {
            return;
        };
        // What is mapped over it is as it was before: without memory, and not to be touched.
        let place = self.base.as_ptr().cast::<c_void>();
        let flags = UNTOUCHED | MapFlags::FIXED;
        // SAFETY: the region is ours, and nobody has a pointer to it any more.
        if unsafe { mm::mmap_anonymous(place, REGION, ProtFlags::empty(), flags) }.is_ok() {
            let mut numbers = range.numbers.lock().unwrap_or_else(PoisonError::into_inner);
            numbers.left.push(self.number);
        }
    }
}

/// Whether a piece of memory lies in a region.
pub(super) fn has(piece: NonNull<u8>) -> bool {
    range().is_some_and(|range| piece.addr().get().wrapping_sub(range.base.addr().get()) < RANGE)
}

/// The addresses of all regions.
struct Range {
    base: NonNull<u8>,
    numbers: Mutex<Numbers>,
}

// SAFETY: the address is a constant; what it points to is used through regions only, each by its owner.
unsafe impl Send for Range {}
// SAFETY: the same.
unsafe impl Sync for Range {}

/// Which regions are there.
#[derive(Debug, Default)]
struct Numbers {
    /// How many there ever were at once.
    begun: usize,
    /// Those that were dropped.
    left: Vec<usize>,
}

impl Numbers {
    fn next(&mut self) -> Option<usize> {
        if let Some(number) = self.left.pop() {
            return Some(number);
        }
        let number = self.begun;
        (number < MOST).then(|| {
            self.begun += 1;
            number
        })
    }
}

/// The range, if the system allows one.
fn range() -> Option<&'static Range> {
    static RANGES: OnceLock<Option<Range>> = OnceLock::new();
    let range = RANGES.get_or_init(|| {
        let (access, len) = (ProtFlags::empty(), RANGE + REGION);
        // SAFETY: a new mapping, wherever the system likes.
        let mapped = unsafe { mm::mmap_anonymous(null_mut(), len, access, UNTOUCHED) }.ok()?;
        let mapped = NonNull::new(mapped.cast::<u8>())?;
        let before = mapped.align_offset(REGION);
        // SAFETY: it is less than a region, and there is one more than the range has.
        let base = unsafe { mapped.add(before) };
        let numbers = Mutex::default();
        Some(Range { base, numbers })
    });
    range.as_ref()
}

/// Memory that is promised to nobody.
const UNTOUCHED: MapFlags = MapFlags::PRIVATE.union(MapFlags::NORESERVE);

/// How many regions there may be: 128 GB, more than the engines of one process ever had.
const MOST: usize = 65_536;

/// Bytes of the range.
const RANGE: usize = MOST * REGION;
