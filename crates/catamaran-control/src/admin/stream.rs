//! `GET /v1/stream`: events as they happen and the state once a second, as server-sent events
//! (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).
//!
//! Nothing is queued for a subscriber. It remembers the id of the last event that it got and reads
//! the next ones from the ring that keeps the last few anyway; of states it gets the newest when it
//! is ready for one. So a slow one misses states, and events only when more than the ring holds
//! passed by. The state is made once for all subscribers, and not at all without one.

use super::Plane;
use super::error::Refused;
use super::events::Event;
use super::extract::Asked;
use super::state::Summary;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use hyper::body::Frame;
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep};

/// What subscribers share.
#[derive(Debug)]
pub(crate) struct Streams {
    slots: Arc<Semaphore>,
    /// The newest state, as a frame.
    states: watch::Sender<Bytes>,
}

/// What a subscriber wants.
#[derive(Debug, Deserialize)]
pub(crate) struct Wanted {
    /// Events with a greater id only; all that are kept unless written.
    after: Option<u64>,
    #[serde(default)]
    only: Only,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Only {
    #[default]
    Everything,
    Events,
}

/// One who reads the stream.
struct Subscriber {
    plane: Arc<Plane>,
    /// Id of the last event sent.
    after: u64,
    news: watch::Receiver<u64>,
    /// None if it wants events only.
    states: Option<watch::Receiver<Bytes>>,
    /// Held until the client has gone.
    _slot: OwnedSemaphorePermit,
}

/// The body of the answer: one frame after the other, without end.
struct StreamBody(Pin<Box<dyn Future<Output = (Subscriber, Bytes)> + Send>>);

impl Default for Streams {
    fn default() -> Self {
        Self {
            slots: Arc::new(Semaphore::new(MAX_SUBSCRIBERS)),
            states: watch::Sender::new(Bytes::new()),
        }
    }
}

pub(crate) async fn stream(
    State(plane): State<Arc<Plane>>,
    Asked(wanted): Asked<Wanted>,
    headers: HeaderMap,
) -> Result<Response, Refused> {
    let slot = Arc::clone(&plane.streams.slots).try_acquire_owned();
    let slot = slot.map_err(|_| {
        Refused::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too-many-streams",
            format!("{MAX_SUBSCRIBERS} streams are read already; close one, or ask `/v1/state`"),
        )
    })?;
    // What a browser sends when it comes back.
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let seen = seen.and_then(|id| id.parse().ok());
    let news = plane.events.news();
    let mut after = wanted.after.or(seen).unwrap_or(0);
    if after > *news.borrow() {
        // It heard a process that is gone, whose ids say nothing of ours.
        after = 0;
    }
    let states = (wanted.only == Only::Everything).then(|| {
        let mut states = plane.streams.states.subscribe();
        states.mark_unchanged();
        states
    });
    let first = match states {
        Some(_) => state_frame(&plane),
        None => HEARTBEAT.clone(),
    };
    let subscriber = Subscriber {
        plane,
        after,
        news,
        states,
        _slot: slot,
    };
    let body = StreamBody(Box::pin(async move { (subscriber, first) }));
    let fields = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-store"),
    ];
    Ok((fields, Body::new(body)).into_response())
}

/// Makes the states as long as somebody reads them.
pub(crate) async fn publish(plane: &Plane) {
    let states = &plane.streams.states;
    loop {
        let began = Instant::now();
        if states.receiver_count() > 0 {
            states.send_replace(state_frame(plane));
        }
        // With thousands of servers a state takes long, and this thread has other duties.
        sleep((began.elapsed() * MAX_SHARE).max(INTERVAL)).await;
    }
}

impl Subscriber {
    /// The next frame, and whom it is for.
    async fn next(mut self) -> (Self, Bytes) {
        let frame = loop {
            let events = self.plane.events.after(self.after);
            if let Some(last) = events.last() {
                self.after = last.id;
                break events.iter().map(event_frame).collect::<String>().into();
            }
            tokio::select! {
                biased;
                Ok(()) = self.news.changed() => {}
                state = newest(&mut self.states) => break state,
                () = sleep(SILENCE) => break HEARTBEAT.clone(),
            }
        };
        (self, frame)
    }
}

impl hyper::body::Body for StreamBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let (subscriber, frame) = ready!(self.0.as_mut().poll(cx));
        self.0 = Box::pin(subscriber.next());
        Poll::Ready(Some(Ok(Frame::data(frame))))
    }
}

/// Waits for a state that was not seen yet.
async fn newest(states: &mut Option<watch::Receiver<Bytes>>) -> Bytes {
    if let Some(states) = states
        && states.changed().await.is_ok()
    {
        return states.borrow_and_update().clone();
    }
    std::future::pending().await
}

fn state_frame(plane: &Plane) -> Bytes {
    format!("event: state\ndata: {}\n\n", json(&Summary::of(plane))).into()
}

fn event_frame(event: &Event) -> String {
    format!("id: {}\nevent: event\ndata: {}\n\n", event.id, json(event))
}

/// On one line, as a frame wants it: JSON writes a line's end within a text as `\n`.
fn json(document: &impl Serialize) -> String {
    serde_json::to_string(document).expect("numbers, texts and lists can be written")
}

/// Streams read at once. Chosen: some dashboards, and enough left of the connections that the door
/// has for everything else.
const MAX_SUBSCRIBERS: usize = 16;
/// How often the state is sent.
const INTERVAL: Duration = Duration::from_secs(1);
/// How many times as long as a state takes to make is waited at least: it costs 5 % of this thread.
const MAX_SHARE: u32 = 20;
/// After this much silence a comment is sent, so that a client that is gone is noticed.
const SILENCE: Duration = Duration::from_secs(10);
static HEARTBEAT: Bytes = Bytes::from_static(b": alive\n\n");
