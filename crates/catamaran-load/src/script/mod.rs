//! Scripts of k6: run as they are, each virtual user in an engine of its own, or so that it looks like it.
//!
//! ```text
//! run       a whole run, from options to exit code     prepared, stages, screen
//! vu        one iteration after the other
//! realm     a script in its engine                     loader, commonjs, remote, files: its modules;
//!                                                      environment: the variables it names
//! world     an engine that virtual users share
//! host      what a script can do there                 http: its requests
//! typescript  makes JavaScript of it, with the feature of that name
//! seam      how it waits: all that is unsafe
//! ```
//! The modules that scripts import are JavaScript (`modules/`) around the functions of `host`.

mod commonjs;
mod environment;
mod files;
mod grpc;
mod host;
mod http;
mod loader;
mod realm;
mod remote;
mod run;
#[expect(unsafe_code, reason = "see its safety argument; nothing else is")]
mod seam;
mod sockets;
#[cfg(feature = "typescript")]
mod typescript;
mod vu;
mod world;

pub(crate) use run::Prepared;
pub use run::{Isolation, ScriptOptions, run};
