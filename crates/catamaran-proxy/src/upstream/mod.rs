//! The way to a server: choosing it, waiting for room, connecting, keeping connections.

mod connect;
mod idle;
mod select;

pub(crate) use connect::{ConnectError, Connection, connect, local_end};
pub(crate) use idle::{Freshness, IdlePool};
pub(crate) use select::{Ask, Binding, Chosen, NoServer, is_to_choose_again, select};
