//! Replication: what nodes of a mesh tell each other, so that each can take over from any other.
//!
//! ```text
//!  tables ──changed slots──► Node ──marks──► a Link for each peer ──payloads──► transport
//!    ▲                         │
//!    └──────entries────────────┴◄──────────────── payloads ◄──────────────────── transport
//! ```
//! [`Node`] is one node. It opens no connection: payloads that arrived, already authenticated, come
//! in by [`Node::handle_payload`], those to be sent are fetched by [`Node::poll_transmit`]. The tables
//! themselves stay with the shell, behind [`Shards`](crate::tables::Shards).
//!
//! - Every node tells every other of its own changes, and of all that it knows when the other is new.
//! - The later change counts, by a hybrid logical clock; what is told twice or late does no harm, so
//!   that nothing needs an order: what is not acknowledged is told again.
//! - A window of affinity that a peer tells of never starts again: it has an age.
//! - What each node lets pass of a rate limit is counted apart and added up. What nobody can have
//!   heard of yet is assumed, so that a burst to all nodes at once gets no more than one would.

mod clock;
mod link;
mod message;
mod node;
mod notes;
mod rates;
mod serving;
#[cfg(test)]
mod sim;
mod sticks;
mod tables;
mod wire;

pub use clock::{Incarnation, MAX_AHEAD, NodeId, Now, Stamp};
pub use link::Counters;
pub use message::{Heartbeat, Hello, MAX_NOTE, MAX_PAYLOAD, MIN_VERSION, RouterView, VERSION};
pub use node::{
    Acquaintance, Event, HEARTBEAT, Letter, LetterError, LetterKind, MAX_LETTER, Node, PeerIndex,
    PeerStatus, Refused, SILENCE, SameNumber, Settings, WAIT_FOR_PEERS,
};
pub use notes::{MAX_NOTES, Note, NoteError, NoteKind, Phase};
pub use wire::DecodeError;
