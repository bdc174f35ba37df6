//! Servers that an operator added and removed at run time, over those that the configuration says.
//!
//! A change lives until the process ends, over any number of reloads, unless the configuration came
//! to say something else of that very server: one that was added gives way to one of the same name
//! that is written, one that was removed returns when it is written otherwise.

use crate::model::{Name, Server};

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
