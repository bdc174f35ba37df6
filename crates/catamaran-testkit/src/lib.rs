//! Scripted origins and clients, load and process control, for tests only.
//!
//! Nothing here uses an HTTP library or the crates under test: an [`Origin`] sends exactly the
//! bytes its script says and records exactly the bytes it got, a [`Client`] sends any bytes and
//! breaks off in any way, [`Load`] begins requests at a fixed rate whatever becomes of the earlier
//! ones, and a [`Process`] is the real program, to be killed, stopped and measured.
//!
//! Everything blocks and runs on threads of its own, so that a test reads top to bottom. Ports
//! come from the kernel; waits are for conditions, with a limit, never for a time.

mod client;
mod load;
mod message;
pub mod origin;
mod port;
mod process;
mod tagged;
mod timing;
mod usage;
mod wire;

pub use rustix::process::Signal;

pub use self::client::{Client, http_get, request_bytes, tcp_exchange};
pub use self::load::{Failure, Load, Report, RunningLoad};
pub use self::message::{Request, Response};
pub use self::origin::{Ending, Origin, OriginProcess, Recording, Reply, tunnel};
pub use self::port::ReservedPort;
pub use self::process::{Process, Program, TempDir, free_addr, free_port, signal_pid};
pub use self::tagged::{ForeignByte, TagChecker, TaggedStream};
pub use self::timing::{shortest, timely};
pub use self::usage::{Usage, descendants};
pub use self::wire::{Body, Fields, Framing, Head, WireError, WireReader};
