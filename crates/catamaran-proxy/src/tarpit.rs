//! Keeping clients waiting that are refused, and ending them in silence.

use crate::io::Stream;
use crate::state::Frontend;
use crate::worker::{Deadline, Worker};
use std::future::poll_fn;
use std::task::Poll;

/// How a wait came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// Its time is over, or ours is.
    Over,
    /// The client has left.
    ClientGone,
    /// As many wait as may: there was none.
    Full,
}

/// Keeps a client waiting for as long as `frontend` says.
pub(crate) async fn hold(
    worker: &Worker,
    frontend: &Frontend,
    stream: &Stream,
    deadline: &Deadline,
) -> Held {
    let Some(place) = frontend.tarpit.enter(frontend.model.tarpit.max) else {
        return Held::Full;
    };
    deadline.set(Worker::now() + frontend.model.tarpit.hold);
    // What it still sends is left unread: its own kernel has to keep it.
    let mut closed = Box::pin(stream.closed());
    let held = poll_fn(|cx| {
        if deadline.alarm().is_some() || worker.is_draining.get() {
            return Poll::Ready(Held::Over);
        }
        closed.as_mut().poll(cx).map(|()| Held::ClientGone)
    })
    .await;
    drop(place);
    held
}
