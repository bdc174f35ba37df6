//! Which of two changes that nodes made at nearly the same time is the later one.
//!
//! A hybrid logical clock (Kulkarni and others, 2014) is the time of day as long as that goes on,
//! and a counter when it does not: it never stands still and is never behind a clock it heard of.
//! A node whose time of day runs ahead would carry all others with it; so nobody follows another
//! further than [`MAX_AHEAD`]. What such a node wrote can still be written over, because a change is
//! always stamped later than what it replaces.

use crate::Timestamp;
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64;

/// The clocks of a node at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// CLOCK_MONOTONIC, for all that lasts.
    pub mono: Timestamp,
    /// Milliseconds of the time of day since 1970, for stamps only. It may jump.
    pub wall_ms: u64,
}

/// A node of the mesh: a number made of its name, the same on every node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(super) u16);

impl NodeId {
    /// The number of the node called `name`. Of two nodes the numbers may agree, once in 65,536
    /// pairs; [`Node::new`](super::Node::new) refuses such names.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let [low, high, ..] = xxh3_64(name.as_bytes()).to_le_bytes();
        Self(u16::from_le_bytes([low, high]))
    }
}

/// One run of a node: milliseconds of the time of day at its start. What a node counted before it
/// was started again is another's count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

/// When and by whom something was changed. The greatest counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// Milliseconds of the time of day in the upper 44 bits, a counter in the lower 20.
    pub time: u64,
    /// Who made the change; decides between equal times.
    pub node: NodeId,
}

/// The clock of a node.
#[derive(Clone, Debug, Default)]
pub(super) struct HybridClock {
    last: u64,
}

impl HybridClock {
    /// A time later than all before.
    pub(super) fn tick(&mut self, now: Now) -> u64 {
        self.last = (self.last + 1).max(physical(now.wall_ms));
        self.last
    }

    /// The time of something that is `age` old. Earlier than all that was stamped since.
    pub(super) fn past(now: Now, age: Duration) -> u64 {
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        physical(now.wall_ms.saturating_sub(age)).max(1)
    }

    /// Notes the time of another node. Returns whether that is further ahead than it should be.
    pub(super) fn observe(&mut self, now: Now, time: u64) -> bool {
        let limit = physical(now.wall_ms.saturating_add(MAX_AHEAD_MS));
        self.last = self.last.max(time.min(limit));
        time > limit
    }
}

fn physical(wall_ms: u64) -> u64 {
    wall_ms.min(MAX_WALL_MS) << LOGICAL_BITS
}

/// How far a node follows the clock of another beyond its own.
pub const MAX_AHEAD: Duration = Duration::from_millis(MAX_AHEAD_MS);
const MAX_AHEAD_MS: u64 = 1000;
/// A million changes in one millisecond before the counter runs into the next.
const LOGICAL_BITS: u32 = 20;
/// The year 2248; leaves the counter room above.
const MAX_WALL_MS: u64 = (1 << 43) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(wall_ms: u64) -> Now {
        Now {
            mono: Timestamp::ZERO,
            wall_ms,
        }
    }

    #[test]
    fn times_grow_even_when_the_time_of_day_goes_back() {
        let mut clock = HybridClock::default();
        let first = clock.tick(at(5000));
        let second = clock.tick(at(5000));
        let third = clock.tick(at(1000));
        assert!(first < second && second < third);
        assert_eq!(clock.tick(at(6000)), 6000 << 20);
    }

    #[test]
    fn a_change_after_a_message_is_later_than_it() {
        let mut clock = HybridClock::default();
        let other = 5500 << 20;
        assert!(!clock.observe(at(5000), other));
        assert!(clock.tick(at(5000)) > other);
    }

    #[test]
    fn nobody_is_followed_further_than_a_second() {
        let mut clock = HybridClock::default();
        assert!(clock.observe(at(5000), u64::MAX));
        let next = clock.tick(at(5000));
        assert!(next <= (6000 << 20) + 1, "{next}");
    }
}
