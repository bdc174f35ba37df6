//! The lines of HAProxy's `option httplog` and `option tcplog` (manual §8.2.3 and §8.2.2).
//!
//! ```text
//! http: %ci:%cp [%tr] %ft %b/%s %TR/%Tw/%Tc/%Tr/%Ta %ST %B %CC %CS %tsc %ac/%fc/%bc/%sc/%rc %sq/%bq "%r"
//! tcp:  %ci:%cp [%t] %ft %b/%s %Tw/%Tc/%Tt %B %ts %ac/%fc/%bc/%sc/%rc %sq/%bq
//! ```
//!
//! Nothing is captured, so cookies are `-` and header lists are left out, as HAProxy does. Two
//! differences: dates are UTC where HAProxy's are local, and IPv4 clients of an IPv6 socket are
//! written as IPv4. What syslog puts before the line is the writer's.

use super::civil::Civil;
use super::{Record, decimal, display, escape, milliseconds};
use std::time::Duration;

pub(super) fn format(record: &Record<'_>, out: &mut Vec<u8>) {
    client_and_names(record, out);
    let timers = &record.timers;
    match &record.http {
        Some(http) => {
            let phases = [
                timers.request,
                timers.queue,
                timers.connect,
                timers.response,
                timers.total,
            ];
            timer_list(&phases, out);
            out.push(b' ');
            match http.status {
                Some(status) => decimal(u64::from(status), out),
                None => out.extend_from_slice(b"-1"),
            }
        }
        None => timer_list(&[timers.queue, timers.connect, timers.total], out),
    }
    out.push(b' ');
    decimal(record.bytes_out, out);
    if record.http.is_some() {
        out.extend_from_slice(b" - -");
    }
    out.push(b' ');
    out.extend_from_slice(&record.termination);
    if record.http.is_some() {
        out.extend_from_slice(b"--");
    }
    out.push(b' ');
    counts(record, out);
    if let Some(http) = &record.http {
        out.extend_from_slice(b" \"");
        if http.method.is_empty() {
            out.extend_from_slice(b"<BADREQ>");
        } else {
            escape::haproxy(http.method, out);
            out.push(b' ');
            escape::haproxy(http.logged_target(), out);
            out.push(b' ');
            escape::haproxy(http.version.as_bytes(), out);
        }
        out.push(b'"');
    }
}

fn client_and_names(record: &Record<'_>, out: &mut Vec<u8>) {
    display(record.client.ip().to_canonical(), out);
    out.push(b':');
    decimal(u64::from(record.client.port()), out);
    out.extend_from_slice(b" [");
    let date = Civil::from_unix_us(record.time_unix_us);
    date.clf(out);
    out.push(b'.');
    date.millis(out);
    out.extend_from_slice(b"] ");
    escape::haproxy_word(record.frontend, out);
    out.push(b' ');
    // Without a backend HAProxy names the frontend again.
    escape::haproxy_word(record.backend.unwrap_or(record.frontend), out);
    out.push(b'/');
    match &record.server {
        Some(server) => escape::haproxy_word(server.name, out),
        None => out.extend_from_slice(b"<NOSRV>"),
    }
    out.push(b' ');
}

fn timer_list(phases: &[Option<Duration>], out: &mut Vec<u8>) {
    for (index, phase) in phases.iter().enumerate() {
        if index > 0 {
            out.push(b'/');
        }
        match phase {
            Some(duration) => decimal(milliseconds(*duration), out),
            None => out.extend_from_slice(b"-1"),
        }
    }
}

fn counts(record: &Record<'_>, out: &mut Vec<u8>) {
    let counts = &record.counts;
    for count in [
        counts.process,
        counts.frontend,
        counts.backend,
        counts.server,
    ] {
        decimal(u64::from(count), out);
        out.push(b'/');
    }
    if counts.redispatched {
        out.push(b'+');
    }
    decimal(u64::from(counts.retries), out);
    out.push(b' ');
    decimal(u64::from(counts.server_queue), out);
    out.push(b'/');
    decimal(u64::from(counts.backend_queue), out);
}
