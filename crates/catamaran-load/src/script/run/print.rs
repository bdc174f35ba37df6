//! What is printed and written at the end of a run.

use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use serde_json::Value;

use super::prepare::Prepared;
use crate::engine::{Local, Outcome};
use crate::plain::{Console, verdict};
use crate::record::{About, Record, Timeline, write_file};
use crate::scenario::Overload;
use crate::script::realm::Called;
use crate::sink::{Statistic, as_f64};
use crate::summary::{Summary, export, text};

/// A run that is over.
pub(super) struct Over<'a> {
    pub(super) about: &'a About,
    pub(super) outcome: &'a Outcome,
    pub(super) timeline: &'a Timeline,
}

impl Prepared {
    pub(super) fn summary<'a>(
        &'a self,
        outcome: &'a Outcome,
        trend_statistics: &'a [Statistic],
    ) -> Summary<'a> {
        Summary {
            registry: &self.registry,
            board: &outcome.board,
            run_time: outcome.run_time,
            thresholds: &self.derived.thresholds,
            trend_statistics,
            is_full: self.given.is_full,
            time_unit: self.options.summary_time_unit,
        }
    }

    pub(super) async fn print(
        &self,
        over: &Over<'_>,
        local: &Rc<Local>,
        data: Option<&str>,
        console: &mut Console<'_>,
    ) -> io::Result<bool> {
        let statistics = self.options.summary_trend_stats.clone();
        let statistics = statistics.unwrap_or_else(|| TREND_STATISTICS.to_vec());
        let outcome = over.outcome;
        let summary = self.summary(outcome, &statistics);
        let data = data.and_then(|text| serde_json::from_str::<Value>(text).ok());
        let shown = text::render(&summary);
        let is_told = self.has_summary
            && self
                .hand_over(&summary, &shown, local, data.as_ref(), console)
                .await?;
        let is_json = self.given.is_json;
        if !is_told && !is_json {
            write!(console.out, "{shown}")?;
        }
        if !is_json {
            verdict::mark(outcome, console.out)?;
        }
        let warnings = self.warnings(outcome);
        let record = Record {
            about: over.about,
            summary: &summary,
            timeline: over.timeline,
            ending: &outcome.ending,
            missing: &outcome.missing,
            warnings: &warnings,
        };
        let earlier = self.earlier.as_ref();
        let mut are_written = self.given.keep.write(&record, earlier, is_json, console)?;
        if let Some(path) = &self.given.summary_export {
            let document = export::summary_export(&summary, data.as_ref());
            are_written &= write_file(path, &format!("{document:#}"), console)?;
        }
        for line in &warnings {
            writeln!(console.err, "warning: {line}")?;
        }
        let crossed = summary.crossed();
        if !crossed.is_empty() {
            let crossed = crossed.join(", ");
            writeln!(
                console.err,
                "error: thresholds on metrics '{crossed}' have been crossed"
            )?;
        }
        Ok(are_written)
    }

    /// What the operator should know before believing the figures.
    fn warnings(&self, outcome: &Outcome) -> Vec<String> {
        let registry = &self.registry;
        let mut lines = verdict::missing(outcome);
        lines.extend(verdict::ended_early(outcome));
        // A short run is busy with its own start.
        if outcome.run_time > SHORT {
            lines.extend(verdict::warnings_of_machine(registry, outcome));
        }
        lines.extend(verdict::cut_off(registry, outcome));
        lines.extend(verdict::thrown(registry, outcome));
        lines.extend(self.never_begun(outcome));
        lines.extend(verdict::flattery(registry, outcome));
        lines
    }

    /// What is to be said of so many iterations that did not begin.
    fn never_begun(&self, outcome: &Outcome) -> Option<String> {
        let dropped = verdict::dropped(&self.registry, outcome);
        let scenarios = self.derived.scenarios.iter();
        let mut open = scenarios.filter(|one| one.executor.arrivals().is_some());
        let overload = open.next()?.overload;
        if dropped == 0.0 {
            return None;
        }
        if let [only] = &*self.derived.scenarios
            && verdict::made(&self.registry, outcome) < as_f64(only.executor.max_vus())
        {
            return Some(format!(
                "{dropped} iterations were due and did not begin, while virtual users were being made, which takes as \
                 long as the top level of the script; raise preAllocatedVUs"
            ));
        }
        Some(match overload {
            Overload::Drop => format!(
                "{dropped} iterations were due and found no free virtual user: the latencies know nothing of \
                 them; raise maxVUs, or let them wait with --on-overload queue"
            ),
            Overload::Queue => format!(
                "{dropped} iterations were due and had not begun at the end, for want of a free virtual user: \
                 the corrected latencies count for each how long it had waited, which is less than it would \
                 have; raise maxVUs, or ask for less"
            ),
        })
    }

    /// Lets the script make the summary. Returns whether it did.
    async fn hand_over(
        &self,
        summary: &Summary<'_>,
        shown: &str,
        local: &Rc<Local>,
        data: Option<&Value>,
        console: &mut Console<'_>,
    ) -> io::Result<bool> {
        let argument = export::handle_summary(summary, data).to_string();
        let name = "handleSummary";
        let timeout = self.options.handle_summary_timeout.unwrap_or(TIMEOUT);
        let called = self.call(local, name, Some(argument.into()), timeout, shown);
        match called.await {
            Ok(Called::Returned(Some(text))) => return self.deliver(&text, console),
            Ok(Called::Returned(None)) => {}
            Ok(Called::Threw(why)) | Err(why) => writeln!(console.err, "error: {name}: {why}")?,
            Ok(Called::Cut) => writeln!(console.err, "error: {name} took too long")?,
        }
        Ok(false)
    }

    /// Writes what `handleSummary` returned. Returns whether it returned an object, as it should.
    fn deliver(&self, text: &str, console: &mut Console<'_>) -> io::Result<bool> {
        let Ok(Value::Object(files)) = serde_json::from_str::<Value>(text) else {
            let text = "error: handleSummary must return an object of paths and texts";
            writeln!(console.err, "{text}")?;
            return Ok(false);
        };
        for (path, content) in &files {
            let Some(content) = content.as_str() else {
                writeln!(console.err, "error: handleSummary: `{path}` is no text")?;
                continue;
            };
            match path.as_str() {
                // A program that reads JSON there would not understand it.
                "stdout" if self.given.is_json => {}
                "stdout" => write!(console.out, "{content}")?,
                "stderr" => write!(console.err, "{content}")?,
                _ => {
                    if let Err(error) = std::fs::write(Path::new(path), content) {
                        writeln!(console.err, "error: {path}: {error}")?;
                    }
                }
            }
        }
        Ok(true)
    }
}

/// A run that says nothing about the load.
const SHORT: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(120);

/// The columns of trends, as in k6.
const TREND_STATISTICS: &[Statistic] = &[
    Statistic::Average,
    Statistic::Min,
    Statistic::Median,
    Statistic::Max,
    Statistic::Percentile(90.0),
    Statistic::Percentile(95.0),
];
