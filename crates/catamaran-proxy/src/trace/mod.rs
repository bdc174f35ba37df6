//! Traces of exchanges: what a worker notes of those that are sampled, and how that leaves it.
//!
//! ```text
//! worker: Trace (of an exchange) --finish--> Spans --take--> whoever sends them to a collector
//!                                              \ full: dropped and counted
//! ```
//! An exchange that is not sampled only has names: of its trace, which it tells servers and the
//! access log. Without `[tracing]` there is no [`Trace`] at all.

mod record;

pub use record::{Record, Request, Try};

use crate::facts::Facts;
use crate::outcome::Outcome;
use crate::state::{Server, Spans};
use catamaran_core::Timestamp;
use catamaran_core::model;
use catamaran_core::stick::Why;
use catamaran_core::trace::{Beginning, Cap, SpanId, TraceId, TraceParent};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// By what one configuration traces.
#[derive(Debug)]
pub struct Tracing {
    /// What it says.
    pub model: model::Tracing,
    cap: Cap,
    spans: Arc<Spans>,
}

/// The trace of one exchange.
#[derive(Debug)]
pub(crate) struct Trace {
    trace_id: TraceId,
    /// The exchange's own span.
    span_id: SpanId,
    /// Whether the client's `tracestate` is passed on.
    pub(crate) keeps_state: bool,
    is_sampled: bool,
    /// What is told of it; until it is finished, if it is sampled.
    record: Option<Box<Record>>,
}

/// How an exchange ended, for its trace.
pub(crate) struct End<'a> {
    pub(crate) now: Timestamp,
    pub(crate) frontend: &'a model::Name,
    pub(crate) facts: &'a Facts<'a>,
    pub(crate) outcome: Outcome,
    /// Status of the last response that came.
    pub(crate) status: u16,
}

impl Tracing {
    /// Traces as `model` says; what is sampled goes to `spans`.
    pub(crate) fn new(model: &model::Tracing, spans: &Arc<Spans>) -> Arc<Self> {
        Arc::new(Self {
            cap: Cap::new(model.max_per_second),
            spans: Arc::clone(spans),
            model: model.clone(),
        })
    }

    /// Begins the trace of an exchange; `request` is asked what is told of it if it is sampled.
    pub(crate) fn begin(
        &self,
        mut beginning: Beginning,
        now: Timestamp,
        rng: &mut fastrand::Rng,
        request: impl FnOnce() -> Request,
    ) -> Trace {
        if beginning.is_sampled && !self.cap.admits(now) {
            self.spans.limited.add(1);
            beginning.is_sampled = false;
        }
        let span_id = SpanId::random(rng);
        Trace {
            trace_id: beginning.trace_id,
            span_id,
            keeps_state: beginning.parent_id.is_some(),
            is_sampled: beginning.is_sampled,
            record: beginning
                .is_sampled
                .then(|| Box::new(Record::new(&beginning, span_id, now, request()))),
        }
    }
}

impl Trace {
    /// What the access log says of it.
    pub(crate) const fn own(&self) -> TraceParent {
        TraceParent {
            trace_id: self.trace_id,
            parent_id: self.span_id,
            is_sampled: self.is_sampled,
        }
    }

    /// What the server is told: the span of the try, if there is one.
    pub(crate) fn for_server(&self) -> TraceParent {
        let open = self.record.as_ref().and_then(|record| record.open_try());
        TraceParent {
            parent_id: open.map_or(self.span_id, |open| open.span_id),
            ..self.own()
        }
    }

    /// Notes a try to send the request to `server`.
    pub(crate) fn begin_try(
        &mut self,
        now: Timestamp,
        (server, why): (&Server, Why),
        rng: &mut fastrand::Rng,
    ) {
        if let Some(record) = &mut self.record {
            record.begin_try(|| Try::new(SpanId::random(rng), now, server, why));
        }
    }

    /// Notes how the try got its connection: by connecting, which took so long, or from a request
    /// before.
    pub(crate) fn note_connection(&mut self, connected: Option<Duration>) {
        let record = self.record.as_mut();
        if let Some(open) = record.and_then(|record| record.open_try_mut()) {
            open.connected = connected;
            open.is_reused = connected.is_none();
        }
    }

    /// Notes that the try failed.
    pub(crate) fn fail_try(&mut self, now: Timestamp, why: Outcome) {
        let record = self.record.as_mut();
        if let Some(open) = record.and_then(|record| record.open_try_mut()) {
            open.ended = Some(now);
            open.failure = Some(why);
        }
    }

    /// Hands over what is told of the exchange, if it is sampled and that was not done before.
    pub(crate) fn finish(&mut self, tracing: &Tracing, end: &End<'_>) {
        let Some(mut record) = self.record.take() else {
            return;
        };
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let since = since.unwrap_or_default().as_nanos();
        record.finish(end, u64::try_from(since).unwrap_or(u64::MAX));
        tracing.spans.push(record);
    }
}
