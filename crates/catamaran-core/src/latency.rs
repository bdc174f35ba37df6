//! Latencies by size: which bucket a time falls into, and what share of times lies below a bound.
//!
//! Ten buckets for each power of ten, with bounds that people write (1, 1.25, 1.5, 2, 2.5, 3, 4, 5,
//! 6, 8), from 10 µs to 60 s. Neighbours lie 20 to 33 % apart, so that a percentile is off by no more
//! than that, and usually by a fifth of it, since counts are taken as even within a bucket.

/// Upper bounds of the buckets in microseconds, each inclusive; what is above counts in one more.
pub const BOUNDS: [u64; 66] = bounds();

/// Buckets of a histogram.
pub const BUCKETS: usize = BOUNDS.len() + 1;

/// The bucket of a time in microseconds: the place of the first bound that is not below it.
#[must_use]
pub fn bucket(micros: u64) -> usize {
    // A cell is an eighth of a power of two: it holds one bound at most, so one look decides.
    let value = micros.clamp(LEAST, MOST);
    let first = usize::from(FIRST[cell(value)]);
    first + usize::from(value > BOUNDS.get(first).copied().unwrap_or(u64::MAX))
}

/// The time below which `share` (0 to 1) of all times lie, in microseconds; `None` without any.
///
/// What lies above the last bound counts as that.
#[must_use]
pub fn quantile(counts: &[u64], share: f64) -> Option<f64> {
    let total: u64 = counts.iter().sum();
    if total == 0 {
        return None;
    }
    let rank = share * float(total);
    let (mut below, mut lower) = (0, 0);
    for (count, upper) in counts.iter().zip(BOUNDS) {
        if *count > 0 && float(below + count) >= rank {
            let part = ((rank - float(below)) / float(*count)).max(0.0);
            return Some(float(lower) + part * float(upper - lower));
        }
        below += count;
        lower = upper;
    }
    Some(float(lower))
}

/// The least and the most time that buckets are told apart by.
const LEAST: u64 = 8;
const MOST: u64 = BOUNDS[BOUNDS.len() - 1] + 1;

/// Cells of an eighth of a power of two each, from [`LEAST`] to [`MOST`].
const CELLS: usize = cell(MOST) + 1;

/// The bucket of the lowest time of each cell.
const FIRST: [u8; CELLS] = first();

#[expect(
    clippy::cast_possible_truncation,
    reason = "three bits, and a logarithm that is below 64"
)]
const fn cell(value: u64) -> usize {
    let power = value.ilog2() - LEAST.ilog2();
    ((power as usize) << 3) | ((value >> power) as usize & 7)
}

const fn bounds() -> [u64; 66] {
    const FEW: [u64; 7] = [10, 20, 30, 40, 50, 60, 80];
    const STEPS: [u64; 10] = [100, 125, 150, 200, 250, 300, 400, 500, 600, 800];
    let mut bounds = [0; 66];
    let (mut place, mut power) = (0, 1);
    while place < bounds.len() {
        if place < FEW.len() {
            bounds[place] = FEW[place];
        } else {
            let step = (place - FEW.len()) % STEPS.len();
            bounds[place] = STEPS[step] * power;
            if step + 1 == STEPS.len() {
                power *= 10;
            }
        }
        place += 1;
    }
    bounds
}

#[expect(clippy::cast_possible_truncation, reason = "there are 67 buckets")]
const fn first() -> [u8; CELLS] {
    let mut first = [0; CELLS];
    let mut cell = 0;
    while cell < CELLS {
        let lowest = (8 + (cell as u64 & 7)) << (cell >> 3);
        let mut bucket = 0;
        while bucket < BOUNDS.len() && lowest > BOUNDS[bucket] {
            bucket += 1;
        }
        first[cell] = bucket as u8;
        cell += 1;
    }
    first
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a percentile needs no more digits"
)]
const fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_falls_into_the_first_bucket_whose_bound_is_not_below_it() {
        let slow = |micros: u64| BOUNDS.iter().take_while(|bound| **bound < micros).count();
        for micros in (0..200_000).chain((200_000..70_000_000).step_by(997)) {
            assert_eq!(bucket(micros), slow(micros), "{micros}");
        }
        for bound in BOUNDS {
            assert_eq!(bucket(bound), slow(bound), "{bound}");
            assert_eq!(bucket(bound + 1), slow(bound + 1), "{bound} and one");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn bounds_rise_by_a_fifth_to_a_third_beyond_the_first_few() {
        for pair in BOUNDS.windows(2).skip(4) {
            assert!(
                pair[1] * 10 >= pair[0] * 12 && pair[1] * 3 <= pair[0] * 4,
                "{pair:?}"
            );
        }
        assert_eq!(BOUNDS[BOUNDS.len() - 1], 60_000_000);
    }

    #[test]
    fn a_quantile_lies_within_its_bucket() {
        let mut counts = [0; BUCKETS];
        assert_eq!(quantile(&counts, 0.5), None);
        // Ten between 800 µs and 1 ms, ten between 8 and 10 ms.
        counts[bucket(1000)] = 10;
        counts[bucket(10_000)] = 10;
        assert_eq!(quantile(&counts, 0.25), Some(900.0));
        assert_eq!(quantile(&counts, 0.5), Some(1000.0));
        assert_eq!(quantile(&counts, 0.75), Some(9000.0));
        assert_eq!(quantile(&counts, 0.0), Some(800.0));
        counts[BUCKETS - 1] = 1000;
        assert_eq!(quantile(&counts, 0.99), Some(60_000_000.0));
    }
}
