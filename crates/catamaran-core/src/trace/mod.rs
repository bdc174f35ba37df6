//! Distributed traces: which trace a request belongs to, and whether it is sampled.
//!
//! W3C Trace Context (<https://www.w3.org/TR/trace-context/>) carries a trace from hop to hop in two
//! fields: `traceparent` names the trace and the span of who sent the request, `tracestate` holds
//! what others on the way want kept. [`Beginning::of`] decides what an exchange makes of them.
//!
//! Whoever may have a trace sampled may have us, and everybody behind us, do work for each of their
//! requests. So the word of a client counts only where that is wished ([`Parents`]), and sampled
//! traces have a [`Cap`] whoever asked for them.

mod cap;
mod context;
mod sample;
mod state;

pub use cap::Cap;
pub use context::{SpanId, TraceId, TraceParent};
pub use sample::Ratio;
pub use state::{MAX_STATE_BYTES, combine_state};

/// Whose `traceparent` a trace goes on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Parents {
    /// That of trusted proxies; others get a new trace that is linked to theirs.
    #[default]
    Trusted,
    /// Everybody's.
    All,
    /// Nobody's.
    None,
}

/// How an exchange stands to the trace that its request names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beginning {
    /// The trace that it belongs to.
    pub trace_id: TraceId,
    /// The span that its own is a child of; `None` if it begins the trace.
    pub parent_id: Option<SpanId>,
    /// What the client named and was not believed: a trace that a new one is linked to.
    pub link: Option<TraceParent>,
    /// Whether it is sampled.
    pub is_sampled: bool,
}

impl Beginning {
    /// How an exchange stands to `said`, what its request names. `is_trusted` says whether that
    /// counts. A parent decides whether its trace is sampled; a new trace is sampled by `ratio`.
    pub fn of(
        said: Option<TraceParent>,
        is_trusted: bool,
        ratio: Ratio,
        rng: &mut fastrand::Rng,
    ) -> Self {
        if let Some(parent) = said.filter(|_| is_trusted) {
            return Self {
                trace_id: parent.trace_id,
                parent_id: Some(parent.parent_id),
                link: None,
                is_sampled: parent.is_sampled,
            };
        }
        let trace_id = TraceId::random(rng);
        Self {
            trace_id,
            parent_id: None,
            link: said,
            is_sampled: ratio.takes(trace_id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent(is_sampled: bool) -> TraceParent {
        let mut rng = fastrand::Rng::with_seed(7);
        TraceParent {
            trace_id: TraceId::random(&mut rng),
            parent_id: SpanId::random(&mut rng),
            is_sampled,
        }
    }

    #[test]
    fn a_trusted_parent_decides_whatever_the_ratio_is() {
        let mut rng = fastrand::Rng::with_seed(1);
        for (is_sampled, ratio) in [(true, Ratio::NONE), (false, Ratio::ALL)] {
            let parent = parent(is_sampled);
            let begun = Beginning::of(Some(parent), true, ratio, &mut rng);
            assert_eq!(begun.trace_id, parent.trace_id);
            assert_eq!(begun.parent_id, Some(parent.parent_id));
            assert_eq!((begun.link, begun.is_sampled), (None, is_sampled));
        }
    }

    #[test]
    fn whoever_is_not_trusted_gets_a_new_trace_that_is_linked_to_theirs() {
        let mut rng = fastrand::Rng::with_seed(2);
        for (is_sampled, ratio) in [(true, Ratio::NONE), (false, Ratio::ALL)] {
            let said = parent(is_sampled);
            let begun = Beginning::of(Some(said), false, ratio, &mut rng);
            assert_ne!(begun.trace_id, said.trace_id);
            assert_eq!((begun.parent_id, begun.link), (None, Some(said)));
            assert_eq!(begun.is_sampled, ratio == Ratio::ALL);
        }
    }

    #[test]
    fn a_request_that_names_no_trace_begins_one() {
        let mut rng = fastrand::Rng::with_seed(3);
        let first = Beginning::of(None, true, Ratio::ALL, &mut rng);
        let second = Beginning::of(None, true, Ratio::ALL, &mut rng);
        assert_ne!(first.trace_id, second.trace_id);
        assert_eq!((first.parent_id, first.link), (None, None));
    }
}
