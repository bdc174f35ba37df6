//! The draw among weighted backends.

use crate::model::{BackendId, WeightedBackend};

/// Draws one of `backends` by weight; `None` if all weights are zero.
#[must_use]
pub fn draw(backends: &[WeightedBackend], rng: &mut fastrand::Rng) -> Option<BackendId> {
    let total: u64 = backends.iter().map(|b| u64::from(b.weight)).sum();
    if total == 0 {
        return None;
    }
    let mut ticket = rng.u64(..total);
    for drawn in backends {
        let weight = u64::from(drawn.weight);
        if ticket < weight {
            return Some(drawn.backend);
        }
        ticket -= weight;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weighted(weights: &[u32]) -> Vec<WeightedBackend> {
        (0..)
            .zip(weights)
            .map(|(id, &weight)| WeightedBackend {
                backend: BackendId(id),
                weight,
            })
            .collect()
    }

    #[test]
    fn backends_are_drawn_by_their_weight() {
        let backends = weighted(&[1, 0, 3]);
        let mut rng = fastrand::Rng::with_seed(7);
        let mut drawn = [0; 3];
        for _ in 0..4000 {
            drawn[draw(&backends, &mut rng).unwrap().index()] += 1;
        }
        assert_eq!(drawn[1], 0);
        assert!((900..1100).contains(&drawn[0]), "{drawn:?}");
    }

    #[test]
    fn without_weight_nothing_is_drawn() {
        let mut rng = fastrand::Rng::with_seed(7);
        assert_eq!(draw(&weighted(&[0, 0]), &mut rng), None);
        assert_eq!(draw(&[], &mut rng), None);
    }

    #[test]
    fn the_largest_weights_do_not_overflow() {
        let mut rng = fastrand::Rng::with_seed(7);
        assert!(draw(&weighted(&[u32::MAX; 4]), &mut rng).is_some());
    }
}
