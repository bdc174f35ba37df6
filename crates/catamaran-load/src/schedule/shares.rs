//! The shares that fall to one process, when several run a load together.

use super::Stripe;

/// Some of the shares of the whole; they count on as if they were one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shares {
    /// In order, each below `of`.
    indices: Vec<u64>,
    of: u64,
}

impl Default for Shares {
    fn default() -> Self {
        Self::all(1)
    }
}

impl Shares {
    /// All of so many, 1 at least.
    #[must_use]
    pub fn all(of: u64) -> Self {
        let of = of.max(1);
        Self {
            indices: (0..of).collect(),
            of,
        }
    }

    /// These of so many. `None` of none, of one twice, and of what lies beyond.
    #[must_use]
    pub fn new(mut indices: Vec<u64>, of: u64) -> Option<Self> {
        indices.sort_unstable();
        let is_sound = indices.last().is_some_and(|&last| last < of)
            && indices.windows(2).all(|pair| pair[0] < pair[1]);
        is_sound.then_some(Self { indices, of })
    }

    /// Each of them.
    pub fn stripes(&self) -> impl Iterator<Item = Stripe> {
        let of = self.of;
        self.indices.iter().map(move |&index| Stripe { index, of })
    }

    /// The first of them.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.indices[0]
    }

    /// How many they are, and of how many.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        (self.indices.len() as u64, self.of)
    }

    /// The number in the whole of their `n`-th element.
    #[must_use]
    pub fn nth(&self, n: u64) -> u64 {
        let own = self.indices.len() as u64;
        let index = usize::try_from(n % own).unwrap_or(0);
        (n / own) * self.of + self.indices[index]
    }

    /// How many of `total` elements fall to them.
    #[must_use]
    pub fn share_of(&self, total: u64) -> u64 {
        self.stripes().map(|stripe| stripe.share_of(total)).sum()
    }

    /// How many of their elements come before this one of the whole.
    #[must_use]
    pub fn position(&self, number: u64) -> u64 {
        self.share_of(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_several_processes_are_the_whole_and_do_not_overlap() {
        let parts = [vec![0, 3], vec![1], vec![4, 2]];
        let parts = parts.map(|indices| Shares::new(indices, 5).unwrap());
        for total in [0, 1, 4, 5, 23] {
            let mut seen = Vec::new();
            for part in &parts {
                let own: Vec<u64> = (0..part.share_of(total)).map(|n| part.nth(n)).collect();
                assert!(own.is_sorted());
                let positions: Vec<u64> = own.iter().map(|&n| part.position(n)).collect();
                assert_eq!(positions, (0..own.len() as u64).collect::<Vec<_>>());
                seen.extend(own);
            }
            seen.sort_unstable();
            assert_eq!(seen, (0..total).collect::<Vec<_>>());
        }
        let all = Shares::all(5);
        assert!((0..20).all(|n| all.nth(n) == n) && all.share_of(17) == 17);
    }

    #[test]
    fn what_are_no_shares_is_refused() {
        assert_eq!(Shares::new(vec![], 3), None);
        assert_eq!(Shares::new(vec![1, 1], 3), None);
        assert_eq!(Shares::new(vec![3], 3), None);
        assert_eq!(Shares::new(vec![0], 0), None);
    }
}
