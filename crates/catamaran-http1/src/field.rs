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
        // Length and first letter leave one candidate, so that most names cost no comparison.
        let (candidate, id): (&[u8], Self) =
            match (name.len(), name.first().map_or(0, |b| b | 0x20)) {
                (2, b't') => (b"te", Self::Te),
                (3, b'v') => (b"via", Self::Via),
                (4, b'd') => (b"date", Self::Date),
                (4, b'h') => (b"host", Self::Host),
                (6, b'c') => (b"cookie", Self::Cookie),
                (6, b'e') => (b"expect", Self::Expect),
                (6, b's') => (b"server", Self::Server),
                (7, b't') => (b"trailer", Self::Trailer),
                (7, b'u') => (b"upgrade", Self::Upgrade),
                (9, b'f') => (b"forwarded", Self::Forwarded),
                (10, b'c') => (b"connection", Self::Connection),
                (10, b'k') => (b"keep-alive", Self::KeepAlive),
                (10, b's') => (b"set-cookie", Self::SetCookie),
                (10, b'u') => (b"user-agent", Self::UserAgent),
                (12, b'c') => (b"content-type", Self::ContentType),
                (14, b'c') => (b"content-length", Self::ContentLength),
                (15, b'x') => (b"x-forwarded-for", Self::XForwardedFor),
                (16, b'p') => (b"proxy-connection", Self::ProxyConnection),
                (16, b'x') => (b"x-forwarded-host", Self::XForwardedHost),
                (17, b't') => (b"transfer-encoding", Self::TransferEncoding),
                (17, b'x') => (b"x-forwarded-proto", Self::XForwardedProto),
                _ => return Self::Other,
            };
        if name.eq_ignore_ascii_case(candidate) {
            id
        } else {
            Self::Other
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_in_any_case() {
        for (name, id) in [
            ("TE", FieldId::Te),
            ("via", FieldId::Via),
            ("DATE", FieldId::Date),
            ("Host", FieldId::Host),
            ("cOOKIE", FieldId::Cookie),
            ("Expect", FieldId::Expect),
            ("Server", FieldId::Server),
            ("Trailer", FieldId::Trailer),
            ("upgrade", FieldId::Upgrade),
            ("Forwarded", FieldId::Forwarded),
            ("Connection", FieldId::Connection),
            ("Keep-Alive", FieldId::KeepAlive),
            ("Set-Cookie", FieldId::SetCookie),
            ("User-Agent", FieldId::UserAgent),
            ("Content-Type", FieldId::ContentType),
            ("CONTENT-LENGTH", FieldId::ContentLength),
            ("X-Forwarded-For", FieldId::XForwardedFor),
            ("Proxy-Connection", FieldId::ProxyConnection),
            ("X-Forwarded-Host", FieldId::XForwardedHost),
            ("transfer-encoding", FieldId::TransferEncoding),
            ("X-Forwarded-Proto", FieldId::XForwardedProto),
        ] {
            assert_eq!(FieldId::from_name(name.as_bytes()), id, "{name}");
        }
        for name in [
            "",
            "x",
            "hosts",
            "hast",
            "content_length",
            "connectiom",
            "\u{14}e",
        ] {
            assert_eq!(
                FieldId::from_name(name.as_bytes()),
                FieldId::Other,
                "{name}"
            );
        }
    }
}
