//! One try: the request goes out on one connection, the head of its response comes back.
//!
//! The request's body is on its way while the response is awaited, so that a server may answer
//! early and interim responses (100, 103) pass while the client still waits to send.

use super::exchange::Exchange;
use super::forward::{Terms, TryError};
use super::transfer::{Ends, TransferError};
use super::{answer, response};
use crate::io::Breakage;
use crate::outcome::Outcome;
use crate::upstream::Connection;
use crate::worker::{Alarm, Worker};
use catamaran_core::Timestamp;
use catamaran_core::retry::Failure;
use catamaran_http1::{Limits, Parsed, RequestKind, Version};
use catamaran_sys::socket::PeekResult;
use std::future::poll_fn;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// Limits of response heads: servers are trusted to be verbose, not to be endless.
const RESPONSE_LIMITS: Limits = Limits {
    max_head_bytes: 60 * 1024,
    max_fields: 256,
};
/// How long a response is waited for before a new client is watched, too. Chosen: longer than most
/// exchanges, and soon enough to spare a server the work for one who has left.
const AT_ONCE: Duration = Duration::from_millis(20);
/// Interim responses passed on per exchange.
const MAX_INTERIM: u32 = 16;

/// What the wait for a response has seen.
struct Wait {
    /// The upload can make no more progress: the server takes nothing more.
    is_upload_broken: bool,
    /// The client has ended its side or sent more, which is no reason to give up; how it is seen to
    /// break off from then on, if there is a descriptor left for that.
    settled: Option<Option<Breakage>>,
    until: Timestamp,
    /// Until when, while the client is not yet seen to leave.
    unwatched: Option<Timestamp>,
    /// Whether the task has waited, so that the time is another.
    has_waited: bool,
}

impl Wait {
    fn now(&self, worker: &Worker) -> Timestamp {
        if self.has_waited {
            worker.tick()
        } else {
            worker.time()
        }
    }
}

impl Exchange<'_> {
    /// Sends the request over `connection` and reads up to the head of the final response.
    pub(super) async fn attempt(
        &mut self,
        connection: &mut Connection,
        terms: &Terms<'_>,
    ) -> Result<(), TryError> {
        self.begin_upload(terms);
        self.context.response.reset();
        self.client.deadline.watch(connection.server.id());
        let result = self.await_response(connection, terms).await;
        self.client.deadline.watch(0);
        if result.is_err() {
            self.context.upload.release(self.worker.pools());
        }
        result
    }

    async fn await_response(
        &mut self,
        connection: &mut Connection,
        terms: &Terms<'_>,
    ) -> Result<(), TryError> {
        let began = self.worker.time();
        let mut wait = Wait {
            is_upload_broken: false,
            settled: None,
            unwatched: None,
            until: terms.until,
            has_waited: false,
        };
        self.client
            .deadline
            .set(wait.until.min(began + self.frontend.model.timeouts.body));
        let mut interim = 0;
        loop {
            poll_fn(|cx| {
                let polled = self.poll_response(cx, connection, terms, &mut wait);
                wait.has_waited |= polled.is_pending();
                polled
            })
            .await?;
            if !self.context.response.is_interim() {
                let now = self.worker.tick();
                self.facts.responded = Some(now.saturating_since(began));
                connection.server.observe(now, began);
                return Ok(());
            }
            interim += 1;
            self.facts.has_interim = true;
            if interim > MAX_INTERIM {
                return Err(TryError::Over(Outcome::BadResponse));
            }
            Box::pin(self.pass_interim(terms)).await?;
            wait.unwatched = None;
        }
    }

    fn poll_response(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut Connection,
        terms: &Terms<'_>,
        wait: &mut Wait,
    ) -> Poll<Result<(), TryError>> {
        if !self.context.upload.is_done() && !wait.is_upload_broken {
            match self.poll_upload(cx, connection) {
                Poll::Ready(Ok(())) => {
                    self.await_until(wait, terms);
                }
                // The server may have answered before it stopped taking the body.
                Poll::Ready(Err(TransferError::Write(_))) => wait.is_upload_broken = true,
                Poll::Ready(Err(error)) => {
                    return Poll::Ready(Err(TryError::Over(upload_outcome(&error))));
                }
                Poll::Pending if self.context.upload.progress => {
                    let until = Worker::now() + self.frontend.model.timeouts.body;
                    self.client.deadline.set(wait.until.min(until));
                }
                Poll::Pending => {}
            }
        }
        if let Poll::Ready(result) = self.poll_reply_head(cx, connection) {
            return Poll::Ready(result);
        }
        if self.client.deadline.alarm() == Some(Alarm::Late)
            && let Some(until) = wait.unwatched.take()
        {
            self.client.deadline.set(until);
        }
        match self.client.deadline.alarm() {
            Some(Alarm::Late) => return Poll::Ready(Err(self.late())),
            Some(Alarm::ServerDown) => {
                return Poll::Ready(Err(TryError::Server(Failure::ServerDied)));
            }
            None => {}
        }
        if self.context.upload.is_done() && wait.unwatched.is_none() {
            ready!(self.poll_client_gone(cx, wait));
            return Poll::Ready(Err(TryError::Over(Outcome::ClientGone)));
        }
        Poll::Pending
    }

    /// Whether the client has broken off. One that half-closed, or sent its next request, still wants
    /// the answer.
    fn poll_client_gone(&self, cx: &mut Context<'_>, wait: &mut Wait) -> Poll<()> {
        let stream = &self.client.stream;
        if wait.settled.is_none() {
            if let PeekResult::Error(_) = ready!(stream.poll_peek(cx)) {
                return Poll::Ready(());
            }
            wait.settled = Some(stream.breakage().ok());
        }
        match wait.settled.as_ref().and_then(Option::as_ref) {
            Some(breakage) => breakage.poll(cx),
            None => Poll::Pending,
        }
    }

    /// Sets how long the response may take, now that the request is on its way.
    ///
    /// A client that is not known to the reactor yet is entered, so that it is seen to leave, only
    /// when the response does not come at once: most do.
    fn await_until(&self, wait: &mut Wait, terms: &Terms<'_>) {
        let now = wait.now(self.worker);
        let until = wait.until.min(now + terms.backend.model.response_timeout);
        let soon = now + AT_ONCE;
        if self.client.stream.is_entered() || until <= soon {
            self.client.deadline.set(until);
        } else {
            wait.unwatched = Some(until);
            self.client.deadline.set(soon);
        }
    }

    /// Moves the request on its way.
    pub(super) fn poll_upload(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut Connection,
    ) -> Poll<Result<(), TransferError>> {
        self.context.upload.poll(
            cx,
            &mut Ends {
                pools: self.worker.pools(),
                from: &mut self.client.stream,
                input: &mut self.client.input,
                out: &mut self.context.to_server,
                to: &mut connection.stream,
            },
        )
    }

    /// Reads on until the head of a response is whole.
    fn poll_reply_head(
        &mut self,
        cx: &mut Context<'_>,
        connection: &Connection,
    ) -> Poll<Result<(), TryError>> {
        let kind = self.context.request.kind();
        loop {
            if !self.context.reply.is_empty() && self.parse_reply(kind)? {
                return Poll::Ready(Ok(()));
            }
            if ready!(connection.stream.poll_read_ready(cx)).is_err() {
                return Poll::Ready(Err(TryError::Server(Failure::Closed)));
            }
            if self.context.reply.capacity() == 0 {
                self.context.reply = self.worker.buffers.large();
            }
            match connection.stream.read_now(&mut self.context.reply) {
                Ok(Some(0)) | Err(_) => {
                    return Poll::Ready(Err(TryError::Server(Failure::Closed)));
                }
                Ok(None) if self.context.reply.is_empty() => {
                    let unused = std::mem::take(&mut self.context.reply);
                    self.worker.buffers.give_back(unused);
                }
                Ok(_) => {}
            }
        }
    }

    fn parse_reply(&mut self, kind: RequestKind) -> Result<bool, TryError> {
        match self
            .context
            .response
            .parse(self.context.reply.bytes(), &RESPONSE_LIMITS, kind)
        {
            Ok(Parsed::Complete) => Ok(true),
            Ok(Parsed::Partial) => Ok(false),
            Err(error) => {
                if let Some((server, _)) = &self.facts.server {
                    tracing::warn!(server = %server.model.name, %error, "malformed response");
                }
                Err(TryError::Over(Outcome::BadResponse))
            }
        }
    }

    /// Whose time is over.
    fn late(&self) -> TryError {
        let waits_for_client = !self.context.upload.is_done()
            && !self.context.upload.has_unsent(&self.context.to_server);
        TryError::Over(if waits_for_client {
            Outcome::RequestBodyTimeout
        } else {
            Outcome::ResponseTimeout
        })
    }

    /// Passes an interim response on, and makes ready for the next one.
    async fn pass_interim(&mut self, terms: &Terms<'_>) -> Result<(), TryError> {
        if self.context.request.version == Version::Http11 {
            response::write_interim(self.context);
            self.client
                .deadline
                .set(Worker::now() + self.frontend.model.timeouts.body);
            let out = &self.context.to_client;
            let is_sent = answer::send(&self.client.stream, &self.client.deadline, out).await;
            self.facts.bytes_out += self.context.to_client.len() as u64;
            if !is_sent {
                return Err(TryError::Over(Outcome::ClientGone));
            }
        }
        let head_len = self.context.response.head_len;
        self.context.reply.consume(head_len);
        self.context.reply.compact();
        self.context.response.reset();
        let until = Worker::now() + terms.backend.model.response_timeout;
        self.client.deadline.set(terms.until.min(until));
        Ok(())
    }
}

/// What the client is told when the body of its request failed.
pub(super) fn upload_outcome(error: &TransferError) -> Outcome {
    tracing::debug!(
        error = error as &dyn std::error::Error,
        "request body not delivered"
    );
    match error {
        TransferError::Read(_) | TransferError::Truncated => Outcome::ClientGone,
        TransferError::Malformed(_) => Outcome::BadRequestBody,
        TransferError::Write(_) => Outcome::ServerClosed,
    }
}
