//! Tables that outlive their process, and their node: what they are known by, and the way to their
//! shards.
//!
//! A copy of them is kept for the next process ([`crate::mirror`]), and peers are told of what
//! changes ([`crate::replication`]). Both know a table by its [`TableName`].

use crate::limit::Limiter;
use crate::mirror::Mirrored;
use crate::stick;
use std::fmt::Debug;
use std::num::NonZeroUsize;
use std::sync::Arc;

/// A table in parts, each under its own lock. Keys find theirs by [`Key::shard`](crate::Key::shard).
pub trait Shards: Debug + Send + Sync {
    /// How many parts. It stays as it is as long as the table lives.
    fn count(&self) -> NonZeroUsize;

    /// Does something with the part of this index, under its lock: workers wait meanwhile.
    fn with(&self, shard: usize, act: &mut dyn FnMut(Part<'_>));

    /// Has each part filled by `fill` before anybody sees it: now, unless the table can wait until
    /// somebody needs the part. To be called once, before the table is used.
    fn fill_from(&self, fill: Box<dyn Fill>) {
        for shard in 0..self.count().get() {
            self.with(shard, &mut |part| fill.fill(shard, part.mirrored()));
        }
    }
}

/// Knows what a table held in another process.
pub trait Fill: Debug + Send + Sync {
    /// Puts into `part`, the one of this index, what it held. It is called once for each, under the
    /// lock of the part, and locks none itself.
    fn fill(&self, index: usize, part: &mut dyn Mirrored);
}

/// A part of a table.
#[derive(Debug)]
pub enum Part<'a> {
    /// Of an affinity table.
    Stick(&'a mut stick::Table),
    /// Of a rate limit.
    Rate(&'a mut Limiter),
}

/// A table of a configuration.
#[derive(Clone, Debug)]
pub struct KeptTable {
    /// What it is known by, in every process and on every node.
    pub name: TableName,
    /// Its parts. A table that goes on through a reload is the same `Arc`.
    pub shards: Arc<dyn Shards>,
}

/// What a table is known by. Another with the same name counts the same keys for the same end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    /// What it is for.
    pub kind: TableKind,
    /// The backend of an affinity table; the frontend, and the route if there is one, of a limit.
    pub of: String,
    /// What its keys are made of, in words.
    pub on: String,
}

/// What a table is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TableKind {
    /// Affinity.
    Stick,
    /// A rate limit.
    Rate,
}

impl<'a> Part<'a> {
    /// The part as something to be copied.
    #[must_use]
    pub fn mirrored(self) -> &'a mut dyn Mirrored {
        match self {
            Self::Stick(table) => table,
            Self::Rate(limiter) => limiter,
        }
    }

    /// The part of an affinity table.
    #[must_use]
    pub fn stick(self) -> Option<&'a mut stick::Table> {
        match self {
            Self::Stick(table) => Some(table),
            Self::Rate(_) => None,
        }
    }

    /// The part of a rate limit.
    #[must_use]
    pub fn rate(self) -> Option<&'a mut Limiter> {
        match self {
            Self::Rate(limiter) => Some(limiter),
            Self::Stick(_) => None,
        }
    }
}
