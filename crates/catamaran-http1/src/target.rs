//! Request targets and hosts (RFC 9112 §3.2, RFC 3986 §3.2).

use crate::byte_class::is_reg_name;
use crate::{Method, RequestError, Span};

/// The form of a request target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetForm {
    /// `/path?query`
    #[default]
    Origin,
    /// `http://host/path?query`
    Absolute,
    /// `*`, of OPTIONS
    Asterisk,
    /// `host:port`, of CONNECT
    Authority,
}

/// The scheme of an absolute-form target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `http`
    Http,
    /// `https`
    Https,
}

/// A request target, taken apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Which of the four forms it has.
    pub form: TargetForm,
    /// The scheme, in absolute form.
    pub scheme: Option<Scheme>,
    /// All of it.
    pub whole: Span,
    /// Host and port, in absolute and authority form.
    pub authority: Option<Span>,
    /// The path as received; empty in authority form and where an absolute form has none, see
    /// [`Target::path`].
    pub path: Span,
    /// What follows the first `?`, without it.
    pub query: Option<Span>,
}

impl Target {
    /// Takes the target at `whole` apart and checks that `method` allows its form.
    pub(crate) fn parse(method: Method, whole: Span, view: &[u8]) -> Result<Self, RequestError> {
        let text = whole.of(view);
        let target = Self {
            whole,
            ..Self::default()
        };
        match text {
            _ if method == Method::Connect => {
                if authority(text) != Some(Port::Given) {
                    return Err(RequestError::TargetInvalid);
                }
                Ok(Self {
                    form: TargetForm::Authority,
                    authority: Some(whole),
                    path: Span::new(whole.end(), whole.end()),
                    ..target
                })
            }
            [b'/', ..] => Ok(target.with_path(whole.start(), view)),
            b"*" if method == Method::Options => Ok(Self {
                form: TargetForm::Asterisk,
                path: whole,
                ..target
            }),
            _ => target.parse_absolute(view),
        }
    }

    /// The path, which is `/` where an absolute form has none and empty in authority form.
    #[must_use]
    pub fn path<'a>(&self, buf: &'a [u8]) -> &'a [u8] {
        if self.form == TargetForm::Absolute && self.path.is_empty() {
            return b"/";
        }
        self.path.of(buf)
    }

    /// Appends the target in the form that a server expects: origin form for origin and absolute
    /// form, the others as they are.
    pub fn write_origin_form(&self, method: Method, buf: &[u8], out: &mut Vec<u8>) {
        if self.form != TargetForm::Absolute {
            out.extend_from_slice(self.whole.of(buf));
            return;
        }
        //= https://www.rfc-editor.org/rfc/rfc9112#section-3.2.4
        //# If a proxy receives an OPTIONS request with an absolute-form of
        //# request-target in which the URI has an empty path and no query
        //# component, then the last proxy on the request chain MUST send a
        //# request-target of "*" when it forwards the request to the indicated
        //# origin server.
        if method == Method::Options && self.path.is_empty() && self.query.is_none() {
            out.push(b'*');
            return;
        }
        out.extend_from_slice(self.path(buf));
        if let Some(query) = self.query {
            out.push(b'?');
            out.extend_from_slice(query.of(buf));
        }
    }

    fn parse_absolute(self, view: &[u8]) -> Result<Self, RequestError> {
        let text = self.whole.of(view);
        let (scheme, prefix_len) = if starts_with_ignore_case(text, b"http://") {
            (Scheme::Http, 7)
        } else if starts_with_ignore_case(text, b"https://") {
            (Scheme::Https, 8)
        } else {
            return Err(RequestError::TargetInvalid);
        };
        let rest = &text[prefix_len..];
        let authority_len = rest.iter().position(|byte| matches!(byte, b'/' | b'?'));
        let authority_len = authority_len.unwrap_or(rest.len());
        // Userinfo is refused with the rest: `@` is no part of a host (RFC 9110 §4.2.4).
        if authority(&rest[..authority_len]).is_none() {
            return Err(RequestError::TargetInvalid);
        }
        let start = self.whole.start() + prefix_len;
        let path_start = start + authority_len;
        let target = Self {
            form: TargetForm::Absolute,
            scheme: Some(scheme),
            authority: Some(Span::new(start, path_start)),
            ..self
        };
        Ok(target.with_path(path_start, view))
    }

    fn with_path(self, start: usize, view: &[u8]) -> Self {
        let end = self.whole.end();
        match memchr::memchr(b'?', &view[start..end]) {
            Some(len) => Self {
                path: Span::new(start, start + len),
                query: Some(Span::new(start + len + 1, end)),
                ..self
            },
            None => Self {
                path: Span::new(start, end),
                ..self
            },
        }
    }
}

/// Whether an authority names its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    /// `host` or `host:`
    Absent,
    Given,
}

/// Checks `host [ ":" port ]` (RFC 9110 §7.2); `None` when it is not that. The host may not be
/// empty.
pub(crate) fn authority(text: &[u8]) -> Option<Port> {
    let (host, port) = split_port(text);
    let host_ok = match host {
        [b'[', address @ .., b']'] => is_ip_literal(address),
        _ => is_host_name(host),
    };
    if !host_ok {
        return None;
    }
    match port {
        None | Some([]) => Some(Port::Absent),
        Some(digits) => port_number(digits).map(|_| Port::Given),
    }
}

/// Whether two authorities name the same host and port, where a port left out is `default_port`.
/// Without a default, a port left out on one side matches any.
pub(crate) fn is_same_authority(a: &[u8], b: &[u8], default_port: Option<u16>) -> bool {
    let ((a_host, a_port), (b_host, b_port)) = (split_port(a), split_port(b));
    let a_port = a_port.and_then(port_number).or(default_port);
    let b_port = b_port.and_then(port_number).or(default_port);
    let same_port = match (a_port, b_port) {
        (Some(a), Some(b)) => a == b,
        _ => default_port.is_none(),
    };
    same_port && a_host.eq_ignore_ascii_case(b_host)
}

/// Splits at the colon before the port, which in `[::1]:80` is the one after the bracket.
fn split_port(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    let search_from = match text.first() {
        Some(b'[') => memchr::memchr(b']', text).unwrap_or(text.len()),
        _ => 0,
    };
    match memchr::memchr(b':', &text[search_from..]) {
        Some(colon) => {
            let colon = search_from + colon;
            (&text[..colon], Some(&text[colon + 1..]))
        }
        None => (text, None),
    }
}

fn port_number(digits: &[u8]) -> Option<u16> {
    if digits.is_empty() || digits.len() > 5 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits
        .iter()
        .fold(0_u32, |number, digit| number * 10 + u32::from(digit - b'0'));
    u16::try_from(number).ok()
}

/// Whether `host` is a registered name or an IPv4 address: not empty, `%` only before two digits.
fn is_host_name(host: &[u8]) -> bool {
    if host.iter().copied().all(is_reg_name) {
        return !host.is_empty();
    }
    let mut rest = host;
    loop {
        rest = match rest {
            [] => return !host.is_empty(),
            [b'%', high, low, tail @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                tail
            }
            [byte, tail @ ..] if is_reg_name(*byte) => tail,
            _ => return false,
        }
    }
}

/// Whether `address` is an IPv6 address. IPvFuture has no use and zone identifiers no meaning to
/// another host.
fn is_ip_literal(address: &[u8]) -> bool {
    std::str::from_utf8(address).is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok())
}

fn starts_with_ignore_case(text: &[u8], prefix: &[u8]) -> bool {
    text.get(..prefix.len())
        .is_some_and(|head| head.eq_ignore_ascii_case(prefix))
}
