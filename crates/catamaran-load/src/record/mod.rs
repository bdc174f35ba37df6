//! What is kept of a run once it is over, in one shape with a script and without.
//!
//! ```text
//! timeline   what happened second by second
//! document   everything as JSON, for programs and for a later comparison
//! compare    an earlier run's document beside this one
//! page       an HTML page that needs nothing else
//! junit      thresholds and checks as test cases
//! ```

mod compare;
mod document;
mod junit;
mod page;
mod timeline;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub use compare::{Change, Earlier, Verdict};
use serde_json::Value;
pub use timeline::{Point, Timeline};

use crate::engine::{Ending, Missing};
use crate::plain::Console;
use crate::scenario::{Overload, Scenario};
use crate::sink::Statistic;
use crate::summary::Summary;

/// What of a run is written, and where.
#[derive(Clone, Debug, Default)]
pub struct Keep {
    /// A page with the course of the run.
    pub report: Option<PathBuf>,
    /// All figures as JSON.
    pub json: Option<PathBuf>,
    /// Thresholds and checks as test cases.
    pub junit: Option<PathBuf>,
    /// The JSON of an earlier run to compare with.
    pub compare: Option<PathBuf>,
}

/// What is known of a run beside its samples.
#[derive(Clone, Debug)]
pub struct About {
    /// What was asked, in a few words: the script, or the targets.
    pub title: String,
    /// The script, if there is one.
    pub script: Option<String>,
    /// The targets, without a script.
    pub targets: Vec<String>,
    /// What was run.
    pub scenarios: Vec<Scenario>,
    /// Worker threads.
    pub workers: u64,
    /// The agents that they were on; none, when they were here.
    pub agents: Vec<String>,
    /// When it began.
    pub began: SystemTime,
}

impl About {
    /// How requests began: `open`, `closed`, or both.
    #[must_use]
    pub fn model(&self) -> String {
        let of = |scenario: &Scenario| match (scenario.executor.arrivals(), scenario.overload) {
            (None, _) => "closed",
            (Some(_), Overload::Queue) => "open (overload queues)",
            (Some(_), Overload::Drop) => "open (overload is dropped)",
        };
        let mut models: Vec<_> = self.scenarios.iter().map(of).collect();
        models.sort_unstable();
        models.dedup();
        models.join(", ")
    }
}

/// A run that is over.
#[derive(Debug)]
pub struct Record<'a> {
    /// What was run.
    pub about: &'a About,
    /// Its figures.
    pub summary: &'a Summary<'a>,
    /// Its course.
    pub timeline: &'a Timeline,
    /// How it ended.
    pub ending: &'a Ending,
    /// What its figures lack.
    pub missing: &'a [Missing],
    /// What should be known before the figures are believed.
    pub warnings: &'a [String],
}

impl Record<'_> {
    /// How it ended, in a few words.
    fn ended(&self) -> &str {
        match self.ending {
            Ending::Finished if self.missing.is_empty() => "as planned",
            Ending::Finished if self.is_incomplete() => {
                "incomplete, without an agent that was lost"
            }
            Ending::Finished => "as planned, with others in the place of an agent that was lost",
            Ending::Incomplete => "early and incomplete, by the loss of an agent",
            Ending::Signal => "by a signal",
            Ending::Threshold => "by a threshold",
            Ending::Aborted(_) => "by the script",
            Ending::Failed(_) => "by a failure",
        }
    }

    /// Whether a part of the load is missing, because agents were lost.
    fn is_incomplete(&self) -> bool {
        self.missing.iter().any(Missing::is_grave)
    }

    /// Whether it ended as planned and everything held.
    fn is_passed(&self) -> bool {
        *self.ending == Ending::Finished
            && !self.is_incomplete()
            && self.summary.crossed().is_empty()
    }
}

/// An earlier run that cannot be compared with.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", path.display())]
pub struct CompareError {
    path: PathBuf,
    why: String,
}

impl Keep {
    /// Reads the run that is compared with, before time is spent on the new one.
    ///
    /// # Errors
    /// When the file cannot be read or holds something else.
    pub fn earlier(&self) -> Result<Option<Earlier>, CompareError> {
        let read = |path: &PathBuf| {
            Earlier::read(path).map_err(|why| CompareError {
                path: path.clone(),
                why,
            })
        };
        self.compare.as_ref().map(read).transpose()
    }

    /// Writes what is wanted, and prints the comparison with `earlier`. What cannot be written is told.
    /// Returns whether everything was.
    ///
    /// # Errors
    /// When nothing can be printed.
    pub fn write(
        &self,
        record: &Record<'_>,
        earlier: Option<&Earlier>,
        is_json: bool,
        console: &mut Console<'_>,
    ) -> io::Result<bool> {
        let document = document::document(record);
        if is_json {
            serde_json::to_writer_pretty(&mut *console.out, &document)?;
            writeln!(console.out)?;
        } else if let Some(earlier) = earlier {
            write!(console.out, "{}", compare::text(earlier, &document))?;
        }
        let report = || page::render(record, &document, earlier);
        let files: [(&Option<PathBuf>, &dyn Fn() -> String); 3] = [
            (&self.json, &|| format!("{document:#}\n")),
            (&self.junit, &|| junit::render(record)),
            (&self.report, &report),
        ];
        let mut are_written = true;
        for (path, content) in files {
            if let Some(path) = path {
                are_written &= write_file(path, &content(), console)?;
            }
        }
        Ok(are_written)
    }
}

/// Writes a file that was asked for. Returns whether that went well; it is told if not.
pub(crate) fn write_file(
    path: &Path,
    content: &str,
    console: &mut Console<'_>,
) -> io::Result<bool> {
    match std::fs::write(path, content) {
        Ok(()) => Ok(true),
        Err(error) => {
            writeln!(console.err, "error: {}: {error}", path.display())?;
            Ok(false)
        }
    }
}

/// Text between tags or in quotes of HTML and XML.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                // XML 1.0 has no way to write these.
                '\0'..='\u{8}'
                | '\u{b}'
                | '\u{c}'
                | '\u{e}'..='\u{1f}'
                | '\u{fffe}'
                | '\u{ffff}' => {
                    f.write_str("\u{fffd}")?;
                }
                _ => write!(f, "{c}")?,
            }
        }
        Ok(())
    }
}

/// A number of a document, 0 where there is none.
fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or(0.0)
}

/// The statistics of trends that are kept of every run, so that any two can be compared.
const STATISTICS: &[Statistic] = &[
    Statistic::Average,
    Statistic::Min,
    Statistic::Median,
    Statistic::Percentile(90.0),
    Statistic::Percentile(95.0),
    Statistic::Percentile(99.0),
    Statistic::Percentile(99.9),
    Statistic::Max,
    Statistic::Count,
];

#[cfg(test)]
mod tests;
