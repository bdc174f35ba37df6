//! etcd as a fleet uses it: a client ([`Client`]), and the keys and values that a fleet keeps there
//! ([`Keys`], [`registration`]).
//!
//! The client speaks etcd's own JSON gateway (`/v3/…` on the port for clients) over HTTP/1.1. It
//! knows neither what the values mean nor what is to become of them: that is decided by
//! [`catamaran_core::fleet`].
#![forbid(unsafe_code)]

mod client;
mod error;
mod keys;
mod message;
pub mod registration;

pub use client::{Batch, Client, Node, Watch};
pub use error::{EtcdError, SetupError};
pub use keys::{Keys, Place};
pub use message::{Compare, Event, Header, KeyValue, Op, Range, Txn};
