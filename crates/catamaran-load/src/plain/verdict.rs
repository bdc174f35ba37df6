//! Whether the figures of a run are to be trusted, and what they say at once.

use std::io::{self, Write};

use crate::board::Answered;
use crate::engine::{Ending, Outcome};
use crate::metric::{MetricId, Registry, builtin};
use crate::sink::{Sink, as_f64};

/// What the operator should know before believing the figures, each a sentence or two.
pub(super) fn warnings(registry: &Registry, outcome: &Outcome) -> Vec<String> {
    let mut found = warnings_of_machine(registry, outcome);
    found.extend(cut_off(registry, outcome));
    let dropped = dropped(registry, outcome);
    if dropped > 0.0 {
        // Of a worker that had no time itself nobody can tell what the target would have done.
        let who = if outcome.busiest > BUSY {
            "this machine or the target"
        } else {
            "the target"
        };
        found.push(format!(
            "{who} did not keep up: {dropped} requests were due and never sent; the corrected latencies \
             count for each how long it had waited at the end, which is less than it would have"
        ));
    }
    found
}

/// What became of requests that were under way at the end.
pub(crate) fn cut_off(registry: &Registry, outcome: &Outcome) -> Option<String> {
    let count = outcome.board.answers.get(&Answered::cut_off()).copied()?;
    let is_corrected = |metric| {
        let sink = outcome.board.metric(registry, metric);
        sink.distribution().is_some_and(|values| values.count() > 0)
    };
    let corrected = [
        builtin::HTTP_REQ_CORRECTED_DURATION,
        builtin::EXCHANGE_CORRECTED_DURATION,
    ];
    let what = match corrected.into_iter().any(is_corrected) {
        true => {
            "the corrected latencies count for each how long it had waited, which is less than it would have"
        }
        false => "no latency knows of them",
    };
    Some(format!(
        "{count} requests were cut off before they were answered: {what}"
    ))
}

/// That a run was not as long as it should have been.
pub(crate) fn ended_early(outcome: &Outcome) -> Option<String> {
    let by = match &outcome.ending {
        Ending::Signal => "a signal",
        Ending::Threshold => "a threshold with abortOnFail",
        _ => return None,
    };
    let after = outcome.run_time.as_secs_f64();
    Some(format!("the run was ended after {after:.1} s by {by}"))
}

/// What the figures lack, because agents were lost.
pub(crate) fn missing(outcome: &Outcome) -> Vec<String> {
    let missing = outcome.missing.iter();
    missing
        .map(|missing| match missing.is_grave() {
            true => format!("incomplete: {missing}"),
            false => missing.to_string(),
        })
        .collect()
}

/// Marks the summary of a run that lacks something.
pub(crate) fn mark(outcome: &Outcome, out: &mut dyn Write) -> io::Result<()> {
    if !outcome.is_incomplete() {
        return Ok(());
    }
    let agents = outcome.missing.iter().filter(|one| one.is_grave());
    let agents: Vec<&str> = agents.map(|missing| missing.agent.as_str()).collect();
    writeln!(
        out,
        "    INCOMPLETE: lost on the way: {}; the figures lack a part of the load\n",
        agents.join(", ")
    )
}

/// Iterations that were due and never begun.
pub(crate) fn dropped(registry: &Registry, outcome: &Outcome) -> f64 {
    counted(registry, outcome, builtin::DROPPED_ITERATIONS)
}

/// How many iterations ended with an exception, each of which is told once.
#[cfg(feature = "scripts")]
pub(crate) fn thrown(registry: &Registry, outcome: &Outcome) -> Option<String> {
    let thrown = counted(registry, outcome, builtin::THROWN_ITERATIONS);
    let whole = counted(registry, outcome, builtin::ITERATIONS);
    (thrown > 0.0).then(|| {
        format!(
            "{thrown} of {whole} iterations threw an exception (thrown_iterations); what each text says is told \
             once by each worker, of the first hundred"
        )
    })
}

/// Virtual users that were made.
#[cfg(feature = "scripts")]
pub(crate) fn made(registry: &Registry, outcome: &Outcome) -> f64 {
    match outcome.board.metric(registry, builtin::VUS_MAX) {
        Sink::Gauge(gauge) => gauge.max,
        _ => 0.0,
    }
}

fn counted(registry: &Registry, outcome: &Outcome, metric: MetricId) -> f64 {
    match outcome.board.metric(registry, metric) {
        Sink::Counter(count) => *count,
        _ => 0.0,
    }
}

/// What this machine itself did to the figures.
pub(crate) fn warnings_of_machine(registry: &Registry, outcome: &Outcome) -> Vec<String> {
    let mut found = Vec::new();
    if outcome.busiest > BUSY {
        let agent = outcome.busiest_agent.as_ref();
        let limit = agent.map_or_else(
            || "this machine".to_owned(),
            |agent| format!("agent {agent}"),
        );
        found.push(format!(
            "{limit} was the limit: a worker was busy or waited for a processor {:.0} % of the time, so that \
             latencies include its own; give the load more processors (--workers) or take part of it elsewhere \
             (--agents)",
            100.0 * outcome.busiest
        ));
    }
    let lateness = outcome.board.metric(registry, builtin::SCHEDULE_LATENESS);
    if let Some(lateness) = lateness.distribution()
        && lateness.count() >= FEW
        && lateness.quantile(0.99) > LATE_MILLIS
    {
        found.push(format!(
            "requests began late by the load test's own doing: p(99) {:.1} ms; other work disturbs \
             it, and corrected latencies include that",
            lateness.quantile(0.99)
        ));
    }
    found
}

/// Whether a latency of `millis` is the load test's own doing for the most part.
pub(super) fn is_own(registry: &Registry, outcome: &Outcome, millis: f64) -> bool {
    let lateness = outcome.board.metric(registry, builtin::SCHEDULE_LATENESS);
    let late = lateness.distribution();
    let late = late.map_or(0.0, |late| late.quantile(0.99));
    outcome.busiest > BUSY || late > millis / 2.0
}

/// How much the uncorrected p(99) flatters, where it does so by half and more, by the target's doing.
pub(crate) fn flattery(registry: &Registry, outcome: &Outcome) -> Option<String> {
    let pairs = [
        (
            builtin::HTTP_REQ_DURATION,
            builtin::HTTP_REQ_CORRECTED_DURATION,
        ),
        (
            builtin::EXCHANGE_DURATION,
            builtin::EXCHANGE_CORRECTED_DURATION,
        ),
    ];
    pairs.into_iter().find_map(|(measured, corrected)| {
        let p99 = |metric| {
            let sink = outcome.board.metric(registry, metric);
            sink.distribution().map(|values| values.quantile(0.99))
        };
        let (measured, corrected) = (p99(measured)?, p99(corrected)?);
        let own = p99(builtin::SCHEDULE_LATENESS).unwrap_or_default();
        // Half of the difference and more is the load test's own doing: the warning of that says enough.
        let is_own = own > (corrected - measured) / 2.0;
        let is_much = corrected > 1.5 * measured && corrected > measured + FLATTERY_MILLIS;
        (is_much && !is_own).then(|| {
            format!(
                "the target stalled: p(99) is {} for users who come at this rate (corrected), {} for \
                 requests once they were sent",
                crate::time_text::humanized(corrected),
                crate::time_text::humanized(measured)
            )
        })
    })
}

/// Requests that ended, well or not.
pub(super) fn answered(registry: &Registry, outcome: &Outcome) -> f64 {
    let count = |metric| match outcome.board.metric(registry, metric) {
        Sink::Counter(count) => *count,
        _ => 0.0,
    };
    count(builtin::HTTP_REQS) + count(builtin::EXCHANGES)
}

/// The share of requests that failed, 0 to 1.
pub(super) fn failed_share(registry: &Registry, outcome: &Outcome) -> f64 {
    let of = |metric| match outcome.board.metric(registry, metric) {
        Sink::Rate { passes, total } => (*passes, *total),
        _ => (0, 0),
    };
    let (http, raw) = (of(builtin::HTTP_REQ_FAILED), of(builtin::EXCHANGE_FAILED));
    let total = http.1 + raw.1;
    if total == 0 {
        return 1.0;
    }
    as_f64(http.0 + raw.0) / as_f64(total)
}

/// A worker busier than this has no time for what comes unevenly.
const BUSY: f64 = 0.85;

/// Starts later than this are seen in the percentiles.
const LATE_MILLIS: f64 = 1.0;

/// Differences below this are no stall.
const FLATTERY_MILLIS: f64 = 5.0;

/// Below so many starts a percentile says nothing.
const FEW: u64 = 100;
