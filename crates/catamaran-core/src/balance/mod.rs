//! The choice of a server.
//!
//! A [`Rotation`] is an immutable snapshot of who takes part, made anew whenever health, weights or
//! the operator's wishes change, and published whole; workers pick from it without waiting for each
//! other. What moves faster than that, the loads and the status of each server, is read from its
//! [`ServerState`](crate::server::ServerState) at the moment of the pick.

mod candidate;
mod draw;
mod maglev;
mod ring;
mod rotation;
mod round_robin;

pub use rotation::Rotation;
pub use round_robin::Cursor;

use crate::Timestamp;
use crate::model::ServerId;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// What a pick depends on besides the servers.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The time of the pick.
    pub now: Timestamp,
    /// [`hash_key`] of the request's key, for `source` and `hash`; without, they draw by weight.
    pub hash: Option<u64>,
    /// Servers that this request has been sent to: picked again only if no other has room.
    pub tried: &'a [ServerId],
}

/// The outcome of a pick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// This server had room. The caller still has to `try_begin` and, beaten to it, picks again.
    Server(ServerId),
    /// Servers are usable, but none has room.
    AllFull,
    /// No server is usable.
    NoneUsable,
}

/// The hash of a request's key; the same on every node.
#[must_use]
pub fn hash_key(key: &[u8]) -> u64 {
    xxh3_64_with_seed(key, KEY_SEED)
}

/// Maps an even `hash` evenly to `0..len` by its high bits: a multiplication is cheaper than the
/// division of a remainder.
fn spread(hash: u64, len: u32) -> u32 {
    let product = u128::from(hash) * u128::from(len);
    u32::try_from(product >> 64).expect("the high half of a product is below either factor")
}

const KEY_SEED: u64 = 0;

#[cfg(test)]
mod tests;
