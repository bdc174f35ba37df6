//! What replication needs of a shard: its slots, which of them peers are to be told of, and a way
//! to enter what peers tell.

use super::ServerKey;
use super::table::{Entry, Table};
use crate::Timestamp;
use crate::key::Key;
use crate::marks::Run;

/// Methods for peers. A slot is where an entry stands until it is removed.
impl Table {
    /// Notes from now on which entries change; those there are count as changed.
    pub fn note_for_peers(&mut self) {
        if self.untold.is_none() {
            self.untold = Some(Box::default());
            (0..self.entries.slots()).for_each(|slot| self.note_untold(slot));
        }
    }

    /// Notes no more for peers: there are none.
    pub fn forget_peers(&mut self) {
        self.untold = None;
    }

    /// Notes that the entry at `slot` changed.
    pub(super) fn note_untold(&mut self, slot: u32) {
        if let Some(untold) = &mut self.untold {
            untold.mark(slot);
        }
    }

    /// Slots that changed, which count as told from now on.
    pub(crate) fn take_untold(&mut self, from: u32) -> Option<Run> {
        self.untold.as_mut()?.take(from)
    }

    /// Whether the entry at `slot` was changed here and nobody was told yet.
    pub(crate) fn is_untold(&self, slot: u32) -> bool {
        let untold = self.untold.as_ref();
        untold.is_some_and(|untold| untold.is_marked(slot))
    }

    /// The slot of `key`, whether its entry still binds or not.
    pub(crate) fn slot_of(&self, key: Key) -> Option<u32> {
        self.entries.find(key)
    }

    /// What stands at `slot`, over or not.
    pub(crate) fn at(&self, slot: u32) -> Option<(Key, Entry)> {
        self.entries.at(slot).map(|(key, entry)| (*key, *entry))
    }

    /// When an entry must have been opened to end at `end`.
    pub(crate) fn opened_for(&self, end: Timestamp) -> Timestamp {
        end - self.window
    }

    /// Enters what a peer told of `key`: its entry binds to `server` since `opened_at`. Where a
    /// window is open here already and is not moved by requests, the earlier start counts: what
    /// comes from a peer never starts a window again. Returns the slot, which does not count as
    /// changed.
    pub(crate) fn put_told(
        &mut self,
        now: Timestamp,
        key: Key,
        server: ServerKey,
        opened_at: Timestamp,
    ) -> Option<u32> {
        let opened_at = opened_at.min(now);
        let told = Entry {
            server,
            opened_at,
            is_confirmed: true,
        };
        if self.end_of(&told) <= now {
            return None;
        }
        if let Some(slot) = self.entries.find(key) {
            let entry = self.entries.value_mut(slot);
            let opened_here = entry.opened_at;
            *entry = told;
            let is_open_here = opened_here + self.window > now;
            if is_open_here && !self.refresh {
                self.entries.value_mut(slot).opened_at = opened_at.min(opened_here);
            } else {
                self.entries.move_to_back(slot);
            }
            self.entries.mark(slot);
            return Some(slot);
        }
        // Marking is for changes of this node.
        let untold = self.untold.take();
        self.insert(now, key, told);
        self.untold = untold;
        self.entries.find(key)
    }
}
