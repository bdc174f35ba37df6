//! Medians, ratios and the tables made of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use super::case::{Case, Metric};
use super::load::{Outcome, Pattern};
use super::subject::Subject;

/// What was measured for one case.
#[derive(Debug)]
pub(super) struct Row {
    case: &'static Case,
    /// Requests per second of an open loop.
    rate: f64,
    runs: BTreeMap<Subject, Vec<Outcome>>,
}

impl Row {
    pub(super) const fn new(case: &'static Case, rate: f64) -> Self {
        Self {
            case,
            rate,
            runs: BTreeMap::new(),
        }
    }

    pub(super) fn add(&mut self, subject: Subject, outcome: Outcome) {
        self.runs.entry(subject).or_default().push(outcome);
    }

    fn figure(&self, subject: Subject) -> Option<f64> {
        let runs = self.runs.get(&subject)?;
        let figures = runs
            .iter()
            .map(|outcome| self.case.metric.of(self.case, outcome));
        Some(median(figures.collect()))
    }

    /// Ours divided by the peer's, when both were measured: the median of those of neighbours.
    fn ratio(&self, peer: Subject) -> Option<f64> {
        let ratios = self.ratios(peer)?;
        (!ratios.is_empty()).then(|| median(ratios))
    }

    fn ratios(&self, peer: Subject) -> Option<Vec<f64>> {
        let of = |outcome| self.case.metric.of(self.case, outcome);
        let (ours, theirs) = (self.runs.get(&Subject::Catamaran)?, self.runs.get(&peer)?);
        Some(
            ours.iter()
                .zip(theirs)
                .map(|(a, b)| of(a) / of(b))
                .collect(),
        )
    }

    /// Shares of user and system time in the CPU time, as parts of the figure.
    fn split(&self, subject: Subject) -> Option<(f64, f64)> {
        let runs = self.runs.get(&subject)?;
        let user: f64 = runs.iter().map(|run| run.user_seconds).sum();
        let system: f64 = runs.iter().map(|run| run.system_seconds).sum();
        let figure = self.figure(subject)?;
        let share = user / (user + system);
        Some((figure * share, figure * (1.0 - share)))
    }

    fn cell(&self, subject: Subject) -> String {
        let Some(figure) = self.figure(subject) else {
            return "–".to_owned();
        };
        match self.case.metric {
            Metric::CpuPerRequest | Metric::CpuPerMegabyte => {
                let (user, system) = self.split(subject).unwrap_or_default();
                format!("{figure:.1} = {user:.1} + {system:.1}")
            }
            Metric::MemoryPerConnection | Metric::Latency99 => format!("{figure:.0}"),
        }
    }

    fn verdict(&self, peer: Subject, goal: Option<f64>) -> String {
        match (self.ratio(peer), goal) {
            (None, _) => "–".to_owned(),
            (Some(ratio), None) => format!("{ratio:.2}"),
            (Some(ratio), Some(goal)) if ratio <= goal => format!("{ratio:.2} (≤ {goal:.2})"),
            (Some(ratio), Some(goal)) => format!("**{ratio:.2}** (missed ≤ {goal:.2})"),
        }
    }

    fn title(&self) -> String {
        let mut title = self.case.title.to_owned();
        if self.case.pattern == Pattern::Open {
            let _ = write!(title, " ({:.0}/s)", self.rate);
        }
        title
    }

    /// One line for the terminal while the benchmark goes on.
    pub(super) fn line(&self) -> String {
        let mut line = format!("{} [{}]:", self.case.name, self.case.metric.unit());
        for (subject, runs) in &self.runs {
            let of = |outcome| self.case.metric.of(self.case, outcome);
            let figures = runs.iter().map(of).collect();
            let rate = median(
                runs.iter()
                    .map(|run| run.requests as f64 / run.seconds)
                    .collect(),
            );
            let _ = write!(
                line,
                "\n  {:9} {}  (quartiles {}; {rate:.0} requests/s)",
                subject.name(),
                self.cell(*subject),
                quartiles(figures)
            );
        }
        for peer in [Subject::Haproxy, Subject::Nginx] {
            let Some(ratio) = self.ratio(peer) else {
                continue;
            };
            let _ = write!(
                line,
                "\n  vs {:9} {ratio:.3} (quartiles {}; {} pairs)",
                peer.name(),
                quartiles(self.ratios(peer).unwrap_or_default()),
                self.runs[&peer].len()
            );
        }
        line
    }
}

/// The table of all rows, in Markdown.
pub(super) fn table(rows: &[Row], versions: &[(Subject, String)]) -> String {
    let mut text = String::from("| case | unit |");
    for (subject, version) in versions {
        let _ = write!(text, " {} {version} |", subject.name());
    }
    text.push_str(" vs HAProxy | vs nginx |\n| --- | --- |");
    text.push_str(&" --- |".repeat(versions.len() + 2));
    text.push('\n');
    for row in rows {
        let _ = write!(text, "| {} | {} |", row.title(), row.case.metric.unit());
        for (subject, _) in versions {
            let _ = write!(text, " {}", row.cell(*subject));
            if *subject == Subject::Catamaran
                && let Some(goal) = row.case.goal
            {
                let missed = row.figure(*subject).is_some_and(|figure| figure > goal);
                let word = if missed { "missed ≤" } else { "≤" };
                let _ = write!(text, " ({word} {goal:.0})");
            }
            text.push_str(" |");
        }
        let [haproxy, nginx] = row.case.goals;
        let _ = writeln!(
            text,
            " {} | {} |",
            row.verdict(Subject::Haproxy, haproxy),
            row.verdict(Subject::Nginx, nginx)
        );
    }
    text
}

/// The whole of `docs/benchmarks.md`.
pub(super) fn document(
    rows: &[Row],
    versions: &[(Subject, String)],
    runs: usize,
    window: Duration,
) -> String {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    // Only the version proper: what a builder appended says nothing.
    let kernel = kernel.split('-').next().unwrap_or_default().trim();
    format!(
        "{METHOD}\n## Figures\n\
         2 cores, loopback, Linux {kernel}; {runs} runs, {} s for each proxy in each. CPU figures \
         read total = user + system. The ratios are ours divided by theirs; the goal stands in \
         brackets.\n\n{}",
        window.as_secs_f64(),
        table(rows, versions)
    )
}

/// What a quarter and three quarters of the figures do not exceed.
fn quartiles(mut figures: Vec<f64>) -> String {
    figures.sort_unstable_by(f64::total_cmp);
    let at = |quarters: usize| figures.get(figures.len() * quarters / 4).copied();
    match (at(1), at(3)) {
        (Some(low), Some(high)) => format!("{low:.2} to {high:.2}"),
        _ => "–".to_owned(),
    }
}

pub(super) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => figures[middle],
        _ => f64::midpoint(figures[middle - 1], figures[middle]),
    }
}

const METHOD: &str = "\
# Benchmarks
Written by `cargo xtask bench --write`, which anyone can repeat: it builds catamaran, takes HAProxy
and nginx as Debian packages them, and writes this file anew.

## Method
- **What is measured**: CPU time of the proxy's processes, by the scheduler's own count, over a
  window after a second of warm-up, divided by the requests (or 10^6 bytes) that clients got in it.
  That figure holds whether or not the proxy is saturated. The split into user and system time
  comes from the kernel's tick sampling and is coarser than the sum.
- **Where**: the proxy with one worker (thread) on core 0; load generator and origins, small epoll
  programs of our own, on core 1. A virtual machine changes its pace within seconds, by more than the
  proxies differ. So all of them run side by side with connections of their own and take turns of
  0.25 s, one with load and the others silent, each round begun by another; the figures are medians of
  all turns, **the ratio is the median of the ratios of turns of the same round**. Each run has fresh
  processes. A round in which the host took more than 2 % of the cores' time for others (steal,
  proc(5)) does not count. Slow readers, idle connections and latency need a run of their own for each
  proxy, one after another; such a run is repeated up to six times while time is stolen.
- **Same work**: two origins in round robin, connections to the origins kept and shared
  (`http-reuse always`, `keepalive 64`), finite timeouts, `X-Forwarded-For` set (catamaran sets
  `-Proto` and `-Host` too), access log off except in its own case, where each writes a line per
  request to a file. catamaran and HAProxy check each origin every 2 s; nginx cannot. HAProxy runs
  with `option splice-auto` where bodies are large; nginx with `proxy_buffering` as it comes.
  The configurations are in `xtask/src/bench/subject.rs`.
- **Slow readers**: 1,000 connections that take 64 KiB every 200 ms into a receive buffer of
  128 KiB, at all stages of their bodies at any time.
- **Idle**: growth of resident memory over 5,000 connections that each had one request, after 64
  busy connections have warmed the pools; the sum over the proxy's processes.
- **Latency**: open loop at half of the rate that HAProxy reached with 64 closed loops in the same
  session; counted from the time a request was due, so that a stall is seen by all it delayed.
- A run with a single failed request does not count: the benchmark stops.

What it does not show: other machines, real networks, TLS, many cores.
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::case::CASES;

    fn outcome(cpu_seconds: f64) -> Outcome {
        Outcome {
            requests: 100_000,
            cpu_seconds,
            user_seconds: cpu_seconds / 4.0,
            system_seconds: cpu_seconds * 3.0 / 4.0,
            seconds: 2.0,
            ..Outcome::default()
        }
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(vec![4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < 1e-9);
    }

    #[test]
    fn a_missed_goal_stands_out_and_an_absent_peer_is_a_dash() {
        let mut row = Row::new(&CASES[0], 0.0);
        row.add(Subject::Catamaran, outcome(1.6));
        row.add(Subject::Haproxy, outcome(2.0));
        let versions = [(Subject::Catamaran, "0.1.0".to_owned())];
        let text = table(&[row], &versions);
        assert!(text.contains("| 16.0 = 4.0 + 12.0 |"), "{text}");
        assert!(text.contains("| **0.80** (missed ≤ 0.75) | – |"), "{text}");
    }
}
