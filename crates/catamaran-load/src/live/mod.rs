//! What is shown while a run goes on: on a terminal a block that is drawn anew each second, with a bar for
//! each scenario; elsewhere a line a second.

mod bars;
pub(crate) mod terminal;

use std::collections::VecDeque;
use std::io::{self, IsTerminal as _, Write};
use std::sync::Arc;
use std::time::Duration;

use crate::engine::{Observer, Progress};
use crate::metric::Registry;
use crate::record::Point;
use crate::scenario::Scenario;
use crate::summary::number_text;
use crate::time_text::{exact, humanized};

/// Shows how a run goes.
pub(crate) struct Live<'a> {
    err: &'a mut dyn Write,
    registry: &'a Registry,
    scenarios: Arc<Vec<Scenario>>,
    /// Whether it is a script's: then iterations are what is told first.
    is_script: bool,
    is_quiet: bool,
    is_terminal: bool,
    course: Course,
}

/// The last seconds.
#[derive(Debug, Default)]
struct Course {
    rates: VecDeque<f64>,
    failures: VecDeque<f64>,
    latencies: VecDeque<f64>,
    users: VecDeque<f64>,
}

impl<'a> Live<'a> {
    /// Shows a run of `scenarios` on `err`.
    pub(crate) fn new(
        err: &'a mut dyn Write,
        registry: &'a Registry,
        scenarios: Arc<Vec<Scenario>>,
        is_script: bool,
        is_quiet: bool,
    ) -> Self {
        Self {
            err,
            registry,
            scenarios,
            is_script,
            is_quiet,
            is_terminal: io::stderr().is_terminal(),
            course: Course::default(),
        }
    }

    /// Where everything stands, in one line.
    fn line(&self, point: &Point, progress: &Progress<'_>) -> String {
        if self.is_script {
            let elapsed = exact(Duration::from_secs(progress.elapsed.as_secs()));
            return format!(
                "running ({elapsed}), {}/{} VUs, {} complete and {} interrupted iterations",
                progress.active, progress.made, progress.whole, progress.cut
            );
        }
        format!(
            "running {}: {} requests/s, {} failed, {}, {} under way",
            exact(Duration::from_secs(point.second + 1)),
            point.requests,
            point.failed,
            latency(point),
            point.active
        )
    }

    /// The whole block.
    fn block(&self, point: &Point, progress: &Progress<'_>) -> Vec<String> {
        let mut lines = vec![self.line(point, progress)];
        let mut row = |name: &str, now: String, values: &VecDeque<f64>| {
            lines.push(format!("  {name:<11} {now:>10}  {}", sparkline(values)));
        };
        let course = &self.course;
        row("requests/s", number_text(point.requests), &course.rates);
        if course.failures.iter().any(|&failed| failed > 0.0) {
            row("failed/s", number_text(point.failed), &course.failures);
        }
        let (name, worst) = worst_latency(point);
        row(name, humanized(worst), &course.latencies);
        let users = if self.is_script { "VUs" } else { "under way" };
        row(users, number_text(point.active), &course.users);
        lines.extend(bars::bars(&self.scenarios, progress));
        lines
    }
}

impl Observer for Live<'_> {
    fn progress(&mut self, progress: &Progress<'_>) {
        let Some(second) = progress.second.filter(|_| !self.is_quiet) else {
            return;
        };
        let point = Point::of(self.registry, second);
        self.course.push(&point);
        // A terminal that has gone is no reason to end the run.
        let _ = if self.is_terminal {
            let block = self.block(&point, progress);
            terminal::draw(self.err, &block)
        } else {
            writeln!(self.err, "{}", self.line(&point, progress))
        };
        let _ = self.err.flush();
    }

    fn warn(&mut self, text: &str) {
        let _ = if self.is_script {
            terminal::line(self.err, &format!("level=warning msg={text:?}"))
        } else {
            terminal::line(self.err, &format!("warning: {text}"))
        };
    }

    fn error(&mut self, text: &str) {
        let _ = terminal::line(self.err, &format!("level=error msg={text:?}"));
    }
}

impl Drop for Live<'_> {
    fn drop(&mut self) {
        terminal::leave();
    }
}

impl Course {
    fn push(&mut self, point: &Point) {
        let all = [
            (&mut self.rates, point.requests),
            (&mut self.failures, point.failed),
            (&mut self.latencies, worst_latency(point).1),
            (&mut self.users, point.active),
        ];
        for (values, value) in all {
            values.push_back(value);
            if values.len() > SPARKS {
                values.pop_front();
            }
        }
    }
}

fn latency(point: &Point) -> String {
    let measured = humanized(point.p99);
    if point.corrected_p99 > 0.0 {
        format!(
            "p(99) {} corrected, {measured}",
            humanized(point.corrected_p99)
        )
    } else {
        format!("p(99) {measured}")
    }
}

/// The latency that users see: the corrected one, if there is one.
fn worst_latency(point: &Point) -> (&'static str, f64) {
    if point.corrected_p99 > 0.0 {
        ("p(99) corr.", point.corrected_p99)
    } else {
        ("p(99)", point.p99)
    }
}

/// Values as bars of eight heights, the greatest of them full.
fn sparkline(values: &VecDeque<f64>) -> String {
    let top = values.iter().fold(0.0_f64, |top, &value| top.max(value));
    let bar = |value: &f64| {
        if *value <= 0.0 || top <= 0.0 {
            return ' ';
        }
        let eighths = (value / top * 8.0).ceil().clamp(1.0, 8.0);
        let found = HEIGHTS
            .iter()
            .zip(1_u8..)
            .find(|(_, height)| f64::from(*height) >= eighths);
        found.map_or('█', |(bar, _)| *bar)
    };
    values.iter().map(bar).collect()
}

const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Seconds that are shown: what fits beside the figures.
const SPARKS: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::Board;
    use crate::engine::Second;
    use crate::metric::builtin;

    #[test]
    fn the_greatest_value_is_the_highest_bar() {
        assert_eq!(sparkline(&VecDeque::from([0.0, 1.0, 4.0, 8.0])), " ▁▄█");
        assert_eq!(sparkline(&VecDeque::from([0.0, 0.0])), "  ");
    }

    #[test]
    fn a_terminal_gets_a_block_and_others_a_line() {
        let registry = Registry::new();
        let mut board = Board::new(&registry);
        board.record(registry.metric(builtin::HTTP_REQS).sink, 7.0, 0);
        board.record(registry.metric(builtin::HTTP_REQ_DURATION).sink, 2.0, 0);
        let second = Second {
            second: 4,
            board,
            active: 3,
        };
        let progress = Progress {
            elapsed: Duration::from_secs(5),
            active: 3,
            made: 10,
            whole: 9,
            cut: 0,
            begun: &[],
            second: Some(&second),
        };
        let show = |is_terminal: bool| {
            let mut err = Vec::new();
            let mut live = Live::new(&mut err, &registry, Arc::default(), true, false);
            live.is_terminal = is_terminal;
            live.progress(&progress);
            drop(live);
            String::from_utf8(err).unwrap()
        };
        let line = show(false);
        assert_eq!(
            line,
            "running (5s), 3/10 VUs, 9 complete and 0 interrupted iterations\n"
        );
        let block = show(true);
        assert!(
            block.contains("requests/s") && block.contains('█') && block.contains("2ms"),
            "{block}"
        );
    }
}
