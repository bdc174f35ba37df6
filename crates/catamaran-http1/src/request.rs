//! Request heads (RFC 9112 §3, §5, §6).

use crate::block::{Block, Stage};
use crate::byte_class::{is_all_token, target_len, token_len};
use crate::error::FieldError;
use crate::target::{authority, is_same_authority};
use crate::version::VersionText;
use crate::{
    BodyFraming, Field, FieldId, Limits, Method, Parsed, RequestError, RequestKind, Scheme, Span,
    Target, Version, framing,
};

/// A request head as it was received, and what it means.
///
/// Kept for the life of a connection and used for one request after the other, so that its list of
/// fields is allocated once. Everything but [`RequestHead::fields`] is set only once
/// [`RequestHead::parse`] has returned [`Parsed::Complete`].
#[derive(Debug, Default)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// Where the method stands.
    pub method_span: Span,
    /// The version of the client.
    pub version: Version,
    /// The request target.
    pub target: Target,
    /// Host and port that the request is for: the target's authority, else the `Host` field.
    pub host: Option<Span>,
    /// How the body is framed.
    pub body: BodyFraming,
    /// Whether the client wants the connection to outlive this exchange.
    pub keep_alive: bool,
    /// Whether the client waits for 100 (Continue) before it sends the body.
    pub expect_continue: bool,
    /// The value of `Upgrade`, where the client asks for an upgrade that may be passed on.
    pub upgrade: Option<Span>,
    /// Whether the client takes trailers (`TE: trailers`).
    pub te_trailers: bool,
    /// Whether trailers of the body may be sent on: not when `Connection` names a field, which then
    /// might be one of them.
    pub pass_trailers: bool,
    /// Length of the head in bytes, final empty line included.
    pub head_len: usize,
    block: Block,
}

impl RequestHead {
    /// Returns a head without fields.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the head that `buf` begins with.
    ///
    /// After [`Parsed::Partial`] call it again with the same bytes and what came after them: it
    /// goes on where it stopped. After anything else it begins anew.
    pub fn parse(&mut self, buf: &[u8], limits: &Limits) -> Result<Parsed, RequestError> {
        if self.block.stage == Stage::Done {
            self.block.reset();
        }
        let parsed = self.advance(limits.view(buf), limits);
        if parsed != Ok(Parsed::Partial) {
            self.block.stage = Stage::Done;
        }
        parsed
    }

    /// Forgets what was read, keeping the memory.
    pub fn reset(&mut self) {
        self.block.reset();
    }

    /// The fields in the order received.
    #[must_use]
    pub fn fields(&self) -> &[Field] {
        &self.block.fields
    }

    /// What the parser of the response needs to know of this request.
    #[must_use]
    pub fn kind(&self) -> RequestKind {
        RequestKind {
            head: self.method == Method::Head,
            connect: self.method == Method::Connect,
            upgrade: self.upgrade.is_some(),
        }
    }

    fn advance(&mut self, view: &[u8], limits: &Limits) -> Result<Parsed, RequestError> {
        if self.block.is_stalled(view, limits) {
            return Ok(Parsed::Partial);
        }
        if self.block.stage == Stage::FirstLine {
            let Some(end) = self.read_request_line(view)? else {
                return if view.len() >= limits.head_bytes() {
                    Err(RequestError::TargetTooLong)
                } else {
                    Ok(Parsed::Partial)
                };
            };
            self.block.at = end;
            self.block.stage = Stage::Fields;
        }
        if !self.block.read_fields(view, limits)? {
            return Ok(Parsed::Partial);
        }
        self.head_len = self.block.at;
        self.settle(view)?;
        Ok(Parsed::Complete)
    }

    /// Reads the request line. Returns the offset after it, or `None` when it is not whole.
    fn read_request_line(&mut self, view: &[u8]) -> Result<Option<usize>, RequestError> {
        //= https://www.rfc-editor.org/rfc/rfc9112#section-2.2
        //# In the interest of robustness, a server that is expecting to receive
        //# and parse a request-line SHOULD ignore at least one empty line (CRLF)
        //# received prior to the request-line.
        let start = match view {
            [b'\r', b'\n', ..] => 2,
            [] | [b'\r'] => return Ok(None),
            _ => 0,
        };
        let Some(method_len) = token_len(&view[start..]) else {
            return Ok(None);
        };
        let method_end = start + method_len;
        if method_len == 0 || view[method_end] != b' ' {
            return Err(RequestError::MethodInvalid);
        }
        let target_start = method_end + 1;
        let Some(target_len) = target_len(&view[target_start..]) else {
            return Ok(None);
        };
        let target_end = target_start + target_len;
        match view[target_end] {
            b' ' if target_len > 0 => {}
            b' ' | b'\r' | b'\n' => return Err(RequestError::LineInvalid),
            _ => return Err(RequestError::TargetInvalid),
        }
        let rest = &view[target_end + 1..];
        let (version, unspoken) = match Version::read(rest) {
            VersionText::Spoken(version) => (version, false),
            VersionText::Unspoken => (Version::Http11, true),
            VersionText::Malformed => return Err(RequestError::VersionInvalid),
            VersionText::Partial => return Ok(None),
        };
        match &rest[Version::TEXT_LEN..] {
            [b'\r', b'\n', ..] => {}
            [] | [b'\r'] => return Ok(None),
            [b'\r', ..] => return Err(FieldError::BareCr.into()),
            [b'\n', ..] => return Err(FieldError::BareLf.into()),
            _ => return Err(RequestError::VersionInvalid),
        }
        if unspoken {
            return Err(RequestError::VersionUnsupported);
        }
        self.version = version;
        self.method_span = Span::new(start, method_end);
        self.method = Method::from_token(&view[start..method_end]);
        self.target = Target::parse(self.method, Span::new(target_start, target_end), view)?;
        Ok(Some(target_end + 1 + Version::TEXT_LEN + 2))
    }

    /// Decides what the whole head means.
    fn settle(&mut self, view: &[u8]) -> Result<(), RequestError> {
        self.block.mark_hop_by_hop(view);
        self.settle_host(view)?;
        let facts = &self.block.facts;
        self.body = framing::announced(facts, self.version, view)?.unwrap_or_default();
        self.keep_alive = facts.keeps_alive(self.version);
        self.te_trailers = facts.te_trailers;
        self.pass_trailers = facts.connection.names_no_field();
        self.upgrade = self.passable_upgrade(view);
        self.settle_expect(view)
    }

    /// Finds the one host that the request is for.
    fn settle_host(&mut self, view: &[u8]) -> Result<(), RequestError> {
        let field = self.block.facts.host;
        //= https://www.rfc-editor.org/rfc/rfc9112#section-3.2
        //# A server MUST respond with a 400 (Bad Request) status code to any
        //# HTTP/1.1 request message that lacks a Host header field and to any
        //# request message that contains more than one Host header field line or
        //# a Host header field with an invalid field value.
        if field.count > 1 {
            return Err(RequestError::HostRepeated);
        }
        let Some(host) = field.first() else {
            if self.version == Version::Http11 {
                return Err(RequestError::HostMissing);
            }
            self.host = self.target.authority;
            return Ok(());
        };
        // An empty Host is refused too: an http URI without a host is invalid (RFC 9110 §4.2.1).
        if authority(host.of(view)).is_none() {
            return Err(RequestError::HostInvalid);
        }
        let Some(of_target) = self.target.authority else {
            self.host = Some(host);
            return Ok(());
        };
        // RFC 9112 §3.2.2 lets the target win; a client whose Host says otherwise is either broken
        // or hopes that somebody behind us looks at the wrong one.
        let default_port = self.target.scheme.map(|scheme| match scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        });
        if !is_same_authority(host.of(view), of_target.of(view), default_port) {
            return Err(RequestError::HostDiffers);
        }
        self.host = Some(of_target);
        Ok(())
    }

    /// The `Upgrade` value, if the request asks for one that may pass.
    ///
    /// An upgrade to another version of HTTP or to TLS would carry requests past our routes and
    /// rules, so it is ignored, as RFC 9110 §7.8 allows. So is one with a body: a server that
    /// switches before it has read the body would take the rest for the new protocol.
    fn passable_upgrade(&self, view: &[u8]) -> Option<Span> {
        let facts = &self.block.facts;
        //= https://www.rfc-editor.org/rfc/rfc9110#section-7.8
        //# A server that receives an Upgrade header field in an HTTP/1.0 request
        //# MUST ignore that Upgrade field.
        let asked = facts.connection.upgrade && facts.upgrade.count == 1;
        let has_body = !matches!(self.body, BodyFraming::None | BodyFraming::Length(0));
        if self.version == Version::Http10 || !asked || has_body {
            return None;
        }
        let value = facts.upgrade.value;
        let passable = value.of(view).split(|&byte| byte == b',').all(|protocol| {
            let mut parts = protocol.trim_ascii().splitn(2, |&byte| byte == b'/');
            let name = parts.next().unwrap_or_default();
            let bypasses = [b"h2c".as_slice(), b"h2", b"http", b"tls"]
                .iter()
                .any(|known| name.eq_ignore_ascii_case(known));
            is_all_token(name) && parts.all(is_all_token) && !bypasses
        });
        passable.then_some(value)
    }

    fn settle_expect(&mut self, view: &[u8]) -> Result<(), RequestError> {
        self.expect_continue = false;
        let expect = self.block.facts.expect;
        let Some(value) = expect.first() else {
            return Ok(());
        };
        if expect.count > 1 || !value.of(view).eq_ignore_ascii_case(b"100-continue") {
            return Err(RequestError::ExpectUnknown);
        }
        //= https://www.rfc-editor.org/rfc/rfc9110#section-10.1.1
        //# A server that receives a 100-continue expectation in an HTTP/1.0
        //# request MUST ignore that expectation.
        self.expect_continue = self.version == Version::Http11;
        if !self.expect_continue {
            for field in &mut self.block.fields {
                field.hop |= field.id == FieldId::Expect;
            }
        }
        Ok(())
    }
}

/// Whether a value that a route's rewrite puts in place of `Host` is a host with an optional port.
#[must_use]
pub fn is_valid_host(text: &[u8]) -> bool {
    authority(text).is_some()
}
