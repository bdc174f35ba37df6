//! The cases of virtual addresses: nodes in network namespaces on one bridge.

mod failover;
mod keepalived;
mod lab;
mod pair;
mod probe;

pub(crate) use failover::load::run as run_load;
pub(super) use failover::run as run_failover;
pub(super) use keepalived::run as run_keepalived;
pub(super) use pair::run as run_pair;
pub(crate) use probe::run as run_probe;
