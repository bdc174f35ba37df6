//! Copies of requests to other backends; their responses are thrown away.
//!
//! A copy never delays or changes the exchange it copies. A request is copied if its body is whole
//! in the buffer when it is sent on; others are counted and not copied, for holding them back or
//! reading them twice would cost the client.

use super::exchange::Exchange;
use super::request::Forwarding;
use super::trace;
use crate::facts::Target;
use crate::state::Backend;
use crate::upstream::{Ask, connect, select};
use crate::worker::{Deadline, Worker};
use catamaran_http1::{BodyFraming, BodyReader, HeadWriter};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// Time for a copy and its response.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Copies under way at most, per worker.
const MAX_UNDER_WAY: usize = 256;
/// Bytes read of a response before the connection is closed.
const MAX_RESPONSE_BYTES: usize = 1024 * 1024;

/// Sends the copies that the route wants.
pub(super) fn send(exchange: &Exchange<'_>, target: &Target<'_>) {
    let Some(route) = target.route.filter(|route| !route.mirrors.is_empty()) else {
        return;
    };
    let worker = exchange.worker;
    for mirror in &route.mirrors {
        if worker.with_rng(|rng| rng.u8(0..100)) >= mirror.percent {
            continue;
        }
        let copy = (worker.mirrors.get() < MAX_UNDER_WAY)
            .then(|| copy(exchange))
            .flatten();
        let Some(copy) = copy else {
            worker.metrics.mirrors_skipped.add_alone(1);
            continue;
        };
        let under_way = UnderWay::begin(worker);
        let backend = Arc::clone(exchange.frontend.backend(mirror.backend));
        let worker = Rc::clone(worker);
        tokio::task::spawn_local(async move {
            let deadline = worker.deadline().await;
            if exchange_copy(&worker, &backend, &deadline, &copy)
                .await
                .is_none()
            {
                worker.metrics.mirrors_failed.add_alone(1);
            }
            drop(under_way);
        });
    }
}

/// Counts a copy for as long as it is under way, however its task ends.
struct UnderWay(Rc<Worker>);

impl UnderWay {
    fn begin(worker: &Rc<Worker>) -> Self {
        worker.mirrors.set(worker.mirrors.get() + 1);
        Self(Rc::clone(worker))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.mirrors.set(self.0.mirrors.get() - 1);
    }
}

/// The request as one piece, its body with a length.
fn copy(exchange: &Exchange<'_>) -> Option<Vec<u8>> {
    let head = &exchange.context.request;
    let buf = exchange.client.input.bytes();
    let mut reader = BodyReader::new();
    reader.begin_request(head.body);
    let mut body = Vec::new();
    let mut rest = &buf[head.head_len..];
    while !reader.is_finished() {
        if rest.is_empty() {
            return None;
        }
        let step = reader.advance(rest).ok()?;
        body.extend_from_slice(&rest[step.data]);
        rest = &rest[step.consumed..];
    }
    let mut out = Vec::new();
    let mut writer = HeadWriter::request(&mut out, head, buf, None, None);
    // A copy says of the client what the request itself says, and no more.
    let forwarding = Forwarding {
        frontend: exchange.frontend,
        client: exchange.client,
        head,
    };
    let trace = exchange.context.trace.as_ref();
    writer.request_fields(head, buf, |field| {
        let is_ours = trace.is_some() && trace::is_ours(field.name.of(buf));
        forwarding.keeps(field.id) && !is_ours
    });
    let mut scratch = Vec::new();
    forwarding.write(&mut writer, &mut scratch, None);
    if let Some(trace) = trace {
        trace::write(trace, &mut writer, (head, buf), &mut scratch, |_| true);
    }
    if head.body != BodyFraming::None {
        writer.request_framing(BodyFraming::Length(body.len() as u64));
    }
    writer.connection_close();
    writer.end();
    out.extend_from_slice(&body);
    Some(out)
}

async fn exchange_copy(
    worker: &Worker,
    backend: &Arc<Backend>,
    deadline: &Deadline,
    copy: &[u8],
) -> Option<()> {
    let now = Worker::now();
    let until = now + TIMEOUT;
    let ask = Ask::default();
    let chosen = select(worker, backend, &ask, now, until, deadline, |_| {
        Poll::Pending
    })
    .await
    .ok()?;
    let server = chosen.room.server();
    let connection = connect(worker, &backend.model, server, deadline, until)
        .await
        .ok()?;
    deadline.set(until);
    if !super::answer::send(&connection.stream, deadline, copy).await {
        return None;
    }
    let mut buffer = worker.buffers.small();
    let mut read = 0;
    let answered = poll_fn(|cx| {
        while read < MAX_RESPONSE_BYTES && deadline.alarm().is_none() {
            buffer.clear();
            match connection.stream.poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(count)) if count > 0 => read += count,
                Poll::Ready(_) => break,
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready((read > 0).then_some(()))
    })
    .await;
    worker.buffers.give_back(buffer);
    answered
}
