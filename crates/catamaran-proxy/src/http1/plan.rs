//! Where a request goes: limits first, then routes.

use super::deny::Refusal;
use super::{Client, mapped};
use crate::auth::Guard;
use crate::facts::Target;
use crate::outcome::Outcome;
use crate::state::Frontend;
use crate::worker::Worker;
use catamaran_core::Timestamp;
use catamaran_core::limit::RetryAfter;
use catamaran_core::model::{self, Action, IpNet};
use catamaran_core::route::{Found, RequestView, cookie, draw};
use catamaran_http1::{FieldId, Method, RequestHead, TargetForm};
use std::net::IpAddr;
use std::sync::Arc;

/// What becomes of a request.
#[derive(Debug)]
pub(super) enum Plan<'a> {
    /// It goes to a server.
    Forward(Target<'a>),
    /// The route answers by itself.
    Redirect(Target<'a>, &'a model::Redirect),
    /// The route answers by itself.
    Respond(Target<'a>, &'a model::FixedResponse),
    /// Policy refuses it.
    Deny(Refusal),
    /// It is refused.
    Refuse(Outcome, Option<RetryAfter>),
}

impl<'a> Plan<'a> {
    /// What lets the request in, if it is not refused anyway.
    pub(super) fn guard(&self) -> Option<&'a Arc<Guard>> {
        match self {
            Self::Forward(target) | Self::Redirect(target, _) | Self::Respond(target, _) => {
                target.guard
            }
            Self::Deny(_) | Self::Refuse(..) => None,
        }
    }
}

/// A request as routes see it.
#[derive(Debug)]
pub(super) struct View<'a> {
    pub(super) head: &'a RequestHead,
    pub(super) buf: &'a [u8],
    pub(super) source: IpAddr,
}

impl RequestView for View<'_> {
    fn method(&self) -> &[u8] {
        self.head.method_span.of(self.buf)
    }

    fn host(&self) -> &[u8] {
        without_port(
            self.head
                .host
                .map(|host| host.of(self.buf))
                .unwrap_or_default(),
        )
    }

    fn path(&self) -> &[u8] {
        if self.head.target.form == TargetForm::Asterisk {
            b"*"
        } else {
            self.head.target.path(self.buf)
        }
    }

    fn query(&self) -> Option<&[u8]> {
        self.head.target.query.map(|query| query.of(self.buf))
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        let fields = self.head.fields().iter();
        let mut named = fields.filter(|field| {
            field
                .name
                .of(self.buf)
                .eq_ignore_ascii_case(name.as_bytes())
        });
        named.next().map(|field| field.value.of(self.buf))
    }

    fn source(&self) -> IpAddr {
        self.source
    }

    fn cookie(&self, name: &str) -> Option<&[u8]> {
        let fields = self
            .head
            .fields()
            .iter()
            .filter(|field| field.id == FieldId::Cookie);
        fields
            .map(|field| field.value.of(self.buf))
            .find_map(|value| cookie::find(value, name))
    }
}

/// Decides what becomes of the request in `client`'s buffer.
pub(super) fn plan<'a>(
    worker: &Worker,
    frontend: &'a Frontend,
    client: &Client,
    head: &RequestHead,
    now: Timestamp,
) -> Plan<'a> {
    let buf = client.input.bytes();
    let view = View {
        head,
        buf,
        source: source(frontend, client, head),
    };
    if let Some(denial) = frontend.denies(view.source) {
        return Plan::Deny(Refusal::forbidden(denial));
    }
    if let Err((denial, wait)) = frontend.check_rate(now, view.source, |name| view.header(name)) {
        return Plan::Deny(Refusal::too_often(denial, wait));
    }
    if head.method == Method::Connect {
        return Plan::Refuse(Outcome::BadRequest(405), None);
    }
    let Ok(found) = frontend.routes.find(&view) else {
        return Plan::Refuse(Outcome::BadPath, None);
    };
    let Some(Found {
        route: index,
        prefix,
    }) = found
    else {
        return match frontend.model.backend {
            Some(id) => Plan::Forward(Target {
                backend: Some(frontend.backend(id)),
                route: None,
                prefix: "",
                guard: frontend.guard(None),
            }),
            None => Plan::Refuse(Outcome::NoRoute, None),
        };
    };
    if let Err(refusal) = check_route(frontend, index, now, &view) {
        return Plan::Deny(refusal);
    }
    let route = &frontend.model.routes[index];
    let target = |backend| Target {
        backend,
        route: Some(route),
        prefix,
        guard: frontend.guard(Some(index)),
    };
    match &route.action {
        Action::Backend(id) => Plan::Forward(target(Some(frontend.backend(*id)))),
        Action::Weighted(backends) => match worker.with_rng(|rng| draw(backends, rng)) {
            Some(id) => Plan::Forward(target(Some(frontend.backend(id)))),
            None => Plan::Refuse(Outcome::NoServer, None),
        },
        Action::Mapped(to) => match mapped::backend(frontend.map(to.map), &view) {
            Ok(said) => match said.or(to.default) {
                Some(id) => Plan::Forward(target(Some(frontend.backend(id)))),
                None => Plan::Refuse(Outcome::NoRoute, None),
            },
            Err(_) => Plan::Refuse(Outcome::BadPath, None),
        },
        Action::Refuse(denial) => Plan::Deny(Refusal::forbidden(*denial)),
        Action::Redirect(redirect) => Plan::Redirect(target(None), redirect),
        Action::Respond(response) => Plan::Respond(target(None), response),
    }
}

/// Whether the route of this index lets the request in.
fn check_route(
    frontend: &Frontend,
    route: usize,
    now: Timestamp,
    view: &View<'_>,
) -> Result<(), Refusal> {
    if let Some(denial) = frontend.route_denies(route, view.source) {
        return Err(Refusal::forbidden(denial));
    }
    frontend
        .check_route_rate(route, now, view.source, |name| view.header(name))
        .map_err(|(denial, wait)| Refusal::too_often(denial, wait))
}

/// The client's address: the peer's, or what trusted proxies say that the client's is.
///
/// Each proxy appends whom it saw to `X-Forwarded-For`, so the first address from the end that is
/// not a trusted proxy's own is the client's. What stands before it anyone could have written.
pub(super) fn source(frontend: &Frontend, client: &Client, head: &RequestHead) -> IpAddr {
    let trusted = &frontend.model.trusted_proxies;
    let mut source = client.peer.ip();
    if !is_trusted(trusted, source) {
        return source;
    }
    let buf = client.input.bytes();
    let values = head
        .fields()
        .iter()
        .rev()
        .filter(|field| field.id == FieldId::XForwardedFor);
    for element in values.flat_map(|field| field.value.of(buf).rsplit(|&byte| byte == b',')) {
        let Some(ip) = std::str::from_utf8(element.trim_ascii())
            .ok()
            .and_then(|text| text.parse().ok())
        else {
            break;
        };
        source = ip;
        if !is_trusted(trusted, source) {
            break;
        }
    }
    source.to_canonical()
}

/// Whether `ip` is a trusted proxy's.
pub(super) fn is_trusted(trusted: &[IpNet], ip: IpAddr) -> bool {
    trusted.iter().any(|net| net.contains(ip))
}

/// The host of an authority.
pub(super) fn without_port(authority: &[u8]) -> &[u8] {
    let after_bracket = authority
        .iter()
        .rposition(|&byte| byte == b']')
        .map_or(0, |at| at + 1);
    match authority[after_bracket..]
        .iter()
        .rposition(|&byte| byte == b':')
    {
        Some(at) => &authority[..after_bracket + at],
        None => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_cut_off_an_authority_but_never_a_part_of_an_ipv6_address() {
        assert_eq!(without_port(b"a.example:80"), b"a.example");
        assert_eq!(without_port(b"a.example"), b"a.example");
        assert_eq!(without_port(b"[::1]:80"), b"[::1]");
        assert_eq!(without_port(b"[::1]"), b"[::1]");
    }
}
