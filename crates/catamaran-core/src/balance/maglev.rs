//! Maglev hashing: a table that maps hashes to servers and changes little when one leaves.
//!
//! Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, §3.4.
//! Weights as in Envoy and Katran: lighter servers sit out rounds. Everything derives from server
//! names, so that every node with the same servers has the same table.

use super::spread;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A table of server indices.
#[derive(Debug)]
pub(super) struct Maglev(Box<[u32]>);

/// A server while the table is filled: it walks the slots in its own order.
struct Walker {
    index: u32,
    weight: u64,
    /// Weight that it must have saved to take a slot.
    due: u64,
    slot: usize,
    skip: usize,
}

impl Maglev {
    /// A table of `(name, weight)` in any order; weights are positive.
    pub(super) fn new(servers: &[(&str, u32)]) -> Self {
        if servers.is_empty() {
            return Self(Box::default());
        }
        let len = table_len(servers.len());
        let heaviest = servers.iter().map(|server| u64::from(server.1)).max();
        let heaviest = heaviest.unwrap_or(1);
        let mut walkers = walkers(servers, len);
        let mut table = vec![VACANT; len as usize];
        let mut vacant = table.len();
        for round in 1_u64.. {
            for walker in &mut walkers {
                if vacant == 0 {
                    return Self(table.into_boxed_slice());
                }
                if round * walker.weight < walker.due {
                    continue;
                }
                walker.due += heaviest;
                while table[walker.slot] != VACANT {
                    walker.step(table.len());
                }
                table[walker.slot] = walker.index;
                vacant -= 1;
            }
        }
        unreachable!("every round fills a slot: the heaviest server never sits out")
    }

    /// The index of the server for `hash`; `None` only if there is no server.
    pub(super) fn at(&self, hash: u64) -> Option<usize> {
        let len = u32::try_from(self.0.len()).ok().filter(|len| *len > 0)?;
        Some(self.0[spread(hash, len) as usize] as usize)
    }
}

impl Walker {
    /// Both addends are below `len`, a prime: each slot is visited once in `len` steps.
    const fn step(&mut self, len: usize) {
        self.slot += self.skip;
        if self.slot >= len {
            self.slot -= len;
        }
    }
}

/// In an order of their own, so that the configuration's order does not matter.
fn walkers(servers: &[(&str, u32)], len: u32) -> Vec<Walker> {
    let mut named: Vec<(u64, &str, Walker)> = (0..)
        .zip(servers)
        .map(|(index, (name, weight))| {
            let offset = xxh3_64_with_seed(name.as_bytes(), OFFSET_SEED);
            let skip = xxh3_64_with_seed(name.as_bytes(), SKIP_SEED);
            let walker = Walker {
                index,
                weight: u64::from(*weight),
                due: u64::from(*weight),
                slot: spread(offset, len) as usize,
                skip: spread(skip, len - 1) as usize + 1,
            };
            (offset, *name, walker)
        })
        .collect();
    named.sort_unstable_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
    named.into_iter().map(|(_, _, walker)| walker).collect()
}

/// The smallest prime of the list with a hundred slots per server: shares even to about a percent.
fn table_len(servers: usize) -> u32 {
    let wanted = servers.saturating_mul(100);
    let len = TABLE_LENS.iter().find(|len| **len as usize >= wanted);
    len.copied().unwrap_or(TABLE_LENS[TABLE_LENS.len() - 1])
}

const VACANT: u32 = u32::MAX;

const OFFSET_SEED: u64 = 1;
const SKIP_SEED: u64 = 2;

/// Primes; the last bounds a table to 4 MiB.
const TABLE_LENS: [u32; 10] = [
    1_009, 2_003, 5_003, 10_007, 20_011, 65_537, 131_101, 262_147, 524_309, 1_048_583,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::hash_key;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|i| format!("10.0.0.{i}:80")).collect()
    }

    fn table(names: &[String]) -> Maglev {
        let servers: Vec<_> = names.iter().map(|name| (name.as_str(), 10)).collect();
        Maglev::new(&servers)
    }

    #[test]
    fn few_keys_move_when_a_server_leaves() {
        for count in [3, 10, 50] {
            let all = names(count);
            let fewer: Vec<_> = all.iter().skip(1).cloned().collect();
            let (before, after) = (table(&all), table(&fewer));
            let keys = 20_000_u32;
            let moved = (0..keys)
                .map(|key| hash_key(&key.to_le_bytes()))
                .filter(|hash| all[before.at(*hash).unwrap()] != fewer[after.at(*hash).unwrap()])
                .count();
            let share = moved as f64 / f64::from(keys);
            assert!(share < 2.0 / count as f64, "{count} servers: {share} moved");
        }
    }

    #[test]
    fn the_order_of_servers_does_not_matter() {
        let all = names(20);
        let mut turned = all.clone();
        turned.reverse();
        let (one, other) = (table(&all), table(&turned));
        for (a, b) in one.0.iter().zip(&other.0) {
            assert_eq!(all[*a as usize], turned[*b as usize]);
        }
    }

    #[test]
    fn slots_follow_the_weights() {
        let table = Maglev::new(&[("a", 30), ("b", 10), ("c", 1)]);
        let share = |index| {
            let slots = table.0.iter().filter(|slot| **slot == index).count();
            slots as f64 / table.0.len() as f64
        };
        assert!((share(0) - 30.0 / 41.0).abs() < 0.01, "{}", share(0));
        assert!((share(1) - 10.0 / 41.0).abs() < 0.01, "{}", share(1));
        assert!((share(2) - 1.0 / 41.0).abs() < 0.01, "{}", share(2));
    }

    #[test]
    fn table_lengths_are_prime_and_bounded() {
        for len in TABLE_LENS {
            let divides = |d: &u32| len % d == 0;
            assert_eq!((2..=len.isqrt()).find(divides), None, "{len}");
        }
        assert_eq!(table_len(2), 1_009);
        assert_eq!(table_len(usize::MAX), 1_048_583);
    }

    #[test]
    fn no_server_has_no_table() {
        assert_eq!(Maglev::new(&[]).at(1), None);
    }
}
