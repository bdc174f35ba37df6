//! Tests of the stores and of the program, as real processes where that matters.
#![expect(clippy::unwrap_used, reason = "what stops a test fails it")]

mod api;
mod cluster;
mod contract;
mod mail_job;
mod replica;
