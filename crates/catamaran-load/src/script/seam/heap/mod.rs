//! Where engines take their memory from.
//!
//! The engines of a thread share their [`Pieces`]; what is large comes from the system's allocator.

mod pieces;
mod regions;

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, realloc};
use std::cell::RefCell;
use std::ptr::{NonNull, null_mut};
use std::rc::{Rc, Weak};

use rquickjs_core::allocator::Allocator;

use pieces::Pieces;

/// The memory of one engine.
pub(super) struct Heap(Rc<RefCell<Pieces>>);

impl Heap {
    pub(super) fn new() -> Self {
        let known = HERE.with_borrow(Weak::upgrade);
        Self(known.unwrap_or_else(|| {
            let pieces = Rc::new(RefCell::new(Pieces::new()));
            HERE.set(Rc::downgrade(&pieces));
            pieces
        }))
    }

    /// A piece of the thread's; `None` of large ones, and where the system has no region.
    fn small(&self, len: usize) -> Option<NonNull<u8>> {
        let piece = (len <= pieces::MOST).then(|| self.0.borrow_mut().take(len));
        piece.flatten()
    }
}

// SAFETY: a piece has the bytes that were asked for and lies at a multiple of 8; none is given out twice, see
// `pieces.rs`. An engine calls this on its own thread only.
unsafe impl Allocator for Heap {
    fn alloc(&mut self, len: usize) -> *mut u8 {
        let piece = self.small(len).or_else(|| Large::take(len, alloc));
        piece.map_or(null_mut(), NonNull::as_ptr)
    }

    fn calloc(&mut self, count: usize, len: usize) -> *mut u8 {
        let Some(len) = count.checked_mul(len) else {
            return null_mut();
        };
        if let Some(piece) = self.small(len) {
            // SAFETY: it has so many bytes, and nobody else has it.
            unsafe { piece.write_bytes(0, len) };
            return piece.as_ptr();
        }
        let piece = Large::take(len, alloc_zeroed);
        piece.map_or(null_mut(), NonNull::as_ptr)
    }

    unsafe fn dealloc(&mut self, piece: *mut u8) {
        let Some(piece) = NonNull::new(piece) else {
            return;
        };
        if regions::has(piece) {
            // SAFETY: the caller has it from here, and gives it away.
            unsafe { self.0.borrow_mut().give(piece) };
        } else {
            // SAFETY: the same.
            unsafe { Large::free(piece) };
        }
    }

    unsafe fn realloc(&mut self, piece: *mut u8, len: usize) -> *mut u8 {
        let Some(old) = NonNull::new(piece) else {
            return self.alloc(len);
        };
        if !regions::has(old) {
            // SAFETY: the caller has it from here.
            return unsafe { Large::resize(old, len) };
        }
        // SAFETY: the same.
        if unsafe { self.0.borrow_mut().resize(old, len) } {
            return piece;
        }
        let new = self.alloc(len);
        if !new.is_null() {
            // SAFETY: the caller has it from here.
            let has = unsafe { pieces::len_of(old) };
            // SAFETY: one has so many bytes, the other more; they are two.
            unsafe { new.copy_from_nonoverlapping(piece, has.min(len)) };
            // SAFETY: the caller gives it away.
            unsafe { self.0.borrow_mut().give(old) };
        }
        new
    }

    unsafe fn usable_size(piece: *mut u8) -> usize {
        let Some(piece) = NonNull::new(piece) else {
            return 0;
        };
        if regions::has(piece) {
            // SAFETY: the caller has it from here.
            unsafe { pieces::len_of(piece) }
        } else {
            // SAFETY: the same.
            unsafe { Large::len_of(piece) }
        }
    }
}

/// A piece from the system's allocator: its length lies before it.
struct Large;

impl Large {
    fn take(len: usize, get: unsafe fn(Layout) -> *mut u8) -> Option<NonNull<u8>> {
        let layout = Self::layout(len)?;
        // SAFETY: the layout is not empty, as there is a head.
        let whole = NonNull::new(unsafe { get(layout) })?;
        // SAFETY: it has room for that, and lies at a multiple of 16.
        unsafe { whole.cast::<usize>().write(len) };
        // SAFETY: the head is less than the whole.
        Some(unsafe { whole.add(HEAD) })
    }

    /// # Safety
    /// The piece is one of [`Self::take`].
    unsafe fn len_of(piece: NonNull<u8>) -> usize {
        // SAFETY: each has a head.
        let whole = unsafe { piece.sub(HEAD) };
        // SAFETY: which begins with the length.
        unsafe { whole.cast::<usize>().read() }
    }

    /// # Safety
    /// The piece is one of [`Self::take`], and not used any more.
    unsafe fn free(piece: NonNull<u8>) {
        // SAFETY: the caller has it from here.
        let len = unsafe { Self::len_of(piece) };
        let Some(layout) = Self::layout(len) else {
            return;
        };
        // SAFETY: each has a head.
        let whole = unsafe { piece.sub(HEAD) };
        // SAFETY: it was made with this layout.
        unsafe { dealloc(whole.as_ptr(), layout) };
    }

    /// # Safety
    /// The piece is one of [`Self::take`], and not used any more unless this returns null.
    unsafe fn resize(piece: NonNull<u8>, len: usize) -> *mut u8 {
        // SAFETY: the caller has it from here.
        let old = unsafe { Self::len_of(piece) };
        let (Some(layout), Some(new)) = (Self::layout(old), Self::layout(len)) else {
            return null_mut();
        };
        // SAFETY: each has a head.
        let whole = unsafe { piece.sub(HEAD) };
        // SAFETY: it was made with this layout; the new size is that of a layout.
        let whole = unsafe { realloc(whole.as_ptr(), layout, new.size()) };
        let Some(whole) = NonNull::new(whole) else {
            return null_mut();
        };
        // SAFETY: it has room for that, and lies at a multiple of 16.
        unsafe { whole.cast::<usize>().write(len) };
        // SAFETY: the head is less than the whole.
        unsafe { whole.add(HEAD) }.as_ptr()
    }

    fn layout(len: usize) -> Option<Layout> {
        Layout::from_size_align(len.checked_add(HEAD)?, HEAD).ok()
    }
}

/// Bytes before a large piece, and its alignment.
const HEAD: usize = 16;

thread_local! {
    /// The memory of this thread's engines, as long as there is one.
    static HERE: RefCell<Weak<RefCell<Pieces>>> = const { RefCell::new(Weak::new()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_keeps_its_content_from_small_to_large_and_back() {
        let mut heap = Heap::new();
        let mut piece = heap.alloc(8);
        assert!(!piece.is_null());
        // SAFETY: it has so many bytes.
        unsafe { piece.write_bytes(7, 8) };
        for len in [100, 60_000, pieces::MOST + 1, 10 * pieces::MOST, 16] {
            // SAFETY: it is there.
            piece = unsafe { heap.realloc(piece, len) };
            // SAFETY: the same.
            assert!(unsafe { Heap::usable_size(piece) } >= len);
            // SAFETY: it has so many bytes, which were written above.
            let begin = unsafe { std::slice::from_raw_parts(piece, 8) };
            assert_eq!(begin, [7; 8]);
        }
        // SAFETY: it is there, and not used afterwards.
        unsafe { heap.dealloc(piece) };
    }

    #[test]
    fn what_shall_be_zero_is() {
        let mut heap = Heap::new();
        for len in [64, pieces::MOST + 8] {
            for _ in 0..2 {
                let piece = heap.calloc(len / 8, 8);
                // SAFETY: it has so many bytes, all of which were written.
                let bytes = unsafe { std::slice::from_raw_parts_mut(piece, len) };
                assert!(bytes.iter().all(|byte| *byte == 0));
                bytes.fill(1);
                // SAFETY: it is there, and not used afterwards.
                unsafe { heap.dealloc(piece) };
            }
        }
        assert!(heap.calloc(usize::MAX, 2).is_null());
    }
}
