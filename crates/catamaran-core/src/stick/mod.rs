//! Affinity: the memory of which server a client was given.

mod peers;
mod table;
#[cfg(test)]
mod tests;

pub use table::{Choice, Entry, Table, Why};

use crate::model::Name;
use xxhash_rust::xxh3::xxh3_64;

/// A server, known by its name.
///
/// Entries outlive configurations: a reload may re-order servers, another node may list them
/// otherwise, so an index would bind a client to whatever came to stand there. The XXH3-64 of the
/// name costs eight bytes, needs no table of names that grows with every reload, and means the same
/// in every process and on every node; with 10,000 servers the chance that two agree is below
/// 3 × 10⁻¹².
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerKey(u64);

impl ServerKey {
    /// The key of the server called `name`.
    #[must_use]
    pub fn new(name: &Name) -> Self {
        Self(xxh3_64(name.as_str().as_bytes()))
    }

    /// The key as it is.
    #[must_use]
    pub const fn as_bits(self) -> u64 {
        self.0
    }

    /// What [`Self::as_bits`] told.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

impl From<&Name> for ServerKey {
    fn from(name: &Name) -> Self {
        Self::new(name)
    }
}
