//! Sets of tags, each kept once and named by a number.
//!
//! A request carries a handful of tags that hardly ever change. A worker hands a set in once and then
//! passes four bytes; whether a sub-metric takes the samples of a set is decided once per set.

use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasher as _;

use foldhash::fast::FixedState;

/// A set of tags known to one [`Tags`]. The default is the empty set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TagsId(u32);

impl TagsId {
    /// The number, counted from 0.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Names and values, sorted by name; each name stands once.
pub type TagSet = Vec<(String, String)>;

/// All sets that one worker has met.
#[derive(Debug)]
pub struct Tags {
    ids: HashMap<TagSet, TagsId>,
    sets: Vec<TagSet>,
    /// By hash: pairs as they were handed in, so that those of most requests need no sorting.
    as_given: HashMap<u64, Vec<(TagSet, TagsId)>, FixedState>,
}

impl Default for Tags {
    fn default() -> Self {
        Self {
            ids: HashMap::from([(TagSet::new(), TagsId(0))]),
            sets: vec![TagSet::new()],
            as_given: HashMap::default(),
        }
    }
}

impl Tags {
    /// Names the set of `pairs`; of pairs with one name the last counts.
    ///
    /// Once [`MAX_SETS`] sets are known, a new one is taken for the empty set: values that make every
    /// request its own set would fill the memory. [`Self::is_full`] tells.
    pub fn intern(&mut self, pairs: &[(&str, &str)]) -> TagsId {
        let hash = FixedState::default().hash_one(pairs);
        let known = self.as_given.get(&hash).map_or(&[][..], Vec::as_slice);
        let is_same = |set: &TagSet| {
            let own = set.iter();
            let own = own.map(|(name, value)| (name.as_str(), value.as_str()));
            own.eq(pairs.iter().copied())
        };
        if let Some((_, id)) = known.iter().find(|(set, _)| is_same(set)) {
            return *id;
        }
        let id = self.intern_sorted(pairs);
        if self.as_given.len() < MAX_SETS {
            let own = pairs.iter();
            let own = own.map(|&(name, value)| (name.to_owned(), value.to_owned()));
            self.as_given
                .entry(hash)
                .or_default()
                .push((own.collect(), id));
        }
        id
    }

    fn intern_sorted(&mut self, pairs: &[(&str, &str)]) -> TagsId {
        let mut set = TagSet::with_capacity(pairs.len());
        for &(name, value) in pairs {
            match set.binary_search_by(|(known, _)| known.as_str().cmp(name)) {
                Ok(at) => value.clone_into(&mut set[at].1),
                Err(at) => set.insert(at, (name.to_owned(), value.to_owned())),
            }
        }
        if let Some(&id) = self.ids.get(&set) {
            return id;
        }
        let Some(number) = u32::try_from(self.sets.len())
            .ok()
            .filter(|_| !self.is_full())
        else {
            return TagsId::default();
        };
        let id = TagsId(number);
        self.ids.insert(set.clone(), id);
        self.sets.push(set);
        id
    }

    /// The pairs of a set.
    #[must_use]
    pub fn set(&self, id: TagsId) -> &[(String, String)] {
        &self.sets[id.index()]
    }

    /// Whether further sets are taken for the empty one.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.sets.len() >= MAX_SETS
    }
}

/// Sets of one worker: what k6 warns of, and some 30 MB of names.
pub const MAX_SETS: usize = 100_000;

/// The tags that samples have unless `systemTags` says otherwise.
#[must_use]
pub fn usual_system_tags() -> BTreeSet<String> {
    USUAL.iter().map(ToString::to_string).collect()
}

/// Those of k6.
const USUAL: &[&str] = &[
    "proto",
    "subproto",
    "status",
    "method",
    "url",
    "name",
    "group",
    "check",
    "error",
    "error_code",
    "tls_version",
    "scenario",
    "service",
    "expected_response",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_pairs_in_any_order_are_one_set() {
        let mut tags = Tags::default();
        let one = tags.intern(&[("status", "200"), ("method", "GET")]);
        let other = tags.intern(&[("method", "PUT"), ("status", "200"), ("method", "GET")]);
        assert_eq!(one, other);
        assert_ne!(one, tags.intern(&[("status", "200")]));
        assert_eq!(tags.set(one)[0], ("method".to_owned(), "GET".to_owned()));
        assert_eq!(tags.intern(&[]), TagsId::default());
    }

    #[test]
    fn sets_without_end_do_not_fill_the_memory() {
        let mut tags = Tags::default();
        for number in 0..MAX_SETS + 10 {
            tags.intern(&[("n", &number.to_string())]);
        }
        assert!(tags.is_full());
        assert_eq!(tags.intern(&[("n", "another")]), TagsId::default());
        assert_ne!(tags.intern(&[("n", "5")]), TagsId::default());
    }
}
