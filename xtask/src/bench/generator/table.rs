//! Figures of all runs, and the table of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::plan::{Figure, Goal, Group, Row};
use super::trial::Cost;
use crate::bench::report::median;

/// What one run gave.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    pub(super) cost: Cost,
    pub(super) requests: f64,
    /// How many there should have been; 0 if that is not known.
    pub(super) due: f64,
    pub(super) vus: u32,
}

/// The runs of a group, by contender, in their order.
pub(super) type Runs = BTreeMap<&'static str, Vec<Outcome>>;

/// A figure beside that of the peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verdict {
    ours: f64,
    /// Theirs, and the median of the ratios of neighbouring runs, ours to theirs.
    theirs: Option<(f64, f64)>,
    goal: Goal,
}

impl Verdict {
    /// Of a row, if its runs were made.
    pub(super) fn of(row: &Row, runs: &Runs) -> Option<Self> {
        let ours = figures(row.figure, row.ours, runs)?;
        let theirs = row.peer.and_then(|peer| figures(row.figure, peer, runs));
        let theirs = theirs.map(|theirs| {
            let ratios = ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs);
            (median(theirs.clone()), median(ratios.collect()))
        });
        Some(Self {
            ours: median(ours),
            theirs,
            goal: row.goal,
        })
    }

    /// Whether the goal is met; `None`, if there is none or nobody to compare with.
    pub(super) fn is_met(&self) -> Option<bool> {
        let ratio = self.theirs.map(|(_, ratio)| ratio);
        Some(match self.goal {
            Goal::Less(times) => 1.0 / ratio? >= times,
            Goal::Ratio(most) => ratio? <= most,
            Goal::Most(most) => self.ours <= most,
            Goal::None => return None,
        })
    }

    fn told(&self) -> String {
        let ratio = self.theirs.map(|(_, ratio)| ratio);
        let (figure, goal) = match (self.goal, ratio) {
            (Goal::Less(times), Some(ratio)) => {
                (format!("{:.1}× less", 1.0 / ratio), format!("≥ {times}×"))
            }
            (Goal::Ratio(most), Some(ratio)) => (format!("{ratio:.2}"), format!("≤ {most}")),
            (Goal::Most(most), Some(ratio)) => (format!("{ratio:.2}"), format!("ours ≤ {most}")),
            (Goal::Most(most), None) => (String::new(), format!("≤ {most}")),
            (Goal::None, Some(ratio)) => return format!("{ratio:.2}"),
            _ => return "–".to_owned(),
        };
        match (self.is_met(), figure.is_empty()) {
            (Some(false), true) => format!("**missed** ({goal})"),
            (Some(false), false) => format!("**{figure}** (missed {goal})"),
            (_, true) => format!("({goal})"),
            (_, false) => format!("{figure} ({goal})"),
        }
    }
}

fn figures(figure: Figure, name: &str, runs: &Runs) -> Option<Vec<f64>> {
    let own = runs.get(name)?;
    let base = if figure.has_base() {
        Some(runs.get(format!("{name} 1").as_str())?)
    } else {
        None
    };
    let value = |at: usize, outcome: &Outcome| -> Option<f64> {
        let cost = &outcome.cost;
        Some(match figure {
            Figure::CpuPerRequest => cost.cpu() * 1e6 / outcome.requests,
            Figure::Peak => cost.peak_bytes / 1e6,
            Figure::PerVu => {
                let one = &base?.get(at)?.cost;
                (cost.peak_bytes - one.peak_bytes) / 1e3 / f64::from(outcome.vus - 1)
            }
            Figure::Start => cost.cpu() - base?.get(at)?.cost.cpu(),
            Figure::Accuracy => (outcome.requests / outcome.due - 1.0).abs() * 100.0,
            Figure::Growth => cost.grown_bytes / 1e6,
        })
    };
    let all: Vec<_> = own
        .iter()
        .enumerate()
        .filter_map(|(at, outcome)| value(at, outcome))
        .collect();
    (!all.is_empty()).then_some(all)
}

/// A figure as the table has it; CPU time with its parts in user mode and in the kernel.
fn cell(figure: Figure, name: &str, runs: &Runs, value: f64) -> String {
    match figure {
        Figure::CpuPerRequest => {
            let own = runs.get(name).into_iter().flatten();
            let (user, all) = own.fold((0.0, 0.0), |(user, all), outcome| {
                (user + outcome.cost.user, all + outcome.cost.cpu())
            });
            let user = value * user / all;
            format!("{value:.1} = {user:.1} + {:.1}", value - user)
        }
        Figure::Start | Figure::Accuracy => format!("{value:.3}"),
        Figure::Peak | Figure::Growth => format!("{value:.1}"),
        Figure::PerVu => format!("{value:.0}"),
    }
}

/// The head of the table.
pub(super) const HEAD: &str = "\
| run | unit | catamaran | peer | | ours to theirs (goal) |
| --- | --- | --- | --- | --- | --- |
";

/// The lines of a group.
pub(super) fn lines(group: &Group, runs: &Runs) -> String {
    let mut text = String::new();
    for row in group.rows {
        let Some(verdict) = Verdict::of(row, runs) else {
            continue;
        };
        let peer = row.peer.map(|peer| {
            let found = group.contenders.iter().find(|one| one.name == peer);
            found.map_or("–", |one| one.tool.name())
        });
        let theirs = match (row.peer, verdict.theirs) {
            (Some(peer), Some((value, _))) => cell(row.figure, peer, runs, value),
            (Some(_), None) => "not there".to_owned(),
            (None, _) => "–".to_owned(),
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {theirs} | {} |",
            row.title,
            row.figure.unit(),
            cell(row.figure, row.ours, runs, verdict.ours),
            peer.unwrap_or("–"),
            verdict.told(),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::plan::GROUPS;
    use super::*;

    fn outcome(cpu: f64, megabytes: f64, vus: u32) -> Outcome {
        let cost = Cost {
            user: cpu / 2.0,
            system: cpu / 2.0,
            peak_bytes: megabytes * 1e6,
            ..Cost::default()
        };
        Outcome {
            cost,
            requests: 1e6,
            due: 0.0,
            vus,
        }
    }

    #[test]
    fn ratios_are_those_of_neighbouring_runs_and_a_missed_goal_stands_out() {
        let runs = Runs::from([
            (
                "get",
                vec![outcome(10.0, 20.0, 50), outcome(20.0, 20.0, 50)],
            ),
            (
                "k6 get",
                vec![outcome(50.0, 90.0, 50), outcome(100.0, 90.0, 50)],
            ),
            ("wrk", vec![outcome(5.0, 5.0, 50), outcome(10.0, 5.0, 50)]),
        ]);
        let text = lines(&GROUPS[0], &runs);
        assert!(
            text.contains("| 15.0 = 7.5 + 7.5 | k6 | 75.0 = 37.5 + 37.5 | 5.0× less (≥ 4.5×) |"),
            "{text}"
        );
        assert!(text.contains("| **2.00** (missed ≤ 1.6) |"), "{text}");
        assert!(!text.contains("oha"), "{text}");
    }

    #[test]
    fn memory_per_virtual_user_is_what_the_others_add_to_one() {
        let runs = Runs::from([
            ("strict 1", vec![outcome(1.0, 10.0, 1)]),
            ("strict", vec![outcome(1.0, 109.9, 1000)]),
        ]);
        let text = lines(&GROUPS[2], &runs);
        assert!(
            text.contains("| 100 | k6 | not there | (≤ 135) |"),
            "{text}"
        );
    }
}
