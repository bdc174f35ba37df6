//! The access log: what is said about each exchange, and how it gets written without holding up
//! a worker.
//!
//! ```text
//! worker: Record --format--> Appender (16 KiB or 100 ms) --try_send--> log writer --> file, syslog
//!                                                            \ full: lines dropped and counted
//! ```
//!
//! Formatting is pure. Everything that a client has sent is escaped in the manner of the format,
//! so that one exchange is one line whatever is in it. Times are UTC in all formats.

mod appender;
mod civil;
mod escape;
mod haproxy;
mod json;
mod sink;
#[cfg(test)]
mod tests;
mod text;
mod writer;

pub use appender::Appender;
pub use writer::Writer;

use catamaran_core::model::{LogFormat, ServerAddr};
use catamaran_core::trace::TraceParent;
use std::net::SocketAddr;
use std::time::Duration;

/// What is known of an exchange or a TCP connection when it is logged.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// When the request's first byte (the connection, for TCP) came, in microseconds since 1970.
    pub time_unix_us: u64,
    /// The client.
    pub client: SocketAddr,
    /// Name of the frontend.
    pub frontend: &'a str,
    /// Name of the route taken.
    pub route: Option<&'a str>,
    /// Name of the backend chosen.
    pub backend: Option<&'a str>,
    /// The last server tried.
    pub server: Option<ServerUsed<'a>>,
    /// Request and response; `None` for a TCP connection.
    pub http: Option<Http<'a>>,
    /// Bytes from the client, heads included.
    pub bytes_in: u64,
    /// Bytes to the client, heads included.
    pub bytes_out: u64,
    /// How long each phase took.
    pub timers: Timers,
    /// Who ended it and where, as HAProxy's manual §8.5 codes it; `--` is a normal end. ASCII.
    pub termination: [u8; 2],
    /// How it ended, in the word of metrics and error bodies.
    pub outcome: &'static str,
    /// What was open when it ended.
    pub counts: Counts,
}

/// A server and why it was chosen.
#[derive(Clone, Copy, Debug)]
pub struct ServerUsed<'a> {
    /// Its name.
    pub name: &'a str,
    /// Where it listens.
    pub address: &'a ServerAddr,
    /// Why this one.
    pub reason: Reason,
}

/// Why a server was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// By the balance; no affinity bound the client.
    New,
    /// By affinity.
    Sticky,
    /// Anew, for the server that affinity named was not usable.
    Rechosen,
}

/// Request and response of an exchange, as the client saw them.
#[derive(Clone, Copy, Debug)]
pub struct Http<'a> {
    /// The method, as sent.
    pub method: &'a [u8],
    /// The request target, as sent; at most 8 KiB of it are logged.
    pub target: &'a [u8],
    /// The host that was asked for, with its port if one was written; empty if none is known.
    pub host: &'a [u8],
    /// `HTTP/1.1`.
    pub version: &'a str,
    /// Status sent to the client; `None` if it got none.
    pub status: Option<u16>,
    /// Its trace and its span there, where requests are traced.
    pub trace: Option<TraceParent>,
}

/// How long each phase took; `None` if it was not reached. Names and limits are those of HAProxy's
/// manual §8.4, whose short names are given.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timers {
    /// `TR`: from the request's first byte to its head's last.
    pub request: Option<Duration>,
    /// `Tw`: in queues.
    pub queue: Option<Duration>,
    /// `Tc`: to connect to the server, tries included.
    pub connect: Option<Duration>,
    /// `Tr`: from the request sent to the response's head.
    pub response: Option<Duration>,
    /// `Ta` (`Tt` for TCP): everything.
    pub total: Option<Duration>,
}

/// Numbers that tell how busy the process was when the exchange ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Connections open in the process.
    pub process: u32,
    /// Connections open in the frontend.
    pub frontend: u32,
    /// Exchanges (connections, for TCP) the backend has in hand.
    pub backend: u32,
    /// The same of the server.
    pub server: u32,
    /// Tries after the first.
    pub retries: u32,
    /// Whether a try went to another server than the first.
    pub redispatched: bool,
    /// Requests before this one in the server's queue.
    pub server_queue: u32,
    /// Requests before this one in the backend's queue.
    pub backend_queue: u32,
}

impl Reason {
    /// The word that logs use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Sticky => "sticky",
            Self::Rechosen => "rechosen",
        }
    }
}

/// Appends `record` as one line, its newline included.
pub fn format(record: &Record<'_>, format: LogFormat, out: &mut Vec<u8>) {
    match format {
        LogFormat::Json => json::format(record, out),
        LogFormat::Clf => text::clf(record, out),
        LogFormat::Haproxy => haproxy::format(record, out),
        LogFormat::Human => text::human(record, out),
    }
    out.push(b'\n');
}

impl<'a> Http<'a> {
    /// The target, cut to what is logged.
    fn logged_target(&self) -> &'a [u8] {
        &self.target[..self.target.len().min(MAX_TARGET)]
    }
}

/// Bytes of a target that are logged: a head may have 60 KiB, and escaping makes more of them, so
/// this bounds what the writer's queue can hold. Chosen; servers commonly refuse longer ones.
const MAX_TARGET: usize = 8 * 1024;

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Appends `number` in decimal, without the detour of `write!`: a line has twenty.
fn decimal(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = digit(number % 10);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends `number`, at least `width` digits long.
fn padded(number: u32, width: u32, out: &mut Vec<u8>) {
    for place in (0..width).rev() {
        out.push(digit(u64::from(number / 10_u32.pow(place) % 10)));
    }
}

fn digit(value: u64) -> u8 {
    b'0' + u8::try_from(value).expect("a digit is under ten")
}

fn display(value: impl std::fmt::Display, out: &mut Vec<u8>) {
    use std::io::Write;
    write!(out, "{value}").expect("writing to a Vec cannot fail");
}
