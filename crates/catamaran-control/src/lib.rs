//! The control plane: what runs beside the workers, on one thread of its own.
//!
//! - [`fn@run`]: all of it, over a data plane at work.
//! - [`probe`]: one active check of a server.
//! - [`health`]: the watch over all servers.
//! - [`resolve`]: servers that are configured by name.
//! - [`admin`]: what an operator sees and changes at run time.
//! - [`keep`]: what outlives the process.
//! - [`reload`]: putting another configuration in place.
//! - `etcd`: the fleet that this node is of, with the feature of that name.
//! - `trace`: what is sampled, on its way to a collector.
//! - [`metrics`]: the counters as a page, and the endpoint that serves it.
//!
//! Nothing here decides policy: what a check's result means is decided by `catamaran_core`, what a
//! new answer of the DNS means by a machine of its own without I/O.
#![forbid(unsafe_code)]

pub mod admin;
mod agent;
mod clock;
#[cfg(feature = "etcd")]
pub mod etcd;
pub mod health;
mod http;
pub mod keep;
mod mesh;
pub mod metrics;
mod plane_metrics;
pub mod probe;
pub mod reload;
pub mod resolve;
mod run;
mod trace;
mod virtual_ip;

pub use clock::Clock;
pub use mesh::{Mesh, SeenPeer, Sight};
pub use run::{Parts, run};
pub use trace::send_traces;
pub use virtual_ip::VirtualIps;
