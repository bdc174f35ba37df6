//! Replication between the nodes of a mesh: connections around the machine of catamaran-core.
//!
//! Of two nodes the one whose name comes first connects; the other listens. A connection is
//! authenticated and encrypted by Noise (NNpsk0) with the secret that all nodes share. One task, the
//! centre, owns the [`Node`] and decides nothing; a reader and a writer for each connection encrypt.
//!
//! ```text
//!   socket ─► reader ─► ┌────────┐ ─► writer ─► socket      a queue of a few payloads each: when
//!                       │ centre │                          a peer is slow, none are made for it
//!   commands ─────────► └────────┘ ─► events, log
//! ```
#![forbid(unsafe_code)]

mod centre;
mod connect;
mod counters;
mod nameless;
#[cfg(test)]
mod tests;

pub use catamaran_core::replication::Node;
pub use centre::{Config, Handle, Observer, Stopped, start};
pub use counters::{Counters, Counts};
