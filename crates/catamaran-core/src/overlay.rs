//! What an operator changed at run time, over what the configuration says: servers of a backend
//! ([`Overlay`]), entries of a list or map ([`Entries`]).
//!
//! A change lives until the process ends, over any number of reloads, unless the configuration came
//! to say something else of that very server: one that was added gives way to one of the same name
//! that is written, one that was removed returns when it is written otherwise. An entry stays changed
//! while what is written of it is what was written when it was changed.

use crate::model::{Name, Server};
use std::collections::HashMap;
use std::hash::Hash;

/// The changes of one backend.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    added: Vec<Server>,
    /// As they were when they were removed.
    removed: Vec<Server>,
}

/// There are as many changes as are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{MAX_CHANGES} servers were added or removed at run time; write them into the configuration"
)]
pub struct Full;

/// The changes of one list or map: what entries are instead of what is written.
#[derive(Clone, Debug)]
pub struct Entries<K, V> {
    changes: HashMap<K, Change<V>>,
}

#[derive(Clone, Debug)]
struct Change<V> {
    /// What was written when it was changed; `None` for nothing.
    written: Option<V>,
    /// What it is instead; `None` if it was removed.
    value: Option<V>,
}

/// There are as many changed entries as are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{MAX_ENTRIES} entries were changed at run time; write them into the file")]
pub struct EntriesFull;

impl Overlay {
    /// The servers of a backend whose configuration says `written`.
    #[must_use]
    pub fn over(&self, written: &[Server]) -> Vec<Server> {
        let stays = |server: &&Server| !self.removed.contains(server);
        let is_written = |name: &Name| written.iter().any(|server| server.name == *name);
        let added = self.added.iter();
        let kept = written.iter().filter(stays);
        kept.chain(added.filter(|server| !is_written(&server.name)))
            .cloned()
            .collect()
    }

    /// The changes that were told by [`Self::added`] and [`Self::removed`].
    #[must_use]
    pub const fn restored(added: Vec<Server>, removed: Vec<Server>) -> Self {
        Self { added, removed }
    }

    /// Servers that were added.
    #[must_use]
    pub fn added(&self) -> &[Server] {
        &self.added
    }

    /// Servers that were removed, as they were.
    #[must_use]
    pub fn removed(&self) -> &[Server] {
        &self.removed
    }

    /// Adds a server; one of that name that was removed is forgotten.
    ///
    /// # Errors
    /// [`Full`].
    pub fn add(&mut self, server: Server) -> Result<(), Full> {
        self.check_room()?;
        self.added.retain(|known| known.name != server.name);
        let was_removed = self.removed.iter().position(|known| *known == server);
        match was_removed {
            // It is written as it is added: there is nothing left to change.
            Some(index) => drop(self.removed.swap_remove(index)),
            None => self.added.push(server),
        }
        Ok(())
    }

    /// Removes a server, whether it was added or is written.
    ///
    /// # Errors
    /// [`Full`].
    pub fn remove(&mut self, server: &Server) -> Result<(), Full> {
        self.check_room()?;
        let before = self.added.len();
        self.added.retain(|known| known.name != server.name);
        if self.added.len() == before {
            self.removed.push(server.clone());
        }
        Ok(())
    }

    fn check_room(&self) -> Result<(), Full> {
        if self.added.len() + self.removed.len() < MAX_CHANGES {
            Ok(())
        } else {
            Err(Full)
        }
    }
}

impl<K, V> Default for Entries<K, V> {
    fn default() -> Self {
        Self {
            changes: HashMap::new(),
        }
    }
}

impl<K: Eq + Hash + Clone, V: PartialEq + Clone> Entries<K, V> {
    /// Notes that the entry of `key`, which is `now` at the moment, becomes `value`.
    ///
    /// # Errors
    /// [`EntriesFull`].
    pub fn set(&mut self, key: K, now: Option<V>, value: Option<V>) -> Result<(), EntriesFull> {
        let known = self.changes.remove(&key);
        let written = known.map_or(now, |known| known.written);
        if written == value {
            return Ok(());
        }
        if self.changes.len() >= MAX_ENTRIES {
            return Err(EntriesFull);
        }
        self.changes.insert(key, Change { written, value });
        Ok(())
    }

    /// What is changed: each key with what was written, and what it is instead.
    pub fn iter(&self) -> impl Iterator<Item = (&K, Option<&V>, Option<&V>)> {
        let changes = self.changes.iter();
        changes.map(|(key, change)| (key, change.written.as_ref(), change.value.as_ref()))
    }

    /// Forgets what was changed of `key`: it is written now.
    pub fn forget(&mut self, key: &K) {
        self.changes.remove(key);
    }

    /// How many entries are other than written.
    #[must_use]
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether all entries are as written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// What entries are instead of `written`: `None` for those that were removed. Entries that are
    /// written otherwise than when they were changed are not among them.
    pub fn over(&self, written: &HashMap<&K, &V>) -> impl Iterator<Item = (&K, Option<&V>)> {
        let changes = self.changes.iter();
        let stays =
            |(key, change): &(&K, &Change<V>)| written.get(key).copied() == change.written.as_ref();
        let stays = changes.filter(stays).collect::<Vec<_>>();
        stays
            .into_iter()
            .map(|(key, change)| (key, change.value.as_ref()))
    }
}

/// Entries kept of one list or map. Chosen: some tens of megabytes at most.
const MAX_ENTRIES: usize = 100_000;
/// Changes kept for one backend: as many as there may reasonably be servers.
const MAX_CHANGES: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ServerAddr, Weight};

    fn server(port: u16) -> Server {
        Server::new(ServerAddr::Ip(([10, 0, 0, 1], port).into()))
    }

    #[test]
    fn what_was_added_and_removed_stays_so_over_a_reload() {
        let mut overlay = Overlay::default();
        overlay.add(server(3)).unwrap();
        overlay.remove(&server(1)).unwrap();
        let written = [server(1), server(2)];
        assert_eq!(overlay.over(&written), [server(2), server(3)]);
        let reloaded = [server(1), server(2), server(4)];
        assert_eq!(overlay.over(&reloaded), [server(2), server(4), server(3)]);
    }

    #[test]
    fn a_file_that_says_otherwise_wins() {
        let mut overlay = Overlay::default();
        overlay.add(server(3)).unwrap();
        overlay.remove(&server(1)).unwrap();
        let weight = Weight::new(5).unwrap();
        let heavier = |port| Server {
            weight,
            ..server(port)
        };
        let reloaded = [heavier(1), heavier(3)];
        assert_eq!(overlay.over(&reloaded), reloaded);
    }

    #[test]
    fn an_entry_stays_changed_while_the_file_says_the_same_of_it() {
        let mut changed = Entries::default();
        changed.set("a", None, Some(1)).unwrap();
        changed.set("b", Some(2), None).unwrap();
        changed.set("c", Some(3), Some(4)).unwrap();
        let over = |written: &[(&'static str, i32)]| {
            let written = written.iter().map(|(key, value)| (key, value)).collect();
            let over = changed.over(&written);
            let mut over: Vec<_> = over.map(|(key, value)| (*key, value.copied())).collect();
            over.sort_unstable();
            over
        };
        let all = [("a", Some(1)), ("b", None), ("c", Some(4))];
        assert_eq!(over(&[("b", 2), ("c", 3)]), all);
        // The file came to say something of `a` and `c`, and something else of `b`.
        assert_eq!(over(&[("a", 7), ("b", 5), ("c", 9)]), []);
    }

    #[test]
    fn an_entry_that_is_as_written_again_is_no_change() {
        let mut changed = Entries::default();
        changed.set("a", None, Some(1)).unwrap();
        changed.set("a", Some(1), Some(2)).unwrap();
        assert_eq!(changed.len(), 1);
        changed.set("a", Some(2), None).unwrap();
        assert!(changed.is_empty());
    }

    #[test]
    fn a_change_and_its_opposite_leave_nothing() {
        let mut overlay = Overlay::default();
        overlay.add(server(3)).unwrap();
        overlay.remove(&server(3)).unwrap();
        overlay.remove(&server(1)).unwrap();
        overlay.add(server(1)).unwrap();
        assert_eq!(overlay.over(&[server(1)]), [server(1)]);
        assert!(overlay.added.is_empty() && overlay.removed.is_empty());
    }
}
