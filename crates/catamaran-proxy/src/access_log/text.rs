//! The plain formats: common log format, and lines for a person who watches.

use super::civil::Civil;
use super::{Record, decimal, display, escape};

/// Appends `host - - [date] "request" status bytes`, as Apache's `common` format.
///
/// A TCP connection has `-` for request and status.
pub(super) fn clf(record: &Record<'_>, out: &mut Vec<u8>) {
    display(record.client.ip().to_canonical(), out);
    out.extend_from_slice(b" - - [");
    Civil::from_unix_us(record.time_unix_us).clf(out);
    out.extend_from_slice(b" +0000] \"");
    match &record.http {
        Some(http) if !http.method.is_empty() => {
            escape::clf(http.method, out);
            out.push(b' ');
            escape::clf(http.logged_target(), out);
            out.push(b' ');
            escape::clf(http.version.as_bytes(), out);
        }
        _ => out.push(b'-'),
    }
    out.extend_from_slice(b"\" ");
    match record.http.and_then(|http| http.status) {
        Some(status) => decimal(u64::from(status), out),
        None => out.push(b'-'),
    }
    out.push(b' ');
    match record.bytes_out {
        0 => out.push(b'-'),
        bytes => decimal(bytes, out),
    }
}

/// Appends `12:03:04  127.0.0.1:51234 → hello (127.0.0.1:8081)  sticky`, and for HTTP the request
/// and its status. A server named by its address is written once.
pub(super) fn human(record: &Record<'_>, out: &mut Vec<u8>) {
    Civil::from_unix_us(record.time_unix_us).clock(out);
    out.extend_from_slice(b"  ");
    let client = record.client;
    display(
        std::net::SocketAddr::new(client.ip().to_canonical(), client.port()),
        out,
    );
    out.extend_from_slice(" → ".as_bytes());
    match &record.server {
        Some(server) => {
            escape::terminal(server.name, out);
            let address = server.address.to_string();
            if address != server.name {
                out.extend_from_slice(b" (");
                escape::terminal(&address, out);
                out.push(b')');
            }
            out.extend_from_slice(b"  ");
            out.extend_from_slice(server.reason.as_str().as_bytes());
        }
        None => out.extend_from_slice(b"no server"),
    }
    if let Some(http) = &record.http {
        out.extend_from_slice(b"  ");
        escape::clf(http.method, out);
        out.push(b' ');
        escape::clf(http.logged_target(), out);
        if let Some(status) = http.status {
            out.extend_from_slice(b"  ");
            decimal(u64::from(status), out);
        }
    }
}
