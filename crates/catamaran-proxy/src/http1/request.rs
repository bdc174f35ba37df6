//! The head of a request as it goes to the server, written anew from the parsed one.

use super::plan::is_trusted;
use super::{Client, Context, trace};
use crate::facts::Target;
use crate::state::Frontend;
use catamaran_core::model::{ForwardedHeaders, HeaderModifier};
use catamaran_core::route::forwarded::{Element, forwarded, x_forwarded_for};
use catamaran_core::route::rewrite::rewrite_path;
use catamaran_http1::{Field, FieldId, HeadWriter, RequestHead, TargetForm};

/// The scheme that clients of a listener without TLS use.
const SCHEME: &str = "http";

/// Writes the head into `context.to_server`.
pub(super) fn write(
    frontend: &Frontend,
    client: &Client,
    context: &mut Context,
    target: &Target<'_>,
) {
    let Context {
        request: head,
        to_server: out,
        scratch,
        asserted,
        trace,
        ..
    } = context;
    let (asserted, trace) = (asserted.as_deref(), trace.as_ref());
    let buf = client.input.bytes();
    out.clear();
    scratch.clear();
    let rewrite = target.route.and_then(|route| route.rewrite.as_ref());
    let is_rewritten = match rewrite.and_then(|rewrite| rewrite.path.as_ref()) {
        Some(modifier) if head.target.form != TargetForm::Asterisk => {
            rewrite_path(modifier, target.prefix, head.target.path(buf), scratch);
            if let Some(query) = head.target.query {
                scratch.push(b'?');
                scratch.extend_from_slice(query.of(buf));
            }
            true
        }
        _ => false,
    };
    let host = rewrite.and_then(|rewrite| rewrite.host.as_deref());
    let path = is_rewritten.then_some(scratch.as_slice());
    let mut writer = HeadWriter::request(out, head, buf, path, host.map(str::as_bytes));
    let forwarding = Forwarding {
        frontend,
        client,
        head,
    };
    let changes = target
        .route
        .map(|route| &route.request_headers)
        .filter(|changes| !changes.is_empty());
    match (changes, asserted, trace) {
        (None, None, None) => writer.request_fields(head, buf, |field| forwarding.keeps(field.id)),
        _ => {
            let is_touched = |name| {
                let mut both = changes.into_iter().chain(asserted);
                both.any(|changes| touches(changes, name))
                    || trace.is_some() && trace::is_ours(name)
            };
            let keep =
                |field: &Field| forwarding.keeps(field.id) && !is_touched(field.name.of(buf));
            writer.request_fields(head, buf, keep);
        }
    }
    forwarding.write(&mut writer, scratch, changes);
    if let Some(trace) = trace {
        let wanted = |name: &[u8]| changes.is_none_or(|changes| !touches(changes, name));
        trace::write(trace, &mut writer, (head, buf), scratch, wanted);
    }
    for changes in changes.into_iter().chain(asserted) {
        write_changes(&mut writer, changes);
    }
    if let Some(protocols) = head.upgrade {
        writer.upgrade(protocols.of(buf));
    }
    if head.te_trailers && head.upgrade.is_none() {
        writer.te_trailers();
    }
    writer.request_framing(head.body);
    writer.end();
}

/// Whether `changes` remove or replace the field of this name.
pub(super) fn touches(changes: &HeaderModifier, name: &[u8]) -> bool {
    let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
    changes.remove.iter().any(|removed| is(removed)) || changes.set.iter().any(|(set, _)| is(set))
}

/// Writes what `changes` set and add.
pub(super) fn write_changes(writer: &mut HeadWriter<'_>, changes: &HeaderModifier) {
    for (name, value) in changes.set.iter().chain(&changes.add) {
        writer.field(name.as_bytes(), value.as_bytes());
    }
}

/// What is told to servers of the client.
pub(super) struct Forwarding<'a> {
    pub(super) frontend: &'a Frontend,
    pub(super) client: &'a Client,
    pub(super) head: &'a RequestHead,
}

impl Forwarding<'_> {
    fn trusts_client(&self) -> bool {
        let trusted = &self.frontend.model.trusted_proxies;
        !trusted.is_empty() && is_trusted(trusted, self.client.peer.ip())
    }

    /// Whether a field of the client's is copied: fields that we write, or that only a trusted
    /// proxy may say, are not.
    pub(super) fn keeps(&self, id: FieldId) -> bool {
        use ForwardedHeaders::{Both, Forwarded, Off, XForwarded};
        let mode = self.frontend.model.forwarded;
        match id {
            FieldId::XForwardedFor => self.trusts_client() && matches!(mode, Off | Forwarded),
            FieldId::Forwarded => self.trusts_client() && matches!(mode, Off | XForwarded),
            FieldId::XForwardedProto | FieldId::XForwardedHost => {
                self.trusts_client() && matches!(mode, Off | Forwarded | XForwarded | Both)
            }
            _ => true,
        }
    }

    pub(super) fn write(
        &self,
        writer: &mut HeadWriter<'_>,
        scratch: &mut Vec<u8>,
        changes: Option<&HeaderModifier>,
    ) {
        let mode = self.frontend.model.forwarded;
        let wanted = |name: &str| changes.is_none_or(|changes| !touches(changes, name.as_bytes()));
        if matches!(mode, ForwardedHeaders::XForwarded | ForwardedHeaders::Both) {
            if wanted("x-forwarded-for") {
                if self.trusts_client() {
                    scratch.clear();
                    let said = self.said(FieldId::XForwardedFor);
                    x_forwarded_for(said, self.client.peer.ip(), scratch);
                    writer.field(b"X-Forwarded-For", scratch);
                } else {
                    writer.field(b"X-Forwarded-For", self.client.peer_text.as_bytes());
                }
            }
            if wanted("x-forwarded-proto") && self.said(FieldId::XForwardedProto).next().is_none() {
                writer.field(b"X-Forwarded-Proto", SCHEME.as_bytes());
            }
            if let Some(host) = self.head.host
                && wanted("x-forwarded-host")
                && self.said(FieldId::XForwardedHost).next().is_none()
            {
                writer.field(b"X-Forwarded-Host", host.of(self.client.input.bytes()));
            }
        }
        if matches!(mode, ForwardedHeaders::Forwarded | ForwardedHeaders::Both)
            && wanted("forwarded")
        {
            scratch.clear();
            let host = self
                .head
                .host
                .map(|host| host.of(self.client.input.bytes()));
            let element = Element {
                client: self.client.peer.ip(),
                host,
                scheme: SCHEME,
            };
            forwarded(self.said(FieldId::Forwarded), &element, scratch);
            writer.field(b"Forwarded", scratch);
        }
    }

    /// What the client says in fields of this name, if it is trusted to.
    fn said(&self, id: FieldId) -> impl Iterator<Item = &[u8]> {
        let fields = if self.trusts_client() {
            self.head.fields()
        } else {
            &[]
        };
        fields
            .iter()
            .filter(move |field| field.id == id)
            .map(|field| field.value.of(self.client.input.bytes()))
    }
}
