//! One JSON object a line. A member whose value is unknown is left out; times end in their unit.

use super::civil::Civil;
use super::{Http, Record, decimal, display, escape, milliseconds};

pub(super) fn format(record: &Record<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"time\":\"");
    Civil::from_unix_us(record.time_unix_us).rfc3339(out);
    out.extend_from_slice(b"\",\"client\":\"");
    let client = record.client;
    display(
        std::net::SocketAddr::new(client.ip().to_canonical(), client.port()),
        out,
    );
    out.push(b'"');
    text("frontend", Some(record.frontend), out);
    text("route", record.route, out);
    text("backend", record.backend, out);
    if let Some(server) = &record.server {
        text("server", Some(server.name), out);
        text("reason", Some(server.reason.as_str()), out);
    }
    if let Some(http) = &record.http {
        request_and_status(http, out);
    }
    number("bytes_in", record.bytes_in, out);
    number("bytes_out", record.bytes_out, out);
    let timers = &record.timers;
    for (key, timer) in [
        ("request_ms", timers.request),
        ("queue_ms", timers.queue),
        ("connect_ms", timers.connect),
        ("response_ms", timers.response),
        ("total_ms", timers.total),
    ] {
        if let Some(duration) = timer {
            number(key, milliseconds(duration), out);
        }
    }
    bytes("termination", &record.termination, out);
    text("outcome", Some(record.outcome), out);
    let counts = &record.counts;
    for (key, count) in [
        ("process_connections", counts.process),
        ("frontend_connections", counts.frontend),
        ("backend_exchanges", counts.backend),
        ("server_exchanges", counts.server),
        ("retries", counts.retries),
        ("server_queue", counts.server_queue),
        ("backend_queue", counts.backend_queue),
    ] {
        number(key, u64::from(count), out);
    }
    key("redispatched", out);
    display(counts.redispatched, out);
    out.push(b'}');
}

fn request_and_status(http: &Http<'_>, out: &mut Vec<u8>) {
    bytes("method", http.method, out);
    if !http.host.is_empty() {
        bytes("host", &http.host[..http.host.len().min(MAX_HOST)], out);
    }
    bytes("target", http.logged_target(), out);
    text("version", Some(http.version), out);
    if let Some(status) = http.status {
        number("status", u64::from(status), out);
    }
    if let Some(trace) = &http.trace {
        // As OpenTelemetry names them in logs; the parts stand in `traceparent` in this order.
        let text = trace.to_bytes();
        bytes("trace_id", &text[3..35], out);
        bytes("span_id", &text[36..52], out);
        bytes("trace_flags", &text[53..], out);
    }
}

/// Bytes of a host that are logged: a name has 253 at most, and a port follows.
const MAX_HOST: usize = 260;

fn key(key: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
}

fn number(name: &str, value: u64, out: &mut Vec<u8>) {
    key(name, out);
    decimal(value, out);
}

fn text(name: &str, value: Option<&str>, out: &mut Vec<u8>) {
    if let Some(value) = value {
        bytes(name, value.as_bytes(), out);
    }
}

fn bytes(name: &str, value: &[u8], out: &mut Vec<u8>) {
    key(name, out);
    out.push(b'"');
    escape::json(value, out);
    out.push(b'"');
}
