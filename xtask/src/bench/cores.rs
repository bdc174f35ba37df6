//! What the host of a virtual machine takes from its cores.
//!
//! A core that is given to another machine for a while finds its caches cold when it comes back, and
//! the time away may be counted as that of the process: such a run says little of the proxy.

use std::fs;

use anyhow::{Context, Result};

/// How all cores together spent their time since boot, in ticks (`/proc/stat`, proc(5)).
pub(super) struct CoreTime {
    stolen: u64,
    all: u64,
}

impl CoreTime {
    pub(super) fn now() -> Result<Self> {
        let text = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
        Self::parse(&text).context("/proc/stat is of another form")
    }

    fn parse(text: &str) -> Option<Self> {
        let words = text.lines().next()?.strip_prefix("cpu ")?;
        let ticks: Result<Vec<u64>, _> = words.split_whitespace().map(str::parse).collect();
        let ticks = ticks.ok()?;
        // user, nice, system, idle, iowait, irq, softirq, steal; guests are counted as user too.
        let ticks = ticks.get(..8)?;
        Some(Self {
            stolen: ticks[7],
            all: ticks.iter().sum(),
        })
    }

    /// The share of all time since `before` that was stolen, 0 to 1.
    pub(super) fn stolen_since(&self, before: &Self) -> f64 {
        let all = self.all.saturating_sub(before.all).max(1);
        self.stolen.saturating_sub(before.stolen) as f64 / all as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stolen_time_is_the_eighth_figure_of_the_first_line() {
        let before = CoreTime::parse("cpu  10 0 10 100 0 0 0 5 7 0\ncpu0 1 1\n").unwrap();
        let after = CoreTime::parse("cpu  40 0 20 140 0 0 0 25 7 0\n").unwrap();
        assert!((after.stolen_since(&before) - 0.2).abs() < 1e-9);
        assert!(CoreTime::parse("cpu0 1 2 3").is_none());
        assert!(CoreTime::parse("cpu  1 2 3").is_none());
    }
}
