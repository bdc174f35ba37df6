//! The cases of virtual addresses: nodes in network namespaces on one bridge.

mod keepalived;
mod lab;
mod pair;
mod probe;

pub(super) use keepalived::run as run_keepalived;
pub(super) use pair::run as run_pair;
pub(crate) use probe::run as run_probe;
