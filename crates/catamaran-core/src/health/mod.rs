//! Whether a server is usable: what checks say, what connections say, what responses say.
//!
//! Three machines look at a server, and it is usable while none objects: [`Checker`] (active
//! checks), [`Refusal`] (connections refused) and [`Detector`] (passive ejection, the only one that
//! the panic threshold lifts). What we failed at ourselves, [`Blame`] tells apart first.

mod active;
mod agent;
mod blame;
mod outlier;
mod refusal;
mod script;
#[cfg(test)]
mod tests;

pub use active::{Checker, ProbeResult, Status};
pub use agent::{Duty, Report};
pub use blame::Blame;
pub use outlier::{Comeback, Detector, Ejected, FailureStreak};
pub use refusal::Refusal;
pub use script::{MAX_RECEIVED, Met, judge};
