//! Tables as messages name them, and where in them something stands.

use crate::tables::TableName;
use xxhash_rust::xxh3::xxh3_64;

/// What a table is known by on every node: its name, as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TableKey(pub(super) u64);

impl TableKey {
    pub(super) fn new(name: &TableName) -> Self {
        let TableName { kind, of, on } = name;
        Self(xxh3_64(format!("{kind:?} {of} by {on}").as_bytes()))
    }
}

/// Where something stands that a peer is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Source {
    Notes,
    Rates,
    Stick(TableKey, usize),
}
