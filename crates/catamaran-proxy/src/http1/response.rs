//! The head of a response as it goes to the client, written anew from the parsed one.

use super::Context;
use super::request::{touches, write_changes};
use super::transfer::{AtEnd, Leaving};
use catamaran_core::model::HeaderModifier;
use catamaran_http1::{Field, HeadWriter, RequestHead, ResponseFraming, ResponseHead, Version};

/// Whether the client's connection outlives the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// Another request may follow.
    KeepAlive,
    /// It is closed.
    Close,
}

/// How a response is framed for the client, and whether its connection may outlive it.
pub(super) fn framing(
    request: &RequestHead,
    response: &ResponseHead,
) -> (ResponseFraming, Leaving, After) {
    let is_modern = request.version == Version::Http11;
    let after = if request.keep_alive {
        After::KeepAlive
    } else {
        After::Close
    };
    match response.body {
        ResponseFraming::Chunked | ResponseFraming::UntilClose if is_modern => {
            let at_end = AtEnd::passing(response.pass_trailers);
            (ResponseFraming::Chunked, Leaving::Chunked(at_end), after)
        }
        // HTTP/1.0 knows no chunks: the end of the connection is the end of the body.
        ResponseFraming::Chunked | ResponseFraming::UntilClose => {
            (ResponseFraming::UntilClose, Leaving::Plain, After::Close)
        }
        body => (body, Leaving::Plain, after),
    }
}

/// What a response gets besides what the server sent.
#[derive(Debug, Default)]
pub(super) struct Additions<'a> {
    /// The route's changes.
    pub(super) changes: Option<&'a HeaderModifier>,
    /// Value of a `Set-Cookie` that binds the client to its server.
    pub(super) cookie: Option<Vec<u8>>,
}

/// Writes the head into `context.to_client`.
pub(super) fn write(
    context: &mut Context,
    framing: ResponseFraming,
    after: After,
    additions: &Additions<'_>,
) {
    let Context {
        request,
        response: head,
        reply,
        to_client: out,
        ..
    } = context;
    let buf = reply.bytes();
    out.clear();
    let mut writer = HeadWriter::response(out, head, buf);
    match additions.changes {
        None => writer.response_fields(head, buf, |_| true),
        Some(changes) => {
            writer.response_fields(head, buf, |field: &Field| {
                !touches(changes, field.name.of(buf))
            });
            write_changes(&mut writer, changes);
        }
    }
    if let Some(cookie) = &additions.cookie {
        writer.field(b"Set-Cookie", cookie);
    }
    if let Some(protocol) = head.upgrade {
        writer.upgrade(protocol.of(buf));
    }
    writer.response_framing(framing, head.announced_length);
    match (after, request.version) {
        _ if head.tunnel => {}
        (After::Close, _) => writer.connection_close(),
        (After::KeepAlive, Version::Http10) => writer.connection_keep_alive(),
        (After::KeepAlive, Version::Http11) => {}
    }
    writer.end();
}

/// Writes an interim response (1xx) into `context.to_client`.
pub(super) fn write_interim(context: &mut Context) {
    let Context {
        response: head,
        reply,
        to_client: out,
        ..
    } = context;
    let buf = reply.bytes();
    out.clear();
    let mut writer = HeadWriter::response(out, head, buf);
    writer.response_fields(head, buf, |_| true);
    writer.end();
}
