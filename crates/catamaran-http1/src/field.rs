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
    /// A name that differs from one that frames a message or tells of the client only by `_` for
    /// `-`. Servers of the CGI family (RFC 3875 §4.1.18) cannot tell the two apart, so such a field
    /// is sent on to nobody.
    Lookalike,
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
        match (name.len(), name.first().map_or(0, |byte| byte | 0x20)) {
            (2, b't') => Self::Te.if_called(b"te", name),
            (3, b'v') => Self::Via.if_called(b"via", name),
            (4, b'd') => Self::Date.if_called(b"date", name),
            (4, b'h') => Self::Host.if_called(b"host", name),
            (6, b'c') => Self::Cookie.if_called(b"cookie", name),
            (6, b'e') => Self::Expect.if_called(b"expect", name),
            (6, b's') => Self::Server.if_called(b"server", name),
            (7, b't') => Self::Trailer.if_called(b"trailer", name),
            (7, b'u') => Self::Upgrade.if_called(b"upgrade", name),
            (9, b'f') => Self::Forwarded.if_called(b"forwarded", name),
            (10, b'c') => Self::Connection.if_called(b"connection", name),
            (10, b'k') => Self::KeepAlive.if_called(b"keep-alive", name),
            (10, b's') => Self::SetCookie.if_called(b"set-cookie", name),
            (10, b'u') => Self::UserAgent.if_called(b"user-agent", name),
            (12, b'c') => Self::ContentType.if_called(b"content-type", name),
            (14, b'c') => Self::ContentLength.if_read_as(b"content-length", name),
            (15, b'x') => Self::XForwardedFor.if_read_as(b"x-forwarded-for", name),
            (16, b'p') => Self::ProxyConnection.if_called(b"proxy-connection", name),
            (16, b'x') => Self::XForwardedHost.if_read_as(b"x-forwarded-host", name),
            (17, b't') => Self::TransferEncoding.if_read_as(b"transfer-encoding", name),
            (17, b'x') => Self::XForwardedProto.if_read_as(b"x-forwarded-proto", name),
            _ => Self::Other,
        }
    }

    /// Whether a field of this name belongs to one connection only (RFC 9110 §7.6.1), or is not
    /// sent on for what it looks like.
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
                | Self::Lookalike
                | Self::ProxyConnection
                | Self::Te
                | Self::TransferEncoding
                | Self::Upgrade
        )
    }

    /// Returns `self` if `name` is `known`. The fixed length and the missing early exit let the
    /// compiler compare all bytes at once.
    fn if_called<const LEN: usize>(self, known: &[u8; LEN], name: &[u8]) -> Self {
        let Ok(name) = <&[u8; LEN]>::try_from(name) else {
            return Self::Other;
        };
        let pairs = name.iter().zip(known);
        if pairs.fold(true, |same, (a, b)| same & a.eq_ignore_ascii_case(b)) {
            self
        } else {
            Self::Other
        }
    }

    /// Returns `self` if `name` is `known`, [`Self::Lookalike`] if it is but for `_` in place of `-`.
    fn if_read_as<const LEN: usize>(self, known: &[u8; LEN], name: &[u8]) -> Self {
        let id = self.if_called(known, name);
        if id == self || !name.contains(&b'_') {
            return id;
        }
        let is_same = |(a, b): (&u8, &u8)| a.eq_ignore_ascii_case(b) || (*a == b'_' && *b == b'-');
        if name.iter().zip(known).all(is_same) {
            Self::Lookalike
        } else {
            Self::Other
        }
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
            "content_lengty",
            "user_agent",
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

    #[test]
    fn a_name_with_underscores_for_hyphens_is_told_apart() {
        for name in ["Content_Length", "TRANSFER_ENCODING", "x_forwarded-for"] {
            let id = FieldId::from_name(name.as_bytes());
            assert_eq!(id, FieldId::Lookalike, "{name}");
            assert!(id.is_hop_by_hop());
        }
    }
}
