//! A run on several machines: one process, the coordinator, leads, and agents do the work.
//!
//! ```text
//!   coordinator                                   agent: the same program, one run at a time
//!     options, script, thresholds                   listens
//!     ── Hello ─────────────────────────────────►   the same version?
//!     ── Job: command line, variables, files ───►   reads them as the coordinator did
//!     ◄────────────────────── Prepared: a digest    of metrics and scenarios; both must agree
//!     setup
//!     ── Begin: which workers of how many ──────►   makes virtual users
//!     ◄─────────────────────────────────── Ready    of each worker
//!     ── Start: what its clock will say then ───►   as pings there and back tell (`clocks.rs`)
//!     ◄──────────────────────── a board a second    of each worker, as between local threads
//!     ── TakeOver: workers of one that is lost ─►   makes their virtual users, and goes on for them
//!     teardown, summary, report
//! ```
//! The coordinator's lead sees workers; that some are on other machines it need not know, but for those
//! that are lost. Virtual users and the ticks of open models are dealt out by number over all workers of
//! all agents ([`crate::schedule::Stripe`]), iterations whose number is fixed over the agents by their
//! shares ([`crate::schedule::Shares`]). Tags never travel: what a sample counts for is decided where it
//! is made, and boards name sinks by number.
//!
//! Everything goes through a channel of Noise with a secret that all know (`link.rs`); who does not know
//! it is heard no further. Who knows it may have an agent do anything that a script can do.

mod agent;
mod attendant;
mod clocks;
mod codec;
mod fleet;
mod job;
mod link;
mod message;
mod report;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;

use crate::output::Target;
pub use agent::{Agent, Log};
pub use fleet::Fleet;
pub use job::{Job, Load};

/// 32 bytes that the coordinator and its agents know. They are never shown.
#[derive(Clone)]
pub struct Secret(catamaran_noise::Secret);

impl Secret {
    /// Takes the secret.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(hidden)")
    }
}

/// What becomes of a run that loses an agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnLoss {
    /// It goes on without the agent's share, and is marked incomplete.
    #[default]
    Incomplete,
    /// It ends, and is marked incomplete.
    Abort,
    /// The agents that are left take over its share.
    TakeOver,
}

/// The agents of a run, and what they are told.
#[derive(Clone, Debug)]
pub struct Agents {
    /// Where they listen, each a host and a port.
    pub addresses: Vec<String>,
    /// What they know.
    pub secret: Secret,
    /// What becomes of the run when one is lost.
    pub on_loss: OnLoss,
    /// The command line, which they read as this process did.
    pub arguments: Vec<String>,
    /// Files that the command line names, by their paths there.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// Refuses what needs every sample in one place.
pub(crate) fn no_outputs(outputs: &[Target]) -> Result<(), String> {
    let Some(output) = outputs.first() else {
        return Ok(());
    };
    Err(format!(
        "--out ({}) writes every sample, and with --agents only sums come here; leave it out, and take \
         --json=FILE or --report FILE, which hold each second of the run",
        output.name()
    ))
}

/// The version of what is sent. Reports name metrics by number, so that the program's version counts, too.
const PROTOCOL: u64 = 2;
