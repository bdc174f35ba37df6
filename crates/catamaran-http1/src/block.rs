//! The field lines of a head, and the facts that framing is decided from.
//!
//! ```text
//! name ":" OWS value OWS CRLF      any number of times
//! CRLF
//! ```

use crate::byte_class::{is_all_token, token_len, value_len};
use crate::error::FieldError;
use crate::field::{Field, FieldId};
use crate::{Limits, Span, Version};

/// What a head begins with and how far it has been read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The first line is not whole.
    #[default]
    FirstLine,
    /// Field lines are being read.
    Fields,
    /// The head is whole or refused: the next call begins a new one.
    Done,
}

/// Field lines as they are read, and where reading stopped.
#[derive(Debug, Default)]
pub(crate) struct Block {
    pub(crate) fields: Vec<Field>,
    pub(crate) facts: Facts,
    pub(crate) stage: Stage,
    /// Offset of the first line that is not whole.
    pub(crate) at: usize,
    /// How many bytes have been searched for the end of a line.
    seen: usize,
}

/// What the fields of one head say about connection and framing.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) host: Occurrence,
    pub(crate) content_length: Occurrence,
    pub(crate) transfer_encoding: Occurrence,
    pub(crate) expect: Occurrence,
    pub(crate) upgrade: Occurrence,
    pub(crate) keep_alive: Occurrence,
    pub(crate) te_trailers: bool,
    pub(crate) connection: ConnectionOptions,
}

/// How often a field stands in a head, and the value of the first.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Occurrence {
    pub(crate) value: Span,
    pub(crate) count: u32,
}

/// The options of all `Connection` fields.
#[derive(Debug, Default)]
pub(crate) struct ConnectionOptions {
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    pub(crate) upgrade: bool,
    /// Options that may name a field, of which the first `named_count` are set.
    named: [Span; MAX_NAMED],
    named_count: usize,
}

/// What a line of the block was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Field,
    /// The empty line.
    End,
    Partial,
}

impl Occurrence {
    /// The value, if the field stands in the head at all.
    pub(crate) fn first(self) -> Option<Span> {
        (self.count > 0).then_some(self.value)
    }

    fn record(&mut self, value: Span) {
        if self.count == 0 {
            self.value = value;
        }
        self.count = self.count.saturating_add(1);
    }
}

impl Block {
    /// Forgets the head, keeping the memory.
    pub(crate) fn reset(&mut self) {
        self.fields.clear();
        self.facts = Facts::default();
        self.stage = Stage::FirstLine;
        self.at = 0;
        self.seen = 0;
    }

    /// Whether the bytes that came since the last call cannot have ended a line, so that reading
    /// again would be in vain. Keeps a head that arrives byte by byte from costing its square.
    pub(crate) fn is_stalled(&mut self, view: &[u8], limits: &Limits) -> bool {
        let seen = self.seen.min(view.len());
        self.seen = view.len();
        seen > 0
            && view.len() < limits.head_bytes()
            && memchr::memchr(b'\n', &view[seen..]).is_none()
    }

    /// Reads field lines up to the empty one. Returns whether that was reached.
    pub(crate) fn read_fields(&mut self, view: &[u8], limits: &Limits) -> Result<bool, FieldError> {
        loop {
            match self.read_line(view)? {
                Line::End => return Ok(true),
                Line::Partial if view.len() >= limits.head_bytes() => {
                    return Err(FieldError::TooLarge);
                }
                Line::Partial => return Ok(false),
                Line::Field if self.fields.len() > limits.max_fields => {
                    return Err(FieldError::TooManyFields);
                }
                Line::Field => {}
            }
        }
    }

    fn read_line(&mut self, view: &[u8]) -> Result<Line, FieldError> {
        let start = self.at;
        let Some(name_len) = token_len(&view[start..]) else {
            return Ok(Line::Partial);
        };
        let colon = start + name_len;
        if name_len == 0 || view[colon] != b':' {
            return self.end_or_refuse(view, colon, name_len);
        }
        let mut value_start = colon + 1;
        while let Some(b' ' | b'\t') = view.get(value_start) {
            value_start += 1;
        }
        let Some(value_len) = value_len(&view[value_start..]) else {
            return Ok(Line::Partial);
        };
        let cr = value_start + value_len;
        match (view[cr], view.get(cr + 1)) {
            (b'\r', Some(b'\n')) => {}
            (b'\r', None) => return Ok(Line::Partial),
            (b'\r', Some(_)) => return Err(FieldError::BareCr),
            (b'\n', _) => return Err(FieldError::BareLf),
            _ => return Err(FieldError::ValueInvalid),
        }
        let mut value_end = cr;
        while value_end > value_start && matches!(view[value_end - 1], b' ' | b'\t') {
            value_end -= 1;
        }
        let name = Span::new(start, colon);
        let id = FieldId::from_name(name.of(view));
        let field = Field {
            name,
            value: Span::new(value_start, value_end),
            id,
            hop: id.is_hop_by_hop(),
            plain: value_end == cr && value_start == colon + 2 && view[colon + 1] == b' ',
        };
        self.fields.push(field);
        if id != FieldId::Other {
            self.facts.record(view, field)?;
        }
        self.at = cr + 2;
        Ok(Line::Field)
    }

    /// Reads a line that does not begin with `name:`, which may only be the empty line.
    fn end_or_refuse(
        &mut self,
        view: &[u8],
        at: usize,
        name_len: usize,
    ) -> Result<Line, FieldError> {
        match (view[at], name_len) {
            (b'\r', 0) => match view.get(at + 1) {
                Some(b'\n') => {
                    self.at = at + 2;
                    Ok(Line::End)
                }
                None => Ok(Line::Partial),
                Some(_) => Err(FieldError::BareCr),
            },
            (b'\n', _) => Err(FieldError::BareLf),
            (b':', 0) => Err(FieldError::NameEmpty),
            //= https://www.rfc-editor.org/rfc/rfc9112#section-5.2
            //# A server that receives an obs-fold in a request message that is not
            //# within a "message/http" container MUST either reject the message by
            //# sending a 400 (Bad Request), preferably with a representation
            //# explaining that obsolete line folding is unacceptable, or replace
            //# each received obs-fold with one or more SP octets prior to
            //# interpreting the field value or forwarding the message downstream.
            (b' ' | b'\t', 0) => Err(FieldError::Folded),
            //= https://www.rfc-editor.org/rfc/rfc9112#section-5.1
            //# A server MUST reject, with a response status code of 400 (Bad
            //# Request), any received request message that contains whitespace
            //# between a header field name and colon.
            (b' ' | b'\t', _) => Err(FieldError::SpaceBeforeColon),
            _ => Err(FieldError::NameInvalid),
        }
    }

    /// Marks the fields that `Connection` names.
    pub(crate) fn mark_hop_by_hop(&mut self, view: &[u8]) {
        let options = &self.facts.connection;
        for option in &options.named[..options.named_count] {
            let option = option.of(view);
            //= https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1
            //# Intermediaries MUST parse a received Connection
            //# header field before a message is forwarded and, for each
            //# connection-option in this field, remove any header or trailer
            //# field(s) from the message with the same name as the
            //# connection-option, and then remove the Connection header field itself
            //# (or replace it with the intermediary's own control options for the
            //# forwarded message).
            for field in &mut self.fields {
                if field.name.len() == option.len()
                    && field.name.of(view).eq_ignore_ascii_case(option)
                {
                    field.hop = true;
                }
            }
        }
    }
}

impl Facts {
    /// Whether the connection outlives the message, as far as its fields say (RFC 9112 §9.3).
    pub(crate) fn keeps_alive(&self, version: Version) -> bool {
        match version {
            Version::Http11 => !self.connection.close,
            Version::Http10 => !self.connection.close && self.connection.keep_alive,
        }
    }

    fn record(&mut self, view: &[u8], field: Field) -> Result<(), FieldError> {
        match field.id {
            FieldId::Host => self.host.record(field.value),
            FieldId::ContentLength => self.content_length.record(field.value),
            FieldId::TransferEncoding => self.transfer_encoding.record(field.value),
            FieldId::Expect => self.expect.record(field.value),
            FieldId::Upgrade => self.upgrade.record(field.value),
            FieldId::KeepAlive => self.keep_alive.record(field.value),
            FieldId::Te => self.te_trailers |= accepts_trailers(field.value.of(view)),
            FieldId::Connection => self.connection.record(view, field.value)?,
            _ => {}
        }
        Ok(())
    }
}

impl ConnectionOptions {
    /// Whether no option names a field that is not hop-by-hop by itself.
    pub(crate) fn names_no_field(&self) -> bool {
        self.named_count == 0
    }

    fn record(&mut self, view: &[u8], value: Span) -> Result<(), FieldError> {
        // What nearly all clients and servers send needs no list.
        match value.of(view) {
            b"keep-alive" | b"Keep-Alive" => {
                self.keep_alive = true;
                return Ok(());
            }
            b"close" => {
                self.close = true;
                return Ok(());
            }
            _ => {}
        }
        let mut start = value.start();
        for member in value.of(view).split(|&byte| byte == b',') {
            let option = member.trim_ascii();
            let offset = start + (member.len() - member.trim_ascii_start().len());
            start += member.len() + 1;
            if option.is_empty() {
                continue;
            }
            if !is_all_token(option) {
                return Err(FieldError::ConnectionInvalid);
            }
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade = true;
            } else {
                let id = FieldId::from_name(option);
                if id.is_essential() {
                    return Err(FieldError::ConnectionNamesEssential);
                }
                // `TE` and its like are removed in any case, and need no place.
                if id.is_hop_by_hop() {
                    continue;
                }
                let Some(slot) = self.named.get_mut(self.named_count) else {
                    return Err(FieldError::TooManyConnectionOptions);
                };
                *slot = Span::new(offset, offset + option.len());
                self.named_count += 1;
            }
        }
        Ok(())
    }
}

/// Whether a `TE` value holds `trailers`.
fn accepts_trailers(value: &[u8]) -> bool {
    value
        .split(|&byte| byte == b',')
        .any(|member| member.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// Connection options besides `close`, `keep-alive` and `upgrade` that are looked at. Chosen: real
/// messages have one or two, and each costs a pass over the fields.
const MAX_NAMED: usize = 16;
