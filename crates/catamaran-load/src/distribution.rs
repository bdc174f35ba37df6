//! How values are spread: exact while they are few, in buckets of 0.2 % once they are many.
//!
//! A run of a few thousand requests gets the very percentiles that sorting its values gives. A run of
//! a billion gets them within 0.1 % in half a megabyte at most, however long it lasts. Both are
//! interpolated between neighbouring ranks, as k6 does.

/// Values kept one by one before they go into buckets.
pub const EXACT_VALUES: usize = 10_000;

/// A multiset of finite numbers.
#[derive(Clone, Debug, Default)]
pub struct Distribution {
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
    values: Values,
}

/// What is kept of a [`Distribution`], to be sent and put together again.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Parts {
    pub(crate) sum: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) values: Kept,
}

/// Its values.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kept {
    /// One by one.
    Exact(Vec<f64>),
    /// Buckets that hold any, and how many: 0 for zeros, from 1 on positive values, from -1 down
    /// negative ones.
    Buckets(Vec<(i64, u64)>),
}

#[derive(Clone, Debug)]
enum Values {
    Exact(Vec<f64>),
    Buckets(Box<Buckets>),
}

impl Default for Values {
    fn default() -> Self {
        Self::Exact(Vec::new())
    }
}

impl Distribution {
    /// Returns one without values.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a value. What is no number, or no finite one, is left out.
    pub fn record(&mut self, value: f64) {
        self.record_times(value, 1);
    }

    /// Adds a value `times` times.
    pub fn record_times(&mut self, value: f64, times: u64) {
        if !value.is_finite() || times == 0 {
            return;
        }
        if self.count == 0 {
            (self.min, self.max) = (value, value);
        } else {
            self.min = self.min.min(value);
            self.max = self.max.max(value);
        }
        self.count += times;
        self.sum += value * as_f64(times);
        if let Values::Exact(values) = &mut self.values {
            let room = (EXACT_VALUES - values.len()) as u64;
            if times <= room {
                values.extend(std::iter::repeat_n(
                    value,
                    usize::try_from(times).unwrap_or(0),
                ));
                return;
            }
        }
        self.buckets().add(value, times);
    }

    /// Adds all values of `other`.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            self.clone_from(other);
            return;
        }
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.count += other.count;
        self.sum += other.sum;
        match (&mut self.values, &other.values) {
            (Values::Exact(mine), Values::Exact(theirs))
                if mine.len() + theirs.len() <= EXACT_VALUES =>
            {
                mine.extend_from_slice(theirs);
            }
            (_, Values::Exact(theirs)) => {
                let buckets = self.buckets();
                for &value in theirs {
                    buckets.add(value, 1);
                }
            }
            (_, Values::Buckets(theirs)) => self.buckets().merge(theirs),
        }
    }

    /// What is kept of it; with `is_coarse` its buckets, however few values there are.
    pub(crate) fn parts(&self, is_coarse: bool) -> Parts {
        let values = match &self.values {
            Values::Exact(values) if !is_coarse || values.is_empty() => Kept::Exact(values.clone()),
            Values::Exact(_) => Kept::Buckets(self.clone().buckets().counts()),
            Values::Buckets(buckets) => Kept::Buckets(buckets.counts()),
        };
        Parts {
            sum: self.sum,
            min: self.min,
            max: self.max,
            values,
        }
    }

    /// Puts one together. `None` of what none can be made of.
    pub(crate) fn of_parts(parts: Parts) -> Option<Self> {
        let Parts { sum, min, max, .. } = parts;
        let (count, values) = match parts.values {
            Kept::Exact(values) => {
                let is_sound =
                    values.len() <= EXACT_VALUES && values.iter().all(|value| value.is_finite());
                is_sound.then_some(())?;
                (values.len() as u64, Values::Exact(values))
            }
            Kept::Buckets(counts) => {
                let mut buckets = Box::<Buckets>::default();
                let mut sum = 0_u64;
                for (bucket, count) in counts {
                    // Of counts that do not fit no percentile can be told.
                    sum = sum.checked_add(count).filter(|&sum| sum < 1 << 53)?;
                    buckets.add_to(bucket, count)?;
                }
                (sum, Values::Buckets(buckets))
            }
        };
        let is_sound = sum.is_finite() && min.is_finite() && max.is_finite() && min <= max;
        is_sound.then_some(Self {
            count,
            sum,
            min,
            max,
            values,
        })
    }

    /// Number of values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Sum of the values.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// The least value, exactly; 0 without values.
    #[must_use]
    pub fn min(&self) -> f64 {
        self.min
    }

    /// The greatest value, exactly; 0 without values.
    #[must_use]
    pub fn max(&self) -> f64 {
        self.max
    }

    /// The mean; 0 without values.
    #[must_use]
    pub fn mean(&self) -> f64 {
        if self.count == 0 {
            return 0.0;
        }
        self.sum / as_f64(self.count)
    }

    /// The values at shares of the ranks, each 0 to 1; zeros without values. One call sorts once.
    #[must_use]
    pub fn quantiles(&self, shares: &[f64]) -> Vec<f64> {
        if self.count == 0 {
            return vec![0.0; shares.len()];
        }
        match &self.values {
            Values::Exact(values) => {
                let mut sorted = values.clone();
                sorted.sort_unstable_by(f64::total_cmp);
                let at = |rank: u64| sorted[usize::try_from(rank).unwrap_or(usize::MAX)];
                shares
                    .iter()
                    .map(|&share| self.between(share, at))
                    .collect()
            }
            Values::Buckets(buckets) => {
                let at = |rank: u64| match rank {
                    0 => self.min,
                    _ if rank + 1 == self.count => self.max,
                    _ => buckets.value_at(rank).clamp(self.min, self.max),
                };
                shares
                    .iter()
                    .map(|&share| self.between(share, at))
                    .collect()
            }
        }
    }

    /// The value at one share of the ranks.
    #[must_use]
    pub fn quantile(&self, share: f64) -> f64 {
        self.quantiles(&[share])[0]
    }

    /// How many values are at most as great as each of `bounds`, which grow.
    #[must_use]
    pub fn counts_up_to(&self, bounds: &[f64]) -> Vec<u64> {
        let mut counts = vec![0; bounds.len()];
        let mut add = |value: f64, times: u64| {
            let first = bounds.partition_point(|&bound| bound < value);
            if let Some(count) = counts.get_mut(first) {
                *count += times;
            }
        };
        match &self.values {
            Values::Exact(values) => values.iter().for_each(|&value| add(value, 1)),
            Values::Buckets(buckets) => buckets.each(add),
        }
        let mut sum = 0;
        for count in &mut counts {
            sum += *count;
            *count = sum;
        }
        counts
    }

    /// Interpolates between the two ranks around `share`.
    fn between(&self, share: f64, at: impl Fn(u64) -> f64) -> f64 {
        let last = self.count - 1;
        let position = share.clamp(0.0, 1.0) * as_f64(last);
        let lower = as_rank(position.floor()).min(last);
        let upper = as_rank(position.ceil()).min(last);
        let low = at(lower);
        if lower == upper {
            return low;
        }
        low + (at(upper) - low) * (position - position.floor())
    }

    /// The buckets; what was exact moves there.
    fn buckets(&mut self) -> &mut Buckets {
        if let Values::Exact(values) = &self.values {
            let mut buckets = Box::<Buckets>::default();
            for &value in values {
                buckets.add(value, 1);
            }
            self.values = Values::Buckets(buckets);
        }
        match &mut self.values {
            Values::Buckets(buckets) => buckets,
            Values::Exact(_) => unreachable!("exact values have just moved to buckets"),
        }
    }
}

/// Counts by bucket. A bucket spans 1/512 of an octave's lower end, so that its middle is within
/// 0.1 % of any value in it.
#[derive(Clone, Debug, Default)]
struct Buckets {
    negative: Window,
    zeros: u64,
    positive: Window,
}

/// Counts of neighbouring buckets, as far as they were needed.
#[derive(Clone, Debug, Default)]
struct Window {
    /// Number of the first bucket in `counts`.
    first: usize,
    counts: Vec<u64>,
    total: u64,
}

impl Buckets {
    fn add(&mut self, value: f64, times: u64) {
        if value > 0.0 {
            self.positive.add(bucket_of(value), times);
        } else if value < 0.0 {
            self.negative.add(bucket_of(-value), times);
        } else {
            self.zeros += times;
        }
    }

    fn merge(&mut self, other: &Self) {
        self.zeros += other.zeros;
        self.positive.merge(&other.positive);
        self.negative.merge(&other.negative);
    }

    /// The buckets that hold any, by number: see [`Kept::Buckets`].
    fn counts(&self) -> Vec<(i64, u64)> {
        let mut counts = vec![(0, self.zeros)];
        for (sign, window) in [(-1, &self.negative), (1, &self.positive)] {
            let first = number(window.first);
            let own = window.counts.iter().zip(first..);
            counts.extend(own.map(|(&count, bucket)| (sign * (bucket + 1), count)));
        }
        counts.retain(|&(_, count)| count > 0);
        counts
    }

    /// Adds to the bucket of this number; `None` if there is none.
    fn add_to(&mut self, bucket: i64, times: u64) -> Option<()> {
        let Some(at) = bucket.unsigned_abs().checked_sub(1) else {
            self.zeros += times;
            return Some(());
        };
        let at = usize::try_from(at).ok().filter(|&at| at < BUCKETS)?;
        let window = if bucket > 0 {
            &mut self.positive
        } else {
            &mut self.negative
        };
        window.add(at, times);
        Some(())
    }

    /// Hands out a value of each bucket, and how many are in it.
    fn each(&self, mut each: impl FnMut(f64, u64)) {
        each(0.0, self.zeros);
        for (sign, window) in [(-1.0, &self.negative), (1.0, &self.positive)] {
            for (index, &count) in window.counts.iter().enumerate() {
                each(sign * middle_of(window.first + index), count);
            }
        }
    }

    fn value_at(&self, rank: u64) -> f64 {
        if rank < self.negative.total {
            return -self.negative.value_at(self.negative.total - 1 - rank);
        }
        let rank = rank - self.negative.total;
        if rank < self.zeros {
            return 0.0;
        }
        self.positive.value_at(rank - self.zeros)
    }
}

impl Window {
    fn add(&mut self, bucket: usize, times: u64) {
        self.cover(bucket, bucket + 1);
        self.counts[bucket - self.first] += times;
        self.total += times;
    }

    fn merge(&mut self, other: &Self) {
        if other.counts.is_empty() {
            return;
        }
        self.cover(other.first, other.first + other.counts.len());
        let shift = other.first - self.first;
        for (mine, theirs) in self.counts[shift..].iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
    }

    /// Makes room for the buckets `from..to`, with an octave to spare on each side that grows.
    fn cover(&mut self, from: usize, to: usize) {
        if self.counts.is_empty() {
            self.first = from;
        }
        if from < self.first {
            let first = from.saturating_sub(PER_OCTAVE);
            let missing = self.first - first;
            self.counts.splice(0..0, std::iter::repeat_n(0, missing));
            self.first = first;
        }
        if to > self.first + self.counts.len() {
            self.counts
                .resize((to + PER_OCTAVE).min(BUCKETS) - self.first, 0);
        }
    }

    fn value_at(&self, rank: u64) -> f64 {
        let mut seen = 0;
        for (index, &count) in self.counts.iter().enumerate() {
            seen += count;
            if rank < seen {
                return middle_of(self.first + index);
            }
        }
        0.0
    }
}

/// The number of the bucket of a positive value: its exponent and the first bits of its fraction.
fn bucket_of(value: f64) -> usize {
    let bits = value.clamp(LEAST, GREATEST).to_bits() - LEAST.to_bits();
    usize::try_from(bits >> FRACTION_BITS_LEFT_OUT).unwrap_or(BUCKETS - 1)
}

fn number(bucket: usize) -> i64 {
    i64::try_from(bucket).unwrap_or(i64::MAX)
}

/// The value in the middle of a bucket.
fn middle_of(bucket: usize) -> f64 {
    let bits = ((bucket as u64) << FRACTION_BITS_LEFT_OUT) + (1 << (FRACTION_BITS_LEFT_OUT - 1));
    f64::from_bits(LEAST.to_bits() + bits)
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank is whole, not negative, and far below 2^53"
)]
fn as_rank(position: f64) -> u64 {
    position as u64
}

/// Bits of the fraction (of 52) that do not count: 9 do, which makes 512 buckets an octave.
const FRACTION_BITS_LEFT_OUT: u32 = 52 - 9;
const PER_OCTAVE: usize = 512;
/// 2^-64 and just below 2^64: what lies outside is counted in the outermost buckets.
const LEAST: f64 = 1.0 / 18_446_744_073_709_551_616.0;
const GREATEST: f64 = 18_446_744_073_709_549_568.0;
const BUCKETS: usize = 128 * PER_OCTAVE;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: impl IntoIterator<Item = f64>) -> Distribution {
        let mut distribution = Distribution::new();
        values
            .into_iter()
            .for_each(|value| distribution.record(value));
        distribution
    }

    /// What sorting all values says.
    fn truth(values: &[f64], share: f64) -> f64 {
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let position = share * (sorted.len() - 1) as f64;
        let at = |rank: f64| sorted[usize::try_from(as_rank(rank)).unwrap()];
        let (low, high) = (at(position.floor()), at(position.ceil()));
        low + (high - low) * position.fract()
    }

    #[test]
    fn few_values_are_interpolated_exactly() {
        // Two durations and k6 v2.2's own percentiles of them.
        let two = of([1.117_992, 1.661_04]);
        assert_eq!(two.quantile(0.5), 1.389_516);
        assert!((two.quantile(0.9) - 1.606_735_2).abs() < 1e-12);
        assert!((two.quantile(0.95) - 1.633_887_6).abs() < 1e-12);
        assert_eq!(
            (two.min(), two.max(), two.count()),
            (1.117_992, 1.661_04, 2)
        );
    }

    #[test]
    fn many_values_are_within_a_fifth_of_a_percent() {
        let mut rng = fastrand::Rng::with_seed(7);
        let values: Vec<_> = (0..60_000)
            .map(|_| (rng.f64() * 18.0 - 7.0).exp())
            .collect();
        let many = of(values.iter().copied());
        for share in [0.0, 0.001, 0.25, 0.5, 0.9, 0.99, 0.999, 1.0] {
            let (found, right) = (many.quantile(share), truth(&values, share));
            assert!(
                (found / right - 1.0).abs() < 0.002,
                "{share}: {found} {right}"
            );
        }
        assert!((many.mean() / (values.iter().sum::<f64>() / 60_000.0) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn parts_merged_are_the_whole() {
        let mut rng = fastrand::Rng::with_seed(3);
        for parts in [
            [10, 20, 30],
            [9_000, 900, 200],
            [30_000, 5, 0],
            [0, 11_000, 12_000],
        ] {
            let mut whole = Distribution::new();
            let mut merged = Distribution::new();
            for count in parts {
                let mut part = Distribution::new();
                for _ in 0..count {
                    let value = rng.f64() * 100.0 - 20.0;
                    whole.record(value);
                    part.record(value);
                }
                merged.merge(&part);
            }
            assert_eq!(whole.count(), merged.count());
            for share in [0.0, 0.1, 0.5, 0.99, 1.0] {
                let (one, other) = (whole.quantile(share), merged.quantile(share));
                assert!(
                    (one - other).abs() < 1e-9,
                    "{parts:?} {share}: {one} {other}"
                );
            }
        }
    }

    #[test]
    fn parts_put_together_are_the_same() {
        let few = of([1.5, -2.0, 0.0, 7.25]);
        let many = of((0..20_000).map(|n| f64::from(n) / 7.0 - 300.0));
        for (one, is_coarse) in [
            (&few, false),
            (&many, false),
            (&few, true),
            (&Distribution::new(), true),
        ] {
            let same = Distribution::of_parts(one.parts(is_coarse)).unwrap();
            // Added to many, a few and their buckets come to the same.
            let (mut sum, mut other) = (many.clone(), many.clone());
            sum.merge(one);
            other.merge(&same);
            let shares = [0.0, 0.01, 0.5, 0.99, 1.0];
            assert_eq!(sum.quantiles(&shares), other.quantiles(&shares));
            assert_eq!((one.count(), one.sum()), (same.count(), same.sum()));
            if !is_coarse {
                assert_eq!(one.quantiles(&shares), same.quantiles(&shares));
            }
        }
    }

    #[test]
    fn parts_that_make_no_sense_are_refused() {
        let of = |values: Kept, sum: f64| {
            let (min, max) = (0.0, 1.0);
            Distribution::of_parts(Parts {
                sum,
                min,
                max,
                values,
            })
        };
        assert!(of(Kept::Exact(vec![0.0; EXACT_VALUES]), 0.0).is_some());
        assert!(of(Kept::Exact(vec![0.0; EXACT_VALUES + 1]), 0.0).is_none());
        assert!(of(Kept::Exact(vec![f64::NAN]), 0.0).is_none());
        assert!(of(Kept::Exact(vec![1.0]), f64::INFINITY).is_none());
        let last = number(BUCKETS);
        assert!(of(Kept::Buckets(vec![(last, 1), (-last, 1), (0, 1)]), 0.0).is_some());
        assert!(of(Kept::Buckets(vec![(last + 1, 1)]), 0.0).is_none());
        assert!(of(Kept::Buckets(vec![(i64::MIN, 1)]), 0.0).is_none());
        assert!(of(Kept::Buckets(vec![(1, u64::MAX), (2, 1)]), 0.0).is_none());
    }

    #[test]
    fn values_are_counted_below_bounds() {
        for times in [1, 20_000] {
            let mut distribution = Distribution::new();
            for value in [-4.0, 0.0, 1.5, 2.5, 9.0] {
                distribution.record_times(value, times);
            }
            let counts = distribution.counts_up_to(&[-5.0, 0.0, 2.0, 3.0]);
            assert_eq!(counts, [0, 2 * times, 3 * times, 4 * times]);
        }
    }

    #[test]
    fn a_value_many_times_is_that_value_many_times() {
        let mut distribution = of([1.0]);
        distribution.record_times(3.0, 1_000_000);
        assert_eq!(distribution.count(), 1_000_001);
        assert_eq!(distribution.quantile(0.5), distribution.quantile(0.9));
        assert!((distribution.quantile(0.5) / 3.0 - 1.0).abs() < 0.001);
        assert_eq!(distribution.quantile(0.0), 1.0);
    }

    #[test]
    fn odd_values_do_no_harm() {
        let mut odd = of([f64::NAN, f64::INFINITY, 0.0, -0.0, 1e-300, 1e300, -1e300]);
        assert_eq!(odd.count(), 5);
        odd.record_times(f64::MIN_POSITIVE, 20_000);
        assert_eq!((odd.min(), odd.max()), (-1e300, 1e300));
        assert!(odd.quantile(0.5) >= 0.0 && odd.quantile(0.5) < 1e-18);
        assert_eq!(Distribution::new().quantile(0.5), 0.0);
    }
}
