//! What lowers the priority of a node below the configured one.

/// The configured priority of one virtual router and what weighs on it.
///
/// The result is never below 1: a node that is the only one left keeps the address, however ill it
/// is, since 0 would mean that it gives up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracking {
    configured: u8,
    /// What each tracked thing adds, 0 while it is well.
    adds: Vec<i32>,
    /// Whether this node serves at all.
    serves: bool,
}

impl Tracking {
    /// Tracks `count` things, all well, of a node that does not serve yet.
    #[must_use]
    pub fn new(configured: u8, count: usize) -> Self {
        Self {
            configured,
            adds: vec![0; count],
            serves: false,
        }
    }

    /// Says whether this node serves.
    pub const fn set_serves(&mut self, serves: bool) {
        self.serves = serves;
    }

    /// Says what thing `index` adds to the priority from now on.
    pub fn set_add(&mut self, index: usize, add: i32) {
        if let Some(known) = self.adds.get_mut(index) {
            *known = add;
        }
    }

    /// The priority that holds now, 1 to 254; 255 for an owner, on whom nothing weighs.
    #[must_use]
    pub fn priority(&self) -> u8 {
        if self.configured == OWNER {
            return OWNER;
        }
        if !self.serves {
            return LOWEST;
        }
        let sum = self
            .adds
            .iter()
            .fold(0, |sum: i32, add| sum.saturating_add(*add));
        let priority = i32::from(self.configured).saturating_add(sum);
        u8::try_from(priority.clamp(i32::from(LOWEST), i32::from(HIGHEST))).unwrap_or(LOWEST)
    }
}

/// The priority of the address's owner.
pub(super) const OWNER: u8 = 255;
/// The priority of a node that cannot serve.
pub(super) const LOWEST: u8 = 1;
const HIGHEST: u8 = 254;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_takes_its_weight_away_and_gives_it_back() {
        let mut tracking = Tracking::new(150, 2);
        assert_eq!(tracking.priority(), 1);
        tracking.set_serves(true);
        assert_eq!(tracking.priority(), 150);
        tracking.set_add(0, -20);
        tracking.set_add(1, -30);
        assert_eq!(tracking.priority(), 100);
        tracking.set_add(1, 0);
        assert_eq!(tracking.priority(), 130);
        tracking.set_add(7, -100);
        assert_eq!(tracking.priority(), 130);
    }

    #[test]
    fn the_priority_stays_between_1_and_254() {
        let mut tracking = Tracking::new(100, 2);
        tracking.set_serves(true);
        tracking.set_add(0, -254);
        assert_eq!(tracking.priority(), 1);
        tracking.set_add(0, i32::MAX);
        tracking.set_add(1, i32::MAX);
        assert_eq!(tracking.priority(), 254);
    }

    #[test]
    fn nothing_weighs_on_an_owner() {
        assert_eq!(Tracking::new(255, 0).priority(), 255);
    }
}
