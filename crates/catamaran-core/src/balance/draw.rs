//! Draws by weight in constant time.

/// Draws indices `0..len` in proportion to their weights.
#[derive(Debug)]
pub(super) enum Draw {
    /// All weights are equal: the common case needs no table.
    Uniform { len: usize },
    /// Walker's alias method in Vose's form: a slot drawn evenly keeps itself or gives its alias.
    Alias(Box<[Slot]>),
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    /// Share of the draws that the slot keeps, of 2³².
    keep: u32,
    alias: u32,
}

impl Draw {
    /// `weights` are positive.
    pub(super) fn new(weights: &[u32]) -> Self {
        if weights.windows(2).all(|pair| pair[0] == pair[1]) {
            Self::Uniform { len: weights.len() }
        } else {
            Self::Alias(alias_table(weights))
        }
    }

    /// One index, `None` only if there is none.
    pub(super) fn one(&self, rng: &mut fastrand::Rng) -> Option<usize> {
        match self {
            Self::Uniform { len: 0 } => None,
            Self::Uniform { len } => Some(rng.usize(..*len)),
            Self::Alias(slots) => {
                let index = rng.usize(..slots.len());
                let slot = slots[index];
                if rng.u32(..) < slot.keep {
                    Some(index)
                } else {
                    Some(slot.alias as usize)
                }
            }
        }
    }

    /// Two different indices; the second is `None` if there is but one.
    pub(super) fn two(&self, rng: &mut fastrand::Rng) -> Option<(usize, Option<usize>)> {
        let first = self.one(rng)?;
        let second = match self.len() {
            1 => None,
            2 => Some(1 - first),
            len => Some(self.another(first, len, rng)),
        };
        Some((first, second))
    }

    /// One index other than `first`.
    fn another(&self, first: usize, len: usize, rng: &mut fastrand::Rng) -> usize {
        if matches!(self, Self::Alias(_)) {
            // A heavy server is mostly drawn twice: a few tries, then evenly among the others, so
            // that the cost stays constant.
            for _ in 0..MAX_REDRAWS {
                match self.one(rng) {
                    Some(second) if second != first => return second,
                    _ => {}
                }
            }
        }
        let second = rng.usize(..len - 1);
        if second < first { second } else { second + 1 }
    }

    fn len(&self) -> usize {
        match self {
            Self::Uniform { len } => *len,
            Self::Alias(slots) => slots.len(),
        }
    }
}

/// Fills each slot of size `total` with one light weight and the rest of a heavy one; in integers,
/// weights multiplied by their count, so that nothing is lost to rounding but in `keep`.
fn alias_table(weights: &[u32]) -> Box<[Slot]> {
    let total: u64 = weights.iter().copied().map(u64::from).sum();
    let count = weights.len() as u64;
    let mut rest: Vec<u64> = weights.iter().map(|w| u64::from(*w) * count).collect();
    let mut slots: Vec<Slot> = (0..)
        .zip(weights)
        .map(|(alias, _)| Slot {
            keep: u32::MAX,
            alias,
        })
        .collect();
    let (mut light, mut heavy): (Vec<u32>, Vec<u32>) = (0..)
        .zip(&rest)
        .map(|(index, _)| index)
        .partition(|index: &u32| rest[*index as usize] < total);
    while let (Some(small), Some(large)) = (light.pop(), heavy.pop()) {
        let filled = rest[small as usize];
        slots[small as usize] = Slot {
            keep: u32::try_from((filled << 32) / total).unwrap_or(u32::MAX),
            alias: large,
        };
        rest[large as usize] -= total - filled;
        if rest[large as usize] < total {
            light.push(large);
        } else {
            heavy.push(large);
        }
    }
    slots.into_boxed_slice()
}

const MAX_REDRAWS: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(weights: &[u32], draws: u32) -> Vec<f64> {
        let draw = Draw::new(weights);
        let mut rng = fastrand::Rng::with_seed(1);
        let mut counts = vec![0_u32; weights.len()];
        for _ in 0..draws {
            counts[draw.one(&mut rng).unwrap()] += 1;
        }
        counts
            .iter()
            .map(|c| f64::from(*c) / f64::from(draws))
            .collect()
    }

    #[test]
    fn draws_follow_the_weights() {
        for weights in [
            vec![1, 2, 3],
            vec![256, 1],
            vec![5, 5, 5, 5],
            vec![10, 2560, 70],
        ] {
            let total: u32 = weights.iter().sum();
            for (weight, share) in weights.iter().zip(shares(&weights, 200_000)) {
                let expected = f64::from(*weight) / f64::from(total);
                assert!((share - expected).abs() < 0.005, "{weights:?}: {share}");
            }
        }
    }

    #[test]
    fn two_draws_always_differ() {
        let mut rng = fastrand::Rng::with_seed(2);
        for weights in [vec![1; 3], vec![256, 1], vec![256, 1, 1], vec![1, 2, 3, 4]] {
            let draw = Draw::new(&weights);
            for _ in 0..10_000 {
                let (first, second) = draw.two(&mut rng).unwrap();
                assert_ne!(Some(first), second);
                assert!(second.unwrap() < weights.len());
            }
        }
    }

    #[test]
    fn one_server_is_drawn_alone_and_none_not_at_all() {
        let mut rng = fastrand::Rng::with_seed(3);
        assert_eq!(Draw::new(&[7]).two(&mut rng), Some((0, None)));
        assert_eq!(Draw::new(&[]).two(&mut rng), None);
    }

    #[test]
    fn equal_weights_need_no_table() {
        assert!(matches!(
            Draw::new(&[9; 10_000]),
            Draw::Uniform { len: 10_000 }
        ));
    }
}
