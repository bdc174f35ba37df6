//! Which new traces are sampled.

use super::TraceId;

/// A part of all traces.
///
/// Decided by the trace's name, as OpenTelemetry's sampler by ratio does: whoever else samples the
/// same trace by a ratio that is as large comes to the same decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio {
    /// Traces are taken whose last 56 bits are below this.
    below: u64,
}

impl Ratio {
    /// No trace.
    pub const NONE: Self = Self { below: 0 };
    /// Every trace.
    pub const ALL: Self = Self { below: 1 << 56 };

    /// So many of a million traces; all of them at a million and above.
    #[must_use]
    pub fn of_million(parts: u64) -> Self {
        let parts = u128::from(parts.min(MILLION));
        let below = (parts << 56) / u128::from(MILLION);
        Self {
            below: u64::try_from(below).unwrap_or(Self::ALL.below),
        }
    }

    /// Whether the trace of this name is sampled.
    #[must_use]
    pub const fn takes(self, trace: TraceId) -> bool {
        trace.chance() < self.below
    }
}

const MILLION: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_takes_its_part() {
        let mut rng = fastrand::Rng::with_seed(11);
        for (parts, low, high) in [
            (0, 0, 0),
            (10_000, 800, 1_200),
            (500_000, 49_000, 51_000),
            (1_000_000, 100_000, 100_000),
            (u64::MAX, 100_000, 100_000),
        ] {
            let ratio = Ratio::of_million(parts);
            let taken = (0..100_000).filter(|_| ratio.takes(TraceId::random(&mut rng)));
            let taken = taken.count();
            assert!((low..=high).contains(&taken), "{parts}: {taken}");
        }
        assert_eq!(Ratio::of_million(1_000_000), Ratio::ALL);
        assert_eq!(Ratio::of_million(0), Ratio::NONE);
    }
}
