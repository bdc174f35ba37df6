//! Load without a script: requests to a few URLs, TCP connections or UDP datagrams.
//!
//! The open model is the default: requests begin at a rate, and one that finds the target stalled
//! waits, its lateness counted as the target's. Both percentiles are shown: from when a request was
//! sent, which flatters a target that stalls, and from when it should have been (corrected).

mod find_max;
mod options;
mod run;
mod target;
pub(crate) mod verdict;
mod vu;

pub use options::{Exchange, Model, PlainOptions, Protocol, UsageError, Version};
pub(crate) use run::Prepared;
pub use run::{Console, run};
