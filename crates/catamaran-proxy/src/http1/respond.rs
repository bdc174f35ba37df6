//! The response on its way to the client, and the end of the exchange.

use super::attempt::upload_outcome;
use super::exchange::{Exchange, Next};
use super::forward::Terms;
use super::response::{self, Additions, After};
use super::transfer::{Ends, Retention, TransferError};
use super::upgrade;
use crate::outcome::Outcome;
use crate::upstream::{Binding, Chosen, Connection};
use crate::worker::{Alarm, Worker};
use catamaran_core::model::StickKey;
use catamaran_core::route::cookie;
use catamaran_core::{Key, idle};
use catamaran_http1::FieldId;
use std::future::poll_fn;
use std::task::{Context, Poll};

/// Sends the response whose head was read to the client.
pub(super) async fn respond(
    exchange: &mut Exchange<'_>,
    mut connection: Connection,
    chosen: Chosen,
    terms: &Terms<'_>,
) -> Next {
    if exchange.context.response.tunnel && !exchange.context.upload.is_done() {
        // What is left of the request is framed for a request: it must not go into the tunnel.
        exchange.context.upload.release(exchange.worker.pools());
        exchange.count_failure(&chosen, terms);
        return Box::pin(exchange.fail(Outcome::BadResponse, None)).await;
    }
    let status = exchange.context.response.status;
    exchange.facts.status = Some(status);
    exchange.judge(&chosen, terms);
    let cookie = exchange.affinity_cookie(&chosen, terms);
    let changes = terms
        .target
        .route
        .map(|route| &route.response_headers)
        .filter(|changes| !changes.is_empty());
    let (framing, leaving, mut after) =
        response::framing(&exchange.context.request, &exchange.context.response);
    // What the client still sends of its request has nowhere to go once the response is over.
    if !exchange.context.upload.is_done() {
        after = After::Close;
    }
    if exchange.client.is_closing(exchange.worker) {
        after = After::Close;
    }
    response::write(
        exchange.context,
        framing,
        after,
        &Additions { changes, cookie },
    );
    if exchange.context.response.tunnel {
        return Box::pin(upgrade::begin(exchange, connection, chosen, terms)).await;
    }
    let head_len = exchange.context.response.head_len;
    let body = exchange.context.response.body;
    exchange.context.reply.consume(head_len);
    exchange.context.download.reader.begin(body);
    exchange.context.download.begin(leaving, Retention::None, 0);
    let result = exchange.deliver(&mut connection, terms).await;
    exchange.context.download.release(exchange.worker.pools());
    exchange.context.upload.release(exchange.worker.pools());
    exchange.facts.bytes_out += exchange.context.download.sent_bytes;
    exchange.facts.bytes_in += exchange.context.upload.data_bytes;
    exchange.conclude(result, connection, terms, after)
}

/// Whether the response went out whole.
type Delivery = Result<(), Outcome>;

impl Exchange<'_> {
    /// Counts the response for or against the server.
    fn judge(&self, chosen: &Chosen, terms: &Terms<'_>) {
        if self.context.response.status >= 500 {
            self.count_failure(chosen, terms);
        } else {
            chosen.room.server().streak.success();
        }
    }

    /// Learns the cookie that the server set, or makes the one that binds the client to it.
    fn affinity_cookie(&self, chosen: &Chosen, terms: &Terms<'_>) -> Option<Vec<u8>> {
        let stick = terms.backend.model.stick.as_ref()?;
        let server = chosen.room.server();
        match &stick.on {
            StickKey::SourceIp | StickKey::Header(_) => None,
            StickKey::Cookie(name) => {
                let buf = self.context.reply.bytes();
                let fields = self.context.response.fields().iter();
                let mut set = fields.filter(|field| field.id == FieldId::SetCookie);
                let value = set.find_map(|field| {
                    let (found, value) = cookie::set_cookie(field.value.of(buf))?;
                    (found == name.as_bytes()).then_some(value)
                })?;
                let key = Key::of_bytes(value);
                terms
                    .backend
                    .stick_shard(key)?
                    .learn(self.worker.time(), key, server.stick_key);
                None
            }
            StickKey::InsertedCookie(name) => {
                if self.context.ask.binding == Binding::Named(server.stick_key) {
                    return None;
                }
                let mut line = Vec::new();
                cookie::insert_cookie(name, server.model.name.as_str(), &mut line);
                Some(line)
            }
        }
    }

    /// Moves the response, and what is left of the request, until the response is over.
    async fn deliver(&mut self, connection: &mut Connection, terms: &Terms<'_>) -> Delivery {
        let mut is_timed = false;
        let mut is_upload_over = self.context.upload.is_done();
        poll_fn(|cx| {
            match self.poll_download(cx, connection) {
                Poll::Ready(Ok(())) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(download_outcome(&error))),
                Poll::Pending => {}
            }
            if self.client.deadline.is_over() {
                return Poll::Ready(Err(self.late_body()));
            }
            let mut progress = self.context.download.progress;
            if !is_upload_over {
                match self.poll_upload(cx, connection) {
                    Poll::Ready(Err(error @ TransferError::Malformed(_))) => {
                        return Poll::Ready(Err(upload_outcome(&error)));
                    }
                    Poll::Ready(_) => is_upload_over = true,
                    Poll::Pending => {}
                }
                progress |= self.context.upload.progress;
            }
            if progress || !is_timed {
                // Only a response that does not go out in one piece needs a deadline.
                is_timed = true;
                self.client
                    .deadline
                    .set(Worker::now() + self.body_timeout(terms));
            } else if self.client.deadline.alarm() == Some(Alarm::Late) {
                return Poll::Ready(Err(self.late_body()));
            }
            Poll::Pending
        })
        .await
    }

    fn poll_download(
        &mut self,
        cx: &mut Context<'_>,
        connection: &mut Connection,
    ) -> Poll<Result<(), TransferError>> {
        self.context.download.poll(
            cx,
            &mut Ends {
                pools: self.worker.pools(),
                from: &mut connection.stream,
                input: &mut self.context.reply,
                out: &mut self.context.to_client,
                to: &mut self.client.stream,
            },
        )
    }

    fn body_timeout(&self, terms: &Terms<'_>) -> std::time::Duration {
        if self.context.download.has_unsent(&self.context.to_client) {
            self.frontend.model.timeouts.body
        } else {
            terms.backend.model.body_timeout
        }
    }

    fn late_body(&self) -> Outcome {
        if self.context.download.has_unsent(&self.context.to_client) {
            Outcome::ClientStalled
        } else {
            Outcome::ResponseBodyTimeout
        }
    }

    /// Keeps or closes both connections.
    fn conclude(
        &mut self,
        result: Delivery,
        connection: Connection,
        terms: &Terms<'_>,
        after: After,
    ) -> Next {
        let is_clean = self.context.reply.is_empty();
        self.worker
            .buffers
            .give_back(std::mem::take(&mut self.context.reply));
        if let Err(outcome) = result {
            self.end(outcome);
            return Next::Abort;
        }
        self.end(Outcome::Done);
        let is_upload_done = self.context.upload.is_done();
        // Bytes beyond the response belong to nobody: the connection cannot be trusted any more.
        if is_upload_done
            && is_clean
            && self.context.response.keep_alive
            && connection.server.state.takes_sticky()
        {
            let model = &terms.backend.model;
            let announced = self.context.response.keep_alive_timeout;
            let life = idle::life(model.idle_timeout, announced);
            if !life.is_zero() {
                let now = self.worker.time();
                self.worker.idle.put(connection, now, life, model.max_idle);
            }
        }
        let retained = self.context.upload.retained();
        self.client.input.consume(retained);
        self.after(if is_upload_done { after } else { After::Close })
    }
}

fn download_outcome(error: &TransferError) -> Outcome {
    tracing::debug!(
        error = error as &dyn std::error::Error,
        "response not delivered"
    );
    match error {
        TransferError::Read(_) | TransferError::Truncated | TransferError::Malformed(_) => {
            Outcome::Truncated
        }
        TransferError::Write(_) => Outcome::ClientGone,
    }
}
