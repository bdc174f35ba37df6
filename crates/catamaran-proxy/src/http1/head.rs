//! Reading the head of a request.

use super::Client;
use crate::state::Frontend;
use crate::worker::Worker;
use catamaran_http1::{Limits, Parsed, RequestError, RequestHead};
use std::future::poll_fn;
use std::task::Poll;

/// Why there is no head.
#[derive(Debug)]
pub(super) enum HeadEnd {
    /// The client closed or broke the connection.
    Closed {
        /// Whether some of it had come.
        is_begun: bool,
    },
    /// The head's time is over.
    Late {
        /// Whether some of it had come.
        is_begun: bool,
    },
    /// It is malformed, ambiguous or too large.
    Malformed(RequestError),
}

/// Reads until the head is whole. Its time runs from its first byte to its last.
pub(super) async fn read(
    worker: &Worker,
    frontend: &Frontend,
    client: &mut Client,
    head: &mut RequestHead,
) -> Result<(), HeadEnd> {
    let limits = Limits {
        max_head_bytes: frontend.model.http.max_head_bytes,
        max_fields: frontend.model.http.max_fields,
    };
    if client.input.capacity() == 0 {
        client.input = worker.buffers.small();
    }
    let mut is_timed = false;
    loop {
        if !client.input.is_empty() {
            match head.parse(client.input.bytes(), &limits) {
                Ok(Parsed::Complete) => return Ok(()),
                Ok(Parsed::Partial) => {}
                Err(error) => return Err(HeadEnd::Malformed(error)),
            }
            if !is_timed {
                is_timed = true;
                client
                    .deadline
                    .set(Worker::now() + frontend.model.timeouts.request_head);
            }
            make_room(worker, client);
        }
        let count = poll_fn(|cx| {
            if let Poll::Ready(read) = client.stream.poll_read(cx, &mut client.input) {
                return Poll::Ready(Some(read));
            }
            if client.deadline.alarm().is_some() {
                Poll::Ready(None)
            } else {
                Poll::Pending
            }
        })
        .await;
        match count {
            Some(Ok(count)) if count > 0 => {}
            Some(_) => {
                return Err(HeadEnd::Closed {
                    is_begun: !client.input.is_empty(),
                });
            }
            None => {
                return Err(HeadEnd::Late {
                    is_begun: !client.input.is_empty(),
                });
            }
        }
    }
}

/// Sees to it that there is room behind a head that is not whole. A large buffer holds the largest
/// head allowed.
fn make_room(worker: &Worker, client: &mut Client) {
    if !client.input.is_full() {
        return;
    }
    client.input.compact();
    if client.input.is_full() && client.input.capacity() < crate::io::LARGE {
        worker.buffers.grow(&mut client.input);
    }
}
