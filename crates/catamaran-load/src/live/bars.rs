//! A bar for each scenario: how far it is.

use std::time::Duration;

use crate::engine::Progress;
use crate::scenario::{Executor, Scenario};
use crate::schedule::Stage;
use crate::summary::number_text;
use crate::time_text::exact;

/// One line for each scenario; some of many.
pub(super) fn bars(scenarios: &[Scenario], progress: &Progress<'_>) -> Vec<String> {
    let names = scenarios
        .iter()
        .map(|scenario| scenario.name.chars().count());
    let width = names.max().unwrap_or(0).min(MAX_NAME);
    let shown = scenarios.iter().zip(0..).take(MAX_BARS);
    let mut lines: Vec<String> = shown
        .map(|(scenario, index)| {
            let begun = progress.begun.get(index).copied().unwrap_or(0);
            line(scenario, width, progress.elapsed, begun)
        })
        .collect();
    if scenarios.len() > MAX_BARS {
        lines.push(format!("and {} more scenarios", scenarios.len() - MAX_BARS));
    }
    lines
}

fn line(scenario: &Scenario, width: usize, elapsed: Duration, begun: u64) -> String {
    let name: String = scenario.name.chars().take(width).collect();
    let Some(own) = elapsed.checked_sub(scenario.start_time) else {
        let left = scenario.start_time - elapsed;
        let left = exact(Duration::from_secs(left.as_secs().max(1)));
        return format!("{name:<width$}   [{}] begins in {left}", "-".repeat(CELLS));
    };
    let whole = scenario.executor.regular_duration();
    let mut share = ratio(own.as_secs_f64(), whole.as_secs_f64());
    let mut notes = vec![format!("{} VUs", users(&scenario.executor, own))];
    let seconds = |time: Duration| exact(Duration::from_secs(time.as_secs()));
    notes.push(format!("{}/{}", seconds(own.min(whole)), exact(whole)));
    match &scenario.executor {
        Executor::SharedIterations { iterations, .. } => {
            let begun = begun.min(*iterations);
            #[expect(clippy::cast_precision_loss, reason = "a share needs no more")]
            let by_count = ratio(begun as f64, *iterations as f64);
            share = share.max(by_count);
            notes.push(format!("{begun}/{iterations} shared iters"));
        }
        Executor::PerVuIterations { iterations, .. } => {
            notes.push(format!("{iterations} iters per VU"));
        }
        Executor::ConstantArrivalRate {
            rate, time_unit, ..
        } => notes.push(per_second(*rate, *time_unit)),
        Executor::RampingArrivalRate {
            start_rate,
            stages,
            time_unit,
            ..
        } => notes.push(per_second(at(*start_rate, stages, own), *time_unit)),
        Executor::ConstantVus { .. } | Executor::RampingVus { .. } => {}
    }
    let mark = if share >= 1.0 { '✓' } else { ' ' };
    format!(
        "{name:<width$} {mark} [{}] {}",
        bar(share),
        notes.join("  ")
    )
}

/// Virtual users as planned at this time, or at most.
fn users(executor: &Executor, elapsed: Duration) -> String {
    match executor {
        Executor::RampingVus {
            start_vus, stages, ..
        } => {
            #[expect(clippy::cast_precision_loss, reason = "nobody has so many")]
            let now = at(*start_vus as f64, stages, elapsed).round();
            format!("{}/{}", number_text(now), executor.max_vus())
        }
        Executor::ConstantArrivalRate { .. } | Executor::RampingArrivalRate { .. } => {
            format!("up to {}", executor.max_vus())
        }
        _ => executor.max_vus().to_string(),
    }
}

/// Where a number is that moves through stages.
fn at(start: f64, stages: &[Stage], elapsed: Duration) -> f64 {
    let mut from = start;
    let mut left = elapsed;
    for stage in stages {
        let Some(rest) = left.checked_sub(stage.duration) else {
            let share = ratio(left.as_secs_f64(), stage.duration.as_secs_f64());
            return from + (stage.target - from) * share;
        };
        (from, left) = (stage.target, rest);
    }
    from
}

fn per_second(rate: f64, time_unit: Duration) -> String {
    let rate = rate / time_unit.as_secs_f64().max(1e-9);
    format!("{} iters/s", number_text((rate * 100.0).round() / 100.0))
}

/// A share of 1, 1 at most.
fn ratio(part: f64, whole: f64) -> f64 {
    if whole <= 0.0 {
        return 1.0;
    }
    (part / whole).clamp(0.0, 1.0)
}

fn bar(share: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is from 0 to the number of cells"
    )]
    let full = (share * f64::from(u8::try_from(CELLS).unwrap_or(0))).round() as usize;
    let full = full.min(CELLS);
    let head = if full > 0 && full < CELLS { ">" } else { "" };
    let line = "=".repeat(full - head.len().min(full));
    format!("{line}{head}{}", "-".repeat(CELLS - full))
}

const CELLS: usize = 24;
const MAX_NAME: usize = 16;
/// Bars that a screen has room for.
const MAX_BARS: usize = 12;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::scenario::Overload;

    fn scenario(name: &str, executor: Executor, start: u64) -> Scenario {
        Scenario {
            name: name.to_owned(),
            executor,
            start_time: Duration::from_secs(start),
            graceful_stop: Duration::ZERO,
            exec: "default".to_owned(),
            env: BTreeMap::new(),
            tags: BTreeMap::new(),
            overload: Overload::Drop,
        }
    }

    fn shown(scenarios: &[Scenario], seconds: u64, begun: &[u64]) -> Vec<String> {
        let progress = Progress {
            elapsed: Duration::from_secs(seconds),
            active: 0,
            made: 0,
            whole: 0,
            cut: 0,
            begun,
            second: None,
        };
        bars(scenarios, &progress)
    }

    #[test]
    fn a_bar_says_how_far_a_scenario_is() {
        let seconds = Duration::from_secs;
        let stages = vec![Stage {
            duration: seconds(10),
            target: 100.0,
        }];
        let all = [
            scenario(
                "a",
                Executor::ConstantVus {
                    vus: 2,
                    duration: seconds(10),
                },
                0,
            ),
            scenario(
                "later",
                Executor::ConstantVus {
                    vus: 1,
                    duration: seconds(10),
                },
                8,
            ),
            scenario(
                "b",
                Executor::SharedIterations {
                    vus: 1,
                    iterations: 4,
                    max_duration: seconds(600),
                },
                0,
            ),
            scenario(
                "c",
                Executor::RampingArrivalRate {
                    start_rate: 0.0,
                    time_unit: seconds(1),
                    stages,
                    pre_allocated_vus: 1,
                    max_vus: 9,
                },
                0,
            ),
        ];
        let lines = shown(&all, 5, &[0, 0, 4, 0]);
        assert_eq!(lines[0], "a       [===========>------------] 2 VUs  5s/10s");
        assert_eq!(lines[1], "later   [------------------------] begins in 3s");
        assert_eq!(
            lines[2],
            "b     ✓ [========================] 1 VUs  5s/10m0s  4/4 shared iters"
        );
        assert!(
            lines[3].ends_with("up to 9 VUs  5s/10s  50 iters/s"),
            "{}",
            lines[3]
        );
        assert!(
            shown(&all[..1], 99, &[])[0].contains("✓ [=")
                && shown(&all[..1], 99, &[])[0].ends_with("10s/10s")
        );
    }

    #[test]
    fn many_scenarios_do_not_fill_the_screen() {
        let one = scenario(
            "a",
            Executor::ConstantVus {
                vus: 1,
                duration: Duration::ZERO,
            },
            0,
        );
        let lines = shown(&vec![one; 50], 1, &[]);
        assert_eq!(lines.last().unwrap(), "and 38 more scenarios");
    }
}
