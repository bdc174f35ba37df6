//! Values of the fields that tell a server who the client was.
//!
//! The caller decides whether what the client sent is believed: `before` holds the values of the
//! client's own fields of that name, in order, if it is a trusted proxy, and is empty otherwise.

use std::io::Write;
use std::net::IpAddr;

/// What one element of `Forwarded` says.
#[derive(Clone, Copy, Debug)]
pub struct Element<'a> {
    /// The client, as we see it.
    pub client: IpAddr,
    /// The `Host` that the client sent, port included.
    pub host: Option<&'a [u8]>,
    /// `http` or `https`.
    pub scheme: &'a str,
}

/// Appends a value of `X-Forwarded-For`.
pub fn x_forwarded_for<'f>(
    before: impl IntoIterator<Item = &'f [u8]>,
    client: IpAddr,
    out: &mut Vec<u8>,
) {
    append_list(before, out);
    append_display(client.to_canonical(), out);
}

/// Appends a value of `Forwarded` (RFC 7239 §4).
pub fn forwarded<'f>(
    before: impl IntoIterator<Item = &'f [u8]>,
    element: &Element<'_>,
    out: &mut Vec<u8>,
) {
    append_list(before, out);
    out.extend_from_slice(b"for=");
    match element.client.to_canonical() {
        IpAddr::V4(client) => append_display(client, out),
        // RFC 7239 §6: an IPv6 address is bracketed, and brackets are no token, hence quotes.
        IpAddr::V6(client) => append_display(format_args!("\"[{client}]\""), out),
    }
    if let Some(host) = element.host {
        out.extend_from_slice(b";host=");
        append_value(host, out);
    }
    out.extend_from_slice(b";proto=");
    out.extend_from_slice(element.scheme.as_bytes());
}

fn append_list<'f>(before: impl IntoIterator<Item = &'f [u8]>, out: &mut Vec<u8>) {
    for value in before.into_iter().map(<[u8]>::trim_ascii) {
        if !value.is_empty() {
            out.extend_from_slice(value);
            out.extend_from_slice(b", ");
        }
    }
}

fn append_display(value: impl std::fmt::Display, out: &mut Vec<u8>) {
    write!(out, "{value}").expect("writing to a Vec cannot fail");
}

/// A token as it is, anything else as quoted-string (RFC 9110 §5.6.4).
fn append_value(value: &[u8], out: &mut Vec<u8>) {
    if !value.is_empty() && value.iter().all(|&byte| is_token(byte)) {
        out.extend_from_slice(value);
        return;
    }
    out.push(b'"');
    for &byte in value {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// RFC 9110 §5.6.2.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn x(before: Option<&str>, client: &str) -> String {
        let mut out = Vec::new();
        x_forwarded_for(before.map(str::as_bytes), client.parse().unwrap(), &mut out);
        String::from_utf8(out).unwrap()
    }

    fn f(before: Option<&str>, client: &str, host: Option<&str>) -> String {
        let mut out = Vec::new();
        let element = Element {
            client: client.parse().unwrap(),
            host: host.map(str::as_bytes),
            scheme: "http",
        };
        forwarded(before.map(str::as_bytes), &element, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn an_untrusted_client_stands_alone() {
        assert_eq!(x(None, "192.0.2.1"), "192.0.2.1");
        assert_eq!(x(Some(" "), "192.0.2.1"), "192.0.2.1");
    }

    #[test]
    fn a_trusted_proxy_is_appended() {
        assert_eq!(x(Some("10.0.0.1"), "2001:db8::1"), "10.0.0.1, 2001:db8::1");
        assert_eq!(
            f(Some("for=10.0.0.1"), "192.0.2.1", None),
            "for=10.0.0.1, for=192.0.2.1;proto=http"
        );
    }

    #[test]
    fn several_fields_become_one_list() {
        let mut out = Vec::new();
        let client = "192.0.2.1".parse().unwrap();
        x_forwarded_for([&b"a, b"[..], b"c"], client, &mut out);
        assert_eq!(out, b"a, b, c, 192.0.2.1");
    }

    #[test]
    fn a_mapped_address_is_written_as_ipv4() {
        assert_eq!(x(None, "::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(
            f(None, "::ffff:192.0.2.1", None),
            "for=192.0.2.1;proto=http"
        );
    }

    #[test]
    fn what_is_no_token_is_quoted() {
        assert_eq!(
            f(None, "2001:db8::1", Some("example.com:8080")),
            "for=\"[2001:db8::1]\";host=\"example.com:8080\";proto=http"
        );
        assert_eq!(
            f(None, "192.0.2.1", Some("example.com")),
            "for=192.0.2.1;host=example.com;proto=http"
        );
        assert_eq!(
            f(None, "192.0.2.1", Some("a\";for=x")),
            "for=192.0.2.1;host=\"a\\\";for=x\";proto=http"
        );
    }
}
