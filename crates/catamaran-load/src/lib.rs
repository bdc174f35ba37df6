//! Load testing: requests at a rate or by virtual users, and figures that are true when the target
//! stalls.
//!
//! ```text
//! plain      a run without a script: options, virtual users, what is printed
//! script     k6's scripts: QuickJS, one coroutine for each iteration; with the feature `scripts`
//! engine     workers, virtual users, schedules driven in time; the only threads and timers
//! client     connections and HTTP/1.1 exchanges
//! summary    text and JSON at the end
//! proto      Protocol Buffers by schemas read at run time; no I/O
//! agents     workers on other machines: what is said, by whom, over what
//! live       what is shown while a run goes on
//! record     what is kept of a run: its course, a page, a comparison, test cases
//! options    what a script, the environment and the command line say, and which is believed
//! names      where the names of URLs lead
//! sources    addresses of this machine that requests come from
//! output     where samples go while it runs: a Prometheus, or
//! samples    each as a line of a file
//! scenario, schedule, pace, threshold, metric, sink, board, tags, distribution, time_text
//!            what a run is and what it amounts to: no I/O, no clock
//! ```
//! Names, units, thresholds and exit codes are those of k6, so that what its users know holds here.
#![deny(unsafe_code)]

pub mod agents;
pub mod board;
pub mod client;
pub mod distribution;
pub mod engine;
pub mod exit_code;
mod live;
pub mod metric;
pub mod names;
pub mod options;
pub mod output;
pub mod pace;
pub mod plain;
#[cfg(feature = "scripts")]
mod proto;
pub mod record;
pub mod samples;
pub mod scenario;
pub mod schedule;
#[cfg(feature = "scripts")]
pub mod script;
pub mod sink;
pub mod sources;
pub mod summary;
pub mod tags;
pub mod threshold;
pub mod time_text;
