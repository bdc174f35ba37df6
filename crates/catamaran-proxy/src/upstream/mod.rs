//! The way to a server: choosing it, waiting for room, connecting, keeping connections.

mod connect;
mod idle;

pub(crate) use connect::{ConnectError, Connection, connect};
pub(crate) use idle::{Freshness, IdlePool};
