//! Response heads (RFC 9112 §4, §5, §6).

use std::time::Duration;

use crate::block::{Block, Stage};
use crate::byte_class::value_len;
use crate::error::FieldError;
use crate::version::VersionText;
use crate::{
    BodyFraming, Field, FieldId, Limits, Parsed, ResponseError, ResponseFraming, Span, Version,
    framing,
};

/// What must be known of a request to tell where its response ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestKind {
    /// The method was HEAD.
    pub head: bool,
    /// The method was CONNECT.
    pub connect: bool,
    /// The request sent on asked for an upgrade, so that 101 may be the answer.
    pub upgrade: bool,
}

/// A response head as it was received, and what it means.
///
/// Kept and used again like [`crate::RequestHead`].
#[derive(Debug, Default)]
pub struct ResponseHead {
    /// The version of the server.
    pub version: Version,
    /// The status, 100 to 999.
    pub status: u16,
    /// The reason phrase, often empty.
    pub reason: Span,
    /// How the body is framed.
    pub body: ResponseFraming,
    /// `Content-Length` where there is no body that it could frame: in answers to HEAD and in 304.
    pub announced_length: Option<u64>,
    /// Whether the connection to the server may serve another exchange after this one.
    pub keep_alive: bool,
    /// How long the server keeps an idle connection (`Keep-Alive: timeout=5`), if it says so.
    pub keep_alive_timeout: Option<Duration>,
    /// The protocol switched to, with 101.
    pub upgrade: Option<Span>,
    /// Whether what follows the head belongs to a tunnel: 101, and 2xx to CONNECT.
    pub tunnel: bool,
    /// Whether trailers may be sent on: not when `Connection` names a field, which then might be
    /// one of them.
    pub pass_trailers: bool,
    /// Length of the head in bytes, final empty line included.
    pub head_len: usize,
    block: Block,
}

impl ResponseHead {
    /// Returns a head without fields.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the head that `buf` begins with, an answer to a request of the given kind.
    ///
    /// After [`Parsed::Partial`] call it again with the same bytes and what came after them. After
    /// anything else it begins anew.
    pub fn parse(
        &mut self,
        buf: &[u8],
        limits: &Limits,
        request: RequestKind,
    ) -> Result<Parsed, ResponseError> {
        if self.block.stage == Stage::Done {
            self.block.reset();
        }
        let parsed = self.advance(limits.view(buf), limits, request);
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

    /// Whether another response to the same request follows: any 1xx but 101.
    #[must_use]
    pub fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }

    fn advance(
        &mut self,
        view: &[u8],
        limits: &Limits,
        request: RequestKind,
    ) -> Result<Parsed, ResponseError> {
        if self.block.is_stalled(view, limits) {
            return Ok(Parsed::Partial);
        }
        if self.block.stage == Stage::FirstLine {
            let Some(end) = self.read_status_line(view)? else {
                return if view.len() >= limits.head_bytes() {
                    Err(FieldError::TooLarge.into())
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
        self.settle(view, request)?;
        Ok(Parsed::Complete)
    }

    /// Reads the status line. Returns the offset after it, or `None` when it is not whole.
    fn read_status_line(&mut self, view: &[u8]) -> Result<Option<usize>, ResponseError> {
        let version = match Version::read(view) {
            VersionText::Spoken(version) => version,
            VersionText::Unspoken => return Err(ResponseError::VersionUnsupported),
            VersionText::Malformed => return Err(ResponseError::VersionInvalid),
            VersionText::Partial => return Ok(None),
        };
        let rest = &view[Version::TEXT_LEN..];
        for (index, &byte) in rest.iter().take(4).enumerate() {
            match index {
                0 if byte != b' ' => return Err(ResponseError::LineInvalid),
                1 if !matches!(byte, b'1'..=b'9') => return Err(ResponseError::StatusInvalid),
                2 | 3 if !byte.is_ascii_digit() => return Err(ResponseError::StatusInvalid),
                _ => {}
            }
        }
        let Some(digits) = rest.get(1..4) else {
            return Ok(None);
        };
        let status = digits
            .iter()
            .fold(0, |status, digit| status * 10 + u16::from(digit - b'0'));
        // The space after the status is required even before an empty reason, yet some servers
        // leave it out; no other reading of the line is possible.
        let after = Version::TEXT_LEN + 4;
        let reason_start = match view.get(after) {
            Some(b' ') => after + 1,
            Some(b'\r') => after,
            Some(b'\n') => return Err(FieldError::BareLf.into()),
            Some(_) => return Err(ResponseError::StatusInvalid),
            None => return Ok(None),
        };
        let Some(reason_len) = value_len(&view[reason_start..]) else {
            return Ok(None);
        };
        let cr = reason_start + reason_len;
        match (view[cr], view.get(cr + 1)) {
            (b'\r', Some(b'\n')) => {}
            (b'\r', None) => return Ok(None),
            (b'\r', Some(_)) => return Err(FieldError::BareCr.into()),
            (b'\n', _) => return Err(FieldError::BareLf.into()),
            _ => return Err(ResponseError::LineInvalid),
        }
        self.version = version;
        self.status = status;
        self.reason = Span::new(reason_start, cr);
        Ok(Some(cr + 2))
    }

    /// Decides what the whole head means.
    fn settle(&mut self, view: &[u8], request: RequestKind) -> Result<(), ResponseError> {
        self.block.mark_hop_by_hop(view);
        let facts = &self.block.facts;
        self.keep_alive = facts.keeps_alive(self.version);
        self.keep_alive_timeout = facts
            .keep_alive
            .first()
            .and_then(|value| idle_timeout(value.of(view)));
        self.pass_trailers = facts.connection.names_no_field();
        self.upgrade = None;
        self.announced_length = None;
        self.tunnel = self.status == 101 || (request.connect && self.status / 100 == 2);
        if self.status == 101 {
            self.settle_switch(request)?;
        }
        //= https://www.rfc-editor.org/rfc/rfc9112#section-6.3
        //# A client MUST ignore any
        //# Content-Length or Transfer-Encoding header fields received in
        //# such a message.
        let announced = if self.tunnel && self.status != 101 {
            None
        } else {
            framing::announced(&self.block.facts, self.version, view)?
        };
        self.settle_body(announced, request)
    }

    fn settle_switch(&mut self, request: RequestKind) -> Result<(), ResponseError> {
        let facts = &self.block.facts;
        //= https://www.rfc-editor.org/rfc/rfc9110#section-7.8
        //# A server MUST NOT switch to a protocol that was not indicated by the
        //# client in the corresponding request's Upgrade header field.
        if !request.upgrade || !facts.connection.upgrade || facts.upgrade.count != 1 {
            return Err(ResponseError::SwitchUnexpected);
        }
        self.upgrade = facts.upgrade.first();
        Ok(())
    }

    /// Decides where the body ends (RFC 9112 §6.3, rules 1 to 8).
    fn settle_body(
        &mut self,
        announced: Option<BodyFraming>,
        request: RequestKind,
    ) -> Result<(), ResponseError> {
        let has_content = !matches!(announced, None | Some(BodyFraming::Length(0)));
        //= https://www.rfc-editor.org/rfc/rfc9112#section-6.3
        //# Any response to a HEAD request and any response with a 1xx
        //# (Informational), 204 (No Content), or 304 (Not Modified) status
        //# code is always terminated by the first empty line after the
        //# header fields, regardless of the header fields present in the
        //# message, and thus cannot contain a message body or trailer
        //# section.
        self.body = match self.status {
            100..=199 if has_content => return Err(ResponseError::InterimBody),
            100..=199 => ResponseFraming::None,
            //= https://www.rfc-editor.org/rfc/rfc9112#section-6.3
            //# Any 2xx (Successful) response to a CONNECT request implies that
            //# the connection will become a tunnel immediately after the empty
            //# line that concludes the header fields.
            _ if self.tunnel => ResponseFraming::None,
            204 => {
                // A server that announces content here may well send it: what follows is no
                // response, so nothing more is read from this connection.
                self.keep_alive &= !has_content;
                ResponseFraming::None
            }
            304 => self.without_body(announced),
            _ if request.head => self.without_body(announced),
            _ => announced.map_or(ResponseFraming::UntilClose, ResponseFraming::from),
        };
        if self.body == ResponseFraming::UntilClose || self.tunnel {
            self.keep_alive = false;
        }
        Ok(())
    }

    fn without_body(&mut self, announced: Option<BodyFraming>) -> ResponseFraming {
        if let Some(BodyFraming::Length(length)) = announced {
            self.announced_length = Some(length);
        }
        ResponseFraming::None
    }

    /// Whether a field of the response is written anew by [`crate::HeadWriter`] or ends here.
    pub(crate) fn is_copied(field: &Field) -> bool {
        !field.hop && field.id != FieldId::ContentLength
    }
}

/// Reads `timeout` of a `Keep-Alive` value (RFC 2068 §19.7.1.1), in seconds. Anything odd counts
/// as not said: the field is a hint.
fn idle_timeout(value: &[u8]) -> Option<Duration> {
    value.split(|&byte| byte == b',').find_map(|parameter| {
        let mut parts = parameter.splitn(2, |&byte| byte == b'=');
        let name = parts.next()?.trim_ascii();
        let digits = parts.next()?.trim_ascii();
        let plausible = (1..=9).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
        if !name.eq_ignore_ascii_case(b"timeout") || !plausible {
            return None;
        }
        let seconds = digits
            .iter()
            .fold(0, |seconds, digit| seconds * 10 + u64::from(digit - b'0'));
        Some(Duration::from_secs(seconds))
    })
}
