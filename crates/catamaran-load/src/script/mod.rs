//! Scripts of k6: run as they are, each virtual user in an engine of its own.
//!
//! `realm` is a script in its engine, `host` what it can do there, `suspend` how it waits; `vu` drives
//! one iteration after the other, `run` a whole run from options to exit code. The modules that scripts
//! import are JavaScript (`modules/`) around the functions of `host`.

mod host;
mod http;
mod loader;
mod realm;
mod run;
#[expect(unsafe_code, reason = "see its safety argument; nothing else is")]
mod suspend;
mod vu;

pub use run::{ScriptOptions, run};
