//! The tables of this node that are replicated, and the way to them.

use crate::limit::Limiter;
use crate::stick;
use std::num::NonZeroUsize;
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64;

/// What a table is known by on every node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableKey(pub(super) u64);

impl TableKey {
    /// The key of the table called `name`. The name says what the table is for and what its keys
    /// are made of, so that two of one name count the same clients for the same end.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(xxh3_64(name.as_bytes()))
    }
}

/// A table of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableSpec {
    /// What it is known by.
    pub key: TableKey,
    /// What it holds.
    pub kind: TableKind,
    /// Into how many shards it is divided. It stays as it is as long as the table lives.
    pub shards: NonZeroUsize,
}

/// What a table holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableKind {
    /// Servers of clients.
    Stick,
    /// Requests of clients, of which so many are let pass in each period.
    Rate {
        /// The period of the limit.
        period: Duration,
    },
}

/// The way to the tables, which the shell guards with locks. Tables are counted as in the list that
/// [`Node::handle_tables`](super::Node::handle_tables) was given. What is asked for is short.
pub trait Tables {
    /// Does something with a shard of an affinity table. Where that is gone, nothing is done.
    fn with_stick(&mut self, table: usize, shard: usize, act: &mut dyn FnMut(&mut stick::Table));

    /// Does something with a shard of a rate limit. Where that is gone, nothing is done.
    fn with_rate(&mut self, table: usize, shard: usize, act: &mut dyn FnMut(&mut Limiter));
}

/// Where something stands that a peer is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Source {
    Notes,
    Rates,
    Stick(TableKey, usize),
}
