//! Exit codes, those of k6.

/// Everything held.
pub const OK: u8 = 0;
/// A threshold did not hold.
pub const THRESHOLDS: u8 = 99;
/// `setup` took too long.
pub const SETUP_TIMEOUT: u8 = 100;
/// `teardown` took too long.
pub const TEARDOWN_TIMEOUT: u8 = 101;
/// An agent was lost, and with it a part of the run.
pub const INCOMPLETE: u8 = 103;
/// Options, URL or script cannot be used.
pub const INVALID: u8 = 104;
/// A signal ended the run.
pub const SIGNAL: u8 = 105;
/// The run could not go on.
pub const FAILED: u8 = 107;
/// A script ended the run.
pub const ABORTED: u8 = 108;
/// A script called the run failed.
pub const MARKED_FAILED: u8 = 110;
