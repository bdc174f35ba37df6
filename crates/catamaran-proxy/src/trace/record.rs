//! What is told of an exchange that is sampled.

use super::End;
use crate::outcome::Outcome;
use crate::state::{Server, Target};
use catamaran_core::Timestamp;
use catamaran_core::model::Name;
use catamaran_core::stick::Why;
use catamaran_core::trace::{Beginning, SpanId, TraceId, TraceParent};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// An exchange that was sampled and has ended. Its size is bounded: texts of the client are cut, and
/// tries beyond 16 are only counted.
#[derive(Clone, Debug)]
pub struct Record {
    /// The trace.
    pub trace_id: TraceId,
    /// The span of the exchange.
    pub span_id: SpanId,
    /// The span it is a child of.
    pub parent_id: Option<SpanId>,
    /// A trace that it does not belong to, though the client said so.
    pub link: Option<TraceParent>,
    /// What was asked.
    pub request: Request,
    /// The frontend.
    pub frontend: Name,
    /// The route that the request took.
    pub route: Option<Name>,
    /// The backend that it was for.
    pub backend: Option<Name>,
    /// Status sent to the client.
    pub status: Option<u16>,
    /// How it ended.
    pub outcome: Outcome,
    /// Bytes from the client, heads included.
    pub bytes_in: u64,
    /// Bytes to the client, heads included.
    pub bytes_out: u64,
    /// How long it waited for a server with room, if it had to.
    pub queued: Option<Duration>,
    /// When its head was whole.
    pub began: Timestamp,
    /// When it ended, or switched to another protocol.
    pub ended: Timestamp,
    /// The same in nanoseconds since 1970.
    pub ended_unix_nanos: u64,
    /// The tries to send it to a server.
    pub tries: Vec<Try>,
    /// Tries beyond those.
    pub tries_left_out: u32,
}

/// What was asked, as far as it is told.
#[derive(Clone, Debug)]
pub struct Request {
    /// The method.
    pub method: Box<str>,
    /// The path, without the query, which may hold secrets.
    pub path: Box<str>,
    /// Host and port that it is for.
    pub authority: Box<str>,
    /// The client's program, by its own word.
    pub user_agent: Option<Box<str>>,
    /// `1.1` or `1.0`.
    pub version: &'static str,
    /// The client, as trusted proxies say.
    pub client: IpAddr,
    /// Who sent it to us.
    pub peer: SocketAddr,
    /// The `tracestate` that was passed on; empty for none.
    pub state: Box<str>,
}

/// One try to send the request to a server.
#[derive(Clone, Debug)]
pub struct Try {
    /// Its span.
    pub span_id: SpanId,
    /// When the server was chosen.
    pub began: Timestamp,
    /// When it failed, or the exchange ended.
    pub ended: Option<Timestamp>,
    /// The server.
    pub server: Name,
    /// Where that is.
    pub address: Target,
    /// Why that one.
    pub why: Why,
    /// Whether the connection had served before.
    pub is_reused: bool,
    /// Time to connect, where that was needed.
    pub connected: Option<Duration>,
    /// Time from the request sent to the head of the response.
    pub responded: Option<Duration>,
    /// Status of the response, if one came.
    pub status: Option<u16>,
    /// How it failed.
    pub failure: Option<Outcome>,
}

impl Record {
    pub(crate) fn new(
        beginning: &Beginning,
        span_id: SpanId,
        now: Timestamp,
        request: Request,
    ) -> Self {
        Self {
            trace_id: beginning.trace_id,
            span_id,
            parent_id: beginning.parent_id,
            link: beginning.link,
            request,
            frontend: Name::new(""),
            route: None,
            backend: None,
            status: None,
            outcome: Outcome::Done,
            bytes_in: 0,
            bytes_out: 0,
            queued: None,
            began: now,
            ended: now,
            ended_unix_nanos: 0,
            tries: Vec::new(),
            tries_left_out: 0,
        }
    }

    /// A time of the exchange, in nanoseconds since 1970.
    #[must_use]
    pub fn unix_nanos(&self, at: Timestamp) -> u64 {
        let ago = self.ended.as_nanos().saturating_sub(at.as_nanos());
        self.ended_unix_nanos.saturating_sub(ago)
    }

    pub(super) fn open_try(&self) -> Option<&Try> {
        self.tries.last().filter(|last| last.ended.is_none())
    }

    pub(super) fn open_try_mut(&mut self) -> Option<&mut Try> {
        self.tries.last_mut().filter(|last| last.ended.is_none())
    }

    pub(super) fn begin_try(&mut self, new: impl FnOnce() -> Try) {
        if self.tries.len() < MAX_TRIES {
            self.tries.push(new());
        } else {
            self.tries_left_out = self.tries_left_out.saturating_add(1);
        }
    }

    pub(super) fn finish(&mut self, end: &End<'_>, unix_nanos: u64) {
        let facts = end.facts;
        self.frontend = end.frontend.clone();
        self.route = facts.route.map(|route| route.name.clone());
        self.backend = facts.backend.map(|backend| backend.model.name.clone());
        self.status = facts.status;
        self.outcome = end.outcome;
        self.bytes_in = facts.bytes_in;
        self.bytes_out = facts.bytes_out;
        self.queued = facts.queued;
        self.ended = end.now;
        self.ended_unix_nanos = unix_nanos;
        if let Some(open) = self.open_try_mut() {
            open.ended = Some(end.now);
            open.status = Some(end.status);
            open.responded = facts.responded;
            open.failure = (end.outcome != Outcome::Done).then_some(end.outcome);
        }
    }
}

impl Request {
    /// A text of the client's, cut to what is told of it.
    pub(crate) fn cut(text: &[u8]) -> Box<str> {
        String::from_utf8_lossy(&text[..text.len().min(MAX_TEXT)]).into()
    }
}

impl Try {
    pub(super) fn new(span_id: SpanId, now: Timestamp, server: &Server, why: Why) -> Self {
        Self {
            span_id,
            began: now,
            ended: None,
            server: server.model.name.clone(),
            address: server.target.clone(),
            why,
            is_reused: false,
            connected: None,
            responded: None,
            status: None,
            failure: None,
        }
    }
}

/// Tries that are told of an exchange; chosen. There are more only where a request waits for servers
/// that are down and are found down again and again.
const MAX_TRIES: usize = 16;
/// Bytes of a text of the client's; chosen.
const MAX_TEXT: usize = 1024;
