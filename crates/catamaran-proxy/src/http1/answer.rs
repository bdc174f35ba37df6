//! Responses of our own: errors, redirects, fixed ones.

use super::exchange::Next;
use super::{Client, Context};
use crate::io::Stream;
use crate::outcome::Outcome;
use crate::state::Frontend;
use crate::worker::{Deadline, Worker};
use catamaran_core::limit::RetryAfter;
use catamaran_core::model::{self, ErrorPage};
use catamaran_core::route::rewrite::{RequestUri, redirect_location};
use catamaran_http1::{BodyFraming, HeadWriter, Method, RequestHead, ResponseFraming, Version};
use std::future::poll_fn;
use std::task::Poll;

use super::plan::without_port;

/// Content type of the built-in bodies.
const PLAIN: &str = "text/plain; charset=utf-8";

/// A response of our own.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    pub(super) status: u16,
    content_type: &'a str,
    body: &'a [u8],
    location: Option<Vec<u8>>,
    retry_after: Option<u64>,
    allow: Option<&'static str>,
    /// What the client is asked to show.
    challenge: Option<&'a str>,
}

/// The request that is answered, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    is_head: bool,
    version: Version,
    /// Whether the connection may go on after the answer.
    keep_alive: bool,
}

impl Asked {
    /// An answer to something that is no request, after which the connection closes.
    const UNKNOWN: Self = Self {
        is_head: false,
        version: Version::Http11,
        keep_alive: false,
    };

    /// An answer to `head`, whose body lies whole in `client`'s buffer or must go unread.
    ///
    /// Returns also how many bytes of the buffer the request takes.
    pub(super) fn of(head: &RequestHead, client: &Client, is_draining: bool) -> (Self, usize) {
        // A large body has pushed the head out of the buffer, and its own end cannot be found.
        let held = client.input.len().checked_sub(head.head_len);
        let body = match head.body {
            BodyFraming::None => held.map(|_| 0),
            BodyFraming::Length(length) => usize::try_from(length)
                .ok()
                .filter(|&length| held.is_some_and(|held| length <= held)),
            BodyFraming::Chunked => None,
        };
        let asked = Self {
            is_head: head.method == Method::Head,
            version: head.version,
            keep_alive: head.keep_alive && body.is_some() && !head.expect_continue && !is_draining,
        };
        let taken = body.map_or(client.input.len(), |body| head.head_len + body);
        (asked, taken)
    }
}

impl Asked {
    /// The same, but the connection closes after the answer.
    pub(super) const fn closing(self) -> Self {
        Self {
            keep_alive: false,
            ..self
        }
    }

    /// Whether the connection may go on after the answer.
    pub(super) const fn keep_alive(self) -> bool {
        self.keep_alive
    }
}

impl<'a> Answer<'a> {
    /// The answer to an exchange that failed with `outcome`; `scratch` takes its body.
    pub(super) fn error(
        outcome: Outcome,
        pages: &'a [ErrorPage],
        retry_after: Option<RetryAfter>,
        scratch: &'a mut Vec<u8>,
    ) -> Self {
        let consequence = outcome.consequence();
        let status = consequence.status;
        let page = pages.iter().find(|page| page.status == status);
        let (content_type, body): (&str, &[u8]) = match page {
            Some(page) => (&page.content_type, &page.body),
            None => {
                scratch.clear();
                let sentence = outcome.sentence();
                let text = format!(
                    "{status} {}: {sentence} ({})\n",
                    reason(status),
                    consequence.label
                );
                scratch.extend_from_slice(text.as_bytes());
                (PLAIN, scratch)
            }
        };
        Self {
            status,
            content_type,
            body,
            location: None,
            retry_after: retry_after.map(RetryAfter::as_whole_seconds),
            allow: (status == 405).then_some("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE"),
            challenge: None,
        }
    }

    /// The same, asking the client to show who it is.
    pub(super) fn asking(self, challenge: &'a str) -> Self {
        Self {
            challenge: Some(challenge),
            ..self
        }
    }

    /// A route's fixed answer.
    pub(super) fn fixed(response: &'a model::FixedResponse) -> Self {
        Self {
            status: response.status,
            content_type: &response.content_type,
            body: &response.body,
            location: None,
            retry_after: None,
            allow: None,
            challenge: None,
        }
    }

    /// A route's redirect.
    pub(super) fn redirect(
        redirect: &model::Redirect,
        prefix: &str,
        head: &RequestHead,
        buf: &[u8],
    ) -> Self {
        let authority = head.host.map(|host| host.of(buf)).unwrap_or_default();
        let host = without_port(authority);
        let port = authority
            .get(host.len() + 1..)
            .and_then(|port| std::str::from_utf8(port).ok()?.parse().ok());
        let uri = RequestUri {
            scheme: "http",
            host,
            port,
            path: head.target.path(buf),
            query: head.target.query.map(|query| query.of(buf)),
        };
        let mut location = Vec::new();
        redirect_location(redirect, &uri, prefix, &mut location);
        Self {
            status: redirect.status,
            content_type: PLAIN,
            body: b"",
            location: Some(location),
            retry_after: None,
            allow: None,
            challenge: None,
        }
    }

    /// Writes the whole response into `out`.
    pub(super) fn write(&self, asked: Asked, out: &mut Vec<u8>) {
        out.clear();
        let mut writer = HeadWriter::status(out, self.status, reason(self.status).as_bytes());
        let has_body = self.status != 204 && self.status != 304;
        if has_body && !self.body.is_empty() {
            writer.field(b"Content-Type", self.content_type.as_bytes());
        }
        if let Some(location) = &self.location {
            writer.field(b"Location", location);
        }
        if let Some(seconds) = self.retry_after {
            writer.field(b"Retry-After", seconds.to_string().as_bytes());
        }
        if let Some(allow) = self.allow {
            writer.field(b"Allow", allow.as_bytes());
        }
        if let Some(challenge) = self.challenge {
            writer.field(b"WWW-Authenticate", challenge.as_bytes());
        }
        if self.status >= 400 {
            writer.field(b"Cache-Control", b"no-store");
        }
        if has_body {
            writer.response_framing(ResponseFraming::Length(self.body.len() as u64), None);
        }
        match (asked.keep_alive, asked.version) {
            (false, _) => writer.connection_close(),
            (true, Version::Http10) => writer.connection_keep_alive(),
            (true, Version::Http11) => {}
        }
        writer.end();
        if has_body && !asked.is_head {
            out.extend_from_slice(self.body);
        }
    }
}

/// Sends the bytes of `out`; false if the client does not take them before its deadline.
pub(super) async fn send(stream: &Stream, deadline: &Deadline, out: &[u8]) -> bool {
    let mut sent = 0;
    poll_fn(|cx| {
        while sent < out.len() {
            match stream.poll_write(cx, &out[sent..]) {
                Poll::Ready(Ok(count)) if count > 0 => sent += count,
                Poll::Ready(_) => return Poll::Ready(false),
                Poll::Pending if deadline.alarm().is_some() => return Poll::Ready(false),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(true)
    })
    .await
}

/// Answers what is no acceptable request, and has the connection closed.
pub(super) async fn refuse(
    worker: &Worker,
    frontend: &Frontend,
    client: &Client,
    outcome: Outcome,
) -> Next {
    let mut context = Context::default();
    let answer = Answer::error(
        outcome,
        &frontend.model.error_pages,
        None,
        &mut context.scratch,
    );
    let status = answer.status;
    answer.write(Asked::UNKNOWN, &mut context.to_client);
    client
        .deadline
        .set(Worker::now() + frontend.model.timeouts.body);
    let is_sent = send(&client.stream, &client.deadline, &context.to_client).await;
    let metrics = frontend.counters(worker.index);
    metrics.status(status);
    metrics.end(outcome, 0);
    let sent = (Some(status), context.to_client.len());
    super::log::refused(worker, frontend, client, sent, outcome);
    if is_sent { Next::Close } else { Next::End }
}

/// The reason phrase of a status.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        410 => "Gone",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}
