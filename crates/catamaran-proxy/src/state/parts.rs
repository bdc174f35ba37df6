//! A table in parts, each under its own lock, which may be filled when it is first needed.
//!
//! After the process before was killed clients wait: a part of a table with what that one has left
//! is filled by whoever locks it first, a worker with a request that needs it or the thread that
//! goes through all of them. Nobody ever sees a part that is still to be filled.

use catamaran_core::mirror::Mirrored;
use catamaran_core::tables::Fill;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// The parts.
#[derive(Debug)]
pub(super) struct Parts<T> {
    parts: Box<[Mutex<T>]>,
    filling: OnceLock<Filling>,
}

#[derive(Debug)]
struct Filling {
    fill: Box<dyn Fill>,
    /// Whether a part is still to be filled; read and written under its lock.
    is_due: Box<[AtomicBool]>,
}

impl<T: Mirrored> Parts<T> {
    /// So many parts, each as `make` makes it.
    pub(super) fn new(count: usize, make: impl Fn() -> T) -> Self {
        Self {
            parts: (0..count).map(|_| Mutex::new(make())).collect(),
            filling: OnceLock::new(),
        }
    }

    /// Locks the part of this index, filled.
    pub(super) fn lock(&self, part: usize) -> MutexGuard<'_, T> {
        let locked = &self.parts[part];
        let mut guard = locked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Filling { fill, is_due }) = self.filling.get()
            && is_due[part].load(Relaxed)
        {
            is_due[part].store(false, Relaxed);
            fill.fill(part, &mut *guard);
        }
        guard
    }

    /// Locks one part after the other.
    pub(super) fn each(&self) -> impl Iterator<Item = MutexGuard<'_, T>> {
        (0..self.parts.len()).map(|part| self.lock(part))
    }

    /// Has each part filled by `fill` before anybody sees it, if none was asked for so far.
    pub(super) fn fill_from(&self, fill: Box<dyn Fill>) {
        let is_due = self.parts.iter().map(|_| AtomicBool::new(true)).collect();
        // Twice is once too often: what was filled may have changed since.
        let _ = self.filling.set(Filling { fill, is_due });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use catamaran_core::mirror::Record;
    use catamaran_core::model::{Name, Stick, StickKey};
    use catamaran_core::stick::{ServerKey, Table};
    use catamaran_core::{Key, Timestamp};
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::thread;
    use std::time::Duration;

    /// One entry for each part, which is that of its number.
    #[derive(Debug)]
    struct Entries(Arc<AtomicUsize>);

    impl Fill for Entries {
        fn fill(&self, part: usize, table: &mut dyn Mirrored) {
            self.0.fetch_add(1, Relaxed);
            let words = [Timestamp::from_nanos(2).as_nanos(), server("old").as_bits()];
            let key = key(part);
            table.note_changes();
            let mut records = vec![(0, Record { key, words })];
            table.restore(Timestamp::from_nanos(3), 1, &mut records);
        }
    }

    fn key(part: usize) -> Key {
        Key::of_bytes(&part.to_be_bytes())
    }

    fn server(name: &str) -> ServerKey {
        ServerKey::new(&Name::new(name))
    }

    fn parts() -> (Parts<Table>, Arc<AtomicUsize>) {
        let stick = Stick {
            on: StickKey::SourceIp,
            window: Duration::from_secs(10),
            refresh: false,
            max_entries: 100,
        };
        let parts = Parts::new(4, || Table::new(&stick, 100));
        let fills = Arc::new(AtomicUsize::new(0));
        parts.fill_from(Box::new(Entries(Arc::clone(&fills))));
        (parts, fills)
    }

    #[test]
    fn a_part_is_filled_once_and_before_it_is_seen() {
        let (parts, fills) = parts();
        assert_eq!(fills.load(Relaxed), 0, "nobody needs one yet");
        let now = Timestamp::from_nanos(4);
        let mut part = parts.lock(2);
        let choice = part.lookup_or_choose(now, key(2), |_| true, || Some(server("new")));
        assert_eq!(choice.unwrap().server, server("old"));
        part.rewrite(now, key(2), server("new"));
        drop(part);
        assert_eq!(parts.each().map(|part| part.len()).sum::<usize>(), 4);
        assert_eq!(fills.load(Relaxed), 4);
        let entry = parts.lock(2).entry(now, key(2)).unwrap();
        assert_eq!(entry.server, server("new"), "filled again it would be old");
    }

    #[test]
    fn threads_that_meet_at_a_part_fill_it_once() {
        let (parts, fills) = parts();
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| assert!(parts.each().all(|part| part.len() == 1)));
            }
        });
        assert_eq!(fills.load(Relaxed), 4);
    }
}
