//! Header fields and the names that mean something to a proxy.

use crate::Span;

/// One header field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The name as received.
    pub name: Span,
    /// The value without the whitespace around it.
    pub value: Span,
    /// The name, where it is one that a proxy looks for.
    pub id: FieldId,
    /// Whether the field ends here: it is hop-by-hop by its name, or `Connection` names it.
    pub hop: bool,
    /// Whether the line reads exactly `name: value\r\n`, so that it can be copied whole.
    pub(crate) plain: bool,
}

/// Field names that a proxy looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each variant is the name it stands for")]
pub enum FieldId {
    Connection,
    ContentLength,
    ContentType,
    Cookie,
    Date,
    Expect,
    Forwarded,
    Host,
    KeepAlive,
    Other,
    ProxyConnection,
    Server,
    SetCookie,
    Te,
    Trailer,
    TransferEncoding,
    Upgrade,
    UserAgent,
    Via,
    XForwardedFor,
    XForwardedHost,
    XForwardedProto,
}

impl FieldId {
    /// Names the field called `name`, in any case.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Self {
        // The length leaves one or two candidates, so that most names cost no comparison.
        match name.len() {
            2 => pick(name, &[(b"te", Self::Te)]),
            3 => pick(name, &[(b"via", Self::Via)]),
            4 => pick(name, &[(b"host", Self::Host), (b"date", Self::Date)]),
            6 => pick(
                name,
                &[
                    (b"cookie", Self::Cookie),
                    (b"expect", Self::Expect),
                    (b"server", Self::Server),
                ],
            ),
            7 => pick(
                name,
                &[(b"upgrade", Self::Upgrade), (b"trailer", Self::Trailer)],
            ),
            9 => pick(name, &[(b"forwarded", Self::Forwarded)]),
            10 => pick(
                name,
                &[
                    (b"connection", Self::Connection),
                    (b"user-agent", Self::UserAgent),
                    (b"set-cookie", Self::SetCookie),
                    (b"keep-alive", Self::KeepAlive),
                ],
            ),
            12 => pick(name, &[(b"content-type", Self::ContentType)]),
            14 => pick(name, &[(b"content-length", Self::ContentLength)]),
            15 => pick(name, &[(b"x-forwarded-for", Self::XForwardedFor)]),
            16 => pick(
                name,
                &[
                    (b"x-forwarded-host", Self::XForwardedHost),
                    (b"proxy-connection", Self::ProxyConnection),
                ],
            ),
            17 => pick(
                name,
                &[
                    (b"transfer-encoding", Self::TransferEncoding),
                    (b"x-forwarded-proto", Self::XForwardedProto),
                ],
            ),
            _ => Self::Other,
        }
    }

    /// Whether a field of this name belongs to one connection only (RFC 9110 §7.6.1).
    ///
    /// `Trailer` is not: trailers are sent on, so what announces them is too. Nor are
    /// `Proxy-Authenticate` and `Proxy-Authorization`: this proxy asks for no credentials, so they
    /// concern another one.
    #[must_use]
    pub fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Self::Connection
                | Self::KeepAlive
                | Self::ProxyConnection
                | Self::Te
                | Self::TransferEncoding
                | Self::Upgrade
        )
    }

    /// Whether a message without the field would be another message, so that `Connection` must not
    /// name it.
    pub(crate) fn is_essential(self) -> bool {
        matches!(
            self,
            Self::ContentLength | Self::Expect | Self::Host | Self::TransferEncoding
        )
    }
}

fn pick(name: &[u8], candidates: &[(&[u8], FieldId)]) -> FieldId {
    candidates
        .iter()
        .find(|(candidate, _)| name.eq_ignore_ascii_case(candidate))
        .map_or(FieldId::Other, |&(_, id)| id)
}
