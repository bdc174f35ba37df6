//! Searches the greatest rate at which a condition holds.
//!
//! The rate doubles until the condition fails, and then the gap is halved until it is small. Each step
//! is a run of its own. The condition is of the corrected latency, so that a target that queues is
//! found out by the first step beyond its limit.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use serde_json::{Value, json};

use super::options::{Model, UsageError};
use super::run::{Console, Prepared};
use super::verdict;
use crate::distribution::Distribution;
use crate::engine::{Ending, Outcome};
use crate::exit_code;
use crate::record::write_file;
use crate::sink::{Kind, Sink, as_f64};
use crate::threshold::Threshold;
use crate::time_text::humanized;

/// A search: which rate to try next. Pure, so that it can be tested.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Search {
    /// The greatest rate at which it held.
    good: Option<f64>,
    /// The least rate at which it did not.
    bad: Option<f64>,
    next: f64,
    steps: u32,
}

impl Search {
    const fn new(start: f64) -> Self {
        Self {
            good: None,
            bad: None,
            next: start,
            steps: 0,
        }
    }

    /// Notes whether the condition held at the rate tried. Returns the next, `None` at the end.
    fn note(&mut self, holds: bool) -> Option<f64> {
        self.steps += 1;
        if holds {
            self.good = Some(self.next);
        } else {
            self.bad = Some(self.next);
        }
        self.next = match (self.good, self.bad) {
            (Some(good), None) => good * 2.0,
            (None, Some(bad)) => bad / 4.0,
            (Some(good), Some(bad)) if bad / good > 1.0 + PRECISION => (good + bad) / 2.0,
            _ => return None,
        };
        let is_useful = (LEAST_RATE..=GREATEST_RATE).contains(&self.next);
        (is_useful && self.steps < MAX_STEPS).then_some(self.next)
    }
}

/// Reads the condition.
pub(super) fn condition(text: &str) -> Result<Threshold, UsageError> {
    let threshold = Threshold::read(text)?;
    threshold.check_kind(Kind::Trend)?;
    Ok(threshold)
}

/// Searches and prints what was found.
pub(super) async fn run(prepared: &Prepared, console: &mut Console<'_>) -> io::Result<u8> {
    let options = &prepared.options;
    let text = options.find_max.as_deref().unwrap_or_default();
    let Ok(condition) = condition(text) else {
        return Ok(exit_code::INVALID);
    };
    let mut search = Search::new(match options.model {
        Model::Open { rate } => rate.max(1.0),
        Model::Closed { .. } => FIRST_RATE,
    });
    let mut tried = Vec::new();
    let mut warned = BTreeSet::new();
    // Whether the least rate at which it did not hold was too much for the load test itself.
    let mut is_own = false;
    loop {
        let rate = search.next;
        let scenario = options.scenario(Some(rate), options.duration);
        let (outcome, _) = prepared.play(scenario, Vec::new(), None, console).await?;
        match &outcome.ending {
            // It never has agents to lose.
            Ending::Finished | Ending::Threshold | Ending::Incomplete => {}
            Ending::Signal => return Ok(exit_code::SIGNAL),
            Ending::Failed(why) | Ending::Aborted(why) => {
                writeln!(console.err, "catamaran load: {why}")?;
                return Ok(exit_code::FAILED);
            }
        }
        let step = Step::of(prepared, &condition, rate, &outcome);
        if !options.is_json {
            writeln!(console.out, "{}", step.text())?;
        }
        if !step.holds {
            is_own = step.is_own;
        }
        for warning in verdict::warnings(&prepared.registry, &outcome) {
            // The figures in it differ from step to step; what it begins with says what it is about.
            let about = warning.split(':').next().unwrap_or_default();
            if warned.insert(about.to_owned()) {
                writeln!(
                    console.err,
                    "warning: at {rate:.0} requests/s: {warning} (said once)"
                )?;
            }
        }
        tried.push(step.document());
        if search.note(step.holds).is_none() {
            break;
        }
        // A target that was overrun gets time to come to itself.
        tokio::time::sleep(PAUSE).await;
    }
    let found = json!({
        "condition": text, "max_rate": search.good, "limited_by_load_test": is_own, "steps": tried,
    });
    let found = format!("{found:#}\n");
    if options.is_json {
        write!(console.out, "{found}")?;
    } else {
        writeln!(console.out, "\n{}", said(text, search.good, is_own))?;
    }
    if let Some(path) = &options.keep.json
        && !write_file(path, &found, console)?
    {
        return Ok(exit_code::FAILED);
    }
    Ok(match search.good {
        Some(_) => exit_code::OK,
        None => exit_code::THRESHOLDS,
    })
}

/// What was found, in a sentence.
fn said(condition: &str, good: Option<f64>, is_own: bool) -> String {
    match good {
        Some(rate) if is_own => format!(
            "{condition} holds up to {rate:.0} requests/s at least: beyond, the load test itself was the limit, and \
             what the target can do is not known"
        ),
        Some(rate) => format!("{condition} holds up to {rate:.0} requests/s"),
        None => format!("{condition} holds at no rate that was tried"),
    }
}

/// What one rate came to.
struct Step {
    rate: f64,
    achieved: f64,
    failed: f64,
    value: f64,
    statistic: String,
    holds: bool,
    /// Requests that were due and never sent.
    dropped: f64,
    /// The share of the time in which the busiest worker worked.
    busiest: f64,
    /// Whether the load test itself was the limit.
    is_own: bool,
}

impl Step {
    fn of(prepared: &Prepared, condition: &Threshold, rate: f64, outcome: &Outcome) -> Self {
        let registry = &prepared.registry;
        let main = match prepared.options.protocol {
            super::Protocol::Http => crate::metric::builtin::HTTP_REQ_CORRECTED_DURATION,
            _ => crate::metric::builtin::EXCHANGE_CORRECTED_DURATION,
        };
        let sink: &Sink = outcome.board.metric(registry, main);
        let verdict = condition.evaluate(sink, outcome.run_time);
        // What was due and never sent, or never answered, has failed: how long it would have waited the
        // corrected latency does not know.
        let due = as_f64(sink.distribution().map_or(0, Distribution::count));
        let answered = verdict::answered(registry, outcome);
        let missed = if due > 0.0 {
            (due - answered).max(0.0) / due
        } else {
            0.0
        };
        let failed = missed + (1.0 - missed) * verdict::failed_share(registry, outcome);
        let seconds = outcome.run_time.as_secs_f64().max(1e-9);
        let value = verdict.map_or(0.0, |verdict| verdict.value);
        Self {
            rate,
            achieved: answered / seconds,
            failed,
            value,
            statistic: condition.statistic.to_string(),
            holds: failed <= MAX_FAILED && verdict.is_some_and(|verdict| verdict.holds),
            dropped: verdict::dropped(registry, outcome),
            busiest: outcome.busiest,
            is_own: verdict::is_own(registry, outcome, value),
        }
    }

    fn document(&self) -> Value {
        json!({
            "rate": self.rate,
            "achieved": self.achieved,
            "failed": self.failed,
            "value_ms": self.value,
            "holds": self.holds,
            "dropped": self.dropped,
            "busiest_worker": self.busiest,
            "limited_by_load_test": self.is_own,
        })
    }

    fn text(&self) -> String {
        format!(
            "{} {:>9.0} requests/s: {}={}, {:.2}% failed",
            if self.holds { '✓' } else { '✗' },
            self.rate,
            self.statistic,
            humanized(self.value),
            100.0 * self.failed
        )
    }
}

/// The rate that the search begins with, when none is given.
const FIRST_RATE: f64 = 100.0;
/// Beyond these nothing is searched.
const LEAST_RATE: f64 = 0.5;
const GREATEST_RATE: f64 = 10_000_000.0;
/// The gap at which the search ends: repeated runs differ by more.
const PRECISION: f64 = 0.05;
const MAX_STEPS: u32 = 30;
/// A rate at which more than this fails is beyond the limit, however quick the failures are.
const MAX_FAILED: f64 = 0.01;
const PAUSE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches a target that holds up to `limit`. Returns the rate found and the steps.
    fn search(start: f64, limit: f64) -> (Option<f64>, u32) {
        let mut search = Search::new(start);
        while search.note(search.next <= limit).is_some() {}
        (search.good, search.steps)
    }

    #[test]
    fn the_limit_is_found_within_a_twentieth() {
        for (start, limit) in [
            (100.0, 12_345.0),
            (100.0, 100.0),
            (100.0, 130.0),
            (100_000.0, 250.0),
        ] {
            let (found, steps) = search(start, limit);
            let found = found.unwrap();
            assert!(
                found <= limit && found * 1.06 > limit,
                "{start} {limit}: {found}"
            );
            assert!(steps < 20, "{start} {limit}: {steps} steps");
        }
    }

    #[test]
    fn what_was_found_says_whose_limit_it_is() {
        assert_eq!(
            said("p(99)<1s", Some(20.4), false),
            "p(99)<1s holds up to 20 requests/s"
        );
        assert!(said("p(99)<1s", Some(20.4), true).contains("the load test itself"));
        assert!(said("p(99)<1s", None, true).contains("no rate"));
    }

    #[test]
    fn a_search_ends_whatever_the_target_does() {
        assert_eq!(search(100.0, 0.0).0, None);
        assert!(search(100.0, f64::INFINITY).0.unwrap() > 1_000_000.0);
    }
}
