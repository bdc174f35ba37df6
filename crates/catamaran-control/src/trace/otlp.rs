//! Exchanges as spans of OpenTelemetry: its messages (opentelemetry-proto 1.x) and the names that its
//! conventions give to what is known of an HTTP request.
//!
//! An exchange is a span of kind SERVER, each try to send it to a server a child of kind CLIENT. What
//! the conventions have no name for is called `catamaran.…`.

use super::protobuf::{Value, Writer, fields};
use catamaran_core::Timestamp;
use catamaran_core::model::Tracing;
use catamaran_core::stick::Why;
use catamaran_core::trace::SpanId;
use catamaran_proxy::{Class, Outcome, Record, Target, Try};
use std::net::SocketAddr;
use std::time::Duration;

/// What a collector answers to an export.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// Spans that it did not take.
    pub(super) rejected: u64,
    /// Why; one line.
    pub(super) message: String,
}

impl Answer {
    /// Reads an `ExportTraceServiceResponse`. What makes no sense says that nothing was rejected.
    pub(super) fn read(body: &[u8]) -> Self {
        let mut answer = Self::default();
        for (number, value) in fields(body) {
            let (1, Value::Bytes(partial)) = (number, value) else {
                continue;
            };
            for field in fields(partial) {
                match field {
                    (1, Value::Number(rejected)) => answer.rejected = rejected,
                    (2, Value::Bytes(text)) => answer.message = one_line(text),
                    _ => {}
                }
            }
        }
        answer
    }
}

/// A text of the collector's, for the log.
pub(super) fn one_line(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(&text[..text.len().min(MAX_MESSAGE)]);
    text.escape_debug().to_string()
}

/// How many spans are told of `record`.
pub(super) fn spans(record: &Record) -> u64 {
    1 + record.tries.len() as u64
}

/// An `ExportTraceServiceRequest` of `records`.
pub(super) fn export(records: &[Box<Record>], tracing: &Tracing) -> Vec<u8> {
    let mut out = Writer::default();
    out.message(1, |resource_spans| {
        resource_spans.message(1, |resource| {
            text(resource, 1, "service.name", &tracing.service);
            text(resource, 1, "service.version", VERSION);
            for (name, value) in &tracing.resource {
                text(resource, 1, name, value);
            }
        });
        resource_spans.message(2, |scope_spans| {
            scope_spans.message(1, |scope| {
                scope.text(1, "catamaran");
                scope.text(2, VERSION);
            });
            for record in records {
                exchange(scope_spans, record);
                for (resends, tried) in record.tries.iter().enumerate() {
                    attempt(scope_spans, record, tried, resends);
                }
            }
        });
        resource_spans.text(3, SCHEMA);
    });
    out.into_bytes()
}

/// What every span has: its names and times.
struct Head<'a> {
    span_id: SpanId,
    parent_id: Option<SpanId>,
    is_parent_remote: bool,
    name: &'a str,
    kind: Kind,
    began: Timestamp,
    ended: Timestamp,
}

#[derive(Clone, Copy)]
enum Kind {
    Server = 2,
    Client = 3,
}

impl Head<'_> {
    fn write(&self, span: &mut Writer, record: &Record) {
        span.bytes(1, record.trace_id.as_bytes());
        span.bytes(2, self.span_id.as_bytes());
        span.text(3, &record.request.state);
        if let Some(parent) = self.parent_id {
            span.bytes(4, parent.as_bytes());
        }
        span.text(5, self.name);
        span.varint(6, self.kind as u64);
        span.fixed64(7, record.unix_nanos(self.began));
        span.fixed64(8, record.unix_nanos(self.ended));
        let remote = match self.is_parent_remote {
            true => FLAG_REMOTE,
            false => 0,
        };
        span.fixed32(16, FLAG_SAMPLED | FLAG_REMOTE_KNOWN | remote);
    }
}

/// The span of the exchange itself.
fn exchange(out: &mut Writer, record: &Record) {
    let request = &record.request;
    let (method, original) = method(&request.method);
    let head = Head {
        span_id: record.span_id,
        parent_id: record.parent_id,
        is_parent_remote: record.parent_id.is_some(),
        name: &format!("{} {}", name_of(method), record.frontend),
        kind: Kind::Server,
        began: record.began,
        ended: record.ended,
    };
    out.message(2, |span| {
        head.write(span, record);
        text(span, 9, "http.request.method", method);
        if let Some(original) = original {
            text(span, 9, "http.request.method_original", original);
        }
        text(span, 9, "url.scheme", "http");
        text(span, 9, "url.path", &request.path);
        let (host, port) = host_and_port(&request.authority);
        text(span, 9, "server.address", host);
        if let Some(port) = port {
            int(span, 9, "server.port", port.into());
        }
        let client = request.client.to_canonical();
        text(span, 9, "client.address", &client.to_string());
        peer(span, request.peer);
        text(span, 9, "network.protocol.name", "http");
        text(span, 9, "network.protocol.version", request.version);
        if let Some(agent) = &request.user_agent {
            text(span, 9, "user_agent.original", agent);
        }
        if let Some(status) = record.status {
            int(span, 9, "http.response.status_code", status.into());
        }
        int(span, 9, "http.request.size", record.bytes_in);
        int(span, 9, "http.response.size", record.bytes_out);
        text(span, 9, "catamaran.frontend", record.frontend.as_str());
        if let Some(route) = &record.route {
            text(span, 9, "catamaran.route", route.as_str());
        }
        if let Some(backend) = &record.backend {
            text(span, 9, "catamaran.backend", backend.as_str());
        }
        text(span, 9, "catamaran.outcome", label(record.outcome));
        if let Some(queued) = record.queued {
            seconds(span, "catamaran.queue.duration", queued);
        }
        if record.tries_left_out > 0 {
            int(
                span,
                9,
                "catamaran.tries_left_out",
                record.tries_left_out.into(),
            );
        }
        if let Some(link) = &record.link {
            span.message(13, |out| {
                out.bytes(1, link.trace_id.as_bytes());
                out.bytes(2, link.parent_id.as_bytes());
                let sampled = u32::from(link.is_sampled);
                out.fixed32(6, sampled | FLAG_REMOTE_KNOWN | FLAG_REMOTE);
            });
        }
        let is_ours = matches!(record.outcome.class(), Class::Server | Class::Own);
        let failed = record.status.filter(|status| *status >= 500);
        if is_ours || failed.is_some() {
            error(span, record.outcome, failed);
        }
    });
}

/// The span of one try.
fn attempt(out: &mut Writer, record: &Record, tried: &Try, resends: usize) {
    let (method, original) = method(&record.request.method);
    let backend = record.backend.as_ref().map_or("", |name| name.as_str());
    let head = Head {
        span_id: tried.span_id,
        parent_id: Some(record.span_id),
        is_parent_remote: false,
        name: &format!("{} {backend}", name_of(method)),
        kind: Kind::Client,
        began: tried.began,
        ended: tried.ended.unwrap_or(record.ended),
    };
    out.message(2, |span| {
        head.write(span, record);
        text(span, 9, "http.request.method", method);
        if let Some(original) = original {
            text(span, 9, "http.request.method_original", original);
        }
        match &tried.address {
            Target::Ip(address) => {
                text(span, 9, "server.address", &address.ip().to_string());
                int(span, 9, "server.port", address.port().into());
                peer(span, *address);
            }
            Target::Unix(path) => {
                let path = path.to_string_lossy();
                text(span, 9, "server.address", &path);
                text(span, 9, "network.transport", "unix");
                text(span, 9, "network.peer.address", &path);
            }
        }
        text(span, 9, "network.protocol.name", "http");
        text(span, 9, "network.protocol.version", "1.1");
        if resends > 0 {
            int(span, 9, "http.request.resend_count", resends as u64);
        }
        if let Some(status) = tried.status {
            int(span, 9, "http.response.status_code", status.into());
        }
        text(span, 9, "catamaran.backend", backend);
        text(span, 9, "catamaran.server", tried.server.as_str());
        let why = match tried.why {
            Why::New => "new",
            Why::Sticky => "sticky",
            Why::Rechosen => "rechosen",
        };
        text(span, 9, "catamaran.reason", why);
        attribute(span, 9, "catamaran.connection.reused", |value| {
            value.varint(2, tried.is_reused.into());
        });
        if let Some(connected) = tried.connected {
            seconds(span, "catamaran.connect.duration", connected);
        }
        if let Some(responded) = tried.responded {
            seconds(span, "catamaran.first_byte.duration", responded);
        }
        let failed = tried.status.filter(|status| *status >= 400);
        if tried.failure.is_some() || failed.is_some() {
            error(span, tried.failure.unwrap_or(Outcome::Done), failed);
        }
    });
}

/// Marks a span as failed: by its outcome, else by its status.
fn error(span: &mut Writer, outcome: Outcome, status: Option<u16>) {
    let is_named = !matches!(outcome, Outcome::Done | Outcome::Answered);
    match status {
        Some(status) if !is_named => text(span, 9, "error.type", &status.to_string()),
        _ => text(span, 9, "error.type", label(outcome)),
    }
    span.message(15, |out| {
        // That a status is an error needs no words.
        if is_named {
            out.text(2, label(outcome));
        }
        out.varint(3, STATUS_ERROR);
    });
}

const fn label(outcome: Outcome) -> &'static str {
    outcome.consequence().label
}

fn peer(span: &mut Writer, peer: SocketAddr) {
    let ip = peer.ip().to_canonical();
    text(span, 9, "network.peer.address", &ip.to_string());
    int(span, 9, "network.peer.port", peer.port().into());
}

/// A `KeyValue` in field `field`.
fn attribute(out: &mut Writer, field: u32, name: &str, write: impl FnOnce(&mut Writer)) {
    out.message(field, |pair| {
        pair.text(1, name);
        pair.message(2, write);
    });
}

fn text(out: &mut Writer, field: u32, name: &str, value: &str) {
    // An empty text is a value too.
    attribute(out, field, name, |any| any.bytes(1, value.as_bytes()));
}

fn int(out: &mut Writer, field: u32, name: &str, value: u64) {
    attribute(out, field, name, |any| any.varint(3, value));
}

fn seconds(out: &mut Writer, name: &str, value: Duration) {
    attribute(out, 9, name, |any| {
        any.fixed64(4, value.as_secs_f64().to_bits());
    });
}

/// The method as the conventions have it, and as it was sent where that is another.
fn method(sent: &str) -> (&str, Option<&str>) {
    match KNOWN_METHODS.contains(&sent) {
        true => (sent, None),
        false => ("_OTHER", Some(sent)),
    }
}

/// The method as the name of a span has it.
fn name_of(method: &str) -> &str {
    match method {
        "_OTHER" => "HTTP",
        known => known,
    }
}

/// The parts of an authority; an IPv6 address without its brackets.
fn host_and_port(authority: &str) -> (&str, Option<u16>) {
    let end = authority.rfind(']').map_or(0, |at| at + 1);
    let (host, port) = match authority[end..].rfind(':') {
        Some(at) => (
            &authority[..end + at],
            authority[end + at + 1..].parse().ok(),
        ),
        None => (authority, None),
    };
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    (bare.unwrap_or(host), port)
}

/// RFC 9110 §9, and PATCH: what the conventions call known.
const KNOWN_METHODS: [&str; 9] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
];
/// Bits of `Span.flags`: the flag of `traceparent`, and whether the parent is another process's.
const FLAG_SAMPLED: u32 = 0x1;
const FLAG_REMOTE_KNOWN: u32 = 0x100;
const FLAG_REMOTE: u32 = 0x200;
/// `STATUS_CODE_ERROR`.
const STATUS_ERROR: u64 = 2;
/// Of the names that are used.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.27.0";
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Bytes of a collector's message in the log.
const MAX_MESSAGE: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_what_was_rejected_and_why() {
        assert_eq!(Answer::read(b""), Answer::default());
        let mut out = Writer::default();
        out.message(1, |partial| {
            partial.varint(1, 3);
            partial.text(2, "too\nold");
        });
        let answer = Answer::read(&out.into_bytes());
        assert_eq!((answer.rejected, answer.message.as_str()), (3, "too\\nold"));
        assert_eq!(Answer::read(b"no such thing").rejected, 0);
    }

    #[test]
    fn an_authority_is_taken_apart() {
        for (authority, expected) in [
            ("a.example:8080", ("a.example", Some(8080))),
            ("a.example", ("a.example", None)),
            ("[::1]:80", ("::1", Some(80))),
            ("[::1]", ("::1", None)),
            ("", ("", None)),
            ("a:b", ("a", None)),
        ] {
            assert_eq!(host_and_port(authority), expected);
        }
    }

    #[test]
    fn methods_that_nobody_knows_do_not_become_names() {
        assert_eq!(method("GET"), ("GET", None));
        assert_eq!(method("get"), ("_OTHER", Some("get")));
        assert_eq!((name_of("_OTHER"), name_of("PUT")), ("HTTP", "PUT"));
    }
}
