//! Policy of the catamaran load balancer, without I/O.
//!
//! The crate decides: which route a request takes, which server of a backend answers it, when a
//! server counts as down, who must wait and who is refused, what may be sent again. It opens no
//! socket, reads no clock, spawns nothing and takes no lock: the same input gives the same output.
//!
//! # Contract of the state machines
//! - Input arrives by `handle_*(&mut self, now: Timestamp, …)`; output is fetched by `poll_*` until
//!   it is `None`; getters take `&self`. Late or spurious timeouts are harmless.
//! - Time only moves forward and comes from the caller, see [`Timestamp`]; randomness comes from
//!   the caller as `&mut fastrand::Rng`.
//! - State that several workers touch at once (loads, health) is atomic and lives in types that
//!   say so; everything else is plain data that the shell guards.
//! - Every table and queue has its limit in its constructor. Bytes from the network never panic
//!   and never allocate without bound.
#![forbid(unsafe_code)]

pub mod balance;
mod chain;
pub mod fleet;
pub mod flow;
pub mod health;
pub mod idle;
mod key;
pub mod latency;
pub mod limit;
pub mod lookup;
mod marks;
pub mod mirror;
pub mod model;
pub mod nearest;
pub mod networks;
pub mod overlay;
pub mod queue;
mod recency;
pub mod replication;
pub mod retry;
pub mod route;
pub mod server;
pub mod stick;
pub mod tables;
mod time;
pub mod trace;
mod unreadable;
pub mod vrrp;

pub use key::Key;
pub use time::Timestamp;
pub use unreadable::unreadable;
